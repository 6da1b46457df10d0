// The examples of docs/codes that are C++: what the page says, as CMake takes it out, gives the
// code.
#include "ApiTestUtils.h"

#include <torch/csrc/jit/api/module.h>
#include <torch/nn/modules.h>
#include <torch/utils.h>

#include <filesystem>

using testing::ElementsAre;

namespace {

class CodePages : public plait::test::ApiTest {
protected:
  void SetUp() override {
    ApiTest::SetUp();
    before_ = std::filesystem::current_path();
    std::filesystem::current_path(at(""));
    torch::jit::Module model("Model");
    model.define("def forward(self, x):\n    return x * 2\n");
    model.save("model.pt");
  }
  void TearDown() override {
    std::filesystem::current_path(before_);
    ApiTest::TearDown();
  }
  /// The code of what the example throws, or those of its report's warnings.
  template <typename Example> std::vector<std::string> codesOf(Example example) {
    plait::Report report;
    try {
      example(report);
    } catch (const plait::Exception &error) {
      EXPECT_FALSE(std::filesystem::exists("out.mlpackage"));
      return {error.code()};
    }
    return report.warningCodes;
  }

private:
  std::filesystem::path before_;
};

TEST_F(CodePages, P0909) {
  auto codes = codesOf([](auto &) {
#include "P0909.inc"
  });
  EXPECT_THAT(codes, ElementsAre("P0909"));
}

TEST_F(CodePages, P1106) {
  auto codes = codesOf([](plait::Report &report) {
#include "P1106.inc"
  });
  EXPECT_THAT(codes, ElementsAre("P1106"));
}

TEST_F(CodePages, P9901) {
  auto codes = codesOf([](auto &) {
#include "P9901.inc"
  });
  EXPECT_THAT(codes, ElementsAre("P9901"));
}

} // namespace
