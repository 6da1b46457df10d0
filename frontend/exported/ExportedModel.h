// A model of a torch.export archive as LibTorch's tensors: its program, and the tensors that it
// computes with, where they lie in the mapped file.
//
// The tensors are also the attributes of objects, as those of a TorchScript module are, so that
// what names, describes and keeps the tensors of a model (ParameterNames, StatePlan) does it for
// both. The objects have no code.
#pragma once

#include "frontend/archive/ExportArchive.h"

#include <torch/csrc/jit/api/module.h>

namespace plait::frontend {

class ExportedModel {
public:
  /// Where a tensor of the model is an attribute.
  struct Place {
    c10::intrusive_ptr<c10::ivalue::Object> object;
    size_t slot;
  };

  /// `path` may name a model of the archive ("model.pt2:NAME"). With Access::ReadOnly the tensors
  /// must not be written to. Errors begin with the file.
  static Expected<std::shared_ptr<const ExportedModel>>
  load(llvm::StringRef path, MappedFile::Access access = MappedFile::Access::ReadOnly);

  const exported::Program &program() const { return data_.program; }
  const std::shared_ptr<const MappedFile> &file() const { return file_; }
  /// The root of the objects.
  const torch::jit::Module &root() const { return *root_; }

  /// The tensor that an input of the program stands for; null where the archive has none, or one
  /// that cannot be read.
  const Place *find(const exported::InputSpec &spec) const;
  at::Tensor tensorOf(const exported::InputSpec &spec) const;
  /// Why find() gives nothing.
  std::string problemOf(const exported::InputSpec &spec) const;

  /// The record of the file that `data`, a tensor's memory, lies in; null for copies.
  const RecordBytes *recordAt(const void *data) const;

private:
  ExportedModel() = default;
  Error addTensors(const std::map<std::string, ExportedTensor> &tensors, bool areConstants);
  Error addAttribute(const std::string &path, const at::Tensor &tensor, bool isParameter,
                     bool isConstant);

  std::shared_ptr<const MappedFile> file_;
  ExportedModelData data_;
  std::optional<torch::jit::Module> root_;
  std::map<std::string, torch::jit::Module> modules_; ///< by path
  std::map<std::string, Place> weights_, constants_;
  std::map<const RecordBytes *, at::Tensor> storages_;
  std::map<const uint8_t *, const RecordBytes *> records_; ///< that are mapped, by their beginning
};

} // namespace plait::frontend
