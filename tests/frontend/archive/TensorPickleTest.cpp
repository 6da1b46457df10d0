// Pickles of torch.save, operation by operation: what is built of them, and what no tensor is.
#include "frontend/archive/TensorPickle.h"

#include "tests/frontend/archive/TestPickle.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

using namespace plait;
using namespace plait::test;
using testing::ElementsAre;
using testing::HasSubstr;

namespace {

std::string pickleProblem(const std::string &pickle) {
  auto result = readTensorPickle(pickle);
  return result ? "" : toString(result.takeError());
}

TEST(TensorPickle, TensorsInTheOrderOfTheDictionary) {
  auto read = readTensorPickle(dictOp(textOp("b") + tensorOp(4, {2, 3}, {1, 2}, "Half") +
                                      textOp("a") + tensorOp(0, {}, {}, "Long") + textOp("none") +
                                      tensorOp(99, {0, 4}, {4, 1})));
  ASSERT_TRUE(bool(read)) << toString(read.takeError());
  ASSERT_EQ(read->size(), 3u);
  const PickledTensor &first = (*read)[0];
  EXPECT_EQ(first.name, "b");
  EXPECT_EQ(first.dtype, mil::DType::F16);
  EXPECT_EQ(first.record, "data/7");
  EXPECT_EQ(first.storageBytes, 32u);
  EXPECT_EQ(first.offset, 4);
  EXPECT_THAT(first.shape, ElementsAre(2, 3));
  EXPECT_THAT(first.strides, ElementsAre(1, 2));
  EXPECT_FALSE(first.isNegated);
  EXPECT_EQ((*read)[1].name, "a");
  EXPECT_EQ((*read)[1].dtype, mil::DType::I64);
  EXPECT_EQ((*read)[2].name, "none");
}

TEST(TensorPickle, TheLaterValueOfAKeyCounts) {
  auto read = readTensorPickle(dictOp(textOp("a") + tensorOp(0, {1}, {1}) + textOp("b") +
                                      tensorOp(1, {1}, {1}) + textOp("a") + tensorOp(2, {1}, {1})));
  ASSERT_TRUE(bool(read)) << toString(read.takeError());
  ASSERT_EQ(read->size(), 2u);
  EXPECT_EQ((*read)[0].name, "a");
  EXPECT_EQ((*read)[0].offset, 2);
}

TEST(TensorPickle, Integers) {
  // As BININT1, BININT2, BININT, and a LONG1 of one, of no and of nine bytes.
  auto offsetOf = [](const std::string &op) -> std::string {
    std::string pickle = dictOp(textOp("a") + tensorOp(5, {1}, {1}));
    pickle.replace(pickle.find(numberOp(5)), numberOp(5).size(), op);
    auto read = readTensorPickle(pickle);
    return read ? std::to_string((*read)[0].offset) : toString(read.takeError());
  };
  EXPECT_EQ(offsetOf("K\x0f"), "15");
  EXPECT_EQ(offsetOf(std::string("M\x0f\0", 3)), "15");
  EXPECT_EQ(offsetOf(std::string("J\x0f\0\0\0", 5)), "15");
  EXPECT_EQ(offsetOf("\x8a\x01\x0f"), "15");
  EXPECT_EQ(offsetOf(std::string("\x8a\0", 2)), "0");
  EXPECT_THAT(offsetOf("J\xff\xff\xff\xff"), HasSubstr("reaches out of its storage"));
  EXPECT_THAT(offsetOf("\x8a\x01\xff"), HasSubstr("reaches out of its storage"));
  EXPECT_THAT(offsetOf("K\x10"), HasSubstr("reaches out of its storage"));
  EXPECT_THAT(offsetOf("\x8a\x09" + std::string(9, '\1')), HasSubstr("of no storage"));
}

TEST(TensorPickle, Signs) {
  auto negated = [](const std::string &metadata, const char *type) {
    return readTensorPickle(dictOp(textOp("a") + tensorOp(0, {1}, {1}, type, metadata)));
  };
  auto read = negated("}(" + textOp("conj") + "\x89" + textOp("neg") + "\x88u", "Float");
  ASSERT_TRUE(bool(read)) << toString(read.takeError());
  EXPECT_TRUE((*read)[0].isNegated);
  read = negated("}" + textOp("neg") + "\x89s", "Int");
  ASSERT_TRUE(bool(read)) << toString(read.takeError());
  EXPECT_FALSE((*read)[0].isNegated);
  EXPECT_THAT(toString(negated("}" + textOp("neg") + "\x88s", "Int").takeError()),
              HasSubstr("negates integers"));
  EXPECT_THAT(toString(negated("N", "Float").takeError()), HasSubstr("no metadata"));
}

TEST(TensorPickle, WhatIsNoPlainTensorMayBeNamed) {
  std::string conjugate = "}" + textOp("conj") + "\x88s";
  std::string pickle = dictOp(textOp("plain") + tensorOp(0, {1}, {1}) + textOp("turns") +
                              tensorOp(2, {2, 3}, {3, 1}, "ComplexDouble") + textOp("back") +
                              tensorOp(0, {1}, {1}, "ComplexFloat", conjugate) + textOp("small") +
                              tensorOp(0, {1}, {1}, "Float8_e5m2"));
  EXPECT_THAT(pickleProblem(pickle), HasSubstr("'turns' is of type ComplexDouble"));
  auto read = readTensorPickle(pickle, OtherTensors::Name);
  ASSERT_TRUE(bool(read)) << toString(read.takeError());
  ASSERT_EQ(read->size(), 4u);
  EXPECT_EQ((*read)[0].problem, "");
  EXPECT_FALSE((*read)[0].isComplex);
  const PickledTensor &turns = (*read)[1];
  EXPECT_EQ(turns.problem, "");
  EXPECT_TRUE(turns.isComplex);
  EXPECT_EQ(turns.dtype, mil::DType::F64);
  EXPECT_EQ(turns.storageBytes, 256u);
  EXPECT_THAT((*read)[2].problem, HasSubstr("'back' is the conjugate view"));
  EXPECT_THAT((*read)[3].problem, HasSubstr("'small' is of type Float8_e5m2"));
  auto beyond = readTensorPickle(dictOp(textOp("a") + tensorOp(16, {1}, {1}, "ComplexFloat")),
                                 OtherTensors::Name);
  EXPECT_THAT(toString(beyond.takeError()), HasSubstr("reaches out of its storage"));
}

TEST(TensorPickle, NamesAreTextsUntilSomethingCallsThem) {
  std::string whole = textOp("a") + tensorOp(0, {1}, {1});
  EXPECT_EQ(pickleProblem(dictOp("cos\nsystem\n0" + whole)), "");
  EXPECT_THAT(pickleProblem(dictOp("cos\nsystem\n(" + textOp("true") + "tR0" + whole)),
              HasSubstr("an object of the class os.system"));
  EXPECT_THAT(pickleProblem(dictOp("cos\nsystem\n)\x81" + whole)), HasSubstr("class os.system"));
  EXPECT_THAT(pickleProblem(dictOp("ctorch._utils\nsystem\n)R" + whole)),
              HasSubstr("class torch._utils.system"));
  // A wrapper of a wrapper has no end in sight, and is no form of torch.save.
  EXPECT_THAT(
      pickleProblem(dictOp(textOp("a") + "ctorch._tensor\n_rebuild_from_type_v2\nq\1(h\1ctorch\n"
                                         "Tensor\n)}tR")),
      HasSubstr("without saying how"));
}

TEST(TensorPickle, ContainersHoldWhatIsTheirs) {
  EXPECT_THAT(pickleProblem("\x80\x02}Na."), HasSubstr("adds to what holds nothing"));
  EXPECT_THAT(pickleProblem("\x80\x02]NNs."), HasSubstr("adds to what holds nothing"));
  EXPECT_THAT(pickleProblem("\x80\x02](Ne(Nu."), HasSubstr("values that are not there"));
  EXPECT_THAT(pickleProblem(std::string("\x80\x02]h\0.", 6)),
              HasSubstr("values that are not there"));
  EXPECT_THAT(pickleProblem("\x80\x02]q\x02h\1."), HasSubstr("values that are not there"));
  EXPECT_THAT(pickleProblem("\x80\x02"), HasSubstr("has no end"));
  EXPECT_THAT(pickleProblem("\x80\x02."), HasSubstr("values that are not there"));
  EXPECT_THAT(pickleProblem("\x80\x02}i."), HasSubstr("none that torch.save writes"));
  EXPECT_THAT(pickleProblem("\x80\x04}."), HasSubstr("protocol 4"));
}

TEST(TensorPickle, SizesThatFit) {
  auto problem = [](std::initializer_list<int64_t> shape, std::initializer_list<int64_t> strides) {
    return pickleProblem(dictOp(textOp("a") + tensorOp(0, shape, strides)));
  };
  int64_t large = int64_t(1) << 62;
  EXPECT_EQ(problem({int64_t(1) << 31, 8}, {0, 0}), "");
  EXPECT_EQ(problem({4, 4}, {4, 1}), "");
  EXPECT_EQ(problem({0, 4}, {large, 1}), "");
  EXPECT_THAT(problem({4, 5}, {4, 1}), HasSubstr("reaches out of its storage"));
  EXPECT_THAT(problem({2, 2}, {large, large}), HasSubstr("reaches out of its storage"));
  EXPECT_THAT(problem({3, 3}, {large, large}), HasSubstr("reaches out of its storage"));
  EXPECT_THAT(problem({2}, {-1}), HasSubstr("reaches out of its storage"));
  EXPECT_THAT(problem({large, large}, {0, 0}), HasSubstr("larger than any file"));
  EXPECT_THAT(problem({0, large}, {1, 1}), HasSubstr("larger than any file"));
  EXPECT_THAT(problem({1, 1}, {1}), HasSubstr("no sizes and strides"));
  EXPECT_THAT(problem({1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1}, {1}),
              HasSubstr("no sizes and strides"));
}

} // namespace
