// Walking a package, and digests by pieces.
#include "driver/patch/PackageFiles.h"

#include "driver/AdapterMap.h"
#include "support/Parallel.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/SmallString.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Path.h"
#include "llvm/Support/SHA256.h"

namespace fs = llvm::sys::fs;
namespace path = llvm::sys::path;

namespace plait::driver {

FileDigest digestOf(llvm::ArrayRef<uint8_t> bytes, unsigned threads) {
  size_t count = (bytes.size() + digestPiece - 1) / digestPiece;
  std::vector<FileDigest> pieces(count);
  llvm::cantFail(parallelFor(threads, count, [&](unsigned, size_t i) {
    size_t begin = i * digestPiece;
    pieces[i] = llvm::SHA256::hash(bytes.slice(begin, std::min(digestPiece, bytes.size() - begin)));
    return Error::success();
  }));
  llvm::SHA256 whole;
  for (const FileDigest &piece : pieces)
    whole.update(llvm::ArrayRef(piece));
  return whole.final();
}

std::string placeOf(const PackageFile &file, llvm::StringRef folder) {
  if (file.kind == PackageFile::Kind::SideFile)
    return adapterMapPath(folder);
  return (folder + "/" + file.path).str();
}

std::string nameOf(const PackageFile &file) {
  return file.kind == PackageFile::Kind::SideFile ? "the side file" : "'" + file.path + "'";
}

Expected<std::vector<PackageFile>> listPackage(llvm::StringRef folder) {
  std::vector<PackageFile> files;
  std::vector<std::string> folders;
  auto fail = [](llvm::StringRef where, std::error_code ec) {
    return makeError(Code::FileUnreadable, "cannot read '{0}': {1}", where, ec.message());
  };
  std::error_code ec;
  for (fs::recursive_directory_iterator it(folder, ec, /*follow_symlinks=*/false), end;
       it != end && !ec; it.increment(ec)) {
    if (path::filename(it->path()) == ".DS_Store")
      continue;
    std::string below = it->path().substr(folder.size() + 1);
    fs::file_status status;
    if (std::error_code failure = fs::status(it->path(), status, /*follow=*/false))
      return fail(it->path(), failure);
    if (status.type() == fs::file_type::directory_file)
      folders.push_back(std::move(below));
    else if (status.type() == fs::file_type::regular_file)
      files.push_back({PackageFile::Kind::File, std::move(below), status.getSize(), {}});
    else
      return makeError(Code::PackageLink,
                       "'{0}' is a link or a device, which a patch cannot hold; put a copy of what "
                       "it leads to in its place",
                       it->path());
  }
  if (ec)
    return fail(folder, ec);
  llvm::sort(files, [](const auto &a, const auto &b) { return a.path < b.path; });
  size_t count = files.size();
  llvm::sort(folders);
  for (auto [i, name] : llvm::enumerate(folders)) {
    std::string inside = name + "/";
    auto first = llvm::lower_bound(
        llvm::ArrayRef(files).take_front(count), inside,
        [](const PackageFile &file, const std::string &begin) { return file.path < begin; });
    bool isEmpty = first == files.data() + count || first->path.rfind(inside, 0) != 0;
    // Of empty folders in one another the innermost says all.
    auto next = std::upper_bound(folders.begin(), folders.end(), inside);
    isEmpty &= next == folders.end() || next->rfind(inside, 0) != 0;
    if (isEmpty)
      files.push_back({PackageFile::Kind::EmptyFolder, name, 0, {}});
  }
  llvm::sort(files, [](const auto &a, const auto &b) { return a.path < b.path; });
  std::string side = adapterMapPath(folder);
  fs::file_status status;
  if (!fs::status(side, status, /*follow=*/false)) {
    if (status.type() != fs::file_type::regular_file)
      return makeError(Code::SideFile, "'{0}', the side file of the package, is no file", side);
    files.push_back({PackageFile::Kind::SideFile, "", status.getSize(), {}});
  }
  return files;
}

std::string differenceOf(llvm::ArrayRef<PackageFile> files, llvm::ArrayRef<PackageFile> wanted) {
  auto find = [](llvm::ArrayRef<PackageFile> in, const PackageFile &file) {
    return llvm::find_if(in, [&](const PackageFile &other) {
      return other.path == file.path && other.kind == file.kind;
    });
  };
  for (const PackageFile &file : wanted) {
    auto there = find(files, file);
    if (there == files.end())
      return fmt::format("it has not {0}", nameOf(file));
    if (there->bytes != file.bytes)
      return fmt::format("{0} has {1} bytes where {2} are wanted", nameOf(file), there->bytes,
                         file.bytes);
  }
  for (const PackageFile &file : files)
    if (find(wanted, file) == wanted.end())
      return fmt::format("it has {0} beside what is wanted", nameOf(file));
  return "";
}

} // namespace plait::driver
