// The lowering engine: operators on values become MIL. Whoever walks a program, TorchScript's or
// another, calls it with a schema and values; it knows no graph. Operations whose inputs are all
// known run on LibTorch itself; views, in-place writes and control flow are handled here, once, so
// that lowerings are plain functions of values.
//
//   Engine.cpp       values, one operation, diagnostics
//   Table.cpp        how each operator is lowered
//   Known.cpp        known values: running operations on LibTorch, constants for MIL
//   Complex.cpp      complex tensors as two real ones
//   Quantized.cpp    quantised tensors as the numbers that they stand for
//   Selections.cpp   what a mask selects, whose size the data decides
//   Views.cpp        reading and writing through views
//   ViewSteps.cpp    making views: reshape, permute, slice, select, split
//   Mutation.cpp     in-place and out= forms from the schema's alias annotations
//   States.cpp       tensors of the model that live from call to call
//   Dims.cpp         symbolic and run-time integers
//   Convert.cpp      casts, reshapes and sizes as MIL values
//   Journal.cpp      what a speculative region changed, to undo or to merge
//   Links.cpp        tensors that are one at run time, or two
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

/// A reason why an operation was not lowered.
struct Problem {
  std::string what; ///< the message, or the name of an unsupported operation
  bool unsupported; ///< no lowering exists, as against one that refused
  Code code;
  mil::Location location;
};

struct EngineOptions {
  /// How many operations may be lowered inside unrolled loops of one function.
  size_t unrollBudget = 100000;
  /// All names that the model has for a tensor.
  std::function<mil::Origin(const at::Tensor &)> originOf;
  /// The mapped storage behind a tensor's memory with its CRC, or null: weights never move.
  std::function<std::shared_ptr<const mil::Storage>(const at::Tensor &)> storageOf;
  /// Called with every tensor of the model that becomes a value.
  std::function<void(const at::Tensor &)> noteRead;
  /// Which of the model's tensors are kept from call to call, and which others were written to;
  /// outlives the engine. Null: a write to a tensor of the model is a problem.
  StatePlan *states = nullptr;
};

/// What an integer weight stands for: scale * (integer - zero point), by blocks.
struct AffineWeight {
  at::Tensor integers = {}; ///< int8 or uint8, which may be of 4 bits
  at::Tensor scales = {};   ///< one for each block, in their order
  at::Tensor zeros = {};    ///< the same, integers or floats; undefined where they are 0
  /// How many blocks there are along each axis.
  llvm::SmallVector<int64_t, 5> blocks = {};
  bool isHalfByte = false; ///< the integers are of 4 bits
};

/// A branch of an `if` or the body of a loop; the walk makes it.
struct Body {
  /// Lowers the block at the builder's insertion point; takes its inputs and gives its outputs. For
  /// the body of a loop it is called several times.
  llvm::function_ref<std::vector<Val>(llvm::ArrayRef<Val>)> lower;
  /// How many operations it has, for the budget of unrolled loops.
  size_t operations = 0;
  /// The block always raises an exception.
  bool raises = false;
  /// For a loop. Bit i is set where the memory of the i-th carried value is used by the loop alone.
  uint64_t ownsCarried = 0;
};

class Engine {
public:
  Engine(mil::Function &function, EngineOptions options);
  ~Engine();

  // ---- for walks ----
  using Results = std::vector<Val>;
  /// Runs `lower`, which lowers the operation at `site`. Its exceptions, and operations that the
  /// builder cannot make, become problems of the operation `name` at that place.
  Results at(const Site &site, llvm::StringRef name, llvm::function_ref<Results()> lower);
  /// The same for an operation with blocks, whose own operations catch: exceptions pass through.
  Results within(const Site &site, llvm::function_ref<Results()> lower);
  /// Lowers one operation. Missing arguments take the schema's defaults. An operation that cannot
  /// be lowered is a problem. Its results then have unknown contents if LibTorch knows their types
  /// and shapes, and are poison otherwise.
  Results lower(const Site &site, const c10::FunctionSchema &schema, std::vector<Val> arguments);
  /// Lowers one of the blocks if the condition is known, and otherwise both, into a `cond`. The
  /// results of the `cond` are the blocks' outputs, and every tensor, list, dictionary and
  /// attribute that a block wrote to.
  Results branch(const Val &condition, const Body &then, const Body &otherwise);
  /// The body maps (turn, carried…) to (condition, carried…), like that of prim::Loop. The loop is
  /// unrolled while trips and condition are known; the rest becomes a `while_loop`.
  Results loop(const Val &trips, Val condition, std::vector<Val> carried, const Body &body);
  /// The value of an object's attribute that was written or kept by keepSlot(); else null.
  const Val *slot(c10::ivalue::Object &object, size_t index) const;
  /// From here on every read of the attribute gives this object.
  void keepSlot(c10::ivalue::Object &object, size_t index, Val value);
  void writeSlot(c10::ivalue::Object &object, size_t index, Val value);
  /// The names that declareStates() and finishStates() will give to states, inputs and outputs.
  std::vector<std::string> stateNames() const;
  /// Makes the plan's states and inputs. To be called before anything is lowered.
  void declareStates();
  /// The program assigns to an attribute of the model at `path`, which holds `before`.
  void assignAttribute(c10::ivalue::Object &object, size_t index, const std::string &path,
                       const Val &before, const Val &value);
  /// A kept tensor was read from this attribute, whose tensor at the end is the one to keep.
  void readFrom(c10::ivalue::Object &object, size_t index, const Val &value);
  /// Whether this list or dictionary of the model may be changed. If not, a problem is added.
  bool mayChange(const std::string &attribute, llvm::StringRef kind);
  /// Writes the states. To be called when everything is lowered. Returns the values that become
  /// further outputs, with their names.
  std::vector<std::pair<std::string, Val>> finishStates();
  /// Adds a problem: the operation has no lowering.
  void unsupported(llvm::StringRef name);
  /// Whether there is a problem whose results were replaced by guesses. Code that depends on
  /// guessed types or shapes may never run.
  bool hasGuessed() const { return !guesses_.empty(); }
  /// All problems as one error, each unsupported operation once, with count, module path and line.
  /// If there are any, all lowered operations are deleted, so that nothing can be written.
  Error takeError();
  std::vector<Warning> takeWarnings() { return std::move(warnings_); }

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
  /// The tensor if its cell is known; undefined otherwise. It is a view of the cell's memory and
  /// must not be written to.
  at::Tensor readKnown(const TensorObj &tensor);
  /// The same, also for a tensor that was lowered and that LibTorch can compute: it is computed
  /// now. For arguments that decide how an operation is lowered, and operators without a lowering.
  at::Tensor compute(const TensorObj &tensor);
  /// Which parameter a known tensor is, or was computed from.
  static mil::Origin originOf(const Val &val);
  /// The symbolic integer that a 0-d (or one-element) tensor holds.
  Maybe<Dim> readDim(const TensorObj &tensor);
  /// Stores through the view: casts and broadcasts `value` as copy_ does; all aliases see it.
  void write(TensorObj &target, const Val &value);
  /// A new tensor object that views `base` through one more step. `value` is its MIL value, if the
  /// caller has it.
  Val::TensorPtr view(const Val::TensorPtr &base, ViewStep step, std::optional<Shape> strides,
                      mil::Value *value = nullptr);
  /// An int of any kind as a Dim: a run-time one becomes a symbol of its own.
  Maybe<Dim> dimOf(const Val &val, int64_t upper = INT64_MAX);
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
  /// Refuses writes to both from here on: only LibTorch knows whether they share memory.
  void mayAlias(const Val &a, const Val &b);
  /// A tensor of its own with the same content: `clone`.
  Val copy(const Val::TensorPtr &tensor);
  /// `x.to(dtype)`; the same object's alias where nothing changes.
  Val castTensor(const Val::TensorPtr &tensor, at::ScalarType dtype);

  // Complex tensors (Complex.cpp).
  /// The complex tensor of two real ones of one element type, which it views; broadcast to one
  /// shape.
  Val makeComplex(const Val &real, const Val &imag);
  /// The real (0) or imaginary (1) part; a write to it changes the complex tensor. The parts of a
  /// real tensor are the tensor itself and zeros.
  Val part(const Val::TensorPtr &tensor, unsigned which);
  /// A tensor, or a number as a 0-d tensor.
  Val asTensor(const Val &val);

  // Quantised tensors (Quantized.cpp).
  /// A quantised tensor of these numbers, which are multiples of the scale already.
  Val makeQuantized(mil::Value *numbers, Steps steps, at::ScalarType dtype);
  /// Rounds to the nearest number that the type holds: quantize_per_tensor.
  Val quantize(const Val &numbers, Steps steps, at::ScalarType dtype);
  /// The numbers that a quantised tensor stands for; any other tensor as it is. Those of a weight
  /// are a constant that keeps its integers and is decompressed where it is used.
  Val dequantize(const Val &val);
  /// Of a tensor that is quantised as a whole; any other one is refused.
  static Steps stepsOf(const Val &val);
  /// A quantised weight that LibTorch has packed away, by the path that it would have.
  Val fromPacked(const at::Tensor &weight, llvm::StringRef name);
  /// int8 or uint8, as a value of that type of MIL, which nothing but numbersOf() takes.
  mil::Value *integersOf(mil::Value *numbers, Steps steps, mil::DType type);
  mil::Value *numbersOf(mil::Value *integers, Steps steps);
  /// The numbers of an integer weight: a constant that is decompressed where it is used.
  mil::Value *compressedConstant(const AffineWeight &weight, const mil::Origin &origin,
                                 llvm::StringRef hint);

  /// The elements of `source` where a mask over its first axes is true (Selections.cpp).
  Val makeSelection(const Val &source, const Val &mask);

  /// An int, float, bool or one-element tensor as a rank-0 MIL value of the given type.
  mil::Value *scalar(const Val &val, mil::DType dtype);
  mil::Value *materialise(const Dim &dim);
  mil::Value *materialise(llvm::ArrayRef<Dim> shape);
  mil::Value *constant(const at::Tensor &tensor, llvm::StringRef hint = "",
                       mil::Origin origin = {});
  /// The whole memory that a tensor is a view of, kept alive.
  static std::shared_ptr<mil::Storage> storageOf(const at::Tensor &tensor);
  mil::Value *castTo(mil::Value *x, mil::DType dtype);
  mil::Value *reshape(mil::Value *x, llvm::ArrayRef<Dim> shape);
  mil::Value *broadcastTo(mil::Value *x, llvm::ArrayRef<Dim> shape);
  /// Wraps integer values around as a narrow PyTorch type would.
  mil::Value *wrapInteger(mil::Value *x, at::ScalarType dtype);
  /// A value of the environment as an IValue for LibTorch; nullopt where part of it is not known.
  std::optional<c10::IValue> toKnown(const Val &val);
  static bool hasPoison(const Val &val);
  /// Lowers another operation as a part of the current one; all of its results count as used.
  /// nullopt if it is not supported.
  std::optional<Results> call(const c10::FunctionSchema &schema, std::vector<Val> arguments);

  // Stand for what could not be computed (Unknown.cpp). A guess: type or shape may be others.
  Val unknownTensor(llvm::ArrayRef<Dim> shape, at::ScalarType dtype, bool isGuess);
  Val unknownNumber(c10::TypeKind kind, bool isGuess);
  /// Of the same type and shape. What is neither a tensor nor a number is given back.
  Val guessLike(const Val &val);
  Results guessLike(llvm::ArrayRef<Val> values);
  /// The content of the cell is unknown from here on.
  void forget(const std::shared_ptr<Cell> &cell, bool isGuess);

  /// The results of an in-place or out= operation's functional form on the same arguments; nullopt
  /// after a refusal.
  std::optional<Results> functional(const c10::FunctionSchema &schema,
                                    llvm::ArrayRef<Val> arguments);

  /// Keeps the content, for undoing. To be called before an older object is changed in a region.
  void touch(const std::shared_ptr<Cell> &cell);
  void touch(const Val::TensorPtr &tensor);
  void touch(const Val::ListPtr &list);
  void touch(const Val::DictPtr &dict);

  void fail(Error error);
  void warn(Code code, const llvm::Twine &message);

private:
  friend class Call;
  using Arguments = llvm::ArrayRef<Val>;
  /// The results of an operation that was handled; nullopt: try the next way.
  using Handled = std::optional<Results>;

  /// The objects older than a speculative region that it changed, with their old contents, to be
  /// undone or merged.
  struct Journal {
    uint64_t start; ///< objects of this serial or later are local to the region
    std::vector<std::pair<std::shared_ptr<Cell>, Cell>> cells;
    std::vector<std::pair<Val::TensorPtr, TensorObj>> tensors;
    std::vector<std::pair<Val::ListPtr, ListObj>> lists;
    std::vector<std::pair<Val::DictPtr, DictObj>> dicts;
    std::vector<std::pair<std::pair<c10::ivalue::Object *, size_t>, std::optional<Val>>> slots;
  };

  // Engine.cpp
  /// `own` is the site of the operation, or null if it is a part of another one. Missing arguments
  /// take the schema's defaults.
  Handled call(const c10::FunctionSchema &schema, std::vector<Val> &arguments, const Site *own);
  /// Runs a part of the lowering of operation `name`. Exceptions, and operations that the builder
  /// cannot make, become problems.
  void refusing(llvm::StringRef name, llvm::function_ref<void()> lower);
  void addProblem(std::string what, Code code);
  /// Whether the table has a lowering of the operator, or of its functional form.
  static bool isLowered(const c10::FunctionSchema &schema);

  // Known.cpp
  /// `force`: nothing else is left to try.
  Handled runKnown(const c10::FunctionSchema &schema, Arguments arguments, const Row *row,
                   bool force);
  std::optional<c10::IValue> knownArgument(const Val &val, const c10::TypePtr &type);
  /// Keeps with the results how LibTorch would compute them, if the arguments are known.
  void keepDeferred(const c10::FunctionSchema &schema, Arguments arguments, const Results &results);

  // Views.cpp
  mil::Value *applyStep(mil::Value *base, const ViewStep &step);
  mil::Value *insertStep(mil::Value *base, const ViewStep &step, mil::Value *part);
  mil::Value *beginVector(mil::Value *base, const ViewStep &step);
  mil::Value *cellValue(Cell &cell);
  void setContent(const std::shared_ptr<Cell> &cell, decltype(Cell::content) content);
  Val::TensorPtr makeObject(std::shared_ptr<Cell> cell);

  // Links.cpp
  /// Two tensors of one shape that share their memory where `same` is true; neither is a view of
  /// the other's cell. What is written to one is written to the other there.
  struct Link {
    Val::TensorPtr a, b;
    mil::Value *same; ///< a bool
    uint64_t scope;   ///< that of `same`; the link ends with it
  };
  /// Adds a link. Writes to all that may share memory are refused instead where the order of writes
  /// would matter: where a way from one cell to the other exists already.
  void link(const Val::TensorPtr &a, const Val::TensorPtr &b, mil::Value *same);
  /// The cells that links connect with this one, itself first.
  static llvm::SmallVector<const Cell *, 4> connected(const Cell *cell, llvm::ArrayRef<Link> links);
  /// Writes the content of a cell that was written to into those that may share its memory, but for
  /// `from`, where it comes from.
  void passOn(const Cell *cell, const Cell *from);
  void writeOne(TensorObj &target, const Val &value);

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
  /// The selection that the tensor is, with the tensor's view applied to the source. nullopt if it
  /// is no selection, or if the view is not of each selected row.
  std::optional<Selection> selectionOf(const Val &val);
  bool hasSelection(const Val &val);
  bool isSameMask(const Selection &a, const Selection &b);
  /// Whether a mask is that of the selection, with an axis of 1 for each axis of a row.
  bool selectsRows(const Val &mask, const Selection &selection);
  Val makeSelection(Selection selection, Dim count);
  /// The selected elements as a tensor of unknown size.
  mil::Value *sideBySide(const Selection &selection, const Dim &count);
  Val withoutSelections(const Val &val);
  Results callSideBySide(const c10::FunctionSchema &schema, Arguments arguments);
  /// An operation on selections, by the row's rule.
  Results selectedCall(const c10::FunctionSchema &schema, Arguments arguments, const Row *row);

  // Quantized.cpp
  static bool isQuantized(const Val &val);
  static bool takesQuantized(const c10::FunctionSchema &schema, Arguments arguments);
  void writeQuantized(TensorObj &target, const Val &value);
  /// An operation on quantised tensors that is not one of those for them.
  Handled quantizedCall(const c10::FunctionSchema &schema, Arguments arguments, const Row *row);

  // Mutation.cpp
  /// The functional form of an operator that writes: the overload with the same arguments, without
  /// `out`. Null if there is none.
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
    bool isWritten = false; ///< the function writes to `initial` in place
    /// Attributes of the model that hold it at first.
    llvm::SmallVector<std::pair<c10::ivalue::Object *, size_t>, 1> places{};
  };
  KeptState *keptState(const at::Tensor &tensor);
  /// The attribute was given another tensor by a branch: what the state's cell holds is no longer
  /// stored, and finishStates() stores the attribute's tensor.
  void detachState(const std::pair<c10::ivalue::Object *, size_t> &place);
  /// Whether the builder is in the function's own block. States are stored only there.
  bool isOutermost() const { return scopes_.size() == 1 && journals_.empty(); }
  bool mayWrite(const std::shared_ptr<Cell> &cell);
  mil::Value *readState(mil::Value *state, bool isScalar);
  void store(mil::Value *state, mil::Value *content);
  void store(Cell &cell);
  /// Stores written states before a block that is decided at run time, which reads none itself.
  void storeAll();

  // Unknown.cpp
  mil::Value *unknownValue(mil::Type type, bool isGuess);
  /// Whether the value stands for a tensor of a type that MIL does not have: complex or quantized.
  bool isOpaque(const Val &val) const;
  bool dependsOnGuess(mil::Value *value, llvm::DenseSet<mil::Value *> &seen) const;
  bool dependsOnGuess(const Dim &dim, llvm::DenseSet<mil::Value *> &seen) const;
  bool dependsOnGuess(const Val &val, llvm::DenseSet<mil::Value *> &seen) const;
  /// Refusals since `from` are left out where an argument depends on a guess.
  void dropConsequences(size_t from, llvm::ArrayRef<Val> arguments);
  /// In place of the results of a call that is a problem.
  Results unknownResults(const c10::FunctionSchema &schema, llvm::ArrayRef<Val> arguments);
  /// Deletes all lowered operations.
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
  std::vector<Warning> warnings_;
  std::vector<Journal *> journals_;
  std::vector<Link> links_;
  std::vector<uint64_t> scopes_{0}; ///< open MIL blocks, by a number never used again
  uint64_t nextScope_ = 1, nextSerial_ = 1, nextVersion_ = 1;
  size_t unrolled_ = 0;
  /// For each symbol the values from which it can be computed: a value whose shape has it, or (axis
  /// -1) a value that is it.
  struct SymbolSource {
    mil::Value *value;
    int axis;
    uint64_t scope;
  };
  llvm::StringMap<std::vector<SymbolSource>> symbolSources_;
  mil::Value *symbolValue(llvm::StringRef name);
  /// By text: sums of many terms that a symbol stands for.
  std::map<std::string, Dim> namedSizes_;
  /// A symbol for a size of many terms, one for equal ones; any other size as it is.
  Dim named(const Dim &size);
  /// A symbol that equals no other; who makes it says where it is computed from.
  Dim newSymbol(int64_t lower, int64_t upper);
  /// A mask that selects: how many elements, and where they are once that is needed.
  struct Selected {
    mil::Value *mask;
    Dim count;
    uint64_t scope;
    mil::Value *positions = nullptr;
  };
  std::vector<Selected> selected_;
  /// What is known of this mask, or of an equal one, in the open blocks; null: nothing.
  Selected *selectedBy(const mil::Value *mask);
  /// By address of the first element: tensors of one address and form are one.
  llvm::DenseMap<const void *, llvm::SmallVector<std::pair<at::Tensor, std::shared_ptr<Cell>>, 1>>
      attributeCells_;
  std::vector<KeptState> states_;
  std::map<std::pair<c10::ivalue::Object *, size_t>, Val> slots_;
  llvm::DenseMap<const void *, std::shared_ptr<const mil::Storage>> ownedStorages_;
  /// The values of unknown content are arguments of this block, which is in no function.
  std::unique_ptr<mil::Block> unknowns_;
  llvm::DenseSet<mil::Value *> guesses_, opaque_;
};

} // namespace plait::frontend
