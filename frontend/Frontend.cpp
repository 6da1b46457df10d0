// From a model file to a function of the program: loads, declares the interface, runs the engine,
// names the outputs.
#include "frontend/Frontend.h"

#include "frontend/archive/EqualRecords.h"
#include "frontend/live/ModuleView.h"
#include "frontend/script/ModuleBorders.h"
#include "frontend/script/ModuleTree.h"
#include "frontend/script/ParameterNames.h"
#include "frontend/script/ScriptFunction.h"
#include "frontend/script/libtorch/ScriptSources.h"
#include "frontend/script/libtorch/TorchArchive.h"
#include "mil/MappedStorage.h"

#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/CRC.h"

namespace plait::frontend {

struct Models::State {
  using StorageOf = std::function<std::shared_ptr<const mil::Storage>(const at::Tensor &)>;

  const EqualRecords *equal = nullptr;
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
  std::map<std::string, std::shared_ptr<const mil::ModuleTree>> trees; ///< by path
  std::map<const torch::jit::Module *, std::shared_ptr<const mil::ModuleTree>> liveTrees;
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

  /// `tree` describes the module; null where the request speaks of none of its parts.
  Error lower(mil::Program &program, const FunctionRequest &request,
              const torch::jit::Module &module, const mil::ModuleTree *tree, StorageOf storageOf,
              std::vector<std::string> &warnings, ParameterNamesRead *readGiven);

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
      if (equal)
        made->likeness = equal->likeness(origin->file, origin->offset);
      storage = std::move(made);
    }
    return storage;
  }
};

Models::Models(const EqualRecords *equal) : state_(std::make_unique<State>()) {
  state_->equal = equal;
}
Models::~Models() = default;

/// Adds the function; takes it away again where lowering fails.
Error Models::State::lower(mil::Program &program, const FunctionRequest &request,
                           const torch::jit::Module &module, const mil::ModuleTree *tree,
                           StorageOf storageOf, std::vector<std::string> &warnings,
                           ParameterNamesRead *readGiven) {
  ParameterNames names(module._ivalue());
  EngineOptions options;
  options.originOf = [&](const at::Tensor &tensor) { return names.originOf(tensor); };
  options.storageOf = std::move(storageOf);
  WalkOptions walk;
  walk.locationOf = [&](const torch::jit::Node &node, const mil::Name &modulePath) {
    return sources.locate(node, modulePath);
  };
  std::optional<ModuleBorders> borders;
  if (tree) {
    borders.emplace(*module._ivalue(), *tree, request.bordered, request.given, options.originOf);
    walk.moduleHook = &*borders;
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
  if (!error) {
    if (borders && readGiven)
      *readGiven = borders->read();
    return Error::success();
  }
  program.eraseFunction(function);
  return addContext(std::move(error), request.path);
}

static bool namesModules(const FunctionRequest &request) {
  return !request.bordered.empty() || !request.given.empty();
}

Expected<std::shared_ptr<const mil::ModuleTree>> Models::describe(const std::string &path) {
  auto &tree = state_->trees[path];
  if (tree)
    return tree;
  auto loaded = state_->load(path);
  if (!loaded)
    return loaded.takeError();
  ParameterNames names((*loaded)->module._ivalue());
  tree = std::make_shared<const mil::ModuleTree>(
      describeModules((*loaded)->module,
                      [&](const at::Tensor &tensor) { return state_->storageOf(**loaded, tensor); },
                      [&](const at::Tensor &tensor) { return names.originOf(tensor); }));
  return tree;
}

Error Models::lower(mil::Program &program, const FunctionRequest &request,
                    std::vector<std::string> &warnings, ParameterNamesRead *readGiven) {
  std::shared_ptr<const mil::ModuleTree> tree;
  if (namesModules(request)) {
    auto described = describe(request.path);
    if (!described)
      return described.takeError();
    tree = std::move(*described);
  }
  auto loaded = state_->load(request.path);
  if (!loaded)
    return loaded.takeError();
  auto storageOf = [&](const at::Tensor &tensor) { return state_->storageOf(**loaded, tensor); };
  return state_->lower(program, request, (*loaded)->module, tree.get(), storageOf, warnings,
                       readGiven);
}

Error checkModelFile(llvm::StringRef path) {
  auto loaded = loadTorchScript(path);
  return loaded ? Error::success() : loaded.takeError();
}

Expected<std::shared_ptr<const mil::ModuleTree>>
Models::describe(const FunctionRequest &request, const torch::jit::Module &module) {
  auto &tree = state_->liveTrees[&module];
  if (tree)
    return tree;
  auto view = viewOnHost(module, state_->host);
  if (!view)
    return addContext(view.takeError(), request.path);
  ParameterNames names(view->_ivalue());
  tree = std::make_shared<const mil::ModuleTree>(describeModules(
      *view,
      [&](const at::Tensor &tensor) {
        return state_->storageInMemory(tensor, request.checksumWeights);
      },
      [&](const at::Tensor &tensor) { return names.originOf(tensor); }));
  return tree;
}

Error Models::lower(mil::Program &program, const FunctionRequest &request,
                    const torch::jit::Module &module, std::vector<std::string> &warnings,
                    ParameterNamesRead *readGiven) {
  std::shared_ptr<const mil::ModuleTree> tree;
  if (namesModules(request)) {
    auto described = describe(request, module);
    if (!described)
      return described.takeError();
    tree = std::move(*described);
  }
  auto view = viewOnHost(module, state_->host);
  if (!view)
    return addContext(view.takeError(), request.path);
  auto storageOf = [&](const at::Tensor &tensor) {
    return state_->storageInMemory(tensor, request.checksumWeights);
  };
  state_->sources.clear();
  return state_->lower(program, request, *view, tree.get(), storageOf, warnings, readGiven);
}

} // namespace plait::frontend
