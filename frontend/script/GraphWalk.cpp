// Frames, blocks, calls and attributes of TorchScript.
#include "frontend/script/GraphWalk.h"
#include "frontend/script/ModuleHook.h"
#include "support/TorchMessage.h"

#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/SaveAndRestore.h"

#include <ATen/core/class_type.h>
#include <ATen/core/grad_mode.h>
#include <torch/csrc/jit/api/function_impl.h>

namespace plait::frontend {

namespace prim = c10::prim;
namespace attr = c10::attr;

Val GraphWalk::run(const c10::IValue &self, torch::jit::Function &method,
                   std::vector<Val> arguments) {
  at::NoGradGuard noGrad;
  objectPaths_[&self.toObjectRef()] = "";
  arguments.insert(arguments.begin(), Val(self));
  auto results = callFunction(method, std::move(arguments), "");
  return results.empty() ? Val() : results[0];
}

// ---- Blocks ------------------------------------------------------------------------------------

Val GraphWalk::lookup(const torch::jit::Value *value) {
  auto it = frame_->env.find(value);
  assert(it != frame_->env.end() && "TorchScript graphs are in order");
  return it->second;
}

void GraphWalk::bind(const torch::jit::Value *value, Val val) {
  frame_->env[value] = std::move(val);
}

GraphWalk::Results GraphWalk::runBlock(torch::jit::Block &block, Arguments inputs) {
  for (auto [input, value] : llvm::zip(block.inputs(), inputs))
    bind(input, value);
  for (Node *node : block.nodes())
    runNode(*node);
  Results outputs;
  for (const torch::jit::Value *output : block.outputs())
    outputs.push_back(lookup(output));
  return outputs;
}

void GraphWalk::runNode(Node &node) {
  Site site{.location = options_.locationOf ? options_.locationOf(node, frame_->modulePath)
                                            : mil::Location(frame_->modulePath, mil::Name(),
                                                            mil::Name(node.kind().toQualString())),
            .used = 0};
  for (auto [i, output] : llvm::enumerate(node.outputs()))
    if (i < 64 && output->hasUses())
      site.used |= uint64_t(1) << i;
  std::vector<Val> arguments;
  for (const torch::jit::Value *input : node.inputs())
    arguments.push_back(lookup(input));
  Results results;
  if (node.kind() == prim::If)
    results = engine_.within(site, [&] { return runIf(node); });
  else if (node.kind() == prim::Loop)
    results = engine_.within(site, [&] { return runLoop(node); });
  else
    results = engine_.at(site, node.kind().toQualString(), [&]() -> Results {
      if (auto handled = primitive(node, arguments))
        return std::move(*handled);
      if (const c10::FunctionSchema *schema = node.maybeSchema())
        return engine_.lower(site, *schema, std::move(arguments));
      engine_.unsupported(node.kind().toQualString());
      return {};
    });
  results.resize(node.outputs().size());
  for (auto [output, result] : llvm::zip(node.outputs(), results))
    bind(output, std::move(result));
}

/// A block that always raises: unreachable for inputs that the model accepts.
static bool raises(torch::jit::Block &block) {
  return llvm::any_of(block.nodes(),
                      [](torch::jit::Node *node) { return node->kind() == prim::RaiseException; });
}

GraphWalk::Results GraphWalk::runIf(Node &node) {
  auto lowering = [this](torch::jit::Block &block) {
    return [this, &block](Arguments inputs) { return runBlock(block, inputs); };
  };
  torch::jit::Block &first = *node.blocks()[0], &second = *node.blocks()[1];
  auto then = lowering(first), otherwise = lowering(second);
  return engine_.branch(lookup(node.input()), Body{.lower = then, .raises = raises(first)},
                        Body{.lower = otherwise, .raises = raises(second)});
}

/// Whether nothing but `loop` sees the memory of the tensor that it takes: one that an operation
/// made anew, and that nothing else takes but operations that give no view of it.
static bool isSeenByLoopOnly(const torch::jit::Value &value, const torch::jit::Node &loop) {
  const torch::jit::Node &maker = *value.node();
  const c10::FunctionSchema *schema = maker.maybeSchema();
  if (!schema || maker.owningBlock() != loop.owningBlock() ||
      value.offset() >= schema->returns().size() || schema->returns()[value.offset()].alias_info())
    return false;
  unsigned taken = 0;
  return llvm::all_of(value.uses(), [&](const torch::jit::Use &use) {
    if (use.user == &loop)
      return ++taken == 1;
    const c10::FunctionSchema *taker = use.user->maybeSchema();
    return taker && use.offset < taker->arguments().size() &&
           !taker->arguments()[use.offset].alias_info() &&
           use.user->owningBlock() == loop.owningBlock() && use.user->isBefore(&loop);
  });
}

GraphWalk::Results GraphWalk::runLoop(Node &node) {
  torch::jit::Block &block = *node.blocks()[0];
  auto lower = [&](Arguments inputs) { return runBlock(block, inputs); };
  std::vector<Val> carried;
  uint64_t owned = 0;
  for (const torch::jit::Value *input : node.inputs().slice(2)) {
    if (carried.size() < 64 && isSeenByLoopOnly(*input, node))
      owned |= uint64_t(1) << carried.size();
    carried.push_back(lookup(input));
  }
  size_t nodes = std::distance(block.nodes().begin(), block.nodes().end());
  return engine_.loop(lookup(node.inputs()[0]), lookup(node.inputs()[1]), std::move(carried),
                      Body{.lower = lower, .operations = nodes, .ownsCarried = owned});
}

// ---- Calls -------------------------------------------------------------------------------------

GraphWalk::Results GraphWalk::callFunction(torch::jit::Function &function,
                                           std::vector<Val> arguments,
                                           const mil::Name &modulePath) {
  std::shared_ptr<torch::jit::Graph> graph;
  try {
    graph = torch::jit::toGraphFunction(function).graph();
  } catch (const c10::Error &error) {
    engine_.fail(makeError(Code::ArchiveDamaged, "the code of '{0}' cannot be read: {1}",
                           function.name(), torchMessage(error.what_without_backtrace())));
    return {Val()};
  }
  unsigned depth = 0;
  for (Frame *frame = frame_; frame; frame = frame->caller)
    if (++depth > 500) {
      engine_.fail(makeError(Code::ControlFlow,
                             "calls nest too deeply at '{0}': recursion cannot be compiled",
                             function.name()));
      return {Val()};
    }
  Frame frame;
  frame.caller = frame_;
  frame.modulePath = modulePath;
  llvm::SaveAndRestore here(frame_, &frame);
  return runBlock(*graph->block(), arguments);
}

/// "forward", or "forward3" as a trace calls a later use of the same module.
static bool isForward(llvm::StringRef method) {
  return method.consume_front("forward") && llvm::all_of(method, llvm::isDigit);
}

GraphWalk::Results GraphWalk::callMethod(Node &node, Arguments arguments) {
  auto self = arguments[0].known();
  if (!self || !self->isObject())
    return {};
  auto object = self->toObject();
  torch::jit::Function *method = object->type()->findMethod(node.s(attr::name));
  if (!method) {
    engine_.fail(makeError(Code::NoSuchModel, "'{0}' has no method '{1}'",
                           object->type()->repr_str(), node.s(attr::name)));
    return {};
  }
  auto known = objectPaths_.find(object.get());
  mil::Name path = known == objectPaths_.end() ? frame_->modulePath : mil::Name(known->second);
  auto base = [&](std::vector<Val> given) { return callFunction(*method, std::move(given), path); };
  if (options_.moduleHook && isForward(node.s(attr::name)))
    return options_.moduleHook->call(engine_, *object, arguments.vec(), base);
  return base(arguments.vec());
}

// ---- Attributes --------------------------------------------------------------------------------

std::string GraphWalk::pathOf(const c10::ivalue::Object &instance, const std::string &name) const {
  std::string parent = objectPaths_.lookup(&instance);
  return parent.empty() ? name : parent + "." + name;
}

Val GraphWalk::getAttr(Node &node, const Val &object) {
  auto self = object.known();
  if (!self || !self->isObject())
    return Val();
  return readAttribute(const_cast<c10::ivalue::Object &>(self->toObjectRef()), node.s(attr::name));
}

Val GraphWalk::readAttribute(c10::ivalue::Object &instance, const std::string &name) {
  size_t slot = instance.type()->getAttributeSlot(name);
  if (const Val *kept = engine_.slot(instance, slot))
    return *kept;
  std::string path = pathOf(instance, name);
  if (options_.moduleHook)
    if (auto replaced = options_.moduleHook->attribute(engine_, instance, name, path))
      return std::move(*replaced);
  const c10::IValue &value = instance.getSlot(slot);
  if (value.isObject()) {
    objectPaths_.try_emplace(&value.toObjectRef(), path);
    return Val(value);
  }
  Val result = engine_.fromIValue(value, path, /*fromWeight=*/true);
  // Lists and dictionaries are mutable: every read gives the same object.
  if (result.list() || result.dict())
    engine_.keepSlot(instance, slot, result);
  engine_.readFrom(instance, slot, result);
  return result;
}

void GraphWalk::setAttr(Node &node, const Val &object, const Val &value) {
  auto self = object.known();
  if (!self || !self->isObject())
    return;
  auto &instance = const_cast<c10::ivalue::Object &>(self->toObjectRef());
  const std::string &name = node.s(attr::name);
  size_t slot = instance.type()->getAttributeSlot(name);
  if (localObjects_.contains(&instance))
    return engine_.writeSlot(instance, slot, value);
  Val before = readAttribute(instance, name);
  engine_.assignAttribute(instance, slot, pathOf(instance, name), before, value);
}

} // namespace plait::frontend
