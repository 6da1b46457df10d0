// What an image of Core ML's interface is: its colours, and what a program sees of its pixels.
//
//   format  channels  element type in the program  numbers
//   gray    1         fp32                         0 to 255
//   rgb     3         fp32                         0 to 255, red first
//   bgr     3         fp32                         0 to 255, blue first
//   gray16  1         fp16                         as the image holds them
//
// In a program an image is a tensor of the shape [1, channels, height, width].
#pragma once

#include "mil/DType.h"

#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/SmallVector.h"
#include "llvm/ADT/StringRef.h"

#include <optional>

namespace plait::mil {

class Type;

enum class PixelFormat : uint8_t { Gray, RGB, BGR, Gray16 };

/// "gray", "rgb", "bgr", "gray16", in the order of the enumeration.
inline constexpr const char *kPixelFormats[] = {"gray", "rgb", "bgr", "gray16"};
inline llvm::StringRef name(PixelFormat format) { return kPixelFormats[unsigned(format)]; }
std::optional<PixelFormat> parsePixelFormat(llvm::StringRef name);

inline int64_t channelsOf(PixelFormat format) {
  return format == PixelFormat::RGB || format == PixelFormat::BGR ? 3 : 1;
}
inline DType pixelType(PixelFormat format) {
  return format == PixelFormat::Gray16 ? DType::F16 : DType::F32;
}
/// Whether a tensor of this type can be such an image: its element type and shape.
bool isImageType(const Type &type, PixelFormat format);

/// What a program makes of each pixel before all else: pixel * scale + bias. One number, or one a
/// channel; none is as if it were 1 or 0.
struct PixelArithmetic {
  llvm::SmallVector<double, 3> scale, bias;
  bool operator==(const PixelArithmetic &) const = default;
};

} // namespace plait::mil
