// A trace with a Module `self`, and an observer of what is read out of tensors.
//
// torch::jit::tracer::trace() does the same. It also makes methods of the calls of modules, of
// which C++ has none, and on the way it analyses aliases, checks the graph and copies every
// attribute: more than half of the time that a model of thousands of layers takes, in which nothing
// can end it.
#include "frontend/script/libtorch/internal/Trace.h"

#include <ATen/TracerMode.h>
#include <ATen/record_function.h>
#include <torch/csrc/jit/frontend/tracer.h>
#include <torch/csrc/jit/passes/dead_code_elimination.h>
#include <torch/csrc/jit/passes/normalize_ops.h>

#include <algorithm>
#include <set>

namespace plait::libtorch {

using torch::jit::Node;
using torch::jit::Value;
using torch::jit::tracer::TracingState;

namespace {

thread_local std::vector<ValueRead> *readsHere = nullptr;

/// Whether `value` is made of inputs of the graph: all but the first, which is the module.
bool dependsOnInputs(Value *value, std::set<const Value *> &seen) {
  if (!seen.insert(value).second)
    return false;
  Node *node = value->node();
  if (node->kind() == c10::prim::Param)
    return value != node->outputs()[0];
  return std::any_of(node->inputs().begin(), node->inputs().end(),
                     [&](Value *input) { return dependsOnInputs(input, seen); });
}

void noteRead(const c10::IValue &tensor) {
  const auto &state = torch::jit::tracer::getTracingState();
  if (!tensor.isTensor() || !state->hasValue(tensor))
    return; // a constant
  Value *value = state->getValue(tensor);
  std::set<const Value *> seen;
  if (!dependsOnInputs(value, seen))
    return;
  ValueRead read{0, "an input"};
  if (Node *maker = value->node(); maker->kind() != c10::prim::Param) {
    read.name = maker->kind().toQualString();
    for (Node *node : state->graph->nodes()) {
      read.operation += isOperation(*node);
      if (node == maker)
        break;
    }
  }
  if (std::find(readsHere->begin(), readsHere->end(), read) == readsHere->end())
    readsHere->push_back(std::move(read));
}

/// Whether at::equal() of the two decides by their values: a tensor is equal to itself, and of
/// shapes that differ a trace at other sizes tells. Attention asks so whether its inputs are one.
bool decidesByValues(c10::ArrayRef<const c10::IValue> inputs) {
  const auto &state = torch::jit::tracer::getTracingState();
  if (inputs.size() != 2 || !inputs[0].isTensor() || !inputs[1].isTensor())
    return true;
  if (inputs[0].toTensor().sizes() != inputs[1].toTensor().sizes())
    return false;
  return !state->hasValue(inputs[0]) || !state->hasValue(inputs[1]) ||
         state->getValue(inputs[0]) != state->getValue(inputs[1]);
}

/// What operations do inside is recorded as the operation: then the tracer does not listen.
std::unique_ptr<at::ObserverContext> observe(const at::RecordFunction &call) {
  if (!readsHere || !torch::jit::tracer::isTracing() || !at::tracer::impl::is_dispatch_enabled())
    return nullptr;
  std::string_view name = call.name();
  if (name == "aten::_local_scalar_dense" ||
      (name == "aten::equal" && decidesByValues(call.inputs())))
    for (const c10::IValue &input : call.inputs())
      noteRead(input);
  return nullptr;
}

class Observer {
public:
  explicit Observer(std::vector<ValueRead> &reads) { readsHere = &reads; }
  ~Observer() {
    at::removeCallback(handle_);
    readsHere = nullptr;
  }

private:
  at::RecordFunctionGuard enabled_{true};
  at::CallbackHandle handle_ = at::addThreadLocalCallback(
      at::RecordFunctionCallback(observe).needsInputs(true).scopes({at::RecordScope::FUNCTION}));
};

/// Operations of this thread are recorded while it lives.
class TracingScope {
public:
  explicit TracingScope(std::shared_ptr<TracingState> state) {
    torch::jit::tracer::setTracingState(std::move(state));
  }
  ~TracingScope() { torch::jit::tracer::abandon(); }
};

/// Makes the tensors of a module known as attributes; of a tied one the first counts.
void declare(TracingState &state, Value *self, const torch::jit::Module &module,
             const std::function<void()> &step) {
  step();
  for (const auto &attribute : module.named_attributes(/*recurse=*/false)) {
    const c10::IValue &content = attribute.value;
    if (content.isTensor() && !state.hasValue(content)) {
      Value *value = state.graph->insertGetAttr(self, attribute.name);
      value->setType(c10::TensorType::create(content.toTensor()));
      state.setValue(content, value);
    } else if (content.isModule()) {
      declare(state, state.graph->insertGetAttr(self, attribute.name), content.toModule(), step);
    }
  }
}

/// Takes out what nobody uses. Operations that write in place need LibTorch to see which tensors
/// share memory; a graph without them needs no such analysis, which is most of the work.
void simplify(const std::shared_ptr<torch::jit::Graph> &graph, const std::function<void()> &step) {
  torch::jit::EliminateDeadCode(graph->block());
  step();
  bool writes = false;
  for (const Node *node : graph->nodes()) {
    const c10::FunctionSchema *schema = node->maybeSchema();
    writes |= schema && schema->is_mutable();
  }
  if (writes)
    torch::jit::EliminateDeadCode(graph);
  step();
  torch::jit::NormalizeOps(graph);
}

} // namespace

Recording recordTrace(TraceCall call) {
  TORCH_CHECK(!torch::jit::tracer::isTracing(), "Tracing can't be nested");
  auto state = std::make_shared<TracingState>();
  state->strict = false;
  Recording result;
  result.graph = state->graph;
  {
    Observer observer(result.reads);
    TracingScope recording(state);
    Value *self = state->graph->addInput("self")->setType(call.self._ivalue()->type());
    for (size_t i = 0; i < call.inputs.size(); ++i) {
      Value *value = state->graph->addInput(call.names[i]);
      value->setType(c10::TensorType::create(call.inputs[i]));
      state->setValue(call.inputs[i], value);
    }
    declare(*state, self, call.self, call.step);
    c10::IValue results = call.call(call.inputs);
    // An operator that fails while it is traced takes the recording with it.
    TORCH_CHECK(torch::jit::tracer::isTracing(),
                "the model goes on after an error of LibTorch's, and nothing behind that is "
                "recorded; ask before the call what would make it fail");
    state->graph->registerOutput(state->getOutput(results, 0));
  }
  call.step();
  simplify(result.graph, call.step);
  return result;
}

} // namespace plait::libtorch
