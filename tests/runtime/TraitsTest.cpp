// What the traits of Ops.def say of how operations compute, against the evaluators.
#include "OpCheck.h"

#include "mil/Computation.h"

namespace plait::runtime {

using namespace mil;

namespace {

std::vector<OpKind> kindsWith(Trait how) {
  std::vector<OpKind> kinds;
  for (unsigned i = 0; i < kNumOps; ++i)
    if (computes(OpKind(i), how))
      kinds.push_back(OpKind(i));
  return kinds;
}

/// `x`, and a number for everything else that has to be given: 0.25, 0.5 …
Binds bindsFor(OpKind kind, const at::Tensor &x) {
  Binds binds{{0, x}};
  for (auto [i, param] : llvm::enumerate(info(kind).params))
    if (i == 0 || param.isOptional() || (param.flags & Gone) || param.def.kind != Default::None)
      continue;
    else if (contains(param.domain, DType::F32))
      binds.push_back({unsigned(i), at::full({}, 0.25 * double(i), at::kFloat)});
    else // the type of a cast
      binds.push_back(Bind(Arg(unsigned(i), "int32")));
  return binds;
}

at::Tensor operandOf(OpKind kind) {
  at::Tensor x = half(at::sigmoid(randn({2, 3}, 5))); // where every operation is defined
  return contains(info(kind).params[0].domain, DType::F32) ? x : x > 0.5;
}

/// LibTorch's vector and scalar code differ in the last bit.
bool isSame(const at::Tensor &a, const at::Tensor &b) {
  return a.sizes() == b.sizes() && at::allclose(a.to(at::kFloat), b.to(at::kFloat), 1e-6, 1e-7);
}

TEST(Traits, UnaryOperationsTakeAnyOrder) {
  for (OpKind kind : kindsWith(Unary)) {
    SCOPED_TRACE(name(kind).str());
    at::Tensor x = operandOf(kind);
    auto straight = runOp(kind, bindsFor(kind, x));
    auto turned = runOp(kind, bindsFor(kind, x.t().contiguous()));
    auto flat = runOp(kind, bindsFor(kind, x.flatten()));
    ASSERT_EQ(straight.size(), 1u);
    EXPECT_TRUE(isSame(straight[0].t(), turned.at(0)));
    EXPECT_TRUE(isSame(straight[0].flatten(), flat.at(0)));
  }
}

TEST(Traits, BinaryOperationsBroadcast) {
  for (OpKind kind : kindsWith(Binary)) {
    SCOPED_TRACE(name(kind).str());
    at::Tensor x = operandOf(kind), y = x[0].flip(0);
    auto straight = runOp(kind, {{0, x}, {1, y}});
    auto full = runOp(kind, {{0, x.t().contiguous()}, {1, y.expand({2, 3}).t().contiguous()}});
    ASSERT_EQ(straight.size(), 1u);
    EXPECT_TRUE(isSame(straight[0].t(), full.at(0)));
  }
}

TEST(Traits, WhatPicksRoundsNothing) {
  for (OpKind kind : kindsWith(Picks)) {
    if (!computes(kind, Unary) && !computes(kind, Binary))
      continue;
    SCOPED_TRACE(name(kind).str());
    at::Tensor x = randn({2, 3}, 7);
    Binds binds = bindsFor(kind, x);
    std::vector<float> known{0, 6}; // what the operations have themselves
    for (const Bind &bind : binds)
      for (const at::Tensor &tensor : bind.tensors)
        for (int64_t i = 0; i < tensor.numel(); ++i)
          known.push_back(tensor.flatten()[i].item<float>());
    at::Tensor result = runOp(kind, binds).at(0).flatten();
    for (int64_t i = 0; i < result.numel(); ++i) {
      float value = result[i].item<float>();
      EXPECT_TRUE(llvm::is_contained(known, value) || llvm::is_contained(known, -value)) << value;
    }
  }
}

} // namespace

} // namespace plait::runtime
