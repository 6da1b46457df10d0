// Names of operators and functions.
#include "frontend/exported/Targets.h"

#include "frontend/script/libtorch/QuantizedOperators.h"
#include "frontend/script/libtorch/VisionOperators.h"

#include "llvm/ADT/StringMap.h"
#include "llvm/ADT/StringSwitch.h"
#include "llvm/ADT/Twine.h"

namespace plait::frontend {

using llvm::StringRef;
using Operator = std::shared_ptr<torch::jit::Operator>;

Operator operatorNamed(StringRef name, StringRef overload) {
  return torch::jit::findOperatorFor(c10::OperatorName(name.str(), overload.str()));
}

Operator operatorOfTarget(StringRef target) {
  if (!target.consume_front("torch.ops."))
    return nullptr;
  auto [space, rest] = target.split('.');
  auto [name, overload] = rest.split('.');
  if (space == "torchvision")
    declareVisionOperators();
  if (isOfQuantizedOperators(space))
    declareQuantizedOperators();
  return operatorNamed((space + "::" + name).str(), overload == "default" ? "" : overload);
}

Operator scalarTwin(const c10::FunctionSchema &schema, StringRef argument) {
  const std::string &overload = schema.operator_name().overload_name;
  StringRef other = llvm::StringSwitch<StringRef>(overload)
                        .Case("Tensor", "Scalar")
                        .Case("Tensor_mode", "Scalar_mode")
                        .Case("Tensor_Tensor", "Tensor_Scalar")
                        .Case("self", argument == "other" ? "ScalarOther" : "ScalarSelf")
                        .Default("");
  Operator twin = other.empty() ? nullptr : operatorNamed(schema.name(), other);
  if (!twin || twin->schema().arguments().size() != schema.arguments().size())
    return nullptr;
  // The same arguments, and a number in the place of the tensor.
  for (size_t i = 0; i < schema.arguments().size(); ++i) {
    const c10::Argument &own = schema.arguments()[i], &its = twin->schema().arguments()[i];
    auto takesTensor = [](const c10::Argument &one) {
      return one.type()->kind() == c10::TypeKind::TensorType;
    };
    bool isReplaced = own.name() == argument.str();
    if (own.name() != its.name() ||
        (isReplaced ? takesTensor(its) : takesTensor(own) != takesTensor(its)))
      return nullptr;
  }
  return twin;
}

std::optional<exported::Node> inWordsOfAten(const exported::Node &node) {
  struct Twin {
    const char *theirs, *own;
    std::vector<std::pair<const char *, const char *>> arguments; ///< their name, ATen's
  };
  static const Twin twins[] = {
      // transformers, integrations/moe.py: for weights whose type the kernels of a device lack.
      {"torch.ops.transformers.grouped_mm_fallback.default",
       "torch.ops.aten._grouped_mm.default",
       {{"input", "self"}, {"weight", "mat2"}, {"offs", "offs"}}},
  };
  for (const Twin &twin : twins) {
    if (node.target != twin.theirs)
      continue;
    exported::Node own = node;
    own.target = twin.own;
    for (exported::NamedArgument &input : own.inputs)
      for (auto [name, replacement] : twin.arguments)
        if (input.name == name) {
          input.name = replacement;
          break;
        }
    return own;
  }
  return std::nullopt;
}

StringRef higherOrderName(StringRef target) {
  return target.consume_front("torch.ops.higher_order.") ? target : StringRef();
}

std::string targetName(StringRef target) {
  if (StringRef name = higherOrderName(target); !name.empty())
    return name.str();
  if (!target.consume_front("torch.ops."))
    return target.str();
  auto [space, rest] = target.split('.');
  rest.consume_back(".default");
  return (space + "::" + rest).str();
}

NumberFunction numberFunction(StringRef target) {
  using Kind = NumberFunction::Kind;
  static const llvm::StringMap<NumberFunction> functions = {
      {"add", {Kind::Operator, "aten::add"}},
      {"sub", {Kind::Operator, "aten::sub"}},
      {"mul", {Kind::Operator, "aten::mul"}},
      {"floordiv", {Kind::Operator, "aten::floordiv"}},
      {"mod", {Kind::Operator, "aten::remainder"}},
      {"truediv", {Kind::Operator, "aten::div"}},
      {"neg", {Kind::Operator, "aten::neg", "Scalar"}},
      {"eq", {Kind::Operator, "aten::eq"}},
      {"ne", {Kind::Operator, "aten::ne"}},
      {"lt", {Kind::Operator, "aten::lt"}},
      {"le", {Kind::Operator, "aten::le"}},
      {"gt", {Kind::Operator, "aten::gt"}},
      {"ge", {Kind::Operator, "aten::ge"}},
      {"and_", {Kind::Operator, "aten::__and__", "bool"}},
      {"or_", {Kind::Operator, "aten::__or__", "bool"}},
      {"lshift", {Kind::Operator, "aten::__lshift__", "int"}},
      {"rshift", {Kind::Operator, "aten::__rshift__", "int"}},
      {"trunc", {Kind::Operator, "aten::Int", "Scalar"}},
      {"floor", {Kind::Operator, "aten::floor", "Scalar"}},
      {"ceil", {Kind::Operator, "aten::ceil", "Scalar"}},
      {"sym_int", {Kind::Operator, "aten::Int", "Scalar"}},
      {"sym_float", {Kind::Operator, "aten::Float", "Scalar"}},
      {"sym_max", {Kind::Operator, "prim::max"}},
      {"sym_min", {Kind::Operator, "prim::min"}},
      {"sym_sqrt", {Kind::Operator, "aten::sqrt", "Scalar"}},
      {"sqrt", {Kind::Operator, "aten::sqrt", "Scalar"}},
      {"sym_not", {Kind::Operator, "aten::__not__"}},
      {"not_", {Kind::Operator, "aten::__not__"}},
      {"pow", {Kind::Power}},
      {"pos", {Kind::Same}},
      {"sym_ite", {Kind::Choice}},
      {"sym_sum", {Kind::Sum}},
  };
  auto [module, name] = target.rsplit('.');
  bool isKnown = module == "_operator" || module == "operator" || module == "math" ||
                 (module.starts_with("torch") && name.starts_with("sym_"));
  auto it = isKnown ? functions.find(name) : functions.end();
  return it == functions.end() ? NumberFunction() : it->second;
}

} // namespace plait::frontend
