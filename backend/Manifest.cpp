// Writing and reading Manifest.json.
#include "backend/Manifest.h"

#include "support/DidYouMean.h"
#include "support/Json.h"

#include "llvm/ADT/SmallString.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/Path.h"
#include "llvm/Support/SHA1.h"

namespace json = llvm::json;
namespace path = llvm::sys::path;

namespace plait {

std::string nameUuid(llvm::StringRef name) {
  // The name space of URLs, RFC 4122 appendix C.
  static constexpr uint8_t urlSpace[16] = {0x6B, 0xA7, 0xB8, 0x11, 0x9D, 0xAD, 0x11, 0xD1,
                                           0x80, 0xB4, 0x00, 0xC0, 0x4F, 0xD4, 0x30, 0xC8};
  llvm::SHA1 hash;
  hash.update(llvm::ArrayRef(urlSpace));
  hash.update(name);
  std::array<uint8_t, 20> digest = hash.final();
  digest[6] = (digest[6] & 0x0F) | 0x50; // version 5
  digest[8] = (digest[8] & 0x3F) | 0x80; // variant of RFC 4122
  std::string hex = llvm::toHex(llvm::ArrayRef(digest).take_front(16));
  for (size_t position : {20, 16, 12, 8})
    hex.insert(position, "-");
  return hex;
}

std::string makeManifest(json::Object others) {
  std::string model = packageAuthor.str() + "/model.mlmodel",
              weights = packageAuthor.str() + "/weights";
  auto item = [](llvm::StringRef name, llvm::StringRef where, llvm::StringRef description) {
    return json::Object{
        {"author", packageAuthor}, {"description", description}, {"name", name}, {"path", where}};
  };
  json::Object items = std::move(others);
  items[nameUuid(model)] = item("model.mlmodel", model, "CoreML Model Specification");
  items[nameUuid(weights)] = item("weights", weights, "CoreML Model Weights");
  json::Value manifest = json::Object{{"fileFormatVersion", "1.0.0"},
                                      {"itemInfoEntries", std::move(items)},
                                      {"rootModelIdentifier", nameUuid(model)}};
  return jsonText(manifest, 2) + "\n";
}

static std::string manifestPath(llvm::StringRef folder) {
  llvm::SmallString<256> result(folder);
  path::append(result, "Manifest.json");
  return result.str().str();
}

bool isPackage(llvm::StringRef folder) { return llvm::sys::fs::exists(manifestPath(folder)); }

/// Whether a path of a manifest stays below Data/.
static bool isInside(llvm::StringRef path) {
  return llvm::none_of(llvm::split(path, '/'), [](llvm::StringRef part) {
    return part.empty() || part == "." || part == "..";
  });
}

namespace {
struct ParsedManifest {
  json::Value root;
  const json::Object *items;
  std::string modelPath; ///< below Data/
};
} // namespace

static Expected<ParsedManifest> parseManifest(llvm::StringRef folder) {
  if (!llvm::sys::fs::exists(folder))
    return makeError(Code::NoPackage, "'{0}': no such package{1}", folder, didYouMeanFile(folder));
  if (!llvm::sys::fs::is_directory(folder))
    return makeError(Code::NoPackage, "'{0}': not a package: it is no directory", folder);
  std::string where = manifestPath(folder);
  auto buffer = llvm::MemoryBuffer::getFile(where);
  if (!buffer)
    return makeError(Code::NoPackage, "'{0}': not a package: cannot read its Manifest.json: {1}",
                     folder, buffer.getError().message());
  // The parser requires valid text and bounds no nesting; what a manifest holds nests three levels
  // deep.
  llvm::StringRef text = (*buffer)->getBuffer();
  if (text.count('{') + text.count('[') > 1000)
    return makeError(Code::PackageDamaged, "'{0}': this is no manifest", where);
  Expected<json::Value> manifest = json::parse(text);
  if (!manifest)
    return makeError(Code::PackageDamaged, "'{0}': {1}", where,
                     llvm::toString(manifest.takeError()));
  const json::Object *root = manifest->getAsObject();
  const json::Object *items = root ? root->getObject("itemInfoEntries") : nullptr;
  std::optional<llvm::StringRef> identifier =
      root ? root->getString("rootModelIdentifier") : std::nullopt;
  const json::Object *item = items && identifier ? items->getObject(*identifier) : nullptr;
  std::optional<llvm::StringRef> itemPath = item ? item->getString("path") : std::nullopt;
  if (!itemPath)
    return makeError(Code::PackageDamaged, "'{0}': it names no root model", where);
  if (!isInside(*itemPath))
    return makeError(Code::PackageDamaged,
                     "'{0}': the path '{1}' of the root model is not inside the package", where,
                     *itemPath);
  ParsedManifest parsed{nullptr, nullptr, itemPath->str()};
  parsed.root = std::move(*manifest);
  parsed.items = parsed.root.getAsObject()->getObject("itemInfoEntries");
  return parsed;
}

Expected<std::string> findRootModel(llvm::StringRef folder) {
  auto manifest = parseManifest(folder);
  if (!manifest)
    return manifest.takeError();
  llvm::SmallString<256> result(folder);
  path::append(result, "Data", manifest->modelPath);
  return result.str().str();
}

Expected<json::Object> otherItems(llvm::StringRef folder) {
  auto manifest = parseManifest(folder);
  if (!manifest)
    return manifest.takeError();
  std::string author = packageAuthor.str();
  llvm::SmallString<256> weights(path::parent_path(manifest->modelPath));
  path::append(weights, "weights"); // The model may lie at the root of Data/.
  std::string taken[] = {manifest->modelPath, weights.str().str(), author + "/model.mlmodel",
                         author + "/weights"};
  json::Object others;
  for (const auto &[identifier, item] : *manifest->items) {
    const json::Object *object = item.getAsObject();
    auto where = object ? object->getString("path") : std::nullopt;
    if (!where || !isInside(*where))
      continue;
    // Neither one of those nor a folder around one, nor inside of one.
    bool isTaken = llvm::any_of(taken, [&](llvm::StringRef other) {
      return (*where + "/").str().rfind((other + "/").str(), 0) == 0 ||
             (other + "/").str().rfind((*where + "/").str(), 0) == 0;
    });
    if (!isTaken)
      others[identifier] = item;
  }
  return others;
}

} // namespace plait
