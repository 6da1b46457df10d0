// plait compile and plait add: the options become CompileOptions, the report becomes a few lines.
#include "driver/Commands.h"
#include "driver/CompileFunctions.h"
#include "driver/CompressionOptions.h"
#include "driver/DeviceRules.h"
#include "driver/Diagnostics.h"
#include "driver/JsonOutput.h"
#include "driver/LibTorch.h"
#include "driver/MetadataOptions.h"
#include "driver/PassHooks.h"
#include "driver/PrintReport.h"
#include "driver/ProgressLine.h"
#include "driver/Recipe.h"
#include "driver/RecipeEdit.h"
#include "driver/RecipeWriter.h"
#include "driver/Sharing.h"
#include "driver/Target.h"
#include "driver/Timing.h"
#include "frontend/archive/EqualRecords.h"
#include "frontend/archive/ExportArchive.h"
#include "mil/OperationPattern.h"
#include "support/NewFile.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Path.h"
#include "llvm/Support/raw_ostream.h"

#include <chrono>

namespace plait::driver {

using llvm::StringRef;

namespace {

constexpr Option outOption{"o", "OUT.mlpackage", "the package to write; replaced where it exists"};
constexpr Option defaultOption{"default", "NAME",
                               "the function that runs where none is named (the first)"};
constexpr Option precisionOption{
    "precision", "fp16|fp32|auto",
    "what to compute and store in (fp16); auto runs the functions and leaves those operations in "
    "fp32 without which an output would not reach --min-snr, as few as it finds"};
constexpr Option keepOption{
    "keep-fp32", "PATTERN[, PATTERN ...]",
    "with fp16: what is computed in fp32 all the same; an operation (softmax), a module "
    "(layers.*.norm), a parameter (fc.weight), a value, or an operation of a module ('square at "
    "layers.*.norm')",
    0, Scope::Many};
constexpr Option minSnrOption{
    "min-snr", "DB",
    "of --precision auto: decibels that every output reaches beside fp32 (50); of a compile "
    "without "
    "it: schemes of compression are chosen so that outputs reach it, in few bytes"};
constexpr Option inputsOption{"inputs", "FOLDER",
                              "inputs that an app gives: of --precision auto, in place of random "
                              "ones, and of a compile that compresses, where outputs are measured; "
                              "NAME.npy, .npz, PNG, JPEG, or folders of them"};
constexpr Option inputScaleOption{"input-scale", "S",
                                  "of --precision auto: the standard deviation of random inputs "
                                  "(1)"};
constexpr Option writeRecipeOption{
    "write-recipe", "RECIPE.yaml",
    "of --precision auto and a recipe: writes the recipe with the choice in it, so that the next "
    "compile need not look for it"};
constexpr Option saveRecipeOption{
    "save-recipe", "RECIPE.yaml",
    "writes everything that was said as a recipe, which makes the same package; of --precision "
    "auto what it chose"};
constexpr Option shareOption{"share", "on|off", "functions share equal weights (on)"};
constexpr Option joinLinearsOption{
    "join-linears", "on|off",
    "linear layers of one input become one, such as queries, keys and values, where no function "
    "loses a shared weight by it (on)"};
constexpr Option debugInfoOption{"debug-info", "on|off",
                                 "the package tells where its operations come from in the model, "
                                 "in a file that Core ML does not read (off)"};
constexpr Option threadsOption{"threads", "N",
                               "for reading and writing weights (one a processor); the package "
                               "does not depend on it"};
constexpr Option quietOption{"quiet", nullptr, "no report and no progress", 'q'};

constexpr const Option *packageOptions[] = {&outOption,     &functionOption,     &baseOption,
                                            &adapterOption, &baseFunctionOption, &defaultOption};
constexpr const Option *generalOptions[] = {
    &precisionOption,    &keepOption,       &minSnrOption,    &inputsOption, &inputScaleOption,
    &writeRecipeOption,  &saveRecipeOption, &targetOption,    &shareOption,  &joinLinearsOption,
    &expectSharedOption, &allowOption,      &debugInfoOption, &threadsOption};
constexpr const Option *compressionOptions[] = {&compressOption, &requireCoverageOption,
                                                &sizeBudgetOption, &calibrateOption, &gptqOption};
constexpr const Option *sayingOptions[] = {&dryRunOption, &jsonOption, &verboseOption,
                                           &quietOption};
constexpr const Option *debuggingOptions[] = {&printAfterOption, &verifyEachOption};
const Section sections[] = {
    {"What to make", packageOptions},
    {"Of a function (of the --function, --adapter, --base-function or named --base before; else of "
     "all)",
     functionOptions()},
    {"In general", generalOptions},
    {"Compression", compressionOptions},
    {"Metadata", metadataOptions()},
    {"What it says", sayingOptions},
    {"Looking into it", debuggingOptions},
};

// Of plait add, which has most of them.
constexpr Option newDefaultOption{"default", "NAME",
                                  "the function that runs where none is named from now on"};
constexpr Option samePrecisionOption{"precision", "fp16|fp32|auto",
                                     "as compile's (as the package computes)"};
constexpr const Option *addedOptions[] = {&functionOption, &baseOption, &adapterOption,
                                          &baseFunctionOption, &newDefaultOption};
constexpr const Option *generalAddOptions[] = {
    &samePrecisionOption, &keepOption,     &minSnrOption,          &inputsOption,
    &inputScaleOption,    &compressOption, &requireCoverageOption, &joinLinearsOption,
    &expectSharedOption,  &allowOption,    &debugInfoOption,       &threadsOption};
const Section addSections[] = {
    {"What to add", addedOptions},
    {"Of a function (of the --function, --adapter, --base-function or named --base before; else of "
     "all)",
     functionOptions()},
    {"In general", generalAddOptions},
    {"What it says", sayingOptions},
    {"Looking into it", debuggingOptions},
};

/// One model without a name for its function: an archive of several gives a function of each.
Error spreadArchive(CompileOptions &options) {
  if (options.multifunction || options.functions.size() != 1)
    return Error::success();
  const std::string &path = options.functions[0].model;
  if (!splitModelPath(path).model.empty() || !ExportArchive::isOne(path))
    return Error::success();
  auto file = MappedFile::open(path);
  auto archive = file ? ExportArchive::open(std::move(*file)) : file.takeError();
  if (!archive)
    return addContext(archive.takeError(), path);
  if (archive->models().size() < 2)
    return Error::success();
  FunctionOptions first = options.functions[0];
  options.functions.clear();
  options.multifunction = true;
  for (const std::string &model : archive->models()) {
    options.functions.push_back(first);
    options.functions.back().name = mil::legalName(model);
    options.functions.back().model = first.model + ":" + model;
  }
  return Error::success();
}

Expected<CompileOptions> fromRecipe(const Arguments &arguments, StringRef recipe) {
  for (const Arguments::Item &item : arguments.items())
    if (item.option && (startsFunction(item.option) || item.option == &baseOption ||
                        item.option->scope == Scope::Function))
      return usageError(Code::OptionConflict,
                        "{0} beside the recipe '{1}': a recipe says everything of its functions",
                        spelling(*item.option), recipe);
  return readRecipe(recipe);
}

/// What `option` and those beside it say of the precision; `fallback` where it is not given.
Error readPrecision(const Arguments &arguments, const Option &option, CompileOptions &options,
                    llvm::function_ref<Expected<passes::Precision>()> fallback) {
  for (const std::string &list : arguments.values(keepOption)) {
    llvm::SmallVector<StringRef, 8> patterns;
    StringRef(list).split(patterns, ',', -1, /*KeepEmpty=*/false);
    for (StringRef pattern : patterns) {
      if (Error error = mil::OperationPattern::parse(pattern).takeError())
        return usageError(std::move(error), "--keep-fp32");
      options.keepFloat32.push_back(pattern.trim().str());
    }
  }
  auto word = arguments.choice(option, {"fp16", "fp32", "auto"}, 3);
  if (!word)
    return word.takeError();
  if (*word == 3 && !options.autoPrecision) {
    auto same = fallback();
    if (!same)
      return same.takeError();
    options.precision = *same;
  } else if (*word < 2) {
    options.precision = passes::Precision(*word);
    options.autoPrecision.reset();
  } else if (*word == 2) {
    options.precision = passes::Precision::F16;
    if (!options.autoPrecision)
      options.autoPrecision.emplace();
  }
  if (!options.autoPrecision)
    for (const Option *one : {&inputScaleOption, &writeRecipeOption})
      if (arguments.has(*one))
        return usageError(Code::OptionConflict, "{0} is for --precision auto", spelling(*one));
  if (options.precision == passes::Precision::F32 && !options.keepFloat32.empty())
    return usageError(Code::OptionConflict,
                      "--keep-fp32 is for --precision fp16; in fp32 everything is kept");
  if (!options.autoPrecision)
    return Error::success();
  auto snr = arguments.real(minSnrOption, options.autoPrecision->minSnr);
  auto scale = arguments.real(inputScaleOption, options.autoPrecision->inputScale);
  if (!snr || !scale)
    return joinErrors(snr.takeError(), scale.takeError());
  if (!(*snr > 0 && *snr <= 140))
    return usageError(Code::OptionValue, "--min-snr {0}: decibels between 0 and 140 are wanted",
                      *snr);
  options.autoPrecision->minSnr = *snr;
  options.autoPrecision->inputScale = *scale;
  if (auto folder = arguments.value(inputsOption))
    options.autoPrecision->inputs = *folder;
  return Error::success();
}

/// The options of the package that compile and add have in common.
Error readGeneral(const Arguments &arguments, CompileOptions &options) {
  auto threads = arguments.number(threadsOption, options.threads, 1024);
  if (!threads)
    return threads.takeError();
  options.threads = unsigned(*threads);
  auto debugInfo = arguments.choice(debugInfoOption, {"off", "on"}, options.debugInfo);
  if (!debugInfo)
    return debugInfo.takeError();
  options.debugInfo = *debugInfo;
  auto join = arguments.choice(joinLinearsOption, {"off", "on"}, options.joinLinears);
  if (!join)
    return join.takeError();
  options.joinLinears = *join;
  options.dryRun = arguments.has(dryRunOption);
  for (const Option *one : {&writeRecipeOption, &saveRecipeOption})
    if (options.dryRun && arguments.has(*one))
      return usageError(Code::OptionValue,
                        "{0} beside --dry-run, which writes nothing: one of them is wanted",
                        spelling(*one));
  if (arguments.has(jsonOption) && arguments.has(printAfterOption))
    return usageError(Code::OptionConflict,
                      "--json and --print-after exclude each other: both take the standard output");
  auto expected = expectedShare(arguments);
  if (!expected)
    return expected.takeError();
  if (*expected)
    options.expectShared = *expected;
  auto allowed = allowedRules(arguments);
  if (!allowed)
    return allowed.takeError();
  llvm::append_range(options.allow, *allowed);
  return readCompression(arguments, options.compress, options.requireCoverage);
}

/// Before anything takes time.
Error checkSavedRecipe(StringRef to) {
  if (!isRecipe(to))
    return usageError(Code::OptionValue, "--save-recipe {0}: the name of a recipe ends in .yaml",
                      to);
  StringRef folder = llvm::sys::path::parent_path(to);
  if (!folder.empty() && !llvm::sys::fs::is_directory(folder))
    return makeError(Code::FileUnwritable,
                     "--save-recipe {0}: there is no folder '{1}'; make it first", to, folder);
  return Error::success();
}

Expected<CompileOptions> compileOptions(const Arguments &arguments) {
  std::vector<std::string> operands = arguments.operands();
  bool hasFunctions = llvm::any_of(
      arguments.items(), [](const Arguments::Item &item) { return startsFunction(item.option); });
  if (!hasFunctions && arguments.has(baseOption))
    return usageError(
        Code::OptionMissing,
        "--base alone makes nothing: add --adapter NAME=DIR for each adapter, or give "
        "the model without --base");
  if (operands.empty() && !hasFunctions)
    return usageError(Code::OptionMissing,
                      "a model is missing: plait compile -o OUT.mlpackage [--input ...] MODEL.pt; "
                      "see: plait help compile");
  if (!operands.empty() && hasFunctions)
    return usageError(Code::OptionMissing,
                      "'{0}' has no function's name; beside --function and --adapter every model "
                      "needs one: --function NAME={0}",
                      operands[0]);
  if (operands.size() > 1)
    return usageError(Code::OptionValue,
                      "several models need names: --function NAME={0} --function NAME={1}",
                      operands[0], operands[1]);
  bool recipe = !operands.empty() && isRecipe(operands[0]);
  auto options = recipe ? fromRecipe(arguments, operands[0]) : fromFunctions(arguments);
  if (!options)
    return options.takeError();

  if (Error error = spreadArchive(*options))
    return error;

  // What the command line says of the package goes before what a recipe says.
  auto take = [&](const Option &option, std::string &to) {
    if (auto value = arguments.value(option))
      to = *value;
  };
  take(outOption, options->output);
  take(defaultOption, options->defaultFunction);
  if (Error error = readMetadata(arguments, options->metadata))
    return error;
  if (arguments.has(writeRecipeOption) && !recipe)
    return usageError(Code::OptionConflict,
                      "--write-recipe is for a compile from a recipe; without one, the report has "
                      "the --keep-fp32 that says the same");
  if (Error error =
          readPrecision(arguments, precisionOption, *options, [&] { return options->precision; }))
    return error;
  if (auto to = arguments.value(writeRecipeOption))
    if (Error error = checkRecipeTarget(operands[0], *to))
      return error;
  if (auto to = arguments.value(saveRecipeOption))
    if (Error error = checkSavedRecipe(*to))
      return error;
  auto target = readTarget(arguments, options->target);
  if (!target)
    return target.takeError();
  options->target = *target;
  auto share = arguments.choice(shareOption, {"off", "on"}, options->share);
  if (!share)
    return share.takeError();
  options->share = *share;
  if (Error error = readGeneral(arguments, *options))
    return error;
  if (Error error =
          readCompileGoal(arguments, minSnrOption, inputsOption, options->autoPrecision.has_value(),
                          options->compress, options->requireCoverage.has_value(), options->goal))
    return error;
  if (options->output.empty())
    return usageError(Code::OptionMissing, "-o OUT.mlpackage is missing; see: plait help compile");
  if (!StringRef(options->output).rtrim('/').ends_with(".mlpackage"))
    return usageError(Code::PackageName, "-o {0}: the name of a package ends in .mlpackage",
                      options->output);
  return options;
}

Expected<CompileOptions> addOptions(const Arguments &arguments) {
  auto package = arguments.operand("PKG.mlpackage");
  if (!package)
    return package.takeError();
  auto options = fromFunctions(arguments);
  if (!options)
    return options.takeError();
  if (options->functions.empty())
    return usageError(Code::OptionMissing,
                      "what to add is missing: plait add {0} --function NAME=MODEL.pt", *package);
  options->defaultFunction = arguments.value(newDefaultOption).value_or("");
  if (Error error = readGeneral(arguments, *options))
    return error;
  if (Error error = readPrecision(arguments, samePrecisionOption, *options,
                                  [&] { return precisionOf(*package); }))
    return error;
  if (!options->autoPrecision)
    for (const Option *one : {&minSnrOption, &inputsOption})
      if (arguments.has(*one))
        return usageError(Code::OptionConflict, "{0} is for --precision auto", spelling(*one));
  if (options->requireCoverage && options->compress.empty())
    return usageError(Code::OptionConflict,
                      "--require-coverage is of --compress, which is not given");
  return options;
}

/// Shows what a compile is at.
class Terminal : public CompileObserver {
public:
  Terminal(bool quiet, Timing &timing) : line_(quiet), timing_(timing) {}
  void progress(const llvm::Twine &what) override { line_.show(what); }
  void warning(const Warning &warning) override { printWarning(warning); }
  bool proceed(double done) override {
    line_.reach(done);
    return true;
  }
  void phase(StringRef name, StringRef of) override { timing_.enter(name, of); }

private:
  ProgressLine line_;
  Timing &timing_;
};

Expected<CompileReport> compileShown(const CompileOptions &options, bool quiet, Timing &timing) {
  Terminal terminal(quiet, timing);
  // While LibTorch starts, the other processor finds out what the files have alike.
  std::vector<std::string> files;
  for (const FunctionOptions &function : options.functions)
    files.push_back(splitModelPath(function.model).file);
  EqualRecords equal(std::move(files));
  timing.enter("start");
  auto part = libTorch();
  if (!part)
    return part.takeError();
  return (*part)->compile(options, terminal, &equal);
}

/// The recipes that are asked for.
Error writeRecipes(const Arguments &arguments, const CompileOptions &options,
                   const CompileReport &report) {
  if (auto to = arguments.value(writeRecipeOption))
    if (Error error =
            writeChoice(arguments.operands()[0], *to, options.keepFloat32, *report.precision))
      return error;
  if (auto to = arguments.value(saveRecipeOption))
    return writeNewFile(*to, recipeText(options, report.precision, *to), /*flush=*/false);
  return Error::success();
}

Expected<int> run(const Arguments &arguments) {
  auto start = std::chrono::steady_clock::now();
  auto options =
      &arguments.command() == &addCommand ? addOptions(arguments) : compileOptions(arguments);
  if (!options)
    return options.takeError();
  auto hooks = passHooks(
      arguments, [](const mil::Program &program) { printWithStandIns(program, llvm::outs()); });
  if (!hooks)
    return hooks.takeError();
  options->hooks = std::move(*hooks);
  Timing timing(arguments.has(verboseOption));
  timing.watch(options->hooks);
  if (Error error = check(*options))
    return error;
  bool quiet = arguments.has(quietOption);
  auto report = compileShown(*options, quiet, timing);
  timing.addTo(arguments.reply());
  if (!report)
    return report.takeError();
  if (Error error = writeRecipes(arguments, *options, *report))
    return error;
  std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
  addTo(arguments.reply(), options->output, options->dryRun, elapsed.count(), *report);
  if (!quiet && !arguments.has(jsonOption))
    printReport(*options, *report, elapsed.count(), llvm::outs());
  return 0;
}

constexpr const char *usage[] = {
    "-o OUT.mlpackage [options] MODEL.pt",
    "-o OUT.mlpackage [options] --function NAME=MODEL.pt [options] ...",
    "-o OUT.mlpackage [options] --base MODEL.pt --adapter NAME=DIR [options] ...",
    "-o OUT.mlpackage [options] --base PHASE=MODEL.pt ... --adapter NAME=DIR ...",
    "[-o OUT.mlpackage] [options] RECIPE.yaml",
};
constexpr const char *addUsage[] = {
    "PKG.mlpackage --function NAME=MODEL.pt [options] ...",
    "PKG.mlpackage --base MODEL.pt --adapter NAME=DIR [options] ...",
};
constexpr Hint hints[] = {
    {"version", "the model's version is --version-string"},
};

} // namespace

const Command addCommand = {
    "add",
    "functions into a package that exists",
    addUsage,
    addSections,
    "What the package holds stays where it is and is shared; new weights go behind it. The package "
    "is\nvalid at every moment: the new model takes the old one's place in one step, at the end.\n",
    {},
    run};

const Command compileCommand = {
    "compile",
    "TorchScript models and torch.export archives into one Core ML package",
    usage,
    sections,
    "One model without --function makes a package of one function. RECIPE.yaml says the same as "
    "the options;\noptions of the package beside it have the last word. Nothing is written unless "
    "all "
    "of it is.\n",
    hints,
    run};

} // namespace plait::driver
