// The share of its weights that each function has in common with others, and the bound of
// --expect-shared.
#pragma once

#include "backend/PackageWriter.h"
#include "driver/CommandLine.h"
#include "driver/Compiler.h"

#include "llvm/ADT/MapVector.h"

namespace plait::driver {

/// The bytes of the blobs that a function uses, each blob once.
struct WeightShare {
  uint64_t ownBytes = 0;    ///< of those that no other function of the package uses
  uint64_t sharedBytes = 0; ///< of the others

  uint64_t bytes() const { return ownBytes + sharedBytes; }
  /// 100 where there are no weights: nothing is unshared then.
  double percent() const { return bytes() ? 100 * double(sharedBytes) / double(bytes()) : 100; }
};

/// Of each function that was written and has weights, in the order of the program.
using WeightShares = llvm::MapVector<const mil::Function *, WeightShare>;
WeightShares weightShares(const WriteReport &report);
/// The shares of every function, and everything else that a report has of them.
CompileReport summarise(const mil::Program &program, const WriteReport &written);

/// `--expect-shared 95%`
extern const Option expectSharedOption;
/// "95%" or "95", from 0 to 100; nullopt where it is no such percentage.
std::optional<double> parseShare(llvm::StringRef text);
/// What the option says; nullopt where it is not given.
Expected<std::optional<double>> expectedShare(const Arguments &arguments);
/// Fails where one of the functions (none named: of all) shares less than `percent` of its weights.
Error checkShares(const WriteReport &report, double percent,
                  llvm::ArrayRef<std::string> functions = {});

} // namespace plait::driver
