// Functions that are a base with adapters: the base is lowered once for all that take the same
// inputs, and each gets a copy that its adapters are applied to.
#pragma once

#include "adapters/Adapter.h"
#include "driver/LibTorch.h"
#include "frontend/Frontend.h"

namespace plait::adapters {
class AdapterFile;
}

namespace plait::driver {

/// What the frontend is told beside what each function says.
frontend::LoweringOptions loweringOptions(const CompileOptions &options);

class AdaptedFunctions {
public:
  /// `options` and `models` outlive it.
  AdaptedFunctions(const CompileOptions &options, frontend::Models &models);
  ~AdaptedFunctions();

  /// Adds the function to the program. `inputs` takes what are inputs of the function in place of
  /// an adapter's matrices.
  Error lower(mil::Program &program, const FunctionOptions &function,
              std::vector<Warning> &warnings, std::vector<adapters::AdapterInput> &inputs);

private:
  struct Planned;
  struct Base;

  Expected<Planned *> plan(const FunctionOptions &function);
  Expected<Base *> baseOf(const FunctionOptions &function);

  const CompileOptions &options_;
  frontend::Models &models_;
  std::map<std::string, std::shared_ptr<const adapters::AdapterFile>> files_; ///< by path
  std::map<const FunctionOptions *, std::unique_ptr<Planned>> plans_;
  std::vector<std::unique_ptr<Base>> bases_;
};

/// That the function's adapters can be read and belong to its model, by the names of their tensors;
/// nothing is lowered.
Error checkAdapters(frontend::Models &models, const FunctionOptions &function);

/// The parameters of the model at `base` that adapters change, with adapters merged into them: with
/// these it is what a function with adapters is to be compared with.
Expected<std::vector<frontend::ParameterValue>>
mergedParameters(llvm::StringRef base, const adapters::AdapterOptions &adapters);

} // namespace plait::driver
