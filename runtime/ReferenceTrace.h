// What a TorchScript model computes on its way to the outputs: what `verify --bisect` holds a
// package's values against.
#pragma once

#include "runtime/Runner.h"

#include <functional>

namespace torch::jit {
struct Module;
struct Node;
} // namespace torch::jit

namespace plait::runtime {

/// One tensor that the model computed from its inputs. Views are left out: they hold what their
/// operand holds.
struct ReferenceStep {
  std::string operation; ///< "aten::linear"
  std::string module;    ///< "encoder.layer.0"; empty for the model itself
  std::string source;    ///< "model.py:12 in forward", as far as known
  mil::TensorData value;
  /// Earlier steps that it was computed from, through views and lists.
  std::vector<unsigned> operands;
  bool isOutput = false; ///< the model returns it, or a view of it
};

/// Runs the model on inputs in order and gives its steps in the order they ran. Values inside loops
/// and undecided branches are not among them; those that leave these are.
using ReferenceTracer =
    std::function<Expected<std::vector<ReferenceStep>>(llvm::ArrayRef<NamedTensor> inputs)>;
/// How messages name the place of a node.
using NodeDescriber = std::function<std::string(const torch::jit::Node &)>;

/// A TorchScript module in evaluation mode and fp32; messages call it `name`. Every intermediate
/// tensor of a run is held at once.
ReferenceTracer tracerOf(std::shared_ptr<torch::jit::Module> module, llvm::StringRef name,
                         NodeDescriber describe);

} // namespace plait::runtime
