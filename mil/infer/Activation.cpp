// Shape functions of activations.
#include "mil/infer/Shapes.h"

#include <cmath>

namespace plait::mil::infer {

Error sameAsX(InferContext &c) { return c.result(c.type(0)); }

Error softmax(InferContext &c) {
  if (auto axis = c.axis(softmax::axis, c.rank(softmax::x), -1); !axis)
    return axis.takeError();
  return c.result(c.type(softmax::x));
}

Error gelu(InferContext &c) {
  llvm::StringRef mode = c.constString(gelu::mode).value_or("EXACT");
  if (mode != "EXACT" && mode != "TANH_APPROXIMATION" && mode != "SIGMOID_APPROXIMATION")
    return c.fail("mode \"{0}\" is none of EXACT, TANH_APPROXIMATION, SIGMOID_APPROXIMATION", mode);
  return c.result(c.type(gelu::x));
}

/// A vector of one element a channel of x.
static Error perChannel(InferContext &c, unsigned param) {
  auto shape = c.shape(param);
  const char *name = c.op().info().params[param].name;
  if (shape.size() != 1)
    return c.fail("{0} has shape {1}; a vector is needed", name, str(shape));
  if (!maybeEqual(shape[0], c.shape(0)[1]))
    return c.fail("{0} has {1} elements for {2} channels of x", name, shape[0].str(),
                  c.shape(0)[1].str());
  return Error::success();
}

Error prelu(InferContext &c) {
  unsigned rank = c.rank(prelu::x);
  if (rank < 3 || rank > 5)
    return c.fail("x has rank {0}; 3, 4 or 5 is needed", rank);
  if (Error error = perChannel(c, prelu::alpha))
    return error;
  if (rank != 4)
    if (const TensorData *alpha = constTensor(c.op()[prelu::alpha])) {
      auto values = alpha->floatValues();
      if (!values)
        llvm::consumeError(values.takeError()); // a lazy one is not known here
      else if (llvm::any_of(*values,
                            [&](double v) { return std::abs(v - values->front()) > 1e-5; }))
        return c.fail("x of rank {0} needs all elements of alpha equal", rank);
    }
  return c.result(c.type(prelu::x));
}

Error softplusParametric(InferContext &c) {
  if (c.rank(softplus_parametric::x) < 3)
    return c.fail("x has rank {0}; 3 or more is needed", c.rank(softplus_parametric::x));
  for (unsigned param : {softplus_parametric::alpha, softplus_parametric::beta})
    if (Error error = perChannel(c, param))
      return error;
  return c.result(c.type(softplus_parametric::x));
}

} // namespace plait::mil::infer
