// Names and widths of element types.
#include "mil/DType.h"

#include "llvm/ADT/StringExtras.h"
#include <array>

namespace plait::mil {

namespace {
struct DTypeRow {
  llvm::StringLiteral name;
  unsigned bits;
};
// In the order of the enumeration.
constexpr DTypeRow kRows[kNumDTypes] = {
    {"bool", 8},   {"string", 0}, {"fp16", 16},   {"bf16", 16},   {"fp32", 32},
    {"fp64", 64},  {"int4", 4},   {"int8", 8},    {"int16", 16},  {"int32", 32},
    {"int64", 64}, {"uint1", 1},  {"uint2", 2},   {"uint3", 3},   {"uint4", 4},
    {"uint6", 6},  {"uint8", 8},  {"uint16", 16}, {"uint32", 32}, {"uint64", 64},
};
} // namespace

llvm::StringRef name(DType dtype) { return kRows[unsigned(dtype)].name; }

std::optional<DType> parseDType(llvm::StringRef name) {
  for (unsigned i = 0; i < kNumDTypes; ++i)
    if (kRows[i].name == name)
      return DType(i);
  return std::nullopt;
}

unsigned bitWidth(DType dtype) { return kRows[unsigned(dtype)].bits; }

uint64_t byteSize(DType dtype, int64_t elements) {
  return (uint64_t(elements) * bitWidth(dtype) + 7) / 8;
}

bool isFloat(DType dtype) { return dtype >= DType::F16 && dtype <= DType::F64; }
bool isInteger(DType dtype) { return dtype >= DType::I4; }
bool isUnsigned(DType dtype) { return dtype >= DType::U1; }
bool isSubByte(DType dtype) { return isInteger(dtype) && bitWidth(dtype) < 8; }

std::string describe(DTypeSet set) {
  llvm::SmallVector<llvm::StringRef> names;
  for (unsigned i = 0; i < kNumDTypes; ++i)
    if (contains(set, DType(i)))
      names.push_back(kRows[i].name);
  return llvm::join(names, ", ");
}

} // namespace plait::mil
