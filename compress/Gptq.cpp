// The factors of the products, and rows.
#include "compress/Gptq.h"

#include "support/Parallel.h"

#include "llvm/ADT/STLExtras.h"

#include <algorithm>

namespace plait::compress {

static constexpr double kDamping = 0.01;
static constexpr size_t kBlock = 32;

Expected<Gptq> Gptq::create(llvm::ArrayRef<float> products, unsigned threads) {
  Gptq made;
  size_t n = 0;
  while (n * n < products.size())
    ++n;
  double trace = 0;
  for (size_t i = 0; i < n; ++i)
    trace += double(products[i * n + i]);
  // Inputs that were always zero count for nothing; one keeps the matrix regular.
  double damping = trace > 0 ? kDamping * trace / double(n) : 1;
  made.order_.resize(n);
  for (size_t i = 0; i < n; ++i)
    made.order_[i] = uint32_t(i);
  llvm::stable_sort(made.order_, [&](uint32_t a, uint32_t b) {
    return products[a * n + a] > products[b * n + b];
  });
  std::vector<float> &h = made.upper_;
  h.resize(n * n);
  for (size_t i = 0; i < n; ++i)
    for (size_t j = 0; j < n; ++j)
      h[i * n + j] = products[made.order_[i] * n + made.order_[j]] + float(i == j ? damping : 0);
  // From the last columns to the first, a block at a time: first within the block, then what it
  // takes from all columns before it. Of each row the columns from its diagonal on are U's.
  std::vector<float> columns(kBlock * n), diagonal(n);
  for (size_t end = n; end > 0;) {
    size_t begin = end > kBlock ? end - kBlock : 0;
    for (size_t j = end; j-- > begin;) {
      float d = h[j * n + j];
      diagonal[j] = d;
      float *column = columns.data() + (j - begin) * n;
      for (size_t i = 0; i < j; ++i) {
        column[i] = h[i * n + j] / d;
        h[i * n + j] = column[i];
      }
      h[j * n + j] = 1;
      // The columns of the block that come after this one.
      for (size_t i = 0; i < j; ++i)
        for (size_t k = std::max(begin, i); k < j; ++k)
          h[i * n + k] -= column[i] * d * column[k];
    }
    Error error = parallelFor(threads, begin, [&](unsigned, size_t i) -> Error {
      float *row = h.data() + i * n;
      for (size_t j = begin; j < end; ++j) {
        const float *column = columns.data() + (j - begin) * n;
        float factor = column[i] * diagonal[j];
        for (size_t k = i; k < begin; ++k)
          row[k] -= factor * column[k];
      }
      return Error::success();
    });
    if (error)
      return error;
    end = begin;
  }
  return made;
}

void Gptq::round(llvm::ArrayRef<float> row,
                 llvm::function_ref<float(size_t input, float wanted)> store,
                 std::vector<float> &scratch) const {
  size_t n = order_.size();
  scratch.resize(n);
  for (size_t i = 0; i < n; ++i)
    scratch[i] = row[order_[i]];
  for (size_t i = 0; i < n; ++i) {
    size_t input = order_[i];
    float error = row[input] - store(input, scratch[i]);
    const float *factors = upper_.data() + i * n;
    for (size_t k = i + 1; k < n; ++k)
      scratch[k] += factors[k] * error;
  }
}

} // namespace plait::compress
