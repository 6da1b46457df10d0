// Archives of torch.export.save (.pt2): zip files that hold programs as JSON and their weights as
// bytes. Three layouts; what is read of each:
//
//   torch 2.4 … 2.7, records at the root:
//     version                            "MAJOR.MINOR" of the schema
//     serialized_exported_program.json   the program (ExportSchema.h)
//     serialized_state_dict.pt           a zip file that torch.save wrote (TensorPickle.h)
//     serialized_constants.pt            likewise; both were .json, with the same content, before
//   torch 2.8, behind one prefix:
//     PREFIX/archive_format              "pt2"
//     PREFIX/models/NAME.json            a program
//     PREFIX/data/weights/NAME.pt        a zip file that torch.save wrote
//     PREFIX/data/constants/NAME.pt      likewise
//   torch 2.9 and later, in place of the last two:
//     PREFIX/data/weights/NAME_weights_config.json      which tensor is what view of which record
//     PREFIX/data/weights/weight_N                      the bytes of a storage
//     PREFIX/data/constants/NAME_constants_config.json, tensor_N   likewise
//
// Pickles of Python objects (sample inputs, custom objects) are never read.
#pragma once

#include "frontend/archive/ExportSchema.h"
#include "frontend/archive/RecordBytes.h"

namespace plait {

/// A tensor of a model: a view of a storage.
struct ExportedTensor {
  std::shared_ptr<const RecordBytes> storage;
  int64_t dtype = 0; ///< numbered as ScalarType of the schema
  std::vector<int64_t> sizes, strides;
  int64_t offset = 0; ///< in elements
  /// Why it cannot be read, where something of the program needs it; "" where it can.
  std::string problem;
};

struct ExportedModelData {
  exported::Program program;
  /// By path: parameters and buffers that were saved, and all else that the program holds.
  std::map<std::string, ExportedTensor> weights, constants;
};

/// "model.pt2:NAME" is the model NAME of an archive; "" where none is named.
struct ModelPath {
  std::string file, model;
};
ModelPath splitModelPath(llvm::StringRef path);

class ExportArchive {
public:
  /// Whether the file is an archive of torch.export, whatever it is called. False for what cannot
  /// be opened.
  static bool isOne(llvm::StringRef path);

  /// Reads what the archive has. Messages do not name the file.
  static Expected<ExportArchive> open(std::shared_ptr<const MappedFile> file);

  llvm::ArrayRef<std::string> models() const { return models_; }
  const ZipDirectory &directory() const { return *directory_; }

  /// One of models(), or the only one where the name is "".
  Expected<ExportedModelData> read(llvm::StringRef model) const;

private:
  using Tensors = std::map<std::string, ExportedTensor>;

  const ZipRecord *find(llvm::StringRef name) const {
    return directory_->find(prefix_ + name.str());
  }
  Expected<std::string> choose(llvm::StringRef model) const;
  /// The tensors of `kind`, "weights" or "constants".
  Expected<Tensors> readTensors(RecordReader &reader, llvm::StringRef kind,
                                llvm::StringRef model) const;
  Expected<Tensors> readPickled(RecordReader &reader, const ZipRecord &record) const;
  Expected<Tensors> readPayloads(RecordReader &reader, const ZipRecord &config,
                                 llvm::StringRef folder) const;

  std::shared_ptr<const MappedFile> file_;
  std::shared_ptr<const ZipDirectory> directory_;
  std::string prefix_;  ///< with its slash
  bool isFlat_ = false; ///< of torch 2.7 or before
  std::vector<std::string> models_;
};

} // namespace plait
