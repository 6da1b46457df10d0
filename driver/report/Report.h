// A package as one page of HTML that needs no network.
#pragma once

#include "support/Error.h"

#include "llvm/Support/JSON.h"

namespace plait::driver {

struct ReportOptions {
  std::string package;
  std::string output;
  std::string verification; ///< the text that `plait verify` printed; "" for none
};

/// Writes the page; what is there is replaced.
Error writeReport(const ReportOptions &options);

/// What the page shows; page/data.js reads it. Operations are lists, and texts are indices into
/// "strings": [kind, name, type, module, source, [parameter, operand, …], [parameter, weight, …],
/// "parameter=literal" lines, arithmetic, bytes (null where sizes are not known), why it is not on
/// the Neural Engine, why not on the GPU]. An operand is the index of an operation of the
/// function, or -1 - i for input i (states follow inputs).
Expected<llvm::json::Value> reportData(const ReportOptions &options);

/// JSON that may stand inside of a script element: it has no '<', and no end of a line that only
/// JavaScript knows.
std::string scriptSafe(llvm::StringRef json);

/// The files of page/, which CMake puts into the program. The last has no name.
struct PageFile {
  const char *name, *text;
};
extern const PageFile pageFiles[];

} // namespace plait::driver
