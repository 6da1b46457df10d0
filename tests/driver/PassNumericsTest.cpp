// The golden files of passes with the interpreter: functions compute the same before and after.
#include "runtime/RuntimeEvaluator.h"
#include "tests/PassGoldens.h"
#include "tests/driver/InterpretingRunner.h"

namespace plait {
namespace {

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
