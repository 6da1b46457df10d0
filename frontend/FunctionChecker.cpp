// Opening a model and looking at a method.
#include "frontend/FunctionChecker.h"

#include "frontend/archive/ExportArchive.h"
#include "frontend/exported/ExportedInterface.h"
#include "frontend/script/ScriptFunction.h"
#include "frontend/script/libtorch/TorchArchive.h"
#include "support/Failure.h"
#include "support/TorchMessage.h"

namespace plait::frontend {

struct FunctionChecker::State {
  std::string path;
  std::optional<LoadedModule> loaded;            ///< where it is TorchScript
  std::shared_ptr<const ExportedModel> exported; ///< where it is an archive of torch.export
};

FunctionChecker::FunctionChecker() : state_(std::make_unique<State>()) {}
FunctionChecker::~FunctionChecker() = default;

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

Error FunctionChecker::check(const ModelFunction &declared) {
  auto ofModel = [&](Error error, FailureKind kind) {
    return addContext(classify(std::move(error), kind), declared.model);
  };
  try {
    if (declared.module) {
      if (Error error = checkValues(*declared.module))
        return ofModel(std::move(error), FailureKind::Input);
      return ofModel(checkSignature(*declared.module, declared), FailureKind::Option);
    }
    if (state_->path != declared.model) {
      *state_ = State();
      if (ExportArchive::isOne(splitModelPath(declared.model).file)) {
        auto loaded = ExportedModel::load(declared.model);
        if (!loaded)
          return classify(loaded.takeError(), FailureKind::File);
        state_->exported = std::move(*loaded);
      } else {
        auto loaded = loadTorchScript(declared.model);
        if (!loaded)
          return classify(loaded.takeError(), FailureKind::File);
        state_->loaded.emplace(std::move(*loaded));
      }
      state_->path = declared.model;
    }
    if (state_->exported)
      return ofModel(completedInterface(*state_->exported, declared).takeError(),
                     FailureKind::Option);
    return ofModel(checkSignature(state_->loaded->module, declared), FailureKind::Option);
  } catch (const c10::Error &error) {
    return ofModel(
        makeError(Code::ModelRaises, "{0}", torchMessage(error.what_without_backtrace())),
        FailureKind::Input);
  }
}

} // namespace plait::frontend
