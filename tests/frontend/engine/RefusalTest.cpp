// What the compiler cannot know ends in a message that says so, at the operation that asked: never
// in a crash, a wrong number or a report on somebody's insides.
#include "support/TorchMessage.h"
#include "tests/frontend/lower/LowerCheck.h"

#include <gmock/gmock.h>

using namespace plait::frontend;
using testing::HasSubstr;

namespace {

TEST(Refusals, OfDimensionsThatOnlyExistAtRunTime) {
  for (const char *call :
       {"x.unsqueeze(int(x.sum()))", "x.transpose(0, int(x.sum()))", "x.select(int(x.sum()), 0)",
        "x.flatten(int(x.sum()))", "x.permute(int(x.sum()), 0)", "x.movedim(int(x.sum()), 0)",
        "torch.softmax(x, int(x.sum()))", "x.unflatten(int(x.sum()), [1, 2])"})
    EXPECT_THAT(refusal(call, {randn({2, 3})}), HasSubstr("known")) << call;
}

TEST(Refusals, OfSplitsIntoNothing) {
  EXPECT_THAT(refusal("x.chunk(0)", {randn({2, 3})}), HasSubstr("0 chunks"));
  EXPECT_THAT(refusal("torch.tensor_split(x, 0)", {randn({2, 3})}), HasSubstr("0 sections"));
  EXPECT_THAT(refusal("x.split(0)", {randn({2, 3})}), testing::Not(testing::IsEmpty()));
  EXPECT_THAT(refusal("x + 5 % (x.size(0) - 2)", {randn({2, 3})}), HasSubstr("division by zero"));
}

TEST(Refusals, SaidOnceWhereOneFollowsFromAnother) {
  std::string text = refusal("torch.plait_never(x).abs().sum()", {randn({2, 3})}); // UnknownTest's
  EXPECT_THAT(text, HasSubstr("aten::plait_never"));
  EXPECT_THAT(text, testing::Not(HasSubstr("needed here")));
}

TEST(TensorSplit, AtThePlacesThatATensorHolds) {
  check("torch.tensor_split(x, torch.tensor([1, 2]))", {randn({4, 3})});
  check("torch.tensor_split(x, torch.tensor(3))", {randn({4, 3})});
  check("torch.tensor_split(x, torch.tensor([1]), 1)", {randn({4, 3})});
}

TEST(AsTensor, OfATensorIsTheTensor) {
  check("torch.as_tensor(x) * 2", {randn({2, 3})});
  check("torch.as_tensor(x, dtype=4) * 2", {randn({2, 3})});
  check(forward("  y = x.clone()\n  torch.as_tensor(y).add_(1)\n  return y\n"), {randn({3})});
}

TEST(TorchMessage, KeepsWhatWasExpected) {
  EXPECT_EQ(
      plait::torchMessage("isTensor() INTERNAL ASSERT FAILED at \"ivalue.h\":93, please report a "
                          "bug to PyTorch. Expected Tensor but got Int\nmore\n"),
      "LibTorch cannot do this (Expected Tensor but got Int)");
  EXPECT_EQ(plait::torchMessage(
                "false INTERNAL ASSERT FAILED at \"x.h\":1, please report a bug to PyTorch. "),
            "LibTorch cannot do this");
  EXPECT_EQ(plait::torchMessage("size mismatch\n"), "size mismatch");
}

} // namespace
