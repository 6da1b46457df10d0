// Reading and writing programs in Core ML's text form.
#include "backend/TextModel.h"

#include "backend/Description.h"
#include "backend/ProtoValue.h"
#include "backend/WeightWriter.h"
#include "mil/MappedStorage.h"
#include "mil/Parser.h"
#include "mil/Printer.h"
#include "mil/StandIn.h"
#include "support/FileStream.h"
#include "support/NewFile.h"

#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/JSON.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/Path.h"
#include "llvm/Support/raw_ostream.h"

namespace fs = llvm::sys::fs;
namespace path = llvm::sys::path;

namespace plait {

namespace {

using llvm::StringRef;
using mil::Attr;

constexpr StringRef defaultFunctionKey = "defaultFunction", metadataKey = "metadata",
                    userPrefix = "user:";

std::string joined(StringRef folder, StringRef name) {
  llvm::SmallString<256> result(folder);
  path::append(result, name);
  return result.str().str();
}

// ---- What the text form has no place for --------------------------------------------------------

std::string *metadataField(mil::Metadata &metadata, StringRef key) {
  return key == "author"        ? &metadata.author
         : key == "license"     ? &metadata.license
         : key == "version"     ? &metadata.version
         : key == "description" ? &metadata.description
                                : nullptr;
}

/// Takes the attributes that addOwnAttributes() made.
void takeOwnAttributes(mil::Program &program) {
  llvm::erase_if(program.attributes, [&](const auto &attribute) {
    const auto &[key, value] = attribute;
    if (const std::string *name = value.string(); name && key == defaultFunctionKey) {
      program.defaultFunction = *name;
      return true;
    }
    const Attr::Dict *entries = key == metadataKey ? value.dict() : nullptr;
    if (!entries)
      return false;
    for (const auto &[entryKey, entry] : *entries) {
      const std::string *name = entryKey.string(), *text = entry.string();
      if (!name || !text)
        continue;
      StringRef user = *name;
      if (user.consume_front(userPrefix))
        program.metadata.userDefined[user.str()] = *text;
      else if (std::string *field = metadataField(program.metadata, *name))
        *field = *text;
    }
    return true;
  });
}

using Attributes = std::vector<std::pair<std::string, Attr>>;

/// The program's attributes and those for what the text has no place for.
Attributes withOwnAttributes(const mil::Program &program) {
  Attributes attributes = program.attributes;
  if (!program.defaultFunction.empty())
    attributes.emplace_back(defaultFunctionKey.str(), Attr::string(program.defaultFunction));
  mil::Metadata metadata = program.metadata;
  Attr::Dict entries;
  for (const char *key : {"author", "license", "version", "description"})
    if (const std::string *field = metadataField(metadata, key); !field->empty())
      entries.emplace_back(Attr::string(key), Attr::string(*field));
  for (const auto &[key, value] : metadata.userDefined)
    entries.emplace_back(Attr::string((userPrefix + key).str()), Attr::string(value));
  if (!entries.empty()) {
    mil::Type string = mil::Type::tensor(mil::DType::String);
    attributes.emplace_back(metadataKey.str(), Attr::dict(string, string, std::move(entries)));
  }
  return attributes;
}

// ---- metadata.json ------------------------------------------------------------------------------

/// What a compiled model's metadata.json says; it may be missing.
Error readMetadata(StringRef folder, Package &package) {
  std::string where = joined(folder, "metadata.json");
  auto buffer = llvm::MemoryBuffer::getFile(where);
  if (!buffer)
    return Error::success();
  StringRef text = (*buffer)->getBuffer();
  // The parser bounds no nesting; what such a file holds nests a few levels deep.
  if (text.count('{') + text.count('[') > 100000)
    return makeError(Code::NoPackage, "'{0}': this describes no model", where);
  Expected<llvm::json::Value> parsed = llvm::json::parse(text);
  if (!parsed)
    return makeError(Code::PackageDamaged, "'{0}': {1}", where, llvm::toString(parsed.takeError()));
  const llvm::json::Array *models = parsed->getAsArray();
  const llvm::json::Object *model =
      models && !models->empty() ? models->front().getAsObject() : parsed->getAsObject();
  if (!model)
    return makeError(Code::NoPackage, "'{0}': this describes no model", where);
  mil::Metadata &metadata = package.program->metadata;
  for (auto [key, field] :
       {std::pair("author", &metadata.author), std::pair("license", &metadata.license),
        std::pair("version", &metadata.version),
        std::pair("shortDescription", &metadata.description)})
    if (auto value = model->getString(key))
      *field = value->str();
  if (const llvm::json::Object *user = model->getObject("userDefinedMetadata"))
    for (const auto &[key, value] : *user)
      if (auto valueText = value.getAsString())
        metadata.userDefined[key.str()] = valueText->str();
  if (auto name = model->getString("defaultFunctionName"); name && package.program->function(*name))
    package.program->defaultFunction = name->str();
  return Error::success();
}

/// A program of several functions has a default one: `main`, or else the first.
void chooseDefault(mil::Program &program) {
  if (!program.defaultFunction.empty() || program.functions().empty())
    return;
  bool hasMain = program.function("main");
  if (program.functions().size() > 1 || !hasMain)
    program.defaultFunction = hasMain ? "main" : program.functions()[0]->name;
}

// ---- Writing ------------------------------------------------------------------------------------

/// Constants that the printer names a place for, in the order in which it does.
std::vector<WeightRequest> largeConstants(const mil::Program &program, mil::Evaluator *evaluator) {
  std::vector<WeightRequest> requests;
  mil::PrintOptions options;
  options.evaluator = evaluator;
  options.digests = false;
  options.blob = [&](const mil::TensorData &tensor) {
    requests.push_back({tensor});
    return mil::BlobLocation();
  };
  llvm::raw_null_ostream nowhere;
  mil::print(program, nowhere, options);
  return requests;
}

} // namespace

// ---- Interface ----------------------------------------------------------------------------------

bool isCompiledModel(StringRef folder) { return fs::exists(joined(folder, "model.mil")); }

Expected<Package> parseText(StringRef text, StringRef where) {
  WeightFiles files(path::parent_path(where).str());
  mil::ParseOptions options;
  options.fileName = where.str();
  options.blob = [&](StringRef reference, uint64_t offset,
                     const mil::Type &type) -> Expected<mil::TensorData> {
    if (reference == mil::standInPath)
      return mil::standIn(reference, offset, type);
    auto shape = mil::constShape(type.shape());
    if (!shape)
      return makeError(Code::PackageDamaged, "a constant has the dynamic type {0}", type.str());
    return files.tensor(reference, offset, type.dtype(), *shape);
  };
  auto program = mil::parseProgram(text, options);
  if (!program)
    return program.takeError();
  Package package;
  package.program = std::move(*program);
  package.weights = files.opened();
  package.references = files.references();
  package.specificationVersion =
      mil::info(package.program->functions().empty() ? mil::kDefaultOpset
                                                     : package.program->functions()[0]->opset)
          .specificationVersion;
  takeOwnAttributes(*package.program);
  return package;
}

Expected<Package> openText(StringRef where) {
  auto buffer = llvm::MemoryBuffer::getFile(where, /*IsText=*/true);
  if (!buffer)
    return makeError(Code::FileUnreadable, "'{0}': {1}", where, buffer.getError().message());
  return parseText((*buffer)->getBuffer(), where);
}

Expected<Package> openCompiledModel(StringRef folder) {
  Expected<Package> package = openText(joined(folder, "model.mil"));
  if (!package)
    return package.takeError();
  if (Error error = readMetadata(folder, *package))
    return error;
  chooseDefault(*package->program);
  return package;
}

Error writeTextModel(const mil::Program &program, StringRef where, mil::Evaluator *evaluator,
                     unsigned threads) {
  llvm::SmallString<256> weightsPath(where);
  path::replace_extension(weightsPath, "weights.bin");
  collectAbandoned(path::parent_path(where));
  Expected<NewFile> text = NewFile::create(where);
  if (!text)
    return text.takeError();
  std::vector<WeightRequest> requests = largeConstants(program, evaluator);
  std::optional<NewFile> weights;
  WeightLayout layout;
  if (!requests.empty()) {
    Expected<NewFile> file = NewFile::create(weightsPath);
    if (!file)
      return file.takeError();
    weights.emplace(std::move(*file));
    Expected<WeightLayout> written = writeWeights(weights->file(), requests, threads, evaluator);
    if (!written)
      return written.takeError();
    layout = std::move(*written);
  }

  mil::PrintOptions options;
  options.evaluator = evaluator;
  size_t next = 0;
  options.blob = [&](const mil::TensorData &) {
    return mil::BlobLocation{("@model_path/" + path::filename(weightsPath)).str(),
                             layout.offset(next++)};
  };
  options.programAttributes = withOwnAttributes(program);
  FileStream out(text->file());
  mil::print(program, out, options);
  if (Error error = out.finish())
    return error;
  if (Error error = mil::checkUnchanged(program))
    return error;
  if (weights)
    if (Error error = weights->commit(/*flush=*/false))
      return error;
  return text->commit(/*flush=*/false);
}

} // namespace plait
