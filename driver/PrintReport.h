// What `plait compile` and `plait add` say at the end.
#pragma once

#include "driver/Compiler.h"

namespace llvm {
class raw_ostream;
}

namespace plait::driver {

/// A few lines: the package, its functions, what was kept in fp32 and compressed.
void printReport(const CompileOptions &options, const CompileReport &report, double seconds,
                 llvm::raw_ostream &out);

} // namespace plait::driver
