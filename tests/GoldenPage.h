// Pages of docs/ that are made from tables. UPDATE_GOLDEN=1 writes them anew.
#pragma once

#include "tests/SourceDir.h"

#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/raw_ostream.h"

#include <cstdlib>
#include <gtest/gtest.h>

namespace plait {

/// `path` is that of the page in the checkout, "docs/ops.md".
inline void expectPage(const std::string &path, const std::string &text) {
  std::string file = sourcePath(path);
  if (std::getenv("UPDATE_GOLDEN")) {
    std::error_code ec;
    llvm::raw_fd_ostream(file, ec) << text;
    ASSERT_FALSE(ec) << ec.message();
  }
  auto buffer = llvm::MemoryBuffer::getFile(file, true);
  ASSERT_TRUE(bool(buffer));
  EXPECT_EQ((*buffer)->getBuffer().str(), text) << "run this test with UPDATE_GOLDEN=1";
}

} // namespace plait
