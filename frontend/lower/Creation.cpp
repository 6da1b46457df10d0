// Tensors made from sizes and numbers, where those are symbolic or only known at run time (known
// ones are made by LibTorch), and random tensors.
#include "frontend/engine/Engine.h"
#include "frontend/lower/Expr.h"
#include "frontend/lower/Families.h"
#include "mil/IdentityMatrix.h"

#include <cmath>

namespace plait::frontend {

using namespace mil;

namespace {
at::ScalarType defaultFloat() { return at::typeMetaToScalarType(at::get_default_dtype()); }

/// The dtype argument, or `fallback`.
at::ScalarType dtypeOr(Call &c, at::ScalarType fallback) {
  return c.has("dtype") ? c.optionalDType("dtype").value_or(fallback) : fallback;
}

/// A number's element type: bool, int64 or the default float.
at::ScalarType scalarType(const Val &val) {
  if (auto known = val.known())
    return known->isBool() ? at::kBool : known->isInt() ? at::kLong : defaultFloat();
  if (auto number = val.number())
    return number->kind == c10::TypeKind::BoolType  ? at::kBool
           : number->kind == c10::TypeKind::IntType ? at::kLong
                                                    : defaultFloat();
  if (auto tensor = val.tensor())
    return tensor->dtype();
  return at::kLong; // a symbolic size
}

/// `shape` filled with a number, or with a Scalar argument.
void giveFilled(Call &c, llvm::ArrayRef<Dim> shape, at::ScalarType dtype, double value) {
  if (!c.failed())
    c.result(c.full(shape, milTypeOf(dtype), value), dtype);
}
void giveFilledBy(Call &c, llvm::ArrayRef<Dim> shape, at::ScalarType dtype, llvm::StringRef name) {
  if (auto number = knownNumber(c, name))
    return giveFilled(c, shape, dtype, *number);
  Value *value = c.scalar(name, milTypeOf(dtype));
  if (!c.failed())
    c.result(c.broadcastTo(value, shape), dtype);
}

/// zeros, ones, empty: empty memory becomes zeros.
template <int Value> void lowerConstant(Call &c) {
  giveFilled(c, c.dims("size"), dtypeOr(c, defaultFloat()), Value);
}
template <int Value> void lowerConstantLike(Call &c) {
  giveFilled(c, c.shapeOf("self"), dtypeOr(c, c.dtypeOf("self")), Value);
}
template <int Value> void lowerNewConstant(Call &c) {
  giveFilled(c, c.dims("size"), dtypeOr(c, c.dtypeOf("self")), Value);
}
void lowerFull(Call &c) {
  giveFilledBy(c, c.dims("size"), dtypeOr(c, scalarType(c.val("fill_value"))), "fill_value");
}
void lowerFullLike(Call &c) {
  giveFilledBy(c, c.shapeOf("self"), dtypeOr(c, c.dtypeOf("self")), "fill_value");
}
void lowerNewFull(Call &c) {
  giveFilledBy(c, c.dims("size"), dtypeOr(c, c.dtypeOf("self")), "fill_value");
}
/// fill_ and zero_, as the functions whose result is stored.
void lowerFill(Call &c) { giveFilledBy(c, c.shapeOf("self"), c.dtypeOf("self"), "value"); }
void lowerZero(Call &c) { giveFilled(c, c.shapeOf("self"), c.dtypeOf("self"), 0); }

void lowerScalarTensor(Call &c) {
  at::ScalarType dtype = dtypeOr(c, defaultFloat());
  c.result(c.scalar("s", milTypeOf(dtype)), dtype);
}

/// torch.tensor of one run-time number.
void lowerTensorOfNumber(Call &c) {
  at::ScalarType dtype = dtypeOr(c, scalarType(c.val("t")));
  Value *value = c.scalar("t", milTypeOf(dtype));
  if (!c.failed())
    c.result(value, dtype);
}

/// torch.tensor of a (nested) list with run-time numbers in it.
Value *stackNumbers(Call &c, const Val &val, DType dtype);

at::ScalarType listType(const Val &val) {
  if (auto list = val.list()) {
    at::ScalarType dtype = list->values.empty() ? defaultFloat() : listType(list->values[0]);
    for (const Val &entry : list->values)
      dtype = at::promote_types(dtype, listType(entry));
    return dtype;
  }
  return scalarType(val);
}

void lowerTensorOfList(Call &c) {
  at::ScalarType dtype = dtypeOr(c, listType(c.val("data")));
  Value *value = stackNumbers(c, c.val("data"), milTypeOf(dtype));
  if (!c.failed())
    c.result(value, dtype);
}

Value *stackNumbers(Call &c, const Val &val, DType dtype) {
  auto list = val.list();
  if (!list)
    return c.engine().scalar(val, dtype);
  if (list->values.empty()) {
    c.refuse(Code::UnsupportedForm,
             "an empty list gives a tensor without elements, which Core ML has not");
    return c.builder().poison();
  }
  llvm::SmallVector<Value *, 4> parts;
  for (const Val &entry : list->values) {
    Value *part = stackNumbers(c, entry, dtype);
    if (c.failed() || !part->type.isTensor())
      return c.builder().poison();
    parts.push_back(part->type.rank() == 0 ? c.reshape(part, {1})
                                           : expandDims(Expr(c, part), {0}).value());
  }
  return concat(c, parts, 0);
}

/// start, start + step, … below end. Integers with symbolic bounds have a symbolic length.
void lowerArange(Call &c) {
  auto has = [&](llvm::StringRef name) {
    return bool(c.schema().argumentIndexWithName(name.str()));
  };
  bool hasStart = has("start"), hasStep = has("step");
  at::ScalarType inferred = scalarType(c.val("end"));
  for (llvm::StringRef name : {"start", "step"})
    if (has(name) && at::isFloatingType(scalarType(c.val(name))))
      inferred = defaultFloat();
  if (!at::isFloatingType(inferred))
    inferred = at::kLong;
  at::ScalarType dtype = dtypeOr(c, inferred);
  bool integral = !at::isFloatingType(inferred);
  DType type = integral ? DType::I32 : DType::F32;
  auto bound = [&](llvm::StringRef name, bool present, int64_t fallback) -> Maybe<Dim> {
    if (!present)
      return Dim(fallback);
    return integral ? c.val(name).asDim() : std::nullopt;
  };
  auto start = bound("start", hasStart, 0), end = bound("end", true, 0),
       step = bound("step", hasStep, 1);
  if (start && *start == Dim(0) && end && step && *step == Dim(1) && !c.failed())
    return c.result(c.cast(Tensor{iota(c, *end), at::kLong}, dtype));
  Value *range =
      c.emit(OpKind::range_1d,
             {{range_1d::end, c.scalar("end", type)},
              {range_1d::start, hasStart ? c.scalar("start", type) : c.builder().scalar(type, 0)},
              {range_1d::step, hasStep ? c.scalar("step", type) : c.builder().scalar(type, 1)}});
  if (c.failed())
    return;
  if (start && end && step && step->isConst() && step->value() != 0 && range->type.isTensor())
    range->type = range->type.withShape({ceildiv(*end - *start, *step)});
  c.result(c.cast(Tensor{range, integral ? at::kLong : at::kFloat}, dtype));
}

void lowerLinspace(Call &c) {
  Dim steps = c.dim("steps");
  at::ScalarType dtype = dtypeOr(c, defaultFloat());
  if (c.failed())
    return;
  Expr start(c, c.scalar("start", DType::F32)), end(c, c.scalar("end", DType::F32));
  Expr index = castTo(iota(c, steps), DType::F32);
  Expr intervals = castTo(sizeOf(c, max(steps - Dim(1), Dim(1))), DType::F32);
  c.result(c.cast(Tensor{start + index * ((end - start) / intervals), at::kFloat}, dtype));
}

void lowerEye(Call &c) {
  Dim rows = c.dim("n"), columns = c.schema().argumentIndexWithName("m") ? c.dim("m") : rows;
  at::ScalarType dtype = dtypeOr(c, defaultFloat());
  if (c.failed())
    return;
  // A large one, which nothing has computed so far: what multiplies by it may do without.
  if (rows.isConst() && columns.isConst() && at::isFloatingType(dtype))
    return c.result(c.builder().constant(
                        identityMatrix(milTypeOf(dtype), rows.value(), columns.value()), "eye"),
                    dtype);
  Expr i(c, c.reshape(iota(c, rows), {rows, 1})), j(c, c.reshape(iota(c, columns), {1, columns}));
  c.result(c.cast(Tensor{equal(i, j), at::kBool}, dtype));
}

// ---- random tensors: never folded, never shared, drawn anew at each prediction ----

Expr uniform(Call &c, llvm::ArrayRef<Dim> shape, double low, double high) {
  Value *value = c.emit(OpKind::random_uniform, {{random_uniform::shape, c.materialise(shape)},
                                                 {random_uniform::low, low},
                                                 {random_uniform::high, high},
                                                 {random_uniform::seed, -1}});
  if (value->type.isTensor())
    value->type = value->type.withShape(shape);
  return Expr(c, value);
}

Expr normal(Call &c, llvm::ArrayRef<Dim> shape, double mean, double deviation) {
  Value *value = c.emit(OpKind::random_normal, {{random_normal::shape, c.materialise(shape)},
                                                {random_normal::mean, mean},
                                                {random_normal::stddev, deviation},
                                                {random_normal::seed, -1}});
  if (value->type.isTensor())
    value->type = value->type.withShape(shape);
  return Expr(c, value);
}

/// The shape of the result: `size`, or that of self.
Shape randomShape(Call &c) {
  if (c.schema().argumentIndexWithName("size"))
    return c.dims("size");
  auto shape = c.shapeOf("self");
  return Shape(shape.begin(), shape.end());
}
at::ScalarType randomType(Call &c, bool like) {
  return dtypeOr(c, like ? c.dtypeOf("self") : defaultFloat());
}

template <bool Like, bool Normal> void lowerRandom(Call &c) {
  Shape shape = randomShape(c);
  at::ScalarType dtype = randomType(c, Like);
  if (!c.failed())
    c.result(Normal ? normal(c, shape, 0, 1) : uniform(c, shape, 0, 1), dtype);
}

/// Integers in [low, high): the floor of a uniform draw, kept below high.
template <bool Like> void lowerRandint(Call &c) {
  Shape shape = randomShape(c);
  int64_t low = c.schema().argumentIndexWithName("low") ? c.integer("low") : 0;
  int64_t high = c.integer("high");
  at::ScalarType dtype = dtypeOr(c, Like ? c.dtypeOf("self") : at::kLong);
  if (c.failed())
    return;
  Expr draw = minimum(floorOf(uniform(c, shape, double(low), double(high))), double(high - 1));
  c.result(c.cast(Tensor{draw, at::kFloat}, dtype));
}

/// uniform_ and normal_, as the functions whose result is stored.
void lowerUniform(Call &c) {
  double low = c.number("from"), high = c.number("to");
  if (!c.failed())
    c.result(uniform(c, c.shapeOf("self"), low, high), c.dtypeOf("self"));
}

void lowerBernoulli(Call &c) {
  auto shape = c.shapeOf("self");
  at::ScalarType dtype = c.dtypeOf("self");
  if (c.failed())
    return;
  Expr draw = uniform(c, shape, 0, 1);
  if (c.schema().argumentIndexWithName("p")) {
    Expr p(c, c.operand("p", at::kFloat));
    return c.result(c.cast(Tensor{less(draw, p), at::kBool}, dtype));
  }
  Tensor self = c.cast(c.tensor("self"), at::kFloat);
  c.result(c.cast(Tensor{less(draw, Expr(c, self)), at::kBool}, dtype));
}

/// normal with tensors for mean, deviation or both.
void lowerNormal(Call &c) {
  Expr mean(c, c.operand("mean", at::kFloat)), deviation(c, c.operand("std", at::kFloat));
  if (c.failed())
    return;
  auto shape = broadcastShapes(c, {mean.shape(), deviation.shape()});
  if (shape)
    c.result(mean + deviation * normal(c, *shape, 0, 1), at::kFloat);
}

/// Numbers of Gumbel's distribution, -log(-log(1 - u)) of uniform u. They stay finite, and large
/// ones differ from each other in half too, since small u do: log(1 - u) is a series there.
Expr gumbel(Call &c, llvm::ArrayRef<Dim> shape) {
  constexpr double least = 0x1p-24, longest = 17; // no fp32 draw but 0 is below, or waits longer
  Expr u = maximum(uniform(c, shape, 0, 1), least);
  Expr series = u * (u * (u * (1 / 3.0) + 0.5) + 1.0);
  Expr waiting = select(less(u, 0x1p-5), series, -logarithm(1.0 - u));
  return -logarithm(minimum(waiting, longest));
}

/// Classes drawn one after the other without those that were: the k largest of log(weight) plus
/// Gumbel's numbers (Kool, van Hoof and Welling, "Stochastic Beams and Where to Find Them", 2019).
void drawWithoutReplacement(Call &c, const Tensor &weights, int64_t samples) {
  int64_t axis = weights.rank() - 1;
  auto classes = weights.size(axis).tryValue();
  if (classes && samples > *classes)
    return c.refuse(Code::OperandMismatch,
                    "{0} samples of {1} classes; without replacement there are not as many",
                    samples, *classes);
  constexpr double never = -0x1p15; // below all keys, in half too
  Expr w(c, c.castTo(weights.value, DType::F32));
  Expr keys = select(greater(w, 0.0), logarithm(w) + gumbel(c, weights.shape()), never);
  if (!keys.valid())
    return;
  Op *op = c.create(OpKind::topk, {{topk::x, keys.value()},
                                   {topk::k, samples},
                                   {topk::axis, axis},
                                   {topk::ascending, false},
                                   {topk::sort, true},
                                   {topk::return_indices, true},
                                   {topk::output_indices_dtype, "int32"}});
  if (op)
    c.result(op->result(1), at::kLong);
}

void lowerMultinomial(Call &c) {
  Tensor weights = c.tensor("self");
  int64_t samples = c.integer("num_samples");
  bool replacement = c.boolean("replacement");
  if (c.failed())
    return;
  if (!replacement && samples != 1)
    return drawWithoutReplacement(c, weights, samples);
  Expr total = reduce(OpKind::reduce_sum, Expr(c, weights), weights.rank() - 1, true);
  // The class is a number of the weights' type.
  Tensor drawn{c.emit(OpKind::random_categorical,
                      {{random_categorical::x, (Expr(c, weights) / total).value()},
                       {random_categorical::mode, "probs"},
                       {random_categorical::size, samples},
                       {random_categorical::seed, -1}}),
               at::kFloat};
  c.result(c.cast(drawn, at::kLong));
}
/// An identity matrix that memory need not hold: lowered, it is a lazy constant. PEFT's DoRA makes
/// one of each layer's width.
WhenKnown whenEyeIsKnown(ValueCall &c) {
  auto rows = c[0].asDim();
  auto columns = c.find("m") ? c[1].asDim() : rows;
  auto dtype = c["dtype"].known();
  bool isLarge = rows && columns && rows->isConst() && columns->isConst() && dtype &&
                 (dtype->isNone() || at::isFloatingType(dtype->toScalarType())) &&
                 columns->value() > 0 &&
                 rows->value() > kEagerBytes / int64_t(sizeof(float)) / columns->value();
  return isLarge ? WhenKnown::LowerLazily : WhenKnown::Compute;
}
WhenKnown isUnset(ValueCall &) { return WhenKnown::Zero; }
} // namespace

void registerCreation(Table &table) {
  table.add(
      {"aten::zeros", "aten::empty.memory_format", "aten::empty_strided", "aten::empty_permuted"},
      lowerConstant<0>);
  table.add({"aten::ones"}, lowerConstant<1>);
  table.add({"aten::zeros_like", "aten::empty_like"}, lowerConstantLike<0>);
  table.add({"aten::ones_like"}, lowerConstantLike<1>);
  table.add({"aten::new_zeros", "aten::new_empty", "aten::new_empty_strided"}, lowerNewConstant<0>);
  table.add({"aten::new_ones"}, lowerNewConstant<1>);
  table.add({"aten::full"}, lowerFull);
  table.add({"aten::full_like"}, lowerFullLike);
  table.add({"aten::new_full"}, lowerNewFull);
  table.add({"aten::fill.Scalar", "aten::fill.Tensor"}, lowerFill);
  table.add({"aten::zero"}, lowerZero);
  table.add({"aten::scalar_tensor"}, lowerScalarTensor);
  table.add({"aten::tensor.float", "aten::tensor.int", "aten::tensor.bool", "aten::as_tensor.float",
             "aten::as_tensor.int", "aten::as_tensor.bool"},
            lowerTensorOfNumber);
  table.add({"aten::tensor", "aten::as_tensor.list"}, lowerTensorOfList);
  table.add({"aten::arange", "aten::arange.start", "aten::arange.start_step"}, lowerArange);
  table.add({"aten::linspace", "aten::linspace.Tensor_Tensor", "aten::linspace.Tensor_Scalar",
             "aten::linspace.Scalar_Tensor"},
            lowerLinspace);
  table.setWhenKnown({"aten::empty.memory_format", "aten::empty_strided", "aten::empty_permuted",
                      "aten::empty_like", "aten::new_empty", "aten::new_empty_strided"},
                     isUnset);
  table.add({"aten::eye", "aten::eye.m"}, lowerEye);
  table.setWhenKnown({"aten::eye", "aten::eye.m"}, whenEyeIsKnown);
  table.add({"aten::rand", "aten::rand.generator"}, lowerRandom<false, false>);
  table.add({"aten::randn", "aten::randn.generator"}, lowerRandom<false, true>);
  table.add({"aten::rand_like", "aten::rand_like.generator"}, lowerRandom<true, false>);
  table.add({"aten::randn_like", "aten::randn_like.generator"}, lowerRandom<true, true>);
  table.add({"aten::randint", "aten::randint.generator", "aten::randint.low",
             "aten::randint.low_generator"},
            lowerRandint<false>);
  table.add({"aten::randint_like", "aten::randint_like.generator", "aten::randint_like.low_dtype",
             "aten::randint_like.low_generator_dtype"},
            lowerRandint<true>);
  table.add({"aten::uniform"}, lowerUniform);
  table.add({"aten::bernoulli", "aten::bernoulli.p", "aten::bernoulli.Tensor"}, lowerBernoulli);
  table.add(
      {"aten::normal.Tensor_float", "aten::normal.float_Tensor", "aten::normal.Tensor_Tensor"},
      lowerNormal);
  table.add({"aten::multinomial"}, lowerMultinomial);
}

} // namespace plait::frontend
