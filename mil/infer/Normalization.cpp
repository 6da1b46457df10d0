// Shape functions of normalizations.
#include "mil/infer/Shapes.h"

namespace plait::mil::infer {

Error batchNorm(InferContext &c) {
  auto x = c.shape(batch_norm::x);
  if (x.size() < 3 || x.size() > 5)
    return c.fail("x has rank {0}; 3, 4 or 5 is needed", x.size());
  for (unsigned param :
       {batch_norm::mean, batch_norm::variance, batch_norm::gamma, batch_norm::beta})
    if (c.has(param) && !maybeEqual(c.shape(param), x[1]))
      return c.fail("{0} has shape {1} for {2} channels", c.op().info().params[param].name,
                    str(c.shape(param)), x[1].str());
  return c.result(c.type(batch_norm::x));
}

Error instanceNorm(InferContext &c) {
  auto x = c.shape(instance_norm::x);
  if (x.size() < 3 || x.size() > 4)
    return c.fail("x has rank {0}; 3 or 4 is needed", x.size());
  for (unsigned param : {instance_norm::gamma, instance_norm::beta})
    if (c.has(param) && !maybeEqual(c.shape(param), x[1]))
      return c.fail("{0} has shape {1} for {2} channels", c.op().info().params[param].name,
                    str(c.shape(param)), x[1].str());
  return c.result(c.type(instance_norm::x));
}

Error layerNorm(InferContext &c) {
  auto x = c.shape(layer_norm::x);
  llvm::SmallVector<int64_t, 8> axes;
  if (auto given = c.constInts(layer_norm::axes)) {
    auto normalized = normalizeAxes(c, *given, x.size());
    if (!normalized)
      return normalized.takeError();
    axes = *normalized;
    llvm::sort(axes);
  } else {
    for (size_t i = 0; i < x.size(); ++i)
      axes.push_back(i);
  }
  Shape normalized;
  for (int64_t axis : axes)
    normalized.push_back(x[axis]);
  for (unsigned param : {layer_norm::gamma, layer_norm::beta})
    if (c.has(param) && !maybeEqual(c.shape(param), normalized))
      return c.fail("{0} has shape {1}; the normalized axes have {2}",
                    c.op().info().params[param].name, str(c.shape(param)), str(normalized));
  return c.result(c.type(layer_norm::x));
}

Error l2Norm(InferContext &c) {
  if (c.rank(l2_norm::x) < 3)
    return c.fail("x has rank {0}; 3 or more is needed", c.rank(l2_norm::x));
  return c.result(c.type(l2_norm::x));
}

} // namespace plait::mil::infer
