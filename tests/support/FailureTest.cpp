// Errors with codes: context keeps them, and joined errors keep each its own.
#include "support/Failure.h"

#include <gtest/gtest.h>

namespace plait {
namespace {

Error two() {
  return joinErrors(makeError(Code::FileUnreadable, "first\nmore of it"),
                    makeError(Code::NameTaken, "second"));
}

TEST(Failure, CodeStandsAtTheEndOfTheFirstLine) {
  EXPECT_EQ(name(Code::FileUnreadable), "P0101");
  EXPECT_EQ(withCode(Code::FileUnreadable, "first\nmore of it"), "first [P0101]\nmore of it");
  EXPECT_EQ(withCode(Code::None, "first"), "first");
}

TEST(Failure, JoinedErrorsKeepEachItsCode) {
  Failure failure = takeFailure(two());
  EXPECT_EQ(failure.message, "first\nmore of it\nsecond");
  EXPECT_EQ(failure.withCodes(), "first [P0101]\nmore of it\nsecond [P0206]");
  EXPECT_EQ(failure.code(), Code::FileUnreadable);
}

TEST(Failure, ContextKeepsCodes) {
  Failure failure = takeFailure(addContext(addContext(two(), "inner"), "outer"));
  EXPECT_EQ(failure.withCodes(), "outer: inner: first [P0101]\nmore of it\nsecond [P0206]");
}

TEST(Failure, KindAndFunctionKeepCodes) {
  Failure failure = takeFailure(inFunction(classify(two(), FailureKind::File), "main"));
  EXPECT_EQ(failure.kind, FailureKind::File);
  EXPECT_EQ(failure.withCodes(), "first [P0101]\nmore of it\nsecond [P0206]");
}

TEST(Failure, ErrorsOfOthersHaveNoCode) {
  auto foreign = llvm::createStringError(llvm::inconvertibleErrorCode(), "of LLVM's");
  Failure failure = takeFailure(joinErrors(std::move(foreign), makeError(Code::NameTaken, "ours")));
  EXPECT_EQ(failure.withCodes(), "of LLVM's\nours [P0206]");
  EXPECT_EQ(failure.code(), Code::NameTaken);
}

} // namespace
} // namespace plait
