// Weights of linear layers by shape, then by a look at them.
#include "driver/StoredWeights.h"

#include "backend/PackageReader.h"
#include "backend/WeightSample.h"

namespace plait::driver {

using namespace mil;

void StoredWeights::read() {
  isRead_ = true;
  auto program = readPackage(path_);
  if (!program) {
    consumeError(program.takeError());
    return;
  }
  program_ = std::move(*program);
  for (const auto &function : program_->functions())
    mil::walk(function->body(), [&](Op &op) {
      if (!op.is(OpKind::linear))
        return;
      const Value *weight = op[linear::weight];
      auto shape = constShape(weight->type.shape());
      if (const TensorData *tensor = constTensor(weight))
        plain_[{tensor->dtype(), Shape(tensor->shape())}].push_back(*tensor);
      else if (shape)
        compressed_.insert(Shape(shape->begin(), shape->end()));
    });
}

bool StoredWeights::holds(const TensorData &weight, Evaluator *evaluator) {
  if (!isRead_)
    read();
  Shape shape(weight.shape());
  if (compressed_.count(shape))
    return true;
  std::pair key(weight.dtype(), shape);
  auto alike = plain_.find(key);
  if (alike == plain_.end())
    return false;
  auto sampleOf = [&](const TensorData &tensor) -> std::optional<uint64_t> {
    auto reader = TensorReader::create(tensor, evaluator);
    if (reader)
      return weightSample(*reader);
    consumeError(reader.takeError());
    return std::nullopt;
  };
  auto [samples, isNew] = samples_.try_emplace(key);
  if (isNew)
    for (const TensorData &tensor : alike->second)
      if (auto sample = sampleOf(tensor))
        samples->second.insert(*sample);
  auto sample = sampleOf(weight);
  return sample && samples->second.count(*sample);
}

} // namespace plait::driver
