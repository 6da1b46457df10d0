// to-half: computes in fp16 what may be computed in it (--precision fp16).
//
//   %a = linear(x = %x, weight = const W, bias = const b)           before: all fp32
//   %y = relu(x = %a)
//
//   %x_to_fp16 = cast(x = %x, dtype = "fp16")                       after
//   %a = linear(x = %x_to_fp16, weight = const W', bias = const b') W' is W cast lazily
//   %r = relu(x = %a)
//   %y = cast(x = %r, dtype = "fp32")
//
// Inputs and outputs keep their types. coremltools decides what stays in fp32: control flow, lists
// and states; parameters without fp16 in their domain; alpha and beta of activations and the
// epsilon of inverse, log and rsqrt, which may differ in type from x.
//
// Constants:
//
//   a finite value beyond fp16    saturates, with a warning
//   a value that would become 0   becomes the smallest that does not, in constants of fewer than
//                                 400 elements: an epsilon must not vanish
//   an additive mask              saturates to -3e4: -65504 plus a score is -inf, and a row of
//                                 these is NaN after softmax
//   a large mapped weight         is not read, unless it is added to what a softmax takes: the
//                                 writer saturates it and counts what overflows
#include "passes/Match.h"
#include "passes/Rewrite.h"

#include "llvm/ADT/DenseMap.h"
#include "llvm/ADT/PointerIntPair.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/SetVector.h"

#include <cmath>

namespace plait::passes {

using namespace mil;

namespace {

constexpr double kLargest = 65504, kSmallest = 0x1p-24, kMasked = -3e4;
/// Owned constants, and masks anywhere, of up to this many elements are looked through.
constexpr int64_t kCheckedElements = 4 << 20;
/// As in coremltools: larger ones may well hold values that vanish.
constexpr int64_t kVanishingElements = 400;

/// Reading the tensor costs little: it is small, or its bytes are in memory already.
bool isCheap(const TensorData &tensor) {
  const TensorData::Node &node = tensor.node();
  if (node.kind == TensorData::Kind::Computed)
    return false;
  if (node.kind == TensorData::Kind::Strided && node.storage->bytes.size() <= kSmallBytes)
    return true;
  if (tensor.byteSize() <= kSmallBytes)
    return llvm::all_of(node.inputs, isCheap);
  if (tensor.numElements() > kCheckedElements || (node.storage && node.storage->release))
    return false;
  return llvm::all_of(node.inputs, isCheap);
}

/// Reading the tensor takes milliseconds.
bool isMaskSized(const TensorData &tensor) {
  return tensor.kind() != TensorData::Kind::Computed && tensor.numElements() <= kCheckedElements &&
         llvm::all_of(tensor.node().inputs, isMaskSized);
}

bool keepsFloat32(const Op &op, unsigned param) {
  switch (op.kind()) {
  case OpKind::elu:
  case OpKind::leaky_relu:
  case OpKind::prelu:
  case OpKind::thresholded_relu:
  case OpKind::clamped_relu:
  case OpKind::linear_activation:
  case OpKind::scaled_tanh:
  case OpKind::sigmoid_hard:
  case OpKind::softplus_parametric:
  case OpKind::inverse:
  case OpKind::log:
  case OpKind::rsqrt:
    return param != 0;
  default: {
    DTypeSet domain = op.info().params[param].domain;
    return domain && !contains(domain, DType::F16);
  }
  }
}

bool isFloat32(const Value *value) {
  return value->type.isTensor() && value->type.dtype() == DType::F32;
}

/// How an operation uses a constant.
enum class Role : unsigned {
  Other,
  Added, ///< to something, or chosen in its stead: a mask if it looks like one
  Mask,  ///< to what a softmax takes: worth reading wherever it lies
};

/// The result reaches a softmax through a few sums, choices and casts.
bool feedsSoftmax(const Value *result, unsigned steps = 4) {
  if (steps == 0)
    return false;
  for (Operand &use : result->uses()) {
    const Op *user = use.owner();
    if (user->is(OpKind::softmax) || user->is(OpKind::scaled_dot_product_attention))
      return true;
    if ((user->is(OpKind::add) || user->is(OpKind::select) || user->is(OpKind::cast)) &&
        feedsSoftmax(user->result(), steps - 1))
      return true;
  }
  return false;
}

/// The result is added to something, if need be after a cast.
bool isAdded(const Value *result) {
  for (Operand &use : result->uses()) {
    const Op *user = use.owner();
    if (user->is(OpKind::cast) && user->result()->hasOneUse())
      user = (*user->result()->uses().begin()).owner();
    if (user->is(OpKind::add))
      return true;
  }
  return false;
}

Role roleOf(const Op &op, unsigned param) {
  switch (op.kind()) {
  case OpKind::scaled_dot_product_attention:
    return param == scaled_dot_product_attention::attn_mask ? Role::Mask : Role::Other;
  case OpKind::add:
    return feedsSoftmax(op.result()) ? Role::Mask : Role::Added;
  case OpKind::select:
    if (feedsSoftmax(op.result()))
      return Role::Mask;
    return isAdded(op.result()) ? Role::Added : Role::Other;
  default:
    return Role::Other;
  }
}

class Halver {
public:
  explicit Halver(PassContext &context) : context_(context) {}

  bool run(Function &function) {
    visit(function.body());
    for (Op *cast : casts_)
      if (cast->isUnused())
        cast->erase();
    for (Op *constant : constants_)
      eraseDead(constant);
    return changed_;
  }

private:
  void visit(Block &block) {
    for (auto it = block.begin(); it != block.end();) {
      Op &op = *it++;
      for (const auto &inner : op.blocks())
        visit(*inner);
      if (op.info().half == HalfPolicy::Cast)
        convert(op);
    }
  }

  void convert(Op &op) {
    llvm::SmallVector<Operand *, 4> wide;
    llvm::SmallVector<unsigned, 4> params;
    for (unsigned param = 0; param < op.numParams(); ++param) {
      if (keepsFloat32(op, param))
        continue;
      for (const Operand &operand : op.operands(param)) {
        if (!isFloat32(operand.get()))
          continue;
        // What is decompressed to fp32 cannot be cast and stay a constant.
        if (isCompileTime(operand.get()) && !constTensor(operand.get()))
          return;
        wide.push_back(&op.operands()[&operand - op.operands().data()]);
        params.push_back(param);
      }
    }
    if (wide.empty())
      return;
    llvm::SmallVector<Value *, 4> before;
    for (auto [operand, param] : llvm::zip(wide, params)) {
      before.push_back(operand->get());
      Role role = constTensor(operand->get()) ? roleOf(op, param) : Role::Other;
      operand->set(half(operand->get(), role, op.location));
    }
    llvm::SmallVector<Type, 2> types;
    for (const auto &result : op.results())
      types.push_back(result->type);
    if (!retype(&op)) {
      for (auto [operand, value] : llvm::zip(wide, before))
        operand->set(value);
      return;
    }
    changed_ = true;
    for (auto [result, type] : llvm::zip(op.results(), types))
      if (!(result->type == type))
        widen(op, result.get());
  }

  /// Gives the users of an fp16 result the fp32 they expect; those that are converted later take
  /// the result itself.
  void widen(Op &op, Value *result) {
    if (!result->hasUses())
      return;
    Builder builder(*op.parent(), std::next(op.getIterator()));
    builder.setLocation(op.location);
    Value *wide = builder.emit(OpKind::cast, {{cast::x, result}, {cast::dtype, "fp32"}},
                               result->name + "_to_fp32");
    for (Operand &use : result->uses())
      if (use.owner()->isTerminator() && !use.owner()->parent()->parentOp()) {
        std::swap(result->name, wide->name);
        break;
      }
    result->replaceAllUsesWith(wide);
    wide->def()->set(cast::x, result);
    remember(wide);
    for (Role role : {Role::Other, Role::Added, Role::Mask})
      halves_[{wide, role}] = result;
  }

  void remember(Value *made) {
    casts_.push_back(made->def());
    constants_.insert((*made->def())[cast::dtype]->def());
  }

  /// `user` is the place of the operation that asks for it.
  Value *half(Value *value, Role role, const Location &user) {
    Value *&known = halves_[{value, role}];
    if (known)
      return known;
    Op *def = value->def();
    Block &block = *value->block();
    Builder builder(block, def ? std::next(def->getIterator()) : block.begin());
    builder.setLocation(def ? def->location : user);
    std::string name = value->name + "_to_fp16";
    if (const TensorData *tensor = constTensor(value)) {
      constants_.insert(def);
      known = builder.constant(narrowed(*tensor, role, value, *block.function()), name);
      constants_.insert(known->def());
      return known;
    }
    Value *source = value;
    if (Op *inner = definedBy(value, OpKind::cast)) {
      DType dtype = (*inner)[cast::x]->type.dtype();
      if (dtype == DType::F16)
        return known = (*inner)[cast::x];
      // To fp32 and on to fp16 is to fp16 at once: integers that fp32 rounds are beyond fp16.
      source = (*inner)[cast::x];
    }
    Value *made = builder.emit(OpKind::cast, {{cast::x, source}, {cast::dtype, "fp16"}}, name);
    remember(made);
    return known = made;
  }

  TensorData narrowed(const TensorData &tensor, Role role, const Value *value, Function &function) {
    bool isRead = isCheap(tensor) || (role == Role::Mask && isMaskSized(tensor));
    if (!isRead)
      return tensor.cast(DType::F16);
    std::vector<double> values;
    std::optional<double> same = splatValue(tensor);
    if (same) {
      values = {*same};
    } else {
      auto read = tensor.floatValues();
      if (!read) {
        llvm::consumeError(read.takeError());
        return tensor.cast(DType::F16);
      }
      values = std::move(*read);
    }
    bool mayNotVanish = int64_t(values.size()) < kVanishingElements;
    double largest = 0;
    for (double v : values)
      largest = std::max(largest, std::abs(v));
    if (largest < kLargest && !mayNotVanish) // as nearly all weights
      return tensor.cast(DType::F16);
    bool masks =
        role != Role::Other && llvm::any_of(values, [](double v) { return v <= -kLargest; });
    std::optional<double> saturated;
    bool differs = false;
    for (double &v : values) {
      double was = v;
      if (masks && v < kMasked)
        v = kMasked;
      else if (std::abs(v) > kLargest && std::isfinite(v)) {
        v = std::copysign(kLargest, v);
        saturated = was;
      } else if (v != 0 && std::abs(v) <= kSmallest / 2 && mayNotVanish) {
        v = std::copysign(kSmallest, v);
      }
      differs |= v != was && !std::isnan(was);
    }
    if (saturated)
      context_.warning(
          "function {0}: constant '{1}'{2} holds {3:.2f}, beyond the range of fp16: it becomes "
          "{4:.2f}; --precision fp32 keeps it",
          function.name, value->name,
          value->def()->location ? " at " + value->def()->location.str() : "", *saturated,
          std::copysign(kLargest, *saturated));
    if (!differs)
      return tensor.cast(DType::F16);
    return same ? TensorData::splat(DType::F16, tensor.shape(), values.front())
                      .withOrigin(originOf(tensor))
                : floats(DType::F16, tensor.shape(), values, originOf(tensor));
  }

  PassContext &context_;
  /// The fp16 form of a value; of a constant in each role.
  llvm::DenseMap<llvm::PointerIntPair<Value *, 2, Role>, Value *> halves_;
  std::vector<Op *> casts_;
  llvm::SetVector<Op *> constants_; ///< that may have lost their last use
  bool changed_ = false;
};

} // namespace

bool toHalf(Program &program, PassContext &context) {
  bool changed = false;
  if (context.options.precision != Precision::F16)
    return changed;
  for (const auto &function : program.functions())
    changed |= Halver(context).run(*function);
  return changed;
}

} // namespace plait::passes
