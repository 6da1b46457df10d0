// The run whose values are LibTorch's.
#include "frontend/exported/Evaluation.h"

#include "frontend/engine/Engine.h"
#include "frontend/engine/StoredType.h"
#include "frontend/exported/ExportedInterface.h"
#include "frontend/exported/Places.h"
#include "frontend/exported/ProgramRun.h"
#include "support/TorchMessage.h"

#include "llvm/ADT/DenseSet.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/ScopeExit.h"

#include <ATen/ATen.h>
#include <ATen/autocast_mode.h>

namespace plait::frontend {

using exported::Node;
using llvm::StringRef;
using mil::TensorData;
using SpecKind = exported::InputSpec::Kind;

static Expected<at::Tensor> toAtTensor(const TensorData &data, at::ScalarType type) {
  auto stored = storedType(type);
  if (!stored)
    return makeError(Code::NotComparable, "there are no {0} inputs", at::toString(type));
  auto bytes = data.cast(*stored).bytes();
  if (!bytes)
    return bytes.takeError();
  auto shape = data.shape();
  at::Tensor tensor = at::empty(at::IntArrayRef(shape.data(), shape.size()), type);
  std::copy(bytes->begin(), bytes->end(), static_cast<uint8_t *>(tensor.mutable_data_ptr()));
  return tensor;
}

/// A copy.
static Expected<TensorData> fromAtTensor(at::Tensor tensor) {
  tensor = tensor.detach().resolve_conj().resolve_neg();
  if (tensor.scalar_type() == at::kBFloat16)
    tensor = tensor.to(at::kFloat);
  auto dtype = storedType(tensor.scalar_type());
  if (!dtype)
    return makeError(Code::NotComparable, "the model gives a tensor of {0}",
                     at::toString(tensor.scalar_type()));
  tensor = tensor.clone(at::MemoryFormat::Contiguous);
  return TensorData::view(Engine::storageOf(tensor), 0, *dtype, tensor.sizes().vec(),
                          tensor.strides().vec());
}

static bool isHalf(at::ScalarType type) { return type == at::kHalf || type == at::kBFloat16; }

namespace {

class KernelRun final : public ProgramRun<c10::IValue> {
public:
  using Value = c10::IValue;
  using Step = ExportedEvaluation::Step;

  /// `widened`: of half precision throughout, and computed in fp32.
  KernelRun(const exported::Graph &graph, bool widened) : graph_(graph), widened_(widened) {}

  std::vector<Value> run(llvm::ArrayRef<Value> inputs) { return runGraph(graph_, inputs); }

  /// The steps of run(), where `inputs` are the names of what is given.
  std::vector<Step> trace(llvm::ArrayRef<Value> inputs, llvm::ArrayRef<std::string> names) {
    steps_.emplace();
    for (const std::string &name : names)
      origins_[name] = {};
    run(inputs);
    for (const exported::Argument &output : graph_.outputs)
      if (auto it = origins_.find(output.text); it != origins_.end())
        for (unsigned step : it->second)
          (*steps_)[step].isOutput = true;
    return std::move(*steps_);
  }

private:
  Value constant(Value value) override { return value; }
  at::ScalarType scalarType(at::ScalarType type) override {
    return widened_ && isHalf(type) ? at::kFloat : type;
  }
  Value list(const c10::TypePtr &elementType, Values values) override {
    c10::impl::GenericList list(elementType);
    for (Value &value : values)
      list.push_back(std::move(value));
    return Value(std::move(list));
  }
  Values elementsOf(const Value &list) override {
    return list.isTuple() ? list.toTupleRef().elements().vec() : list.toListRef().vec();
  }
  std::optional<int64_t> knownInteger(const Value &value) override {
    return value.isInt() ? std::optional(value.toInt()) : std::nullopt;
  }
  bool isInteger(const Value &value) override { return value.isInt(); }
  bool isTensor(const Value &value) override { return value.isTensor(); }

  Values atNode(const Node &node, Thunk run) override {
    std::string why;
    try {
      return run();
    } catch (const c10::Error &error) {
      why = torchMessage(error.what_without_backtrace());
    } catch (const std::exception &error) {
      if (inner_)
        throw;
      why = error.what();
    }
    // Said once, where it happened.
    inner_ = true;
    std::string place = describeTrace(node.stackTrace);
    throw std::runtime_error(fmt::format("{0}{1}: {2}", targetName(node.target),
                                         place.empty() ? "" : " at " + place,
                                         StringRef(why).trim().split('\n').first));
  }

  Values operation(const Node &node, const torch::jit::Operator &op, Values arguments) override {
    // What the program was saved in is not what it is computed in.
    if (op.schema().name() == "aten::_assert_tensor_metadata")
      return {};
    return part(op, std::move(arguments));
  }
  Values part(const torch::jit::Operator &op, Values arguments) override {
    op.getOperation()(arguments);
    return arguments;
  }

  Values branch(const Value &condition, BodyFn then, BodyFn otherwise) override {
    bool decided = condition.isBool() ? condition.toBool() : condition.toScalar().toBool();
    return decided ? then({}) : otherwise({});
  }

  Values loop(const Value &trips, const Value &condition, Values carried, BodyFn body,
              size_t) override {
    bool goesOn = condition.toBool();
    for (int64_t i = 0, count = trips.toInt(); i < count && goesOn; ++i) {
      carried.insert(carried.begin(), Value(i));
      Values after = body(carried);
      goesOn = after[0].toBool();
      carried.assign(after.begin() + 1, after.end());
    }
    return carried;
  }

  Values autocast(std::optional<at::ScalarType> type, bool enabled, Thunk run) override {
    if (widened_)
      return run();
    bool before = at::autocast::is_autocast_enabled(at::kCPU);
    bool cached = at::autocast::is_autocast_cache_enabled();
    at::ScalarType typeBefore = at::autocast::get_autocast_dtype(at::kCPU);
    auto restore = llvm::make_scope_exit([&] {
      at::autocast::set_autocast_enabled(at::kCPU, before);
      at::autocast::set_autocast_dtype(at::kCPU, typeBefore);
      at::autocast::set_autocast_cache_enabled(cached);
    });
    // Its copies of weights would outlive the weights.
    at::autocast::set_autocast_cache_enabled(false);
    at::autocast::set_autocast_dtype(at::kCPU, type.value_or(at::kBFloat16));
    at::autocast::set_autocast_enabled(at::kCPU, enabled);
    return run();
  }

  [[noreturn]] void unsupported(const std::string &name) override {
    throw std::runtime_error(fmt::format("LibTorch has no operator {0}", name));
  }

  // ---- Steps ----

  void addNames(const exported::Argument &argument, llvm::SmallVectorImpl<std::string> &names) {
    if (argument.kind == Kind::Name)
      names.push_back(argument.text);
    for (const exported::Argument &element : argument.elements)
      addNames(element, names);
  }

  void afterNode(size_t index) override {
    if (!steps_ || frame().graph != &graph_)
      return;
    const Node &node = graph_.nodes[index];
    bool depends = false;
    llvm::SmallVector<unsigned, 2> from;
    llvm::SmallVector<std::string, 8> read, made;
    for (const exported::NamedArgument &input : node.inputs)
      addNames(input.value, read);
    for (const exported::Argument &output : node.outputs)
      addNames(output, made);
    for (const std::string &name : read)
      if (auto it = origins_.find(name); it != origins_.end()) {
        depends = true;
        for (unsigned step : it->second)
          if (!llvm::is_contained(from, step))
            from.push_back(step);
      }
    if (!depends)
      return;
    auto op = operatorOfTarget(node.target);
    const c10::AliasInfo *alias =
        op && !op->schema().returns().empty() ? op->schema().returns()[0].alias_info() : nullptr;
    bool isView = alias && !alias->isWrite();
    auto stack = moduleStackOf(node.moduleStack);
    for (const std::string &name : made) {
      const Value &value = frame().values[name];
      if (isView || !value.isTensor() || !value.toTensor().defined()) {
        origins_[name] = from;
        continue;
      }
      auto data = fromAtTensor(value.toTensor());
      if (!data) {
        llvm::consumeError(data.takeError()); // of a type that no package has
        origins_[name] = from;
        continue;
      }
      origins_[name] = {unsigned(steps_->size())};
      if (alias && alias->isWrite() && !read.empty())
        origins_[read[0]] = origins_[name];
      steps_->push_back({StringRef(targetName(node.target)).split('.').first.str(),
                         stack.empty() ? "" : stack.back().path,
                         describeTrace(node.stackTrace),
                         std::move(*data),
                         {from.begin(), from.end()},
                         false});
    }
  }

  const exported::Graph &graph_;
  bool widened_, inner_ = false;
  std::optional<std::vector<Step>> steps_;
  /// Of each name that depends on an input: the steps that it comes from.
  llvm::StringMap<llvm::SmallVector<unsigned, 2>> origins_;
};

class LoadedEvaluation final : public ExportedEvaluation {
public:
  LoadedEvaluation(std::shared_ptr<const ExportedModel> model, std::string path)
      : model_(std::move(model)), path_(std::move(path)) {}

  Error prepare(std::vector<ParameterValue> given) {
    const exported::Program &program = model_->program();
    bool narrow = false, wide = false;
    for (const exported::InputSpec &spec : program.inputs) {
      at::Tensor tensor = model_->tensorOf(spec);
      if (spec.kind != SpecKind::Parameter || !tensor.defined() || !tensor.is_floating_point())
        continue;
      (isHalf(tensor.scalar_type()) ? narrow : wide) = true;
    }
    widened_ = narrow && !wide;
    llvm::DenseMap<const void *, at::Tensor> converted; // so that tied tensors stay tied
    for (const exported::InputSpec &spec : program.inputs) {
      at::Tensor tensor = model_->tensorOf(spec);
      if (tensor.defined() && widened_ && isHalf(tensor.scalar_type())) {
        at::Tensor &wide = converted[tensor.unsafeGetTensorImpl()];
        if (!wide.defined())
          wide = tensor.to(at::kFloat);
        tensor = wide;
      }
      tensors_.push_back(tensor);
    }
    for (ParameterValue &value : given)
      if (Error error = setTensor(value))
        return error;
    first_ = contents();
    before_ = contents();
    return Error::success();
  }

  Expected<std::vector<TensorData>> call(llvm::ArrayRef<TensorData> inputs) override {
    std::vector<TensorData> results;
    Error error = attempt([&]() -> Error {
      before_ = contents();
      auto values = bind(inputs);
      if (!values)
        return values.takeError();
      auto outputs = KernelRun(model_->program().graph, widened_).run(*values);
      for (auto [spec, output] : llvm::zip(model_->program().outputs, outputs))
        if (Error error = take(spec, output, results))
          return error;
      return Error::success();
    });
    if (error)
      return error;
    return results;
  }

  Expected<std::vector<Step>> trace(llvm::ArrayRef<TensorData> inputs) override {
    std::vector<Step> steps;
    Error error = attempt([&]() -> Error {
      auto values = bind(inputs);
      if (!values)
        return values.takeError();
      std::vector<std::string> names;
      for (auto [spec, input] : llvm::zip(model_->program().inputs, model_->program().graph.inputs))
        if (spec.kind == SpecKind::User)
          names.push_back(input.text);
      steps = KernelRun(model_->program().graph, widened_).trace(*values, names);
      return Error::success();
    });
    if (error)
      return error;
    return steps;
  }

  void reset() override { restore(first_); }
  void undo() override { restore(before_); }

  std::vector<std::string> resetBut(llvm::ArrayRef<std::string> kept) override {
    at::NoGradGuard noGrad;
    const auto &specs = model_->program().inputs;
    llvm::DenseSet<const void *> memory; // of what stays as it is
    for (auto [spec, tensor, content] : llvm::zip(specs, tensors_, first_))
      if (content.defined() && (llvm::is_contained(kept, spec.target) ||
                                llvm::is_contained(kept, mil::legalName(spec.target))))
        memory.insert(tensor.storage().unsafeGetStorageImpl());
    std::vector<std::string> changed;
    for (auto [spec, tensor, content] : llvm::zip(specs, tensors_, first_)) {
      if (!content.defined() || memory.contains(tensor.storage().unsafeGetStorageImpl()) ||
          tensor.equal(content))
        continue;
      changed.push_back(spec.target);
      tensor.copy_(content);
    }
    return changed;
  }

  Expected<std::optional<TensorData>> attribute(StringRef name) override {
    std::optional<size_t> found;
    const auto &specs = model_->program().inputs;
    for (auto [i, spec] : llvm::enumerate(specs)) {
      if (!tensors_[i].defined() || spec.kind == SpecKind::Parameter ||
          (spec.target != name && mil::legalName(spec.target) != name))
        continue;
      if (found && !tensors_[*found].is_same(tensors_[i]))
        return makeError(Code::NameTaken, "{0}: '{1}' and '{2}' are both called '{3}' in a package",
                         path_, specs[*found].target, spec.target, name);
      found = i;
    }
    if (!found)
      return std::nullopt;
    auto data = fromAtTensor(tensors_[*found]);
    if (!data)
      return data.takeError();
    return std::optional(std::move(*data));
  }

  std::vector<TensorData> tensors() override {
    std::vector<TensorData> all;
    for (at::Tensor tensor : tensors_) {
      if (!tensor.defined() || !tensor.is_floating_point())
        continue;
      if (tensor.scalar_type() == at::kBFloat16)
        tensor = tensor.to(at::kFloat);
      tensor = tensor.contiguous();
      if (auto dtype = storedType(tensor.scalar_type()))
        all.push_back(TensorData::view(Engine::storageOf(tensor),
                                       tensor.storage_offset() * tensor.element_size(), *dtype,
                                       tensor.sizes().vec(), tensor.strides().vec()));
    }
    return all;
  }

private:
  Error attempt(llvm::function_ref<Error()> run) {
    at::NoGradGuard noGrad;
    std::string why;
    try {
      Error error = run();
      return error ? addContext(std::move(error), path_) : Error::success();
    } catch (const c10::Error &error) {
      why = torchMessage(error.what_without_backtrace());
    } catch (const std::exception &error) {
      why = error.what();
    }
    return makeError(Code::ModelRaises, "{0}: the model fails: {1}", path_, why);
  }

  Error setTensor(const ParameterValue &value) {
    bool found = false;
    for (auto [i, spec] : llvm::enumerate(model_->program().inputs)) {
      bool isIt = spec.target == value.path;
      // A tied parameter has one input, under one of its names.
      if (!isIt && tensors_[i].defined()) {
        exported::InputSpec other{SpecKind::Parameter, value.path, true};
        at::Tensor own = model_->tensorOf(other), its = model_->tensorOf(spec);
        isIt = own.defined() && own.numel() && own.const_data_ptr() == its.const_data_ptr() &&
               own.sizes() == its.sizes() && own.strides() == its.strides();
      }
      if (!isIt || !tensors_[i].defined())
        continue;
      auto tensor = toAtTensor(value.value.cast(mil::DType::F32), at::kFloat);
      if (!tensor)
        return addContext(tensor.takeError(), path_);
      tensors_[i] = tensor->to(tensors_[i].scalar_type());
      found = true;
    }
    return found ? Error::success()
                 : makeError(Code::AdapterMerge, "{0}: the program does not compute with '{1}'",
                             path_, value.path);
  }

  /// Copies of what calls may change.
  std::vector<at::Tensor> contents() const {
    std::vector<at::Tensor> copies;
    for (auto [spec, tensor] : llvm::zip(model_->program().inputs, tensors_)) {
      bool changes = tensor.defined() && spec.kind != SpecKind::Parameter;
      copies.push_back(changes ? tensor.clone() : at::Tensor());
    }
    return copies;
  }
  void restore(llvm::ArrayRef<at::Tensor> contents) {
    at::NoGradGuard noGrad;
    for (auto [tensor, content] : llvm::zip(tensors_, contents))
      if (content.defined())
        tensor.copy_(content);
  }

  Expected<std::vector<c10::IValue>> bind(llvm::ArrayRef<TensorData> inputs) {
    const exported::Program &program = model_->program();
    std::vector<c10::IValue> values;
    size_t next = 0;
    for (auto [i, spec] : llvm::enumerate(program.inputs)) {
      const exported::Argument &input = program.graph.inputs[i];
      if (spec.kind != SpecKind::User || input.kind != exported::Argument::Kind::Name) {
        values.push_back(tensors_[i].defined() ? c10::IValue(tensors_[i]) : c10::IValue());
        continue;
      }
      auto meta = program.graph.tensors.find(input.text);
      bool isNumber = input.member != "as_tensor";
      auto type =
          isNumber ? numberType(input)->kind() == c10::TypeKind::IntType ? at::kLong : at::kDouble
          : meta == program.graph.tensors.end() ? std::nullopt
                                                : exportedScalarType(meta->second.dtype);
      if (!type || next == inputs.size())
        return makeError(Code::InputCount, "the model takes another input, '{0}'", input.text);
      auto tensor = toAtTensor(inputs[next++], widened_ && isHalf(*type) ? at::kFloat : *type);
      if (!tensor)
        return tensor.takeError();
      if (isNumber) {
        values.push_back(numberType(input)->kind() == c10::TypeKind::BoolType
                             ? c10::IValue(tensor->item().toBool())
                             : c10::IValue(tensor->item()));
        continue;
      }
      // A package has no inputs without dimensions.
      values.emplace_back(meta->second.sizes.empty() && tensor->numel() == 1 ? tensor->reshape({})
                                                                             : *tensor);
    }
    if (next != inputs.size())
      return makeError(Code::InputCount, "the model takes {0} inputs, and {1} are given", next,
                       inputs.size());
    return values;
  }

  /// A result is flattened; what is written to a buffer is there for the next call.
  Error take(const exported::OutputSpec &spec, const c10::IValue &output,
             std::vector<TensorData> &results) {
    if (spec.kind == exported::OutputSpec::Kind::BufferMutation ||
        spec.kind == exported::OutputSpec::Kind::ParameterMutation) {
      for (auto [i, input] : llvm::enumerate(model_->program().inputs))
        if (input.target == spec.target && tensors_[i].defined())
          tensors_[i].copy_(output.toTensor());
      return Error::success();
    }
    if (spec.kind != exported::OutputSpec::Kind::User || output.isNone())
      return Error::success();
    at::Tensor tensor = output.isTensor()
                            ? output.toTensor()
                            : at::scalar_tensor(output.toScalar(), output.isInt()    ? at::kLong
                                                                   : output.isBool() ? at::kBool
                                                                                     : at::kDouble);
    auto data = fromAtTensor(tensor);
    if (!data)
      return data.takeError();
    results.push_back(std::move(*data));
    return Error::success();
  }

  std::shared_ptr<const ExportedModel> model_;
  std::string path_;
  std::vector<at::Tensor> tensors_; ///< by input; undefined for what is none of the model's
  std::vector<at::Tensor> first_, before_;
  bool widened_ = false;
};

} // namespace

Expected<std::shared_ptr<ExportedEvaluation>>
ExportedEvaluation::load(StringRef path, std::vector<ParameterValue> values) {
  auto model = ExportedModel::load(path, MappedFile::Access::CopyOnWrite);
  if (!model)
    return model.takeError();
  for (const exported::InputSpec &spec : (*model)->program().inputs) {
    bool isTensor = spec.kind == SpecKind::Parameter || spec.kind == SpecKind::Buffer ||
                    spec.kind == SpecKind::Constant;
    if (isTensor && !(*model)->find(spec))
      return makeError(Code::PickledObject, "{0}: '{1}' cannot be read: {2}", path, spec.target,
                       (*model)->problemOf(spec));
  }
  at::NoGradGuard noGrad;
  auto evaluation = std::make_shared<LoadedEvaluation>(std::move(*model), path.str());
  try {
    if (Error error = evaluation->prepare(std::move(values)))
      return error;
  } catch (const c10::Error &error) {
    return makeError(Code::ModelRaises, "{0}: {1}", path,
                     torchMessage(error.what_without_backtrace()));
  }
  return std::shared_ptr<ExportedEvaluation>(std::move(evaluation));
}

bool isExportedFile(StringRef path) { return ExportArchive::isOne(splitModelPath(path).file); }

} // namespace plait::frontend
