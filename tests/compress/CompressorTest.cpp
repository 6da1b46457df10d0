// One weight by every scheme: what the parts stand for, against a decompression that knows nothing
// of how they were made.
#include "compress/Compressor.h"

#include "support/Half.h"

#include "llvm/ADT/STLExtras.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>

namespace plait::compress {

using namespace mil;
using testing::HasSubstr;

namespace {

TensorData randomWeight(DType dtype, llvm::ArrayRef<int64_t> shape, unsigned seed = 1) {
  std::mt19937 random(seed);
  std::vector<float> values(size_t(mil::numElements(shape)));
  for (float &value : values)
    value = std::normal_distribution<float>(0, 0.05f)(random);
  if (dtype == DType::F32)
    return TensorData::from<float>(dtype, shape, values);
  std::vector<uint16_t> halves(values.size());
  floatToHalf(values.data(), halves.data(), values.size());
  return TensorData::from<uint16_t>(dtype, shape, halves);
}

std::vector<double> numbers(const TensorData &tensor) {
  if (isFloat(tensor.dtype()))
    return llvm::cantFail(tensor.floatValues());
  std::vector<double> result;
  std::vector<uint8_t> bytes = llvm::cantFail(tensor.bytes());
  unsigned width = bitWidth(tensor.dtype());
  for (int64_t i = 0; i < tensor.numElements(); ++i) {
    int value = 0;
    for (unsigned bit = 0; bit < width; ++bit)
      value |= (bytes[(i * width + bit) / 8] >> ((i * width + bit) % 8) & 1) << bit;
    bool isSigned = tensor.dtype() == DType::I4 || tensor.dtype() == DType::I8;
    result.push_back(isSigned && value >> (width - 1) ? value - (1 << width) : value);
  }
  return result;
}

/// The element of `blocks` that stands for position `index` of `shape`.
int64_t blockOf(llvm::ArrayRef<int64_t> index, llvm::ArrayRef<int64_t> shape,
                llvm::ArrayRef<int64_t> blocks) {
  int64_t at = 0;
  for (size_t axis = 0; axis < shape.size(); ++axis)
    at = at * blocks[axis] + index[axis] / (shape[axis] / blocks[axis]);
  return at;
}

std::vector<double> decompressed(const Compressed &c, llvm::ArrayRef<int64_t> shape, bool halves) {
  auto rounded = [&](double value) {
    return double(halves ? halfToFloat(floatToHalf(float(value))) : float(value));
  };
  std::vector<double> data = numbers(c.data), mask, table, scale, offset, result;
  if (c.mask)
    mask = numbers(c.mask);
  if (c.table)
    table = numbers(c.table);
  if (c.scale)
    scale = numbers(c.scale);
  if (c.offset)
    offset = numbers(c.offset);
  size_t next = 0;
  llvm::SmallVector<int64_t, 5> index(shape.size());
  for (int64_t i = 0; i < mil::numElements(shape); ++i) {
    int64_t rest = i;
    for (size_t axis = shape.size(); axis-- > 0; rest /= shape[axis])
      index[axis] = rest % shape[axis];
    if (c.mask && mask[size_t(i)] == 0) {
      result.push_back(0);
      continue;
    }
    if (c.vectorAxis) {
      size_t along = size_t(*c.vectorAxis);
      int64_t length = c.table.shape().back(), at = 0;
      for (size_t axis = 0; axis < shape.size(); ++axis)
        at = at * c.data.shape()[axis] + index[axis] / (axis == along ? length : 1);
      result.push_back(table[size_t(int64_t(data[size_t(at)]) * length + index[along] % length)]);
      next = data.size();
      continue;
    }
    double value = data[next++];
    if (c.table) {
      auto groups = c.table.shape().drop_back(2);
      int64_t group = blockOf(index, shape, groups), entries = c.table.shape()[shape.size()];
      value = table[size_t(group * entries) + size_t(value)];
      if (c.scale)
        value = rounded(value * scale[size_t(group)]);
    } else if (c.scale) {
      size_t block = size_t(blockOf(index, shape, c.scale.shape()));
      value = rounded((value - (c.offset ? offset[block] : 0)) * scale[block]);
    }
    result.push_back(value);
  }
  EXPECT_EQ(next, data.size());
  return result;
}

CompressorOptions inThreads(unsigned threads) {
  CompressorOptions options;
  options.threads = threads;
  options.target = testing::TempDir() + "x.mlpackage";
  return options;
}

Compressed compressed(const TensorData &weight, llvm::StringRef scheme, Axes axes = {0, 1},
                      unsigned threads = 2) {
  auto outcome =
      compressWeight(weight, axes, llvm::cantFail(parseScheme(scheme)), inThreads(threads));
  if (!outcome || !outcome->compressed) {
    ADD_FAILURE() << (outcome ? outcome->skipped : llvm::toString(outcome.takeError()));
    return {};
  }
  return *outcome->compressed;
}

constexpr const char *kSchemes[] = {"int8",
                                    "int8[tensor]",
                                    "uint8",
                                    "int4",
                                    "int4[channel]",
                                    "int4[block 4]",
                                    "uint4[block 8]",
                                    "palette1",
                                    "palette2[group 2]",
                                    "palette3[channel]",
                                    "palette4[group 4]",
                                    "palette6",
                                    "palette8",
                                    "palette4[group 4, table int8]",
                                    "prune50%",
                                    "prune1:3",
                                    "prune2:4+int8",
                                    "prune30%+palette4[group 4]",
                                    "prune70%+uint4[channel]",
                                    "prune50%+palette3"};

} // namespace

TEST(Compressor, PartsStandForWhatTheReportSays) {
  struct Case {
    llvm::SmallVector<int64_t, 4> shape;
    Axes axes;
  };
  // Of a linear layer, a convolution with odd sizes, a transposed one, a matmul's right side.
  for (const Case &one : {Case{{12, 40}, {0, 1}}, Case{{8, 15, 3, 1}, {0, 1}},
                          Case{{15, 8, 3, 1}, {1, 0}}, Case{{3, 16, 20}, {2, 1}}})
    for (DType dtype : {DType::F16, DType::F32})
      for (const char *scheme : kSchemes) {
        SCOPED_TRACE(std::string(scheme) + " on rank " + std::to_string(one.shape.size()) + " " +
                     name(dtype).str());
        TensorData weight = randomWeight(dtype, one.shape);
        Compressed c = compressed(weight, scheme, one.axes);
        if (!c.data)
          continue;
        std::vector<double> before = numbers(weight),
                            after = decompressed(c, one.shape, dtype == DType::F16);
        double power = 0, error = 0, largest = 0;
        for (auto [a, b] : llvm::zip(before, after)) {
          power += a * a;
          error += (a - b) * (a - b);
          largest = std::max(largest, std::fabs(a - b));
        }
        EXPECT_NEAR(c.power, power, 1e-9 * power);
        EXPECT_NEAR(c.error, error, 1e-9 * power);
        EXPECT_NEAR(c.largestError, largest, 1e-9);
        EXPECT_GT(c.snr(), 2);
        EXPECT_GT(c.bitsPerWeight(), 1);
      }
}

TEST(Compressor, CorrectionsTakeErrorAway) {
  for (DType dtype : {DType::F16, DType::F32})
    for (Axes axes : {Axes{0, 1}, Axes{1, 0}})
      for (const char *scheme :
           {"palette2[group 4]", "palette3", "int4[block 8]", "prune50%+int8"}) {
        SCOPED_TRACE(std::string(scheme) + " " + name(dtype).str());
        TensorData weight = randomWeight(dtype, {24, 40});
        Compressed plain = compressed(weight, scheme, axes),
                   c = compressed(weight, std::string(scheme) + "+lowrank6", axes);
        ASSERT_TRUE(c.down && c.up);
        int64_t rows = weight.shape()[axes.out], columns = weight.shape()[*axes.in];
        ASSERT_EQ(c.up.shape().vec(), (std::vector<int64_t>{rows, 6}));
        ASSERT_EQ(c.down.shape().vec(), (std::vector<int64_t>{6, columns}));
        EXPECT_EQ(c.up.dtype(), dtype);
        std::vector<double> before = numbers(weight), up = numbers(c.up), down = numbers(c.down),
                            after = decompressed(c, {24, 40}, dtype == DType::F16);
        double error = 0;
        for (int64_t row = 0; row < rows; ++row)
          for (int64_t column = 0; column < columns; ++column) {
            auto at = size_t(axes.out == 0 ? row * columns + column : column * rows + row);
            double left = before[at] - after[at];
            for (size_t k = 0; k < 6; ++k)
              left -= up[size_t(row) * 6 + k] * down[k * size_t(columns) + size_t(column)];
            error += left * left;
          }
        EXPECT_NEAR(c.error, error, error * 0.01);
        EXPECT_LT(c.error, plain.error * 0.75);
        EXPECT_GT(c.bytes(), plain.bytes());
      }
}

TEST(Compressor, TheNumberOfThreadsDoesNotShow) {
  TensorData weight = randomWeight(DType::F16, {96, 2000});
  for (const char *scheme : {"int4", "palette4[group 16]", "palette6", "prune50%+palette4", "int8",
                             "palette4[vector 2]"}) {
    Compressed one = compressed(weight, scheme, {0, 1}, 1),
               many = compressed(weight, scheme, {0, 1}, 5);
    for (auto part :
         {&Compressed::data, &Compressed::mask, &Compressed::table, &Compressed::scale}) {
      ASSERT_EQ(bool(one.*part), bool(many.*part)) << scheme;
      if (one.*part) {
        EXPECT_EQ(llvm::cantFail((one.*part).bytes()), llvm::cantFail((many.*part).bytes()))
            << scheme;
      }
    }
    EXPECT_EQ(one.error, many.error);
  }
}

TEST(Compressor, GoesOnWhereSizesDoNotDivide) {
  Compressed c = compressed(randomWeight(DType::F16, {26, 50}), "palette4[group 16]");
  EXPECT_EQ(c.note, "groups of 13 in place of 16: there are 26");
  EXPECT_EQ(c.scheme.str(), "palette4[group 13]");
  c = compressed(randomWeight(DType::F16, {4, 50}), "int4[block 32]");
  EXPECT_EQ(c.note, "blocks of 25 in place of 32: there are 50");
  c = compressed(randomWeight(DType::F16, {53, 64}), "palette4[group 16]"); // a prime number
  EXPECT_EQ(c.scheme.str(), "palette4[group 53]");
}

TEST(Compressor, ConstantsAndZerosStayExact) {
  std::vector<float> values(4096, 0);
  std::fill(values.begin() + 2048, values.end(), 0.25f);
  TensorData weight = TensorData::from<float>(DType::F32, {64, 64}, values);
  for (const char *scheme : {"int8", "int4", "uint4", "palette1", "palette4[group 16]", "prune50%"})
    EXPECT_LT(compressed(weight, scheme).error, 1e-9) << scheme;
  EXPECT_TRUE(std::isinf(compressed(weight, "palette2").snr()));
  // Every number is pruned somewhere: a group without numbers has a table all the same.
  EXPECT_EQ(compressed(weight, "prune50%+palette2[group 16]").error, 0);
}

TEST(Compressor, LeavesWhatIsNotFinite) {
  for (float bad :
       {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()})
    for (const char *scheme : kSchemes) {
      std::vector<float> values(64 * 64, 0.5f);
      values[4000] = bad;
      auto outcome = compressWeight(TensorData::from<float>(DType::F32, {64, 64}, values), {0, 1},
                                    llvm::cantFail(parseScheme(scheme)), inThreads(1));
      ASSERT_TRUE(bool(outcome));
      EXPECT_EQ(outcome->skipped, "it holds numbers that are not finite") << scheme;
    }
}

TEST(Compressor, VectorsDivideTheOutputs) {
  auto outcome = compressWeight(randomWeight(DType::F16, {50, 64}), {0, 1},
                                llvm::cantFail(parseScheme("palette4[vector 4]")), inThreads(1));
  ASSERT_TRUE(bool(outcome));
  EXPECT_THAT(outcome->skipped, HasSubstr("50 output channels do not divide into vectors of 4"));
  // Two numbers that go together need one bit for both.
  std::vector<float> values(64 * 64);
  for (size_t i = 0; i < values.size(); ++i)
    values[i] = (i % 64 % 3 == 0 ? 1.f : -1.f) * (i / 64 % 2 ? 0.5f : 0.25f);
  TensorData weight = TensorData::from<float>(DType::F32, {64, 64}, values);
  Compressed c = compressed(weight, "palette1[vector 2]");
  EXPECT_EQ(c.error, 0);
  EXPECT_LT(c.bitsPerWeight(), 0.6);
}

TEST(Compressor, PrunesTheSmallest) {
  std::vector<float> values{3, -1, 2, -2, 0.5, 1, -4, 2};
  TensorData weight = TensorData::from<float>(DType::F32, {2, 4}, values);
  EXPECT_EQ(decompressed(compressed(weight, "prune50%"), {2, 4}, false),
            (std::vector<double>{3, 0, 0, -2, 0, 0, -4, 2})); // of equal ones the first goes
  EXPECT_EQ(decompressed(compressed(weight, "prune2:4"), {2, 4}, false),
            (std::vector<double>{3, 0, 0, -2, 0, 0, -4, 2}));
  EXPECT_EQ(decompressed(compressed(weight, "prune1:2"), {2, 4}, false),
            (std::vector<double>{3, 0, 0, -2, 0, 1, -4, 0}));
}

} // namespace plait::compress
