// Integers that are sizes: the arithmetic on them, as Python ints and as the 0-d integer tensors
// that tracing makes of them. Symbolic sizes stay symbolic; what is left is arithmetic of run-time
// numbers (Numbers.h), or of tensors.
#include "frontend/lower/Families.h"
#include "frontend/lower/Numbers.h"

namespace plait::frontend {

using mil::DType;

namespace sizes {

enum class Scalar {
  Add,
  Sub,
  RSub,
  Mul,
  Div,
  FloorDiv,
  Mod,
  FMod,
  Neg,
  Min,
  Max,
  Eq,
  Ne,
  Lt,
  Le,
  Gt,
  Ge,
  Int,
  Float,
  Bool,
  Item,
  ToTensor,
  RangeLength,
  DeriveIndex,
};

/// Decides a comparison of symbolic sizes from their bounds.
static std::optional<bool> compare(Scalar op, const Dim &a, const Dim &b) {
  Dim d = a - b;
  int64_t low = d.lower(), high = d.upper();
  switch (op) {
  case Scalar::Eq:
    return low == 0 && high == 0 ? std::optional(true)
           : low > 0 || high < 0 ? std::optional(false)
                                 : std::nullopt;
  case Scalar::Ne:
    if (auto equal = compare(Scalar::Eq, a, b))
      return !*equal;
    return std::nullopt;
  case Scalar::Lt:
    return high < 0 ? std::optional(true) : low >= 0 ? std::optional(false) : std::nullopt;
  case Scalar::Le:
    return high <= 0 ? std::optional(true) : low > 0 ? std::optional(false) : std::nullopt;
  case Scalar::Gt:
    return compare(Scalar::Lt, b, a);
  case Scalar::Ge:
    return compare(Scalar::Le, b, a);
  default:
    return std::nullopt;
  }
}

static bool isComparison(Scalar op) { return op >= Scalar::Eq && op <= Scalar::Ge; }

/// A number out of a tensor.
static Handled numberOf(ValueCall &c, Scalar op) {
  auto tensor = c.self();
  Engine &engine = c.engine();
  at::ScalarType dtype = tensor->dtype();
  if (auto dim = engine.readDim(*tensor); dim && (op == Scalar::Int || op == Scalar::Item))
    return one(Val(*dim));
  if (engine.readKnown(*tensor).defined() || tensor->cell->deferred)
    return std::nullopt; // LibTorch's to run
  c10::TypeKind kind = op == Scalar::Int                  ? c10::TypeKind::IntType
                       : op == Scalar::Float              ? c10::TypeKind::FloatType
                       : op == Scalar::Bool               ? c10::TypeKind::BoolType
                       : dtype == at::kBool               ? c10::TypeKind::BoolType
                       : at::isIntegralType(dtype, false) ? c10::TypeKind::IntType
                                                          : c10::TypeKind::FloatType;
  DType type = kind == c10::TypeKind::IntType    ? DType::I32
               : kind == c10::TypeKind::BoolType ? DType::Bool
                                                 : DType::F32;
  TORCH_CHECK(!mil::numElements(tensor->shape).isConst() ||
                  mil::numElements(tensor->shape) == Dim(1),
              "a tensor of shape ", mil::str(tensor->shape), " is no number");
  return one(Val(Val::Number{engine.scalar(c[0], type), kind}));
}

/// A tensor of numbers that are not all known.
static Handled tensorOf(ValueCall &c) {
  Engine &engine = c.engine();
  if (auto dim = c[0].dim())
    return one(engine.makeDimTensor(*dim, at::kLong));
  if (auto number = c[0].number()) {
    at::ScalarType dtype = number->kind == c10::TypeKind::IntType    ? at::kLong
                           : number->kind == c10::TypeKind::BoolType ? at::kBool
                                                                     : at::kFloat;
    Val result = engine.makeTensor(number->value, dtype);
    const Val &to = c.size() > 1 ? c[1] : c[0];
    if (to.known() && to.known()->isInt() && result.tensor())
      result = engine.castTensor(result.tensor(), at::ScalarType(to.known()->toInt()));
    return one(result);
  }
  if (auto shape = engine.dimsOf(c[0]))
    return one(engine.makeTensor(engine.materialise(*shape), at::kLong));
  return std::nullopt;
}

/// The operands that are sizes; nullopt where one is not.
static std::optional<llvm::SmallVector<Dim, 4>> operands(ValueCall &c, Scalar op) {
  llvm::SmallVector<Dim, 4> dims;
  if (auto list = c[0].list(); list && c.size() == 1) { // min and max of a list
    for (const Val &value : list->values)
      dims.push_back(value.asDim().value_or(0));
    return dims;
  }
  size_t count = op == Scalar::RangeLength || op == Scalar::DeriveIndex ? 3 : 2;
  for (size_t i = 0; i < std::min(count, c.size()); ++i) {
    auto dim = c[i].asDim();
    if (!dim && c[i].tensor())
      dim = c.engine().readDim(*c[i].tensor());
    if (!dim && !(i > 0 && (op == Scalar::Neg || op == Scalar::Int)))
      return std::nullopt;
    dims.push_back(dim.value_or(0));
  }
  return dims;
}

/// `div` with a rounding mode that sizes can follow.
static bool isFloorDiv(ValueCall &c, llvm::ArrayRef<Dim> dims) {
  auto mode = c.find("rounding_mode");
  auto known = mode ? mode->known() : nullptr;
  if (!known || !known->isString())
    return false;
  // Truncation of what is not negative is the same.
  return known->toStringRef() == "floor" || (dims[0].lower() >= 0 && dims[1].lower() > 0);
}

/// Of sizes that stays one; nullopt where it does not.
static std::optional<Dim> arithmetic(ValueCall &c, Scalar op, llvm::ArrayRef<Dim> dims) {
  Dim alpha = 1;
  if (auto factor = c.find("alpha")) {
    auto value = factor->asDim();
    if (!value)
      return std::nullopt;
    alpha = *value;
  }
  auto divisible = [&] { return !(dims[1] == Dim(0)); };
  switch (op) {
  case Scalar::Add:
    return dims[0] + alpha * dims[1];
  case Scalar::Sub:
    return dims[0] - alpha * dims[1];
  case Scalar::RSub:
    return dims[1] - alpha * dims[0];
  case Scalar::Mul:
    return dims[0] * dims[1];
  case Scalar::Div:
    if (!isFloorDiv(c, dims))
      return std::nullopt;
    [[fallthrough]];
  case Scalar::FloorDiv:
    return divisible() ? std::optional(floordiv(dims[0], dims[1])) : std::nullopt;
  case Scalar::Mod:
    return divisible() ? std::optional(floormod(dims[0], dims[1])) : std::nullopt;
  case Scalar::FMod: // of Python numbers it is a float; of what is not negative the same
    return c.schema().returns()[0].type()->kind() == c10::TypeKind::TensorType &&
                   dims[0].lower() >= 0 && dims[1].lower() > 0
               ? std::optional(floormod(dims[0], dims[1]))
               : std::nullopt;
  case Scalar::Neg:
    return dims[0] * Dim(-1);
  case Scalar::Int:
    return dims[0];
  case Scalar::Min:
  case Scalar::Max: {
    Dim result = dims[0];
    for (const Dim &d : llvm::drop_begin(dims))
      result = op == Scalar::Min ? min(result, d) : max(result, d);
    return result;
  }
  case Scalar::RangeLength:
    if (!divisible() || !dims[2].isConst() || dims[2].value() <= 0)
      return std::nullopt;
    return max(ceildiv(dims[1] - dims[0], dims[2]), Dim(0));
  case Scalar::DeriveIndex:
    return dims[1] + dims[0] * dims[2];
  default:
    return std::nullopt;
  }
}

static Handled lower(ValueCall &c, Scalar op, Numbers::Rule rule) {
  bool symbolic = false, runTime = false, tensors = false;
  auto look = [&](const Val &val) {
    auto tensor = val.tensor();
    bool holdsDim = tensor && std::holds_alternative<Dim>(tensor->cell->content);
    symbolic |= val.dim() != nullptr || holdsDim;
    runTime |= val.number() != nullptr;
    // A known size in a tensor, as tracing makes them, is one beside a size that is not known.
    bool knownSize = tensor && tensor->shape.empty() && tensor->dtype() == at::kLong &&
                     c.engine().readDim(*tensor);
    tensors |= tensor && !holdsDim && !knownSize;
  };
  for (const Val &argument : c.arguments()) {
    look(argument);
    if (auto list = argument.list())
      llvm::for_each(list->values, look);
  }
  if (c.self() &&
      (op == Scalar::Int || op == Scalar::Float || op == Scalar::Bool || op == Scalar::Item))
    return numberOf(c, op);
  // LibTorch's own takes the remainder without a look at the divisor.
  TORCH_CHECK(op != Scalar::Mod || c.self() || !c[1].asDim() || !(*c[1].asDim() == Dim(0)),
              "division by zero");
  if (!symbolic && !runTime)
    return std::nullopt;
  if (op == Scalar::ToTensor)
    return tensorOf(c);

  bool givesTensor = c.schema().returns()[0].type()->kind() == c10::TypeKind::TensorType;
  // Integers whose operands are all sizes stay sizes.
  if (!tensors && !runTime)
    if (auto dims = operands(c, op); dims && !dims->empty()) {
      if (isComparison(op))
        if (auto decided = compare(op, (*dims)[0], (*dims)[1]))
          return one(c10::IValue(*decided));
      if (auto result = arithmetic(c, op, *dims))
        return one(givesTensor ? c.engine().makeDimTensor(*result, at::kLong) : Val(*result));
    }
  // Tensors are for lowerings; what is left are Python numbers of which one is known at run time
  // only.
  return givesTensor || tensors || !rule ? std::nullopt : Numbers::run(c, rule);
}

/// A row: on sizes, else on run-time numbers.
template <Scalar op, Numbers::Rule rule> Handled size(ValueCall &c) { return lower(c, op, rule); }

} // namespace sizes

void registerSizes(Table &table) {
  using namespace sizes;
  using N = Numbers;
  const auto numbers = {"", "int", "float", "int_float", "float_int"};
  const auto tensors = {"Tensor", "Scalar"};
  auto both = [&](const char *name, ValuesFn fn) {
    table.addValues(name, numbers, fn);
    table.addValues(name, tensors, fn);
  };
  both("aten::add", size<Scalar::Add, &N::add>);
  both("aten::sub", size<Scalar::Sub, &N::sub>);
  both("aten::mul", size<Scalar::Mul, &N::mul>);
  both("aten::remainder", size<Scalar::Mod, &N::remainder>);
  table.addValues({"aten::remainder.Scalar_Tensor"}, size<Scalar::Mod, nullptr>);
  both("aten::fmod", size<Scalar::FMod, &N::fmod>);
  table.addValues("aten::rsub", tensors, size<Scalar::RSub, nullptr>);
  table.addValues("aten::multiply", tensors, size<Scalar::Mul, &N::mul>);
  table.addValues("aten::div", {"", "int", "float"}, size<Scalar::Div, &N::div>);
  table.addValues("aten::div", {"Tensor_mode", "Scalar_mode"}, size<Scalar::Div, nullptr>);
  table.addValues("aten::floordiv", numbers, size<Scalar::FloorDiv, &N::floorDiv>);
  table.addValues("aten::floor_divide", {"", "Scalar"}, size<Scalar::FloorDiv, nullptr>);
  table.addValues("aten::neg", {"", "int", "float", "Scalar"}, size<Scalar::Neg, &N::neg>);
  const auto lists = {"self_int", "self_float", "self_bool"};
  table.addValues("prim::min", numbers, size<Scalar::Min, &N::min>);
  table.addValues("prim::min", lists, size<Scalar::Min, &N::min>);
  table.addValues("prim::max", numbers, size<Scalar::Max, &N::max>);
  table.addValues("prim::max", lists, size<Scalar::Max, &N::max>);

  using mil::OpKind;
  table.addValues("aten::eq", numbers, size<Scalar::Eq, &N::compare<OpKind::equal>>);
  table.addValues({"aten::eq.bool"}, size<Scalar::Eq, &N::compare<OpKind::equal>>);
  table.addValues("aten::ne", numbers, size<Scalar::Ne, &N::compare<OpKind::not_equal>>);
  table.addValues({"aten::ne.bool"}, size<Scalar::Ne, &N::compare<OpKind::not_equal>>);
  table.addValues("aten::lt", numbers, size<Scalar::Lt, &N::compare<OpKind::less>>);
  table.addValues("aten::le", numbers, size<Scalar::Le, &N::compare<OpKind::less_equal>>);
  table.addValues("aten::gt", numbers, size<Scalar::Gt, &N::compare<OpKind::greater>>);
  table.addValues("aten::ge", numbers, size<Scalar::Ge, &N::compare<OpKind::greater_equal>>);

  table.addValues("aten::Int", {"Tensor", "bool", "float", "Scalar"},
                  size<Scalar::Int, &N::convert>);
  table.addValues("aten::Float", {"Tensor", "Scalar", "int", "bool"},
                  size<Scalar::Float, &N::convert>);
  table.addValues("aten::Bool", {"Tensor", "int", "float"}, size<Scalar::Bool, &N::convert>);
  table.addValues({"aten::IntImplicit"}, size<Scalar::Int, nullptr>);
  table.addValues({"aten::FloatImplicit"}, size<Scalar::Float, nullptr>);
  table.addValues({"aten::item", "aten::ScalarImplicit", "aten::_local_scalar_dense"},
                  size<Scalar::Item, nullptr>);
  table.addValues("prim::NumToTensor", {"Scalar", "bool"}, size<Scalar::ToTensor, nullptr>);
  table.addValues({"aten::scalar_tensor"}, size<Scalar::ToTensor, nullptr>);
  table.addValues("aten::tensor", {"int", "float", "bool", ""}, size<Scalar::ToTensor, nullptr>);
  table.addValues("aten::as_tensor", {"int", "float", "bool", "list"},
                  size<Scalar::ToTensor, nullptr>);
  table.addValues({"aten::__range_length"}, size<Scalar::RangeLength, &N::rangeLength>);
  table.addValues({"aten::__derive_index"}, size<Scalar::DeriveIndex, &N::deriveIndex>);
}

} // namespace plait::frontend
