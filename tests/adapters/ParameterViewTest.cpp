// What a constant that is a view of a parameter is of another value.
#include "adapters/ParameterView.h"
#include "adapters/Tensors.h"
#include "mil/IR.h"

#include <gtest/gtest.h>

#include <numeric>

using namespace plait;
using namespace plait::adapters;
using mil::DType;

namespace {

class ParameterView : public testing::Test {
protected:
  ParameterView() : builder(program.addFunction("f")->body()), build(builder) {
    std::vector<float> values(24);
    std::iota(values.begin(), values.end(), 0);
    parameter = ofFloats({4, 6}, values);
    for (float &value : values)
      value = 100 + 3 * value;
    other = ofFloats({4, 6}, values);
  }

  /// Of `other`, what `constant` is of the parameter: by value, for constants stay constants.
  std::optional<std::vector<float>> like(const TensorData &constant) {
    Value *value = viewLike(build, constant, parameter, build.constant(other, "other"));
    EXPECT_FALSE(builder.failed());
    if (!value || !mil::constTensor(value))
      return std::nullopt;
    EXPECT_EQ(value->type, constant.type());
    return floatsOf(*mil::constTensor(value));
  }

  /// Elements of the parameter's memory.
  TensorData part(int64_t offset, llvm::ArrayRef<int64_t> shape, llvm::ArrayRef<int64_t> strides) {
    return TensorData::view(parameter.node().storage, 4 * offset, DType::F32, shape, strides);
  }

  mil::Program program;
  mil::Builder builder;
  BranchBuilder build;
  TensorData parameter, other;
};

TEST_F(ParameterView, IsTheWhole) {
  EXPECT_EQ(like(parameter), floatsOf(other));
  EXPECT_EQ(like(parameter.permute({1, 0})), floatsOf(other.permute({1, 0})));
  EXPECT_EQ(like(parameter.reshape({2, 2, 6})), floatsOf(other));
  EXPECT_EQ(like(parameter.reshape({2, 2, 6}).permute({2, 0, 1})),
            floatsOf(other.reshape({2, 2, 6}).permute({2, 0, 1})));
  // A reshape of what was permuted is no view of memory.
  EXPECT_EQ(like(parameter.permute({1, 0}).reshape({24})),
            floatsOf(other.permute({1, 0}).reshape({24})));
}

TEST_F(ParameterView, KeepsConversions) {
  EXPECT_EQ(like(parameter.cast(DType::F16)), floatsOf(other.cast(DType::F16)));
}

TEST_F(ParameterView, IsPartOfIt) {
  auto check = [&](const TensorData &constant, int64_t axis, int64_t begin, int64_t count) {
    Value *value = viewLike(build, constant, parameter, build.constant(other, "other"));
    ASSERT_TRUE(value);
    EXPECT_EQ(value->type, constant.type());
    const mil::Op *slice = value->def();
    while (slice && slice->is(mil::OpKind::transpose))
      slice = (*slice)[mil::transpose::x]->def();
    ASSERT_TRUE(slice->is(mil::OpKind::slice_by_index));
    EXPECT_EQ((*mil::constInts((*slice)[mil::slice_by_index::begin]))[axis], begin);
    EXPECT_EQ((*mil::constInts((*slice)[mil::slice_by_index::end]))[axis], begin + count);
  };
  check(part(6, {2, 6}, {6, 1}), 0, 1, 2);
  check(part(6, {6, 2}, {1, 6}), 0, 1, 2);
  check(part(2, {4, 3}, {6, 1}), 1, 2, 3);
}

TEST_F(ParameterView, IsNotGuessed) {
  EXPECT_FALSE(like(part(0, {4, 6}, {0, 1}))); // broadcast
  EXPECT_FALSE(like(part(1, {2, 6}, {6, 1}))); // rows that begin in the middle of one
  EXPECT_FALSE(like(part(0, {4, 3}, {6, 2}))); // every other column
  EXPECT_FALSE(like(parameter.scale(2)));
  EXPECT_FALSE(like(ofFloats({4, 6}, std::vector<float>(24, 1)))); // of other memory
}

TEST_F(ParameterView, TellsCopiesByTheirOrder) {
  EXPECT_EQ(like(ofFloats({4, 6}, floatsOf(parameter))), floatsOf(other));
  EXPECT_EQ(like(ofFloats({6, 4}, floatsOf(parameter.permute({1, 0})))),
            floatsOf(other.permute({1, 0})));
}

} // namespace
