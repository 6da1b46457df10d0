// plait compress: the options become CompressOptions, the report a line for each weight.
#include "driver/Commands.h"
#include "driver/Compress.h"
#include "driver/CompressionOptions.h"
#include "driver/DeviceRules.h"
#include "driver/Diagnostics.h"
#include "driver/JsonOutput.h"
#include "driver/PrintReport.h"
#include "driver/ProgressLine.h"
#include "driver/Timing.h"

#include "llvm/Support/raw_ostream.h"

#include <chrono>

namespace plait::driver {

using llvm::StringRef;

namespace {

constexpr Option outOption{"o", "OUT.mlpackage", "the package to write; may be PKG itself"};
constexpr Option minSnrOption{"min-snr", "DB",
                              "what every output of every function reaches, in decibels: schemes "
                              "are chosen likewise, in as few bytes as that takes"};
constexpr Option inputsOption{
    "inputs", "FOLDER",
    "inputs that an app gives, on which outputs are measured: NAME.npy, .npz, PNG, JPEG, or "
    "folders "
    "of them; within a folder of a function's name those of that function"};
constexpr Option loraOption{
    "lora", "keep|fold",
    "fold: branches of adapters are merged into their weights first, for which what is compressed "
    "already is decompressed; functions then have weights of their own (keep)"};
constexpr Option threadsOption{
    "threads", "N", "that compress (one a processor); the package does not depend on it"};
constexpr Option quietOption{"quiet", nullptr, "no report and no progress", 'q'};
constexpr const Option *options[] = {&outOption,    &compressOption, &requireCoverageOption,
                                     &loraOption,   &allowOption,    &threadsOption,
                                     &dryRunOption, &jsonOption,     &verboseOption,
                                     &quietOption};
constexpr const Option *measuringOptions[] = {&sizeBudgetOption, &minSnrOption, &inputsOption,
                                              &calibrateOption, &gptqOption};
const Section sections[] = {{"Options", options}, {"By what it does", measuringOptions}};

Expected<CompressOptions> compressOptions(const Arguments &arguments) {
  CompressOptions compress;
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
  if (Error error = readGoal(arguments, &minSnrOption, inputsOption, compress.goal))
    return error;
  if (compress.rules.empty() && !compress.goal.chooses())
    return usageError(Code::OptionMissing,
                      "--compress SCHEME is missing, such as --compress q4, or --size-budget or "
                      "--min-snr; see: plait help compress");
  if (Error error = checkGoal(compress.goal, compress.rules, kGoalOptions))
    return error;
  auto lora = arguments.choice(loraOption, {"keep", "fold"}, 0);
  if (!lora)
    return lora.takeError();
  compress.foldAdapters = *lora == 1;
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
  auto report = [&]() -> Expected<CompileReport> {
    ProgressLine line(quiet);
    line.show("compressing " + options->package);
    options->proceed = [&](double done) {
      line.reach(done);
      return true;
    };
    return compressPackage(*options);
  }();
  timing.addTo(arguments.reply());
  if (!report)
    return report.takeError();
  std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
  addTo(arguments.reply(), options->output, options->dryRun, elapsed.count(), *report);
  if (quiet || arguments.has(jsonOption))
    return 0;
  printPackageSize(options->output, report->packageBytes, options->dryRun, llvm::outs());
  llvm::outs() << fmt::format(", {0:.2f} s\n", elapsed.count());
  printCompression(*report->compressed, report->outputs, llvm::outs());
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
