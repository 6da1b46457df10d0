// Arguments of a method from declared inputs.
#include "frontend/script/ScriptFunction.h"

#include "llvm/ADT/STLExtras.h"

#include <ATen/core/jit_type.h>

namespace plait::frontend {

static std::string describe(const c10::FunctionSchema &schema) {
  std::string text = "(";
  for (auto [i, argument] : llvm::enumerate(llvm::drop_begin(schema.arguments())))
    text += (i ? ", " : "") + argument.name() + ": " + argument.type()->repr_str();
  return text + ")";
}

Expected<Val> ScriptFunction::declare(const c10::TypePtr &type, const c10::Argument &argument) {
  bool left = interface_.hasNext();
  switch (type->kind()) {
  case c10::TypeKind::TensorType:
    if (!left)
      return makeError(
          "{0} takes a tensor '{1}' that no input is declared for; add --input '{1}=[…]'",
          declared_.method, argument.name());
    if (interface_.hasPair(argument.name())) {
      auto real = interface_.nextInput(argument.name());
      if (!real)
        return real.takeError();
      auto imag = interface_.nextInput(argument.name());
      if (!imag)
        return imag.takeError();
      try {
        return engine_.makeComplex(*real, *imag);
      } catch (const Refusal &refusal) {
        return makeError("input '{0}': {1}", argument.name(), refusal.what());
      }
    }
    return interface_.nextInput(argument.name());
  case c10::TypeKind::OptionalType: {
    c10::TypePtr inner = type->expect<c10::OptionalType>()->getElementType();
    if (left && inner->kind() == c10::TypeKind::TensorType)
      return declare(inner, argument);
    return engine_.fromIValue(argument.default_value().value_or(c10::IValue()));
  }
  case c10::TypeKind::TupleType: {
    std::vector<Val> values;
    for (const c10::TypePtr &element : type->expect<c10::TupleType>()->elements()) {
      auto value = declare(element, argument);
      if (!value)
        return value.takeError();
      values.push_back(std::move(*value));
    }
    return engine_.makeTuple(type, std::move(values));
  }
  case c10::TypeKind::ListType: {
    c10::TypePtr element = type->expect<c10::ListType>()->getElementType();
    if (element->kind() != c10::TypeKind::TensorType)
      break;
    std::vector<Val> values;
    while (interface_.hasNext()) {
      auto value = interface_.nextInput(argument.name());
      if (!value)
        return value.takeError();
      values.push_back(std::move(*value));
    }
    return engine_.makeList(element, std::move(values));
  }
  case c10::TypeKind::DictType: {
    auto dictType = type->expect<c10::DictType>();
    if (dictType->getValueType()->kind() != c10::TypeKind::TensorType ||
        dictType->getKeyType()->kind() != c10::TypeKind::StringType)
      break;
    std::vector<std::pair<c10::IValue, Val>> entries;
    while (interface_.hasNext()) {
      c10::IValue key(interface_.next().name);
      auto value = interface_.nextInput(argument.name());
      if (!value)
        return value.takeError();
      entries.emplace_back(std::move(key), std::move(*value));
    }
    return engine_.makeDict(dictType->getKeyType(), dictType->getValueType(), std::move(entries));
  }
  default:
    break;
  }
  if (argument.default_value())
    return engine_.fromIValue(*argument.default_value());
  return makeError("{0}'s argument '{1}' has type {2} and no default, which cannot be an input "
                   "of a Core ML function; wrap the model in a module that fixes it",
                   declared_.method, argument.name(), type->repr_str());
}

Error ScriptFunction::run(const torch::jit::Module &module) {
  auto method = module.find_method(declared_.method);
  if (!method) {
    std::string others;
    for (const auto &other : module.get_methods())
      others += (others.empty() ? ": it has " : ", ") + other.name();
    return makeError("the model has no method '{0}'{1}; wrap it in a module whose '{0}' calls "
                     "what is to be compiled",
                     declared_.method, others);
  }
  const c10::FunctionSchema &schema = method->function().getSchema();
  if (Error error = interface_.checkNames(engine_.stateNames()))
    return error;
  std::vector<Val> arguments;
  for (const c10::Argument &argument : llvm::drop_begin(schema.arguments())) {
    auto val = declare(argument.type(), argument);
    if (!val)
      return val.takeError();
    arguments.push_back(std::move(*val));
  }
  if (interface_.hasNext())
    return makeError("{0} inputs are declared, but {1} takes {2}: {3}", declared_.inputs.size(),
                     declared_.method, interface_.taken(), describe(schema));
  engine_.declareStates();
  Val result = walk_.run(module._ivalue(), method->function(), std::move(arguments));
  auto kept = engine_.finishStates();
  if (Error error = engine_.takeError())
    return error;
  return interface_.setOutputs(result, std::move(kept));
}

} // namespace plait::frontend
