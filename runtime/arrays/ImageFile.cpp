// libpng and libjpeg read and write; colours and sizes are converted here.
#include "runtime/arrays/ImageFile.h"

#include "support/MappedFile.h"
#include "support/NewFile.h"

#include "llvm/ADT/StringExtras.h"

#include <algorithm>
#include <cmath>
#include <csetjmp>
#include <cstdio>
#include <jpeglib.h>
#include <png.h>

namespace plait::runtime {

using llvm::StringRef;
using mil::PixelFormat;
using mil::TensorData;

namespace {

/// More than any model takes; a damaged file can claim anything.
constexpr uint64_t kMostPixels = 1 << 28;

/// Rows from the top, pixels from the left, one or three bytes each.
struct Bitmap {
  int64_t width = 0, height = 0, channels = 0;
  std::vector<uint8_t> bytes;

  uint8_t at(int64_t y, int64_t x, int64_t channel) const {
    return bytes[size_t((y * width + x) * channels + channel)];
  }
};

bool isPng(StringRef bytes) { return bytes.starts_with("\x89PNG\r\n\x1a\n"); }
bool isJpeg(StringRef bytes) { return bytes.starts_with("\xff\xd8\xff"); }

Error checkSize(uint64_t width, uint64_t height) {
  if (width == 0 || height == 0 || width * height > kMostPixels)
    return makeError(Code::ArrayFile, "an image of {0} x {1} pixels is not read", width, height);
  return Error::success();
}

Expected<Bitmap> decodePng(StringRef file) {
  png_image image = {};
  image.version = PNG_IMAGE_VERSION;
  auto fail = [&] {
    std::string message = image.message;
    png_image_free(&image);
    return makeError(Code::ArrayFile, "it is no PNG that can be read: {0}", message);
  };
  if (!png_image_begin_read_from_memory(&image, file.data(), file.size()))
    return fail();
  Error error = checkSize(image.width, image.height);
  if (!error && (image.format & PNG_FORMAT_FLAG_LINEAR))
    error = makeError(Code::ArrayFile,
                      "it has 16 bits a channel; an image of Core ML has 8, so convert it");
  if (error) {
    png_image_free(&image);
    return error;
  }
  bool isColor = image.format & PNG_FORMAT_FLAG_COLOR;
  image.format = isColor ? PNG_FORMAT_RGBA : PNG_FORMAT_GA;
  std::vector<uint8_t> pixels(PNG_IMAGE_SIZE(image));
  if (!png_image_finish_read(&image, /*background=*/nullptr, pixels.data(), /*row_stride=*/0,
                             /*colormap=*/nullptr))
    return fail();
  Bitmap result{int64_t(image.width), int64_t(image.height), isColor ? 3 : 1, {}};
  size_t step = size_t(result.channels) + 1;
  for (size_t i = 0; i < pixels.size(); i += step) {
    if (pixels[i + step - 1] != 255)
      return makeError(Code::ArrayFile,
                       "it has transparent pixels; an image of Core ML has none, so draw it on a "
                       "background");
    result.bytes.insert(result.bytes.end(), pixels.begin() + i, pixels.begin() + i + step - 1);
  }
  return result;
}

/// libjpeg gives up by calling back; the way out of its frames is a jump.
struct JpegErrors {
  jpeg_error_mgr manager; // the first member: libjpeg knows its address
  std::jmp_buf out;
  char message[JMSG_LENGTH_MAX];
};

[[noreturn]] void giveUp(j_common_ptr common) {
  auto *errors = reinterpret_cast<JpegErrors *>(common->err);
  common->err->format_message(common, errors->message);
  std::longjmp(errors->out, 1);
}

/// Nothing in here has a destructor, since the jump would leave it out. False after an error, whose
/// message is in `errors`. `start` says how large the image is and gives the place of its rows, or
/// null where it is not wanted.
bool decodeJpeg(StringRef file, JpegErrors &errors, void *context,
                uint8_t *(*start)(void *context, const jpeg_decompress_struct &info)) {
  jpeg_decompress_struct info;
  info.err = jpeg_std_error(&errors.manager);
  errors.manager.error_exit = giveUp;
  errors.manager.emit_message = [](j_common_ptr common, int level) {
    if (level < 0) // libjpeg would go on with pixels that it made up
      giveUp(common);
  };
  if (setjmp(errors.out)) {
    jpeg_destroy_decompress(&info);
    return false;
  }
  jpeg_create_decompress(&info);
  jpeg_mem_src(&info, file.bytes_begin(), file.size());
  jpeg_read_header(&info, TRUE);
  if (info.jpeg_color_space == JCS_GRAYSCALE || info.jpeg_color_space == JCS_YCbCr ||
      info.jpeg_color_space == JCS_RGB) {
    info.out_color_space = info.jpeg_color_space == JCS_GRAYSCALE ? JCS_GRAYSCALE : JCS_RGB;
    info.dct_method = JDCT_ISLOW;
    jpeg_start_decompress(&info);
    if (uint8_t *rows = start(context, info)) {
      size_t stride = size_t(info.output_width) * size_t(info.output_components);
      while (info.output_scanline < info.output_height) {
        JSAMPROW row = rows + info.output_scanline * stride;
        jpeg_read_scanlines(&info, &row, 1);
      }
      jpeg_finish_decompress(&info);
    }
  } else {
    start(context, info);
  }
  jpeg_destroy_decompress(&info);
  return true;
}

Expected<Bitmap> decodeJpeg(StringRef file) {
  struct Context {
    Bitmap bitmap;
    std::string refusal;
  } context;
  JpegErrors errors;
  auto start = [](void *to, const jpeg_decompress_struct &info) -> uint8_t * {
    auto &[bitmap, refusal] = *static_cast<Context *>(to);
    if (info.output_components != 1 && info.output_components != 3) {
      refusal = "its colours are neither grey nor RGB; convert it";
      return nullptr;
    }
    if (Error error = checkSize(info.output_width, info.output_height)) {
      refusal = llvm::toString(std::move(error));
      return nullptr;
    }
    bitmap = {info.output_width, info.output_height, info.output_components, {}};
    bitmap.bytes.resize(size_t(bitmap.width * bitmap.height * bitmap.channels));
    return bitmap.bytes.data();
  };
  if (!decodeJpeg(file, errors, &context, start))
    return makeError(Code::ArrayFile, "it is no JPEG that can be read: {0}", errors.message);
  if (!context.refusal.empty())
    return makeError(Code::ArrayFile, "{0}", context.refusal);
  return std::move(context.bitmap);
}

/// ITU-R 601, in the integers that Pillow computes it in.
uint8_t luma(unsigned red, unsigned green, unsigned blue) {
  return uint8_t((red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16);
}

TensorData toTensor(const Bitmap &bitmap, PixelFormat format) {
  int64_t channels = mil::channelsOf(format);
  std::vector<uint8_t> bytes;
  bytes.reserve(size_t(channels * bitmap.height * bitmap.width));
  for (int64_t channel = 0; channel < channels; ++channel)
    for (int64_t y = 0; y < bitmap.height; ++y)
      for (int64_t x = 0; x < bitmap.width; ++x) {
        int64_t source = format == PixelFormat::BGR ? 2 - channel : channel;
        if (bitmap.channels == 1)
          bytes.push_back(bitmap.at(y, x, 0));
        else if (channels == 1)
          bytes.push_back(luma(bitmap.at(y, x, 0), bitmap.at(y, x, 1), bitmap.at(y, x, 2)));
        else
          bytes.push_back(bitmap.at(y, x, source));
      }
  return TensorData::fromBytes(mil::DType::U8, {1, channels, bitmap.height, bitmap.width},
                               std::move(bytes));
}

/// Which old pixels make a new one, along one axis: a triangle as wide as two of the larger pixels.
struct Weights {
  size_t first;
  std::vector<double> weights;
};

std::vector<Weights> weightsOf(int64_t from, int64_t to) {
  double scale = double(from) / double(to), reach = std::max(scale, 1.0);
  std::vector<Weights> all;
  for (int64_t i = 0; i < to; ++i) {
    double center = (double(i) + 0.5) * scale;
    auto first = int64_t(std::max(0.0, std::floor(center - reach + 0.5)));
    auto last = int64_t(std::min(double(from), std::floor(center + reach + 0.5)));
    Weights one{size_t(first), {}};
    double sum = 0;
    for (int64_t k = first; k < last; ++k) {
      one.weights.push_back(std::max(0.0, 1 - std::abs((double(k) + 0.5 - center) / reach)));
      sum += one.weights.back();
    }
    for (double &weight : one.weights)
      weight /= sum;
    all.push_back(std::move(one));
  }
  return all;
}

uint8_t toByte(double value) {
  return std::isnan(value) ? 0 : uint8_t(std::clamp(std::nearbyint(value), 0.0, 255.0));
}

} // namespace

bool isImageFile(StringRef path) {
  auto file = MappedFile::open(path);
  if (!file) {
    llvm::consumeError(file.takeError());
    return false;
  }
  StringRef bytes = llvm::toStringRef((*file)->bytes());
  return isPng(bytes) || isJpeg(bytes);
}

Expected<TensorData> readImage(StringRef path, PixelFormat format) {
  auto file = MappedFile::open(path);
  if (!file)
    return file.takeError();
  StringRef bytes = llvm::toStringRef((*file)->bytes());
  if (!isPng(bytes) && !isJpeg(bytes))
    return makeError(
        Code::ArrayFile,
        "{0}: this is neither PNG nor JPEG, nor a .npy file of the pixels; save it as one of these",
        path);
  auto bitmap = isPng(bytes) ? decodePng(bytes) : decodeJpeg(bytes);
  if (!bitmap)
    return addContext(bitmap.takeError(), path);
  return toTensor(*bitmap, format);
}

TensorData resizeImage(const TensorData &image, int64_t height, int64_t width) {
  auto shape = image.shape();
  int64_t channels = shape[1], oldHeight = shape[2], oldWidth = shape[3];
  std::vector<uint8_t> old = llvm::cantFail(image.bytes());
  // Along rows first; numbers in between are rounded to bytes, as Pillow rounds them.
  std::vector<Weights> across = weightsOf(oldWidth, width), down = weightsOf(oldHeight, height);
  std::vector<uint8_t> rows;
  for (int64_t row = 0; row < channels * oldHeight; ++row)
    for (const Weights &one : across) {
      double sum = 0;
      for (size_t k = 0; k < one.weights.size(); ++k)
        sum += one.weights[k] * old[size_t(row * oldWidth) + one.first + k];
      rows.push_back(toByte(sum));
    }
  std::vector<uint8_t> result;
  for (int64_t channel = 0; channel < channels; ++channel)
    for (const Weights &one : down)
      for (int64_t x = 0; x < width; ++x) {
        double sum = 0;
        for (size_t k = 0; k < one.weights.size(); ++k)
          sum += one.weights[k] *
                 rows[(size_t(channel * oldHeight) + one.first + k) * size_t(width) + size_t(x)];
        result.push_back(toByte(sum));
      }
  return TensorData::fromBytes(mil::DType::U8, {1, channels, height, width}, std::move(result));
}

Error writePng(StringRef path, const TensorData &image, PixelFormat format) {
  auto values = image.cast(mil::DType::F32).floatValues();
  if (!values)
    return addContext(values.takeError(), path);
  auto shape = image.shape();
  size_t size = size_t(shape[2] * shape[3]), channels = size_t(shape[1]);
  std::vector<uint8_t> pixels;
  for (size_t i = 0; i < size; ++i)
    for (size_t channel = 0; channel < channels; ++channel) {
      size_t source = format == PixelFormat::BGR ? 2 - channel : channel;
      pixels.push_back(toByte((*values)[source * size + i]));
    }
  png_image out = {};
  out.version = PNG_IMAGE_VERSION;
  out.height = png_uint_32(shape[2]);
  out.width = png_uint_32(shape[3]);
  out.format = channels == 3 ? PNG_FORMAT_RGB : PNG_FORMAT_GRAY;
  png_alloc_size_t bytes = 0;
  std::string text;
  bool good = png_image_write_to_memory(&out, nullptr, &bytes, 0, pixels.data(), 0, nullptr);
  text.resize(bytes);
  good = good && png_image_write_to_memory(&out, text.data(), &bytes, 0, pixels.data(), 0, nullptr);
  if (!good)
    return makeError(Code::FileUnwritable, "{0}: cannot be written as PNG: {1}", path, out.message);
  text.resize(bytes);
  return writeNewFile(path, text, /*flush=*/false);
}

} // namespace plait::runtime
