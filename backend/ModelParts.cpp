// Splitting model files at their outer levels.
#include "backend/ModelParts.h"

#include "Model.pb.h"
#include "support/Failure.h"

#include <google/protobuf/io/coded_stream.h>

namespace plait {

namespace spec = CoreML::Specification;
namespace wire = CoreML::Specification::MILSpec;
using llvm::StringRef;

namespace {

/// One field of a message: its number, its value or its bytes, and the whole of it.
struct Field {
  unsigned number;
  bool isBytes;
  uint64_t value;
  StringRef bytes, whole;
};

/// Splits a serialised message into fields. After a failure there are no more fields and ok() is
/// false.
class FieldReader {
public:
  explicit FieldReader(StringRef bytes)
      : bytes(bytes), in(reinterpret_cast<const uint8_t *>(bytes.data()), int(bytes.size())) {}

  std::optional<Field> next() {
    size_t begin = size_t(in.CurrentPosition());
    uint32_t tag = in.ReadTag();
    if (tag == 0) {
      good &= in.ConsumedEntireMessage();
      return std::nullopt;
    }
    Field field{tag >> 3, (tag & 7) == 2, 0, {}, {}};
    uint32_t fixed = 0;
    switch (tag & 7) {
    case 0:
      good &= in.ReadVarint64(&field.value);
      break;
    case 1:
      good &= in.ReadLittleEndian64(&field.value);
      break;
    case 2: {
      uint32_t length = 0;
      good &= in.ReadVarint32(&length) && length <= uint32_t(INT32_MAX);
      size_t position = size_t(in.CurrentPosition());
      good = good && length <= bytes.size() - position && in.Skip(int(length));
      if (good)
        field.bytes = bytes.substr(position, length);
      break;
    }
    case 5:
      good &= in.ReadLittleEndian32(&fixed);
      field.value = fixed;
      break;
    default:
      good = false;
    }
    if (!good)
      return std::nullopt;
    field.whole = bytes.slice(begin, size_t(in.CurrentPosition()));
    return field;
  }
  bool ok() const { return good; }

private:
  StringRef bytes;
  google::protobuf::io::CodedInputStream in;
  bool good = true;
};

bool splitProgram(StringRef bytes, ModelParts &parts) {
  FieldReader reader(bytes);
  while (std::optional<Field> field = reader.next()) {
    if (field->number == wire::Program::kVersionFieldNumber && !field->isBytes) {
      parts.programVersion = int64_t(field->value);
      continue;
    }
    if (field->number == wire::Program::kFunctionsFieldNumber && field->isBytes) {
      ModelParts::Function function{"", {}, field->whole};
      FieldReader entry(field->bytes);
      while (std::optional<Field> part = entry.next()) {
        if (part->number == 1 && part->isBytes)
          function.name = part->bytes.str();
        if (part->number == 2 && part->isBytes)
          function.message = part->bytes;
      }
      if (!entry.ok())
        return false;
      parts.functions.push_back(std::move(function));
      continue;
    }
    if (field->number == wire::Program::kAttributesFieldNumber && field->isBytes)
      parts.attributes.push_back(field->bytes);
    parts.otherProgram += field->whole;
  }
  return reader.ok();
}

/// The model is whole, and plait does not read its kind.
template <typename... Args> Error unsupported(fmt::format_string<Args...> format, Args &&...args) {
  return makeFailure(FailureKind::Unsupported, Code::NoProgram,
                     fmt::format(format, std::forward<Args>(args)...));
}

bool split(StringRef bytes, ModelParts &parts) {
  FieldReader reader(bytes);
  while (std::optional<Field> field = reader.next()) {
    if (field->number == spec::Model::kSpecificationVersionFieldNumber && !field->isBytes) {
      parts.specificationVersion = int64_t(field->value);
    } else if (field->number == spec::Model::kDescriptionFieldNumber && field->isBytes) {
      // One message after another is their merger.
      parts.description += field->bytes;
    } else if (field->number == spec::Model::kMlProgramFieldNumber && field->isBytes) {
      parts.hasProgram = true;
      if (!splitProgram(field->bytes, parts))
        return false;
    } else {
      if (field->number >= 200 && field->isBytes)
        parts.otherKind = field->number;
      parts.otherModel += field->whole;
    }
  }
  return reader.ok();
}

} // namespace

Expected<mil::Opset> opsetOf(const ModelParts::Function &function) {
  FieldReader reader(function.message);
  while (std::optional<Field> field = reader.next())
    if (field->number == wire::Function::kOpsetFieldNumber && field->isBytes)
      if (auto opset = mil::parseOpset(field->bytes))
        return *opset;
  return makeError(Code::OpsetMismatch, "function '{0}' has no opset that is known", function.name);
}

Expected<ModelParts> splitModel(StringRef bytes) {
  if (bytes.size() > size_t(INT32_MAX))
    return makeError(Code::TooLarge, "it is larger than 2 GiB, which protobuf does not allow");
  ModelParts parts;
  if (!split(bytes, parts))
    return makeError(Code::PackageDamaged, "it is damaged, or no Core ML model");
  if (!parts.hasProgram) {
    if (parts.otherKind)
      return unsupported("it is not an mlprogram but another kind of model (field {0} of Model); "
                         "convert it again as an mlprogram",
                         parts.otherKind);
    return makeError(Code::NoProgram, "it holds no program");
  }
  int64_t first = mil::allOpsets().front().specificationVersion;
  int64_t last = mil::allOpsets().back().specificationVersion;
  if (parts.specificationVersion < first || parts.specificationVersion > last)
    return unsupported("its specification version is {0}; {1} to {2} are supported",
                       parts.specificationVersion, first, last);
  if (parts.programVersion != 1)
    return unsupported("its program has version {0}; 1 is supported", parts.programVersion);
  return parts;
}

} // namespace plait
