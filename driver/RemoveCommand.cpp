// plait remove: functions out of a package, and the room they took.
#include "driver/Commands.h"
#include "driver/Diagnostics.h"
#include "driver/JsonOutput.h"
#include "driver/PrintReport.h"
#include "driver/Remove.h"

#include "llvm/Support/raw_ostream.h"

namespace plait::driver {

namespace {

constexpr Option defaultOption{"default", "NAME",
                               "the function that runs where none is named from now on"};
constexpr Option compactOption{"compact", nullptr,
                               "write the package anew, without the weights that no function uses "
                               "any more; alone, without a FUNCTION, for that only"};
constexpr Option threadsOption{"threads", "N", "for writing weights (one a processor)"};
constexpr Option quietOption{"quiet", nullptr, "no report", 'q'};
constexpr const Option *options[] = {&defaultOption, &compactOption, &threadsOption,
                                     &dryRunOption,  &jsonOption,    &quietOption};
const Section sections[] = {{"Options", options}};

Expected<int> run(const Arguments &arguments) {
  std::vector<std::string> operands = arguments.operands();
  bool compacting = arguments.has(compactOption);
  if (operands.empty() || (operands.size() < 2 && !compacting))
    return usageError(Code::OptionMissing,
                      "a package and the functions to take out of it are wanted: plait remove "
                      "PKG.mlpackage FUNCTION");
  auto threads = arguments.number(threadsOption, 0, 1024);
  if (!threads)
    return threads.takeError();
  RemoveOptions remove;
  remove.package = operands[0];
  remove.functions.assign(operands.begin() + 1, operands.end());
  remove.defaultFunction = arguments.value(defaultOption).value_or("");
  remove.compact = compacting;
  remove.threads = unsigned(*threads);
  remove.warn = printWarning;
  remove.dryRun = arguments.has(dryRunOption);
  auto left = driver::remove(remove);
  if (!left)
    return left.takeError();
  arguments.reply() = llvm::json::Object{
      {"package", jsonString(remove.package)},    {"written", !remove.dryRun},
      {"removed", jsonStrings(remove.functions)}, {"functions", jsonStrings(left->functions)},
      {"weight_file_bytes", left->fileBytes},     {"used_weight_bytes", left->usedBytes}};
  if (arguments.has(quietOption) || arguments.has(jsonOption))
    return 0;
  size_t count = remove.functions.size();
  llvm::outs() << remove.package << ": "
               << (remove.dryRun ? "nothing is written (--dry-run): " : "") << count
               << (count == 1 ? " function" : " functions") << " removed, "
               << humanBytes(left->fileBytes) << " of weights";
  if (!compacting)
    llvm::outs() << ", of which " << humanBytes(left->usedBytes)
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
