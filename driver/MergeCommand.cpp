// plait merge: the options become MergeOptions, the report a few lines.
#include "driver/Commands.h"
#include "driver/DeviceRules.h"
#include "driver/Diagnostics.h"
#include "driver/JsonOutput.h"
#include "driver/Merge.h"
#include "driver/MetadataOptions.h"
#include "driver/PrintReport.h"
#include "driver/ProgressLine.h"
#include "driver/Sharing.h"
#include "driver/Timing.h"

#include "llvm/Support/FileSystem.h"
#include "llvm/Support/raw_ostream.h"

#include <chrono>

namespace plait::driver {

using llvm::StringRef;

namespace {

constexpr Option outOption{"o", "OUT.mlpackage", "the package to write; replaced where it exists"};
constexpr Option defaultOption{"default", "NAME",
                               "the function that runs where none is named (the first)"};
constexpr Option shareOption{"share", "on|off", "functions share equal weights (on)"};
constexpr Option threadsOption{"threads", "N", "for writing weights (one a processor)"};
constexpr Option quietOption{"quiet", nullptr, "no report and no progress", 'q'};
constexpr const Option *options[] = {
    &outOption,     &defaultOption, &shareOption, &expectSharedOption, &allowOption,
    &threadsOption, &dryRunOption,  &jsonOption,  &verboseOption,      &quietOption};
const Section sections[] = {{"Options", options}, {"Metadata", metadataOptions()}};

/// [NAME=]PKG[:FUNCTION]
Expected<MergeSource> parseSource(StringRef text) {
  MergeSource source;
  StringRef rest = text;
  // A path may have a '=' of its own. What is no name is said to be none, unless it is such a path.
  auto [name, path] = text.split('=');
  bool isPath = name.contains('/') || (!mil::isLegalName(name) && llvm::sys::fs::exists(text));
  if (!path.empty() && !isPath) {
    if (!mil::isLegalName(name))
      return usageError(Code::IllegalName, "'{0}': '{1}' cannot name a function: {2}", text, name,
                        mil::whyIllegal(name));
    source.name = name.str();
    rest = path;
  }
  auto [package, function] = rest.rsplit(':');
  if (!function.empty() && StringRef(package).rtrim('/').ends_with(".mlpackage")) {
    source.function = function.str();
    rest = package;
  }
  source.package = rest.str();
  if (!rest.rtrim('/').ends_with(".mlpackage"))
    return usageError(Code::OptionValue, "'{0}': [NAME=]PKG.mlpackage[:FUNCTION] is wanted", text);
  return source;
}

Expected<MergeOptions> mergeOptions(const Arguments &arguments) {
  MergeOptions merge;
  auto output = arguments.required(outOption);
  if (!output)
    return output.takeError();
  if (!StringRef(*output).rtrim('/').ends_with(".mlpackage"))
    return usageError(Code::PackageName, "-o {0}: the name of a package ends in .mlpackage",
                      *output);
  merge.output = *output;
  for (const std::string &operand : arguments.operands()) {
    auto source = parseSource(operand);
    if (!source)
      return source.takeError();
    merge.sources.push_back(std::move(*source));
  }
  if (merge.sources.empty())
    return usageError(Code::OptionMissing,
                      "the packages to merge are missing; see: plait help merge");
  merge.defaultFunction = arguments.value(defaultOption).value_or("");
  auto share = arguments.choice(shareOption, {"off", "on"}, 1);
  if (!share)
    return share.takeError();
  merge.share = *share;
  auto threads = arguments.number(threadsOption, 0, 1024);
  if (!threads)
    return threads.takeError();
  merge.threads = unsigned(*threads);
  merge.dryRun = arguments.has(dryRunOption);
  merge.warn = printWarning;
  auto expected = expectedShare(arguments);
  if (!expected)
    return expected.takeError();
  merge.expectShared = *expected;
  auto allowed = allowedRules(arguments);
  if (!allowed)
    return allowed.takeError();
  merge.allow = std::move(*allowed);
  if (Error error = readMetadata(arguments, merge.metadata))
    return error;
  return merge;
}

Expected<int> run(const Arguments &arguments) {
  auto start = std::chrono::steady_clock::now();
  auto options = mergeOptions(arguments);
  if (!options)
    return options.takeError();
  Timing timing(arguments.has(verboseOption));
  options->phase = [&](StringRef name) { timing.enter(name); };
  auto report = [&]() -> Expected<CompileReport> {
    ProgressLine line(arguments.has(quietOption));
    line.show("merging into " + options->output);
    options->proceed = [&](double done) {
      line.reach(done);
      return true;
    };
    return merge(*options);
  }();
  timing.addTo(arguments.reply());
  if (!report)
    return report.takeError();
  std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
  addTo(arguments.reply(), options->output, options->dryRun, elapsed.count(), *report);
  if (arguments.has(quietOption) || arguments.has(jsonOption))
    return 0;
  printPackageSize(options->output, report->packageBytes, options->dryRun, llvm::outs());
  llvm::outs() << ", " << report->functions.size()
               << (report->functions.size() == 1 ? " function\n" : " functions\n");
  for (const CompileReport::Function &function : report->functions)
    if (function.ownBytes + function.sharedBytes)
      llvm::outs() << fmt::format("  {0}  {1:>10} own  {2:>10} shared\n", function.name,
                                  humanBytes(function.ownBytes), humanBytes(function.sharedBytes));
  return 0;
}

constexpr const char *usage[] = {"-o OUT.mlpackage [options] [NAME=]PKG.mlpackage[:FUNCTION] ..."};

} // namespace

const Command mergeCommand = {
    "merge",
    "functions of existing packages into one package",
    usage,
    sections,
    "Without NAME and FUNCTION all functions of a package are taken under their own names; with "
    "NAME alone\nits default function. Packages may come from any tool; they must be made for iOS "
    "18 or macOS 15.\n",
    {},
    run};

} // namespace plait::driver
