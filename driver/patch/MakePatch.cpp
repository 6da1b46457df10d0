// Listing two packages, matching their files, and writing what is new.
#include "backend/Manifest.h"
#include "backend/WeightFile.h"
#include "driver/patch/ContentMatcher.h"
#include "driver/patch/Patch.h"
#include "driver/patch/PatchFile.h"
#include "support/FileStream.h"
#include "support/MappedFile.h"
#include "support/NewFile.h"

#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/Path.h"

namespace plait::driver {

namespace {

struct ListedPackage {
  std::vector<PackageFile> files;
  std::vector<std::shared_ptr<const MappedFile>> contents; ///< null for folders
};

Expected<ListedPackage> openListed(llvm::StringRef folder, unsigned threads) {
  if (!isPackage(folder)) // says what it is instead
    if (auto model = findRootModel(folder); !model)
      return model.takeError();
  llvm::SmallString<256> real;
  if (std::error_code ec = llvm::sys::fs::real_path(folder, real))
    return makeError(Code::FileUnreadable, "cannot read '{0}': {1}", folder, ec.message());
  auto files = listPackage(real);
  if (!files)
    return files.takeError();
  ListedPackage package{std::move(*files), {}};
  for (PackageFile &file : package.files) {
    auto &contents = package.contents.emplace_back();
    if (!file.hasContents())
      continue;
    auto mapped = MappedFile::open(placeOf(file, real));
    if (!mapped)
      return mapped.takeError();
    contents = std::move(*mapped);
    file.bytes = contents->bytes().size();
    file.digest = digestOf(contents->bytes(), threads);
  }
  return package;
}

/// The file of the base that a file of the result is most likely made of: of its path, or else the
/// longest of its name.
std::optional<size_t> counterpartOf(const PackageFile &file, llvm::ArrayRef<PackageFile> base) {
  std::optional<size_t> found;
  llvm::StringRef name = llvm::sys::path::filename(file.path);
  for (auto [i, other] : llvm::enumerate(base)) {
    if (!other.hasContents())
      continue;
    if (other.path == file.path && other.kind == file.kind)
      return i;
    if (llvm::sys::path::filename(other.path) == name &&
        (!found || other.bytes > base[*found].bytes))
      found = i;
  }
  return found;
}

/// Blobs of weight files lie at multiples of 64; elsewhere (protobuf, JSON) anything lies anywhere.
ContentMatcher matcherOf(const PackageFile &file, llvm::ArrayRef<uint8_t> contents) {
  llvm::StringRef name = llvm::sys::path::filename(file.path);
  return name == "weight.bin" ? ContentMatcher(contents, 4 * weightAlignment, weightAlignment)
                              : ContentMatcher(contents, 32, 1);
}

} // namespace

Expected<PatchReport> makePatch(llvm::StringRef basePath, llvm::StringRef resultPath,
                                llvm::StringRef patchPath, unsigned threads) {
  auto base = openListed(basePath, threads);
  if (!base)
    return base.takeError();
  auto result = openListed(resultPath, threads);
  if (!result)
    return result.takeError();

  collectAbandoned(llvm::sys::path::parent_path(patchPath));
  auto fresh = NewFile::create(patchPath);
  if (!fresh)
    return fresh.takeError();
  FileStream out(fresh->file());
  PatchReport report;
  auto write = [&](llvm::ArrayRef<uint8_t> bytes) { out << llvm::toStringRef(bytes); };
  PatchWriter writer(write);
  writer.begin(base->files, result->files);
  for (auto [file, mapped] : llvm::zip(result->files, result->contents)) {
    if (!mapped)
      continue;
    llvm::ArrayRef<uint8_t> bytes = mapped->bytes();
    report.resultBytes += bytes.size();
    if (auto found = counterpartOf(file, base->files)) {
      size_t from = *found;
      ContentMatcher matcher = matcherOf(file, base->contents[from]->bytes());
      matcher.match(bytes, [&](ContentMatcher::Run run) {
        if (!run.copied)
          return writer.data(bytes.slice(run.place, run.bytes));
        report.copiedBytes += run.bytes;
        writer.copy(from, run.place, run.bytes);
      });
    } else {
      writer.data(bytes);
    }
    writer.endFile();
  }
  if (Error error = out.finish())
    return error;
  std::array<uint8_t, 8> size = writer.encodedSize();
  if (Error error = fresh->file().writeAt(PatchWriter::sizePlace, llvm::ArrayRef(size)))
    return error;
  report.patchBytes = writer.size();
  auto check = [&]() -> Error {
    for (const ListedPackage *package : {&*base, &*result})
      for (const auto &mapped : package->contents)
        if (mapped)
          if (Error error = mapped->checkUnchanged())
            return error;
    return Error::success();
  };
  if (Error error = fresh->commit(/*flush=*/false, check))
    return error;
  return report;
}

} // namespace plait::driver
