// Functions on the command line: options that start one, and those that belong to the one before.
#include "driver/CompileFunctions.h"

#include "driver/AdapterSyntax.h"
#include "driver/ClassLabels.h"
#include "driver/Commands.h"
#include "driver/InputDeclarations.h"
#include "driver/StateSyntax.h"

#include "llvm/ADT/StringExtras.h"

#include <deque>

namespace plait::driver {

using llvm::StringRef;

const Option functionOption{"function", "NAME=MODEL.pt",
                            "one function of the package and the model it is made from, a "
                            "TorchScript file or an archive of torch.export (MODEL.pt2, or "
                            "MODEL.pt2:PART of several); once for each function",
                            0, Scope::Many};
const Option baseOption{
    "base", "[PHASE=]MODEL.pt",
    "the model that adapters are applied to. Several with a name each, such as prefill "
    "and decode, make a function of each adapter with each of them: NAME_PHASE",
    0, Scope::Many};
const Option adapterOption{
    "adapter", "NAME=DIR[:WEIGHT][+DIR:WEIGHT ...]",
    "one function: the base with a PEFT adapter folder or a safetensors file applied, or with "
    "several blended by their weights; once for each function",
    0, Scope::Many};
const Option baseFunctionOption{"base-function", "NAME",
                                "one function: the base without an adapter", 0, Scope::Many};
namespace {

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
constexpr const Option *ownOptions[] = {
    &inputOption,       &outputOption,         &describeOption,  &classesOption,
    &classOutputOption, &statesOption,         &stateInitOption, &loraOption,
    &adapterRootOption, &allowUnmatchedOption, &loraAlphaOption, &loraScaleOption};
/// The options of one function, or those before the first function, which hold for all.
struct Declarations {
  frontend::ModelFunction arguments; ///< inputs and constants alone
  std::vector<frontend::OutputSpec> outputs;
  std::map<std::string, std::string> descriptions;
  std::optional<frontend::ClassLabels> classes;
  std::string classesFile;
  std::optional<std::string> classOutput;
  std::optional<frontend::StatesRequest> states;
  std::optional<bool> stateInputs;
  std::optional<mil::LoraMode> lora;
  AdapterChoices adapter;

  /// `notes` takes what is read as something else.
  Error add(const Arguments::Item &item, std::vector<Warning> &notes) {
    if (item.option == &inputOption) {
      if (Error error = addDeclaration(arguments, item.value, {.notes = &notes}))
        return usageError(std::move(error), "--input");
    } else if (item.option == &outputOption) {
      auto output = parseOutput(item.value);
      if (!output)
        return usageError(output.takeError(), "--output");
      outputs.push_back(std::move(*output));
    } else if (item.option == &describeOption) {
      auto pair = splitPair(*item.option, item.value);
      if (!pair)
        return pair.takeError();
      if (!descriptions.insert(*pair).second)
        return usageError(Code::OptionConflict, "--describe {0}: '{1}' is described twice",
                          item.value, pair->first);
    } else if (item.option == &classesOption) {
      if (classes)
        return usageError(Code::OptionConflict, "--classes is given twice");
      auto read = parseClasses(item.value);
      if (!read)
        return read.takeError();
      classes = std::move(*read);
      classesFile = splitClasses(item.value).first;
    } else if (item.option == &classOutputOption) {
      if (classOutput)
        return usageError(Code::OptionConflict, "--class-output is given twice");
      classOutput = item.value;
    } else if (item.option == &statesOption) {
      if (!states)
        states.emplace();
      if (Error error = addStates(*states, item.value))
        return usageError(std::move(error), "--states");
    } else if (item.option == &stateInitOption) {
      if (item.value != "zeros" && item.value != "input")
        return usageError(Code::OptionValue, "--state-init {0}: the choices are zeros, input",
                          item.value);
      stateInputs = item.value == "input";
    } else if (auto taken = adapter.take(item); !taken || *taken) {
      return taken.takeError();
    } else {
      if (lora)
        return usageError(Code::OptionConflict, "--lora is given twice");
      lora = mil::parseLoraMode(item.value);
      if (!lora)
        return usageError(Code::OptionValue, "--lora {0}: the choices are {1}", item.value,
                          llvm::join(mil::kLoraModes, ", "));
    }
    return Error::success();
  }
};

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
        return usageError(Code::OptionConflict, "--base {0}: '{1}' is given twice", value, phase);
    bases.push_back(isNamed ? Base{phase.str(), model.str()} : Base{"", value});
  }
  for (const Base &base : bases)
    if (base.phase.empty() && bases.size() > 1)
      return usageError(Code::OptionMissing,
                        "--base {0}: of several bases each needs a name: --base prefill={0}",
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
    return usageError(adapters.takeError(), "--adapter " + item.value);
  function.adapters.specs = std::move(*adapters);
  return function;
}

/// Gives a function what is said of it: in the first place of its own, then of its base, then of
/// all.
Error declare(FunctionOptions &function, llvm::ArrayRef<const Declarations *> said) {
  AdapterChoices adapter;
  for (const Declarations *from : said) {
    inheritDeclarations(function, from->arguments);
    if (function.outputs.empty())
      function.outputs = from->outputs;
    function.descriptions.insert(from->descriptions.begin(), from->descriptions.end());
    adapter.inherit(from->adapter);
  }
  function.adapters.root = adapter.root;
  function.adapters.allowUnmatched = adapter.allowUnmatched;
  if (Error error = resolveSizes(function.inputs))
    return usageError(std::move(error), "--input");
  auto first = [&](auto Declarations::*member) {
    for (const Declarations *from : said)
      if (from->*member)
        return from->*member;
    return said.back()->*member;
  };
  if (const auto &own = said.front()->adapter.scale;
      said.size() > 1 && own && function.adapters.specs.empty())
    return usageError(Code::OptionConflict, "{0} is for an --adapter, and function '{1}' is none",
                      spelling(own->isAlpha ? loraAlphaOption : loraScaleOption), function.name);
  setScale(function.adapters.specs, adapter.scale);
  for (const Declarations *from : said)
    if (from->classes && !function.classes) {
      function.classes = from->classes;
      function.classesFile = from->classesFile;
    }
  auto classOutput = first(&Declarations::classOutput);
  if (classOutput && !function.classes)
    return usageError(Code::OptionConflict, "--class-output {0}: there are no --classes",
                      *classOutput);
  if (classOutput)
    function.classes->scores = *classOutput;
  function.states = first(&Declarations::states).value_or(frontend::StatesRequest());
  function.states.inputs = first(&Declarations::stateInputs).value_or(false);
  // What is said of all is the package's; what is said of a base is of its adapters.
  for (const Declarations *from : said.drop_back())
    if (!function.lora && (from == said.front() || !function.adapters.specs.empty()))
      function.lora = from->lora;
  if (Error error = checkLora(function))
    return llvm::make_error<UsageError>(takeFailure(std::move(error)));
  return Error::success();
}

} // namespace

bool startsFunction(const Option *option) {
  return option == &functionOption || option == &adapterOption || option == &baseFunctionOption;
}

llvm::ArrayRef<const Option *> functionOptions() { return ownOptions; }

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
        return usageError(Code::OptionMissing,
                          "{0} needs the model that it is applied to: --base MODEL.pt",
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

} // namespace plait::driver
