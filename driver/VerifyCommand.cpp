// plait verify: functions of a package in the reference interpreter beside the models they were
// made from in LibTorch, on the same inputs.
#include "driver/AdapterSyntax.h"
#include "driver/Commands.h"
#include "driver/Diagnostics.h"
#include "driver/InputSets.h"
#include "driver/InputSyntax.h"
#include "driver/JsonOutput.h"
#include "driver/LibTorch.h"
#include "driver/PackageFunctions.h"
#include "driver/ProgressLine.h"
#include "driver/VerifyReport.h"
#include "mil/MappedStorage.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/raw_ostream.h"

namespace plait::driver {

using llvm::StringRef;

namespace {

constexpr Option functionOption{
    "function", "NAME", "a function to verify (the default function); repeatable", 0, Scope::Many};
constexpr Option againstOption{"against", "MODEL.pt",
                               "the TorchScript file or torch.export archive that it was made from",
                               0, Scope::Function};
constexpr Option adapterOption{"adapter", "DIR[:WEIGHT][+DIR:WEIGHT ...]",
                               "the adapter that was applied to it, or several blended", 0,
                               Scope::Function};
constexpr Option inputOption{"input", "NAME=FILE.npy",
                             "an input's array in place of random numbers", 0, Scope::Function};
constexpr Option inputsOption{"inputs", "FOLDER",
                              "arrays that an app gives, a set for each draw: NAME.npy, .npz, PNG, "
                              "JPEG, or folders of them",
                              0, Scope::Function};
constexpr Option inputScaleOption{"input-scale", "S",
                                  "the standard deviation of random floats (1)"};
constexpr Option rangeOption{"range", "NAME=LOW..HIGH",
                             "the bounds of an input's random integers (0 and 1, or the length of "
                             "what it indexes)",
                             0, Scope::Function};
constexpr Option imageOption{"image", "NAME='scale=S bias=B'",
                             "what was said of an image's pixels to compile: the function is given "
                             "random pixels, the model pixel * scale + bias",
                             0, Scope::Function};
constexpr Option absoluteOption{"atol", "A", "the absolute tolerance (see below)"};
constexpr Option relativeOption{"rtol", "R", "the relative tolerance (see below)"};
constexpr Option seedOption{"seed", "S", "of the random inputs (0)"};
constexpr Option drawsOption{"draws", "N",
                             "how many sets of inputs (1, or those of --inputs); of random floats "
                             "the third is of larger ones, the fourth has spikes, the fifth is "
                             "positive"};
constexpr Option stepsOption{"steps", "N",
                             "calls for each set, with other random inputs each, on the same "
                             "states, which are compared with the model's tensors after each (1)"};
constexpr Option bisectOption{
    "bisect", nullptr,
    "after a failure, names the first operation that leaves the model, the "
    "first at which fp16 leaves fp32, and the first overflow or NaN"};
constexpr const Option *functionOptions[] = {
    &functionOption,       &againstOption,   &adapterOption,   &adapterRootOption,
    &allowUnmatchedOption, &loraAlphaOption, &loraScaleOption, &inputOption,
    &inputsOption,         &rangeOption,     &imageOption};
constexpr const Option *generalOptions[] = {&absoluteOption,   &relativeOption, &seedOption,
                                            &inputScaleOption, &drawsOption,    &stepsOption,
                                            &computeOption,    &bisectOption,   &jsonOption};
constexpr Section sections[] = {
    {"What to verify (options after a --function are of that one; before any: of all)",
     functionOptions},
    {"In general", generalOptions},
};

/// One function to verify.
struct Target {
  std::optional<std::string> function;
  std::optional<std::string> against, adapter;
  AdapterChoices how; ///< the adapter is applied
  std::vector<std::string> inputs, ranges;
  std::optional<std::string> sets; ///< a folder
  std::map<std::string, mil::PixelArithmetic> pixels;
};

Expected<std::vector<Target>> targets(const Arguments &arguments) {
  Target common;
  std::vector<Target> found;
  for (const Arguments::Item &item : arguments.items()) {
    Target &target = found.empty() ? common : found.back();
    if (item.option == &functionOption) {
      found.emplace_back().function = item.value;
    } else if (item.option == &againstOption) {
      if (target.against)
        return usageError(Code::OptionConflict, "--against is given twice for one function");
      target.against = item.value;
    } else if (item.option == &adapterOption) {
      if (target.adapter)
        return usageError(Code::OptionConflict, "--adapter is given twice for one function");
      target.adapter = item.value;
    } else if (auto taken = target.how.take(item); !taken) {
      return taken.takeError();
    } else if (item.option == &inputOption) {
      target.inputs.push_back(item.value);
    } else if (item.option == &inputsOption) {
      if (target.sets)
        return usageError(Code::OptionConflict, "--inputs is given twice for one function");
      target.sets = item.value;
    } else if (item.option == &rangeOption) {
      target.ranges.push_back(item.value);
    } else if (item.option == &imageOption) {
      auto pair = splitPair(imageOption, item.value);
      if (!pair)
        return pair.takeError();
      auto pixels = parsePixels(pair->second);
      if (!pixels)
        return usageError(pixels.takeError(), "--image " + item.value);
      target.pixels[pair->first] = std::move(*pixels);
    }
  }
  if (found.empty())
    found.emplace_back();
  for (Target &target : found) {
    if (!target.against)
      target.against = common.against;
    if (!target.against)
      return usageError(Code::OptionMissing,
                        "--against MODEL.pt is missing{0}; see: plait help verify",
                        target.function ? " for function '" + *target.function + "'" : "");
    if (!target.adapter)
      target.adapter = common.adapter;
    target.how.inherit(common.how);
    if (!target.sets)
      target.sets = common.sets;
    target.inputs.insert(target.inputs.begin(), common.inputs.begin(), common.inputs.end());
    target.ranges.insert(target.ranges.begin(), common.ranges.begin(), common.ranges.end());
    target.pixels.insert(common.pixels.begin(), common.pixels.end());
  }
  return found;
}

Error addRange(runtime::VerifyOptions &options, StringRef given) {
  auto pair = splitPair(rangeOption, given);
  if (!pair)
    return pair.takeError();
  auto [low, high] = StringRef(pair->second).split("..");
  runtime::Range range;
  if (low.getAsInteger(10, range.low) || high.getAsInteger(10, range.high) ||
      range.high < range.low)
    return usageError(Code::OptionValue, "--range {0}: {1} is wanted", given, rangeOption.argument);
  options.ranges[pair->first] = range;
  return Error::success();
}

/// The adapters that the target names.
Expected<VerifyModel> modelOf(const Target &target, const std::string &package) {
  VerifyModel model{*target.against, {{}, target.how.root, target.how.allowUnmatched}, package};
  model.warn = printWarning;
  if (!target.adapter)
    return model;
  auto adapters = parseAdapters(*target.adapter);
  if (!adapters)
    return usageError(adapters.takeError(), "--adapter " + *target.adapter);
  model.adapters.specs = std::move(*adapters);
  setScale(model.adapters.specs, target.how.scale);
  return model;
}

Expected<int> run(const Arguments &arguments) {
  auto path = arguments.operand("PKG.mlpackage");
  if (!path)
    return path.takeError();
  auto wanted = targets(arguments);
  if (!wanted)
    return wanted.takeError();
  runtime::VerifyOptions options;
  auto seed = arguments.number(seedOption, 0, UINT32_MAX);
  auto draws = arguments.number(drawsOption, 1, 10000);
  auto steps = arguments.number(stepsOption, 1, 10000);
  auto absolute = arguments.real(absoluteOption, -1);
  auto relative = arguments.real(relativeOption, -1);
  auto scale = arguments.real(inputScaleOption, 1);
  Error error = Error::success();
  for (auto *number : {&seed, &draws, &steps})
    if (!*number)
      error = joinErrors(std::move(error), number->takeError());
  for (auto *number : {&absolute, &relative, &scale})
    if (!*number)
      error = joinErrors(std::move(error), number->takeError());
  if (error)
    return error;
  options.seed = *seed;
  if (*draws == 0)
    return usageError(Code::OptionValue, "--draws is at least 1");
  options.draws = unsigned(*draws);
  if (!(*scale > 0))
    return usageError(Code::OptionValue, "--input-scale {0}: a number above 0 is wanted", *scale);
  options.inputScale = *scale;
  if (*steps == 0)
    return usageError(Code::OptionValue, "--steps is at least 1");
  options.steps = unsigned(*steps);
  options.bisect = arguments.has(bisectOption);
  auto compute = computeOf(arguments);
  if (!compute)
    return compute.takeError();
  options.compute = *compute;
  if (*absolute >= 0)
    options.absolute = *absolute;
  if (*relative >= 0)
    options.relative = *relative;

  auto package = readPackage(*path);
  if (!package)
    return package.takeError();
  bool passed = true, json = arguments.has(jsonOption);
  llvm::json::Array &functions =
      *(arguments.reply()["functions"] = llvm::json::Array()).getAsArray();
  for (const Target &target : *wanted) {
    auto function = findFunction(**package, *path, target.function);
    if (!function)
      return function.takeError();
    runtime::VerifyOptions own = options;
    own.pixels = target.pixels;
    for (const std::string &given : target.ranges)
      if (Error failure = addRange(own, given))
        return failure;
    for (const std::string &given : target.inputs) {
      auto input = readInput(inputOption, given, **function);
      if (!input)
        return input.takeError();
      own.inputs.push_back(std::move(*input));
    }
    if (target.sets) {
      auto sets = readInputSets(*target.sets, **function);
      if (!sets)
        return sets.takeError();
      own.sets = std::move(*sets);
      if (!arguments.has(drawsOption))
        own.draws = unsigned(own.sets.size());
    }
    auto model = modelOf(target, *path);
    if (!model)
      return model.takeError();
    auto part = libTorch();
    if (!part)
      return part.takeError();
    auto report = [&] {
      ProgressLine line(/*quiet=*/false);
      own.progress = [&](StringRef what, double done) {
        line.show(what);
        line.reach((double(functions.size()) + done) / double(wanted->size()));
      };
      return (*part)->verify(**function, *model, std::move(own));
    }();
    if (!report)
      return report.takeError();
    if (Error failure = mil::checkUnchanged(**package))
      return failure;
    passed &= report->passed;
    Verified verified{
        (*function)->name, *target.against, target.adapter.value_or(""), std::move(*report), {}};
    if (verified.report.bisect)
      verified.bisection = (*part)->describe(*verified.report.bisect);
    if (!json)
      printVerified(verified, options.steps, llvm::outs());
    functions.push_back(toJson(verified));
  }
  arguments.reply()["passed"] = passed;
  return passed ? 0 : 1;
}

constexpr const char *usage[] = {
    "PKG.mlpackage [--function NAME] --against MODEL.pt [options]",
    "PKG.mlpackage --function NAME --against MODEL.pt --function NAME --against ...",
    "PKG.mlpackage [--function NAME] --against BASE.pt --adapter DIR [options]",
};

} // namespace

const Command verifyCommand = {
    "verify",
    "functions of a package beside their models in LibTorch",
    usage,
    sections,
    "An output passes when its distance from the model is explained by rounding, and rounding "
    "takes "
    "it no\nfurther than 1e-3 + 1e-2 * (its largest absolute value). Runs of the function without "
    "rounding and with\nmoved weights measure that. With --atol A or --rtol R it passes when no "
    "element is NaN or infinite on\none side only and no error is greater than A + R * (its "
    "largest "
    "absolute value). The exit status is 1\nwhen an output does not pass.\n",
    {},
    run};

} // namespace plait::driver
