// Packages: what they hold, as JSON; their functions, run in the reference interpreter; copying
// them.
#include "python/src/Package.h"

#include "backend/Inspect.h"
#include "driver/AdapterMap.h"
#include "driver/Compiler.h"
#include "driver/PackageFunctions.h"
#include "mil/MappedStorage.h"
#include "runtime/Runner.h"
#include "support/AtomicOutput.h"
#include "support/Folders.h"
#include "support/Json.h"

#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Path.h"

#include <mutex>

namespace plait::python {

using runtime::NamedTensor;

std::shared_ptr<const OpenPackage> openPackage(const std::string &path) {
  auto package = std::make_shared<OpenPackage>();
  package->path = path;
  package->program = valueOrRaise(readPackage(path));
  return package;
}

namespace {

/// What a function gives: a tensor, or the label and the dictionary of a classifier.
py::object toPython(const mil::Attr &value) {
  if (const std::string *text = value.string())
    return py::str(*text);
  if (const mil::TensorData *tensor = value.tensor()) {
    py::array array = toNumPy(*tensor);
    return tensor->rank() || mil::isFloat(tensor->dtype()) ? py::object(array)
                                                           : array.attr("item")();
  }
  if (const mil::Attr::Dict *entries = value.dict()) {
    py::dict result;
    for (const auto &[key, entry] : *entries) {
      py::object number = toPython(entry);
      result[toPython(key)] = py::isinstance<py::array>(number) ? number.attr("item")() : number;
    }
    return result;
  }
  raise(makeError(Code::ArrayMismatch, "a value of {0} cannot be given to Python",
                  value.type().str()));
}

/// A function that is ready to run. One call at a time; several wait for one another.
class ReadyFunction {
public:
  ReadyFunction(std::shared_ptr<const OpenPackage> package, const std::string &name)
      : package_(std::move(package)),
        function_(valueOrRaise(driver::findFunction(*package_->program, package_->path, name))) {}

  /// Outputs, the states after the call, and the values of `trace`. States that `states` does not
  /// name begin with zeros.
  py::tuple run(const std::map<std::string, py::array> &arrays,
                const std::map<std::string, py::array> &states, bool native,
                const std::vector<std::string> &trace) {
    std::vector<NamedTensor> inputs = named("input", arrays), begin = named("state", states);
    std::vector<runtime::NamedResult> outputs;
    std::vector<NamedTensor> after, traced;
    {
      py::gil_scoped_release free;
      std::scoped_lock lock(mutex_);
      for (NamedTensor &input : inputs) {
        const mil::Value *declared = valueOrRaise(driver::findInput(*function_, input.name));
        input.value = valueOrRaise(
            driver::convertArray(std::move(input.value), *declared, "input '" + input.name + "'"));
      }
      runtime::Runner &runner = ready(native, trace);
      runner.resetStates();
      for (const NamedTensor &state : begin)
        if (Error error = runner.setState(state))
          raise(std::move(error));
      outputs = valueOrRaise(runner.run(inputs));
      if (Error error = mil::checkUnchanged(*package_->program))
        raise(std::move(error));
      after = runner.states();
      traced = runner.traced();
    }
    py::dict results;
    for (const runtime::NamedResult &output : outputs)
      results[py::str(output.name)] = toPython(output.value);
    return py::make_tuple(results, toDict(after), toDict(traced));
  }

private:
  static std::vector<NamedTensor> named(const char *what,
                                        const std::map<std::string, py::array> &arrays) {
    std::vector<NamedTensor> tensors;
    for (const auto &[name, array] : arrays)
      tensors.push_back({name, toTensorData(std::string(what) + " '" + name + "'", array)});
    return tensors;
  }
  static py::dict toDict(const std::vector<NamedTensor> &tensors) {
    py::dict result;
    for (const NamedTensor &tensor : tensors)
      result[py::str(tensor.name)] = toNumPy(tensor.value);
    return result;
  }

  runtime::Runner &ready(bool native, const std::vector<std::string> &trace) {
    if (runner_ && native == native_ && trace == trace_)
      return *runner_;
    runtime::RunOptions options;
    options.compute = native ? runtime::Compute::Native : runtime::Compute::Float32;
    for (const std::string &name : trace)
      if (name == "all")
        options.traceAll = true;
      else
        options.trace.push_back(name);
    runner_.reset();
    runner_.emplace(valueOrRaise(runtime::Runner::create(*function_, std::move(options))));
    native_ = native;
    trace_ = trace;
    return *runner_;
  }

  std::shared_ptr<const OpenPackage> package_;
  const mil::Function *function_;
  std::mutex mutex_;
  std::optional<runtime::Runner> runner_;
  bool native_ = false;
  std::vector<std::string> trace_;
};

/// `plait inspect --json`, with the default shape of each flexible input, as text.
std::string inspect(const std::string &path, bool nearSharing) {
  auto summary = valueOrRaise(inspectPackage(path, nearSharing));
  return jsonText(toJson(summary), 0);
}

/// What every input takes beyond its type: enumerated shapes, and the default of a flexible one.
py::dict inputShapes(const OpenPackage &package) {
  py::dict result;
  for (const auto &function : package.program->functions()) {
    py::dict inputs;
    for (const auto &input : function->inputs()) {
      if (input->type.isState())
        continue;
      const mil::InputInfo &info = function->infoOfInput(input->index());
      py::list shapes;
      for (const auto &shape : info.enumeratedShapes)
        shapes.append(py::tuple(py::cast(std::vector<int64_t>(shape.begin(), shape.end()))));
      inputs[py::str(input->name.str())] =
          py::make_tuple(shapes, py::tuple(py::cast(std::vector<int64_t>(
                                     info.defaultShape.begin(), info.defaultShape.end()))));
    }
    result[py::str(function->name)] = inputs;
  }
  return result;
}

void copyPackage(const std::string &from, const std::string &to) {
  py::gil_scoped_release free;
  if (Error error = driver::checkOutput(to))
    raise(std::move(error));
  AtomicDirectory folder = valueOrRaise(AtomicDirectory::create(to));
  std::error_code failure;
  for (llvm::sys::fs::directory_iterator entry(from, failure), end; entry != end && !failure;
       entry.increment(failure)) {
    llvm::StringRef name = llvm::sys::path::filename(entry->path());
    if (Error error = copyTree(entry->path(), (folder.path() + "/" + name).str()))
      raise(std::move(error));
  }
  if (failure)
    raise(makeError(Code::PackageDamaged, "'{0}' cannot be read: {1}", from, failure.message()));
  if (Error error = folder.commit(/*flush=*/false))
    raise(std::move(error));
}

} // namespace

void bindPackage(py::module_ &module) {
  py::class_<OpenPackage, std::shared_ptr<OpenPackage>>(module, "OpenPackage")
      .def(py::init([](const std::string &path) {
        py::gil_scoped_release free;
        return std::const_pointer_cast<OpenPackage>(openPackage(path));
      }))
      .def("input_shapes", &inputShapes);
  py::class_<ReadyFunction>(module, "ReadyFunction")
      .def(py::init([](std::shared_ptr<OpenPackage> package, const std::string &name) {
        return std::make_unique<ReadyFunction>(std::move(package), name);
      }))
      .def("run", &ReadyFunction::run);
  module.def("inspect", &inspect, py::call_guard<py::gil_scoped_release>());
  module.def("copy_package", &copyPackage);
  module.def("adapter_map_path",
             [](const std::string &path) { return driver::adapterMapPath(path); });
}

} // namespace plait::python
