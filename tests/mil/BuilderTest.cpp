// The builder: literals, defaults, sticky errors, control flow.
#include "mil/Builder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

using namespace plait;
using namespace plait::mil;
using testing::HasSubstr;

namespace {
struct BuilderTest : testing::Test {
  Program program;
  Function *function = program.addFunction("main");
  Builder b{function->body()};
  Value *input(DType dtype, llvm::ArrayRef<int64_t> shape, llvm::StringRef name = "x") {
    return function->addInput(Type::tensor(dtype, shape), name);
  }
  std::string error() { return llvm::toString(b.takeError()); }
};

TEST_F(BuilderTest, FillsTheDefaultsThatAreWritten) {
  Value *x = input(DType::F16, {1, 3, 8, 8});
  Op *op = b.create(OpKind::conv,
                    {{conv::x, x}, {conv::weight, TensorData::splat(DType::F16, {4, 3, 3, 3}, 1)}});
  ASSERT_TRUE(op) << error();
  EXPECT_EQ(op->result()->type.str(), "tensor<fp16, [1, 4, 6, 6]>");
  EXPECT_FALSE((*op)[conv::bias]);
  EXPECT_EQ(*constInts((*op)[conv::strides]), (llvm::SmallVector<int64_t, 8>{1, 1}));
  EXPECT_EQ(*constInts((*op)[conv::pad]), (llvm::SmallVector<int64_t, 8>{0, 0, 0, 0}));
  EXPECT_EQ(*constString((*op)[conv::pad_type]), "valid");
}

TEST_F(BuilderTest, DefaultsThatDependOnOtherOperands) {
  Value *x = input(DType::F32, {2, 10});
  Op *both = b.create(OpKind::topk, {{topk::x, x}, {topk::k, 3}});
  ASSERT_TRUE(both);
  EXPECT_EQ(both->numResults(), 2u);
  EXPECT_EQ(*constString((*both)[topk::output_indices_dtype]), "int32");
  Op *one = b.create(OpKind::topk, {{topk::x, x}, {topk::k, 3}, {topk::return_indices, false}});
  ASSERT_TRUE(one);
  EXPECT_EQ(one->numResults(), 1u);
  EXPECT_FALSE((*one)[topk::output_indices_dtype]);
}

TEST_F(BuilderTest, ErrorsStick) {
  Value *x = input(DType::F32, {2, 3});
  Value *y = input(DType::F32, {4, 5}, "y");
  Value *bad = b.emit(OpKind::matmul, {{matmul::x, x}, {matmul::y, y}});
  EXPECT_TRUE(Builder::isPoison(bad));
  EXPECT_TRUE(Builder::isPoison(b.emit(OpKind::relu, {{relu::x, bad}})));
  EXPECT_THAT(error(), HasSubstr("inner dimensions 3 and 4 differ"));
  EXPECT_FALSE(b.failed());
}

TEST_F(BuilderTest, ControlFlow) {
  Value *x = input(DType::F32, {2, 3});
  Value *pred = input(DType::Bool, {}, "p");
  Op *op = b.openControlFlow(OpKind::cond, {{cond::pred, pred}});
  ASSERT_TRUE(op);
  for (int i = 0; i < 2; ++i) {
    Builder inner(*op->blocks()[i]);
    inner.block().setOutputs(inner.emit(i ? OpKind::relu : OpKind::sigmoid, {{relu::x, x}}));
  }
  ASSERT_TRUE(b.closeControlFlow(op)) << error();
  EXPECT_EQ(op->result()->type.str(), "tensor<fp32, [2, 3]>");

  Op *loop = b.openControlFlow(OpKind::while_loop, {{while_loop::loop_vars, x}});
  ASSERT_TRUE(loop);
  Builder condition(*loop->blocks()[0]);
  condition.block().setOutputs(pred);
  Builder body(*loop->blocks()[1]);
  body.block().setOutputs(
      body.emit(OpKind::reduce_sum, {{reduce_sum::x, loop->blocks()[1]->args()[0].get()}}));
  EXPECT_FALSE(b.closeControlFlow(loop));
  EXPECT_THAT(error(), HasSubstr("loop variable 0 is tensor<fp32, [2, 3]> and becomes"));
}

TEST_F(BuilderTest, ShapesComputedFromShapesAreExact) {
  Value *x = function->addInput(Type::tensor(DType::F32, {Dim::symbol("n"), Dim(6)}), "x");
  Value *sizes = b.emit(OpKind::shape, {{shape::x, x}});
  Value *n = b.emit(OpKind::gather, {{gather::x, sizes}, {gather::indices, {0}}});
  Value *twice = b.emit(OpKind::mul, {{mul::x, n}, {mul::y, 2}});
  Value *target =
      b.emit(OpKind::concat,
             {{concat::values, llvm::ArrayRef<Value *>{twice, b.ints({3})}}, {concat::axis, 0}});
  Value *y = b.emit(OpKind::reshape, {{reshape::x, x}, {reshape::shape, target}});
  ASSERT_FALSE(b.failed()) << error();
  EXPECT_EQ(str(y->type.shape()), "[2*n, 3]");
}
} // namespace
