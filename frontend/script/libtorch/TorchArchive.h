// Loading what torch.jit.save wrote, without copying the weights: the archive is mapped and every
// tensor's storage points into the mapping. 290 MB load in milliseconds and take no anonymous
// memory; a page is read when, and only when, somebody reads that weight.
//
// Contract: in a module loaded with Access::ReadOnly the tensors that come from the file are never
// written. A write is a segmentation fault, so whoever runs an operation that writes (an `op_`, an
// `out=`) clones its target first. __setstate__ methods that write get copies. To run the module
// itself on LibTorch, load it with Access::CopyOnWrite: then a write copies the page and stays
// private to the process.
//
// Records that cannot be mapped (compressed or unaligned by another zip tool) are read into memory.
// Archives from before PyTorch 1.4 (model.json), and all where internal/ is not built in
// (Internals.h), are loaded by torch::jit::load, without a mapping.
#pragma once

#include "frontend/archive/ArchiveLayout.h"
#include "support/MappedFile.h"
#include <torch/csrc/jit/api/module.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace plait {

/// Where a mapped tensor storage lies. Two storages with equal file and offset are the same bytes.
struct StorageOrigin {
  llvm::sys::fs::UniqueID file;
  std::string record; ///< As in the zip directory: `model/data/3`.
  uint64_t offset;    ///< Of the record's bytes in the file.
  uint64_t size;      ///< Of the record, in bytes.
  uint32_t crc32;     ///< Of the whole record, as the zip directory says. A hint for finding
                      ///< candidates, never a proof: nobody has read the bytes.
};

class LoadedModule {
public:
  torch::jit::Module module;

  /// The file, or null when torch::jit::load had to do it. Tensors keep it alive by themselves.
  const std::shared_ptr<const MappedFile> &file() const { return mapping; }

  /// The record that `data` (a storage's data pointer, or any byte of it) lies in; none for what is
  /// not mapped: tensors computed by a __setstate__, records that were read into memory.
  std::optional<StorageOrigin> findOrigin(const void *data) const;

  /// Reads the record at `data` whole and compares it with the CRC-32 in the zip directory. Success
  /// for what is not mapped.
  Error checkContent(const void *data) const;

private:
  friend class TorchArchiveLoader;
  std::shared_ptr<const MappedFile> mapping;
  std::shared_ptr<const ArchiveLayout> layout;
};

/// Loads the TorchScript archive at `path`; tensors saved on another device come to the CPU. Every
/// error begins with the path and says what the file is and what to do.
Expected<LoadedModule> loadTorchScript(llvm::StringRef path,
                                       MappedFile::Access access = MappedFile::Access::ReadOnly);

} // namespace plait
