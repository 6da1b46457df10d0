// The backend's editing, the side file of adapters, and writing the package anew.
#include "driver/Remove.h"

#include "backend/DebugInfo.h"
#include "backend/PackageEdit.h"
#include "backend/PackageReader.h"
#include "driver/AdapterMap.h"
#include "driver/LibTorch.h"
#include "support/FolderLock.h"

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
  write.isLocked = true;
  return writePackage(**program, options.package, write);
}

Error remove(const RemoveOptions &options) {
  EditOptions edit;
  edit.defaultFunction = options.defaultFunction;
  auto map = adapterMapOf(options.package);
  if (!map)
    return map.takeError();
  if (!options.functions.empty() || !options.defaultFunction.empty())
    if (Error error = removeFunctions(options.package, options.functions, edit))
      return error;
  size_t inMap = map->functions.size();
  for (const std::string &name : options.functions)
    map->functions.erase(name);
  if (map->functions.size() != inMap)
    if (Error error = writeAdapterMap(*map, options.package, options.warn))
      return error;
  return options.compact ? compact(options) : Error::success();
}

} // namespace plait::driver
