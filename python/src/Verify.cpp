// Verifying: what `plait verify` measures, as a dictionary.
#include "driver/Verify.h"
#include "driver/AdapterSyntax.h"
#include "driver/InputSyntax.h"
#include "driver/PackageFunctions.h"
#include "python/src/Package.h"

#include <atomic>

namespace plait::python {

namespace {

/// Ends a verification from another thread.
struct Stop {
  std::atomic<bool> said = false;
};

py::object toDict(const std::optional<runtime::Comparison> &comparison) {
  if (!comparison)
    return py::none();
  const runtime::Comparison &c = *comparison;
  return py::dict(py::arg("elements") = c.elements, py::arg("max_absolute") = c.maxAbsolute,
                  py::arg("max_relative") = c.maxRelative, py::arg("peak") = c.peak,
                  py::arg("snr") = c.snr, py::arg("cosine") = c.cosine,
                  py::arg("non_finite") = c.nonFinite, py::arg("worst") = c.worst);
}

py::object toDict(const std::optional<runtime::Finding> &finding) {
  if (!finding)
    return py::none();
  return py::dict(py::arg("operation") = finding->operation, py::arg("value") = finding->value,
                  py::arg("place") = finding->place,
                  py::arg("comparison") = toDict(finding->comparison));
}

py::dict toDict(const runtime::OutputReport &output) {
  static constexpr const char *verdicts[] = {"fine", "rounded", "wrong"};
  py::list causes;
  for (const runtime::RoundingCause &cause : output.causes)
    causes.append(py::make_tuple(cause.operation, cause.before, cause.after));
  return py::dict(
      py::arg("name") = output.name, py::arg("verdict") = verdicts[unsigned(output.verdict)],
      py::arg("passed") = output.passed(), py::arg("is_state") = output.isState,
      py::arg("distance") = output.distance, py::arg("explained") = output.explained,
      py::arg("draw") = output.draw, py::arg("step") = output.step,
      py::arg("comparison") = toDict(std::optional(output.comparison)), py::arg("causes") = causes);
}

py::object toDict(const std::optional<runtime::BisectReport> &report) {
  if (!report)
    return py::none();
  return py::dict(
      py::arg("rounding") = toDict(report->rounding),
      py::arg("overflow") = toDict(report->overflow), py::arg("overflowed") = report->overflowed,
      py::arg("magnitude") = report->magnitude, py::arg("non_finite") = toDict(report->nonFinite),
      py::arg("traced") = report->traced, py::arg("departure") = toDict(report->departure),
      py::arg("untraced") = report->untraced, py::arg("text") = runtime::describe(*report));
}

/// What `progress` raises ends it, and is raised when everything is cleaned up.
py::dict verify(const OpenPackage &package, const std::string &name, const std::string &against,
                const py::dict &values, const py::object &progress, const Stop &stop) {
  const mil::Function &function =
      *valueOrRaise(driver::findFunction(*package.program, package.path, name));
  Options said(values);
  driver::VerifyModel model;
  model.against = against;
  model.package = package.path;
  std::vector<Warning> warnings;
  model.warn = [&](const Warning &warning) { warnings.push_back(warning); };
  std::string adapter;
  said.take("adapter", adapter);
  if (!adapter.empty())
    model.adapters.specs = valueOrRaise(driver::parseAdapters(adapter));
  said.take("adapter_root", model.adapters.root);
  said.take("allow_unmatched", model.adapters.allowUnmatched);
  std::optional<double> alpha, scale;
  said.take("lora_alpha", alpha);
  said.take("lora_scale", scale);
  if (alpha || scale)
    driver::setScale(model.adapters.specs,
                     adapters::GivenScale{alpha.has_value(), alpha ? *alpha : *scale});

  runtime::VerifyOptions options;
  said.take("seed", options.seed);
  said.take("draws", options.draws);
  said.take("steps", options.steps);
  said.take("atol", options.absolute);
  said.take("rtol", options.relative);
  said.take("bisect", options.bisect);
  static constexpr const char *computes[] = {"fp32", "native"};
  if (said.choice("compute", computes).value_or(0))
    options.compute = runtime::Compute::Native;
  std::map<std::string, std::pair<int64_t, int64_t>> ranges;
  said.take("range", ranges);
  for (const auto &[input, range] : ranges)
    options.ranges[input] = {range.first, range.second};
  std::map<std::string, std::string> pixels;
  said.take("image", pixels);
  for (const auto &[input, text] : pixels)
    options.pixels[input] = valueOrRaise(driver::parsePixels(text));
  std::map<std::string, py::array> arrays;
  said.take("input", arrays);
  for (const auto &[input, array] : arrays) {
    std::string what = "input '" + input + "'";
    const mil::Value *declared = valueOrRaise(driver::findInput(function, input));
    options.inputs.push_back(
        {input, valueOrRaise(driver::convertArray(toTensorData(what, array), *declared, what))});
  }

  std::optional<py::error_already_set> raised;
  if (!progress.is_none())
    options.progress = [&](llvm::StringRef what, double done) {
      py::gil_scoped_acquire gil;
      try {
        if (!raised)
          progress(what.str(), done);
      } catch (py::error_already_set &error) {
        raised.emplace(error);
      }
    };
  model.proceed = [&] { return !stop.said && !raised; };
  std::optional<Expected<runtime::VerifyReport>> verified;
  {
    py::gil_scoped_release free;
    verified.emplace(driver::verify(function, model, std::move(options)));
  }
  if (raised) {
    llvm::consumeError(verified->takeError());
    throw *raised;
  }
  std::optional<runtime::VerifyReport> report(valueOrRaise(std::move(*verified)));
  py::list outputs;
  for (const runtime::OutputReport &output : report->outputs)
    outputs.append(toDict(output));
  return py::dict(py::arg("passed") = report->passed, py::arg("atol") = report->tolerance.absolute,
                  py::arg("rtol") = report->tolerance.relative, py::arg("outputs") = outputs,
                  py::arg("uncompared") = report->uncompared,
                  py::arg("forgotten") = report->forgotten, py::arg("random") = report->random,
                  py::arg("bisect") = toDict(report->bisect),
                  py::arg("warnings") = toList(warnings));
}

} // namespace

void bindVerify(py::module_ &module) {
  py::class_<Stop>(module, "Stop").def(py::init()).def("stop", [](Stop &stop) {
    stop.said = true;
  });
  module.def("verify", &verify);
}

} // namespace plait::python
