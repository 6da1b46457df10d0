// The modules of a base model as adapters see them: which of them share a parameter, and which may
// be one module under two names.
#pragma once

#include "mil/ModuleTree.h"
#include "support/Error.h"

#include <map>

namespace plait::adapters {

using mil::Layer;
using mil::TensorData;

class BaseModules {
public:
  explicit BaseModules(std::shared_ptr<const mil::ModuleTree> tree);

  const mil::ModuleTree &tree() const { return *tree_; }
  const mil::ModuleInfo &operator[](unsigned module) const { return (*tree_)[module]; }
  using Entry = mil::ModuleTree::Entry;
  llvm::ArrayRef<Entry> entries() const { return tree_->entries(); }
  std::optional<unsigned> find(llvm::StringRef path) const { return tree_->find(path); }
  llvm::StringRef pathOf(unsigned module) const { return tree_->pathOf(module); }
  /// Whether the model is one module with nothing in it, as freezing leaves it.
  bool isFlat() const { return entries().size() <= 1; }
  /// A tensor of a module; an empty one where it has none of that name.
  TensorData tensor(unsigned module, llvm::StringRef name) const;
  /// The weight that a module normalised with weight_norm computes of its magnitudes and directions
  /// each time it is called, as a computed constant; empty where it does not.
  TensorData normalisedWeight(unsigned module) const;

  /// A module of the same class and weight that a trace has no code for: the same module by another
  /// name, whose calls the trace recorded under this one's. Null where there is none, or where both
  /// are parts of one module that has two names.
  const Entry *aliasOf(unsigned module);
  /// Another module with code that is, by its tensors, the same part of what may be one module of
  /// two names: a script has each name as a module of its own. Null where there is none.
  const Entry *scriptedTwin(llvm::StringRef path);
  /// The module at `path` by another name, under which a trace has its code: one below a module
  /// that has all the tensors of the one above `path`, as where a wrapper holds a model and a part
  /// of it. None where there is none.
  std::optional<unsigned> calledTwin(llvm::StringRef path);
  /// Whether another module has the same parameter.
  bool isTied(const TensorData &parameter) const;

private:
  bool haveSameOwnTensors(unsigned one, unsigned other) const;
  /// Of two modules and all below them, by path.
  bool haveSameTensors(llvm::StringRef one, llvm::StringRef other);
  /// Whether two modules are the same part of two that have the same tensors; where `traced`, of
  /// two of which a trace has the code under the second name alone.
  bool areBelowTwins(llvm::StringRef path, llvm::StringRef other, bool traced);

  std::shared_ptr<const mil::ModuleTree> tree_;
  llvm::DenseMap<const void *, unsigned> uses_; ///< modules by the memory of their parameter
  std::map<std::pair<std::string, std::string>, bool> twins_;
  llvm::StringMap<std::vector<unsigned>> byName_; ///< entries by the last component of their path
};

} // namespace plait::adapters
