// The directory of a safetensors file, read without touching the tensors.
//
//   file     := length header data
//   length   := u64, little endian: bytes of the header
//   header   := JSON object { name: tensor …, "__metadata__"?: { string: string … } }, spaces at
//   its
//               end; it begins with '{'
//   tensor   := { "dtype": "F32" …, "shape": [int …], "data_offsets": [begin, end] }
//   data     := the tensors, row-major and little endian, one after the other without a gap;
//   offsets
//               count from here
//
// Every length and offset is checked: tensors that overlap, leave a gap or reach out of the file,
// sizes that are negative, too large for an integer or not those of shape and dtype, two tensors of
// one name, deep nesting, a header longer than 32 MiB.
#pragma once

#include "mil/DType.h"
#include "support/Error.h"

#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/SmallVector.h"
#include "llvm/ADT/StringMap.h"

#include <vector>

namespace plait::adapters {

struct SafetensorsEntry {
  std::string name;
  std::string dtypeName;           ///< as the file spells it
  std::optional<mil::DType> dtype; ///< nullopt: one that no weight is stored in here, as F8_E5M2
  llvm::SmallVector<int64_t, 4> shape;
  llvm::ArrayRef<uint8_t> bytes; ///< within the file
};

struct Safetensors {
  std::vector<SafetensorsEntry> entries; ///< in order of their place in the file
  llvm::StringMap<std::string> metadata;

  /// `file` must outlive the result. Messages do not name it.
  static Expected<Safetensors> read(llvm::ArrayRef<uint8_t> file);
};

} // namespace plait::adapters
