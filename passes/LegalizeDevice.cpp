// legalize-device: rewrites what Core ML refuses or gets wrong into what it runs.
//
//   %a = gather(x = %x, indices = 1, axis = 2)       before: wrong on axes other than 0
//
//   %b = gather(x = %x, indices = [1], axis = 2)     after
//   %a = squeeze(x = %b, axes = [2])
//
// Each rule says what the device does with the form that it replaces.
#include "passes/Match.h"
#include "passes/Rewrite.h"

#include "llvm/ADT/STLExtras.h"

#include <numbers>

namespace plait::passes {

using namespace mil;

namespace {

using LongSizes = llvm::SmallVector<int64_t, 8>;

Arg ints(unsigned param, llvm::ArrayRef<int64_t> values) { return Arg(param, values); }

Value *reshaped(Builder &builder, Value *x, llvm::ArrayRef<int64_t> shape) {
  return builder.emit(OpKind::reshape, {{reshape::x, x}, ints(reshape::shape, shape)});
}

// ---- linear on int32 is refused at run time -----------------------------------------------------

bool lowerIntegerLinear(Op &op) {
  if (!op.is(OpKind::linear) || op[linear::x]->type.dtype() != DType::I32)
    return false;
  Builder builder = Builder::before(&op);
  Value *x = op[linear::x];
  bool vector = x->type.rank() == 1; // matmul takes rank 2 or more
  if (vector)
    x = builder.emit(OpKind::expand_dims, {{expand_dims::x, x}, {expand_dims::axes, {0}}});
  Value *result =
      builder.emit(OpKind::matmul,
                   {{matmul::x, x}, {matmul::y, op[linear::weight]}, {matmul::transpose_y, true}});
  if (op[linear::bias] && !isSplat(op[linear::bias], 0))
    result = builder.emit(OpKind::add, {{add::x, result}, {add::y, op[linear::bias]}});
  if (vector)
    result = builder.emit(OpKind::squeeze, {{squeeze::x, result}, {squeeze::axes, {0}}});
  replaceOp(&op, result);
  return true;
}

// ---- layer_norm wants its axes sorted, and not negative -----------------------------------------

// gamma and beta have the shape of the axes in their order in x, so they stay.
bool sortLayerNormAxes(Op &op) {
  auto axes = op.is(OpKind::layer_norm) ? constInts(op[layer_norm::axes]) : std::nullopt;
  if (!axes)
    return false;
  LongSizes sorted;
  for (int64_t axis : *axes)
    sorted.push_back(normalAxis(axis, op[layer_norm::x]->type.rank()));
  llvm::sort(sorted);
  if (llvm::equal(sorted, *axes))
    return false;
  op.set(layer_norm::axes, derivedConstant(&op, TensorData::ints(sorted), op[layer_norm::axes]));
  return true;
}

// ---- Negative indices are out of bounds, unchecked ----------------------------------------------

struct IndexParams {
  unsigned data, indices, axis;
};

std::optional<IndexParams> indexParams(const Op &op) {
  switch (op.kind()) {
  case OpKind::gather:
    return IndexParams{gather::x, gather::indices, gather::axis};
  case OpKind::gather_along_axis:
    return IndexParams{gather_along_axis::x, gather_along_axis::indices, gather_along_axis::axis};
  case OpKind::scatter:
    return IndexParams{scatter::data, scatter::indices, scatter::axis};
  case OpKind::scatter_along_axis:
    return IndexParams{scatter_along_axis::data, scatter_along_axis::indices,
                       scatter_along_axis::axis};
  default:
    return std::nullopt;
  }
}

bool countFromStart(Op &op) {
  auto params = indexParams(op);
  if (!params)
    return false;
  const TensorData *indices = constTensor(op[params->indices]);
  auto axis = constInt(op[params->axis]);
  if (!indices || !axis || indices->byteSize() > kSmallBytes || indices->dtype() != DType::I32)
    return false;
  const Value *data = op[params->data];
  auto extent = data->type.shape()[normalAxis(*axis, data->type.rank())].tryValue();
  auto values = constInts(op[params->indices]);
  if (!extent || !values || llvm::none_of(*values, [](int64_t v) { return v < 0; }))
    return false;
  std::vector<int32_t> positive;
  for (int64_t v : *values)
    positive.push_back(int32_t(v < 0 ? v + *extent : v));
  if (llvm::any_of(positive, [](int32_t v) { return v < 0; }))
    return false;
  op.set(params->indices,
         derivedConstant(&op,
                         TensorData::from<int32_t>(DType::I32, indices->shape(), positive)
                             .withOrigin(originOf(*indices).asComputed()),
                         op[params->indices]));
  return true;
}

// ---- gather by a scalar is wrong on other axes than 0, and crashes on rank 5 --------------------

bool gatherByVector(Op &op) {
  if (!op.is(OpKind::gather) || op[gather::indices]->type.rank() != 0)
    return false;
  Value *x = op[gather::x];
  auto axis = constInt(op[gather::axis]);
  if (!axis || x->type.rank() < 2)
    return false;
  int64_t along = normalAxis(*axis, x->type.rank());
  if (along == 0 && x->type.rank() < 5)
    return false;
  Builder builder = Builder::before(&op);
  const TensorData *constant = constTensor(op[gather::indices]);
  Value *index =
      constant ? builder.constant(constant->reshape({1}), op[gather::indices]->name)
               : builder.emit(OpKind::expand_dims,
                              {{expand_dims::x, op[gather::indices]}, {expand_dims::axes, {0}}});
  Value *slice = builder.emit(OpKind::gather, {{gather::x, x},
                                               {gather::indices, index},
                                               {gather::axis, along},
                                               {gather::validate_indices, false}});
  replaceOp(&op,
            builder.emit(OpKind::squeeze, {{squeeze::x, slice}, ints(squeeze::axes, {along})}));
  return true;
}

// ---- In packages of several functions select fails to load where it broadcasts ------------------

Value *broadcastTo(Builder &builder, Value *value, llvm::ArrayRef<int64_t> shape) {
  auto from = staticShape(value);
  if (!from)
    return nullptr;
  if (llvm::ArrayRef<int64_t>(*from) == shape)
    return value;
  if (const TensorData *tensor = constTensor(value); tensor && tensor->numElements() == 1)
    if (tensor->dtype() != DType::Bool || numElements(shape) <= int64_t(kSmallBytes))
      return tensor->dtype() == DType::Bool
                 ? builder.constant(TensorData::splat(DType::Bool, shape, *splatValue(*tensor))
                                        .withOrigin(originOf(*tensor)),
                                    value->name)
                 : builder.emit(OpKind::fill, {ints(fill::shape, shape),
                                               {fill::value, Attr(tensor->reshape({}))}});
  LongSizes full(shape.size() - from->size(), 1), reps;
  full.append(from->begin(), from->end());
  for (auto [have, want] : llvm::zip(full, shape))
    reps.push_back(want / have);
  if (full.size() != from->size())
    value = reshaped(builder, value, full);
  if (llvm::all_of(reps, [](int64_t r) { return r == 1; }))
    return value;
  return builder.emit(OpKind::tile, {{tile::x, value}, ints(tile::reps, reps)});
}

bool broadcastSelect(Op &op) {
  // One named function may be joined by others later.
  const Program &program = *op.function()->program();
  if (!op.is(OpKind::select) || (program.functions().size() < 2 && program.defaultFunction.empty()))
    return false;
  auto shape = staticShape(op.result());
  if (!shape || llvm::is_contained(*shape, 0))
    return false;
  bool changed = false;
  Builder builder = Builder::before(&op);
  for (unsigned param : {mil::select::cond, mil::select::a, mil::select::b}) {
    Value *operand = op[param];
    Value *full = broadcastTo(builder, operand, *shape);
    if (!full || full == operand)
      continue;
    op.set(param, full);
    if (operand->def())
      eraseDead(operand->def());
    changed = true;
  }
  return changed;
}

// ---- pow with a constant base 2 gives y squared -------------------------------------------------

bool lowerPowOfTwo(Op &op) {
  if (!op.is(OpKind::pow) || !isSplat(op[mil::pow::x], 2) ||
      !isFloat(op[mil::pow::y]->type.dtype()) || !(op[mil::pow::y]->type == op.result()->type))
    return false;
  Builder builder = Builder::before(&op);
  Value *exponent =
      builder.emit(OpKind::mul, {{mul::x, op[mil::pow::y]}, {mul::y, std::numbers::ln2}});
  replaceOp(&op, builder.emit(OpKind::exp, {{mil::exp::x, exponent}}));
  return true;
}

// ---- batch_norm of rank 5 crashes off the CPU ---------------------------------------------------

bool flattenBatchNorm(Op &op) {
  if (!op.is(OpKind::batch_norm) || op[batch_norm::x]->type.rank() != 5)
    return false;
  auto shape = staticShape(op[batch_norm::x]);
  if (!shape)
    return false;
  Builder builder = Builder::before(&op);
  Value *flat = reshaped(builder, op[batch_norm::x],
                         {(*shape)[0], (*shape)[1], (*shape)[2], (*shape)[3] * (*shape)[4]});
  Value *norm = builder.emit(OpKind::batch_norm, {{batch_norm::x, flat},
                                                  {batch_norm::mean, op[batch_norm::mean]},
                                                  {batch_norm::variance, op[batch_norm::variance]},
                                                  {batch_norm::gamma, op[batch_norm::gamma]},
                                                  {batch_norm::beta, op[batch_norm::beta]},
                                                  {batch_norm::epsilon, op[batch_norm::epsilon]}});
  replaceOp(&op, reshaped(builder, norm, *shape));
  return true;
}

// ---- Core ML needs every parameter that has a default ------------------------------------------

bool giveDefaults(Op &op) {
  auto given = [&] {
    unsigned count = 0;
    for (unsigned i = 0; i < op.numParams(); ++i)
      count += !op.operands(i).empty();
    return count;
  };
  bool lacks = false;
  for (auto [i, param] : llvm::enumerate(op.info().form(op.opset())))
    lacks |= param && param->def.kind != Default::None && op.operands(i).empty();
  if (!lacks)
    return false;
  unsigned before = given();
  Builder builder = Builder::before(&op);
  builder.fillDefaults(op);
  return given() != before;
}

// ---- matmul by a vector does not run ------------------------------------------------------------

bool multiplyRows(Op &op) {
  if (!op.is(OpKind::matmul) || op[matmul::x]->type.rank() != 1)
    return false;
  Builder builder = Builder::before(&op);
  Value *row = builder.emit(OpKind::expand_dims,
                            {{expand_dims::x, op[matmul::x]}, {expand_dims::axes, {0}}});
  Value *result = builder.emit(OpKind::matmul, {{matmul::x, row},
                                                {matmul::y, op[matmul::y]},
                                                {matmul::transpose_x, op[matmul::transpose_x]},
                                                {matmul::transpose_y, op[matmul::transpose_y]}});
  replaceOp(&op, builder.emit(OpKind::squeeze, {{squeeze::x, result}, {squeeze::axes, {-2}}}));
  return true;
}

// ---- transpose needs two axes, split two parts --------------------------------------------------

bool keepAsItIs(Op &op) {
  bool oneAxis = op.is(OpKind::transpose) && op[transpose::x]->type.rank() < 2;
  bool onePart = op.is(OpKind::split) && op.numResults() == 1;
  if (!oneAxis && !onePart)
    return false;
  Builder builder = Builder::before(&op);
  replaceOp(&op, builder.emit(OpKind::identity, {{identity::x, op[0]}}));
  return true;
}

// ---- validated indices fail in places -----------------------------------------------------------

bool trustIndices(Op &op) {
  auto param = op.info().findParam("validate_indices");
  if (!param || !op[*param] || !constBool(op[*param]).value_or(false))
    return false;
  op.set(*param, derivedConstant(&op, TensorData::scalar(false), op[*param]));
  return true;
}

// ---- Before iOS 18 some systems ignored squeeze_mask --------------------------------------------

bool sliceThenSqueeze(Op &op) {
  if (!op.is(OpKind::slice_by_index))
    return false;
  using namespace slice_by_index;
  auto mask = constInts(op[squeeze_mask]), from = constInts(op[begin]), to = constInts(op[end]);
  if (!mask || !llvm::is_contained(*mask, 1) || !from || !to)
    return false;
  auto shape = op[x]->type.shape();
  auto steps = constInts(op[stride]), fromStart = constInts(op[begin_mask]),
       toEnd = constInts(op[end_mask]);
  llvm::SmallVector<int64_t, 8> axes;
  for (auto [i, single] : llvm::enumerate(*mask)) {
    if (!single)
      continue;
    int64_t &first = (*from)[i];
    if (fromStart && (*fromStart)[i]) // whether `begin` counts then is said nowhere
      return false;
    if (first < 0) {
      auto size = shape[i].tryValue();
      if (!size)
        return false;
      first += *size;
    }
    (*to)[i] = first + 1;
    if (toEnd)
      (*toEnd)[i] = 0;
    if (steps)
      (*steps)[i] = 1;
    axes.push_back(int64_t(i));
  }
  Builder builder = Builder::before(&op);
  llvm::SmallVector<Arg, 6> args = {{x, op[x]}, ints(begin, *from), ints(end, *to)};
  if (steps)
    args.push_back(ints(stride, *steps));
  auto addMask = [&](unsigned param, const auto &list) {
    if (!list)
      return;
    llvm::SmallVector<bool, 8> flags(list->begin(), list->end());
    args.push_back(Arg(param, llvm::ArrayRef<bool>(flags)));
  };
  addMask(begin_mask, fromStart);
  addMask(end_mask, toEnd);
  Value *slice = builder.emit(OpKind::slice_by_index, args);
  replaceOp(&op, builder.emit(OpKind::squeeze, {{squeeze::x, slice}, ints(squeeze::axes, axes)}));
  return true;
}

// ---- slice_update fails on the CPU where bounds are negative ------------------------------------

bool updateFromStart(Op &op) {
  if (!op.is(OpKind::slice_update))
    return false;
  using namespace slice_update;
  auto shape = staticShape(op[x]);
  auto steps = constInts(op[stride]);
  if (!shape || (op[stride] && !steps) ||
      (steps && llvm::any_of(*steps, [](int64_t step) { return step < 0; })))
    return false;
  bool changed = false;
  for (unsigned param : {begin, end}) {
    auto bounds = constInts(op[param]);
    if (!bounds || llvm::none_of(*bounds, [](int64_t b) { return b < 0; }))
      continue;
    for (auto [bound, size] : llvm::zip(*bounds, *shape))
      if (bound < 0)
        bound = std::max<int64_t>(bound + size, 0);
    op.set(param, derivedConstant(&op, TensorData::ints(*bounds), op[param]));
    changed = true;
  }
  return changed;
}

// ---- The bias of a convolution is a constant ----------------------------------------------------

bool addBias(Op &op) {
  if (!op.is(OpKind::conv) && !op.is(OpKind::conv_transpose))
    return false;
  unsigned param = *op.info().findParam("bias");
  Value *bias = op[param];
  if (!bias || isCompileTime(bias) || op.result()->type.dtype() != bias->type.dtype())
    return false;
  auto channels = bias->type.shape()[0].tryValue();
  if (!channels)
    return false;
  llvm::SmallVector<Arg, 10> args;
  for (unsigned i = 0; i < op.numParams(); ++i)
    if (i != param && op[i])
      args.push_back(Arg(i, op[i]));
  LongSizes shape(op.result()->type.rank(), 1);
  shape[1] = *channels;
  Builder builder = Builder::before(&op);
  Value *result = builder.emit(op.kind(), args);
  Value *wide = reshaped(builder, bias, shape);
  replaceOp(&op, builder.emit(OpKind::add, {{add::x, result}, {add::y, wide}}));
  return true;
}

// ---- Dimensions of size 0 are not supported: concat drops such operands -------------------------

bool dropEmptyOperands(Op &op) {
  if (!op.is(OpKind::concat) || constBool(op[concat::interleave]) != false)
    return false;
  llvm::SmallVector<Value *, 8> kept;
  for (const Operand &operand : op.operands(concat::values)) {
    auto shape = staticShape(operand.get());
    if (!shape || !llvm::is_contained(*shape, 0))
      kept.push_back(operand.get());
  }
  if (kept.empty() || kept.size() == op.operands(concat::values).size())
    return false;
  llvm::SmallVector<Op *, 4> dropped;
  for (const Operand &operand : op.operands(concat::values))
    if (!llvm::is_contained(kept, operand.get()) && operand->def() &&
        !llvm::is_contained(dropped, operand->def()))
      dropped.push_back(operand->def());
  op.set(concat::values, kept);
  for (Op *source : dropped)
    eraseDead(source);
  return true;
}

using Rule = bool (*)(Op &);
constexpr Rule kRules[] = {giveDefaults,   lowerIntegerLinear, sortLayerNormAxes, countFromStart,
                           gatherByVector, broadcastSelect,    lowerPowOfTwo,     flattenBatchNorm,
                           multiplyRows,   keepAsItIs,         trustIndices,      updateFromStart,
                           addBias,        dropEmptyOperands};
/// What the systems of ios18 and later do right.
constexpr Rule kRulesForOlder[] = {sliceThenSqueeze};

} // namespace

bool legalizeDevice(Program &program, PassContext &context) {
  llvm::SmallVector<Rule, 16> rules(std::begin(kRules), std::end(kRules));
  if (context.options.target < Opset::iOS18)
    llvm::append_range(rules, kRulesForOlder);
  bool changed = false, again = true;
  while (again) {
    again = false;
    walk(program,
         [&](Op &op) { again |= llvm::any_of(rules, [&](Rule rule) { return rule(op); }); });
    changed |= again;
  }
  return changed;
}

} // namespace plait::passes
