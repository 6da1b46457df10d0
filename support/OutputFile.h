// A file that is written at given offsets, from any thread.
#pragma once

#include "support/Error.h"
#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/StringRef.h"
#include <string>

namespace plait {

class OutputFile {
public:
  /// Creates `path`, or empties it where it exists.
  static Expected<OutputFile> create(const llvm::Twine &path);
  /// Opens the existing `path` for writing beside what it holds.
  static Expected<OutputFile> openExisting(const llvm::Twine &path);

  OutputFile(OutputFile &&other) noexcept;
  OutputFile &operator=(OutputFile &&other) noexcept;
  OutputFile(const OutputFile &) = delete;
  ~OutputFile();

  /// Writes all of `bytes` at `offset`; the file grows as needed and gaps read as zeros.
  /// Thread-safe.
  Error writeAt(uint64_t offset, llvm::ArrayRef<uint8_t> bytes) const;
  Error writeAt(uint64_t offset, llvm::StringRef bytes) const {
    return writeAt(offset, llvm::ArrayRef(bytes.bytes_begin(), bytes.size()));
  }
  /// Cuts the file, or extends it by zeros, to `size` bytes.
  Error resize(uint64_t size) const;
  /// Closes and reports what the system kept back until now. The destructor closes without a
  /// report.
  Error close();

  llvm::StringRef path() const { return name; }

private:
  OutputFile(std::string name, int descriptor) : name(std::move(name)), descriptor(descriptor) {}
  Error systemError(const char *what) const;

  std::string name;
  int descriptor = -1;
};

} // namespace plait
