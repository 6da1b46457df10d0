// The lowering engine: walks a TorchScript graph once with an environment from TorchScript values
// to Vals, and emits MIL. Nodes whose inputs are all known run on LibTorch itself; views, in-place
// writes, containers, calls and control flow are handled here, once, so that lowerings are plain
// functions of values.
//
//   Engine.cpp       the walk, dispatch of one node, calls, attributes, diagnostics
//   Known.cpp        known values: running nodes on LibTorch, constants for MIL
//   Views.cpp        reading and writing through views
//   ViewOps.cpp      the operations that make views: view, slice, transpose, split …
//   Mutation.cpp     in-place and out= forms from the schema's alias annotations
//   Dims.cpp         symbolic and run-time integers
//   Containers.cpp   lists, tuples, dictionaries
//   Journal.cpp      what a speculative region changed, to undo or to merge
//   ControlFlow.cpp  if
//   Loop.cpp         loops
#pragma once

#include "frontend/engine/Call.h"
#include "frontend/engine/Val.h"

#include "llvm/ADT/DenseMap.h"
#include "llvm/ADT/DenseSet.h"
#include "llvm/ADT/STLExtras.h"

#include <map>

namespace plait::frontend {

class ModuleHook;

/// One thing that stopped the lowering of a node.
struct Problem {
  std::string what;       ///< the message, or the name of an unsupported operation
  bool unsupported;       ///< no lowering exists, as against one that refused
  std::string modulePath; ///< "encoder.layer.0"
  std::string location;   ///< "model.py:12 in forward: y = …"
};

struct EngineOptions {
  /// How many nodes may be lowered inside unrolled loops of one function.
  size_t unrollBudget = 100000;
  /// Where a node stands, in a module of this path; asked for each node, so that the line is to be
  /// found when it is needed.
  std::function<mil::Location(const torch::jit::Node &, const mil::Name &modulePath)> locationOf;
  /// All names that the model has for a tensor.
  std::function<mil::Origin(const at::Tensor &)> originOf;
  /// The mapped storage behind a tensor's memory with its CRC, or null: weights never move.
  std::function<std::shared_ptr<const mil::Storage>(const at::Tensor &)> storageOf;
  /// Stands between modules and their forward (ModuleHook.h); may be null. Outlives the engine.
  ModuleHook *moduleHook = nullptr;
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
  Val makeKnown(KnownTensor known, llvm::StringRef attribute = "");
  Val makeDimTensor(Dim dim, at::ScalarType dtype);
  Val makeList(c10::TypePtr elementType, std::vector<Val> values);
  Val makeTuple(c10::TypePtr type, std::vector<Val> values);
  /// A constant of the model or a module attribute: every read of one tensor gives one cell.
  Val fromIValue(const c10::IValue &value, llvm::StringRef attribute = "", bool fromWeight = false);

  /// The MIL value of a tensor through its view; constants are made where it is known.
  mil::Value *read(TensorObj &tensor);
  /// The tensor if its cell is known; undefined otherwise. A view of the cell's memory: never to be
  /// written.
  at::Tensor readKnown(const TensorObj &tensor);
  /// Which parameter a known tensor is, or was computed from.
  static mil::Origin originOf(const Val &val);
  /// The symbolic integer that a 0-d (or one-element) tensor holds.
  std::optional<Dim> readDim(const TensorObj &tensor);
  /// Stores through the view: casts and broadcasts `value` as copy_ does; all aliases see it.
  void write(TensorObj &target, const Val &value);
  /// A new tensor object that views `base` through one more step; `value` is what it reads as,
  /// where that is at hand.
  Val::TensorPtr view(const Val::TensorPtr &base, ViewStep step, std::optional<Shape> strides,
                      mil::Value *value = nullptr);
  /// An int of any kind as a Dim: a run-time one becomes a symbol of its own.
  std::optional<Dim> dimOf(const Val &val);
  std::optional<Shape> dimsOf(const Val &list);
  /// A tensor of its own with the same content: `clone`.
  Val copy(const Val::TensorPtr &tensor);
  /// `x.to(dtype)`; the same object's alias where nothing changes.
  Val castTensor(const Val::TensorPtr &tensor, at::ScalarType dtype);

  /// An int, float, bool or one-element tensor as a rank-0 MIL value of the given type.
  mil::Value *scalar(const Val &val, mil::DType dtype);
  mil::Value *materialise(const Dim &dim);
  mil::Value *materialise(llvm::ArrayRef<Dim> shape);
  mil::Value *constant(const at::Tensor &tensor, llvm::StringRef hint = "",
                       mil::Origin origin = {});
  mil::Value *castTo(mil::Value *x, mil::DType dtype);
  mil::Value *reshape(mil::Value *x, llvm::ArrayRef<Dim> shape);
  mil::Value *broadcastTo(mil::Value *x, llvm::ArrayRef<Dim> shape);
  /// Wraps integer values around as a narrow PyTorch type would.
  mil::Value *wrapInteger(mil::Value *x, at::ScalarType dtype);
  /// A value of the environment as an IValue for LibTorch; nullopt where part of it is not known.
  std::optional<c10::IValue> toKnown(const Val &val);
  static bool hasPoison(const Val &val);
  /// Runs one operation on values, as a node would: known values, lowering table, fallback.
  std::optional<std::vector<Val>> call(const c10::FunctionSchema &schema,
                                       std::vector<Val> arguments);

  void fail(Error error);
  void warn(const llvm::Twine &message);

private:
  friend class Call;
  using Node = torch::jit::Node;
  using Arguments = llvm::ArrayRef<Val>;
  /// The results of a node that was handled; nullopt: try the next way.
  using Handled = std::optional<std::vector<Val>>;

  /// The environment of one call of a method or function.
  struct Frame {
    llvm::DenseMap<const torch::jit::Value *, Val> env;
    Frame *caller = nullptr;
    mil::Name modulePath;
  };

  /// What a speculative region changed among the objects that existed before it, to undo or to
  /// merge.
  struct Journal {
    uint64_t start; ///< objects of this serial or later are local to the region
    std::vector<std::pair<std::shared_ptr<Cell>, Cell>> cells;
    std::vector<std::pair<Val::TensorPtr, TensorObj>> tensors;
    std::vector<std::pair<Val::ListPtr, ListObj>> lists;
    std::vector<std::pair<Val::DictPtr, DictObj>> dicts;
    std::vector<std::pair<std::pair<c10::ivalue::Object *, size_t>, std::optional<Val>>> slots;
  };

  // Engine.cpp
  void runBlock(torch::jit::Block &block);
  void runNode(Node &node);
  std::vector<Val> dispatch(Node &node, std::vector<Val> arguments);
  Handled primitive(Node &node, Arguments arguments);
  std::vector<Val> callFunction(torch::jit::Function &function, std::vector<Val> arguments,
                                const mil::Name &modulePath);
  Val getAttr(Node &node, const Val &object);
  void setAttr(Node &node, const Val &object, const Val &value);
  Val lookup(const torch::jit::Value *value);
  void bind(const torch::jit::Value *value, Val val);
  void unsupported(llvm::StringRef name);
  mil::Name modulePath() const { return frame_ ? frame_->modulePath : mil::Name(); }
  void addProblem(std::string what, bool isUnsupported);

  // Known.cpp
  Handled runKnown(const c10::FunctionSchema &schema, Arguments arguments, bool force);
  std::optional<c10::IValue> knownArgument(const Val &val, const c10::TypePtr &type);

  // Views.cpp
  mil::Value *applyStep(mil::Value *base, const ViewStep &step);
  mil::Value *insertStep(mil::Value *base, const ViewStep &step, mil::Value *part);
  mil::Value *beginVector(mil::Value *base, const ViewStep &step);
  mil::Value *cellValue(Cell &cell);
  void setContent(const std::shared_ptr<Cell> &cell, decltype(Cell::content) content);
  Val::TensorPtr makeObject(std::shared_ptr<Cell> cell);
  void mayAlias(const Val &a, const Val &b);

  // ViewOps.cpp
  Handled viewOperation(const c10::FunctionSchema &schema, Arguments arguments);
  Val reshapeTensor(const Val::TensorPtr &self, Shape shape, bool mustAlias);
  Val permuteTensor(const Val::TensorPtr &self, llvm::ArrayRef<int64_t> perm);
  Val sliceTensor(const Val::TensorPtr &self, int64_t dim, const Val &start, const Val &end,
                  int64_t step);
  Val selectTensor(const Val::TensorPtr &self, int64_t dim, const Val &index);
  Val splitTensor(const Val::TensorPtr &self, int64_t dim, llvm::ArrayRef<Dim> sizes, bool unbind);

  // Mutation.cpp
  Handled mutation(const c10::FunctionSchema &schema, Arguments arguments);

  // Dims.cpp
  Handled scalarOperation(const c10::FunctionSchema &schema, Arguments arguments);
  Handled tensorProperty(const c10::FunctionSchema &schema, Arguments arguments);

  // Containers.cpp
  Handled container(const c10::FunctionSchema &schema, Arguments arguments);
  Handled containerPrimitive(Node &node, Arguments arguments);

  // Journal.cpp
  void touch(const std::shared_ptr<Cell> &cell);
  void touch(const Val::TensorPtr &tensor);
  void touch(const Val::ListPtr &list);
  void touch(const Val::DictPtr &dict);
  void rollback(Journal &journal);

  // ControlFlow.cpp, Loop.cpp
  void runIf(Node &node);
  void runLoop(Node &node);
  friend class Region;
  friend class IfLowering;
  friend class LoopLowering;

  mil::Function &function_;
  EngineOptions options_;
  mil::Builder builder_;
  Frame *frame_ = nullptr;
  Node *node_ = nullptr; ///< being lowered
  std::vector<Problem> problems_;
  std::vector<std::string> warnings_;
  std::vector<Journal *> journals_;
  std::vector<uint64_t> scopes_{0}; ///< open MIL blocks, by a number never used again
  uint64_t nextScope_ = 1, nextSerial_ = 1, nextVersion_ = 1;
  size_t unrolled_ = 0;
  /// Values whose shape shows a symbol (or, where axis is -1, that are its value), for
  /// materialising it.
  struct SymbolSource {
    mil::Value *value;
    int axis;
    uint64_t scope;
  };
  llvm::StringMap<std::vector<SymbolSource>> symbolSources_;
  llvm::DenseMap<const void *, std::shared_ptr<Cell>> attributeCells_; ///< by TensorImpl
  std::vector<at::Tensor> kept_; ///< keeps the TensorImpls that key attributeCells_ alive
  llvm::DenseMap<const void *, std::string> objectPaths_;
  std::map<std::pair<c10::ivalue::Object *, size_t>, Val>
      slots_;                                 ///< attributes that were read as objects or set
  llvm::DenseSet<const void *> localObjects_; ///< made by the model's own code
  std::vector<c10::IValue> localObjectsKept_;
  llvm::DenseMap<const void *, std::shared_ptr<const mil::Storage>> ownedStorages_;
};

} // namespace plait::frontend
