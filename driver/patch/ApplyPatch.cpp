// Making the result beside its target, file by file, and exchanging the two.
#include "backend/Manifest.h"
#include "driver/AdapterMap.h"
#include "driver/patch/Patch.h"
#include "driver/patch/PatchFile.h"
#include "support/AtomicOutput.h"
#include "support/FileStream.h"
#include "support/FolderLock.h"
#include "support/Folders.h"
#include "support/MappedFile.h"
#include "support/NewFile.h"

#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Path.h"

namespace fs = llvm::sys::fs;

namespace plait::driver {

namespace {

/// A side file lists names and shapes.
constexpr uint64_t maxSideFileBytes = 64 << 20;

/// Whether files have the contents that are wanted, where they are the same by path and size.
Expected<bool> areEqual(llvm::StringRef folder, llvm::ArrayRef<PackageFile> wanted,
                        unsigned threads) {
  for (const PackageFile &file : wanted) {
    if (!file.hasContents())
      continue;
    auto mapped = MappedFile::open(placeOf(file, folder));
    if (!mapped)
      return mapped.takeError();
    if (digestOf((*mapped)->bytes(), threads) != file.digest)
      return false;
  }
  return true;
}

class PatchedPackage {
public:
  PatchedPackage(PatchReader patch, std::string base, unsigned threads)
      : patch_(std::move(patch)), base_(std::move(base)), threads_(threads) {}

  /// Whether the package is the result already; an error where it is not the base either.
  Expected<bool> compareBase();
  /// Writes the result to `output`, which is empty.
  Error write(const AtomicDirectory &output, PatchReport &report);
  /// The same of the side file of `target`, without putting it in place.
  Error prepareSideFile(llvm::StringRef target);
  Error finishSideFile();

private:
  Error wrongBase(llvm::StringRef why) const {
    return makeError(Code::PatchMisfit, "'{0}' is not the package that the patch is for: {1}",
                     base_, why);
  }
  Error makeFile(const PackageFile &file, llvm::raw_ostream &out, PatchReport &report);
  /// Errors where the bytes that were made of `file` are not those that it has.
  Error checkMade(const PackageFile &file, llvm::ArrayRef<uint8_t> bytes) const;

  PatchReader patch_;
  std::string base_;
  unsigned threads_;
  std::vector<std::shared_ptr<const MappedFile>> contents_; ///< of the base
  std::string sideText_; ///< of the side file, where the result has one
  bool removesSide_ = false;
  std::string sidePath_;
  std::optional<NewFile> side_;
};

Expected<bool> PatchedPackage::compareBase() {
  auto files = listPackage(base_);
  if (!files)
    return files.takeError();
  if (differenceOf(*files, patch_.result()).empty()) {
    auto isResult = areEqual(base_, patch_.result(), threads_);
    if (!isResult || *isResult)
      return isResult;
  }
  std::string difference = differenceOf(*files, patch_.base());
  if (!difference.empty())
    return wrongBase(difference);
  for (const PackageFile &file : patch_.base()) {
    auto &contents = contents_.emplace_back();
    if (!file.hasContents())
      continue;
    auto mapped = MappedFile::open(placeOf(file, base_));
    if (!mapped)
      return mapped.takeError();
    contents = std::move(*mapped);
    if (contents->bytes().size() != file.bytes) // it grew since it was listed
      return wrongBase(nameOf(file) + " has another size");
    if (digestOf(contents->bytes(), threads_) != file.digest)
      return wrongBase(nameOf(file) + " has other contents");
  }
  return false;
}

Error PatchedPackage::checkMade(const PackageFile &file, llvm::ArrayRef<uint8_t> bytes) const {
  if (digestOf(bytes, threads_) == file.digest)
    return Error::success();
  return makeError(Code::PatchDamaged,
                   "the patch is damaged: what it makes of {0} is not what it says", nameOf(file));
}

Error PatchedPackage::makeFile(const PackageFile &file, llvm::raw_ostream &out,
                               PatchReport &report) {
  constexpr uint64_t piece = 1 << 20;
  return patch_.readRecipe(file, [&](const PatchStep &step) -> Error {
    if (!step.copied) {
      out << llvm::toStringRef(step.bytes);
      return Error::success();
    }
    report.copiedBytes += step.size;
    const MappedFile &from = *contents_[step.file];
    for (uint64_t at = 0; at < step.size; at += piece) {
      auto bytes =
          from.bytes().slice(size_t(step.place + at), size_t(std::min(piece, step.size - at)));
      out << llvm::toStringRef(bytes);
      from.release(bytes);
    }
    return Error::success();
  });
}

Error PatchedPackage::write(const AtomicDirectory &output, PatchReport &report) {
  FileSystem &files = FileSystem::system();
  for (const PackageFile &file : patch_.result())
    report.resultBytes += file.bytes;
  auto space = fs::disk_space(llvm::sys::path::parent_path(output.target()));
  if (space && report.resultBytes > space->available)
    return makeError(Code::FileUnwritable,
                     "the patched package has {0} bytes, and the disk of '{1}' has room for {2}",
                     report.resultBytes, output.target(), space->available);
  for (const PackageFile &file : patch_.result()) {
    llvm::StringRef folder = llvm::sys::path::parent_path(file.path);
    if (file.kind == PackageFile::Kind::EmptyFolder)
      folder = file.path;
    if (Error error = makeFoldersInside(output.path(), folder))
      return error;
    if (!file.hasContents())
      continue;
    if (file.kind == PackageFile::Kind::SideFile) {
      if (file.bytes > maxSideFileBytes)
        return makeError(Code::PatchDamaged, "the patch is damaged: no side file has {0} bytes",
                         file.bytes);
      llvm::raw_string_ostream out(sideText_);
      if (Error error = makeFile(file, out, report))
        return error;
      if (Error error = checkMade(file, llvm::arrayRefFromStringRef(sideText_)))
        return error;
      continue;
    }
    std::string place = (output.path() + "/" + file.path).str();
    auto made = files.create(place);
    if (!made)
      return made.takeError();
    FileStream out(**made);
    out.SetBufferSize(1 << 16);
    if (Error error = makeFile(file, out, report))
      return error;
    if (Error error = out.finish())
      return error;
    if (Error error = (*made)->close())
      return error;
    auto written = MappedFile::open(place);
    if (!written)
      return written.takeError();
    if (Error error = checkMade(file, (*written)->bytes()))
      return error;
  }
  return patch_.finish();
}

Error PatchedPackage::prepareSideFile(llvm::StringRef target) {
  sidePath_ = adapterMapPath(target);
  if (patch_.result().empty() || patch_.result().back().kind != PackageFile::Kind::SideFile) {
    // Somebody else's file stays.
    auto former = readAdapterMap(sidePath_);
    removesSide_ = bool(former);
    consumeError(former.takeError());
    return Error::success();
  }
  if (Error error = checkAdapterMap(target))
    return error;
  collectAbandoned(llvm::sys::path::parent_path(sidePath_));
  auto file = NewFile::create(sidePath_);
  if (!file)
    return file.takeError();
  side_.emplace(std::move(*file));
  if (Error error = side_->file().writeAt(0, sideText_))
    return error;
  return side_->file().flush();
}

Error PatchedPackage::finishSideFile() {
  Error error = Error::success();
  if (side_)
    error = side_->commit(/*flush=*/true);
  else if (std::error_code ec = removesSide_ ? fs::remove(sidePath_) : std::error_code())
    error = makeError(Code::FileUnwritable, "cannot remove '{0}': {1}", sidePath_, ec.message());
  if (!error)
    return error;
  return addContext(std::move(error), "the package is in place, but its side file is not");
}

} // namespace

Expected<PatchReport> applyPatch(llvm::StringRef base, llvm::StringRef patchPath,
                                 llvm::StringRef target, unsigned threads) {
  PatchReport report;
  auto file = MappedFile::open(patchPath);
  if (!file)
    return file.takeError();
  report.patchBytes = (*file)->bytes().size();
  auto patch = PatchReader::open((*file)->bytes());
  if (!patch)
    return addContext(patch.takeError(), patchPath);
  if (!isPackage(base)) // says what it is instead
    if (auto model = findRootModel(base); !model)
      return model.takeError();
  llvm::SmallString<256> real;
  if (std::error_code ec = fs::real_path(base, real))
    return makeError(Code::FileUnreadable, "cannot read '{0}': {1}", base, ec.message());
  if (fs::exists(target) && !isPackage(target))
    return makeError(Code::OutputInTheWay,
                     "cannot write '{0}': it exists and is not a package; remove it or choose "
                     "another name",
                     target);
  bool isInPlace = fs::equivalent(base, target);

  // From here to the end nobody else changes what is replaced.
  std::optional<FolderLock> lock;
  if (fs::exists(target)) {
    auto taken = FolderLock::take(target);
    if (!taken)
      return taken.takeError();
    lock.emplace(std::move(*taken));
  }
  collectAbandoned(llvm::sys::path::parent_path(target));
  PatchedPackage package(std::move(*patch), real.str().str(), threads);
  auto isApplied = package.compareBase();
  if (!isApplied)
    return isApplied.takeError();
  report.isApplied = *isApplied;
  if (report.isApplied && isInPlace)
    return report;
  if (report.isApplied)
    return makeError(Code::PatchMisfit, "'{0}' is what the patch makes, already; copy it", base);
  auto output = AtomicDirectory::create(target);
  if (!output)
    return output.takeError();
  if (Error error = package.write(*output, report))
    return addContext(std::move(error), patchPath);
  if (Error error = package.prepareSideFile(output->target()))
    return error;
  if (lock)
    if (Error error = lock->check())
      return error;
  Error error = output->commit(/*flush=*/fs::exists(target));
  if (output->isInPlace())
    error = llvm::joinErrors(std::move(error), package.finishSideFile());
  if (error)
    return error;
  return report;
}

} // namespace plait::driver
