// What operations cost, as far as a package says it: arithmetic, bytes moved, and the compute units
// that published rules leave.
#pragma once

#include "mil/IR.h"

#include "llvm/Support/JSON.h"

namespace plait::driver {

/// Why an operation is not on a compute unit, and who says so.
struct UnitRule {
  const char *id;     ///< "fp32"
  const char *text;   ///< what it says, for people
  const char *source; ///< who published it
};

struct OperationCost {
  const mil::Op *op;
  /// Additions, multiplications and other steps on numbers; one multiply-add is two. Nullopt where
  /// a size is not known.
  std::optional<uint64_t> arithmetic;
  /// Read and written, weights as they are stored; nullopt where a size is not known.
  std::optional<uint64_t> bytes;
  /// What keeps it off the Neural Engine, and off the GPU; null where nothing does. The CPU runs
  /// everything.
  const UnitRule *offEngine, *offGpu;
};

/// Of the operations of the function, in order: nested blocks included, a loop's body once;
/// constants and what decompresses them belong to those that use them.
std::vector<OperationCost> operationCosts(const mil::Function &function);

/// All rules, for the text that explains them.
llvm::ArrayRef<UnitRule> unitRules();

/// `plait inspect --cost`, of every function of the program.
void printCosts(const mil::Program &program, llvm::raw_ostream &out);
/// The same with --json.
llvm::json::Object costsToJson(const mil::Program &program);

} // namespace plait::driver
