// What golden files cannot hold: names that do not parse, weights that must not be read, an
// evaluator, lists of passes, warnings.
#include "mil/Builder.h"
#include "mil/IdentityMatrix.h"
#include "mil/Verifier.h"
#include "passes/Pipeline.h"
#include "passes/Sharing.h"

#include <gmock/gmock.h>
#include <sys/mman.h>

namespace plait::passes {
namespace {

using namespace mil;
using testing::ElementsAre;
using testing::HasSubstr;

constexpr int64_t kWidth = 512;

/// Bytes that cannot be read: any look at a weight ends the test.
std::shared_ptr<const Storage> unreadable(size_t size, uint32_t crc) {
  void *memory = mmap(nullptr, size, PROT_NONE, MAP_PRIVATE | MAP_ANON, -1, 0);
  EXPECT_NE(memory, MAP_FAILED);
  auto storage = std::make_shared<Storage>();
  storage->bytes = {static_cast<const uint8_t *>(memory), size};
  storage->owner = std::shared_ptr<const void>(memory, [=](void *p) { munmap(p, size); });
  storage->crc = crc;
  storage->release = [](size_t, size_t) {};
  return storage;
}

TensorData weight(llvm::ArrayRef<int64_t> shape, uint32_t crc) {
  return TensorData::view(unreadable(mil::numElements(shape) * sizeof(float), crc), 0, DType::F32,
                          shape);
}

/// y = linear(x, W) + 0.5 * linear(linear(x, A), B), followed by a factor per channel.
void addAdapter(Program &program, llvm::StringRef name, uint32_t w, uint32_t a, uint32_t b) {
  Function *function = program.addFunction(name);
  Value *x = function->addInput(Type::tensor(DType::F32, {Dim(1), Dim(kWidth)}), "x");
  Builder builder(function->body());
  auto layer = [&](Value *in, llvm::ArrayRef<int64_t> shape, uint32_t crc) {
    return builder.emit(
        OpKind::linear,
        {{linear::x, in}, {linear::weight, builder.constant(weight(shape, crc), "w")}}, "layer");
  };
  Value *base = layer(x, {kWidth, kWidth}, w);
  Value *branch = layer(layer(x, {64, kWidth}, a), {kWidth, 64}, b);
  Value *scaled = builder.emit(OpKind::mul, {{mul::x, branch}, {mul::y, 0.5}});
  Value *sum = builder.emit(OpKind::add, {{add::x, base}, {add::y, scaled}}, "y");
  function->body().setOutputs({sum});
  ASSERT_FALSE(builder.failed()) << llvm::toString(builder.takeError());
}

std::vector<std::string> kinds(const Function &function) {
  std::vector<std::string> names;
  for (const Op &op : function.body())
    if (!op.is(OpKind::const_))
      names.push_back(op.info().name);
  return names;
}

TEST(Pipeline, WeightsAreNeverRead) {
  Program program;
  addAdapter(program, "one", 1, 2, 3);
  addAdapter(program, "two", 1, 4, 5);
  PassContext context;
  ASSERT_FALSE(runPipeline(program, context));
  for (const auto &function : program.functions()) {
    EXPECT_THAT(kinds(*function), ElementsAre("cast", "linear", "linear", "linear", "add", "cast"));
    ASSERT_FALSE(verify(*function));
  }
  // The bases are equal still, by what the files state; B carries the scale.
  ContentKeys keys(Precision::F16);
  auto weightOf = [&](llvm::StringRef name, unsigned index) {
    for (const Op &op : program.function(name)->body())
      if (op.is(OpKind::linear) && index-- == 0)
        return *constTensor(op[linear::weight]);
    return TensorData();
  };
  EXPECT_EQ(keys(weightOf("one", 0)), keys(weightOf("two", 0)));
  EXPECT_NE(keys(weightOf("one", 1)), keys(weightOf("two", 1)));
  EXPECT_EQ(weightOf("one", 2).kind(), TensorData::Kind::Cast);
  EXPECT_EQ(weightOf("one", 2).node().inputs[0].kind(), TensorData::Kind::Scale);
}

TEST(Pipeline, FoldingDoesNotReadWeightsEither) {
  Program program;
  addAdapter(program, "one", 1, 2, 3);
  addAdapter(program, "two", 1, 4, 5);
  PassContext context;
  context.options.loraOf["two"] = LoraMode::Fold;
  context.options.precision = Precision::F32;
  ASSERT_FALSE(runPipeline(program, context));
  EXPECT_THAT(kinds(*program.function("one")), ElementsAre("linear", "linear", "linear", "add"));
  EXPECT_THAT(kinds(*program.function("two")), ElementsAre("linear"));
}

/// A storage that is read at a price, as a mapped file is.
TensorData mapped(llvm::ArrayRef<int64_t> shape, float value) {
  std::vector<float> values(mil::numElements(shape), 0);
  values.back() = value;
  TensorData tensor = TensorData::from<float>(DType::F32, shape, values);
  auto storage = std::make_shared<Storage>(*tensor.node().storage);
  storage->owner = tensor.node().storage;
  storage->release = [](size_t, size_t) {};
  return TensorData::view(storage, 0, DType::F32, shape);
}

TEST(ToHalf, MasksInFilesStayFiniteWithScores) {
  constexpr int64_t side = 256; // more than what is always read
  Program program;
  Function *function = program.addFunction("main");
  Type type = Type::tensor(DType::F16, {Dim(side), Dim(side)});
  Value *x = function->addInput(type, "x"), *far = function->addInput(type, "far");
  Builder builder(function->body());
  auto sum = [&](Value *in, const char *name) {
    Value *wide = builder.emit(OpKind::cast, {{cast::x, in}, {cast::dtype, "fp32"}});
    Value *table = builder.constant(mapped({side, side}, -3.4e38f), name);
    return builder.emit(OpKind::add, {{add::x, wide}, {add::y, table}});
  };
  Value *scores =
      builder.emit(OpKind::softmax, {{softmax::x, sum(x, "mask")}, {softmax::axis, int64_t(-1)}});
  function->body().setOutputs({scores, sum(far, "table")});
  ASSERT_FALSE(builder.failed()) << llvm::toString(builder.takeError());
  PassContext context;
  std::vector<std::string> warnings;
  context.warn = [&](const Warning &warning) { warnings.push_back(warning.text); };
  ASSERT_TRUE(toHalf(program, context));
  std::vector<double> last;
  for (const Op &op : function->body())
    if (op.is(OpKind::add))
      last.push_back(llvm::cantFail(constTensor(op[add::y])->floatValues()).back());
  EXPECT_THAT(last, ElementsAre(-30000, -std::numeric_limits<double>::infinity()))
      << "what no softmax takes is the writer's to saturate";
  EXPECT_TRUE(warnings.empty());
}

TEST(Sharing, KeysFollowContentAcrossFiles) {
  ContentKeys keys(Precision::F16);
  TensorData a = weight({64, 64}, 7), b = weight({64, 64}, 7), c = weight({64, 64}, 8);
  EXPECT_EQ(keys(a), keys(b));
  EXPECT_NE(keys(a), keys(c));
  EXPECT_NE(keys(a), keys(b.permute({1, 0})));
  EXPECT_EQ(keys(a.cast(DType::F16)), keys(b.cast(DType::F16)));
  EXPECT_NE(keys(a.scale(2)), keys(b.scale(3)));
  // Rounded to half, which nothing can tell in an fp16 package.
  EXPECT_EQ(keys(a), keys(b.cast(DType::F16).cast(DType::F32)));
  EXPECT_NE(keys(a), keys(c.cast(DType::F16).cast(DType::F32)));
  ContentKeys wide(Precision::F32);
  EXPECT_EQ(wide(a), wide(b));
  EXPECT_NE(wide(a), wide(b.cast(DType::F16).cast(DType::F32)));
}

TEST(LegalizeNames, IllegalAndTakenNamesChange) {
  Program program;
  Function *function = program.addFunction("main");
  Value *x = function->addInput(Type::tensor(DType::F16, {Dim(2)}), "input.1");
  Builder builder(function->body());
  Value *a = builder.emit(OpKind::relu, {{relu::x, x}});
  Value *b = builder.emit(OpKind::tanh, {{mil::tanh::x, a}});
  Value *c = builder.emit(OpKind::sigmoid, {{sigmoid::x, b}});
  a->name = "layer.0";
  b->name = "bool";
  c->name = "layer_0";
  b->def()->name = c->def()->name = "same";
  function->body().setOutputs({c});
  std::vector<std::string> warnings;
  PassContext context;
  context.warn = [&](const Warning &warning) { warnings.push_back(warning.text); };
  EXPECT_TRUE(legalizeNames(program, context));
  EXPECT_EQ(x->name, "input_1");
  EXPECT_EQ(c->name, "layer_0") << "an output chooses before what is inside";
  EXPECT_NE(a->name, "layer_0");
  EXPECT_TRUE(isLegalName(a->name));
  EXPECT_TRUE(isLegalName(b->name));
  EXPECT_NE(b->def()->name, c->def()->name);
  EXPECT_THAT(warnings, ElementsAre(HasSubstr("input 'input.1' is named 'input_1'")));
  EXPECT_FALSE(verify(program));
  EXPECT_FALSE(legalizeNames(program, context));
}

/// Adds vectors, and multiplies [n, k] by [k, m].
class SmallEvaluator : public Evaluator {
public:
  Expected<std::vector<TensorData>> evaluate(OpKind kind,
                                             llvm::ArrayRef<std::vector<Attr>> operands,
                                             llvm::ArrayRef<Type> types) override {
    ++calls;
    auto x = operands[0][0].tensor()->floatValues(this),
         y = operands[1][0].tensor()->floatValues(this);
    auto shape = *constShape(types[0].shape());
    std::vector<float> out(mil::numElements(llvm::ArrayRef<int64_t>(shape)));
    if (kind == OpKind::matmul)
      for (int64_t i = 0, inner = x->size() / shape[0]; i < int64_t(out.size()); ++i)
        for (int64_t k = 0; k < inner; ++k)
          out[i] += (*x)[i / shape[1] * inner + k] * (*y)[k * shape[1] + i % shape[1]];
    else if (kind == OpKind::add)
      for (size_t i = 0; i < out.size(); ++i)
        out[i] = (*x)[i] + (*y)[i % y->size()];
    else
      return makeError(Code::Internal, "only add and matmul here");
    return std::vector{TensorData::from<float>(DType::F32, shape, out)};
  }
  int calls = 0;
};

struct ConstantProgram {
  Program program;
  Builder builder;
  Value *x;

  explicit ConstantProgram(int64_t size)
      : builder(program.addFunction("main")->body()),
        x(builder.function().addInput(Type::tensor(DType::F32, {Dim(size)}), "x")) {}
  void finish(Value *constant) {
    builder.function().body().setOutputs(
        {builder.emit(OpKind::mul, {{mul::x, x}, {mul::y, constant}}, "y")});
    EXPECT_FALSE(builder.failed());
  }
  Op &last() { return builder.function().body().back(); }
};

TEST(FoldConstants, SmallResultsAreComputed) {
  ConstantProgram p(2);
  Value *w = p.builder.constant(TensorData::from<float>(DType::F32, {2}, {1, 2}));
  p.finish(p.builder.emit(OpKind::add, {{add::x, w}, {add::y, w}}));
  SmallEvaluator evaluator;
  PassContext context{&evaluator, {}, {}};
  EXPECT_TRUE(foldConstants(p.program, context));
  EXPECT_THAT(*constTensor(p.last()[mul::y])->floatValues(), ElementsAre(2, 4));
  EXPECT_FALSE(foldConstants(p.program, context));
}

TEST(FoldConstants, WhatCannotBeComputedStays) {
  ConstantProgram p(2);
  Value *w = p.builder.constant(TensorData::from<float>(DType::F32, {2}, {1, 2}));
  p.finish(p.builder.emit(OpKind::exp, {{mil::exp::x, w}}));
  PassContext context;
  EXPECT_FALSE(foldConstants(p.program, context));
}

TEST(FoldConstants, LargeResultsAreLazyUnlessTheyGrow) {
  SmallEvaluator evaluator;
  PassContext context{&evaluator, {}, {}};
  { // As large as its operands: a computed constant, not computed.
    ConstantProgram p(kWidth);
    Value *w = p.builder.constant(weight({kWidth, kWidth}, 1));
    p.finish(p.builder.emit(OpKind::add, {{add::x, w}, {add::y, w}}));
    EXPECT_TRUE(foldConstants(p.program, context));
    EXPECT_EQ(constTensor(p.last()[mul::y])->kind(), TensorData::Kind::Computed);
  }
  { // B A of a LoRA: larger than both, never stored.
    ConstantProgram p(kWidth);
    Value *b = p.builder.constant(weight({kWidth, 4}, 1));
    Value *a = p.builder.constant(weight({4, kWidth}, 2));
    p.finish(p.builder.emit(OpKind::matmul, {{matmul::x, b}, {matmul::y, a}}));
    EXPECT_FALSE(foldConstants(p.program, context));
  }
  { // Yet W + B A is as large as W, and a computed constant through it.
    ConstantProgram p(kWidth);
    Value *b = p.builder.constant(weight({kWidth, 4}, 1));
    Value *a = p.builder.constant(weight({4, kWidth}, 2));
    Value *w = p.builder.constant(weight({kWidth, kWidth}, 3));
    Value *product = p.builder.emit(OpKind::matmul, {{matmul::x, b}, {matmul::y, a}});
    p.finish(p.builder.emit(OpKind::add, {{add::x, w}, {add::y, product}}));
    EXPECT_TRUE(foldConstants(p.program, context));
    EXPECT_EQ(constTensor(p.last()[mul::y])->kind(), TensorData::Kind::Computed);
  }
  EXPECT_EQ(evaluator.calls, 0);
}

/// A parameter; another one for another seed.
TensorData numbers(llvm::ArrayRef<int64_t> shape, int seed = 0) {
  std::vector<float> values(mil::numElements(shape));
  for (size_t i = 0; i < values.size(); ++i)
    values[i] = float(i % 5 + seed) - 1.5f;
  return TensorData::from<float>(DType::F32, shape, values)
      .withOrigin(Origin::parameter({"parameter." + std::to_string(seed)}));
}

/// Whether B A, or B A + D C, of factors of this rank is computed.
bool foldsProducts(int64_t size, int64_t rank, bool two) {
  ConstantProgram p(size);
  auto product = [&](int seed) {
    Value *b = p.builder.constant(numbers({size, rank}, seed));
    Value *a = p.builder.constant(numbers({rank, size}, seed + 1));
    return p.builder.emit(OpKind::matmul, {{matmul::x, b}, {matmul::y, a}});
  };
  Value *result = product(0);
  if (two)
    result = p.builder.emit(OpKind::add, {{add::x, result}, {add::y, product(2)}});
  p.finish(result);
  SmallEvaluator evaluator;
  PassContext context{&evaluator, {}, {}};
  bool changed = foldConstants(p.program, context);
  const TensorData *folded = constTensor(p.last()[mul::y]);
  EXPECT_EQ(changed, folded != nullptr);
  if (folded) {
    EXPECT_EQ(folded->kind(), TensorData::Kind::Strided) << "computed";
  }
  EXPECT_FALSE(foldConstants(p.program, context));
  return changed;
}

TEST(FoldConstants, SmallWeightsDoNotGrowEither) {
  EXPECT_FALSE(foldsProducts(16, 7, false));
  EXPECT_TRUE(foldsProducts(16, 8, false)) << "as large as its factors";
  EXPECT_FALSE(foldsProducts(16, 3, true));
  EXPECT_TRUE(foldsProducts(16, 4, true)) << "a sum as large as four factors";
  EXPECT_FALSE(foldsProducts(4, 1, false)) << "of factors that are literals in a package";
  EXPECT_TRUE(foldsProducts(3, 1, false)) << "a literal itself";
}

TEST(FoldConstants, LiteralsMayGrow) {
  for (bool areWeights : {true, false}) {
    ConstantProgram p(16);
    auto factor = [&](llvm::ArrayRef<int64_t> shape, int seed) {
      TensorData made = numbers(shape, seed);
      return p.builder.constant(areWeights ? made : made.withOrigin({}));
    };
    p.finish(p.builder.emit(OpKind::matmul,
                            {{matmul::x, factor({16, 3}, 0)}, {matmul::y, factor({3, 16}, 1)}}));
    SmallEvaluator evaluator;
    PassContext context{&evaluator, {}, {}};
    EXPECT_EQ(foldConstants(p.program, context), !areWeights);
    if (!areWeights) {
      EXPECT_FALSE(isWeight(*constTensor(p.last()[mul::y])));
    }
  }
}

TEST(FoldConstants, WhatIsComputedFromWeightsIsOne) {
  ConstantProgram p(16);
  Value *b = p.builder.constant(numbers({16, 8})), *a = p.builder.constant(numbers({8, 16}, 1));
  p.finish(p.builder.emit(OpKind::matmul, {{matmul::x, b}, {matmul::y, a}}));
  SmallEvaluator evaluator;
  PassContext context{&evaluator, {}, {}};
  EXPECT_TRUE(foldConstants(p.program, context));
  Origin origin = originOf(*constTensor(p.last()[mul::y]));
  EXPECT_EQ(origin, Origin::computed({"parameter.0", "parameter.1"}));
}

TEST(Cse, TheSurvivorIsBothParameters) {
  ConstantProgram p(2);
  auto biases = [&](const char *name) {
    return p.builder.constant(TensorData::from<float>(DType::F32, {2, 2}, {1, 2, 3, 4})
                                  .withOrigin(Origin::parameter({name})));
  };
  Value *first = biases("b.bias"), *second = biases("a.bias");
  p.finish(p.builder.emit(OpKind::add, {{add::x, first}, {add::y, second}}));
  PassContext context;
  EXPECT_TRUE(cse(p.program, context));
  const Op &sum = *p.last()[mul::y]->def();
  EXPECT_EQ(sum[add::x], sum[add::y]);
  EXPECT_EQ(parametersOf(*constTensor(sum[add::x])),
            (std::vector<std::string>{"a.bias", "b.bias"}));
}

TEST(FoldConstants, ShapesAreNoPartOfAResult) {
  ConstantProgram p(4);
  Value *b = p.builder.constant(numbers({4, 1})), *a = p.builder.constant(numbers({1, 4}, 1));
  Value *product = p.builder.emit(OpKind::matmul, {{matmul::x, b}, {matmul::y, a}});
  for (const std::vector<int64_t> &shape : {std::vector<int64_t>{2, 2, 2, 2, 1}, {1, 1, 1, 4, 4}})
    product = p.builder.emit(OpKind::reshape,
                             {{reshape::x, product}, {reshape::shape, llvm::ArrayRef(shape)}});
  p.finish(product);
  SmallEvaluator evaluator;
  PassContext context{&evaluator, {}, {}};
  EXPECT_FALSE(foldConstants(p.program, context)) << "16 numbers of 8, and 10 sizes";
}

TEST(FoldConstants, TablesOfOneWeightAreComputed) {
  for (bool positions : {true, false}) {
    ConstantProgram p(16);
    Value *frequencies = p.builder.constant(numbers({32, 1}));
    llvm::SmallVector<int64_t, 16> counts(16);
    for (int64_t i = 0; i < 16; ++i)
      counts[i] = i;
    Value *row = p.builder.constant(
        positions ? TensorData::ints(counts).reshape({1, 16}).cast(DType::F32) : numbers({1, 16}));
    p.finish(p.builder.emit(OpKind::matmul, {{matmul::x, frequencies}, {matmul::y, row}}));
    SmallEvaluator evaluator;
    PassContext context{&evaluator, {}, {}};
    EXPECT_EQ(foldConstants(p.program, context), positions);
  }
}

TEST(FoldConstants, ScalarsAndFillsMakeNoTable) {
  for (int64_t size : {1, 16}) {
    ConstantProgram p(16);
    Value *row = p.builder.constant(numbers({1, 16}));
    Value *column = p.builder.constant(TensorData::splat(DType::F32, {4, 1}, 1));
    Value *table = p.builder.emit(OpKind::matmul, {{matmul::x, column}, {matmul::y, row}});
    Value *fill = p.builder.constant(
        TensorData::from<float>(DType::F32, {size}, std::vector<float>(size, 0.25f)));
    p.finish(p.builder.emit(OpKind::add, {{add::x, table}, {add::y, fill}}));
    SmallEvaluator evaluator;
    PassContext context{&evaluator, {}, {}};
    EXPECT_FALSE(foldConstants(p.program, context)) << "four times the row";
  }
}

/// Whether the weight of a layer, a product of two factors, is computed in a function whose
/// adapters are merged. `sum`: its result is added to another layer's, else after an activation.
bool foldsWeight(bool sum, bool sameInput) {
  Program program;
  Function *function = program.addFunction("main");
  Type type = Type::tensor(DType::F32, {Dim(2), Dim(16)});
  Value *x = function->addInput(type, "x"), *other = function->addInput(type, "other");
  Builder builder(function->body());
  Value *b = builder.constant(numbers({16, 2})), *a = builder.constant(numbers({2, 16}, 1));
  Value *product = builder.emit(OpKind::matmul, {{matmul::x, b}, {matmul::y, a}});
  Value *base =
      builder.emit(OpKind::linear, {{linear::x, sameInput ? x : other},
                                    {linear::weight, builder.constant(numbers({16, 16}))}});
  Value *layer = builder.emit(OpKind::matmul, {{matmul::x, x}, {matmul::y, product}});
  Value *scaled = builder.emit(OpKind::mul, {{mul::x, layer}, {mul::y, 0.5}});
  if (!sum)
    scaled = builder.emit(OpKind::relu, {{relu::x, scaled}});
  function->body().setOutputs({builder.emit(OpKind::add, {{add::x, base}, {add::y, scaled}})});
  EXPECT_FALSE(builder.failed());
  SmallEvaluator evaluator;
  PassContext context{&evaluator, {}, {}};
  EXPECT_FALSE(foldConstants(program, context)) << "kept";
  context.options.lora = LoraMode::Fold;
  return foldConstants(program, context);
}

TEST(FoldConstants, ProductsAreComputedForTheWeightBesideThem) {
  EXPECT_TRUE(foldsWeight(true, true));
  EXPECT_FALSE(foldsWeight(true, false)) << "added to a layer of another input";
  EXPECT_FALSE(foldsWeight(false, true)) << "an activation before the sum";
}

TEST(FoldConstants, WhatMustBeConstantIsComputed) {
  Program program;
  Function *function = program.addFunction("main");
  Value *x = function->addInput(Type::tensor(DType::F32, {Dim(1), Dim(1), Dim(4)}), "x");
  Builder builder(function->body());
  auto product = [&](llvm::ArrayRef<int64_t> shape) {
    Value *b = builder.constant(numbers({16, 1})), *a = builder.constant(numbers({1, 4}));
    Value *table = builder.emit(OpKind::matmul, {{matmul::x, b}, {matmul::y, a}});
    return builder.emit(OpKind::reshape, {{reshape::x, table}, {reshape::shape, shape}});
  };
  Value *y = builder.emit(
      OpKind::conv,
      {{conv::x, x}, {conv::weight, product({64, 1, 1})}, {conv::bias, product({64})}});
  function->body().setOutputs({y});
  ASSERT_FALSE(builder.failed()) << llvm::toString(builder.takeError());
  SmallEvaluator evaluator;
  PassContext context{&evaluator, {}, {}};
  EXPECT_TRUE(foldConstants(program, context));
  const Op &conv = *function->body().outputs()[0]->def();
  EXPECT_FALSE(constTensor(conv[conv::weight]));
  EXPECT_TRUE(constTensor(conv[conv::bias]));
}

TEST(FoldConstants, ProductsWithAnIdentityAreViews) {
  PassContext context;
  auto product = [&](OpKind kind, bool eyeFirst, bool turnX, bool turnY) {
    ConstantProgram p(1);
    Value *eye = p.builder.constant(identityMatrix(DType::F32, kWidth, kWidth));
    Value *w = p.builder.constant(weight({4, kWidth}, 1));
    Value *v = p.builder.constant(weight({kWidth, 4}, 2));
    if (kind == OpKind::linear)
      p.finish(p.builder.emit(
          kind, {{linear::x, eyeFirst ? eye : w}, {linear::weight, eyeFirst ? w : eye}}));
    else
      p.finish(p.builder.emit(kind, {{matmul::x, eyeFirst ? eye
                                                 : turnX  ? v
                                                          : w},
                                     {matmul::y, !eyeFirst ? eye
                                                 : turnY   ? w
                                                           : v},
                                     {matmul::transpose_x, turnX},
                                     {matmul::transpose_y, turnY}}));
    EXPECT_TRUE(foldConstants(p.program, context));
    const TensorData *result = constTensor(p.last()[mul::y]);
    EXPECT_TRUE(result && result->kind() == TensorData::Kind::Strided);
    return std::vector<int64_t>(result->node().strides.begin(), result->node().strides.end());
  };
  EXPECT_THAT(product(OpKind::linear, true, false, false), ElementsAre(1, kWidth));
  EXPECT_THAT(product(OpKind::linear, false, false, false), ElementsAre(kWidth, 1));
  EXPECT_THAT(product(OpKind::matmul, true, false, false), ElementsAre(4, 1));
  EXPECT_THAT(product(OpKind::matmul, true, true, true), ElementsAre(1, kWidth));
  EXPECT_THAT(product(OpKind::matmul, false, false, true), ElementsAre(kWidth, 1));
  EXPECT_THAT(product(OpKind::matmul, false, true, false), ElementsAre(1, 4));
}

TEST(FoldConstants, BandsWithoutABoundAreNoIdentity) {
  Type type = Type::tensor(DType::F32, {Dim(4), Dim(4)});
  Attr ones(TensorData::splat(DType::F32, {4, 4}, 1)), none(TensorData::scalar(int32_t(0)));
  using Operands = std::vector<std::vector<Attr>>;
  auto band = [&](Operands operands) {
    return isIdentityMatrix(TensorData::computed(OpKind::band_part, std::move(operands), type));
  };
  EXPECT_TRUE(band({{ones}, {none}, {none}}));
  EXPECT_FALSE(band({{ones}, {}, {none}}));
  EXPECT_FALSE(band({{ones}, {none}, {}}));
}

TEST(PassList, NamesAreLookedUp) {
  auto list = parsePassList("dce, fold-lora");
  ASSERT_TRUE(bool(list));
  EXPECT_EQ(list->size(), 2u);
  EXPECT_EQ((*list)[1]->name, "fold-lora");
  auto wrong = parsePassList("dce,fold-lra");
  ASSERT_FALSE(bool(wrong));
  EXPECT_EQ(llvm::toString(wrong.takeError()),
            "there is no pass 'fold-lra' (did you mean 'fold-lora'?); `plait opt --list-passes` "
            "lists them");
}

TEST(Pipeline, AnErrorNamesThePass) {
  Program program;
  addAdapter(program, "one", 1, 2, 3);
  PassContext context;
  PipelineHooks hooks;
  hooks.verify = [](const Program &) { return makeError(Code::Internal, "broken"); };
  std::string message = llvm::toString(runPipeline(program, context, hooks));
  EXPECT_THAT(message, HasSubstr("made the program ill-formed"));
  EXPECT_THAT(message, HasSubstr("broken"));
}

TEST(Pipeline, EndsWithinAPass) {
  Program program;
  Function *function = program.addFunction("main");
  Value *x = function->addInput(Type::tensor(DType::F32, {Dim(4)}), "x");
  Builder builder(function->body());
  for (int i = 0; i < 1000; ++i)
    x = builder.emit(i % 2 ? OpKind::sin : OpKind::cos, {{0, x}});
  function->body().setOutputs({x});
  ASSERT_FALSE(builder.failed());
  int asked = 0;
  PipelineHooks hooks;
  hooks.proceed = [&] { return ++asked < 4; }; // before the first pass, and three times in it
  PassContext context;
  auto changed = runPasses(program, context, {findPass("merge-transposes")}, hooks);
  EXPECT_THAT(llvm::toString(changed.takeError()), HasSubstr("cancelled while it was optimised"));
  EXPECT_EQ(asked, 4);
  EXPECT_FALSE(errorToBool(verify(program)));
  EXPECT_FALSE(errorToBool(runPipeline(program, context))); // nobody is asked any more
}

/// A chain of 8,000 operations: a pass that looks at all others for each would not end in time.
TEST(Pipeline, LargeFunctionsTakeLinearTime) {
  Program program;
  Function *function = program.addFunction("main");
  Value *v = function->addInput(Type::tensor(DType::F16, {Dim(2)}), "x");
  Builder builder(function->body());
  for (int i = 0; i < 2000; ++i) {
    Value *wide = builder.emit(OpKind::cast, {{cast::x, v}, {cast::dtype, "fp32"}});
    Value *sum = builder.emit(OpKind::add, {{add::x, wide}, {add::y, 1.5}});
    Value *root = builder.emit(OpKind::tanh, {{mil::tanh::x, sum}});
    v = builder.emit(OpKind::cast, {{cast::x, root}, {cast::dtype, "fp16"}});
  }
  function->body().setOutputs({v});
  ASSERT_FALSE(builder.failed());
  PassContext context;
  ASSERT_FALSE(runPipeline(program, context));
  EXPECT_EQ(kinds(*function).size(), 4000u);
}

} // namespace
} // namespace plait::passes
