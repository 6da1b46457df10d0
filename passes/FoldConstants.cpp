// fold-constants: computes what depends on constants alone.
//
//   %t = transpose(x = const W, perm = [1, 0])  before
//   %s = shape(x = %x)                          %x has shape [1, 6]
//
//   const W seen through swapped strides        after: nothing is copied
//   const [1, 6]
//
// What becomes of a result:
//
//   a cast, reshape, transpose, slice, scalar factor, product with an identity: a transform of the
//       constant, at any size
//   at most 64 KiB: computed at once
//   larger: computed when the package is written
//   computed from weights and larger than they are: left as an operation, at any size (A @ B, an
//       outer product, an expanded table)
//   a fill that is added to a tensor of its shape, or multiplies it: a scalar
//
// What is computed from an operation that was left may be folded again: the norm of W + A @ B is
// small. In a function whose adapters are merged, the weight of a layer is computed although it is
// larger, if its result is added to that of a layer of the same input: fold-lora adds it to that
// weight. Without an evaluator only transforms are folded.
#include "mil/IdentityMatrix.h"
#include "passes/ConstantSources.h"
#include "passes/Match.h"
#include "passes/Rewrite.h"

#include "llvm/ADT/DenseMap.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/Sequence.h"
#include "llvm/ADT/SetVector.h"

namespace plait::passes {

using namespace mil;

namespace {

/// Sums of more operations are not looked through.
constexpr unsigned kMostSteps = 200;

/// What is known of a value that depends on constants alone and is not stored.
struct Known {
  Attr attr;
  ConstantSources sources;
};

using Sizes = llvm::SmallVector<int64_t, 6>;

/// Elements begin, begin + step … of each axis, as a view where the tree allows one.
std::optional<TensorData> sliced(const TensorData &tensor, llvm::ArrayRef<int64_t> begin,
                                 llvm::ArrayRef<int64_t> step, llvm::ArrayRef<int64_t> size) {
  const TensorData::Node &node = tensor.node();
  switch (node.kind) {
  case TensorData::Kind::Strided: {
    if (isSubByte(node.dtype))
      return std::nullopt;
    int64_t offset = 0;
    Sizes strides;
    for (unsigned i = 0; i < node.shape.size(); ++i) {
      offset += begin[i] * node.strides[i];
      strides.push_back(step[i] * node.strides[i]);
    }
    return TensorData::view(node.storage, node.byteOffset + offset * (bitWidth(node.dtype) / 8),
                            node.dtype, size, strides, node.origin);
  }
  case TensorData::Kind::Cast:
    if (auto inner = sliced(node.inputs[0], begin, step, size))
      return inner->cast(node.dtype);
    return std::nullopt;
  case TensorData::Kind::Scale:
    if (auto inner = sliced(node.inputs[0], begin, step, size))
      return inner->scale(node.factor);
    return std::nullopt;
  default:
    return std::nullopt;
  }
}

std::optional<TensorData> slicedByIndex(const Op &op, const TensorData &x) {
  namespace s = slice_by_index;
  auto begin = constInts(op[s::begin]), end = constInts(op[s::end]);
  auto stride = constInts(op[s::stride]);
  auto bit = [&](unsigned param, unsigned i) {
    auto mask = constInts(op[param]);
    return mask && (*mask)[i];
  };
  if (!begin || !end || (op[s::stride] && !stride))
    return std::nullopt;
  Sizes first, step, size;
  for (unsigned i = 0; i < x.rank(); ++i) {
    int64_t extent = x.shape()[i], by = stride ? (*stride)[i] : 1;
    if (by <= 0)
      return std::nullopt;
    auto clamp = [&](int64_t v) { return std::clamp<int64_t>(v < 0 ? v + extent : v, 0, extent); };
    int64_t from = bit(s::begin_mask, i) ? 0 : clamp((*begin)[i]);
    int64_t to = bit(s::end_mask, i) ? extent : clamp((*end)[i]);
    if (bit(s::squeeze_mask, i))
      to = from + 1;
    first.push_back(from);
    step.push_back(by);
    size.push_back((to - from + by - 1) / by);
  }
  auto view = sliced(x, first, step, size);
  auto shape = constShape(op.result()->type.shape());
  if (!view || !shape || view->numElements() != numElements(llvm::ArrayRef<int64_t>(*shape)))
    return std::nullopt;
  return view->reshape(*shape);
}

/// Result `index` as a transform of the operand, whatever its size.
std::optional<TensorData> transformed(const Op &op, const TensorData &x, unsigned index) {
  auto shape = constShape(op.result(index)->type.shape());
  switch (op.kind()) {
  case OpKind::identity:
    return x;
  case OpKind::cast:
    return x.cast(op.result()->type.dtype());
  case OpKind::reshape:
  case OpKind::squeeze:
  case OpKind::expand_dims:
    return x.reshape(*shape);
  case OpKind::transpose: {
    auto perm = constInts(op[transpose::perm]);
    for (int64_t &axis : *perm)
      axis = normalAxis(axis, perm->size());
    return x.permute(*perm);
  }
  case OpKind::slice_by_index:
    return slicedByIndex(op, x);
  case OpKind::slice_by_size: {
    auto begin = constInts(op[slice_by_size::begin]);
    if (!begin || llvm::any_of(*begin, [](int64_t b) { return b < 0; }))
      return std::nullopt;
    return sliced(x, *begin, Sizes(x.rank(), 1), *shape);
  }
  case OpKind::split: {
    auto axis = constInt(op[mil::split::axis]);
    Sizes begin(x.rank(), 0);
    int64_t along = normalAxis(axis.value_or(0), x.rank());
    for (unsigned i = 0; i < index; ++i)
      begin[along] += op.result(i)->type.shape()[along].value();
    return sliced(x, begin, Sizes(x.rank(), 1), *shape);
  }
  case OpKind::mul: {
    const TensorData *factor = constTensor(op[mul::y]);
    if (!factor || factor->numElements() != 1 || !isFloat(x.dtype()) ||
        x.shape() != llvm::ArrayRef<int64_t>(*shape))
      return std::nullopt;
    std::optional<double> scalar = splatValue(*factor);
    return scalar && x.byteSize() > kSmallBytes ? std::optional(x.scale(*scalar)) : std::nullopt;
  }
  default:
    return std::nullopt;
  }
}

/// Whether Core ML takes a constant only where the value is used and the table of operations does
/// not say so.
bool mustBeConstant(const Value *value) {
  for (const Operand &use : value->uses()) {
    const Op &user = *use.owner();
    if ((user.is(OpKind::conv) && user[conv::bias] == value) ||
        (user.is(OpKind::conv_transpose) && user[conv_transpose::bias] == value))
      return true;
  }
  return false;
}

/// The other factor of a product with an identity matrix. PEFT's DoRA multiplies its factors so:
/// lora_B(lora_A(eye)).
std::optional<TensorData> timesIdentity(const Op &op,
                                        const std::vector<std::vector<Attr>> &operands) {
  bool isLinear = op.is(OpKind::linear);
  if (!isLinear && !op.is(OpKind::matmul))
    return std::nullopt;
  const TensorData *x = operands[0][0].tensor(), *y = operands[1][0].tensor();
  bool ofX = y && isIdentityMatrix(*y);
  if (!x || !y || !(ofX || isIdentityMatrix(*x)))
    return std::nullopt;
  auto isSet = [&](unsigned flag) { return constBool(op[flag]).value_or(false); };
  bool turned = isLinear ? !ofX : isSet(ofX ? matmul::transpose_x : matmul::transpose_y);
  TensorData factor = ofX ? *x : *y;
  if (factor.rank() < 2)
    return std::nullopt;
  if (turned) {
    auto perm = llvm::to_vector_of<int64_t>(llvm::seq<int64_t>(0, factor.rank()));
    std::swap(perm[perm.size() - 1], perm[perm.size() - 2]);
    factor = factor.permute(perm);
  }
  const Type &type = op.result()->type;
  if (!(factor.type() == type))
    return std::nullopt;
  const Value *bias = isLinear ? op[linear::bias] : nullptr;
  if (!bias || isSplat(bias, 0))
    return factor;
  return TensorData::computed(OpKind::add, {{Attr(factor)}, operands[linear::bias]}, type);
}

/// The result of the operation on constants, computed when read. A linear layer without a bias is a
/// product, which permutations go through.
TensorData computedOf(const Op &op, const std::vector<std::vector<Attr>> &operands,
                      unsigned index) {
  const Type &type = op.result(index)->type;
  if (op.is(OpKind::linear) && (!op[linear::bias] || isSplat(op[linear::bias], 0)))
    return TensorData::computed(OpKind::matmul,
                                {operands[linear::x],
                                 operands[linear::weight],
                                 {Attr::boolean(false)},
                                 {Attr::boolean(true)}},
                                type);
  return TensorData::computed(op.kind(), operands, type, index);
}

/// One number for a whole matrix of it, which would be stored, where the other operand has the
/// result's shape: x + 0.5 for x + full_like(x, 0.5).
bool narrowFills(Op &op) {
  if (!op.is(OpKind::add) && !op.is(OpKind::sub) && !op.is(OpKind::mul) &&
      !op.is(OpKind::real_div) && !op.is(OpKind::maximum) && !op.is(OpKind::minimum))
    return false;
  bool changed = false;
  for (unsigned param : {0, 1}) {
    Value *fill = op[param];
    const TensorData *tensor = constTensor(fill);
    if (!tensor || !isFloat(tensor->dtype()) || !(op[1 - param]->type == op.result()->type) ||
        leafOf(*tensor).kind != TensorData::Kind::Strided ||
        llvm::count_if(tensor->shape(), [](int64_t size) { return size > 1; }) < 2)
      continue;
    // What is mapped from a file is read only where it is small.
    const Storage &storage = *leafOf(*tensor).storage;
    if (storage.release && tensor->byteSize() > kSmallBytes)
      continue;
    std::optional<double> value = splatValue(*tensor);
    if (!value)
      continue;
    op.set(param, Builder::before(&op).constant(
                      floats(tensor->dtype(), {}, {*value}, computedFrom(fill)), fill->name));
    eraseDead(fill->def());
    changed = true;
  }
  return changed;
}

/// The weight of a layer that an adapter may be; null of other operations.
const Value *weightOfLayer(const Op &op) {
  return op.is(OpKind::matmul)   ? op[matmul::y]
         : op.is(OpKind::linear) ? op[linear::weight]
         : op.is(OpKind::conv)   ? op[conv::weight]
                                 : nullptr;
}

/// What fold-lora looks through between the layers of a sum and on the way to their input.
bool isReshaped(const Op &op) {
  return op.is(OpKind::cast) || op.is(OpKind::reshape) || op.is(OpKind::expand_dims) ||
         op.is(OpKind::squeeze);
}
bool isOfSum(const Op &op) {
  return isReshaped(op) || op.is(OpKind::add) || op.is(OpKind::sub) ||
         (op.is(OpKind::mul) && (isCompileTime(op[mul::x]) || isCompileTime(op[mul::y])));
}

const Value *inputOfLayer(const Op &layer) {
  const Value *input = layer[0];
  while (const Op *op = input->def()) {
    if (!isReshaped(*op))
      break;
    input = (*op)[0];
  }
  return input;
}

/// Whether the layer's result is added to that of one with a constant weight, of its kind and of
/// the same input.
bool isAddedToLayer(const Op &layer) {
  auto isBase = [&](const Op &op) {
    return &op != &layer && weightOfLayer(op) && constTensor(weightOfLayer(op)) &&
           op.is(OpKind::conv) == layer.is(OpKind::conv) && inputOfLayer(op) == inputOfLayer(layer);
  };
  // All that the sum around the layer is made of, down and up.
  llvm::SetVector<const Op *> sum;
  sum.insert(&layer);
  for (unsigned i = 0; i < sum.size() && i < kMostSteps; ++i) {
    const Op &op = *sum[i];
    if (isBase(op))
      return true;
    if (&op != &layer && !isOfSum(op))
      continue;
    for (const Operand &use : op.result()->uses())
      if (isOfSum(*use.owner()))
        sum.insert(use.owner());
    if (&op != &layer)
      for (const Operand &operand : op.operands())
        if (const Op *def = operand.get()->def(); def && (isOfSum(*def) || weightOfLayer(*def)))
          sum.insert(def);
  }
  return false;
}

class Folder {
public:
  explicit Folder(PassContext &context) : context_(context) {}

  bool visit(Op &op) {
    bool changed = narrowFills(op);
    return fold(op) || changed;
  }

private:
  bool fold(Op &op) {
    if (op.is(OpKind::shape) && staticShape(op[shape::x]) && canFold(op))
      return replace(op, TensorData::ints(*staticShape(op[shape::x])));
    if ((op.info().traits & (Effect | ReadsMemory | NonDeterministic | Constexpr)) ||
        !op.blocks().empty() || op.is(OpKind::const_) || op.is(OpKind::quantize) ||
        op.is(OpKind::dequantize) || op.operands().empty() || !canFold(op))
      return false;
    std::vector<std::vector<Attr>> operands(op.numParams());
    ConstantSources sources;
    for (unsigned i = 0; i < op.numParams(); ++i)
      for (const Operand &operand : op.operands(i)) {
        // A constant first: one of this run may lie where a value lay that is gone.
        const Attr *attr = constAttr(operand.get());
        const Known *known = attr ? nullptr : find(operand.get());
        if (!attr && !known)
          return false;
        operands[i].push_back(known ? known->attr : *attr);
        if (known)
          sources.add(known->sources);
        else if (const TensorData *tensor = attr->tensor())
          sources.add(*tensor);
      }
    llvm::SmallVector<TensorData, 2> results;
    for (unsigned i = 0; i < op.numResults(); ++i) {
      auto result = lazily(op, operands, i);
      if (!result)
        return false;
      results.push_back(std::move(*result));
    }
    // Too large to store, though perhaps not what is computed from it.
    auto mayStore = [&](auto pair) {
      return sources.admit(std::get<1>(pair)) || mustBeConstant(std::get<0>(pair).get()) ||
             isFoldedWeight(op);
    };
    if (!llvm::all_of(llvm::zip(op.results(), results), mayStore)) {
      for (auto [value, result] : llvm::zip(op.results(), results))
        known_.try_emplace(value.get(), Known{Attr(result), sources});
      return false;
    }
    bool changed = false;
    for (auto [value, result] : llvm::zip(op.results(), results)) {
      if (!value->hasUses())
        continue;
      auto stored = compute(result);
      if (!stored)
        return changed;
      changed |= replaceResult(op, value.get(), *stored);
    }
    if (changed)
      eraseDead(&op);
    return changed;
  }

  const Known *find(const Value *value) const {
    auto it = known_.find(value);
    return it == known_.end() ? nullptr : &it->second;
  }

  /// Static results that a constant may take the place of.
  static bool canFold(const Op &op) {
    return op.numResults() > 0 && llvm::all_of(op.results(), [](const auto &result) {
             return staticShape(result.get()) && result->type.dtype() != DType::String &&
                    !result->isOutput();
           });
  }

  /// The weight of a layer, multiplied out of an adapter's factors, in a function that is to have
  /// its adapters merged: fold-lora adds it to the weight beside it.
  bool isFoldedWeight(const Op &op) const {
    if (context_.lora(op.function()->name) != LoraMode::Fold)
      return false;
    for (const Operand &use : op.result()->uses()) {
      const Op &user = *use.owner();
      if (weightOfLayer(user) == op.result() && !isCompileTime(user[0]) && !find(user[0]) &&
          isAddedToLayer(user))
        return true;
    }
    return false;
  }

  /// Result `index`, not computed yet.
  std::optional<TensorData> lazily(const Op &op, const std::vector<std::vector<Attr>> &operands,
                                   unsigned index) {
    if (!operands.empty() && operands[0].size() == 1)
      if (const TensorData *x = operands[0][0].tensor())
        if (auto result = transformed(op, *x, index))
          return result;
    if (auto result = timesIdentity(op, operands))
      return result;
    if (!context_.evaluator)
      return std::nullopt;
    return computedOf(op, operands, index);
  }

  /// The tensor as it is stored: computed where it is small; nullopt where it cannot be.
  std::optional<TensorData> compute(const TensorData &tensor) {
    if (leafOf(tensor).kind != TensorData::Kind::Computed || tensor.byteSize() > kSmallBytes)
      return tensor;
    auto bytes = tensor.bytes(context_.evaluator);
    if (!bytes) {
      llvm::consumeError(bytes.takeError());
      return std::nullopt;
    }
    return TensorData::fromBytes(tensor.dtype(), tensor.shape(), std::move(*bytes))
        .withOrigin(originOf(tensor));
  }

  bool replaceResult(Op &op, Value *value, const TensorData &result) {
    if (!value->hasUses())
      return false;
    replaceUses(value, Builder::before(&op).constant(result, value->name));
    return true;
  }

  bool replace(Op &op, const TensorData &result) {
    bool changed = replaceResult(op, op.result(), result);
    if (changed)
      eraseDead(&op);
    return changed;
  }

  PassContext &context_;
  llvm::DenseMap<const Value *, Known> known_;
};

} // namespace

bool foldConstants(Program &program, PassContext &context) {
  bool changed = false;
  Folder folder(context);
  walk(program, [&](Op &op) { changed |= folder.visit(op); });
  return changed;
}

} // namespace plait::passes
