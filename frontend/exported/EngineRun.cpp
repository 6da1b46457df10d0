// Operations, branches and loops as the engine takes them.
#include "frontend/exported/EngineRun.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringSet.h"

namespace plait::frontend {

using exported::Graph;
using exported::Node;
using Values = EngineRun::Values;

Values EngineRun::run(const Graph &graph, llvm::ArrayRef<Val> inputs) {
  at::NoGradGuard noGrad;
  top_ = &graph;
  return runGraph(graph, inputs);
}

// ---- Values ------------------------------------------------------------------------------------

Values EngineRun::elementsOf(const Val &list) {
  if (auto elements = list.list())
    return elements->values;
  if (auto elements = list.tuple())
    return elements->values;
  return {};
}

std::optional<int64_t> EngineRun::knownInteger(const Val &value) {
  auto dim = value.asDim();
  return dim ? dim->tryValue() : std::nullopt;
}

bool EngineRun::isInteger(const Val &value) {
  return value.asDim() || (value.number() && value.number()->kind == c10::TypeKind::IntType);
}

// ---- What reads what ---------------------------------------------------------------------------

static void collectNames(const exported::Argument &argument,
                         llvm::function_ref<void(const std::string &)> add) {
  if (argument.kind == exported::Argument::Kind::Name)
    add(argument.text);
  for (const exported::Argument &element : argument.elements)
    collectNames(element, add);
}

const llvm::StringSet<> &EngineRun::readIn(const Graph &graph) {
  auto &read = read_[&graph];
  if (read)
    return *read;
  read = std::make_unique<llvm::StringSet<>>();
  auto add = [&](const std::string &name) { read->insert(name); };
  for (const Node &node : graph.nodes)
    for (const exported::NamedArgument &input : node.inputs)
      collectNames(input.value, add);
  for (const exported::Argument &output : graph.outputs)
    collectNames(output, add);
  return *read;
}

// ---- Nodes -------------------------------------------------------------------------------------

Values EngineRun::atNode(const Node &node, Thunk run) {
  const llvm::StringSet<> &names = readIn(*frame().graph);
  std::string name = targetName(node.target);
  auto isRead = [&](const exported::Argument &output) {
    bool read = false;
    collectNames(output, [&](const std::string &one) { read |= names.contains(one); });
    return read;
  };
  Site site{.location = places_.locate(node, mil::Name(llvm::StringRef(name).split('.').first)),
            .used = 0};
  for (auto [i, output] : llvm::enumerate(node.outputs))
    if (i < 64 && isRead(output))
      site.used |= uint64_t(1) << i;
  llvm::SaveAndRestore thisSite(site_, static_cast<const Site *>(&site));
  if (higherOrderName(node.target).empty())
    return engine_.at(site, name, run);
  return engine_.within(site, [&]() -> Values {
    try {
      return run();
    } catch (const Abandoned &) { // what stood in its way was reported
    } catch (const Refusal &refusal) {
      engine_.fail(makeError(refusal.code, "{0}: {1}", name, refusal.what()));
    }
    return {};
  });
}

void EngineRun::unsupported(const std::string &name) {
  engine_.unsupported(name);
  throw Abandoned();
}

Values EngineRun::operation(const Node &node, const torch::jit::Operator &op, Values arguments) {
  Values results = engine_.lower(*site_, op.schema(), std::move(arguments));
  // Of what nothing reads (the inverse of unique where it is not asked for) the archive may say
  // anything.
  if (results.size() == node.outputs.size() && isDescribed(node))
    for (auto [i, output, result] : llvm::enumerate(node.outputs, results))
      if (i >= 64 || (site_->used >> i & 1))
        result = checked(output, std::move(result));
  return results;
}

bool EngineRun::isDescribed(const Node &node) {
  // Releases of PyTorch say that the last states of an LSTM have an axis more than they do.
  bool isDescribed = node.target != "torch.ops.aten.lstm.input";
  for (const exported::NamedArgument &input : node.inputs)
    collectNames(input.value,
                 [&](const std::string &name) { isDescribed &= !misdescribed_.contains(name); });
  if (!isDescribed)
    for (const exported::Argument &output : node.outputs)
      collectNames(output, [&](const std::string &name) { misdescribed_.insert(name); });
  return isDescribed;
}

Values EngineRun::part(const torch::jit::Operator &op, Values arguments) {
  // It stands where the node does, and all of its results are read.
  return engine_.lower(Site{.location = site_->location}, op.schema(), std::move(arguments));
}

Val EngineRun::checked(const exported::Argument &output, Val result) {
  if (output.kind != Kind::Name || !result.isTensor())
    return result;
  auto meta = frame().graph->tensors.find(output.text);
  if (meta == frame().graph->tensors.end())
    return result;
  auto tensor = result.tensor();
  const std::vector<exported::Size> &sizes = meta->second.sizes;
  bool fits = tensor->shape.size() == sizes.size();
  for (size_t i = 0; fits && i < sizes.size(); ++i)
    fits = !sizes[i].number || !tensor->shape[i].isConst() ||
           tensor->shape[i].value() == *sizes[i].number;
  if (!fits) {
    std::string said;
    for (const exported::Size &size : sizes)
      said += (said.empty() ? "" : ", ") + (size.number ? std::to_string(*size.number) : "?");
    throw Refusal(Code::UnsupportedForm,
                  fmt::format("it gives {0}, and the archive says [{1}]; export the model anew",
                              mil::str(tensor->shape), said));
  }
  auto type = exportedScalarType(meta->second.dtype);
  if (isAutocast_ && type && *type != tensor->dtype() && at::isFloatingType(*type) &&
      at::isFloatingType(tensor->dtype()))
    return engine_.castTensor(tensor, *type);
  return result;
}

Values EngineRun::branch(const Val &condition, BodyFn then, BodyFn otherwise) {
  return engine_.branch(condition, Body{.lower = then}, Body{.lower = otherwise});
}

Values EngineRun::loop(const Val &trips, const Val &condition, Values carried, BodyFn body,
                       size_t operations) {
  return engine_.loop(trips, condition, std::move(carried),
                      Body{.lower = body, .operations = operations});
}

Values EngineRun::autocast(std::optional<at::ScalarType> type, bool enabled, Thunk run) {
  // The archive says of which type each result is.
  llvm::SaveAndRestore here(isAutocast_, enabled);
  return run();
}

// ---- Calls of modules --------------------------------------------------------------------------

void EngineRun::beforeNode(size_t index) {
  if (calls_ && frame().graph == top_)
    calls_->before(engine_, index, frame().values);
}

void EngineRun::afterNode(size_t index) {
  if (calls_ && frame().graph == top_)
    calls_->after(engine_, index, frame().values);
}

} // namespace plait::frontend
