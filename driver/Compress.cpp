// Adapters' constants, coverage, the report, and packages written anew.
#include "driver/MeasuredCompression.h"

#include "backend/DebugInfo.h"
#include "backend/Manifest.h"
#include "backend/PackageReader.h"
#include "backend/PackageWriter.h"
#include "driver/Commands.h"
#include "driver/DeviceRules.h"
#include "driver/Diagnostics.h"
#include "driver/HeldOutput.h"
#include "driver/InputSets.h"
#include "driver/LibTorch.h"
#include "driver/Sharing.h"
#include "driver/SideFile.h"
#include "driver/Target.h"
#include "driver/WriteSteps.h"
#include "mil/Verifier.h"
#include "passes/AdapterWeights.h"
#include "runtime/arrays/Compare.h"

#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Path.h"
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
      return usageError(rule.takeError(), "--compress " + value);
    rules.push_back(std::move(*rule));
  }
  if (auto given = arguments.value(requireCoverageOption)) {
    requireCoverage = parseShare(*given);
    if (!requireCoverage)
      return usageError(Code::OptionValue,
                        "--require-coverage {0}: a percentage is wanted, from 0% to 100%", *given);
  }
  // `plait compress` may choose schemes without a rule, and says itself where it has neither.
  if (requireCoverage && rules.empty() && &arguments.command() != &compressCommand)
    return usageError(Code::OptionConflict,
                      "--require-coverage is of --compress, which is not given");
  return Error::success();
}

std::optional<uint64_t> parseBytes(llvm::StringRef text) {
  double number = 0;
  llvm::StringRef digits = text.take_while([](char c) { return llvm::isDigit(c) || c == '.'; });
  llvm::StringRef unit = text.drop_front(digits.size()).trim();
  if (digits.empty() || digits.getAsDouble(number))
    return std::nullopt;
  static constexpr std::pair<const char *, double> units[] = {
      {"", 1},     {"B", 1},        {"kB", 1e3},     {"KB", 1e3},    {"MB", 1e6},
      {"GB", 1e9}, {"KiB", 0x1p10}, {"MiB", 0x1p20}, {"GiB", 0x1p30}};
  for (auto [name, factor] : units)
    if (unit == name && number * factor >= 1 && number * factor < 0x1p62)
      return uint64_t(number * factor);
  return std::nullopt;
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
  return makeError(Code::CoverageUnreached,
                   "{0:.2f}% of the numbers of weights are compressed, less than the {1:.2f}% that "
                   "--require-coverage demands; nothing is written{2}",
                   shown, percent, message);
}

namespace {

/// Sets that outputs are measured on: every trial runs them all.
constexpr size_t kMostSets = 4;

/// The sets of one function: those of the folder of its name within `folder`, where functions have
/// folders.
Expected<std::vector<InputSet>> setsOf(const mil::Function &function, llvm::StringRef folder) {
  llvm::SmallString<256> own(folder);
  llvm::sys::path::append(own, function.name);
  return readInputSets(llvm::sys::fs::is_directory(own) ? own.str() : folder, function);
}

/// What functions gave before their weights were compressed, and how far they are from it after.
class OutputTrial {
public:
  /// Runs all functions; `program` is not needed afterwards.
  static Expected<OutputTrial> create(const mil::Program &program, llvm::StringRef folder,
                                      llvm::function_ref<void(const Warning &)> warn);

  /// compress::MeasureOutputs.
  Expected<std::vector<double>> noise(const mil::Program &changed) const;
  /// Of what noise() gave: the worst output of each function.
  std::vector<FunctionSnr> perFunction(llvm::ArrayRef<double> noise) const;

private:
  struct Tried {
    std::string function;
    std::vector<InputSet> sets;
    std::vector<mil::TensorData> wanted; ///< set by set: outputs and states that are floats
  };
  /// Functions that keep states run twice on each set.
  static Expected<std::vector<mil::TensorData>> run(const mil::Function &function,
                                                    llvm::ArrayRef<InputSet> sets);
  std::vector<Tried> tried_;
};

Expected<std::vector<mil::TensorData>> OutputTrial::run(const mil::Function &function,
                                                        llvm::ArrayRef<InputSet> sets) {
  auto part = libTorch();
  if (!part)
    return part.takeError();
  auto runner = (*part)->makeRunner(function, {});
  if (!runner)
    return addContext(runner.takeError(), "function " + function.name);
  bool hasStates =
      llvm::any_of(function.inputs(), [](const auto &input) { return input->type.isState(); });
  std::vector<mil::TensorData> found;
  auto keep = [&](const mil::TensorData &tensor) {
    if (isFloat(tensor.dtype()))
      found.push_back(tensor);
  };
  for (const InputSet &set : sets) {
    runner->resetStates();
    for (int call = 0; call < (hasStates ? 2 : 1); ++call) {
      auto results = runner->run(set);
      if (!results)
        return addContext(results.takeError(), "function " + function.name);
      for (const runtime::NamedResult &result : *results)
        if (const mil::TensorData *tensor = result.value.tensor())
          keep(*tensor);
    }
    for (const runtime::NamedTensor &state : runner->states())
      keep(state.value);
  }
  return found;
}

Expected<OutputTrial> OutputTrial::create(const mil::Program &program, llvm::StringRef folder,
                                          llvm::function_ref<void(const Warning &)> warn) {
  OutputTrial made;
  for (const auto &function : program.functions()) {
    auto sets = setsOf(*function, folder);
    if (!sets)
      return sets.takeError();
    if (sets->size() > kMostSets) {
      warn({Code::SetsLeftOut,
            fmt::format("--inputs {0}: outputs of function '{1}' are measured on the first {2} of "
                        "{3} sets",
                        folder, function->name, kMostSets, sets->size())});
      sets->resize(kMostSets);
    }
    auto wanted = run(*function, *sets);
    if (!wanted)
      return wanted.takeError();
    if (wanted->empty())
      return makeError(Code::NotComparable,
                       "function {0}: none of its outputs are floating-point numbers, whose noise "
                       "could be measured",
                       function->name);
    made.tried_.push_back({function->name, std::move(*sets), std::move(*wanted)});
  }
  return made;
}

Expected<std::vector<double>> OutputTrial::noise(const mil::Program &changed) const {
  std::vector<double> noise;
  for (const Tried &tried : tried_) {
    auto found = run(*changed.function(tried.function), tried.sets);
    if (!found)
      return found.takeError();
    for (auto [one, wanted] : llvm::zip_equal(*found, tried.wanted)) {
      auto compared = runtime::compare(one, wanted);
      if (!compared)
        return addContext(compared.takeError(), "function " + tried.function);
      noise.push_back(compared->nonFinite ? INFINITY : std::pow(10, -compared->snr / 10));
    }
  }
  return noise;
}

std::vector<FunctionSnr> OutputTrial::perFunction(llvm::ArrayRef<double> noise) const {
  std::vector<FunctionSnr> outputs;
  for (const Tried &tried : tried_) {
    llvm::ArrayRef<double> own = noise.take_front(tried.wanted.size());
    noise = noise.drop_front(own.size());
    outputs.push_back({tried.function, -10 * std::log10(*llvm::max_element(own))});
  }
  return outputs;
}

/// compress::ObserveValues on the sets of a folder.
Error observe(const mil::Function &function, llvm::StringRef folder,
              llvm::ArrayRef<std::string> values,
              llvm::function_ref<Error(llvm::StringRef, const mil::TensorData &)> see) {
  auto part = libTorch();
  if (!part)
    return part.takeError();
  auto sets = setsOf(function, folder);
  if (!sets)
    return sets.takeError();
  runtime::RunOptions options;
  for (const std::string &value : values)
    if (llvm::none_of(function.inputs(), [&](const auto &input) { return input->name == value; }))
      options.trace.push_back(value);
  auto runner = (*part)->makeRunner(function, options);
  if (!runner)
    return runner.takeError();
  for (const InputSet &set : *sets) {
    runner->resetStates();
    if (Error error = runner->run(set).takeError())
      return error;
    for (const runtime::NamedTensor &input : set)
      if (llvm::is_contained(values, input.name))
        if (Error error = see(input.name, input.value))
          return error;
    for (const runtime::NamedTensor &value : runner->traced())
      if (Error error = see(value.name, value.value))
        return error;
  }
  return Error::success();
}

/// What the operations that hold a weight take in the model file: their names are made of its name.
uint64_t bytesOfForm(llvm::StringRef name) { return 120 + 6 * name.size(); }

/// Bytes of the package that are no constants', once weights are compressed.
uint64_t otherBytes(const mil::Program &program, uint64_t now) {
  for (const auto &function : program.functions())
    mil::walk(function->body(), [&](mil::Op &op) {
      const mil::TensorData *tensor = op.is(mil::OpKind::const_) ? op.val().tensor() : nullptr;
      if (tensor && tensor->numElements() > compress::kSmallWeight)
        now += bytesOfForm(op.result()->name.str());
    });
  return now;
}

/// Keeps a package that is larger than the budget from taking its place. Asked last.
class BudgetGuard : public Companion {
public:
  BudgetGuard(Companion &inner, std::optional<uint64_t> budget, const WriteReport &written)
      : inner_(inner), budget_(budget), written_(written) {}

  Error prepare() override {
    if (Error error = check())
      return error;
    return inner_.prepare();
  }
  void finish() override { inner_.finish(); }

  Error check() const {
    uint64_t bytes = written_.layout.fileBytes + written_.modelBytes + makeManifest().size();
    if (budget_ && bytes > *budget_)
      return makeError(Code::BudgetUnreached,
                       "--size-budget {0}: the package would take {1} bytes, {2} more than that; "
                       "nothing is written",
                       grouped(*budget_), grouped(bytes), grouped(bytes - *budget_));
    return Error::success();
  }

private:
  Companion &inner_;
  std::optional<uint64_t> budget_;
  const WriteReport &written_;
};

} // namespace

Expected<compress::ProgramResult> compressWeights(mil::Program &program,
                                                  const CompressionRequest &request) {
  return compressWeights(program, MeasuredRequest{request});
}

Expected<compress::ProgramResult> compressWeights(mil::Program &program,
                                                  const MeasuredRequest &request,
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
  if (goal.sizeBudget)
    options.budget =
        *goal.sizeBudget - std::min(*goal.sizeBudget, otherBytes(program, request.otherBytes));
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

void printOutputs(llvm::ArrayRef<FunctionSnr> outputs, llvm::raw_ostream &out) {
  for (const FunctionSnr &output : outputs)
    out << fmt::format("  outputs of {0}: SNR {1:.2f} dB\n", output.function, output.snr);
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

/// What a package takes beside its weights.
static uint64_t otherBytesOf(llvm::StringRef package) {
  uint64_t bytes = 0;
  std::error_code ec;
  for (llvm::sys::fs::recursive_directory_iterator it(package, ec), end; it != end && !ec;
       it.increment(ec))
    if (auto status = it->status(); status &&
                                    status->type() == llvm::sys::fs::file_type::regular_file &&
                                    llvm::sys::path::filename(it->path()) != "weight.bin")
      bytes += status->getSize();
  return bytes;
}

Expected<CompileReport> compressPackage(const CompressOptions &options) {
  std::vector<FunctionSnr> outputs;
  return compressPackage(MeasuredCompressOptions{options}, outputs);
}

Expected<CompileReport> compressPackage(const MeasuredCompressOptions &options,
                                        std::vector<FunctionSnr> &outputs) {
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
  // Writing is the smaller part.
  MeasuredRequest request{{options.rules,
                           options.requireCoverage,
                           options.threads,
                           &evaluator,
                           options.output,
                           {},
                           [&](double done) { return options.proceed(done * 0.9); }},
                          options.goal,
                          otherBytesOf(options.package),
                          {},
                          options.warn};
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
  return report;
}

} // namespace plait::driver
