// Reading patches.
#include "driver/patch/PatchFile.h"
#include "support/Inflate.h"

#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/Endian.h"

namespace plait::driver {

using llvm::ArrayRef;
using llvm::StringRef;

Error PatchReader::damaged(const char *what) const {
  return makeError(Code::PatchDamaged, "the patch is damaged: {0}", what);
}

Expected<uint64_t> PatchReader::readUint(ArrayRef<uint8_t> &from) const {
  uint64_t value = 0;
  for (unsigned shift = 0; shift < 64; shift += 7) {
    if (from.empty())
      return damaged("it ends inside of a number");
    uint8_t byte = from.front();
    from = from.drop_front();
    if (shift == 63 && byte > 1)
      break;
    value |= uint64_t(byte & 0x7F) << shift;
    if (!(byte & 0x80))
      return value;
  }
  return damaged("a number has more than 64 bits");
}

Expected<ArrayRef<uint8_t>> PatchReader::take(ArrayRef<uint8_t> &from, uint64_t count) const {
  if (count > from.size())
    return damaged("it ends before what it says");
  ArrayRef<uint8_t> taken = from.take_front(size_t(count));
  from = from.drop_front(size_t(count));
  return taken;
}

/// Whether a file of that path lies in the package, and not around it.
static bool staysInside(StringRef path) {
  return path.size() <= 1024 && !path.contains('\0') &&
         llvm::none_of(llvm::split(path, '/'),
                       [](StringRef part) { return part.empty() || part == "." || part == ".."; });
}

Expected<PackageFile> PatchReader::readFile() {
  auto kind = take(rest_, 1);
  if (!kind)
    return kind.takeError();
  if ((*kind)[0] > uint8_t(PackageFile::Kind::SideFile))
    return damaged("a file is of a kind that is not known");
  PackageFile file;
  file.kind = PackageFile::Kind((*kind)[0]);
  if (file.kind != PackageFile::Kind::SideFile) {
    auto length = readUint(rest_);
    if (!length)
      return length.takeError();
    auto path = take(rest_, *length);
    if (!path)
      return path.takeError();
    file.path = llvm::toStringRef(*path).str();
    if (!staysInside(file.path))
      return makeError(Code::PatchDamaged,
                       "the patch names '{0}', which is no place inside of a package; it is not "
                       "applied",
                       llvm::StringRef(file.path).take_front(200));
  }
  if (!file.hasContents())
    return file;
  auto bytes = readUint(rest_);
  if (!bytes)
    return bytes.takeError();
  file.bytes = *bytes;
  auto digest = take(rest_, file.digest.size());
  if (!digest)
    return digest.takeError();
  llvm::copy(*digest, file.digest.begin());
  return file;
}

Expected<std::vector<PackageFile>> PatchReader::readFiles() {
  auto count = readUint(rest_);
  if (!count)
    return count.takeError();
  std::vector<PackageFile> files;
  uint64_t total = 0;
  for (uint64_t i = 0; i < *count; ++i) {
    auto file = readFile();
    if (!file)
      return file.takeError();
    // So no path comes twice, and there is one side file.
    if (!files.empty() &&
        (files.back().kind == PackageFile::Kind::SideFile ||
         (file->kind != PackageFile::Kind::SideFile && files.back().path >= file->path)))
      return damaged("files are not in order");
    // Sizes are added up below and by who applies the patch.
    if (file->bytes > (uint64_t(1) << 60) || (total += file->bytes) > (uint64_t(1) << 60))
      return damaged("files are longer than any disk");
    files.push_back(std::move(*file));
  }
  return files;
}

Expected<PatchReader> PatchReader::open(ArrayRef<uint8_t> bytes) {
  if (bytes.size() < patchHeaderBytes ||
      llvm::toStringRef(bytes.take_front(patchMagic.size())) != patchMagic)
    return makeError(Code::PatchDamaged, "this is no patch of packages");
  uint32_t version = llvm::support::endian::read32le(&bytes[patchMagic.size()]);
  if (version != patchVersion)
    return makeError(Code::PatchDamaged,
                     "the patch has version {0} and this program knows {1}; take a newer plait",
                     version, patchVersion);
  uint64_t size = llvm::support::endian::read64le(&bytes[12]);
  if (size != bytes.size())
    return makeError(Code::PatchDamaged,
                     "the patch is incomplete: it has {0} bytes of {1}; fetch it again",
                     bytes.size(), size);
  PatchReader reader(bytes);
  reader.rest_ = bytes.drop_front(patchHeaderBytes);
  for (auto files : {&PatchReader::base_, &PatchReader::result_}) {
    auto read = reader.readFiles();
    if (!read)
      return read.takeError();
    reader.*files = std::move(*read);
  }
  return reader;
}

Error PatchReader::readSteps(ArrayRef<uint8_t> steps, const PackageFile &file, uint64_t &made,
                             llvm::function_ref<Error(const PatchStep &)> step) const {
  while (!steps.empty()) {
    uint8_t kind = steps.front();
    steps = steps.drop_front();
    if (kind > 1)
      return damaged("a step is of a kind that is not known");
    PatchStep read{kind == 0};
    uint64_t numbers[3] = {};
    unsigned count = read.copied ? 3 : 1;
    for (unsigned i = 0; i < count; ++i) {
      auto number = readUint(steps);
      if (!number)
        return number.takeError();
      numbers[i] = *number;
    }
    read.size = numbers[count - 1];
    if (read.size > file.bytes - made)
      return damaged("it makes more of a file than its size");
    if (read.copied) {
      read.file = size_t(numbers[0]);
      read.place = numbers[1];
      if (numbers[0] >= base_.size() || !base_[read.file].hasContents())
        return damaged("it copies from a file that the base does not have");
      uint64_t there = base_[read.file].bytes;
      if (read.place > there || read.size > there - read.place)
        return damaged("it copies from behind the end of a file");
    } else {
      auto bytes = take(steps, read.size);
      if (!bytes)
        return bytes.takeError();
      read.bytes = *bytes;
    }
    // What makes nothing would let a small patch keep a reader busy.
    if (read.size == 0)
      return damaged("a step makes nothing");
    made += read.size;
    if (Error error = step(read))
      return error;
  }
  return Error::success();
}

Error PatchReader::readRecipe(const PackageFile &file,
                              llvm::function_ref<Error(const PatchStep &)> step) {
  for (uint64_t made = 0; made < file.bytes;) {
    auto kind = take(rest_, 1);
    if (!kind)
      return kind.takeError();
    if ((*kind)[0] > 1)
      return damaged("a frame is of a kind that is not known");
    bool isPacked = (*kind)[0] == 1;
    auto raw = readUint(rest_);
    if (!raw)
      return raw.takeError();
    if (*raw == 0 || *raw > maxFrameBytes)
      return damaged("a frame is empty or too long");
    uint64_t stored = *raw;
    if (isPacked) {
      auto packed = readUint(rest_);
      if (!packed)
        return packed.takeError();
      stored = *packed;
    }
    auto bytes = take(rest_, stored);
    if (!bytes)
      return bytes.takeError();
    if (!isPacked) {
      if (Error error = readSteps(*bytes, file, made, step))
        return error;
      continue;
    }
    auto unpacked = inflate(*bytes, size_t(*raw));
    if (!unpacked)
      return addContext(unpacked.takeError(), "the patch is damaged");
    if (Error error = readSteps(*unpacked, file, made, step))
      return error;
  }
  return Error::success();
}

Error PatchReader::finish() const {
  return rest_.empty() ? Error::success() : damaged("something follows its last recipe");
}

} // namespace plait::driver
