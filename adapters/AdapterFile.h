// An adapter as it lies on disk: a PEFT folder (adapter_config.json with adapter_model.safetensors
// or adapter_model.bin), an MLX folder (adapter_config.json with adapters.safetensors), a folder
// with one safetensors file, or a safetensors file by itself as Kohya's scripts and diffusers write
// them.
//
// The tensors are views of the mapped file, and never copied but where the file holds them
// misaligned, and AdaLoRA's: B diag(E) A is made the LoRA B (E A), and modules that training left
// without a rank are gone. Factors of MLX are transposed, and then are as PEFT's.
#pragma once

#include "adapters/Adapter.h"
#include "adapters/AdapterConfig.h"
#include "adapters/AdapterKeys.h"

#include <map>
#include <set>

namespace plait::adapters {

class AdapterFile {
public:
  static Expected<std::shared_ptr<const AdapterFile>> open(llvm::StringRef path,
                                                           const ReadPickle &readPickle);

  const std::string &path() const { return path_; }           ///< as given
  const std::string &weights() const { return weightsPath_; } ///< the file that holds the tensors
  /// Absent for files of other tools, which say alphas in tensors of their own. A file of
  /// diffusers' has one for each part of its pipeline, where it has any.
  const std::optional<AdapterConfig> &config(llvm::StringRef part) const;
  /// A key of the file's, cut into its parts.
  AdapterKey parse(llvm::StringRef key) const;
  /// By key, in the order of the file.
  const NamedTensors &tensors() const { return tensors_; }
  /// Whether the file is one of diffusers', who means a scale of one where nothing says another.
  /// Several parts of a pipeline say so for sure; `part` alone does not where the model has a
  /// module of that name (`isModule`), since keys then are its own paths.
  bool isOfDiffusers(const AdapterKey &key, bool isModule) const;

private:
  Error readSafetensors();
  Error transposeFactors();
  Error foldSingularValues();

  std::string path_, weightsPath_;
  std::optional<AdapterConfig> config_;
  std::map<std::string, std::optional<AdapterConfig>> parts_;
  NamedTensors tensors_;
  std::set<std::string> diffusersParts_; ///< that keys name
};

} // namespace plait::adapters
