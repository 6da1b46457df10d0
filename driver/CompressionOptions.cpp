// Reading options, and judging what they say together.
#include "driver/CompressionOptions.h"

#include "driver/Sharing.h"

#include "llvm/ADT/StringExtras.h"

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

const Option sizeBudgetOption{
    "size-budget", "BYTES",
    "what the package may take, 900MB: schemes of weights that --compress does not name are chosen "
    "by what their errors do to the outputs, as the interpreter measures it on --inputs"};
const Option calibrateOption{
    "calibrate", "FOLDER",
    "inputs likewise: what weights are multiplied with there, in every function, says which of "
    "their errors matter; outputs are measured on them where --inputs is not given"};
const Option gptqOption{
    "gptq", nullptr,
    "with --calibrate: integers and indices of linear layers are chosen one input after the other, "
    "each to make up for the errors of those before it"};

Error readGoal(const Arguments &arguments, const Option *minSnr, const Option &inputs,
               CompressionGoal &goal) {
  if (auto given = arguments.value(sizeBudgetOption)) {
    goal.sizeBudget = parseBytes(*given);
    if (!goal.sizeBudget)
      return usageError(Code::OptionValue,
                        "--size-budget {0}: a number of bytes is wanted, such as 900MB or 1.5GiB",
                        *given);
  }
  if (minSnr && arguments.has(*minSnr)) {
    auto snr = arguments.real(*minSnr, 30);
    if (!snr)
      return snr.takeError();
    if (!(*snr > 0 && *snr <= 140))
      return usageError(Code::OptionValue, "--min-snr {0}: decibels between 0 and 140 are wanted",
                        *snr);
    goal.minSnr = *snr;
  }
  if (auto folder = arguments.value(calibrateOption))
    goal.calibration = *folder;
  if (auto folder = arguments.value(inputs))
    goal.inputs = *folder;
  goal.gptq |= arguments.has(gptqOption);
  return Error::success();
}

Error checkGoal(CompressionGoal &goal, llvm::ArrayRef<compress::Rule> rules,
                const GoalNames &names) {
  if (goal.inputs.empty())
    goal.inputs = goal.calibration;
  if (goal.chooses() && goal.calibration.empty())
    goal.calibration = goal.inputs;
  if (goal.gptq && goal.calibration.empty())
    return usageError(Code::OptionMissing,
                      "{0} needs inputs that the model is given, a folder of them: {1}", names.gptq,
                      names.calibrate);
  const char *chooser = goal.minSnr ? names.minSnr : names.sizeBudget;
  if (goal.chooses() && goal.inputs.empty())
    return usageError(Code::OptionMissing,
                      "{0} needs inputs that the functions are run on, a folder of them: {1}",
                      chooser, names.inputs);
  for (const compress::Rule &rule : rules)
    if (goal.chooses() && rule.pattern.empty())
      return usageError(Code::OptionValue,
                        "{0} {1} is a scheme for every weight, and {2} chooses one for each; "
                        "PATTERN=SCHEME makes an exception",
                        names.compress, rule.scheme.str(), chooser);
  if (rules.empty() && !goal.chooses() && !goal.inputs.empty())
    return usageError(Code::OptionConflict,
                      "{0} is of compression, and nothing is compressed: {1} says by what, or {2} "
                      "or {3} choose it",
                      goal.calibration.empty() ? names.inputs : names.calibrate, names.compress,
                      names.sizeBudget, names.minSnr);
  return Error::success();
}

Error readCompileGoal(const Arguments &arguments, const Option &minSnr, const Option &inputs,
                      bool isAuto, llvm::ArrayRef<compress::Rule> rules, bool requiresCoverage,
                      CompressionGoal &goal) {
  if (Error error = readGoal(arguments, isAuto ? nullptr : &minSnr, inputs, goal))
    return error;
  bool compresses = !rules.empty() || goal.chooses() || !goal.calibration.empty();
  if (requiresCoverage && rules.empty() && !goal.chooses())
    return usageError(Code::OptionConflict,
                      "--require-coverage is of --compress, which is not given");
  if (isAuto && !compresses) {
    goal.inputs.clear(); // they are the precision's
    return Error::success();
  }
  if (!isAuto && !compresses && arguments.has(inputs))
    return usageError(Code::OptionConflict, "--inputs is for --precision auto and for --compress");
  if (goal.minSnr && goal.inputs.empty() && goal.calibration.empty())
    return usageError(Code::OptionMissing,
                      "--min-snr is of --precision auto; without that it chooses how weights are "
                      "compressed, and needs inputs that the functions are run on: --inputs "
                      "FOLDER");
  return checkGoal(goal, rules, kGoalOptions);
}

} // namespace plait::driver
