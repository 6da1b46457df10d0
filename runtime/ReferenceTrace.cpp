// A copy of the model's graph with every call inlined and every tensor that it computes among the
// outputs. Each such output is a copy made where the tensor is made, so that later writes to it do
// not show.
#include "runtime/ReferenceTrace.h"

#include "runtime/ReferenceArguments.h"
#include "runtime/ReferenceModule.h"
#include "runtime/Tensors.h"

#include "llvm/ADT/DenseMap.h"
#include "llvm/ADT/DenseSet.h"
#include <torch/csrc/jit/runtime/graph_executor.h>

namespace plait::runtime {

namespace jit = torch::jit;
namespace prim = c10::prim;
namespace attr = c10::attr;

namespace {

/// The function that a call node calls, or null where that is not known before it runs.
jit::Function *calleeOf(const jit::Node &node) {
  if (node.kind() == prim::CallMethod) {
    auto type = node.input(0)->type()->cast<c10::ClassType>();
    return type ? type->findMethod(node.s(attr::name)) : nullptr;
  }
  if (node.kind() == prim::CallFunction)
    if (auto type = node.input(0)->type()->cast<c10::FunctionType>())
      return type->function();
  return nullptr;
}

/// The graph of `function` with its calls inlined; the scope of each node is the path of the
/// module whose code it is.
class Inliner {
public:
  std::shared_ptr<jit::Graph> run(jit::Function &function, const std::string &path) {
    TORCH_CHECK(++depth_ < 200, "its calls nest too deeply");
    auto graph = jit::toGraphFunction(function).graph()->copy();
    if (!graph->inputs().empty())
      paths_[graph->inputs()[0]] = path;
    expand(*graph->block(), path);
    --depth_;
    return graph;
  }

private:
  void expand(jit::Block &block, const std::string &path) {
    for (auto it = block.nodes().begin(); it != block.nodes().end();) {
      jit::Node *node = *it++;
      for (jit::Block *inner : node->blocks())
        expand(*inner, path);
      // A module's path; "." stands for the model itself, since a scope's name is not empty.
      node->setScope(block.owningGraph()->current_scope()->push(
          c10::Symbol::scope(path.empty() ? "." : path)));
      if (node->kind() == prim::GetAttr) {
        auto object = paths_.find(node->input());
        if (object != paths_.end())
          paths_[node->output()] = object->second.empty()
                                       ? node->s(attr::name)
                                       : object->second + "." + node->s(attr::name);
      } else if (jit::Function *callee = calleeOf(*node)) {
        replace(node, *callee, path);
      }
    }
  }

  void replace(jit::Node *node, jit::Function &callee, const std::string &path) {
    bool method = node->kind() == prim::CallMethod;
    auto object = paths_.find(node->input(0));
    std::string inner = method && object != paths_.end() ? object->second : path;
    auto body = run(callee, inner);
    auto arguments = node->inputs().slice(method ? 0 : 1);
    jit::WithInsertPoint guard(node);
    auto results = jit::insertGraph(*node->owningGraph(), *body, arguments);
    for (size_t i = 0; i < results.size(); ++i)
      node->output(i)->replaceAllUsesWith(results[i]);
    node->destroy();
  }

  llvm::DenseMap<const jit::Value *, std::string> paths_;
  unsigned depth_ = 0;
};

/// All values that a node reads, in its blocks too.
void collectUses(const jit::Node &node, llvm::SmallVectorImpl<const jit::Value *> &values) {
  for (const jit::Value *input : node.inputs())
    values.push_back(input);
  for (const jit::Block *block : node.blocks()) {
    for (const jit::Node *inner : block->nodes())
      collectUses(*inner, values);
    for (const jit::Value *output : block->outputs())
      values.push_back(output);
  }
}

/// Its results alias an operand that it does not write to.
bool isView(const jit::Node &node) {
  const c10::FunctionSchema *schema = node.maybeSchema();
  if (!schema || schema->returns().empty())
    return false;
  const c10::AliasInfo *alias = schema->returns()[0].alias_info();
  return alias && !alias->isWrite();
}

/// The steps without their values; the graph gives a copy of each after its own outputs.
std::vector<ReferenceStep> record(jit::Graph &graph, const NodeDescriber &describe) {
  std::vector<ReferenceStep> steps;
  // Of each value that depends on an input: the steps that it comes from.
  llvm::DenseMap<const jit::Value *, llvm::SmallVector<unsigned, 2>> origins;
  for (size_t i = 1; i < graph.inputs().size(); ++i)
    origins[graph.inputs()[i]] = {};
  jit::Value *none = nullptr;
  {
    jit::WithInsertPoint guard(*graph.nodes().begin());
    none = graph.insertConstant(c10::IValue());
  }
  std::vector<jit::Node *> nodes(graph.nodes().begin(), graph.nodes().end());
  std::vector<const jit::Value *> results(graph.outputs().begin(), graph.outputs().end());
  for (jit::Node *node : nodes) {
    llvm::SmallVector<const jit::Value *, 8> used;
    collectUses(*node, used);
    bool depends = false;
    llvm::SmallVector<unsigned, 2> from;
    for (const jit::Value *value : used)
      if (auto it = origins.find(value); it != origins.end()) {
        depends = true;
        for (unsigned step : it->second)
          if (!llvm::is_contained(from, step))
            from.push_back(step);
      }
    if (!depends)
      continue;
    bool recorded = !isView(*node);
    for (jit::Value *output : node->outputs()) {
      if (!recorded || !output->type()->isSubtypeOf(*c10::TensorType::get())) {
        origins[output] = from;
        continue;
      }
      llvm::StringRef scope = node->scope()->name().toUnqualString();
      origins[output] = {unsigned(steps.size())};
      steps.push_back({node->kind().toQualString(),
                       scope == "." ? "" : scope.str(),
                       describe ? describe(*node) : "",
                       {},
                       {from.begin(), from.end()},
                       false});
      jit::Node *copy = graph.create(c10::aten::clone, {output, none});
      copy->insertAfter(node);
      graph.registerOutput(copy->output());
    }
  }
  for (const jit::Value *result : results)
    if (auto it = origins.find(result); it != origins.end())
      for (unsigned step : it->second)
        steps[step].isOutput = true;
  return steps;
}

Expected<std::vector<ReferenceStep>> traceModule(const jit::Module &module,
                                                 std::vector<c10::IValue> arguments,
                                                 const NodeDescriber &describe) {
  auto method = module.get_method("forward");
  arguments.insert(arguments.begin(), c10::IValue(module._ivalue()));
  method.function().getSchema().checkAndNormalizeInputs(arguments, {});
  auto graph = Inliner().run(method.function(), "");
  size_t results = graph->outputs().size();
  std::vector<ReferenceStep> steps = record(*graph, describe);
  jit::GraphExecutor executor(graph, "forward");
  executor.run(arguments);
  for (size_t i = 0; i < steps.size(); ++i) {
    at::Tensor tensor = arguments[results + i].toTensor();
    auto dtype = milType(tensor.scalar_type());
    if (!dtype) {
      tensor = tensor.to(at::kFloat);
      dtype = mil::DType::F32;
    }
    steps[i].value = toTensorData(tensor, *dtype);
  }
  return steps;
}

} // namespace

ReferenceTracer tracerOf(std::shared_ptr<torch::jit::Module> loaded, llvm::StringRef name,
                         NodeDescriber describe) {
  return tracerOf(std::move(loaded), name, std::move(describe), nullptr);
}

ReferenceTracer tracerOf(std::shared_ptr<torch::jit::Module> loaded, llvm::StringRef name,
                         NodeDescriber describe, ArgumentBinder bind) {
  return [module = std::move(loaded), path = name.str(), describe = std::move(describe),
          bind = std::move(bind)](llvm::ArrayRef<NamedTensor> inputs) {
    auto steps = callWithIntegers<std::vector<ReferenceStep>>(
        inputs, [&](std::vector<c10::IValue> arguments) -> Expected<std::vector<ReferenceStep>> {
          if (bind)
            if (Error error = bind(arguments, inputs))
              return error;
          return traceModule(*module, std::move(arguments), describe);
        });
    return steps ? std::move(steps)
                 : Expected<std::vector<ReferenceStep>>(addContext(steps.takeError(), path));
  };
}

} // namespace plait::runtime
