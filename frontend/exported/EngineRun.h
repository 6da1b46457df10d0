// The walk of an exported program onto the engine.
//
//   EngineRun.cpp     operations, branches and loops as the engine takes them
//   ModuleCalls.cpp   calls of modules, found in the nodes' module stacks
#pragma once

#include "frontend/engine/Engine.h"
#include "frontend/exported/ModuleCalls.h"
#include "frontend/exported/Places.h"
#include "frontend/exported/ProgramRun.h"

#include "llvm/ADT/DenseMap.h"
#include "llvm/ADT/StringSet.h"

namespace plait::frontend {

class EngineRun : public ProgramRun<Val> {
public:
  /// `calls` may be null; it outlives the run.
  EngineRun(Engine &engine, ModuleCalls *calls) : engine_(engine), calls_(calls) {}

  /// The values of the graph's outputs. Inputs that are no name take no value.
  Values run(const exported::Graph &graph, llvm::ArrayRef<Val> inputs);

private:
  Val constant(c10::IValue value) override { return engine_.fromIValue(value); }
  Val list(const c10::TypePtr &elementType, Values values) override {
    return engine_.makeList(elementType, std::move(values));
  }
  Values elementsOf(const Val &list) override;
  std::optional<int64_t> knownInteger(const Val &value) override;
  bool isInteger(const Val &value) override;
  bool isTensor(const Val &value) override { return value.isTensor(); }
  Values atNode(const exported::Node &node, Thunk run) override;
  Values operation(const exported::Node &node, const torch::jit::Operator &op,
                   Values arguments) override;
  Values part(const torch::jit::Operator &op, Values arguments) override;
  Values branch(const Val &condition, BodyFn then, BodyFn otherwise) override;
  Values loop(const Val &trips, const Val &condition, Values carried, BodyFn body,
              size_t operations) override;
  Values autocast(std::optional<at::ScalarType> type, bool enabled, Thunk run) override;
  [[noreturn]] void unsupported(const std::string &name) override;
  void beforeNode(size_t index) override;
  void afterNode(size_t index) override;

  /// The names that nodes or results of a graph read.
  const llvm::StringSet<> &readIn(const exported::Graph &graph);
  /// The result against what the archive says of it; fails where it contradicts that.
  Val checked(const exported::Argument &output, Val result);
  /// Whether what the archive says of the node's results is to be believed.
  bool isDescribed(const exported::Node &node);

  Engine &engine_;
  ModuleCalls *calls_;
  Places places_;
  llvm::DenseMap<const exported::Graph *, std::unique_ptr<llvm::StringSet<>>> read_;
  const exported::Graph *top_ = nullptr;
  const Site *site_ = nullptr; ///< of the node that is being run
  bool isAutocast_ = false;
  /// Results that come from what the archive describes wrongly.
  llvm::StringSet<> misdescribed_;
};

} // namespace plait::frontend
