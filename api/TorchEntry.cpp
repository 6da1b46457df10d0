// The entry points that take LibTorch's types.
#include "plait/torch.h"

#include "api/Impl.h"
#include "frontend/live/Tracer.h"
#include "runtime/Tensors.h"
#include "support/TorchMessage.h"

#include <torch/csrc/jit/api/module.h>

namespace plait::inline v0 {

void add(Compiler &compiler, const std::string &name, const torch::jit::Module &module,
         FunctionOptions options) {
  driver::FunctionOptions function = makeFunction(name, options);
  function.model = "function '" + name + "'";
  function.module = std::make_shared<const torch::jit::Module>(module);
  compiler.impl().add(std::move(function));
}

void addCallable(Compiler &compiler, const std::string &name, const Callable &call,
                 torch::nn::Module *module, const std::vector<at::Tensor> &examples,
                 FunctionOptions options) {
  Compiler::Impl &impl = compiler.impl();
  driver::FunctionOptions function = makeFunction(name, options);
  function.model = "function '" + name + "'";
  if (!function.adapters.specs.empty())
    throw Exception(
        function.model +
        ": an adapter is applied to modules that a TorchScript model calls, and a trace "
        "of a live one calls none; add the base as TorchScript, or trace the adapted "
        "model");
  auto traced = frontend::trace({call, module, examples, function.inputs});
  if (!traced)
    raise(addContext(traced.takeError(), function.model));
  for (const std::string &warning : traced->warnings) {
    std::string text = impl.options.multifunction ? name + ": " + warning : warning;
    if (impl.log)
      impl.log(Severity::warning, text);
    impl.tracingWarnings.push_back(std::move(text));
  }
  function.inputs = std::move(traced->inputs);
  function.module = std::move(traced->module);
  impl.add(std::move(function));
}

/// A copy: a state may keep an input's memory.
static mil::TensorData toConstant(const std::string &what, const at::Tensor &tensor) {
  static const std::pair<at::ScalarType, mil::DType> types[] = {
      {at::kFloat, mil::DType::F32}, {at::kDouble, mil::DType::F64},
      {at::kHalf, mil::DType::F16},  {at::kBFloat16, mil::DType::BF16},
      {at::kLong, mil::DType::I64},  {at::kInt, mil::DType::I32},
      {at::kShort, mil::DType::I16}, {at::kChar, mil::DType::I8},
      {at::kByte, mil::DType::U8},   {at::kBool, mil::DType::Bool}};
  if (!tensor.defined())
    throw Exception(what + " is undefined");
  for (auto [scalar, dtype] : types)
    if (tensor.scalar_type() == scalar)
      return runtime::toTensorData(tensor.detach().cpu().clone(), dtype);
  throw Exception(what + " is " + at::toString(tensor.scalar_type()) + ", which no function takes");
}

Array toArray(const at::Tensor &tensor) {
  try {
    return toArray(toConstant("the tensor", tensor));
  } catch (const c10::Error &error) {
    throw Exception(torchMessage(error.what_without_backtrace()));
  }
}

/// A copy: what the interpreter gives may be an input's memory, or a weight's.
static at::Tensor toTensor(const mil::TensorData &data) {
  return valueOrRaise(runtime::toTensor(data, runtime::Compute::Float32, /*evaluator=*/nullptr))
      .clone(at::MemoryFormat::Contiguous);
}

at::Tensor toTensor(const Array &array) { return toTensor(toTensorData("the array", array)); }

std::map<std::string, at::Tensor> run(Session &session,
                                      const std::map<std::string, at::Tensor> &inputs) {
  std::vector<runtime::NamedTensor> tensors;
  try {
    for (const auto &[name, tensor] : inputs)
      tensors.push_back({name, toConstant("input '" + name + "'", tensor)});
    std::map<std::string, at::Tensor> results;
    for (const runtime::NamedResult &result : session.impl().run(tensors)) {
      const mil::TensorData *tensor = result.value.tensor();
      if (!tensor)
        throw Exception("output '" + result.name + "' is " + result.value.type().str() +
                        "; only tensors can be given back");
      results[result.name] = toTensor(*tensor);
    }
    return results;
  } catch (const c10::Error &error) {
    throw Exception(torchMessage(error.what_without_backtrace()));
  }
}

void setStates(Session &session, const std::map<std::string, at::Tensor> &states) {
  std::vector<runtime::NamedTensor> tensors;
  try {
    for (const auto &[name, tensor] : states)
      tensors.push_back({name, toConstant("state '" + name + "'", tensor)});
  } catch (const c10::Error &error) {
    throw Exception(error.what_without_backtrace());
  }
  session.impl().setStates(tensors);
}

std::map<std::string, at::Tensor> states(const Session &session) {
  std::map<std::string, at::Tensor> result;
  for (const runtime::NamedTensor &state : session.impl().runner.states())
    result[state.name] = toTensor(state.value);
  return result;
}

} // namespace plait::inline v0
