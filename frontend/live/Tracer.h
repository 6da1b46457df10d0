// Live C++ models become torch::jit::Modules: the model runs once on example inputs while
// LibTorch's tracer records its operations, with its parameters as attributes.
//
// Afterwards the process is as before: train/eval modes, gradients, random generators, buffers and
// the examples themselves. The model runs in evaluation mode and without gradients.
//
// What a trace cannot record is found by tracing again (TraceInputs.h):
//   - with other values of the inputs: graphs that differ mean that control flow (or a number read
//     out of a tensor) was frozen as the examples decided it; a warning says where. So does one
//     where a number is read and no draw shows a difference
//   - with other sizes that are declared: a constant that differs is a size that C++ read as a
//     plain number, another operation one that such a number chose. Both are wrong at other sizes,
//     which is an error
//
// Models that share modules are traced one after the other (ModuleUse.h). A ProceedScope ends the
// tracing between two operations of the model (OperationStop.h).
#pragma once

#include "frontend/Frontend.h"
#include "frontend/live/Results.h"

#include <ATen/core/Tensor.h>

namespace torch::nn {
class Module;
}

namespace plait::frontend {

struct TraceRequest {
  /// Runs the model; called as often as there are draws.
  std::function<Results(const std::vector<at::Tensor> &)> call;
  /// The module whose parameters and buffers the call uses; null where it has none. Tensors that
  /// are registered nowhere become constants.
  torch::nn::Module *module = nullptr;
  /// Only read.
  std::vector<at::Tensor> examples;
  /// As declared, one for each example, or none: then taken from the examples. So is the shape of
  /// one that has none.
  std::vector<InputSpec> inputs;
};

struct TracedModel {
  /// Its method `forward` is the trace, which gives a tuple of tensors. The names of the tuple's
  /// fields are those of the results, "" where they have none.
  std::shared_ptr<torch::jit::Module> module;
  std::vector<InputSpec> inputs; ///< complete, one for each example
  size_t results = 0;
  std::vector<Warning> warnings;
};

/// What `call` throws on the examples comes out as it is, but for c10::Error, which is an error.
Expected<TracedModel> trace(const TraceRequest &request);

} // namespace plait::frontend
