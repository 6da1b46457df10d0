// From a model file to a function of the program: loads, declares the interface, runs the engine,
// names the outputs.
#include "frontend/Frontend.h"

#include "frontend/adapter/AdapterHook.h"
#include "frontend/live/ModuleView.h"
#include "frontend/script/ParameterNames.h"
#include "frontend/script/ScriptFunction.h"
#include "frontend/script/libtorch/ScriptSources.h"
#include "frontend/script/libtorch/TorchArchive.h"
#include "mil/MappedStorage.h"

#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/CRC.h"

namespace plait::frontend {

using AdapterFiles = std::map<std::string, std::shared_ptr<const AdapterFile>>; ///< by path

struct Models::State {
  using StorageOf = std::function<std::shared_ptr<const mil::Storage>(const at::Tensor &)>;

  /// Opened once, however many functions use them.
  AdapterFiles adapters;
  /// One storage a record of a file, however often the file is opened.
  std::map<std::pair<std::pair<uint64_t, uint64_t>, uint64_t>, std::shared_ptr<const mil::Storage>>
      storages;
  /// Of tensors in memory, by their StorageImpl, which the storage keeps alive.
  std::map<const void *, std::shared_ptr<mil::Storage>> inMemory;
  HostTensors host;
  /// The file that was lowered last: the next function is often another adapter or method of it.
  /// One at a time, since a graph takes memory. Lowering does not change it.
  std::string lastPath;
  std::optional<LoadedModule> last;
  /// Texts of what is lowered now.
  libtorch::ScriptSources sources;

  Expected<LoadedModule *> load(const std::string &path) {
    if (last && lastPath == path)
      return &*last;
    last.reset();
    sources.clear();
    auto loaded = loadTorchScript(path);
    if (!loaded)
      return loaded.takeError();
    lastPath = path;
    return &last.emplace(std::move(*loaded));
  }

  Error lower(mil::Program &program, const FunctionRequest &request,
              const torch::jit::Module &module, StorageOf storageOf,
              std::vector<std::string> &warnings, std::vector<AdapterInput> *adapterInputs);

  std::shared_ptr<const mil::Storage> storageInMemory(const at::Tensor &tensor, bool checksum) {
    if (auto copied = host.storageOf(tensor))
      return copied;
    auto &storage = inMemory[tensor.storage().unsafeGetStorageImpl()];
    if (!storage) {
      storage = Engine::storageOf(tensor);
      if (checksum)
        storage->crc = llvm::crc32(storage->bytes);
    }
    return storage;
  }

  std::shared_ptr<const mil::Storage> storageOf(const LoadedModule &loaded,
                                                const at::Tensor &tensor) {
    auto origin = loaded.findOrigin(tensor.storage().data());
    if (!origin || !loaded.file())
      return nullptr;
    auto &storage = storages[{{origin->file.getDevice(), origin->file.getFile()}, origin->offset}];
    if (!storage) {
      auto made = mil::mappedStorage(loaded.file(),
                                     loaded.file()->bytes().slice(origin->offset, origin->size));
      made->crc = origin->crc32;
      storage = std::move(made);
    }
    return storage;
  }
};

/// What the adapters of a request do to a base. The plan must stay where it is: the hook points to
/// it.
static Expected<std::unique_ptr<const AdapterPlan>>
planAdapters(AdapterFiles &files, const torch::jit::Module &base, const FunctionRequest &request,
             std::vector<std::string> &warnings) {
  if (request.adapters.empty())
    return std::make_unique<const AdapterPlan>();
  std::vector<AdapterUse> uses;
  for (const AdapterSpec &spec : request.adapters) {
    auto file = files.find(spec.path);
    if (file == files.end()) {
      auto opened = AdapterFile::open(spec.path);
      if (!opened)
        return opened.takeError();
      file = files.emplace(spec.path, std::move(*opened)).first;
    }
    uses.push_back({file->second, spec.weight});
  }
  auto plan = AdapterPlan::make(base, uses, request.adapterRoot, request.allowUnmatched, warnings);
  if (!plan)
    return addContext(plan.takeError(), request.adapters[0].path);
  return std::make_unique<const AdapterPlan>(std::move(*plan));
}

/// Only what every adapter of a base has alike can be inputs.
static Error checkInputs(const AdapterPlan &plan, const FunctionRequest &request) {
  const char *advice = "compile it with --lora keep";
  if (request.adapters.size() > 1 || request.adapters[0].weight != 1)
    return makeError("a blend of adapters cannot be inputs; {0}", advice);
  for (const AdaptedModule &module : plan.modules()) {
    if (std::vector<std::string> changed = module.changedAttributes(); !changed.empty())
      return makeError("the adapter replaces '{0}.{1}', which cannot be an input; {2}", module.path,
                       changed.front(), advice);
    if (module.tokens)
      return makeError("the adapter replaces rows of '{0}', which cannot be inputs; {1}",
                       module.path, advice);
    for (const AdapterBranch &branch : module.branches) {
      if (branch.dora)
        return makeError("module '{0}': a DoRA's norms depend on its matrices and the weight, so "
                         "that they cannot be inputs; {1}",
                         module.path, advice);
      bool isKernel = branch.kind == AdapterKind::Lokr || branch.find("lora_mid") || branch.dilated;
      if (isKernel && module.use.kind == WeightUse::Convolution && module.use.isDilated())
        return makeError(
            "module '{0}': Core ML dilates no kernel that is an input, as the {1} of a "
            "dilated convolution would be; {2}",
            module.path, name(branch.kind), advice);
    }
  }
  return Error::success();
}

Models::Models() : state_(std::make_unique<State>()) {}
Models::~Models() = default;

/// Adds the function; takes it away again where lowering fails.
Error Models::State::lower(mil::Program &program, const FunctionRequest &request,
                           const torch::jit::Module &module, StorageOf storageOf,
                           std::vector<std::string> &warnings,
                           std::vector<AdapterInput> *adapterInputs) {
  auto plan = planAdapters(adapters, module, request, warnings);
  if (!plan)
    return plan.takeError();
  if (request.adapterMode == AdapterMode::Inputs)
    if (Error error = checkInputs(**plan, request))
      return addContext(std::move(error), request.adapters[0].path);
  AdapterHook hook(**plan, request.adapterMode);
  ParameterNames names(module._ivalue());
  EngineOptions options;
  options.originOf = [&](const at::Tensor &tensor) { return names.originOf(tensor); };
  options.storageOf = std::move(storageOf);
  WalkOptions walk;
  walk.locationOf = [&](const torch::jit::Node &node, const mil::Name &modulePath) {
    return sources.locate(node, modulePath);
  };
  if (!request.adapters.empty()) {
    walk.moduleHook = &hook;
    std::vector<std::shared_ptr<const AdapterFile>> files;
    for (const AdapterSpec &spec : request.adapters)
      files.push_back(adapters.at(spec.path));
    options.storageOf = [files = std::move(files), ofModel = std::move(options.storageOf)](
                            const at::Tensor &tensor) -> std::shared_ptr<const mil::Storage> {
      for (const auto &adapter : files)
        if (auto storage = adapter->storageOf(tensor.storage().data()))
          return storage;
      return ofModel(tensor);
    };
  }
  mil::Function *function = program.addFunction(request.name);
  ScriptFunction lowering(*function, request, std::move(options), std::move(walk));
  Error error = Error::success();
  llvm::cantFail(std::move(error));
  try {
    error = lowering.run(module);
  } catch (const c10::Error &torchError) {
    error = makeError("{0}", torchError.what_without_backtrace());
  } catch (const std::exception &exception) {
    error = makeError("{0}", exception.what());
  }
  llvm::append_range(warnings, lowering.takeWarnings());
  if (!error)
    if (Error unused = hook.checkAllUsed()) {
      unused = addContext(std::move(unused), request.adapters[0].path);
      if (request.allowUnmatched)
        warnings.push_back(llvm::toString(std::move(unused)));
      else
        error = std::move(unused);
    }
  if (!error && adapterInputs)
    adapterInputs->assign(hook.inputs().begin(), hook.inputs().end());
  if (!error)
    return Error::success();
  program.eraseFunction(function);
  return addContext(std::move(error), request.path);
}

Error Models::lower(mil::Program &program, const FunctionRequest &request,
                    std::vector<std::string> &warnings, std::vector<AdapterInput> *adapterInputs) {
  auto loaded = state_->load(request.path);
  if (!loaded)
    return loaded.takeError();
  auto storageOf = [&](const at::Tensor &tensor) { return state_->storageOf(**loaded, tensor); };
  return state_->lower(program, request, (*loaded)->module, storageOf, warnings, adapterInputs);
}

Error checkModelFile(llvm::StringRef path) {
  auto loaded = loadTorchScript(path);
  return loaded ? Error::success() : loaded.takeError();
}

Error Models::lower(mil::Program &program, const FunctionRequest &request,
                    const torch::jit::Module &module, std::vector<std::string> &warnings,
                    std::vector<AdapterInput> *adapterInputs) {
  auto view = viewOnHost(module, state_->host);
  if (!view)
    return addContext(view.takeError(), request.path);
  auto storageOf = [&](const at::Tensor &tensor) {
    return state_->storageInMemory(tensor, request.checksumWeights);
  };
  state_->sources.clear();
  return state_->lower(program, request, *view, storageOf, warnings, adapterInputs);
}

} // namespace plait::frontend
