// A file mapped read-only into memory, shared by everything that holds a slice of it. Weights are
// read through such mappings and never copied. Pages that were streamed out are handed back, so
// that resident memory stays small whatever the size of the file.
#pragma once

#include "support/Error.h"
#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/StringRef.h"
#include "llvm/Support/FileSystem.h"
#include <memory>
#include <string>

namespace plait {

class MappedFile {
public:
  enum class Access {
    ReadOnly,    ///< A write to the mapping is a crash.
    CopyOnWrite, ///< A write goes to a private copy of the page, never to the file; nothing is
                 ///< released.
  };

  /// Maps the whole of `path`. An empty file gives empty bytes. Of a file that shrinks while it is
  /// mapped, what is gone cannot be read: the system sends SIGBUS, and fileAt() tells its handler
  /// which file it was.
  static Expected<std::shared_ptr<const MappedFile>> open(const llvm::Twine &path,
                                                          Access access = Access::ReadOnly);
  /// Maps the file that is open as `descriptor`, which may be closed afterwards.
  static Expected<std::shared_ptr<const MappedFile>> map(int descriptor, const llvm::Twine &path,
                                                         Access access = Access::ReadOnly);
  ~MappedFile();

  llvm::ArrayRef<uint8_t> bytes() const { return {data, size}; }
  llvm::StringRef path() const { return name; }

  /// Equal for two mappings exactly if they are of one file, whatever the paths.
  llvm::sys::fs::UniqueID id() const { return identity; }

  /// Fails where the file was written to since it was mapped, so that what was read of it may be of
  /// two contents. One that was removed, or whose name is another file's by now, is what it was.
  Error checkUnchanged() const;

  /// The path of the file that is mapped at `address`, or null. For handlers of signals.
  static const char *fileAt(const void *address) noexcept;

  /// Whether all of `range` lies in this mapping.
  bool contains(llvm::ArrayRef<uint8_t> range) const {
    return range.data() >= data && range.data() + range.size() <= data + size;
  }

  /// Lets the system drop the pages of `range` and its surroundings from resident memory; a later
  /// access reads them again. Never changes contents. A `range` outside the mapping is ignored.
  void release(llvm::ArrayRef<uint8_t> range) const;

private:
  MappedFile() = default;

  std::string name;
  llvm::sys::fs::UniqueID identity;
  llvm::sys::TimePoint<> written;
  llvm::sys::fs::mapped_file_region region;
  const uint8_t *data = nullptr;
  size_t size = 0;
  bool releasable = true;
  struct Place;
  Place *place = nullptr; ///< what fileAt() knows of it
};

} // namespace plait
