// plait compile and plait add: the options become CompileOptions, the report becomes a few lines.
#include "driver/AdapterSyntax.h"
#include "driver/ClassLabels.h"
#include "driver/Commands.h"
#include "driver/Compiler.h"
#include "driver/Compress.h"
#include "driver/DeviceRules.h"
#include "driver/Diagnostics.h"
#include "driver/InputDeclarations.h"
#include "driver/LibTorch.h"
#include "driver/MetadataOptions.h"
#include "driver/PassHooks.h"
#include "driver/PrintReport.h"
#include "driver/Recipe.h"
#include "driver/RecipeEdit.h"
#include "driver/Sharing.h"
#include "driver/StateSyntax.h"
#include "driver/Target.h"
#include "frontend/archive/EqualRecords.h"
#include "frontend/archive/ExportArchive.h"
#include "mil/OperationPattern.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/raw_ostream.h"

#include <chrono>
#include <deque>

namespace plait::driver {

using llvm::StringRef;

namespace {

constexpr Option outOption{"o", "OUT.mlpackage", "the package to write; replaced where it exists"};
constexpr Option functionOption{"function", "NAME=MODEL.pt",
                                "one function of the package and the model it is made from, a "
                                "TorchScript file or an archive of torch.export (MODEL.pt2, or "
                                "MODEL.pt2:PART of several); once for each function",
                                0, Scope::Many};
constexpr Option baseOption{
    "base", "[PHASE=]MODEL.pt",
    "the model that adapters are applied to. Several with a name each, such as prefill "
    "and decode, make a function of each adapter with each of them: NAME_PHASE",
    0, Scope::Many};
constexpr Option adapterOption{
    "adapter", "NAME=DIR[:WEIGHT][+DIR:WEIGHT ...]",
    "one function: the base with a PEFT adapter folder or a safetensors file applied, or with "
    "several blended by their weights; once for each function",
    0, Scope::Many};
constexpr Option baseFunctionOption{"base-function", "NAME",
                                    "one function: the base without an adapter", 0, Scope::Many};
constexpr Option defaultOption{"default", "NAME",
                               "the function that runs where none is named (the first)"};
constexpr Option inputOption{
    "input", "NAME=TYPE[SHAPE]",
    "the next tensor argument (of an archive of torch.export all are known, and need not be said): "
    "'x=fp16[1, 6000]', a range 'x=[1, 1..128]', or one of several "
    "shapes 'x={[1,64],[1,128]}'; types are fp16, fp32, int32, int8 (from ios26) and bool, "
    "floating-point of the precision where none is said. A size with a name is one size in all "
    "inputs: 'x=[1, n:1..128]', 'mask=[1, n]'. 'x=fp16[8] default=0': where the app gives none. "
    "'scale=2.0', 'mask=none': no input but the same in every call. Or an image, 'photo=image[rgb, "
    "1, 3, 224, 224] scale=1/255 "
    "bias=[-0.5, -0.5, -0.5]': the model takes pixel * scale + bias; formats are rgb, bgr, gray "
    "and gray16",
    0, Scope::Function};
constexpr Option outputOption{"output", "NAME[=fp16|=fp32|=image[FORMAT]]",
                              "the name of the next result; its type where it is not of the "
                              "precision, or that it is an image of pixels from 0 to 255",
                              0, Scope::Function};
constexpr Option describeOption{"describe", "NAME=TEXT",
                                "what people should know of an input, output or state", 0,
                                Scope::Function};
constexpr Option classesOption{
    "classes", "[NAME=]FILE",
    "the labels of a classifier, a line each: strings, or integers where all are. The function "
    "then gives the likeliest label as NAME (classLabel) and all probabilities as NAME_probs",
    0, Scope::Function};
constexpr Option classOutputOption{
    "class-output", "NAME",
    "the result that holds the probabilities, where several have as many elements as there are "
    "classes",
    0, Scope::Function};
constexpr Option statesOption{
    "states", "auto|none|NAME=fp16[SHAPE]|NAME=input|NAME=none",
    "what becomes of tensors of the model that forward writes: states of the function, which live "
    "from call to call (auto: all of them; or these, by name); an input and an output, which the "
    "app hands on; or each call begins with what the model holds (none)",
    0, Scope::Function};
constexpr Option stateInitOption{
    "state-init", "zeros|input",
    "a written tensor that can be no state, since it begins with other "
    "numbers than zeros or holds integers: an error (zeros), or an "
    "input and an output",
    0, Scope::Function};
constexpr Option loraOption{"lora", "keep|fold|inputs",
                            "low-rank adapters beside their weight (keep), so that functions share "
                            "it, or merged into it; or, of an --adapter, their matrices as inputs "
                            "of the function, which `plait adapter pack` makes arrays for",
                            0, Scope::Function};
constexpr Option adapterRootOption{"adapter-root", "PATH",
                                   "the module of the base that was adapted, where the adapter "
                                   "fits several",
                                   0, Scope::Function};
constexpr Option allowUnmatchedOption{"allow-unmatched", nullptr,
                                      "go on without the tensors of an adapter that belong to no "
                                      "module of the base",
                                      0, Scope::Function};
constexpr Option loraAlphaOption{
    "lora-alpha", "ALPHA", "the alpha of an adapter whose files do not say it", 0, Scope::Function};
constexpr Option loraScaleOption{"lora-scale", "SCALE",
                                 "the scale (alpha / rank) of an adapter whose files do not say it",
                                 0, Scope::Function};
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
    "min-snr", "DB", "of --precision auto: decibels that every output reaches beside fp32 (50)"};
constexpr Option inputsOption{"inputs", "FOLDER",
                              "of --precision auto: inputs that an app gives, in place of random "
                              "ones; NAME.npy, .npz, PNG, JPEG, or folders of them"};
constexpr Option inputScaleOption{"input-scale", "S",
                                  "of --precision auto: the standard deviation of random inputs "
                                  "(1)"};
constexpr Option writeRecipeOption{
    "write-recipe", "RECIPE.yaml",
    "of --precision auto and a recipe: writes the recipe with the choice in it, so that the next "
    "compile need not look for it"};
constexpr Option shareOption{"share", "on|off", "functions share equal weights (on)"};
constexpr Option debugInfoOption{"debug-info", "on|off",
                                 "the package tells where its operations come from in the model, "
                                 "in a file that Core ML does not read (off)"};
constexpr Option threadsOption{"threads", "N",
                               "for reading and writing weights (one a processor); the package "
                               "does not depend on it"};
constexpr Option quietOption{"quiet", nullptr, "no report and no progress", 'q'};

constexpr const Option *packageOptions[] = {&outOption,     &functionOption,     &baseOption,
                                            &adapterOption, &baseFunctionOption, &defaultOption};
constexpr const Option *functionOptions[] = {
    &inputOption,       &outputOption,         &describeOption,  &classesOption,
    &classOutputOption, &statesOption,         &stateInitOption, &loraOption,
    &adapterRootOption, &allowUnmatchedOption, &loraAlphaOption, &loraScaleOption};
constexpr const Option *generalOptions[] = {
    &precisionOption,    &keepOption,   &minSnrOption,    &inputsOption,   &inputScaleOption,
    &writeRecipeOption,  &targetOption, &shareOption,     &compressOption, &requireCoverageOption,
    &expectSharedOption, &allowOption,  &debugInfoOption, &threadsOption,  &quietOption};
constexpr const Option *debuggingOptions[] = {&printAfterOption, &verifyEachOption};
const Section sections[] = {
    {"What to make", packageOptions},
    {"Of a function (of the --function, --adapter, --base-function or named --base before; else of "
     "all)",
     functionOptions},
    {"In general", generalOptions},
    {"Metadata", metadataOptions()},
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
    &samePrecisionOption, &keepOption,      &minSnrOption,          &inputsOption,
    &inputScaleOption,    &compressOption,  &requireCoverageOption, &expectSharedOption,
    &allowOption,         &debugInfoOption, &threadsOption,         &quietOption};
const Section addSections[] = {
    {"What to add", addedOptions},
    {"Of a function (of the --function, --adapter, --base-function or named --base before; else of "
     "all)",
     functionOptions},
    {"In general", generalAddOptions},
    {"Looking into it", debuggingOptions},
};

/// The options of one function, or those before the first function, which hold for all.
struct Declarations {
  frontend::ModelFunction arguments; ///< inputs and constants alone
  std::vector<frontend::OutputSpec> outputs;
  std::map<std::string, std::string> descriptions;
  std::optional<frontend::ClassLabels> classes;
  std::optional<std::string> classOutput;
  std::optional<frontend::StatesRequest> states;
  std::optional<bool> stateInputs;
  std::optional<mil::LoraMode> lora;
  std::optional<std::string> adapterRoot;
  bool allowUnmatched = false;
  std::optional<adapters::GivenScale> scale;

  /// `notes` takes what is read as something else.
  Error add(const Arguments::Item &item, std::vector<std::string> &notes) {
    if (item.option == &inputOption) {
      if (Error error = addDeclaration(arguments, item.value, {.notes = &notes}))
        return usageError("--input: {0}", toString(std::move(error)));
    } else if (item.option == &outputOption) {
      auto output = parseOutput(item.value);
      if (!output)
        return usageError("--output: {0}", toString(output.takeError()));
      outputs.push_back(std::move(*output));
    } else if (item.option == &describeOption) {
      auto pair = splitPair(*item.option, item.value);
      if (!pair)
        return pair.takeError();
      if (!descriptions.insert(*pair).second)
        return usageError("--describe {0}: '{1}' is described twice", item.value, pair->first);
    } else if (item.option == &classesOption) {
      if (classes)
        return usageError("--classes is given twice");
      auto read = parseClasses(item.value);
      if (!read)
        return read.takeError();
      classes = std::move(*read);
    } else if (item.option == &classOutputOption) {
      if (classOutput)
        return usageError("--class-output is given twice");
      classOutput = item.value;
    } else if (item.option == &statesOption) {
      if (!states)
        states.emplace();
      if (Error error = addStates(*states, item.value))
        return usageError("--states: {0}", toString(std::move(error)));
    } else if (item.option == &stateInitOption) {
      if (item.value != "zeros" && item.value != "input")
        return usageError("--state-init {0}: the choices are zeros, input", item.value);
      stateInputs = item.value == "input";
    } else if (item.option == &adapterRootOption) {
      if (adapterRoot)
        return usageError("--adapter-root is given twice");
      adapterRoot = item.value;
    } else if (item.option == &allowUnmatchedOption) {
      allowUnmatched = true;
    } else if (item.option == &loraScaleOption || item.option == &loraAlphaOption) {
      if (scale)
        return usageError("{0}: the scale of the adapter is given already", spelling(*item.option));
      auto given = parseScale(item.option == &loraAlphaOption, item.value);
      if (!given)
        return usageError("{0}: {1}", spelling(*item.option), toString(given.takeError()));
      scale = *given;
    } else {
      if (lora)
        return usageError("--lora is given twice");
      lora = mil::parseLoraMode(item.value);
      if (!lora)
        return usageError("--lora {0}: the choices are {1}", item.value,
                          llvm::join(mil::kLoraModes, ", "));
    }
    return Error::success();
  }
};

bool startsFunction(const Option *option) {
  return option == &functionOption || option == &adapterOption || option == &baseFunctionOption;
}

/// A model that adapters are applied to: the only one, or one of several, with what is said of its
/// functions.
struct Base {
  std::string phase; ///< "" of the only one
  std::string model;
  Declarations declared{};
};

Expected<std::vector<Base>> basesOf(const Arguments &arguments) {
  std::vector<Base> bases;
  for (const std::string &value : arguments.values(baseOption)) {
    auto [phase, model] = StringRef(value).split('=');
    bool isNamed = !model.empty() && mil::isLegalName(phase);
    for (const Base &other : bases)
      if (isNamed && other.phase == phase)
        return usageError("--base {0}: '{1}' is given twice", value, phase);
    bases.push_back(isNamed ? Base{phase.str(), model.str()} : Base{"", value});
  }
  for (const Base &base : bases)
    if (base.phase.empty() && bases.size() > 1)
      return usageError("--base {0}: of several bases each needs a name: --base prefill={0}",
                        base.model);
  return bases;
}

/// The function that an option starts; `base` is null for a --function.
Expected<FunctionOptions> startFunction(const Arguments::Item &item, const Base *base) {
  auto named = [&](StringRef name) {
    return FunctionOptions{
        {base->phase.empty() ? name.str() : (name + "_" + base->phase).str(), base->model}};
  };
  if (item.option == &baseFunctionOption)
    return named(item.value);
  auto pair = splitPair(*item.option, item.value);
  if (!pair)
    return pair.takeError();
  if (item.option == &functionOption)
    return FunctionOptions{{pair->first, pair->second}};
  FunctionOptions function = named(pair->first);
  auto adapters = parseAdapters(pair->second);
  if (!adapters)
    return usageError("--adapter {0}: {1}", item.value, toString(adapters.takeError()));
  function.adapters.specs = std::move(*adapters);
  return function;
}

/// Gives a function what is said of it: in the first place of its own, then of its base, then of
/// all.
Error declare(FunctionOptions &function, llvm::ArrayRef<const Declarations *> said) {
  for (const Declarations *from : said) {
    inheritDeclarations(function, from->arguments);
    if (function.outputs.empty())
      function.outputs = from->outputs;
    if (!function.adapters.root)
      function.adapters.root = from->adapterRoot;
    function.descriptions.insert(from->descriptions.begin(), from->descriptions.end());
    function.adapters.allowUnmatched |= from->allowUnmatched;
  }
  if (Error error = resolveSizes(function.inputs))
    return usageError("--input: {0}", toString(std::move(error)));
  auto first = [&](auto Declarations::*member) {
    for (const Declarations *from : said)
      if (from->*member)
        return from->*member;
    return said.back()->*member;
  };
  if (said.size() > 1 && said.front()->scale && function.adapters.specs.empty())
    return usageError("{0} is for an --adapter, and function '{1}' is none",
                      spelling(said.front()->scale->isAlpha ? loraAlphaOption : loraScaleOption),
                      function.name);
  setScale(function.adapters.specs, first(&Declarations::scale));
  function.classes = first(&Declarations::classes);
  auto classOutput = first(&Declarations::classOutput);
  if (classOutput && !function.classes)
    return usageError("--class-output {0}: there are no --classes", *classOutput);
  if (classOutput)
    function.classes->scores = *classOutput;
  function.states = first(&Declarations::states).value_or(frontend::StatesRequest());
  function.states.inputs = first(&Declarations::stateInputs).value_or(false);
  // What is said of all is the package's; what is said of a base is of its adapters.
  for (const Declarations *from : said.drop_back())
    if (!function.lora && (from == said.front() || !function.adapters.specs.empty()))
      function.lora = from->lora;
  if (Error error = checkLora(function))
    return usageError("{0}", toString(std::move(error)));
  return Error::success();
}

Expected<CompileOptions> fromFunctions(const Arguments &arguments) {
  CompileOptions options;
  Declarations common;
  auto bases = basesOf(arguments);
  if (!bases)
    return bases.takeError();
  struct Started {
    const Arguments::Item *item;
    Declarations own{};
  };
  std::deque<Started> started; // pointers into it stay good
  Declarations *current = &common;
  auto nextBase = bases->begin();
  for (const Arguments::Item &item : arguments.items()) {
    if (startsFunction(item.option)) {
      if (item.option != &functionOption && bases->empty())
        return usageError("{0} needs the model that it is applied to: --base MODEL.pt",
                          spelling(*item.option));
      started.push_back({&item});
      current = &started.back().own;
    } else if (item.option == &baseOption) {
      if (!nextBase->phase.empty())
        current = &nextBase->declared;
      ++nextBase;
    } else if (!item.option && &arguments.command() == &addCommand) {
      options.output = item.value;
      options.append = true;
    } else if (!item.option) {
      options.functions.push_back({{"main", item.value}});
      options.multifunction = false;
    } else if (item.option->scope == Scope::Function) {
      if (Error error = current->add(item, options.notes))
        return error;
    }
  }
  options.lora = common.lora.value_or(options.lora);
  for (FunctionOptions &function : options.functions)
    if (Error error = declare(function, {&common}))
      return error;
  for (const Started &one : started) {
    auto make = [&](const Base *base) -> Error {
      auto function = startFunction(*one.item, base);
      if (!function)
        return function.takeError();
      options.functions.push_back(std::move(*function));
      llvm::SmallVector<const Declarations *, 3> said{&one.own};
      if (base)
        said.push_back(&base->declared);
      said.push_back(&common);
      return declare(options.functions.back(), said);
    };
    if (one.item->option == &functionOption) {
      if (Error error = make(nullptr))
        return error;
      continue;
    }
    for (const Base &base : *bases)
      if (Error error = make(&base))
        return error;
  }
  return options;
}

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
      return usageError("{0} beside the recipe '{1}': a recipe says everything of its functions",
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
        return usageError("--keep-fp32: {0}", toString(std::move(error)));
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
    for (const Option *one : {&minSnrOption, &inputsOption, &inputScaleOption, &writeRecipeOption})
      if (arguments.has(*one))
        return usageError("{0} is for --precision auto", spelling(*one));
  if (options.precision == passes::Precision::F32 && !options.keepFloat32.empty())
    return usageError("--keep-fp32 is for --precision fp16; in fp32 everything is kept");
  if (!options.autoPrecision)
    return Error::success();
  auto snr = arguments.real(minSnrOption, options.autoPrecision->minSnr);
  auto scale = arguments.real(inputScaleOption, options.autoPrecision->inputScale);
  if (!snr || !scale)
    return joinErrors(snr.takeError(), scale.takeError());
  if (!(*snr > 0 && *snr <= 140))
    return usageError("--min-snr {0}: decibels between 0 and 140 are wanted", *snr);
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

Expected<CompileOptions> compileOptions(const Arguments &arguments) {
  std::vector<std::string> operands = arguments.operands();
  bool hasFunctions = llvm::any_of(
      arguments.items(), [](const Arguments::Item &item) { return startsFunction(item.option); });
  if (!hasFunctions && arguments.has(baseOption))
    return usageError(
        "--base alone makes nothing: add --adapter NAME=DIR for each adapter, or give "
        "the model without --base");
  if (operands.empty() && !hasFunctions)
    return usageError("a model is missing: plait compile -o OUT.mlpackage [--input ...] MODEL.pt; "
                      "see: plait help compile");
  if (!operands.empty() && hasFunctions)
    return usageError("'{0}' has no function's name; beside --function and --adapter every model "
                      "needs one: --function NAME={0}",
                      operands[0]);
  if (operands.size() > 1)
    return usageError("several models need names: --function NAME={0} --function NAME={1}",
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
    return usageError("--write-recipe is for a compile from a recipe; without one, the report has "
                      "the --keep-fp32 that says the same");
  if (Error error =
          readPrecision(arguments, precisionOption, *options, [&] { return options->precision; }))
    return error;
  if (auto to = arguments.value(writeRecipeOption))
    if (Error error = checkRecipeTarget(operands[0], *to))
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
  if (options->output.empty())
    return usageError("-o OUT.mlpackage is missing; see: plait help compile");
  if (!StringRef(options->output).rtrim('/').ends_with(".mlpackage"))
    return usageError("-o {0}: the name of a package ends in .mlpackage", options->output);
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
    return usageError("what to add is missing: plait add {0} --function NAME=MODEL.pt", *package);
  options->defaultFunction = arguments.value(newDefaultOption).value_or("");
  if (Error error = readGeneral(arguments, *options))
    return error;
  if (Error error = readPrecision(arguments, samePrecisionOption, *options,
                                  [&] { return precisionOf(*package); }))
    return error;
  return options;
}

class Terminal : public CompileObserver {
public:
  explicit Terminal(bool quiet) : line_(quiet) {}
  void progress(const llvm::Twine &what) override { line_.show(what); }
  void warning(StringRef message) override {
    line_.clear();
    printWarning(message);
  }

private:
  ProgressLine line_;
};

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
  if (Error error = check(*options))
    return error;
  bool quiet = arguments.has(quietOption);
  Expected<CompileReport> report = [&]() -> Expected<CompileReport> {
    Terminal terminal(quiet);
    // While LibTorch starts, the other processor finds out what the files have alike.
    std::vector<std::string> files;
    for (const FunctionOptions &function : options->functions)
      files.push_back(splitModelPath(function.model).file);
    EqualRecords equal(std::move(files));
    auto part = libTorch();
    if (!part)
      return part.takeError();
    return (*part)->compile(*options, terminal, &equal);
  }();
  if (!report)
    return report.takeError();
  if (auto to = arguments.value(writeRecipeOption))
    if (Error error =
            writeChoice(arguments.operands()[0], *to, options->keepFloat32, *report->precision))
      return error;
  std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
  if (!quiet)
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
    "the "
    "options;\noptions of the package beside it have the last word. Nothing is written unless all "
    "of it is.\n",
    hints,
    run};

} // namespace plait::driver
