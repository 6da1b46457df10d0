// From module stacks to calls; what stands before and after each.
#include "frontend/exported/ModuleCalls.h"

#include "frontend/engine/StoredType.h"
#include "frontend/exported/Places.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringSet.h"

namespace plait::frontend {

using llvm::StringRef;
using mil::Layer;

static void forEachName(const exported::Argument &argument,
                        llvm::function_ref<void(const std::string &)> visit) {
  if (argument.kind == exported::Argument::Kind::Name)
    visit(argument.text);
  for (const exported::Argument &element : argument.elements)
    forEachName(element, visit);
}

ModuleCalls::ModuleCalls(const ExportedModel &model, const mil::ModuleTree &tree,
                         llvm::ArrayRef<mil::BorderedModule> bordered,
                         llvm::ArrayRef<mil::GivenParameter> given,
                         std::function<mil::Origin(const at::Tensor &)> originOf)
    : model_(model), tree_(tree), bordered_(bordered), given_(given),
      originOf_(std::move(originOf)) {
  const exported::Program &program = model.program();
  for (auto [spec, input] : llvm::zip(program.inputs, program.graph.inputs))
    if (at::Tensor tensor = model.tensorOf(spec);
        tensor.defined() && input.kind == exported::Argument::Kind::Name)
      parameters_[input.text] = tensor;
  findCalls(program.graph);
}

void ModuleCalls::findCalls(const exported::Graph &graph) {
  std::map<std::pair<size_t, std::string>, size_t> numberOf; // by depth and call
  std::vector<std::set<size_t>> nodesOf;
  for (auto [i, node] : llvm::enumerate(graph.nodes)) {
    for (auto [depth, entry] : llvm::enumerate(moduleStackOf(node.moduleStack))) {
      auto module = tree_.find(entry.path);
      if (!module)
        continue;
      auto wanted = llvm::find_if(
          bordered_, [&](const mil::BorderedModule &one) { return one.module == *module; });
      std::vector<const mil::GivenParameter *> given;
      for (const mil::GivenParameter &one : given_)
        if (one.module == *module)
          given.push_back(&one);
      if (wanted == bordered_.end() && given.empty())
        continue;
      auto [it, isNew] =
          numberOf.try_emplace({depth, (entry.call + "," + entry.path).str()}, calls_.size());
      if (isNew) {
        calls_.push_back({.module = *module,
                          .number = unsigned(calls_.size()),
                          .bordered = wanted == bordered_.end() ? nullptr : &*wanted,
                          .given = std::move(given),
                          .first = i,
                          .last = i});
        nodesOf.emplace_back();
      }
      calls_[it->second].last = i;
      nodesOf[it->second].insert(i);
    }
  }
  for (auto [call, nodes] : llvm::zip(calls_, nodesOf))
    findBorders(graph, call, nodes);
}

void ModuleCalls::findBorders(const exported::Graph &graph, Call &call,
                              const std::set<size_t> &own) {
  llvm::StringSet<> made, seen;
  for (size_t i : own) {
    for (const exported::NamedArgument &input : graph.nodes[i].inputs)
      forEachName(input.value, [&](const std::string &name) {
        if (!made.contains(name) && seen.insert(name).second)
          call.inputs.push_back(name);
      });
    for (const exported::Argument &output : graph.nodes[i].outputs)
      forEachName(output, [&](const std::string &name) { made.insert(name); });
  }
  seen.clear();
  auto addOutput = [&](const std::string &name) {
    if (made.contains(name) && seen.insert(name).second)
      call.outputs.push_back(name);
  };
  for (size_t i = call.first; i < graph.nodes.size(); ++i)
    if (!own.count(i))
      for (const exported::NamedArgument &input : graph.nodes[i].inputs)
        forEachName(input.value, addOutput);
  for (const exported::Argument &output : graph.outputs)
    forEachName(output, addOutput);
}

// ---- Parameters --------------------------------------------------------------------------------

static bool isSameTensor(const at::Tensor &a, const mil::TensorData &b) {
  return a.numel() && a.const_data_ptr() == mil::addressOf(b);
}

Val ModuleCalls::give(Engine &engine, const mil::GivenParameter &parameter) {
  read_.insert({parameter.module, parameter.name});
  std::string path = tree_.pathOf(parameter.module).str();
  path += (path.empty() ? "" : ".") + parameter.name;
  if (!parameter.value) {
    const mil::TensorData *own = tree_[parameter.module].find(parameter.name);
    for (const auto &input : parameters_)
      if (const at::Tensor &tensor = input.second; own && isSameTensor(tensor, *own))
        return engine.makeTensor(engine.constant(tensor, parameter.name, originOf_(tensor)),
                                 tensor.scalar_type());
    return Val();
  }
  auto tensor = storedTensor(parameter.value);
  if (!tensor) {
    engine.fail(tensor.takeError());
    return Val();
  }
  return engine.makeKnown({std::move(*tensor), /*fromWeight=*/true, mil::Origin::parameter({path})},
                          path);
}

std::optional<Val> ModuleCalls::parameter(Engine &engine, const exported::InputSpec &spec,
                                          bool isRead) {
  at::Tensor tensor = model_.tensorOf(spec);
  for (const mil::GivenParameter &parameter : given_) {
    const mil::TensorData *own = tree_[parameter.module].find(parameter.name);
    if (isRead && !parameter.isTied && own && tensor.defined() && isSameTensor(tensor, *own))
      return give(engine, parameter);
  }
  return std::nullopt;
}

// ---- Borders -----------------------------------------------------------------------------------

bool ModuleCalls::fits(const Call &call, const Val &value) const {
  auto tensor = value.tensor();
  if (!tensor)
    return false;
  const mil::BorderedModule &bordered = *call.bordered;
  if (bordered.kind == Layer::Embedding)
    return at::isIntegralType(tensor->dtype(), false);
  if (bordered.kind == Layer::Convolution)
    return tensor->shape.size() + 1 >= bordered.weightShape.size();
  bool transposed = bordered.kind == Layer::TransposedLinear;
  return !tensor->shape.empty() && bordered.weightShape.size() == 2 &&
         tensor->shape.back() == Dim(bordered.weightShape[transposed ? 0 : 1]);
}

Val ModuleCalls::border(Engine &engine, const Val &value, const Call &call, bool isInput) {
  mil::Value *given = engine.read(*value.tensor());
  mil::Op *identity =
      mil::Builder::isPoison(given)
          ? nullptr
          : engine.builder().create(mil::OpKind::identity, {{mil::identity::x, given}});
  if (!identity)
    return value;
  mil::markBorder(*identity, isInput, call.module, call.number);
  return engine.makeTensor(identity->result(), value.tensor()->dtype());
}

void ModuleCalls::before(Engine &engine, size_t node, Names &names) {
  for (Call &call : calls_) {
    if (call.first != node)
      continue;
    auto put = [&](const std::string &name, Val value) {
      call.hidden.emplace_back(name, names[name]);
      names[name] = std::move(value);
    };
    for (const mil::GivenParameter *parameter : call.given) {
      const mil::TensorData *own = tree_[parameter->module].find(parameter->name);
      for (const std::string &name : call.inputs)
        if (auto it = parameters_.find(name);
            parameter->isTied && own && it != parameters_.end() && isSameTensor(it->second, *own))
          put(name, give(engine, *parameter));
    }
    if (!call.bordered)
      continue;
    for (const std::string &name : call.inputs) {
      auto value = names.find(name);
      if (value == names.end() || parameters_.contains(name) || Engine::hasPoison(value->second) ||
          !fits(call, value->second))
        continue;
      Val marked = border(engine, value->second, call, /*isInput=*/true);
      if (call.bordered->splitsInput)
        put(name, std::move(marked));
      break;
    }
  }
}

void ModuleCalls::after(Engine &engine, size_t node, Names &names) {
  for (Call &call : llvm::reverse(calls_)) {
    if (call.last != node)
      continue;
    for (auto &[name, value] : llvm::reverse(call.hidden))
      names[name] = std::move(value);
    call.hidden.clear();
    if (!call.bordered || call.outputs.size() != 1)
      continue;
    Val &result = names[call.outputs[0]];
    if (result.isTensor() && !Engine::hasPoison(result))
      result = border(engine, result, call, /*isInput=*/false);
  }
}

} // namespace plait::frontend
