// A file that appears at its target complete or not at all: every file that may take another one's
// place is written so.
#pragma once

#include "support/FileSystem.h"
#include "support/Temporary.h"
#include <optional>
#include <utility>

namespace plait {

class NewFile {
public:
  /// Creates a file beside `target` (Temporary.h).
  /// `target` may be a file, whose place the new one will take, or a link, which it will replace
  /// and not follow; a folder or device is refused.
  static Expected<NewFile> create(llvm::StringRef target, FileSystem &files = FileSystem::system());

  NewFile(NewFile &&other) noexcept
      : target(std::move(other.target)), files(other.files), open(std::move(other.open)),
        temporary(std::exchange(other.temporary, std::nullopt)) {}
  NewFile &operator=(NewFile &&) = delete;
  /// Removes the file unless it is in place.
  ~NewFile();

  /// Where to write until commit().
  WritableFile &file() { return *open; }

  /// Puts the file in its target's place; with `flush`, contents and name reach the disk first. On
  /// failure the target is as it was, but for one of the last flush: isInPlace() then. `check` has
  /// the last word before.
  Error commit(bool flush, llvm::function_ref<Error()> check = nullptr);
  bool isInPlace() const { return !temporary; }

private:
  NewFile(std::string target, FileSystem &files) : target(std::move(target)), files(&files) {}

  std::string target;
  FileSystem *files;
  std::unique_ptr<WritableFile> open;
  std::optional<Temporary> temporary; ///< of what is not in place
};

/// Writes `text` to a NewFile.
Error writeNewFile(llvm::StringRef target, llvm::StringRef text, bool flush,
                   FileSystem &files = FileSystem::system());

} // namespace plait
