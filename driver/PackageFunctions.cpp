// Choosing a function of a package, and reading its arrays.
#include "driver/PackageFunctions.h"

#include "runtime/arrays/ImageFile.h"
#include "runtime/arrays/Npy.h"
#include "support/DidYouMean.h"

#include "llvm/ADT/StringExtras.h"

#include <cmath>

namespace plait::driver {

Expected<mil::Function *> findFunction(const mil::Program &program, llvm::StringRef package,
                                       const std::optional<std::string> &name) {
  llvm::SmallVector<llvm::StringRef, 8> known;
  for (const auto &function : program.functions())
    known.push_back(function->name);
  if (name) {
    if (mil::Function *function = program.function(*name))
      return function;
    return makeError(Code::NoSuchFunction, "{0}: there is no function '{1}'{2}; there are {3}",
                     package, *name, didYouMean(*name, known), llvm::join(known, ", "));
  }
  if (mil::Function *function = program.function(program.defaultFunction))
    return function;
  if (known.size() == 1)
    return program.functions()[0].get();
  return makeError(Code::DefaultFunction,
                   "{0}: it names no default function; choose one with --function: {1}", package,
                   llvm::join(known, ", "));
}

const Option computeOption{"compute", "fp32|native",
                           "how operations on fp16 compute: in fp32 with a rounded result "
                           "(fp32), or in fp16 throughout"};

Expected<runtime::Compute> computeOf(const Arguments &arguments) {
  auto native = arguments.choice(computeOption, {"fp32", "native"}, 0);
  if (!native)
    return native.takeError();
  return *native ? runtime::Compute::Native : runtime::Compute::Float32;
}

Expected<const mil::Value *> findInput(const mil::Function &function, llvm::StringRef name) {
  llvm::SmallVector<llvm::StringRef, 8> known;
  for (const auto &input : function.inputs()) {
    if (input->type.isState()) {
      if (input->name == name)
        return makeError(Code::ArrayMismatch,
                         "'{0}' is a state of function '{1}': it is zero at first and kept from "
                         "call to call, and takes no array",
                         name, function.name);
      continue;
    }
    if (input->name == name)
      return input.get();
    known.push_back(input->name);
  }
  return makeError(Code::ArrayMismatch, "function '{0}' has no input '{1}'{2}; it has {3}",
                   function.name, name, didYouMean(name, known),
                   known.empty() ? "none" : llvm::join(known, ", "));
}

/// What an array can be to an image whose pixels are bytes: whole numbers from 0 to 255.
static Expected<mil::TensorData> toPixels(mil::TensorData array, const mil::Value &input,
                                          llvm::StringRef file) {
  auto values = array.cast(mil::DType::F32).floatValues();
  if (!values)
    return values.takeError();
  for (double value : *values)
    if (!(value >= 0 && value <= 255 && value == std::floor(value)))
      return makeError(Code::ImageMismatch,
                       "{0}: {1} is no pixel of the image '{2}': whole numbers from 0 to 255 are "
                       "wanted",
                       file, value, input.name);
  return array.cast(input.type.dtype());
}

Expected<mil::TensorData> convertArray(mil::TensorData array, const mil::Value &input,
                                       llvm::StringRef file) {
  mil::DType from = array.dtype(), to = input.type.dtype();
  auto image = input.block()->function()->infoOfInput(input.index()).image;
  if (image && mil::pixelType(*image) == mil::DType::F32)
    return toPixels(std::move(array), input, file);
  // What is declared bool is a number in Core ML; 0 and 1 are numbers of every type.
  if (from == to || from == mil::DType::Bool || (mil::isFloat(from) && mil::isFloat(to)))
    return array.cast(to);
  if (!mil::isInteger(from) || !mil::isInteger(to))
    return makeError(Code::ArrayMismatch,
                     "{0}: input '{1}' is {2} and the array {3}; give one of {4}", file, input.name,
                     name(to), name(from),
                     mil::isFloat(to) ? "floating-point numbers, or of bool" : "integers");
  auto values = array.intValues();
  if (!values)
    return values.takeError();
  // 64-bit inputs take every value; narrower ones are checked.
  if (unsigned bits = mil::bitWidth(to); bits < 64) {
    int64_t lower = mil::isUnsigned(to) ? 0 : -(int64_t(1) << (bits - 1));
    int64_t upper = lower + (int64_t(1) << bits) - 1;
    for (int64_t value : *values)
      if (value < lower || value > upper)
        return makeError(Code::ArrayMismatch, "{0}: {1} does not fit the {2} of input '{3}'", file,
                         value, name(to), input.name);
  }
  return array.cast(to);
}

/// Whether the input can have this shape, which is that of an image of its format.
static bool takesSize(const mil::Value &input, const mil::InputInfo &info,
                      llvm::ArrayRef<int64_t> shape) {
  if (!info.enumeratedShapes.empty())
    return llvm::any_of(info.enumeratedShapes,
                        [&](llvm::ArrayRef<int64_t> one) { return one == shape; });
  return llvm::all_of(llvm::zip(input.type.shape(), shape), [](auto pair) {
    auto [dim, size] = pair;
    return size >= dim.lower() && size <= dim.upper();
  });
}

static Expected<mil::TensorData> readPixels(const mil::Value &input, llvm::StringRef file,
                                            bool resize) {
  const mil::InputInfo &info = input.block()->function()->infoOfInput(input.index());
  if (!info.image)
    return makeError(Code::ImageMismatch,
                     "{0}: this is an image, and input '{1}' takes an array, {2}", file, input.name,
                     input.type.str());
  if (*info.image == mil::PixelFormat::Gray16)
    return makeError(Code::ImageMismatch,
                     "{0}: input '{1}' is a gray16 image, whose numbers no PNG or JPEG holds; give "
                     "an array",
                     file, input.name);
  auto image = runtime::readImage(file, *info.image);
  if (!image || takesSize(input, info, image->shape()))
    return image;
  llvm::SmallVector<int64_t, 5> shape = info.defaultShape;
  if (shape.empty())
    for (const mil::Dim &dim : input.type.shape())
      shape.push_back(dim.lower());
  if (!resize)
    return makeError(Code::ImageMismatch,
                     "{0}: the image is {1} x {2}, and input '{3}' takes {4} x {5}{6}; --resize "
                     "makes it so",
                     file, image->shape()[3], image->shape()[2], input.name, shape[3], shape[2],
                     input.type.hasStaticShape() ? "" : " and others");
  return runtime::resizeImage(*image, shape[2], shape[3]);
}

Expected<mil::TensorData> readArray(const mil::Value &input, llvm::StringRef file, bool resize) {
  bool takesImage = input.block()->function()->infoOfInput(input.index()).image.has_value();
  bool isImage = runtime::isImageFile(file) || (takesImage && !runtime::isNpyFile(file));
  auto array = isImage ? readPixels(input, file, resize) : runtime::readNpy(file);
  if (!array)
    return array.takeError();
  return convertArray(std::move(*array), input, file);
}

Expected<runtime::NamedTensor> readInput(const Option &option, llvm::StringRef given,
                                         const mil::Function &function, bool resize) {
  auto pair = splitPair(option, given);
  if (!pair)
    return pair.takeError();
  auto &[name, file] = *pair;
  auto input = findInput(function, name);
  if (!input)
    return input.takeError();
  auto array = readArray(**input, file, resize);
  if (!array)
    return array.takeError();
  return runtime::NamedTensor{name, std::move(*array)};
}

Expected<std::vector<runtime::NamedTensor>> readInputs(const Arguments &arguments,
                                                       const Option &option,
                                                       const mil::Function &function, bool resize) {
  std::vector<runtime::NamedTensor> inputs;
  for (const std::string &given : arguments.values(option)) {
    auto input = readInput(option, given, function, resize);
    if (!input)
      return input.takeError();
    inputs.push_back(std::move(*input));
  }
  return inputs;
}

} // namespace plait::driver
