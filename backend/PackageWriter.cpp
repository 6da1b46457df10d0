// Writing packages: first the weights, since only then their offsets are final, then the model.
#include "backend/PackageWriter.h"

#include "Model.pb.h"
#include "backend/DebugInfo.h"
#include "backend/Description.h"
#include "backend/Manifest.h"
#include "backend/ModelWriter.h"
#include "backend/ProtoFunction.h"
#include "mil/MappedStorage.h"
#include "support/AtomicOutput.h"
#include "support/DiscardedFile.h"
#include "support/Folders.h"
#include "support/OutputFile.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/MathExtras.h"
#include "llvm/Support/Path.h"

namespace fs = llvm::sys::fs;

namespace plait {

namespace {

Error checkProgram(const mil::Program &program) {
  for (const auto &function : program.functions())
    if (function->opset != program.functions()[0]->opset)
      return makeError(
          Code::OpsetMismatch,
          "functions '{0}' and '{1}' have different opsets ({2} and {3}); a package has one",
          program.functions()[0]->name, function->name, mil::name(program.functions()[0]->opset),
          mil::name(function->opset));
  if (!program.functions().empty() && !isPlain(program) &&
      !mil::info(program.functions()[0]->opset).functions)
    return makeError(Code::OpsetMismatch,
                     "a package of named functions needs the opset {0}, not {1}",
                     mil::name(mil::kDefaultOpset), mil::name(program.functions()[0]->opset));
  return Error::success();
}

/// The functions' map entries, in order of their names; returns how many bytes that are.
Expected<uint64_t> writeFunctions(const mil::Program &program, const BlobOffsets &offsets,
                                  mil::Evaluator *evaluator, const WritableFile &file) {
  Appender out(file);
  std::vector<const mil::Function *> functions;
  for (const auto &function : program.functions())
    functions.push_back(function.get());
  llvm::sort(functions, [](const auto *a, const auto *b) { return a->name < b->name; });
  for (const mil::Function *function : functions) {
    Expected<std::string> field = encodeFunctionField(*function, offsets, evaluator);
    if (!field)
      return field.takeError();
    if (out.size + field->size() > maxModelBytes)
      return makeError(Code::TooLarge,
                       "the model without its weights is larger than 2 GiB at function '{0}'",
                       function->name);
    if (Error error = out.append(*field))
      return error;
  }
  return out.size;
}

/// What the program says of itself, around its functions.
Error encodeFrame(const mil::Program &program, mil::Evaluator *evaluator, ModelFrame &frame) {
  spec::Model head;
  if (!parseMessage(head, program.metadata.otherModel))
    return makeError(Code::PackageDamaged,
                     "what the program keeps of its package's model is damaged");
  head.set_specificationversion(std::max(
      head.specificationversion(), mil::info(program.functions()[0]->opset).specificationVersion));
  if (Error error = encodeDescription(program, *head.mutable_description()))
    return error;
  wire::Program other;
  other.set_docstring(program.docString);
  for (const auto &[name, value] : program.attributes)
    if (Error error = encodeImmediate(value, evaluator, (*other.mutable_attributes())[name]))
      return error;
  appendDeterministic(frame.head, head);
  appendDeterministic(frame.otherProgram, other);
  return Error::success();
}

/// model.mlmodel, of the functions in `spool`.
Expected<uint64_t> writeModel(const ModelFrame &frame, llvm::StringRef spool,
                              llvm::StringRef path) {
  Expected<OutputFile> file = OutputFile::create(path);
  if (!file)
    return file.takeError();
  auto functions = MappedFile::open(spool);
  if (!functions)
    return functions.takeError();
  Expected<uint64_t> bytes =
      writeModelFile(*file, frame, (*functions)->bytes().size(), [&](Appender &out) -> Error {
        for (llvm::ArrayRef<uint8_t> rest = (*functions)->bytes(); !rest.empty();) {
          llvm::ArrayRef<uint8_t> piece = rest.take_front(1 << 20);
          if (Error error = out.append(llvm::toStringRef(piece)))
            return error;
          (*functions)->release(piece);
          rest = rest.drop_front(piece.size());
        }
        return Error::success();
      });
  if (!bytes)
    return bytes.takeError();
  if (Error error = file->close())
    return error;
  return bytes;
}

Error writeText(llvm::StringRef path, llvm::StringRef text) {
  Expected<OutputFile> file = OutputFile::create(path);
  if (!file)
    return file.takeError();
  if (Error error = file->writeAt(0, text))
    return error;
  return file->close();
}

/// Copies items of a manifest from one package to another; one that is not there has no more than
/// its entry.
Error copyItems(const llvm::json::Object &items, llvm::StringRef from, llvm::StringRef to) {
  for (const auto &[identifier, item] : items) {
    llvm::SmallString<256> where("Data"), source(from), target(to);
    llvm::sys::path::append(where, *item.getAsObject()->getString("path"));
    llvm::sys::path::append(source, where);
    llvm::sys::path::append(target, where);
    fs::file_status status;
    if (fs::status(source, status, /*follow=*/false) == std::errc::no_such_file_or_directory)
      continue;
    // An item may be a link, and another one claim to lie in it.
    Error error = makeFoldersInside(to, llvm::sys::path::parent_path(where));
    if (!error)
      error = copyTree(source.str().str(), target.str().str());
    if (error)
      return addContext(std::move(error),
                        fmt::format("cannot copy '{0}', an item of the package", source));
  }
  return Error::success();
}

/// Nothing but a package is ever replaced.
Error checkTarget(llvm::StringRef target) {
  if (!fs::exists(target) || isPackage(target))
    return Error::success();
  std::error_code ec;
  if (fs::is_directory(target) && fs::directory_iterator(target, ec) == fs::directory_iterator() &&
      !ec)
    return Error::success();
  return makeError(
      Code::OutputInTheWay,
      "cannot write '{0}': it exists and is not a package; remove it or choose another name",
      target);
}

} // namespace

std::vector<WeightRequest> collectWeights(const mil::Program &program, bool share,
                                          WriteReport &report) {
  std::vector<WeightRequest> requests;
  unsigned scope = 0;
  for (const auto &owned : program.functions()) {
    mil::Function *function = owned.get();
    mil::walk(function->body(), [&](mil::Op &op) {
      if (!op.is(mil::OpKind::const_) || !wantsBlob(op.val(), function->opset))
        return;
      report.weights.push_back({function, &op, 0});
      requests.push_back({*op.val().tensor(), scope});
    });
    scope += !share;
  }
  return requests;
}

BlobOffsets placeWeights(WriteReport &report) {
  BlobOffsets offsets;
  offsets.reserve(report.weights.size());
  for (auto [index, weight] : llvm::enumerate(report.weights)) {
    weight.blob = report.layout.blobOf[index];
    offsets[weight.op] = report.layout.offset(index);
  }
  return offsets;
}

/// The size of model.mlmodel.
static Expected<uint64_t> measureModel(const mil::Program &program, const BlobOffsets &offsets,
                                       mil::Evaluator *evaluator) {
  DiscardedFile nowhere;
  Expected<uint64_t> functions = writeFunctions(program, offsets, evaluator, nowhere);
  if (!functions)
    return functions.takeError();
  ModelFrame frame;
  if (Error error = encodeFrame(program, evaluator, frame))
    return error;
  return writeModelFile(nowhere, frame, *functions, [&](Appender &out) -> Error {
    out.size += *functions;
    return Error::success();
  });
}

Expected<uint64_t> packageBytesOf(const mil::Program &program, mil::Evaluator *evaluator) {
  WriteReport report;
  std::vector<WeightRequest> requests = collectWeights(program, /*share=*/true, report);
  BlobOffsets offsets;
  llvm::DenseMap<uint64_t, uint64_t> known;
  uint64_t end = 64; // behind the head
  for (auto [weight, request] : llvm::zip_equal(report.weights, requests)) {
    auto [it, isNew] = known.try_emplace(request.tensor.treeHash(), llvm::alignTo(end, 64));
    if (isNew)
      end = it->second + 64 + request.tensor.byteSize();
    offsets[weight.op] = it->second;
  }
  Expected<uint64_t> model = measureModel(program, offsets, evaluator);
  return model ? Expected<uint64_t>(end + *model) : model.takeError();
}

/// What writePackage() does, without files.
static Error measurePackage(const mil::Program &program, const WriteOptions &options,
                            WriteReport &measured) {
  DiscardedFile nowhere;
  std::vector<WeightRequest> requests = collectWeights(program, options.share, measured);
  Expected<WeightLayout> layout =
      writeWeights(nowhere, requests, options.threads, options.evaluator, options.proceed);
  if (!layout)
    return layout.takeError();
  measured.layout = std::move(*layout);
  BlobOffsets offsets = placeWeights(measured);
  if (options.accept)
    if (Error error = options.accept(measured))
      return error;
  Expected<uint64_t> bytes = measureModel(program, offsets, options.evaluator);
  if (!bytes)
    return bytes.takeError();
  measured.modelBytes = *bytes;
  return mil::checkUnchanged(program);
}

Error writePackage(const mil::Program &program, llvm::StringRef path, const WriteOptions &options,
                   WriteReport *report) {
  if (Error error = checkProgram(program))
    return error;
  // What the description refuses is found before the weights are written.
  {
    spec::ModelDescription description;
    if (Error error = encodeDescription(program, description))
      return error;
  }
  WriteReport local;
  WriteReport &written = report ? *report : local;
  written = {};
  if (options.dryRun) {
    if (Error error = checkTarget(path))
      return error;
    return measurePackage(program, options, written);
  }
  Expected<AtomicDirectory> output = AtomicDirectory::create(path);
  if (!output)
    return output.takeError();
  if (Error error = checkTarget(output->target()))
    return error;
  // What another process adds to the package meanwhile would be lost.
  std::optional<FolderLock> lock;
  auto takeLock = [&]() -> Error {
    if (options.lock)
      return options.lock->check();
    if (lock)
      return lock->check();
    if (!fs::exists(output->target()))
      return Error::success();
    auto taken = FolderLock::take(output->target());
    if (!taken)
      return taken.takeError();
    lock.emplace(std::move(*taken));
    return Error::success();
  };
  if (Error error = takeLock())
    return error;
  auto inside = [&](const llvm::Twine &name) {
    llvm::SmallString<256> result(output->path());
    llvm::sys::path::append(result, "Data", packageAuthor, name);
    return result.str().str();
  };
  // Never the outermost: where an interrupt has removed that, nothing is to appear again.
  llvm::SmallString<256> directory(output->path());
  for (llvm::StringRef name : {llvm::StringRef("Data"), llvm::StringRef(packageAuthor),
                               llvm::sys::path::parent_path(weightPath)}) {
    llvm::sys::path::append(directory, name);
    if (std::error_code ec = makeFolder(directory))
      return makeError(Code::FileUnwritable, "cannot write '{0}': {1}", path, ec.message());
  }

  std::vector<WeightRequest> requests = collectWeights(program, options.share, written);
  Expected<OutputFile> weightFile = OutputFile::create(inside(weightPath));
  if (!weightFile)
    return weightFile.takeError();
  Expected<WeightLayout> layout =
      writeWeights(*weightFile, requests, options.threads, options.evaluator, options.proceed);
  if (!layout)
    return layout.takeError();
  if (Error error = weightFile->close())
    return error;
  written.layout = std::move(*layout);
  requests = {};

  BlobOffsets offsets = placeWeights(written);
  if (options.accept)
    if (Error error = options.accept(written))
      return error;

  std::string spool = inside("functions");
  Expected<OutputFile> functions = OutputFile::create(spool);
  if (!functions)
    return functions.takeError();
  if (Error error = writeFunctions(program, offsets, options.evaluator, *functions).takeError())
    return error;
  if (Error error = functions->close())
    return error;
  ModelFrame frame;
  if (Error error = encodeFrame(program, options.evaluator, frame))
    return error;
  Expected<uint64_t> modelBytes = writeModel(frame, spool, inside("model.mlmodel"));
  if (!modelBytes)
    return modelBytes.takeError();
  written.modelBytes = *modelBytes;
  if (std::error_code ec = fs::remove(spool))
    return makeError(Code::FileUnwritable, "cannot write '{0}': {1}", path, ec.message());

  if (options.debugInfo)
    if (Error error = writeText(debugInfoPath(inside("model.mlmodel")), encodeDebugInfo(program)))
      return error;

  llvm::SmallString<256> manifest(output->path());
  llvm::sys::path::append(manifest, "Manifest.json");
  llvm::json::Object others;
  if (options.keepOtherItems) {
    Expected<llvm::json::Object> found = otherItems(output->target());
    if (!found)
      return found.takeError();
    others = std::move(*found);
    if (Error error = copyItems(others, output->target(), output->path()))
      return error;
  }
  if (Error error = writeText(manifest, makeManifest(std::move(others))))
    return error;
  // One that another process has put there since.
  if (Error error = takeLock())
    return error;
  if (Error error = mil::checkUnchanged(program))
    return error;
  if (options.companion)
    if (Error error = options.companion->prepare())
      return error;
  // An older package is given up only once the new one is safe on the disk.
  Error error = output->commit(/*flush=*/fs::exists(output->target()));
  // Until `output` goes, the package that is now in place is locked, new or not.
  if (options.companion && output->isInPlace())
    options.companion->finish();
  return error;
}

} // namespace plait
