// Comparing weights that are not shared, by samples and then in full.
#include "backend/NearSharing.h"

#include "llvm/ADT/DenseSet.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/SetVector.h"
#include "llvm/ADT/StringMap.h"
#include "llvm/Support/xxhash.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>
#include <unordered_map>

namespace plait {

using mil::TensorData;
using mil::TensorReader;

namespace {

constexpr int64_t kTileElements = 1 << 16;
/// How far weights may differ and still be near: as many elements, or as large a difference for
/// their size.
constexpr double nearElements = 0.5, nearDistance = 0.25;

/// The shape without dimensions of 1.
llvm::SmallVector<int64_t, 4> squeezed(llvm::ArrayRef<int64_t> shape) {
  llvm::SmallVector<int64_t, 4> result;
  llvm::copy_if(shape, std::back_inserter(result), [](int64_t size) { return size != 1; });
  return result;
}

/// Two weights, read side by side: their elements as they are stored, in the narrower of the two
/// types, and as numbers.
class Pair {
public:
  Pair(TensorData a, TensorData b) {
    mil::DType type = mil::bitWidth(a.dtype()) <= mil::bitWidth(b.dtype()) ? a.dtype() : b.dtype();
    width = mil::bitWidth(type) / 8;
    elements = a.numElements();
    auto open = [](const TensorData &tensor) {
      return llvm::cantFail(TensorReader::create(tensor, nullptr));
    };
    readers.push_back(open(a.cast(type)));
    readers.push_back(open(b.cast(type)));
    readers.push_back(open(a.cast(mil::DType::F32)));
    readers.push_back(open(b.cast(mil::DType::F32)));
  }

  void read(int64_t begin, int64_t count) {
    for (unsigned side = 0; side < 2; ++side) {
      raw[side].resize(size_t(count) * width);
      readers[side].read(begin, count, raw[side].data());
      numbers[side].resize(size_t(count));
      readers[side + 2].read(begin, count, reinterpret_cast<uint8_t *>(numbers[side].data()));
    }
  }
  void release(int64_t begin, int64_t count) {
    for (const TensorReader &reader : readers)
      reader.release(begin, count);
  }
  bool isEqual(size_t i) const {
    return std::memcmp(&raw[0][i * width], &raw[1][i * width], width) == 0;
  }

  int64_t elements;
  unsigned width;
  std::vector<uint8_t> raw[2];
  std::vector<float> numbers[2];

private:
  std::vector<TensorReader> readers;
};

/// How two weights differ, in some of their elements or in all.
struct Difference {
  uint64_t seen = 0, different = 0;
  double max = 0, squares = 0, size = 0; // of the differences, of the numbers

  void add(const Pair &pair, size_t i) {
    double a = pair.numbers[0][i], b = pair.numbers[1][i];
    ++seen;
    if (std::isfinite(a) && std::isfinite(b)) {
      squares += (a - b) * (a - b);
      size += a * a;
    }
    if (pair.isEqual(i))
      return;
    ++different;
    if (double distance = std::abs(a - b); std::isfinite(distance) && distance > max)
      max = distance;
  }
  void addRun(Pair &pair, int64_t begin, int64_t count) {
    pair.read(begin, count);
    for (size_t i = 0; i < size_t(count); ++i)
      add(pair, i);
    pair.release(begin, count);
  }
  bool isNear() const {
    return double(different) <= nearElements * double(seen) ||
           squares <= nearDistance * nearDistance * size;
  }
};

/// Runs of elements spread over the whole.
Difference sample(Pair &pair) {
  constexpr int64_t runs = 32, length = 64;
  Difference difference;
  for (int64_t run = 0; run < runs; ++run) {
    int64_t begin = std::max<int64_t>(0, pair.elements - length) / (runs - 1) * run;
    difference.addRun(pair, begin, std::min(length, pair.elements - begin));
  }
  return difference;
}

Difference compareAll(Pair &pair) {
  Difference difference;
  for (int64_t begin = 0; begin < pair.elements; begin += kTileElements)
    difference.addRun(pair, begin, std::min(kTileElements, pair.elements - begin));
  return difference;
}

/// Where each row of `b` is a multiple of that of `a`: how they differ after the multiplication,
/// beyond what rounding to the stored type explains. At first some rows, then all.
std::optional<Difference> compareScaled(const TensorData &a, const TensorData &b) {
  if (a.rank() < 2 || a.dtype() != b.dtype() || !mil::isFloat(a.dtype()))
    return std::nullopt;
  double rounding = a.dtype() == mil::DType::F32 ? 0x1p-20 : 0x1p-9;
  int64_t rows = a.shape()[0], length = a.numElements() / rows;
  if (length < 4 || rows < 2)
    return std::nullopt;
  Pair pair(a, b);
  auto compareRow = [&](int64_t row, Difference &difference, bool &scaled) {
    pair.read(row * length, length);
    const std::vector<float> &p = pair.numbers[0], &q = pair.numbers[1];
    size_t largest = 0;
    for (size_t i = 1; i < size_t(length); ++i)
      if (std::abs(p[i]) > std::abs(p[largest]))
        largest = i;
    double factor = p[largest] != 0 ? double(q[largest]) / p[largest] : 1;
    double allowed = rounding * std::abs(double(q[largest]));
    for (size_t i = 0; i < size_t(length); ++i) {
      double distance = std::abs(factor * p[i] - q[i]);
      ++difference.seen;
      difference.different += !pair.isEqual(i);
      difference.max = std::max(difference.max, std::abs(double(p[i]) - q[i]));
      // Also false for NaN.
      if (!(distance <= allowed))
        return false;
    }
    scaled |= std::abs(factor - 1) > rounding;
    pair.release(row * length, length);
    return true;
  };
  Difference difference;
  bool scaled = false;
  for (int64_t row = 0; row < rows; row += std::max<int64_t>(1, rows / 8))
    if (!compareRow(row, difference, scaled))
      return std::nullopt;
  difference = {};
  for (int64_t row = 0; row < rows; ++row)
    if (!compareRow(row, difference, scaled))
      return std::nullopt;
  if (!scaled)
    return std::nullopt;
  return difference;
}

/// Hashes of short runs spread over a weight: of two that differ in some elements most are equal.
llvm::SmallVector<uint64_t, 8> hashRuns(const TensorData &tensor) {
  constexpr int64_t runs = 8, length = 16;
  TensorReader reader = llvm::cantFail(TensorReader::create(tensor, nullptr));
  std::vector<uint8_t> bytes(mil::byteSize(tensor.dtype(), length));
  llvm::SmallVector<uint64_t, 8> hashes;
  for (int64_t run = 0; run < runs; ++run) {
    reader.read((tensor.numElements() - length) / (runs - 1) * run, length, bytes.data());
    // A weight of zeros or ones is like any other in the places where that is.
    if (llvm::any_of(bytes, [&](uint8_t byte) { return byte != bytes[0]; }))
      hashes.push_back(llvm::xxh3_64bits(bytes) + uint64_t(run));
  }
  reader.release(0, tensor.numElements());
  return hashes;
}

/// Whether, and how, `here` is nearly `there`.
std::optional<NearlyShared> explain(const NearSharingCandidate &here,
                                    const NearSharingCandidate &there) {
  using Reason = NearlyShared::Reason;
  auto entry = [&](Reason reason, const Difference &difference) {
    NearlyShared result{here.place, there.place, reason};
    result.bytes = here.tensor.byteSize();
    result.elements = uint64_t(here.tensor.numElements());
    result.different = difference.different;
    result.maxDifference = difference.max;
    return result;
  };
  const TensorData &a = there.tensor, &b = here.tensor;
  auto shapeA = squeezed(a.shape()), shapeB = squeezed(b.shape());
  if (shapeA == shapeB) {
    Pair pair(a.reshape({a.numElements()}), b.reshape({b.numElements()}));
    if (sample(pair).isNear())
      if (Difference all = compareAll(pair); all.isNear())
        return entry(a.dtype() == b.dtype() ? Reason::Values : Reason::Type, all);
    if (auto scaled = compareScaled(a.reshape(shapeA), b.reshape(shapeB)))
      return entry(Reason::Scaled, *scaled);
  }
  if (shapeA.size() == 2 && shapeB.size() == 2 && shapeA[0] == shapeB[1]) {
    Pair pair(a.reshape(shapeA).permute({1, 0}), b.reshape(shapeB));
    // Sampling reads rows of one and columns of the other, which is dear only in the full pass.
    if (Difference some = sample(pair); double(some.different) <= nearElements * double(some.seen))
      return entry(Reason::Transposed, compareAll(pair));
  }
  return std::nullopt;
}

} // namespace

std::vector<NearlyShared> findNearlyShared(llvm::ArrayRef<NearSharingCandidate> candidates) {
  using Size = std::pair<int64_t, llvm::SmallVector<int64_t, 4>>;
  /// Weights that could be one another, of the functions so far: the first two blobs of each name,
  /// of each place in a function, and of each run of elements.
  struct Class {
    llvm::StringMap<llvm::SmallVector<unsigned, 2>> byName;
    std::vector<llvm::SmallVector<unsigned, 2>> byPlace;
    std::unordered_map<uint64_t, llvm::SmallVector<unsigned, 2>> byRun;
    unsigned function = UINT_MAX, nextPlace = 0;
  };
  std::map<Size, Class> classes;
  llvm::DenseSet<unsigned> seen; // blobs
  std::vector<NearlyShared> result;

  auto mayBeShared = [&](const NearSharingCandidate &a, const NearSharingCandidate &b) {
    // Two weights of one function are two on purpose.
    llvm::SmallVector<unsigned, 8> both;
    std::set_intersection(a.functions.begin(), a.functions.end(), b.functions.begin(),
                          b.functions.end(), std::back_inserter(both));
    return a.blob != b.blob && both.empty();
  };
  for (size_t index = 0; index < candidates.size(); ++index) {
    const NearSharingCandidate &candidate = candidates[index];
    const TensorData &tensor = candidate.tensor;
    if (tensor.byteSize() < nearSharingBytes || mil::isSubByte(tensor.dtype()))
      continue;
    Size size{tensor.numElements(), squeezed(tensor.shape())};
    llvm::sort(size.second);
    Class &alike = classes[size];
    if (alike.function != candidate.place.function) {
      alike.function = candidate.place.function;
      alike.nextPlace = 0;
    }
    unsigned place = alike.nextPlace++;
    if (place >= alike.byPlace.size())
      alike.byPlace.resize(place + 1);
    llvm::SmallSetVector<unsigned, 8> others;
    auto lookAt = [&](llvm::SmallVector<unsigned, 2> &list) {
      others.insert(list.begin(), list.end());
      auto sameBlob = [&](unsigned other) { return candidates[other].blob == candidate.blob; };
      if (list.size() < 2 && llvm::none_of(list, sameBlob))
        list.push_back(unsigned(index));
    };
    lookAt(alike.byName[candidate.name]);
    lookAt(alike.byPlace[place]);
    if (!seen.insert(candidate.blob).second)
      continue;
    for (uint64_t hash : hashRuns(tensor))
      lookAt(alike.byRun[hash]);
    for (unsigned other : others)
      if (mayBeShared(candidate, candidates[other]))
        if (auto found = explain(candidate, candidates[other])) {
          result.push_back(*found);
          break;
        }
  }
  std::stable_sort(result.begin(), result.end(),
                   [](const auto &a, const auto &b) { return a.bytes > b.bytes; });
  return result;
}

} // namespace plait
