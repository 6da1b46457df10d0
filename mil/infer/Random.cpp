// Shape functions of random numbers.
#include "mil/infer/Shapes.h"

namespace plait::mil::infer {

/// random_bernoulli, random_normal and random_uniform: parameter 0 is the shape, 1 a value of the
/// result's element type.
Error randomOfShape(InferContext &c) {
  auto shape = shapeFromOperand(c, 0);
  if (!shape)
    return shape.takeError();
  for (const Dim &d : *shape)
    if (d.isConst() && d.value() < 0)
      return c.fail("shape {0} has a negative size", str(*shape));
  return c.result(c.has(1) ? c.dtype(1) : DType::F32, *shape);
}

Error randomCategorical(InferContext &c) {
  llvm::StringRef mode = c.constString(random_categorical::mode).value_or("logits");
  if (mode != "logits" && mode != "probs")
    return c.fail("mode \"{0}\" is neither logits nor probs", mode);
  Shape shape(c.shape(random_categorical::x));
  if (shape.empty())
    return c.fail("x is a scalar");
  shape.back() = c.constInt(random_categorical::size).value_or(1);
  return c.result(c.dtype(random_categorical::x), shape);
}

} // namespace plait::mil::infer
