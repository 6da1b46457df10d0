// What patterns choose.
#include "mil/OperationPattern.h"
#include "mil/Builder.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

using namespace plait;
using namespace plait::mil;
using testing::HasSubstr;

namespace {

class Patterns : public testing::Test {
protected:
  Patterns() {
    Function *function = program_.addFunction("main");
    Value *x = function->addInput(Type::tensor(DType::F32, {Dim(1), Dim(4)}), "x");
    Builder builder(function->body());
    builder.setLocation(Location("layers.3.norm", "model.py:1", "aten::pow"));
    square_ = builder.emit(OpKind::square, {{square::x, x}}, "layers_3_norm_square")->def();
    builder.setLocation(Location("layers.3.fc", "model.py:2", "aten::linear"));
    TensorData weight = TensorData::splat(DType::F32, {4, 4}, 1)
                            .withOrigin(Origin::parameter({"layers.3.fc.weight"}));
    linear_ = builder.emit(OpKind::linear, {{linear::x, x}, {linear::weight, weight}}, "fc")->def();
    llvm::cantFail(builder.takeError());
  }
  bool matches(llvm::StringRef pattern, const Op *op) {
    return llvm::cantFail(OperationPattern::parse(pattern)).matches(*op);
  }

  Program program_;
  Op *square_ = nullptr, *linear_ = nullptr;
};

TEST_F(Patterns, ByKindOperatorNameModuleAndParameter) {
  for (const char *pattern : {"square", "aten::pow", "layers.*.norm", "layers.*", "layers",
                              "**.norm", "%layers_3_norm_square", "%layers_3_*",
                              "square at layers.*.norm", "aten::pow at layers.3", "* at **.norm"}) {
    EXPECT_TRUE(matches(pattern, square_)) << pattern;
  }
  for (const char *pattern :
       {"pow", "norm", "layers_3_norm_square", "%square", "layers.*.fc", "layer",
        "square at layers.*.fc", "mul at layers.*.norm", "layers.*.norm.weight", "*.*.*.*"})
    EXPECT_FALSE(matches(pattern, square_)) << pattern;
  EXPECT_TRUE(matches("layers.*.fc.weight", linear_));
  EXPECT_TRUE(matches("**.weight", linear_));
  EXPECT_FALSE(matches("layers.*.weight", linear_));
}

TEST_F(Patterns, Refusals) {
  auto refusal = [](llvm::StringRef text) {
    auto pattern = OperationPattern::parse(text);
    return pattern ? std::string() : toString(pattern.takeError());
  };
  EXPECT_THAT(refusal(""), HasSubstr("is wanted"));
  EXPECT_THAT(refusal("layers..norm"), HasSubstr("is empty"));
  EXPECT_THAT(refusal("square at "), HasSubstr("OPERATION at MODULE"));
  EXPECT_THAT(refusal("square at .norm"), HasSubstr("is empty"));
  EXPECT_THAT(refusal("%y at layers"), HasSubstr("leave out what is behind it"));
  EXPECT_THAT(refusal("square in layers"), HasSubstr("OPERATION at MODULE"));
  EXPECT_THAT(refusal("layers.[3"), HasSubstr("layers.[3"));
}

} // namespace
