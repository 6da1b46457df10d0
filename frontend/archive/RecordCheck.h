// All records of an archive against their CRC-32, for whoever hands the file to LibTorch, which
// does not look at it.
#pragma once

#include "frontend/archive/ZipDirectory.h"
#include "support/MappedFile.h"

namespace plait {

/// The records that lie in the file as they are; compressed ones are checked when they are
/// unpacked. Messages name the file.
Error checkRecords(const std::shared_ptr<const MappedFile> &file, const ZipDirectory &directory);
/// Success for what is no zip archive: whoever loads it says what is wrong.
Error checkRecords(llvm::StringRef path);

} // namespace plait
