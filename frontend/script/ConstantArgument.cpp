// From constants to values, by type.
#include "frontend/script/ConstantArgument.h"

#include "llvm/ADT/STLExtras.h"

#include <ATen/Functions.h>

namespace plait::frontend {

using c10::TypeKind;
using Scalar = Constant::Scalar;

static std::optional<c10::IValue> valueOf(const Scalar &scalar, const c10::TypePtr &type) {
  auto *flag = std::get_if<bool>(&scalar);
  auto *integer = std::get_if<int64_t>(&scalar);
  auto *real = std::get_if<double>(&scalar);
  auto *text = std::get_if<std::string>(&scalar);
  switch (type->kind()) {
  case TypeKind::OptionalType:
    if (std::holds_alternative<std::monostate>(scalar))
      return c10::IValue();
    return valueOf(scalar, type->expect<c10::OptionalType>()->getElementType());
  case TypeKind::NoneType:
    return std::holds_alternative<std::monostate>(scalar) ? std::optional(c10::IValue())
                                                          : std::nullopt;
  case TypeKind::BoolType:
    return flag ? std::optional(c10::IValue(*flag)) : std::nullopt;
  case TypeKind::IntType:
    return integer ? std::optional(c10::IValue(*integer)) : std::nullopt;
  case TypeKind::FloatType:
    return real      ? std::optional(c10::IValue(*real))
           : integer ? std::optional(c10::IValue(double(*integer)))
                     : std::nullopt;
  case TypeKind::NumberType:
    return real      ? std::optional(c10::IValue(*real))
           : integer ? std::optional(c10::IValue(*integer))
                     : std::nullopt;
  case TypeKind::StringType:
    return text ? std::optional(c10::IValue(*text)) : std::nullopt;
  case TypeKind::TensorType:
    return flag      ? std::optional(c10::IValue(at::scalar_tensor(*flag, at::kBool)))
           : integer ? std::optional(c10::IValue(at::scalar_tensor(*integer, at::kLong)))
           : real    ? std::optional(c10::IValue(at::scalar_tensor(*real, at::kFloat)))
                     : std::nullopt;
  default:
    return std::nullopt;
  }
}

/// A vector; of floats where one element is.
static std::optional<c10::IValue> tensorOf(const Constant &constant) {
  std::vector<at::Tensor> elements;
  for (const Scalar &scalar : constant.values) {
    auto value = valueOf(scalar, c10::TensorType::get());
    if (!value)
      return std::nullopt;
    elements.push_back(value->toTensor());
  }
  if (elements.empty())
    return c10::IValue(at::empty({0}));
  at::ScalarType type = elements.front().scalar_type();
  for (const at::Tensor &element : elements)
    type = c10::promoteTypes(type, element.scalar_type());
  for (at::Tensor &element : elements)
    element = element.to(type);
  return c10::IValue(at::stack(elements));
}

std::optional<c10::IValue> valueOf(const Constant &constant, const c10::TypePtr &type) {
  if (!constant.isList)
    return valueOf(constant.values.front(), type);
  if (auto optional = type->cast<c10::OptionalType>())
    return valueOf(constant, optional->getElementType());
  if (type->kind() == TypeKind::TensorType)
    return tensorOf(constant);
  auto list = type->cast<c10::ListType>();
  if (!list || list->getElementType()->kind() == TypeKind::TensorType)
    return std::nullopt;
  c10::impl::GenericList values(list->getElementType());
  for (const Scalar &scalar : constant.values) {
    auto value = valueOf(scalar, list->getElementType());
    if (!value)
      return std::nullopt;
    values.push_back(std::move(*value));
  }
  return c10::IValue(std::move(values));
}

} // namespace plait::frontend
