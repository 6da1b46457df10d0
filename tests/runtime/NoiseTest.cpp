// What rounding explains: weights found in the model, disturbed runs, and verdicts on outputs.
#include "mil/Builder.h"
#include "runtime/RoundingCauses.h"
#include "runtime/Verdict.h"

#include <cmath>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace plait::runtime {

using namespace mil;
using testing::HasSubstr;

namespace {

class Product final : public Reference::Impl {
public:
  Product(at::Tensor weight, std::function<at::Tensor(at::Tensor)> then)
      : weight_(std::move(weight)), then_(std::move(then)) {}
  Expected<std::vector<TensorData>> call(llvm::ArrayRef<NamedTensor> given) override {
    at::Tensor x = llvm::cantFail(toTensor(given[0].value, Compute::Float32, nullptr));
    at::Tensor y = at::matmul(x.to(at::kFloat), weight_.t());
    y = then_ ? then_(y) : y;
    return std::vector<TensorData>{
        toTensorData(y, y.scalar_type() == at::kLong ? DType::I64 : DType::F32)};
  }
  void reset() override {}
  void undo() override {}
  Expected<std::optional<TensorData>> attribute(llvm::StringRef) override { return std::nullopt; }

private:
  at::Tensor weight_;
  std::function<at::Tensor(at::Tensor)> then_;
};

/// A linear layer of fp16 weights, whose unrounded form is at hand.
struct Layer {
  at::Tensor weight, x;
  Program program;
  Function *function = program.addFunction("f");
  Builder b{function->body()};
  Value *input = nullptr, *constant = nullptr, *product = nullptr;

  explicit Layer(at::Tensor given) : weight(std::move(given)) {
    input = function->addInput(Type::tensor(DType::F16, {Dim(4), Dim(weight.size(1))}), "x");
    constant = b.constant(Attr(toTensorData(weight.to(at::kHalf), DType::F16)), "w");
    product = b.emit(OpKind::linear, {{linear::x, input}, {linear::weight, constant}}, "product");
    function->body().setOutputs({product});
  }

  std::vector<NamedTensor> inputs() const { return llvm::cantFail(randomInputs(*function, 7)); }
  /// x times a weight in fp32, and what becomes of it.
  Reference model(at::Tensor other, std::function<at::Tensor(at::Tensor)> then = nullptr) const {
    return Reference(std::make_shared<Product>(std::move(other), std::move(then)));
  }
  OutputReport verify(const Reference &reference, std::vector<at::Tensor> known = {}) const {
    VerifyOptions options;
    for (const at::Tensor &tensor : known)
      options.weights.push_back(toTensorData(tensor, DType::F32));
    auto report = llvm::cantFail(verifyFunction(*function, reference, options));
    EXPECT_TRUE(report.calibrated);
    EXPECT_EQ(report.passed, report.outputs[0].passed());
    return report.outputs[0];
  }
};

at::Tensor randomWeight(int64_t rows, int64_t columns) {
  at::manual_seed(3);
  return at::randn({rows, columns});
}

} // namespace

TEST(KnownWeights, AreFoundInEveryForm) {
  at::Tensor weight = randomWeight(16, 24);
  Layer layer(weight);
  auto find = [&](const at::Tensor &known) {
    auto found =
        llvm::cantFail(unroundedWeights(*layer.function, {toTensorData(known, DType::F32)}));
    auto it = found.find(layer.constant);
    return it == found.end() ? UnroundedWeight() : it->second.front();
  };
  EXPECT_TRUE(at::equal(find(weight).tensor(), weight));
  EXPECT_TRUE(at::equal(find(weight.t().contiguous()).tensor(), weight));
  EXPECT_TRUE(at::equal(find(weight.reshape({1, 16, 24, 1})).tensor(), weight));
  EXPECT_TRUE(at::equal(find(at::cat({weight + 1, weight})).tensor(), weight));
  EXPECT_TRUE(at::equal(find(at::cat({weight, weight + 1}).t().contiguous()).tensor(), weight));
  // A norm was folded into its rows.
  UnroundedWeight folded = find(weight * at::linspace(0.5, 3, 16).reshape({16, 1}));
  ASSERT_TRUE(folded.known.defined());
  EXPECT_GT(folded.rowError, 0);
  EXPECT_LT((folded.tensor() - weight).abs().max().item<double>(), 1e-3);
  // What is further away than rounding takes it is another weight.
  at::Tensor other = weight.clone();
  other[3][5] *= 1.002;
  EXPECT_FALSE(find(other).known.defined());
  EXPECT_FALSE(find(weight.narrow(0, 0, 8)).known.defined());
}

TEST(KnownWeights, AFactorNearOneIsAFactor) {
  // What a norm of variance 1 multiplies by.
  at::Tensor weight = randomWeight(64, 256), folded = weight / std::sqrt(1 + 1e-5f);
  Layer layer(folded);
  auto found =
      llvm::cantFail(unroundedWeights(*layer.function, {toTensorData(weight, DType::F32)}));
  const UnroundedWeight &unrounded = found[layer.constant].front();
  ASSERT_TRUE(unrounded.factors.defined());
  EXPECT_LT(((unrounded.factors * unrounded.known - folded) / folded).abs().max().item<double>(),
            4 * unrounded.rowError);
  // In another order of adding it is the same weight.
  Layer merged(weight * (1 + 1e-6f));
  auto same =
      llvm::cantFail(unroundedWeights(*merged.function, {toTensorData(weight, DType::F32)}));
  ASSERT_TRUE(same[merged.constant].front().known.defined());
  EXPECT_FALSE(same[merged.constant].front().factors.defined());
}

TEST(KnownWeights, AreFoundInParts) {
  at::Tensor a = randomWeight(16, 24), b = at::randn({8, 24}), c = at::randn({24, 4});
  auto partsOf = [](const at::Tensor &whole, llvm::ArrayRef<at::Tensor> model) {
    std::vector<TensorData> known;
    for (const at::Tensor &tensor : model)
      known.push_back(toTensorData(tensor, DType::F32));
    Layer layer(whole);
    return llvm::cantFail(unroundedWeights(*layer.function, known))[layer.constant];
  };
  // One of them is transposed in the model.
  at::Tensor whole = at::cat({b, a, c.t()});
  UnroundedParts parts = partsOf(whole, {a, b, c});
  ASSERT_EQ(parts.size(), 3u);
  EXPECT_TRUE(at::equal(at::cat({parts[0].tensor(), parts[1].tensor(), parts[2].tensor()}), whole));
  // Two of three parts of one.
  parts = partsOf(a, {at::cat({b, a})});
  ASSERT_EQ(parts.size(), 1u);
  EXPECT_TRUE(at::equal(parts[0].tensor(), a));
  // A layer without bias is given zeros.
  whole = at::cat({b, at::zeros({3, 24}), a});
  parts = partsOf(whole, {a, b});
  ASSERT_EQ(parts.size(), 3u);
  EXPECT_FALSE(parts[1].source);
  EXPECT_TRUE(at::equal(at::cat({parts[0].tensor(), parts[1].tensor(), parts[2].tensor()}), whole));
  // What is no tensor of the model is none of its parts.
  EXPECT_TRUE(partsOf(at::cat({b, a * 1.01 + 0.01}), {a, b}).empty());
}

TEST(Noise, IsThatOfRounding) {
  at::Tensor weight = randomWeight(64, 256);
  Layer layer(weight);
  auto distance = [&](llvm::ArrayRef<TensorData> known) {
    auto noise = llvm::cantFail(Noise::create(*layer.function, Compute::Float32, known));
    noise->begin(1);
    llvm::cantFail(noise->step(layer.inputs()));
    auto compared = llvm::cantFail(
        compare(*noise->disturbed(0)[0].value.tensor(), *noise->unrounded()[0].value.tensor()));
    // The same signs give the same numbers, others give others.
    auto again = llvm::cantFail(Noise::create(*layer.function, Compute::Float32, known));
    again->begin(1);
    llvm::cantFail(again->step(layer.inputs()));
    auto same = llvm::cantFail(
        compare(*noise->disturbed(0)[0].value.tensor(), *again->disturbed(0)[0].value.tensor()));
    EXPECT_EQ(same.maxAbsolute, 0);
    llvm::cantFail(again->disturbAgain());
    auto others = llvm::cantFail(
        compare(*again->disturbed(0)[0].value.tensor(), *again->disturbed(1)[0].value.tensor()));
    EXPECT_GT(others.maxAbsolute, 0);
    return compared.rmsError / compared.rmsReference;
  };
  at::Tensor rounding = weight.to(at::kHalf).to(at::kFloat) - weight;
  double real = (rounding.norm() / weight.norm()).item<double>();
  EXPECT_NEAR(distance({}) / real, 2 * std::sqrt(3.0), 0.4);
  EXPECT_LT(distance({toTensorData(weight, DType::F32)}), 1e-6);
}

TEST(Verdict, AFaultBelowRoundingIsSeenWhereTheWeightIsKnown) {
  at::Tensor weight = randomWeight(16, 24), other = randomWeight(16, 24);
  Layer layer(weight);
  OutputReport good = layer.verify(layer.model(weight), {weight});
  EXPECT_EQ(good.verdict, Verdict::Fine);
  EXPECT_GT(good.explained, good.distance);
  EXPECT_EQ(layer.verify(layer.model(weight)).verdict, Verdict::Fine); // by the moved weight
  other *= 1.0002;
  EXPECT_EQ(layer.verify(layer.model(other), {weight}).verdict, Verdict::Wrong);
  other *= 1.005;
  OutputReport bad = layer.verify(layer.model(other));
  EXPECT_EQ(bad.verdict, Verdict::Wrong);
  EXPECT_GT(bad.distance, bad.explained);
}

TEST(Verdict, ATieMayFall) {
  at::Tensor weight = randomWeight(16, 24);
  weight[9] = weight[4] * 1.00001; // nearly as large, never decided in fp16
  Layer layer(weight);
  Value *index = layer.b.emit(OpKind::reduce_argmax,
                              {{reduce_argmax::x, layer.product},
                               {reduce_argmax::axis, 1},
                               {reduce_argmax::keep_dims, false}},
                              "index");
  layer.function->body().setOutputs({index});
  auto argmax = [](at::Tensor y) { return y.argmax(1); };
  OutputReport report = layer.verify(layer.model(weight, argmax), {weight});
  EXPECT_EQ(report.verdict, Verdict::Fine) << report.unexplained;
  EXPECT_TRUE(report.jumps);
  auto wrong = [](at::Tensor y) { return (y.argmax(1) + 1) % 16; };
  report = layer.verify(layer.model(weight, wrong), {weight});
  EXPECT_EQ(report.verdict, Verdict::Wrong);
  EXPECT_GT(report.unexplained, 0);
}

TEST(Verdict, RoundingMayDecideAboutASize) {
  // Whole inputs and weights, and one of them that fp16 takes beyond the others' threshold.
  at::Tensor weight = randomWeight(16, 24);
  weight.zero_();
  weight.select(1, 0).fill_(1.0f);
  weight[9][0] = 1.0001f; // 1 in fp16
  Layer layer(weight);
  Value *ratio = layer.b.emit(
      OpKind::real_div,
      {{real_div::x, layer.product},
       {real_div::y, layer.b.emit(OpKind::slice_by_index, {{slice_by_index::x, layer.product},
                                                           {slice_by_index::begin, {0, 0}},
                                                           {slice_by_index::end, {4, 1}}})}},
      "ratio");
  Value *over = layer.b.emit(OpKind::greater, {{greater::x, ratio}, {greater::y, 1.0}}, "over");
  Value *found = layer.b.emit(OpKind::non_zero, {{non_zero::x, over}}, "found");
  layer.function->body().setOutputs({found});
  auto positions = [](at::Tensor y) { return (y / y.slice(1, 0, 1) > 1.0).nonzero(); };
  OutputReport report = layer.verify(layer.model(weight, positions), {weight});
  EXPECT_EQ(report.verdict, Verdict::Rounded);
  ASSERT_TRUE(report.roundedType.has_value());
  EXPECT_EQ(report.roundedType->shape()[0], Dim(0));
  EXPECT_EQ(report.comparison.elements, 8);
  auto others = [](at::Tensor y) { return (y / y.slice(1, 0, 1) > 1.0).nonzero() + 1; };
  report = layer.verify(layer.model(weight, others), {weight});
  EXPECT_EQ(report.verdict, Verdict::Wrong);
}

TEST(Verdict, RoundingThatGoesFarIsNamed) {
  at::Tensor weight = randomWeight(16, 24);
  Layer layer(weight);
  // Differences of what fp16 has no digits for.
  layer.b.setLocation(Location("norm", "m.py:3", "aten::add"));
  Value *shifted =
      layer.b.emit(OpKind::add, {{add::x, layer.product}, {add::y, 1000.0}}, "shifted");
  layer.b.setLocation({});
  Value *back = layer.b.emit(OpKind::sub, {{sub::x, shifted}, {sub::y, 1000.0}}, "back");
  layer.function->body().setOutputs({back});
  OutputReport report = layer.verify(layer.model(weight), {weight});
  EXPECT_EQ(report.verdict, Verdict::Rounded);
  EXPECT_TRUE(isFar(report));
  ASSERT_FALSE(report.causes.empty());
  EXPECT_THAT(report.causes[0].operation, HasSubstr("sub 'back'"));
  EXPECT_GT(report.causes[0].after, 10 * report.causes[0].before);
}

namespace {

/// Rounded to multiples of `scale`, from -128 to 127.
Value *quantised(Layer &layer, double scale) {
  Value *integers = layer.b.emit(OpKind::quantize,
                                 {{quantize::input, layer.product},
                                  {quantize::scale, scale},
                                  {quantize::output_dtype, "int8"}},
                                 "integers");
  return layer.b.emit(OpKind::dequantize,
                      {{dequantize::input, integers}, {dequantize::scale, scale}}, "numbers");
}

/// Moves the product by about 1: numbers near 4000 are 2 and 4 apart in fp16.
void loseSmallParts(Layer &layer) {
  Value *shifted =
      layer.b.emit(OpKind::add, {{add::x, layer.product}, {add::y, 4000.0}}, "shifted");
  layer.product = layer.b.emit(OpKind::sub, {{sub::x, shifted}, {sub::y, 4000.0}}, "back");
}

at::Tensor rounded(const at::Tensor &y, double scale) {
  return at::clamp(at::round(y / scale), -128, 127) * scale;
}

} // namespace

TEST(Verdict, ANumberMayFallOnTheNextStep) {
  // A step is a tenth of the output: far more than rounding may change, and what the model asks
  // for.
  at::Tensor weight = randomWeight(64, 256);
  Layer layer(weight);
  layer.function->body().setOutputs({quantised(layer, 4)});
  OutputReport report =
      layer.verify(layer.model(weight, [](at::Tensor y) { return rounded(y, 4); }), {weight});
  EXPECT_EQ(report.verdict, Verdict::Fine);
  EXPECT_EQ(report.comparison.maxAbsolute, 4);
  ASSERT_TRUE(report.steps.has_value());
  EXPECT_NEAR(report.steps->maxAbsolute, 2, 0.1);
  // Other steps, numbers that all lie one further, and another weight are none of it.
  auto other = [&](std::function<at::Tensor(at::Tensor)> then, const at::Tensor &known) {
    return layer.verify(layer.model(known, std::move(then)), {weight}).verdict;
  };
  EXPECT_EQ(other([](at::Tensor y) { return rounded(y, 4.25); }, weight), Verdict::Wrong);
  EXPECT_EQ(other([](at::Tensor y) { return rounded(y, 4) + 4; }, weight), Verdict::Wrong);
  EXPECT_EQ(other([](at::Tensor y) { return rounded(y, 4); }, weight * 1.05), Verdict::Wrong);
}

TEST(Verdict, StepsExplainNoMoreThanTheyDo) {
  // Steps far smaller than what half precision loses before them.
  at::Tensor weight = randomWeight(64, 256);
  Layer layer(weight);
  loseSmallParts(layer);
  layer.function->body().setOutputs({quantised(layer, 0.5)});
  OutputReport report =
      layer.verify(layer.model(weight, [](at::Tensor y) { return rounded(y, 0.5); }), {weight});
  EXPECT_EQ(report.verdict, Verdict::Rounded);
  // And steps that are the output: the sign of nearly everything.
  Layer coarse(weight);
  loseSmallParts(coarse);
  coarse.function->body().setOutputs({quantised(coarse, 40)});
  report =
      coarse.verify(coarse.model(weight, [](at::Tensor y) { return rounded(y, 40); }), {weight});
  EXPECT_EQ(report.verdict, Verdict::Rounded);
}

} // namespace plait::runtime
