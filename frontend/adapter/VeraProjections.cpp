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

std::map<std::string, AdapterBranch::Factor> drawProjections(const AdapterConfig &config,
                                                             int64_t in, int64_t out) {
  at::Generator generator = at::detail::createCPUGenerator(*config.projectionSeed);
  at::Tensor a = draw(config.rank, in, generator);
  at::Tensor b = draw(out, config.rank, generator);
  return {{"vera_A", {a, "base_model.vera_A"}}, {"vera_B", {b, "base_model.vera_B"}}};
}

} // namespace plait::frontend
