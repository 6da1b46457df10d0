// Reads and weighs what outputs along an axis read.
#include "frontend/lower/Taps.h"

namespace plait::frontend {

using namespace mil;

/// Core ML's tensors have rank 5 or less.
static constexpr int64_t largestRank = 5;

Expr readTaps(const Expr &x, int64_t axis, const Taps &taps,
              llvm::function_ref<Expr(const Expr &read, int64_t axis)> combine) {
  Call &c = x.call();
  if (!x.valid())
    return x;
  Shape result(x.shape());
  result[axis] = taps.outputs;
  Expr in = x;
  int64_t at = axis;
  if (x.rank() == largestRank) {
    // The count is an axis more, so those around make room.
    Dim before = numElements(x.shape().take_front(axis)),
        after = numElements(x.shape().drop_front(axis + 1));
    in = Expr(c, c.reshape(x, {before, x.shape()[axis], after}));
    at = 1;
  }
  Expr all = gather(in, Expr(c, c.builder().ints(taps.positions)), at);
  Shape split(in.shape());
  split[at] = taps.outputs;
  split.insert(split.begin() + at + 1, Dim(taps.count));
  Expr y = combine(Expr(c, c.reshape(all, split)), at + 1);
  return x.rank() == largestRank ? Expr(c, c.reshape(y, result)) : y;
}

Expr weighTaps(const Expr &x, int64_t axis, const Taps &taps) {
  return readTaps(x, axis, taps, [&](const Expr &read, int64_t at) {
    llvm::SmallVector<int64_t, 5> shape(read.rank() - at + 1, 1);
    shape[0] = taps.outputs;
    shape[1] = taps.count;
    Expr weights(read.call(),
                 read.call().builder().constant(
                     TensorData::from<float>(DType::F32, shape, taps.weights), "tap_weights"));
    return reduce(OpKind::reduce_sum, read * weights, at, false);
  });
}

} // namespace plait::frontend
