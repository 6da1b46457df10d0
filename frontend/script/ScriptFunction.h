// One function of one TorchScript method: declares its interface, walks its graph, names its
// outputs.
#pragma once

#include "frontend/engine/Interface.h"
#include "frontend/script/GraphWalk.h"

#include <torch/csrc/jit/api/module.h>

namespace plait::frontend {

class ScriptFunction {
public:
  ScriptFunction(mil::Function &function, const ModelFunction &declared, mil::DType floatType,
                 EngineOptions options, WalkOptions walk)
      : declared_(declared), engine_(function, std::move(options)),
        interface_(engine_, declared, floatType), walk_(engine_, std::move(walk)) {}

  Error run(const torch::jit::Module &module);
  std::vector<std::string> takeWarnings() { return engine_.takeWarnings(); }

private:
  /// The value of an argument: inputs where it holds tensors, else its default.
  Expected<Val> declare(const c10::TypePtr &type, const c10::Argument &argument);

  const ModelFunction &declared_;
  Engine engine_;
  Interface interface_;
  GraphWalk walk_;
};

} // namespace plait::frontend
