// The list of temporary paths, and their removal while other threads may still write.
#include "support/Unfinished.h"
#include "llvm/Support/FileSystem.h"
#include <chrono>
#include <set>
#include <thread>

namespace fs = llvm::sys::fs;

namespace plait {

namespace {

/// Never destroyed: it may be asked for while the process ends.
struct List {
  std::mutex mutex;
  std::set<std::string> paths;

  static List &get() {
    static auto *instance = new List;
    return *instance;
  }
};

void removePath(const std::string &path) {
  // A file that another thread makes meanwhile keeps its folder from being removed; once that is
  // gone none can be made.
  for (int attempt = 0; attempt < 100; ++attempt) {
    if (fs::is_directory(path))
      fs::remove_directories(path, /*IgnoreErrors=*/true);
    else
      fs::remove(path);
    if (!fs::exists(path))
      return;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
}

} // namespace

std::error_code Unfinished::begin(const std::string &path,
                                  llvm::function_ref<std::error_code()> make) {
  List &list = List::get();
  std::lock_guard lock(list.mutex);
  std::error_code ec = make();
  if (!ec)
    list.paths.insert(path);
  return ec;
}

std::error_code Unfinished::end(const std::string &path,
                                llvm::function_ref<std::error_code()> finish) {
  List &list = List::get();
  std::lock_guard lock(list.mutex);
  std::error_code ec = finish();
  if (!ec)
    list.paths.erase(path);
  return ec;
}

std::unique_lock<std::mutex> Unfinished::removeAll() {
  List &list = List::get();
  std::unique_lock lock(list.mutex);
  for (const std::string &path : list.paths)
    removePath(path);
  list.paths.clear();
  return lock;
}

} // namespace plait
