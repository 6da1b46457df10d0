// What `plait compress` does, and --compress of other commands: the weights of a program become
// constexpr_* operations before it is written.
#pragma once

#include "driver/CommandLine.h"
#include "driver/Compiler.h"

#include <set>

namespace plait::driver {

/// `--compress SCHEME`, `--compress PATTERN=SCHEME`, `--require-coverage 95%`
extern const Option compressOption, requireCoverageOption;
/// What the options say.
Error readCompression(const Arguments &arguments, std::vector<compress::Rule> &rules,
                      std::optional<double> &requireCoverage);

struct CompressionRequest {
  llvm::ArrayRef<compress::Rule> rules;
  std::optional<double> requireCoverage;
  unsigned threads;
  mil::Evaluator *evaluator;
  llvm::StringRef output; ///< the package that is to be made
  /// Functions that adapters were applied to just now: weights of theirs that are no parameter of
  /// the model are the adapters'. In packages adapters are found by their use alone.
  std::set<std::string> adapted;
  std::function<bool(double)> proceed = [](double) { return true; };
};

/// Compresses the weights of a program of ios18 or later.
Expected<compress::ProgramResult> compressWeights(mil::Program &program,
                                                  const CompressionRequest &request);

/// One line a weight, aligned.
void printCompression(const compress::ProgramResult &result, llvm::raw_ostream &out);

struct CompressOptions {
  std::string package; ///< of any tool
  std::string output;  ///< may be the same
  std::vector<compress::Rule> rules;
  std::optional<double> requireCoverage{};
  std::vector<std::string> allow{}; ///< as CompileOptions::allow
  unsigned threads = 0;             ///< 0: one a processor
  std::function<void(const Warning &)> warn = [](const Warning &) {};
  std::function<bool(double)> proceed = [](double) { return true; };
  bool dryRun = false; ///< as CompileOptions::dryRun
  /// As CompileObserver::phase().
  std::function<void(llvm::StringRef)> phase = [](llvm::StringRef) {};
};

/// Writes the package anew with compressed weights. On error what was at the target is as it was.
Expected<CompileReport> compressPackage(const CompressOptions &options);

} // namespace plait::driver
