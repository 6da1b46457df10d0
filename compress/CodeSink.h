// Where the integers of a compressed weight go while they are made: packed from the low bits, small
// ones into memory, the others into a file without a name.
#pragma once

#include "mil/TensorData.h"
#include "support/ScratchFile.h"

namespace plait::compress {

class CodeSink {
public:
  /// `target` is the package that is made; `count` an upper bound.
  static Expected<CodeSink> create(mil::DType dtype, int64_t count, llvm::StringRef target);

  /// Adds elements, one in each of `codes`' bytes, of which the low bits count. Bytes of whole ones
  /// are added as they are.
  Error append(llvm::ArrayRef<uint8_t> codes);
  int64_t count() const { return count_; }
  /// A tensor of all that was added.
  Expected<mil::TensorData> finish(llvm::ArrayRef<int64_t> shape);

private:
  explicit CodeSink(mil::DType dtype) : dtype_(dtype) {}
  Error flush();

  mil::DType dtype_;
  std::vector<uint8_t> bytes_;
  std::optional<ScratchFile> file_;
  uint64_t pending_ = 0; ///< bits that do not fill a byte yet
  unsigned pendingBits_ = 0;
  int64_t count_ = 0;
};

} // namespace plait::compress
