// Names of what exists only while work is under way, beside the file or folder whose place it is to
// take: .NAME.1a2b3c4d.plait for NAME. Nobody can know such a name beforehand, and what is made
// under it is new: nothing that is there already, a link above all, is opened or followed.
//
// What is temporary is locked by its process. A process that is killed leaves it behind, without a
// lock, and the next one that has work in the same folder removes it.
#pragma once

#include "support/FileLock.h"
#include "llvm/ADT/STLFunctionalExtras.h"
#include <string>

namespace plait {

/// The file or folder, and the lock that says that somebody is at work on it.
struct Temporary {
  std::string path;
  FileLock lock;

  /// Chooses a path beside `target` and calls `make` to create there what must not exist yet: with
  /// file_exists it is called again with another one. It is listed as Unfinished from then on.
  static llvm::ErrorOr<Temporary>
  create(llvm::StringRef target, llvm::function_ref<std::error_code(const std::string &path)> make);
};

/// A path like that of a Temporary, for what is moved aside; it is collected only once there is
/// something at `target` again.
std::string asidePath(llvm::StringRef target);

/// Removes what killed processes left in `folder` ("" is the current one). What another one is at
/// work on stays, and so does everything where the file system has no locks that would tell. Before
/// the first of the files that a command writes to a folder.
void collectAbandoned(llvm::StringRef folder);

} // namespace plait
