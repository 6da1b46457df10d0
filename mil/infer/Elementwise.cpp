// Shape functions of constants and elementwise operations.
#include "mil/infer/Shapes.h"

namespace plait::mil::infer {

Error constant(InferContext &c) { return c.result(c.op().val().type()); }

Error cast(InferContext &c) {
  llvm::StringRef text = c.constString(cast::dtype).value_or("");
  auto dtype = parseDType(text);
  if (!dtype || !contains(c.op().paramInfo(cast::x)->domain, *dtype))
    return c.fail("dtype \"{0}\" is no element type to cast to", text);
  return c.result(*dtype, c.shape(cast::x));
}

Error clip(InferContext &c) {
  auto low = constFloat(c.op()[clip::alpha]), high = constFloat(c.op()[clip::beta]);
  // Older forms do not ask for it.
  if (low && high && *low >= *high && c.op().opset() >= c.op().info().newest)
    return c.fail("alpha {0:.2f} is not below beta {1:.2f}", *low, *high);
  return c.result(c.type(clip::x));
}

Error binary(InferContext &c) {
  auto shape = broadcast(c.shape(0), c.shape(1));
  if (!shape)
    return addContext(shape.takeError(), c.op().info().name);
  return c.result(c.dtype(0), *shape);
}

Error comparison(InferContext &c) {
  auto shape = broadcast(c.shape(0), c.shape(1));
  if (!shape)
    return addContext(shape.takeError(), c.op().info().name);
  return c.result(DType::Bool, *shape);
}

Error select(InferContext &c) {
  auto shape = broadcast(c.shape(select::a), c.shape(select::b));
  if (!shape)
    return addContext(shape.takeError(), "select");
  shape = broadcast(c.shape(select::cond), *shape);
  if (!shape)
    return addContext(shape.takeError(), "select");
  return c.result(c.dtype(select::a), *shape);
}

} // namespace plait::mil::infer
