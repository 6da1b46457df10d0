// Between constants and the interpreter.
#include "runtime/Runner.h"

#include "runtime/Interpreter.h"
#include "support/DidYouMean.h"
#include "support/Failure.h"

#include "llvm/ADT/StringSet.h"

namespace plait::runtime {

using mil::DType;
using mil::TensorData;

namespace {

class InterpreterRunner final : public Runner::Impl {
public:
  Expected<std::vector<NamedResult>> run(llvm::ArrayRef<NamedTensor> inputs) override;
  std::vector<NamedTensor> traced() const override;
  std::vector<ProfileRow> profile() const override;
  std::vector<NamedTensor> states() const override;
  void resetStates() override { interpreter->states.clear(); }
  Error setState(const NamedTensor &state) override;

  Expected<std::vector<Datum>> runShown(const Interpreter::Inputs &inputs);

  const mil::Function *function;
  std::unique_ptr<Interpreter> interpreter;
  std::function<void(double)> progress;
  llvm::MapVector<const mil::Value *, TensorData> observed;
};

} // namespace

Expected<Interpreter::Inputs> inputTensors(const mil::Function &function,
                                           llvm::ArrayRef<NamedTensor> inputs) {
  Interpreter::Inputs tensors;
  for (const NamedTensor &input : inputs) {
    for (const auto &declared : function.inputs())
      if (declared->name == input.name && declared->type.dtype() != input.value.dtype())
        return makeError(Code::ArrayMismatch,
                         "input '{0}' is {1} where the function takes {2}; convert it first",
                         input.name, input.value.type().str(), declared->type.str());
    auto tensor = toTensor(input.value, Compute::Float32, nullptr);
    if (!tensor)
      return tensor.takeError();
    if (!tensors.emplace(input.name, *tensor).second)
      return makeError(Code::ArrayMismatch, "input '{0}' is given twice", input.name);
  }
  return tensors;
}

Expected<std::vector<NamedResult>> namedResults(const mil::Function &function,
                                                llvm::ArrayRef<Datum> outputs) {
  std::vector<NamedResult> results;
  for (auto [value, datum] : llvm::zip(function.outputs(), outputs)) {
    if (datum.literal)
      results.push_back({value->name.str(), *datum.literal});
    else if (datum.tensor.defined()) {
      DType dtype = value->type.dtype();
      if (dtype == DType::F16 && datum.tensor.scalar_type() == at::kFloat)
        dtype = DType::F32; // a run that does not round
      results.push_back({value->name.str(), toTensorData(datum.tensor, dtype)});
    } else
      return makeError(Code::ArrayMismatch,
                       "output '{0}' is a list: only tensors can be given back", value->name);
  }
  return results;
}

Expected<Runner> Runner::create(const mil::Function &function, RunOptions options) {
  auto impl = std::make_unique<InterpreterRunner>();
  impl->function = &function;
  impl->progress = options.progress;
  Interpreter::Options inner;
  inner.compute = options.compute;
  inner.profile = options.profile;
  inner.givesBack = true;
  if (options.traceAll || !options.trace.empty()) {
    llvm::StringSet<> wanted, known;
    std::vector<llvm::StringRef> names;
    for (const std::string &name : options.trace)
      wanted.insert(name);
    mil::walk(const_cast<mil::Block &>(function.body()), [&](mil::Op &op) {
      for (const auto &result : op.results())
        if (known.insert(result->name).second)
          names.push_back(result->name);
    });
    std::string unknown;
    for (const std::string &name : options.trace)
      if (!known.contains(name))
        unknown += (unknown.empty() ? "'" : ", '") + name + "'" + didYouMean(name, names);
    if (!unknown.empty())
      return makeFailure(
          FailureKind::Option, Code::NoSuchFunction,
          fmt::format("function '{0}' computes no value named {1}", function.name, unknown));
    inner.observer = [impl = impl.get(), wanted, all = options.traceAll](const mil::Value &value,
                                                                         const Datum &datum) {
      if (datum.tensor.defined() && (all || wanted.contains(value.name)))
        impl->observed[&value] = toTensorData(datum.tensor, value.type.dtype());
    };
  }
  auto interpreter = Interpreter::create(function, std::move(inner));
  if (!interpreter)
    return interpreter.takeError();
  impl->interpreter = std::move(*interpreter);
  if (options.seed)
    impl->interpreter->seedRandom(*options.seed);
  return Runner(std::move(impl));
}

Expected<std::vector<Datum>> InterpreterRunner::runShown(const Interpreter::Inputs &inputs) {
  c10::InferenceMode guard;
  if (Error error = interpreter->start(inputs))
    return error;
  size_t count = 0, done = 0;
  for ([[maybe_unused]] const mil::Op &op : function->body())
    ++count;
  while (interpreter->next()) {
    if (auto results = interpreter->step(); !results)
      return results.takeError();
    progress(double(++done) / double(count));
  }
  return interpreter->finish();
}

Expected<std::vector<NamedResult>> InterpreterRunner::run(llvm::ArrayRef<NamedTensor> inputs) {
  observed.clear();
  auto tensors = inputTensors(*function, inputs);
  if (!tensors)
    return tensors.takeError();
  auto outputs = progress ? runShown(*tensors) : interpreter->run(*tensors);
  if (!outputs)
    return outputs.takeError();
  return namedResults(*function, *outputs);
}

std::vector<NamedTensor> InterpreterRunner::traced() const {
  std::vector<NamedTensor> tensors;
  for (const auto &[value, tensor] : observed)
    tensors.push_back({value->name.str(), tensor});
  return tensors;
}

std::vector<ProfileRow> InterpreterRunner::profile() const {
  std::vector<ProfileRow> rows;
  for (const auto &[kind, timing] : interpreter->timings())
    rows.push_back({kind, timing.calls, double(timing.nanoseconds) / 1e6});
  llvm::stable_sort(rows, [](const ProfileRow &a, const ProfileRow &b) {
    return a.milliseconds > b.milliseconds;
  });
  return rows;
}

Error InterpreterRunner::setState(const NamedTensor &state) {
  for (const auto &input : function->inputs()) {
    if (input->name != state.name || !input->type.isState())
      continue;
    auto shape = mil::constShape(input->type.shape());
    if (!shape || llvm::ArrayRef<int64_t>(*shape) != state.value.shape() ||
        !mil::isFloat(state.value.dtype()))
      return makeError(Code::ArrayMismatch, "state '{0}' holds {1}, and what it is given is {2}",
                       input->name, input->type.element().str(), state.value.type().str());
    auto tensor = toTensor(state.value.cast(input->type.dtype()), Compute::Float32, nullptr);
    if (!tensor)
      return tensor.takeError();
    interpreter->setState(*input, *tensor);
    return Error::success();
  }
  return makeError(Code::ArrayMismatch, "function '{0}' has no state '{1}'", function->name,
                   state.name);
}

std::vector<NamedTensor> InterpreterRunner::states() const {
  std::vector<NamedTensor> tensors;
  for (const auto &input : function->inputs()) {
    auto shape = mil::constShape(input->type.shape());
    if (!input->type.isState() || !shape)
      continue;
    auto it = interpreter->states.find(input->name.str());
    tensors.push_back({input->name.str(), it == interpreter->states.end()
                                              ? TensorData::splat(input->type.dtype(), *shape, 0)
                                              : toTensorData(it->second, input->type.dtype())});
  }
  return tensors;
}

} // namespace plait::runtime
