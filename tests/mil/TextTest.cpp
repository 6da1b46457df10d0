// Printer and parser: fixed points, both spellings, errors with their place.
#include "mil/Builder.h"
#include "mil/Verifier.h"
#include "tests/GoldenRunner.h"
#include "tests/SourceDir.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

using namespace plait;
using namespace plait::mil;
using testing::HasSubstr;
using testing::StartsWith;

namespace {

std::string errorOf(llvm::StringRef text) {
  auto program = parseProgram(text);
  return program ? "" : llvm::toString(program.takeError());
}

/// `body` in a function of one input x: tensor<fp32, [2, 3]>.
std::string inMain(const std::string &body, const std::string &outputs = "y") {
  return "program(1.3)\n{\n    func main<ios18>(tensor<fp32, [2, 3]> x) {\n" + body + "    } -> (" +
         outputs + ");\n}\n";
}

TEST(Text, EveryGoldenIsAFixedPoint) {
  auto files = golden::filesIn(sourcePath("tests/golden/text"));
  ASSERT_FALSE(files.empty());
  for (const std::string &file : files)
    golden::runFile(file, [](Program &, const golden::Case &) { return false; });
}

TEST(Text, OlderSpelling) {
  std::string files = sourcePath("tests/mil/data/version-1.0.mil");
  auto buffer = llvm::MemoryBuffer::getFile(files, true);
  ASSERT_TRUE(buffer);
  golden::Blobs blobs;
  auto program = blobs.parse((*buffer)->getBuffer(), files);
  ASSERT_TRUE(bool(program)) << llvm::toString(program.takeError());
  std::string text = blobs.print(**program, nullptr);
  EXPECT_THAT(text, HasSubstr("buildInfo = dict<string, string>({{\"coremlc-component-MIL\""));
  EXPECT_THAT(text,
              HasSubstr("fp16 scale = const()[name = string(\"scale\"), val = fp16(0x1p-3)];"));
  EXPECT_THAT(text, HasSubstr("FlexibleShapeInformation = tuple<tuple<string, dict<string, "
                              "tensor<int32, [?]>>>>(((\"DefaultShapes\", {{\"x\", [1, 8]}})))"));
  auto again = blobs.parse(text, "again");
  ASSERT_TRUE(bool(again)) << llvm::toString(again.takeError());
  EXPECT_EQ(blobs.print(**again, nullptr), text);
}

/// What Core ML's compiler writes and what other producers write of the same.
TEST(Text, SpellingsOfOtherProducers) {
  auto reads = [](llvm::StringRef text) {
    auto program = parseProgram(text);
    EXPECT_TRUE(bool(program)) << llvm::toString(program.takeError());
    if (!program)
      return std::string();
    EXPECT_EQ(llvm::toString(verify(**program)), "");
    std::string printed = toString(**program);
    auto again = parseProgram(printed);
    EXPECT_TRUE(bool(again)) << llvm::toString(again.takeError());
    if (again) {
      EXPECT_EQ(toString(**again), printed);
    }
    return printed;
  };
  // Several results: Core ML writes no parentheses, and reads none.
  std::string split = " = split(axis = int32(0), num_splits = int32(2), x = x);\n";
  std::string bare =
      reads(inMain("tensor<fp32, [1, 3]> y, tensor<fp32, [1, 3]> z" + split, "y, z"));
  EXPECT_THAT(bare, HasSubstr("        tensor<fp32, [1, 3]> y, tensor<fp32, [1, 3]> z = split("));
  EXPECT_EQ(bare,
            reads(inMain("(tensor<fp32, [1, 3]> y, tensor<fp32, [1, 3]> z)" + split, "y, z")));
  EXPECT_THAT(errorOf(inMain("fp32 y, = relu(x = x);\n")), HasSubstr("expected a type, not '='"));
  EXPECT_THAT(errorOf(inMain("fp32 y, fp32 z relu(x = x);\n")), HasSubstr("expected '='"));
  // No names of operations, literals as operands, no spaces; the parameters of iOS16's compressed
  // constants in brackets, in any order.
  EXPECT_THAT(
      reads("program(1.0)\r\n[buildInfo=dict<tensor<string,[]>,tensor<string,[]>>({})]{func "
            "main<ios16>(tensor<fp16,[1,2]>x){tensor<fp16,[3,2]>w=constexpr_lut_to_dense()["
            "indices=tensor<uint8,[1]>([2]),lut=tensor<fp16,[2]>([0x1p+0,-0x1p+0]),name="
            "tensor<string,[]>(\"w\"),shape=tensor<uint32,[2]>([3,2])];tensor<fp16,[1,3]>y="
            "linear(bias=tensor<fp16,[3]>([0,1,2]),weight=w,x=x);}->(y);}"),
      HasSubstr("tensor<fp16, [3, 2]> w = constexpr_lut_to_dense()[name = string(\"w\"), "));
  // Listings of packages: the numbers and names of the protobuf form.
  EXPECT_THAT(
      reads("program(1)\n{\n  func main<CoreML8>(tensor<fp32, [4]> x) {\n    tensor<int32, "
            "[1]> axes = const()[val = tensor<int32, [1]>(0)];\n    tensor<fp32, [1, 4]> y = "
            "expand_dims(axes = axes, x = x);\n  } -> (y);\n}\n"),
      HasSubstr("func main<ios18>"));
  // Enumerated shapes under keys that mean nothing here.
  EXPECT_THAT(
      reads("program(1.3) { func main<ios17>(tensor<fp32, [?]> x) [FlexibleShapeInformation = "
            "tuple<tuple<string, dict<string, tensor<int32, [?]>>>, tuple<string, dict<string, "
            "dict<string, tensor<int32, [?]>>>>>(((\"DefaultShapes\", {{\"x\", [4]}}), "
            "(\"EnumeratedShapes\", {{\"5a1e\", {{\"x\", [2]}}}, {\"9c38\", {{\"x\", [4]}}}})))] { "
            "tensor<fp32, [?]> y = relu(x = x); } -> (y); }"),
      HasSubstr("(\"EnumeratedShapes\", {{\"0\", {{\"x\", [2]}}}, {\"1\", {{\"x\", [4]}}}})"));
}

TEST(Text, FloatsReadBackExactly) {
  Program program;
  Function *f = program.addFunction("main");
  Builder b(f->body());
  std::vector<uint16_t> halves;
  for (uint32_t bits = 0; bits < 0x10000; bits += 257)
    halves.push_back(uint16_t(bits));
  llvm::append_range(halves, std::vector<uint16_t>{0, 0x8000, 1, 0x8001, 0x7bff, 0x7c00, 0xfc00,
                                                   0x7e01, 0xfe00, 0x03ff});
  Value *value =
      b.constant(TensorData::from<uint16_t>(DType::F16, {int64_t(halves.size())}, halves), "c");
  f->body().setOutputs(value);
  PrintOptions options;
  options.maxInlineElements = 1000;
  auto again = parseProgram(toString(program, options));
  ASSERT_TRUE(bool(again)) << llvm::toString(again.takeError());
  const TensorData *read = constTensor((*again)->function("main")->outputs()[0]);
  ASSERT_TRUE(read);
  EXPECT_EQ(read->contiguousBytes(), constTensor(value)->contiguousBytes());
}

TEST(Text, SubByteElements) {
  std::string text = inMain("        tensor<int4, [5]> y = const()[name = string(\"y\"), val = "
                            "tensor<int4, [5]>([-8, 7, 0, -1, 3])];\n");
  auto program = parseProgram(text);
  ASSERT_TRUE(bool(program)) << llvm::toString(program.takeError());
  EXPECT_EQ(toString(**program), text);
  auto bytes = constTensor((*program)->function("main")->outputs()[0])->contiguousBytes();
  EXPECT_EQ(bytes, (llvm::ArrayRef<uint8_t>{0x78, 0xf0, 0x03}));
}

TEST(Text, ErrorsTellThePlace) {
  EXPECT_EQ(
      errorOf(inMain("        tensor<fp32, [2, 3]> y = relu(x = z)[name = string(\"y\")];\n")),
      "<text>:4:43: 'z' is not defined here\n"
      "          tensor<fp32, [2, 3]> y = relu(x = z)[name = string(\"y\")];\n"
      "                                            ^");
  EXPECT_THAT(errorOf(""), StartsWith("<text>:1:1: expected 'program' but the text ends"));
  EXPECT_THAT(errorOf("program(2.0)\n{\n}\n"), HasSubstr("a program version of 1.0 to 1.3"));
  EXPECT_THAT(errorOf("program(1.3) {"), HasSubstr("expected 'func' but the text ends"));
  EXPECT_THAT(errorOf("program(1.3) { func f<ios12>() {} -> (); }"),
              HasSubstr("'ios12' is no opset"));
  auto statement = [](const std::string &text) { return errorOf(inMain(text + "\n")); };
  EXPECT_THAT(statement("fp32 y = frob(x = x);"), HasSubstr("'frob' is no operation"));
  EXPECT_THAT(statement("fp32 y = relu(q = x);"), HasSubstr("'relu' has no parameter 'q'"));
  EXPECT_THAT(statement("fp32 y = relu(x = x, x = x);"), HasSubstr("'x' is given twice"));
  EXPECT_THAT(statement("fp32 x = relu(x = x);"), HasSubstr("'x' is defined already"));
  EXPECT_THAT(statement("fp31 y = relu(x = x);"), HasSubstr("expected a type, not 'fp31'"));
  EXPECT_THAT(statement("tensor<fp32, [-1]> y = relu(x = x);"), HasSubstr("'-1' is no dimension"));
  EXPECT_THAT(statement("fp32 y = const()[name = string(\"y\")];"),
              HasSubstr("needs the attribute val"));
  auto constant = [&](const std::string &value) {
    return statement("fp32 y = const()[val = " + value + "];");
  };
  EXPECT_THAT(constant("int8(300)"), HasSubstr("300 does not fit int8"));
  EXPECT_THAT(constant("uint8(-1)"), HasSubstr("-1 does not fit uint8"));
  EXPECT_THAT(constant("int32(1.5)"), HasSubstr("'1.5' is no integer"));
  EXPECT_EQ(
      errorOf("program(1.3) { func main<ios18>(tensor<fp16, [1]> x) { fp16 a = const()[val = "
              "fp16(nan(0xfe01))]; fp64 b = const()[val = fp64(nan(0x7ff0000000000001))]; bf16 c "
              "= const()[val = bf16(nan(0x7f81))]; } -> (x); }"),
      "");
  EXPECT_THAT(constant("fp16(nan(0x7c00))"), HasSubstr("0x7c00 are not the bits of a NaN of fp16"));
  EXPECT_THAT(constant("fp16(nan(0x17e00))"), HasSubstr("are not the bits of a NaN"));
  EXPECT_THAT(constant("fp32(nan(1))"), HasSubstr("are not the bits of a NaN"));
  EXPECT_THAT(constant("bool(1)"), HasSubstr("'1' is no bool"));
  EXPECT_THAT(constant("string(\"a\\q\")"), HasSubstr("is no string"));
  EXPECT_THAT(constant("string(\"a"), HasSubstr("a string without an end"));
  EXPECT_THAT(constant("tensor<int32, [2]>([1])"),
              HasSubstr("1 elements for a tensor<int32, [2]>"));
  EXPECT_THAT(constant("tensor<int32, [2, 2]>([[1, 2, 3], [4]])"), HasSubstr("4 elements for a"));
  EXPECT_THAT(constant("tensor<int32, [2, 3]>([[1, 2], [3, 4], [5, 6]])"),
              HasSubstr("do not nest as the dimensions"));
  EXPECT_THAT(constant("tensor<fp32, [9]>(BLOBFILE(path = string(\"w\"), offset = uint64(64)))"),
              HasSubstr("no weight file is at hand"));
  EXPECT_THAT(constant("tensor<fp32, [9]>(BLOBFILE(path = string(\"w\")))"),
              HasSubstr("needs path and offset"));
}

TEST(Text, GarbageIsAnErrorAndNeverDeep) {
  std::string deep = "program(1.3) { func main<ios18>(";
  for (int i = 0; i < 100000; ++i)
    deep += "tuple<";
  EXPECT_THAT(errorOf(deep), HasSubstr("types are nested too deeply"));
  std::string brackets = "fp32 y = const()[val = tensor<fp32, [1]>(";
  EXPECT_THAT(errorOf(inMain(brackets + std::string(100000, '['))),
              HasSubstr("brackets are nested too deeply"));
  std::string blocks;
  for (int i = 0; i < 100000; ++i)
    blocks += "fp32 y = cond(pred = x) { block0() { ";
  EXPECT_THAT(errorOf(inMain(blocks)), HasSubstr("blocks are nested too deeply"));
  std::string good = inMain("tensor<fp32, [2, 3]> y = relu(x = x)[name = string(\"y\")];\n");
  for (size_t length = 0; length + 2 < good.size(); ++length)
    EXPECT_NE(errorOf(good.substr(0, length)), "") << length;
  // Bytes changed one at a time: an error or a program, never a crash.
  for (size_t i = 0; i < good.size(); ++i)
    for (char c : {'\0', '"', '(', '>', '9', 'a', '\xff'}) {
      std::string bad = good;
      bad[i] = c;
      errorOf(bad);
    }
}

TEST(Text, LazyConstantsAreEvaluated) {
  Program program;
  Function *f = program.addFunction("main");
  Builder b(f->body());
  Value *x = f->addInput(Type::tensor(DType::F16, {2}), "x");
  auto data = TensorData::from<float>(DType::F32, {2}, {1.5f, -2.f}).cast(DType::F16).scale(0.5);
  f->body().setOutputs(b.emit(OpKind::add, {{add::x, x}, {add::y, b.constant(data, "c")}}, "y"));
  EXPECT_THAT(toString(program), HasSubstr("val = tensor<fp16, [2]>([0x1.8p-1, -0x1p+0])"));
}

} // namespace
