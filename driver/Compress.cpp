// Adapters' constants, coverage, the report, and packages written anew.
#include "driver/Compress.h"

#include "backend/DebugInfo.h"
#include "backend/Manifest.h"
#include "backend/PackageReader.h"
#include "backend/PackageWriter.h"
#include "driver/DeviceRules.h"
#include "driver/Diagnostics.h"
#include "driver/HeldOutput.h"
#include "driver/LibTorch.h"
#include "driver/OutputTrial.h"
#include "driver/Sharing.h"
#include "driver/SideFile.h"
#include "driver/Target.h"
#include "driver/WriteSteps.h"
#include "mil/Verifier.h"
#include "passes/AdapterWeights.h"
#include "passes/FoldLora.h"

#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Path.h"
#include "llvm/Support/raw_ostream.h"

#include <cmath>

namespace plait::driver {

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
  return makeError(Code::CoverageUnreached,
                   "{0:.2f}% of the numbers of weights are compressed, less than the {1:.2f}% that "
                   "--require-coverage demands; nothing is written{2}",
                   shown, percent, message);
}

Error BudgetGuard::check() const {
  uint64_t bytes = written_.layout.fileBytes + written_.modelBytes + makeManifest().size();
  if (budget_ && bytes > *budget_)
    return makeError(Code::BudgetUnreached,
                     "--size-budget {0}: the package would take {1} bytes, {2} more than that; "
                     "nothing is written",
                     grouped(*budget_), grouped(bytes), grouped(bytes - *budget_));
  return Error::success();
}

Error BudgetGuard::prepare() {
  if (Error error = check())
    return error;
  return inner_.prepare();
}

Expected<compress::ProgramResult> compressWeights(mil::Program &program,
                                                  const CompressionRequest &request,
                                                  std::vector<FunctionSnr> *outputs) {
  for (const auto &function : program.functions())
    if (function->opset < mil::Opset::iOS18)
      return makeError(Code::OpsetMismatch,
                       "--compress: function '{0}' is of {1}, and packages of compressed weights "
                       "are written for ios18 or later",
                       function->name, mil::name(function->opset));
  const CompressionGoal &goal = request.goal;
  passes::PassContext context;
  llvm::DenseSet<const mil::Op *> branches = passes::adapterWeights(program, context);
  compress::MeasuredOptions options;
  options.threads = request.threads;
  options.evaluator = request.evaluator;
  options.target = request.output.str();
  options.rules = request.rules;
  options.stored = request.stored;
  options.proceed = request.proceed;
  options.isAdapter = [&](const mil::Op &op) {
    return branches.contains(&op) ||
           (request.adapted.count(op.function()->name) && parametersOf(*op.val().tensor()).empty());
  };
  std::optional<OutputTrial> trial;
  if (!goal.inputs.empty()) {
    auto made = OutputTrial::create(program, goal.inputs, request.warn);
    if (!made)
      return made.takeError();
    trial.emplace(std::move(*made));
    options.measure = [&](const mil::Program &changed) { return trial->noise(changed); };
  }
  if (!goal.calibration.empty())
    options.observe = [&](const mil::Function &function, auto values, auto see) {
      return observe(function, goal.calibration, values, see);
    };
  options.gptq = goal.gptq;
  options.minSnr = goal.minSnr;
  options.budget = goal.sizeBudget;
  options.packageBytes = [&](const mil::Program &changed) -> Expected<uint64_t> {
    auto bytes = packageBytesOf(changed, request.evaluator);
    return bytes ? Expected<uint64_t>(*bytes + makeManifest().size()) : bytes.takeError();
  };
  auto result = compress::compressProgram(program, options);
  if (!result)
    return result.takeError();
  if (request.requireCoverage)
    if (Error error = checkCoverage(*result, *request.requireCoverage))
      return error;
  if (trial && outputs)
    *outputs = trial->perFunction(result->noise);
  return std::move(static_cast<compress::ProgramResult &>(*result));
}

void printCompression(const compress::ProgramResult &result, llvm::ArrayRef<FunctionSnr> outputs,
                      llvm::raw_ostream &out) {
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
  if (!result.weights.empty())
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
  for (const FunctionSnr &output : outputs)
    out << fmt::format("  outputs of {0}: SNR {1:.2f} dB\n", output.function, output.snr);
}

/// Merges the branches of adapters into their weights, compressed ones too.
static Error foldAdapters(mil::Program &program, mil::Evaluator &evaluator,
                          const CompressOptions &options) {
  passes::PassContext context;
  context.evaluator = &evaluator;
  context.options.lora = mil::LoraMode::Fold;
  context.warn = options.warn;
  if (!passes::foldLoraDecompressing(program, context))
    return makeError(Code::NothingMatches,
                     "{0}: --lora fold: no function has an adapter's branch beside its weight",
                     options.package);
  passes::dce(program, context);
  return Error::success();
}

Expected<CompileReport> compressPackage(const CompressOptions &options) {
  if (options.rules.empty() && !options.goal.chooses())
    return makeError(Code::CompressionScheme, "{0}: there is no scheme to compress with",
                     options.package);
  if (Error error = checkRuleNames(options.allow))
    return error;
  auto lock = holdOutput(options.output);
  if (!lock)
    return lock.takeError();
  options.phase("read");
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
  if (options.foldAdapters)
    if (Error error = foldAdapters(program, evaluator, options))
      return error;
  // Writing is the smaller part.
  CompressionRequest request{options.rules, options.requireCoverage, options.threads, &evaluator,
                             options.output};
  request.proceed = [&](double done) { return options.proceed(done * 0.9); };
  request.goal = options.goal;
  request.warn = options.warn;
  std::vector<FunctionSnr> outputs;
  options.phase("compress");
  auto result = compressWeights(program, request, &outputs);
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
  write.lock = *lock ? &**lock : nullptr;
  WriteReport written;
  BudgetGuard guard(sideFile, options.goal.sizeBudget, written);
  write.companion = &guard;
  write.dryRun = options.dryRun;
  write.proceed =
      writeSteps([&](double done) { return options.proceed(0.9 + 0.1 * done); }, options.phase);
  options.phase("share");
  if (Error error = writePackage(program, options.output, write, &written))
    return error;
  if (options.dryRun)
    if (Error error = guard.check())
      return error;
  CompileReport report = summarise(program, written);
  report.compressed = std::move(*result);
  report.outputs = std::move(outputs);
  return report;
}

} // namespace plait::driver
