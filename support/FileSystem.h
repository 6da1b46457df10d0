// The operations by which files are changed in place, behind an interface, so that a test can stop
// the work at each of them.
#pragma once

#include "support/Error.h"
#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/StringRef.h"
#include <memory>
#include <string>

namespace plait {

/// A file that is written at given offsets, from any thread.
class WritableFile {
public:
  virtual ~WritableFile() = default;

  /// Writes all of `bytes` at `offset`; the file grows as needed and gaps read as zeros.
  /// Thread-safe.
  virtual Error writeAt(uint64_t offset, llvm::ArrayRef<uint8_t> bytes) const = 0;
  Error writeAt(uint64_t offset, llvm::StringRef bytes) const {
    return writeAt(offset, llvm::ArrayRef(bytes.bytes_begin(), bytes.size()));
  }
  /// Cuts the file, or extends it by zeros, to `size` bytes.
  virtual Error resize(uint64_t size) const = 0;
  /// Returns once everything written is safe on the disk.
  virtual Error flush() const = 0;
  /// Closes and reports what the system kept back until now. The destructor closes without a
  /// report.
  virtual Error close() = 0;
  virtual llvm::StringRef path() const = 0;
};

class FileSystem {
public:
  virtual ~FileSystem() = default;

  /// Creates `path`. Anything that is there is an error, a link to nothing too.
  virtual Expected<std::unique_ptr<WritableFile>> create(const std::string &path) = 0;
  /// Opens the existing `path` for writing beside what it holds.
  virtual Expected<std::unique_ptr<WritableFile>> openExisting(const std::string &path) = 0;
  /// Puts `from` in the place of `to`, in one step.
  virtual Error rename(const std::string &from, const std::string &to) = 0;
  virtual Error remove(const std::string &path) = 0;
  /// Makes what was created and renamed in `folder` safe on the disk.
  virtual Error flushFolder(const std::string &folder) = 0;

  /// The system's own.
  static FileSystem &system();
};

} // namespace plait
