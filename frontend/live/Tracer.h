// Live C++ models become torch::jit::Modules: the model runs once on example inputs while
// LibTorch's tracer records its operations, with its parameters as attributes.
//
// Afterwards the process is as before: train/eval modes, gradients, random generators, buffers and
// the examples themselves. The model runs in evaluation mode and without gradients.
//
// What a trace cannot record is found by tracing again:
//   - with other values of the inputs: graphs that differ mean that control flow (or a number read
//     out of a tensor) was frozen as the examples decided it; a warning says where
//   - where a dimension is declared as a range, with another size: a constant that differs is a
//     size that C++ read as a plain number, wrong at every other size; that is an error
//
// One model is traced at a time in a process, because the random generators are the process's.
#pragma once

#include "frontend/Frontend.h"

#include <ATen/core/Tensor.h>
#include <ATen/core/ivalue.h>

namespace torch::nn {
class Module;
}

namespace plait::frontend {

struct TraceRequest {
  /// Runs the model; called two or three times. Its result is a tensor, or a tuple, list or
  /// dictionary (with keys of text) of results.
  std::function<c10::IValue(const std::vector<at::Tensor> &)> call;
  /// The module whose parameters and buffers the call uses; null where it has none. Tensors that
  /// are registered nowhere become constants.
  torch::nn::Module *module = nullptr;
  /// Only read.
  std::vector<at::Tensor> examples;
  /// As declared, one for each example, or none: then taken from the examples.
  std::vector<InputSpec> inputs;
};

struct TracedModel {
  std::shared_ptr<torch::jit::Module> module; ///< its method `forward` is the trace
  std::vector<InputSpec> inputs;              ///< complete, one for each example
  std::vector<std::string> warnings;
};

Expected<TracedModel> trace(const TraceRequest &request);

} // namespace plait::frontend
