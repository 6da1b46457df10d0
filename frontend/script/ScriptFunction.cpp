// Arguments of a method from declared inputs.
#include "frontend/script/ScriptFunction.h"

#include "support/Failure.h"

#include "llvm/ADT/STLExtras.h"

#include <ATen/core/jit_type.h>

namespace plait::frontend {

Error checkSignature(const torch::jit::Module &module, const ModelFunction &declared) {
  if (!module.find_method(declared.method)) {
    std::string others;
    for (const auto &other : module.get_methods())
      others += (others.empty() ? ": it has " : ", ") + other.name();
    return makeError(Code::NoSuchModel,
                     "the model has no method '{0}'{1}; wrap it in a module whose '{0}' calls "
                     "what is to be compiled",
                     declared.method, others);
  }
  return planArguments(module, declared).takeError();
}

Expected<Val> ScriptFunction::make(const ArgumentPlan &plan) {
  using Kind = ArgumentPlan::Kind;
  std::vector<Val> values;
  for (const ArgumentPlan &element : plan.elements) {
    auto value = make(element);
    if (!value)
      return value.takeError();
    values.push_back(std::move(*value));
  }
  switch (plan.kind) {
  case Kind::Tensor: {
    const std::string &name = declared_.inputs[plan.inputs[0]].name;
    if (!plan.integersFor.empty())
      engine_.warn(Code::InputType,
                   fmt::format("input '{0}' is {1}, since {2} takes it; say so: --input "
                               "'{0}={1}[…]'",
                               name.empty() ? plan.name : name, mil::name(*plan.integers),
                               plan.integersFor));
    return interface_.input(plan.inputs[0], plan.name, nullptr, plan.integers);
  }
  case Kind::Complex: {
    auto real = interface_.input(plan.inputs[0], plan.name);
    if (!real)
      return real.takeError();
    auto imag = interface_.input(plan.inputs[1], plan.name);
    if (!imag)
      return imag.takeError();
    try {
      return engine_.makeComplex(*real, *imag);
    } catch (const Refusal &refusal) {
      return makeError(refusal.code, "input '{0}': {1}", plan.name, refusal.what());
    }
  }
  case Kind::Number:
    return interface_.number(plan.inputs[0], plan.name, plan.type->kind());
  case Kind::Known:
    return engine_.fromIValue(plan.known);
  case Kind::Tuple:
    return engine_.makeTuple(plan.type, std::move(values));
  case Kind::List:
    return engine_.makeList(plan.type->expect<c10::ListType>()->getElementType(),
                            std::move(values));
  case Kind::Dict: {
    std::vector<std::pair<c10::IValue, Val>> entries;
    for (auto [key, value] : llvm::zip(plan.keys, values))
      entries.emplace_back(key, std::move(value));
    auto dict = plan.type->expect<c10::DictType>();
    return engine_.makeDict(dict->getKeyType(), dict->getValueType(), std::move(entries));
  }
  }
  return Val();
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
  auto plans = planArguments(module, declared_);
  if (!plans)
    return plans.takeError();
  interface_.noteConstants(constantsIn(*plans));
  std::vector<Val> arguments;
  for (const ArgumentPlan &plan : *plans) {
    auto val = make(plan);
    if (!val)
      return classify(val.takeError(), FailureKind::Option);
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
