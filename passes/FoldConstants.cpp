// fold-constants: computes what depends on constants alone.
//
//   %t = transpose(x = const W, perm = [1, 0])  before
//   %s = shape(x = %x)                          %x has shape [1, 6]
//
//   const W seen through swapped strides        after: nothing is copied
//   const [1, 6]
//
// Casts, reshapes, transposes, slices and scalar factors become transforms of the constant whatever
// its size. Another result of at most 64 KiB is computed. A larger one becomes a recipe, computed
// when the package is written, if it takes no more bytes than what it is computed from; one that is
// larger (A @ B, an outer product, an expanded table) is never stored, but what is computed from it
// may be (the norm of W + A @ B). Without an evaluator only the transforms are folded.
#include "passes/Match.h"
#include "passes/Rewrite.h"

#include "llvm/ADT/DenseMap.h"
#include "llvm/ADT/STLExtras.h"

namespace plait::passes {

using namespace mil;

namespace {

/// What is known of a value that depends on constants alone.
struct Known {
  Attr attr;
  uint64_t sourceBytes; ///< of the constants it is computed from
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
                            node.dtype, size, strides);
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

class Folder {
public:
  explicit Folder(PassContext &context) : context_(context) {}

  bool visit(Op &op) {
    if (op.is(OpKind::shape) && staticShape(op[shape::x]) && canFold(op))
      return replace(op, TensorData::ints(*staticShape(op[shape::x])));
    if (op.info().traits || !op.blocks().empty() || op.is(OpKind::const_) ||
        op.is(OpKind::quantize) || op.is(OpKind::dequantize) || op.operands().empty() ||
        !canFold(op))
      return false;
    std::vector<std::vector<Attr>> operands(op.numParams());
    uint64_t sourceBytes = 0;
    for (unsigned i = 0; i < op.numParams(); ++i)
      for (const Operand &operand : op.operands(i)) {
        const Known *lazy = find(operand.get());
        const Attr *attr = lazy ? &lazy->attr : constAttr(operand.get());
        if (!attr)
          return false;
        operands[i].push_back(*attr);
        if (const TensorData *tensor = attr->tensor())
          sourceBytes += lazy ? lazy->sourceBytes : tensor->byteSize();
      }
    llvm::SmallVector<TensorData, 2> results;
    for (unsigned i = 0; i < op.numResults(); ++i) {
      auto result = fold(op, operands, i);
      if (!result)
        return false;
      results.push_back(std::move(*result));
    }
    // Too large to store, though perhaps not what is computed from it.
    bool tooLarge = llvm::any_of(results, [&](const TensorData &result) {
      return result.byteSize() > kSmallBytes && result.byteSize() > sourceBytes;
    });
    if (tooLarge) {
      for (auto [value, result] : llvm::zip(op.results(), results))
        lazy_.try_emplace(value.get(), Known{Attr(result), sourceBytes});
      return false;
    }
    bool changed = false;
    for (auto [value, result] : llvm::zip(op.results(), results))
      changed |= replaceResult(op, value.get(), result);
    if (changed)
      eraseDead(&op);
    return changed;
  }

private:
  const Known *find(const Value *value) const {
    auto it = lazy_.find(value);
    return it == lazy_.end() ? nullptr : &it->second;
  }

  /// Static results that a constant may take the place of.
  static bool canFold(const Op &op) {
    return op.numResults() > 0 && llvm::all_of(op.results(), [](const auto &result) {
             return staticShape(result.get()) && result->type.dtype() != DType::String &&
                    !result->isOutput();
           });
  }

  std::optional<TensorData> fold(const Op &op, const std::vector<std::vector<Attr>> &operands,
                                 unsigned index) {
    if (!operands.empty() && operands[0].size() == 1)
      if (const TensorData *x = operands[0][0].tensor())
        if (auto result = transformed(op, *x, index))
          return result;
    if (!context_.evaluator)
      return std::nullopt;
    const Type &type = op.result(index)->type;
    TensorData recipe = TensorData::recipe(op.kind(), operands, type, index);
    if (recipe.byteSize() > kSmallBytes)
      return recipe;
    auto bytes = recipe.bytes(context_.evaluator);
    if (!bytes) {
      llvm::consumeError(bytes.takeError());
      return std::nullopt;
    }
    return TensorData::fromBytes(type.dtype(), recipe.shape(), std::move(*bytes));
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
  llvm::DenseMap<const Value *, Known> lazy_;
};

} // namespace

bool foldConstants(Program &program, PassContext &context) {
  bool changed = false;
  Folder folder(context);
  walk(program, [&](Op &op) { changed |= folder.visit(op); });
  return changed;
}

} // namespace plait::passes
