// LLVM's stream of text into a file that is open.
#pragma once

#include "support/FileSystem.h"
#include "llvm/Support/raw_ostream.h"

namespace plait {

class FileStream : public llvm::raw_ostream {
public:
  explicit FileStream(const WritableFile &file) : file(file) {}
  ~FileStream() override { llvm::consumeError(finish()); }

  /// Writes what is left, and returns the first error of all; nothing was written after it.
  Error finish() {
    flush();
    return std::exchange(error, Error::success());
  }

private:
  void write_impl(const char *text, size_t size) override {
    if (!failed) {
      error = file.writeAt(offset, llvm::StringRef(text, size));
      failed = bool(error);
    }
    offset += size;
  }
  uint64_t current_pos() const override { return offset; }

  const WritableFile &file;
  uint64_t offset = 0;
  Error error = Error::success();
  bool failed = false;
};

} // namespace plait
