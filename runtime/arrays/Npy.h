// NumPy's .npy files.
//
//   file    = "\x93NUMPY" major:u8 minor:u8 length header data
//   length  = u16 (version 1) | u32 (versions 2 and 3), little endian: bytes of header
//   header  = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }" spaces "\n"
//   data    = the elements in C order, the last index running fastest, or in Fortran order, the
//   first
#pragma once

#include "mil/Attr.h"

namespace plait::runtime {

/// Whether the file begins as a .npy file does.
bool isNpyFile(llvm::StringRef path);

/// Maps the file: the tensor reads it in place. Little-endian float16, float32, float64, bool and
/// integers of 8 to 64 bits; anything else is refused by name.
Expected<mil::TensorData> readNpy(llvm::StringRef path);

/// The same of a file's bytes, which `owner` keeps alive.
Expected<mil::TensorData> parseNpy(llvm::ArrayRef<uint8_t> bytes,
                                   std::shared_ptr<const void> owner);

/// Refuses element types that NumPy has not (bf16, sub-byte types, strings).
Error writeNpy(llvm::StringRef path, const mil::TensorData &tensor);

} // namespace plait::runtime
