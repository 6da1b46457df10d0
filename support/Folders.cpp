// mkdir, and the walk that copies.
#include "support/Folders.h"

#include "support/MappedFile.h"
#include "support/OutputFile.h"

#include "llvm/ADT/SmallString.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Path.h"
#include <algorithm>
#include <filesystem>

namespace fs = llvm::sys::fs;
namespace path = llvm::sys::path;

namespace plait {

std::error_code makeFolder(llvm::StringRef folder) {
  return fs::create_directory(folder, /*IgnoreExisting=*/false, fs::perms::all_all);
}

std::error_code makeFolders(llvm::StringRef folder) {
  return fs::create_directories(folder, /*IgnoreExisting=*/true, fs::perms::all_all);
}

Error makeFoldersInside(llvm::StringRef root, llvm::StringRef folders) {
  llvm::SmallString<256> folder(root);
  for (auto part = path::begin(folders), end = path::end(folders); part != end; ++part) {
    path::append(folder, *part);
    std::error_code ec = makeFolder(folder);
    fs::file_status status;
    if (ec == std::errc::file_exists)
      ec = fs::status(folder, status, /*follow=*/false);
    if (ec)
      return makeError(Code::FileUnwritable, "cannot make the folder '{0}': {1}", folder,
                       ec.message());
    if (status.type() != fs::file_type::directory_file &&
        status.type() != fs::file_type::status_error)
      return makeError(Code::OutputInTheWay, "'{0}' is a link or a file, where a folder is wanted",
                       folder);
  }
  return Error::success();
}

static Error copyFile(const std::string &from, const std::string &to) {
  auto source = MappedFile::open(from);
  if (!source)
    return source.takeError();
  Expected<OutputFile> target = OutputFile::create(to);
  if (!target)
    return target.takeError();
  constexpr size_t piece = 1 << 20;
  llvm::ArrayRef<uint8_t> bytes = (*source)->bytes();
  for (size_t begin = 0; begin < bytes.size(); begin += piece) {
    llvm::ArrayRef<uint8_t> part = bytes.slice(begin, std::min(piece, bytes.size() - begin));
    if (Error error = target->writeAt(begin, part))
      return error;
    (*source)->release(part);
  }
  return target->close();
}

Error copyTree(const std::string &from, const std::string &to) {
  fs::file_status source, target;
  if (std::error_code ec = fs::status(from, source, /*follow=*/false))
    return makeError(Code::FileUnreadable, "cannot read '{0}': {1}", from, ec.message());
  bool isThere = !fs::status(to, target, /*follow=*/false);
  bool isFolder = source.type() == fs::file_type::directory_file;
  if (isThere && !(isFolder && target.type() == fs::file_type::directory_file))
    return Error::success();
  if (source.type() == fs::file_type::regular_file)
    return copyFile(from, to);
  std::error_code ec;
  if (source.type() == fs::file_type::symlink_file) {
    std::filesystem::copy_symlink(from, to, ec);
  } else if (!isFolder) {
    return makeError(Code::PackageLink,
                     "'{0}' is neither a file, a folder nor a link; take it away", from);
  } else {
    if (!isThere)
      ec = makeFolder(to);
    for (fs::directory_iterator it(from, ec, /*follow_symlinks=*/false), end; it != end && !ec;
         it.increment(ec))
      if (Error error = copyTree(it->path(), to + "/" + path::filename(it->path()).str()))
        return error;
  }
  if (ec)
    return makeError(Code::FileUnwritable, "cannot copy '{0}': {1}", from, ec.message());
  return Error::success();
}

} // namespace plait
