// Rules of the device profile about single operations.
#include "mil/DeviceRules.h"

namespace plait::mil::device {

namespace {

/// Elements of a float constant that is small enough to look at.
std::vector<double> smallFloats(const Value *value) {
  const TensorData *tensor = constTensor(value);
  if (!tensor || !isFloat(tensor->dtype()) || tensor->numElements() > 4096)
    return {};
  auto values = tensor->floatValues();
  if (values)
    return std::move(*values);
  llvm::consumeError(values.takeError());
  return {};
}

void checkLinear(Context &c, const Op &op) {
  if (!op.is(OpKind::linear))
    return;
  if (op[linear::x]->type.dtype() == DType::I32)
    c.broken(op, "int32 is refused when the model runs; use matmul");
}

void checkMatmul(Context &c, const Op &op) {
  if (op.is(OpKind::matmul) && op[matmul::x]->type.rank() == 1)
    c.broken(op, "x is a vector; reshape it to rank 2");
}

void checkGather(Context &c, const Op &op) {
  if (op.is(OpKind::gather) && op[gather::indices]->type.rank() == 0 &&
      (op[gather::x]->type.rank() == 5 || constInt(op[gather::axis]).value_or(0) != 0))
    c.broken(op, "a scalar index crashes for rank 5 and is wrong on axes other than 0; use [1] and "
                 "reshape");
}

void checkIndices(Context &c, const Op &op) {
  auto validate = op.info().findParam("validate_indices");
  if (!validate)
    return;
  if (constBool(op[*validate]).value_or(false))
    c.broken(op, "validate_indices is true, which fails in places; write false");
  if (auto indices = constInts(op[*op.info().findParam("indices")]);
      indices && !info(op.opset()).negativeIndices &&
      llvm::any_of(*indices, [](int64_t i) { return i < 0; }))
    c.broken(op, "has a negative index, which is out of bounds; add the size of the axis");
}

void checkSqueeze(Context &c, const Op &op) {
  auto axes = op.is(OpKind::squeeze) ? constInts(op[squeeze::axes]) : std::nullopt;
  if (!axes)
    return;
  auto shape = op[squeeze::x]->type.shape();
  for (int64_t axis : *axes) {
    axis = axis < 0 ? axis + int64_t(shape.size()) : axis;
    if (axis >= 0 && axis < int64_t(shape.size()) && shape[axis].isConst() &&
        !(shape[axis] == Dim(1)))
      c.broken(op, "axis {0} has {1} elements; only axes of 1 can be squeezed", axis,
               shape[axis].str());
  }
}

void checkLayerNorm(Context &c, const Op &op) {
  auto axes = op.is(OpKind::layer_norm) ? constInts(op[layer_norm::axes]) : std::nullopt;
  if (!axes)
    return;
  int64_t rank = op[layer_norm::x]->type.rank();
  for (size_t i = 1; i < axes->size(); ++i) {
    auto at = [&](size_t k) { return (*axes)[k] < 0 ? (*axes)[k] + rank : (*axes)[k]; };
    if (at(i) != at(i - 1) + 1)
      return c.broken(op, "axes are not ascending neighbours; transpose first");
  }
}

void checkBatchNorm(Context &c, const Op &op) {
  if (op.is(OpKind::batch_norm) && op[batch_norm::x]->type.rank() == 5)
    c.broken(op, "x of rank 5 crashes off the CPU; reshape it to rank 4");
}

void checkPad(Context &c, const Op &op) {
  if (!op.is(OpKind::pad))
    return;
  auto amounts = constInts(op[pad::pad]);
  if (!isCompileTime(op[pad::pad]) && op[pad::x]->type.rank() > 1)
    c.broken(op, "computed amounts pad x of rank 1 only; x has rank {0}", op[pad::x]->type.rank());
  llvm::StringRef mode = constString(op[pad::mode]).value_or("constant");
  if (!amounts || mode == "constant")
    return;
  auto shape = op[pad::x]->type.shape();
  size_t count = amounts->size() / 2, first = shape.size() - count;
  for (size_t i = 0; i < count; ++i) {
    int64_t most = std::max((*amounts)[2 * i], (*amounts)[2 * i + 1]);
    const Dim &size = shape[first + i];
    if (most > 0 && first + i + 2 < shape.size())
      return c.broken(op, "{0} pads only the last two dimensions", mode);
    if (mode == "reflect" && size.isConst() && most > size.value() - 1)
      return c.broken(op, "reflects {0} elements of {1}", most, size.value());
  }
}

void checkSelect(Context &c, const Op &op) {
  // Named functions: one more may be added later.
  if (!op.is(OpKind::select) ||
      (c.program.functions().size() < 2 && c.program.defaultFunction.empty()))
    return;
  auto shape = op.result()->type.shape();
  for (unsigned param : {select::cond, select::a, select::b})
    if (!(op[param]->type.shape() == shape) && op[param]->type.rank() != 0)
      return c.broken(op,
                      "broadcasts {0} of shape {1}, which fails to load in packages of several "
                      "functions; tile it",
                      op.info().params[param].name, str(op[param]->type.shape()));
}

void checkPow(Context &c, const Op &op) {
  if (op.is(OpKind::pow) && constFloat(op[pow::x]).value_or(0) == 2)
    c.broken(op, "2 to the power of y is computed as y squared; use exp2");
}

void checkSlices(Context &c, const Op &op) {
  if (op.is(OpKind::slice_update)) {
    for (unsigned param : {slice_update::begin, slice_update::end})
      if (auto bounds = constInts(op[param]);
          bounds && llvm::any_of(*bounds, [](int64_t b) { return b < 0; }))
        return c.broken(op, "{0} is negative, which fails on the CPU; add the size",
                        op.info().params[param].name);
  } else if (op.is(OpKind::slice_by_index) && op.opset() < Opset::iOS18) {
    if (auto mask = constInts(op[slice_by_index::squeeze_mask]);
        mask && llvm::is_contained(*mask, 1))
      c.broken(op, "squeeze_mask was ignored by some systems; slice, then squeeze");
  }
}

void checkSplit(Context &c, const Op &op) {
  if (op.is(OpKind::split) && op.numResults() == 1)
    c.broken(op, "splits into one part; use identity");
}

void checkScale(Context &c, const Op &op) {
  if (!op.is(OpKind::quantize) && !op.is(OpKind::dequantize))
    return;
  const Value *scale =
      op[op.is(OpKind::quantize) ? unsigned(quantize::scale) : unsigned(dequantize::scale)];
  if (llvm::any_of(smallFloats(scale), [](double s) { return !(s > 0); }))
    c.broken(op, "scale must be positive");
}

void checkBlocks(Context &c, const Op &op) {
  using namespace constexpr_blockwise_shift_scale;
  if (!op.is(OpKind::constexpr_blockwise_shift_scale) || op[data]->type.dtype() != DType::I4)
    return;
  auto shape = constShape(op[data]->type.shape()), blocks = constShape(op[scale]->type.shape());
  if (shape && blocks && shape->size() == 4 &&
      llvm::equal(llvm::drop_begin(*shape), llvm::drop_begin(*blocks)))
    c.broken(op, "blocks of int4 lie along the first dimension of four; let them span another one");
}

void checkConstexprRank(Context &c, const Op &op) {
  if (op.is(OpKind::constexpr_blockwise_shift_scale) && op.result()->type.rank() == 1)
    c.broken(op, "compresses a vector, whose values come out wrong; leave it as it is");
}

void checkInfinite(Context &c, const Op &op) {
  if (!op.is(OpKind::const_))
    return;
  if (op.result()->type.isTensor() && op.result()->type.dtype() == DType::F16 &&
      llvm::any_of(smallFloats(op.result()), [](double v) { return v > 65504 || v < -65504; }))
    c.broken(op, "holds an infinite fp16 value; masks made of it give NaN on fully masked rows, "
                 "use -3e4");
}

void checkBias(Context &c, const Op &op) {
  if (!op.is(OpKind::conv) && !op.is(OpKind::conv_transpose))
    return;
  const Value *bias = op[*op.info().findParam("bias")];
  if (bias && !isCompileTime(bias))
    c.broken(op, "bias is computed; leave it out and add it to the result");
}

void checkPool(Context &c, const Op &op) {
  if (!op.is(OpKind::avg_pool) && !op.is(OpKind::max_pool) && !op.is(OpKind::l2_pool))
    return;
  auto param = [&](const char *name) { return op[*op.info().findParam(name)]; };
  if (param("x")->type.rank() == 3 && constString(param("pad_type")).value_or("") == "same_lower")
    c.broken(op, "same_lower comes out wrong in one dimension; pad by numbers");
}

void checkAttentionMask(Context &c, const Op &op) {
  using namespace scaled_dot_product_attention;
  if (!op.is(OpKind::scaled_dot_product_attention))
    return;
  const Value *mask = op[attn_mask];
  if (mask && !mask->def() && !mask->type.hasStaticShape())
    c.broken(op,
             "attn_mask is an input of dynamic shape, which fails; compute it or fix its shape");
}

void checkCropResize(Context &c, const Op &op) {
  if (op.is(OpKind::crop_resize) && !op[crop_resize::x]->type.hasStaticShape())
    c.broken(op, "x has a dynamic shape, which fails off the CPU; fix the shape");
}

void checkLists(Context &c, const Op &op) {
  if (op.is(OpKind::make_list) && op.result()->type.element().rank() > 4)
    c.broken(op, "elements have rank {0}; 4 is the limit", op.result()->type.element().rank());
}

void checkConvTranspose(Context &c, const Op &op) {
  if (!op.is(OpKind::conv_transpose) ||
      constString(op[conv_transpose::pad_type]).value_or("valid") != "custom")
    return;
  auto pad = constInts(op[conv_transpose::pad]);
  for (size_t i = 0; pad && i + 1 < pad->size(); i += 2)
    if ((*pad)[i] != (*pad)[i + 1])
      return c.broken(op, "asymmetric padding shifts fp16 results; pad symmetrically and crop");
}

void checkResample(Context &c, const Op &op) {
  if ((op.is(OpKind::upsample_bilinear) || op.is(OpKind::upsample_nearest_neighbor)) &&
      op[0]->type.rank() > 4)
    c.broken(op, "x has rank {0}; 3 or 4 is what devices resize", op[0]->type.rank());
}

const Check kOperationChecks[] = {
    {RuleId::LinearX, nullptr, checkLinear},
    {RuleId::MatmulVector, nullptr, checkMatmul},
    {RuleId::GatherScalar, nullptr, checkGather},
    {RuleId::IndicesValid, nullptr, checkIndices},
    {RuleId::SqueezeOnes, nullptr, checkSqueeze},
    {RuleId::LayerNormAxes, nullptr, checkLayerNorm},
    {RuleId::BatchNormRank, nullptr, checkBatchNorm},
    {RuleId::PadMode, nullptr, checkPad},
    {RuleId::SelectBroadcast, nullptr, checkSelect},
    {RuleId::PowOfTwo, nullptr, checkPow},
    {RuleId::SliceMasks, nullptr, checkSlices},
    {RuleId::SplitOne, nullptr, checkSplit},
    {RuleId::QuantizeScale, nullptr, checkScale},
    {RuleId::CompressedVector, nullptr, checkConstexprRank},
    {RuleId::Int4Blocks, nullptr, checkBlocks},
    {RuleId::FiniteHalf, nullptr, checkInfinite},
    {RuleId::ListRank, nullptr, checkLists},
    {RuleId::ConvTransposePad, nullptr, checkConvTranspose},
    {RuleId::ConstantBias, nullptr, checkBias},
    {RuleId::PoolSameLower, nullptr, checkPool},
    {RuleId::AttentionMask, nullptr, checkAttentionMask},
    {RuleId::CropResizeShape, nullptr, checkCropResize},
    {RuleId::UpsampleRank, nullptr, checkResample},
};

} // namespace

llvm::ArrayRef<Check> operationChecks() { return kOperationChecks; }

} // namespace plait::mil::device
