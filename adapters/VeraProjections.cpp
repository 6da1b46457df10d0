// torch.nn.init's Kaiming bounds, and LibTorch's own generator: mt19937, of whose words uniform_
// takes the low 24 bits.
#include "adapters/VeraProjections.h"

#include "adapters/Tensors.h"

#include <cmath>
#include <random>

namespace plait::adapters {

static TensorData draw(int64_t rows, int64_t columns, std::mt19937 &generator) {
  double deviation = std::sqrt(2.0) / std::sqrt(double(columns));
  auto bound = float(std::sqrt(3.0) * deviation);
  std::vector<float> values(rows * columns);
  for (float &value : values) {
    float unit = float(generator() & ((1u << 24) - 1)) * (1.0f / (1u << 24));
    value = unit * (bound - -bound) + -bound;
  }
  return ofFloats({rows, columns}, values);
}

std::map<std::string, AdapterBranch::Factor> drawProjections(const AdapterConfig &config,
                                                             int64_t in, int64_t out) {
  std::mt19937 generator(uint32_t(*config.projectionSeed));
  TensorData a = draw(config.rank, in, generator);
  TensorData b = draw(out, config.rank, generator);
  return {{"vera_A", {a, "base_model.vera_A"}}, {"vera_B", {b, "base_model.vera_B"}}};
}

} // namespace plait::adapters
