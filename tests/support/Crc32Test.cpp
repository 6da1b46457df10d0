// CRC-32 of pieces, joined.
#include "support/Crc32.h"

#include "llvm/ADT/StringExtras.h"

#include "gtest/gtest.h"

using namespace plait;

namespace {

TEST(Crc32, IsThatOfZip) {
  EXPECT_EQ(crc32(llvm::arrayRefFromStringRef("123456789")), 0xCBF43926u);
}

TEST(Crc32, OfPieces) {
  std::vector<uint8_t> bytes(100003);
  for (size_t i = 0; i < bytes.size(); ++i)
    bytes[i] = uint8_t(i * i >> 3);
  llvm::ArrayRef<uint8_t> all(bytes);
  for (size_t cut : {size_t(0), size_t(1), size_t(7), size_t(4096), size_t(65537), bytes.size()})
    EXPECT_EQ(joinCrc32(crc32(all.take_front(cut)), crc32(all.drop_front(cut)), bytes.size() - cut),
              crc32(all))
        << cut;
}

} // namespace
