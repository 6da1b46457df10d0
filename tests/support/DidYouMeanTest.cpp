// What is near to a name, and what is not.
#include "support/DidYouMean.h"

#include "llvm/ADT/SmallString.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Path.h"
#include "llvm/Support/raw_ostream.h"
#include "gtest/gtest.h"

using namespace plait;

namespace {

TEST(DidYouMean, TheNearestName) {
  EXPECT_EQ(didYouMean("verfy", {"verify", "version"}), " (did you mean 'verify'?)");
  EXPECT_EQ(didYouMean("vers", {"verify", "version"}), " (did you mean 'version'?)");
  EXPECT_EQ(didYouMean("frobnicate", {"verify", "version"}), "");
  EXPECT_EQ(didYouMean("y", {"x", "z"}), "");
  EXPECT_EQ(didYouMean("x", llvm::ArrayRef<llvm::StringRef>()), "");
}

TEST(DidYouMean, TheEndOfAPath) {
  EXPECT_EQ(didYouMean("attn", {"layers.0.mlp", "layers.0.attn"}),
            " (did you mean 'layers.0.attn'?)");
  EXPECT_EQ(didYouMean("tn", {"layers.0.attn"}), "");
}

TEST(DidYouMean, AFileBesideIt) {
  llvm::SmallString<128> folder;
  ASSERT_FALSE(llvm::sys::fs::createUniqueDirectory("plait-near", folder));
  std::string base = folder.str().str() + "/";
  for (const char *name : {"model_b.pt", "model_a.pt", ".model_x.pt", "other.txt"}) {
    std::error_code code;
    llvm::raw_fd_ostream(base + name, code) << "x";
    ASSERT_FALSE(code);
  }
  EXPECT_EQ(didYouMeanFile(base + "model_x.pt"), " (did you mean '" + base + "model_a.pt'?)");
  EXPECT_EQ(didYouMeanFile(base + "othr.txt/"), " (did you mean '" + base + "other.txt'?)");
  EXPECT_EQ(didYouMeanFile(base + "photo.jpg"), "");
  EXPECT_EQ(didYouMeanFile(base + "nowhere/model_a.pt"), "");
  EXPECT_EQ(didYouMeanFile(""), "");
  llvm::sys::fs::remove_directories(folder);
}

} // namespace
