// Building a directory beside its target and exchanging the two.
#include "support/AtomicOutput.h"
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

std::error_code lastError() { return {errno, std::generic_category()}; }

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

std::string uniqueBeside(llvm::StringRef target) {
  llvm::SmallString<256> model(path::parent_path(target)), result;
  path::append(model, "." + path::filename(target) + ".%%%%%%%%");
  fs::createUniquePath(model, result, /*MakeAbsolute=*/false);
  return result.str().str();
}

std::error_code flushPath(const std::string &name) {
  int descriptor = ::open(name.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0)
    return lastError();
  std::error_code result;
  // Some file systems cannot flush a directory and say EINVAL; nothing is lost then.
  if (::fsync(descriptor) != 0 && errno != EINVAL)
    result = lastError();
  ::close(descriptor);
  return result;
}

Error flushTree(const std::string &root) {
  std::error_code ec;
  for (fs::recursive_directory_iterator it(root, ec, false), end; it != end && !ec;
       it.increment(ec))
    if (std::error_code failure = flushPath(it->path()))
      return makeError("cannot flush '{0}': {1}", it->path(), failure.message());
  if (!ec)
    ec = flushPath(root);
  if (ec)
    return makeError("cannot flush '{0}': {1}", root, ec.message());
  return Error::success();
}

} // namespace

Expected<AtomicDirectory> AtomicDirectory::create(llvm::StringRef target) {
  llvm::SmallString<256> destination(target);
  while (destination.size() > 1 && path::is_separator(destination.back()))
    destination.pop_back();
  if (std::error_code ec = fs::make_absolute(destination))
    return makeError("cannot write '{0}': {1}", target, ec.message());
  if (fs::exists(destination)) {
    llvm::SmallString<256> real;
    if (std::error_code ec = fs::real_path(destination, real))
      return makeError("cannot write '{0}': {1}", target, ec.message());
    destination = real;
  }
  llvm::StringRef name = path::filename(destination);
  if (name.empty() || name == "." || name == ".." || path::is_separator(name[0]))
    return makeError("cannot write '{0}': it does not name a new directory", target);

  llvm::StringRef parent = path::parent_path(destination);
  if (!fs::is_directory(parent))
    return makeError("cannot write '{0}': there is no folder '{1}'; create it first", target,
                     parent);

  // A few tries: another process may take the same name between the choice and the creation.
  for (int attempt = 0;; ++attempt) {
    std::string temporary = uniqueBeside(destination);
    std::error_code ec =
        fs::create_directory(temporary, /*IgnoreExisting=*/false, fs::perms::all_all);
    if (!ec)
      return AtomicDirectory(std::move(temporary), destination.str().str());
    if (ec != std::errc::file_exists || attempt == 16)
      return makeError("cannot write '{0}': creating a folder in '{1}' failed: {2}", target, parent,
                       ec.message());
  }
}

AtomicDirectory::AtomicDirectory(AtomicDirectory &&other) noexcept
    : temporary(std::exchange(other.temporary, {})), destination(std::move(other.destination)) {}

AtomicDirectory::~AtomicDirectory() {
  if (!temporary.empty())
    fs::remove_directories(temporary, /*IgnoreErrors=*/true);
}

Error AtomicDirectory::commit(bool flush) {
  assert(!temporary.empty() && "committed twice");
  if (flush)
    if (Error error = flushTree(temporary))
      return error;

  auto fail = [&](std::error_code ec) {
    return makeError("cannot put the result in place at '{0}': {1}", destination, ec.message());
  };
  if (!fs::exists(destination)) {
    if (::rename(temporary.c_str(), destination.c_str()) != 0)
      return fail(lastError());
    temporary.clear();
  } else if (std::error_code ec = exchangePaths(temporary, destination); !ec) {
    fs::remove_directories(std::exchange(temporary, {}), /*IgnoreErrors=*/true);
  } else if (ec == std::errc::function_not_supported) {
    std::string aside = uniqueBeside(destination);
    if (::rename(destination.c_str(), aside.c_str()) != 0)
      return fail(lastError());
    if (::rename(temporary.c_str(), destination.c_str()) != 0) {
      ec = lastError();
      ::rename(aside.c_str(), destination.c_str());
      return fail(ec);
    }
    temporary.clear();
    fs::remove_directories(aside, /*IgnoreErrors=*/true);
  } else {
    return fail(ec);
  }
  if (flush)
    if (std::error_code ec = flushPath(path::parent_path(destination).str()))
      return fail(ec);
  return Error::success();
}

} // namespace plait
