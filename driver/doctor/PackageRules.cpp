// Looks at manifests and weight files.
#include "driver/doctor/PackageRules.h"

#include "backend/Manifest.h"
#include "backend/WeightFile.h"
#include "driver/Diagnostics.h"
#include "support/Json.h"

#include "llvm/ADT/DenseSet.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/Path.h"
#include "llvm/Support/xxhash.h"

namespace plait::driver {

using llvm::StringRef;
using mil::RuleId;

namespace {

constexpr uint64_t kLargestWeightFile = uint64_t(1) << 30, kLargestInline = 64 * 1024,
                   kFunctionsMemory = uint64_t(1) << 30;

std::string inFolder(StringRef folder, StringRef name) {
  llvm::SmallString<256> result(folder);
  llvm::sys::path::append(result, name);
  return result.str().str();
}

/// Three numbers with dots between that are not after 1.0.0.
bool isManifestVersion(StringRef text) {
  llvm::SmallVector<StringRef, 4> parts;
  text.split(parts, '.');
  std::vector<unsigned> numbers;
  for (StringRef part : parts) {
    unsigned number = 0;
    if (part.getAsInteger(10, number))
      return false;
    numbers.push_back(number);
  }
  return numbers.size() == 3 && numbers <= std::vector<unsigned>{1, 0, 0};
}

/// One item: what it must say, and whether it is there.
void checkItem(StringRef folder, StringRef id, const llvm::json::Value &value, AddFinding add) {
  const llvm::json::Object *item = value.getAsObject();
  std::vector<std::string> missing;
  for (const char *key : {"path", "name", "author", "description"})
    if (!item || !item->getString(key))
      missing.push_back(key);
  if (!missing.empty())
    add(RuleId::PackageManifest,
        fmt::format("item '{0}' has no {1}", id.str(), llvm::join(missing, ", no ")));
  auto path = item ? item->getString("path") : std::nullopt;
  if (path && !llvm::sys::fs::exists(inFolder(inFolder(folder, "Data"), *path)))
    add(RuleId::PackageItems,
        fmt::format("the manifest names Data/{0}, which is not there", *path));
}

uint64_t beginningOf(llvm::ArrayRef<uint8_t> bytes) {
  return llvm::xxh3_64bits(bytes.take_front(4096));
}

/// How many bytes are there more than once. Blobs that begin alike are few, so that not all of a
/// large file is read.
uint64_t duplicateBytes(llvm::ArrayRef<llvm::ArrayRef<uint8_t>> blobs) {
  std::map<std::pair<uint64_t, uint64_t>, std::vector<llvm::ArrayRef<uint8_t>>> alike;
  uint64_t twice = 0;
  for (llvm::ArrayRef<uint8_t> blob : blobs) {
    auto &others = alike[{blob.size(), beginningOf(blob)}];
    if (llvm::is_contained(others, blob))
      twice += blob.size();
    else
      others.push_back(blob);
  }
  return twice;
}

void checkFile(const WeightFile &file, const std::set<uint64_t> &references, AddFinding add) {
  std::string name = llvm::sys::path::filename(file.path()).str();
  if (file.fileBytes() > kLargestWeightFile)
    add(RuleId::WeightFileSize, fmt::format("{0} takes {1}", name, humanBytes(file.fileBytes())));
  auto blobs = file.blobs();
  if (!blobs) {
    add(RuleId::WeightCount, fmt::format("the header of {0} counts {1} blobs: {2}", name,
                                         file.count(), toString(blobs.takeError())));
    return;
  }
  uint64_t unused = 0;
  std::set<uint64_t> counted;
  for (const WeightBlob &blob : *blobs) {
    counted.insert(blob.metadataOffset);
    if (!references.count(blob.metadataOffset))
      unused += blob.byteSize;
  }
  size_t beyond = llvm::count_if(references, [&](uint64_t at) { return !counted.count(at); });
  if (beyond)
    add(RuleId::WeightCount,
        fmt::format("the header of {0} counts {1} blobs, and functions use {2} behind them", name,
                    file.count(), beyond));
  if (unused)
    add(RuleId::UnusedWeights,
        fmt::format("{0} of {1} are used by no function", humanBytes(unused), name));
}

} // namespace

bool checkManifest(StringRef folder, AddFinding add) {
  auto buffer = llvm::MemoryBuffer::getFile(inFolder(folder, "Manifest.json"));
  if (!buffer) {
    add(RuleId::PackageManifest,
        fmt::format("Manifest.json cannot be read: {0}", buffer.getError().message()));
    return false;
  }
  auto parsed = parseJson((*buffer)->getBuffer());
  if (!parsed) {
    add(RuleId::PackageManifest,
        fmt::format("Manifest.json is no JSON: {0}", toString(parsed.takeError())));
    return false;
  }
  const llvm::json::Object *root = parsed->getAsObject();
  if (!root) {
    add(RuleId::PackageManifest, "Manifest.json holds no object");
    return false;
  }
  StringRef version = root->getString("fileFormatVersion").value_or("");
  if (!isManifestVersion(version))
    add(RuleId::PackageManifest,
        fmt::format("its fileFormatVersion is '{0}'; 1.0.0 is the latest there is", version));
  if (const llvm::json::Object *items = root->getObject("itemInfoEntries"))
    for (const auto &[id, item] : *items)
      checkItem(folder, StringRef(id), item, add);
  auto model = findRootModel(folder);
  if (!model) {
    llvm::consumeError(model.takeError());
    add(RuleId::PackageManifest, "its rootModelIdentifier names no item with a path inside");
    return false;
  }
  return llvm::sys::fs::exists(*model);
}

void checkWeights(const Package &package, AddFinding add) {
  const mil::Program &program = *package.program;
  for (const auto &function : program.functions()) {
    const mil::OpsetInfo &opset = mil::info(function->opset);
    if (package.specificationVersion < opset.specificationVersion) {
      add(RuleId::SpecificationVersion,
          fmt::format("it is {0}, and function '{1}' is of {2}, which is {3} or later",
                      package.specificationVersion, function->name, opset.packageName,
                      opset.specificationVersion));
      break;
    }
  }
  // Both are in the order of the names that the model has for the files.
  for (auto [file, reference] : llvm::zip(package.weights, package.references))
    checkFile(*file, reference.second, add);

  llvm::DenseSet<const uint8_t *> seen;
  std::vector<llvm::ArrayRef<uint8_t>> blobs;
  uint64_t once = 0, byFunction = 0;
  for (const auto &function : program.functions()) {
    llvm::DenseSet<const uint8_t *> own;
    mil::walk(function->body(), [&](mil::Op &op) {
      const mil::TensorData *tensor = op.is(mil::OpKind::const_) ? op.val().tensor() : nullptr;
      if (!tensor || tensor->kind() != mil::TensorData::Kind::Strided)
        return;
      llvm::ArrayRef<uint8_t> bytes = tensor->contiguousBytes();
      if (!tensor->node().storage->release) { // not of a file
        if (bytes.size() >= kLargestInline)
          add(RuleId::InlineWeights,
              fmt::format("constant '{0}' of function '{1}' has {2} in the model file", op.name,
                          function->name, humanBytes(bytes.size())));
        return;
      }
      if (seen.insert(bytes.data()).second) {
        once += bytes.size();
        blobs.push_back(bytes);
      }
      if (own.insert(bytes.data()).second)
        byFunction += bytes.size();
    });
  }
  if (uint64_t twice = duplicateBytes(blobs))
    add(RuleId::DuplicateWeights,
        fmt::format("{0} of weights are there already under another name", humanBytes(twice)));
  if (byFunction - once >= kFunctionsMemory)
    add(RuleId::FunctionsMemory,
        fmt::format("the functions hold {0} of weights when all are loaded; the file has {1}",
                    humanBytes(byFunction), humanBytes(once)));
}

} // namespace plait::driver
