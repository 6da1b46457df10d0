// The entry points that take LibTorch's types.
#include "plait/torch.h"

#include "api/Impl.h"
#include "frontend/Proceed.h"
#include "frontend/live/TraceInputs.h"
#include "frontend/live/Tracer.h"
#include "runtime/Tensors.h"
#include "support/TorchMessage.h"

#include <torch/csrc/jit/api/module.h>
#include <torch/csrc/jit/ir/constants.h>
#include <torch/csrc/jit/ir/ir.h>

#include <set>

namespace plait::inline v0 {

/// Runs `call`, with what LibTorch throws as the one public exception.
template <typename Call> static auto guarded(const std::string &context, Call call) {
  try {
    return call();
  } catch (const c10::Error &error) {
    std::string message = torchMessage(error.what_without_backtrace());
    refuse(Code::ArrayMismatch, context.empty() ? message : context + ": " + message,
           Exception::Reason::Input);
  }
}

/// Tells which tensors of a module were written to, or given other memory.
class Versions {
public:
  explicit Versions(const torch::jit::Module &module) {
    for (const auto &parameter : module.named_parameters())
      add(parameter.name, parameter.value);
    for (const auto &buffer : module.named_buffers())
      add(buffer.name, buffer.value);
  }
  /// What a trace uses and no module registers: those tensors are in its graph.
  void addConstants(const torch::jit::Graph &graph) {
    for (const torch::jit::Node *node : graph.nodes())
      if (node->kind() == c10::prim::Constant)
        if (auto value = torch::jit::toIValue(node->output()); value && value->isTensor())
          if (const at::Tensor &tensor = value->toTensor(); tensor.defined())
            add(c10::str(tensor.sizes(), ", registered in no module"), tensor);
  }
  std::vector<std::string> changed() {
    std::vector<std::string> names;
    for (Seen &one : seen_) {
      Stamp now = stampOf(one.tensor);
      if (now != one.stamp)
        names.push_back(one.name);
      one.stamp = now;
    }
    return names;
  }

private:
  using Stamp = std::pair<uint32_t, const void *>;
  struct Seen {
    std::string name;
    at::Tensor tensor;
    Stamp stamp;
  };
  void add(const std::string &name, const at::Tensor &tensor) {
    if (tensor.defined() && !tensor.is_inference() && // which has no version
        known_.insert(tensor.unsafeGetTensorImpl()).second)
      seen_.push_back({name, tensor, stampOf(tensor)});
  }
  static Stamp stampOf(const at::Tensor &tensor) {
    return {uint32_t(tensor._version()),
            tensor.has_storage() ? tensor.storage().unsafeGetStorageImpl() : nullptr};
  }

  std::vector<Seen> seen_;
  std::set<const void *> known_;
};

/// Adds the function, whose module is in place.
static void addModule(Compiler::Impl &impl, Added added, const torch::jit::Graph *trace = nullptr) {
  auto versions = std::make_shared<Versions>(*added.function.module);
  if (trace)
    versions->addConstants(*trace);
  added.changed = [versions] { return versions->changed(); };
  impl.add(std::move(added));
}

void add(Compiler &compiler, const std::string &name, const torch::jit::Module &module,
         FunctionOptions options) {
  refuseWhileTracing();
  Added added = makeFunction(name, options);
  added.function.model = "function '" + name + "'";
  guarded(added.function.model, [&] {
    module._ivalue(); // an empty one has none
    added.function.module = std::make_shared<const torch::jit::Module>(module);
    addModule(compiler.impl(), std::move(added));
  });
}

void addScript(Compiler &compiler, const std::string &name, const torch::jit::Module &module,
               const std::vector<at::Tensor> &examples, FunctionOptions options) {
  refuseWhileTracing();
  Added added = makeFunction(name, options, /*examples=*/true);
  added.function.model = "function '" + name + "'";
  guarded(added.function.model, [&] {
    module._ivalue();
    auto inputs = frontend::inputsOf(added.function.inputs, examples);
    if (!inputs)
      raise(addContext(inputs.takeError(), added.function.model), FailureKind::Input);
    added.function.inputs = std::move(*inputs);
    added.function.module = std::make_shared<const torch::jit::Module>(module);
    addModule(compiler.impl(), std::move(added));
  });
}

static void addTrace(Compiler &compiler, const std::string &name, frontend::TraceRequest request,
                     const FunctionOptions &options) {
  refuseWhileTracing();
  Compiler::Impl &impl = compiler.impl();
  Added added = makeFunction(name, options, /*examples=*/true);
  driver::FunctionOptions &function = added.function;
  function.model = "function '" + name + "'";
  if (!request.call)
    detail::refuseNull(name);
  if (!function.adapters.specs.empty())
    refuse(
        Code::AdapterLayer,
        function.model +
            ": an adapter is applied to modules that a TorchScript model calls, and a trace of a "
            "live one calls none; add the base as TorchScript, or trace the adapted model",
        Exception::Reason::Option);
  if (!function.constants.empty())
    refuse(Code::OptionConflict,
           function.model + ": '" + function.constants.begin()->first + "' is declared " +
               function.constants.begin()->second.str() +
               ", and the arguments of a live model have no names; leave it out and give a lambda "
               "over the tensors that calls the model with that value in its place, and then the "
               "model",
           Exception::Reason::Option);
  if (function.method != "forward")
    refuse(Code::OptionConflict,
           function.model + ": a live model has no method '" + function.method +
               "' that could be found by its name; give a lambda that calls it, and then "
               "the model",
           Exception::Reason::Option);
  // What can be refused at once is, before the model runs.
  if (llvm::Error error = driver::checkFunction(function))
    raise(std::move(error), FailureKind::Option);
  request.inputs = function.inputs;
  // What was cancelled before is the next write().
  const bool before = impl.cancelled;
  auto proceed = [&] { return before || !impl.cancelled; };
  auto traced = [&] {
    frontend::ProceedScope ending(proceed);
    return frontend::trace(request);
  }();
  if (!traced && !proceed())
    impl.cancelled = false;
  if (!traced)
    raise(addContext(traced.takeError(), function.model), FailureKind::Input);
  if (function.outputs.size() > traced->results)
    refuse(Code::OutputMismatch,
           fmt::format("{0}: {1} outputs are named, but the model gives {2}", function.model,
                       function.outputs.size(), traced->results),
           Exception::Reason::Option);
  function.inputs = std::move(traced->inputs);
  function.module = std::move(traced->module);
  // Behind what the declarations gave.
  std::move(traced->warnings.begin(), traced->warnings.end(), std::back_inserter(added.warnings));
  guarded(function.model, [&] {
    auto graph = function.module->get_method("forward").graph();
    addModule(impl, std::move(added), graph.get());
  });
}

void addTraced(Compiler &compiler, const std::string &name,
               const std::function<Outputs(const std::vector<at::Tensor> &)> &call,
               torch::nn::Module *module, const std::vector<at::Tensor> &examples,
               FunctionOptions options) {
  frontend::TraceRequest request{nullptr, module, examples, {}};
  if (call)
    request.call = [&](const std::vector<at::Tensor> &inputs) {
      Outputs outputs = call(inputs);
      return frontend::Results{std::move(outputs.tensors), std::move(outputs.names)};
    };
  addTrace(compiler, name, std::move(request), options);
}

void addCallable(Compiler &compiler, const std::string &name, const Callable &call,
                 torch::nn::Module *module, const std::vector<at::Tensor> &examples,
                 FunctionOptions options) {
  frontend::TraceRequest request{nullptr, module, examples, {}};
  if (call)
    request.call = [&](const std::vector<at::Tensor> &inputs) {
      return frontend::flatten(call(inputs));
    };
  addTrace(compiler, name, std::move(request), options);
}

namespace detail {

[[noreturn]] PLAIT_API void refuseNull(const std::string &function) {
  refuse(Code::ArrayMismatch,
         "function '" + function +
             "': there is no model: the holder or pointer is empty, or the function is null",
         Exception::Reason::Input);
}

[[noreturn]] PLAIT_API void refuseCount(std::string_view what, std::size_t given) {
  refuse(Code::OptionValue,
         std::string(what) + " does not take " + std::to_string(given) +
             (given == 1 ? " tensor" : " tensors") +
             "; give an example of each, or a lambda over tensors that calls it as it "
             "wants to be called",
         Exception::Reason::Input);
}

[[noreturn]] PLAIT_API void refuseAny() {
  refuse(Code::LibraryMisuse,
         "the AnyModule gives something else than tensors, tuples of up to four, vectors or "
         "maps of them; give a lambda that calls its module, and then the module",
         Exception::Reason::Input);
}

} // namespace detail

void detail::collectValue(const c10::IValue &value, const std::string &name, Outputs &outputs) {
  frontend::Results results = frontend::flatten(value, name);
  std::move(results.tensors.begin(), results.tensors.end(), std::back_inserter(outputs.tensors));
  std::move(results.names.begin(), results.names.end(), std::back_inserter(outputs.names));
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
    refuse(Code::ArrayMismatch, what + " is undefined", Exception::Reason::Input);
  for (auto [scalar, dtype] : types)
    if (tensor.scalar_type() == scalar)
      return runtime::toTensorData(tensor.detach().cpu().clone(), dtype);
  refuse(Code::ArrayMismatch,
         what + " is " + at::toString(tensor.scalar_type()) + ", which no function takes",
         Exception::Reason::Input);
}

Array toArray(const at::Tensor &tensor) {
  return guarded("", [&] { return toArray(toConstant("the tensor", tensor)); });
}

/// A copy: what the interpreter gives may be an input's memory, or a weight's.
static at::Tensor toTensor(const mil::TensorData &data) {
  return valueOrRaise(runtime::toTensor(data, runtime::Compute::Float32, /*evaluator=*/nullptr))
      .clone(at::MemoryFormat::Contiguous);
}

at::Tensor toTensor(const Array &array) {
  return guarded("", [&] { return toTensor(toTensorData("the array", array)); });
}

std::map<std::string, at::Tensor> run(Session &session,
                                      const std::map<std::string, at::Tensor> &inputs) {
  Session::Impl &impl = session.impl();
  return guarded("", [&] {
    std::vector<runtime::NamedTensor> tensors;
    for (const auto &[name, tensor] : inputs)
      tensors.push_back({name, toConstant("input '" + name + "'", tensor)});
    std::map<std::string, at::Tensor> results;
    for (const runtime::NamedResult &result : impl.run(tensors)) {
      const mil::TensorData *tensor = result.value.tensor();
      if (!tensor)
        refuse(Code::ArrayMismatch, "output '" + result.name + "' is " + result.value.type().str() +
                                        "; only tensors can be given back");
      results[result.name] = toTensor(*tensor);
    }
    return results;
  });
}

void setStates(Session &session, const std::map<std::string, at::Tensor> &states) {
  Session::Impl &impl = session.impl();
  guarded("", [&] {
    std::vector<runtime::NamedTensor> tensors;
    for (const auto &[name, tensor] : states)
      tensors.push_back({name, toConstant("state '" + name + "'", tensor)});
    impl.setStates(tensors);
  });
}

std::map<std::string, at::Tensor> states(const Session &session) {
  const Session::Impl &impl = session.impl();
  return guarded("", [&] {
    std::map<std::string, at::Tensor> result;
    for (const runtime::NamedTensor &state : impl.runner.states())
      result[state.name] = toTensor(state.value);
    return result;
  });
}

} // namespace plait::inline v0
