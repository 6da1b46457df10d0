// Complex tensors. MIL has none: the cell of one that is known while compiling holds LibTorch's
// tensor, any other two real tensors. Views are steps of the complex tensor's object, and are
// applied to both parts when these are read or written:
//
//     z = torch.complex(a, b); y = z[1:]     y's cell: (a, b); y's view: [1:]
//     torch.real(y)                          a[1:], an alias
//     y.mul_(2)                              writes to a[1:] and b[1:]
//
// The row of an operator says how it handles complex arguments: by a decomposition for them, or by
// both parts separately. Other operators are refused, because reading a complex tensor as one value
// fails.
#include "frontend/engine/Decomposition.h"
#include "frontend/engine/Engine.h"
#include "frontend/engine/Table.h"

#include "llvm/ADT/ScopeExit.h"

#include <ATen/Functions.h>

namespace plait::frontend {

Val Engine::makeComplex(const Val &real, const Val &imag) {
  if (hasPoison(real) || hasPoison(imag))
    return Val();
  Val::TensorPtr parts[] = {real.tensor(), imag.tensor()};
  // Sizes that are equal or 1, as LibTorch broadcasts.
  Shape shape;
  size_t rank = std::max(parts[0]->shape.size(), parts[1]->shape.size());
  for (size_t i = 0; i < rank; ++i) {
    auto sizeOf = [&](const TensorObj &tensor) {
      size_t missing = rank - tensor.shape.size();
      return i < missing ? Dim(1) : tensor.shape[i - missing];
    };
    Dim x = sizeOf(*parts[0]), y = sizeOf(*parts[1]);
    if (!(x == y) && !(x == Dim(1)) && !(y == Dim(1)))
      throw Refusal(
          Code::UnsupportedType,
          fmt::format("a complex tensor of real and imaginary parts of shapes {0} and {1}",
                      mil::str(parts[0]->shape), mil::str(parts[1]->shape)));
    shape.push_back(x == Dim(1) ? y : x);
  }
  for (auto &part : parts)
    if (llvm::ArrayRef<Dim>(part->shape) != llvm::ArrayRef<Dim>(shape))
      part = view(part, {.kind = ViewStep::Expand, .shape = shape}, std::nullopt);
  auto cell = std::make_shared<Cell>();
  cell->serial = nextSerial_++;
  cell->shape = shape;
  cell->dtype = c10::toComplexType(parts[0]->dtype());
  cell->content = ComplexParts{parts[0], parts[1]};
  cell->version = nextVersion_++;
  return Val(makeObject(std::move(cell)));
}

/// Turns the content of a known complex tensor into two parts.
ComplexParts Engine::partsOf(Cell &cell) {
  if (auto *parts = std::get_if<ComplexParts>(&cell.content))
    return *parts;
  const auto *known = &std::get<Cell::Known>(cell.content);
  auto partOf = [&](const at::Tensor &tensor) {
    auto part = makeKnown({tensor.clone(at::MemoryFormat::Contiguous), known->fromWeight,
                           known->origin.asComputed()})
                    .tensor();
    // The parts are as old as the complex tensor, so that regions record writes to them.
    part->serial = part->cell->serial = cell.serial;
    return part;
  };
  ComplexParts parts{partOf(at::real(known->tensor)), partOf(at::imag(known->tensor))};
  cell.content = parts;
  return parts;
}

Val Engine::part(const Val::TensorPtr &tensor, unsigned which) {
  if (!tensor->isComplex()) {
    if (which == 0)
      return Val(tensor);
    auto zero = makeKnown({at::zeros({}, tensor->dtype())}).tensor();
    return Val(view(zero, {.kind = ViewStep::Expand, .shape = tensor->shape}, std::nullopt));
  }
  ComplexParts parts = partsOf(*tensor->cell);
  auto object = std::make_shared<TensorObj>(which ? *parts.imag : *parts.real);
  object->serial = nextSerial_++;
  if (tensor->view.empty())
    return Val(object);
  object->view.insert(object->view.end(), tensor->view.begin(), tensor->view.end());
  object->shape = tensor->shape;
  object->strides = tensor->strides;
  if (object->strides) // the other part lies between
    for (Dim &stride : *object->strides)
      stride = stride * Dim(2);
  object->cached = nullptr;
  return Val(object);
}

Val Engine::asTensor(const Val &val) {
  if (auto number = val.number()) {
    at::ScalarType dtype = number->kind == c10::TypeKind::FloatType  ? at::kFloat
                           : number->kind == c10::TypeKind::BoolType ? at::kBool
                                                                     : at::kLong;
    return makeTensor(number->value, dtype);
  }
  if (auto dim = val.dim())
    return makeDimTensor(*dim, at::kLong);
  if (val.known() && val.known()->isScalar()) {
    // A number widens no tensor: a 0-d one in single precision does not either.
    c10::Scalar scalar = val.known()->toScalar();
    at::ScalarType dtype = scalar.isComplex()         ? at::kComplexFloat
                           : scalar.isFloatingPoint() ? at::kFloat
                                                      : scalar.type();
    return makeKnown({at::scalar_tensor(scalar, dtype)});
  }
  return val;
}

bool Engine::takesComplex(const c10::FunctionSchema &schema, Arguments arguments) const {
  auto isComplex = [](const Val &val) {
    auto tensor = val.tensor();
    return (tensor && tensor->isComplex()) || (val.known() && val.known()->isComplexDouble());
  };
  for (auto [argument, val] : llvm::zip(schema.arguments(), arguments)) {
    c10::TypePtr type = argument.real_type();
    if (auto optional = type->cast<c10::OptionalType>())
      type = optional->getElementType();
    if (type->kind() == c10::TypeKind::TensorType || type->kind() == c10::TypeKind::NumberType) {
      if (isComplex(val))
        return true;
    } else if (auto list = type->cast<c10::ListType>();
               list && val.list() && !list->getElementType()->hasFreeVariables()) {
      if (llvm::any_of(val.list()->values, isComplex))
        return true;
    }
  }
  return false;
}

// ---- Decompositions ----------------------------------------------------------------------------

Engine::Handled Engine::decompose(llvm::StringRef function, const c10::FunctionSchema &schema,
                                  std::vector<Val> arguments) {
  // A decomposition that calls its own operator relies on LibTorch to run it, which needs known
  // arguments.
  static thread_local std::vector<std::string> active;
  if (llvm::count(active, function) > 1)
    throw Refusal(Code::NotKnown,
                  "its sizes must be known while compiling; give the input's dimensions without a "
                  "range");
  active.push_back(function.str());
  auto leave = llvm::make_scope_exit([] { active.pop_back(); });
  size_t before = problems_.size();
  Val result = runDecomposition(*this, function, schema.name(), std::move(arguments));
  if (problems_.size() > before || hasPoison(result))
    return Results();
  if (schema.returns().size() <= 1)
    return Results{result};
  return result.tuple()->values;
}

// ---- Both parts --------------------------------------------------------------------------------

/// The part of a value. Indices and masks, which choose elements, are the same for both parts.
Val Engine::argumentPart(const Val &val, const c10::TypePtr &type, unsigned which) {
  if (auto tensor = val.tensor())
    return at::isIntegralType(tensor->dtype(), true) ? val : part(tensor, which);
  if (auto list = val.list(); list && type->kind() == c10::TypeKind::ListType) {
    bool ofIndices = list->elementType->kind() == c10::TypeKind::OptionalType;
    std::vector<Val> values;
    for (const Val &element : list->values)
      values.push_back(element.tensor() && !ofIndices ? part(element.tensor(), which) : element);
    return makeList(list->elementType, std::move(values));
  }
  if (auto known = val.known();
      known && type->kind() == c10::TypeKind::NumberType && known->isScalar()) {
    c10::complex<double> number = known->toScalar().toComplexDouble();
    return Val(c10::IValue(which ? number.imag() : number.real()));
  }
  // What is padded with is a real number.
  if (auto known = val.known(); known && known->isDouble() && which)
    return Val(c10::IValue(0.0));
  if (auto known = val.known();
      known && known->isInt() && type->kind() == c10::TypeKind::ScalarTypeType)
    return Val(c10::IValue(int64_t(c10::toRealValueType(at::ScalarType(known->toInt())))));
  return val;
}

Val Engine::joinParts(const Val &real, const Val &imag) {
  if (auto list = real.list()) {
    std::vector<Val> values;
    for (auto [x, y] : llvm::zip(list->values, imag.list()->values))
      values.push_back(joinParts(x, y));
    return makeList(list->elementType, std::move(values));
  }
  return makeComplex(real, imag);
}

Engine::Results Engine::complexCall(const c10::FunctionSchema &schema, Arguments arguments,
                                    const Row *row) {
  if (!row || row->whenComplex != WhenComplex::Parts)
    throw Refusal(Code::UnsupportedType,
                  "it is not supported for complex tensors; write it with the real and the "
                  "imaginary part: torch.real(x), torch.imag(x)");
  Results results[2];
  for (unsigned which : {0u, 1u}) {
    std::vector<Val> parts;
    for (auto [argument, val] : llvm::zip(schema.arguments(), arguments)) {
      c10::TypePtr type = argument.real_type();
      if (auto optional = type->cast<c10::OptionalType>())
        type = optional->getElementType();
      parts.push_back(argumentPart(val, type, which));
    }
    auto called = call(schema, std::move(parts));
    if (!called || called->empty() || llvm::any_of(*called, hasPoison))
      return {};
    results[which] = std::move(*called);
  }
  Results joined;
  for (auto [real, imag] : llvm::zip(results[0], results[1]))
    joined.push_back(joinParts(real, imag));
  return joined;
}

} // namespace plait::frontend
