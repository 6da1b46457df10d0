// Weight files: what is written can be read back and is shared exactly, and no damaged file does
// harm.
#include "backend/WeightWriter.h"
#include "mil/Concatenation.h"
#include "mil/OpInfo.h"
#include "mil/RecordChecksum.h"
#include "support/Half.h"
#include "support/NewFile.h"
#include "support/OutputFile.h"
#include "tests/FolderTest.h"

#include "llvm/ADT/StringExtras.h"
#include "llvm/ADT/bit.h"
#include "llvm/Support/CRC.h"
#include "llvm/Support/FileSystem.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <random>

using namespace plait;
using namespace plait::mil;
namespace fs = llvm::sys::fs;
using testing::ElementsAre;
using testing::HasSubstr;

namespace {

class WeightFileTest : public FolderTest {
protected:
  std::string contents(llvm::StringRef name) const { return get(at(name)); }
  void put(llvm::StringRef name, llvm::StringRef bytes) const {
    llvm::cantFail(writeNewFile(at(name), bytes, /*flush=*/false));
  }

  Expected<WeightLayout> writeTo(llvm::StringRef name, llvm::ArrayRef<WeightRequest> requests,
                                 unsigned threads, Evaluator *evaluator) {
    fs::remove(at(name));
    auto file = OutputFile::create(at(name));
    if (!file)
      return file.takeError();
    return writeWeights(*file, requests, threads, evaluator);
  }

  /// Writes, then reads every request back and compares it with what the tensor says of itself.
  WeightLayout write(llvm::ArrayRef<WeightRequest> requests, unsigned threads = 2,
                     Evaluator *evaluator = nullptr) {
    WeightLayout layout = llvm::cantFail(writeTo("w", requests, threads, evaluator));
    auto file = llvm::cantFail(WeightFile::open(at("w")));
    EXPECT_EQ(file->count(), layout.blobs.size());
    EXPECT_EQ(file->fileBytes(), layout.fileBytes);
    auto blobs = llvm::cantFail(file->blobs());
    EXPECT_EQ(blobs.size(), layout.blobs.size());
    for (size_t i = 0; i < std::min(blobs.size(), layout.blobs.size()); ++i)
      EXPECT_EQ(blobs[i].metadataOffset, layout.blobs[i].metadataOffset);
    for (size_t i = 0; i < requests.size(); ++i) {
      const TensorData &tensor = requests[i].tensor;
      auto back = file->tensorAt(layout.offset(i), tensor.dtype(), tensor.shape());
      if (!back) {
        ADD_FAILURE() << llvm::toString(back.takeError());
        continue;
      }
      EXPECT_EQ(llvm::cantFail(back->bytes()), llvm::cantFail(tensor.bytes(evaluator)))
          << "request " << i;
    }
    return layout;
  }

  static std::vector<float> noise(size_t count, unsigned seed) {
    std::mt19937 random(seed);
    std::normal_distribution<float> normal;
    std::vector<float> values(count);
    for (float &value : values)
      value = normal(random);
    return values;
  }
  static TensorData floats(llvm::ArrayRef<int64_t> shape, const std::vector<float> &values) {
    return TensorData::from<float>(DType::F32, shape, values);
  }
};

/// A storage that pretends to be a record of an archive: it knows its CRC and counts what is handed
/// back.
std::shared_ptr<Storage> record(const std::vector<float> &values) {
  TensorData tensor = TensorData::from<float>(DType::F32, {int64_t(values.size())}, values);
  auto storage = std::make_shared<Storage>(*tensor.node().storage);
  storage->owner = tensor.node().storage;
  storage->crc = llvm::crc32(storage->bytes);
  return storage;
}

TEST_F(WeightFileTest, BytesOfASmallFile) {
  std::vector<WeightRequest> requests = {
      {TensorData::from<float>(DType::F32, {3}, {1, 2, 3})},
      {TensorData::fromBytes(DType::U3, {5}, {0xD1, 0x58})},
      {TensorData::fromBytes(DType::I4, {3}, {0xE1, 0x03})},
  };
  WeightLayout layout = write(requests);
  // Offsets and padding as coremltools' writer gives them for the same three blobs.
  EXPECT_EQ(layout.offset(0), 64u);
  EXPECT_EQ(layout.offset(1), 192u);
  EXPECT_EQ(layout.offset(2), 320u);
  std::string bytes = contents("w");
  EXPECT_EQ(bytes.size(), 386u);
  EXPECT_EQ(llvm::toHex(bytes.substr(0, 8)), "0300000002000000");
  EXPECT_EQ(llvm::toHex(bytes.substr(192, 32)), "EFBEADDE0C00000002000000000000000001000000000000"
                                                "0100000000000000");
  EXPECT_EQ(llvm::toHex(bytes.substr(320, 32)), "EFBEADDE0800000002000000000000008001000000000000"
                                                "0400000000000000");
}

TEST_F(WeightFileTest, EveryElementType) {
  std::vector<WeightRequest> requests;
  for (unsigned i = 0; i < kNumDTypes; ++i)
    if (blobCode(DType(i))) {
      EXPECT_EQ(blobDType(*blobCode(DType(i))), DType(i));
      std::vector<uint8_t> bytes(byteSize(DType(i), 24));
      for (size_t k = 0; k < bytes.size(); ++k)
        bytes[k] = uint8_t(k * 37 + i);
      requests.push_back({TensorData::fromBytes(DType(i), {2, 12}, bytes)});
    }
  EXPECT_EQ(requests.size(), 15u);
  EXPECT_EQ(write(requests).blobs.size(), 15u);
}

TEST_F(WeightFileTest, NoWeightsGiveAHeader) {
  WeightLayout layout = write({});
  EXPECT_EQ(layout.fileBytes, 64u);
}

TEST_F(WeightFileTest, SharesEqualContentWhateverItsSource) {
  std::vector<float> values = noise(100, 1);
  std::vector<uint16_t> halves(values.size());
  floatToHalf(values.data(), halves.data(), values.size());
  TensorData first = floats({10, 10}, values), second = floats({10, 10}, values);
  TensorData half = TensorData::from<uint16_t>(DType::F16, {100}, halves);
  WeightLayout layout = write({{first.cast(DType::F16)},
                               {second.cast(DType::F16)},
                               {half},
                               {first.cast(DType::F16).reshape({1, 100})},
                               {first}});
  EXPECT_THAT(layout.blobOf, ElementsAre(0, 0, 0, 0, 1));
  EXPECT_EQ(layout.blobs[0].users, 4u);
}

TEST_F(WeightFileTest, DoesNotShareAcrossTypesOrScopes) {
  TensorData bytes = TensorData::fromBytes(DType::U8, {16}, std::vector<uint8_t>(16, 7));
  TensorData signedBytes = TensorData::fromBytes(DType::I8, {16}, std::vector<uint8_t>(16, 7));
  WeightLayout layout = write({{bytes, 0}, {signedBytes, 0}, {bytes, 1}, {bytes, 1}});
  EXPECT_THAT(layout.blobOf, ElementsAre(0, 1, 2, 2));
}

TEST_F(WeightFileTest, RefutedCandidatesMoveToTheEndAndShareAmongThemselves) {
  // Equal samples, one element apart where no sample looks.
  std::vector<float> values = noise(3'000'000, 2), other = values;
  other[777'777] += 1;
  std::vector<float> third = values;
  third[2'000'001] += 1;
  std::vector<WeightRequest> requests = {{floats({3'000'000}, values).cast(DType::F16)},
                                         {floats({3'000'000}, other).cast(DType::F16)},
                                         {floats({20}, noise(20, 3)).cast(DType::F16)},
                                         {floats({3'000'000}, other).cast(DType::F16)},
                                         {floats({3'000'000}, values).cast(DType::F16)},
                                         {floats({3'000'000}, third).cast(DType::F16)}};
  WeightLayout layout = write(requests);
  EXPECT_THAT(layout.blobOf, ElementsAre(0, 2, 1, 2, 0, 3));
}

TEST_F(WeightFileTest, ChecksumsRefuteWithoutReading) {
  std::vector<float> values = noise(5000, 4), other = values;
  other[4321] += 1;
  TensorData a = TensorData::view(record(values), 0, DType::F32, {5000});
  TensorData b = TensorData::view(record(other), 0, DType::F32, {5000});
  TensorData c = TensorData::view(record(values), 0, DType::F32, {50, 100});
  EXPECT_THAT(write({{a}, {b}, {c}}).blobOf, ElementsAre(0, 1, 0));
  // A lie about equality is found out; CRCs only ever name candidates.
  auto liar = record(other);
  liar->crc = *a.crc();
  TensorData d = TensorData::view(liar, 0, DType::F32, {5000});
  EXPECT_THAT(write({{a}, {d}}).blobOf, ElementsAre(0, 1));
}

TEST_F(WeightFileTest, WhatIsKnownToBeEqualIsNotRead) {
  std::vector<float> values = noise(1000, 1);
  std::vector<std::shared_ptr<Storage>> storages = {record(values), record(values)};
  for (auto &storage : storages) {
    auto likeness = std::make_shared<Likeness>(7);
    likeness->equal = storage->bytes.size();
    storage->likeness = likeness;
  }
  std::vector<uint64_t> released;
  storages[1]->release = [&](size_t offset, size_t size) { released.push_back(size); };
  std::vector<WeightRequest> requests;
  for (auto &storage : storages)
    requests.push_back({TensorData::view(storage, 0, DType::F32, {1000}).cast(DType::F16)});
  EXPECT_EQ(write(requests).blobs.size(), 1u);
  EXPECT_EQ(released.size(), 1u) << "samples alone are read";

  // The same of a view whose elements are gathered, as of the rest where less is known.
  for (uint64_t known : {uint64_t(4000), uint64_t(2000)}) {
    auto likeness = std::make_shared<Likeness>(8);
    likeness->equal = known;
    storages[0]->likeness = storages[1]->likeness = likeness;
    for (WeightRequest &request : requests)
      request.tensor = request.tensor.reshape({20, 50}).permute({1, 0});
    EXPECT_EQ(write(requests).blobs.size(), 1u);
  }
}

TEST_F(WeightFileTest, DifferentSourcesThatRoundToTheSameHalvesShare) {
  std::vector<float> values = noise(4000, 5), other = values;
  for (float &value : values)
    value = halfToFloat(floatToHalf(value));
  other = values;
  for (float &value : other)
    value *= 1 + 1e-6f;
  TensorData a = TensorData::view(record(values), 0, DType::F32, {4000});
  TensorData b = TensorData::view(record(other), 0, DType::F32, {4000});
  EXPECT_THAT(write({{a.cast(DType::F16)}, {b.cast(DType::F16)}}).blobOf, ElementsAre(0, 0));
  EXPECT_THAT(write({{a}, {b}}).blobOf, ElementsAre(0, 1));
}

TEST_F(WeightFileTest, NumbersBeyondHalfSaturateAndAreCounted) {
  constexpr int64_t rows = 300, columns = 2000; // two tiles
  constexpr float inf = std::numeric_limits<float>::infinity();
  std::vector<float> values = noise(rows * columns, 9);
  values[3] = 1e6f;
  values[4] = inf;
  values[5] = std::nanf("");
  values[6] = 65519; // rounds to 65504
  values[columns] = -65520;
  values.back() = -7e4f;
  TensorData w = floats({rows, columns}, values);
  std::vector<float> halved = values;
  for (float &value : halved)
    value /= 2;
  TensorData half = floats({rows, columns}, halved);
  // Equal in fp16, for -65520 saturates; and in each form that a tree may have.
  std::vector<float> other = values;
  other[columns] = -65504;
  TensorData zero = TensorData::splat(DType::F32, {4, columns}, 0);
  TensorData b = TensorData::splat(DType::F32, {rows, 4}, 0);
  std::vector<WeightRequest> requests = {
      {w.cast(DType::F16)},
      {floats({rows, columns}, other).cast(DType::F16)},
      {w.permute({1, 0}).cast(DType::F16)},
      {half.scale(2).cast(DType::F16)},
      {w.loraMerge(b, zero, 1).cast(DType::F16)},
      {w},
      {Concatenation::make({w.cast(DType::F16)}, 0)},
  };
  for (unsigned threads : {1, 2}) {
    WeightLayout layout = llvm::cantFail(writeTo("w", requests, threads, /*evaluator=*/nullptr));
    EXPECT_THAT(layout.blobOf, ElementsAre(0, 0, 1, 0, 0, 2, 0));
    for (unsigned blob : {0, 1}) {
      EXPECT_EQ(layout.blobs[blob].saturation.count, 3u);
      EXPECT_EQ(layout.blobs[blob].saturation.largest, 1e6f);
    }
    EXPECT_EQ(layout.blobs[2].saturation.count, 0u) << "fp32";
    EXPECT_EQ(layout.blobs[0].saturation.zeros, 0u);
    auto file = llvm::cantFail(WeightFile::open(at("w")));
    auto back =
        llvm::cantFail(llvm::cantFail(file->tensorAt(layout.offset(0), DType::F16, {rows, columns}))
                           .floatValues());
    EXPECT_EQ(back[3], 65504);
    EXPECT_EQ(back[4], inf);
    EXPECT_TRUE(std::isnan(back[5]));
    EXPECT_EQ(back[6], 65504);
    EXPECT_EQ(back[columns], -65504);
    EXPECT_EQ(back.back(), -65504);
    EXPECT_EQ(back[0], halfToFloat(floatToHalf(values[0])));
  }
}

TEST_F(WeightFileTest, OneBitIsEnoughToDiffer) {
  // Each pair in small and in large, where it lies and where no sample looks, as it is and
  // through a transform that keeps it.
  auto variants = [](auto value, size_t size) {
    std::vector<uint32_t> bits(size, llvm::bit_cast<uint32_t>(1.5f));
    bits[size * 2 / 3] = llvm::bit_cast<uint32_t>(value);
    return TensorData::from<uint32_t>(DType::F32, {int64_t(size)}, bits);
  };
  uint32_t quiet = 0x7FC00000;
  const std::pair<float, float> pairs[] = {
      {1.5f, std::nextafter(1.5f, 2.0f)},
      {0.0f, -0.0f},
      {llvm::bit_cast<float>(quiet), llvm::bit_cast<float>(quiet | 1)},
      {llvm::bit_cast<float>(quiet), llvm::bit_cast<float>(quiet | 0x80000000)},
      {std::numeric_limits<float>::denorm_min(), 0.0f},
  };
  for (auto [a, b] : pairs)
    for (size_t size : {12, 300, 400'000}) {
      TensorData x = variants(a, size), y = variants(b, size), again = variants(a, size);
      EXPECT_THAT(write({{x}, {y}, {again}}).blobOf, ElementsAre(0, 1, 0)) << a << " " << b;
      auto turned = [&](const TensorData &t) {
        return t.reshape({int64_t(size) / 4, 4}).permute({1, 0});
      };
      EXPECT_THAT(write({{turned(x)}, {turned(y)}, {turned(again)}}).blobOf, ElementsAre(0, 1, 0))
          << a << " " << b;
    }
  // A half apart after rounding, and the zeros' signs, survive the cast.
  auto half = [&](float value) { return variants(value, 400).cast(DType::F16); };
  EXPECT_THAT(write({{half(1.5f)}, {half(1.5f + 0x1p-10f)}, {half(0.f)}, {half(-0.f)}}).blobOf,
              ElementsAre(0, 1, 2, 3));
}

TEST_F(WeightFileTest, ShapesDoNotMatterAndTypesDo) {
  std::vector<float> values = noise(120, 9);
  auto *begin = reinterpret_cast<const uint8_t *>(values.data());
  std::vector<uint8_t> bytes(begin, begin + 480);
  WeightLayout layout = write({{TensorData::fromBytes(DType::F32, {10, 12}, bytes)},
                               {TensorData::fromBytes(DType::F32, {12, 10, 1, 1}, bytes)},
                               {TensorData::fromBytes(DType::F32, {120}, bytes)},
                               {TensorData::fromBytes(DType::I32, {120}, bytes)},
                               {TensorData::fromBytes(DType::F16, {240}, bytes)},
                               {TensorData::fromBytes(DType::BF16, {240}, bytes)},
                               {TensorData::fromBytes(DType::I16, {240}, bytes)},
                               {TensorData::fromBytes(DType::U8, {480}, bytes)},
                               {TensorData::fromBytes(DType::U4, {960}, bytes)}});
  EXPECT_THAT(layout.blobOf, ElementsAre(0, 0, 0, 1, 2, 3, 4, 5, 6));
}

TEST_F(WeightFileTest, LazyTreesAreWrittenAsTheyRead) {
  TensorData w = floats({70, 90}, noise(6300, 6));
  TensorData b = floats({70, 4}, noise(280, 7)), a = floats({4, 90}, noise(360, 8));
  write({{w.permute({1, 0}).cast(DType::F16)},
         {w.loraMerge(b, a, 0.25).cast(DType::F16)},
         {w.scale(3).permute({1, 0})},
         {TensorData::splat(DType::F16, {6000}, 0)},
         {TensorData::splat(DType::F16, {60, 100}, 0)}});
}

TEST_F(WeightFileTest, TransposedWeightsShareAndAreExact) {
  std::vector<float> values = noise(1201 * 999, 9), other = values, rounded = values;
  other[500'000] += 1;
  values[600'000] = other[600'000] = halfToFloat(floatToHalf(values[600'000]));
  rounded[600'000] = values[600'000] * (1 + 1e-6f);
  auto transposed = [&](const std::vector<float> &source) {
    return TensorData::view(record(source), 0, DType::F32, {999, 1201}).permute({1, 0});
  };
  WeightLayout layout = write({{transposed(values).cast(DType::F16)},
                               {transposed(values).cast(DType::F16)},
                               {transposed(other).cast(DType::F16)},
                               {transposed(rounded).cast(DType::F16)},
                               {transposed(other)},
                               {transposed(rounded)},
                               {transposed(other)}});
  EXPECT_THAT(layout.blobOf, ElementsAre(0, 0, 2, 0, 1, 3, 1));
  // Element for element, against a plain loop.
  auto file = llvm::cantFail(WeightFile::open(at("w")));
  std::vector<uint8_t> bytes = llvm::cantFail(
      llvm::cantFail(file->tensorAt(layout.offset(4), DType::F32, {1201, 999})).bytes());
  const float *written = reinterpret_cast<const float *>(bytes.data());
  for (int64_t r = 0; r < 1201; ++r)
    for (int64_t c = 0; c < 999; ++c)
      ASSERT_EQ(written[r * 999 + c], other[size_t(c * 1201 + r)]);
}

TEST_F(WeightFileTest, UnusedBitsAreZero) {
  TensorData dirty = TensorData::fromBytes(DType::I4, {3}, {0x21, 0xF3});
  EXPECT_EQ(llvm::cantFail(dirty.bytes()), (std::vector<uint8_t>{0x21, 0x03}));
  TensorData clean = TensorData::fromBytes(DType::I4, {3}, {0x21, 0x03});
  EXPECT_THAT(write({{dirty}, {clean}}).blobOf, ElementsAre(0, 0));
}

TEST_F(WeightFileTest, TheFileDoesNotDependOnTheNumberOfThreads) {
  std::vector<WeightRequest> requests;
  for (unsigned i = 0; i < 40; ++i) {
    std::vector<float> values = noise(i % 3 == 0 ? 600'000 : 1000 + i / 4, i / 2 % 7);
    if (i % 5 == 0)
      values[values.size() / 3] += 1;
    requests.push_back(
        {floats({int64_t(values.size())}, values).cast(i % 4 ? DType::F16 : DType::F32)});
  }
  write(requests, 1);
  std::string first = contents("w");
  for (unsigned threads : {2u, 3u, 8u}) {
    write(requests, threads);
    EXPECT_EQ(contents("w"), first) << threads << " threads";
  }
}

/// Adds two constants, whatever the operation: enough of an interpreter to see computed constants
/// evaluated.
struct Adder : Evaluator {
  Expected<std::vector<TensorData>> evaluate(OpKind kind,
                                             llvm::ArrayRef<std::vector<Attr>> operands,
                                             llvm::ArrayRef<Type> resultTypes) override {
    ++calls;
    auto x = operands[0][0].tensor()->floatValues(), y = operands[1][0].tensor()->floatValues();
    if (!x || !y)
      return makeError(Code::Internal, "no values");
    std::vector<float> sum;
    for (size_t i = 0; i < x->size(); ++i)
      sum.push_back(float((*x)[i] + (*y)[i]));
    return std::vector<TensorData>{
        TensorData::from<float>(DType::F32, operands[0][0].tensor()->shape(), sum)};
  }
  int calls = 0;
};

TEST_F(WeightFileTest, ComputedConstantsAreEvaluatedOnceAndSharedWithEqualContent) {
  std::vector<float> values(2000, 1.5f), twice(2000, 3.0f);
  TensorData x = floats({2000}, values), sum = floats({2000}, twice);
  auto computed = [&](const TensorData &y) {
    return TensorData::computed(OpKind::maximum, {{Attr(x)}, {Attr(y)}},
                                Type::tensor(DType::F32, llvm::ArrayRef<int64_t>{2000}));
  };
  Adder adder;
  WeightLayout layout = llvm::cantFail(writeTo(
      "w",
      {{computed(x)}, {sum}, {computed(x)}, {computed(sum)}, {computed(floats({2000}, values))}}, 2,
      &adder));
  EXPECT_THAT(layout.blobOf, ElementsAre(0, 0, 0, 1, 0));
  EXPECT_LE(adder.calls, 3);
  write({{computed(x)}, {computed(sum).cast(DType::F16)}}, 2, &adder);
  EXPECT_THAT(llvm::toString(writeTo("w", {{computed(x)}}, 2, nullptr).takeError()),
              HasSubstr("maximum"));
}

TEST_F(WeightFileTest, ConcatenationsAreReadWhereTheirPartsLie) {
  constexpr int64_t rows = 700, columns = 1000; // several tiles, none of which ends with a part
  std::vector<float> values = noise(3 * rows * columns, 3);
  // The same content from two archives, the whole of it from a third.
  std::vector<std::vector<std::pair<size_t, size_t>>> released(6);
  std::vector<std::shared_ptr<RecordChecksum>> checksums;
  auto partOf = [&](size_t number, bool likeness) {
    std::vector<float> own(values.begin() + (number % 3) * rows * columns,
                           values.begin() + (number % 3 + 1) * rows * columns);
    auto storage = record(own);
    storage->release = [&released, number](size_t offset, size_t size) {
      released[number].emplace_back(offset, size);
    };
    storage->checksum =
        std::make_shared<RecordChecksum>("part", storage->bytes, *storage->crc, nullptr);
    storage->checksum->want();
    checksums.push_back(storage->checksum);
    if (likeness) {
      storage->likeness = std::make_shared<Likeness>(number % 3);
      std::const_pointer_cast<Likeness>(storage->likeness)->equal = storage->bytes.size();
    }
    return TensorData::view(storage, 0, DType::F32, {rows, columns});
  };
  for (bool known : {false, true}) {
    for (auto &one : released)
      one.clear();
    auto wholeOf = [&](size_t first) {
      return concatenated(
                 {partOf(first, known), partOf(first + 1, known), partOf(first + 2, known)})
          .cast(DType::F16);
    };
    std::vector<WeightRequest> requests = {
        {wholeOf(0)},
        {wholeOf(3)},
        {TensorData::view(record(values), 0, DType::F32, {3 * rows, columns}).cast(DType::F16)}};
    WeightLayout layout = llvm::cantFail(writeTo("w", requests, 2, /*evaluator=*/nullptr));
    EXPECT_THAT(layout.blobOf, ElementsAre(0, 0, 0));
    size_t bytes = 0;
    for (auto [offset, size] : released[1])
      bytes += size;
    EXPECT_GE(bytes, size_t(rows * columns * 4)) << "the pages of every part are given back";
    EXPECT_LE(released[4].size(), known ? 1u : 100u) << "what is known to be equal is not read";
    // What the writer saw is what the archives say.
    EXPECT_FALSE(bool(RecordChecksum::checkAll(checksums, 1)));
    checksums.clear();
  }
  write({{concatenated({partOf(0, false), partOf(2, false)}).cast(DType::F16)},
         {concatenated({partOf(2, false), partOf(0, false)}).cast(DType::F16)}});
}

TEST_F(WeightFileTest, UnwritablePathIsAnError) {
  EXPECT_THAT(llvm::toString(writeTo("no/w", {}, 1, nullptr).takeError()),
              HasSubstr("No such file"));
}

// ---- Damage
// -------------------------------------------------------------------------------------

TEST_F(WeightFileTest, TruncationAtEveryByteIsNoticed) {
  std::vector<WeightRequest> requests = {
      {floats({10}, noise(10, 1))},
      {TensorData::fromBytes(DType::U6, {11}, std::vector<uint8_t>(9, 0x55))}};
  WeightLayout layout = write(requests);
  std::string whole = contents("w");
  for (size_t size = 0; size < whole.size(); ++size) {
    put("cut", llvm::StringRef(whole).take_front(size));
    auto file = WeightFile::open(at("cut"));
    if (!file) {
      EXPECT_LT(size, 64u) << llvm::toString(file.takeError());
      continue;
    }
    auto blobs = (*file)->blobs();
    EXPECT_FALSE(blobs) << size;
    llvm::consumeError(blobs.takeError());
    auto last = (*file)->tensorAt(layout.offset(1), DType::U6, {11});
    EXPECT_FALSE(last) << size;
    llvm::consumeError(last.takeError());
  }
}

TEST_F(WeightFileTest, FlippedBytesNeverCrash) {
  std::vector<WeightRequest> requests = {
      {floats({10}, noise(10, 1))},
      {TensorData::fromBytes(DType::I4, {11}, std::vector<uint8_t>(6, 0x55))}};
  WeightLayout layout = write(requests);
  std::string whole = contents("w");
  unsigned noticed = 0;
  for (size_t i = 0; i < whole.size(); ++i)
    for (uint8_t flip : {0x01, 0x80, 0xFF}) {
      std::string damaged = whole;
      damaged[i] = char(damaged[i] ^ flip);
      put("bad", damaged);
      auto file = WeightFile::open(at("bad"));
      if (!file) {
        ++noticed;
        llvm::consumeError(file.takeError());
        continue;
      }
      if (auto blobs = (*file)->blobs(); !blobs) {
        ++noticed;
        llvm::consumeError(blobs.takeError());
      }
      for (size_t request : {0, 1}) {
        auto tensor = (*file)->tensorAt(layout.offset(request), requests[request].tensor.dtype(),
                                        requests[request].tensor.shape());
        if (!tensor)
          llvm::consumeError(tensor.takeError());
        else
          llvm::cantFail(tensor->bytes());
      }
    }
  EXPECT_GT(noticed, 100u);
}

TEST_F(WeightFileTest, ReservedFieldsHoldAnything) {
  // As coremltools 5 to 7 left them: what is the count of padding today was among them.
  std::vector<WeightRequest> requests = {
      {floats({10}, noise(10, 1))},
      {TensorData::fromBytes(DType::U8, {3}, {1, 2, 3})},
      {TensorData::fromBytes(DType::U6, {11}, std::vector<uint8_t>(9, 0x55))}};
  WeightLayout layout = write(requests);
  std::string bytes = contents("w");
  std::fill(bytes.begin() + 8, bytes.begin() + 64, '\xA5'); // the header's
  for (size_t i = 0; i < 3; ++i) {
    size_t record = layout.offset(i);
    std::fill(bytes.begin() + record + (i < 2 ? 24 : 32), bytes.begin() + record + 64, '\xA5');
  }
  put("garbage", bytes);
  auto file = llvm::cantFail(WeightFile::open(at("garbage")));
  EXPECT_EQ(llvm::cantFail(file->blobs()).size(), 3u);
  for (size_t i = 0; i < 3; ++i) {
    const TensorData &tensor = requests[i].tensor;
    auto back = llvm::cantFail(file->tensorAt(layout.offset(i), tensor.dtype(), tensor.shape()));
    EXPECT_EQ(llvm::cantFail(back.bytes()), llvm::cantFail(tensor.bytes()));
  }
  // Of elements of a few bits the field counts.
  bytes[layout.offset(2) + 24] = 7;
  put("garbage", bytes);
  file = llvm::cantFail(WeightFile::open(at("garbage")));
  EXPECT_THAT(llvm::toString(file->blobAt(layout.offset(2)).takeError()),
              HasSubstr("bits of padding"));
}

TEST_F(WeightFileTest, SaysWhatIsWrong) {
  write({{floats({10}, noise(10, 1))}, {floats({20}, noise(20, 2))}});
  auto file = llvm::cantFail(WeightFile::open(at("w")));
  auto message = [&](uint64_t offset, DType dtype, llvm::ArrayRef<int64_t> shape) {
    return llvm::toString(file->tensorAt(offset, dtype, shape).takeError());
  };
  EXPECT_THAT(message(64, DType::F16, {10}), HasSubstr("it holds fp32, but the model says fp16"));
  EXPECT_THAT(message(64, DType::F32, {11}),
              HasSubstr("it holds 10 elements, but the model says 11"));
  EXPECT_THAT(message(64, DType::F32, {1LL << 40, 1LL << 40}), HasSubstr("impossible shape"));
  EXPECT_THAT(message(65, DType::F32, {10}), HasSubstr("multiples of 64"));
  EXPECT_THAT(message(128, DType::F32, {10}), HasSubstr("no metadata record"));
  EXPECT_THAT(message(1ULL << 63, DType::F32, {10}), HasSubstr("beyond the end"));
}

} // namespace
