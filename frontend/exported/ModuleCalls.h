// Calls of modules in a flat graph. Each node says by its module stack which calls it is part of;
// the nodes of one call are neighbours:
//
//   node                       stack
//   addmm(x, p_fc_weight)      Model; encoder; encoder.fc
//   view(addmm)                Model; encoder; encoder.fc      what goes in is x, what comes out
//   view relu(view)                 Model; encoder
//
// Of modules that adapters want marked (mil/ModuleTree.h), what goes in and out is; parameters that
// are given take the place of the model's.
#pragma once

#include "frontend/engine/Engine.h"
#include "frontend/exported/ExportedModel.h"
#include "mil/ModuleTree.h"

#include "llvm/ADT/StringMap.h"

#include <set>

namespace plait::frontend {

class ModuleCalls {
public:
  /// The numbers of modules are those of `tree`, which describes the model.
  ModuleCalls(const ExportedModel &model, const mil::ModuleTree &tree,
              llvm::ArrayRef<mil::BorderedModule> bordered,
              llvm::ArrayRef<mil::GivenParameter> given,
              std::function<mil::Origin(const at::Tensor &)> originOf);

  using Names = llvm::StringMap<Val>;
  /// A parameter that is given for all of the model; nullopt: the model's own.
  std::optional<Val> parameter(Engine &engine, const exported::InputSpec &spec, bool isRead);
  void before(Engine &engine, size_t node, Names &names);
  void after(Engine &engine, size_t node, Names &names);

  /// The given parameters that were read, by module and name.
  const std::set<std::pair<unsigned, std::string>> &read() const { return read_; }

private:
  struct Call {
    unsigned module = 0, number = 0;
    const mil::BorderedModule *bordered = nullptr;
    std::vector<const mil::GivenParameter *> given = {};
    size_t first = 0, last = 0;                           ///< nodes
    std::vector<std::string> inputs = {}, outputs = {};   ///< names that go in and come out
    std::vector<std::pair<std::string, Val>> hidden = {}; ///< what names stood for before the call
  };
  void findCalls(const exported::Graph &graph);
  void findBorders(const exported::Graph &graph, Call &call, const std::set<size_t> &own);
  Val give(Engine &engine, const mil::GivenParameter &parameter);
  Val border(Engine &engine, const Val &value, const Call &call, bool isInput);
  bool fits(const Call &call, const Val &value) const;

  const ExportedModel &model_;
  const mil::ModuleTree &tree_;
  llvm::ArrayRef<mil::BorderedModule> bordered_;
  llvm::ArrayRef<mil::GivenParameter> given_;
  std::function<mil::Origin(const at::Tensor &)> originOf_;
  llvm::StringMap<at::Tensor> parameters_; ///< of the graph's inputs, by name
  std::vector<Call> calls_;                ///< outer ones before those in them
  std::set<std::pair<unsigned, std::string>> read_;
};

/// The modules of an exported model, by the paths of its tensors and its nodes' module stacks.
mil::ModuleTree describeExported(
    const ExportedModel &model,
    llvm::function_ref<std::shared_ptr<const mil::Storage>(const at::Tensor &)> storageOf,
    llvm::function_ref<mil::Origin(const at::Tensor &)> originOf);

} // namespace plait::frontend
