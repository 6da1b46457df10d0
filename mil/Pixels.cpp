// Images of the interface.
#include "mil/Pixels.h"

#include "mil/Type.h"

namespace plait::mil {

std::optional<PixelFormat> parsePixelFormat(llvm::StringRef name) {
  for (unsigned i = 0; i < std::size(kPixelFormats); ++i)
    if (name == kPixelFormats[i])
      return PixelFormat(i);
  return std::nullopt;
}

bool isImageType(const Type &type, PixelFormat format) {
  return type.isTensor() && type.dtype() == pixelType(format) && type.rank() == 4 &&
         type.shape()[0] == Dim(1) && type.shape()[1] == Dim(channelsOf(format));
}

} // namespace plait::mil
