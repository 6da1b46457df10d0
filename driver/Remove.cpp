// The backend's editing, the side file of adapters, and writing the package anew.
#include "driver/Remove.h"

#include "backend/DebugInfo.h"
#include "backend/PackageEdit.h"
#include "backend/PackageReader.h"
#include "driver/LibTorch.h"
#include "driver/SideFile.h"

namespace plait::driver {

static Error compact(const RemoveOptions &options) {
  // What another process adds between reading and writing would be lost.
  auto lock = FolderLock::take(options.package);
  if (!lock)
    return lock.takeError();
  auto program = readPackage(options.package);
  if (!program)
    return program.takeError();
  LazyEvaluator evaluator;
  WriteOptions write;
  write.threads = options.threads;
  write.evaluator = &evaluator;
  write.debugInfo = hasDebugInfo(**program);
  write.keepOtherItems = true;
  write.lock = &*lock;
  return writePackage(**program, options.package, write);
}

Error remove(const RemoveOptions &options) {
  SideFile sideFile(options.package, {}, SideFile::Former::Required, options.functions,
                    options.warn);
  EditOptions edit;
  edit.defaultFunction = options.defaultFunction;
  edit.companion = &sideFile;
  if (!options.functions.empty() || !options.defaultFunction.empty())
    if (Error error = removeFunctions(options.package, options.functions, edit))
      return error;
  return options.compact ? compact(options) : Error::success();
}

} // namespace plait::driver
