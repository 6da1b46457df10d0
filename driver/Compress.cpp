// Adapters' constants, coverage, the report, and packages written anew.
#include "driver/Compress.h"

#include "backend/DebugInfo.h"
#include "backend/PackageReader.h"
#include "backend/PackageWriter.h"
#include "driver/DeviceRules.h"
#include "driver/Diagnostics.h"
#include "driver/LibTorch.h"
#include "driver/Sharing.h"
#include "driver/SideFile.h"
#include "driver/Target.h"
#include "mil/Verifier.h"
#include "passes/AdapterWeights.h"

#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/raw_ostream.h"

#include <cmath>

namespace plait::driver {

const Option compressOption{
    "compress", "[PATTERN=]SCHEME",
    "how weights are compressed: q8, q6, q4, int8, int4[block 32], palette4[group 16], prune50%, "
    "sums such as prune50%+palette4, or none; every weight of more than 2048 numbers but "
    "adapters', "
    "or those that PATTERN names: a parameter, a module, a kind of operation, 'adapters', or a "
    "pattern with * and ?. The last one that fits decides",
    0, Scope::Many};
const Option requireCoverageOption{
    "require-coverage", "PERCENT",
    "fail, and write nothing, where less than this part of the numbers of weights is compressed: "
    "95%"};

Error readCompression(const Arguments &arguments, std::vector<compress::Rule> &rules,
                      std::optional<double> &requireCoverage) {
  for (const std::string &value : arguments.values(compressOption)) {
    auto rule = compress::parseRule(value);
    if (!rule)
      return usageError("--compress {0}: {1}", value, toString(rule.takeError()));
    rules.push_back(std::move(*rule));
  }
  if (auto given = arguments.value(requireCoverageOption)) {
    requireCoverage = parseShare(*given);
    if (!requireCoverage)
      return usageError("--require-coverage {0}: a percentage is wanted, from 0% to 100%", *given);
  }
  if (requireCoverage && rules.empty())
    return usageError("--require-coverage is of --compress, which is not given");
  return Error::success();
}

static Error checkCoverage(const compress::ProgramResult &result, double percent) {
  if (result.coverage() >= percent)
    return Error::success();
  std::string message;
  unsigned named = 0;
  for (const compress::WeightResult &weight : result.weights)
    if (!weight.skipped.empty() && !weight.ofAdapter && ++named <= 8)
      message += fmt::format("\n{0} ({1} numbers): {2}", weight.name,
                             grouped(uint64_t(weight.count())), weight.skipped);
  if (named > 8)
    message += fmt::format("\nand {0} more", named - 8);
  // Rounded down, so that what is below the bound does not read as if it reached it.
  double shown = std::max(0.0, std::min(result.coverage(), percent - 0.01));
  return makeError("{0:.2f}% of the numbers of weights are compressed, less than the {1:.2f}% that "
                   "--require-coverage demands; nothing is written{2}",
                   shown, percent, message);
}

Expected<compress::ProgramResult> compressWeights(mil::Program &program,
                                                  const CompressionRequest &request) {
  for (const auto &function : program.functions())
    if (function->opset < mil::Opset::iOS18)
      return makeError("--compress: function '{0}' is of {1}, and packages of compressed weights "
                       "are written for ios18 or later",
                       function->name, mil::name(function->opset));
  passes::PassContext context;
  llvm::DenseSet<const mil::Op *> branches = passes::adapterWeights(program, context);
  compress::ProgramOptions options;
  options.threads = request.threads;
  options.evaluator = request.evaluator;
  options.target = request.output.str();
  options.rules = request.rules;
  options.proceed = request.proceed;
  options.isAdapter = [&](const mil::Op &op) {
    return branches.contains(&op) ||
           (request.adapted.count(op.function()->name) && parametersOf(*op.val().tensor()).empty());
  };
  auto result = compress::compressProgram(program, options);
  if (!result)
    return result.takeError();
  if (request.requireCoverage)
    if (Error error = checkCoverage(*result, *request.requireCoverage))
      return error;
  return result;
}

void printCompression(const compress::ProgramResult &result, llvm::raw_ostream &out) {
  auto shapeOf = [](const compress::WeightResult &weight) {
    std::vector<std::string> sizes;
    for (int64_t size : weight.shape)
      sizes.push_back(std::to_string(size));
    return "[" + llvm::join(sizes, ", ") + "]";
  };
  size_t names = 6, shapes = 5, schemes = 6;
  unsigned compressed = 0;
  for (const compress::WeightResult &weight : result.weights) {
    names = std::max(names, weight.name.size());
    shapes = std::max(shapes, shapeOf(weight).size());
    schemes = std::max(schemes, weight.scheme.size());
    compressed += weight.skipped.empty();
  }
  out << fmt::format("  {0} of {1} weights compressed, {2:.2f}% of their numbers", compressed,
                     result.weights.size(), result.coverage());
  if (result.small)
    out << fmt::format("; {0} of at most {1} numbers stay as they are", result.small,
                       compress::kSmallWeight);
  out << '\n';
  if (result.weights.empty())
    return;
  out << fmt::format("  {0:<{1}}  {2:<{3}}  functions  {4:<{5}}   bits  SNR (dB)\n", "weight",
                     names, "shape", shapes, "scheme", schemes);
  for (const compress::WeightResult &weight : result.weights) {
    out << fmt::format("  {0:<{1}}  {2:<{3}}  {4:>9}  ", weight.name, names, shapeOf(weight),
                       shapes, weight.functions);
    if (!weight.skipped.empty())
      out << "as it is: " << weight.skipped << '\n';
    else
      out << fmt::format("{0:<{1}}  {2:>5.2f}  {3:>8}{4}\n", weight.scheme, schemes,
                         weight.bitsPerWeight,
                         std::isfinite(weight.snr) ? fmt::format("{0:.2f}", weight.snr) : "exact",
                         weight.note.empty() ? "" : "  " + weight.note);
  }
}

Expected<CompileReport> compressPackage(const CompressOptions &options) {
  if (options.rules.empty())
    return makeError("{0}: there is no scheme to compress with", options.package);
  if (Error error = checkRuleNames(options.allow))
    return error;
  if (Error error = checkOutput(options.output))
    return error;
  // The output may be the package itself: what another process did to it between reading and
  // writing would be lost.
  std::optional<FolderLock> lock;
  if (llvm::sys::fs::exists(options.output)) {
    auto taken = FolderLock::take(options.output);
    if (!taken)
      return taken.takeError();
    lock.emplace(std::move(*taken));
  }
  auto package = readPackage(options.package);
  if (!package)
    return package.takeError();
  mil::Program &program = **package;
  auto sideMap = adapterMapOf(options.package);
  if (!sideMap)
    return sideMap.takeError();
  mil::Opset target = mil::kDefaultOpset;
  for (const auto &function : program.functions())
    target = std::max(target, function->opset);
  if (Error error = bringTo(program, target))
    return addContext(
        std::move(error),
        fmt::format("{0}: packages of compressed weights are written for {1} or later",
                    options.package, mil::name(target)));
  LazyEvaluator evaluator;
  // Writing is the smaller part.
  auto result =
      compressWeights(program, {options.rules,
                                options.requireCoverage,
                                options.threads,
                                &evaluator,
                                options.output,
                                {},
                                [&](double done) { return options.proceed(done * 0.9); }});
  if (!result)
    return result.takeError();
  if (Error error = mil::verify(program))
    return addContext(std::move(error), "the package is not well-formed MIL, so that Core ML would "
                                        "refuse it");
  if (Error error = checkDeviceRules(program, options.output, options.allow, options.warn))
    return error;
  SideFile sideFile(options.output, std::move(*sideMap), SideFile::Former::Dropped, {},
                    options.warn);
  WriteOptions write;
  write.threads = options.threads;
  write.evaluator = &evaluator;
  write.debugInfo = hasDebugInfo(program);
  write.lock = lock ? &*lock : nullptr;
  write.companion = &sideFile;
  write.proceed = [&](uint64_t done, uint64_t total) {
    return options.proceed(0.9 + 0.1 * double(done) / double(total));
  };
  WriteReport written;
  if (Error error = writePackage(program, options.output, write, &written))
    return error;
  CompileReport report = summarise(program, written);
  report.compressed = std::move(*result);
  return report;
}

} // namespace plait::driver
