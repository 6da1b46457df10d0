// The lowering engine: walks a TorchScript graph once with an environment from TorchScript values
// to Vals, and emits MIL. Nodes whose inputs are all known run on LibTorch itself; views, in-place
// writes, containers, calls and control flow are handled here, once, so that lowerings are plain
// functions of values.
#pragma once

#include "frontend/Call.h"
#include "frontend/Val.h"

#include "llvm/ADT/DenseMap.h"
#include "llvm/ADT/STLExtras.h"

#include <map>

namespace plait::frontend {

/// One thing that stopped the lowering of a node.
struct Problem {
  std::string what;       ///< the message, or the name of an unsupported operation
  bool unsupported;       ///< no lowering exists, as against one that refused
  std::string modulePath; ///< "encoder.layer.0"
  std::string location;   ///< "model.py:12"
};

struct EngineOptions {
  /// How many MIL operations unrolled loops may make in one function.
  size_t unrollBudget = 100000;
  /// Describes where a node comes from; called for diagnostics only.
  std::function<std::string(const torch::jit::Node &)> describeLocation;
  /// The mapped storage behind a tensor's memory with its CRC, or null: weights never move.
  std::function<std::shared_ptr<const mil::Storage>(const at::Tensor &)> storageOf;
};

class Engine {
public:
  Engine(mil::Function &function, EngineOptions options);

  /// Runs a method of `self` on arguments (self excluded); the value of its return, or poison.
  Val run(const c10::IValue &self, torch::jit::Function &method, std::vector<Val> arguments);
  /// Everything that went wrong, as one error: each unsupported operation once, with count, module
  /// path and line.
  Error takeError();
  std::vector<std::string> takeWarnings() { return std::move(warnings_); }

  // ---- for Call and the engine's own parts ----
  mil::Builder &builder() { return builder_; }
  mil::Function &function() { return function_; }

  /// A fresh tensor with contiguous strides.
  Val makeTensor(mil::Value *value, at::ScalarType dtype);
  Val makeKnown(at::Tensor tensor, bool fromWeight, llvm::StringRef attribute = "");
  Val makeDimTensor(Dim dim, at::ScalarType dtype);
  /// A constant of the model or a module attribute: every read of one tensor gives one cell.
  Val fromIValue(const c10::IValue &value, llvm::StringRef attribute = "");

  /// The MIL value of a tensor through its view; constants are made where it is known.
  mil::Value *read(TensorObj &tensor);
  /// The tensor if its cell is known; undefined otherwise. A view of the cell's memory: never to be
  /// written.
  at::Tensor readKnown(TensorObj &tensor);
  /// Stores through the view: casts and broadcasts `value` as copy_ does; all aliases see it.
  void write(TensorObj &target, const Val &value);
  /// A new tensor object that views `base` through one more step.
  Val view(const Val::TensorPtr &base, ViewStep step, std::optional<Shape> strides);

  /// An int, float, bool or 0-d tensor as a rank-0 MIL value of the given type.
  mil::Value *scalar(const Val &val, mil::DType dtype);
  mil::Value *materialise(const Dim &dim);
  mil::Value *constant(const at::Tensor &tensor);
  /// A value of the environment as an IValue for LibTorch; nullopt where part of it is not known.
  std::optional<c10::IValue> toKnown(const Val &val);

  void fail(Error error);
  void unsupported(const torch::jit::Node &node, llvm::StringRef name);
  void warn(const llvm::Twine &message);

private:
  struct Frame; // the environment of one call
  friend class ControlFlow;
  // … the parts that follow are in Engine.cpp, Known.cpp, Views.cpp, Mutation.cpp, Containers.cpp,
  // ControlFlow.cpp
};

} // namespace plait::frontend
