// `--precision auto` and `--keep-fp32`: which operations to-half leaves in fp32.
#pragma once

#include "driver/Compiler.h"
#include "mil/OperationPattern.h"

#include "llvm/ADT/DenseSet.h"

namespace plait::driver {

/// Decides before to-half runs. It must outlive the run of the pipeline.
class MixedPrecision {
public:
  static Expected<std::unique_ptr<MixedPrecision>> create(const CompileOptions &options,
                                                          CompileObserver &observer);

  /// Sets Options::keepFloat32 of `context`, after having searched where that is asked for.
  Error decide(const mil::Program &program, passes::PassContext &context);
  /// Once to-half has run: fails where a pattern matched nothing in any function.
  Error checkPatterns() const;
  /// Of a search.
  std::optional<PrecisionReport> takeReport() { return std::move(report_); }

private:
  MixedPrecision(const CompileOptions &options, CompileObserver &observer)
      : options_(options), observer_(observer) {}

  bool isKept(const mil::Op &op);
  Error search(const mil::Program &program, const passes::PassContext &context);

  const CompileOptions &options_;
  CompileObserver &observer_;
  std::vector<mil::OperationPattern> patterns_;
  std::vector<bool> matched_; ///< patterns that found something
  llvm::DenseSet<const mil::Op *> chosen_;
  std::optional<PrecisionReport> report_;
};

} // namespace plait::driver
