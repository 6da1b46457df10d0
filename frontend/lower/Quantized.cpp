// Operators for quantised tensors: aten::quantize_per_tensor and what reads it, and the namespace
// `quantized`. A layer multiplies the numbers that stand behind the integers, and rounds the
// result:
//
//     y = quantized::linear(x, packed, scale, zero_point)
//
//     w = constexpr_blockwise_shift_scale(data = the integers of packed, scale = theirs)
//     y = dequantize(quantize(linear(x, w, b), scale, zero_point))
//
// LibTorch packs weights for its kernels (Conv2dPackedParamsBase); it unpacks them here.
#include "frontend/lower/Quantized.h"
#include "frontend/lower/Contract.h"
#include "frontend/lower/Families.h"

#include "llvm/ADT/StringSwitch.h"

#include <ATen/Functions.h>
#include <cmath>
#include <torch/csrc/jit/runtime/operator.h>

namespace plait::frontend {

using llvm::StringRef;

OnQuantized onQuantized(StringRef name) {
  using enum OnQuantized;
  return llvm::StringSwitch<OnQuantized>(name)
      .Cases("aten::size", "aten::sym_size", "aten::dim", "aten::len", AsAny)
      .Cases("aten::numel", "aten::sym_numel", "aten::is_floating_point", AsAny)
      .Cases("aten::is_complex", "prim::dtype", "prim::device", "prim::layout", AsAny)
      .Cases("aten::view", "aten::reshape", "aten::flatten", "aten::unflatten", Same)
      .Cases("aten::permute", "aten::transpose", "aten::t", "aten::movedim", Same)
      .Cases("aten::squeeze", "aten::unsqueeze", "aten::expand", "aten::view_as", Same)
      .Cases("aten::slice", "aten::select", "aten::narrow", "aten::chunk", Same)
      .Cases("aten::split", "aten::split_with_sizes", "aten::unbind", "aten::detach", Same)
      .Cases("aten::contiguous", "aten::clone", "aten::alias", "aten::dropout", Same)
      .Cases("aten::relu", "aten::max_pool1d", "aten::max_pool2d", "aten::max_pool3d", Same)
      .Cases("aten::upsample_nearest2d", "aten::upsample_nearest3d", Same)
      .Cases("aten::channel_shuffle", "aten::pixel_shuffle", "aten::pixel_unshuffle", Same)
      .Cases("aten::reflection_pad1d", "aten::reflection_pad2d", "aten::flip", Same)
      .Cases("aten::avg_pool2d", "aten::avg_pool3d", "aten::adaptive_avg_pool2d", Rounded)
      .Cases("aten::adaptive_avg_pool3d", "aten::mean", "aten::upsample_bilinear2d", Rounded)
      .Cases("aten::hardtanh", "aten::relu6", "aten::clamp", "aten::leaky_relu", Rounded)
      .Cases("aten::threshold", "aten::gelu", "aten::constant_pad_nd", "aten::cat", Rounded)
      .Cases("aten::sigmoid", "aten::hardsigmoid", Sigmoid)
      .Case("aten::tanh", Tanh)
      .Default(Refuse);
}

namespace {
namespace quantized {

std::string fullName(const c10::FunctionSchema &schema) {
  const std::string &overload = schema.operator_name().overload_name;
  return overload.empty() ? schema.name() : schema.name() + "." + overload;
}

/// Another operator as a part of this one.
std::vector<Val> callAll(ValueCall &c, const char *name, const char *overload,
                         std::vector<Val> arguments) {
  auto operation = torch::jit::findOperatorFor(c10::OperatorName(name, overload));
  auto results = c.engine().call(operation->schema(), std::move(arguments));
  if (!results || results->empty() || llvm::any_of(*results, Engine::hasPoison))
    throw Abandoned();
  return std::move(*results);
}

Val callOther(ValueCall &c, const char *name, const char *overload, std::vector<Val> arguments) {
  return callAll(c, name, overload, std::move(arguments)).front();
}

Val relu(ValueCall &c, Val x) { return callOther(c, "aten::relu", "", {std::move(x)}); }

double knownNumber(ValueCall &c, StringRef name) {
  const Val &val = *c.find(name);
  if (auto tensor = val.tensor())
    if (at::Tensor known = c.engine().readKnown(*tensor); known.defined() && known.numel() == 1)
      return known.item<double>();
  if (!val.known() || !val.known()->isScalar())
    throw Refusal(Code::NotKnown, fmt::format("'{0}' must be known while compiling: Core ML's "
                                              "quantize takes constants",
                                              name));
  double number = val.known()->isComplexDouble() ? NAN : val.known()->toScalar().toDouble();
  if (!(std::fabs(number) <= 1e9))
    throw Refusal(Code::UnsupportedForm, fmt::format("'{0}' is {1}", name, number));
  return number;
}

/// The first of these arguments that the schema has.
StringRef nameAmong(ValueCall &c, std::initializer_list<StringRef> names) {
  for (StringRef name : names)
    if (c.schema().argumentIndexWithName(name.str()))
      return name;
  return "";
}

/// Scale and zero point of the result, where the operator is given them.
std::optional<Steps> stepsOfResult(ValueCall &c) {
  StringRef scale = nameAmong(c, {"output_scale", "Y_scale_i", "scale"});
  StringRef zero = nameAmong(c, {"output_zero_point", "Y_zero_point_i", "zero_point"});
  if (scale.empty() || zero.empty() || c.find(scale)->isNone() || c.find(zero)->isNone())
    return std::nullopt;
  return Steps{knownNumber(c, scale), int64_t(knownNumber(c, zero))};
}

// ---- To quantised tensors, and from them
// -------------------------------------------------------

at::ScalarType asked(ValueCall &c) { return at::ScalarType(*c.integer("dtype")); }

Handled quantizeTensor(ValueCall &c) {
  if (c.engine().readKnown(*c.self()).defined())
    return std::nullopt; // LibTorch's to do
  return one(c.engine().quantize(
      c[0], {knownNumber(c, "scale"), int64_t(knownNumber(c, "zero_point"))}, asked(c)));
}

Handled dequantizeTensor(ValueCall &c) {
  auto tensor = c.self();
  return one(tensor->isQuantized() ? c.engine().dequantize(c[0])
                                   : c.engine().castTensor(tensor, at::kFloat));
}

Handled dequantizeTensors(ValueCall &c) {
  std::vector<Val> values;
  for (const Val &value : c[0].list()->values)
    values.push_back(c.engine().dequantize(value));
  return one(c.engine().makeList(c[0].list()->elementType, std::move(values)));
}

Handled integersOf(ValueCall &c) {
  auto tensor = c.self();
  if (c.engine().readKnown(*tensor).defined())
    return std::nullopt;
  // The numbers are multiples of the scale: this rounds nothing away.
  Steps steps = Engine::stepsOf(c[0]);
  Val ratio = callOther(c, "aten::div", "Scalar",
                        {c.engine().dequantize(c[0]), Val(c10::IValue(steps.scale))});
  Val whole = callOther(c, "aten::add", "Scalar",
                        {callOther(c, "aten::round", "", {ratio}),
                         Val(c10::IValue(steps.zeroPoint)), Val(c10::IValue(1))});
  return one(c.engine().castTensor(whole.tensor(), c10::toUnderlying(tensor->dtype())));
}

Handled scaleOf(ValueCall &c) { return one(c10::IValue(Engine::stepsOf(c[0]).scale)); }
Handled zeroPointOf(ValueCall &c) { return one(c10::IValue(Engine::stepsOf(c[0]).zeroPoint)); }
Handled isQuantized(ValueCall &c) { return one(c10::IValue(c.self()->isQuantized())); }

// ---- Operators that are others on the numbers
// --------------------------------------------------

/// What the operator computes with the numbers: an operator of ATen, and its arguments. Those that
/// begin with = are literals; others are arguments of the quantised operator.
struct Form {
  const char *name, *other, *overload, *arguments;
  bool isRelu = false;
};
constexpr Form kForms[] = {
    {"quantized::add", "aten::add", "Tensor", "qa qb =1"},
    {"quantized::add_relu", "aten::add", "Tensor", "qa qb =1", true},
    {"quantized::mul", "aten::mul", "Tensor", "qa qb"},
    {"quantized::mul_relu", "aten::mul", "Tensor", "qa qb", true},
    {"quantized::matmul", "aten::matmul", "", "qa qb"},
    {"quantized::cat", "aten::cat", "", "qx dim"},
    {"quantized::cat_relu", "aten::cat", "", "qx dim", true},
    {"quantized::batch_norm", "aten::batch_norm", "",
     "qx weight bias mean var =False =0.0 eps =False"},
    {"quantized::batch_norm_relu", "aten::batch_norm", "",
     "qx weight bias mean var =False =0.0 eps =False", true},
    {"quantized::batch_norm1d", "aten::batch_norm", "",
     "qx weight bias mean var =False =0.0 eps =False"},
    {"quantized::batch_norm1d_relu", "aten::batch_norm", "",
     "qx weight bias mean var =False =0.0 eps =False", true},
    {"quantized::batch_norm2d", "aten::batch_norm", "",
     "qx weight bias mean var =False =0.0 eps =False"},
    {"quantized::batch_norm2d_relu", "aten::batch_norm", "",
     "qx weight bias mean var =False =0.0 eps =False", true},
    {"quantized::batch_norm3d", "aten::batch_norm", "",
     "qx weight bias mean var =False =0.0 eps =False"},
    {"quantized::batch_norm3d_relu", "aten::batch_norm", "",
     "qx weight bias mean var =False =0.0 eps =False", true},
    {"quantized::layer_norm", "aten::layer_norm", "", "input normalized_shape weight bias eps"},
    {"quantized::group_norm", "aten::group_norm", "", "input num_groups weight bias eps"},
    {"quantized::instance_norm", "aten::instance_norm", "",
     "input weight bias =None =None =True =0.0 eps =False"},
    {"quantized::softmax", "aten::softmax", "int", "qx dim"},
    {"quantized::sigmoid", "aten::sigmoid", "", "qx"},
    {"quantized::hardswish", "aten::hardswish", "", "input"},
    {"quantized::leaky_relu", "aten::leaky_relu", "", "qx negative_slope"},
    {"quantized::elu", "aten::elu", "", "self alpha scale input_scale"},
    {"quantized::celu", "aten::celu", "", "self alpha"},
    {"quantized::prelu", "aten::prelu", "", "qx weight"},
    {"quantized::clamp", "aten::clamp", "", "qx min max"},
    {"quantized::relu6", "aten::relu6", "", "qx"},
    {"quantized::threshold", "aten::threshold", "", "qx threshold value"},
    {"quantized::max_pool1d", "aten::max_pool1d", "",
     "qx kernel_size stride padding dilation ceil_mode"},
    {"quantized::max_pool2d", "aten::max_pool2d", "",
     "qx kernel_size stride padding dilation ceil_mode"},
};

Val literal(StringRef text) {
  double number;
  int64_t integer;
  if (text == "None")
    return Val(c10::IValue());
  if (!text.getAsInteger(10, integer))
    return Val(c10::IValue(integer));
  if (!text.getAsDouble(number))
    return Val(c10::IValue(number));
  return Val(c10::IValue(text == "True"));
}

Handled otherOnNumbers(ValueCall &c) {
  std::string own = fullName(c.schema());
  const Form &form = *llvm::find_if(kForms, [&](const Form &one) { return own == one.name; });
  llvm::SmallVector<StringRef, 9> names;
  StringRef(form.arguments).split(names, ' ');
  std::vector<Val> arguments;
  std::optional<Val> first;
  for (StringRef name : names) {
    Val val = name.consume_front("=") ? literal(name) : *c.find(name);
    auto list = val.list();
    if (list && !first && list->values.empty())
      throw Refusal(Code::UnsupportedForm, "a list of no tensors");
    if (!first)
      first = list ? list->values.front() : val;
    if (list && list->elementType->kind() == c10::TypeKind::TensorType) {
      std::vector<Val> numbers;
      for (const Val &element : list->values)
        numbers.push_back(c.engine().dequantize(element));
      val = c.engine().makeList(list->elementType, std::move(numbers));
    }
    arguments.push_back(c.engine().dequantize(val));
  }
  if (!first->tensor()->isQuantized())
    throw Refusal(Code::UnsupportedType, "its first argument has to be a quantised tensor");
  Val result = callOther(c, form.other, form.overload, std::move(arguments));
  if (form.isRelu)
    result = relu(c, result);
  auto steps = stepsOfResult(c);
  return one(c.engine().quantize(result, steps ? *steps : Engine::stepsOf(*first),
                                 first->tensor()->dtype()));
}

/// With a number: the scale follows it, so that few integers change. `qa` may stand second.
template <bool isProduct, bool isRelu> Handled withNumber(ValueCall &c) {
  const Val &tensor = *c.find("qa");
  Steps steps = Engine::stepsOf(tensor);
  double number = knownNumber(c, "b");
  at::ScalarType dtype = tensor.tensor()->dtype();
  int64_t least = dtype == at::kQInt8 ? -128 : 0, most = least + 255;
  Val numbers = c.engine().dequantize(tensor), result;
  if (isProduct) {
    result = callOther(c, "aten::mul", "Scalar", {numbers, Val(c10::IValue(number))});
    if (number > 0)
      steps.scale *= number;
    else if (number < 0)
      steps = {steps.scale * -number, most - (steps.zeroPoint - least)};
    else
      steps = {1, 0};
  } else {
    double ratio = std::nearbyint(number / steps.scale);
    if (!(std::fabs(ratio) <= 1e9))
      throw Refusal(Code::UnsupportedForm, fmt::format("the number is {0} steps", ratio));
    auto whole = int64_t(ratio);
    result =
        callOther(c, "aten::add", "Scalar",
                  {numbers, Val(c10::IValue(double(whole) * steps.scale)), Val(c10::IValue(1))});
    int64_t zero = steps.zeroPoint - whole;
    double range = double(most - least);
    if (least > zero)
      steps = {double(float(double(most - zero) / range * steps.scale)), least};
    else if (most < zero)
      steps = {double(float(double(zero - least) / range * steps.scale)), most};
    else
      steps.zeroPoint = zero;
  }
  if (isRelu)
    result = relu(c, result);
  return one(c.engine().quantize(result, steps, dtype));
}

// ---- Layers
// ------------------------------------------------------------------------------------

/// What LibTorch says of packed weights.
c10::IValue ask(const Val &packed, const std::string &question) {
  auto object = packed.known();
  if (!object || !object->isObject())
    throw Refusal(Code::NotKnown, "its packed weight must be one that the model holds");
  torch::jit::Stack stack{*object};
  torch::jit::findOperatorFor(c10::OperatorName(question, ""))->getOperation()(stack);
  return stack.size() == 1 ? stack[0] : c10::ivalue::Tuple::create(std::move(stack));
}

struct Layer {
  Val weight, bias;
};

Layer unpack(ValueCall &c, const Val &packed, const std::string &question) {
  c10::IValue answer = ask(packed, question);
  const auto &parts = answer.toTupleRef().elements();
  at::Tensor weight = parts[0].toTensor();
  Layer layer{c.engine().fromPacked(weight, "weight"), Val(c10::IValue())};
  layer.weight = c.engine().dequantize(layer.weight);
  if (parts[1].isTensor() && parts[1].toTensor().defined())
    layer.bias = c.engine().fromPacked(parts[1].toTensor().contiguous(), "bias");
  return layer;
}

Val linear(ValueCall &c, Val x, const std::string &question = "quantized::linear_unpack") {
  Layer layer = unpack(c, *c.find("W_prepack"), question);
  return callOther(c, "aten::linear", "", {std::move(x), layer.weight, layer.bias});
}

/// The result of a layer that is given a quantised tensor.
Handled rounded(ValueCall &c, const Val &input, Val numbers) {
  auto steps = stepsOfResult(c);
  if (!steps)
    throw Refusal(Code::NotKnown, "scale and zero point of the result must be known");
  return one(c.engine().quantize(numbers, *steps, input.tensor()->dtype()));
}

const Val &quantizedInput(ValueCall &c, StringRef name) {
  const Val &input = *c.find(name);
  if (!input.tensor()->isQuantized())
    throw Refusal(Code::UnsupportedType, fmt::format("'{0}' has to be a quantised tensor", name));
  return input;
}

template <bool isRelu> Handled linearLayerOf(ValueCall &c) {
  const Val &input = quantizedInput(c, "X");
  Val y = linear(c, c.engine().dequantize(input));
  return rounded(c, input, isRelu ? relu(c, y) : y);
}

/// Dynamic layers choose steps for each input: 256 of them from the least number to the largest, or
/// 128. Zero is a step.
Val roundedDynamically(ValueCall &c, const Val &x) {
  auto number = [](double value) { return Val(c10::IValue(value)); };
  auto other = [&](const char *name, const char *overload, std::vector<Val> arguments) {
    return callOther(c, name, overload, std::move(arguments));
  };
  auto ofAll = [&](const char *name) {
    return other(name, "",
                 {x, c.engine().makeList(c10::IntType::get(), {}), Val(c10::IValue(false))});
  };
  // LibTorch's least scale, which is also the least normal number of half precision.
  constexpr double kLeastScale = 6.1e-5;
  double most = c.isFalse("reduce_range") ? 255 : 127;
  Val low = other("aten::clamp_max", "", {ofAll("aten::amin"), number(0)});
  Val high = other("aten::clamp_min", "", {ofAll("aten::amax"), number(0)});
  Val range = other("aten::sub", "Tensor", {high, low});
  Val scale = other("aten::clamp_min", "",
                    {other("aten::div", "Scalar", {range, number(most)}), number(kLeastScale)});
  Val below = other("aten::round", "", {other("aten::div", "Tensor", {low, scale})});
  Val steps = other("aten::round", "", {other("aten::div", "Tensor", {x, scale})});
  Val above = other("aten::add", "Scalar", {below, number(most), Val(c10::IValue(1))});
  steps = other("aten::minimum", "", {other("aten::maximum", "", {steps, below}), above});
  return other("aten::mul", "Tensor", {steps, scale});
}

template <bool isRelu> Handled dynamicLinear(ValueCall &c) {
  Val y = linear(c, roundedDynamically(c, *c.find("X")));
  return one(isRelu ? relu(c, y) : y);
}

/// Weights in half precision; nothing else is rounded.
template <bool isRelu> Handled halfLinear(ValueCall &c) {
  Val y = linear(c, *c.find("X"), "quantized::linear_unpack_fp16");
  return one(isRelu ? relu(c, y) : y);
}

template <unsigned spatial, bool isTransposed> Val convolution(ValueCall &c, Val x) {
  const Val &packed = *c.find("packed_weight");
  std::string kind = isTransposed ? "quantized::conv_transpose" : "quantized::conv";
  // One axis is packed as two.
  std::string about = spatial == 3 ? "quantized::conv3d_" : "quantized::conv2d_";
  Layer layer = unpack(c, packed, kind + std::to_string(spatial) + "d_unpack");
  auto integers = [&](const char *what) {
    std::vector<int64_t> all = ask(packed, about + what).toIntVector();
    std::vector<Val> last;
    for (size_t i = all.size() - spatial; i < all.size(); ++i)
      last.emplace_back(c10::IValue(all[i]));
    return c.engine().makeList(c10::IntType::get(), std::move(last));
  };
  return callOther(c, "aten::convolution", "",
                   {std::move(x), layer.weight, layer.bias, integers("stride"), integers("padding"),
                    integers("dilation"), Val(c10::IValue(isTransposed)),
                    integers("output_padding"), Val(ask(packed, about + "groups"))});
}

template <unsigned spatial, bool isTransposed, bool isRelu> Handled convLayer(ValueCall &c) {
  const Val &input = quantizedInput(c, "qx");
  Val y = convolution<spatial, isTransposed>(c, c.engine().dequantize(input));
  return rounded(c, input, isRelu ? relu(c, y) : y);
}

// ---- Embeddings
// --------------------------------------------------------------------------------

Val table(ValueCall &c) {
  c10::IValue weight = ask(*c.find("weight"), "quantized::embedding_bag_unpack");
  return c.engine().dequantize(c.engine().fromPacked(weight.toTensor(), "weight"));
}

void refusePruned(ValueCall &c) {
  StringRef mapping = nameAmong(c, {"compressed_indices_mapping"});
  if (!c.isFalse("pruned_weights") || (!mapping.empty() && !c.find(mapping)->isNone()))
    throw Refusal(Code::UnsupportedForm,
                  "rows of its table are left out; quantise the whole table: pruned_weights=False");
}

Handled embedding(ValueCall &c) {
  refusePruned(c);
  return one(callOther(c, "aten::embedding", "", {table(c), *c.find("indices")}));
}

/// It adds, whatever its mode says, as LibTorch's kernel does.
Handled embeddingBag(ValueCall &c) {
  refusePruned(c);
  Val no(c10::IValue(false)), sum(c10::IValue(0));
  auto bags = torch::jit::findOperatorFor({"aten::embedding_bag", ""});
  // Where each index went is not asked for.
  Site site{.location = c.engine().builder().location(), .used = 1};
  auto results = c.engine().lower(site, bags->schema(),
                                  {table(c), *c.find("indices"), *c.find("offsets"), no, sum, no,
                                   *c.find("per_sample_weights"), *c.find("include_last_offset")});
  if (results.empty() || Engine::hasPoison(results.front()))
    throw Abandoned();
  return one(results.front());
}

} // namespace quantized
} // namespace

void registerQuantized(Table &table) {
  using namespace quantized;
  table.addValues({"aten::quantize_per_tensor", "aten::quantize_per_tensor.tensor_qparams"},
                  quantizeTensor);
  table.addValues("aten::dequantize", {"self"}, dequantizeTensor);
  table.addValues("aten::dequantize", {"tensors", "list"}, dequantizeTensors);
  table.addValues({"aten::int_repr"}, integersOf);
  table.addValues({"aten::q_scale"}, scaleOf);
  table.addValues({"aten::q_zero_point"}, zeroPointOf);
  table.addValues({"prim::is_quantized"}, isQuantized);

  for (const Form &form : kForms)
    table.addValues(form.name, {""}, otherOnNumbers);
  table.addValues("quantized::add", {"Scalar", "Scalar2"}, withNumber<false, false>);
  table.addValues("quantized::add_relu", {"Scalar", "Scalar2"}, withNumber<false, true>);
  table.addValues("quantized::mul", {"Scalar", "Scalar2"}, withNumber<true, false>);
  table.addValues("quantized::mul_relu", {"Scalar", "Scalar2"}, withNumber<true, true>);
  table.addValues("quantized::add_scalar", {"", "Tensor"}, withNumber<false, false>);
  table.addValues("quantized::add_scalar_relu", {"", "Tensor"}, withNumber<false, true>);
  table.addValues("quantized::mul_scalar", {"", "Tensor"}, withNumber<true, false>);
  table.addValues("quantized::mul_scalar_relu", {"", "Tensor"}, withNumber<true, true>);

  table.addValues({"quantized::linear"}, linearLayerOf<false>);
  table.addValues({"quantized::linear_relu"}, linearLayerOf<true>);
  table.addValues({"quantized::linear_dynamic"}, dynamicLinear<false>);
  table.addValues({"quantized::linear_relu_dynamic"}, dynamicLinear<true>);
  table.addValues({"quantized::linear_dynamic_fp16"}, halfLinear<false>);
  table.addValues({"quantized::linear_relu_dynamic_fp16"}, halfLinear<true>);
  table.addValues({"quantized::conv1d"}, convLayer<1, false, false>);
  table.addValues({"quantized::conv1d_relu"}, convLayer<1, false, true>);
  table.addValues({"quantized::conv2d.new"}, convLayer<2, false, false>);
  table.addValues({"quantized::conv2d_relu.new"}, convLayer<2, false, true>);
  table.addValues({"quantized::conv3d.new"}, convLayer<3, false, false>);
  table.addValues({"quantized::conv3d_relu.new"}, convLayer<3, false, true>);
  table.addValues({"quantized::conv_transpose1d"}, convLayer<1, true, false>);
  table.addValues({"quantized::conv_transpose2d"}, convLayer<2, true, false>);
  table.addValues({"quantized::conv_transpose3d"}, convLayer<3, true, false>);
  table.addValues({"quantized::embedding_byte", "quantized::embedding_4bit"}, embedding);
  table.addValues({"quantized::embedding_bag_byte", "quantized::embedding_bag_4bit"}, embeddingBag);
}

} // namespace plait::frontend
