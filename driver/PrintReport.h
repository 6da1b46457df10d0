// What the commands that write packages say at the end, for people and for programs.
#pragma once

#include "driver/CommandLine.h"
#include "driver/Compiler.h"

namespace llvm {
class raw_ostream;
}

namespace plait::driver {

/// `--dry-run`: everything but writing.
extern const Option dryRunOption;

/// Of compile and add, a few lines: the package, its functions, what was kept in fp32 and
/// compressed.
void printReport(const CompileOptions &options, const CompileReport &report, double seconds,
                 llvm::raw_ostream &out);

/// "p.mlpackage: 1.2 MiB", or what it would be.
void printPackageSize(llvm::StringRef output, uint64_t bytes, bool dryRun, llvm::raw_ostream &out);

/// The same for --json, of every command that writes a package: "output", "written", "seconds",
/// "package_bytes", "weight_file_bytes", "functions" and, where they are, "precision",
/// "compression".
void addTo(llvm::json::Object &reply, llvm::StringRef output, bool dryRun, double seconds,
           const CompileReport &report);

} // namespace plait::driver
