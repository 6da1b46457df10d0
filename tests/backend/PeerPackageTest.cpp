// Packages that coremltools wrote (tests/backend/peer/make.py): read, written again, read again;
// nothing is lost.
#include "backend/Inspect.h"
#include "backend/PackageReader.h"
#include "backend/PackageWriter.h"
#include "support/Json.h"
#include "tests/SourceDir.h"

#include "llvm/Support/FileSystem.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>

using namespace plait;
using namespace plait::mil;
namespace fs = llvm::sys::fs;
using testing::ElementsAre;
using testing::HasSubstr;

namespace {

std::string peer(llvm::StringRef name) {
  return sourcePath(("tests/backend/peer/" + name + ".mlpackage").str());
}

std::unique_ptr<Program> read(llvm::StringRef name) {
  return llvm::cantFail(readPackage(peer(name)));
}

unsigned count(Function &function, OpKind kind) {
  unsigned found = 0;
  walk(function.body(), [&](Op &op) { found += op.is(kind); });
  return found;
}

/// A constant's bytes by the name of its operation, in all functions.
std::map<std::string, std::vector<uint8_t>> constants(const Program &program) {
  std::map<std::string, std::vector<uint8_t>> result;
  for (const auto &function : program.functions())
    walk(function->body(), [&](Op &op) {
      if (op.is(OpKind::const_) && op.val().tensor())
        result[function->name + "/" + op.result()->name] =
            llvm::cantFail(op.val().tensor()->bytes());
    });
  return result;
}

class PeerPackage : public testing::TestWithParam<const char *> {};

TEST_P(PeerPackage, SurvivesWritingAndReading) {
  llvm::SmallString<128> folder;
  ASSERT_FALSE(fs::createUniqueDirectory("plait-peer", folder));
  std::string copy = (folder + "/copy.mlpackage").str();
  auto program = readPackage(peer(GetParam()));
  ASSERT_TRUE(bool(program)) << llvm::toString(program.takeError());
  if (Error error = writePackage(**program, copy))
    FAIL() << llvm::toString(std::move(error));
  auto again = llvm::cantFail(readPackage(copy));
  EXPECT_EQ(constants(**program), constants(*again));

  PackageSummary before = llvm::cantFail(inspectPackage(peer(GetParam())));
  PackageSummary after = llvm::cantFail(inspectPackage(copy));
  // Only the file may shrink: equal weights are stored once.
  EXPECT_LE(after.uniqueBytes, before.uniqueBytes);
  auto text = [](PackageSummary summary) {
    summary.fileBytes = summary.blobCount = summary.uniqueBytes = 0;
    return jsonText(toJson(summary));
  };
  EXPECT_EQ(text(before), text(after));
  for (auto [a, b] : llvm::zip((*program)->functions(), again->functions())) {
    EXPECT_EQ(a->opset, b->opset);
    for (auto [p, q] : llvm::zip(a->inputInfo, b->inputInfo)) {
      EXPECT_EQ(p.feature, q.feature);
      EXPECT_EQ(p.image, q.image);
      EXPECT_EQ(p.description, q.description);
      EXPECT_EQ(p.enumeratedShapes, q.enumeratedShapes);
      EXPECT_EQ(p.defaultShape, q.defaultShape);
    }
    for (auto [p, q] : llvm::zip(a->outputInfo, b->outputInfo)) {
      EXPECT_EQ(p.feature, q.feature);
      EXPECT_EQ(p.image, q.image);
      EXPECT_EQ(p.description, q.description);
    }
  }
  fs::remove_directories(folder);
}

INSTANTIATE_TEST_SUITE_P(All, PeerPackage,
                         testing::Values("image_classifier", "optional_input", "enumerated",
                                         "quantized16", "int4_blocks", "loop", "state",
                                         "two_functions"),
                         [](const auto &info) { return std::string(info.param); });

TEST(PeerPackages, KeepWhatIsNoTensor) {
  auto program = read("image_classifier");
  Function &main = *program->functions()[0];
  EXPECT_EQ(main.opset, Opset::iOS17);
  EXPECT_EQ(main.inputInfo[0].image, PixelFormat::RGB);
  EXPECT_EQ(main.inputInfo[0].feature, ""); // all of it is understood
  EXPECT_EQ(count(main, OpKind::classify), 1u);
  EXPECT_EQ(read("optional_input")->functions()[0]->inputInfo[0].feature, ""); // its default is
  EXPECT_EQ(read("enumerated")->functions()[0]->inputInfo[0].feature, "");
}

TEST(PeerPackages, KeepTheOrderAndTheDefaultOfFunctions) {
  PackageSummary summary = llvm::cantFail(inspectPackage(peer("two_functions")));
  EXPECT_EQ(summary.defaultFunction, "two");
  ASSERT_EQ(summary.functions.size(), 2u);
  EXPECT_EQ(summary.functions[0].name, "one");
  EXPECT_EQ(summary.sharingMatrix()[0][1], summary.uniqueBytes);
  EXPECT_EQ(summary.referencedBytes, 2 * summary.uniqueBytes);
}

TEST(PeerPackages, SizesFollowFromTheEnumeratedInput) {
  auto program = read("enumerated");
  Function &main = *program->functions()[0];
  EXPECT_THAT(main.inputInfo[0].defaultShape, ElementsAre(4, 16));
  ASSERT_EQ(main.outputs()[0]->type.rank(), 2u);
  EXPECT_TRUE(main.outputs()[0]->type.shape()[0] == main.inputs()[0]->type.shape()[0]);
  EXPECT_EQ(main.inputs()[0]->type.shape()[0].upper(), 4);
}

TEST(PeerPackages, LiteralsOfCompressedWeightsBecomeConstants) {
  auto quantized = read("quantized16");
  EXPECT_EQ(count(*quantized->functions()[0], OpKind::constexpr_affine_dequantize), 2u);
  auto blocks = read("int4_blocks");
  for (Op &op : blocks->functions()[0]->body())
    if (op.is(OpKind::constexpr_blockwise_shift_scale)) {
      EXPECT_EQ(op[constexpr_blockwise_shift_scale::data]->type.dtype(), DType::I4);
      EXPECT_TRUE(constTensor(op[constexpr_blockwise_shift_scale::data]));
    }
}

TEST(PeerPackages, NamesAreUniqueAcrossBlocks) {
  auto program = read("loop");
  Function &main = *program->functions()[0];
  llvm::StringSet<> names;
  walk(main.body(), [&](Op &op) {
    for (const auto &result : op.results())
      EXPECT_TRUE(names.insert(result->name.str()).second) << result->name.str();
    for (const auto &block : op.blocks())
      for (const auto &arg : block->args())
        EXPECT_TRUE(names.insert(arg->name.str()).second) << arg->name.str();
  });
  EXPECT_EQ(count(main, OpKind::while_loop), 1u);
}

} // namespace
