// Every pass against its golden file, and that every pass has one.
#include "mil/Builder.h"
#include "tests/PassGoldens.h"

#include <gtest/gtest-spi.h>

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

/// A case that a pass turns into something else, checked for provenance alone.
void checkProvenance(llvm::function_ref<void(mil::Op &linear)> pass) {
  golden::Blobs blobs;
  auto program = llvm::cantFail(blobs.parse(R"(program(1.3)
{
    func main<ios18>(tensor<fp32, [1, 16]> x) {
        tensor<fp32, [16, 16]> w = const()[name = string("w"), val = tensor<fp32, [16, 16]>(BLOBFILE(path = string("@model_path/weights/weight.bin"), offset = uint64(64)))];
        tensor<fp32, [1, 16]> y = linear(x = x, weight = w)[name = string("y")];
    } -> (y);
}
)",
                                            "case"));
  golden::Provenance provenance;
  provenance.give(*program);
  pass(program->functions()[0]->body().back());
  provenance.check(*program);
}

TEST(PassGoldens, ALostLocationIsFound) {
  auto pass = [](mil::Op &linear) {
    mil::Builder builder(*linear.parent(), linear.getIterator());
    builder.emit(mil::OpKind::relu, {{mil::relu::x, linear[mil::linear::x]}});
  };
  EXPECT_NONFATAL_FAILURE(checkProvenance(pass), "no location");
  checkProvenance([](mil::Op &linear) {
    mil::Builder::before(&linear).emit(mil::OpKind::relu, {{mil::relu::x, linear[mil::linear::x]}});
  });
}

TEST(PassGoldens, ALostWeightIsFound) {
  auto replaced = [](bool isKept) {
    return [=](mil::Op &linear) {
      const mil::TensorData &old = *mil::constTensor(linear[mil::linear::weight]);
      auto made = mil::TensorData::fromBytes(old.dtype(), old.shape(), *old.bytes());
      if (isKept)
        made = made.withOrigin(originOf(old).asComputed());
      linear.set(mil::linear::weight, mil::Builder::before(&linear).constant(made));
    };
  };
  EXPECT_NONFATAL_FAILURE(checkProvenance(replaced(false)), "made of nobody knows what");
  checkProvenance(replaced(true));
  EXPECT_NONFATAL_FAILURE(checkProvenance([](mil::Op &linear) {
                            mil::Op &w = *linear[mil::linear::weight]->def();
                            w.setVal(mil::constTensor(w.result())->withOrigin({}));
                          }),
                          "a weight is no weight any more");
}

} // namespace
} // namespace plait
