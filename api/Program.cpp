// The public face of the reference interpreter.
#include "api/Impl.h"

#include "backend/PackageReader.h"
#include "driver/PackageFunctions.h"
#include "mil/DefaultValues.h"

#include <cstring>

namespace plait::inline v0 {

/// In the order of ElementType.
static constexpr std::string_view elementNames[] = {"fp16",   "fp32",   "fp64",  "bf16",  "int8",
                                                    "int16",  "int32",  "int64", "uint8", "uint16",
                                                    "uint32", "uint64", "bool"};

std::string_view name(ElementType type) noexcept {
  return size_t(type) < std::size(elementNames) ? elementNames[size_t(type)] : std::string_view();
}

ElementType elementType(std::string_view name) noexcept {
  auto found = std::find(std::begin(elementNames), std::end(elementNames), name);
  return found == std::end(elementNames) ? ElementType::other
                                         : ElementType(found - std::begin(elementNames));
}

void detail::checkElements(std::string_view type, ElementType given, std::size_t size) {
  auto dtype = mil::parseDType(type);
  if (!dtype || mil::bitWidth(*dtype) < 8) // run() refuses a type that is none; others are packed
    return;
  // What no element type is, such as LibTorch's Half, is bits too.
  bool isBits = given >= ElementType::uint8 && given != ElementType::boolean;
  if (mil::bitWidth(*dtype) != size * 8 || !(given == v0::elementType(type) || isBits))
    refuse(
        Code::ArrayMismatch,
        fmt::format("an array of {0} is made of values of {0} or of their bits ({1} bytes each), "
                    "and these are {2} of {3} bytes",
                    type, mil::bitWidth(*dtype) / 8,
                    given == ElementType::other ? "something else" : name(given), size),
        Exception::Reason::Input);
}

static ValueInfo describe(const mil::Value &value) {
  const mil::Type &type = value.type;
  ValueInfo result{value.name.str(), "", {}};
  if (!type.isTensor() && !type.isState()) {
    result.type = type.str();
    return result;
  }
  result.type = mil::name(type.dtype()).str();
  for (const mil::Dim &size : type.shape())
    result.shape.push_back({size.lower(), size.upper()});
  return result;
}

Program::Program(const std::string &path) : impl_(std::make_shared<Impl>()) {
  impl_->path = path;
  impl_->program = valueOrRaise(readPackage(path), FailureKind::File);
  for (const auto &function : impl_->program->functions()) {
    FunctionInfo info;
    info.name = function->name;
    for (const auto &input : function->inputs()) {
      ValueInfo value = describe(*input);
      value.defaultValue = mil::defaultValueOf(*function, input->name);
      (input->type.isState() ? info.states : info.inputs).push_back(std::move(value));
    }
    for (const mil::Operand &output : function->outputs())
      info.outputs.push_back(describe(*output));
    impl_->functions.push_back(std::move(info));
  }
}
Program::Program(Program &&) noexcept = default;
Program &Program::operator=(Program &&) noexcept = default;
Program::~Program() = default;

const Program::Impl &Program::impl() const {
  if (!impl_)
    refuseMoved("Program");
  return *impl_;
}

const std::vector<FunctionInfo> &Program::functions() const & { return impl().functions; }
const std::string &Program::defaultFunction() const & { return impl().program->defaultFunction; }

Session Program::session(const std::string &name, const RunOptions &options) const {
  mil::Function *function = valueOrRaise(
      driver::findFunction(*impl().program, impl().path,
                           name.empty() ? std::nullopt : std::optional<std::string>(name)),
      FailureKind::Option);
  runtime::RunOptions run;
  run.compute =
      options.compute == Compute::native ? runtime::Compute::Native : runtime::Compute::Float32;
  run.profile = options.profile;
  for (const std::string &value : options.trace)
    if (value == "all")
      run.traceAll = true;
    else
      run.trace.push_back(value);
  runtime::Runner runner =
      valueOrRaise(runtime::Runner::create(*function, run), FailureKind::Unsupported);
  const FunctionInfo *info = nullptr;
  for (const FunctionInfo &candidate : impl_->functions)
    if (candidate.name == function->name)
      info = &candidate;
  return Session(std::unique_ptr<Session::Impl>(
      new Session::Impl{impl_, function, info, std::move(run), std::move(runner)}));
}

Session::Session(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Session::Session(Session &&) noexcept = default;
Session &Session::operator=(Session &&) noexcept = default;
Session::~Session() = default;

Session::Session(const Session &other) {
  const Impl &from = other.impl();
  impl_.reset(new Impl{from.program, from.function, from.info, from.options,
                       valueOrRaise(runtime::Runner::create(*from.function, from.options))});
  impl_->setStates(from.runner.states());
}
Session &Session::operator=(const Session &other) {
  if (this != &other)
    *this = Session(other);
  return *this;
}

Session::Impl &Session::impl() const {
  if (!impl_)
    refuseMoved("Session");
  return *impl_;
}

const FunctionInfo &Session::function() const & { return *impl().info; }
void Session::resetStates() { impl().runner.resetStates(); }
std::optional<Classification> Session::classification() const { return impl().classification; }

static std::string labelText(const mil::Attr &label) {
  if (const std::string *text = label.string())
    return *text;
  return std::to_string(valueOrRaise(label.tensor()->intValues()).front());
}

/// A classifier's label and its dictionary, out of the results.
static void takeClasses(std::vector<runtime::NamedResult> &results,
                        std::optional<Classification> &to) {
  std::vector<runtime::NamedResult> arrays;
  for (runtime::NamedResult &result : results) {
    const mil::Attr::Dict *dict = result.value.dict();
    const mil::TensorData *tensor = result.value.tensor();
    // Integers of 64 bits are labels: no array of an interface is of them.
    bool isLabel = result.value.string() || (tensor && tensor->dtype() == mil::DType::I64);
    if (!dict && !isLabel) {
      arrays.push_back(std::move(result));
      continue;
    }
    if (!to)
      to.emplace();
    if (isLabel) {
      to->output = result.name;
      to->label = labelText(result.value);
      continue;
    }
    for (const auto &[label, probability] : *dict)
      to->probabilities.emplace_back(labelText(label),
                                     valueOrRaise(probability.tensor()->floatValues()).front());
  }
  results = std::move(arrays);
}

std::vector<runtime::NamedResult> Session::Impl::run(llvm::ArrayRef<runtime::NamedTensor> inputs) {
  refuseWhileTracing();
  constexpr FailureKind input = FailureKind::Input;
  std::vector<runtime::NamedTensor> converted;
  for (const runtime::NamedTensor &one : inputs) {
    const mil::Value *declared = valueOrRaise(driver::findInput(*function, one.name), input);
    converted.push_back(
        {one.name,
         valueOrRaise(driver::convertArray(one.value, *declared, function->name), input)});
  }
  classification.reset();
  std::vector<runtime::NamedResult> results = valueOrRaise(runner.run(converted), input);
  takeClasses(results, classification);
  return results;
}

mil::TensorData toTensorData(const std::string &what, const Array &array) {
  auto dtype = mil::parseDType(array.type);
  if (!dtype)
    refuse(Code::ArrayMismatch, what + ": there is no element type '" + array.type + "'",
           Exception::Reason::Input);
  for (int64_t size : array.shape)
    if (size < 0)
      refuse(Code::ArrayMismatch, what + ": a dimension is negative", Exception::Reason::Input);
  uint64_t expected = mil::byteSize(*dtype, mil::numElements(array.shape));
  if (array.data.size() != expected)
    refuse(Code::ArrayMismatch,
           fmt::format("{0}: {1} takes {2} bytes, and there are {3}", what,
                       mil::Type::tensor(*dtype, array.shape).str(), expected, array.data.size()),
           Exception::Reason::Input);
  auto *bytes = reinterpret_cast<const uint8_t *>(array.data.data());
  return mil::TensorData::fromBytes(*dtype, array.shape, {bytes, bytes + array.data.size()});
}

Array toArray(const mil::TensorData &tensor) {
  Array array;
  array.type = mil::name(tensor.dtype()).str();
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
  for (const runtime::NamedResult &result : impl().run(tensors)) {
    const mil::TensorData *tensor = result.value.tensor();
    if (!tensor)
      refuse(Code::ArrayMismatch, "output '" + result.name + "' is " + result.value.type().str() +
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
      raise(std::move(error), FailureKind::Input);
    }
}

void Session::setStates(const std::map<std::string, Array> &states) {
  std::vector<runtime::NamedTensor> tensors;
  for (const auto &[name, array] : states)
    tensors.push_back({name, toTensorData("state '" + name + "'", array)});
  impl().setStates(tensors);
}
void Session::setState(const std::string &name, const Array &content) {
  setStates({{name, content}});
}

std::map<std::string, Array> Session::states() const { return toArrays(impl().runner.states()); }
std::map<std::string, Array> Session::traced() const { return toArrays(impl().runner.traced()); }

std::vector<ProfileRow> Session::profile() const {
  std::vector<ProfileRow> rows;
  for (const runtime::ProfileRow &row : impl().runner.profile())
    rows.push_back({mil::name(row.kind).str(), row.calls, row.milliseconds});
  return rows;
}

} // namespace plait::inline v0
