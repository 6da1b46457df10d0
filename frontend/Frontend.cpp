// From a model file to a function of the program: loads, declares the interface, runs the engine,
// names the outputs.
#include "frontend/Frontend.h"

#include "frontend/adapter/AdapterHook.h"
#include "frontend/engine/Engine.h"
#include "frontend/live/ModuleView.h"
#include "frontend/script/ParameterNames.h"
#include "frontend/script/libtorch/ScriptSources.h"
#include "frontend/script/libtorch/TorchArchive.h"

#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/CRC.h"

namespace plait::frontend {

using mil::Builder;
using mil::DType;
using mil::OpKind;

using AdapterFiles = std::map<std::string, std::shared_ptr<const AdapterFile>>; ///< by path

struct Models::State {
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

  std::shared_ptr<const mil::Storage> storageInMemory(const at::Tensor &tensor, bool checksum) {
    if (auto copied = host.storageOf(tensor))
      return copied;
    auto &storage = inMemory[tensor.storage().unsafeGetStorageImpl()];
    if (!storage) {
      storage = std::make_shared<mil::Storage>();
      storage->bytes = {static_cast<const uint8_t *>(tensor.storage().data()),
                        tensor.storage().nbytes()};
      storage->owner = std::make_shared<const c10::Storage>(tensor.storage());
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
      auto made = std::make_shared<mil::Storage>();
      std::shared_ptr<const MappedFile> file = loaded.file();
      made->bytes = file->bytes().slice(origin->offset, origin->size);
      made->crc = origin->crc32;
      made->owner = file;
      made->release = [bytes = made->bytes, file = file.get()](size_t offset, size_t size) {
        file->release(bytes.slice(offset, size));
      };
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

namespace {

/// Makes one function of one method.
class FunctionLowering {
public:
  FunctionLowering(mil::Function &function, const FunctionRequest &request, EngineOptions options)
      : function_(function), request_(request), engine_(function, std::move(options)) {}

  Error run(torch::jit::Module &module) {
    auto method = module.find_method(request_.method);
    if (!method) {
      std::string others;
      for (const auto &other : module.get_methods())
        others += (others.empty() ? ": it has " : ", ") + other.name();
      return makeError("the model has no method '{0}'{1}; wrap it in a module whose '{0}' calls "
                       "what is to be compiled",
                       request_.method, others);
    }
    const c10::FunctionSchema &schema = method->function().getSchema();
    if (Error error = checkNames())
      return error;
    std::vector<Val> arguments;
    for (const c10::Argument &argument : llvm::drop_begin(schema.arguments())) {
      auto val = declare(argument.type(), argument);
      if (!val)
        return val.takeError();
      arguments.push_back(std::move(*val));
    }
    if (next_ < request_.inputs.size())
      return makeError("{0} inputs are declared, but {1} takes {2}: {3}", request_.inputs.size(),
                       request_.method, next_, describe(schema));
    Val result = engine_.run(module._ivalue(), method->function(), std::move(arguments));
    if (Error error = engine_.takeError())
      return error;
    return finish(result);
  }

  std::vector<std::string> takeWarnings() { return engine_.takeWarnings(); }

private:
  static std::string describe(const c10::FunctionSchema &schema) {
    std::string text = "(";
    for (auto [i, argument] : llvm::enumerate(llvm::drop_begin(schema.arguments())))
      text += (i ? ", " : "") + argument.name() + ": " + argument.type()->repr_str();
    return text + ")";
  }

  /// Names of the interface are kept for it, whatever the operations in between are called.
  Error checkNames() {
    llvm::StringSet<> seen;
    for (const InputSpec &input : request_.inputs)
      if (!input.name.empty() && !seen.insert(input.name).second)
        return makeError("two inputs or outputs are called '{0}'; names must differ", input.name);
    for (const std::string &output : request_.outputs) {
      if (!seen.insert(output).second)
        return makeError("two inputs or outputs are called '{0}'; names must differ", output);
      function_.reserveName(output);
    }
    for (const auto &name : seen.keys())
      if (!mil::isLegalName(name))
        return makeError("'{0}' cannot be the name of an input or output; use letters, digits and "
                         "_, not beginning "
                         "with a digit, and no word of MIL's grammar",
                         name);
    return Error::success();
  }

  Expected<Val> declare(const c10::TypePtr &type, const c10::Argument &argument) {
    bool left = next_ < request_.inputs.size();
    switch (type->kind()) {
    case c10::TypeKind::TensorType:
      if (!left)
        return makeError(
            "{0} takes a tensor '{1}' that no input is declared for; add --input '{1}=[…]'",
            request_.method, argument.name());
      return input(request_.inputs[next_++], argument.name());
    case c10::TypeKind::OptionalType: {
      c10::TypePtr inner = type->expect<c10::OptionalType>()->getElementType();
      if (left && inner->kind() == c10::TypeKind::TensorType)
        return declare(inner, argument);
      return engine_.fromIValue(argument.default_value().value_or(c10::IValue()));
    }
    case c10::TypeKind::TupleType: {
      std::vector<Val> values;
      for (const c10::TypePtr &element : type->expect<c10::TupleType>()->elements()) {
        auto value = declare(element, argument);
        if (!value)
          return value.takeError();
        values.push_back(std::move(*value));
      }
      return engine_.makeTuple(type, std::move(values));
    }
    case c10::TypeKind::ListType: {
      c10::TypePtr element = type->expect<c10::ListType>()->getElementType();
      if (element->kind() != c10::TypeKind::TensorType)
        break;
      std::vector<Val> values;
      while (next_ < request_.inputs.size()) {
        auto value = input(request_.inputs[next_++], argument.name());
        if (!value)
          return value.takeError();
        values.push_back(std::move(*value));
      }
      return engine_.makeList(element, std::move(values));
    }
    case c10::TypeKind::DictType: {
      auto dictType = type->expect<c10::DictType>();
      if (dictType->getValueType()->kind() != c10::TypeKind::TensorType ||
          dictType->getKeyType()->kind() != c10::TypeKind::StringType)
        break;
      auto dict = std::make_shared<DictObj>();
      dict->keyType = dictType->getKeyType();
      dict->valueType = dictType->getValueType();
      while (next_ < request_.inputs.size()) {
        const InputSpec &spec = request_.inputs[next_++];
        auto value = input(spec, argument.name());
        if (!value)
          return value.takeError();
        dict->entries.emplace_back(c10::IValue(spec.name), std::move(*value));
      }
      return Val(std::move(dict));
    }
    default:
      break;
    }
    if (argument.default_value())
      return engine_.fromIValue(*argument.default_value());
    return makeError("{0}'s argument '{1}' has type {2} and no default, which cannot be an input "
                     "of a Core ML function; wrap the model in a module that fixes it",
                     request_.method, argument.name(), type->repr_str());
  }

  Expected<Val> input(const InputSpec &spec, llvm::StringRef argument) {
    std::string name = spec.name.empty() ? function_.uniqueName(argument).str() : spec.name;
    DType dtype = spec.dtype.value_or(request_.floatType);
    mil::Shape shape;
    mil::InputInfo info;
    if (!spec.enumerated.empty()) {
      size_t rank = spec.enumerated[0].size();
      for (size_t axis = 0; axis < rank; ++axis) {
        int64_t low = INT64_MAX, high = 0;
        for (const auto &sizes : spec.enumerated) {
          if (sizes.size() != rank)
            return makeError("input '{0}': the enumerated shapes have different ranks", name);
          low = std::min(low, sizes[axis]);
          high = std::max(high, sizes[axis]);
        }
        shape.push_back(low == high ? Dim(low)
                                    : Dim::symbol(name + "_" + std::to_string(axis), low, high));
      }
      info.enumeratedShapes = spec.enumerated;
      info.defaultShape = spec.enumerated[0];
    } else {
      bool flexible = false;
      for (auto [axis, range] : llvm::enumerate(spec.shape)) {
        if (range.lower < 1 || range.upper < range.lower)
          return makeError(
              "input '{0}': dimension {1} must be a positive size or a range low..high", name,
              axis);
        flexible |= range.lower != range.upper;
        shape.push_back(range.lower == range.upper ? Dim(range.lower)
                                                   : Dim::symbol(name + "_" + std::to_string(axis),
                                                                 range.lower, range.upper));
        info.defaultShape.push_back(range.lower);
      }
      if (!flexible)
        info.defaultShape.clear();
    }
    mil::Value *value = function_.addInput(mil::Type::tensor(dtype, shape), name);
    function_.inputInfo.resize(function_.inputs().size());
    function_.inputInfo.back() = std::move(info);
    at::ScalarType torchType = dtype == DType::I32    ? at::kLong
                               : dtype == DType::Bool ? at::kBool
                                                      : at::kFloat;
    // Sizes are taken from the input itself, before any conversion of it.
    engine_.makeTensor(value, torchType);
    return engine_.makeTensor(engine_.castTo(value, milTypeOf(torchType)), torchType);
  }

  void collect(const Val &val, llvm::StringRef name,
               std::vector<std::pair<std::string, Val>> &outputs) {
    if (auto tuple = val.tuple()) {
      for (const Val &element : tuple->values)
        collect(element, "", outputs);
    } else if (auto list = val.list()) {
      for (const Val &element : list->values)
        collect(element, "", outputs);
    } else if (auto dict = val.dict()) {
      for (const auto &[key, element] : dict->entries)
        collect(element, key.isString() ? key.toStringRef() : "", outputs);
    } else if (!val.isNone()) { // a model may return None among tensors
      outputs.emplace_back(name.str(), val);
    }
  }

  Error finish(const Val &result) {
    std::vector<std::pair<std::string, Val>> outputs;
    collect(result, "", outputs);
    if (outputs.empty())
      return makeError("{0} returns no tensor; a Core ML function needs an output",
                       request_.method);
    if (request_.outputs.size() > outputs.size())
      return makeError("{0} outputs are named, but {1} returns {2}", request_.outputs.size(),
                       request_.method, outputs.size());
    Builder &builder = engine_.builder();
    llvm::SmallVector<mil::Value *, 4> values;
    for (auto [i, output] : llvm::enumerate(outputs)) {
      auto &[key, val] = output;
      mil::Value *value;
      if (auto tensor = val.tensor())
        value = engine_.read(*tensor);
      else if (val.number())
        value = val.number()->value;
      else if (val.asDim() || (val.known() && val.known()->isScalar()))
        value = engine_.scalar(val, val.asDim()             ? DType::I32
                                    : val.known()->isBool() ? DType::Bool
                                                            : DType::F32);
      else
        return makeError("{0} returns a value that is neither a tensor nor a number",
                         request_.method);
      if (!Builder::isPoison(value) && mil::isFloat(value->type.dtype()))
        value = engine_.castTo(value, request_.floatType);
      if (Error error = builder.takeError())
        return error;
      // Each output is a result of its own: it gets the interface's name.
      bool taken =
          !value->def() || value->def()->is(OpKind::const_) || llvm::is_contained(values, value);
      if (taken)
        value = builder.emit(OpKind::identity, {{mil::identity::x, value}});
      std::string name = i < request_.outputs.size() ? request_.outputs[i]
                         : !key.empty()              ? function_.uniqueName(key).str()
                         : outputs.size() == 1
                             ? function_.uniqueName("output").str()
                             : function_.uniqueName("output_" + std::to_string(i)).str();
      value->name = std::move(name);
      values.push_back(value);
    }
    function_.body().setOutputs(values);
    return builder.takeError();
  }

  mil::Function &function_;
  const FunctionRequest &request_;
  Engine engine_;
  size_t next_ = 0;
};

} // namespace

/// Adds the function; takes it away again where lowering fails. `adapters` are those opened so far,
/// by path.
static Error lowerModule(mil::Program &program, const FunctionRequest &request,
                         torch::jit::Module &module, EngineOptions options, AdapterFiles &adapters,
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
  options.originOf = [&](const at::Tensor &tensor) { return names.originOf(tensor); };
  if (!request.adapters.empty()) {
    options.moduleHook = &hook;
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
  FunctionLowering lowering(*function, request, std::move(options));
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
  EngineOptions options;
  options.locationOf = [&](const torch::jit::Node &node, const mil::Name &modulePath) {
    return state_->sources.locate(node, modulePath);
  };
  options.storageOf = [&](const at::Tensor &tensor) { return state_->storageOf(**loaded, tensor); };
  return lowerModule(program, request, (*loaded)->module, std::move(options), state_->adapters,
                     warnings, adapterInputs);
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
  EngineOptions options;
  options.storageOf = [&](const at::Tensor &tensor) {
    return state_->storageInMemory(tensor, request.checksumWeights);
  };
  state_->sources.clear();
  options.locationOf = [&](const torch::jit::Node &node, const mil::Name &modulePath) {
    return state_->sources.locate(node, modulePath);
  };
  return lowerModule(program, request, *view, std::move(options), state_->adapters, warnings,
                     adapterInputs);
}

} // namespace plait::frontend
