// TorchScript files and modules become functions of a mil::Program. No LibTorch type appears here.
#pragma once

#include "mil/IR.h"

namespace torch::jit {
struct Module;
}

namespace plait::frontend {

/// What the user declares of one of forward's tensor arguments.
struct InputSpec {
  /// The interface's name; "" takes the argument's own.
  std::string name;
  /// F16, F32, I32 or Bool; nullopt: floating-point of the requested precision.
  std::optional<mil::DType> dtype;
  /// One dimension: fixed (lower = upper) or a range.
  struct Range {
    int64_t lower, upper;
  };
  llvm::SmallVector<Range, 5> shape;
  /// Several static shapes instead; the first is the default. Empty where `shape` says all.
  std::vector<llvm::SmallVector<int64_t, 5>> enumerated;
};

/// An adapter that is applied to a model: a PEFT folder, or a safetensors file.
struct AdapterSpec {
  std::string path;
  double weight = 1; ///< several with weights are blended: the sum of what each adds
};

/// What becomes of an adapter.
enum class AdapterMode : uint8_t {
  Keep,  ///< computed beside the weight, which functions share
  Fold,  ///< merged into the weight
  Inputs ///< as Keep; its matrices are inputs of the function
};

/// An input of a function that stands for a matrix of an adapter.
struct AdapterInput {
  std::string name; ///< in the function
  std::string key;  ///< in the adapter's file
  /// What it is part of: "LoRA", "(IA)3 of inputs" …; "" takes any kind.
  std::string form;
  llvm::SmallVector<int64_t, 4> shape;
};

/// One function to make from one model.
struct FunctionRequest {
  std::string name;
  std::string path; ///< the TorchScript file; of a module in memory: what errors call it
  std::string method = "forward";
  std::vector<InputSpec> inputs;          ///< in the order of the method's tensor arguments
  std::vector<std::string> outputs;       ///< names in order; missing ones get default names
  mil::DType floatType = mil::DType::F16; ///< of inputs and outputs that do not say: the precision
  /// Weights in memory get a CRC, as those of files have one, so that passes see which are equal:
  /// worth a look at every byte where a program takes weights from both.
  bool checksumWeights = false;
  std::vector<AdapterSpec> adapters;
  AdapterMode adapterMode = AdapterMode::Keep;
  /// The path of the module that was adapted, where the adapters fit several.
  std::optional<std::string> adapterRoot;
  /// Tensors of an adapter that belong to no module are a warning, not an error.
  bool allowUnmatched = false;
};

/// Models that have been opened: one mapping and one set of weights a file, however many functions
/// use it. LibTorch modules are freed once lowered; the mappings live as long as the weights that
/// point into them. One thread at a time uses an object; several objects do not know of one
/// another.
class Models {
public:
  Models();
  ~Models();

  /// Lowers one model to a function added to the program. On error the program is as before. Every
  /// operation that is not supported is reported in one error, with count, module path and source
  /// line.
  /// `adapterInputs` takes what AdapterMode::Inputs made inputs of.
  Error lower(mil::Program &program, const FunctionRequest &request,
              std::vector<std::string> &warnings,
              std::vector<AdapterInput> *adapterInputs = nullptr);

  /// The same of a module in memory, in evaluation mode whatever mode it is in. Its tensors become
  /// the constants where they lie, kept alive by the program, and must not be written to while it
  /// is used; those of other devices are copied once, to mapped memory. The module is only read.
  Error lower(mil::Program &program, const FunctionRequest &request,
              const torch::jit::Module &module, std::vector<std::string> &warnings,
              std::vector<AdapterInput> *adapterInputs = nullptr);

private:
  struct State;
  std::unique_ptr<State> state_;
};

/// Writes `base` with adapters merged into its parameters by LibTorch, as a TorchScript file at
/// `output`: what a function with adapters is to be compared with.
Error writeMerged(llvm::StringRef base, llvm::ArrayRef<AdapterSpec> adapters,
                  const std::optional<std::string> &root, bool allowUnmatched,
                  llvm::StringRef output);

/// An array for an input that stands for a matrix of an adapter: fp16, with alpha / rank in it.
struct PackedInput {
  std::string name;
  mil::TensorData value;
};
/// The arrays of the adapter at `path` for a function of AdapterMode::Inputs.
Expected<std::vector<PackedInput>> packAdapter(llvm::StringRef path,
                                               llvm::ArrayRef<AdapterInput> inputs);

/// Success where the file at `path` loads as TorchScript; else what it is, and what to do.
Error checkModelFile(llvm::StringRef path);

} // namespace plait::frontend
