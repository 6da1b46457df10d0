// The modules of a base model: their paths, which of them share a parameter, and how a module uses
// its weight.
#pragma once

#include "support/Error.h"

#include "llvm/ADT/DenseMap.h"
#include "llvm/ADT/StringMap.h"

#include <ATen/core/ivalue.h>
#include <torch/csrc/jit/api/module.h>

#include <map>
#include <vector>

namespace plait::frontend {

using ModuleObject = c10::ivalue::Object;

class BaseModules {
public:
  explicit BaseModules(const torch::jit::Module &base);

  struct Entry {
    std::string path; ///< "" for the model itself
    const ModuleObject *object;
  };
  /// Every path of every module, in order of the model.
  llvm::ArrayRef<Entry> entries() const { return entries_; }
  const ModuleObject *find(llvm::StringRef path) const { return byPath_.lookup(path); }
  /// The first path of a module of the model.
  llvm::StringRef pathOf(const ModuleObject &object) const;
  /// Whether the model is one module with nothing in it, as freezing leaves it.
  bool isFlat() const { return entries_.size() <= 1; }
  /// A module of the same class and weight that a trace has no code for: the same module by another
  /// name, whose calls the trace recorded under this one's. Null where there is none, or where both
  /// are parts of one module that has two names.
  const Entry *aliasOf(const ModuleObject &module);
  /// Another module with code that is, by its tensors, the same part of what may be one module of
  /// two names: a script has each name as a module of its own. Null where there is none.
  const Entry *scriptedTwin(llvm::StringRef path);
  /// The module at `path` by another name, under which a trace has its code: one below a module
  /// that has all the tensors of the one above `path`, as where a wrapper holds a model and a part
  /// of it. Null where there is none.
  const ModuleObject *calledTwin(llvm::StringRef path);
  /// Whether another module has the same parameter.
  bool isTied(const at::Tensor &parameter) const;

private:
  void add(const std::string &path, const ModuleObject &object, unsigned depth);
  /// Of two modules and all below them, by path.
  bool haveSameTensors(llvm::StringRef one, llvm::StringRef other);
  /// Whether two modules are the same part of two that have the same tensors; where `traced`, of
  /// two of which a trace has the code under the second name alone.
  bool areBelowTwins(llvm::StringRef path, llvm::StringRef other, bool traced);

  std::vector<Entry> entries_;
  llvm::StringMap<const ModuleObject *> byPath_;
  llvm::DenseMap<const void *, unsigned> uses_; ///< modules by the memory of their parameter
  std::map<std::pair<std::string, std::string>, bool> twins_;
  llvm::StringMap<std::vector<unsigned>> byName_; ///< entries by the last component of their path
};

/// Whether the module has code; in a trace only what was called has.
bool isCallable(const ModuleObject &module);

/// The tensor attribute of a module; undefined where there is none.
at::Tensor tensorAttribute(const ModuleObject &module, llvm::StringRef name);

/// The weight that a module normalised with weight_norm computes of its magnitudes and directions
/// each time it is called; undefined where it does not.
at::Tensor normalisedWeight(const ModuleObject &module);

/// An argument of a node that its code writes as a constant, or as a list of constant integers; by
/// its name in the schema, or the schema's default. nullopt where it is computed, or has no such
/// argument.
std::optional<c10::IValue> constantArgument(const torch::jit::Node &node, llvm::StringRef name);

/// What a module computes with its weight.
struct WeightUse {
  enum Kind {
    Other,
    Linear,           ///< y = x W', W [out, in]
    TransposedLinear, ///< y = x W, W [in, out]: GPT-2's Conv1D
    Embedding,
    Convolution,
  } kind = Other;
  /// The operation, of a convolution; lives as long as the module.
  const torch::jit::Node *node = nullptr;

  /// Of a convolution: whether its elements are apart, or not known to be neighbours.
  bool isDilated() const;
};

/// Found in the code of forward and of what it calls.
WeightUse weightUse(const ModuleObject &module);

} // namespace plait::frontend
