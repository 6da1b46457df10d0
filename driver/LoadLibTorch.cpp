// Loads the part of the `plait` command that works with LibTorch, and LibTorch with it. The shared
// object takes what it uses of the other layers from this program, so that there is one of each.
#include "driver/ResidentHeap.h"
#include "driver/libtorch/Part.h"

#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Path.h"

#include <dlfcn.h>
#include <mutex>

namespace plait::driver {

namespace path = llvm::sys::path;

/// Where this program looks for the shared object.
static std::string placeOfPart() {
  llvm::SmallString<256> place(
      llvm::sys::fs::getMainExecutable("plait", reinterpret_cast<void *>(&placeOfPart)));
  path::remove_filename(place);
  path::append(place, PLAIT_LIBTORCH_PART);
  path::remove_dots(place, /*remove_dot_dot=*/true);
  return place.str().str();
}

static Expected<const LibTorchPart *> load() {
  std::string place = placeOfPart();
  if (!llvm::sys::fs::exists(place))
    return makeError(Code::LibTorchMissing,
                     "'{0}' is missing: the part of plait that works with LibTorch; install plait "
                     "again, as a whole",
                     place);
  reserveResidentHeap();
  // Functions are bound when they are called first: most of LibTorch's never are.
  void *object = ::dlopen(place.c_str(), RTLD_LAZY | RTLD_LOCAL);
  if (!object)
    return makeError(Code::LibTorchMissing,
                     "LibTorch cannot be loaded: {0}\nit was looked for in '{1}', and then where "
                     "the system looks for shared libraries",
                     ::dlerror(), PLAIT_LIBTORCH_FOLDER);
  auto *part = reinterpret_cast<decltype(&plaitLibTorchPart)>(::dlsym(object, "plaitLibTorchPart"));
  if (!part || llvm::StringRef(part()->version) != PLAIT_VERSION)
    return makeError(Code::LibTorchMissing,
                     "'{0}' belongs to another version of plait; install plait again, as a whole",
                     place);
  return part();
}

Expected<const LibTorchPart *> libTorch() {
  static std::mutex mutex;
  static const LibTorchPart *part = nullptr;
  std::lock_guard lock(mutex);
  if (!part) {
    auto loaded = load();
    if (!loaded)
      return loaded.takeError();
    part = *loaded;
  }
  return part;
}

} // namespace plait::driver
