// Images in files: PNG and JPEG are read, PNG is written.
//
// Pixels are bytes of sRGB. A file whose pixels PNG declares to be of another gamma is converted.
// What a byte cannot hold is refused: 16 bits a channel, pixels that are transparent, CMYK.
#pragma once

#include "mil/Pixels.h"
#include "mil/TensorData.h"

namespace plait::runtime {

/// Whether the file begins as one of the forms that are read.
bool isImageFile(llvm::StringRef path);

/// The file as an input of this format: a tensor [1, channels, height, width] of uint8. Grey
/// becomes three equal channels; colours become grey as ITU-R 601 weighs them.
Expected<mil::TensorData> readImage(llvm::StringRef path, mil::PixelFormat format);

/// Bilinear, over all pixels that a new one covers where the image becomes smaller.
mil::TensorData resizeImage(const mil::TensorData &image, int64_t height, int64_t width);

/// A tensor [1, channels, height, width] as PNG: numbers are rounded, and those beyond 0 to 255 are
/// cut off.
Error writePng(llvm::StringRef path, const mil::TensorData &image, mil::PixelFormat format);

} // namespace plait::runtime
