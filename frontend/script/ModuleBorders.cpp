// One call of a module: which argument is its input, what stands before and after.
#include "frontend/script/ModuleBorders.h"

#include "frontend/engine/Engine.h"
#include "frontend/engine/StoredType.h"

#include <ATen/core/jit_type.h>

namespace plait::frontend {

using llvm::StringRef;
using mil::Layer;
using mil::OpKind;

using Object = ModuleHook::Object;

static const Object *find(const Object &root, StringRef path) {
  const Object *object = &root;
  while (object && !path.empty()) {
    auto [name, rest] = path.split('.');
    auto slot = object->type()->findAttributeSlot(name.str());
    object =
        slot && object->getSlot(*slot).isObject() ? &object->getSlot(*slot).toObjectRef() : nullptr;
    path = rest;
  }
  return object;
}

static at::Tensor tensorAttribute(const Object &module, StringRef name) {
  auto slot = module.type()->findAttributeSlot(name.str());
  if (!slot || !module.getSlot(*slot).isTensor())
    return {};
  return module.getSlot(*slot).toTensor();
}

ModuleBorders::ModuleBorders(const Object &root, const mil::ModuleTree &tree,
                             llvm::ArrayRef<mil::BorderedModule> bordered,
                             llvm::ArrayRef<mil::GivenParameter> given,
                             std::function<mil::Origin(const at::Tensor &)> originOf)
    : originOf_(std::move(originOf)) {
  for (const mil::BorderedModule &module : bordered)
    stateOf(root, tree, module.module).bordered = &module;
  for (const mil::GivenParameter &parameter : given)
    stateOf(root, tree, parameter.module).given.push_back(&parameter);
}

ModuleBorders::State &ModuleBorders::stateOf(const Object &root, const mil::ModuleTree &tree,
                                             unsigned number) {
  const Object *object = find(root, tree.pathOf(number));
  assert(object && "the tree describes this model");
  State &state = states_[object];
  state.number = number;
  return state;
}

bool ModuleBorders::isParameter(const Val &argument, const at::Tensor &parameter) const {
  auto tensor = argument.tensor();
  if (!tensor || !parameter.defined() || !tensor->view.empty())
    return false;
  if (auto given = cells_.find(tensor->cell.get()); given != cells_.end())
    return given->second.second == parameter.const_data_ptr();
  const auto *known = std::get_if<KnownTensor>(&tensor->cell->content);
  return known && known->tensor.defined() &&
         known->tensor.const_data_ptr() == parameter.const_data_ptr() &&
         known->tensor.sizes() == parameter.sizes();
}

std::optional<size_t> ModuleBorders::inputOf(const Object &module,
                                             const mil::BorderedModule &bordered,
                                             llvm::ArrayRef<Val> arguments) const {
  at::Tensor weight = tensorAttribute(module, "weight"), bias = tensorAttribute(module, "bias");
  bool transposed = bordered.kind == Layer::TransposedLinear;
  for (size_t i = 1; i < arguments.size(); ++i) {
    auto tensor = arguments[i].tensor();
    // A trace passes a parameter that belongs to another module too as an argument.
    if (!tensor || isParameter(arguments[i], weight) || isParameter(arguments[i], bias))
      continue;
    bool fits;
    if (bordered.kind == Layer::Embedding)
      fits = at::isIntegralType(tensor->dtype(), false);
    else if (bordered.kind == Layer::Convolution)
      fits = tensor->shape.size() + 1 >= bordered.weightShape.size();
    else
      fits = !tensor->shape.empty() && bordered.weightShape.size() == 2 &&
             tensor->shape.back() == Dim(bordered.weightShape[transposed ? 0 : 1]);
    if (fits)
      return i;
  }
  return std::nullopt;
}

// ---- Parameters --------------------------------------------------------------------------------

Val ModuleBorders::give(Engine &engine, const Object &module, State &state,
                        const mil::GivenParameter &parameter) {
  read_.insert({state.number, parameter.name});
  at::Tensor original = tensorAttribute(module, parameter.name);
  auto remember = [&](Val value) {
    if (value.tensor())
      cells_[value.tensor()->cell.get()] = {value, original.const_data_ptr()};
    return value;
  };
  if (!parameter.value)
    return remember(engine.makeTensor(
        engine.constant(original, parameter.name, originOf_(original)), original.scalar_type()));
  auto tensor = storedTensor(parameter.value);
  if (!tensor) {
    engine.fail(tensor.takeError());
    return Val();
  }
  return remember(engine.makeKnown({std::move(*tensor), /*fromWeight=*/true}, parameter.name));
}

std::optional<Val> ModuleBorders::attribute(Engine &engine, const Object &module, StringRef name,
                                            StringRef) {
  auto it = states_.find(&module);
  if (it == states_.end())
    return std::nullopt;
  for (const mil::GivenParameter *parameter : it->second.given)
    if (parameter->name == name && (it->second.active || !parameter->isTied))
      return give(engine, module, it->second, *parameter);
  return std::nullopt;
}

// ---- Calls -------------------------------------------------------------------------------------

std::vector<Val> ModuleBorders::run(Engine &engine, const Object &module, State &state,
                                    std::vector<Val> arguments, Base base) {
  for (const mil::GivenParameter *parameter : state.given)
    for (Val &argument : arguments)
      if (isParameter(argument, tensorAttribute(module, parameter->name)))
        argument = give(engine, module, state, *parameter);
  ++state.active;
  std::vector<Val> results = base(std::move(arguments));
  --state.active;
  return results;
}

std::vector<Val> ModuleBorders::call(Engine &engine, const Object &module,
                                     std::vector<Val> arguments, Base base) {
  auto it = states_.find(&module);
  if (it == states_.end())
    return base(std::move(arguments));
  State &state = it->second;
  if (!state.bordered || llvm::any_of(arguments, Engine::hasPoison))
    return run(engine, module, state, std::move(arguments), base);
  unsigned number = calls_++;
  auto border = [&](const Val &value, bool isInput) {
    mil::Value *given = engine.read(*value.tensor());
    mil::Op *identity =
        mil::Builder::isPoison(given)
            ? nullptr
            : engine.builder().create(OpKind::identity, {{mil::identity::x, given}});
    if (!identity)
      return value;
    mil::markBorder(*identity, isInput, state.number, number);
    return engine.makeTensor(identity->result(), value.tensor()->dtype());
  };
  if (auto input = inputOf(module, *state.bordered, arguments)) {
    Val marked = border(arguments[*input], /*isInput=*/true);
    if (state.bordered->splitsInput)
      arguments[*input] = marked;
  }
  std::vector<Val> results = run(engine, module, state, std::move(arguments), base);
  if (results.size() == 1 && results[0].tensor())
    results[0] = border(results[0], /*isInput=*/false);
  return results;
}

} // namespace plait::frontend
