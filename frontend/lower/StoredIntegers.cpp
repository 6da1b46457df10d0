// Integers with scale and zero point beside them, as torch.ao.quantization's decomposed operators
// and torchao have them. What is known while compiling is a weight, and becomes a constant that
// keeps its integers; one scale for a tensor that is not known is Core ML's quantize and
// dequantize. Anything else is said by other operators (decompositions/quantized.py).
//
//     dequantize_affine(w, [1, 32], scale, zero)      constexpr_blockwise_shift_scale(w, scale,
//     zero) dequantize_per_tensor(quantize_per_tensor(x))   dequantize(quantize(x))
#include "frontend/lower/Families.h"

#include "llvm/ADT/STLExtras.h"

#include <ATen/Functions.h>
#include <torch/csrc/jit/runtime/operator.h>

namespace plait::frontend {

using mil::DType;

namespace {
namespace stored_integers {

at::Tensor knownTensor(ValueCall &c, llvm::StringRef name) {
  auto tensor = c.find(name)->tensor();
  return tensor ? c.engine().readKnown(*tensor) : at::Tensor();
}

std::optional<double> knownScalar(ValueCall &c, llvm::StringRef name) {
  const Val &val = *c.find(name);
  if (auto known = val.known(); known && known->isScalar())
    return known->toScalar().toDouble();
  if (at::Tensor tensor = knownTensor(c, name); tensor.defined() && tensor.numel() == 1)
    return tensor.item<double>();
  return std::nullopt;
}

/// The weight in `name`; undefined where it is not known, or nothing that is stored as integers.
at::Tensor knownIntegers(ValueCall &c, llvm::StringRef name) {
  at::Tensor integers = knownTensor(c, name);
  bool fits = integers.defined() && integers.dim() >= 2 && integers.numel() > 0 &&
              (integers.scalar_type() == at::kChar || integers.scalar_type() == at::kByte);
  return fits ? integers : at::Tensor();
}

/// Whether 4 bits are enough for each of the integers.
bool isOfHalfBytes(const at::Tensor &integers) {
  int64_t low = integers.min().item<int64_t>(), high = integers.max().item<int64_t>();
  return integers.scalar_type() == at::kChar ? low >= -8 && high <= 7 : high <= 15;
}

/// The numbers of a weight in the type that is asked for.
Handled numbersOfWeight(ValueCall &c, llvm::StringRef name, AffineWeight weight,
                        llvm::StringRef dtype) {
  auto asked = c.integer(dtype);
  at::ScalarType type = asked ? at::ScalarType(*asked) : at::kFloat;
  if (!at::isFloatingType(type))
    return std::nullopt;
  weight.isHalfByte = isOfHalfBytes(weight.integers);
  mil::Value *value = c.engine().compressedConstant(weight, Engine::originOf(*c.find(name)), "");
  return one(c.engine().makeTensor(value, type));
}

/// Scales, and zero points where there are some. False where they are not known.
bool setScales(ValueCall &c, AffineWeight &weight, llvm::StringRef scales, llvm::StringRef zeros) {
  weight.scales = knownTensor(c, scales);
  bool hasZeros = !c.find(zeros)->isNone();
  if (hasZeros)
    weight.zeros = knownTensor(c, zeros);
  return weight.scales.defined() && weight.zeros.defined() == hasZeros;
}

Handled dequantizeChannels(ValueCall &c) {
  AffineWeight weight{.integers = knownIntegers(c, "input")};
  if (!weight.integers.defined() || !setScales(c, weight, "scales", "zero_points"))
    return std::nullopt;
  weight.blocks.assign(size_t(weight.integers.dim()), 1);
  weight.blocks[size_t(c.axis("axis", weight.integers.dim()))] = weight.scales.numel();
  return numbersOfWeight(c, "input", weight, "out_dtype");
}

Handled dequantizeGroups(ValueCall &c) {
  AffineWeight weight{.integers = knownIntegers(c, "input")};
  auto size = c.integer("group_size");
  if (!weight.integers.defined() || !size || !setScales(c, weight, "scales", "zero_points"))
    return std::nullopt;
  int64_t rows = weight.integers.size(0), count = weight.integers.size(-1);
  int64_t group = *size > count && weight.scales.size(-1) == 1 ? count : *size;
  if (weight.integers.dim() != 2 || group < 1 || count % group)
    return std::nullopt;
  weight.blocks = {rows, count / group};
  return numbersOfWeight(c, "input", weight, "output_dtype");
}

Handled dequantizeBlocks(ValueCall &c) {
  AffineWeight weight{.integers = knownIntegers(c, "input")};
  auto sizes = c.find("block_size")->list();
  if (!weight.integers.defined() || !sizes || !setScales(c, weight, "scale", "zero_point") ||
      sizes->values.size() != size_t(weight.integers.dim()))
    return std::nullopt;
  for (auto [axis, size] : llvm::enumerate(sizes->values)) {
    int64_t whole = weight.integers.size(int64_t(axis));
    auto block = size.asDim() ? size.asDim()->tryValue() : std::nullopt;
    if (!block || *block < 1 || whole % *block)
      return std::nullopt;
    weight.blocks.push_back(whole / *block);
  }
  return numbersOfWeight(c, "input", weight, "output_dtype");
}

// ---- One scale for a tensor
// --------------------------------------------------------------------

std::optional<Steps> stepsOf(ValueCall &c) {
  auto scale = knownScalar(c, "scale"), zero = knownScalar(c, "zero_point");
  return scale && zero ? std::optional(Steps{*scale, int64_t(*zero)}) : std::nullopt;
}

Handled quantizeTensor(ValueCall &c) {
  auto tensor = c.self();
  auto steps = stepsOf(c);
  auto least = c.integer("quant_min"), most = c.integer("quant_max"), type = c.integer("dtype");
  if (!steps || !least || !most || !type || c.engine().readKnown(*tensor).defined())
    return std::nullopt;
  bool isSigned = *type == int64_t(at::kChar);
  int64_t low = isSigned ? -128 : 0;
  if ((!isSigned && *type != int64_t(at::kByte)) || *least < low || *most > low + 255 ||
      steps->zeroPoint < low || steps->zeroPoint > low + 255 ||
      !at::isFloatingType(tensor->dtype()))
    return std::nullopt;
  mil::Value *x = c.engine().read(*tensor);
  mil::Builder &builder = c.engine().builder();
  if (x->type.rank() == 0)
    return std::nullopt;
  if (*least > low || *most < low + 255) {
    auto numberOf = [&](int64_t integer) {
      return float(double(integer - steps->zeroPoint) * steps->scale);
    };
    x = builder.emit(mil::OpKind::clip, {{mil::clip::x, x},
                                         {mil::clip::alpha, double(numberOf(*least))},
                                         {mil::clip::beta, double(numberOf(*most))}});
  }
  mil::Value *integers = c.engine().integersOf(x, *steps, isSigned ? DType::I8 : DType::U8);
  return one(c.engine().makeTensor(c.engine().castTo(integers, DType::I32), at::ScalarType(*type)));
}

Handled dequantizeTensor(ValueCall &c) {
  auto tensor = c.self();
  auto steps = stepsOf(c);
  if (!steps)
    return std::nullopt;
  if (at::Tensor known = knownIntegers(c, "input"); known.defined()) {
    AffineWeight weight{.integers = known,
                        .scales = at::scalar_tensor(steps->scale, at::kFloat),
                        .zeros = at::scalar_tensor(steps->zeroPoint, at::kLong)};
    weight.blocks.assign(size_t(known.dim()), 1);
    return numbersOfWeight(c, "input", weight, "out_dtype");
  }
  if (c.engine().readKnown(*tensor).defined() || !c.find("out_dtype")->isNone())
    return std::nullopt;
  // The integers that quantizeTensor() made, without what MIL computes with.
  mil::Value *value = c.engine().read(*tensor);
  const mil::Op *cast = value->def();
  if (!cast || !cast->is(mil::OpKind::cast))
    return std::nullopt;
  mil::Value *integers = (*cast)[mil::cast::x];
  DType type = integers->type.dtype();
  int64_t low = type == DType::I8 ? -128 : 0;
  if ((type != DType::I8 && type != DType::U8) || steps->zeroPoint < low ||
      steps->zeroPoint > low + 255)
    return std::nullopt;
  return one(c.engine().makeTensor(c.engine().numbersOf(integers, *steps), at::kFloat));
}

// ---- PyTorch's own kernels
// ---------------------------------------------------------------------

/// aten::_weight_int8pack_mm(x, weight, scales): x (scales * weight)'.
Handled productOfWeight(ValueCall &c) {
  AffineWeight weight{.integers = knownIntegers(c, "mat2")};
  weight.scales = knownTensor(c, "scales");
  if (!weight.integers.defined() || !weight.scales.defined() || weight.integers.dim() != 2)
    return std::nullopt;
  weight.blocks = {weight.integers.size(0), 1};
  weight.isHalfByte = isOfHalfBytes(weight.integers);
  Val numbers = c.engine().makeTensor(
      c.engine().compressedConstant(weight, Engine::originOf(c[1]), ""), at::kFloat);
  auto linear = torch::jit::findOperatorFor({"aten::linear", ""});
  return c.engine().call(linear->schema(), {c[0], numbers, Val(c10::IValue())});
}

} // namespace stored_integers
} // namespace

void registerStoredIntegers(Table &table) {
  using namespace stored_integers;
  table.addValues({"torchao::dequantize_affine"}, dequantizeBlocks);
  table.addValues({"quantized_decomposed::dequantize_per_channel"}, dequantizeChannels);
  table.addValues({"quantized_decomposed::dequantize_per_channel_group"}, dequantizeGroups);
  table.addValues({"quantized_decomposed::quantize_per_tensor",
                   "quantized_decomposed::quantize_per_tensor.tensor"},
                  quantizeTensor);
  table.addValues({"quantized_decomposed::dequantize_per_tensor",
                   "quantized_decomposed::dequantize_per_tensor.tensor"},
                  dequantizeTensor);
  table.addValues({"aten::_weight_int8pack_mm"}, productOfWeight);
}

} // namespace plait::frontend
