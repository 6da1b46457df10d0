// GPTQ against its definition: the inverse of the products, shrunk by one input after the other.
#include "compress/Gptq.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numeric>
#include <random>

namespace plait::compress {

namespace {

struct Data {
  size_t inputs;
  std::vector<float> rows, products;

  Data(unsigned seed, size_t inputs, size_t count) : inputs(inputs), products(inputs * inputs) {
    std::mt19937 random(seed);
    std::normal_distribution<float> normal;
    for (size_t r = 0; r < count; ++r) {
      float common = normal(random); // inputs go together, some more than others
      for (size_t i = 0; i < inputs; ++i)
        rows.push_back((common + 0.3F * normal(random)) * (1 + float(i % 5)));
    }
    for (size_t r = 0; r < count; ++r)
      for (size_t a = 0; a < inputs; ++a)
        for (size_t b = 0; b < inputs; ++b)
          products[a * inputs + b] += rows[r * inputs + a] * rows[r * inputs + b];
  }
  /// What errors of a row do to the products with the inputs.
  double errorOf(llvm::ArrayRef<float> row, llvm::ArrayRef<float> stored) const {
    double sum = 0;
    for (size_t r = 0; r < rows.size(); r += inputs) {
      double off = 0;
      for (size_t i = 0; i < inputs; ++i)
        off += double(rows[r + i]) * double(row[i] - stored[i]);
      sum += off * off;
    }
    return sum;
  }
};

std::vector<double> inverse(std::vector<double> a, size_t n) {
  std::vector<double> b(n * n);
  for (size_t i = 0; i < n; ++i)
    b[i * n + i] = 1;
  for (size_t i = 0; i < n; ++i) {
    double pivot = a[i * n + i];
    for (size_t k = 0; k < n; ++k) {
      a[i * n + k] /= pivot;
      b[i * n + k] /= pivot;
    }
    for (size_t r = 0; r < n; ++r) {
      double factor = a[r * n + i];
      for (size_t k = 0; k < n && r != i; ++k) {
        a[r * n + k] -= factor * a[i * n + k];
        b[r * n + k] -= factor * b[i * n + k];
      }
    }
  }
  return b;
}

std::vector<float> byDefinition(const Data &data, llvm::ArrayRef<float> row) {
  size_t n = data.inputs;
  std::vector<double> h(data.products.begin(), data.products.end());
  double trace = 0;
  for (size_t i = 0; i < n; ++i)
    trace += h[i * n + i];
  for (size_t i = 0; i < n; ++i)
    h[i * n + i] += 0.01 * trace / double(n);
  std::vector<size_t> order(n);
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    return data.products[a * n + a] > data.products[b * n + b];
  });
  std::vector<double> inv = inverse(h, n), w(row.begin(), row.end());
  std::vector<float> stored(n);
  for (size_t j : order) {
    stored[j] = float(std::nearbyint(w[j]));
    double error = (w[j] - double(stored[j])) / inv[j * n + j];
    for (size_t k = 0; k < n; ++k)
      w[k] -= error * inv[j * n + k];
    std::vector<double> column(n);
    double pivot = inv[j * n + j];
    for (size_t k = 0; k < n; ++k)
      column[k] = inv[k * n + j];
    for (size_t a = 0; a < n; ++a)
      for (size_t b = 0; b < n; ++b)
        inv[a * n + b] -= column[a] * column[b] / pivot;
  }
  return stored;
}

std::vector<float> rounded(const Gptq &gptq, llvm::ArrayRef<float> row) {
  std::vector<float> stored(row.size()), scratch;
  gptq.round(
      row, [&](size_t input, float wanted) { return stored[input] = std::nearbyint(wanted); },
      scratch);
  return stored;
}

std::vector<float> randomRow(unsigned seed, size_t inputs) {
  std::mt19937 random(seed);
  std::vector<float> row;
  for (size_t i = 0; i < inputs; ++i)
    row.push_back(std::uniform_real_distribution<float>(-4, 4)(random));
  return row;
}

} // namespace

TEST(Gptq, IsItsDefinition) {
  for (size_t inputs : {1, 2, 7, 32, 33, 70}) {
    Data data(unsigned(inputs), inputs, 200);
    Gptq gptq = llvm::cantFail(Gptq::create(data.products, 2));
    ASSERT_EQ(gptq.inputs(), inputs);
    for (unsigned seed = 0; seed < 4; ++seed) {
      std::vector<float> row = randomRow(seed, inputs);
      EXPECT_EQ(rounded(gptq, row), byDefinition(data, row)) << inputs;
    }
  }
}

TEST(Gptq, MakesUpForErrors) {
  Data data(3, 48, 300);
  Gptq gptq = llvm::cantFail(Gptq::create(data.products, 1));
  double nearest = 0, made = 0;
  for (unsigned seed = 0; seed < 20; ++seed) {
    std::vector<float> row = randomRow(seed, 48), plain;
    for (float value : row)
      plain.push_back(std::nearbyint(value));
    nearest += data.errorOf(row, plain);
    made += data.errorOf(row, rounded(gptq, row));
  }
  EXPECT_LT(made, nearest / 4);
}

TEST(Gptq, InputsThatAreNeverSeen) {
  std::vector<float> nothing(9), row = {0.4F, 1.6F, -2.2F};
  EXPECT_EQ(rounded(llvm::cantFail(Gptq::create(nothing, 1)), row), std::vector<float>({0, 2, -2}));
  nothing[4] = 100; // the others stay as they would be
  EXPECT_EQ(rounded(llvm::cantFail(Gptq::create(nothing, 1)), row), std::vector<float>({0, 2, -2}));
}

} // namespace plait::compress
