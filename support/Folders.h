// Making and copying folders. What is made may be read by everybody whom the process's umask lets
// read.
#pragma once

#include "support/Error.h"
#include "llvm/ADT/StringRef.h"

namespace plait {

/// An error where something is there already.
std::error_code makeFolder(llvm::StringRef folder);
/// Makes the folders above it too; one that is there is well.
std::error_code makeFolders(llvm::StringRef folder);
/// The same of `folders` below `root`, none of which may be a link: it would lead out of `root`.
Error makeFoldersInside(llvm::StringRef root, llvm::StringRef folders);

/// Copies a file, a link as a link, or a folder with everything in it, to where existing files stay
/// and no link is followed. What is none of these (a pipe, a device) is an error and is not opened.
Error copyTree(const std::string &from, const std::string &to);

} // namespace plait
