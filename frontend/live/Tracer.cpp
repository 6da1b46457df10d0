// Tracing again and again, and the comparison of the traces.
#include "frontend/live/Tracer.h"

#include "frontend/Proceed.h"
#include "frontend/live/GraphDiff.h"
#include "frontend/live/InCall.h"
#include "frontend/live/ModuleMirror.h"
#include "frontend/live/ModuleUse.h"
#include "frontend/live/OperationStop.h"
#include "frontend/live/OwnRandom.h"
#include "frontend/live/ProcessGuards.h"
#include "frontend/live/TraceInputs.h"
#include "frontend/script/ScriptFunction.h"
#include "frontend/script/libtorch/Internals.h"
#include "support/Failure.h"
#include "support/TorchMessage.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/ScopeExit.h"
#include "llvm/ADT/StringExtras.h"

#include <ATen/core/grad_mode.h>
#include <torch/csrc/jit/ir/ir.h>
#include <torch/nn/module.h>

namespace plait::frontend {

static thread_local bool inCall = false;

bool isTracing() { return inCall; }

namespace {

struct Trace {
  torch::jit::Module self;
  libtorch::Recording recording;
  std::vector<std::string> resultNames;

  const torch::jit::Graph &graph() const { return *recording.graph; }
};

/// Thrown between two operations of the model where ProceedScope says no.
struct Cancelled {};

class Tracing {
public:
  Tracing(const TraceRequest &request, TraceActivity &activity)
      : request_(request), activity_(activity) {}

  Expected<TracedModel> run() {
    TracedModel result;
    auto inputs = inputsOf(request_.inputs, request_.examples);
    if (!inputs)
      return inputs.takeError();
    result.inputs = std::move(*inputs);
    auto first = once(request_.examples);
    if (thrown_)
      std::rethrow_exception(thrown_);
    if (!first)
      return addContext(first.takeError(), "the model cannot be traced");
    compareValues(*first, result.warnings);
    if (Error error = compareSizes(*first, result))
      return classify(std::move(error), FailureKind::Unsupported);
    std::vector<c10::TypePtr> types(first->resultNames.size(), c10::TensorType::get());
    first->recording.graph->outputs()[0]->setType(c10::TupleType::createNamed(
        c10::QualifiedName(kLiveNamespace, "Results"), first->resultNames, types));
    auto *function = first->self._ivalue()->compilation_unit()->create_function(
        c10::QualifiedName(*first->self.type()->name(), "forward"), first->recording.graph);
    first->self.type()->addMethod(function);
    result.module = std::make_shared<torch::jit::Module>(first->self);
    result.results = first->resultNames.size();
    return result;
  }

private:
  /// `thrown_` is what the model threw, where that is nothing of LibTorch's.
  Expected<Trace> once(const std::vector<at::Tensor> &inputs) {
    const libtorch::Internals *internals = libtorch::internals();
    if (!internals)
      return makeError(
          Code::LibTorchMissing,
          "this plait was built without LibTorch's tracer (PLAIT_LIBTORCH_INTERNALS=OFF); script "
          "the model, or save it as TorchScript and add the file");
    askAgain();
    OperationStop stop(ProceedScope::mayProceed);
    std::optional<Expected<Trace>> recording;
    if (stop.guard([&] { recording.emplace(record(*internals, inputs)); }))
      return std::move(*recording);
    if (recording)
      llvm::consumeError(recording->takeError());
    throw Cancelled();
  }

  static void askAgain() {
    if (!ProceedScope::mayProceed())
      throw Cancelled();
  }

  Expected<Trace> record(const libtorch::Internals &internals,
                         const std::vector<at::Tensor> &inputs) {
    if (!mirror_)
      mirror_ = mirror(request_.module, askAgain);
    Trace result{*mirror_, {}, {}};
    thrown_ = nullptr;
    auto call = [&](const std::vector<at::Tensor> &arguments) -> c10::IValue {
      Results results;
      {
        inCall = activity_.inForward = true;
        auto leave = llvm::make_scope_exit([this] { inCall = activity_.inForward = false; });
        try {
          results = request_.call(arguments);
        } catch (const c10::Error &) {
          throw;
        } catch (...) {
          thrown_ = std::current_exception();
          throw;
        }
      }
      if (results.tensors.empty())
        C10_THROW_ERROR(ValueError, "it gives no tensor; a Core ML function needs an output");
      result.resultNames = std::move(results.names);
      result.resultNames.resize(results.tensors.size());
      return c10::ivalue::Tuple::create(
          std::vector<c10::IValue>(results.tensors.begin(), results.tensors.end()));
    };
    libtorch::TraceCall traceCall{result.self, {}, {}, call, askAgain};
    for (auto [index, input] : llvm::enumerate(inputs)) {
      traceCall.inputs.push_back(input.detach().clone()); // the model may write to its arguments
      const std::string name =
          index < request_.inputs.size() ? request_.inputs[index].name : std::string();
      traceCall.names.push_back(!name.empty()        ? name
                                : inputs.size() == 1 ? "input"
                                                     : "input_" + std::to_string(index));
    }
    try {
      result.recording = internals.trace(std::move(traceCall));
      return result;
    } catch (const Cancelled &) {
      throw;
    } catch (const c10::Error &error) {
      std::string message = torchMessage(error.what_without_backtrace());
      if (llvm::StringRef(message).contains("requires grad as a constant"))
        return makeError(
            Code::TraceFails,
            "it uses a parameter that is registered in no module; register it, or give "
            "the module that holds it beside the callable");
      return makeError(Code::TraceFails, "{0}", message);
    } catch (const std::exception &error) {
      return makeError(Code::TraceFails, "{0}", error.what());
    } catch (...) {
      return makeError(Code::TraceFails, "it throws something that is no std::exception");
    }
  }

  void compareValues(const Trace &first, std::vector<Warning> &warnings) {
    std::optional<std::string> difference;
    size_t tried = 0;
    for (const Draw &draw : otherValues(request_.examples)) {
      auto second = once(draw.inputs());
      if (second)
        difference = firstDifference(first.graph(), second->graph());
      else if (std::string why = toString(second.takeError()); !draw.mayFail)
        difference = "the model fails with other values: " + why;
      else
        continue;
      ++tried;
      if (difference)
        break;
    }
    const std::vector<libtorch::ValueRead> &reads = first.recording.reads;
    std::string places =
        llvm::join(llvm::map_range(llvm::ArrayRef(reads).take_front(kReadsSaid),
                                   [&](const auto &read) { return placeOf(first.graph(), read); }),
                   ", ");
    if (reads.size() > kReadsSaid)
      places += fmt::format(" and {0} more", reads.size() - kReadsSaid);
    if (difference)
      warnings.push_back(
          {Code::TraceOfValues,
           "the trace depends on the values of the inputs (" + *difference + ")" +
               (places.empty() ? "" : "; the model reads a number out of " + places) +
               ": control flow is frozen as the examples decided it; make both branches "
               "tensor operations, or script the model"});
    else if (!places.empty())
      warnings.push_back(
          {Code::TraceOfValues,
           fmt::format("the model reads a number out of {0}: what it decides is frozen as the "
                       "examples have it, "
                       "if it decides anything ({1} other sets of values gave the same trace); "
                       "leave item() "
                       "and comparisons of tensors in an if out of forward(), or script the model",
                       places, tried)});
  }

  static constexpr size_t kReadsSaid = 3;

  /// "the result of aten::sum (operation 2, behind the one that uses 'head.weight')"
  static std::string placeOf(const torch::jit::Graph &graph, const libtorch::ValueRead &read) {
    if (read.operation == 0)
      return "an input";
    std::string parameter = lastParameter(graph, read.operation);
    return fmt::format("the result of {0} (operation {1}{2})", read.name, read.operation,
                       parameter.empty() ? "" : ", behind the one that uses '" + parameter + "'");
  }

  Error compareSizes(const Trace &first, TracedModel &result) {
    OtherSizes sizes = otherSizes(request_.examples, result.inputs);
    for (const Draw &draw : sizes.draws) {
      std::vector<at::Tensor> inputs = draw.inputs();
      auto second = once(inputs);
      if (!second && draw.mayFail) {
        llvm::consumeError(second.takeError());
        continue;
      }
      if (!second)
        return makeError(Code::TraceOfSizes,
                         "the model runs at the sizes of the examples and not at others that are "
                         "declared ({0}): {1}",
                         shapesText(inputs), toString(second.takeError()));
      if (auto difference = firstDifference(first.graph(), second->graph()))
        return makeError(
            Code::TraceOfSizes,
            "the trace holds sizes of the examples as plain numbers ({0}; one is traced at {1}, "
            "the other at {2}), so it is wrong at other sizes; in C++ size() gives a number that "
            "no trace can follow: use -1, flatten, unflatten or expand_as, declare fixed shapes, "
            "or script the model",
            *difference, shapesText(request_.examples), shapesText(inputs));
    }
    llvm::append_range(result.warnings, sizes.warnings);
    return Error::success();
  }

  const TraceRequest &request_;
  TraceActivity &activity_;
  std::optional<torch::jit::Module> mirror_; ///< of all traces
  std::exception_ptr thrown_;
};

/// LibTorch takes a null pointer for a submodule, and walks into it.
Error checkChildren(const torch::nn::Module &module, const std::string &path) {
  for (const auto &child : module.named_children()) {
    std::string name = path.empty() ? child.key() : path + "." + child.key();
    if (!child.value())
      return makeError(Code::LibraryMisuse,
                       "the submodule '{0}' is null; register a module there, or none", name);
    if (Error error = checkChildren(*child.value(), name))
      return error;
  }
  return Error::success();
}

/// What is on the meta device has sizes and no values.
Error checkTensors(const torch::nn::Module *module) {
  if (!module)
    return Error::success();
  auto check = [](const auto &named, const char *kind) -> Error {
    for (const auto &tensor : named)
      if (tensor.value().defined() && tensor.value().is_meta())
        return makeError(Code::MetaDevice,
                         "{0} '{1}' is on the meta device, where there are no values to export; "
                         "move the module to the host and load its weights first",
                         kind, tensor.key());
    return Error::success();
  };
  if (Error error = check(module->named_parameters(), "parameter"))
    return error;
  return check(module->named_buffers(), "buffer");
}

} // namespace

Expected<TracedModel> trace(const TraceRequest &request) {
  if (isTracing())
    return makeError(Code::LibraryMisuse,
                     "a forward() that is being traced adds a model itself; add it before or "
                     "after, outside of forward()");
  if (request.module)
    if (Error error = checkChildren(*request.module, ""))
      return error;
  try {
    at::NoGradGuard noGrad;
    auto use = ModuleUse::take(request.module);
    if (!use)
      return use.takeError();
    if (Error error = checkTensors(request.module))
      return error;
    std::vector<at::Tensor> buffers;
    std::vector<at::Device> devices;
    for (const at::Tensor &example : request.examples)
      if (example.defined())
        devices.push_back(example.device());
    if (request.module) {
      for (const at::Tensor &parameter : request.module->parameters())
        devices.push_back(parameter.device());
      buffers = request.module->buffers();
    }
    OwnRandom random(devices);
    EvaluationGuard modes(request.module);
    BufferGuard contents(buffers);
    return Tracing(request, use->activity()).run();
  } catch (const Cancelled &) {
    return makeFailure(FailureKind::Cancelled, Code::Cancelled,
                       "cancelled while it was traced; it is not added");
  } catch (const c10::Error &error) {
    return makeError(Code::TraceFails, "{0}", torchMessage(error.what_without_backtrace()));
  }
}

} // namespace plait::frontend
