// Reading packages. The outer levels of the model file are walked by hand, so that the message tree
// of only one function exists at a time.
#include "backend/PackageReader.h"

#include "Model.pb.h"
#include "backend/DebugInfo.h"
#include "backend/Description.h"
#include "backend/Manifest.h"
#include "backend/ModelParts.h"
#include "backend/ProtoFunction.h"
#include "backend/TextModel.h"
#include "mil/ConstantArguments.h"
#include "support/Failure.h"

#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Path.h"

namespace plait {

namespace {

using llvm::StringRef;

Error readFunctions(ModelParts &parts, const spec::ModelDescription &model, WeightFiles &files,
                    mil::Program &program) {
  std::vector<spec::FunctionDescription> described = describedFunctions(model);
  // In the order of the description; protobuf's map of functions has none.
  llvm::sort(parts.functions, [&](const auto &a, const auto &b) {
    auto rank = [&](StringRef name) {
      return llvm::find_if(described, [&](const auto &d) { return d.name() == name; }) -
             described.begin();
    };
    return std::pair(rank(a.name), StringRef(a.name)) < std::pair(rank(b.name), StringRef(b.name));
  });
  for (const auto &[name, bytes, field] : parts.functions) {
    if (program.function(name))
      return makeError(Code::PackageDamaged, "two functions are named '{0}'", name);
    wire::Function message;
    if (!parseMessage(message, bytes))
      return makeError(Code::PackageDamaged, "function '{0}' is damaged", name);
    std::optional<mil::Opset> opset = mil::parseOpset(message.opset());
    if (!opset)
      return makeFailure(FailureKind::Unsupported, Code::OpsetMismatch,
                         fmt::format("function '{0}' has the opset '{1}', which is not known", name,
                                     message.opset()));
    mil::Function &function = *program.addFunction(name, *opset);
    static const spec::FunctionDescription nothing;
    auto it =
        llvm::find_if(described, [&, &name = name](const auto &d) { return d.name() == name; });
    const spec::FunctionDescription &description = it == described.end() ? nothing : *it;
    InterfaceNotes notes = decodeNotes(model.metadata(), name);
    SizesByInput sizes = notedSizes(description, notes);
    Error error = decodeFunction(message, function, files, [&](StringRef input, mil::Type type) {
      return refineInput(description, sizes, input, std::move(type));
    });
    if (!error)
      error = checkInterface(description, function);
    if (error)
      return addContext(std::move(error), "function '" + name + "'");
    decodeFeatures(description, function);
    mil::setConstantArguments(function, notes.constants);
    mil::setHandedInputs(function, notes.handedOn);
  }
  return Error::success();
}

Error readAttributes(const ModelParts &parts, WeightFiles &files, mil::Program &program) {
  wire::Program attributes;
  for (StringRef entry : parts.attributes) {
    std::string field;
    appendStringField(field, wire::Program::kAttributesFieldNumber, entry);
    wire::Program one;
    if (!parseMessage(one, field))
      return makeError(Code::PackageDamaged, "the program's attributes are damaged");
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

Expected<Package> readModel(StringRef modelPath, const MappedFile &file) {
  Expected<ModelParts> parts = splitModel(llvm::toStringRef(file.bytes()));
  if (!parts)
    return parts.takeError();
  spec::ModelDescription description;
  if (!parseMessage(description, parts->description))
    return makeError(Code::PackageDamaged, "its description is damaged");

  Package package;
  package.specificationVersion = int(parts->specificationVersion);
  package.program = std::make_unique<mil::Program>();
  decodeDescription(description, *package.program);
  WeightFiles files(llvm::sys::path::parent_path(modelPath).str());
  if (Error error = readFunctions(*parts, description, files, *package.program))
    return error;
  if (Error error = readAttributes(*parts, files, *package.program))
    return error;
  package.weights = files.opened();
  package.references = files.references();

  // What nothing here reads is kept.
  if (!package.program->functions().empty() &&
      package.specificationVersion >
          mil::info(package.program->functions()[0]->opset).specificationVersion) {
    // An interface may need a later version than the operations do.
    spec::Model version;
    version.set_specificationversion(package.specificationVersion);
    appendDeterministic(parts->otherModel, version);
  }
  package.program->metadata.otherModel = std::move(parts->otherModel);
  wire::Program other;
  if (!parseMessage(other, parts->otherProgram))
    return makeError(Code::PackageDamaged, "its program is damaged");
  package.program->docString = other.docstring();
  if (Error error = file.checkUnchanged())
    return error;
  return package;
}

} // namespace

Expected<Package> openPackage(StringRef path) {
  if (path.ends_with(".mil"))
    return openText(path);
  if (!isPackage(path) && isCompiledModel(path))
    return openCompiledModel(path);
  // A package may change while it is read. Where the model is another one in the end, the weights
  // may be those of that one.
  constexpr int attempts = 20;
  for (int attempt = 0; attempt < attempts; ++attempt) {
    Expected<std::string> model = findRootModel(path);
    if (!model)
      return model.takeError();
    auto file = MappedFile::open(*model);
    if (!file)
      return file.takeError();
    Expected<Package> package = readModel(*model, **file);
    Error error = package ? readDebugInfo(*model, *package->program) : Error::success();
    llvm::sys::fs::UniqueID now;
    if (llvm::sys::fs::getUniqueID(*model, now) || now != (*file)->id()) {
      consumeError(joinErrors(std::move(error), package ? Error::success() : package.takeError()));
      continue;
    }
    if (error)
      return error;
    if (!package)
      return addContext(package.takeError(), "'" + *model + "'");
    return package;
  }
  return makeError(Code::FileBusy, "'{0}' changes all the time; try again when nobody writes to it",
                   path);
}

Expected<mil::Opset> packageOpset(StringRef path) {
  Expected<std::string> model = findRootModel(path);
  if (!model)
    return model.takeError();
  auto file = MappedFile::open(*model);
  if (!file)
    return file.takeError();
  Expected<ModelParts> parts = splitModel(llvm::toStringRef((*file)->bytes()));
  if (!parts)
    return addContext(parts.takeError(), "'" + *model + "'");
  if (parts->functions.empty())
    return makeError(Code::PackageDamaged, "'{0}': it has no functions", *model);
  return opsetOf(parts->functions[0]);
}

Expected<std::unique_ptr<mil::Program>> readPackage(StringRef path) {
  Expected<Package> package = openPackage(path);
  if (!package)
    return package.takeError();
  return std::move(package->program);
}

} // namespace plait
