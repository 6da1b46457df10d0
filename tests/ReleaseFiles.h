// The files of tests/driver/releases: models that one release of PyTorch saved, and what they
// compute (write_release.py says how they are laid out).
#pragma once

#include "frontend/archive/RecordBytes.h"

#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Path.h"
#include "llvm/Support/raw_ostream.h"

namespace plait {

/// Unpacks one into a folder and gives its index.json.
inline Expected<std::string> unpackRelease(const std::string &path, const std::string &folder) {
  auto file = MappedFile::open(path);
  if (!file)
    return file.takeError();
  auto directory = ZipDirectory::read(llvm::toStringRef((*file)->bytes()));
  if (!directory)
    return directory.takeError();
  std::string index;
  RecordReader reader(*file);
  for (const ZipRecord &record : directory->records()) {
    auto bytes = reader.readChecked(reader.whole(), record);
    if (!bytes)
      return bytes.takeError();
    if (record.name == "index.json")
      index = llvm::toStringRef(bytes->bytes).str();
    std::string target = folder + "/" + record.name.str();
    llvm::sys::fs::create_directories(llvm::sys::path::parent_path(target));
    std::error_code ec;
    llvm::raw_fd_ostream(target, ec) << llvm::toStringRef(bytes->bytes);
    if (ec)
      return makeError(Code::Internal, "{0}: {1}", target, ec.message());
  }
  return index;
}

} // namespace plait
