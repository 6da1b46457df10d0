// A file without a name, for what is made piece by piece and read later through a mapping: it takes
// no memory of the process, and a process that is killed leaves nothing behind.
#pragma once

#include "support/MappedFile.h"

namespace plait {

class ScratchFile {
public:
  /// In the folder that `target` is to be in, where there has to be room for the like anyway.
  static Expected<ScratchFile> create(llvm::StringRef target);
  ScratchFile(ScratchFile &&other) noexcept;
  ScratchFile &operator=(ScratchFile &&) = delete;
  ~ScratchFile();

  /// Adds `bytes` at the end.
  Error append(llvm::ArrayRef<uint8_t> bytes);
  uint64_t size() const { return size_; }
  /// All that was added. Nothing may be added afterwards.
  Expected<std::shared_ptr<const MappedFile>> map();

private:
  ScratchFile(int descriptor, std::string path) : descriptor_(descriptor), path_(std::move(path)) {}

  int descriptor_;
  std::string path_; ///< for messages
  uint64_t size_ = 0;
};

} // namespace plait
