// Runs functions with the interpreter, for tests that hold a program against what a pass made of
// it.
#pragma once

#include "mil/ProgramRunner.h"
#include "runtime/Runner.h"

namespace plait {

/// States begin with zeros.
class InterpretingRunner : public mil::ProgramRunner {
public:
  Expected<std::vector<mil::TensorData>> run(const mil::Function &function,
                                             llvm::ArrayRef<mil::TensorData> inputs) override {
    auto runner = runtime::Runner::create(function);
    if (!runner)
      return runner.takeError();
    std::vector<runtime::NamedTensor> named;
    for (auto [input, data] : llvm::zip(function.inputs(), inputs))
      if (!input->type.isState())
        named.push_back({input->name.str(), data});
    auto results = runner->run(named);
    if (!results)
      return results.takeError();
    std::vector<mil::TensorData> outputs;
    for (const runtime::NamedResult &result : *results) {
      if (!result.value.tensor())
        return makeError(Code::Internal, "output '{0}' is no tensor", result.name);
      outputs.push_back(*result.value.tensor());
    }
    return outputs;
  }
};

} // namespace plait
