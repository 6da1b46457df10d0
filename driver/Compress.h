// What `plait compress` does, and --compress of other commands: the weights of a program become
// constexpr_* operations before it is written.
#pragma once

#include "backend/PackageWriter.h"
#include "compress/Measured.h"
#include "driver/Compiler.h"

#include <set>

namespace plait::driver {

struct CompressionRequest {
  llvm::ArrayRef<compress::Rule> rules;
  std::optional<double> requireCoverage;
  unsigned threads;
  mil::Evaluator *evaluator;
  llvm::StringRef output; ///< the package that is to be made
  /// Functions that adapters were applied to just now: weights of theirs that are no parameter of
  /// the model are the adapters'. In packages adapters are found by their use alone.
  std::set<std::string> adapted{};
  std::function<bool(double)> proceed = [](double) { return true; };
  CompressionGoal goal{};
  llvm::ArrayRef<compress::StoredForm> stored{}; ///< of the models
  std::function<void(const Warning &)> warn = [](const Warning &) {};
};

/// Compresses the weights of a program of ios18 or later; `outputs` takes what was measured.
Expected<compress::ProgramResult> compressWeights(mil::Program &program,
                                                  const CompressionRequest &request,
                                                  std::vector<FunctionSnr> *outputs = nullptr);

/// Keeps a package that is larger than the budget from taking its place. Asked last.
class BudgetGuard : public Companion {
public:
  /// `written` is read when the package is ready. All are borrowed.
  BudgetGuard(Companion &inner, std::optional<uint64_t> budget, const WriteReport &written)
      : inner_(inner), budget_(budget), written_(written) {}

  Error prepare() override;
  /// Asked by itself in a dry run.
  Error check() const;
  void finish() override { inner_.finish(); }

private:
  Companion &inner_;
  std::optional<uint64_t> budget_;
  const WriteReport &written_;
};

/// One line a weight, aligned, and one a function whose outputs were measured.
void printCompression(const compress::ProgramResult &result, llvm::ArrayRef<FunctionSnr> outputs,
                      llvm::raw_ostream &out);

struct CompressOptions {
  std::string package; ///< of any tool
  std::string output;  ///< may be the same
  std::vector<compress::Rule> rules;
  std::optional<double> requireCoverage{};
  CompressionGoal goal{};
  /// Branches of adapters are merged into their weights before these are compressed; what is
  /// compressed already is decompressed for it.
  bool foldAdapters = false;
  std::vector<std::string> allow{}; ///< as CompileOptions::allow
  unsigned threads = 0;             ///< 0: one a processor
  std::function<void(const Warning &)> warn = [](const Warning &) {};
  std::function<bool(double)> proceed = [](double) { return true; };
  bool dryRun = false; ///< as CompileOptions::dryRun
  /// As CompileObserver::phase().
  std::function<void(llvm::StringRef)> phase = [](llvm::StringRef) {};
};

/// Writes the package anew with compressed weights. On error, and where it is larger than the
/// budget, what was at the target is as it was.
Expected<CompileReport> compressPackage(const CompressOptions &options);

} // namespace plait::driver
