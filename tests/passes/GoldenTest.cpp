// Every pass against its golden file, and that every pass has one.
#include "tests/PassGoldens.h"

namespace plait {
namespace {

class PassGolden : public testing::TestWithParam<std::string> {};

TEST_P(PassGolden, Holds) { golden::runPassFile(GetParam()); }

INSTANTIATE_TEST_SUITE_P(Passes, PassGolden, testing::ValuesIn(golden::passFiles()),
                         [](const auto &info) { return golden::testName(info.param); });

TEST(PassGoldens, EveryPassHasAFileAndEveryFileAPass) {
  std::set<std::string> files, passes{"pipeline"};
  for (const std::string &path : golden::passFiles())
    files.insert(llvm::sys::path::stem(path).str());
  for (const passes::PassInfo &pass : passes::allPasses())
    passes.insert(pass.name.str());
  EXPECT_EQ(files, passes);
}

} // namespace
} // namespace plait
