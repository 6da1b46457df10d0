// How compression is asked for: options of commands, and what else must be said with each of them.
#pragma once

#include "compress/Program.h"
#include "driver/CommandLine.h"
#include "driver/CompressionGoal.h"

namespace plait::driver {

/// `--compress SCHEME`, `--compress PATTERN=SCHEME`, `--require-coverage 95%`
extern const Option compressOption, requireCoverageOption;
/// Of a goal; `--min-snr` and `--inputs` are the commands' own.
extern const Option sizeBudgetOption, calibrateOption, gptqOption;

/// What the options say.
Error readCompression(const Arguments &arguments, std::vector<compress::Rule> &rules,
                      std::optional<double> &requireCoverage);
/// What the options say, in the place of what `goal` says. `minSnr` is null where that option is
/// not of compression.
Error readGoal(const Arguments &arguments, const Option *minSnr, const Option &inputs,
               CompressionGoal &goal);

/// "900MB", "1.5 GiB", "1000000"; nullopt where it is no number of bytes.
std::optional<uint64_t> parseBytes(llvm::StringRef text);

/// What a message calls the parts of a goal.
struct GoalNames {
  const char *compress, *sizeBudget, *minSnr, *inputs, *calibrate, *gptq;
};
inline constexpr GoalNames kGoalOptions{"--compress", "--size-budget", "--min-snr",
                                        "--inputs",   "--calibrate",   "--gptq"};
/// Of recipes and of Python.
inline constexpr GoalNames kGoalKeys{"compress",   "size_budget", "min_snr",
                                     "measure_on", "calibrate",   "gptq"};
/// Of a compile, where both options are also those of `--precision auto` (`isAuto`), and whose goal
/// may be a recipe's.
Error readCompileGoal(const Arguments &arguments, const Option &minSnr, const Option &inputs,
                      bool isAuto, llvm::ArrayRef<compress::Rule> rules, bool requiresCoverage,
                      CompressionGoal &goal);

/// Whether the parts go together, and with the rules. Inputs of one kind are entered for the other
/// where there are none: for measuring always, for calibration where schemes are chosen.
Error checkGoal(CompressionGoal &goal, llvm::ArrayRef<compress::Rule> rules,
                const GoalNames &names);

} // namespace plait::driver
