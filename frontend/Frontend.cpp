// From a model file to a function of the program: loads, declares the interface, runs the engine,
// names the outputs.
#include "frontend/Frontend.h"

#include "frontend/Proceed.h"
#include "frontend/archive/EqualRecords.h"
#include "frontend/live/ModuleView.h"
#include "frontend/script/ModuleBorders.h"
#include "frontend/script/ModuleTree.h"
#include "frontend/script/ParameterNames.h"
#include "frontend/script/ScriptFunction.h"
#include "frontend/script/libtorch/ScriptSources.h"
#include "frontend/script/libtorch/TorchArchive.h"
#include "mil/MappedStorage.h"
#include "support/Failure.h"
#include "support/TorchMessage.h"

#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/CRC.h"

namespace plait::frontend {

struct Models::State {
  using StorageOf = std::function<std::shared_ptr<const mil::Storage>(const at::Tensor &)>;
  /// A model that is open, and the storage of its tensors.
  struct Source {
    torch::jit::Module module;
    StorageOf storageOf;
    std::shared_ptr<const MappedFile> file; ///< null where none is mapped
  };

  const EqualRecords *equal = nullptr;
  bool checksumMemory = false;
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
  /// By path, or by module in memory.
  std::map<std::pair<std::string, const torch::jit::Module *>,
           std::shared_ptr<const mil::ModuleTree>>
      trees;
  std::vector<std::shared_ptr<mil::RecordChecksum>> checksums;
  /// Texts of what is lowered now.
  libtorch::ScriptSources sources;

  Expected<Source> open(const ModelFunction &declared);

  Expected<LoadedModule *> load(const std::string &path) {
    if (last && lastPath == path)
      return &*last;
    last.reset();
    sources.clear();
    auto loaded = loadTorchScript(path);
    if (!loaded)
      return classify(loaded.takeError(), FailureKind::File);
    lastPath = path;
    return &last.emplace(std::move(*loaded));
  }

  std::shared_ptr<const mil::Storage> storageInMemory(const at::Tensor &tensor) {
    if (auto copied = host.storageOf(tensor))
      return copied;
    auto &storage = inMemory[tensor.storage().unsafeGetStorageImpl()];
    if (!storage) {
      storage = Engine::storageOf(tensor);
      if (checksumMemory)
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
      made->checksum = checksums.emplace_back(std::make_shared<mil::RecordChecksum>(
          fmt::format("{0}: record '{1}'", loaded.file()->path(), origin->record), made->bytes,
          origin->crc32, [file = loaded.file(), bytes = made->bytes](size_t offset, size_t size) {
            file->release(bytes.slice(offset, size));
          }));
      if (equal)
        made->likeness = equal->likeness(origin->file, origin->offset);
      storage = std::move(made);
    }
    return storage;
  }
};

Models::Models(const EqualRecords *equal, bool checksumMemory) : state_(std::make_unique<State>()) {
  state_->equal = equal;
  state_->checksumMemory = checksumMemory;
}
Models::~Models() = default;

Expected<Models::State::Source> Models::State::open(const ModelFunction &declared) {
  if (declared.module) {
    auto view = viewOnHost(*declared.module, host);
    if (!view)
      return addContext(view.takeError(), declared.model);
    return Source{std::move(*view), [this](const at::Tensor &t) { return storageInMemory(t); },
                  nullptr};
  }
  auto loaded = load(declared.model);
  if (!loaded)
    return loaded.takeError();
  const LoadedModule &file = **loaded;
  return Source{file.module, [this, &file](const at::Tensor &t) { return storageOf(file, t); },
                file.file()};
}

Expected<std::shared_ptr<const mil::ModuleTree>> Models::describe(const ModelFunction &declared) {
  auto &tree = state_->trees[{declared.module ? "" : declared.model, declared.module.get()}];
  if (tree)
    return tree;
  auto source = state_->open(declared);
  if (!source)
    return source.takeError();
  ParameterNames names(source->module._ivalue());
  tree = std::make_shared<const mil::ModuleTree>(
      describeModules(source->module, source->storageOf,
                      [&](const at::Tensor &tensor) { return names.originOf(tensor); }));
  return tree;
}

/// Thrown where ProceedScope says no: no net for errors of operations catches it.
struct Stopped {};

static Error attempt(ScriptFunction &lowering, const torch::jit::Module &module) {
  try {
    return lowering.run(module);
  } catch (const Stopped &) {
    return makeFailure(FailureKind::Cancelled, "cancelled while it was lowered");
  } catch (const c10::Error &error) {
    return makeError("{0}", torchMessage(error.what_without_backtrace()));
  } catch (const std::exception &error) {
    return makeError("{0}", error.what());
  }
}

/// Adds the function; takes it away again where lowering fails. Where states are found on the way,
/// it is lowered again.
Error Models::lower(mil::Program &program, const ModelFunction &declared,
                    const LoweringOptions &options, std::vector<std::string> &warnings,
                    ParameterNamesRead *readGiven) {
  std::shared_ptr<const mil::ModuleTree> tree;
  if (!options.bordered.empty() || !options.given.empty()) {
    auto described = describe(declared);
    if (!described)
      return described.takeError();
    tree = std::move(*described);
  }
  if (declared.module)
    state_->sources.clear();
  auto source = state_->open(declared);
  if (!source)
    return source.takeError();
  if (Error error = checkSignature(source->module, declared))
    return addContext(classify(std::move(error), FailureKind::Option), declared.model);
  ParameterNames names(source->module._ivalue());
  EngineOptions engine;
  engine.originOf = [&](const at::Tensor &tensor) { return names.originOf(tensor); };
  engine.storageOf = source->storageOf;
  if (source->file) // whose records have checksums
    engine.noteRead = [&](const at::Tensor &tensor) {
      if (auto storage = source->storageOf(tensor))
        storage->checksum->want();
    };
  WalkOptions walk;
  walk.locationOf = [&](const torch::jit::Node &node, const mil::Name &modulePath) {
    if (!ProceedScope::mayProceed())
      throw Stopped();
    return state_->sources.locate(node, modulePath);
  };
  std::optional<ModuleBorders> borders;
  StatePlan states(declared.states, options.floatType,
                   {.tensorAt = [&](llvm::StringRef path) { return names.tensorAt(path); },
                    .overlapping = [&](const at::Tensor &t) { return names.overlapping(t); },
                    .tensorPaths = [&] { return names.paths(); }});
  if (Error error = states.begin())
    return addContext(classify(std::move(error), FailureKind::Option), declared.model);
  engine.states = &states;
  while (true) {
    if (tree) {
      borders.emplace(*source->module._ivalue(), *tree, options.bordered, options.given,
                      engine.originOf);
      walk.moduleHook = &*borders;
    }
    mil::Function *function = program.addFunction(declared.name);
    ScriptFunction lowering(*function, declared, options.floatType, engine, walk);
    Error error = attempt(lowering, source->module);
    // What is only read later is checked by whoever writes it.
    if (!error && source->file)
      error = source->file->checkUnchanged();
    // What was computed of a tensor that turned out to be written is wrong.
    auto again = states.settle();
    if (!again || !*again)
      llvm::append_range(warnings, lowering.takeWarnings());
    if (!error && again && !*again) {
      if (borders && readGiven)
        *readGiven = borders->read();
      return Error::success();
    }
    program.eraseFunction(function);
    if (!again) {
      error = joinErrors(std::move(error), again.takeError());
    } else if (*again) {
      llvm::consumeError(std::move(error));
      continue;
    }
    return addContext(classify(std::move(error), FailureKind::Unsupported), declared.model);
  }
}

std::vector<std::shared_ptr<mil::RecordChecksum>> Models::checksums() const {
  return state_->checksums;
}

Error checkModelFile(llvm::StringRef path) {
  auto loaded = loadTorchScript(path);
  return loaded ? Error::success() : loaded.takeError();
}

} // namespace plait::frontend
