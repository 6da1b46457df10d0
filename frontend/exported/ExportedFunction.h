// One function of one exported program: its interface by the program's signature, its parameters
// and buffers, its graph, its outputs.
#pragma once

#include "frontend/engine/Interface.h"
#include "frontend/exported/EngineRun.h"
#include "frontend/exported/ExportedModel.h"

#include <map>

namespace plait::frontend {

/// What is declared, with the inputs that the program itself describes where none are: sizes and
/// ranges as it was exported with. An error where the program leaves a size without a bound, or has
/// another form than what is declared.
Expected<ModelFunction> completedInterface(const ExportedModel &model,
                                           const ModelFunction &declared);

class ExportedFunction {
public:
  /// `declared` is completed. `calls` may be null; both outlive the function.
  ExportedFunction(mil::Function &function, const ModelFunction &declared, mil::DType floatType,
                   EngineOptions options, const ExportedModel &model, ModuleCalls *calls)
      : engine_(function, std::move(options)), interface_(engine_, declared, floatType),
        model_(model), calls_(calls) {}

  Error run();
  std::vector<std::string> takeWarnings() { return engine_.takeWarnings(); }

private:
  Expected<std::vector<Val>> bindInputs();
  Expected<Val> bindTensor(const exported::InputSpec &spec, bool isRead);
  Expected<Val> userInput(const std::string &name, const exported::TensorMeta &meta);
  /// The program's results; what it says of buffers is assigned to them.
  Expected<Val> takeOutputs(std::vector<Val> values);

  /// A size that inputs have in common.
  struct Symbol {
    std::string name, input;
    InputSpec::Range range;
  };

  std::map<std::string, Symbol> symbols_; ///< by the program's name
  Engine engine_;
  Interface interface_;
  const ExportedModel &model_;
  ModuleCalls *calls_;
};

} // namespace plait::frontend
