// The files of a package as a patch sees them: paths, sizes and digests, whatever they hold.
#pragma once

#include "support/Error.h"

#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/StringRef.h"

#include <array>
#include <string>
#include <vector>

namespace plait::driver {

/// SHA-256 of the SHA-256 digests of the file's pieces of 1 MiB, in order: pieces are digested in
/// parallel.
using FileDigest = std::array<uint8_t, 32>;
inline constexpr size_t digestPiece = 1 << 20;

/// `threads`: 0 means one a processor.
FileDigest digestOf(llvm::ArrayRef<uint8_t> bytes, unsigned threads = 0);

struct PackageFile {
  enum class Kind : uint8_t {
    File,        ///< of the package
    EmptyFolder, ///< of the package; the others are there by what is in them
    SideFile,    ///< beside the package (AdapterMap.h)
  };
  Kind kind = Kind::File;
  std::string path;    ///< below the package, parts separated by '/'; "" for the side file
  uint64_t bytes = 0;  ///< 0 for a folder
  FileDigest digest{}; ///< of a folder: zeros

  bool hasContents() const { return kind != Kind::EmptyFolder; }
};

/// Where the file lies in the package at `folder`, or beside it.
std::string placeOf(const PackageFile &file, llvm::StringRef folder);
/// For messages: the path; "the side file" where it has none.
std::string nameOf(const PackageFile &file);

/// What the package at `folder` holds, in order of paths, the side file last, without digests.
/// Finder's `.DS_Store` is none of it. Links and devices are an error: a patch has no word for
/// them.
Expected<std::vector<PackageFile>> listPackage(llvm::StringRef folder);

/// "" where the files are the same by path, kind and size; else what the first difference is, as
/// the end of a sentence on `files`.
std::string differenceOf(llvm::ArrayRef<PackageFile> files, llvm::ArrayRef<PackageFile> wanted);

} // namespace plait::driver
