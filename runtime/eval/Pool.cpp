// avg_pool, max_pool and l2_pool. The input is padded here (zeros, or minus infinity for max) to
// exactly the windows that MIL counts, so that asymmetric padding, "same" and ceil_mode need
// nothing from LibTorch's own rules.
#include "runtime/eval/Eval.h"
#include "runtime/eval/Window.h"

namespace plait::runtime {

using namespace mil;
namespace {

static_assert(unsigned(max_pool::x) == unsigned(l2_pool::x) &&
              unsigned(max_pool::ceil_mode) == unsigned(l2_pool::ceil_mode));

struct Pool {
  at::Tensor x; // padded
  std::vector<int64_t> kernel, strides;
  Padding pads; // of which `extra` elements lie beyond the padding asked for
  std::vector<int64_t> extra;
};

Pool prepare(const at::Tensor &x, std::vector<int64_t> kernel, std::vector<int64_t> strides,
             const std::string &padType, const std::vector<int64_t> &pad, bool ceilMode,
             double fill) {
  size_t n = kernel.size();
  TORCH_CHECK(x.dim() == int64_t(n) + 2, "x has rank ", x.dim(), " where kernel_sizes has ", n,
              " elements");
  std::vector<int64_t> input(x.sizes().begin() + 2, x.sizes().end());
  Pool pool{x, kernel, strides, padding(padType, pad, input, kernel, strides),
            std::vector<int64_t>(n, 0)};
  for (size_t i = 0; ceilMode && i < n; ++i) {
    int64_t before = pool.pads.before[i], after = pool.pads.after[i];
    int64_t span = input[i] + before + after - kernel[i];
    int64_t windows = (span + strides[i] - 1) / strides[i] + 1;
    // A window may not start in the padding behind.
    if ((windows - 1) * strides[i] >= input[i] + before && before + after > 0)
      --windows;
    pool.extra[i] = std::max<int64_t>(0, (windows - 1) * strides[i] - span);
    pool.pads.after[i] += pool.extra[i];
  }
  pool.x = at::constant_pad_nd(x, padAmounts(pool.pads), fill);
  return pool;
}

/// Sums over windows: average pooling times the window's size.
at::Tensor windowSums(const at::Tensor &x, const std::vector<int64_t> &kernel,
                      const std::vector<int64_t> &strides) {
  std::vector<int64_t> zeros(kernel.size(), 0);
  switch (kernel.size()) {
  case 1: // avg_pool1d has no divisor: a window of height 1
    return at::avg_pool2d(x.unsqueeze(-2), {1, kernel[0]}, {1, strides[0]}, {0, 0}, false, true, 1)
        .squeeze(-2);
  case 2:
    return at::avg_pool2d(x, kernel, strides, zeros, false, true, 1);
  default:
    return at::avg_pool3d(x, kernel, strides, zeros, false, true, 1);
  }
}

Results evalAvgPool(EvalContext &c) {
  namespace p = avg_pool;
  at::Tensor x = c.value(p::x);
  std::vector<int64_t> kernel = c.ints(p::kernel_sizes);
  Pool pool = prepare(x, kernel, c.ints(p::strides, kernel.size(), 1), c.string(p::pad_type),
                      c.ints(p::pad), c.boolean(p::ceil_mode), 0);
  at::Tensor sums = windowSums(pool.x, pool.kernel, pool.strides);
  // How many elements each window averages: its elements inside the input, or also those in the
  // padding asked for, but never those that only ceil_mode added.
  std::vector<int64_t> ones(x.sizes().begin(), x.sizes().end());
  ones[0] = ones[1] = 1;
  bool exclude = c.boolean(p::exclude_padding_from_average);
  Padding counted = pool.pads, rest = pool.pads;
  for (size_t i = 0; i < kernel.size(); ++i) {
    counted.after[i] -= pool.extra[i];
    rest.before[i] = 0;
    rest.after[i] = pool.extra[i];
  }
  at::Tensor count = at::ones(ones, x.options());
  if (exclude) {
    count = at::constant_pad_nd(count, padAmounts(pool.pads), 0);
  } else {
    count = at::constant_pad_nd(count, padAmounts(counted), 1);
    count = at::constant_pad_nd(count, padAmounts(rest), 0);
  }
  return sums / windowSums(count, pool.kernel, pool.strides);
}

Results evalMaxPool(EvalContext &c) {
  namespace p = max_pool;
  std::vector<int64_t> kernel = c.ints(p::kernel_sizes);
  Pool pool = prepare(c.value(p::x), kernel, c.ints(p::strides, kernel.size(), 1),
                      c.string(p::pad_type), c.ints(p::pad), c.boolean(p::ceil_mode), -INFINITY);
  switch (kernel.size()) {
  case 1:
    return at::max_pool1d(pool.x, pool.kernel, pool.strides);
  case 2:
    return at::max_pool2d(pool.x, pool.kernel, pool.strides);
  default:
    return at::max_pool3d(pool.x, pool.kernel, pool.strides);
  }
}

/// sqrt of the sum of squares over each window.
Results evalL2Pool(EvalContext &c) {
  namespace p = l2_pool;
  std::vector<int64_t> kernel = c.ints(p::kernel_sizes);
  at::Tensor x = c.value(p::x);
  Pool pool = prepare(x * x, kernel, c.ints(p::strides, kernel.size(), 1), c.string(p::pad_type),
                      c.ints(p::pad), c.boolean(p::ceil_mode), 0);
  return at::sqrt(windowSums(pool.x, pool.kernel, pool.strides));
}

} // namespace

void registerPooling(Registry &r) {
  r.add(OpKind::avg_pool, evalAvgPool);
  r.add(OpKind::l2_pool, evalL2Pool);
  r.add(OpKind::max_pool, evalMaxPool);
}

} // namespace plait::runtime
