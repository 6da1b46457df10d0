// The walk over TorchScript: goes through a method's graph once with an environment from
// TorchScript values to Vals, follows calls and attributes, and hands every operation, `if` and
// loop to the engine.
//
//   GraphWalk.cpp   frames, blocks, calls, attributes
//   Primitives.cpp  prim:: operations: constants, tuples, lists, casts
#pragma once

#include "frontend/engine/Engine.h"

#include "llvm/ADT/DenseSet.h"

#include <torch/csrc/jit/ir/ir.h>

namespace plait::frontend {

class ModuleHook;

struct WalkOptions {
  /// Where a node stands, in a module of this path; asked for each node, so that the line is to be
  /// found when it is needed.
  std::function<mil::Location(const torch::jit::Node &, const mil::Name &modulePath)> locationOf;
  /// The operator whose decomposition is walked: an exception that it raises is a refusal of that.
  std::string decomposed = {};
  /// Stands between modules and their forward (ModuleHook.h); may be null. Outlives the walk.
  ModuleHook *moduleHook = nullptr;
};

class GraphWalk {
public:
  GraphWalk(Engine &engine, WalkOptions options) : engine_(engine), options_(std::move(options)) {}

  /// Runs a method of `self` on arguments (self excluded); the value of its return, or poison.
  Val run(const c10::IValue &self, torch::jit::Function &method, std::vector<Val> arguments);

private:
  using Node = torch::jit::Node;
  using Arguments = llvm::ArrayRef<Val>;
  using Results = Engine::Results;
  /// The results of a node that was handled; nullopt: it is an operation of the engine's.
  using Handled = std::optional<Results>;

  /// The environment of one call of a method or function.
  struct Frame {
    llvm::DenseMap<const torch::jit::Value *, Val> env;
    Frame *caller = nullptr;
    mil::Name modulePath;
  };

  // GraphWalk.cpp
  /// The block's outputs for these inputs.
  Results runBlock(torch::jit::Block &block, Arguments inputs);
  void runNode(Node &node);
  Results runIf(Node &node);
  Results runLoop(Node &node);
  Results callFunction(torch::jit::Function &function, std::vector<Val> arguments,
                       const mil::Name &modulePath);
  Results callMethod(Node &node, Arguments arguments);
  Val getAttr(Node &node, const Val &object);
  Val readAttribute(c10::ivalue::Object &instance, const std::string &name);
  std::string pathOf(const c10::ivalue::Object &instance, const std::string &name) const;
  void setAttr(Node &node, const Val &object, const Val &value);
  Val lookup(const torch::jit::Value *value);
  void bind(const torch::jit::Value *value, Val val);

  // Primitives.cpp
  Handled primitive(Node &node, Arguments arguments);
  Handled container(Node &node, Arguments arguments);

  Engine &engine_;
  WalkOptions options_;
  Frame *frame_ = nullptr;
  llvm::DenseMap<const void *, std::string> objectPaths_;
  llvm::DenseSet<const void *> localObjects_; ///< made by the model's own code
  std::vector<c10::IValue> localObjectsKept_;
};

} // namespace plait::frontend
