// Arguments of a method from declared inputs.
#include "frontend/script/ScriptFunction.h"

#include "support/Failure.h"

#include "llvm/ADT/STLExtras.h"

#include <ATen/core/jit_type.h>

namespace plait::frontend {

static std::string describe(const c10::FunctionSchema &schema) {
  std::string text = "(";
  for (auto [i, argument] : llvm::enumerate(llvm::drop_begin(schema.arguments())))
    text += (i ? ", " : "") + argument.name() + ": " + argument.type()->repr_str();
  return text + ")";
}

namespace {

/// Hands the declared inputs to arguments, as ScriptFunction::declare() does.
class Signature {
public:
  explicit Signature(const ModelFunction &declared) : declared_(declared) {}

  Error take(const c10::TypePtr &type, const c10::Argument &argument) {
    bool left = taken_ < declared_.inputs.size();
    switch (type->kind()) {
    case c10::TypeKind::TensorType:
      if (!left)
        return makeError(
            "{0} takes a tensor '{1}' that no input is declared for; add --input '{1}=[…]'",
            declared_.method, argument.name());
      taken_ += isComplexPair(declared_.inputs, taken_, argument.name()) ? 2 : 1;
      return Error::success();
    case c10::TypeKind::OptionalType: {
      c10::TypePtr inner = type->expect<c10::OptionalType>()->getElementType();
      return left && inner->kind() == c10::TypeKind::TensorType ? take(inner, argument)
                                                                : Error::success();
    }
    case c10::TypeKind::TupleType:
      for (const c10::TypePtr &element : type->expect<c10::TupleType>()->elements())
        if (Error error = take(element, argument))
          return error;
      return Error::success();
    default:
      break;
    }
    if (takesAll(type)) {
      taken_ = declared_.inputs.size();
      return Error::success();
    }
    if (argument.default_value())
      return Error::success();
    return makeError("{0}'s argument '{1}' has type {2} and no default, which cannot be an input "
                     "of a Core ML function; wrap the model in a module that fixes it",
                     declared_.method, argument.name(), type->repr_str());
  }
  /// A list or dictionary of tensors, which all inputs that are left go into.
  static bool takesAll(const c10::TypePtr &type) {
    if (auto list = type->cast<c10::ListType>())
      return list->getElementType()->kind() == c10::TypeKind::TensorType;
    auto dict = type->cast<c10::DictType>();
    return dict && dict->getValueType()->kind() == c10::TypeKind::TensorType &&
           dict->getKeyType()->kind() == c10::TypeKind::StringType;
  }
  size_t taken() const { return taken_; }

private:
  const ModelFunction &declared_;
  size_t taken_ = 0;
};

} // namespace

Error checkSignature(const torch::jit::Module &module, const ModelFunction &declared) {
  auto method = module.find_method(declared.method);
  if (!method) {
    std::string others;
    for (const auto &other : module.get_methods())
      others += (others.empty() ? ": it has " : ", ") + other.name();
    return makeError("the model has no method '{0}'{1}; wrap it in a module whose '{0}' calls "
                     "what is to be compiled",
                     declared.method, others);
  }
  const c10::FunctionSchema &schema = method->function().getSchema();
  Signature signature(declared);
  for (const c10::Argument &argument : llvm::drop_begin(schema.arguments()))
    if (Error error = signature.take(argument.type(), argument))
      return error;
  if (signature.taken() < declared.inputs.size())
    return makeError("{0} inputs are declared, but {1} takes {2}: {3}", declared.inputs.size(),
                     declared.method, signature.taken(), describe(schema));
  return Error::success();
}

Expected<Val> ScriptFunction::declare(const c10::TypePtr &type, const c10::Argument &argument) {
  switch (type->kind()) {
  case c10::TypeKind::TensorType:
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
    if (interface_.hasNext() && inner->kind() == c10::TypeKind::TensorType)
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
  default:
    break;
  }
  if (!Signature::takesAll(type))
    return engine_.fromIValue(*argument.default_value());
  std::vector<std::pair<c10::IValue, Val>> entries;
  while (interface_.hasNext()) {
    c10::IValue key(interface_.next().name);
    auto value = interface_.nextInput(argument.name());
    if (!value)
      return value.takeError();
    entries.emplace_back(std::move(key), std::move(*value));
  }
  if (auto dict = type->cast<c10::DictType>())
    return engine_.makeDict(dict->getKeyType(), dict->getValueType(), std::move(entries));
  std::vector<Val> values;
  for (auto &entry : entries)
    values.push_back(std::move(entry.second));
  return engine_.makeList(type->expect<c10::ListType>()->getElementType(), std::move(values));
}

/// Of a trace of a live model, whose results are a tuple with names (live/Tracer.h).
static std::vector<std::string> resultNames(const torch::jit::Function &function) {
  std::vector<std::string> names;
  for (const c10::Argument &result : function.getSchema().returns())
    if (auto tuple = result.type()->cast<c10::TupleType>();
        tuple && tuple->name() && tuple->name()->prefix() == kLiveNamespace)
      for (const c10::Argument &field : tuple->schema()->arguments())
        names.push_back(field.name());
  return names;
}

Error ScriptFunction::run(const torch::jit::Module &module) {
  torch::jit::Method method = module.get_method(declared_.method);
  if (Error error = interface_.checkNames(engine_.stateNames()))
    return classify(std::move(error), FailureKind::Option);
  std::vector<Val> arguments;
  for (const c10::Argument &argument :
       llvm::drop_begin(method.function().getSchema().arguments())) {
    auto val = declare(argument.type(), argument);
    if (!val)
      return val.takeError();
    arguments.push_back(std::move(*val));
  }
  engine_.declareStates();
  Val result = walk_.run(module._ivalue(), method.function(), std::move(arguments));
  auto kept = engine_.finishStates();
  if (Error error = engine_.takeError())
    return error;
  return classify(interface_.setOutputs(result, resultNames(method.function()), std::move(kept)),
                  FailureKind::Option);
}

} // namespace plait::frontend
