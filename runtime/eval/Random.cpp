// random_*: LibTorch's generator, seeded by the operation; where its seed is negative, the run's
// own (Interpreter::seedRandom), or one that draws anew each time. The numbers are not Core ML's:
// only their distribution is.
#include "runtime/eval/Eval.h"

#include <ATen/CPUGeneratorImpl.h>

namespace plait::runtime {

using namespace mil;
namespace {

at::Generator generator(const EvalContext &c, unsigned seedParam) {
  int64_t seed = c.integer(seedParam, -1);
  if (seed < 0 && c.random().defined())
    return c.random();
  return at::detail::createCPUGenerator(seed < 0 ? c10::detail::getNonDeterministicRandom()
                                                 : uint64_t(seed));
}

Results evalBernoulli(EvalContext &c) {
  namespace r = random_bernoulli;
  return at::empty(c.ints(r::shape), at::kFloat)
      .bernoulli_(c.number(r::prob, 0.5), generator(c, r::seed));
}

Results evalNormal(EvalContext &c) {
  namespace r = random_normal;
  return at::empty(c.ints(r::shape), at::kFloat)
      .normal_(c.number(r::mean, 0), c.number(r::stddev, 1), generator(c, r::seed));
}

Results evalUniform(EvalContext &c) {
  namespace r = random_uniform;
  return at::empty(c.ints(r::shape), at::kFloat)
      .uniform_(c.number(r::low, 0), c.number(r::high, 1), generator(c, r::seed));
}

/// `size` draws with replacement from the last axis of x, logits or probabilities.
Results evalCategorical(EvalContext &c) {
  namespace r = random_categorical;
  at::Tensor x = c.raw(r::x).to(at::kDouble);
  at::Tensor weights = c.string(r::mode, "logits") == "probs" ? x : at::softmax(x, -1);
  int64_t size = c.integer(r::size, 1);
  std::vector<int64_t> shape(x.sizes().begin(), x.sizes().end());
  shape.back() = size;
  return at::multinomial(weights.reshape({-1, x.size(-1)}), size, /*replacement=*/true,
                         generator(c, r::seed))
      .reshape(shape);
}

} // namespace

void registerRandom(Registry &r) {
  r.add(OpKind::random_bernoulli, evalBernoulli);
  r.add(OpKind::random_categorical, evalCategorical);
  r.add(OpKind::random_normal, evalNormal);
  r.add(OpKind::random_uniform, evalUniform);
}

} // namespace plait::runtime
