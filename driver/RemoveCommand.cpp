// plait remove: functions out of a package, and the room they took.
#include "backend/Inspect.h"
#include "backend/PackageEdit.h"
#include "backend/PackageReader.h"
#include "driver/AdapterMap.h"
#include "driver/Commands.h"
#include "driver/Diagnostics.h"
#include "runtime/RuntimeEvaluator.h"

#include "llvm/Support/raw_ostream.h"

namespace plait::driver {

using llvm::StringRef;

namespace {

constexpr Option defaultOption{"default", "NAME",
                               "the function that runs where none is named from now on"};
constexpr Option compactOption{"compact", nullptr,
                               "write the package anew, without the weights that no function uses "
                               "any more; alone, without a FUNCTION, for that only"};
constexpr Option threadsOption{"threads", "N", "for writing weights (one a processor)"};
constexpr Option quietOption{"quiet", nullptr, "no report", 'q'};
constexpr const Option *options[] = {&defaultOption, &compactOption, &threadsOption, &quietOption};
const Section sections[] = {{"Options", options}};

Error compact(StringRef package, unsigned threads) {
  auto program = readPackage(package);
  if (!program)
    return program.takeError();
  runtime::RuntimeEvaluator evaluator;
  WriteOptions write;
  write.threads = threads;
  write.evaluator = &evaluator;
  return writePackage(**program, package, write);
}

Expected<int> run(const Arguments &arguments) {
  std::vector<std::string> operands = arguments.operands();
  bool compacting = arguments.has(compactOption);
  if (operands.empty() || (operands.size() < 2 && !compacting))
    return usageError("a package and the functions to take out of it are wanted: plait remove "
                      "PKG.mlpackage FUNCTION");
  auto threads = arguments.number(threadsOption, 0, 1024);
  if (!threads)
    return threads.takeError();
  const std::string &package = operands[0];
  std::vector<std::string> names(operands.begin() + 1, operands.end());
  EditOptions edit;
  edit.defaultFunction = arguments.value(defaultOption).value_or("");
  auto map = adapterMapOf(package);
  if (!map)
    return map.takeError();
  if (!names.empty() || !edit.defaultFunction.empty())
    if (Error error = removeFunctions(package, names, edit))
      return error;
  size_t inMap = map->functions.size();
  for (const std::string &name : names)
    map->functions.erase(name);
  if (map->functions.size() != inMap)
    if (Error error = writeAdapterMap(*map, adapterMapPath(package)))
      return error;
  if (compacting)
    if (Error error = compact(package, unsigned(*threads)))
      return error;
  if (arguments.has(quietOption))
    return 0;
  auto summary = inspectPackage(package);
  if (!summary)
    return summary.takeError();
  llvm::outs() << package << ": " << names.size()
               << (names.size() == 1 ? " function" : " functions") << " removed, "
               << humanBytes(summary->fileBytes) << " of weights";
  if (!compacting)
    llvm::outs() << ", of which " << humanBytes(summary->uniqueBytes)
                 << " are in use (--compact frees the rest)";
  llvm::outs() << '\n';
  return 0;
}

constexpr const char *usage[] = {"PKG.mlpackage FUNCTION ... [options]", "PKG.mlpackage --compact"};

} // namespace

const Command removeCommand = {
    "remove",
    "functions out of a package",
    usage,
    sections,
    "The model that is left takes the old one's place in one step. Weights stay where they are, so "
    "that it is\nquick: plait add shares them again, or writes over those at the end of the "
    "file.\n",
    {},
    run};

} // namespace plait::driver
