// What `plait merge` does: functions of existing packages, from any tool, become one package.
// Weights are compared by content, so equal ones are stored once.
#pragma once

#include "driver/Compiler.h"

namespace plait::driver {

/// Functions of one package.
struct MergeSource {
  std::string package;
  /// One of its functions; "" takes all under their own names, or, with a new name, the default.
  std::string function{};
  std::string name{}; ///< the new name; "" keeps the function's own
};

struct MergeOptions {
  std::string output; ///< the .mlpackage
  std::vector<MergeSource> sources;
  std::string defaultFunction; ///< "" takes the first
  bool share = true;
  std::optional<double> expectShared{}; ///< as CompileOptions::expectShared
  std::vector<std::string> allow{};     ///< as CompileOptions::allow
  unsigned threads = 0;                 ///< 0: one a processor
  mil::Metadata metadata;
  bool dryRun = false; ///< as CompileOptions::dryRun
  std::function<void(const Warning &)> warn = [](const Warning &) {};
  /// Told how much of the work is done, by several threads; false ends it.
  std::function<bool(double)> proceed = [](double) { return true; };
  /// As CompileObserver::phase().
  std::function<void(llvm::StringRef)> phase = [](llvm::StringRef) {};
};

/// Writes the package, or only says what would be written. On error there is no output: what was at
/// the target is as it was.
Expected<CompileReport> merge(const MergeOptions &options);

} // namespace plait::driver
