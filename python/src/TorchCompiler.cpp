// Compiling, merging, removing and packing: the driver's functions, with options as dictionaries.
// TorchScript modules come as torch's own Python objects, by the bindings that LibTorch's headers
// bring.
#include "python/src/Bindings.h"

#include "driver/AdapterMap.h"
#include "driver/AdapterSyntax.h"
#include "driver/ClassLabels.h"
#include "driver/Compiler.h"
#include "driver/Compress.h"
#include "driver/CompressionOptions.h"
#include "driver/InputDeclarations.h"
#include "driver/Merge.h"
#include "driver/Remove.h"
#include "driver/StateSyntax.h"
#include "mil/OperationPattern.h"

#include "llvm/ADT/StringExtras.h"

#include <torch/csrc/jit/api/module.h>

#include <cmath>
#include <mutex>

namespace plait::python {

namespace {

constexpr const char *kPrecisions[] = {"fp16", "fp32", "auto"};
constexpr const char *kTargets[] = {"ios16", "ios17", "ios18", "ios26"};

/// The error of what an option holds, with the option's name.
template <typename T> T ofOption(const char *option, Expected<T> value) {
  if (!value)
    raise(addContext(value.takeError(), option));
  return std::move(*value);
}

std::optional<double> percentage(const Options &said, const char *name) {
  std::optional<double> percent;
  said.take(name, percent);
  if (percent && !(*percent >= 0 && *percent <= 100))
    raise(makeError(Code::OptionValue, "{0} is a percentage, from 0 to 100", name));
  return percent;
}

mil::Metadata metadata(const Options &said) {
  mil::Metadata metadata;
  said.take("author", metadata.author);
  said.take("license", metadata.license);
  said.take("version_string", metadata.version);
  said.take("description", metadata.description);
  said.take("meta", metadata.userDefined);
  return metadata;
}

std::optional<adapters::GivenScale> scale(const Options &said) {
  std::optional<double> alpha, scale;
  said.take("lora_alpha", alpha);
  said.take("lora_scale", scale);
  if (alpha && scale)
    raise(makeError(Code::OptionConflict,
                    "lora_alpha and lora_scale say the same: one of them is wanted"));
  if (!alpha && !scale)
    return std::nullopt;
  double value = alpha ? *alpha : *scale;
  if (!std::isfinite(value))
    raise(makeError(Code::OptionValue, "the scale of an adapter is a finite number"));
  return adapters::GivenScale{alpha.has_value(), value};
}

/// `minSnr` is that of compression.
driver::CompressionGoal compressionGoal(const Options &said, std::optional<double> minSnr,
                                        llvm::ArrayRef<compress::Rule> rules) {
  driver::CompressionGoal goal;
  std::string budget;
  said.take("size_budget", budget);
  if (!budget.empty() && !(goal.sizeBudget = driver::parseBytes(budget)))
    raise(makeError(Code::OptionValue,
                    "size_budget is {0}: a number of bytes is wanted, or text such as \"900MB\"",
                    budget));
  if (minSnr && !(*minSnr > 0 && *minSnr <= 140))
    raise(makeError(Code::OptionValue, "min_snr is {0}: decibels between 0 and 140 are wanted",
                    *minSnr));
  goal.minSnr = minSnr;
  said.take("measure_on", goal.inputs);
  said.take("calibrate", goal.calibration);
  said.take("gptq", goal.gptq);
  if (Error error = driver::checkGoal(goal, rules, driver::kGoalKeys))
    raise(std::move(error));
  return goal;
}

std::vector<compress::Rule> compressionRules(const Options &said) {
  std::vector<std::string> texts;
  said.take("compress", texts);
  std::vector<compress::Rule> rules;
  for (const std::string &rule : texts)
    rules.push_back(ofOption("compress", compress::parseRule(rule)));
  return rules;
}

/// `notes` takes what is read as something else.
driver::FunctionOptions functionOptions(const std::string &name, const py::dict &values,
                                        std::vector<Warning> &notes) {
  Options said(values);
  driver::FunctionOptions function;
  function.name = name;
  std::vector<std::string> inputs, outputs, states;
  said.take("input", inputs);
  for (const std::string &text : inputs)
    if (Error error = driver::addDeclaration(function, text, {.notes = &notes}))
      raise(addContext(std::move(error), "inputs"));
  if (Error error = driver::resolveSizes(function.inputs))
    raise(addContext(std::move(error), "inputs"));
  said.take("traced", function.isTracedWithConstants);
  said.take("output", outputs);
  for (const std::string &text : outputs)
    function.outputs.push_back(ofOption("outputs", driver::parseOutput(text)));
  said.take("describe", function.descriptions);
  std::string classes, scores, adapter;
  said.take("classes", classes);
  if (!classes.empty())
    function.classes = ofOption("classes", driver::parseClasses(classes));
  said.take("class_output", scores);
  if (!scores.empty() && !function.classes)
    raise(
        makeError(Code::OptionConflict, "class_output is '{0}', and there are no classes", scores));
  if (function.classes)
    function.classes->scores = scores;
  said.take("states", states);
  for (const std::string &text : states)
    if (Error error = driver::addStates(function.states, text))
      raise(addContext(std::move(error), "states"));
  said.take("state_inputs", function.states.inputs);
  said.take("method", function.method);
  said.take("adapter", adapter);
  if (!adapter.empty())
    function.adapters.specs = ofOption("adapters", driver::parseAdapters(adapter));
  driver::setScale(function.adapters.specs, scale(said));
  said.take("adapter_root", function.adapters.root);
  said.take("allow_unmatched", function.adapters.allowUnmatched);
  if (auto lora = said.choice("lora", mil::kLoraModes))
    function.lora = mil::LoraMode(*lora);
  if (Error error = driver::checkLora(function))
    raise(std::move(error));
  return function;
}

py::dict toDict(const driver::CompileReport &report, const std::vector<Warning> &warnings,
                const std::string &adapterMap) {
  py::list functions;
  for (const driver::CompileReport::Function &function : report.functions)
    functions.append(py::dict(
        py::arg("name") = function.name, py::arg("operations") = function.operations,
        py::arg("own_bytes") = function.ownBytes, py::arg("shared_bytes") = function.sharedBytes,
        py::arg("states") = function.states, py::arg("handed_on") = function.handedOn));
  py::list weights;
  if (report.compressed)
    for (const compress::WeightResult &weight : report.compressed->weights)
      weights.append(py::dict(
          py::arg("name") = weight.name,
          py::arg("shape") =
              py::tuple(py::cast(std::vector<int64_t>(weight.shape.begin(), weight.shape.end()))),
          py::arg("functions") = weight.functions, py::arg("scheme") = weight.scheme,
          py::arg("bits") = weight.bitsPerWeight, py::arg("snr") = weight.snr,
          py::arg("skipped") = weight.skipped, py::arg("note") = weight.note));
  py::dict outputs;
  for (const driver::FunctionSnr &output : report.outputs)
    outputs[py::str(output.function)] = output.snr;
  return py::dict(py::arg("functions") = functions,
                  py::arg("weight_file_bytes") = report.weightFileBytes,
                  py::arg("package_bytes") = report.packageBytes,
                  py::arg("warnings") = toList(warnings), py::arg("weights") = weights,
                  py::arg("output_snr") = outputs, py::arg("adapter_map") = adapterMap);
}

/// Hands progress on to a function of Python's, from whichever thread. What it raises ends the
/// work, and is raised when everything is cleaned up.
class Observer final : public driver::CompileObserver {
public:
  Observer(py::object callback, const std::atomic<bool> &cancelled)
      : callback_(std::move(callback)), cancelled_(cancelled) {}

  void progress(const llvm::Twine &what) override {
    std::scoped_lock lock(mutex_);
    what_ = what.str();
    tell();
  }
  void warning(const Warning &warning) override {
    std::scoped_lock lock(mutex_);
    warnings_.push_back(warning);
  }
  bool proceed(double done) override {
    std::scoped_lock lock(mutex_);
    // A callback for each tile of weights would take longer than the tile.
    if (done >= done_ + 0.005 || (done == 1 && done_ < 1)) {
      done_ = done;
      tell();
    }
    return !cancelled_ && !raised_;
  }

  const std::vector<Warning> &warnings() const { return warnings_; }
  std::optional<py::error_already_set> &raised() { return raised_; }

private:
  void tell() {
    if (callback_.is_none() || raised_)
      return;
    py::gil_scoped_acquire gil;
    try {
      callback_(what_, done_);
    } catch (py::error_already_set &error) {
      raised_.emplace(error);
    }
  }

  py::object callback_;
  const std::atomic<bool> &cancelled_;
  std::mutex mutex_;
  std::string what_;
  double done_ = 0;
  std::vector<Warning> warnings_;
  std::optional<py::error_already_set> raised_;
};

/// Functions for one package.
class Compiler {
public:
  explicit Compiler(const py::dict &values) {
    Options said(values);
    said.take("default", options_.defaultFunction);
    said.take("share", options_.share);
    said.take("join_linears", options_.joinLinears);
    said.take("debug_info", options_.debugInfo);
    options_.expectShared = percentage(said, "expect_shared");
    said.take("allow", options_.allow);
    said.take("threads", options_.threads);
    said.take("multifunction", options_.multifunction);
    options_.metadata = metadata(said);
    std::optional<double> snr = takePrecision(said);
    options_.compress = compressionRules(said);
    std::string sets, calibration;
    said.take("measure_on", sets);
    said.take("calibrate", calibration);
    if (snr && sets.empty() && calibration.empty())
      raise(makeError(Code::OptionMissing,
                      "min_snr is for precision=\"auto\", or for compression beside inputs that "
                      "outputs are measured on: measure_on"));
    options_.goal = compressionGoal(said, snr, options_.compress);
    options_.requireCoverage = percentage(said, "require_coverage");
    if (options_.requireCoverage && options_.compress.empty() && !options_.goal.chooses())
      raise(makeError(Code::OptionConflict, "require_coverage is of compress, which is not given"));
    if (auto target = said.choice("target", kTargets))
      options_.target = *mil::parseOpset(kTargets[*target]);
    if (auto lora = said.choice("lora", mil::kLoraModes))
      options_.lora = mil::LoraMode(*lora);
  }

  void addFile(const std::string &name, const std::string &path, const py::dict &values) {
    options_.functions.push_back(functionOptions(name, values, options_.notes));
    options_.functions.back().model = path;
  }

  /// Functions that are made of one module are lowered once where they differ in adapters alone.
  void addModule(const std::string &name, const torch::jit::Module &script,
                 const py::dict &values) {
    options_.functions.push_back(functionOptions(name, values, options_.notes));
    driver::FunctionOptions &function = options_.functions.back();
    auto &module = modules_[script._ivalue().get()];
    if (!module)
      module = std::make_shared<const torch::jit::Module>(script);
    function.module = module;
    // Which functions have a base in common is seen by what messages call it, too.
    auto &called = names_[module.get()];
    if (called.empty())
      called = "the model of function '" + name + "'";
    function.model = called;
  }

  py::dict write(const std::string &path, bool append, py::object progress) {
    if (!llvm::StringRef(path).rtrim('/').ends_with(".mlpackage"))
      raise(makeError(Code::PackageName, "{0}: the name of a package ends in .mlpackage", path));
    driver::CompileOptions options = options_;
    options.output = path;
    options.append = append;
    Observer observer(std::move(progress), cancelled_);
    std::optional<Expected<driver::CompileReport>> report;
    {
      py::gil_scoped_release free;
      options.precision = precision_ ? *precision_
                          : append   ? valueOrRaise(driver::precisionOf(path))
                                     : passes::Precision::F16;
      report.emplace(driver::compile(options, observer));
    }
    if (!*report) {
      Error error = report->takeError();
      if (observer.raised()) {
        llvm::consumeError(std::move(error));
        throw *observer.raised();
      }
      raise(std::move(error));
    }
    bool mapped = llvm::any_of(options.functions, [&](const driver::FunctionOptions &f) {
      return !f.adapters.specs.empty() && options.loraOf(f) == mil::LoraMode::Inputs;
    });
    return toDict(**report, observer.warnings(), mapped ? driver::adapterMapPath(path) : "");
  }

  void cancel() { cancelled_ = true; }

private:
  /// Gives back min_snr where it is not the precision's.
  std::optional<double> takePrecision(const Options &said) {
    auto precision = said.choice("precision", kPrecisions);
    said.take("keep_fp32", options_.keepFloat32);
    for (const std::string &pattern : options_.keepFloat32)
      if (Error error = mil::OperationPattern::parse(pattern).takeError())
        raise(addContext(std::move(error), "keep_fp32"));
    std::optional<double> snr;
    said.take("min_snr", snr);
    bool isAuto = precision == 2u;
    if (snr && !(*snr > 0 && *snr <= 140))
      raise(makeError(Code::OptionValue, "min_snr is {0}: decibels between 0 and 140 are wanted",
                      *snr));
    if (precision == 1u && !options_.keepFloat32.empty())
      raise(makeError(Code::OptionConflict,
                      "keep_fp32 is for precision=\"fp16\"; in fp32 everything is kept"));
    if (isAuto)
      options_.autoPrecision.emplace();
    if (snr && isAuto)
      options_.autoPrecision->minSnr = *snr;
    if (precision)
      precision_ = isAuto ? passes::Precision::F16 : passes::Precision(*precision);
    return isAuto ? std::nullopt : snr;
  }

  driver::CompileOptions options_;
  std::optional<passes::Precision> precision_;
  std::map<const void *, std::shared_ptr<const torch::jit::Module>> modules_;
  std::map<const void *, std::string> names_;
  std::atomic<bool> cancelled_ = false;
};

py::dict merge(const std::string &path,
               const std::vector<std::tuple<std::string, std::string, std::string>> &sources,
               const py::dict &values) {
  Options said(values);
  driver::MergeOptions options;
  options.output = path;
  for (const auto &[package, function, name] : sources)
    options.sources.push_back({package, function, name});
  said.take("default", options.defaultFunction);
  said.take("share", options.share);
  options.expectShared = percentage(said, "expect_shared");
  said.take("allow", options.allow);
  said.take("threads", options.threads);
  options.metadata = metadata(said);
  if (!llvm::StringRef(path).rtrim('/').ends_with(".mlpackage"))
    raise(makeError(Code::PackageName, "{0}: the name of a package ends in .mlpackage", path));
  std::vector<Warning> warnings;
  options.warn = [&](const Warning &warning) { warnings.push_back(warning); };
  std::optional<driver::CompileReport> report;
  {
    py::gil_scoped_release free;
    report.emplace(valueOrRaise(driver::merge(options)));
  }
  return toDict(*report, warnings, "");
}

py::dict compressPackage(const std::string &package, const std::string &output,
                         const py::dict &values) {
  Options said(values);
  driver::CompressOptions options;
  options.package = package;
  options.output = output;
  if (!llvm::StringRef(output).rtrim('/').ends_with(".mlpackage"))
    raise(makeError(Code::PackageName, "{0}: the name of a package ends in .mlpackage", output));
  std::optional<double> snr;
  said.take("min_snr", snr);
  options.rules = compressionRules(said);
  options.goal = compressionGoal(said, snr, options.rules);
  if (options.rules.empty() && !options.goal.chooses())
    raise(makeError(Code::OptionMissing,
                    "there is no scheme to compress with: compress=\"q4\", or size_budget or "
                    "min_snr"));
  options.requireCoverage = percentage(said, "require_coverage");
  constexpr const char *modes[] = {"keep", "fold"};
  options.foldAdapters = said.choice("lora", modes) == 1u;
  said.take("allow", options.allow);
  said.take("threads", options.threads);
  std::vector<Warning> warnings;
  options.warn = [&](const Warning &warning) { warnings.push_back(warning); };
  std::optional<driver::CompileReport> report;
  {
    py::gil_scoped_release free;
    report.emplace(valueOrRaise(driver::compressPackage(options)));
  }
  return toDict(*report, warnings, "");
}

void remove(const std::string &path, const std::vector<std::string> &functions,
            const std::string &defaultFunction, bool compact) {
  driver::RemoveOptions options;
  options.package = path;
  options.functions = functions;
  options.defaultFunction = defaultFunction;
  options.compact = compact;
  if (functions.empty() && !compact)
    raise(
        makeError(Code::OptionMissing, "{0}: no function is named that is to be taken out", path));
  py::gil_scoped_release free;
  if (Error error = driver::remove(options).takeError())
    raise(std::move(error));
}

py::dict pack(const std::string &adapter, const std::string &map, const std::string &function,
              const py::dict &values) {
  adapters::AdapterSpec spec{adapter, 1, scale(Options(values))};
  std::vector<adapters::PackedInput> packed;
  {
    py::gil_scoped_release free;
    packed = valueOrRaise(driver::packAdapter(
        spec, map, function.empty() ? std::nullopt : std::optional<std::string>(function)));
  }
  py::dict result;
  for (const adapters::PackedInput &input : packed)
    result[py::str(input.name)] = toNumPy(input.value);
  return result;
}

} // namespace

void bindCompiler(py::module_ &module) {
  py::class_<Compiler>(module, "Compiler")
      .def(py::init<const py::dict &>(), py::arg("options"))
      .def("add_file", &Compiler::addFile)
      .def("add_module", &Compiler::addModule)
      .def("write", &Compiler::write, py::arg("path"), py::arg("append"), py::arg("progress"))
      .def("cancel", &Compiler::cancel);
  module.def("merge", &merge);
  module.def("compress", &compressPackage);
  module.def("remove", &remove);
  module.def("pack_adapter", &pack);
}

} // namespace plait::python
