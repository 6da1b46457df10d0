// Adding functions to packages and removing them, with the rename of the model as the only commit
// point.
#include "backend/PackageEdit.h"

#include "Model.pb.h"
#include "backend/DebugInfo.h"
#include "backend/Description.h"
#include "backend/Manifest.h"
#include "backend/ModelParts.h"
#include "backend/ModelWriter.h"
#include "backend/PackageReader.h"
#include "backend/ProtoFunction.h"
#include "support/FolderLock.h"
#include "support/Unfinished.h"

#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Path.h"

namespace fs = llvm::sys::fs;
namespace path = llvm::sys::path;

namespace plait {

using llvm::StringRef;

namespace {

std::error_code nothing() { return {}; }

/// A package that is held against other processes, and what its model says.
struct OpenedPackage {
  std::optional<FolderLock> lock;
  std::string modelPath, weightPath;
  std::shared_ptr<const MappedFile> modelFile;
  ModelParts parts; // slices of modelFile
  spec::ModelDescription description;
  std::set<uint64_t> references; // offsets into the weight file
};

Expected<OpenedPackage> openToEdit(StringRef folder) {
  OpenedPackage package;
  Expected<std::string> model = findRootModel(folder);
  if (!model)
    return model.takeError();
  Expected<FolderLock> lock = FolderLock::take(folder);
  if (!lock)
    return lock.takeError();
  package.lock.emplace(std::move(*lock));
  // Where a link leads out of the package, it is another one that would be changed.
  llvm::SmallString<256> inside, around;
  std::error_code ec = fs::real_path(path::parent_path(*model), inside);
  if (!ec)
    ec = fs::real_path(folder, around);
  if (ec)
    return makeError("cannot open '{0}': {1}", *model, ec.message());
  if (!StringRef(inside).starts_with((around + "/").str()))
    return makeError("'{0}' lies in '{1}', outside of the package, by a link to that folder; put a "
                     "copy of the folder in the link's place",
                     *model, inside);
  package.modelPath = *model;
  llvm::SmallString<256> weights(path::parent_path(*model));
  path::append(weights, weightPath);
  package.weightPath = weights.str().str();

  // All of it is read once, so that nothing is added to a package that is damaged.
  Expected<Package> whole = openPackage(folder);
  if (!whole)
    return whole.takeError();
  package.references = std::move(whole->references[weightReference.str()]);
  auto file = MappedFile::open(*model);
  if (!file)
    return file.takeError();
  package.modelFile = *file;
  Expected<ModelParts> parts = splitModel(llvm::toStringRef((*file)->bytes()));
  if (!parts)
    return parts.takeError();
  package.parts = std::move(*parts);
  package.description.ParseFromString(package.parts.description);

  const mil::OpsetInfo &least = mil::info(mil::kDefaultOpset);
  if (package.parts.specificationVersion < least.specificationVersion)
    return makeError("'{0}': its specification version is {1}; packages of several functions have "
                     "version {2}, that of {3}: plait merge makes such a package of it",
                     folder, package.parts.specificationVersion, least.specificationVersion,
                     least.systems);
  if (package.description.functions_size() == 0) {
    spec::FunctionDescription main = describedFunctions(package.description)[0];
    package.description.clear_input();
    package.description.clear_output();
    package.description.clear_state();
    package.description.clear_predictedfeaturename();
    package.description.clear_predictedprobabilitiesname();
    package.description.set_defaultfunctionname(main.name());
    *package.description.add_functions() = std::move(main);
  }
  return package;
}

Error setDefault(OpenedPackage &package, StringRef folder, const std::string &name) {
  if (!name.empty())
    package.description.set_defaultfunctionname(name);
  const std::string &wanted = package.description.defaultfunctionname();
  llvm::SmallVector<StringRef, 8> known;
  for (const auto &function : package.description.functions())
    known.push_back(function.name());
  if (llvm::is_contained(known, wanted))
    return Error::success();
  return makeError("'{0}': '{1}' cannot be the default function; the package holds {2}", folder,
                   wanted, llvm::join(known, ", "));
}

Error writeModel(FileSystem &files, const OpenedPackage &package, const std::string &to,
                 llvm::ArrayRef<StringRef> functions, uint64_t &bytes) {
  spec::Model head;
  head.set_specificationversion(int32_t(package.parts.specificationVersion));
  *head.mutable_description() = package.description;
  ModelFrame frame;
  appendDeterministic(frame.head, head);
  frame.head += package.parts.otherModel;
  frame.programVersion = package.parts.programVersion;
  frame.otherProgram = package.parts.otherProgram;
  uint64_t functionBytes = 0;
  for (StringRef function : functions)
    functionBytes += function.size();

  auto file = files.create(to);
  if (!file)
    return file.takeError();
  Expected<uint64_t> written =
      writeModelFile(**file, frame, functionBytes, [&](Appender &out) -> Error {
        for (StringRef function : functions)
          if (Error error = out.append(function))
            return error;
        return Error::success();
      });
  if (!written)
    return written.takeError();
  bytes = *written;
  if (Error error = (*file)->flush())
    return error;
  return (*file)->close();
}

/// Steps 4 and 5. After an error the old model is in place, unless `isNew` says that it was the
/// last flush that failed.
Error replaceModel(FileSystem &files, const OpenedPackage &package,
                   llvm::ArrayRef<StringRef> functions, uint64_t &bytes, bool &isNew) {
  isNew = false;
  std::string fresh = package.modelPath + ".new";
  Unfinished::begin(fresh, nothing);
  Error error = writeModel(files, package, fresh, functions, bytes);
  if (!error) {
    Unfinished::end(fresh, [&] {
      error = package.lock->check();
      if (!error)
        error = files.rename(fresh, package.modelPath);
      return std::error_code();
    });
    if (!error) {
      isNew = true;
      return files.flushFolder(path::parent_path(package.modelPath).str());
    }
  }
  consumeError(files.remove(fresh));
  Unfinished::end(fresh, nothing);
  return error;
}

/// The weight file while blobs are put behind those that are in use.
class GrowingWeights {
public:
  explicit GrowingWeights(FileSystem &files) : files(files) {}

  Error open(const OpenedPackage &package);
  /// Steps 1 to 3.
  Error append(llvm::ArrayRef<WeightRequest> requests, const EditOptions &options,
               WeightLayout &layout);
  /// Gives up what was appended; what cannot be undone lies behind the last blob in use, where it
  /// does no harm.
  void undo();

private:
  Error separate();
  Error writeCount(uint32_t count) {
    if (Error error = file->writeAt(0, encodeWeightHeader(count)))
      return error;
    return file->flush();
  }

  FileSystem &files;
  std::string path;
  std::shared_ptr<const WeightFile> existing;
  std::vector<WeightBlob> blobs; // those up to the last one in use
  std::set<uint64_t> references;
  uint64_t end = 0;
  std::unique_ptr<WritableFile> file;
};

Error GrowingWeights::open(const OpenedPackage &package) {
  path = package.weightPath;
  references = package.references;
  if (!fs::exists(path))
    return Error::success();
  auto opened = WeightFile::open(path);
  if (!opened)
    return opened.takeError();
  existing = *opened;
  auto used = existing->blobsThrough(references.empty() ? 0 : *references.rbegin());
  size_t found = used ? size_t(llvm::count_if(*used,
                                              [&](const WeightBlob &blob) {
                                                return references.count(blob.metadataOffset);
                                              }))
                      : 0;
  if (errorToBool(used.takeError()) || found != references.size())
    return makeError("'{0}': the model refers to blobs that do not follow one another, so that "
                     "nothing can be added; plait merge makes a package of it that can grow",
                     path);
  blobs = std::move(*used);
  end = blobs.empty() ? weightAlignment : blobs.back().dataOffset + blobs.back().byteSize;
  return Error::success();
}

/// A weight file that another package has too, by a link, must not change under that package. This
/// package gets a copy of the part that it uses in its place, and means the same.
Error GrowingWeights::separate() {
  if (fs::is_symlink_file(path::parent_path(path)))
    return makeError(
        "'{0}' is a link to another folder, whose weights must stay as they are; put a "
        "copy in its place",
        path::parent_path(path));
  fs::file_status status, target;
  if (fs::status(path, status, /*follow=*/false) || fs::status(path, target))
    return Error::success();
  if (status.type() != fs::file_type::symlink_file && target.getLinkCount() < 2)
    return Error::success();
  std::string fresh = path + ".new";
  Unfinished::begin(fresh, nothing);
  Error error = [&]() -> Error {
    auto copy = files.create(fresh);
    if (!copy)
      return copy.takeError();
    llvm::ArrayRef<uint8_t> bytes = existing->storage()->bytes.take_front(end);
    constexpr size_t tile = 1 << 20;
    for (size_t begin = 0; begin < bytes.size(); begin += tile) {
      llvm::ArrayRef<uint8_t> piece = bytes.slice(begin, std::min(tile, bytes.size() - begin));
      if (Error error = (*copy)->writeAt(begin, piece))
        return error;
      existing->storage()->release(begin, piece.size());
    }
    if (Error error = (*copy)->writeAt(0, encodeWeightHeader(uint32_t(blobs.size()))))
      return error;
    if (Error error = (*copy)->flush())
      return error;
    return (*copy)->close();
  }();
  if (!error)
    error = files.rename(fresh, path);
  if (error)
    consumeError(files.remove(fresh));
  Unfinished::end(fresh, nothing);
  if (error)
    return error;
  if (Error notFlushed = files.flushFolder(path::parent_path(path).str()))
    return notFlushed;
  auto opened = WeightFile::open(path);
  if (!opened)
    return opened.takeError();
  existing = *opened;
  return Error::success();
}

Error GrowingWeights::append(llvm::ArrayRef<WeightRequest> requests, const EditOptions &options,
                             WeightLayout &layout) {
  if (existing)
    if (Error error = separate())
      return error;
  if (!existing)
    if (std::error_code ec = fs::create_directory(path::parent_path(path)))
      return makeError("cannot write '{0}': {1}", path, ec.message());
  auto opened = existing ? files.openExisting(path) : files.create(path);
  if (!opened)
    return opened.takeError();
  file = std::move(*opened);
  if (existing && existing->count() != blobs.size())
    if (Error error = writeCount(uint32_t(blobs.size())))
      return error;
  if (existing && existing->fileBytes() != end)
    if (Error error = file->resize(end))
      return error;
  Expected<WeightLayout> written = appendWeights(
      *file, existing.get(), blobs, requests, options.threads, options.evaluator, options.proceed);
  if (!written)
    return written.takeError();
  layout = std::move(*written);
  for (size_t i = 0; i < blobs.size(); ++i)
    layout.blobs[i].usedBefore = references.count(blobs[i].metadataOffset);
  if (layout.blobs.size() == blobs.size() && existing)
    return Error::success();
  if (Error error = file->resize(layout.fileBytes))
    return error;
  if (Error error = file->flush())
    return error;
  if (!existing) // The file's name and its folder's are new too.
    for (StringRef folder : {path::parent_path(path), path::parent_path(path::parent_path(path))})
      if (Error error = files.flushFolder(folder.str()))
        return error;
  return writeCount(uint32_t(layout.blobs.size()));
}

void GrowingWeights::undo() {
  if (!file)
    return;
  if (existing) {
    consumeError(writeCount(uint32_t(blobs.size())));
    consumeError(file->resize(end));
  }
  consumeError(file->close());
  if (!existing)
    consumeError(files.remove(path));
}

} // namespace

Error addFunctions(const mil::Program &program, StringRef folder, const EditOptions &options,
                   WriteReport *report) {
  FileSystem &files = *options.files;
  WriteReport local;
  WriteReport &written = report ? *report : local;
  written = {};
  Expected<OpenedPackage> package = openToEdit(folder);
  if (!package)
    return package.takeError();
  for (const ModelParts::Function &there : package->parts.functions) {
    Expected<mil::Opset> opset = opsetOf(there);
    if (!opset)
      return opset.takeError();
    for (const auto &function : program.functions())
      if (function->opset != *opset)
        return makeError("function '{0}' has the opset {1}; the functions of '{2}' have {3}",
                         function->name, mil::name(function->opset), folder, mil::name(*opset));
  }
  for (const auto &function : program.functions()) {
    for (const auto &described : package->description.functions())
      if (described.name() == function->name)
        return makeError("'{0}': there is a function '{1}' already; give the new one another name, "
                         "or take that one out: plait remove {0} {1}",
                         folder, function->name);
    if (Error error = encodeFunctionDescription(*function, *package->description.add_functions()))
      return error;
  }
  if (Error error = setDefault(*package, folder, options.defaultFunction))
    return error;

  GrowingWeights weights(files);
  if (Error error = weights.open(*package))
    return error;
  std::vector<WeightRequest> requests = collectWeights(program, /*share=*/true, written);
  bool isNew = false;
  Error error = [&]() -> Error {
    if (Error error = weights.append(requests, options, written.layout))
      return error;
    BlobOffsets offsets = placeWeights(written);
    if (options.accept)
      if (Error error = options.accept(written))
        return error;
    std::vector<std::string> added;
    for (const auto &function : program.functions()) {
      Expected<std::string> field = encodeFunctionField(*function, offsets, options.evaluator);
      if (!field)
        return field.takeError();
      added.push_back(std::move(*field));
    }
    std::vector<std::pair<StringRef, StringRef>> functions; // name and field
    for (const ModelParts::Function &function : package->parts.functions)
      functions.emplace_back(function.name, function.field);
    for (auto [function, field] : llvm::zip(program.functions(), added))
      functions.emplace_back(function->name, field);
    llvm::stable_sort(functions, llvm::less_first());
    // Before the model: of functions that this does not have in the end, it says nothing.
    if (options.debugInfo || fs::exists(debugInfoPath(package->modelPath)))
      if (Error error = editDebugInfo(files, package->modelPath, &program, {}))
        return error;
    return replaceModel(files, *package, llvm::to_vector(llvm::make_second_range(functions)),
                        written.modelBytes, isNew);
  }();
  if (error && !isNew)
    weights.undo();
  return error;
}

Error removeFunctions(StringRef folder, llvm::ArrayRef<std::string> names,
                      const EditOptions &options) {
  Expected<OpenedPackage> package = openToEdit(folder);
  if (!package)
    return package.takeError();
  auto &described = *package->description.mutable_functions();
  for (const std::string &name : names) {
    auto it =
        llvm::find_if(described, [&](const auto &function) { return function.name() == name; });
    if (it == described.end()) {
      llvm::SmallVector<StringRef, 8> known;
      for (const auto &function : described)
        known.push_back(function.name());
      return makeError("'{0}': there is no function '{1}'; there are {2}", folder, name,
                       llvm::join(known, ", "));
    }
    if (described.size() == 1)
      return makeError("'{0}': '{1}' is its last function, and a package has at least one; remove "
                       "the package itself",
                       folder, name);
    described.erase(it);
  }
  if (llvm::is_contained(names, package->description.defaultfunctionname()) &&
      options.defaultFunction.empty())
    return makeError("'{0}': '{1}' is the default function; say which one takes its place with "
                     "--default",
                     folder, package->description.defaultfunctionname());
  if (Error error = setDefault(*package, folder, options.defaultFunction))
    return error;
  std::vector<StringRef> functions;
  for (const ModelParts::Function &function : package->parts.functions)
    if (!llvm::is_contained(names, function.name))
      functions.push_back(function.field);
  uint64_t bytes;
  bool isNew;
  if (Error error = replaceModel(*options.files, *package, functions, bytes, isNew))
    return error;
  // What it says of functions that are gone does no harm.
  consumeError(editDebugInfo(*options.files, package->modelPath, nullptr, names));
  return Error::success();
}

} // namespace plait
