// One function of one exported program: its interface by the program's signature, its parameters
// and buffers, its graph, its outputs.
#pragma once

#include "frontend/engine/Interface.h"
#include "frontend/exported/EngineRun.h"
#include "frontend/exported/ExportedModel.h"
#include "frontend/exported/InputSizes.h"

namespace plait::frontend {

class ExportedFunction {
public:
  /// `declared` is completed (ExportedInterface.h). `calls` may be null; both outlive the function.
  ExportedFunction(mil::Function &function, const ModelFunction &declared, mil::DType floatType,
                   EngineOptions options, const ExportedModel &model, ModuleCalls *calls)
      : engine_(function, std::move(options)), interface_(engine_, declared, floatType),
        declared_(declared), model_(model), calls_(calls) {}

  Error run();
  std::vector<Warning> takeWarnings() { return engine_.takeWarnings(); }

private:
  Expected<std::vector<Val>> bindInputs();
  Expected<Val> bindTensor(const exported::InputSpec &spec, bool isRead);
  /// Of the next declared input.
  Expected<Val> userInput(const exported::Argument &argument);
  /// The program's results; what it says of buffers is assigned to them.
  Expected<Val> takeOutputs(std::vector<Val> values);

  std::vector<InputShape> shapes_; ///< of the declared inputs
  Engine engine_;
  Interface interface_;
  const ModelFunction &declared_;
  size_t next_ = 0; ///< of its inputs
  const ExportedModel &model_;
  ModuleCalls *calls_;
};

} // namespace plait::frontend
