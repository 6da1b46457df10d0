// The walk over a TorchScript graph: dispatch of one node, calls, attributes, diagnostics.
#include "frontend/engine/Engine.h"
#include "frontend/script/ModuleHook.h"

#include "llvm/ADT/MapVector.h"
#include "llvm/ADT/ScopeExit.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/ADT/StringSwitch.h"

#include <ATen/core/class_type.h>
#include <ATen/core/grad_mode.h>
#include <torch/csrc/jit/api/function_impl.h>
#include <torch/csrc/jit/ir/constants.h>

namespace plait::frontend {

namespace prim = c10::prim;
namespace attr = c10::attr;

Engine::Engine(mil::Function &function, EngineOptions options)
    : function_(function), options_(std::move(options)), builder_(function.body()) {}

// ---- Making values -----------------------------------------------------------------------------

Val::TensorPtr Engine::makeObject(std::shared_ptr<Cell> cell) {
  auto object = std::make_shared<TensorObj>();
  object->serial = nextSerial_++;
  object->shape = cell->shape;
  object->strides = contiguousStrides(cell->shape);
  object->cell = std::move(cell);
  return object;
}

Val Engine::makeTensor(mil::Value *value, at::ScalarType dtype) {
  if (mil::Builder::isPoison(value))
    return Val();
  auto cell = std::make_shared<Cell>();
  cell->serial = nextSerial_++;
  cell->shape.assign(value->type.shape().begin(), value->type.shape().end());
  cell->content = value;
  cell->dtype = dtype;
  cell->version = nextVersion_++;
  for (auto [axis, d] : llvm::enumerate(value->type.shape()))
    if (d.isSymbol())
      symbolSources_[d.str()].push_back({value, int(axis), scopes_.back()});
  return Val(makeObject(std::move(cell)));
}

Val Engine::makeKnown(KnownTensor known, llvm::StringRef attribute) {
  auto cell = std::make_shared<Cell>();
  cell->serial = nextSerial_++;
  for (int64_t size : known.tensor.sizes())
    cell->shape.push_back(size);
  cell->dtype = known.tensor.scalar_type();
  cell->content = std::move(known);
  cell->version = nextVersion_++;
  cell->attribute = attribute.str();
  return Val(makeObject(std::move(cell)));
}

Val Engine::makeDimTensor(Dim dim, at::ScalarType dtype) {
  if (dim.isConst())
    return makeKnown({at::scalar_tensor(dim.value(), dtype)});
  auto cell = std::make_shared<Cell>();
  cell->serial = nextSerial_++;
  cell->content = std::move(dim);
  cell->dtype = dtype;
  cell->version = nextVersion_++;
  return Val(makeObject(std::move(cell)));
}

Val Engine::makeList(c10::TypePtr elementType, std::vector<Val> values) {
  auto list = std::make_shared<ListObj>();
  list->elementType = std::move(elementType);
  list->values = std::move(values);
  list->serial = nextSerial_++;
  return Val(std::move(list));
}

Val Engine::makeTuple(c10::TypePtr type, std::vector<Val> values) {
  auto tuple = std::make_shared<TupleObj>();
  tuple->type = std::move(type);
  tuple->values = std::move(values);
  return Val(std::move(tuple));
}

Val Engine::fromIValue(const c10::IValue &value, llvm::StringRef attribute, bool fromWeight) {
  if (value.isTensor()) {
    const at::Tensor &tensor = value.toTensor();
    if (!tensor.defined())
      return Val(c10::IValue());
    if (!fromWeight)
      return makeKnown({tensor}, attribute);
    // Tied weights are one cell: a write through one name is seen through the other.
    auto [it, fresh] = attributeCells_.try_emplace(tensor.unsafeGetTensorImpl());
    if (fresh) {
      kept_.push_back(tensor);
      mil::Origin origin = options_.originOf ? options_.originOf(tensor) : mil::Origin();
      it->second = makeKnown({tensor, true, std::move(origin)}, attribute).tensor()->cell;
    }
    return Val(makeObject(it->second));
  }
  if (value.isList()) {
    std::vector<Val> values;
    for (const c10::IValue &element : value.toListRef())
      values.push_back(fromIValue(element, attribute, fromWeight));
    Val list = makeList(value.toList().elementType(), std::move(values));
    list.list()->attribute = attribute.str();
    return list;
  }
  if (value.isTuple()) {
    std::vector<Val> values;
    for (const c10::IValue &element : value.toTupleRef().elements())
      values.push_back(fromIValue(element, attribute, fromWeight));
    return makeTuple(value.type(), std::move(values));
  }
  if (value.isGenericDict()) {
    auto dict = std::make_shared<DictObj>();
    auto source = value.toGenericDict();
    dict->keyType = source.keyType();
    dict->valueType = source.valueType();
    dict->serial = nextSerial_++;
    dict->attribute = attribute.str();
    for (const auto &entry : source)
      dict->entries.emplace_back(entry.key(), fromIValue(entry.value(), attribute, fromWeight));
    return Val(std::move(dict));
  }
  if (value.isDevice()) // a model traced on another device runs on this one
    return Val(c10::IValue(at::Device(at::kCPU)));
  return Val(value);
}

bool Engine::hasPoison(const Val &val) {
  if (val.isPoison())
    return true;
  if (auto list = val.list())
    return llvm::any_of(list->values, hasPoison);
  if (auto tuple = val.tuple())
    return llvm::any_of(tuple->values, hasPoison);
  if (auto dict = val.dict())
    return llvm::any_of(dict->entries, [](const auto &entry) { return hasPoison(entry.second); });
  return false;
}

// ---- Diagnostics -------------------------------------------------------------------------------

void Engine::addProblem(std::string what, bool isUnsupported) {
  problems_.push_back(
      {std::move(what), isUnsupported, modulePath().str(), builder_.location().source()});
}

void Engine::fail(Error error) { addProblem(llvm::toString(std::move(error)), false); }

void Engine::unsupported(llvm::StringRef name) { addProblem(name.str(), true); }

void Engine::warn(const llvm::Twine &message) {
  std::string text = message.str();
  if (!llvm::is_contained(warnings_, text))
    warnings_.push_back(std::move(text));
}

static std::string whereOf(const Problem &problem) {
  std::string where = problem.modulePath.empty() ? "" : " in module '" + problem.modulePath + "'";
  return problem.location.empty() ? where : where + " at " + problem.location;
}

Error Engine::takeError() {
  if (problems_.empty())
    return Error::success();
  struct Group {
    unsigned count = 0;
    const Problem *first = nullptr;
  };
  llvm::MapVector<llvm::StringRef, Group, llvm::StringMap<unsigned>> unsupportedOps, refusals;
  for (const Problem &problem : problems_) {
    Group &group = (problem.unsupported ? unsupportedOps : refusals)[problem.what];
    if (!group.count++)
      group.first = &problem;
  }
  std::string text;
  if (!unsupportedOps.empty()) {
    text = fmt::format("{0} operation{1} not supported:", unsupportedOps.size(),
                       unsupportedOps.size() == 1 ? " is" : "s are");
    for (const auto &[name, group] : unsupportedOps)
      text += fmt::format("\n  {0} ({1} use{2}), first{3}", name, group.count,
                          group.count == 1 ? "" : "s", whereOf(*group.first));
    text += "\nrewrite the model with supported operations, or move this part out of it";
  }
  for (const auto &[message, group] : refusals) {
    if (!text.empty())
      text += "\n";
    text += message.str() + whereOf(*group.first);
    if (group.count > 1)
      text += fmt::format(" (and {0} more)", group.count - 1);
  }
  problems_.clear();
  return makeError("{0}", text);
}

// ---- The walk ----------------------------------------------------------------------------------

Val Engine::run(const c10::IValue &self, torch::jit::Function &method, std::vector<Val> arguments) {
  at::NoGradGuard noGrad;
  objectPaths_[&self.toObjectRef()] = "";
  arguments.insert(arguments.begin(), Val(self));
  auto results = callFunction(method, std::move(arguments), "");
  return results.empty() ? Val() : results[0];
}

std::vector<Val> Engine::callFunction(torch::jit::Function &function, std::vector<Val> arguments,
                                      const mil::Name &modulePath) {
  std::shared_ptr<torch::jit::Graph> graph;
  try {
    graph = torch::jit::toGraphFunction(function).graph();
  } catch (const c10::Error &error) {
    fail(makeError("the code of '{0}' cannot be read: {1}", function.name(),
                   error.what_without_backtrace()));
    return {Val()};
  }
  unsigned depth = 0;
  for (Frame *frame = frame_; frame; frame = frame->caller)
    if (++depth > 500) {
      fail(makeError("calls nest too deeply at '{0}': recursion cannot be compiled",
                     function.name()));
      return {Val()};
    }
  Frame frame;
  frame.caller = frame_;
  frame.modulePath = modulePath;
  for (auto [input, argument] : llvm::zip(graph->inputs(), arguments))
    frame.env[input] = argument;
  Node *caller = node_;
  frame_ = &frame;
  runBlock(*graph->block());
  std::vector<Val> results;
  for (const torch::jit::Value *output : graph->outputs())
    results.push_back(lookup(output));
  frame_ = frame.caller;
  node_ = caller;
  return results;
}

Val Engine::lookup(const torch::jit::Value *value) {
  auto it = frame_->env.find(value);
  assert(it != frame_->env.end() && "TorchScript graphs are in order");
  return it->second;
}

void Engine::bind(const torch::jit::Value *value, Val val) { frame_->env[value] = std::move(val); }

void Engine::runBlock(torch::jit::Block &block) {
  for (Node *node : block.nodes())
    runNode(*node);
}

void Engine::runNode(Node &node) {
  // Nodes of a branch, a loop's body or a call stand inside of this one, which goes on afterwards.
  const mil::Location outer = builder_.location();
  auto leave = llvm::make_scope_exit([&] { builder_.setLocation(outer); });
  if (options_.locationOf)
    builder_.setLocation(options_.locationOf(node, modulePath()));
  node_ = &node;
  if (node.kind() == prim::If)
    return runIf(node);
  if (node.kind() == prim::Loop)
    return runLoop(node);
  std::vector<Val> arguments;
  for (const torch::jit::Value *input : node.inputs())
    arguments.push_back(lookup(input));
  std::vector<Val> results;
  try {
    results = dispatch(node, std::move(arguments));
  } catch (const c10::Error &error) {
    fail(makeError("{0}: {1}", node.kind().toQualString(), error.what_without_backtrace()));
  } catch (const std::exception &error) {
    fail(makeError("{0}: {1}", node.kind().toQualString(), error.what()));
  }
  node_ = &node;
  results.resize(node.outputs().size());
  for (auto [output, result] : llvm::zip(node.outputs(), results))
    bind(output, std::move(result));
  // What helpers of the engine could not build is a refusal of this node.
  if (builder_.failed())
    fail(addContext(builder_.takeError(), node.kind().toQualString()));
}

/// Nodes that do nothing in inference: their value is an argument, or they have none.
static std::optional<std::vector<Val>> ignored(const c10::FunctionSchema &schema,
                                               llvm::ArrayRef<Val> arguments) {
  llvm::StringRef name = schema.name();
  auto knownFalse = [&](llvm::StringRef argument) {
    for (auto [i, arg] : llvm::enumerate(schema.arguments()))
      if (arg.name() == argument.str())
        return arguments[i].known() && arguments[i].known()->isBool() &&
               !arguments[i].known()->toBool();
    return false;
  };
  static const llvm::StringSet<> dropouts = {"aten::dropout",
                                             "aten::dropout_",
                                             "aten::feature_dropout",
                                             "aten::feature_dropout_",
                                             "aten::alpha_dropout",
                                             "aten::alpha_dropout_",
                                             "aten::feature_alpha_dropout",
                                             "aten::feature_alpha_dropout_"};
  if (dropouts.contains(name) && knownFalse("train"))
    return std::vector<Val>{arguments[0]};
  if (name == "aten::native_dropout" && knownFalse("train"))
    return std::vector<Val>{arguments[0], Val()};
  static const llvm::StringSet<> statements = {"aten::warn",
                                               "aten::_assert_async",
                                               "aten::_assert_scalar",
                                               "aten::_assert_tensor_metadata",
                                               "aten::sym_constrain_range",
                                               "aten::sym_constrain_range_for_size",
                                               "aten::manual_seed",
                                               "aten::set_grad_enabled",
                                               "aten::_print",
                                               "profiler::_record_function_exit"};
  if (statements.contains(name))
    return std::vector<Val>{};
  static const llvm::StringSet<> identities = {"aten::requires_grad_", "aten::cuda", "aten::cpu",
                                               "aten::pin_memory", "aten::wait"};
  if (identities.contains(name))
    return std::vector<Val>{arguments[0]};
  return std::nullopt;
}

std::vector<Val> Engine::dispatch(Node &node, std::vector<Val> arguments) {
  if (auto handled = primitive(node, arguments))
    return std::move(*handled);
  const c10::FunctionSchema *schema = node.maybeSchema();
  if (!schema) {
    unsupported(node.kind().toQualString());
    return {};
  }
  auto results = call(*schema, std::move(arguments));
  return results ? std::move(*results) : std::vector<Val>();
}

std::optional<std::vector<Val>> Engine::call(const c10::FunctionSchema &schema,
                                             std::vector<Val> arguments) {
  // Arguments that an older graph does not have take the schema's defaults.
  for (size_t i = arguments.size(); i < schema.arguments().size(); ++i) {
    const auto &value = schema.arguments()[i].default_value();
    arguments.push_back(fromIValue(value.value_or(c10::IValue())));
  }
  if (llvm::any_of(arguments, hasPoison))
    return std::vector<Val>();
  if (auto handled = ignored(schema, arguments))
    return handled;
  if (auto handled = container(schema, arguments))
    return handled;
  if (auto handled = tensorProperty(schema, arguments))
    return handled;
  if (auto handled = scalarOperation(schema, arguments))
    return handled;
  if (auto handled = viewOperation(schema, arguments))
    return handled;
  if (auto handled = mutation(schema, arguments))
    return handled;
  if (auto handled = runKnown(schema, arguments, /*force=*/false))
    return handled;
  std::string name = schema.operator_name().overload_name.empty()
                         ? schema.name()
                         : schema.name() + "." + schema.operator_name().overload_name;
  std::optional<std::vector<Val>> results;
  if (LowerFn fn = Table::get().find(name)) {
    Call call(*this, node_, schema, arguments);
    fn(call);
    if (!call.failed() && builder_.failed())
      fail(addContext(builder_.takeError(), name));
    results = call.failed() ? std::vector<Val>() : call.takeResults();
  } else {
    results = runKnown(schema, arguments, /*force=*/true);
  }
  if (!results) {
    unsupported(name);
    return std::nullopt;
  }
  // How kernels lay out results of strided operands is theirs to know.
  bool contiguous = llvm::all_of(arguments, [](const Val &argument) {
    auto tensor = argument.tensor();
    return !tensor || isContiguous(*tensor);
  });
  if (!contiguous)
    for (Val &result : *results)
      if (auto tensor = result.tensor(); tensor && tensor->shape.size() > 1)
        tensor->strides.reset();
  // A result that the schema says may share memory with an argument was computed as a copy: writes
  // to either are refused from here on.
  for (auto [i, ret] : llvm::enumerate(schema.returns()))
    if (ret.alias_info() && i < results->size())
      for (auto [k, arg] : llvm::enumerate(schema.arguments()))
        if (arg.alias_info() && *arg.alias_info() == *ret.alias_info())
          mayAlias((*results)[i], arguments[k]);
  return results;
}

// ---- prim:: operations -------------------------------------------------------------------------

/// "forward", or "forward3" as a trace calls a later use of the same module.
static bool isForward(llvm::StringRef method) {
  return method.consume_front("forward") && llvm::all_of(method, llvm::isDigit);
}

Engine::Handled Engine::primitive(Node &node, Arguments arguments) {
  using Results = std::vector<Val>;
  c10::Symbol kind = node.kind();
  if (kind == prim::Constant) {
    if (node.output()->type()->kind() == c10::TypeKind::FunctionType)
      return Results{Val(c10::IValue())}; // read by CallFunction from the node itself
    auto value = torch::jit::toIValue(node.output());
    if (value && value->isTensor() && value->toTensor().defined())
      value = value->toTensor().cpu(); // a model traced on another device runs on this one
    return Results{value ? fromIValue(*value, "", /*fromWeight=*/value->isTensor())
                         : Val(c10::IValue())};
  }
  if (kind == prim::GetAttr)
    return Results{getAttr(node, arguments[0])};
  if (kind == prim::SetAttr) {
    setAttr(node, arguments[0], arguments[1]);
    return Results{};
  }
  if (kind == prim::CallFunction) {
    auto type = node.input(0)->type()->cast<c10::FunctionType>();
    return callFunction(*type->function(), arguments.drop_front().vec(), modulePath());
  }
  if (kind == prim::CallMethod) {
    const c10::IValue *self = arguments[0].known();
    if (!self || !self->isObject())
      return Results{};
    auto object = self->toObject();
    torch::jit::Function *method = object->type()->findMethod(node.s(attr::name));
    if (!method) {
      fail(makeError("'{0}' has no method '{1}'", object->type()->repr_str(), node.s(attr::name)));
      return Results{};
    }
    auto known = objectPaths_.find(object.get());
    mil::Name path = known == objectPaths_.end() ? modulePath() : mil::Name(known->second);
    auto base = [&](std::vector<Val> given) {
      return callFunction(*method, std::move(given), path);
    };
    if (options_.moduleHook && isForward(node.s(attr::name)))
      return options_.moduleHook->call(*this, *object, arguments.vec(), base);
    return base(arguments.vec());
  }
  if (kind == prim::Enter || kind == prim::Exit) {
    // `with`: what the object's own methods do; `torch.no_grad()` is a class of TorchScript too.
    const c10::IValue *self = arguments[0].known();
    if (!self || !self->isObject())
      return Results{};
    bool enter = kind == prim::Enter;
    auto given = arguments.vec();
    if (!enter)
      given.resize(4, Val(c10::IValue())); // no exception has occurred
    return callFunction(self->toObjectRef().type()->getMethod(enter ? "__enter__" : "__exit__"),
                        std::move(given), modulePath());
  }
  if (kind == prim::fork) {
    // What runs beside the rest in LibTorch runs here and now; `wait` then has nothing to do.
    torch::jit::Block &body = *node.g(attr::Subgraph)->block();
    for (auto [input, value] : llvm::zip(body.inputs(), arguments))
      bind(input, value);
    runBlock(body);
    return Results{lookup(body.outputs()[0])};
  }
  if (kind == prim::CreateObject) {
    auto type = node.output()->type()->expect<c10::ClassType>();
    auto object =
        c10::ivalue::Object::create(c10::StrongTypePtr(nullptr, type), type->numAttributes());
    localObjects_.insert(object.get());
    localObjectsKept_.emplace_back(object);
    return Results{Val(c10::IValue(object))};
  }
  if (kind == prim::Uninitialized)
    return Results{Val(Val::Uninitialized{})};
  if (kind == prim::unchecked_cast || kind == c10::Symbol::fromQualString("prim::data") ||
      kind == prim::AutogradZero)
    return Results{arguments[0]};
  if (kind == prim::RaiseException) {
    std::string message = arguments[0].known() && arguments[0].known()->isString()
                              ? arguments[0].known()->toStringRef()
                              : "an exception";
    fail(makeError("the model raises here for these inputs: {0}", message));
    return Results{};
  }
  if (kind == prim::Print || kind == c10::Symbol::fromQualString("prim::AssertNonZero"))
    return Results{};
  return containerPrimitive(node, arguments);
}

// ---- Attributes --------------------------------------------------------------------------------

Val Engine::getAttr(Node &node, const Val &object) {
  const c10::IValue *self = object.known();
  if (!self || !self->isObject())
    return Val();
  auto &instance = const_cast<c10::ivalue::Object &>(self->toObjectRef());
  const std::string &name = node.s(attr::name);
  size_t slot = instance.type()->getAttributeSlot(name);
  if (auto it = slots_.find({&instance, slot}); it != slots_.end())
    return it->second;
  std::string parent = objectPaths_.lookup(&instance);
  std::string path = parent.empty() ? name : parent + "." + name;
  if (options_.moduleHook)
    if (auto replaced = options_.moduleHook->attribute(*this, instance, name, path))
      return std::move(*replaced);
  const c10::IValue &value = instance.getSlot(slot);
  if (value.isObject()) {
    objectPaths_.try_emplace(&value.toObjectRef(), path);
    return Val(value);
  }
  Val result = fromIValue(value, path, /*fromWeight=*/true);
  // Lists and dictionaries are mutable: every read gives the same object.
  if (result.list() || result.dict())
    slots_[{&instance, slot}] = result;
  return result;
}

void Engine::setAttr(Node &node, const Val &object, const Val &value) {
  const c10::IValue *self = object.known();
  if (!self || !self->isObject())
    return;
  auto &instance = const_cast<c10::ivalue::Object &>(self->toObjectRef());
  const std::string &name = node.s(attr::name);
  if (!localObjects_.contains(&instance)) {
    fail(makeError("'{0}' is assigned to: what a Core ML function computes does not persist "
                   "between calls; make it "
                   "an input and an output of the model",
                   name));
    return;
  }
  std::pair<c10::ivalue::Object *, size_t> key{&instance, instance.type()->getAttributeSlot(name)};
  auto it = slots_.find(key);
  if (!journals_.empty())
    journals_.back()->slots.emplace_back(key, it == slots_.end() ? std::nullopt
                                                                 : std::optional(it->second));
  slots_[key] = value;
}

} // namespace plait::frontend
