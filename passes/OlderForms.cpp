// Operations in the forms of older opsets. An operation that the older opset does not have is
// rewritten into those that it has where there is a way; parameters that it does not know are left
// out where they say what it does anyway; element types that it does not take are cast. What is
// left is refused by whyNotOlder().
#include "passes/Match.h"
#include "passes/Opsets.h"
#include "passes/Rewrite.h"

#include <cmath>

namespace plait::passes {

using namespace mil;

namespace {

// ---- scaled_dot_product_attention: its definition
// -------------------------------------------------

/// What a masked-out score gets added: its exponential is zero, and sums with scores stay finite in
/// half precision.
constexpr double kMaskedOut = -3e4;

/// softmax(q / sqrt(E) k^T + mask) v.
bool splitAttention(Op &op) {
  namespace a = scaled_dot_product_attention;
  Value *query = op[a::query], *mask = op[a::attn_mask];
  const Dim &width = query->type.shape().back();
  if (!width.isConst())
    return false;
  DType dtype = query->type.dtype();
  Builder builder = Builder::before(&op);
  Value *scale = builder.scalar(dtype, 1 / std::sqrt(double(width.value())));
  Value *scaled = builder.emit(OpKind::mul, {{mul::x, query}, {mul::y, scale}});
  Value *scores = builder.emit(
      OpKind::matmul, {{matmul::x, scaled}, {matmul::y, op[a::key]}, {matmul::transpose_y, true}});
  if (mask) {
    if (mask->type.dtype() == DType::Bool) {
      Value *hidden = builder.emit(OpKind::logical_not, {{logical_not::x, mask}});
      mask = builder.emit(OpKind::cast, {{cast::x, hidden}, {cast::dtype, name(dtype)}});
      mask =
          builder.emit(OpKind::mul, {{mul::x, mask}, {mul::y, builder.scalar(dtype, kMaskedOut)}});
    } else if (mask->type.dtype() != dtype) {
      mask = builder.emit(OpKind::cast, {{cast::x, mask}, {cast::dtype, name(dtype)}});
    }
    scores = builder.emit(OpKind::add, {{add::x, scores}, {add::y, mask}});
  }
  Value *weights = builder.emit(OpKind::softmax, {{softmax::x, scores}, {softmax::axis, -1}});
  Value *y = builder.emit(OpKind::matmul, {{matmul::x, weights}, {matmul::y, op[a::value]}});
  if (Builder::isPoison(y) || !compatible(y->type, op.result()->type)) {
    consumeError(builder.takeError());
    return false;
  }
  replaceOp(&op, y);
  return true;
}

// ---- slice_update: what lies before, the update, what lies behind
// ---------------------------------

/// One axis of which a part is updated.
struct Part {
  int64_t axis, begin, end, stride;
};

/// The axes of which slice_update leaves elements as they are; nullopt where that is not known.
std::optional<llvm::SmallVector<Part, 5>> partsOf(const Op &op) {
  namespace s = slice_update;
  auto shape = op[s::x]->type.shape();
  auto begin = constInts(op[s::begin]), end = constInts(op[s::end]),
       stride = constInts(op[s::stride]);
  auto flags = [&](unsigned param) {
    llvm::SmallVector<int64_t, 8> none(shape.size(), 0);
    return constInts(op[param]).value_or(none);
  };
  auto beginMask = flags(s::begin_mask), endMask = flags(s::end_mask),
       squeezeMask = flags(s::squeeze_mask);
  llvm::SmallVector<Part, 5> parts;
  for (size_t i = 0; i < shape.size(); ++i) {
    int64_t step = stride ? (*stride)[i] : 1;
    if (squeezeMask[i] || step < 1 || (!beginMask[i] && !begin) || (!endMask[i] && !end))
      return std::nullopt;
    int64_t first = beginMask[i] ? 0 : (*begin)[i];
    if (first == 0 && endMask[i] && step == 1)
      continue;
    if (!shape[i].isConst())
      return std::nullopt;
    int64_t size = shape[i].value(), last = endMask[i] ? size : (*end)[i];
    first = std::clamp<int64_t>(first < 0 ? first + size : first, 0, size);
    last = std::clamp<int64_t>(last < 0 ? last + size : last, 0, size);
    if (first >= last)
      return std::nullopt;
    if (first > 0 || last < size || step > 1)
      parts.push_back({int64_t(i), first, last, step});
  }
  return parts;
}

Value *sliced(Builder &builder, Value *x, const Part &part) {
  unsigned rank = x->type.rank();
  llvm::SmallVector<int64_t, 5> begin(rank, 0), end(rank, 0), stride(rank, 1);
  llvm::SmallVector<bool, 5> whole(rank, true);
  begin[part.axis] = part.begin;
  end[part.axis] = part.end;
  stride[part.axis] = part.stride;
  whole[part.axis] = false;
  llvm::SmallVector<Arg, 5> args{{slice_by_index::x, x},
                                 Arg(slice_by_index::begin, llvm::ArrayRef<int64_t>(begin)),
                                 Arg(slice_by_index::end, llvm::ArrayRef<int64_t>(end)),
                                 Arg(slice_by_index::end_mask, llvm::ArrayRef<bool>(whole))};
  if (part.stride != 1)
    args.push_back(Arg(slice_by_index::stride, llvm::ArrayRef<int64_t>(stride)));
  return builder.emit(OpKind::slice_by_index, args);
}

/// `x` with `update` in the place that the parts name.
Value *updated(Builder &builder, Value *x, Value *update, llvm::ArrayRef<Part> parts) {
  if (parts.empty())
    return update;
  const Part &part = parts[0];
  Value *middle = parts.size() == 1
                      ? update
                      : updated(builder, sliced(builder, x, part), update, parts.drop_front());
  if (part.stride > 1) {
    llvm::SmallVector<int64_t, 8> places;
    for (int64_t i = part.begin; i < part.end; i += part.stride)
      places.push_back(i);
    return builder.emit(OpKind::scatter, {{scatter::data, x},
                                          {scatter::indices, builder.ints(places)},
                                          {scatter::updates, middle},
                                          {scatter::axis, part.axis},
                                          {scatter::mode, "update"}});
  }
  int64_t size = x->type.shape()[part.axis].value();
  llvm::SmallVector<Value *, 3> pieces;
  if (part.begin > 0)
    pieces.push_back(sliced(builder, x, {part.axis, 0, part.begin, 1}));
  pieces.push_back(middle);
  if (part.end < size)
    pieces.push_back(sliced(builder, x, {part.axis, part.end, size, 1}));
  return builder.emit(OpKind::concat, {{concat::values, llvm::ArrayRef<Value *>(pieces)},
                                       {concat::axis, part.axis}});
}

bool splitSliceUpdate(Op &op) {
  auto parts = partsOf(op);
  if (!parts)
    return false;
  Builder builder = Builder::before(&op);
  Value *y = updated(builder, op[slice_update::x], op[slice_update::update], *parts);
  if (!Builder::isPoison(y) && !canReplace(op.result(), y))
    y = builder.emit(OpKind::identity, {{identity::x, y}});
  if (Builder::isPoison(y) || !compatible(y->type, op.result()->type)) {
    consumeError(builder.takeError());
    return false;
  }
  replaceOp(&op, y);
  return true;
}

// ---- element types
// --------------------------------------------------------------------------------

bool isHalf(const Value *value) {
  return value->type.isTensor() && value->type.dtype() == DType::F16;
}

/// The constant's elements are normal numbers in fp16 or zero: rounded, they are as near as a
/// weight that is stored in fp16.
bool roundsWell(const Value *value, const PassContext &context) {
  auto exact = smallFloats(value, context);
  if (!exact)
    return false;
  auto rounded = smallFloats(floats(DType::F16, {int64_t(exact->size())}, *exact), context);
  if (!rounded)
    return false;
  for (auto [a, b] : llvm::zip(*exact, *rounded))
    if (std::abs(a - b) > std::abs(a) / 2048)
      return false;
  return true;
}

/// The operation on fp32 operands, with a cast of each result back to fp16.
void computeInFloat32(Op &op) {
  for (unsigned param = 0; param < op.numParams(); ++param) {
    llvm::SmallVector<Value *, 4> values;
    bool any = false;
    for (const Operand &operand : op.operands(param)) {
      Value *value = operand.get();
      if (isHalf(value)) {
        any = true;
        if (const TensorData *tensor = constTensor(value))
          value = derivedConstant(&op, tensor->cast(DType::F32), value);
        else
          value =
              Builder::before(&op).emit(OpKind::cast, {{cast::x, value}, {cast::dtype, "fp32"}});
      }
      values.push_back(value);
    }
    if (any)
      op.set(param, values);
  }
  llvm::SmallVector<bool, 3> wasHalf;
  for (const auto &result : op.results())
    wasHalf.push_back(isHalf(result.get()));
  retype(&op);
  Block::iterator after = std::next(op.getIterator());
  for (auto [i, result] : llvm::enumerate(op.results())) {
    if (!wasHalf[i] || result->type.dtype() != DType::F32)
      continue;
    Builder builder(*op.parent(), after);
    builder.setLocation(op.location);
    Value *narrow = builder.emit(OpKind::cast, {{cast::x, result.get()}, {cast::dtype, "fp16"}});
    result->replaceAllUsesWith(narrow);
    narrow->def()->set(cast::x, result.get());
    std::swap(narrow->name, result->name);
  }
}

/// Brings the operands to element types that the form takes, where that changes nothing that fp16
/// can hold. Returns whether anything changed.
bool alignTypes(Op &op, Opset target, const PassContext &context) {
  auto form = op.info().form(target);
  if (op.is(OpKind::cast) || (op.info().traits & Constexpr) ||
      form.data() == op.info().form(op.opset()).data())
    return false;
  bool wide = false, changed = false;
  std::map<char, DType> leaders;
  for (auto [param, has] : llvm::enumerate(form)) {
    if (!has || !has->domain)
      continue;
    for (const Operand &operand : op.operands(param)) {
      Value *value = operand.get();
      if (!value->type.isTensor() || !isFloat(value->type.dtype()))
        continue;
      DType dtype = value->type.dtype();
      if (dtype == DType::F16 && !contains(has->domain, dtype) && contains(has->domain, DType::F32))
        wide = true;
      if (has->var == '_')
        continue;
      DType leader = leaders.try_emplace(has->var, dtype).first->second;
      if (leader == dtype || leader != DType::F16 || dtype != DType::F32) {
        wide |= leader != dtype;
        continue;
      }
      if (constTensor(value) && roundsWell(value, context)) {
        op.set(param, derivedConstant(&op, constTensor(value)->cast(DType::F16), value));
        changed = true;
      } else {
        wide = true;
      }
    }
  }
  if (wide)
    computeInFloat32(op);
  return wide || changed;
}

// ---- parameters that the older form does not have
// --------------------------------------------------

/// The parameter says what the operation does without it.
bool saysNothing(const Op &op, unsigned param) {
  const ParamInfo &info = op.info().params[param];
  const Value *value = op[param];
  switch (info.def.kind) {
  case Default::Int:
    return constInt(value) == int64_t(info.def.number);
  case Default::Bool:
    return constBool(value) == (info.def.number != 0);
  case Default::Float:
    return constFloat(value) == info.def.number;
  case Default::String:
    return constString(value) == llvm::StringRef(info.def.text);
  case Default::IndicesDType:
    return constString(value) == llvm::StringRef("int32");
  default:
    break;
  }
  if (op.is(OpKind::gru) && param == gru::reset_after)
    return constBool(value) == false;
  if (op.is(OpKind::gru) && param == gru::input_bias)
    return isSplat(value, 0);
  return op.is(OpKind::upsample_bilinear) && param == upsample_bilinear::half_pixel_centers &&
         constBool(value) == !constBool(op[upsample_bilinear::align_corners]).value_or(true);
}

/// The first opset whose form has the parameter.
Opset sinceWhen(const OpInfo &row, unsigned param) {
  for (Opset opset : row.formsSince())
    if (row.form(opset)[param])
      return opset;
  return row.newest;
}

std::string whyNotOperands(const Op &op, Opset target) {
  const OpInfo &row = op.info();
  std::map<char, DType> variables;
  for (auto [param, has] : llvm::enumerate(row.form(target))) {
    if (op.operands(param).empty())
      continue;
    const char *name = row.params[param].name;
    if (!has) {
      if (saysNothing(op, param))
        continue;
      return fmt::format("{0} does not have its parameter {1}; {2} brought it", mil::name(target),
                         name, mil::name(sinceWhen(row, param)));
    }
    for (const Operand &operand : op.operands(param)) {
      const Type &type = operand->type;
      if (has->isConst() && !isCompileTime(operand.get()))
        return fmt::format("{0} must be a constant in {1}", name, mil::name(target));
      if (!has->domain || !type.isTensor())
        continue;
      if (!contains(has->domain, type.dtype()))
        return fmt::format("{0} is {1}, and {2} takes {3} only", name, mil::name(type.dtype()),
                           mil::name(target), describe(has->domain));
      if (has->var == '_')
        continue;
      DType first = variables.try_emplace(has->var, type.dtype()).first->second;
      if (first != type.dtype())
        return fmt::format("{0} is {1} beside {2}, and {3} takes one element type only", name,
                           mil::name(type.dtype()), mil::name(first), mil::name(target));
    }
  }
  return "";
}

} // namespace

std::string whyNotOlder(const Op &op, Opset target) {
  const OpInfo &row = op.info();
  if (!row.existsIn(target))
    return fmt::format("{0} has no such operation; {1} brought it", name(target),
                       name(row.since()));
  if ((row.traits & Constexpr) && info(op.opset()).constexprOperands &&
      !info(target).constexprOperands && row.form(target) != row.form(op.opset()))
    return fmt::format("{0} packs compressed constants otherwise", name(target));
  if (std::string why = whyNotOperands(op, target); !why.empty())
    return why;
  for (const auto &result : op.results())
    if (!op.is(OpKind::const_) && result->type.isTensor() && !(row.traits & Constexpr) &&
        contains(info(op.opset()).computed, result->type.dtype()) &&
        !contains(info(target).computed, result->type.dtype()))
      return fmt::format("it gives {0}, which {1} does not compute with",
                         name(result->type.dtype()), name(target));
  // Zeros stand for dimensions of x, counted from the right; before, from the left.
  if (op.is(OpKind::reshape) && target < row.newest)
    if (auto shape = constInts(op[reshape::shape]))
      if (llvm::is_contained(*shape, 0) && shape->size() != op[reshape::x]->type.rank())
        return fmt::format("shape has a 0 and another rank than x, which {0} does not allow",
                           name(target));
  return "";
}

bool prepareOlder(Op &op, Opset target, const PassContext &context) {
  const OpInfo &row = op.info();
  if (row.existsIn(target))
    return alignTypes(op, target, context);
  switch (op.kind()) {
  case OpKind::scaled_dot_product_attention:
    return splitAttention(op);
  case OpKind::slice_update:
    return splitSliceUpdate(op);
  default:
    return false;
  }
}

void makeOlder(Op &op, Opset target) {
  for (auto [param, has] : llvm::enumerate(op.info().form(target)))
    if (!has && op[param]) {
      Value *value = op[param];
      op.set(param, nullptr);
      if (value->def())
        eraseDead(value->def());
    }
}

} // namespace plait::passes
