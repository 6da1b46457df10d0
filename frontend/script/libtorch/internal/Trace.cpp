// torch::jit::tracer::trace, with a Module `self`, and an observer of what is read out of tensors.
#include "frontend/script/libtorch/internal/Trace.h"

#include <ATen/TracerMode.h>
#include <ATen/record_function.h>
#include <torch/csrc/jit/frontend/tracer.h>

#include <algorithm>
#include <set>

namespace plait::libtorch {

using torch::jit::Node;
using torch::jit::Value;

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

} // namespace

Recording recordTrace(TraceCall call) {
  torch::jit::Stack stack(call.inputs.begin(), call.inputs.end());
  auto run = [&](const torch::jit::Stack &arguments) {
    std::vector<at::Tensor> tensors;
    for (const c10::IValue &argument : arguments)
      tensors.push_back(argument.toTensor());
    torch::jit::Stack results{call.call(tensors)};
    // An operator that fails while it is traced takes the recording with it.
    TORCH_CHECK(torch::jit::tracer::isTracing(),
                "the model goes on after an error of LibTorch's, and nothing behind that is "
                "recorded; ask before the call what would make it fail");
    return results;
  };
  Recording result;
  Observer observer(result.reads);
  auto traced = torch::jit::tracer::trace(
      std::move(stack), run, [](const at::Tensor &) { return std::string(); },
      /*strict=*/false, /*force_outplace=*/false, &call.self, call.names);
  result.graph = traced.first->graph;
  return result;
}

} // namespace plait::libtorch
