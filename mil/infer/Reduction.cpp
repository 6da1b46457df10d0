// Shape functions of reductions.
#include "mil/infer/Shapes.h"

#include "llvm/ADT/SmallBitVector.h"

namespace plait::mil::infer {

static Shape reduced(llvm::ArrayRef<Dim> x, llvm::ArrayRef<int64_t> axes, bool keepDims) {
  llvm::SmallBitVector gone(x.size());
  for (int64_t axis : axes)
    gone.set(axis);
  Shape shape;
  for (size_t i = 0; i < x.size(); ++i)
    if (!gone[i])
      shape.push_back(x[i]);
    else if (keepDims)
      shape.push_back(1);
  return shape;
}

Error reduce(InferContext &c) {
  auto x = c.shape(reduce_sum::x);
  llvm::SmallVector<int64_t, 8> axes;
  if (auto given = c.constInts(reduce_sum::axes)) {
    auto normalized = normalizeAxes(c, *given, x.size());
    if (!normalized)
      return normalized.takeError();
    axes = *normalized;
  } else {
    for (size_t i = 0; i < x.size(); ++i)
      axes.push_back(i);
  }
  return c.result(c.dtype(reduce_sum::x),
                  reduced(x, axes, c.constBool(reduce_sum::keep_dims).value_or(false)));
}

Error reduceArg(InferContext &c) {
  auto x = c.shape(reduce_argmax::x);
  auto axis = c.axis(reduce_argmax::axis, x.size(), -1);
  if (!axis)
    return axis.takeError();
  std::string text = c.constString(reduce_argmax::output_dtype).value_or("int32").lower();
  if (text != "int32" && text != "uint16")
    return c.fail("output_dtype \"{0}\" is neither int32 nor uint16", text);
  return c.result(text == "int32" ? DType::I32 : DType::U16,
                  reduced(x, *axis, c.constBool(reduce_argmax::keep_dims).value_or(false)));
}

} // namespace plait::mil::infer
