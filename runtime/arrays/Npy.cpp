// Reading and writing .npy files; the grammar is in the header.
#include "runtime/arrays/Npy.h"

#include "mil/MappedStorage.h"
#include "support/NewFile.h"

#include "llvm/ADT/StringExtras.h"
#include "llvm/ADT/StringSwitch.h"
#include "llvm/Support/Endian.h"

namespace plait::runtime {

using mil::DType;
using mil::TensorData;

static constexpr llvm::StringLiteral kMagic = "\x93NUMPY";

static const std::pair<llvm::StringLiteral, DType> kDescriptions[] = {
    {"<f2", DType::F16}, {"<f4", DType::F32}, {"<f8", DType::F64}, {"|b1", DType::Bool},
    {"|i1", DType::I8},  {"<i2", DType::I16}, {"<i4", DType::I32}, {"<i8", DType::I64},
    {"|u1", DType::U8},  {"<u2", DType::U16}, {"<u4", DType::U32}, {"<u8", DType::U64},
};

namespace {
/// Consumes the header's Python literal from the left.
class HeaderParser {
public:
  explicit HeaderParser(llvm::StringRef text) : rest(text) {}

  Error parse() {
    if (!eat("{"))
      return malformed("'{'");
    while (!eat("}")) {
      std::string key;
      if (Error error = quoted(key))
        return error;
      if (!eat(":"))
        return malformed("':'");
      if (Error error = entry(key))
        return error;
      if (!eat(",") && !rest.ltrim().starts_with("}"))
        return malformed("',' or '}'");
    }
    if (!rest.trim().empty())
      return malformed("nothing");
    if (!descr || !fortran || !hasShape)
      return makeError(Code::ArrayFile, "the header lacks '{0}'",
                       !descr     ? "descr"
                       : !fortran ? "fortran_order"
                                  : "shape");
    return Error::success();
  }

  std::optional<std::string> descr;
  std::optional<bool> fortran;
  bool hasShape = false;
  llvm::SmallVector<int64_t, 5> shape;

private:
  bool eat(llvm::StringRef token) {
    rest = rest.ltrim();
    return rest.consume_front(token);
  }
  Error malformed(const char *wanted) {
    return makeError(Code::ArrayFile, "the header is malformed: {0} expected before '{1}'", wanted,
                     rest.ltrim().take_front(20));
  }
  Error quoted(std::string &text) {
    rest = rest.ltrim();
    char quote = rest.empty() ? 0 : rest.front();
    size_t end = quote == '\'' || quote == '"' ? rest.find(quote, 1) : llvm::StringRef::npos;
    if (end == llvm::StringRef::npos)
      return malformed("a string");
    text = rest.slice(1, end).str();
    rest = rest.drop_front(end + 1);
    return Error::success();
  }
  Error entry(const std::string &key) {
    if (key == "descr" && !descr) {
      if (rest.ltrim().starts_with("["))
        return makeError(Code::ArrayFile,
                         "records (a list of fields) are not supported: save one plain array");
      return quoted(descr.emplace());
    }
    if (key == "fortran_order" && !fortran) {
      if (eat("True"))
        fortran = true;
      else if (eat("False"))
        fortran = false;
      else
        return malformed("True or False");
      return Error::success();
    }
    if (key == "shape" && !hasShape)
      return tuple();
    return makeError(Code::ArrayFile,
                     "the header has '{0}' where descr, fortran_order and shape are defined, once "
                     "each",
                     key);
  }
  Error tuple() {
    hasShape = true;
    if (!eat("("))
      return malformed("'('");
    while (!eat(")")) {
      int64_t size;
      rest = rest.ltrim();
      if (rest.consumeInteger(10, size) || size < 0)
        return malformed("a size");
      shape.push_back(size);
      if (!eat(",") && !rest.ltrim().starts_with(")"))
        return malformed("',' or ')'");
    }
    return Error::success();
  }

  llvm::StringRef rest;
};
} // namespace

/// Bytes of the elements, or nullopt when that overflows.
static std::optional<uint64_t> dataSize(DType dtype, llvm::ArrayRef<int64_t> shape) {
  int64_t elements = 1;
  for (int64_t size : shape)
    if (__builtin_mul_overflow(elements, size, &elements))
      return std::nullopt;
  if (elements > INT64_MAX / 8)
    return std::nullopt;
  return mil::byteSize(dtype, elements);
}

Expected<TensorData> parseNpy(llvm::ArrayRef<uint8_t> bytes, std::shared_ptr<const void> owner) {
  llvm::StringRef text(reinterpret_cast<const char *>(bytes.data()), bytes.size());
  if (!text.starts_with(kMagic) || text.size() < 8)
    return makeError(Code::ArrayFile, "it is no .npy file (save one with numpy.save)");
  unsigned major = bytes[6], minor = bytes[7];
  if (major < 1 || major > 3 || minor != 0)
    return makeError(Code::ArrayFile, "version {0}.{1} of the format is not known", major, minor);
  size_t start = major == 1 ? 10 : 12;
  if (text.size() < start)
    return makeError(Code::ArrayFile, "it is cut off in the header");
  size_t length = major == 1 ? llvm::support::endian::read16le(&bytes[8])
                             : llvm::support::endian::read32le(&bytes[8]);
  if (text.size() - start < length)
    return makeError(Code::ArrayFile, "it is cut off in the header");
  HeaderParser header(text.substr(start, length));
  if (Error error = header.parse())
    return error;

  const auto *known =
      llvm::find_if(kDescriptions, [&](const auto &d) { return d.first == *header.descr; });
  if (known == std::end(kDescriptions))
    return makeError(Code::ArrayFile,
                     "element type '{0}' is not supported; little-endian float16 to float64, bool "
                     "and integers are",
                     *header.descr);
  auto size = dataSize(known->second, header.shape);
  if (!size || *size != text.size() - start - length)
    return makeError(Code::ArrayFile,
                     "it holds {0} bytes of data where the header's shape needs {1}",
                     text.size() - start - length, size ? std::to_string(*size) : "too many");
  auto storage = mil::keptStorage(bytes.drop_front(start + length), std::move(owner));
  if (!*header.fortran)
    return TensorData::view(std::move(storage), 0, known->second, header.shape);
  // The first index runs fastest.
  llvm::SmallVector<int64_t, 5> strides;
  int64_t stride = 1;
  for (int64_t dimension : header.shape) {
    strides.push_back(stride);
    stride *= std::max<int64_t>(dimension, 1);
  }
  return TensorData::view(std::move(storage), 0, known->second, header.shape, strides);
}

bool isNpyFile(llvm::StringRef path) {
  auto file = MappedFile::open(path);
  if (!file) {
    llvm::consumeError(file.takeError());
    return false;
  }
  return llvm::toStringRef((*file)->bytes()).starts_with(kMagic);
}

Expected<TensorData> readNpy(llvm::StringRef path) {
  auto file = MappedFile::open(path);
  if (!file)
    return file.takeError();
  auto tensor = parseNpy((*file)->bytes(), *file);
  if (!tensor)
    return addContext(tensor.takeError(), path);
  return tensor;
}

Error writeNpy(llvm::StringRef path, const TensorData &tensor) {
  const auto *known =
      llvm::find_if(kDescriptions, [&](const auto &d) { return d.second == tensor.dtype(); });
  if (known == std::end(kDescriptions))
    return makeError(Code::ArrayFile, "{0}: NumPy has no element type for {1}", path,
                     mil::name(tensor.dtype()));
  std::string header =
      fmt::format("{{'descr': '{0}', 'fortran_order': False, 'shape': (", known->first);
  for (int64_t size : tensor.shape())
    header += std::to_string(size) + (tensor.rank() == 1 ? "," : ", ");
  if (tensor.rank() > 1)
    header.resize(header.size() - 2);
  header += "), }";
  // Data starts at a multiple of 64; the header ends in a newline.
  size_t total = (10 + header.size() + 1 + 63) / 64 * 64;
  header.append(total - 10 - header.size() - 1, ' ');
  header += '\n';
  std::string prefix = kMagic.str() + std::string("\x01\x00", 2);
  prefix += char(header.size() & 0xFF);
  prefix += char(header.size() >> 8);

  auto bytes = tensor.bytes();
  if (!bytes)
    return addContext(bytes.takeError(), path);
  auto file = NewFile::create(path);
  if (!file)
    return file.takeError();
  if (Error error = file->file().writeAt(0, prefix + header))
    return error;
  if (Error error =
          file->file().writeAt(prefix.size() + header.size(), llvm::ArrayRef<uint8_t>(*bytes)))
    return error;
  return file->commit(/*flush=*/false);
}

} // namespace plait::runtime
