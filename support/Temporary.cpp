// Random names, and the removal of what nobody holds.
#include "support/Temporary.h"

#include "support/Unfinished.h"

#include "llvm/ADT/SmallString.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Path.h"

#include <sys/stat.h>
#include <unistd.h>

namespace fs = llvm::sys::fs;
namespace path = llvm::sys::path;

namespace plait {

namespace {

constexpr llvm::StringRef working = ".plait", aside = ".aside.plait";
constexpr size_t digits = 8;

std::string besides(llvm::StringRef target, llvm::StringRef ending) {
  llvm::SmallString<256> model(path::parent_path(target)), result;
  path::append(model, "." + path::filename(target) + "." + std::string(digits, '%') + ending);
  fs::createUniquePath(model, result, /*MakeAbsolute=*/false);
  return result.str().str();
}

/// For whose place a file of this name is made, if it is one for a while only.
std::optional<llvm::StringRef> targetOf(llvm::StringRef name, bool &isAside) {
  isAside = name.consume_back(aside);
  if (!name.consume_front(".") || (!isAside && !name.consume_back(working)))
    return std::nullopt;
  auto [target, random] = name.rsplit('.');
  if (target.empty() || random.size() != digits || !llvm::all_of(random, llvm::isHexDigit))
    return std::nullopt;
  return target;
}

void removeIfAbandoned(const std::string &there) {
  llvm::ErrorOr<FileLock> lock = FileLock::open(there, FileLock::Links::Refuse);
  struct stat status;
  if (!lock || ::fstat(lock->descriptor(), &status) != 0 || status.st_uid != ::geteuid())
    return;
  llvm::ErrorOr<FileLock::Result> result = lock->take();
  if (!result || *result != FileLock::Result::Taken)
    return;
  if (S_ISDIR(status.st_mode))
    fs::remove_directories(there, /*IgnoreErrors=*/true);
  else
    fs::remove(there);
}

} // namespace

llvm::ErrorOr<Temporary>
Temporary::create(llvm::StringRef target,
                  llvm::function_ref<std::error_code(const std::string &path)> make) {
  // Another process may have the name already, or take what is made for abandoned before it is
  // locked.
  for (int attempt = 0; attempt < 16; ++attempt) {
    std::string there = besides(target, working);
    std::error_code ec = Unfinished::begin(there, [&] { return make(there); });
    if (ec == std::errc::file_exists)
      continue;
    if (ec)
      return ec;
    llvm::ErrorOr<FileLock> lock = FileLock::open(there, FileLock::Links::Refuse);
    llvm::ErrorOr<FileLock::Result> result =
        lock ? lock->take() : llvm::ErrorOr<FileLock::Result>(lock.getError());
    if (result && *result != FileLock::Result::HeldElsewhere && lock->isAt(there))
      return Temporary{std::move(there), std::move(*lock)};
    if (!result && result.getError() != std::errc::no_such_file_or_directory) {
      fs::remove(there);
      ec = result.getError();
    }
    Unfinished::end(there, [] { return std::error_code(); });
    if (ec)
      return ec;
  }
  return std::make_error_code(std::errc::file_exists);
}

std::string asidePath(llvm::StringRef target) { return besides(target, aside); }

void collectAbandoned(llvm::StringRef folder) {
  std::vector<std::string> found;
  std::error_code ec;
  for (fs::directory_iterator it(folder.empty() ? "." : folder, ec, /*follow_symlinks=*/false), end;
       it != end && !ec; it.increment(ec)) {
    bool isAside = false;
    llvm::SmallString<256> target(folder);
    if (auto name = targetOf(path::filename(it->path()), isAside)) {
      path::append(target, *name);
      if (!isAside || fs::exists(target))
        found.push_back(it->path());
    }
  }
  for (const std::string &there : found)
    removeIfAbandoned(there);
}

} // namespace plait
