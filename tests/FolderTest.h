// A test with a folder of its own, which is removed with all it holds.
#pragma once

#include "llvm/ADT/SmallString.h"
#include "llvm/ADT/Twine.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/MemoryBuffer.h"

#include <gtest/gtest.h>

namespace plait {

class FolderTest : public testing::Test {
protected:
  void SetUp() override { ASSERT_FALSE(llvm::sys::fs::createUniqueDirectory("plait", folder)); }
  void TearDown() override { llvm::sys::fs::remove_directories(folder); }

  /// The path of what is called so in the folder.
  std::string at(const llvm::Twine &name) const { return (folder + "/" + name).str(); }
  /// All bytes of a file.
  static std::string get(const std::string &path) {
    auto buffer = llvm::MemoryBuffer::getFile(path, /*IsText=*/false,
                                              /*RequiresNullTerminator=*/false);
    return buffer ? (*buffer)->getBuffer().str() : "<missing>";
  }

  llvm::SmallString<128> folder;
};

} // namespace plait
