// plait merge: functions of existing packages, whoever wrote them, into one package. Weights are
// compared by content, so what the packages hold alike is stored once.
#include "backend/Manifest.h"
#include "backend/PackageReader.h"
#include "backend/PackageWriter.h"
#include "driver/Commands.h"
#include "driver/Compiler.h"
#include "driver/Diagnostics.h"
#include "driver/MetadataOptions.h"
#include "driver/PackageFunctions.h"
#include "driver/Sharing.h"
#include "mil/Verifier.h"
#include "runtime/RuntimeEvaluator.h"

#include "llvm/Support/raw_ostream.h"

namespace plait::driver {

using llvm::StringRef;

namespace {

constexpr Option outOption{"o", "OUT.mlpackage", "the package to write; replaced where it exists"};
constexpr Option defaultOption{"default", "NAME",
                               "the function that runs where none is named (the first)"};
constexpr Option shareOption{"share", "on|off", "functions share equal weights (on)"};
constexpr Option threadsOption{"threads", "N", "for writing weights (one a processor)"};
constexpr Option quietOption{"quiet", nullptr, "no report", 'q'};
constexpr const Option *options[] = {&outOption,          &defaultOption, &shareOption,
                                     &expectSharedOption, &threadsOption, &quietOption};
const Section sections[] = {{"Options", options}, {"Metadata", metadataOptions()}};

/// [NAME=]PKG[:FUNCTION]
struct Source {
  std::string name, package, function;
};

Expected<Source> parseSource(StringRef text) {
  Source source;
  StringRef rest = text;
  if (auto [name, path] = text.split('='); mil::isLegalName(name) && !path.empty()) {
    source.name = name.str();
    rest = path;
  }
  auto [package, function] = rest.rsplit(':');
  if (mil::isLegalName(function) && StringRef(package).rtrim('/').ends_with(".mlpackage")) {
    source.function = function.str();
    rest = package;
  }
  source.package = rest.str();
  if (!rest.rtrim('/').ends_with(".mlpackage"))
    return usageError("'{0}': [NAME=]PKG.mlpackage[:FUNCTION] is wanted", text);
  return source;
}

/// Moves what `source` names into `program`.
Error take(const Source &source, mil::Program &program) {
  auto package = readPackage(source.package);
  if (!package)
    return package.takeError();
  std::vector<mil::Function *> chosen;
  if (source.function.empty() && source.name.empty()) {
    for (const auto &function : (*package)->functions())
      chosen.push_back(function.get());
  } else {
    std::optional<std::string> name;
    if (!source.function.empty())
      name = source.function;
    auto function = findFunction(**package, source.package, name);
    if (!function)
      return function.takeError();
    chosen.push_back(*function);
  }
  for (mil::Function *function : chosen) {
    if (function->opset != mil::Opset::iOS18)
      return makeError("{0}: function '{1}' has the opset {2}; packages of several functions have "
                       "{3}: convert the model again for iOS 18 or macOS 15",
                       source.package, function->name, mil::name(function->opset),
                       mil::name(mil::Opset::iOS18));
    std::string name = source.name.empty() ? function->name : source.name;
    if (program.function(name))
      return makeError("{0}: two functions are called '{1}'; give one another name: "
                       "OTHER={0}:{2}",
                       source.package, name, function->name);
    function->name = name;
    program.adopt(**package, function);
  }
  // A package's attributes tell how it was built, which is not how the merged one is.
  return Error::success();
}

Expected<int> run(const Arguments &arguments) {
  auto output = arguments.required(outOption);
  if (!output)
    return output.takeError();
  if (!StringRef(*output).rtrim('/').ends_with(".mlpackage"))
    return usageError("-o {0}: the name of a package ends in .mlpackage", *output);
  std::vector<Source> sources;
  for (const std::string &operand : arguments.operands()) {
    auto source = parseSource(operand);
    if (!source)
      return source.takeError();
    sources.push_back(std::move(*source));
  }
  if (sources.empty())
    return usageError("the packages to merge are missing; see: plait help merge");
  auto share = arguments.choice(shareOption, {"off", "on"}, 1);
  if (!share)
    return share.takeError();
  auto threads = arguments.number(threadsOption, 0, 1024);
  if (!threads)
    return threads.takeError();
  auto expected = expectedShare(arguments);
  if (!expected)
    return expected.takeError();
  if (Error error = checkOutput(*output))
    return error;

  mil::Program program;
  for (const Source &source : sources)
    if (Error error = take(source, program))
      return error;
  program.defaultFunction = arguments.value(defaultOption).value_or(program.functions()[0]->name);
  if (!program.function(program.defaultFunction))
    return findFunction(program, *output, program.defaultFunction).takeError();
  if (Error error = readMetadata(arguments, program.metadata))
    return error;
  if (Error error = mil::verify(program))
    return addContext(std::move(error), "a function is not well-formed MIL, so that Core ML would "
                                        "refuse the package that it is from too");
  runtime::RuntimeEvaluator evaluator;
  WriteOptions write;
  write.share = *share;
  write.threads = unsigned(*threads);
  write.evaluator = &evaluator;
  write.accept = [&](const WriteReport &report) {
    return *expected ? checkShares(report, **expected) : Error::success();
  };
  WriteReport report;
  if (Error error = writePackage(program, *output, write, &report))
    return error;
  if (!arguments.has(quietOption)) {
    uint64_t bytes = report.layout.fileBytes + report.modelBytes + makeManifest().size();
    llvm::outs() << *output << ": " << humanBytes(bytes) << ", " << program.functions().size()
                 << (program.functions().size() == 1 ? " function\n" : " functions\n");
    for (const auto &[function, share] : weightShares(report))
      llvm::outs() << llvm::formatv("  {0}  {1,10} own  {2,10} shared\n", function->name,
                                    humanBytes(share.ownBytes), humanBytes(share.sharedBytes));
  }
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
