// The shape function of pooling.
#include "mil/infer/Shapes.h"

namespace plait::mil::infer {

Error pool(InferContext &c) {
  const OpInfo &row = c.op().info();
  auto param = [&](const char *name) { return *row.findParam(name); };
  auto x = c.shape(param("x"));
  auto kernel = c.constInts(param("kernel_sizes"));
  if (x.size() < 3 || x.size() > 5 || !kernel || kernel->size() != x.size() - 2)
    return c.fail("x has shape {0}, with {1} kernel sizes; rank 3, 4 or 5 and one size a spatial "
                  "dimension are needed",
                  str(x), kernel ? kernel->size() : 0);
  size_t spatial = x.size() - 2;
  if (c.op().is(OpKind::l2_pool) && spatial > 2)
    return c.fail("x has {0} spatial dimensions; 1 or 2 are needed", spatial);
  using Ints = llvm::SmallVector<int64_t, 8>;
  Ints strides = c.constInts(param("strides")).value_or(Ints(spatial, 1));
  Ints pad = c.constInts(param("pad")).value_or(Ints(2 * spatial, 0));
  Ints dilations(spatial, 1);
  std::string padType = c.constString(param("pad_type")).value_or("valid").lower();
  bool ceilMode = c.constBool(param("ceil_mode")).value_or(false);
  if (ceilMode) {
    if (spatial > 2)
      return c.fail("ceil_mode with {0} spatial dimensions; 1 or 2 are possible", spatial);
    if (padType == "same")
      return c.fail("ceil_mode does not go with pad_type \"same\"");
    for (size_t i = 0; 2 * i + 1 < pad.size(); ++i)
      if (pad[2 * i] != pad[2 * i + 1])
        return c.fail("ceil_mode needs symmetric padding");
  }
  Shape window(kernel->begin(), kernel->end());
  auto sizes = windowOutput({x.drop_front(2), window, strides, dilations, padType, pad, ceilMode});
  if (!sizes)
    return addContext(sizes.takeError(), row.name);
  Shape shape{x[0], x[1]};
  shape.append(sizes->begin(), sizes->end());
  return c.result(c.dtype(param("x")), shape);
}

} // namespace plait::mil::infer
