// The way to LibTorch from a constant that must be computed.
#include "driver/LibTorch.h"

namespace plait::driver {

Expected<std::vector<mil::TensorData>>
LazyEvaluator::evaluate(mil::OpKind kind, llvm::ArrayRef<std::vector<mil::Attr>> operands,
                        llvm::ArrayRef<mil::Type> resultTypes) {
  auto part = libTorch();
  if (!part) {
    std::lock_guard lock(mutex_);
    failure_ = takeFailure(part.takeError());
    return makeFailure(*failure_);
  }
  return (*part)->evaluator->evaluate(kind, operands, resultTypes);
}

Error LazyEvaluator::takeError() {
  std::lock_guard lock(mutex_);
  std::optional<Failure> failure = std::exchange(failure_, {});
  return failure ? makeFailure(std::move(*failure)) : Error::success();
}

} // namespace plait::driver
