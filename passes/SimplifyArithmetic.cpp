// simplify-arithmetic: merges chains of constant factors and terms, divides by multiplying.
//
//   %a = real_div(x = %x, y = 8.0)              before
//   %b = mul(x = %a, y = 0.5)
//
//   %b = mul(x = %x, y = 0.0625)                after
//
// Floats only. Two factors merge if one of them is a scalar, two terms if the sum is no larger than
// one of them and neither has to be stored for something else. The inner
// result must have no other use. pow(x, 0.5) becomes sqrt(x).
//
// What a step follows (floor, a cast to integers, a comparison) is left as it is, for a step tells
// a number from its neighbour: 49 / 49 is 1, and 49 * (1 / 49) a little less. A division by powers
// of two is exact either way, and what a layer computes with weights that are no whole numbers is
// no exact number in the first place.
#include "passes/Match.h"
#include "passes/Rewrite.h"
#include "passes/Sharing.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/SmallPtrSet.h"

#include <cfloat>
#include <cmath>

namespace plait::passes {

using namespace mil;

namespace {

std::optional<double> scalarValue(const Value *value) {
  const TensorData *tensor = constTensor(value);
  return tensor && tensor->numElements() == 1 ? splatValue(*tensor) : std::nullopt;
}

/// A step follows, behind a few operations that keep neighbours apart.
bool isStepped(const Value *value) {
  constexpr size_t limit = 16;
  llvm::SmallVector<const Value *, limit> next = {value};
  llvm::SmallPtrSet<const Value *, limit> seen = {value};
  for (size_t i = 0; i < next.size() && i < limit; ++i) {
    for (Operand &use : next[i]->uses()) {
      const Op *user = use.owner();
      switch (user->kind()) {
      case OpKind::ceil:
      case OpKind::equal:
      case OpKind::floor:
      case OpKind::floor_div:
      case OpKind::greater:
      case OpKind::greater_equal:
      case OpKind::less:
      case OpKind::less_equal:
      case OpKind::mod:
      case OpKind::not_equal:
      case OpKind::round:
        return true;
      case OpKind::cast:
        if (!isFloat(user->result()->type.dtype()))
          return true;
        break;
      case OpKind::abs:
      case OpKind::add:
      case OpKind::clip:
      case OpKind::expand_dims:
      case OpKind::maximum:
      case OpKind::minimum:
      case OpKind::mul:
      case OpKind::reshape:
      case OpKind::squeeze:
      case OpKind::sub:
      case OpKind::transpose:
        break;
      default:
        continue;
      }
      if (seen.insert(user->result()).second)
        next.push_back(user->result());
    }
  }
  return false;
}

/// The result of a layer whose weights are no whole numbers or simple fractions, which a model may
/// count with: a sum that is rounded, and differs with the order in which a device takes it. The
/// first weights tell.
bool isRounded(const Value *value) {
  const Op *op = value->def();
  const Value *operand = !op                              ? nullptr
                         : op->is(OpKind::conv)           ? (*op)[conv::weight]
                         : op->is(OpKind::conv_transpose) ? (*op)[conv_transpose::weight]
                         : op->is(OpKind::linear)         ? (*op)[linear::weight]
                                                          : nullptr;
  const TensorData *weight = operand ? constTensor(operand) : nullptr;
  if (!weight || !isFloat(weight->dtype()))
    return false;
  auto reader = TensorReader::create(*weight, nullptr);
  if (!reader) {
    llvm::consumeError(reader.takeError());
    return false;
  }
  int64_t count = std::min<int64_t>(weight->numElements(), 16);
  std::vector<uint8_t> first(byteSize(weight->dtype(), count));
  reader->read(0, count, first.data());
  auto values = TensorData::fromBytes(weight->dtype(), {count}, std::move(first)).floatValues();
  if (!values) {
    llvm::consumeError(values.takeError());
    return false;
  }
  return llvm::any_of(*values, [](double v) { return v * 256 != std::floor(v * 256); });
}

/// x / c as x * (1 / c), for a small c without zeros; null when it is not that.
Value *asProduct(Op &op) {
  namespace d = real_div;
  const TensorData *divisor = constTensor(op[d::y]);
  if (!divisor || !isFloat(divisor->dtype()) || constTensor(op[d::x]))
    return nullptr;
  std::vector<double> values;
  llvm::ArrayRef<int64_t> shape = divisor->shape();
  if (std::optional<double> same = splatValue(*divisor); same && divisor->numElements() == 1)
    values = {*same};
  else if (divisor->byteSize() <= kSmallBytes) {
    auto read = divisor->floatValues();
    if (!read) {
      llvm::consumeError(read.takeError());
      return nullptr;
    }
    values = std::move(*read);
  } else {
    return nullptr;
  }
  if (llvm::is_contained(values, 0.0))
    return nullptr;
  auto isPowerOfTwo = [](double v) {
    int exponent;
    return std::abs(std::frexp(v, &exponent)) == 0.5;
  };
  if (!llvm::all_of(values, isPowerOfTwo) && isStepped(op.result()) && !isRounded(op[d::x]))
    return nullptr;
  for (double &v : values)
    v = 1 / v;
  Builder builder = Builder::before(&op);
  Value *factor = builder.constant(floats(divisor->dtype(), shape, values), op.name + "_factor");
  return builder.emit(OpKind::mul, {{mul::x, op[d::x]}, {mul::y, factor}});
}

/// The variable and the constant operand of an addition or multiplication.
std::optional<std::pair<Value *, Value *>> split(Op *op) {
  Value *x = (*op)[0], *y = (*op)[1];
  if (constTensor(x))
    std::swap(x, y);
  if (constTensor(x) || !constTensor(y) || !isFloat(x->type.dtype()))
    return std::nullopt;
  return std::pair(x, y);
}

/// (x * a) * b as x * (a b), one of a and b a scalar.
Value *mergeFactors(Op &op, PassContext &context) {
  auto outer = split(&op);
  Op *innerOp = outer ? definedBy(outer->first, OpKind::mul) : nullptr;
  if (!innerOp || !innerOp->result()->hasOneUse() || isStepped(op.result()))
    return nullptr;
  auto inner = split(innerOp);
  if (!inner)
    return nullptr;
  const TensorData *a = constTensor(inner->second), *b = constTensor(outer->second);
  if (!scalarValue(inner->second))
    std::swap(a, b);
  std::optional<double> scalar = a->numElements() == 1 ? splatValue(*a) : std::nullopt;
  // The scalar's rank must not be what gives the result its own.
  if (!scalar || a->rank() > std::max<size_t>(b->rank(), inner->first->type.rank()))
    return nullptr;
  TensorData product = b->numElements() == 1 && splatValue(*b)
                           ? floats(b->dtype(), b->shape(), {*scalar * *splatValue(*b)},
                                    computedFrom({inner->second, outer->second}))
                           : b->scale(*scalar);
  Builder builder = Builder::before(&op);
  Value *factor = builder.constant(product, op.name + "_factor");
  return builder.emit(OpKind::mul, {{mul::x, inner->first}, {mul::y, factor}});
}

/// (x + a) + b as x + (a + b), both scalars; sub counts as adding the negative.
Value *mergeTerms(Op &op) {
  auto term = [](Op *op) -> std::optional<std::pair<Value *, double>> {
    auto parts = split(op);
    if (!parts || (op->is(OpKind::sub) && parts->second != (*op)[1]))
      return std::nullopt;
    auto value = scalarValue(parts->second);
    if (!value || constTensor(parts->second)->rank() > parts->first->type.rank())
      return std::nullopt;
    return std::pair(parts->first, op->is(OpKind::sub) ? -*value : *value);
  };
  auto outer = term(&op);
  Op *innerOp = outer ? outer->first->def() : nullptr;
  if (!innerOp || !(innerOp->is(OpKind::add) || innerOp->is(OpKind::sub)) ||
      !outer->first->hasOneUse() || isStepped(op.result()))
    return nullptr;
  auto inner = term(innerOp);
  if (!inner)
    return nullptr;
  Builder builder = Builder::before(&op);
  Value *sum = builder.constant(
      floats(inner->first->type.dtype(), {}, {inner->second + outer->second}), op.name + "_term");
  return builder.emit(OpKind::add, {{add::x, inner->first}, {add::y, sum}});
}

Value *simplified(Op &op, PassContext &context) {
  switch (op.kind()) {
  case OpKind::real_div:
    return asProduct(op);
  case OpKind::mul:
    return mergeFactors(op, context);
  case OpKind::add:
  case OpKind::sub:
    return mergeTerms(op);
  case OpKind::pow:
    if (isFloat(op[0]->type.dtype()) && isSplat(op[mil::pow::y], 0.5) &&
        op[mil::pow::x]->type == op.result()->type)
      return Builder::before(&op).emit(OpKind::sqrt, {{mil::sqrt::x, op[mil::pow::x]}});
    return nullptr;
  default:
    return nullptr;
  }
}

/// Two tensors that are added to one after the other.
struct Terms {
  Op *inner, *outer;
  Value *x, *a, *b;
  uint64_t keys[2];
};

std::optional<Terms> termsAt(Op &op) {
  auto outer = op.is(OpKind::add) ? split(&op) : std::nullopt;
  Op *innerOp = outer ? definedBy(outer->first, OpKind::add) : nullptr;
  if (!innerOp || !outer->first->hasOneUse() || isStepped(op.result()))
    return std::nullopt;
  auto inner = split(innerOp);
  if (!inner || !(inner->first->type == op.result()->type) ||
      !(outer->first->type == op.result()->type))
    return std::nullopt;
  return Terms{innerOp, &op, inner->first, inner->second, outer->second, {0, 0}};
}

/// a + b, no larger than the larger one: computed where both are small, and of weights when the
/// package is written. Null where it would be infinite, as that of two masks may be.
std::optional<TensorData> sumOf(const Value *a, const Value *b, PassContext &context) {
  const TensorData *large = constTensor(a), *small = constTensor(b);
  if (large->numElements() < small->numElements())
    std::swap(large, small);
  size_t rank = large->rank();
  if (small->rank() > rank || large->dtype() != small->dtype())
    return std::nullopt;
  llvm::SmallVector<int64_t, 6> shape(rank - small->rank(), 1);
  shape.append(small->shape().begin(), small->shape().end());
  for (auto [own, whole] : llvm::zip(shape, large->shape()))
    if (own != 1 && own != whole)
      return std::nullopt;
  auto x = smallFloats(*large, context), y = smallFloats(*small, context);
  if (!x || !y) {
    if (!context.evaluator || computedFrom(a) == Origin() || computedFrom(b) == Origin())
      return std::nullopt;
    return TensorData::computed(OpKind::add, {{Attr(*large)}, {Attr(*small)}}, large->type());
  }
  const double most = large->dtype() == DType::F16 ? 65504.0 : double(FLT_MAX);
  for (size_t i = 0; i < x->size(); ++i) {
    size_t place = 0, stride = 1, rest = i;
    for (size_t axis = rank; axis-- > 0;) {
      size_t size = size_t(large->shape()[axis]), at = rest % size;
      rest /= size;
      if (shape[axis] != 1) {
        place += at * stride;
        stride *= size;
      }
    }
    double term = (*y)[place];
    if (std::isfinite((*x)[i]) && std::isfinite(term) && std::abs((*x)[i] + term) > most)
      return std::nullopt;
    (*x)[i] += term;
  }
  return floats(large->dtype(), large->shape(), *x, computedFrom({a, b}));
}

/// (x + a) + b as x + (a + b), both tensors of constants: embeddings of positions and of types, a
/// bias of positions and a mask.
bool mergeTensors(Program &program, PassContext &context) {
  std::vector<Terms> found;
  walk(program, [&](Op &op) {
    if (op.numResults() == 1 && op.result()->hasUses())
      if (auto terms = termsAt(op))
        found.push_back(*terms);
  });
  if (found.empty())
    return false;
  WeightChanges changes(program, context.options.precision);
  ContentKeys keys(context.options.precision);
  for (Terms &terms : found) {
    const TensorData *both[] = {constTensor(terms.a), constTensor(terms.b)};
    for (unsigned i : {0, 1})
      terms.keys[i] = changes.add(*both[i], keys(*both[1 - i]));
  }
  bool changed = false;
  for (Terms &terms : found) {
    // Another pair may have been in it.
    auto now = termsAt(*terms.outer);
    if (!now || now->inner != terms.inner || now->a != terms.a || now->b != terms.b ||
        (context.options.share &&
         !(changes.keepShared(terms.keys[0]) && changes.keepShared(terms.keys[1]))))
      continue;
    auto sum = sumOf(terms.a, terms.b, context);
    if (!sum)
      continue;
    Builder builder = Builder::before(terms.outer);
    Value *term = builder.constant(*sum, terms.outer->name + "_term");
    Value *joined = builder.emit(OpKind::add, {{add::x, terms.x}, {add::y, term}});
    if (!canReplace(terms.outer->result(), joined))
      continue;
    replaceOp(terms.outer, joined);
    changed = true;
  }
  return changed;
}

} // namespace

bool simplifyArithmetic(Program &program, PassContext &context) {
  bool changed = false;
  walk(program, [&](Op &op) {
    if (op.numResults() != 1 || !op.result()->hasUses())
      return;
    Value *better = simplified(op, context);
    if (!better || !canReplace(op.result(), better))
      return;
    assert(better->type == op.result()->type);
    replaceOp(&op, better);
    changed = true;
  });
  return mergeTensors(program, context) || changed;
}

} // namespace plait::passes
