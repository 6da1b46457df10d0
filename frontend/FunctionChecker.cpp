// Opening a model and lowering a method onto nothing.
#include "frontend/FunctionChecker.h"

#include "frontend/script/ScriptFunction.h"
#include "support/Failure.h"
#include "support/TorchMessage.h"

namespace plait::frontend {

bool areAlike(const ModelFunction &a, const ModelFunction &b) {
  return a.model == b.model && a.module == b.module && a.method == b.method &&
         a.states == b.states && a.inputs == b.inputs && a.outputs == b.outputs &&
         a.constants == b.constants && a.isTracedWithConstants == b.isTracedWithConstants &&
         a.classes == b.classes && a.descriptions == b.descriptions;
}

struct FunctionChecker::State {
  Models files;
  std::optional<ModelFunction> last; ///< of a file, and found right: the base of adapters
};

FunctionChecker::FunctionChecker() : state_(std::make_unique<State>()) {}
FunctionChecker::~FunctionChecker() = default;

Models &FunctionChecker::models() { return state_->files; }

/// What is on the meta device has sizes and no values.
static Error checkValues(const torch::jit::Module &module) {
  auto check = [](const auto &tensors, const char *kind) -> Error {
    for (const auto &tensor : tensors)
      if (tensor.value.defined() && tensor.value.is_meta())
        return makeFailure(
            FailureKind::Input, Code::MetaDevice,
            fmt::format("{0} '{1}' is on the meta device, where there are no values to export; "
                        "move the module to the host and load its weights first",
                        kind, tensor.name));
    return Error::success();
  };
  if (Error error = check(module.named_parameters(), "parameter"))
    return error;
  return check(module.named_buffers(), "buffer");
}

static bool isOnHost(const torch::jit::Module &module) {
  auto all = [](const auto &tensors) {
    for (const at::Tensor &tensor : tensors)
      if (tensor.defined() && !tensor.device().is_cpu())
        return false;
    return true;
  };
  return all(module.parameters()) && all(module.buffers());
}

/// What is wrong with what is said of the model, and not with the model.
static Error lower(Models &models, const ModelFunction &declared) {
  mil::Program nothing;
  std::vector<Warning> warnings;
  Error error = models.lower(nothing, declared, LoweringOptions(), warnings);
  if (!error)
    return Error::success();
  Failure failure = takeFailure(std::move(error));
  return failure.kind == FailureKind::Unsupported ? Error::success()
                                                  : makeFailure(std::move(failure));
}

Error FunctionChecker::check(const ModelFunction &declared) {
  auto ofModel = [&](Error error, FailureKind kind) {
    return addContext(classify(std::move(error), kind), declared.model);
  };
  try {
    if (!declared.module) {
      if (state_->last && areAlike(*state_->last, declared))
        return Error::success();
      if (Error error = lower(state_->files, declared))
        return error;
      state_->last = declared;
      return Error::success();
    }
    if (Error error = checkValues(*declared.module))
      return ofModel(std::move(error), FailureKind::Input);
    if (!isOnHost(*declared.module))
      return ofModel(checkSignature(*declared.module, declared), FailureKind::Option);
    Models memory; // that keeps nothing of the module alive
    return lower(memory, declared);
  } catch (const c10::Error &error) {
    return ofModel(
        makeError(Code::ModelRaises, "{0}", torchMessage(error.what_without_backtrace())),
        FailureKind::Input);
  }
}

} // namespace plait::frontend
