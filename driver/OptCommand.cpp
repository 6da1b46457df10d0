// plait opt: runs passes on a program, cuts an operation out of it, and turns packages into text
// and back. For golden tests, and for seeing what a pass does.
#include "backend/DebugInfo.h"
#include "backend/PackageWriter.h"
#include "backend/TextModel.h"
#include "driver/Commands.h"
#include "driver/DeviceRules.h"
#include "driver/Diagnostics.h"
#include "driver/JsonOutput.h"
#include "driver/LibTorch.h"
#include "driver/PassHooks.h"
#include "driver/Timing.h"
#include "driver/Unreadable.h"
#include "mil/Extract.h"
#include "mil/Printer.h"
#include "mil/Verifier.h"

#include "llvm/Support/FileSystem.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/raw_ostream.h"

namespace plait::driver {

using llvm::StringRef;

namespace {

constexpr Option passesOption{"passes", "A,B,...", "the passes to run once each, in this order"};
constexpr Option pipelineOption{"pipeline", nullptr,
                                "runs what `plait compile` runs, to a fixed point where it does"};
constexpr Option outOption{"o", "FILE.mil|PKG.mlpackage",
                           "where to write the program (as text, to the standard output)"};
constexpr Option listOption{"list-passes", nullptr, "lists all passes"};
constexpr Option rulesOption{"list-rules", nullptr,
                             "lists what Core ML refuses or gets wrong, which is checked before "
                             "a package is written"};
constexpr Option extractOption{
    "extract", "VALUE",
    "first cuts the program down to the operation that computes VALUE: its constants come along, "
    "its other operands become inputs"};
constexpr Option depthOption{"depth", "N",
                             "of --extract: also the operations up to N steps before it (0)"};
constexpr Option functionOption{"function", "NAME",
                                "of --extract: the function, where several have such a value"};
constexpr Option loraOption{"lora", "keep|fold", "what fold-lora does (keep)"};
constexpr Option shareOption{"share", "on|off", "whether functions share weights (on)"};
constexpr Option precisionOption{"precision", "fp16|fp32",
                                 "whether the pipeline goes to fp16 (fp16)"};
constexpr Option targetOption{"target", "ios15|ios16|ios17|ios18|ios26",
                              "the opset that to-opset brings functions to (ios18)"};

constexpr const Option *options[] = {
    &passesOption,     &pipelineOption,   &outOption,       &listOption,   &rulesOption,
    &printAfterOption, &verifyEachOption, &extractOption,   &depthOption,  &functionOption,
    &loraOption,       &shareOption,      &precisionOption, &targetOption, &allowOption,
    &jsonOption,       &verboseOption};
constexpr Section sections[] = {{"Options", options}};

Expected<std::unique_ptr<mil::Program>> readProgram(StringRef path) {
  auto package = [&]() -> Expected<Package> {
    if (llvm::sys::fs::is_directory(path))
      return openPackage(path);
    auto buffer = llvm::MemoryBuffer::getFileOrSTDIN(path, /*IsText=*/true);
    if (!buffer)
      return unreadable(path, buffer.getError());
    return parseText((*buffer)->getBuffer(), path);
  }();
  if (!package)
    return package.takeError();
  return std::move(package->program);
}

void printProgram(const mil::Program &program, llvm::raw_ostream &out, LazyEvaluator &evaluator) {
  mil::PrintOptions options;
  options.evaluator = &evaluator;
  options.symbols = true;
  options.locations = true;
  mil::print(program, out, options);
}

Error writeProgram(const mil::Program &program, StringRef path, const Arguments &arguments,
                   LazyEvaluator &evaluator) {
  auto allowed = allowedRules(arguments);
  if (!allowed)
    return allowed.takeError();
  if (!path.rtrim('/').ends_with(".mlpackage"))
    return writeTextModel(program, path, &evaluator);
  if (Error error = checkDeviceRules(program, path, *allowed, printWarning))
    return error;
  WriteOptions options;
  options.evaluator = &evaluator;
  options.debugInfo = hasDebugInfo(program);
  return writePackage(program, path, options);
}

void listPasses(const Arguments &arguments) {
  llvm::json::Array entries;
  for (const passes::PassInfo &pass : passes::allPasses()) {
    if (!arguments.has(jsonOption))
      llvm::outs() << fmt::format("{0:<24}{1}\n", pass.name, pass.summary);
    entries.push_back(llvm::json::Object{{"name", pass.name}, {"summary", pass.summary}});
  }
  arguments.reply()["passes"] = std::move(entries);
}

void listRules(const Arguments &arguments) {
  llvm::json::Array entries;
  for (const mil::Rule &rule : mil::listRules()) {
    if (rule.level != mil::Rule::Profile)
      continue;
    if (!arguments.has(jsonOption))
      llvm::outs() << fmt::format("{0:<24}{1:<10}{2}\n{3:>34}{4}\n", rule.id,
                                  mil::name(rule.severity), withCode(mil::codeOf(rule), rule.text),
                                  "", rule.source);
    entries.push_back(llvm::json::Object{{"rule", rule.id},
                                         {"code", plait::name(mil::codeOf(rule))},
                                         {"severity", mil::name(rule.severity)},
                                         {"text", rule.text},
                                         {"source", rule.source}});
  }
  arguments.reply()["rules"] = std::move(entries);
}

Expected<int> run(const Arguments &arguments) {
  if (arguments.has(listOption)) {
    listPasses(arguments);
    return 0;
  }
  if (arguments.has(rulesOption)) {
    listRules(arguments);
    return 0;
  }
  auto path = arguments.operand("FILE.mil");
  if (!path)
    return path.takeError();
  auto list = arguments.value(passesOption);
  if (list && arguments.has(pipelineOption))
    return usageError(Code::OptionConflict, "--passes and --pipeline exclude each other");
  auto chosen = passes::parsePassList(list.value_or(""));
  if (!chosen)
    return usageError(chosen.takeError(), "--passes");
  auto lora = arguments.choice(loraOption, {"keep", "fold"}, 0);
  if (!lora)
    return lora.takeError();
  auto share = arguments.choice(shareOption, {"off", "on"}, 1);
  if (!share)
    return share.takeError();
  auto precision = arguments.choice(precisionOption, {"fp16", "fp32"}, 0);
  if (!precision)
    return precision.takeError();
  auto target = arguments.choice(targetOption, {"ios15", "ios16", "ios17", "ios18", "ios26"},
                                 unsigned(mil::kDefaultOpset));
  if (!target)
    return target.takeError();

  LazyEvaluator evaluator;
  auto printTo = [&, cut = arguments.has(extractOption)](const mil::Program &program,
                                                         llvm::raw_ostream &out) {
    cut ? printWithStandIns(program, out) : printProgram(program, out, evaluator);
  };
  auto print = [&](const mil::Program &program) { printTo(program, llvm::outs()); };
  if (arguments.has(jsonOption) && arguments.has(printAfterOption))
    return usageError(Code::OptionConflict,
                      "--json and --print-after exclude each other: both take the standard output");
  auto hooks = passHooks(arguments, print);
  if (!hooks)
    return hooks.takeError();
  auto depth = arguments.number(depthOption, 0, 1000);
  if (!depth)
    return depth.takeError();
  for (const Option *option : {&depthOption, &functionOption})
    if (arguments.has(*option) && !arguments.has(extractOption))
      return usageError(Code::OptionConflict, "{0} belongs to --extract", spelling(*option));

  auto program = readProgram(*path);
  if (!program)
    return program.takeError();
  if (Error error = mil::verify(**program))
    return error;
  if (auto value = arguments.value(extractOption)) {
    auto cut = mil::extract(
        **program, {*value, unsigned(*depth), arguments.value(functionOption).value_or("")});
    if (!cut)
      return cut.takeError();
    program = std::move(cut);
    if (Error error = mil::verify(**program))
      return addContext(std::move(error), "what --extract cut out does not stand alone");
  }

  passes::PassContext context;
  context.evaluator = &evaluator;
  context.options.precision = passes::Precision(*precision);
  context.options.lora = mil::LoraMode(*lora);
  context.options.share = *share;
  context.options.target = mil::Opset(*target);
  context.warn = printWarning;
  Timing timing(arguments.has(verboseOption));
  timing.watch(*hooks);
  timing.enter("passes");
  if (arguments.has(pipelineOption)) {
    if (Error error = passes::runPipeline(**program, context, *hooks))
      return error;
  } else {
    if (Error error = passes::runPasses(**program, context, *chosen, *hooks).takeError())
      return error;
  }
  timing.addTo(arguments.reply());
  if (Error error = evaluator.takeError())
    return error;
  if (Error error = mil::verify(**program))
    return error;
  if (auto out = arguments.value(outOption)) {
    if (Error error = writeProgram(**program, *out, arguments, evaluator))
      return error;
    arguments.reply()["output"] = jsonString(*out);
  } else {
    std::string text;
    llvm::raw_string_ostream json(text);
    printTo(**program,
            arguments.has(jsonOption) ? static_cast<llvm::raw_ostream &>(json) : llvm::outs());
    if (arguments.has(jsonOption))
      arguments.reply()["text"] = jsonString(text);
    if (Error error = evaluator.takeError())
      return error;
  }
  return 0;
}

constexpr const char *usage[] = {"[options] FILE.mil", "[options] PKG.mlpackage|MODEL.mlmodelc",
                                 "--list-passes", "--list-rules"};

} // namespace

const Command optCommand = {
    "opt",
    "passes on a program in MIL text, for tests and exploring",
    usage,
    sections,
    "FILE.mil may be - for the standard input. Without --passes and --pipeline the program is "
    "verified and\nprinted. Text that is printed names places of large constants as if they were "
    "written one after the\nother; -o FILE.mil writes them to FILE.weights.bin, so that the text "
    "reads back.\n\nWhat --extract prints stands alone, as a case of a golden test does: constants "
    "of more than 64 elements\nbecome made-up numbers of the same shape (BLOBFILE of @stand_in). "
    "With -o FILE.mil they keep their\nnumbers. Passes run on what was cut out. A state is an "
    "input; what was written to it before is left out.\n",
    {},
    run};

} // namespace plait::driver
