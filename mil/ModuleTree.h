// The modules of a model as a frontend found them: their paths, their parameters, and what each
// computes with its weight. It says nothing of the form that the model had (TorchScript, a live
// module), so that whoever addresses a model by the paths of its parameters needs no frontend.
//
//   ""                 the model
//   "encoder"          a module of it
//   "encoder.proj"     type "Linear", tensors weight [64, 32] and bias [64], a Layer::Linear
//
// One module may be reached by several paths; the tree has an entry for each.
#pragma once

#include "mil/TensorData.h"

#include "llvm/ADT/DenseMap.h"
#include "llvm/ADT/StringMap.h"

namespace plait::mil {

class Function;
class Op;

/// What a module computes with its weight.
struct Layer {
  enum Kind : uint8_t {
    Other,
    Linear,           ///< y = x W', W [out, in]
    TransposedLinear, ///< y = x W, W [in, out]: GPT-2's Conv1D
    Embedding,
    Convolution,
  } kind = Other;
  /// What an embedding multiplies what it gathers with.
  double scale = 1;

  // Of a convolution. Numbers are those of the spatial dimensions; nullopt: the code computes them.
  using Sizes = llvm::SmallVector<int64_t, 3>;
  std::optional<Sizes> strides, padding, dilations;
  std::string paddingMode; ///< "same" or "valid", where the code has a word in place of `padding`
  std::optional<int64_t> groups;
  bool transposed = false;
  /// It convolves what the module is given, and not something that was made of that first.
  bool isOfInput = true;

  /// Whether its elements are apart, or not known to be neighbours.
  bool isDilated() const;
  bool isGrouped() const { return groups != 1; }
};

struct ModuleInfo {
  std::string type;      ///< the name of its class
  bool callable = false; ///< it has code; in a trace only what was called has
  /// A trace has it under one name with several calls.
  bool calledAgain = false;
  /// Its own parameters and buffers, by attribute.
  std::vector<std::pair<std::string, TensorData>> tensors;
  std::vector<std::pair<std::string, unsigned>> children; ///< by attribute
  Layer layer;

  /// The tensor of that name; null where there is none.
  const TensorData *find(llvm::StringRef attribute) const;
  std::optional<unsigned> child(llvm::StringRef attribute) const;
};

class ModuleTree {
public:
  struct Entry {
    std::string path; ///< "" for the model itself
    unsigned module;  ///< of modules()
  };

  /// Adds a module; its paths follow with addPath().
  unsigned addModule(ModuleInfo info);
  ModuleInfo &edit(unsigned module) { return modules_[module]; }
  void addPath(std::string path, unsigned module);

  llvm::ArrayRef<ModuleInfo> modules() const { return modules_; }
  const ModuleInfo &operator[](unsigned module) const { return modules_[module]; }
  /// Every path of every module, in order of the model.
  llvm::ArrayRef<Entry> entries() const { return entries_; }
  std::optional<unsigned> find(llvm::StringRef path) const;
  /// The first path of a module.
  llvm::StringRef pathOf(unsigned module) const;
  /// Whether the module at `path` is `module` or is in it, by any name.
  bool isIn(llvm::StringRef path, unsigned module) const;

private:
  std::vector<ModuleInfo> modules_;
  std::vector<Entry> entries_;
  llvm::StringMap<unsigned> byPath_;
};

/// Where in memory a parameter's first element is: equal for parameters that are one. Null for what
/// holds nothing.
const uint8_t *addressOf(const TensorData &tensor);

// ---- Borders -----------------------------------------------------------------------------------
//
// A frontend that is asked to marks what goes into a module and what comes out of it, so that a
// rewrite of the lowered function finds both:
//
//   %x1 = identity(x = %x)    border: goes into 'encoder.proj', call 3
//   …                         what the module computes
//   %y1 = identity(x = %y)    border: comes out of 'encoder.proj', call 3

/// A module whose calls are marked.
struct BorderedModule {
  unsigned module;
  /// What the input must fit, where several arguments are tensors: the kind of layer, and its
  /// weight's shape.
  Layer::Kind kind;
  llvm::SmallVector<int64_t, 4> weightShape;
  /// The module computes with what the border of its input gives, so that a rewrite can change
  /// that. Where not, it computes with the argument itself.
  bool splitsInput = false;

  friend bool operator==(const BorderedModule &a, const BorderedModule &b) {
    return a.module == b.module && a.kind == b.kind && a.weightShape == b.weightShape &&
           a.splitsInput == b.splitsInput;
  }
};

/// A parameter that a frontend computes with itself, so that the lowered function does not show
/// where it was used: to be lowered with another value, or, where that is empty, as a constant that
/// the frontend does not compute with.
struct GivenParameter {
  unsigned module;
  std::string name;
  TensorData value;
  /// Another module has the same parameter: what reads it outside of the module's code keeps it.
  bool isTied;
};

/// One call of a module. The identities are in the function until removeBorders().
struct ModuleCall {
  unsigned module;
  Op *input = nullptr;  ///< null where no argument fits
  Op *output = nullptr; ///< null where it gives no tensor
};

/// Marks an identity that a frontend made; calls are told apart by number.
void markBorder(Op &identity, bool isInput, unsigned module, unsigned call);
/// The calls of a function's bordered modules, in its order.
std::vector<ModuleCall> moduleCalls(Function &function);
/// Takes the identities out: what they gave is what they were given.
void removeBorders(Function &function);

} // namespace plait::mil
