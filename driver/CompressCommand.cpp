// plait compress: the options become CompressOptions, the report a line for each weight.
#include "driver/Commands.h"
#include "driver/DeviceRules.h"
#include "driver/Diagnostics.h"
#include "driver/JsonOutput.h"
#include "driver/MeasuredCompression.h"
#include "driver/PrintReport.h"
#include "driver/ProgressLine.h"
#include "driver/Timing.h"

#include "llvm/Support/raw_ostream.h"

#include <chrono>

namespace plait::driver {

using llvm::StringRef;

namespace {

constexpr Option outOption{"o", "OUT.mlpackage", "the package to write; may be PKG itself"};
constexpr Option sizeBudgetOption{
    "size-budget", "BYTES",
    "what the package may take, 900MB: schemes of weights that --compress does not name are chosen "
    "by what their errors do to the outputs, as the interpreter measures it on --inputs"};
constexpr Option minSnrOption{"min-snr", "DB",
                              "what every output of every function reaches, in decibels: schemes "
                              "are chosen likewise, in as few bytes as that takes"};
constexpr Option inputsOption{
    "inputs", "FOLDER",
    "inputs that an app gives, on which outputs are measured: NAME.npy, .npz, PNG, JPEG, or "
    "folders "
    "of them; within a folder of a function's name those of that function"};
constexpr Option calibrateOption{
    "calibrate", "FOLDER",
    "inputs likewise: what weights are multiplied with there, in every function, says which of "
    "their errors matter; outputs are measured on them where --inputs is not given"};
constexpr Option gptqOption{
    "gptq", nullptr,
    "with --calibrate: integers and indices of linear layers are chosen one input after the other, "
    "each to make up for the errors of those before it"};
constexpr Option threadsOption{
    "threads", "N", "that compress (one a processor); the package does not depend on it"};
constexpr Option quietOption{"quiet", nullptr, "no report and no progress", 'q'};
constexpr const Option *options[] = {&outOption,   &compressOption, &requireCoverageOption,
                                     &allowOption, &threadsOption,  &dryRunOption,
                                     &jsonOption,  &verboseOption,  &quietOption};
constexpr const Option *measuringOptions[] = {&sizeBudgetOption, &minSnrOption, &inputsOption,
                                              &calibrateOption, &gptqOption};
const Section sections[] = {{"Options", options}, {"By what it does", measuringOptions}};

Error readGoal(const Arguments &arguments, CompressionGoal &goal,
               llvm::ArrayRef<compress::Rule> rules) {
  if (auto given = arguments.value(sizeBudgetOption)) {
    goal.sizeBudget = parseBytes(*given);
    if (!goal.sizeBudget)
      return usageError(Code::OptionValue,
                        "--size-budget {0}: a number of bytes is wanted, such as 900MB or 1.5GiB",
                        *given);
  }
  if (arguments.has(minSnrOption)) {
    auto snr = arguments.real(minSnrOption, 30);
    if (!snr)
      return snr.takeError();
    if (!(*snr > 0 && *snr <= 140))
      return usageError(Code::OptionValue, "--min-snr {0}: decibels between 0 and 140 are wanted",
                        *snr);
    goal.minSnr = *snr;
  }
  goal.calibration = arguments.value(calibrateOption).value_or("");
  goal.inputs = arguments.value(inputsOption).value_or(goal.calibration);
  goal.gptq = arguments.has(gptqOption);
  if (goal.gptq && goal.calibration.empty())
    return usageError(Code::OptionMissing,
                      "--gptq needs inputs that the model is given: --calibrate FOLDER");
  if (goal.chooses() && goal.inputs.empty())
    return usageError(Code::OptionMissing,
                      "{0} needs inputs that the functions are run on: --inputs FOLDER",
                      goal.minSnr ? "--min-snr" : "--size-budget");
  for (const compress::Rule &rule : rules)
    if (goal.chooses() && rule.pattern.empty())
      return usageError(Code::OptionValue,
                        "--compress {0} is a scheme for every weight, and a size or a "
                        "signal-to-noise ratio chooses one for each; PATTERN=SCHEME makes an "
                        "exception",
                        rule.scheme.str());
  if (rules.empty() && !goal.chooses())
    return usageError(Code::OptionMissing,
                      "--compress SCHEME is missing, such as --compress q4, or --size-budget or "
                      "--min-snr; see: plait help compress");
  return Error::success();
}

Expected<MeasuredCompressOptions> compressOptions(const Arguments &arguments) {
  MeasuredCompressOptions compress;
  auto package = arguments.operand("PKG.mlpackage");
  if (!package)
    return package.takeError();
  compress.package = *package;
  auto output = arguments.required(outOption);
  if (!output)
    return output.takeError();
  if (!StringRef(*output).rtrim('/').ends_with(".mlpackage"))
    return usageError(Code::PackageName, "-o {0}: the name of a package ends in .mlpackage",
                      *output);
  compress.output = *output;
  if (Error error = readCompression(arguments, compress.rules, compress.requireCoverage))
    return error;
  if (Error error = readGoal(arguments, compress.goal, compress.rules))
    return error;
  auto threads = arguments.number(threadsOption, 0, 1024);
  if (!threads)
    return threads.takeError();
  compress.threads = unsigned(*threads);
  auto allowed = allowedRules(arguments);
  if (!allowed)
    return allowed.takeError();
  compress.allow = std::move(*allowed);
  compress.dryRun = arguments.has(dryRunOption);
  compress.warn = printWarning;
  return compress;
}

Expected<int> run(const Arguments &arguments) {
  auto start = std::chrono::steady_clock::now();
  auto options = compressOptions(arguments);
  if (!options)
    return options.takeError();
  bool quiet = arguments.has(quietOption);
  Timing timing(arguments.has(verboseOption));
  options->phase = [&](StringRef name) { timing.enter(name); };
  std::vector<FunctionSnr> outputs;
  auto report = [&]() -> Expected<CompileReport> {
    ProgressLine line(quiet);
    line.show("compressing " + options->package);
    options->proceed = [&](double done) {
      line.reach(done);
      return true;
    };
    return compressPackage(*options, outputs);
  }();
  timing.addTo(arguments.reply());
  if (!report)
    return report.takeError();
  std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
  llvm::json::Object &reply = arguments.reply();
  addTo(reply, options->output, options->dryRun, elapsed.count(), *report);
  llvm::json::Array measured;
  for (const FunctionSnr &output : outputs)
    measured.push_back(
        llvm::json::Object{{"function", jsonString(output.function)}, {"snr", finite(output.snr)}});
  reply["outputs"] = std::move(measured);
  if (quiet || arguments.has(jsonOption))
    return 0;
  printPackageSize(options->output, report->packageBytes, options->dryRun, llvm::outs());
  llvm::outs() << fmt::format(", {0:.2f} s\n", elapsed.count());
  printCompression(*report->compressed, llvm::outs());
  printOutputs(outputs, llvm::outs());
  return 0;
}

constexpr const char *usage[] = {
    "PKG.mlpackage -o OUT.mlpackage --compress [PATTERN=]SCHEME ...",
    "PKG.mlpackage -o OUT.mlpackage --size-budget BYTES --inputs FOLDER",
    "PKG.mlpackage -o OUT.mlpackage --min-snr DB --inputs FOLDER"};

} // namespace

const Command compressCommand = {"compress",
                                 "the weights of a package in fewer bits",
                                 usage,
                                 sections,
                                 "The package may come from any tool. A weight that several "
                                 "functions share is compressed once\nand "
                                 "stays shared; what is compressed already stays as it is. "
                                 "docs/compression.md has the schemes.\n",
                                 {},
                                 run};

} // namespace plait::driver
