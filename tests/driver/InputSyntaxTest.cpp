// The grammar of input declarations: what it reads, and what it says of what it does not.
#include "driver/InputDeclarations.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

using namespace plait;
using namespace plait::driver;
using testing::HasSubstr;
using testing::StartsWith;

namespace {

/// The canonical spelling of what was read.
std::string read(llvm::StringRef text) {
  auto input = parseInput(text);
  if (!input)
    return "error: " + toString(input.takeError());
  return inputText(*input);
}

TEST(InputSyntax, Reads) {
  EXPECT_EQ(read("x=fp16[1, 6000]"), "x=fp16[1, 6000]");
  EXPECT_EQ(read("x=[1,6000]"), "x=[1, 6000]");
  EXPECT_EQ(read("  x =  fp32 [ 1 , 2 ] "), "x=fp32[1, 2]");
  EXPECT_EQ(read("[7]"), "[7]");
  EXPECT_EQ(read("int32[7]"), "int32[7]");
  EXPECT_EQ(read("mask=bool[1, 1..128]"), "mask=bool[1, 1..128]");
  EXPECT_EQ(read("x=[3..3]"), "x=[3]");
  EXPECT_EQ(read("x={[1, 64],[1,128]}"), "x={[1, 64], [1, 128]}");
  EXPECT_EQ(read("x=fp16{[1,3,2,2]}"), "x=fp16{[1, 3, 2, 2]}");
  EXPECT_EQ(read("x=[1..2147483647]"), "x=[1..2147483647]");
}

TEST(InputSyntax, Fields) {
  auto input = parseInput("tokens=int32[1, 2..128]");
  ASSERT_TRUE(bool(input));
  EXPECT_EQ(input->name, "tokens");
  EXPECT_EQ(input->dtype, mil::DType::I32);
  ASSERT_EQ(input->shape.size(), 2u);
  EXPECT_EQ(input->shape[0].lower, 1);
  EXPECT_EQ(input->shape[0].upper, 1);
  EXPECT_EQ(input->shape[1].lower, 2);
  EXPECT_EQ(input->shape[1].upper, 128);
  EXPECT_TRUE(input->enumerated.empty());

  input = parseInput("{[1,64],[1,128]}");
  ASSERT_TRUE(bool(input));
  EXPECT_EQ(input->name, "");
  EXPECT_FALSE(input->dtype);
  EXPECT_TRUE(input->shape.empty());
  ASSERT_EQ(input->enumerated.size(), 2u);
  EXPECT_EQ(input->enumerated[1][1], 128);
}

TEST(InputSyntax, Int64IsInt32) {
  std::vector<Warning> notes;
  auto input = parseInput("x=int64[2]", {.notes = &notes});
  ASSERT_TRUE(bool(input));
  EXPECT_EQ(inputText(*input), "x=int32[2]");
  ASSERT_EQ(notes.size(), 1u);
  EXPECT_EQ(notes[0].text,
            "input 'x=int64[2]': Core ML has no int64 in its interface; it is int32");
}

TEST(InputSyntax, ShapesMayBeLeftToExamples) {
  auto read = [](llvm::StringRef text) {
    auto input = parseInput(text, {.mayLeaveOutShape = true});
    if (!input)
      return "error: " + toString(input.takeError());
    EXPECT_TRUE(input->shape.empty() && input->enumerated.empty());
    return input->name + ":" + (input->dtype ? mil::name(*input->dtype).str() : "");
  };
  EXPECT_EQ(read("x"), "x:");
  EXPECT_EQ(read(" x = bool "), "x:bool");
  EXPECT_EQ(read("x=fp16"), "x:fp16");
  EXPECT_THAT(read("x y"), HasSubstr("cannot be a name"));
  EXPECT_THAT(read("x="), HasSubstr("is wanted at the end"));
  EXPECT_THAT(read("x=fp99"), HasSubstr("is wanted at 'fp99'"));
}

TEST(InputSyntax, NamedSizes) {
  EXPECT_EQ(read("x=[1, n:1..512]"), "x=[1, n:1..512]");
  EXPECT_EQ(read("mask = bool[ 1 , n ]"), "mask=bool[1, n]");
  EXPECT_EQ(read("x=[n:4]"), "x=[n:4]");
  EXPECT_EQ(read("photo=image[rgb, 1, 3, h:64..512, w:64..512]"),
            "photo=image[rgb, 1, 3, h:64..512, w:64..512]");
  EXPECT_THAT(read("x=[n:]"), HasSubstr("a size is wanted at ']'"));
  EXPECT_THAT(read("x=[tensor:1..2]"), HasSubstr("'tensor' cannot be the name of a size"));
  EXPECT_THAT(read("x={[n]}"), HasSubstr("a shape inside {} has numbers"));
  auto output = parseOutput("y=image[gray, 1, 1, h, 4]");
  ASSERT_FALSE(bool(output));
  EXPECT_THAT(toString(output.takeError()), HasSubstr("'h' cannot be one"));
}

TEST(InputSyntax, DefaultValues) {
  EXPECT_EQ(read("x=fp16[8] default=0.5"), "x=fp16[8] default=0.5");
  EXPECT_EQ(read("x=int32[1..8] default = -3"), "x=int32[1..8] default=-3");
  EXPECT_EQ(read("x=bool[8] default=1"), "x=bool[8] default=1");
  EXPECT_THAT(read("x=[8] default"), HasSubstr("'=' is wanted at the end"));
  EXPECT_THAT(read("x=[8] default=one"), HasSubstr("a number, such as"));
  EXPECT_THAT(read("x=bool[8] default=2"), HasSubstr("the default value of a bool is 0 or 1"));
  EXPECT_THAT(read("x=int32[8] default=0.5"), HasSubstr("0.5 is no default value of int32"));
  EXPECT_THAT(read("x=int8[8] default=200"), HasSubstr("200 is no default value of int8"));
  EXPECT_THAT(read("x=fp16[8] default=1e6"), HasSubstr("beyond the range of fp16"));
  EXPECT_THAT(read("x={[1],[2]} default=1"),
              HasSubstr("an input of enumerated shapes has no default value"));
}

TEST(InputSyntax, NarrowIntegers) {
  EXPECT_EQ(read("x=int8[1, 4]"), "x=int8[1, 4]");
  EXPECT_THAT(read("x=uint8[1, 4]"), HasSubstr("Core ML has no arrays of uint8; int32 holds its "
                                               "numbers, and an image of bytes is image[gray"));
  EXPECT_THAT(read("x=int16[1, 4]"), HasSubstr("Core ML has no arrays of int16"));
}

/// Inputs and constants of a function, as they are written.
std::string declared(std::initializer_list<const char *> texts) {
  frontend::ModelFunction function;
  for (const char *text : texts)
    if (Error error = addDeclaration(function, text))
      return "error: " + toString(std::move(error));
  if (Error error = resolveSizes(function.inputs))
    return "error: " + toString(std::move(error));
  std::string all;
  for (const frontend::InputSpec &input : function.inputs)
    all += inputText(input) + "; ";
  for (const auto &[name, constant] : function.constants)
    all += name + " is " + constant.str() + "; ";
  return all;
}

TEST(InputDeclarations, Constants) {
  EXPECT_EQ(declared({"mask=none", "x=[2, 3]", "scale=2.0", "n=-3", "on=true", "off = False"}),
            "x=[2, 3]; mask is none; n is -3; off is false; on is true; scale is 2.0; ");
  EXPECT_EQ(declared({"a=1e-3", "b=inf", "c=[0.5, 2]", "d=[-1, 4]", "e=list[4, 4]", "f=list[]"}),
            "a is 0.001; b is inf; c is [0.5, 2]; d is [-1, 4]; e is [4, 4]; f is []; ");
  EXPECT_EQ(declared({"mode=\"a, b=c\"", "words=[\"a, b\", \"c\"]"}),
            "mode is \"a, b=c\"; words is [\"a, b\", \"c\"]; ");
  EXPECT_THAT(declared({"n=2", "n=3"}), HasSubstr("'n' is said twice"));
  EXPECT_THAT(declared({"a b=2"}), HasSubstr("'a b' cannot be the name of an argument"));
  EXPECT_THAT(declared({"n=two"}), HasSubstr("is wanted at 'two'"));
  EXPECT_THAT(declared({"n=99999999999999999999"}), HasSubstr("is wanted at"));
}

TEST(InputDeclarations, AnInputIsNoConstant) {
  for (auto [first, second] : {std::pair("x=[2]", "x=none"), std::pair("x=2.0", "x=fp32[2]")}) {
    frontend::ModelFunction function;
    EXPECT_EQ(llvm::toString(addDeclaration(function, first)), "");
    EXPECT_THAT(llvm::toString(addDeclaration(function, second)),
                HasSubstr("'x' is declared as an input and as what it is in every call"));
    EXPECT_EQ(llvm::toString(addDeclaration(function, "y=1")), "");
  }
}

TEST(InputDeclarations, NamedSizes) {
  EXPECT_EQ(declared({"mask=[1, n]", "x=int32[1, n:1..512]"}),
            "mask=[1, n:1..512]; x=int32[1, n:1..512]; ");
  EXPECT_THAT(declared({"mask=[1, n]"}), HasSubstr("input 'mask=[1, n]': nothing says what the "
                                                   "size 'n' may be; say it once, 'n:1..512'"));
  EXPECT_THAT(declared({"x=[n:1..4]", "y=[n:1..8]"}),
              HasSubstr("the size 'n' is 1..4 in one input and 1..8 in another"));
}

TEST(InputDeclarations, WhatIsSaidOfAll) {
  frontend::ModelFunction common, own;
  ASSERT_FALSE(addDeclaration(common, "x=[4]"));
  ASSERT_FALSE(addDeclaration(common, "scale=[1]"));
  ASSERT_FALSE(addDeclaration(common, "mask=none"));
  ASSERT_FALSE(addDeclaration(own, "scale=2.0"));
  inheritDeclarations(own, common);
  ASSERT_EQ(own.inputs.size(), 1u); // its scale is a constant
  EXPECT_EQ(own.inputs[0].name, "x");
  EXPECT_EQ(own.constants.size(), 2u);
  frontend::ModelFunction other;
  ASSERT_FALSE(addDeclaration(other, "mask=[4]"));
  inheritDeclarations(other, common);
  ASSERT_EQ(other.inputs.size(), 1u);
  EXPECT_TRUE(other.constants.empty());
}

TEST(InputSyntax, SaysWhereAndWhat) {
  EXPECT_EQ(read("x=[2,,12]"),
            "error: input 'x=[2,,12]': a size is wanted at ',12]'; an example: x=fp16[1, 128]");
  EXPECT_EQ(read("x=[2, 12"), "error: input 'x=[2, 12': ',' or ']' is wanted at the end; an "
                              "example: x=fp16[1, 128]");
  EXPECT_EQ(read("x=[2] 3"), "error: input 'x=[2] 3': nothing more is wanted at '3'; an example: "
                             "x=fp16[1, 128]");
  EXPECT_THAT(read("x"),
              HasSubstr("fp16, fp32, int32, int8, bool, image or a shape is wanted at 'x'"));
  EXPECT_THAT(read("x=2x12"),
              HasSubstr("fp16, fp32, int32, int8, bool, image or a shape is wanted"));
  EXPECT_THAT(read("x=fp99[2]"),
              HasSubstr("fp16, fp32, int32, int8, bool, image or a shape is wanted"));
  EXPECT_THAT(read("x=fp16"), HasSubstr("'[' is wanted at the end"));
  EXPECT_THAT(read("x="), HasSubstr("'[' is wanted at the end"));
  EXPECT_THAT(read(""), HasSubstr("'[' is wanted at the end"));
}

TEST(InputSyntax, RefusesWhatCoreMLCannotHold) {
  EXPECT_THAT(read("x=[]"), HasSubstr("no inputs without dimensions"));
  EXPECT_THAT(read("x=[2, -1]"), HasSubstr("a size is wanted at '-1]'"));
  EXPECT_THAT(read("x=[0, 12]"), HasSubstr("the size 0 is not from 1 to 2147483647"));
  EXPECT_THAT(read("x=[99999999999999999999]"), HasSubstr("is not from 1 to"));
  EXPECT_THAT(read("x=[2147483648]"), HasSubstr("is not from 1 to"));
  EXPECT_THAT(read("x=[65536, 65536]"), HasSubstr("more than 2147483647 elements"));
  EXPECT_THAT(read("x=[1,1,1,1,1,1]"), HasSubstr("at most 5 dimensions"));
  EXPECT_THAT(read("x=[5..2]"), HasSubstr("the range 5..2 is empty"));
  EXPECT_THAT(read("x=[1..]"), HasSubstr("a size is wanted at ']'"));
}

TEST(InputSyntax, EnumeratedShapes) {
  EXPECT_THAT(read("x={[1],[1,2]}"), HasSubstr("the same number of dimensions"));
  EXPECT_THAT(read("x={[1,2],[1,2]}"), HasSubstr("the shape [1, 2] is listed twice"));
  EXPECT_THAT(read("x={[1..2]}"), HasSubstr("has fixed sizes, not 1..2"));
  EXPECT_THAT(read("x={}"), HasSubstr("'[' is wanted at '}'"));
  EXPECT_THAT(read("x={[1]"), HasSubstr("',' or '}' is wanted at the end"));
  std::string many = "x={";
  for (int i = 1; i <= 129; ++i)
    many += (i > 1 ? ",[" : "[") + std::to_string(i) + "]";
  EXPECT_THAT(read(many + "}"), HasSubstr("at most 128 shapes"));
}

TEST(InputSyntax, Names) {
  for (const char *bad : {"1x", "a b", "a-b", "", "\xc3\xa9", "a@b", "tensor"})
    EXPECT_THAT(read(std::string(bad) + "=[2]"), HasSubstr("cannot be a name in Core ML")) << bad;
  EXPECT_THAT(read("a b=[2]"), HasSubstr("(try 'a_b')"));
}

TEST(InputSyntax, Images) {
  EXPECT_EQ(read("photo=image[rgb,1,3,224,224]"), "photo=image[rgb, 1, 3, 224, 224]");
  EXPECT_EQ(read("image [ gray16, 1, 1, 8..16, 9 ]"), "image[gray16, 1, 1, 8..16, 9]");
  EXPECT_EQ(read("x=image{[bgr,1,3,2,2],[bgr,1,3,4,4]}bias=-1"),
            "x=image{[bgr, 1, 3, 2, 2], [bgr, 1, 3, 4, 4]} bias=[-1]");
  EXPECT_EQ(read("image[rgb, 1, 3, 2, 2] scale = 1/2 bias = [ -.5 , 1e1, +2 ]"),
            "image[rgb, 1, 3, 2, 2] scale=[0.5] bias=[-0.5, 10, 2]");
  auto input = parseInput("x=image[rgb, 1, 3, 2, 2] scale=1/255");
  ASSERT_TRUE(bool(input));
  EXPECT_EQ(input->image, mil::PixelFormat::RGB);
  EXPECT_THAT(input->pixels.scale, testing::ElementsAre(1.0 / 255));
  EXPECT_TRUE(input->pixels.bias.empty());
}

TEST(InputSyntax, WhatIsNoImage) {
  EXPECT_THAT(read("x=image[1, 3, 2, 2]"), HasSubstr("rgb, bgr, gray or gray16 is wanted at '1,"));
  EXPECT_THAT(read("x=image[rgb]"), HasSubstr("has the shape [1, 3, height, width]: [rgb, 1, 3, "));
  EXPECT_THAT(read("x=image[rgb, 1, 1, 2, 2]"), HasSubstr("a rgb image has the shape [1, 3, "));
  EXPECT_THAT(read("x=image[gray, 1, 3, 2, 2]"), HasSubstr("a gray image has the shape [1, 1, "));
  EXPECT_THAT(read("x=image[gray, 2, 1, 2, 2]"), HasSubstr("a gray image has the shape [1, 1, "));
  EXPECT_THAT(read("x=image[gray, 1, 1, 2]"), HasSubstr("a gray image has the shape [1, 1, "));
  EXPECT_THAT(read("x=image{[rgb,1,3,2,2],[bgr,1,3,4,4]}"), HasSubstr("either rgb or bgr"));
  EXPECT_THAT(read("x=image[rgb,1,3,2,2] scale=[1,2]"), HasSubstr("2 numbers for 3 channels"));
  EXPECT_THAT(read("x=image[rgb,1,3,2,2] scale=1 scale=2"), HasSubstr("scale is said twice"));
  EXPECT_THAT(read("x=image[rgb,1,3,2,2] scale=1/0"), HasSubstr("a number, such as"));
  EXPECT_THAT(read("x=image[rgb,1,3,2,2] scale=1e300"), HasSubstr("that fp32 holds"));
  EXPECT_THAT(read("x=image[rgb,1,3,2,2] scale"), HasSubstr("'=' is wanted at the end"));
  EXPECT_THAT(read("x=image[rgb,1,3,2,2] bias=[1"), HasSubstr("',' or ']' is wanted"));
  EXPECT_THAT(read("x=image[rgb,1,3,2,2] std=2"), HasSubstr("nothing more is wanted at 'std=2'"));
  EXPECT_THAT(read("x=fp16[2] scale=2"), HasSubstr("nothing more is wanted at 'scale=2'"));
}

TEST(InputSyntax, Outputs) {
  auto good = [](llvm::StringRef text) { return llvm::cantFail(parseOutput(text)); };
  EXPECT_EQ(good("y"), frontend::OutputSpec("y"));
  EXPECT_EQ(good(" y = fp32 ").dtype, mil::DType::F32);
  EXPECT_EQ(good("y=image[bgr]").image, mil::PixelFormat::BGR);
  EXPECT_EQ(good("y=image[gray, 1, 1, 2, 3]").shape.size(), 4u);
  auto bad = [](llvm::StringRef text) { return toString(parseOutput(text).takeError()); };
  EXPECT_THAT(bad("y=int32"), HasSubstr("fp16, fp32 or an image is wanted at 'int32'"));
  EXPECT_THAT(bad("y="), HasSubstr("fp16, fp32 or an image is wanted at the end"));
  EXPECT_THAT(bad("y=fp32[2]"), HasSubstr("nothing more is wanted at '[2]'"));
  EXPECT_THAT(bad("y=image[rgb, 2, 3, 1, 1]"), HasSubstr("a rgb image has the shape"));
  EXPECT_THAT(bad("y=image[rgb] scale=2"), HasSubstr("nothing more is wanted at 'scale=2'"));
}

} // namespace
