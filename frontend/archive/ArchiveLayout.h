// What kind of file a would-be model is, told from its bytes, before LibTorch sees it. Everything
// that people pass by mistake (a state_dict, a .pt2, a safetensors file, half a download) gets a
// message of its own that says what the file is and how to make the right one.
//
// A TorchScript archive is a zip file; all its record names start with one prefix, the stem of the
// file that it was first saved as:
//
//   PREFIX/data.pkl               the module's attributes; tensors as references to data/N
//   PREFIX/data/N                 the bytes of one tensor storage, stored, 64-byte aligned
//   PREFIX/constants.pkl, constants/N          the same for constants in the code
//   PREFIX/code/A/B.py            the TorchScript source of the types whose qualifier is A.B
//   PREFIX/code/A/B.py.debug_pkl  for each stretch of that source, the Python line it came from
//   PREFIX/version (or .data/version)          the format's version, in decimal
//   PREFIX/byteorder              "little" or "big"; absent in older files
//
// Before PyTorch 1.4 there was a model.json in place of data.pkl; LibTorch still reads it.
#pragma once

#include "frontend/archive/ZipDirectory.h"

#include <string>

namespace plait {

struct ArchiveLayout {
  ZipDirectory directory;
  std::string prefix;   ///< With its slash; empty when the records have none.
  uint64_t version = 0; ///< Of the archive's format.
  bool legacy = false;  ///< A model.json archive: only torch::jit::load reads it.

  const ZipRecord *find(llvm::StringRef name) const { return directory.find(prefix + name.str()); }
};

/// Reads the directory of `file` and checks that it is a TorchScript archive of format at most
/// `maxVersion`. `file` must outlive the result. Messages do not name the file.
Expected<ArchiveLayout> readArchiveLayout(llvm::StringRef file, uint64_t maxVersion);

} // namespace plait
