// The loop over operations: control flow, lists, states, dynamic shapes, the fp16 modes, errors.
#include "runtime/Interpreter.h"
#include "mil/Builder.h"
#include "runtime/Runner.h"
#include "runtime/RuntimeEvaluator.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace plait::runtime {

using namespace mil;
using testing::HasSubstr;

namespace {

/// A function under construction, and its runs.
struct Net {
  Program program;
  Function *function = program.addFunction("main");
  Builder b{function->body()};

  Value *input(const char *name, DType dtype, llvm::ArrayRef<Dim> shape) {
    return function->addInput(Type::tensor(dtype, shape), name);
  }
  void outputs(llvm::ArrayRef<Value *> values) {
    if (Error error = b.takeError())
      FAIL() << llvm::toString(std::move(error));
    function->body().setOutputs(values);
  }
  Runner runner(RunOptions options = {}) {
    return llvm::cantFail(Runner::create(*function, std::move(options)));
  }
};

NamedTensor floats(const char *name, llvm::ArrayRef<int64_t> shape, std::vector<float> values) {
  return {name, TensorData::from<float>(DType::F32, shape, values)};
}
NamedTensor wholes(const char *name, llvm::ArrayRef<int64_t> shape, std::vector<int32_t> values) {
  return {name, TensorData::from<int32_t>(DType::I32, shape, values)};
}

std::vector<double> run(Runner &runner, std::vector<NamedTensor> inputs, size_t output = 0) {
  auto results = runner.run(inputs);
  if (!results) {
    ADD_FAILURE() << llvm::toString(results.takeError());
    return {};
  }
  return llvm::cantFail((*results)[output].value.tensor()->floatValues());
}

std::string failure(Runner &runner, std::vector<NamedTensor> inputs) {
  auto results = runner.run(inputs);
  if (results) {
    ADD_FAILURE() << "an error was expected";
    return "";
  }
  return llvm::toString(results.takeError());
}

using Numbers = std::vector<double>;

} // namespace

TEST(Interpreter, CondTakesOneBranchAndSeesOuterValues) {
  Net n;
  Value *x = n.input("x", DType::F32, {2}), *p = n.input("p", DType::I32, {1});
  Value *flag = n.b.emit(OpKind::cast, {{cast::x, p}, {cast::dtype, "bool"}});
  flag = n.b.emit(OpKind::squeeze, {{squeeze::x, flag}});
  Op *op = n.b.openControlFlow(OpKind::cond, {{cond::pred, flag}});
  Builder yes(*op->blocks()[0]), no(*op->blocks()[1]);
  op->blocks()[0]->setOutputs({yes.emit(OpKind::square, {{square::x, x}})});
  // This branch would fail if it ran: the index is out of range.
  op->blocks()[1]->setOutputs(
      {no.emit(OpKind::gather, {{gather::x, x}, {gather::indices, no.ints({7, 7})}})});
  ASSERT_TRUE(n.b.closeControlFlow(op));
  n.outputs({op->result()});
  Runner runner = n.runner();
  EXPECT_EQ(run(runner, {floats("x", {2}, {3, 4}), wholes("p", {1}, {1})}), (Numbers{9, 16}));
  EXPECT_THAT(failure(runner, {floats("x", {2}, {3, 4}), wholes("p", {1}, {0})}),
              HasSubstr("outside [0, 2)"));
}

/// i from 0 while i < count: doubles x.
static void buildLoop(Net &n, Value *&result) {
  Value *x = n.input("x", DType::F32, {2}), *count = n.input("count", DType::I32, {1});
  Value *limit = n.b.emit(OpKind::squeeze, {{squeeze::x, count}});
  Value *zero = n.b.emit(OpKind::sub, {{sub::x, limit}, {sub::y, limit}});
  Op *loop = n.b.openControlFlow(OpKind::while_loop,
                                 {{while_loop::loop_vars, llvm::ArrayRef<Value *>{zero, x}}});
  Block &test = *loop->blocks()[0], &body = *loop->blocks()[1];
  Builder t(test), d(body);
  test.setOutputs({t.emit(OpKind::less, {{less::x, test.args()[0].get()}, {less::y, limit}})});
  body.setOutputs(
      {d.emit(OpKind::add, {{add::x, body.args()[0].get()}, {add::y, 1}}),
       d.emit(OpKind::add, {{add::x, body.args()[1].get()}, {add::y, body.args()[1].get()}})});
  ASSERT_TRUE(n.b.closeControlFlow(loop));
  result = loop->result(1);
}

TEST(Interpreter, WhileLoopCarriesItsVariables) {
  Net n;
  Value *result = nullptr;
  buildLoop(n, result);
  n.outputs({result});
  Runner runner = n.runner();
  EXPECT_EQ(run(runner, {floats("x", {2}, {1, 3}), wholes("count", {1}, {5})}), (Numbers{32, 96}));
  EXPECT_EQ(run(runner, {floats("x", {2}, {1, 3}), wholes("count", {1}, {0})}), (Numbers{1, 3}));
}

TEST(Interpreter, ALoopWithoutEndIsAnError) {
  Net n;
  Value *x = n.input("x", DType::F32, {1});
  Op *loop = n.b.openControlFlow(OpKind::while_loop,
                                 {{while_loop::loop_vars, llvm::ArrayRef<Value *>{x}}});
  Builder t(*loop->blocks()[0]), d(*loop->blocks()[1]);
  Value *more = t.emit(OpKind::cast, {{cast::x, t.scalar(DType::I32, 1)}, {cast::dtype, "bool"}});
  loop->blocks()[0]->setOutputs({more});
  loop->blocks()[1]->setOutputs(
      {d.emit(OpKind::identity, {{identity::x, loop->blocks()[1]->args()[0].get()}})});
  ASSERT_TRUE(n.b.closeControlFlow(loop));
  n.outputs({loop->result()});
  Interpreter::Options options;
  options.maxIterations = 100;
  auto interpreter = llvm::cantFail(Interpreter::create(*n.function, options));
  auto results = interpreter->run({{"x", at::ones({1})}});
  ASSERT_FALSE(bool(results));
  EXPECT_THAT(llvm::toString(results.takeError()), HasSubstr("not ended after 100 iterations"));
}

TEST(Interpreter, Lists) {
  Net n;
  Value *x = n.input("x", DType::F32, {2});
  Value *list =
      n.b.emit(OpKind::make_list,
               {{make_list::init_length, 2},
                {make_list::elem_shape, llvm::ArrayRef<Value *>{n.b.scalar(DType::I32, 2)}}});
  Value *one = n.b.emit(OpKind::list_write,
                        {{list_write::ls, list}, {list_write::index, 1}, {list_write::value, x}});
  Value *twice = n.b.emit(OpKind::add, {{add::x, x}, {add::y, x}});
  Value *grown =
      n.b.emit(OpKind::list_write,
               {{list_write::ls, one}, {list_write::index, 3}, {list_write::value, twice}});
  Value *all =
      n.b.emit(OpKind::list_gather, {{list_gather::ls, grown}, {list_gather::indices, {3, 0, 1}}});
  Value *stacked = n.b.emit(OpKind::stack,
                            {{stack::values, llvm::ArrayRef<Value *>{twice, x}}, {stack::axis, 0}});
  Value *scattered = n.b.emit(
      OpKind::list_scatter,
      {{list_scatter::ls, one}, {list_scatter::indices, {0, 1}}, {list_scatter::value, stacked}});
  Value *first = n.b.emit(OpKind::list_read, {{list_read::ls, scattered}, {list_read::index, 0}});
  Value *length = n.b.emit(OpKind::list_length, {{list_length::ls, grown}});
  n.outputs({all, first, length});
  Runner runner = n.runner();
  std::vector<NamedTensor> inputs{floats("x", {2}, {1, 2})};
  EXPECT_EQ(run(runner, inputs, 0), (Numbers{2, 4, 0, 0, 1, 2}));
  EXPECT_EQ(run(runner, inputs, 1), (Numbers{2, 4}));
  EXPECT_EQ(run(runner, inputs, 2), (Numbers{4}));
}

TEST(Interpreter, StatesLastFromRunToRun) {
  Net n;
  Value *x = n.input("x", DType::F16, {2});
  Value *state = n.function->addInput(Type::state(Type::tensor(DType::F16, {Dim(2)})), "sum");
  Value *old = n.b.emit(OpKind::read_state, {{read_state::input, state}});
  Value *next = n.b.emit(OpKind::add, {{add::x, old}, {add::y, x}});
  n.b.create(OpKind::write_state, {{write_state::input, state}, {write_state::data, next}});
  Value *now = n.b.emit(OpKind::read_state, {{read_state::input, state}});
  n.outputs({old, now});
  Runner runner = n.runner();
  NamedTensor in{"x", floats("x", {2}, {1, 2}).value.cast(DType::F16)};
  EXPECT_EQ(run(runner, {in}, 1), (Numbers{1, 2}));
  EXPECT_EQ(run(runner, {in}, 0), (Numbers{1, 2}));
  EXPECT_EQ(run(runner, {in}, 1), (Numbers{3, 6}));
  auto states = runner.states();
  ASSERT_EQ(states.size(), 1u);
  EXPECT_EQ(states[0].name, "sum");
  EXPECT_EQ(llvm::cantFail(states[0].value.floatValues()), (Numbers{3, 6}));
  runner.resetStates();
  EXPECT_EQ(run(runner, {in}, 0), (Numbers{0, 0}));
}

TEST(Interpreter, InputsAreChecked) {
  Net n;
  Dim s = Dim::symbol("s", 2, 4);
  Value *x = n.input("x", DType::F32, {s, 2}), *y = n.input("y", DType::F32, {s, 2});
  n.outputs({n.b.emit(OpKind::add, {{add::x, x}, {add::y, y}})});
  Runner runner = n.runner();
  NamedTensor two = floats("x", {2, 2}, {1, 2, 3, 4}),
              three = floats("y", {3, 2}, {1, 2, 3, 4, 5, 6});
  NamedTensor ok = floats("y", {2, 2}, {1, 1, 1, 1});
  EXPECT_EQ(run(runner, {two, ok}), (Numbers{2, 3, 4, 5}));
  EXPECT_THAT(failure(runner, {two}), HasSubstr("input 'y' of type"));
  EXPECT_THAT(failure(runner, {two, ok, floats("z", {1}, {1})}), HasSubstr("no input 'z'"));
  EXPECT_THAT(failure(runner, {two, three}), HasSubstr("input 'x' has s = 2"));
  EXPECT_THAT(failure(runner, {two, wholes("y", {2, 2}, {1, 1, 1, 1})}),
              HasSubstr("input 'y' is tensor<int32"));
  EXPECT_THAT(failure(runner, {floats("x", {1, 2}, {1, 2}), floats("y", {1, 2}, {1, 2})}),
              HasSubstr("allowed from 2 to 4"));
  EXPECT_THAT(failure(runner, {floats("x", {2}, {1, 2}), ok}), HasSubstr("has shape [2]"));
  EXPECT_THAT(failure(runner, {two, two, ok}), HasSubstr("given twice"));
}

TEST(Interpreter, EnumeratedShapesAreTheOnlyOnes) {
  Net n;
  Value *x = n.input("x", DType::F32, {Dim::symbol("n")});
  InputInfo info;
  info.enumeratedShapes = {{2}, {4}};
  n.function->inputInfo.push_back(info);
  n.outputs({n.b.emit(OpKind::relu, {{relu::x, x}})});
  Runner runner = n.runner();
  EXPECT_EQ(run(runner, {floats("x", {2}, {-1, 1})}), (Numbers{0, 1}));
  EXPECT_THAT(failure(runner, {floats("x", {3}, {1, 2, 3})}), HasSubstr("enumerated"));
}

TEST(Interpreter, HalfIsRoundedAfterEachOperationUnlessExact) {
  Net n;
  Value *x = n.input("x", DType::F16, {1});
  // (x + 2048) - 2048 loses what fp16 cannot hold beside 2048.
  Value *up = n.b.emit(OpKind::add, {{add::x, x}, {add::y, 2048.0}});
  n.outputs({n.b.emit(OpKind::sub, {{sub::x, up}, {sub::y, 2048.0}})});
  std::vector<NamedTensor> in{{"x", floats("x", {1}, {0.5}).value.cast(DType::F16)}};
  for (auto [compute, expected] :
       {std::pair(Compute::Float32, 0.0), std::pair(Compute::Native, 0.0),
        std::pair(Compute::Exact, 0.5)}) {
    RunOptions options;
    options.compute = compute;
    Runner runner = n.runner(options);
    EXPECT_EQ(run(runner, in), (Numbers{expected}));
  }
}

TEST(Interpreter, TraceAndProfile) {
  Net n;
  Value *x = n.input("x", DType::F32, {2});
  Value *a = n.b.emit(OpKind::square, {{square::x, x}}, "a");
  Value *c = n.b.emit(OpKind::add, {{add::x, a}, {add::y, a}}, "c");
  n.outputs({n.b.emit(OpKind::relu, {{relu::x, c}}, "d")});
  RunOptions options;
  options.trace = {a->name.str()};
  options.profile = true;
  Runner runner = n.runner(options);
  EXPECT_EQ(run(runner, {floats("x", {2}, {1, -3})}), (Numbers{2, 18}));
  auto traced = runner.traced();
  ASSERT_EQ(traced.size(), 1u);
  EXPECT_EQ(traced[0].name, a->name);
  EXPECT_EQ(llvm::cantFail(traced[0].value.floatValues()), (Numbers{1, 9}));
  auto profile = runner.profile();
  ASSERT_EQ(profile.size(), 3u);
  EXPECT_EQ(profile[0].calls, 1u);
  options.trace = {"nothing"};
  auto unknown = Runner::create(*n.function, options);
  ASSERT_FALSE(bool(unknown));
  EXPECT_THAT(llvm::toString(unknown.takeError()), HasSubstr("no value named 'nothing'"));
}

TEST(Interpreter, ValuesDieAtTheirLastUse) {
  Net n;
  Value *x = n.input("x", DType::F32, {2});
  Value *a = n.b.emit(OpKind::exp, {{mil::exp::x, x}});
  Value *b = n.b.emit(OpKind::add, {{add::x, a}, {add::y, a}});
  Value *c = n.b.emit(OpKind::exp, {{mil::exp::x, b}});
  Value *d = n.b.emit(OpKind::add, {{add::x, c}, {add::y, b}});
  n.outputs({d});
  using Weak = c10::weak_intrusive_ptr<c10::TensorImpl, c10::UndefinedTensorImpl>;
  std::map<const Value *, Weak> made;
  std::vector<std::vector<bool>> alive; // as each result is made: are a, b, c?
  Interpreter::Options options;
  options.observer = [&](const Value &value, const Datum &datum) {
    made.emplace(&value, Weak(datum.tensor.getIntrusivePtr()));
    auto &row = alive.emplace_back();
    for (Value *earlier : {a, b, c})
      row.push_back(made.count(earlier) && !made.at(earlier).expired());
  };
  auto interpreter = llvm::cantFail(Interpreter::create(*n.function, options));
  auto outputs = llvm::cantFail(interpreter->run({{"x", at::ones({2})}}));
  ASSERT_EQ(alive.size(), 4u);
  EXPECT_EQ(alive[1], (std::vector<bool>{true, true, false}));
  EXPECT_EQ(alive[2], (std::vector<bool>{false, true, true}));
  EXPECT_EQ(alive[3], (std::vector<bool>{false, true, true}));
  EXPECT_TRUE(made.at(b).expired());
}

TEST(Interpreter, ErrorsNameTheOperationAndItsPlace) {
  Net n;
  Value *x = n.input("x", DType::F32, {2}), *i = n.input("i", DType::I32, {1});
  n.b.setLocation(Location("encoder.embedding", "model.py:12", "aten::embedding"));
  n.outputs({n.b.emit(OpKind::gather, {{gather::x, x}, {gather::indices, i}}, "embedding")});
  Runner runner = n.runner();
  EXPECT_THAT(failure(runner, {floats("x", {2}, {1, 2}), wholes("i", {1}, {5})}),
              HasSubstr("gather 'embedding' (encoder.embedding at model.py:12): index 5"));
}

TEST(Interpreter, SizesThatMakeNoSenseAreErrors) {
  auto withSizes = [](OpKind kind, unsigned param, std::vector<int32_t> sizes) {
    Net n;
    Value *x = n.input("x", DType::F32, {6});
    Value *s = n.input("s", DType::I32, {int64_t(sizes.size())});
    std::vector<Arg> args{{param, s}};
    if (kind != OpKind::fill)
      args.emplace_back(0u, x);
    n.outputs({n.b.emit(kind, args)});
    Runner runner = n.runner();
    return failure(runner, {floats("x", {6}, {1, 2, 3, 4, 5, 6}),
                            wholes("s", {int64_t(sizes.size())}, sizes)});
  };
  EXPECT_THAT(withSizes(OpKind::fill, fill::shape, {-1, 2}), HasSubstr("fill"));
  EXPECT_THAT(withSizes(OpKind::fill, fill::shape, {INT32_MAX, INT32_MAX}), HasSubstr("fill"));
  EXPECT_THAT(withSizes(OpKind::reshape, reshape::shape, {4, 2}), HasSubstr("reshape"));
  EXPECT_THAT(withSizes(OpKind::reshape, reshape::shape, {-1, -1}), HasSubstr("reshape"));
  EXPECT_THAT(withSizes(OpKind::reshape, reshape::shape, {INT32_MIN, 3}), HasSubstr("reshape"));
  EXPECT_THAT(withSizes(OpKind::tile, tile::reps, {-2}), HasSubstr("tile"));
}

TEST(Interpreter, RangesOfNaNAndInfinityAreErrors) {
  for (float end : {float(NAN), INFINITY, 1e30f}) {
    Net n;
    Value *x = n.input("x", DType::F32, {});
    n.outputs({n.b.emit(OpKind::range_1d,
                        {{range_1d::end, x}, {range_1d::start, 0.0}, {range_1d::step, 1.0}})});
    Runner runner = n.runner();
    EXPECT_THAT(failure(runner, {floats("x", {}, {end})}), HasSubstr("make no range"));
  }
}

/// A size computed from NaN is 0, as `cast` has it: nothing of a NaN reaches LibTorch as a size.
TEST(Interpreter, SizesFromNaNAreZero) {
  Net n;
  Value *x = n.input("x", DType::F32, {1});
  Value *size = n.b.emit(OpKind::cast, {{cast::x, x}, {cast::dtype, "int32"}});
  n.outputs({n.b.emit(OpKind::fill, {{fill::shape, size}, {fill::value, 1.0}})});
  Runner runner = n.runner();
  EXPECT_TRUE(run(runner, {floats("x", {1}, {NAN})}).empty());
}

TEST(Interpreter, LazyWeightsAreReadThroughTheirTransforms) {
  Net n;
  Value *x = n.input("x", DType::F32, {2});
  TensorData w = TensorData::from<float>(DType::F32, {2, 3}, {1, 2, 3, 4, 5, 6});
  Value *weight = n.b.constant(w.permute({1, 0}).scale(2));
  n.outputs({n.b.emit(OpKind::linear, {{linear::x, x}, {linear::weight, weight}})});
  Runner runner = n.runner();
  EXPECT_EQ(run(runner, {floats("x", {2}, {1, 10})}), (Numbers{82, 104, 126}));
}

TEST(Interpreter, CompressedWeightsDecompressWhereUsed) {
  Net n;
  Value *x = n.input("x", DType::F32, {2});
  namespace p = constexpr_affine_dequantize;
  Value *weight =
      n.b.emit(OpKind::constexpr_affine_dequantize,
               {{p::quantized_data, Attr(TensorData::from<uint8_t>(DType::U8, {1, 2}, {3, 5}))},
                {p::zero_point, Attr(TensorData::from<uint8_t>(DType::U8, {}, uint8_t(1)))},
                {p::scale, Attr(TensorData::from<float>(DType::F32, {}, 0.5f))},
                {p::axis, 0}});
  n.outputs({n.b.emit(OpKind::linear, {{linear::x, x}, {linear::weight, weight}})});
  Runner runner = n.runner();
  EXPECT_EQ(run(runner, {floats("x", {2}, {1, 10})}), (Numbers{21}));
}

TEST(Interpreter, ClassifyGivesALabelAndProbabilities) {
  Net n;
  Value *x = n.input("x", DType::F32, {3});
  Attr classes = Attr::list(Type::tensor(DType::String),
                            {Attr::string("cat"), Attr::string("dog"), Attr::string("owl")});
  Op *op =
      n.b.create(OpKind::classify, {{classify::probabilities, x}, {classify::classes, classes}});
  ASSERT_NE(op, nullptr) << llvm::toString(n.b.takeError());
  n.outputs({op->result(0), op->result(1)});
  Runner runner = n.runner();
  auto results = llvm::cantFail(runner.run({floats("x", {3}, {0.25, 0.5, 0.25})}));
  ASSERT_NE(results[0].value.string(), nullptr);
  EXPECT_EQ(*results[0].value.string(), "dog");
  ASSERT_NE(results[1].value.dict(), nullptr);
  EXPECT_EQ(results[1].value.dict()->size(), 3u);
}

TEST(RuntimeEvaluator, ComputesConstants) {
  TensorData x = TensorData::from<float>(DType::F32, {2}, {1, -2});
  TensorData square = TensorData::computed(OpKind::square, {{Attr(x)}}, x.type());
  RuntimeEvaluator evaluator;
  EXPECT_EQ(llvm::cantFail(square.floatValues(&evaluator)), (Numbers{1, 4}));
}

TEST(RuntimeEvaluator, RefusesWhatIsNoFunctionOfItsOperands) {
  RuntimeEvaluator evaluator;
  auto results = evaluator.evaluate(OpKind::random_normal, {{Attr(TensorData::ints({2}))}}, {});
  ASSERT_FALSE(bool(results));
  EXPECT_THAT(llvm::toString(results.takeError()), HasSubstr("cannot be computed on constants"));
}

/// How often each result is computed, by its name.
static std::map<std::string, int> computations(const Net &n) {
  std::map<std::string, int> counts;
  Interpreter::Options options;
  options.disturb = [&](const Value &value, const at::Tensor &tensor) {
    ++counts[value.name.str()];
    return tensor;
  };
  auto interpreter = llvm::cantFail(Interpreter::create(*n.function, options));
  for (int run = 0; run < 2; ++run)
    llvm::cantFail(interpreter->run({{"x", at::ones({2, 2})}}));
  return counts;
}

static Value *compressedWeight(Net &n, const char *name) {
  namespace p = constexpr_lut_to_dense;
  TensorData table = TensorData::from<float>(DType::F32, {1, 1, 2, 1}, {-1.f, 1.f});
  TensorData indices = TensorData::fromBytes(DType::U1, {2, 2}, {0b0110});
  return n.b.emit(OpKind::constexpr_lut_to_dense,
                  {{p::indices, Attr(indices)}, {p::lut, Attr(table)}}, name);
}

TEST(Interpreter, DecompressesAWeightOnceARun) {
  Net n;
  Value *x = n.input("x", DType::F32, {2, 2});
  Value *once = compressedWeight(n, "once"), *often = compressedWeight(n, "often");
  Value *y = n.b.emit(OpKind::mul, {{mul::x, x}, {mul::y, once}});
  for (int i = 0; i < 3; ++i)
    y = n.b.emit(OpKind::mul, {{mul::x, y}, {mul::y, often}});
  n.outputs({y});
  auto counts = computations(n);
  EXPECT_EQ(counts["once"], 2); // in two runs
  EXPECT_EQ(counts["often"], 2);
}

TEST(Interpreter, DecompressesAWeightOfALoopOnceARun) {
  Net n;
  Value *x = n.input("x", DType::F32, {2, 2}), *zero = n.b.scalar(DType::I32, 0);
  Op *loop = n.b.openControlFlow(OpKind::while_loop,
                                 {{while_loop::loop_vars, llvm::ArrayRef<Value *>{zero, x}}});
  Block &test = *loop->blocks()[0], &body = *loop->blocks()[1];
  Builder t(test), d(body);
  test.setOutputs({t.emit(OpKind::less, {{less::x, test.args()[0].get()}, {less::y, 3}})});
  namespace p = constexpr_lut_to_dense;
  Value *weight =
      d.emit(OpKind::constexpr_lut_to_dense,
             {{p::indices, Attr(TensorData::fromBytes(DType::U1, {2, 2}, {0b0110}))},
              {p::lut, Attr(TensorData::from<float>(DType::F32, {1, 1, 2, 1}, {-1.f, 1.f}))}},
             "weight");
  body.setOutputs({d.emit(OpKind::add, {{add::x, body.args()[0].get()}, {add::y, 1}}),
                   d.emit(OpKind::mul, {{mul::x, body.args()[1].get()}, {mul::y, weight}})});
  ASSERT_TRUE(n.b.closeControlFlow(loop));
  n.outputs({loop->result(1)});
  EXPECT_EQ(computations(n)["weight"], 2);
}

TEST(Interpreter, ComputesBothPartsOfAPrunedWeightAtOnce) {
  Net n;
  Value *x = n.input("x", DType::F32, {2, 2});
  namespace p = constexpr_lut_to_sparse;
  Op *parts =
      n.b.create(OpKind::constexpr_lut_to_sparse,
                 {{p::indices_mask, Attr(TensorData::fromBytes(DType::U1, {2, 2}, {0b0111}))},
                  {p::indices_nonzero_data, Attr(TensorData::fromBytes(DType::U1, {3}, {0b101}))},
                  {p::lut, Attr(TensorData::from<float>(DType::F32, {1, 1, 2, 1}, {-1.f, 1.f}))}},
                 "parts");
  ASSERT_TRUE(parts) << llvm::toString(n.b.takeError());
  namespace s = constexpr_sparse_to_dense;
  Value *weight =
      n.b.emit(OpKind::constexpr_sparse_to_dense,
               {{s::nonzero_data, parts->result(1)}, {s::mask, parts->result(0)}}, "weight");
  n.outputs({n.b.emit(OpKind::mul, {{mul::x, x}, {mul::y, weight}})});
  auto counts = computations(n);
  EXPECT_EQ(counts[parts->result(0)->name.str()], 2);
  EXPECT_EQ(counts[parts->result(1)->name.str()], 2);
  auto runner = n.runner();
  EXPECT_THAT(run(runner, {floats("x", {2, 2}, {1, 1, 1, 1})}), testing::ElementsAre(1, -1, 1, 0));
}

} // namespace plait::runtime
