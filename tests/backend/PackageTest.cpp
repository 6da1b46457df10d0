// Packages: what is written is read back as it was, is the same for any number of threads, and
// replaces nothing by accident; damaged packages are errors.
#include "backend/Inspect.h"
#include "backend/Manifest.h"
#include "backend/PackageReader.h"
#include "backend/PackageWriter.h"
#include "mil/Builder.h"
#include "support/Folders.h"
#include "support/Json.h"
#include "support/NewFile.h"
#include "tests/FolderTest.h"

#include "llvm/Support/FileSystem.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <random>
#include <sys/stat.h>

using namespace plait;
using namespace plait::mil;
namespace fs = llvm::sys::fs;
using testing::ElementsAre;
using testing::HasSubstr;

namespace {

TensorData noise(DType dtype, llvm::ArrayRef<int64_t> shape, unsigned seed) {
  std::mt19937 random(seed);
  std::vector<uint8_t> bytes(byteSize(dtype, numElements(shape)));
  for (uint8_t &byte : bytes)
    byte = uint8_t(random() & 0x3F);
  return TensorData::fromBytes(dtype, shape, std::move(bytes));
}

class PackageTest : public FolderTest {
protected:
  static void put(const std::string &path, llvm::StringRef bytes) {
    llvm::cantFail(writeNewFile(path, bytes, /*flush=*/false));
  }
  std::string model(const llvm::Twine &package) const {
    return at(package + "/Data/com.apple.CoreML/model.mlmodel");
  }
  std::string weights(const llvm::Twine &package) const {
    return at(package + "/Data/com.apple.CoreML/weights/weight.bin");
  }
  std::vector<std::string> list() const {
    std::vector<std::string> names;
    std::error_code ec;
    for (fs::directory_iterator it(folder, ec), end; it != end && !ec; it.increment(ec))
      names.push_back(it->path().substr(folder.size() + 1));
    llvm::sort(names);
    return names;
  }

  /// y = relu(x W' + b), W shared by all functions that use `seed`.
  static Function &addLinear(Program &program, llvm::StringRef name, unsigned seed,
                             unsigned biasSeed) {
    Function &function = *program.addFunction(name);
    Value *x = function.addInput(Type::tensor(DType::F16, llvm::ArrayRef<int64_t>{1, 32}), "x");
    Builder b(function.body());
    Value *y = b.emit(OpKind::linear,
                      {{linear::x, x},
                       {linear::weight, Attr(noise(DType::F16, {24, 32}, seed))},
                       {linear::bias, Attr(noise(DType::F16, {24}, biasSeed))}},
                      "y");
    Value *r = b.emit(OpKind::relu, {{relu::x, y}}, "r");
    EXPECT_FALSE(b.failed()) << llvm::toString(b.takeError());
    function.body().setOutputs({r});
    return function;
  }
  static std::unique_ptr<Program> twoFunctions() {
    auto program = std::make_unique<Program>();
    addLinear(*program, "second", 1, 2);
    addLinear(*program, "first", 1, 3);
    program->defaultFunction = "first";
    program->metadata = {"someone", "MIT", "1.2", "does things", {{"key", "value"}, {"a", "b"}}};
    return program;
  }

  /// Equal operations, operands by name, constants by content.
  static void expectEqual(const Block &a, const Block &b) {
    auto left = a.begin(), right = b.begin();
    for (; left != a.end() && right != b.end(); ++left, ++right) {
      EXPECT_EQ(left->kind(), right->kind());
      EXPECT_EQ(left->name, right->name);
      if (left->kind() != right->kind())
        return;
      if (left->is(OpKind::const_)) {
        const TensorData *p = left->val().tensor(), *q = right->val().tensor();
        ASSERT_EQ(p == nullptr, q == nullptr);
        if (p) {
          EXPECT_EQ(p->type().str(), q->type().str());
          EXPECT_EQ(llvm::cantFail(p->bytes()), llvm::cantFail(q->bytes())) << left->name.str();
        } else {
          EXPECT_TRUE(left->val() == right->val()) << left->name.str();
        }
      }
      for (unsigned param = 0; param < left->numParams(); ++param) {
        ASSERT_EQ(left->operands(param).size(), right->operands(param).size());
        for (auto [p, q] : llvm::zip(left->operands(param), right->operands(param)))
          EXPECT_EQ(p->name, q->name);
      }
      ASSERT_EQ(left->numResults(), right->numResults());
      for (auto [p, q] : llvm::zip(left->results(), right->results())) {
        EXPECT_EQ(p->name, q->name);
        EXPECT_EQ(p->type.str(), q->type.str());
      }
      ASSERT_EQ(left->blocks().size(), right->blocks().size());
      for (auto [p, q] : llvm::zip(left->blocks(), right->blocks()))
        expectEqual(*p, *q);
    }
    EXPECT_TRUE(left == a.end() && right == b.end());
    ASSERT_EQ(a.outputs().size(), b.outputs().size());
    for (auto [p, q] : llvm::zip(a.outputs(), b.outputs()))
      EXPECT_EQ(p->name, q->name);
  }
  void expectRoundTrip(const Program &program) {
    if (Error error = writePackage(program, at("p.mlpackage"))) {
      ADD_FAILURE() << llvm::toString(std::move(error));
      return;
    }
    auto back = readPackage(at("p.mlpackage"));
    ASSERT_TRUE(bool(back)) << llvm::toString(back.takeError());
    ASSERT_EQ((*back)->functions().size(), program.functions().size());
    EXPECT_EQ((*back)->defaultFunction, program.defaultFunction);
    for (auto [a, b] : llvm::zip(program.functions(), (*back)->functions())) {
      EXPECT_EQ(a->name, b->name);
      EXPECT_EQ(a->opset, b->opset);
      ASSERT_EQ(a->inputs().size(), b->inputs().size());
      for (auto [p, q] : llvm::zip(a->inputs(), b->inputs())) {
        EXPECT_EQ(p->name, q->name);
        EXPECT_EQ(p->type.str(), q->type.str());
      }
      expectEqual(a->body(), b->body());
    }
    // Written again, it is the same to the byte.
    llvm::cantFail(writePackage(**back, at("q.mlpackage")));
    EXPECT_EQ(get(model("p.mlpackage")), get(model("q.mlpackage")));
    EXPECT_EQ(get(weights("p.mlpackage")), get(weights("q.mlpackage")));
  }
};

// ---- Round trips --------------------------------------------------------------------------------

TEST_F(PackageTest, NamedFunctions) {
  auto program = twoFunctions();
  expectRoundTrip(*program);
  auto back = llvm::cantFail(readPackage(at("p.mlpackage")));
  EXPECT_EQ(back->metadata.author, "someone");
  EXPECT_EQ(back->metadata.license, "MIT");
  EXPECT_EQ(back->metadata.version, "1.2");
  EXPECT_EQ(back->metadata.description, "does things");
  EXPECT_EQ(back->metadata.userDefined, program->metadata.userDefined);
}

TEST_F(PackageTest, APlainProgram) {
  Program program;
  addLinear(program, "main", 1, 2);
  expectRoundTrip(program);
  EXPECT_EQ(llvm::cantFail(inspectPackage(at("p.mlpackage"))).defaultFunction, "main");
}

TEST_F(PackageTest, EveryImmediateType) {
  Program program;
  Function &function = *program.addFunction("main");
  Value *x = function.addInput(Type::tensor(DType::F32, llvm::ArrayRef<int64_t>{3}), "x");
  Builder b(function.body());
  for (DType dtype : {DType::Bool, DType::F16, DType::F32, DType::F64, DType::I8, DType::I16,
                      DType::I32, DType::I64, DType::U8, DType::U16, DType::U32, DType::U64,
                      DType::I4, DType::U1, DType::U3}) {
    TensorData value = noise(dtype, {3}, unsigned(dtype));
    if (dtype == DType::Bool)
      value = TensorData::bools({true, false, true});
    if (isSubByte(dtype)) // The unused bits of the last byte are zero.
      value = TensorData::fromBytes(dtype, {8}, std::vector<uint8_t>(bitWidth(dtype), 0x2A));
    b.constant(value, name(dtype));
  }
  b.constant(noise(DType::F16, {}, 5), "scalar");
  b.constant(TensorData::fromBytes(DType::F32, {0}, {}), "empty");
  b.constant(TensorData::from<uint8_t>(DType::Bool, {40}, std::vector<uint8_t>(40, 1)),
             "many_bools");
  b.constant(Attr::string("text"), "text");
  b.constant(Attr::strings({"a", "b"}, {2}), "texts");
  b.constant(Attr::list(Type::tensor(DType::String), {Attr::string("p"), Attr::string("q")}),
             "names");
  Value *r = b.emit(OpKind::relu, {{relu::x, x}}, "r");
  function.body().setOutputs({r});
  ASSERT_FALSE(b.failed()) << llvm::toString(b.takeError());
  expectRoundTrip(program);
  EXPECT_EQ(llvm::cantFail(inspectPackage(at("p.mlpackage"))).blobCount, 0u);
}

TEST_F(PackageTest, FlexibleShapesAndStates) {
  Program program;
  Function &function = *program.addFunction("main");
  mil::Shape shape = {Dim(1), Dim::symbol("x_1", 2, 128)};
  Value *x = function.addInput(Type::tensor(DType::F16, shape), "x");
  Value *state = function.addInput(
      Type::state(Type::tensor(DType::F16, llvm::ArrayRef<int64_t>{1, 4})), "cache");
  function.inputInfo.resize(1);
  function.inputInfo[0].defaultShape = {1, 16};
  Builder b(function.body());
  Value *r = b.emit(OpKind::relu, {{relu::x, x}}, "r");
  Value *old = b.emit(OpKind::read_state, {{read_state::input, state}}, "old");
  Value *next = b.emit(OpKind::relu, {{relu::x, old}}, "next");
  b.create(OpKind::write_state, {{write_state::input, state}, {write_state::data, next}}, "update");
  function.body().setOutputs({r});
  ASSERT_FALSE(b.failed()) << llvm::toString(b.takeError());
  expectRoundTrip(program);
  auto back = llvm::cantFail(readPackage(at("p.mlpackage")));
  const Function &read = *back->functions()[0];
  EXPECT_EQ(read.inputs()[0]->type.shape()[1].lower(), 2);
  EXPECT_EQ(read.inputs()[0]->type.shape()[1].upper(), 128);
  EXPECT_THAT(read.inputInfo[0].defaultShape, ElementsAre(1, 16));
  // Sizes inside follow from the input's, although the package only says that they are dynamic.
  EXPECT_TRUE(read.outputs()[0]->type.shape()[1] == read.inputs()[0]->type.shape()[1]);
}

TEST_F(PackageTest, EnumeratedShapes) {
  Program program;
  Function &function = *program.addFunction("main");
  Value *x = function.addInput(
      Type::tensor(DType::F32, mil::Shape{Dim(1), Dim::symbol("x_1", 4, 8)}), "x");
  function.inputInfo.resize(1);
  function.inputInfo[0].enumeratedShapes = {{1, 8}, {1, 4}};
  function.inputInfo[0].defaultShape = {1, 8};
  Builder b(function.body());
  function.body().setOutputs({b.emit(OpKind::relu, {{relu::x, x}}, "r")});
  expectRoundTrip(program);
  auto back = llvm::cantFail(readPackage(at("p.mlpackage")));
  EXPECT_EQ(back->functions()[0]->inputInfo[0].enumeratedShapes,
            function.inputInfo[0].enumeratedShapes);
}

TEST_F(PackageTest, ControlFlow) {
  Program program;
  Function &function = *program.addFunction("main");
  Value *x = function.addInput(Type::tensor(DType::F32, llvm::ArrayRef<int64_t>{1, 3}), "x");
  Builder b(function.body());
  Value *pred = b.constant(TensorData::scalar(true), "pred");
  Op *op = b.openControlFlow(OpKind::cond, {{cond::pred, pred}}, "choice");
  ASSERT_TRUE(op);
  for (auto [index, block] : llvm::enumerate(op->blocks())) {
    Builder inner(*block);
    Value *w = inner.constant(noise(DType::F32, {1, 20}, 7), "w");
    EXPECT_TRUE(w);
    block->setOutputs({inner.emit(index ? OpKind::relu : OpKind::sigmoid, {{0, x}})});
  }
  ASSERT_TRUE(b.closeControlFlow(op)) << llvm::toString(b.takeError());
  function.body().setOutputs({op->result()});
  expectRoundTrip(program);
  // Equal constants of both branches share a blob.
  EXPECT_EQ(llvm::cantFail(inspectPackage(at("p.mlpackage"))).blobCount, 1u);
}

TEST_F(PackageTest, CompressedWeightsAreLiterals) {
  Program program;
  Function &function = *program.addFunction("main");
  Value *x = function.addInput(Type::tensor(DType::F16, llvm::ArrayRef<int64_t>{1, 32}), "x");
  Builder b(function.body());
  Value *data = b.constant(noise(DType::I4, {8, 32}, 1), "w_data");
  Value *scale = b.constant(noise(DType::F16, {8, 1}, 2), "w_scale");
  Value *w = b.emit(OpKind::constexpr_blockwise_shift_scale,
                    {{constexpr_blockwise_shift_scale::data, data},
                     {constexpr_blockwise_shift_scale::scale, scale}},
                    "w");
  Value *quantised = b.constant(noise(DType::U8, {8, 32}, 3), "v_quantized_data");
  Value *v = b.emit(OpKind::constexpr_affine_dequantize,
                    {{constexpr_affine_dequantize::quantized_data, quantised},
                     {constexpr_affine_dequantize::zero_point, Attr(noise(DType::U8, {}, 4))},
                     {constexpr_affine_dequantize::scale, Attr(noise(DType::F16, {}, 5))},
                     {constexpr_affine_dequantize::axis, 0}},
                    "v");
  Value *y = b.emit(OpKind::linear, {{linear::x, x}, {linear::weight, w}}, "y");
  Value *z = b.emit(OpKind::linear, {{linear::x, x}, {linear::weight, v}}, "z");
  function.body().setOutputs({y, z});
  ASSERT_FALSE(b.failed()) << llvm::toString(b.takeError());
  llvm::cantFail(writePackage(program, at("p.mlpackage")));
  PackageSummary summary = llvm::cantFail(inspectPackage(at("p.mlpackage")));
  EXPECT_EQ(summary.functions[0].operations,
            (std::map<std::string, unsigned>{{"constexpr_affine_dequantize", 1},
                                             {"constexpr_blockwise_shift_scale", 1},
                                             {"linear", 2}}));
  // The literals come back as constants, with the same contents.
  auto back = llvm::cantFail(readPackage(at("p.mlpackage")));
  for (Op &op : back->functions()[0]->body()) {
    if (op.is(OpKind::constexpr_blockwise_shift_scale)) {
      const TensorData *read = constTensor(op[constexpr_blockwise_shift_scale::data]);
      ASSERT_TRUE(read);
      EXPECT_EQ(llvm::cantFail(read->bytes()), llvm::cantFail(constTensor(data)->bytes()));
    }
    if (op.is(OpKind::constexpr_affine_dequantize)) {
      EXPECT_EQ(constInt(op[constexpr_affine_dequantize::axis]), 0);
    }
  }
  expectRoundTrip(*back);
}

// ---- Sharing and reports ------------------------------------------------------------------------

TEST_F(PackageTest, ReportsWhatIsShared) {
  auto program = twoFunctions();
  WriteReport report;
  llvm::cantFail(writePackage(*program, at("p.mlpackage"), {}, &report));
  EXPECT_EQ(report.layout.blobs.size(), 3u);
  ASSERT_EQ(report.weights.size(), 4u);
  EXPECT_EQ(report.weights[0].blob, report.weights[2].blob);
  EXPECT_NE(report.weights[1].blob, report.weights[3].blob);
  EXPECT_EQ(report.layout.blobs[report.weights[0].blob].users, 2u);

  PackageSummary summary = llvm::cantFail(inspectPackage(at("p.mlpackage")));
  EXPECT_EQ(summary.specificationVersion, 9);
  EXPECT_EQ(summary.defaultFunction, "first");
  EXPECT_EQ(summary.functions[0].name, "second");
  EXPECT_EQ(summary.functions[0].weightBytes, 24u * 32 * 2 + 24 * 2);
  EXPECT_EQ(summary.uniqueBytes, 24u * 32 * 2 + 2 * 24 * 2);
  EXPECT_EQ(summary.referencedBytes, 2 * (24u * 32 * 2 + 24 * 2));
  EXPECT_EQ(summary.fileBytes, report.layout.fileBytes);
  EXPECT_EQ(summary.sharingMatrix()[0][1], 24u * 32 * 2);
  std::string text = jsonText(toJson(summary));
  EXPECT_THAT(text, HasSubstr(R"("inputs":[{"dtype":"fp16","name":"x","shape":[1,32]}])"));
  EXPECT_THAT(text, HasSubstr(R"("operations":{"linear":1,"relu":1})"));

  WriteOptions apart;
  apart.share = false;
  llvm::cantFail(writePackage(*program, at("apart.mlpackage"), apart, &report));
  EXPECT_EQ(report.layout.blobs.size(), 4u);
}

TEST_F(PackageTest, EqualProgramsGiveEqualBytes) {
  for (unsigned threads : {1u, 2u, 5u}) {
    WriteOptions options;
    options.threads = threads;
    llvm::cantFail(writePackage(*twoFunctions(), at("p" + llvm::Twine(threads)), options));
    EXPECT_EQ(get(model("p1")), get(model("p" + llvm::Twine(threads))));
    EXPECT_EQ(get(weights("p1")), get(weights("p" + llvm::Twine(threads))));
    EXPECT_EQ(get(at("p1/Manifest.json")), get(at("p" + llvm::Twine(threads) + "/Manifest.json")));
  }
}

TEST(Manifest, IdentifiersAreNameBased) {
  // Python: uuid.uuid5(uuid.NAMESPACE_URL, "python.org")
  EXPECT_EQ(nameUuid("python.org"), "7AF94E2B-4DD9-50F0-9C9A-8A48519BDEF0");
}

// ---- Targets ------------------------------------------------------------------------------------

TEST_F(PackageTest, ReplacesAPackageAndNothingElse) {
  auto program = twoFunctions();
  put(at("file.mlpackage"), "precious");
  EXPECT_THAT(llvm::toString(writePackage(*program, at("file.mlpackage"))),
              HasSubstr("not a package"));
  EXPECT_EQ(get(at("file.mlpackage")), "precious");
  ASSERT_FALSE(fs::create_directory(at("folder")));
  put(at("folder/notes"), "precious");
  EXPECT_THAT(llvm::toString(writePackage(*program, at("folder"))), HasSubstr("not a package"));
  EXPECT_EQ(get(at("folder/notes")), "precious");

  llvm::cantFail(writePackage(*program, at("p.mlpackage")));
  std::string before = get(model("p.mlpackage"));
  program->defaultFunction = "second";
  llvm::cantFail(writePackage(*program, at("p.mlpackage")));
  EXPECT_NE(get(model("p.mlpackage")), before);
  // A program that is read from the package that it replaces.
  auto back = llvm::cantFail(readPackage(at("p.mlpackage")));
  back->metadata.author = "again";
  llvm::cantFail(writePackage(*back, at("p.mlpackage")));
  EXPECT_EQ(llvm::cantFail(readPackage(at("p.mlpackage")))->metadata.author, "again");
  EXPECT_EQ(list(), (std::vector<std::string>{"file.mlpackage", "folder", "p.mlpackage"}));
}

TEST_F(PackageTest, RefusalsLeaveThePackageAlone) {
  auto program = twoFunctions();
  llvm::cantFail(writePackage(*program, at("p.mlpackage")));
  std::string before = get(model("p.mlpackage"));
  auto refused = [&](const Program &bad) {
    return llvm::toString(writePackage(bad, at("p.mlpackage")));
  };

  program->metadata.author = "\xE9";
  EXPECT_THAT(refused(*program), HasSubstr("'author' is not text in UTF-8"));
  program->metadata.author = "é";
  program->defaultFunction = "third";
  EXPECT_THAT(refused(*program), HasSubstr("'third' is not a function"));
  program->defaultFunction = "";
  EXPECT_THAT(refused(*program), HasSubstr("no default function"));
  Program empty;
  EXPECT_THAT(refused(empty), HasSubstr("no function"));
  Program input;
  Function &function = addLinear(input, "main", 1, 2);
  Value *flag = function.addInput(Type::tensor(DType::Bool, llvm::ArrayRef<int64_t>{1}), "flag");
  EXPECT_THAT(refused(input), HasSubstr("'flag' is bool"));
  flag->type = Type::tensor(DType::F32);
  EXPECT_THAT(refused(input), HasSubstr("'flag' is a scalar"));
  Program old;
  addLinear(old, "main", 1, 2).opset = Opset::iOS17;
  addLinear(old, "other", 1, 2);
  EXPECT_THAT(refused(old), HasSubstr("different opsets"));
  EXPECT_THAT(llvm::toString(writePackage(*twoFunctions(), at("none/p.mlpackage"))),
              HasSubstr("create it first"));

  EXPECT_EQ(get(model("p.mlpackage")), before);
  EXPECT_EQ(list(), std::vector<std::string>{"p.mlpackage"});
}

// ---- Damage -------------------------------------------------------------------------------------

TEST_F(PackageTest, WhatIsNoPackage) {
  auto message = [&](const llvm::Twine &name) {
    return llvm::toString(readPackage(at(name)).takeError());
  };
  EXPECT_THAT(message("none"), HasSubstr("no such package"));
  put(at("file"), "x");
  EXPECT_THAT(message("file"), HasSubstr("no directory"));
  ASSERT_FALSE(fs::create_directory(at("folder")));
  EXPECT_THAT(message("folder"), HasSubstr("Manifest.json"));
  put(at("folder/Manifest.json"), "{");
  EXPECT_THAT(message("folder"), HasSubstr("Manifest.json"));
  put(at("folder/Manifest.json"), std::string(100000, '['));
  EXPECT_THAT(message("folder"), HasSubstr("no manifest"));
  put(at("folder/Manifest.json"), "[]");
  EXPECT_THAT(message("folder"), HasSubstr("no root model"));
  put(at("folder/Manifest.json"),
      R"({"itemInfoEntries":{"a":{"path":"../../x"}},"rootModelIdentifier":"a"})");
  EXPECT_THAT(message("folder"), HasSubstr("not inside the package"));
  put(at("folder/Manifest.json"), makeManifest());
  EXPECT_THAT(message("folder"), HasSubstr("cannot open"));

  llvm::cantFail(writePackage(*twoFunctions(), at("p")));
  std::string whole = get(model("p"));
  // A neural network (field 500), a future version, an escape from the package.
  put(model("p"), std::string("\x08\x04\xA2\x1F\x02\x08\x01", 7));
  EXPECT_THAT(message("p"), HasSubstr("another kind of model (field 500"));
  std::string future = whole;
  future[1] = 11;
  put(model("p"), future);
  EXPECT_THAT(message("p"), HasSubstr("specification version is 11"));
  std::string escape = whole;
  size_t reference = escape.find("@model_path/weights/weight.bin");
  ASSERT_NE(reference, std::string::npos);
  escape.replace(reference, 30, "@model_path/weights/../../x.bi");
  put(model("p"), escape);
  EXPECT_THAT(message("p"), HasSubstr("no path inside the package"));
}

// The description is of the interface that the function has.
TEST_F(PackageTest, DescriptionsThatDoNotFit) {
  Program program;
  addLinear(program, "main", 1, 2);
  llvm::cantFail(writePackage(program, at("p")));
  const std::string whole = get(model("p"));
  auto message = [&](llvm::StringRef from, llvm::StringRef to) {
    // The description comes first, so that the first match is in it.
    std::string changed = whole;
    size_t place = changed.find(from);
    EXPECT_NE(place, std::string::npos);
    changed.replace(place, from.size(), to);
    put(model("p"), changed);
    return llvm::toString(readPackage(at("p")).takeError());
  };
  const llvm::StringRef x("\x0a\x01x", 3), r("\x0a\x01r", 3), shape("\x0a\x02\x01\x20", 4),
      half("\x10\x90\x80\x04", 4);
  EXPECT_THAT(message(x, llvm::StringRef("\x0a\x01z", 3)),
              HasSubstr("the description has no input 'x'"));
  EXPECT_THAT(message(r, llvm::StringRef("\x0a\x01q", 3)),
              HasSubstr("the description has no output 'r'"));
  EXPECT_THAT(
      message(shape, llvm::StringRef("\x0a\x02\x01\x21", 4)),
      HasSubstr("gives input 'x' the shape [1, 33]; in the program it is tensor<fp16, [1, 32]>"));
  EXPECT_THAT(message(half, llvm::StringRef("\x10\xA0\x80\x04", 4)),
              HasSubstr("gives input 'x' another element type than fp16"));
}

// What another field than that of the element type holds is not read: Core ML reads one.
TEST_F(PackageTest, ConstantsStandInTheFieldOfTheirType) {
  Program program;
  Function &function = addLinear(program, "main", 1, 2);
  Builder b(function.body());
  b.constant(TensorData::ints({7, 7, 7}), "numbers");
  llvm::cantFail(writePackage(program, at("p")));
  std::string whole = get(model("p"));
  // ints { values: 7 7 7 } becomes longInts { values: 7 7 7 }.
  const llvm::StringRef ints("\x12\x05\x0a\x03\x07\x07\x07", 7);
  size_t place = whole.find(ints);
  ASSERT_NE(place, std::string::npos);
  whole[place] = 0x2a;
  put(model("p"), whole);
  EXPECT_THAT(llvm::toString(readPackage(at("p")).takeError()),
              HasSubstr("a constant of int32 is stored as another type"));
}

TEST_F(PackageTest, TruncationAtEveryByteIsAnError) {
  llvm::cantFail(writePackage(*twoFunctions(), at("p")));
  std::string whole = get(model("p"));
  for (size_t size = 0; size < whole.size(); ++size) {
    put(model("p"), llvm::StringRef(whole).take_front(size));
    auto back = readPackage(at("p"));
    EXPECT_FALSE(back) << "cut to " << size << " bytes";
    llvm::consumeError(back.takeError());
  }
}

TEST_F(PackageTest, FlippedBitsNeverCrash) {
  llvm::cantFail(writePackage(*twoFunctions(), at("p")));
  std::string whole = get(model("p"));
  unsigned noticed = 0;
  for (size_t i = 0; i < whole.size(); ++i) {
    std::string damaged = whole;
    damaged[i] = char(damaged[i] ^ (1 << (i % 8)));
    put(model("p"), damaged);
    if (auto summary = inspectPackage(at("p")); !summary) {
      ++noticed;
      llvm::consumeError(summary.takeError());
    }
  }
  EXPECT_GT(noticed, whole.size() / 4);
}

TEST_F(PackageTest, WhatIsKeptOfADescriptionAndDamagedIsAnError) {
  auto message = [&](auto change) {
    Program program;
    change(addLinear(program, "main", 1, 2));
    return llvm::toString(writePackage(program, at("p.mlpackage")));
  };
  std::string damaged = "\x0f\xff";
  EXPECT_THAT(message([&](Function &function) {
                function.inputInfo.resize(1);
                function.inputInfo[0].feature = damaged;
              }),
              HasSubstr("input 'x': what it keeps of its package's description is damaged"));
  EXPECT_THAT(message([&](Function &function) {
                function.outputInfo.resize(1);
                function.outputInfo[0].feature = damaged;
              }),
              HasSubstr("output 'r': what it keeps of its package's description is damaged"));
  EXPECT_THAT(message([&](Function &function) {
                function.inputInfo.resize(1);
                function.inputInfo[0].image = PixelFormat::RGB;
              }),
              HasSubstr("and cannot be a rgb image"));
  EXPECT_THAT(list(), ElementsAre());
}

TEST_F(PackageTest, ItemsOfAPackageStayInsideOfIt) {
  llvm::cantFail(writePackage(*twoFunctions(), at("p.mlpackage")));
  std::string data = at("p.mlpackage/Data"), outside = at("outside");
  ASSERT_FALSE(makeFolder(outside));
  ASSERT_FALSE(makeFolders(data + "/real"));
  put(data + "/real/file", "content");
  auto declare = [&](const std::vector<const char *> &paths) {
    llvm::json::Object items;
    for (auto [index, path] : llvm::enumerate(paths))
      items[std::to_string(index)] = llvm::json::Object{{"path", path}};
    put(at("p.mlpackage/Manifest.json"), makeManifest(std::move(items)));
  };
  WriteOptions options;
  options.keepOtherItems = true;
  auto rewrite = [&] {
    return llvm::toString(writePackage(*twoFunctions(), at("p.mlpackage"), options));
  };
  // An item that is a link, and one that claims to lie behind it.
  ASSERT_FALSE(fs::create_link(outside, data + "/a"));
  put(outside + "/b", "content");
  declare({"a", "a/b"});
  EXPECT_THAT(rewrite(), HasSubstr("is a link"));
  // What has no end is not read.
  ASSERT_EQ(::mkfifo((data + "/pipe").c_str(), 0600), 0);
  declare({"pipe"});
  EXPECT_THAT(rewrite(), HasSubstr("neither a file, a folder nor a link"));
  declare({"real"});
  EXPECT_EQ(rewrite(), "");
  EXPECT_EQ(get(data + "/real/file"), "content");
}

} // namespace
