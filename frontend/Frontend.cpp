// From a model file to a function of the program: loads, declares the interface, runs the engine,
// names the outputs.
#include "frontend/Frontend.h"

#include "frontend/Proceed.h"
#include "frontend/archive/EqualRecords.h"
#include "frontend/exported/ExportedFunction.h"
#include "frontend/exported/ExportedInterface.h"
#include "frontend/live/ModuleView.h"
#include "frontend/script/ModuleBorders.h"
#include "frontend/script/ParameterNames.h"
#include "frontend/script/ScriptFunction.h"
#include "frontend/script/ScriptModules.h"
#include "frontend/script/libtorch/ScriptSources.h"
#include "frontend/script/libtorch/TorchArchive.h"
#include "mil/ConstantArguments.h"
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
    /// Of an archive of torch.export, whose tensors `module` has.
    std::shared_ptr<const ExportedModel> exported;
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
  std::shared_ptr<const ExportedModel> lastExported;
  /// By path, or by module in memory.
  std::map<std::pair<std::string, const torch::jit::Module *>,
           std::shared_ptr<const mil::ModuleTree>>
      trees;
  std::vector<std::shared_ptr<mil::RecordChecksum>> checksums;
  /// Texts of what is lowered now.
  libtorch::ScriptSources sources;

  Expected<Source> open(const ModelFunction &declared);

  void forgetLast() {
    last.reset();
    lastExported.reset();
    sources.clear();
  }

  Expected<std::shared_ptr<const ExportedModel>> loadExported(const std::string &path) {
    if (lastExported && lastPath == path)
      return lastExported;
    forgetLast();
    auto loaded = ExportedModel::load(path);
    if (!loaded)
      return classify(loaded.takeError(), FailureKind::File);
    lastPath = path;
    return lastExported = std::move(*loaded);
  }

  Expected<LoadedModule *> load(const std::string &path) {
    if (last && lastPath == path)
      return &*last;
    forgetLast();
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
    return storageOf(loaded.file(), origin->record, origin->crc32,
                     loaded.file()->bytes().slice(origin->offset, origin->size));
  }

  std::shared_ptr<const mil::Storage> storageOf(const ExportedModel &model,
                                                const at::Tensor &tensor) {
    const RecordBytes *record = model.recordAt(tensor.storage().data());
    return record ? storageOf(model.file(), record->name, record->crc32, record->bytes) : nullptr;
  }

  /// The storage of a record of a mapped file.
  std::shared_ptr<const mil::Storage> storageOf(const std::shared_ptr<const MappedFile> &file,
                                                const std::string &record, uint32_t crc,
                                                llvm::ArrayRef<uint8_t> bytes) {
    uint64_t offset = bytes.data() - file->bytes().data();
    auto &storage = storages[{{file->id().getDevice(), file->id().getFile()}, offset}];
    if (!storage) {
      auto made = mil::mappedStorage(file, bytes);
      made->crc = crc;
      made->checksum = checksums.emplace_back(std::make_shared<mil::RecordChecksum>(
          fmt::format("{0}: record '{1}'", file->path(), record), made->bytes, crc,
          [file, bytes](size_t offset, size_t size) { file->release(bytes.slice(offset, size)); }));
      if (equal)
        made->likeness = equal->likeness(file->id(), offset);
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
                  nullptr, nullptr};
  }
  if (ExportArchive::isOne(splitModelPath(declared.model).file)) {
    auto loaded = loadExported(declared.model);
    if (!loaded)
      return loaded.takeError();
    const ExportedModel &model = **loaded;
    return Source{model.root(), [this, &model](const at::Tensor &t) { return storageOf(model, t); },
                  model.file(), *loaded};
  }
  auto loaded = load(declared.model);
  if (!loaded)
    return loaded.takeError();
  const LoadedModule &file = **loaded;
  return Source{file.module, [this, &file](const at::Tensor &t) { return storageOf(file, t); },
                file.file(), nullptr};
}

Expected<std::shared_ptr<const mil::ModuleTree>> Models::describe(const ModelFunction &declared) {
  auto &tree = state_->trees[{declared.module ? "" : declared.model, declared.module.get()}];
  if (tree)
    return tree;
  auto source = state_->open(declared);
  if (!source)
    return source.takeError();
  ParameterNames names(source->module._ivalue());
  auto originOf = [&](const at::Tensor &tensor) { return names.originOf(tensor); };
  tree = std::make_shared<const mil::ModuleTree>(
      source->exported ? describeExported(*source->exported, source->storageOf, originOf)
                       : describeModules(source->module, source->storageOf, originOf));
  return tree;
}

/// Thrown where ProceedScope says no: no net for errors of operations catches it.
struct Stopped {};

static Error attempt(llvm::function_ref<Error()> lower) {
  try {
    return lower();
  } catch (const Stopped &) {
    return makeFailure(FailureKind::Cancelled, Code::Cancelled, "cancelled while it was lowered");
  } catch (const c10::Error &error) {
    return makeError(Code::ModelRaises, "{0}", torchMessage(error.what_without_backtrace()));
  } catch (const std::exception &error) {
    return makeError(Code::ModelRaises, "{0}", error.what());
  }
}

/// Adds the function; takes it away again where lowering fails. Where states are found on the way,
/// it is lowered again.
Error Models::lower(mil::Program &program, const ModelFunction &declared,
                    const LoweringOptions &options, std::vector<Warning> &warnings,
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
  if (Error error = source->exported ? Error::success() : checkSignature(source->module, declared))
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
  std::optional<ModuleCalls> calls;
  ModelFunction completed;
  if (source->exported) {
    auto all = completedInterface(*source->exported, declared);
    if (!all)
      return addContext(classify(all.takeError(), FailureKind::Option), declared.model);
    completed = std::move(*all);
  }
  StatePlan states(declared.states, options.floatType,
                   {.tensorAt = [&](llvm::StringRef path) { return names.tensorAt(path); },
                    .overlapping = [&](const at::Tensor &t) { return names.overlapping(t); },
                    .tensorPaths = [&] { return names.paths(); }});
  if (Error error = states.begin())
    return addContext(classify(std::move(error), FailureKind::Option), declared.model);
  engine.states = &states;
  while (true) {
    mil::Function *function = program.addFunction(declared.name);
    std::vector<Warning> said;
    auto lowerExported = [&] {
      if (tree)
        calls.emplace(*source->exported, *tree, options.bordered, options.given, engine.originOf);
      ExportedFunction lowering(*function, completed, options.floatType, engine, *source->exported,
                                calls ? &*calls : nullptr);
      Error error = attempt([&] { return lowering.run(); });
      said = lowering.takeWarnings();
      return error;
    };
    auto lowerScript = [&] {
      if (tree) {
        borders.emplace(*source->module._ivalue(), *tree, options.bordered, options.given,
                        engine.originOf);
        walk.moduleHook = &*borders;
      }
      ScriptFunction lowering(*function, declared, options.floatType, engine, walk);
      Error error = attempt([&] { return lowering.run(source->module); });
      said = lowering.takeWarnings();
      return error;
    };
    Error error = source->exported ? lowerExported() : lowerScript();
    // What is only read later is checked by whoever writes it.
    if (!error && source->file)
      error = source->file->checkUnchanged();
    // What was computed of a tensor that turned out to be written is wrong.
    auto again = states.settle();
    if (!again || !*again)
      llvm::append_range(warnings, said);
    if (!error && again && !*again) {
      if (readGiven && calls)
        *readGiven = calls->read();
      else if (readGiven && borders)
        *readGiven = borders->read();
      mil::setHandedInputs(*function, states.handedOn());
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
  if (ExportArchive::isOne(splitModelPath(path).file))
    return ExportedModel::load(path).takeError();
  auto loaded = loadTorchScript(path);
  return loaded ? Error::success() : loaded.takeError();
}

} // namespace plait::frontend
