// Integers that are sizes: size(), dim(), numel() and the arithmetic on them, as Python ints and as
// the 0-d integer tensors that tracing makes of them. Symbolic sizes stay symbolic; run-time
// numbers become rank-0 MIL values.
#include "frontend/engine/Engine.h"
#include "frontend/engine/Numbers.h"

#include "llvm/ADT/StringSet.h"
#include "llvm/ADT/StringSwitch.h"
#include <ATen/Functions.h>

namespace plait::frontend {

using mil::DType;
using mil::OpKind;

// ---- Properties of tensors: they need shapes and types, never contents --------------------------

Engine::Handled Engine::tensorProperty(const c10::FunctionSchema &schema, Arguments arguments) {
  using Results = std::vector<Val>;
  if (arguments.empty() || !arguments[0].isTensor())
    return std::nullopt;
  auto self = arguments[0].tensor();
  llvm::StringRef name = schema.name();
  auto axis = [&](const Val &val) -> std::optional<int64_t> {
    if (!val.known() || !val.known()->isInt())
      return std::nullopt;
    int64_t rank = self->shape.size(), dim = val.known()->toInt();
    TORCH_CHECK(dim >= -rank && dim < rank, "dimension ", dim,
                " is out of range for a tensor of rank ", rank);
    return dim < 0 ? dim + rank : dim;
  };
  auto listOf = [&](llvm::ArrayRef<Dim> dims) {
    std::vector<Val> values;
    for (const Dim &d : dims)
      values.emplace_back(d);
    return Results{makeList(c10::IntType::get(), std::move(values))};
  };
  if (name == "aten::size" || name == "aten::sym_size") {
    if (arguments.size() == 1)
      return listOf(self->shape);
    if (auto dim = axis(arguments[1]))
      return Results{Val(self->shape[*dim])};
    return std::nullopt;
  }
  if (name == "prim::shape")
    return listOf(self->shape);
  if (name == "aten::dim")
    return Results{Val(c10::IValue(int64_t(self->shape.size())))};
  if (name == "aten::len") {
    TORCH_CHECK(!self->shape.empty(), "len() of a 0-d tensor");
    return Results{Val(self->shape[0])};
  }
  if (name == "aten::numel" || name == "aten::sym_numel")
    return Results{Val(mil::numElements(self->shape))};
  if (name == "aten::_shape_as_tensor") {
    if (auto sizes = mil::constShape(self->shape))
      return Results{makeKnown({at::tensor(llvm::ArrayRef<int64_t>(*sizes).vec(), at::kLong)})};
    return Results{makeTensor(materialise(self->shape), at::kLong)};
  }
  if (name == "aten::stride" && self->strides) {
    if (arguments.size() == 1)
      return listOf(*self->strides);
    if (auto dim = axis(arguments[1]))
      return Results{Val((*self->strides)[*dim])};
    return std::nullopt;
  }
  if (name == "prim::dtype")
    return Results{Val(c10::IValue(int64_t(self->dtype())))};
  if (name == "prim::device")
    return Results{Val(c10::IValue(at::Device(at::kCPU)))};
  if (name == "prim::layout")
    return Results{Val(c10::IValue(int64_t(at::kStrided)))};
  if (name == "aten::get_device")
    return Results{Val(c10::IValue(int64_t(-1)))};
  if (name == "aten::element_size")
    return Results{Val(c10::IValue(int64_t(at::elementSize(self->dtype()))))};
  if (name == "aten::is_floating_point")
    return Results{Val(c10::IValue(at::isFloatingType(self->dtype())))};
  if (name == "aten::is_complex")
    return Results{Val(c10::IValue(at::isComplexType(self->dtype())))};
  static const llvm::StringSet<> never = {
      "prim::is_cuda",   "prim::is_quantized", "prim::is_sparse",   "prim::is_sparse_csr",
      "prim::is_mkldnn", "prim::is_mps",       "prim::is_vulkan",   "prim::is_meta",
      "prim::is_xpu",    "prim::is_nested",    "prim::is_ipu",      "prim::is_xla",
      "prim::is_ort",    "prim::is_maia",      "aten::is_leaf",     "prim::requires_grad",
      "aten::is_conj",   "aten::is_neg",       "aten::is_inference"};
  if (never.contains(name))
    return Results{Val(c10::IValue(false))};
  return std::nullopt;
}

// ---- Arithmetic
// ----------------------------------------------------------------------------------

namespace {
enum class Scalar {
  None,
  Add,
  Sub,
  RSub,
  Mul,
  Div,
  DivMode,
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

Scalar classify(llvm::StringRef name) {
  return llvm::StringSwitch<Scalar>(name)
      .Case("aten::add", Scalar::Add)
      .Case("aten::sub", Scalar::Sub)
      .Case("aten::rsub", Scalar::RSub)
      .Cases("aten::mul", "aten::multiply", Scalar::Mul)
      .Cases("aten::div", "aten::truediv", "aten::true_divide", Scalar::Div)
      .Cases("aten::floordiv", "aten::floor_divide", Scalar::FloorDiv)
      .Case("aten::remainder", Scalar::Mod)
      .Case("aten::fmod", Scalar::FMod)
      .Case("aten::neg", Scalar::Neg)
      .Case("prim::min", Scalar::Min)
      .Case("prim::max", Scalar::Max)
      .Case("aten::eq", Scalar::Eq)
      .Case("aten::ne", Scalar::Ne)
      .Case("aten::lt", Scalar::Lt)
      .Case("aten::le", Scalar::Le)
      .Case("aten::gt", Scalar::Gt)
      .Case("aten::ge", Scalar::Ge)
      .Cases("aten::Int", "aten::IntImplicit", Scalar::Int)
      .Cases("aten::Float", "aten::FloatImplicit", Scalar::Float)
      .Case("aten::Bool", Scalar::Bool)
      .Cases("aten::item", "aten::ScalarImplicit", "aten::_local_scalar_dense", Scalar::Item)
      .Cases("prim::NumToTensor", "aten::scalar_tensor", "aten::tensor", "aten::as_tensor",
             Scalar::ToTensor)
      .Case("aten::__range_length", Scalar::RangeLength)
      .Case("aten::__derive_index", Scalar::DeriveIndex)
      .Default(Scalar::None);
}

/// Decides a comparison of symbolic sizes from their bounds.
std::optional<bool> compare(Scalar op, const Dim &a, const Dim &b) {
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

bool isComparison(Scalar op) { return op >= Scalar::Eq && op <= Scalar::Ge; }
} // namespace

Engine::Handled Engine::scalarOperation(const c10::FunctionSchema &schema, Arguments arguments) {
  using Results = std::vector<Val>;
  Scalar op = classify(schema.name());
  if (arguments.empty())
    return std::nullopt;
  if (op == Scalar::None) {
    if (auto result = numberOperation(*this, schema, arguments))
      return Results{*result};
    return std::nullopt;
  }

  bool symbolic = false, runTime = false, tensors = false;
  auto look = [&](const Val &val) {
    auto tensor = val.tensor();
    symbolic |=
        val.dim() != nullptr || (tensor && std::holds_alternative<Dim>(tensor->cell->content));
    runTime |= val.number() != nullptr;
    tensors |= tensor && !std::holds_alternative<Dim>(tensor->cell->content);
  };
  for (const Val &argument : arguments) {
    look(argument);
    if (auto list = argument.list())
      llvm::for_each(list->values, look);
  }
  auto returns =
      schema.returns().size() == 1 ? schema.returns()[0].type()->kind() : c10::TypeKind::NoneType;

  // A number out of a tensor.
  if (auto tensor = arguments[0].tensor(); tensor && (op == Scalar::Int || op == Scalar::Float ||
                                                      op == Scalar::Bool || op == Scalar::Item)) {
    at::ScalarType dtype = tensor->dtype();
    if (auto dim = readDim(*tensor); dim && (op == Scalar::Int || op == Scalar::Item))
      return Results{Val(*dim)};
    if (readKnown(*tensor).defined())
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
    return Results{Val(Val::Number{scalar(arguments[0], type), kind})};
  }
  if (!symbolic && !runTime)
    return std::nullopt;

  if (op == Scalar::ToTensor) {
    if (auto dim = arguments[0].dim())
      return Results{makeDimTensor(*dim, at::kLong)};
    if (auto number = arguments[0].number()) {
      at::ScalarType dtype = number->kind == c10::TypeKind::IntType    ? at::kLong
                             : number->kind == c10::TypeKind::BoolType ? at::kBool
                                                                       : at::kFloat;
      Val result = makeTensor(number->value, dtype);
      const Val &to = arguments.size() > 1 ? arguments[1] : arguments[0];
      if (to.known() && to.known()->isInt() && result.tensor())
        result = castTensor(result.tensor(), at::ScalarType(to.known()->toInt()));
      return Results{result};
    }
    if (auto shape = dimsOf(arguments[0]))
      return Results{makeTensor(materialise(*shape), at::kLong)};
    return std::nullopt;
  }

  // Integers whose operands are all sizes stay sizes.
  if (!tensors && !runTime) {
    llvm::SmallVector<Dim, 4> dims;
    bool all = true;
    size_t count = op == Scalar::RangeLength || op == Scalar::DeriveIndex ? 3 : 2;
    if (auto list = arguments[0].list(); list && arguments.size() == 1) { // min and max of a list
      for (const Val &value : list->values)
        dims.push_back(value.asDim().value_or(0));
      count = 0;
    }
    for (size_t i = 0; i < std::min(count, arguments.size()); ++i) {
      auto dim = arguments[i].asDim();
      if (!dim && arguments[i].tensor())
        dim = readDim(*arguments[i].tensor());
      all &= dim.has_value() || (i > 0 && (op == Scalar::Neg || op == Scalar::Int));
      dims.push_back(dim.value_or(0));
    }
    std::optional<Dim> result;
    Scalar kind = op;
    if (kind == Scalar::Div &&
        schema.operator_name().overload_name.find("mode") != std::string::npos) {
      const c10::IValue *mode = arguments[2].known();
      kind = mode && mode->isString() && mode->toStringRef() == "floor" ? Scalar::FloorDiv
             : mode && mode->isString() && dims[0].lower() >= 0 && dims[1].lower() > 0
                 ? Scalar::FloorDiv // truncation of what is not negative
                 : Scalar::Div;
    }
    Dim alpha = 1;
    if ((kind == Scalar::Add || kind == Scalar::Sub) && arguments.size() > 2) {
      if (auto value = arguments[2].asDim())
        alpha = *value;
      else
        all = false;
    }
    if (all && dims.size() >= 1) {
      auto divisible = [&] { return !(dims[1] == Dim(0)); };
      switch (kind) {
      case Scalar::Add:
        result = dims[0] + alpha * dims[1];
        break;
      case Scalar::Sub:
        result = dims[0] - alpha * dims[1];
        break;
      case Scalar::RSub:
        result = dims[1] - dims[0];
        break;
      case Scalar::Mul:
        result = dims[0] * dims[1];
        break;
      case Scalar::FloorDiv:
        if (divisible())
          result = floordiv(dims[0], dims[1]);
        break;
      case Scalar::Mod:
        if (divisible())
          result = floormod(dims[0], dims[1]);
        break;
      case Scalar::FMod: // of Python numbers it is a float; of what is not negative the same
        if (returns == c10::TypeKind::TensorType && dims[0].lower() >= 0 && dims[1].lower() > 0)
          result = floormod(dims[0], dims[1]);
        break;
      case Scalar::Neg:
        result = dims[0] * Dim(-1);
        break;
      case Scalar::Int:
        result = dims[0];
        break;
      case Scalar::Min:
      case Scalar::Max:
        result = dims[0];
        for (const Dim &d : llvm::drop_begin(dims))
          result = kind == Scalar::Min ? min(*result, d) : max(*result, d);
        break;
      case Scalar::RangeLength:
        if (divisible() && dims[2].isConst() && dims[2].value() > 0)
          result = max(ceildiv(dims[1] - dims[0], dims[2]), Dim(0));
        break;
      case Scalar::DeriveIndex:
        result = dims[1] + dims[0] * dims[2];
        break;
      default:
        if (isComparison(kind) && returns != c10::TypeKind::TensorType)
          if (auto decided = compare(kind, dims[0], dims[1]))
            return Results{Val(c10::IValue(*decided))};
      }
    }
    if (result) {
      if (returns == c10::TypeKind::TensorType)
        return Results{makeDimTensor(*result, at::kLong)};
      return Results{Val(*result)};
    }
  }
  // Tensors are for lowerings; what is left are Python numbers of which one is known at run time
  // only.
  if (returns == c10::TypeKind::TensorType || tensors)
    return std::nullopt;
  if (auto result = numberOperation(*this, schema, arguments))
    return Results{*result};
  return std::nullopt;
}

} // namespace plait::frontend
