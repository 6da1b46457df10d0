// Quantised tensors. MIL computes with no such type: a tensor that is not known while compiling is
// a tensor of numbers, multiples of its scale, with scale and zero point beside it (Cell::steps).
//
//     q = torch.quantize_per_tensor(x, 0.1, 3, torch.quint8)   y = dequantize(quantize(x, 0.1, 3))
//     p = torch.relu(q)                                        relu(y), with the steps of q
//     p.dequantize()                                           relu(y)
//
// Operators for quantised tensors alone are rows of lower/Quantized.cpp. What others do there says
// onQuantized(): they compute with the numbers, and round what they give or need not. A weight
// keeps its integers: it is a constant that is decompressed where it is used.
#include "frontend/lower/Quantized.h"
#include "frontend/engine/Engine.h"
#include "frontend/engine/Table.h"

#include <ATen/Functions.h>

namespace plait::frontend {

using mil::Builder;
using mil::DType;
using mil::OpKind;
using mil::TensorData;

bool Engine::isQuantized(const Val &val) {
  if (auto list = val.list())
    return llvm::any_of(list->values, isQuantized);
  auto tensor = val.tensor();
  return tensor && tensor->isQuantized();
}

bool Engine::takesQuantized(const c10::FunctionSchema &schema, Arguments arguments) {
  for (auto [argument, val] : llvm::zip(schema.arguments(), arguments)) {
    c10::TypePtr type = argument.real_type();
    if (auto list = type->cast<c10::ListType>()) // of tensors, as against any list of theirs
      type = list->getElementType();
    if (auto optional = type->cast<c10::OptionalType>())
      type = optional->getElementType();
    if (type->kind() == c10::TypeKind::TensorType && isQuantized(val))
      return true;
  }
  return false;
}

// ---- Steps -------------------------------------------------------------------------------------

Steps Engine::stepsOf(const Val &val) {
  auto tensor = val.tensor();
  if (tensor->cell->steps)
    return *tensor->cell->steps;
  const auto *known = std::get_if<Cell::Known>(&tensor->cell->content);
  if (!known || !known->tensor.is_quantized() || known->tensor.qscheme() != at::kPerTensorAffine)
    throw Refusal(Code::UnsupportedType,
                  "it is for tensors that are quantised with one scale; call dequantize() before");
  return {known->tensor.q_scale(), known->tensor.q_zero_point()};
}

Val Engine::makeQuantized(mil::Value *numbers, Steps steps, at::ScalarType dtype) {
  Val val = makeTensor(numbers, at::kFloat);
  if (auto tensor = val.tensor()) {
    tensor->cell->dtype = dtype;
    tensor->cell->steps = steps;
  }
  return val;
}

/// Null where it is 0, which quantize and dequantize take without it.
static mil::Value *zeroPoint(mil::Builder &builder, Steps steps, DType type) {
  return steps.zeroPoint
             ? builder.constant(TensorData::fromBytes(type, {}, {uint8_t(steps.zeroPoint)}))
             : nullptr;
}

Val Engine::quantize(const Val &numbers, Steps steps, at::ScalarType dtype) {
  if (hasPoison(numbers))
    return Val();
  auto tensor = numbers.tensor();
  if (at::Tensor known = readKnown(*tensor); known.defined())
    return makeKnown(
        {at::quantize_per_tensor(known.to(at::kFloat), steps.scale, steps.zeroPoint, dtype)});
  bool isSigned = dtype == at::kQInt8;
  if (!isSigned && dtype != at::kQUInt8)
    throw Refusal(Code::UnsupportedType,
                  fmt::format("a tensor is quantised to {0}, and Core ML has int8 and uint8; "
                              "choose torch.qint8 or torch.quint8",
                              at::toString(dtype)));
  mil::Value *integers = integersOf(read(*tensor), steps, isSigned ? DType::I8 : DType::U8);
  mil::Value *rounded = numbersOf(integers, steps);
  if (tensor->shape.empty())
    rounded = reshape(rounded, {});
  return makeQuantized(rounded, steps, dtype);
}

mil::Value *Engine::integersOf(mil::Value *numbers, Steps steps, DType type) {
  if (Builder::isPoison(numbers))
    return numbers;
  int64_t least = type == DType::I8 ? -128 : 0;
  if (!(steps.scale > 0) || steps.zeroPoint < least || steps.zeroPoint > least + 255)
    throw Refusal(Code::UnsupportedForm,
                  fmt::format("a tensor is quantised with the scale {0} and the zero point {1}; "
                              "the scale has to be positive and the zero point from {2} to {3}",
                              steps.scale, steps.zeroPoint, least, least + 255));
  bool isScalar = numbers->type.rank() == 0; // which quantize does not take
  mil::Value *integers = builder_.emit(
      OpKind::quantize, {{mil::quantize::input, isScalar ? reshape(numbers, {Dim(1)}) : numbers},
                         {mil::quantize::zero_point, zeroPoint(builder_, steps, type)},
                         {mil::quantize::scale, builder_.scalar(DType::F32, steps.scale)},
                         {mil::quantize::output_dtype, mil::name(type)}});
  return integers;
}

mil::Value *Engine::numbersOf(mil::Value *integers, Steps steps) {
  if (Builder::isPoison(integers))
    return integers;
  return builder_.emit(
      OpKind::dequantize,
      {{mil::dequantize::input, integers},
       {mil::dequantize::zero_point, zeroPoint(builder_, steps, integers->type.dtype())},
       {mil::dequantize::scale, builder_.scalar(DType::F32, steps.scale)}});
}

static AffineWeight weightOf(const at::Tensor &quantized);

Val Engine::dequantize(const Val &val) {
  auto tensor = val.tensor();
  if (!tensor || !tensor->isQuantized())
    return val;
  at::Tensor known = readKnown(*tensor);
  if (!known.defined())
    return makeTensor(read(*tensor), at::kFloat);
  const auto &content = std::get<Cell::Known>(tensor->cell->content);
  if (content.fromWeight && known.dim() >= 2 && known.scalar_type() != at::kQInt32)
    return makeTensor(compressedConstant(weightOf(known), content.origin, tensor->cell->attribute),
                      at::kFloat);
  return makeKnown({known.dequantize(), content.fromWeight, content.origin.asComputed()});
}

// ---- Weights -----------------------------------------------------------------------------------

/// What a quantised tensor of LibTorch's stands for.
static AffineWeight weightOf(const at::Tensor &quantized) {
  AffineWeight weight;
  weight.blocks.assign(size_t(quantized.dim()), 1);
  if (quantized.qscheme() == at::kPerTensorAffine) {
    weight.scales = at::scalar_tensor(quantized.q_scale(), at::kFloat);
    weight.zeros = at::scalar_tensor(quantized.q_zero_point(), at::kLong);
  } else {
    weight.scales = quantized.q_per_channel_scales();
    weight.zeros = quantized.q_per_channel_zero_points();
    weight.blocks[size_t(quantized.q_per_channel_axis())] = weight.scales.numel();
  }
  weight.isHalfByte = quantized.scalar_type() == at::kQUInt4x2;
  if (!weight.isHalfByte) {
    weight.integers = quantized.int_repr();
    return weight;
  }
  // LibTorch gives two of them as one.
  at::IntArrayRef blocks(weight.blocks.data(), weight.blocks.size());
  at::Tensor steps = at::div(quantized.dequantize(), weight.scales.reshape(blocks).to(at::kFloat));
  weight.integers =
      at::round(at::add(steps, weight.zeros.reshape(blocks).to(at::kFloat))).to(at::kByte);
  return weight;
}

/// Two to a byte, the first in the low half.
static std::vector<uint8_t> inHalfBytes(const uint8_t *codes, int64_t count) {
  std::vector<uint8_t> bytes(size_t(count + 1) / 2);
  for (int64_t i = 0; i < count; ++i)
    bytes[size_t(i / 2)] |= uint8_t((codes[i] & 15) << (i % 2 * 4));
  return bytes;
}

mil::Value *Engine::compressedConstant(const AffineWeight &weight, const mil::Origin &origin,
                                       llvm::StringRef hint) {
  bool isSigned = weight.integers.scalar_type() == at::kChar;
  int64_t blocks = mil::numElements(weight.blocks);
  if (weight.scales.numel() != blocks || (weight.zeros.defined() && weight.zeros.numel() != blocks))
    throw Refusal(Code::OperandMismatch,
                  fmt::format("an integer weight of {0} blocks has {1} scales; each block has one",
                              blocks, weight.scales.numel()));
  DType type =
      weight.isHalfByte ? (isSigned ? DType::I4 : DType::U4) : (isSigned ? DType::I8 : DType::U8);
  at::Tensor codes = weight.integers.contiguous();
  auto *bytes = static_cast<const uint8_t *>(codes.const_data_ptr());
  llvm::SmallVector<int64_t, 5> shape(codes.sizes().begin(), codes.sizes().end());
  std::shared_ptr<const mil::Storage> storage =
      options_.storageOf ? options_.storageOf(codes) : nullptr;
  if (!storage)
    storage = storageOf(codes);
  auto begin = uint64_t(bytes - static_cast<const uint8_t *>(codes.storage().data()));
  TensorData integers =
      weight.isHalfByte
          ? TensorData::fromBytes(type, shape, inHalfBytes(bytes, codes.numel())).withOrigin(origin)
          : TensorData::view(storage, begin, type, shape, codes.strides().vec(), origin);
  auto floats = [&](const at::Tensor &values) {
    at::Tensor single = values.to(at::kFloat).contiguous();
    return builder_.constant(TensorData::from<float>(
        DType::F32, weight.blocks,
        llvm::ArrayRef<float>(single.const_data_ptr<float>(), size_t(single.numel()))));
  };
  mil::Value *offset = nullptr;
  if (at::Tensor zeros = weight.zeros; zeros.defined() && zeros.any().item<bool>()) {
    int64_t least = isSigned ? (weight.isHalfByte ? -8 : -128) : 0,
            most = least + (weight.isHalfByte ? 15 : 255);
    if (zeros.is_floating_point() || zeros.min().item<int64_t>() < least ||
        zeros.max().item<int64_t>() > most) {
      offset = floats(zeros);
    } else {
      at::Tensor low = at::bitwise_and(zeros, 255).to(at::kByte).contiguous();
      auto *zero = low.const_data_ptr<uint8_t>();
      offset = builder_.constant(TensorData::fromBytes(
          type, weight.blocks,
          weight.isHalfByte ? inHalfBytes(zero, low.numel())
                            : std::vector<uint8_t>(zero, zero + low.numel())));
    }
  }
  namespace shift = mil::constexpr_blockwise_shift_scale;
  return builder_.emit(OpKind::constexpr_blockwise_shift_scale,
                       {{shift::data, builder_.constant(std::move(integers))},
                        {shift::scale, floats(weight.scales)},
                        {shift::offset, offset}},
                       hint);
}

Val Engine::fromPacked(const at::Tensor &weight, llvm::StringRef name) {
  const mil::Name module = builder_.location().module();
  std::string path = module.str() + (module.str().empty() ? "" : ".") + name.str();
  return makeKnown({weight, true, mil::Origin::parameter({path})}, path);
}

// ---- Other operators ---------------------------------------------------------------------------

void Engine::writeQuantized(TensorObj &target, const Val &value) {
  auto given = value.tensor();
  bool fits = given && given->dtype() == target.dtype() && target.view.empty() &&
              llvm::ArrayRef<Dim>(given->shape) == llvm::ArrayRef<Dim>(target.shape) &&
              target.cell->steps && stepsOf(value) == *target.cell->steps;
  if (!fits)
    throw Refusal(Code::SharedMemory,
                  "it writes to a quantised tensor what has other steps, or to a part of one; "
                  "write it without the underscore: y = torch.relu(x)");
  setContent(target.cell, read(*dequantize(value).tensor()));
}

Engine::Handled Engine::quantizedCall(const c10::FunctionSchema &schema, Arguments arguments,
                                      const Row *row) {
  if (llvm::any_of(arguments, [&](const Val &val) { return isOpaque(val); }))
    return std::nullopt;
  llvm::StringRef name = schema.name();
  if (schema.is_mutable())
    name.consume_back("_");
  OnQuantized how = onQuantized(name);
  if (how == OnQuantized::AsAny)
    return std::nullopt;
  if (llvm::all_of(arguments, [&](const Val &val) { return isKnown(val); }))
    if (auto known = runKnown(schema, arguments, row, /*force=*/true))
      return known;
  if (how == OnQuantized::Refuse)
    throw Refusal(Code::UnsupportedType,
                  "it is not supported for quantised tensors; call dequantize() before it");
  if (schema.is_mutable()) // its functional form is called, and the result written
    return std::nullopt;
  std::optional<Val> first;
  std::vector<Val> numbers;
  for (const Val &argument : arguments) {
    auto list = argument.list();
    for (const Val &one : list ? llvm::ArrayRef<Val>(list->values) : llvm::ArrayRef<Val>(argument))
      if (!first && isQuantized(one))
        first = one;
    if (!list || !isQuantized(argument)) {
      numbers.push_back(dequantize(argument));
      continue;
    }
    std::vector<Val> elements;
    for (const Val &element : list->values)
      elements.push_back(dequantize(element));
    numbers.push_back(makeList(list->elementType, std::move(elements)));
  }
  const at::ScalarType dtype = first->tensor()->dtype();
  Steps steps = how == OnQuantized::Sigmoid ? Steps{1.0 / 256, dtype == at::kQInt8 ? -128 : 0}
                : how == OnQuantized::Tanh  ? Steps{2.0 / 256, dtype == at::kQInt8 ? 0 : 128}
                                            : stepsOf(*first);
  auto results = call(schema, std::move(numbers));
  if (!results)
    return Results();
  auto quantized = [&](const Val &val) {
    auto tensor = val.tensor();
    if (!tensor || tensor->dtype() != at::kFloat)
      return val;
    return how == OnQuantized::Same ? makeQuantized(read(*tensor), steps, dtype)
                                    : quantize(val, steps, dtype);
  };
  for (Val &result : *results) {
    if (auto list = result.list()) {
      std::vector<Val> elements;
      for (const Val &element : list->values)
        elements.push_back(quantized(element));
      result = makeList(list->elementType, std::move(elements));
    } else {
      result = quantized(result);
    }
  }
  return results;
}

} // namespace plait::frontend
