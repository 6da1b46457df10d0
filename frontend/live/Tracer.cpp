// Tracing, twice or three times, and the comparison of the traces.
#include "frontend/live/Tracer.h"

#include "frontend/live/GraphDiff.h"
#include "frontend/live/ModuleMirror.h"
#include "frontend/live/ProcessGuards.h"
#include "frontend/script/libtorch/Internals.h"
#include "support/TorchMessage.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"

#include <ATen/Functions.h>
#include <ATen/core/grad_mode.h>
#include <torch/csrc/jit/ir/ir.h>
#include <torch/nn/module.h>

#include <mutex>

namespace plait::frontend {

namespace {

std::string shapeText(at::IntArrayRef sizes) {
  return "[" +
         llvm::join(llvm::map_range(sizes, [](int64_t n) { return std::to_string(n); }), ", ") +
         "]";
}

/// What the interface makes of an example where nothing is declared.
InputSpec specOf(const at::Tensor &example) {
  InputSpec spec;
  for (int64_t size : example.sizes())
    spec.shape.push_back({size, size});
  if (example.scalar_type() == at::kBool)
    spec.dtype = mil::DType::Bool;
  else if (at::isIntegralType(example.scalar_type(), false))
    spec.dtype = mil::DType::I32;
  return spec;
}

/// Whether an example is one of what is declared.
Error checkExample(size_t index, const InputSpec &spec, const at::Tensor &example) {
  auto refuse = [&](const std::string &why) {
    return makeError("example input {0} of shape {1} {2}", index, shapeText(example.sizes()), why);
  };
  if (spec.dtype && mil::isFloat(*spec.dtype) != at::isFloatingType(example.scalar_type()))
    return refuse(std::string("is ") + at::toString(example.scalar_type()) + " where " +
                  name(*spec.dtype).str() + " is declared");
  if (!spec.enumerated.empty()) {
    for (const auto &sizes : spec.enumerated)
      if (llvm::equal(sizes, example.sizes()))
        return Error::success();
    return refuse("is none of the declared shapes");
  }
  if (spec.shape.size() != size_t(example.dim()))
    return refuse("has another rank than what is declared");
  for (auto [range, size] : llvm::zip(spec.shape, example.sizes()))
    if (size < range.lower || size > range.upper)
      return refuse("lies outside of what is declared");
  return Error::success();
}

/// Other values from those of the example, which may be indices: the same ones in another order;
/// for floating-point ones also of other sign and size.
at::Tensor otherValues(const at::Tensor &example) {
  if (example.numel() == 0)
    return example;
  if (example.scalar_type() == at::kBool)
    return example.logical_not();
  at::Tensor turned = example.flatten().flip(0).view(example.sizes());
  return at::isFloatingType(example.scalar_type()) ? turned * -0.75 + 0.125 : turned;
}

/// The example at another size that `spec` declares; undefined where there is only one.
at::Tensor otherSizes(const at::Tensor &example, const InputSpec &spec) {
  std::vector<int64_t> sizes = example.sizes().vec();
  for (const auto &shape : spec.enumerated)
    if (!llvm::equal(shape, sizes))
      sizes.assign(shape.begin(), shape.end());
  if (spec.enumerated.empty())
    for (auto [size, range] : llvm::zip(sizes, spec.shape))
      if (range.lower != range.upper) // dimensions alike stay alike
        size += size < range.upper ? 1 : -1;
  if (llvm::equal(sizes, example.sizes()))
    return {};
  at::Tensor result = example;
  for (auto [axis, size] : llvm::enumerate(sizes))
    if (size != result.size(int64_t(axis)))
      result = result.index_select(
          int64_t(axis), at::arange(size, at::TensorOptions(at::kLong).device(example.device()))
                             .remainder(result.size(int64_t(axis))));
  return result;
}

struct Trace {
  torch::jit::Module self;
  std::shared_ptr<torch::jit::Graph> graph;
};

class Tracing {
public:
  explicit Tracing(const TraceRequest &request) : request_(request) {}

  Expected<TracedModel> run() {
    TracedModel result;
    result.inputs = request_.inputs;
    if (result.inputs.empty())
      for (const at::Tensor &example : request_.examples)
        result.inputs.push_back(specOf(example));
    if (result.inputs.size() != request_.examples.size())
      return makeError("{0} inputs are declared and {1} examples given; each input needs one",
                       result.inputs.size(), request_.examples.size());
    for (auto [index, example] : llvm::enumerate(request_.examples)) {
      if (!example.defined())
        return makeError("example input {0} is undefined", index);
      if (Error error = checkExample(index, result.inputs[index], example))
        return error;
    }
    auto first = once(request_.examples);
    if (!first)
      return addContext(first.takeError(), "the model cannot be traced");
    if (Error error = compareValues(*first, result.warnings))
      return error;
    if (Error error = compareSizes(*first, result))
      return error;
    auto *function = first->self._ivalue()->compilation_unit()->create_function(
        c10::QualifiedName(*first->self.type()->name(), "forward"), first->graph);
    first->self.type()->addMethod(function);
    result.module = std::make_shared<torch::jit::Module>(first->self);
    return result;
  }

private:
  Expected<Trace> once(const std::vector<at::Tensor> &inputs) {
    const libtorch::Internals *internals = libtorch::internals();
    if (!internals)
      return makeError(
          "this plait was built without LibTorch's tracer (PLAIT_LIBTORCH_INTERNALS=OFF); script "
          "the model, or save it as TorchScript and add the file");
    libtorch::TraceCall call{mirror(request_.module), {}, {}, request_.call};
    for (auto [index, input] : llvm::enumerate(inputs)) {
      call.inputs.push_back(input.detach().clone()); // the model may write to its arguments
      const std::string name =
          index < request_.inputs.size() ? request_.inputs[index].name : std::string();
      call.names.push_back(!name.empty()        ? name
                           : inputs.size() == 1 ? "input"
                                                : "input_" + std::to_string(index));
    }
    try {
      Trace result{call.self, nullptr};
      result.graph = internals->trace(std::move(call));
      return result;
    } catch (const c10::Error &error) {
      std::string message = torchMessage(error.what_without_backtrace());
      if (llvm::StringRef(message).contains("requires grad as a constant"))
        return makeError(
            "it uses a parameter that is registered in no module; register it, or give "
            "the module that holds it beside the callable");
      return makeError("{0}", message);
    } catch (const std::exception &error) {
      return makeError("{0}", error.what());
    }
  }

  Error compareValues(const Trace &first, std::vector<std::string> &warnings) {
    std::vector<at::Tensor> inputs;
    for (const at::Tensor &example : request_.examples)
      inputs.push_back(otherValues(example));
    auto second = once(inputs);
    std::optional<std::string> difference;
    if (second)
      difference = firstDifference(*first.graph, *second->graph);
    else
      difference = "the model fails with other values: " + toString(second.takeError());
    if (difference)
      warnings.push_back("the trace depends on the values of the inputs (" + *difference +
                         "): control flow is frozen as the examples decided it; make both branches "
                         "tensor operations, or script the model");
    return Error::success();
  }

  Error compareSizes(const Trace &first, TracedModel &result) {
    std::vector<at::Tensor> inputs;
    bool any = false;
    for (auto [example, spec] : llvm::zip(request_.examples, result.inputs)) {
      at::Tensor other = otherSizes(example, spec);
      any |= other.defined();
      inputs.push_back(other.defined() ? other : example);
    }
    if (!any)
      return Error::success();
    auto second = once(inputs);
    if (!second) {
      std::string shapes = llvm::join(
          llvm::map_range(inputs, [](const at::Tensor &t) { return shapeText(t.sizes()); }), ", ");
      return makeError("the model runs at the sizes of the examples and not at others that are "
                       "declared ({0}): {1}",
                       shapes, toString(second.takeError()));
    }
    if (auto difference = firstDifference(*first.graph, *second->graph))
      return makeError(
          "the trace holds sizes of the examples as plain numbers ({0}), so it is wrong "
          "at other sizes; in C++ size() gives a number that no trace can follow: use "
          "-1, flatten, unflatten or expand_as, declare fixed shapes, or script the "
          "model",
          *difference);
    return Error::success();
  }

  const TraceRequest &request_;
};

void collectTensors(const torch::nn::Module *module, std::vector<at::Tensor> &all,
                    std::vector<at::Tensor> &buffers) {
  if (!module)
    return;
  for (const at::Tensor &parameter : module->parameters())
    all.push_back(parameter);
  for (const at::Tensor &buffer : module->buffers()) {
    all.push_back(buffer);
    buffers.push_back(buffer);
  }
}

} // namespace

Expected<TracedModel> trace(const TraceRequest &request) {
  static std::mutex oneAtATime;
  std::scoped_lock lock(oneAtATime);
  try {
    at::NoGradGuard noGrad;
    std::vector<at::Tensor> tensors = request.examples, buffers;
    collectTensors(request.module, tensors, buffers);
    RandomGuard random(tensors);
    EvaluationGuard modes(request.module);
    BufferGuard contents(buffers);
    return Tracing(request).run();
  } catch (const c10::Error &error) {
    return makeError("{0}", torchMessage(error.what_without_backtrace()));
  } catch (const std::exception &error) {
    return makeError("{0}", error.what());
  }
}

} // namespace plait::frontend
