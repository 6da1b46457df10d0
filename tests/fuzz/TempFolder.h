// A folder of one process for the files that a harness makes of its input, removed at the end.
#pragma once

#include "tests/fuzz/Harness.h"

#include "llvm/ADT/SmallString.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/raw_ostream.h"

namespace plait::fuzz {

class TempFolder {
public:
  TempFolder() {
    require(!llvm::sys::fs::createUniqueDirectory("plait-fuzz", path_), "no folder for files");
  }
  ~TempFolder() { llvm::sys::fs::remove_directories(path_); }

  std::string at(const llvm::Twine &name) const { return (path_ + "/" + name).str(); }

  /// Writes a file anew. Not in place: a mapping of the file of an earlier input keeps its bytes.
  void write(const llvm::Twine &name, llvm::ArrayRef<uint8_t> bytes) const {
    llvm::sys::fs::remove(at(name));
    std::error_code ec;
    llvm::raw_fd_ostream out(at(name), ec);
    require(!ec, "a file cannot be written");
    out.write(reinterpret_cast<const char *>(bytes.data()), bytes.size());
  }

private:
  llvm::SmallString<128> path_;
};

} // namespace plait::fuzz
