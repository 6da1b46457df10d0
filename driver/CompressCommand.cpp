// plait compress: the options become CompressOptions, the report a line for each weight.
#include "driver/Commands.h"
#include "driver/Compress.h"
#include "driver/DeviceRules.h"
#include "driver/Diagnostics.h"

#include "llvm/Support/raw_ostream.h"

#include <chrono>

namespace plait::driver {

using llvm::StringRef;

namespace {

constexpr Option outOption{"o", "OUT.mlpackage", "the package to write; may be PKG itself"};
constexpr Option threadsOption{
    "threads", "N", "that compress (one a processor); the package does not depend on it"};
constexpr Option quietOption{"quiet", nullptr, "no report and no progress", 'q'};
constexpr const Option *options[] = {&outOption,   &compressOption, &requireCoverageOption,
                                     &allowOption, &threadsOption,  &quietOption};
const Section sections[] = {{"Options", options}};

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
    return usageError("-o {0}: the name of a package ends in .mlpackage", *output);
  compress.output = *output;
  if (Error error = readCompression(arguments, compress.rules, compress.requireCoverage))
    return error;
  if (compress.rules.empty())
    return usageError(
        "--compress SCHEME is missing, such as --compress q4; see: plait help compress");
  auto threads = arguments.number(threadsOption, 0, 1024);
  if (!threads)
    return threads.takeError();
  compress.threads = unsigned(*threads);
  auto allowed = allowedRules(arguments);
  if (!allowed)
    return allowed.takeError();
  compress.allow = std::move(*allowed);
  return compress;
}

Expected<int> run(const Arguments &arguments) {
  auto start = std::chrono::steady_clock::now();
  auto options = compressOptions(arguments);
  if (!options)
    return options.takeError();
  bool quiet = arguments.has(quietOption);
  auto report = [&]() -> Expected<CompileReport> {
    ProgressLine line(quiet);
    options->warn = [&](StringRef message) {
      line.clear();
      printWarning(message);
    };
    options->proceed = [&](double done) {
      line.show(fmt::format("compressing {0:.0f}%", done * 100));
      return true;
    };
    return compressPackage(*options);
  }();
  if (!report)
    return report.takeError();
  std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
  if (quiet)
    return 0;
  llvm::outs() << options->output << ": " << humanBytes(report->packageBytes)
               << fmt::format(", {0:.2f} s\n", elapsed.count());
  printCompression(*report->compressed, llvm::outs());
  return 0;
}

constexpr const char *usage[] = {"PKG.mlpackage -o OUT.mlpackage --compress [PATTERN=]SCHEME ..."};

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
