// Large programs and sizes derived from each other many times: linear, or at least bounded.
#include "mil/Builder.h"
#include "mil/Parser.h"
#include "mil/Printer.h"
#include "mil/Verifier.h"

#include <gtest/gtest.h>

using namespace plait;
using namespace plait::mil;

namespace {

// Quadratic time would take minutes here; the test's own time limit is ctest's.
TEST(Scale, ThirtyThousandOperations) {
  Program program;
  Function *f = program.addFunction("main");
  Value *x = f->addInput(Type::tensor(DType::F16, {1, 8}), "x");
  Builder b(f->body());
  Value *one = b.scalar(DType::F16, 1, "one");
  Value *y = x;
  for (int i = 0; i < 30000; ++i)
    y = i % 4 ? b.emit(OpKind::add, {{add::x, y}, {add::y, one}})
              : b.emit(OpKind::relu, {{relu::x, y}});
  f->body().setOutputs(y);
  EXPECT_EQ(llvm::toString(verify(program)), "");
  std::string text = toString(program);
  auto again = parseProgram(text);
  ASSERT_TRUE(bool(again)) << llvm::toString(again.takeError());
  EXPECT_EQ(llvm::toString(verify(**again)), "");
  EXPECT_EQ(toString(**again), text);
}

TEST(Scale, ManyUsesOfOneOperation) {
  Program program;
  Function *f = program.addFunction("main");
  Value *x = f->addInput(Type::tensor(DType::F16, {1, 8}), "x");
  Builder b(f->body());
  std::vector<Value *> parts(100000, x);
  f->body().setOutputs(b.emit(OpKind::concat, {{concat::values, parts}, {concat::axis, 0}}));
  ASSERT_FALSE(b.failed());
  EXPECT_EQ(f->outputs()[0]->type.str(), "tensor<fp16, [100000, 8]>");
  EXPECT_EQ(llvm::toString(verify(program)), "");
}

TEST(Scale, SizesDoNotGrowWithoutEnd) {
  Program program;
  Function *f = program.addFunction("main");
  Value *x = f->addInput(Type::tensor(DType::F16, {Dim::symbol("n"), Dim::symbol("m")}), "x");
  Builder b(f->body());
  for (int i = 0; i < 300; ++i) {
    x = b.emit(OpKind::slice_by_index,
               {{slice_by_index::x, x},
                {slice_by_index::begin, {1, 0}},
                {slice_by_index::end, {-1, 0}},
                {slice_by_index::stride, {2, 1}},
                {slice_by_index::end_mask, llvm::ArrayRef<bool>{false, true}}});
    x = b.emit(OpKind::concat,
               {{concat::values, llvm::ArrayRef<Value *>{x, x}}, {concat::axis, 1}});
    x = b.emit(OpKind::reshape, {{reshape::x, x}, {reshape::shape, {3, -1}}});
    x = b.emit(OpKind::transpose, {{transpose::x, x}, {transpose::perm, {1, 0}}});
  }
  ASSERT_FALSE(b.failed()) << llvm::toString(b.takeError());
  EXPECT_LT(x->type.shape()[0].str().size(), 2000u);
}

} // namespace
