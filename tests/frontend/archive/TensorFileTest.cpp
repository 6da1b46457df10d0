// Dictionaries of tensors in zip files: what of them stays in the file, and what is no such file.
#include "frontend/archive/TensorFile.h"

#include "tests/frontend/archive/TestPickle.h"
#include "tests/frontend/archive/TestZip.h"

#include "gmock/gmock.h"

using namespace plait;
using namespace plait::test;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::StartsWith;

namespace {

class TensorFile : public TemporaryFolder {
protected:
  TensorFile() {
    for (int i = 0; i < 64; ++i)
      numbers += char(i % 4 == 3 ? 0x40 : i); // positive floats
  }

  TestZip zip(unsigned alignment = 64) const {
    TestZip zip;
    zip.alignment = alignment;
    zip.records = {{.name = "a/data.pkl", .data = pickle}, {.name = "a/data/7", .data = numbers}};
    return zip;
  }
  std::string problem(const TestZip &zip) const {
    std::string path = write("bad.bin", zip.build());
    auto read = readTensorFile(path);
    std::string message = read ? "" : toString(read.takeError());
    EXPECT_THAT(message, StartsWith(path + ": "));
    return message;
  }

  std::string numbers;
  std::string pickle =
      dictOp(textOp("a") + tensorOp(4, {2, 2}, {1, 2}) + textOp("b") + tensorOp(0, {16}, {1}) +
             textOp("c") + tensorOp(0, {16}, {1}, "Float", "}" + textOp("neg") + "\x88s"));
};

TEST_F(TensorFile, ViewsOfTheFile) {
  auto read = readTensorFile(write("good.bin", zip().build()));
  ASSERT_TRUE(bool(read)) << toString(read.takeError());
  ASSERT_EQ(read->size(), 3u);
  EXPECT_EQ((*read)[0].first, "a");
  const mil::TensorData &a = (*read)[0].second, &b = (*read)[1].second, &c = (*read)[2].second;
  EXPECT_THAT(a.shape(), ElementsAre(2, 2));
  EXPECT_EQ(a.node().byteOffset, 16u);
  EXPECT_TRUE(a.node().storage->owner) << "it was copied";
  EXPECT_EQ(a.node().storage, b.node().storage);
  auto values = b.floatValues(), negated = c.floatValues();
  ASSERT_TRUE(bool(values) && bool(negated));
  ASSERT_EQ(values->size(), 16u);
  for (size_t i = 0; i < 16; ++i) {
    EXPECT_GT((*values)[i], 0);
    EXPECT_EQ((*negated)[i], -(*values)[i]);
  }
}

TEST_F(TensorFile, MisalignedRecordsAreCopied) {
  // Behind a header of 30 bytes, a name and an empty field.
  auto read = readTensorFile(write("good.bin", zip(/*alignment=*/1).build()));
  ASSERT_TRUE(bool(read)) << toString(read.takeError());
  auto bytes = (*read)[1].second.bytes();
  ASSERT_TRUE(bool(bytes));
  EXPECT_EQ(std::string(bytes->begin(), bytes->end()), numbers);
}

TEST_F(TensorFile, Problems) {
  TestZip bad = zip();
  bad.records[1].data.resize(60);
  EXPECT_THAT(problem(bad), HasSubstr("a tensor of 64 bytes lies in a record of 60"));
  bad = zip();
  bad.records[1].crc32 = 1;
  EXPECT_THAT(problem(bad), HasSubstr("record 'a/data/7' is damaged"));
  bad = zip();
  bad.records.pop_back();
  EXPECT_THAT(problem(bad), HasSubstr("record 'data/7' is missing"));
  bad = zip();
  bad.records.erase(bad.records.begin());
  EXPECT_THAT(problem(bad), HasSubstr("'data.pkl' is missing"));
  bad = zip();
  bad.records.push_back({.name = "a/byteorder", .data = "big"});
  EXPECT_THAT(problem(bad), HasSubstr("big-endian"));
  bad = zip();
  bad.records[1].method = 8; // what is deflated is other than what is stored
  EXPECT_THAT(problem(bad), AllOf(HasSubstr("data/7' is damaged"), HasSubstr("does not unpack")));
}

} // namespace
