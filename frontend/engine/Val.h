// What a value of the program is while it is lowered.
//
//   known value    int, float, bool, None, string, device … (a c10::IValue)
//   number         an int, float or bool that is only known at run time: a rank-0 MIL value
//   symbolic int   a mil::Dim
//   tensor         a view onto a Cell, which holds a known tensor, a symbolic integer, a MIL
//                  value (of a quantised tensor the numbers that its integers stand for) or, for a
//                  complex tensor, two real tensors
//   list, tuple, dictionary   of these; lists and dictionaries are shared, mutable objects
//   object         a module, or an instance of another class of TorchScript's
//   poison         the result of a node that could not be lowered; it causes no further problems
#pragma once

#include "frontend/engine/Held.h"
#include "frontend/engine/Sizes.h"
#include "mil/IR.h"

#include <ATen/core/Tensor.h>
#include <ATen/core/ivalue.h>

#include <memory>
#include <variant>
#include <vector>

namespace plait::frontend {

/// One step of a view, from its base towards the view. Sizes and positions are non-negative and in
/// range.
struct ViewStep {
  enum Kind : uint8_t {
    Slice,   ///< dim `dim`: elements start, start + step, … ; `shape` is the result's
    Select,  ///< dim `dim` dropped at `start`
    Permute, ///< axes in the order `perm`
    Reshape, ///< the same elements in row-major order: view, flatten, squeeze, unsqueeze
    Expand,  ///< broadcast to `shape`; cannot be written through
  } kind;
  int64_t dim = 0;
  Dim start = 0;
  mil::Value *dynamicStart =
      nullptr; ///< instead of `start`: an int32 scalar known at run time only
  int64_t step = 1;
  llvm::SmallVector<int64_t, 5> perm = {};
  Shape shape = {}; ///< of the result, for every kind
};

struct TensorObj;

/// A tensor known while compiling: never written (its memory may be a read-only file); replaced
/// instead.
struct KnownTensor {
  at::Tensor tensor;
  /// A parameter, a buffer or a constant of the model, or derived from one.
  bool fromWeight = false;
  /// Which parameter it is or was computed from; nothing where the model has no name for it.
  mil::Origin origin = {};
};

/// What a complex tensor holds that is not known while compiling: two real tensors of its shape.
/// They may be views onto what other tensors see, as those of `view_as_complex` are.
struct ComplexParts {
  std::shared_ptr<TensorObj> real, imag;
};

/// What a mask selects that is only known at run time: the elements of `source` where the mask,
/// which covers its first axes, is true.
struct Selection {
  std::shared_ptr<TensorObj> source, mask;
};

/// What the integers of a quantised tensor stand for: scale * (integer - zero point).
struct Steps {
  double scale;
  int64_t zeroPoint;
  bool operator==(const Steps &other) const {
    return scale == other.scale && zeroPoint == other.zeroPoint;
  }
};

/// How LibTorch computes a tensor that is lowered although it is known: one computed from a large
/// weight, or an identity matrix of many rows. Used only for operators without a lowering.
class DeferredResult;

/// The storage behind tensors: what is written by one alias is seen by all. Its content is
/// row-major in `shape`.
struct Cell {
  using Known = KnownTensor;
  std::variant<Known, Dim, mil::Value *, ComplexParts, Selection> content;
  Shape shape;
  at::ScalarType dtype;
  /// Of a quantised tensor that is not known while compiling; its content is multiples of the
  /// scale.
  std::optional<Steps> steps;
  uint64_t version = 0; ///< counts writes
  uint64_t serial = 0;  ///< order of creation among all cells and containers
  std::string
      attribute; ///< the module attribute it is, "" where none: writes would have to persist
  bool mayBeAliased = false; ///< some tensor may or may not share its memory: a write is refused
  bool isStale = false;      ///< written under another name in a loop, perhaps: a read is refused
  /// The state that keeps the content from call to call, and whether that was written since it was
  /// read from there or stored there.
  mil::Value *state = nullptr;
  bool unstored = false;
  std::shared_ptr<DeferredResult>
      deferred; ///< the content; null where that is known or is not computed
};

/// A tensor object. Distinct objects may view one cell; in-place metadata operations (unsqueeze_)
/// change the object.
struct TensorObj {
  std::shared_ptr<Cell> cell;
  std::vector<ViewStep> view;
  Shape shape;
  /// LibTorch's strides in elements;
  /// nullopt if only LibTorch's kernels know them.
  std::optional<Shape> strides;
  /// Of a view of row-major memory: where its first element stands there. nullopt where the memory
  /// is laid out otherwise, or the place is not known.
  std::optional<Dim> offset{};
  uint64_t serial = 0;
  /// It is another object's place after some branch or turn: what unsqueeze_() and the like do to
  /// it, they would do to that one.
  bool mayBeAnother = false;
  // The MIL value of the last read. It is valid for this version of the cell, while the scope is
  // open in which it was made.
  mil::Value *cached = nullptr;
  uint64_t cachedVersion = 0;
  uint64_t cachedScope = 0;

  at::ScalarType dtype() const { return cell->dtype; }
  bool isComplex() const { return at::isComplexType(cell->dtype); }
  bool isQuantized() const { return at::isQIntType(cell->dtype); }
};

/// Whether a shape has no elements, whatever its sizes at run time.
bool isEmpty(llvm::ArrayRef<Dim> shape);
/// Whether the strides are known to be row-major.
bool isContiguous(const TensorObj &tensor);

/// Whether the size is not known and may be 1. Operations that treat axes of one element
/// differently have to handle both cases.
inline bool mayBeOne(const Dim &size) {
  return !size.isConst() && size.lower() <= 1 && size.upper() >= 1;
}
/// Row-major strides in elements.
Shape contiguousStrides(llvm::ArrayRef<Dim> shape);

struct ListObj;
struct DictObj;
struct TupleObj;

/// A value of the environment.
class Val {
public:
  struct Poison {};
  struct Uninitialized {};
  /// A run-time int (int32 in MIL), float (fp32) or bool.
  struct Number {
    mil::Value *value;
    c10::TypeKind kind; ///< IntType, FloatType or BoolType
  };
  using TensorPtr = std::shared_ptr<TensorObj>;
  using ListPtr = std::shared_ptr<ListObj>;
  using TuplePtr = std::shared_ptr<TupleObj>;
  using DictPtr = std::shared_ptr<DictObj>;

  Val() : data_(Poison{}) {}
  Val(Uninitialized u) : data_(u) {}
  /// A known value that is no tensor, list, tuple or dict (those have objects of their own), or a
  /// class instance.
  explicit Val(c10::IValue value) : data_(std::move(value)) {}
  /// Constant Dims become known ints.
  explicit Val(Dim dim);
  explicit Val(Number number) : data_(number) {}
  explicit Val(TensorPtr tensor) : data_(std::move(tensor)) {}
  explicit Val(ListPtr list) : data_(std::move(list)) {}
  explicit Val(TuplePtr tuple) : data_(std::move(tuple)) {}
  explicit Val(DictPtr dict) : data_(std::move(dict)) {}

  bool isPoison() const { return std::holds_alternative<Poison>(data_); }
  bool isUninitialized() const { return std::holds_alternative<Uninitialized>(data_); }
  bool isNone() const { return known() && known()->isNone(); }
  // Each may find another kind of value; using the result then refuses the operation (Held.h).
  Held<const c10::IValue *> known() const { return std::get_if<c10::IValue>(&data_); }
  Held<const Dim *> dim() const { return std::get_if<Dim>(&data_); }
  Held<const Number *> number() const { return std::get_if<Number>(&data_); }
  Held<TensorPtr> tensor() const { return get<TensorPtr>(); }
  Held<ListPtr> list() const { return get<ListPtr>(); }
  Held<TuplePtr> tuple() const { return get<TuplePtr>(); }
  Held<DictPtr> dict() const { return get<DictPtr>(); }
  bool isTensor() const { return std::holds_alternative<TensorPtr>(data_); }
  /// A known int, or a symbolic one.
  Maybe<Dim> asDim() const;

private:
  template <typename T> T get() const {
    const T *p = std::get_if<T>(&data_);
    return p ? *p : T();
  }
  std::variant<Poison, Uninitialized, c10::IValue, Dim, Number, TensorPtr, ListPtr, TuplePtr,
               DictPtr>
      data_;
};

struct ListObj {
  c10::TypePtr elementType;
  std::vector<Val> values;
  uint64_t serial = 0;
  std::string attribute; ///< as of a Cell
  /// Whether it may be another list too, which is known only at run time: changes are refused.
  bool mayBeAliased = false;
};
struct TupleObj {
  c10::TypePtr type; ///< named tuples keep their field names here
  std::vector<Val> values;
};
struct DictObj {
  c10::TypePtr keyType, valueType;
  std::vector<std::pair<c10::IValue, Val>> entries; ///< in order of insertion
  uint64_t serial = 0;
  std::string attribute;
};

} // namespace plait::frontend
