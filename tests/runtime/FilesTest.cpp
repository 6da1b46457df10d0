// .npy files, comparisons, random inputs and verification: what needs no LibTorch to be asked.
#include "mil/Builder.h"
#include "runtime/Verify.h"
#include "runtime/arrays/Npy.h"

#include "llvm/Support/FileSystem.h"
#include "llvm/Support/MemoryBuffer.h"
#include <cmath>
#include <fstream>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace plait::runtime {

using namespace mil;
using testing::HasSubstr;
using Numbers = std::vector<double>;

namespace {

struct TempFile {
  llvm::SmallString<128> path;
  TempFile() { EXPECT_FALSE(llvm::sys::fs::createTemporaryFile("plait", "npy", path)); }
  ~TempFile() { llvm::sys::fs::remove(path); }
  void write(const std::string &text) { std::ofstream(path.c_str(), std::ios::binary) << text; }
};

std::string npy(const std::string &header, const std::string &data, char major = 1) {
  std::string text = "\x93NUMPY";
  text += major;
  text += '\0';
  text += char(header.size());
  text += '\0';
  if (major > 1)
    text += std::string(2, '\0');
  return text + header + data;
}

std::string readError(const std::string &contents) {
  TempFile file;
  file.write(contents);
  auto tensor = readNpy(file.path);
  if (tensor) {
    ADD_FAILURE() << "an error was expected";
    return "";
  }
  return llvm::toString(tensor.takeError());
}

} // namespace

TEST(Npy, EveryElementTypeComesBack) {
  for (DType dtype : {DType::F16, DType::F32, DType::F64, DType::Bool, DType::I8, DType::I16,
                      DType::I32, DType::I64, DType::U8, DType::U16, DType::U32, DType::U64})
    for (std::vector<int64_t> shape : {std::vector<int64_t>{}, {4}, {2, 2}, {1, 2, 1, 2}, {0, 3}}) {
      std::vector<double> values(mil::numElements(shape));
      for (size_t i = 0; i < values.size(); ++i)
        values[i] = double(i % 2);
      auto bytes =
          llvm::cantFail(TensorData::from<double>(DType::F64, shape, values).cast(dtype).bytes());
      TensorData tensor = TensorData::fromBytes(dtype, shape, bytes);
      TempFile file;
      ASSERT_FALSE(bool(writeNpy(file.path, tensor)));
      auto back = llvm::cantFail(readNpy(file.path));
      EXPECT_EQ(back.type(), tensor.type());
      EXPECT_EQ(llvm::cantFail(back.floatValues()), values);
    }
}

TEST(Npy, DataIsAlignedAndTheHeaderIsNumPys) {
  TempFile file;
  ASSERT_FALSE(bool(writeNpy(file.path, TensorData::from<float>(DType::F32, {1, 2}, {1, 2}))));
  auto buffer = llvm::MemoryBuffer::getFile(file.path);
  ASSERT_TRUE(bool(buffer));
  llvm::StringRef text = (*buffer)->getBuffer();
  EXPECT_EQ(text.size() % 64, 8u);
  EXPECT_TRUE(text.contains("{'descr': '<f4', 'fortran_order': False, 'shape': (1, 2), }"));
  EXPECT_EQ(text[text.size() - 9], '\n');
}

TEST(Npy, OtherSpellingsOfTheHeader) {
  TempFile file;
  std::string data(8, '\0');
  for (const char *header : {"{\"shape\":(2,),\"fortran_order\":False,\"descr\":\"<f4\"}\n",
                             "{'descr': '<f4', 'fortran_order': True, 'shape': (2,)}   \n"})
    for (char version : {1, 2, 3}) {
      file.write(npy(header, data, version));
      auto tensor = readNpy(file.path);
      ASSERT_TRUE(bool(tensor)) << llvm::toString(tensor.takeError());
      EXPECT_EQ(tensor->type().str(), "tensor<fp32, [2]>");
    }
}

TEST(Npy, BadFilesAreRefusedByName) {
  std::string f4 = "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }\n", data(8, '\0');
  EXPECT_THAT(readError(""), HasSubstr("no .npy file"));
  EXPECT_THAT(readError("PK\x03\x04 a zip archive"), HasSubstr("no .npy file"));
  EXPECT_THAT(readError(npy(f4, data, 4)), HasSubstr("version 4.0"));
  EXPECT_THAT(readError(npy(f4, data).substr(0, 30)), HasSubstr("cut off in the header"));
  EXPECT_THAT(readError(npy(f4, data).substr(0, 9)), HasSubstr("cut off in the header"));
  EXPECT_THAT(readError(npy(f4, data.substr(1))), HasSubstr("7 bytes of data"));
  EXPECT_THAT(readError(npy(f4, data + "x")), HasSubstr("9 bytes of data"));
  EXPECT_THAT(readError(npy("{'descr': '>f4', 'fortran_order': False, 'shape': (2,)}", data)),
              HasSubstr("element type '>f4'"));
  for (const char *type : {"|O", "<U3", "|S4", "|V8", "<M8[ns]", "<f16", "=f4"})
    EXPECT_THAT(
        readError(npy(
            std::string("{'descr': '") + type + "', 'fortran_order': False, 'shape': (2,)}", data)),
        HasSubstr(std::string("element type '") + type + "'"));
  EXPECT_THAT(readError(npy("{'descr': '<c8', 'fortran_order': False, 'shape': (1,)}", data)),
              HasSubstr("element type '<c8'"));
  EXPECT_THAT(
      readError(npy("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (2,)}", data)),
      HasSubstr("records"));
  EXPECT_THAT(readError(npy("{'descr': '<f4', 'fortran_order': False}", data)),
              HasSubstr("lacks 'shape'"));
  EXPECT_THAT(readError(npy("{'descr': '<f4', 'fortran_order': False, 'shape': (-2,)}", data)),
              HasSubstr("a size expected"));
  EXPECT_THAT(
      readError(npy("{'descr': '<f4', 'fortran_order': False, 'shape': (2,), 'x': 1}", data)),
      HasSubstr("the header has 'x'"));
  EXPECT_THAT(
      readError(
          npy("{'descr': '<f4', 'fortran_order': False, 'shape': (4611686018427387904, 4)}", data)),
      HasSubstr("too many"));
  EXPECT_THAT(readError(npy("['descr']", data)), HasSubstr("'{' expected"));
  EXPECT_THAT(llvm::toString(readNpy("/nowhere/x.npy").takeError()), HasSubstr("/nowhere/x.npy"));
}

TEST(Npy, RefusesTypesThatNumPyLacks) {
  TempFile file;
  Error error = writeNpy(file.path, TensorData::fromBytes(DType::BF16, {1}, {0, 0}));
  EXPECT_THAT(llvm::toString(std::move(error)), HasSubstr("NumPy has no element type for bf16"));
}

static TensorData tensor(std::vector<float> values) {
  return TensorData::from<float>(DType::F32, {int64_t(values.size())}, values);
}

TEST(Compare, MeasuresErrors) {
  Comparison c = llvm::cantFail(compare(tensor({1, 2.5, -4}), tensor({1, 2, -4})));
  EXPECT_DOUBLE_EQ(c.maxAbsolute, 0.5);
  EXPECT_DOUBLE_EQ(c.maxRelative, 0.25);
  EXPECT_DOUBLE_EQ(c.peak, 4);
  EXPECT_EQ(c.worst, 1);
  EXPECT_NEAR(c.snr, 10 * std::log10(21 / 0.25), 1e-9);
  EXPECT_NEAR(c.cosine, 22 / std::sqrt(21.0 * 23.25), 1e-12);
  EXPECT_TRUE((Tolerance{0.1, 0.1}.accepts(c)));
  EXPECT_FALSE((Tolerance{0.05, 0.1}.accepts(c)));
}

TEST(Compare, EqualTensorsAndZeros) {
  Comparison same = llvm::cantFail(compare(tensor({1, 2}), tensor({1, 2})));
  EXPECT_EQ(same.maxAbsolute, 0);
  EXPECT_EQ(same.snr, INFINITY);
  EXPECT_DOUBLE_EQ(same.cosine, 1);
  Comparison zeros = llvm::cantFail(compare(tensor({0, 1}), tensor({0, 0})));
  EXPECT_EQ(zeros.snr, -INFINITY);
  EXPECT_EQ(zeros.cosine, 0);
  EXPECT_EQ(llvm::cantFail(compare(tensor({}), tensor({}))).elements, 0);
}

TEST(Compare, NonFiniteMustBeTheSame) {
  Comparison same = llvm::cantFail(compare(tensor({NAN, INFINITY, 1}), tensor({NAN, INFINITY, 1})));
  EXPECT_EQ(same.nonFinite, 0);
  EXPECT_TRUE(Tolerance().accepts(same));
  Comparison other = llvm::cantFail(compare(tensor({1, -INFINITY, NAN}), tensor({1, INFINITY, 2})));
  EXPECT_EQ(other.nonFinite, 2);
  EXPECT_EQ(other.worst, 1);
  EXPECT_FALSE((Tolerance{1e9, 1e9}.accepts(other)));
  EXPECT_THAT(describe(other), HasSubstr("2 of 3 elements NaN or infinite"));
  Comparison all = llvm::cantFail(compare(tensor({NAN, INFINITY}), tensor({1, 2})));
  EXPECT_EQ(describe(all), "all 2 elements NaN or infinite on one side");
}

TEST(Compare, TypesMayDifferShapesNot) {
  TensorData halves = tensor({1, 2}).cast(DType::F16);
  EXPECT_EQ(llvm::cantFail(compare(halves, tensor({1, 2}))).maxAbsolute, 0);
  auto error = compare(tensor({1, 2}), tensor({1, 2, 3}));
  ASSERT_FALSE(bool(error));
  EXPECT_THAT(llvm::toString(error.takeError()), HasSubstr("shapes differ"));
}

namespace {
struct Net {
  Program program;
  Function *function = program.addFunction("main");
  Builder b{function->body()};
};
} // namespace

TEST(RandomInputs, IntegersStayWithinTheGathersTheyReach) {
  Net n;
  Value *ids = n.function->addInput(Type::tensor(DType::I32, {Dim(64)}), "ids");
  Value *other = n.function->addInput(Type::tensor(DType::I32, {Dim(64)}), "mask");
  Value *table = n.b.constant(TensorData::splat(DType::F32, {100, 2}, 1));
  Value *shifted = n.b.emit(OpKind::add, {{add::x, ids}, {add::y, 2}});
  Value *shaped = n.b.emit(OpKind::reshape, {{reshape::x, shifted}, {reshape::shape, {8, 8}}});
  Value *rows = n.b.emit(OpKind::gather, {{gather::x, table}, {gather::indices, shaped}});
  Value *mask = n.b.emit(OpKind::cast, {{cast::x, other}, {cast::dtype, "fp32"}});
  n.function->body().setOutputs({rows, mask});
  auto bounds = indexBounds(*ids);
  ASSERT_TRUE(bounds);
  EXPECT_EQ(bounds->low, 0);
  EXPECT_EQ(bounds->high, 97);
  EXPECT_FALSE(indexBounds(*other));
  auto inputs = llvm::cantFail(randomInputs(*n.function, 1));
  auto values = llvm::cantFail(inputs[0].value.intValues());
  EXPECT_GE(*std::min_element(values.begin(), values.end()), 0);
  EXPECT_LE(*std::max_element(values.begin(), values.end()), 97);
  EXPECT_GT(*std::max_element(values.begin(), values.end()), 50);
  auto flags = llvm::cantFail(inputs[1].value.intValues());
  EXPECT_EQ(*std::max_element(flags.begin(), flags.end()), 1);
  EXPECT_TRUE(bool(Runner::create(*n.function)->run(inputs)));

  llvm::StringMap<Range> ranges;
  ranges["mask"] = {7, 7};
  auto given = llvm::cantFail(randomInputs(*n.function, 1, ranges));
  EXPECT_EQ(llvm::cantFail(given[1].value.intValues())[5], 7);
  ranges["nothing"] = {0, 1};
  EXPECT_THAT(llvm::toString(randomInputs(*n.function, 1, ranges).takeError()),
              HasSubstr("no input"));
}

TEST(RandomInputs, LaterDrawsTakeOtherSizes) {
  Net n;
  for (const char *name : {"x", "y"})
    n.function->addInput(
        Type::tensor(DType::F32, {Dim::symbol(name, 3, 9), Dim::symbol("m"), Dim(2)}), name);
  auto shapes = [&](unsigned draw) {
    std::vector<std::vector<int64_t>> all;
    for (const NamedTensor &input : llvm::cantFail(randomInputs(*n.function, 1, {}, draw)))
      all.push_back(input.value.shape().vec());
    EXPECT_EQ(all[0], all[1]);
    return all[0];
  };
  EXPECT_EQ(shapes(0), (std::vector<int64_t>{3, 1, 2}));
  EXPECT_EQ(shapes(1), (std::vector<int64_t>{8, 6, 2}));
  EXPECT_EQ(shapes(2), (std::vector<int64_t>{9, 11, 2}));
}

TEST(RandomInputs, AreTheSameForASeed) {
  Net n;
  Value *x = n.function->addInput(Type::tensor(DType::F16, {Dim::symbol("n", 3), Dim(500)}), "x");
  n.function->body().setOutputs({n.b.emit(OpKind::relu, {{relu::x, x}})});
  auto draw = [&](uint64_t seed) {
    return llvm::cantFail(llvm::cantFail(randomInputs(*n.function, seed))[0].value.floatValues());
  };
  Numbers a = draw(1);
  EXPECT_EQ(a.size(), 1500u);
  EXPECT_EQ(a, draw(1));
  EXPECT_NE(a, draw(2));
  double sum = 0, squares = 0;
  for (double v : a) {
    sum += v;
    squares += v * v;
  }
  EXPECT_NEAR(sum / 1500, 0, 0.1);
  EXPECT_NEAR(squares / 1500, 1, 0.15);
}

namespace {
/// A model that multiplies eight numbers by a factor, and keeps nothing.
class Scaled final : public Reference::Impl {
public:
  explicit Scaled(double factor) : factor_(factor) {}
  Expected<std::vector<TensorData>> call(llvm::ArrayRef<NamedTensor> inputs) override {
    std::vector<float> values;
    for (double v : llvm::cantFail(inputs[0].value.floatValues()))
      values.push_back(float(v * factor_));
    return std::vector<TensorData>{TensorData::from<float>(DType::F32, {8}, values)};
  }
  void reset() override {}
  void undo() override {}
  Expected<std::optional<TensorData>> attribute(llvm::StringRef) override { return std::nullopt; }

private:
  double factor_;
};
} // namespace

TEST(Verify, PassesAndFailsByTheTolerance) {
  Net n;
  Value *x = n.function->addInput(Type::tensor(DType::F32, {Dim(8)}), "x");
  n.function->body().setOutputs({n.b.emit(OpKind::mul, {{mul::x, x}, {mul::y, 2.0}})});
  auto scaled = [](double factor) { return Reference(std::make_shared<Scaled>(factor)); };
  VerifyOptions options;
  options.draws = 3;
  auto good = llvm::cantFail(verifyFunction(*n.function, scaled(2), options));
  EXPECT_TRUE(good.passed);
  EXPECT_EQ(good.draws, 3u);
  ASSERT_EQ(good.outputs.size(), 1u);
  EXPECT_EQ(good.outputs[0].comparison.maxAbsolute, 0);
  auto bad = llvm::cantFail(verifyFunction(*n.function, scaled(2.01), options));
  EXPECT_FALSE(bad.passed);
  EXPECT_FALSE(bad.outputs[0].passed());
  options.relative = 0.01;
  EXPECT_TRUE(llvm::cantFail(verifyFunction(*n.function, scaled(2.01), options)).passed);
  options.inputs = {{"y", tensor({1})}};
  EXPECT_THAT(llvm::toString(verifyFunction(*n.function, scaled(2), options).takeError()),
              HasSubstr("no input 'y'"));
}

TEST(Verify, FindsWhereHalfPrecisionOverflows) {
  Net n;
  Value *x = n.function->addInput(Type::tensor(DType::F16, {Dim(2)}), "x");
  Value *a = n.b.emit(OpKind::mul, {{mul::x, x}, {mul::y, 8.0}}, "small");
  n.b.setLocation(mil::Location("block.scores", "model.py:7", "aten::mul"));
  Value *b = n.b.emit(OpKind::mul, {{mul::x, a}, {mul::y, 60000.0}}, "large");
  n.b.setLocation({});
  n.function->body().setOutputs({n.b.emit(OpKind::softsign, {{softsign::x, b}})});
  std::vector<NamedTensor> inputs{{"x", tensor({1, -2}).cast(DType::F16)}};
  auto found = llvm::cantFail(bisect(*n.function, inputs, {1e-3, 1e-2}, Compute::Float32, nullptr));
  ASSERT_TRUE(found.rounding);
  ASSERT_TRUE(found.overflow);
  EXPECT_FALSE(found.departure);
  EXPECT_EQ(found.overflow->value, b->name);
  EXPECT_EQ(found.overflow->place, "aten::mul in module 'block.scores' at model.py:7");
  EXPECT_EQ(found.overflowed, 2);
  EXPECT_NEAR(found.magnitude, 960000, 1000);
}

TEST(Verify, FindsWhereNaNBegins) {
  Net n;
  Value *x = n.function->addInput(Type::tensor(DType::F32, {Dim(2)}), "x");
  Value *a = n.b.emit(OpKind::mul, {{mul::x, x}, {mul::y, 2.0}}, "double");
  Value *b = n.b.emit(OpKind::sqrt, {{mil::sqrt::x, a}}, "root");
  n.function->body().setOutputs({n.b.emit(OpKind::add, {{add::x, b}, {add::y, a}})});
  std::vector<NamedTensor> inputs{{"x", tensor({1, -2})}};
  auto found = llvm::cantFail(bisect(*n.function, inputs, {1e-5, 1e-4}, Compute::Float32, nullptr));
  ASSERT_TRUE(found.nonFinite);
  EXPECT_FALSE(found.overflow);
  EXPECT_FALSE(found.rounding);
  EXPECT_EQ(found.nonFinite->value, b->name);
}

TEST(Verify, FindsTheFirstOperationThatLeavesTheModel) {
  Net n;
  Value *x = n.function->addInput(Type::tensor(DType::F32, {Dim(3)}), "x");
  Value *a = n.b.emit(OpKind::mul, {{mul::x, x}, {mul::y, 2.0}}, "double");
  Value *b = n.b.emit(OpKind::add, {{add::x, a}, {add::y, 1.5}}, "wrong");
  n.function->body().setOutputs({n.b.emit(OpKind::tanh, {{mil::tanh::x, b}})});
  std::vector<NamedTensor> inputs{{"x", tensor({1, 2, 3})}};
  // The model adds 1; its first step is computed and fused away.
  auto tracer = [](llvm::ArrayRef<NamedTensor>) -> Expected<std::vector<ReferenceStep>> {
    std::vector<ReferenceStep> steps;
    steps.push_back({"aten::neg", "first", "m.py:1", tensor({-1, -2, -3}), {}, false});
    steps.push_back({"aten::mul", "first", "m.py:2", tensor({2, 4, 6}), {0}, false});
    steps.push_back({"aten::add", "second", "m.py:3", tensor({3, 5, 7}), {1}, false});
    steps.push_back({"aten::tanh",
                     "second",
                     "m.py:4",
                     tensor({std::tanh(3.f), std::tanh(5.f), std::tanh(7.f)}),
                     {2},
                     true});
    return steps;
  };
  auto found = llvm::cantFail(bisect(*n.function, inputs, {1e-5, 1e-4}, Compute::Float32, tracer));
  EXPECT_TRUE(found.traced);
  ASSERT_TRUE(found.departure);
  EXPECT_EQ(found.departure->value, b->name);
  EXPECT_EQ(found.departure->place, "aten::add in module 'second' at m.py:3");
  ASSERT_TRUE(found.departure->comparison);
  EXPECT_NEAR(found.departure->comparison->maxAbsolute, 0.5, 1e-6);
  EXPECT_THAT(describe(found)[0], HasSubstr("leaves the model at add"));

  auto failing = [](llvm::ArrayRef<NamedTensor>) -> Expected<std::vector<ReferenceStep>> {
    return makeError(Code::Internal, "no luck");
  };
  auto alone = llvm::cantFail(bisect(*n.function, inputs, {1e-5, 1e-4}, Compute::Float32, failing));
  EXPECT_FALSE(alone.traced);
  EXPECT_THAT(describe(alone)[0], HasSubstr("no luck"));
}

} // namespace plait::runtime
