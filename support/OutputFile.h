// An open file, written at given offsets from any thread.
#pragma once

#include "support/FileSystem.h"

namespace plait {

class OutputFile : public WritableFile {
public:
  /// Creates `path`. Anything that is there is an error, a link to nothing too.
  static Expected<OutputFile> create(const llvm::Twine &path);
  /// Opens the existing `path` for writing beside what it holds.
  static Expected<OutputFile> openExisting(const llvm::Twine &path);

  OutputFile(OutputFile &&other) noexcept;
  OutputFile &operator=(OutputFile &&other) noexcept;
  OutputFile(const OutputFile &) = delete;
  ~OutputFile() override;

  using WritableFile::writeAt;
  Error writeAt(uint64_t offset, llvm::ArrayRef<uint8_t> bytes) const override;
  Error resize(uint64_t size) const override;
  Error flush() const override;
  Error close() override;

  llvm::StringRef path() const override { return name; }

private:
  OutputFile(std::string name, int descriptor) : name(std::move(name)), descriptor(descriptor) {}
  Error systemError(const char *what) const;

  std::string name;
  int descriptor = -1;
};

} // namespace plait
