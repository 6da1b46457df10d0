// The lowering engine: operators on values become MIL. Whoever walks a program, TorchScript's or
// another, calls it with a schema and values; it knows no graph. Operations whose inputs are all
// known run on LibTorch itself; views, in-place writes and control flow are handled here, once, so
// that lowerings are plain functions of values.
//
//   Engine.cpp       values, one operation, diagnostics
//   Table.cpp        how each operator is lowered
//   Known.cpp        known values: running operations on LibTorch, constants for MIL
//   Complex.cpp      complex tensors as two real ones
//   Selections.cpp   what a mask selects, whose size the data decides
//   Views.cpp        reading and writing through views
//   ViewSteps.cpp    making views: reshape, permute, slice, select, split
//   Mutation.cpp     in-place and out= forms from the schema's alias annotations
//   States.cpp       tensors of the model that live from call to call
//   Dims.cpp         symbolic and run-time integers
//   Convert.cpp      casts, reshapes and sizes as MIL values
//   Journal.cpp      what a speculative region changed, to undo or to merge
//   ControlFlow.cpp  if
//   Loop.cpp         loops
//   Unknown.cpp      what stands for results that could not be lowered
#pragma once

#include "frontend/engine/Call.h"
#include "frontend/engine/Site.h"
#include "frontend/engine/StatePlan.h"
#include "frontend/engine/Val.h"

#include "llvm/ADT/DenseMap.h"
#include "llvm/ADT/DenseSet.h"
#include "llvm/ADT/STLExtras.h"

#include <map>

namespace plait::frontend {

struct Row;

/// One thing that stopped the lowering of an operation.
struct Problem {
  std::string what; ///< the message, or the name of an unsupported operation
  bool unsupported; ///< no lowering exists, as against one that refused
  mil::Location location;
};

struct EngineOptions {
  /// How many operations may be lowered inside unrolled loops of one function.
  size_t unrollBudget = 100000;
  /// All names that the model has for a tensor.
  std::function<mil::Origin(const at::Tensor &)> originOf;
  /// The mapped storage behind a tensor's memory with its CRC, or null: weights never move.
  std::function<std::shared_ptr<const mil::Storage>(const at::Tensor &)> storageOf;
  /// Hears of every tensor of the model that a value is made of.
  std::function<void(const at::Tensor &)> noteRead;
  /// Which of the model's tensors live from call to call, and what was written that does not;
  /// outlives the engine. Null: writes to the model's tensors are problems.
  StatePlan *states = nullptr;
};

/// A branch of an `if` or the body of a loop, as a walk gives it.
struct Body {
  /// Lowers it where the engine's builder stands: its inputs to its outputs. Called several times
  /// for a loop's body.
  llvm::function_ref<std::vector<Val>(llvm::ArrayRef<Val>)> lower;
  /// How many operations it has, for the budget of unrolled loops.
  size_t operations = 0;
  /// It always ends in an exception.
  bool raises = false;
  /// Of a loop, bit i: nothing but the loop sees the memory of the i-th value that is carried.
  uint64_t ownsCarried = 0;
};

class Engine {
public:
  Engine(mil::Function &function, EngineOptions options);
  ~Engine();

  // ---- for walks ----
  using Results = std::vector<Val>;
  /// Runs `lower` for what stands at `site`. What it throws and what the builder cannot make are
  /// problems there, of `name`.
  Results at(const Site &site, llvm::StringRef name, llvm::function_ref<Results()> lower);
  /// The same without a net: for what has blocks, whose operations stand at sites of their own.
  Results within(const Site &site, llvm::function_ref<Results()> lower);
  /// One operation of the site. Missing arguments take the schema's defaults. What cannot be
  /// lowered is a problem; its results are of unknown content where LibTorch tells type and shape,
  /// else poison.
  Results lower(const Site &site, const c10::FunctionSchema &schema, std::vector<Val> arguments);
  /// One of the blocks where the condition is known; else both, and what they leave different
  /// becomes a result of a `cond`: the blocks' outputs, and every tensor, list, dictionary and
  /// attribute that either wrote.
  Results branch(const Val &condition, const Body &then, const Body &otherwise);
  /// The body maps (turn, carried…) to (condition, carried…), as prim::Loop's does. Unrolled while
  /// trips and condition are known, else a `while_loop`.
  Results loop(const Val &trips, Val condition, std::vector<Val> carried, const Body &body);
  /// An attribute of an object that the program wrote or that was kept; null where neither.
  const Val *slot(c10::ivalue::Object &object, size_t index) const;
  /// Every read is to give this same object.
  void keepSlot(c10::ivalue::Object &object, size_t index, Val value);
  void writeSlot(c10::ivalue::Object &object, size_t index, Val value);
  /// What declareStates() and finishStates() will call states, inputs and outputs.
  std::vector<std::string> stateNames() const;
  /// To be called before anything is lowered: the states and inputs that the plan has.
  void declareStates();
  /// The program assigns to an attribute of the model at `path`, which holds `before`.
  void assignAttribute(c10::ivalue::Object &object, size_t index, const std::string &path,
                       const Val &before, const Val &value);
  /// Where a kept tensor was read from: what is there at the end is what is kept.
  void readFrom(c10::ivalue::Object &object, size_t index, const Val &value);
  /// Whether the program may change this list or dictionary of the model; a problem where not.
  bool mayChange(const std::string &attribute, llvm::StringRef kind);
  /// To be called once all is lowered: states get what they are to hold. Gives what becomes further
  /// outputs, with their names.
  std::vector<std::pair<std::string, Val>> finishStates();
  /// An operation that no lowering exists for.
  void unsupported(llvm::StringRef name);
  /// Whether something went wrong, and type or shape of what stands for its results are a guess:
  /// what follows from them may never happen.
  bool hasGuessed() const { return !guesses_.empty(); }
  /// Everything that went wrong, as one error: each unsupported operation once, with count, module
  /// path and line. What was lowered is taken away with it: there is nothing left to be written.
  Error takeError();
  std::vector<std::string> takeWarnings() { return std::move(warnings_); }

  // ---- for Call, lowerings and the engine's own parts ----
  mil::Builder &builder() { return builder_; }
  mil::Function &function() { return function_; }

  /// A fresh tensor with contiguous strides.
  Val makeTensor(mil::Value *value, at::ScalarType dtype);
  Val makeKnown(KnownTensor known, llvm::StringRef attribute = "");
  Val makeDimTensor(Dim dim, at::ScalarType dtype);
  Val makeList(c10::TypePtr elementType, std::vector<Val> values);
  Val makeTuple(c10::TypePtr type, std::vector<Val> values);
  Val makeDict(c10::TypePtr keyType, c10::TypePtr valueType,
               std::vector<std::pair<c10::IValue, Val>> entries);
  /// A constant of the model or a module attribute: every read of one tensor gives one cell.
  Val fromIValue(const c10::IValue &value, llvm::StringRef attribute = "", bool fromWeight = false);

  /// The MIL value of a tensor through its view; constants are made where it is known.
  mil::Value *read(TensorObj &tensor);
  /// The tensor if its cell is known; undefined otherwise. A view of the cell's memory: never to be
  /// written.
  at::Tensor readKnown(const TensorObj &tensor);
  /// The same where LibTorch can compute it, now: for what decides how something is lowered, or has
  /// no lowering.
  at::Tensor compute(const TensorObj &tensor);
  /// Which parameter a known tensor is, or was computed from.
  static mil::Origin originOf(const Val &val);
  /// The symbolic integer that a 0-d (or one-element) tensor holds.
  Maybe<Dim> readDim(const TensorObj &tensor);
  /// Stores through the view: casts and broadcasts `value` as copy_ does; all aliases see it.
  void write(TensorObj &target, const Val &value);
  /// A new tensor object that views `base` through one more step; `value` is what it reads as,
  /// where that is at hand.
  Val::TensorPtr view(const Val::TensorPtr &base, ViewStep step, std::optional<Shape> strides,
                      mil::Value *value = nullptr);
  /// An int of any kind as a Dim: a run-time one becomes a symbol of its own.
  Maybe<Dim> dimOf(const Val &val);
  Maybe<Shape> dimsOf(const Val &list);
  // Tensors that view others (ViewSteps.cpp), by LibTorch's rules; sizes may be symbolic, axes are
  // in [0, rank).
  /// A view where the strides allow it or it `mustAlias`; else a tensor of its own.
  Val reshapeTensor(const Val::TensorPtr &self, Shape shape, bool mustAlias);
  Val permuteTensor(const Val::TensorPtr &self, llvm::ArrayRef<int64_t> perm);
  Val sliceTensor(const Val::TensorPtr &self, int64_t dim, const Val &start, const Val &end,
                  int64_t step);
  Val selectTensor(const Val::TensorPtr &self, int64_t dim, const Val &index);
  Val splitTensor(const Val::TensorPtr &self, int64_t dim, llvm::ArrayRef<Dim> sizes, bool unbind);
  /// Writes to either are refused from here on: LibTorch alone knows whether they share memory.
  void mayAlias(const Val &a, const Val &b);
  /// A tensor of its own with the same content: `clone`.
  Val copy(const Val::TensorPtr &tensor);
  /// `x.to(dtype)`; the same object's alias where nothing changes.
  Val castTensor(const Val::TensorPtr &tensor, at::ScalarType dtype);

  // Complex tensors (Complex.cpp).
  /// The complex tensor of two real ones of one element type, which it views; broadcast to one
  /// shape.
  Val makeComplex(const Val &real, const Val &imag);
  /// The real (0) or imaginary (1) part, which a write is seen through; of a real tensor itself and
  /// zeros.
  Val part(const Val::TensorPtr &tensor, unsigned which);
  /// A tensor, or a number as a 0-d tensor.
  Val asTensor(const Val &val);

  /// The elements of `source` where a mask over its first axes is true (Selections.cpp).
  Val makeSelection(const Val &source, const Val &mask);

  /// An int, float, bool or one-element tensor as a rank-0 MIL value of the given type.
  mil::Value *scalar(const Val &val, mil::DType dtype);
  mil::Value *materialise(const Dim &dim);
  mil::Value *materialise(llvm::ArrayRef<Dim> shape);
  mil::Value *constant(const at::Tensor &tensor, llvm::StringRef hint = "",
                       mil::Origin origin = {});
  /// The memory of a tensor, kept alive, with all that lies in it.
  static std::shared_ptr<mil::Storage> storageOf(const at::Tensor &tensor);
  mil::Value *castTo(mil::Value *x, mil::DType dtype);
  mil::Value *reshape(mil::Value *x, llvm::ArrayRef<Dim> shape);
  mil::Value *broadcastTo(mil::Value *x, llvm::ArrayRef<Dim> shape);
  /// Wraps integer values around as a narrow PyTorch type would.
  mil::Value *wrapInteger(mil::Value *x, at::ScalarType dtype);
  /// A value of the environment as an IValue for LibTorch; nullopt where part of it is not known.
  std::optional<c10::IValue> toKnown(const Val &val);
  static bool hasPoison(const Val &val);
  /// One operation on values, as a part of the one that is being lowered: all of its results are
  /// used. nullopt where it is not supported.
  std::optional<Results> call(const c10::FunctionSchema &schema, std::vector<Val> arguments);

  // Stand for what could not be computed (Unknown.cpp). A guess: type or shape may be others.
  Val unknownTensor(llvm::ArrayRef<Dim> shape, at::ScalarType dtype, bool isGuess);
  Val unknownNumber(c10::TypeKind kind, bool isGuess);
  /// Of the same type and shape; what is no tensor and no number is itself.
  Val guessLike(const Val &val);
  Results guessLike(llvm::ArrayRef<Val> values);
  /// The content of the cell is unknown from here on.
  void forget(const std::shared_ptr<Cell> &cell, bool isGuess);

  /// The results of an in-place or out= operation's functional form on the same arguments; nullopt
  /// after a refusal.
  std::optional<Results> functional(const c10::FunctionSchema &schema,
                                    llvm::ArrayRef<Val> arguments);

  /// To be called before what is older than an open region is changed: keeps it for undoing.
  void touch(const std::shared_ptr<Cell> &cell);
  void touch(const Val::TensorPtr &tensor);
  void touch(const Val::ListPtr &list);
  void touch(const Val::DictPtr &dict);

  void fail(Error error);
  void warn(const llvm::Twine &message);

private:
  friend class Call;
  using Arguments = llvm::ArrayRef<Val>;
  /// The results of an operation that was handled; nullopt: try the next way.
  using Handled = std::optional<Results>;

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
  /// `own` is the site whose operation this is; null for a part of one. Gives missing arguments the
  /// schema's defaults.
  Handled call(const c10::FunctionSchema &schema, std::vector<Val> &arguments, const Site *own);
  /// Runs a part of the lowering of operation `name`: what it throws and what the builder cannot
  /// make is a problem.
  void refusing(llvm::StringRef name, llvm::function_ref<void()> lower);
  void addProblem(std::string what, bool isUnsupported);
  /// Whether the table has a lowering of the operator, or of its functional form.
  static bool isLowered(const c10::FunctionSchema &schema);

  // Known.cpp
  /// `force`: nothing else is left to try.
  Handled runKnown(const c10::FunctionSchema &schema, Arguments arguments, const Row *row,
                   bool force);
  std::optional<c10::IValue> knownArgument(const Val &val, const c10::TypePtr &type);
  /// Results that LibTorch could compute from these arguments keep how.
  void keepDeferred(const c10::FunctionSchema &schema, Arguments arguments, const Results &results);

  // Views.cpp
  mil::Value *applyStep(mil::Value *base, const ViewStep &step);
  mil::Value *insertStep(mil::Value *base, const ViewStep &step, mil::Value *part);
  mil::Value *beginVector(mil::Value *base, const ViewStep &step);
  mil::Value *cellValue(Cell &cell);
  void setContent(const std::shared_ptr<Cell> &cell, decltype(Cell::content) content);
  Val::TensorPtr makeObject(std::shared_ptr<Cell> cell);

  // Complex.cpp
  ComplexParts partsOf(Cell &cell);
  /// A function of decompositions/ in the operation's place.
  Handled decompose(llvm::StringRef function, const c10::FunctionSchema &schema,
                    std::vector<Val> arguments);
  bool takesComplex(const c10::FunctionSchema &schema, Arguments arguments) const;
  bool isKnown(const Val &val) { return toKnown(val).has_value(); }
  /// An operation on complex tensors that are not all known, by the row's rule.
  Results complexCall(const c10::FunctionSchema &schema, Arguments arguments, const Row *row);
  Val argumentPart(const Val &val, const c10::TypePtr &type, unsigned which);
  Val joinParts(const Val &real, const Val &imag);

  // Selections.cpp
  /// The selection that a tensor is, its view applied to the source; nullopt where it is none, or
  /// where the view is not one of each selected row.
  std::optional<Selection> selectionOf(const Val &val);
  bool hasSelection(const Val &val);
  bool isSameMask(const Selection &a, const Selection &b);
  Val makeSelection(Selection selection, Dim count);
  /// An operation on selections, by the row's rule.
  Results selectedCall(const c10::FunctionSchema &schema, Arguments arguments, const Row *row);

  // Mutation.cpp
  /// The operator without its writing: the overload of the same arguments, `out` left out. Null
  /// where there is none.
  static const c10::FunctionSchema *functionalTwin(const c10::FunctionSchema &schema);
  Handled mutation(const c10::FunctionSchema &schema, Arguments arguments);
  void refuseWrite(const c10::FunctionSchema &schema, const char *why);

  // States.cpp
  /// One of the plan's tensors in this function.
  struct KeptState {
    const StatePlan::Kept *kept;
    mil::Value *input; ///< a state, or an input
    /// Whose content is stored: at first the model's tensor, later perhaps one that is assigned.
    std::shared_ptr<Cell> cell;
    std::shared_ptr<Cell> initial{};
    /// Attributes of the model that hold it at first.
    llvm::SmallVector<std::pair<c10::ivalue::Object *, size_t>, 1> places{};
  };
  KeptState *keptState(const at::Tensor &tensor);
  /// Whether the function's own block is lowered into: states are stored there alone.
  bool isOutermost() const { return scopes_.size() == 1 && journals_.empty(); }
  bool mayWrite(const std::shared_ptr<Cell> &cell);
  mil::Value *readState(mil::Value *state, bool isScalar);
  void store(mil::Value *state, mil::Value *content);
  void store(Cell &cell);
  /// Before a block that is decided at run time: what it reads is read outside of it.
  void storeAll();

  // Unknown.cpp
  mil::Value *unknownValue(mil::Type type, bool isGuess);
  /// Whether it stands for a tensor of a type that MIL has not: complex, quantized.
  bool isOpaque(const Val &val) const;
  bool dependsOnGuess(mil::Value *value, llvm::DenseSet<mil::Value *> &seen) const;
  bool dependsOnGuess(const Dim &dim, llvm::DenseSet<mil::Value *> &seen) const;
  bool dependsOnGuess(const Val &val, llvm::DenseSet<mil::Value *> &seen) const;
  /// Refusals since `from` are left out where an argument depends on a guess.
  void dropConsequences(size_t from, llvm::ArrayRef<Val> arguments);
  /// In place of the results of a call that is a problem.
  Results unknownResults(const c10::FunctionSchema &schema, llvm::ArrayRef<Val> arguments);
  /// Takes away what was lowered.
  void discard();

  // Journal.cpp
  void rollback(Journal &journal);

  friend class Region;
  friend class IfLowering;
  friend class LoopLowering;

  mil::Function &function_;
  EngineOptions options_;
  mil::Builder builder_;
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
  mil::Value *symbolValue(llvm::StringRef name);
  /// By the first element: tensors of the model of the same form there are one.
  llvm::DenseMap<const void *, llvm::SmallVector<std::pair<at::Tensor, std::shared_ptr<Cell>>, 1>>
      attributeCells_;
  std::vector<KeptState> states_;
  std::map<std::pair<c10::ivalue::Object *, size_t>, Val> slots_;
  llvm::DenseMap<const void *, std::shared_ptr<const mil::Storage>> ownedStorages_;
  /// Its arguments are the values of unknown content: no function has them.
  std::unique_ptr<mil::Block> unknowns_;
  llvm::DenseSet<mil::Value *> guesses_, opaque_;
};

} // namespace plait::frontend
