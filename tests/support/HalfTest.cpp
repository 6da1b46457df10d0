// fp16 and bf16 conversion: vector code against the portable one over every half and every 1021st
// float pattern, and the portable one against values worked out by hand.
#include "support/Half.h"
#include "llvm/ADT/bit.h"
#include <cmath>
#include <gtest/gtest.h>
#include <limits>
#include <vector>

using namespace plait;

namespace {

TEST(Half, RoundsToNearestEven) {
  EXPECT_EQ(floatToHalf(0.0f), 0x0000);
  EXPECT_EQ(floatToHalf(-0.0f), 0x8000);
  EXPECT_EQ(floatToHalf(1.0f), 0x3C00);
  EXPECT_EQ(floatToHalf(-2.5f), 0xC100);
  EXPECT_EQ(floatToHalf(65504.0f), 0x7BFF);
  EXPECT_EQ(floatToHalf(2049.0f), 0x6800); // A tie between 2048 and 2050 goes to the even one.
  EXPECT_EQ(floatToHalf(2051.0f), 0x6802); // And one between 2050 and 2052.
  EXPECT_EQ(floatToHalf(65519.996f), 0x7BFF);
  EXPECT_EQ(floatToHalf(65520.0f), 0x7C00);
  EXPECT_EQ(floatToHalf(-1e30f), 0xFC00);
}

TEST(Half, KeepsSubnormals) {
  EXPECT_EQ(floatToHalf(std::ldexp(1.0f, -14)), 0x0400);
  EXPECT_EQ(floatToHalf(std::ldexp(1.0f, -24)), 0x0001);
  EXPECT_EQ(floatToHalf(std::ldexp(1.0f, -25)), 0x0000);
  EXPECT_EQ(floatToHalf(std::ldexp(1.0000001f, -25)), 0x0001);
  EXPECT_EQ(floatToHalf(std::ldexp(3.0f, -25)), 0x0002);
  EXPECT_EQ(floatToHalf(std::ldexp(1023.75f, -24)), 0x0400); // Rounds up into the normal range.
  EXPECT_EQ(halfToFloat(0x0001), std::ldexp(1.0f, -24));
  EXPECT_EQ(halfToFloat(0x03FF), std::ldexp(1023.0f, -24));
}

TEST(Half, NanStaysQuietWithItsPayload) {
  EXPECT_EQ(floatToHalf(llvm::bit_cast<float>(0x7FC00000u)), 0x7E00);
  EXPECT_EQ(floatToHalf(llvm::bit_cast<float>(0xFF802000u)), 0xFE01);
  EXPECT_EQ(floatToHalf(llvm::bit_cast<float>(0x7F800001u)), 0x7E00);
  EXPECT_EQ(llvm::bit_cast<uint32_t>(halfToFloat(0x7C01)), 0x7FC02000u);
}

TEST(Half, ArraysAgreeWithThePortableCodeForFloats) {
  std::vector<float> in;
  for (uint64_t bits = 0; bits <= UINT32_MAX; bits += 1021)
    in.push_back(llvm::bit_cast<float>(uint32_t(bits)));
  for (uint32_t exponent = 0; exponent < 256;
       ++exponent) // The neighbourhood of every rounding boundary.
    for (uint32_t mantissa :
         {0u, 1u, 0xFFFu, 0x1000u, 0x1001u, 0x2FFFu, 0x3000u, 0x7FEFFFu, 0x7FF000u, 0x7FFFFFu})
      for (uint32_t sign : {0u, 0x80000000u})
        in.push_back(llvm::bit_cast<float>(sign | (exponent << 23) | mantissa));
  std::vector<uint16_t> out(in.size()), expected(in.size());
  size_t overflowed = floatToHalf(in.data(), out.data(), in.size());
  size_t expectedOverflowed = portable::floatToHalf(in.data(), expected.data(), in.size());
  EXPECT_EQ(out, expected);
  EXPECT_EQ(overflowed, expectedOverflowed);
  EXPECT_GT(overflowed, 0u);
}

TEST(Half, ArraysAgreeWithThePortableCodeForHalves) {
  std::vector<uint16_t> in(65536);
  for (size_t i = 0; i < in.size(); ++i)
    in[i] = uint16_t(i);
  std::vector<float> out(in.size()), expected(in.size());
  halfToFloat(in.data(), out.data(), in.size());
  portable::halfToFloat(in.data(), expected.data(), in.size());
  EXPECT_EQ(memcmp(out.data(), expected.data(), in.size() * sizeof(float)), 0);
  std::vector<uint16_t> back(in.size());
  EXPECT_EQ(floatToHalf(out.data(), back.data(), out.size()), 0u);
  for (size_t i = 0; i < in.size(); ++i) {
    bool signalling = (i & 0x7C00) == 0x7C00 && (i & 0x3FF) && !(i & 0x200);
    EXPECT_EQ(back[i], signalling ? i | 0x200 : i);
  }
}

TEST(Half, CountsFiniteOverflowsInTailsToo) {
  for (size_t count = 1; count < 20; ++count) {
    std::vector<float> in(count, 1.0f);
    in.back() = 70000.0f;
    if (count > 1)
      in.front() = std::numeric_limits<float>::infinity();
    std::vector<uint16_t> out(count);
    EXPECT_EQ(floatToHalf(in.data(), out.data(), count), 1u);
  }
}

TEST(Half, Bfloat16WidensExactly) {
  std::vector<uint16_t> in = {0x3F80, 0xC049, 0x7F80, 0x0001, 0x7FA5};
  std::vector<float> out(in.size());
  bfloat16ToFloat(in.data(), out.data(), in.size());
  EXPECT_EQ(out[0], 1.0f);
  EXPECT_EQ(out[1], -3.140625f);
  EXPECT_EQ(out[2], std::numeric_limits<float>::infinity());
  EXPECT_EQ(llvm::bit_cast<uint32_t>(out[3]), 0x00010000u);
  EXPECT_EQ(llvm::bit_cast<uint32_t>(out[4]), 0x7FA50000u);
}

} // namespace
