// Element types of MIL tensors: their names in MIL text, their widths and how values of each are
// held.
#pragma once

#include "llvm/ADT/StringRef.h"
#include <cstdint>
#include <optional>

namespace plait::mil {

/// The element types of Core ML's MIL. Sub-byte types exist only in operands of constexpr_*
/// operations.
enum class DType : uint8_t {
  Bool,
  String,
  F16,
  BF16,
  F32,
  F64,
  I4,
  I8,
  I16,
  I32,
  I64,
  U1,
  U2,
  U3,
  U4,
  U6,
  U8,
  U16,
  U32,
  U64,
};
inline constexpr unsigned kNumDTypes = unsigned(DType::U64) + 1;

/// The name in MIL text: "fp16", "int32", "bool", "uint4" …
llvm::StringRef name(DType dtype);
/// The inverse of name().
std::optional<DType> parseDType(llvm::StringRef name);

/// Width in bits as stored in a weight file; bool is 8 and string 0.
unsigned bitWidth(DType dtype);
/// Bytes that `elements` values take, sub-byte types packed from the low bits.
uint64_t byteSize(DType dtype, int64_t elements);

bool isFloat(DType dtype);
/// Signed or unsigned integer of any width; not bool.
bool isInteger(DType dtype);
bool isUnsigned(DType dtype);
bool isSubByte(DType dtype);

/// A set of element types: the domain of a parameter. One bit a DType.
using DTypeSet = uint32_t;
constexpr DTypeSet setOf(DType dtype) { return DTypeSet(1) << unsigned(dtype); }
constexpr bool contains(DTypeSet set, DType dtype) { return set & setOf(dtype); }
/// "fp16, fp32, int32"
std::string describe(DTypeSet set);

} // namespace plait::mil
