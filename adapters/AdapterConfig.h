// What an adapter_config.json says, as PEFT reads it: the kind, ranks and alphas with their
// patterns, and which modules it adapts. MLX's file of that name is another one (MlxConfig.cpp).
#pragma once

#include "adapters/PythonRegex.h"

#include "llvm/ADT/StringRef.h"

#include <map>
#include <optional>
#include <vector>

namespace plait::adapters {

/// AdaLoRA, once trained, is a LoRA; AdapterFile makes it one.
enum class AdapterKind : uint8_t { Lora, Ia3, Loha, Lokr, Vera, LnTuning };
llvm::StringRef name(AdapterKind kind);

/// A choice of modules: a regular expression that matches the whole path, or names that are the
/// path or its last components.
struct ModuleChoice {
  bool given = false;
  bool allLinear = false; ///< "all-linear"
  std::optional<PythonRegex> pattern;
  std::vector<std::string> names;

  Expected<bool> contains(llvm::StringRef path) const;
  /// As PEFT reads feedforward_modules: a name is the end of the path, whole components or not.
  Expected<bool> endsIn(llvm::StringRef path) const;
};

struct AdapterConfig {
  AdapterKind kind = AdapterKind::Lora;
  /// MLX's, which is no quotient. Its factors are the transposed ones of PEFT's.
  std::optional<double> mlxScale;
  bool rankScaled = false; ///< rsLoRA: alpha / sqrt(rank)
  bool dora = false;
  bool tiesWeights = false; ///< modules with a weight of an adapted one are adapted too
  bool adaptive = false;    ///< AdaLoRA: every module has the rank that training left it
  /// VeRA's, where it was saved without its projections.
  std::optional<uint64_t> projectionSeed;
  double alpha = 8;
  int64_t rank = 8;
  /// For each a pattern `(.*\.)?(KEY)$` and what holds where it matches; the first counts.
  std::vector<std::pair<PythonRegex, double>> alphas, ranks;
  ModuleChoice targets, excluded, feedforward;
  std::optional<std::vector<int64_t>> layers; ///< layers_to_transform
  std::vector<PythonRegex> layerPatterns;     ///< each with a group idx; any numbered part if empty
  /// trainable_token_indices: of an embedding, by the end of its path; of any by "".
  std::map<std::string, std::vector<int64_t>> tokens;
  std::vector<PythonRegex> saved; ///< modules_to_save, as patterns over paths

  /// Whether PEFT would adapt the module at `path` (relative to the model that it wrapped).
  Expected<bool> adapts(llvm::StringRef path) const;
  Expected<double> alphaOf(llvm::StringRef path) const;
  /// What the factors of the module must have; of LoRA, LoHa and LoKr.
  Expected<int64_t> rankOf(llvm::StringRef path) const;

  /// The tokens whose rows the adapter replaces in the embedding at `path`; null where it says
  /// none.
  const std::vector<int64_t> *tokensOf(llvm::StringRef path) const;

  /// PEFT's or MLX's. Kinds and options that plait does not know are refused by name. Messages do
  /// not name the file.
  static Expected<AdapterConfig> parse(llvm::StringRef json);
  /// The same of what diffusers keeps in the metadata of a safetensors file: one configuration for
  /// each part of its pipeline, with the part's name before every member ("unet.r"). By part.
  static Expected<std::map<std::string, AdapterConfig>> parseDiffusers(llvm::StringRef json);
};

} // namespace plait::adapters
