// How LibTorch computes what was lowered all the same, from values that are known: a tree of calls,
// each run once, when somebody asks.
//
//     weight [4096, 4096], known -> aten::t -> aten::mul.Scalar   lowered: a lazy constant
//     aten::matrix_exp of it: no lowering, so that LibTorch computes all three
#pragma once

#include "frontend/engine/Val.h"

#include <torch/csrc/jit/runtime/operator.h>

namespace plait::frontend {

class DeferredResult {
public:
  /// Puts the arguments of one call together; LibTorch's errors are thrown.
  using Arguments = std::vector<std::function<c10::IValue()>>;
  /// One call, which its results share.
  struct Call {
    std::shared_ptr<torch::jit::Operator> operation;
    Arguments arguments;
    std::vector<c10::IValue> results; ///< once it ran
  };

  DeferredResult(std::shared_ptr<Call> call, unsigned index)
      : call_(std::move(call)), index_(index) {}

  at::Tensor result() {
    if (call_->results.empty()) {
      for (const auto &argument : call_->arguments)
        call_->results.push_back(argument());
      call_->arguments.clear();
      call_->operation->getOperation()(call_->results);
    }
    return index_ < call_->results.size() && call_->results[index_].isTensor()
               ? call_->results[index_].toTensor()
               : at::Tensor();
  }

private:
  std::shared_ptr<Call> call_;
  unsigned index_;
};

} // namespace plait::frontend
