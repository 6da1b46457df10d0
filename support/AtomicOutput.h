// A folder that appears at its target complete or not at all. It is filled beside the target under
// a temporary name and then takes the target's place in one step. If the target exists, the two are
// exchanged and the old one is removed. After a failure the temporary folder is gone and the target
// is as it was. What a killed process left is removed by the next one that writes to the target.
#pragma once

#include "support/Temporary.h"

namespace plait {

class AtomicDirectory {
public:
  /// Creates an empty temporary directory beside `target` (a symbolic link is followed, trailing
  /// slashes are ignored). The parent of `target` must exist; `target` may.
  static Expected<AtomicDirectory> create(llvm::StringRef target);

  AtomicDirectory(AtomicDirectory &&other) noexcept;
  AtomicDirectory &operator=(AtomicDirectory &&) = delete;
  /// Removes the temporary directory unless commit() succeeded.
  ~AtomicDirectory();

  /// Where to write until commit().
  llvm::StringRef path() const { return temporary; }
  /// The target, absolute.
  llvm::StringRef target() const { return destination; }

  /// Puts the directory in its target's place. With `flush`, contents reach the disk first, so that
  /// not even a power failure leaves a torn target; it costs the time of the disk.
  Error commit(bool flush);
  /// Whether it is at the target; so it may be where the last flush failed.
  bool isInPlace() const { return temporary.empty(); }

private:
  AtomicDirectory(Temporary made, std::string destination)
      : temporary(std::move(made.path)), lock(std::move(made.lock)),
        destination(std::move(destination)) {}

  std::string temporary;
  /// Of the temporary folder, and so of the one at the target, until this object is gone.
  FileLock lock;
  std::string destination;
};

} // namespace plait
