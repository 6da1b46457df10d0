// Lazy constants read tile by tile: computed constants against plain loops over whole tensors, in
// tiles of odd sizes, and never more memory than their small operands.
#include "mil/Concatenation.h"
#include "mil/Evaluator.h"
#include "mil/IdentityMatrix.h"
#include "mil/OpInfo.h"

#include <cmath>
#include <gtest/gtest.h>
#include <random>

using namespace plait;
using namespace plait::mil;

namespace {

using Sizes = std::vector<int64_t>;

struct Matrix {
  Sizes shape;
  std::vector<float> values;

  TensorData tensor() const { return TensorData::from<float>(DType::F32, shape, values); }
  float at(int64_t i, int64_t j) const { return values[i * shape[1] + j]; }
};

Matrix random(Sizes shape, unsigned seed) {
  std::mt19937 generator(seed);
  std::uniform_real_distribution<float> distribution(-1, 1);
  Matrix result{shape, std::vector<float>(numElements(llvm::ArrayRef<int64_t>(shape)))};
  for (float &value : result.values)
    value = distribution(generator);
  return result;
}

TensorData computed(OpKind op, std::vector<TensorData> operands, Sizes shape,
                    DType dtype = DType::F32) {
  std::vector<std::vector<Attr>> attrs;
  for (TensorData &operand : operands)
    attrs.push_back({Attr(std::move(operand))});
  return TensorData::computed(op, std::move(attrs),
                              Type::tensor(dtype, llvm::ArrayRef<int64_t>(shape)));
}

TensorData reduction(OpKind op, TensorData x, Sizes axes, bool keep, Sizes shape) {
  return computed(op, {std::move(x), TensorData::ints(axes), TensorData::scalar(keep)}, shape);
}

/// Reads without an evaluator, whole and in tiles of several sizes, which must agree to the bit.
template <typename T = float> std::vector<T> read(const TensorData &tensor) {
  auto reader = TensorReader::create(tensor, nullptr);
  EXPECT_TRUE(bool(reader)) << (reader ? "" : llvm::toString(reader.takeError()));
  if (!reader)
    return {};
  int64_t count = tensor.numElements();
  std::vector<T> whole(count);
  reader->read(0, count, reinterpret_cast<uint8_t *>(whole.data()));
  for (int64_t tile : {1, 7, 61, 4099, 16385}) {
    if (count / tile > 2000)
      continue;
    std::vector<T> pieces(count);
    for (int64_t begin = 0; begin < count; begin += tile)
      reader->read(begin, std::min(tile, count - begin),
                   reinterpret_cast<uint8_t *>(pieces.data() + begin));
    EXPECT_EQ(std::memcmp(whole.data(), pieces.data(), count * sizeof(T)), 0)
        << "tiles of " << tile;
  }
  reader->release(0, count);
  return whole;
}

void expectSame(llvm::ArrayRef<float> found, llvm::ArrayRef<float> expected) {
  ASSERT_EQ(found.size(), expected.size());
  for (size_t i = 0; i < found.size(); ++i)
    ASSERT_EQ(found[i], expected[i]) << "element " << i;
}

void expectNear(llvm::ArrayRef<float> found, llvm::ArrayRef<float> expected) {
  ASSERT_EQ(found.size(), expected.size());
  for (size_t i = 0; i < found.size(); ++i)
    ASSERT_NEAR(found[i], expected[i], 1e-5 * (1 + std::abs(expected[i]))) << "element " << i;
}

TEST(TensorReaderTest, ArithmeticOnOneShape) {
  Matrix a = random({131, 257}, 1), b = random({131, 257}, 2);
  auto check = [&](OpKind op, auto fn) {
    std::vector<float> expected;
    for (size_t i = 0; i < a.values.size(); ++i)
      expected.push_back(fn(a.values[i], b.values[i]));
    expectSame(read(computed(op, {a.tensor(), b.tensor()}, a.shape)), expected);
  };
  check(OpKind::add, [](float x, float y) { return x + y; });
  check(OpKind::sub, [](float x, float y) { return x - y; });
  check(OpKind::mul, [](float x, float y) { return x * y; });
  check(OpKind::real_div, [](float x, float y) { return x / y; });
}

TEST(TensorReaderTest, OperandsBroadcast) {
  Matrix a = random({53, 67}, 1), row = random({67}, 2), column = random({53, 1}, 3);
  TensorData rows = computed(OpKind::mul, {a.tensor(), column.tensor()}, a.shape);
  TensorData both = computed(OpKind::sub, {row.tensor(), rows}, a.shape);
  std::vector<float> expected;
  for (int64_t i = 0; i < 53; ++i)
    for (int64_t j = 0; j < 67; ++j)
      expected.push_back(row.values[j] - a.at(i, j) * column.values[i]);
  expectSame(read(both), expected);
}

TEST(TensorReaderTest, BroadcastOfComputedAndTransposedOperands) {
  Matrix a = random({40, 30}, 1), b = random({30, 40}, 2), c = random({30}, 3);
  TensorData vector = computed(OpKind::square, {c.tensor()}, {30});
  TensorData product =
      computed(OpKind::mul, {b.tensor().permute({1, 0}).scale(2), vector}, {40, 30});
  TensorData sum = computed(OpKind::add, {a.tensor(), product}, {40, 30});
  std::vector<float> expected;
  for (int64_t i = 0; i < 40; ++i)
    for (int64_t j = 0; j < 30; ++j)
      expected.push_back(a.at(i, j) + 2 * b.at(j, i) * (c.values[j] * c.values[j]));
  expectSame(read(sum), expected);
}

TEST(TensorReaderTest, UnaryOperations) {
  Matrix a = random({300}, 1);
  std::vector<float> expected;
  for (float value : a.values)
    expected.push_back(std::sqrt(std::abs(value)));
  expectSame(read(computed(OpKind::sqrt, {computed(OpKind::abs, {a.tensor()}, {300})}, {300})),
             expected);
}

TEST(TensorReaderTest, ComparisonsOfIntegersMakeAnIdentity) {
  std::vector<int32_t> count;
  for (int32_t i = 0; i < 90; ++i)
    count.push_back(i);
  TensorData rows = TensorData::from<int32_t>(DType::I32, {90, 1}, count);
  TensorData columns = TensorData::from<int32_t>(DType::I32, {1, 90}, count);
  TensorData eye = computed(OpKind::equal, {rows, columns}, {90, 90}, DType::Bool);
  std::vector<float> values = read(eye.cast(DType::F32));
  for (int64_t i = 0; i < 90 * 90; ++i)
    ASSERT_EQ(values[i], i / 90 == i % 90 ? 1.0f : 0.0f);
  Matrix a = random({4, 90}, 1), bias = random({4}, 2);
  std::vector<float> expected;
  for (int64_t i = 0; i < 90; ++i)
    for (int64_t r = 0; r < 4; ++r)
      expected.push_back(a.at(r, i) + bias.values[r]);
  expectSame(
      read(computed(OpKind::linear, {eye.cast(DType::F32), a.tensor(), bias.tensor()}, {90, 4})),
      expected);
}

TEST(TensorReaderTest, BandsOfDiagonals) {
  Matrix x = random({53, 70}, 1);
  auto band = [&](const TensorData &matrix, int32_t lower, int32_t upper) {
    return computed(OpKind::band_part,
                    {matrix, TensorData::scalar(lower), TensorData::scalar(upper)},
                    {matrix.shape().begin(), matrix.shape().end()});
  };
  for (auto [lower, upper] : {std::pair(0, 0), {-1, 0}, {0, -1}, {3, 20}, {-1, -1}, {60, 80}}) {
    std::vector<float> expected;
    for (int64_t i = 0; i < 53; ++i)
      for (int64_t j = 0; j < 70; ++j)
        expected.push_back(
            (lower < 0 || i - j <= lower) && (upper < 0 || j - i <= upper) ? x.at(i, j) : 0);
    expectSame(read(band(x.tensor(), lower, upper)), expected);
    // Of a stack of matrices, and transposed.
    expectSame(read(band(x.tensor().reshape({1, 53, 70}), lower, upper)), expected);
    expectSame(read(band(x.tensor().permute({1, 0}), upper, lower).permute({1, 0})), expected);
  }
}

TEST(TensorReaderTest, IdentityMatrices) {
  TensorData eye = identityMatrix(DType::F32, 300, 300), wide = identityMatrix(DType::F32, 40, 70);
  std::vector<float> values = read(eye), wideValues = read(wide);
  for (int64_t i = 0; i < 300 * 300; ++i)
    ASSERT_EQ(values[i], i / 300 == i % 300 ? 1.0f : 0.0f);
  for (int64_t i = 0; i < 40 * 70; ++i)
    ASSERT_EQ(wideValues[i], i / 70 == i % 70 ? 1.0f : 0.0f);
  EXPECT_TRUE(isIdentityMatrix(eye));
  EXPECT_TRUE(isIdentityMatrix(eye.permute({1, 0}).cast(DType::F16)));
  EXPECT_FALSE(isIdentityMatrix(wide));
  EXPECT_FALSE(isIdentityMatrix(eye.scale(2)));
  EXPECT_FALSE(isIdentityMatrix(eye.reshape({1, 300, 300})));
  EXPECT_FALSE(isIdentityMatrix(TensorData::splat(DType::F32, {300, 300}, 1)));
}

/// kron(W1, W2) as a product of views, as LoKr's.
TEST(TensorReaderTest, KroneckerProduct) {
  Matrix w1 = random({5, 7}, 1), w2 = random({9, 11}, 2);
  TensorData product =
      computed(OpKind::mul,
               {w1.tensor().reshape({5, 1, 7, 1, 1}), w2.tensor().reshape({1, 9, 1, 11, 1})},
               {5, 9, 7, 11, 1})
          .reshape({45, 77});
  std::vector<float> expected;
  for (int64_t i = 0; i < 45; ++i)
    for (int64_t j = 0; j < 77; ++j)
      expected.push_back(w1.at(i / 9, j / 11) * w2.at(i % 9, j % 11));
  expectSame(read(product), expected);
}

std::vector<float> multiplied(const Matrix &x, const Matrix &y) {
  std::vector<float> result;
  for (int64_t i = 0; i < x.shape[0]; ++i)
    for (int64_t j = 0; j < y.shape[1]; ++j) {
      float sum = 0;
      for (int64_t k = 0; k < x.shape[1]; ++k)
        sum += x.at(i, k) * y.at(k, j);
      result.push_back(sum);
    }
  return result;
}

TEST(TensorReaderTest, ProductsOfSmallFactors) {
  Matrix x = random({83, 5}, 1), y = random({5, 71}, 2);
  std::vector<float> expected = multiplied(x, y);
  TensorData no = TensorData::scalar(false), yes = TensorData::scalar(true);
  expectSame(read(computed(OpKind::matmul, {x.tensor(), y.tensor(), no, no}, {83, 71})), expected);
  TensorData xt = x.tensor().permute({1, 0}), yt = y.tensor().permute({1, 0});
  expectSame(read(computed(OpKind::matmul, {xt, yt, yes, yes}, {83, 71})), expected);
  expectSame(read(computed(OpKind::linear, {x.tensor(), yt}, {83, 71})), expected);
  // Transposed, a product stays one.
  TensorData turned = computed(OpKind::matmul, {x.tensor(), yt, no, yes}, {83, 71}).permute({1, 0});
  EXPECT_EQ(turned.kind(), TensorData::Kind::Computed);
  expectSame(read(turned.permute({1, 0})), expected);
}

TEST(TensorReaderTest, PermutationsGoThroughComputedConstants) {
  Matrix w = random({71, 83}, 1), x = random({83, 5}, 2), y = random({5, 71}, 3),
         scale = random({83, 1}, 4);
  TensorData no = TensorData::scalar(false);
  TensorData product = computed(OpKind::matmul, {x.tensor(), y.tensor(), no, no}, {83, 71});
  TensorData scaled = computed(OpKind::mul, {product, scale.tensor()}, {83, 71});
  TensorData sum = computed(OpKind::add, {w.tensor(), scaled.permute({1, 0})}, {71, 83});
  std::vector<float> expected, products = multiplied(x, y);
  for (int64_t i = 0; i < 71; ++i)
    for (int64_t j = 0; j < 83; ++j)
      expected.push_back(w.at(i, j) + products[j * 71 + i] * scale.values[j]);
  expectSame(read(sum), expected);
  // Axes of one element, and a reshape that no permutation goes through.
  TensorData ones = scaled.reshape({83, 1, 71}).permute({1, 2, 0});
  std::vector<float> swapped = read(scaled.permute({1, 0}));
  expectSame(read(ones), swapped);
  TensorData split = scaled.reshape({83 * 71, 1}).reshape({71, 83}).permute({1, 0});
  std::vector<float> plain = read(scaled), crossed = read(split);
  for (int64_t i = 0; i < 83; ++i)
    for (int64_t j = 0; j < 71; ++j)
      ASSERT_EQ(crossed[i * 71 + j], plain[j * 83 + i]);
}

TEST(TensorReaderTest, MergesTakeComputedConstants) {
  Matrix w = random({33, 45}, 1), b = random({33, 3}, 2), a = random({3, 45}, 3),
         scale = random({33, 1}, 4);
  auto scaled = [&](const Matrix &m) {
    return computed(OpKind::mul, {m.tensor(), scale.tensor()}, m.shape);
  };
  std::vector<float> expected, products = multiplied(b, a);
  for (int64_t i = 0; i < 33; ++i)
    for (int64_t j = 0; j < 45; ++j)
      expected.push_back(scale.values[i] * (w.at(i, j) + products[i * 45 + j]));
  TensorData merged = scaled(w).loraMerge(scaled(b), a.tensor(), 1);
  expectNear(read(merged), expected);
  TensorData transposed = merged.permute({1, 0});
  std::vector<float> turned = read(transposed);
  for (int64_t i = 0; i < 45; ++i)
    for (int64_t j = 0; j < 33; ++j)
      ASSERT_NEAR(turned[i * 33 + j], expected[j * 45 + i], 1e-5);
}

TEST(TensorReaderTest, NormsOfRowsAreStreamed) {
  // More than one tile of the reader.
  Matrix w = random({211, 307}, 1), b = random({211, 4}, 2), a = random({4, 307}, 3);
  TensorData merged = w.tensor().loraMerge(b.tensor(), a.tensor(), 0.5);
  std::vector<float> rows = read(reduction(OpKind::reduce_l2_norm, merged, {1}, false, {211}));
  std::vector<float> values = read(merged);
  for (int64_t i = 0; i < 211; ++i) {
    double sum = 0;
    for (int64_t j = 0; j < 307; ++j)
      sum += double(values[i * 307 + j]) * values[i * 307 + j];
    ASSERT_EQ(rows[i], float(std::sqrt(sum)));
  }
  std::vector<float> columns = read(reduction(OpKind::reduce_sum, merged, {-2}, true, {1, 307}));
  for (int64_t j = 0; j < 307; ++j) {
    double sum = 0;
    for (int64_t i = 0; i < 211; ++i)
      sum += values[i * 307 + j];
    ASSERT_EQ(columns[j], float(sum));
  }
}

TEST(TensorReaderTest, ReductionsOfSeveralAxes) {
  Matrix x = random({6, 5, 4, 3}, 1);
  auto at = [&](int64_t i, int64_t j, int64_t k, int64_t l) {
    return double(x.values[((i * 5 + j) * 4 + k) * 3 + l]);
  };
  std::vector<float> outer =
      read(reduction(OpKind::reduce_mean, x.tensor(), {3, 0}, false, {5, 4}));
  std::vector<float> inner =
      read(reduction(OpKind::reduce_l1_norm, x.tensor(), {1, 2}, true, {6, 1, 1, 3}));
  for (int64_t j = 0; j < 5; ++j)
    for (int64_t k = 0; k < 4; ++k) {
      double sum = 0;
      for (int64_t i = 0; i < 6; ++i)
        for (int64_t l = 0; l < 3; ++l)
          sum += at(i, j, k, l);
      ASSERT_EQ(outer[j * 4 + k], float(sum / 18));
    }
  for (int64_t i = 0; i < 6; ++i)
    for (int64_t l = 0; l < 3; ++l) {
      double sum = 0;
      for (int64_t j = 0; j < 5; ++j)
        for (int64_t k = 0; k < 4; ++k)
          sum += std::abs(at(i, j, k, l));
      ASSERT_EQ(inner[i * 3 + l], float(sum));
    }
  double squares = 0;
  for (float value : x.values)
    squares += double(value) * value;
  EXPECT_EQ(read(computed(OpKind::reduce_sum_square, {x.tensor()}, {}))[0], float(squares));
}

TEST(TensorReaderTest, AxesOfOneElementMoveFreely) {
  Matrix x = random({128, 8}, 1), y = random({8, 1024}, 2), w = random({128, 1024, 1}, 3);
  TensorData no = TensorData::scalar(false);
  TensorData product = computed(OpKind::matmul, {x.tensor(), y.tensor(), no, no}, {128, 1024});
  TensorData moved = product.reshape({128, 1, 1024}).permute({0, 2, 1});
  std::vector<float> sum = read(computed(OpKind::add, {moved, w.tensor()}, {128, 1024, 1}));
  std::vector<float> expected = read(product);
  for (size_t i = 0; i < expected.size(); ++i)
    ASSERT_EQ(sum[i], expected[i] + w.values[i]);
}

TEST(TensorReaderTest, PermutationsThatStayAndValuesUsedTwice) {
  // The permutation cannot become strides: the axes that it parts were joined.
  Matrix w = random({6, 50, 70}, 1), factors = random({300}, 2);
  TensorData turned = w.tensor().permute({1, 0, 2}).reshape({300, 70}).permute({1, 0});
  std::vector<float> scaled = read(computed(OpKind::mul, {turned, factors.tensor()}, {70, 300}));
  for (int64_t i = 0; i < 70; ++i)
    for (int64_t j = 0; j < 300; ++j)
      ASSERT_EQ(scaled[i * 300 + j], w.values[(j % 6 * 50 + j / 6) * 70 + i] * factors.values[j]);
  // Twice in each of sixty steps: as a tree it would have 2^60 leaves.
  Matrix x = random({200, 160}, 3);
  TensorData chain = x.tensor();
  std::vector<float> expected = x.values;
  for (int step = 0; step < 60; ++step) {
    TensorData half =
        computed(OpKind::mul, {chain, TensorData::splat(DType::F32, {}, 0.5)}, {200, 160});
    chain = computed(OpKind::add, {half, half}, {200, 160});
  }
  EXPECT_EQ(read(chain), expected);
}

TEST(TensorReaderTest, Concatenations) {
  Matrix a = random({40, 30}, 1), b = random({30, 8}, 2), c = random({1, 30}, 3);
  std::vector<float> expected = a.values;
  for (int64_t i = 0; i < 8; ++i)
    for (int64_t j = 0; j < 30; ++j)
      expected.push_back(b.at(j, i));
  expected.insert(expected.end(), c.values.begin(), c.values.end());
  TensorData whole = concatenated({a.tensor(), b.tensor().permute({1, 0}), c.tensor()});
  ASSERT_EQ(whole.shape(), llvm::ArrayRef<int64_t>({49, 30}));
  expectSame(read(whole), expected);
  std::vector<float> transposed;
  for (int64_t j = 0; j < 30; ++j)
    for (int64_t i = 0; i < 49; ++i)
      transposed.push_back(expected[i * 30 + j]);
  expectSame(read(whole.permute({1, 0})), transposed);
  // Along a later axis, as models write it, of computed parts.
  TensorData sum = computed(OpKind::add, {a.tensor(), c.tensor()}, {40, 30});
  TensorData beside = TensorData::computed(
      OpKind::concat, {{Attr(sum), Attr(a.tensor())}, {Attr::integer(-1)}, {Attr::boolean(false)}},
      Type::tensor(DType::F32, llvm::ArrayRef<int64_t>{40, 60}));
  std::vector<float> rows;
  for (int64_t i = 0; i < 40; ++i) {
    for (int64_t j = 0; j < 30; ++j)
      rows.push_back(a.at(i, j) + c.values[j]);
    for (int64_t j = 0; j < 30; ++j)
      rows.push_back(a.at(i, j));
  }
  expectSame(read(beside), rows);
}

TEST(TensorReaderTest, ConcatenationsAreCanonical) {
  TensorData a = random({40, 30}, 1).tensor(), b = random({20, 30}, 2).tensor();
  // One cast of the whole.
  TensorData halves = concatenated({a.cast(DType::F16), b.cast(DType::F16)});
  EXPECT_TRUE(halves.sameTree(concatenated({a, b}).cast(DType::F16)));
  // Neighbours in one parameter are one view; those of two parameters are told apart.
  TensorData whole = a.withOrigin(Origin::parameter({"qkv.weight"}));
  auto part = [&](int64_t begin, int64_t rows, Origin origin) {
    return TensorData::view(whole.node().storage, uint64_t(begin) * 120, DType::F32, {rows, 30}, {},
                            std::move(origin));
  };
  Origin own = whole.node().origin, other = Origin::parameter({"other.weight"});
  EXPECT_TRUE(
      concatenated({part(0, 10, own), part(10, 20, own), part(30, 10, own)}).sameTree(whole));
  TensorData apart = concatenated({part(0, 10, own), part(10, 30, other)});
  EXPECT_EQ(apart.kind(), TensorData::Kind::Computed);
  EXPECT_EQ(parametersOf(apart), (std::vector<std::string>{"qkv.weight", "other.weight"}));
  EXPECT_EQ(concatenated({part(10, 10, own), part(0, 10, own)}).kind(), TensorData::Kind::Computed);
  // Equal numbers are one.
  TensorData zeros = concatenated(
      {TensorData::splat(DType::F32, {100}, 0), TensorData::splat(DType::F32, {200}, 0)});
  EXPECT_TRUE(zeros.sameTree(TensorData::splat(DType::F32, {300}, 0)));
  EXPECT_FALSE(concatenated({TensorData::splat(DType::F32, {100}, 0),
                             TensorData::splat(DType::F32, {100}, 1)})
                   .sameTree(TensorData::splat(DType::F32, {200}, 0)));
}

/// What remains for an evaluator asks for one.
TEST(TensorReaderTest, TheOthersNeedAnEvaluator) {
  Matrix x = random({20, 20}, 1);
  TensorData no = TensorData::scalar(false);
  auto refused = [](const TensorData &tensor, const char *op) {
    auto reader = TensorReader::create(tensor, nullptr);
    ASSERT_FALSE(bool(reader));
    EXPECT_EQ(llvm::toString(reader.takeError()), "a constant is computed by '" + std::string(op) +
                                                      "', and nothing here evaluates operations");
  };
  refused(computed(OpKind::exp, {x.tensor()}, {20, 20}), "exp");
  // Neither factor is small.
  refused(computed(OpKind::matmul, {x.tensor(), x.tensor(), no, no}, {20, 20}), "matmul");
  Matrix batched = random({2, 3, 4}, 1);
  refused(computed(OpKind::matmul,
                   {batched.tensor(), batched.tensor(), no, TensorData::scalar(true)}, {2, 3, 3}),
          "matmul");
}

} // namespace
