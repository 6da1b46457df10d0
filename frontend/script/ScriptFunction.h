// One function of one TorchScript method: declares its interface, walks its graph, names its
// outputs.
#pragma once

#include "frontend/engine/Interface.h"
#include "frontend/script/GraphWalk.h"
#include "frontend/script/Signature.h"

#include <torch/csrc/jit/api/module.h>

namespace plait::frontend {

/// Where the types of what is made of live modules are.
inline constexpr const char *kLiveNamespace = "__torch__.live";

/// That the module has the declared method, and it takes the declared inputs.
Error checkSignature(const torch::jit::Module &module, const ModelFunction &declared);

class ScriptFunction {
public:
  ScriptFunction(mil::Function &function, const ModelFunction &declared, mil::DType floatType,
                 EngineOptions options, WalkOptions walk)
      : declared_(declared), engine_(function, std::move(options)),
        interface_(engine_, declared, floatType), walk_(engine_, std::move(walk)) {}

  /// The signature is checked.
  Error run(const torch::jit::Module &module);
  std::vector<Warning> takeWarnings() { return engine_.takeWarnings(); }

private:
  /// The value of an argument, or of a part of one.
  Expected<Val> make(const ArgumentPlan &plan);

  const ModelFunction &declared_;
  Engine engine_;
  Interface interface_;
  GraphWalk walk_;
};

} // namespace plait::frontend
