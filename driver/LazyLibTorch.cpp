// The way to LibTorch from a constant that must be computed.
#include "driver/LibTorch.h"

namespace plait::driver {

Expected<std::vector<mil::TensorData>>
LazyEvaluator::evaluate(mil::OpKind kind, llvm::ArrayRef<std::vector<mil::Attr>> operands,
                        llvm::ArrayRef<mil::Type> resultTypes) {
  auto part = libTorch();
  if (!part) {
    std::lock_guard lock(mutex_);
    failure_ = toString(part.takeError());
    return makeError("{0}", failure_);
  }
  return (*part)->evaluator->evaluate(kind, operands, resultTypes);
}

Error LazyEvaluator::takeError() {
  std::lock_guard lock(mutex_);
  std::string failure = std::exchange(failure_, {});
  return failure.empty() ? Error::success() : makeError("{0}", failure);
}

} // namespace plait::driver
