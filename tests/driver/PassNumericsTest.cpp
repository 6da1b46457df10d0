// The golden files of passes with the interpreter: functions compute the same before and after.
#include "runtime/Runner.h"
#include "runtime/RuntimeEvaluator.h"
#include "tests/PassGoldens.h"

namespace plait {
namespace {

/// Runs functions with the interpreter. States begin with zeros.
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
        return makeError("output '{0}' is no tensor", result.name);
      outputs.push_back(*result.value.tensor());
    }
    return outputs;
  }
};

class PassNumerics : public testing::TestWithParam<std::string> {};

TEST_P(PassNumerics, AgreeBeforeAndAfter) {
  runtime::RuntimeEvaluator evaluator;
  InterpretingRunner runner;
  golden::runPassFile(GetParam(), &evaluator, &runner);
}

INSTANTIATE_TEST_SUITE_P(Passes, PassNumerics, testing::ValuesIn(golden::passFiles()),
                         [](const auto &info) { return golden::testName(info.param); });

} // namespace
} // namespace plait
