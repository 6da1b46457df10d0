// torch::jit::tracer::trace, with a Module `self`.
#include "frontend/script/libtorch/internal/Trace.h"

#include <torch/csrc/jit/frontend/tracer.h>

namespace plait::libtorch {

std::shared_ptr<torch::jit::Graph> recordTrace(TraceCall call) {
  torch::jit::Stack stack(call.inputs.begin(), call.inputs.end());
  auto run = [&](const torch::jit::Stack &arguments) {
    std::vector<at::Tensor> tensors;
    for (const c10::IValue &argument : arguments)
      tensors.push_back(argument.toTensor());
    return torch::jit::Stack{call.call(tensors)};
  };
  auto traced = torch::jit::tracer::trace(
      std::move(stack), run, [](const at::Tensor &) { return std::string(); },
      /*strict=*/false, /*force_outplace=*/false, &call.self, call.names);
  return traced.first->graph;
}

} // namespace plait::libtorch
