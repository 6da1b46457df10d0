// The public face of verification.
#include "api/Impl.h"

#include "driver/AdapterSyntax.h"
#include "driver/Compiler.h"
#include "driver/InputSyntax.h"
#include "driver/PackageFunctions.h"
#include "driver/Verify.h"

namespace plait::inline v0 {

static runtime::VerifyOptions toOptions(const mil::Function &function,
                                        const VerifyOptions &options) {
  runtime::VerifyOptions verify;
  verify.seed = options.seed;
  verify.draws = options.draws;
  verify.steps = options.steps;
  verify.absolute = options.atol;
  verify.relative = options.rtol;
  verify.bisect = options.bisect;
  verify.compute =
      options.compute == Compute::native ? runtime::Compute::Native : runtime::Compute::Float32;
  if (options.draws == 0)
    refuse(Code::OptionValue, "draws is at least 1", Exception::Reason::Option);
  if (options.steps == 0)
    refuse(Code::OptionValue, "steps is at least 1", Exception::Reason::Option);
  for (const auto &[name, range] : options.range) {
    if (range.high < range.low)
      refuse(Code::OptionValue, "range of '" + name + "': the upper bound is below the lower one",
             Exception::Reason::Option);
    verify.ranges[name] = {range.low, range.high};
  }
  for (const auto &[name, pixels] : options.image)
    verify.pixels[name] = valueOrRaise(driver::parsePixels(pixels), FailureKind::Option);
  for (const auto &[name, array] : options.input) {
    const mil::Value *input = valueOrRaise(driver::findInput(function, name), FailureKind::Input);
    std::string what = "input '" + name + "'";
    verify.inputs.push_back(
        {name, valueOrRaise(driver::convertArray(toTensorData(what, array), *input, what),
                            FailureKind::Input)});
  }
  return verify;
}

Verification verify(const Program &program, const std::string &name, const std::string &against,
                    const VerifyOptions &options) {
  return detail::verifyUnless(program, name, against, options, nullptr);
}

Verification detail::verifyUnless(const Program &program, const std::string &name,
                                  const std::string &against, const VerifyOptions &options,
                                  const std::function<bool()> &stopped) {
  const Program::Impl &impl = program.impl();
  const mil::Function &function = *valueOrRaise(
      driver::findFunction(*impl.program, impl.path,
                           name.empty() ? std::nullopt : std::optional<std::string>(name)),
      FailureKind::Option);
  driver::FunctionOptions checked;
  checked.model = against;
  if (llvm::Error error = driver::checkModel(checked))
    raise(std::move(error), FailureKind::File);
  driver::VerifyModel model{against, {{}, options.adapterRoot, options.allowUnmatched}, impl.path};
  if (!options.adapter.empty())
    model.adapters.specs =
        valueOrRaise(driver::parseAdapters(options.adapter), FailureKind::Option);
  checkAdapterOptions(options);
  driver::setScale(model.adapters.specs, givenScale(options.loraAlpha, options.loraScale));
  std::exception_ptr thrown; // by the caller's own function
  model.proceed = [&] { return !thrown && !(stopped && stopped()); };
  runtime::VerifyOptions verify = toOptions(function, options);
  if (options.onProgress)
    verify.progress = [&](llvm::StringRef what, double done) {
      try {
        if (!thrown)
          options.onProgress({forPrograms(what), done});
      } catch (...) {
        thrown = std::current_exception();
      }
    };
  auto verified = driver::verify(function, model, std::move(verify));
  if (thrown) {
    llvm::consumeError(verified.takeError());
    std::rethrow_exception(thrown);
  }
  runtime::VerifyReport report = valueOrRaise(std::move(verified));
  Verification result;
  result.passed = report.passed;
  result.atol = report.tolerance.absolute;
  result.rtol = report.tolerance.relative;
  for (const runtime::OutputReport &output : report.outputs) {
    const runtime::Comparison &c = output.comparison;
    result.outputs.push_back({output.name, output.passed(), output.distance, output.explained,
                              output.verdict == runtime::Verdict::Rounded, c.maxAbsolute,
                              c.maxRelative, c.snr, c.cosine, c.nonFinite, c.worst, output.draw,
                              output.step, output.isState});
  }
  if (report.bisect)
    result.bisect = runtime::describe(*report.bisect);
  result.random = report.random;
  return result;
}

} // namespace plait::inline v0
