// The public face of the reference interpreter.
#include "api/Impl.h"

#include "backend/PackageReader.h"
#include "driver/PackageFunctions.h"

#include <cstring>

namespace plait::inline v0 {

static ValueInfo describe(const mil::Value &value) {
  const mil::Type &type = value.type;
  ValueInfo result{value.name.str(), "", {}};
  if (!type.isTensor() && !type.isState()) {
    result.type = type.str();
    return result;
  }
  result.type = name(type.dtype()).str();
  for (const mil::Dim &size : type.shape())
    result.shape.push_back({size.lower(), size.upper()});
  return result;
}

Program::Program(const std::string &path) : impl_(std::make_shared<Impl>()) {
  impl_->path = path;
  impl_->program = valueOrRaise(readPackage(path));
  for (const auto &function : impl_->program->functions()) {
    FunctionInfo info;
    info.name = function->name;
    for (const auto &input : function->inputs())
      (input->type.isState() ? info.states : info.inputs).push_back(describe(*input));
    for (const mil::Operand &output : function->outputs())
      info.outputs.push_back(describe(*output));
    impl_->functions.push_back(std::move(info));
  }
}
Program::Program(Program &&) noexcept = default;
Program &Program::operator=(Program &&) noexcept = default;
Program::~Program() = default;

const std::vector<FunctionInfo> &Program::functions() const { return impl_->functions; }
const std::string &Program::defaultFunction() const { return impl_->program->defaultFunction; }

Session Program::session(const std::string &name, const RunOptions &options) const {
  mil::Function *function = valueOrRaise(
      driver::findFunction(*impl_->program, impl_->path,
                           name.empty() ? std::nullopt : std::optional<std::string>(name)));
  runtime::RunOptions run;
  run.compute =
      options.compute == Compute::native ? runtime::Compute::Native : runtime::Compute::Float32;
  run.profile = options.profile;
  for (const std::string &value : options.trace)
    if (value == "all")
      run.traceAll = true;
    else
      run.trace.push_back(value);
  runtime::Runner runner = valueOrRaise(runtime::Runner::create(*function, std::move(run)));
  const FunctionInfo *info = nullptr;
  for (const FunctionInfo &candidate : impl_->functions)
    if (candidate.name == function->name)
      info = &candidate;
  return Session(
      std::unique_ptr<Session::Impl>(new Session::Impl{impl_, function, info, std::move(runner)}));
}

Session::Session(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Session::Session(Session &&) noexcept = default;
Session &Session::operator=(Session &&) noexcept = default;
Session::~Session() = default;

const FunctionInfo &Session::function() const { return *impl_->info; }
void Session::resetStates() { impl_->runner.resetStates(); }

std::vector<runtime::NamedResult> Session::Impl::run(llvm::ArrayRef<runtime::NamedTensor> inputs) {
  std::vector<runtime::NamedTensor> converted;
  for (const runtime::NamedTensor &input : inputs) {
    const mil::Value *declared = valueOrRaise(driver::findInput(*function, input.name));
    converted.push_back(
        {input.name, valueOrRaise(driver::convertArray(input.value, *declared, function->name))});
  }
  return valueOrRaise(runner.run(converted));
}

mil::TensorData toTensorData(const std::string &what, const Array &array) {
  auto dtype = mil::parseDType(array.type);
  if (!dtype)
    throw Exception(what + ": there is no element type '" + array.type + "'");
  for (int64_t size : array.shape)
    if (size < 0)
      throw Exception(what + ": a dimension is negative");
  uint64_t expected = mil::byteSize(*dtype, mil::numElements(array.shape));
  if (array.data.size() != expected)
    throw Exception(fmt::format("{0}: {1} takes {2} bytes, and there are {3}", what,
                                mil::Type::tensor(*dtype, array.shape).str(), expected,
                                array.data.size()));
  auto *bytes = reinterpret_cast<const uint8_t *>(array.data.data());
  return mil::TensorData::fromBytes(*dtype, array.shape, {bytes, bytes + array.data.size()});
}

Array toArray(const mil::TensorData &tensor) {
  Array array;
  array.type = name(tensor.dtype()).str();
  array.shape.assign(tensor.shape().begin(), tensor.shape().end());
  std::vector<uint8_t> bytes = valueOrRaise(tensor.bytes());
  array.data.resize(bytes.size());
  std::memcpy(array.data.data(), bytes.data(), bytes.size());
  return array;
}

std::map<std::string, Array> Session::run(const std::map<std::string, Array> &inputs) {
  std::vector<runtime::NamedTensor> tensors;
  for (const auto &[name, array] : inputs)
    tensors.push_back({name, toTensorData("input '" + name + "'", array)});
  std::map<std::string, Array> results;
  for (const runtime::NamedResult &result : impl_->run(tensors)) {
    const mil::TensorData *tensor = result.value.tensor();
    if (!tensor)
      throw Exception("output '" + result.name + "' is " + result.value.type().str() +
                      "; only tensors can be given back");
    results[result.name] = toArray(*tensor);
  }
  return results;
}

static std::map<std::string, Array> toArrays(const std::vector<runtime::NamedTensor> &tensors) {
  std::map<std::string, Array> arrays;
  for (const runtime::NamedTensor &tensor : tensors)
    arrays[tensor.name] = toArray(tensor.value);
  return arrays;
}

void Session::Impl::setStates(llvm::ArrayRef<runtime::NamedTensor> states) {
  std::vector<runtime::NamedTensor> before = runner.states();
  for (const runtime::NamedTensor &state : states)
    if (llvm::Error error = runner.setState(state)) {
      runner.resetStates();
      for (const runtime::NamedTensor &old : before)
        llvm::cantFail(runner.setState(old));
      raise(std::move(error));
    }
}

void Session::setStates(const std::map<std::string, Array> &states) {
  std::vector<runtime::NamedTensor> tensors;
  for (const auto &[name, array] : states)
    tensors.push_back({name, toTensorData("state '" + name + "'", array)});
  impl_->setStates(tensors);
}

std::map<std::string, Array> Session::states() const { return toArrays(impl_->runner.states()); }
std::map<std::string, Array> Session::traced() const { return toArrays(impl_->runner.traced()); }

std::vector<ProfileRow> Session::profile() const {
  std::vector<ProfileRow> rows;
  for (const runtime::ProfileRow &row : impl_->runner.profile())
    rows.push_back({mil::name(row.kind).str(), row.calls, row.milliseconds});
  return rows;
}

} // namespace plait::inline v0
