// Reading packages: the top levels of the model file are walked by hand, so that one function's
// tree exists at a time.
#include "backend/PackageReader.h"

#include "Model.pb.h"
#include "backend/Description.h"
#include "backend/Manifest.h"
#include "backend/ProtoFunction.h"

#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/Path.h"
#include <google/protobuf/io/coded_stream.h>
#if GOOGLE_PROTOBUF_VERSION < 4022000
#include <google/protobuf/stubs/logging.h>
#endif

namespace plait {

namespace {

using llvm::StringRef;

/// One field of a message: its number, and its value or its bytes.
struct Field {
  unsigned number;
  bool isBytes;
  uint64_t value;
  StringRef bytes;
};

/// Splits a serialised message into fields. After a failure there are no more fields and ok() is
/// false.
class FieldReader {
public:
  explicit FieldReader(StringRef bytes)
      : bytes(bytes), in(reinterpret_cast<const uint8_t *>(bytes.data()), int(bytes.size())) {}

  std::optional<Field> next() {
    uint32_t tag = in.ReadTag();
    if (tag == 0) {
      good &= in.ConsumedEntireMessage();
      return std::nullopt;
    }
    Field field{tag >> 3, (tag & 7) == 2, 0, {}};
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
    return field;
  }
  bool ok() const { return good; }

private:
  StringRef bytes;
  google::protobuf::io::CodedInputStream in;
  bool good = true;
};

/// Protobuf before its version 22 reports damaged text on stderr by itself; the error returned here
/// says enough.
struct QuietProtobuf {
#if GOOGLE_PROTOBUF_VERSION < 4022000
  google::protobuf::LogSilencer silencer;
#endif
};

/// The parts of a model file, as slices of it.
struct ModelParts {
  int64_t version = 0;
  spec::ModelDescription description;
  int64_t programVersion = 0;
  std::vector<std::pair<std::string, StringRef>> functions; // name and MILSpec.Function
  std::vector<StringRef> attributes;                        // map entries
  bool hasProgram = false;
  unsigned otherKind = 0; // the field of another kind of model
};

bool parse(google::protobuf::MessageLite &message, StringRef bytes) {
  [[maybe_unused]] QuietProtobuf quiet;
  return message.ParseFromArray(bytes.data(), int(bytes.size()));
}

bool splitProgram(StringRef bytes, ModelParts &parts) {
  FieldReader reader(bytes);
  while (std::optional<Field> field = reader.next()) {
    if (field->number == wire::Program::kVersionFieldNumber && !field->isBytes) {
      parts.programVersion = int64_t(field->value);
    } else if (field->number == wire::Program::kFunctionsFieldNumber && field->isBytes) {
      std::string name;
      StringRef body;
      FieldReader entry(field->bytes);
      while (std::optional<Field> part = entry.next()) {
        if (part->number == 1 && part->isBytes)
          name = part->bytes.str();
        if (part->number == 2 && part->isBytes)
          body = part->bytes;
      }
      if (!entry.ok())
        return false;
      parts.functions.emplace_back(std::move(name), body);
    } else if (field->number == wire::Program::kAttributesFieldNumber && field->isBytes) {
      parts.attributes.push_back(field->bytes);
    }
  }
  return reader.ok();
}

bool splitModel(StringRef bytes, ModelParts &parts) {
  FieldReader reader(bytes);
  while (std::optional<Field> field = reader.next()) {
    if (field->number == spec::Model::kSpecificationVersionFieldNumber && !field->isBytes) {
      parts.version = int64_t(field->value);
    } else if (field->number == spec::Model::kDescriptionFieldNumber && field->isBytes) {
      spec::ModelDescription description;
      if (!parse(description, field->bytes))
        return false;
      parts.description.MergeFrom(description);
    } else if (field->number == spec::Model::kMlProgramFieldNumber && field->isBytes) {
      parts.hasProgram = true;
      if (!splitProgram(field->bytes, parts))
        return false;
    } else if (field->number >= 200 && field->isBytes) {
      parts.otherKind = field->number;
    }
  }
  return reader.ok();
}

Error readFunctions(ModelParts &parts, WeightFiles &files, mil::Program &program) {
  std::vector<spec::FunctionDescription> described = describedFunctions(parts.description);
  // In the order of the description; protobuf's map of functions has none.
  std::stable_sort(
      parts.functions.begin(), parts.functions.end(), [&](const auto &a, const auto &b) {
        auto rank = [&](StringRef name) {
          return llvm::find_if(described, [&](const auto &d) { return d.name() == name; }) -
                 described.begin();
        };
        return std::pair(rank(a.first), StringRef(a.first)) <
               std::pair(rank(b.first), StringRef(b.first));
      });
  for (const auto &[name, bytes] : parts.functions) {
    if (program.function(name))
      return makeError("two functions are named '{0}'", name);
    wire::Function message;
    if (!parse(message, bytes))
      return makeError("function '{0}' is damaged", name);
    std::optional<mil::Opset> opset = mil::parseOpset(message.opset());
    if (!opset)
      return makeError("function '{0}' has the opset '{1}', which is not known", name,
                       message.opset());
    mil::Function &function = *program.addFunction(name, *opset);
    static const spec::FunctionDescription nothing;
    auto it =
        llvm::find_if(described, [&, &name = name](const auto &d) { return d.name() == name; });
    const spec::FunctionDescription &description = it == described.end() ? nothing : *it;
    Error error = decodeFunction(message, function, files, [&](StringRef input, mil::Type type) {
      return refineInput(description, input, std::move(type));
    });
    if (error)
      return addContext(std::move(error), "function '" + name + "'");
    decodeFeatures(description, function);
  }
  return Error::success();
}

Error readAttributes(const ModelParts &parts, WeightFiles &files, mil::Program &program) {
  wire::Program attributes;
  for (StringRef entry : parts.attributes) {
    std::string field;
    appendStringField(field, wire::Program::kAttributesFieldNumber, entry);
    wire::Program one;
    if (!parse(one, field))
      return makeError("the program's attributes are damaged");
    attributes.MergeFrom(one);
  }
  std::map<std::string, const wire::Value *> sorted;
  for (const auto &[name, value] : attributes.attributes())
    sorted[name] = &value;
  for (const auto &[name, encoded] : sorted) {
    Expected<mil::Attr> value = decodeValue(*encoded, files);
    if (!value)
      return addContext(value.takeError(), "attribute '" + name + "'");
    program.attributes.emplace_back(name, std::move(*value));
  }
  return Error::success();
}

Expected<Package> readModel(StringRef modelPath) {
  auto file = MappedFile::open(modelPath);
  if (!file)
    return file.takeError();
  if ((*file)->bytes().size() > size_t(INT32_MAX))
    return makeError("it is larger than 2 GiB, which protobuf does not allow");
  ModelParts parts;
  if (!splitModel(llvm::toStringRef((*file)->bytes()), parts))
    return makeError("it is damaged, or no Core ML model");
  if (!parts.hasProgram) {
    if (parts.otherKind)
      return makeError("it is not an mlprogram but another kind of model (field {0} of Model); "
                       "convert it again as "
                       "an mlprogram",
                       parts.otherKind);
    return makeError("it holds no program");
  }
  if (parts.version < 6 || parts.version > 9)
    return makeError("its specification version is {0}; 6 to 9 are supported", parts.version);
  if (parts.programVersion != 1)
    return makeError("its program has version {0}; 1 is supported", parts.programVersion);

  Package package;
  package.specificationVersion = int(parts.version);
  package.program = std::make_unique<mil::Program>();
  decodeDescription(parts.description, *package.program);
  WeightFiles files(llvm::sys::path::parent_path(modelPath).str());
  if (Error error = readFunctions(parts, files, *package.program))
    return error;
  if (Error error = readAttributes(parts, files, *package.program))
    return error;
  std::vector<StringRef> names(files.opened().keys().begin(), files.opened().keys().end());
  llvm::sort(names);
  for (StringRef name : names)
    if (auto weights = files.opened().lookup(name))
      package.weights.push_back(std::move(weights));
  return package;
}

} // namespace

Expected<Package> openPackage(StringRef path) {
  Expected<std::string> model = findRootModel(path);
  if (!model)
    return model.takeError();
  Expected<Package> package = readModel(*model);
  if (!package)
    return addContext(package.takeError(), "'" + *model + "'");
  return package;
}

Expected<std::unique_ptr<mil::Program>> readPackage(StringRef path) {
  Expected<Package> package = openPackage(path);
  if (!package)
    return package.takeError();
  return std::move(package->program);
}

} // namespace plait
