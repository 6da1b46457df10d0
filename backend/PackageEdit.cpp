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
#include "mil/MappedStorage.h"
#include "support/DidYouMean.h"
#include "support/DiscardedFile.h"
#include "support/Failure.h"
#include "support/Folders.h"
#include "support/NewFile.h"

#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Path.h"

namespace fs = llvm::sys::fs;
namespace path = llvm::sys::path;

namespace plait {

using llvm::StringRef;

namespace {

/// A package that is held against other processes, and what its model says.
struct OpenedPackage {
  std::optional<FolderLock> lock;
  std::string modelPath, weightPath;
  std::shared_ptr<const MappedFile> modelFile;
  ModelParts parts; // slices of modelFile
  spec::ModelDescription description;
  std::set<uint64_t> references; // offsets into the weight file
};

Expected<OpenedPackage> openToEdit(StringRef folder, bool dryRun) {
  OpenedPackage package;
  Expected<FolderLock> lock = FolderLock::take(folder);
  if (!lock && !isPackage(folder)) // What is there instead says more.
    if (auto model = findRootModel(folder); !model) {
      consumeError(lock.takeError());
      return model.takeError();
    }
  if (!lock)
    return lock.takeError();
  package.lock.emplace(std::move(*lock));
  Expected<std::string> model = findRootModel(folder);
  if (!model)
    return model.takeError();
  // Where a link leads out of the package, it is another one that would be changed.
  llvm::SmallString<256> inside, around;
  std::error_code ec = fs::real_path(path::parent_path(*model), inside);
  if (!ec)
    ec = fs::real_path(folder, around);
  if (ec)
    return makeError(Code::FileUnreadable, "cannot open '{0}': {1}", *model, ec.message());
  if (!StringRef(inside).starts_with((around + "/").str()))
    return makeError(Code::PackageLink,
                     "'{0}' lies in '{1}', outside of the package, by a link to that folder; put a "
                     "copy of the folder in the link's place",
                     *model, inside);
  package.modelPath = *model;
  llvm::SmallString<256> weights(path::parent_path(*model));
  path::append(weights, weightPath);
  package.weightPath = weights.str().str();

  // Nobody else is at work in it.
  if (!dryRun)
    for (const std::string &file : {package.modelPath, package.weightPath})
      collectAbandoned(path::parent_path(file));

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
  if (!parseMessage(package.description, package.parts.description))
    return makeError(Code::PackageDamaged, "'{0}': its description is damaged", *model);

  const mil::OpsetInfo &least = mil::info(mil::kDefaultOpset);
  if (package.parts.specificationVersion < least.specificationVersion)
    return makeError(Code::OpsetMismatch,
                     "'{0}': its specification version is {1}; packages of several functions have "
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
  return makeError(Code::DefaultFunction,
                   "'{0}': '{1}' cannot be the default function; the package holds {2}{3}", folder,
                   wanted, llvm::join(known, ", "), didYouMean(wanted, known));
}

Error writeModel(const WritableFile &file, const OpenedPackage &package,
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

  Expected<uint64_t> written =
      writeModelFile(file, frame, functionBytes, [&](Appender &out) -> Error {
        for (StringRef function : functions)
          if (Error error = out.append(function))
            return error;
        return Error::success();
      });
  if (!written)
    return written.takeError();
  bytes = *written;
  return Error::success();
}

/// Steps 4 and 5. After an error the old model is in place, unless `isNew` says that it was the
/// last flush that failed.
Error replaceModel(const EditOptions &options, const OpenedPackage &package,
                   llvm::ArrayRef<StringRef> functions, uint64_t &bytes, bool &isNew) {
  isNew = false;
  if (options.dryRun)
    return writeModel(DiscardedFile(), package, functions, bytes);
  Expected<NewFile> fresh = NewFile::create(package.modelPath, *options.files);
  if (!fresh)
    return fresh.takeError();
  if (Error error = writeModel(fresh->file(), package, functions, bytes))
    return error;
  if (options.companion)
    if (Error error = options.companion->prepare())
      return error;
  Error error = fresh->commit(/*flush=*/true, [&] { return package.lock->check(); });
  isNew = fresh->isInPlace();
  if (options.companion && isNew)
    options.companion->finish();
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
  Error openToGrow();
  Error copyUsed(const WritableFile &copy);
  Error writeCount(const WritableFile &file, uint32_t count) {
    if (Error error = file.writeAt(0, encodeWeightHeader(count)))
      return error;
    return file.flush();
  }

  FileSystem &files;
  std::string path;
  std::shared_ptr<const WeightFile> existing;
  std::vector<WeightBlob> blobs; // those up to the last one in use
  std::set<uint64_t> references;
  uint64_t end = 0;
  std::optional<NewFile> fresh;          // what takes the file's place, or
  std::unique_ptr<WritableFile> inPlace; // the file itself, with nothing behind `end`
  bool madeFolder = false;
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
    return makeError(Code::PackageDamaged,
                     "'{0}': the model refers to blobs that do not follow one another, so that "
                     "nothing can be added; plait merge makes a package of it that can grow",
                     path);
  blobs = std::move(*used);
  end = blobs.empty() ? weightAlignment : blobs.back().dataOffset + blobs.back().byteSize;
  return Error::success();
}

Error GrowingWeights::copyUsed(const WritableFile &copy) {
  llvm::ArrayRef<uint8_t> bytes = existing->storage()->bytes.take_front(end);
  constexpr size_t tile = 1 << 20;
  for (size_t begin = 0; begin < bytes.size(); begin += tile) {
    llvm::ArrayRef<uint8_t> piece = bytes.slice(begin, std::min(tile, bytes.size() - begin));
    if (Error error = copy.writeAt(begin, piece))
      return error;
    existing->storage()->release(begin, piece.size());
  }
  return Error::success();
}

/// A file that nobody else has is grown where it is. One with something behind the last blob in use
/// is not cut, for whoever has it mapped reads it to its end; nor does one change that another
/// package has too, by a link. A copy of the part in use grows instead and takes its place.
Error GrowingWeights::openToGrow() {
  llvm::StringRef folder = path::parent_path(path);
  if (existing) {
    if (fs::is_symlink_file(folder))
      return makeError(Code::PackageLink,
                       "'{0}' is a link to another folder, whose weights must stay as they are; "
                       "put a copy in its place",
                       folder);
    fs::file_status status, target;
    bool isShared = !fs::status(path, status, /*follow=*/false) && !fs::status(path, target) &&
                    (status.type() == fs::file_type::symlink_file || target.getLinkCount() > 1);
    if (!isShared && existing->fileBytes() == end) {
      auto opened = files.openExisting(path);
      if (!opened)
        return opened.takeError();
      inPlace = std::move(*opened);
      return existing->count() == blobs.size() ? Error::success()
                                               : writeCount(*inPlace, uint32_t(blobs.size()));
    }
  } else if (!fs::exists(folder)) {
    if (std::error_code ec = makeFolder(folder))
      return makeError(Code::FileUnwritable, "cannot write '{0}': {1}", path, ec.message());
    madeFolder = true;
  }
  auto made = NewFile::create(path, files);
  if (!made)
    return made.takeError();
  fresh.emplace(std::move(*made));
  return existing ? copyUsed(fresh->file()) : Error::success();
}

Error GrowingWeights::append(llvm::ArrayRef<WeightRequest> requests, const EditOptions &options,
                             WeightLayout &layout) {
  if (!options.dryRun)
    if (Error error = openToGrow())
      return error;
  DiscardedFile nowhere;
  const WritableFile &file = options.dryRun ? static_cast<const WritableFile &>(nowhere)
                             : fresh        ? fresh->file()
                                            : *inPlace;
  Expected<WeightLayout> written = appendWeights(
      file, existing.get(), blobs, requests, options.threads, options.evaluator, options.proceed);
  if (!written)
    return written.takeError();
  layout = std::move(*written);
  for (size_t i = 0; i < blobs.size(); ++i)
    layout.blobs[i].usedBefore = references.count(blobs[i].metadataOffset);
  if (options.dryRun || (inPlace && layout.blobs.size() == blobs.size()))
    return Error::success();
  if (Error error = file.resize(layout.fileBytes))
    return error;
  if (Error error = file.flush())
    return error;
  if (Error error = writeCount(file, uint32_t(layout.blobs.size())))
    return error;
  if (inPlace)
    return Error::success();
  if (Error error = fresh->commit(/*flush=*/true))
    return error;
  // The folder's name may be new too.
  return madeFolder ? files.flushFolder(path::parent_path(path::parent_path(path)).str())
                    : Error::success();
}

void GrowingWeights::undo() {
  if (fresh && existing && fresh->isInPlace()) {
    if (auto opened = files.openExisting(path))
      inPlace = std::move(*opened);
    else
      consumeError(opened.takeError());
  }
  if (inPlace) {
    consumeError(writeCount(*inPlace, uint32_t(blobs.size())));
    consumeError(inPlace->resize(end));
    consumeError(inPlace->close());
  } else if (!existing && fresh && fresh->isInPlace()) {
    consumeError(files.remove(path));
  }
  fresh.reset();
  if (madeFolder)
    fs::remove(path::parent_path(path));
}

} // namespace

Error addFunctions(const mil::Program &program, StringRef folder, const EditOptions &options,
                   WriteReport *report) {
  FileSystem &files = *options.files;
  WriteReport local;
  WriteReport &written = report ? *report : local;
  written = {};
  Expected<OpenedPackage> package = openToEdit(folder, options.dryRun);
  if (!package)
    return package.takeError();
  for (const ModelParts::Function &there : package->parts.functions) {
    Expected<mil::Opset> opset = opsetOf(there);
    if (!opset)
      return opset.takeError();
    for (const auto &function : program.functions())
      if (function->opset != *opset)
        return makeError(Code::OpsetMismatch,
                         "function '{0}' has the opset {1}; the functions of '{2}' have {3}",
                         function->name, mil::name(function->opset), folder, mil::name(*opset));
  }
  for (const auto &function : program.functions()) {
    for (const auto &described : package->description.functions())
      if (described.name() == function->name)
        return makeFailure(
            FailureKind::Option, Code::NameTaken,
            fmt::format("'{0}': there is a function '{1}' already; give the new one another name, "
                        "or take that one out: plait remove {0} {1}",
                        folder, function->name));
    if (Error error = encodeFunctionDescription(*function, *package->description.add_functions()))
      return error;
    spec::Metadata metadata = package->description.metadata();
    eraseNotes(function->name, metadata);
    encodeNotes(*function, metadata);
    if (package->description.has_metadata() || metadata.ByteSizeLong() != 0)
      *package->description.mutable_metadata() = std::move(metadata);
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
    if (!options.dryRun && (options.debugInfo || fs::exists(debugInfoPath(package->modelPath))))
      if (Error error = editDebugInfo(files, package->modelPath, &program, {}))
        return error;
    if (Error error = mil::checkUnchanged(program))
      return error;
    return replaceModel(options, *package, llvm::to_vector(llvm::make_second_range(functions)),
                        written.modelBytes, isNew);
  }();
  if (error && !isNew)
    weights.undo();
  return error;
}

Error removeFunctions(StringRef folder, llvm::ArrayRef<std::string> names,
                      const EditOptions &options) {
  Expected<OpenedPackage> package = openToEdit(folder, options.dryRun);
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
      return makeError(Code::NoSuchFunction, "'{0}': there is no function '{1}'{2}; there are {3}",
                       folder, name, didYouMean(name, known), llvm::join(known, ", "));
    }
    if (described.size() == 1)
      return makeError(Code::DefaultFunction,
                       "'{0}': '{1}' is its last function, and a package has at least one; remove "
                       "the package itself",
                       folder, name);
    described.erase(it);
    if (package->description.has_metadata())
      eraseNotes(name, *package->description.mutable_metadata());
  }
  if (llvm::is_contained(names, package->description.defaultfunctionname()) &&
      options.defaultFunction.empty())
    return makeError(Code::DefaultFunction,
                     "'{0}': '{1}' is the default function; say which one takes its place with "
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
  if (Error error = replaceModel(options, *package, functions, bytes, isNew))
    return error;
  // What it says of functions that are gone does no harm.
  if (!options.dryRun)
    consumeError(editDebugInfo(*options.files, package->modelPath, nullptr, names));
  return Error::success();
}

} // namespace plait
