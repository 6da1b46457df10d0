// Contents made from a path and a number.
#include "mil/StandIn.h"

#include "llvm/Support/xxhash.h"

namespace plait::mil {

namespace {

constexpr int64_t kMaxElements = int64_t(1) << 28;

/// SplitMix64: a good 64-bit number for each index.
uint64_t mix(uint64_t index) {
  uint64_t z = index * 0x9e3779b97f4a7c15;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return z ^ (z >> 31);
}

/// The sum of four uniform numbers, near a normal distribution of deviation 1/7.
float bellShaped(uint64_t random) {
  uint64_t sum =
      (random & 0xffff) + (random >> 16 & 0xffff) + (random >> 32 & 0xffff) + (random >> 48);
  return float(int64_t(sum) - 2 * 0xffff) / float(1 << 18);
}

} // namespace

Expected<TensorData> standIn(llvm::StringRef path, uint64_t offset, const Type &type) {
  auto shape = constShape(type.shape());
  if (!shape)
    return makeError(Code::IllFormedProgram, "a constant has the dynamic type {0}", type.str());
  int64_t count = numElements(llvm::ArrayRef<int64_t>(*shape));
  if (count > kMaxElements)
    return makeError(Code::TooLarge, "{0} is too large to stand in for a weight", type.str());
  DType dtype = type.dtype();
  uint64_t seed = mix(llvm::xxh3_64bits(path) + offset);
  if (!isFloat(dtype)) {
    std::vector<uint8_t> bytes(byteSize(dtype, count));
    if (bitWidth(dtype) <= 8 && dtype != DType::Bool)
      for (size_t i = 0; i < bytes.size(); ++i)
        bytes[i] = uint8_t(mix(seed + i));
    return TensorData::fromBytes(dtype, *shape, std::move(bytes));
  }
  std::vector<float> values(count);
  for (int64_t i = 0; i < count; ++i)
    values[i] = bellShaped(mix(seed + i));
  auto bytes = TensorData::from<float>(DType::F32, *shape, values).cast(dtype).bytes();
  if (!bytes)
    return bytes.takeError();
  return TensorData::fromBytes(dtype, *shape, std::move(*bytes));
}

std::function<BlobLocation(const TensorData &)> standInPlaces() {
  struct Known {
    std::map<uint64_t, std::vector<std::pair<TensorData, uint64_t>>> byHash;
    uint64_t count = 0;
  };
  return [known = std::make_shared<Known>()](const TensorData &data) {
    auto &alike = known->byHash[data.treeHash()];
    auto found = llvm::find_if(alike, [&](const auto &one) { return one.first.sameTree(data); });
    if (found == alike.end()) {
      alike.emplace_back(data, ++known->count);
      found = std::prev(alike.end());
    }
    return BlobLocation{standInPath.str(), found->second};
  };
}

} // namespace plait::mil
