// Unpacking: all, no more and no less.
#include "support/Inflate.h"

#include "llvm/ADT/StringExtras.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

using namespace plait;

namespace {

/// "aaaaaaaaaa", by a match; and a stored block of three.
const uint8_t tenLetters[] = {0x4b, 0x4c, 0x84, 0x01, 0x00},
              threeLetters[] = {1, 3, 0, 0xfc, 0xff, 'x', 'y', 'z'};

std::string inflated(llvm::ArrayRef<uint8_t> packed, size_t size) {
  auto bytes = inflate(packed, size);
  return bytes ? llvm::toStringRef(*bytes).str() : toString(bytes.takeError());
}

TEST(Inflate, ExactlyWhatIsClaimed) {
  EXPECT_EQ(inflated(tenLetters, 10), "aaaaaaaaaa");
  EXPECT_EQ(inflated(threeLetters, 3), "xyz");
  for (size_t size : {0, 2, 4})
    EXPECT_THAT(inflated(threeLetters, size), testing::HasSubstr("does not unpack to the"));
  EXPECT_THAT(inflated(llvm::ArrayRef(threeLetters).drop_back(), 3),
              testing::HasSubstr("does not unpack to the 3 bytes"));
  EXPECT_THAT(inflated({}, 3), testing::HasSubstr("does not unpack"));
}

} // namespace
