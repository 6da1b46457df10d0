// The enumerations of torch/_export/serde/schema.py.
#include "frontend/exported/SchemaTypes.h"

namespace plait::frontend {

std::optional<at::ScalarType> exportedScalarType(int64_t number) {
  switch (number) {
  case 1:
    return at::kByte;
  case 2:
    return at::kChar;
  case 3:
    return at::kShort;
  case 4:
    return at::kInt;
  case 5:
    return at::kLong;
  case 6:
    return at::kHalf;
  case 7:
    return at::kFloat;
  case 8:
    return at::kDouble;
  case 9:
    return at::kComplexHalf;
  case 10:
    return at::kComplexFloat;
  case 11:
    return at::kComplexDouble;
  case 12:
    return at::kBool;
  case 13:
    return at::kBFloat16;
  case 28:
    return at::kUInt16;
  case 29:
    return at::kFloat8_e4m3fn;
  case 30:
    return at::kFloat8_e5m2;
  case 31:
    return at::kFloat8_e4m3fnuz;
  case 32:
    return at::kFloat8_e5m2fnuz;
  case 34:
    return at::kUInt32;
  case 35:
    return at::kUInt64;
  default:
    return std::nullopt;
  }
}

std::optional<at::MemoryFormat> exportedMemoryFormat(int64_t number) {
  switch (number) {
  case 1:
    return at::MemoryFormat::Contiguous;
  case 2:
    return at::MemoryFormat::ChannelsLast;
  case 3:
    return at::MemoryFormat::ChannelsLast3d;
  case 4:
    return at::MemoryFormat::Preserve;
  default:
    return std::nullopt;
  }
}

} // namespace plait::frontend
