// The backend's editing, the side file of adapters, and writing the package anew.
#include "driver/Remove.h"

#include "backend/DebugInfo.h"
#include "backend/Inspect.h"
#include "backend/PackageEdit.h"
#include "backend/PackageReader.h"
#include "driver/LibTorch.h"
#include "driver/SideFile.h"

#include "llvm/ADT/STLExtras.h"

namespace plait::driver {

/// Writes the package anew with what its functions use; returns the bytes of the weight file. In a
/// dry run the functions that would be gone are still there, and are left out.
static Expected<uint64_t> compact(const RemoveOptions &options) {
  // What another process adds between reading and writing would be lost.
  auto lock = FolderLock::take(options.package);
  if (!lock)
    return lock.takeError();
  auto program = readPackage(options.package);
  if (!program)
    return program.takeError();
  if (options.dryRun) {
    for (const std::string &name : options.functions)
      (*program)->eraseFunction((*program)->function(name));
    if (!options.defaultFunction.empty())
      (*program)->defaultFunction = options.defaultFunction;
  }
  LazyEvaluator evaluator;
  WriteOptions write;
  write.threads = options.threads;
  write.evaluator = &evaluator;
  write.debugInfo = hasDebugInfo(**program);
  write.keepOtherItems = true;
  write.lock = &*lock;
  write.dryRun = options.dryRun;
  WriteReport written;
  if (Error error = writePackage(**program, options.package, write, &written))
    return error;
  return written.layout.fileBytes;
}

/// Of the functions that are not in `removed`.
static Expected<RemoveReport> reportOf(const std::string &package,
                                       llvm::ArrayRef<std::string> removed) {
  auto summary = inspectPackage(package);
  if (!summary)
    return summary.takeError();
  RemoveReport report;
  report.fileBytes = summary->fileBytes;
  auto stays = [&](const PackageSummary::Function &function) {
    return !llvm::is_contained(removed, function.name);
  };
  for (const PackageSummary::Function &function : summary->functions)
    if (stays(function))
      report.functions.push_back(function.name);
  for (const PackageSummary::Blob &blob : summary->blobs)
    if (llvm::any_of(blob.functions,
                     [&](unsigned user) { return stays(summary->functions[user]); }))
      report.usedBytes += blob.bytes;
  return report;
}

Expected<RemoveReport> remove(const RemoveOptions &options) {
  SideFile sideFile(options.package, {}, SideFile::Former::Required, options.functions,
                    options.warn);
  EditOptions edit;
  edit.defaultFunction = options.defaultFunction;
  edit.companion = &sideFile;
  edit.dryRun = options.dryRun;
  if (!options.functions.empty() || !options.defaultFunction.empty())
    if (Error error = removeFunctions(options.package, options.functions, edit))
      return error;
  std::optional<uint64_t> compacted;
  if (options.compact) {
    auto bytes = compact(options);
    if (!bytes)
      return bytes.takeError();
    compacted = *bytes;
  }
  auto report =
      reportOf(options.package, options.dryRun ? options.functions : std::vector<std::string>());
  if (report && compacted)
    report->fileBytes = *compacted;
  return report;
}

} // namespace plait::driver
