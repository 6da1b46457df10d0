// Building a directory beside its target and exchanging the two.
#include "support/AtomicOutput.h"
#include "support/Flush.h"
#include "support/Folders.h"
#include "support/Unfinished.h"
#include "llvm/ADT/SmallString.h"
#include "llvm/ADT/Twine.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Path.h"
#include <cerrno>
#include <cstdio>
#include <fcntl.h>
#include <unistd.h>
#if defined(__linux__)
#include <sys/syscall.h>
#endif

namespace fs = llvm::sys::fs;
namespace path = llvm::sys::path;

namespace plait {

namespace {

/// Exchanges two existing paths in one step; function_not_supported where system or file system
/// cannot.
std::error_code exchangePaths(const std::string &a, const std::string &b) {
#if defined(__linux__) && defined(SYS_renameat2)
  constexpr unsigned renameExchange = 1u << 1;
  if (::syscall(SYS_renameat2, AT_FDCWD, a.c_str(), AT_FDCWD, b.c_str(), renameExchange) == 0)
    return {};
#elif defined(__APPLE__)
  if (::renamex_np(a.c_str(), b.c_str(), RENAME_SWAP) == 0)
    return {};
#else
  errno = ENOSYS;
#endif
  if (errno == EINVAL || errno == ENOTSUP || errno == ENOSYS)
    return std::make_error_code(std::errc::function_not_supported);
  return lastError();
}

void discard(const std::string &directory) {
  fs::remove_directories(directory, /*IgnoreErrors=*/true);
  Unfinished::end(directory, [] { return std::error_code(); });
}

Error flushTree(const std::string &root) {
  std::error_code ec;
  for (fs::recursive_directory_iterator it(root, ec, false), end; it != end && !ec;
       it.increment(ec)) {
    if (fs::is_symlink_file(it->path()))
      continue; // It is an entry of its folder alone.
    if (std::error_code failure = flushPath(it->path()))
      return makeError(Code::FileUnwritable, "cannot flush '{0}': {1}", it->path(),
                       failure.message());
  }
  if (!ec)
    ec = flushPath(root);
  if (ec)
    return makeError(Code::FileUnwritable, "cannot flush '{0}': {1}", root, ec.message());
  return Error::success();
}

} // namespace

Expected<AtomicDirectory> AtomicDirectory::create(llvm::StringRef target) {
  llvm::SmallString<256> destination(target);
  while (destination.size() > 1 && path::is_separator(destination.back()))
    destination.pop_back();
  if (std::error_code ec = fs::make_absolute(destination))
    return makeError(Code::FileUnwritable, "cannot write '{0}': {1}", target, ec.message());
  if (fs::exists(destination)) {
    llvm::SmallString<256> real;
    if (std::error_code ec = fs::real_path(destination, real))
      return makeError(Code::FileUnwritable, "cannot write '{0}': {1}", target, ec.message());
    destination = real;
  }
  llvm::StringRef name = path::filename(destination);
  if (name.empty() || name == "." || name == ".." || path::is_separator(name[0]))
    return makeError(Code::FileUnwritable, "cannot write '{0}': it does not name a new directory",
                     target);

  llvm::StringRef parent = path::parent_path(destination);
  if (!fs::is_directory(parent))
    return makeError(Code::FileUnwritable,
                     "cannot write '{0}': there is no folder '{1}'; create it first", target,
                     parent);

  collectAbandoned(parent);
  llvm::ErrorOr<Temporary> made = Temporary::create(destination, makeFolder);
  if (!made)
    return makeError(Code::FileUnwritable,
                     "cannot write '{0}': creating a folder in '{1}' failed: {2}", target, parent,
                     made.getError().message());
  return AtomicDirectory(std::move(*made), destination.str().str());
}

AtomicDirectory::AtomicDirectory(AtomicDirectory &&other) noexcept
    : temporary(std::exchange(other.temporary, {})), lock(std::move(other.lock)),
      destination(std::move(other.destination)) {}

AtomicDirectory::~AtomicDirectory() {
  if (!temporary.empty())
    discard(temporary);
}

Error AtomicDirectory::commit(bool flush) {
  assert(!temporary.empty() && "committed twice");
  if (flush)
    if (Error error = flushTree(temporary))
      return error;

  auto fail = [&](std::error_code ec) {
    return makeError(Code::FileUnwritable, "cannot put the result in place at '{0}': {1}",
                     destination, ec.message());
  };
  auto move = [](const std::string &from, const std::string &to) {
    return ::rename(from.c_str(), to.c_str()) == 0 ? std::error_code() : lastError();
  };
  // The old content of the target goes to `former`, which is unfinished until it is removed.
  std::string former;
  std::error_code ec;
  if (!fs::exists(destination)) {
    ec = Unfinished::end(temporary, [&] { return move(temporary, destination); });
  } else if (ec = Unfinished::begin(temporary,
                                    [&] { return exchangePaths(temporary, destination); });
             !ec) {
    former = temporary;
  } else if (ec == std::errc::function_not_supported) {
    // One step for signals at least: between the two renames there is nothing at the target.
    former = asidePath(destination);
    ec = Unfinished::begin(former, [&] {
      if (std::error_code failure = move(destination, former))
        return failure;
      std::error_code failure = move(temporary, destination);
      if (failure)
        move(former, destination);
      return failure;
    });
    if (!ec)
      Unfinished::end(temporary, [] { return std::error_code(); });
  }
  if (ec)
    return fail(ec);
  temporary.clear();
  // The former one goes once the new one's name is safe on the disk.
  if (flush)
    ec = flushPath(path::parent_path(destination).str());
  if (!former.empty())
    discard(former);
  return ec ? fail(ec) : Error::success();
}

} // namespace plait
