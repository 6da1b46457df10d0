// Manifest.json, the table of contents of a package.
//
//   { "fileFormatVersion": "1.0.0",
//     "itemInfoEntries": { ID: { "author", "description", "name", "path" (below Data/) } … },
//     "rootModelIdentifier": ID }
//
// Identifiers are name-based UUIDs (version 5) of the item's path, so equal packages have equal
// manifests.
#pragma once

#include "support/Error.h"
#include "llvm/ADT/StringRef.h"
#include "llvm/Support/JSON.h"
#include <string>

namespace plait {

/// Where the packages written here keep their model, below Data/.
inline constexpr llvm::StringLiteral packageAuthor = "com.apple.CoreML";

/// The manifest of a package with a model and weights, and `others` beside them.
std::string makeManifest(llvm::json::Object others = {});

/// Version-5 UUID of `name` in the URL name space, in capitals.
std::string nameUuid(llvm::StringRef name);

/// The path of the model file of the package at `folder`, checked to lie inside the package.
Expected<std::string> findRootModel(llvm::StringRef folder);

/// The entries of the package at `folder` that are neither its model nor its weights, by
/// identifier; their paths lie inside the package, and none where the model and weights of
/// makeManifest() do.
Expected<llvm::json::Object> otherItems(llvm::StringRef folder);

/// Whether `path` is a package: a directory with a manifest.
bool isPackage(llvm::StringRef path);

} // namespace plait
