// A file that takes everything and keeps nothing: what is written to it can be measured.
#pragma once

#include "support/FileSystem.h"

namespace plait {

class DiscardedFile : public WritableFile {
public:
  using WritableFile::writeAt;
  Error writeAt(uint64_t, llvm::ArrayRef<uint8_t>) const override { return Error::success(); }
  Error resize(uint64_t) const override { return Error::success(); }
  Error flush() const override { return Error::success(); }
  Error close() override { return Error::success(); }
  /// None: there is nothing to read.
  llvm::StringRef path() const override { return ""; }
};

} // namespace plait
