// The form of a patch; docs/patch.md has the grammar and says why. Little endian.
//
//   patch  := "plaitpch" version:u32(=1) size:u64 base:files result:files recipe*
//   files  := count:uint file*                                    in order of paths, the side file
//   last file   := 0x00 path:text size:uint digest:byte[32]            a file
//           | 0x01 path:text                                      an empty folder
//           | 0x02 size:uint digest:byte[32]                      the side file
//   recipe := frame*                    one recipe for each file of the result, until it is
//   complete frame  := 0x00 raw:uint steps:byte[raw]
//           | 0x01 raw:uint packed:uint deflated:byte[packed]     raw <= 2^20
//   steps  := step*
//   step   := 0x00 file:uint place:uint size:uint                 from a file of the base
//           | 0x01 size:uint byte[size]                           these bytes
//   uint   := LEB128 of at most 64 bits; text := size:uint byte[size]
#pragma once

#include "driver/patch/PackageFiles.h"

#include "llvm/ADT/STLFunctionalExtras.h"

namespace plait::driver {

inline constexpr llvm::StringLiteral patchMagic = "plaitpch";
inline constexpr uint32_t patchVersion = 1;
inline constexpr size_t patchHeaderBytes = 20;
inline constexpr size_t maxFrameBytes = 1 << 20;

/// One step of a recipe: bytes of file `file` of the base, or `bytes` themselves.
struct PatchStep {
  bool copied;
  size_t file = 0;
  uint64_t place = 0, size = 0;
  llvm::ArrayRef<uint8_t> bytes = {};
};

/// The bytes of a patch, of which nothing is trusted: what does not fit is an error.
class PatchReader {
public:
  /// Reads header and lists. `bytes` has to stay.
  static Expected<PatchReader> open(llvm::ArrayRef<uint8_t> bytes);

  llvm::ArrayRef<PackageFile> base() const { return base_; }
  llvm::ArrayRef<PackageFile> result() const { return result_; }
  /// Hands over the steps that make `file`, the next of the result that has contents. They are
  /// within the base and make exactly its bytes.
  Error readRecipe(const PackageFile &file, llvm::function_ref<Error(const PatchStep &)> step);
  /// Fails where something lies behind the last recipe.
  Error finish() const;

private:
  explicit PatchReader(llvm::ArrayRef<uint8_t> bytes) : rest_(bytes), size_(bytes.size()) {}

  Error damaged(const char *what) const;
  Expected<uint64_t> readUint(llvm::ArrayRef<uint8_t> &from) const;
  Expected<llvm::ArrayRef<uint8_t>> take(llvm::ArrayRef<uint8_t> &from, uint64_t count) const;
  Expected<std::vector<PackageFile>> readFiles();
  Expected<PackageFile> readFile();
  /// Runs the steps of one frame; `made` grows by their bytes.
  Error readSteps(llvm::ArrayRef<uint8_t> steps, const PackageFile &file, uint64_t &made,
                  llvm::function_ref<Error(const PatchStep &)> step) const;

  llvm::ArrayRef<uint8_t> rest_;
  size_t size_;
  std::vector<PackageFile> base_, result_;
};

/// Builds a patch piece by piece.
class PatchWriter {
public:
  /// `write` takes what follows what it was given before; it has to stay.
  explicit PatchWriter(llvm::function_ref<void(llvm::ArrayRef<uint8_t>)> write) : write_(write) {}

  /// Header and lists. The size in the header is 0; encodedSize() belongs at sizePlace in the end.
  void begin(llvm::ArrayRef<PackageFile> base, llvm::ArrayRef<PackageFile> result);
  void copy(size_t file, uint64_t place, uint64_t size);
  void data(llvm::ArrayRef<uint8_t> bytes);
  /// Ends the recipe of a file.
  void endFile() { endFrame(); }

  static constexpr uint64_t sizePlace = 12;
  uint64_t size() const { return size_; }
  std::array<uint8_t, 8> encodedSize() const;

private:
  void put(llvm::ArrayRef<uint8_t> bytes) {
    size_ += bytes.size();
    write_(bytes);
  }
  void endFrame();

  llvm::function_ref<void(llvm::ArrayRef<uint8_t>)> write_;
  uint64_t size_ = 0;
  std::vector<uint8_t> frame_;
};

} // namespace plait::driver
