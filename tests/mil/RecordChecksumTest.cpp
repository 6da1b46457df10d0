// A record's CRC-32 over pieces that are seen in any order.
#include "mil/RecordChecksum.h"

#include "support/Crc32.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

using namespace plait;
using namespace plait::mil;

namespace {

std::vector<uint8_t> someBytes(size_t count) {
  std::vector<uint8_t> bytes(count);
  for (size_t i = 0; i < count; ++i)
    bytes[i] = uint8_t(i * 7 + (i >> 8));
  return bytes;
}

std::shared_ptr<RecordChecksum> of(llvm::ArrayRef<uint8_t> bytes, uint32_t stated) {
  return std::make_shared<RecordChecksum>("m.pt: record 'x'", bytes, stated, nullptr);
}

std::string problem(const std::shared_ptr<RecordChecksum> &record) {
  Error error = RecordChecksum::checkAll({record}, 2);
  return error ? toString(std::move(error)) : "";
}

TEST(RecordChecksum, PiecesInAnyOrderAndTheRest) {
  std::vector<uint8_t> bytes = someBytes(3 << 20);
  auto record = of(bytes, crc32(bytes));
  record->want();
  EXPECT_EQ(record->see(2000, 500), crc32(llvm::ArrayRef(bytes).slice(2000, 500)));
  EXPECT_TRUE(record->see(0, 100));
  // A part of it is known.
  EXPECT_FALSE(record->see(50, 100));
  EXPECT_FALSE(record->see(2100, 1));
  EXPECT_FALSE(record->see(1900, 1000));
  record->seeEqual(100, 1900, crc32(llvm::ArrayRef(bytes).slice(100, 1900)));
  EXPECT_EQ(problem(record), "");
  EXPECT_FALSE(record->see(2 << 20, 1));
}

TEST(RecordChecksum, Damage) {
  std::vector<uint8_t> bytes = someBytes(5000);
  uint32_t stated = crc32(bytes);
  bytes[3333] ^= 1;
  auto record = of(bytes, stated);
  EXPECT_EQ(problem(record), "") << "nobody wants it";
  record->want();
  EXPECT_THAT(problem(record), testing::HasSubstr("m.pt: record 'x' is damaged"));
}

TEST(RecordChecksum, StoragesWithoutMemory) {
  // As LibTorch writes those of tensor subclasses: zeros, and 0 for their CRC-32.
  std::vector<uint8_t> bytes(5000);
  ASSERT_NE(crc32(bytes), 0u);
  auto zeros = of(bytes, 0);
  zeros->want();
  EXPECT_EQ(problem(zeros), "");
  bytes[4999] = 1;
  auto others = of(bytes, 0);
  others->want();
  EXPECT_THAT(problem(others), testing::HasSubstr("damaged"));
}

TEST(RecordChecksum, NoBytes) {
  auto record = of({}, 0);
  record->want();
  EXPECT_EQ(problem(record), "");
}

} // namespace
