// The grammar is in the header.
#include "adapters/Safetensors.h"

#include "support/Json.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/ADT/StringSwitch.h"
#include "llvm/Support/Endian.h"

namespace plait::adapters {

namespace json = llvm::json;
using llvm::StringRef;
using mil::DType;

static constexpr uint64_t kMaxHeader = 32 << 20;
static constexpr size_t kMaxRank = 16;

namespace {
struct Element {
  unsigned bits;
  std::optional<DType> dtype;
};
} // namespace

static std::optional<Element> elementOf(StringRef name) {
  return llvm::StringSwitch<std::optional<Element>>(name)
      .Case("BOOL", Element{8, DType::Bool})
      .Case("U8", Element{8, DType::U8})
      .Case("I8", Element{8, DType::I8})
      .Case("I16", Element{16, DType::I16})
      .Case("I32", Element{32, DType::I32})
      .Case("I64", Element{64, DType::I64})
      .Case("F16", Element{16, DType::F16})
      .Case("BF16", Element{16, DType::BF16})
      .Case("F32", Element{32, DType::F32})
      .Case("F64", Element{64, DType::F64})
      .Cases("F8_E4M3", "F8_E5M2", "F8_E8M0", Element{8, std::nullopt})
      .Cases("F4", "F6_E2M3", "F6_E3M2", Element{0, std::nullopt})
      .Case("U16", Element{16, std::nullopt})
      .Case("U32", Element{32, std::nullopt})
      .Cases("U64", "C64", Element{64, std::nullopt})
      .Default(std::nullopt);
}

/// A member that must be a list of non-negative integers.
static Expected<llvm::SmallVector<int64_t, 4>> integers(const json::Object &object,
                                                        StringRef tensor, StringRef member) {
  const json::Array *array = object.getArray(member);
  if (!array)
    return makeError(Code::ArchiveDamaged, "tensor '{0}' has no list '{1}'", tensor, member);
  llvm::SmallVector<int64_t, 4> values;
  for (const json::Value &element : *array) {
    auto value = jsonInteger(element);
    if (!value)
      return makeError(Code::ArchiveDamaged,
                       "tensor '{0}': '{1}' holds something other than integers of 64 bits", tensor,
                       member);
    if (*value < 0)
      return makeError(Code::ArchiveDamaged, "tensor '{0}': '{1}' holds the negative number {2}",
                       tensor, member, *value);
    values.push_back(*value);
  }
  return values;
}

static Expected<SafetensorsEntry> readEntry(StringRef name, const json::Value &value,
                                            llvm::ArrayRef<uint8_t> data) {
  const json::Object *object = value.getAsObject();
  if (!object)
    return makeError(Code::ArchiveDamaged, "the entry of tensor '{0}' is no JSON object", name);
  auto dtype = object->getString("dtype");
  auto element = dtype ? elementOf(*dtype) : std::nullopt;
  if (!element)
    return makeError(Code::ArchiveDamaged, "tensor '{0}' is of the unknown type '{1}'", name,
                     dtype ? *dtype : StringRef("(none)"));
  auto shape = integers(*object, name, "shape");
  if (!shape)
    return shape.takeError();
  auto offsets = integers(*object, name, "data_offsets");
  if (!offsets)
    return offsets.takeError();
  if (shape->size() > kMaxRank)
    return makeError(Code::ArchiveDamaged, "tensor '{0}' has {1} dimensions", name, shape->size());
  if (offsets->size() != 2 || (*offsets)[0] > (*offsets)[1])
    return makeError(Code::ArchiveDamaged,
                     "tensor '{0}': 'data_offsets' must be a begin and an end after it", name);
  uint64_t begin = (*offsets)[0], end = (*offsets)[1];
  if (end > data.size())
    return makeError(Code::ArchiveDamaged,
                     "tensor '{0}' ends at byte {1} of the data, which has {2}: the file is "
                     "truncated or damaged; copy or download it again",
                     name, end, data.size());
  // Strides are products of some sizes: they must fit even where another size is zero.
  uint64_t bytes = element->bits / 8, strides = std::max<uint64_t>(bytes, 1);
  for (int64_t size : *shape) {
    if (size > 0 && strides > UINT64_MAX / 16 / uint64_t(size))
      return makeError(Code::ArchiveDamaged, "tensor '{0}' is larger than any file", name);
    strides *= uint64_t(std::max<int64_t>(size, 1));
    bytes *= uint64_t(size);
  }
  if (element->bits && bytes != end - begin)
    return makeError(Code::ArchiveDamaged,
                     "tensor '{0}' takes {1} bytes by its shape and type, but {2} by its offsets",
                     name, bytes, end - begin);
  return SafetensorsEntry{name.str(), dtype->str(), element->dtype, std::move(*shape),
                          data.slice(begin, end - begin)};
}

Expected<Safetensors> Safetensors::read(llvm::ArrayRef<uint8_t> file) {
  if (file.size() < 8)
    return makeError(Code::ArchiveDamaged, "the file has {0} bytes, too few for a safetensors file",
                     file.size());
  uint64_t length = llvm::support::endian::read64le(file.data());
  if (length > file.size() - 8)
    return makeError(Code::ArchiveDamaged,
                     "the header claims {0} bytes and the file has {1}: it is truncated or no "
                     "safetensors file; copy or download it again",
                     length, file.size());
  if (length > kMaxHeader)
    return makeError(Code::TooLarge, "the header claims {0} bytes; {1} is the limit", length,
                     kMaxHeader);
  StringRef header = llvm::toStringRef(file.slice(8, length));
  llvm::ArrayRef<uint8_t> data = file.drop_front(8 + length);
  if (!header.starts_with("{"))
    return makeError(Code::ArchiveDamaged,
                     "the header is no JSON object: this is no safetensors file");
  auto parsed = parseJson(header.rtrim(StringRef("\0 ", 2)));
  if (!parsed)
    return addContext(parsed.takeError(), "the header");
  const json::Object *object = parsed->getAsObject();
  if (!object)
    return makeError(Code::ArchiveDamaged, "the header is no JSON object");

  Safetensors result;
  for (const auto &[key, value] : *object) {
    StringRef name = key;
    if (name == "__metadata__") {
      const json::Object *metadata = value.getAsObject();
      for (const auto &entry : metadata ? *metadata : json::Object()) {
        auto text = entry.second.getAsString();
        if (!text)
          return makeError(Code::ArchiveDamaged, "the metadata '{0}' is no text",
                           StringRef(entry.first));
        result.metadata[entry.first] = text->str();
      }
      continue;
    }
    auto entry = readEntry(name, value, data);
    if (!entry)
      return entry.takeError();
    result.entries.push_back(std::move(*entry));
  }
  llvm::sort(result.entries, [](const SafetensorsEntry &a, const SafetensorsEntry &b) {
    return std::make_tuple(a.bytes.begin(), a.bytes.end(), StringRef(a.name)) <
           std::make_tuple(b.bytes.begin(), b.bytes.end(), StringRef(b.name));
  });
  const uint8_t *end = data.begin();
  for (const SafetensorsEntry &entry : result.entries) {
    if (entry.bytes.begin() != end)
      return makeError(Code::ArchiveDamaged, "tensor '{0}' {1} the tensor before it", entry.name,
                       entry.bytes.begin() < end ? "overlaps" : "leaves a gap after");
    end = entry.bytes.end();
  }
  if (end != data.end())
    return makeError(Code::ArchiveDamaged, "{0} bytes at the end of the file belong to no tensor",
                     data.end() - end);
  return result;
}

} // namespace plait::adapters
