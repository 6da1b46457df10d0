// What a safetensors file may say, and everything it may not.
#include "adapters/Safetensors.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

using namespace plait;
using plait::adapters::Safetensors;
using testing::HasSubstr;

namespace {

std::vector<uint8_t> file(llvm::StringRef header, size_t data) {
  std::vector<uint8_t> bytes(8);
  for (int i = 0; i < 8; ++i)
    bytes[i] = uint8_t(uint64_t(header.size()) >> (8 * i));
  bytes.insert(bytes.end(), header.begin(), header.end());
  bytes.resize(bytes.size() + data, 1);
  return bytes;
}

std::string safetensorsProblem(llvm::StringRef header, size_t data = 32) {
  auto bytes = file(header, data);
  auto result = Safetensors::read(bytes);
  return result ? "" : toString(result.takeError());
}

TEST(Safetensors, ReadsInTheOrderOfTheFile) {
  auto bytes = file(R"({"__metadata__":{"format":"pt"},)"
                    R"("b":{"dtype":"F16","shape":[2,3],"data_offsets":[8,20]},)"
                    R"("a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},)"
                    R"("none":{"dtype":"BF16","shape":[0,4],"data_offsets":[20,20]},)"
                    R"("scalar":{"dtype":"F32","shape":[],"data_offsets":[20,24]}}   )",
                    24);
  auto read = Safetensors::read(bytes);
  ASSERT_TRUE(bool(read)) << toString(read.takeError());
  ASSERT_EQ(read->entries.size(), 4u);
  EXPECT_EQ(read->entries[0].name, "a");
  EXPECT_EQ(read->entries[1].name, "b");
  EXPECT_EQ(read->entries[1].dtype, mil::DType::F16);
  EXPECT_EQ(read->entries[1].bytes.size(), 12u);
  EXPECT_EQ(read->entries[1].bytes.data(), bytes.data() + bytes.size() - 16);
  EXPECT_EQ(read->metadata["format"], "pt");
}

TEST(Safetensors, TypesWithoutAWeightAreKeptByName) {
  auto bytes = file(R"({"a":{"dtype":"F8_E5M2","shape":[4],"data_offsets":[0,4]}})", 4);
  auto read = Safetensors::read(bytes);
  ASSERT_TRUE(bool(read)) << toString(read.takeError());
  EXPECT_FALSE(read->entries[0].dtype.has_value());
  EXPECT_EQ(read->entries[0].dtypeName, "F8_E5M2");
}

TEST(Safetensors, Lengths) {
  EXPECT_THAT(toString(Safetensors::read({}).takeError()), HasSubstr("too few"));
  std::vector<uint8_t> huge(16, 0xff);
  EXPECT_THAT(toString(Safetensors::read(huge).takeError()), HasSubstr("claims"));
  EXPECT_THAT(safetensorsProblem("[1]"), HasSubstr("no JSON object"));
  EXPECT_NE(safetensorsProblem(""), "");
}

TEST(Safetensors, Hostile) {
  auto one = [](llvm::StringRef fields) { return (R"({"a":{)" + fields + "}}").str(); };
  EXPECT_THAT(safetensorsProblem(one(R"("dtype":"F32","shape":[8],"data_offsets":[0,33])")),
              HasSubstr("truncated"));
  EXPECT_THAT(safetensorsProblem(one(R"("dtype":"F32","shape":[7],"data_offsets":[0,32])")),
              HasSubstr("32 by its offsets"));
  EXPECT_THAT(safetensorsProblem(one(R"("dtype":"F32","shape":[-8],"data_offsets":[0,32])")),
              HasSubstr("negative"));
  EXPECT_THAT(safetensorsProblem(one(R"("dtype":"F32","shape":[8],"data_offsets":[-32,0])")),
              HasSubstr("negative"));
  EXPECT_THAT(safetensorsProblem(one(R"("dtype":"F32","shape":[8],"data_offsets":[32,0])")),
              HasSubstr("begin and an end"));
  EXPECT_THAT(safetensorsProblem(one(R"("dtype":"F32","shape":[8],"data_offsets":[0])")),
              HasSubstr("begin and an end"));
  EXPECT_THAT(safetensorsProblem(one(R"("dtype":"F32","shape":[8.5],"data_offsets":[0,32])")),
              HasSubstr("integers"));
  EXPECT_THAT(safetensorsProblem(one(R"("dtype":"F32","shape":[1e30],"data_offsets":[0,32])")),
              HasSubstr("integers"));
  EXPECT_THAT(safetensorsProblem(
                  one(R"("dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,32])")),
              HasSubstr("larger than any file"));
  // No bytes at all, but strides that no number holds.
  EXPECT_THAT(safetensorsProblem(
                  one(R"("dtype":"F32","shape":[0,4611686018427387904,4],"data_offsets":[0,0])")),
              HasSubstr("larger than any file"));
  EXPECT_THAT(safetensorsProblem(one(R"("dtype":"X","shape":[8],"data_offsets":[0,32])")),
              HasSubstr("unknown type"));
  EXPECT_THAT(safetensorsProblem(one(R"("shape":[8],"data_offsets":[0,32])")),
              HasSubstr("unknown type"));
  EXPECT_THAT(safetensorsProblem(R"({"a":3})"), HasSubstr("no JSON object"));
  EXPECT_THAT(safetensorsProblem(R"({"a":)"), HasSubstr("malformed"));
}

TEST(Safetensors, PlacesOfTensors) {
  auto two = [](int begin, int end) {
    return fmt::format(R"({{"a":{{"dtype":"U8","shape":[16],"data_offsets":[0,16]}},)"
                       R"("b":{{"dtype":"U8","shape":[{2}],"data_offsets":[{0},{1}]}}}})",
                       begin, end, end - begin);
  };
  EXPECT_EQ(safetensorsProblem(two(16, 32)), "");
  EXPECT_THAT(safetensorsProblem(two(8, 24)), HasSubstr("overlaps"));
  EXPECT_THAT(safetensorsProblem(two(20, 32)), HasSubstr("gap"));
  EXPECT_THAT(safetensorsProblem(two(16, 30)), HasSubstr("belong to no tensor"));
}

TEST(Safetensors, DuplicatesAndDepth) {
  llvm::StringRef entry = R"({"dtype":"U8","shape":[32],"data_offsets":[0,32]})";
  EXPECT_THAT(safetensorsProblem(("{\"a\":" + entry + ",\"a\":" + entry + "}").str()),
              HasSubstr("two members"));
  EXPECT_THAT(safetensorsProblem(("{\"a\":" + entry + ",\"\\u0061\":" + entry + "}").str()),
              HasSubstr("two members"));
  EXPECT_THAT(safetensorsProblem("{\"a\":" + std::string(100000, '[')), HasSubstr("levels deep"));
}

} // namespace
