// What the user says of adapters, and what a function that takes one as inputs says of itself.
#pragma once

#include "mil/LoraMode.h"
#include "mil/TensorData.h"

#include <optional>
#include <string>
#include <vector>

namespace plait::adapters {

/// What the user says of the scale of an adapter whose files do not say it.
struct GivenScale {
  bool isAlpha = false; ///< alpha, which the rank divides; otherwise the scale itself
  double value = 1;
};

/// An adapter that is applied to a model: a PEFT folder, an MLX folder, or a safetensors file.
struct AdapterSpec {
  std::string path;
  double weight = 1; ///< several with weights are blended: the sum of what each adds
  std::optional<GivenScale> scale = {};
};

/// The adapters of a function.
struct AdapterOptions {
  /// Several are blended by their weights. None: the model as it is.
  std::vector<AdapterSpec> specs;
  std::optional<std::string> root = {}; ///< the module that was adapted, where several fit
  bool allowUnmatched = false; ///< tensors of an adapter that belong to no module: a warning
};

/// An input of a function that stands for a matrix of an adapter.
struct AdapterInput {
  std::string name; ///< in the function
  std::string key;  ///< in the adapter's file
  /// What it is part of: "LoRA", "(IA)3 of inputs" …; "" takes any kind.
  std::string kind;
  llvm::SmallVector<int64_t, 4> shape;
};

/// An array for such an input: fp16, with alpha / rank in it.
struct PackedInput {
  std::string name;
  mil::TensorData value;
};

/// The tensors of a file, by name, in its order.
using NamedTensors = std::vector<std::pair<std::string, mil::TensorData>>;

/// Reads the dictionary of tensors that torch.save wrote at a path: adapter_model.bin. Errors begin
/// with the path. frontend/archive/TensorFile.h has it, which nothing here knows.
using ReadPickle = std::function<Expected<NamedTensors>(llvm::StringRef path)>;

} // namespace plait::adapters
