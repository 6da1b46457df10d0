// torch.nn.init's Kaiming bounds, and LibTorch's own generator.
#include "frontend/adapter/VeraProjections.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Functions.h>

#include <cmath>

namespace plait::frontend {

static at::Tensor draw(int64_t rows, int64_t columns, const at::Generator &generator) {
  double deviation = std::sqrt(2.0) / std::sqrt(double(columns));
  double bound = std::sqrt(3.0) * deviation;
  return at::empty({rows, columns}, at::kFloat).uniform_(-bound, bound, generator);
}

VeraProjections drawProjections(uint64_t seed, int64_t rank, int64_t in, int64_t out) {
  at::Generator generator = at::detail::createCPUGenerator(seed);
  at::Tensor a = draw(rank, in, generator);
  return {a, draw(out, rank, generator)};
}

} // namespace plait::frontend
