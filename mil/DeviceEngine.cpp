// Rules on what some devices get wrong, and on what does not run on the Neural Engine. They are no
// reason to refuse a package: `plait doctor` tells of them.
#include "mil/DeviceRules.h"

namespace plait::mil::device {

namespace {

bool isHalf(const Value *value) {
  return value->type.isTensor() && value->type.dtype() == DType::F16;
}

/// The operation that computes `value`, where it is of this kind.
const Op *computedBy(const Value *value, OpKind kind) {
  return value && value->def() && value->def()->is(kind) ? value->def() : nullptr;
}

std::optional<int64_t> sizeAt(const Value *value, std::optional<int64_t> axis) {
  auto shape = value->type.shape();
  if (!axis || *axis < -int64_t(shape.size()) || *axis >= int64_t(shape.size()))
    return std::nullopt;
  return shape[*axis < 0 ? *axis + int64_t(shape.size()) : *axis].tryValue();
}

// ---- wrong in fp16
// -------------------------------------------------------------------------------

void checkSoftplus(Context &c, const Op &op) {
  if ((op.is(OpKind::softplus) && isHalf(op[softplus::x])) ||
      (op.is(OpKind::softplus_parametric) && isHalf(op[softplus_parametric::x])))
    c.broken(op, "is computed in fp16, where the Neural Engine's exp overflows from about 11 on");
}

void checkLogSumExp(Context &c, const Op &op) {
  if (op.is(OpKind::reduce_log_sum_exp) && isHalf(op[reduce_log_sum_exp::x]))
    c.broken(op, "is computed in fp16 without taking the maximum off, which overflows");
}

void checkLogSoftmax(Context &c, const Op &op) {
  if (op.is(OpKind::log) && isHalf(op[log::x]) && computedBy(op[log::x], OpKind::softmax))
    c.broken(op, "takes the logarithm of an fp16 softmax, in which small probabilities are 0");
}

void checkCumulativeExp(Context &c, const Op &op) {
  if (op.is(OpKind::cumsum) && isHalf(op[cumsum::x]) && computedBy(op[cumsum::x], OpKind::exp))
    c.broken(op, "sums fp16 exponentials, which are infinite from about 11 on");
}

void checkSquares(Context &c, const Op &op) {
  if ((op.is(OpKind::reduce_sum_square) && isHalf(op[reduce_sum_square::x]))) {
    c.broken(op, "sums fp16 squares, which are infinite from 256 on");
    return;
  }
  if (!op.is(OpKind::reduce_mean) && !op.is(OpKind::reduce_sum))
    return;
  const Value *x = op[0];
  const Op *power = computedBy(x, OpKind::pow), *product = computedBy(x, OpKind::mul);
  bool squared = computedBy(x, OpKind::square) ||
                 (power && constFloat((*power)[mil::pow::y]).value_or(0) == 2) ||
                 (product && (*product)[mul::x] == (*product)[mul::y]);
  if (isHalf(x) && squared)
    c.broken(op, "sums fp16 squares, which are infinite from 256 on");
}

// ---- wrong on GPUs and on some systems
// -----------------------------------------------------------

void checkAttentionBatch(Context &c, const Op &op) {
  using namespace scaled_dot_product_attention;
  if (!op.is(OpKind::scaled_dot_product_attention) || op[query]->type.rank() < 3)
    return;
  if (auto batch = sizeAt(op[query], 0); batch.value_or(0) >= 10)
    c.broken(op, "has a batch of {0}; GPUs compute 10 and more wrongly", *batch);
}

void checkConvWeight(Context &c, const Op &op) {
  if (!op.is(OpKind::conv) && !op.is(OpKind::conv_transpose))
    return;
  const Value *weight = op[*op.info().findParam("weight")];
  if (!isCompileTime(weight))
    c.broken(op, "the weight is computed, which fails on GPUs");
}

/// The largest index that the element type holds; nullopt where it holds any.
std::optional<int64_t> largestIndex(DType dtype) {
  switch (dtype) {
  case DType::I8:
    return INT8_MAX;
  case DType::U8:
    return UINT8_MAX;
  case DType::I16:
    return INT16_MAX;
  case DType::U16:
    return UINT16_MAX;
  default:
    return std::nullopt;
  }
}

void checkNarrowIndices(Context &c, const Op &op) {
  if (!op.is(OpKind::gather) && !op.is(OpKind::gather_along_axis))
    return;
  const Value *indices = op[*op.info().findParam("indices")];
  auto most = largestIndex(indices->type.dtype());
  auto size = sizeAt(op[0], constInt(op[*op.info().findParam("axis")]));
  if (most && size && *size - 1 > *most && !isCompileTime(indices))
    c.broken(op, "the indices are {0}, which wrap around before the end of an axis of {1}",
             name(indices->type.dtype()), *size);
}

void checkArgFlattened(Context &c, const Op &op) {
  if (!op.is(OpKind::reduce_argmax) && !op.is(OpKind::reduce_argmin))
    return;
  const Op *flat = computedBy(op[0], OpKind::reshape);
  if (flat && op[0]->type.rank() == 1 && (*flat)[reshape::x]->type.rank() > 1)
    c.broken(op, "works on what was flattened, which crashes at times");
}

void checkPaletteScale(Context &c, const Op &op) {
  using namespace constexpr_blockwise_shift_scale;
  if (op.is(OpKind::constexpr_blockwise_shift_scale) && isHalf(op[scale]) &&
      computedBy(op[data], OpKind::constexpr_lut_to_dense))
    c.broken(op, "scales a palette");
}

void checkQuantizedPalette(Context &c, const Op &op) {
  if (!op.is(OpKind::constexpr_lut_to_dense) && !op.is(OpKind::constexpr_lut_to_sparse))
    return;
  const Value *lut = op[*op.info().findParam("lut")];
  bool integers = op.opset() >= Opset::iOS18 && isInteger(lut->type.dtype());
  if (integers || computedBy(lut, OpKind::constexpr_blockwise_shift_scale))
    c.broken(op, "the palette is quantized");
}

void checkManyOutputs(Context &c, const Function &f) {
  if (f.outputs().size() > 1000)
    c.broken("has {0} outputs", f.outputs().size());
}

// ---- not on the Neural Engine
// --------------------------------------------------------------------

constexpr int64_t kWidestKernel = 13, kLongestArg = 2048;

/// What is computed on tensors there; shapes and indices are not.
bool isComputedFloat(const Op &op, const Value &value) {
  return value.type.isTensor() && isFloat(value.type.dtype()) && !op.is(OpKind::const_) &&
         !(op.info().traits & Constexpr);
}

void checkEngineSize(Context &c, const Op &op) {
  for (const auto &result : op.results())
    if (isComputedFloat(op, *result))
      for (const Dim &dim : result->type.shape())
        if (dim.isConst() && dim.value() > kLargestEngineDimension)
          return c.broken(op, "'{0}' has a dimension of {1}", result->name, dim.value());
}

void checkEngineKernel(Context &c, const Op &op) {
  if (!op.is(OpKind::conv) && !op.is(OpKind::conv_transpose))
    return;
  auto kernel = op[*op.info().findParam("weight")]->type.shape().drop_front(2);
  if (kernel.size() > 2)
    return;
  for (const Dim &dim : kernel)
    if (dim.isConst() && dim.value() > kWidestKernel)
      return c.broken(op, "the kernel is {0} wide; {1} is the limit", dim.value(), kWidestKernel);
}

void checkEngineVolume(Context &c, const Op &op) {
  if ((op.is(OpKind::conv) || op.is(OpKind::conv_transpose)) && op[0]->type.rank() == 5)
    c.broken(op, "convolves three dimensions");
}

void checkEngineRecurrent(Context &c, const Op &op) {
  if (op.is(OpKind::lstm) || op.is(OpKind::gru) || op.is(OpKind::rnn))
    c.broken(op, "runs on the CPU");
}

void checkEngineLoops(Context &c, const Op &op) {
  if (op.is(OpKind::while_loop) || op.is(OpKind::cond))
    c.broken(op, "runs on the CPU, with all that is in it");
}

void checkEngineScatter(Context &c, const Op &op) {
  switch (op.kind()) {
  case OpKind::scatter:
  case OpKind::scatter_along_axis:
  case OpKind::scatter_nd:
  case OpKind::reduce_prod:
    c.broken(op, "does not run on the Neural Engine");
    return;
  default:
    return;
  }
}

void checkEngineArg(Context &c, const Op &op) {
  if (!op.is(OpKind::reduce_argmax) && !op.is(OpKind::reduce_argmin))
    return;
  auto size = sizeAt(op[0], constInt(op[*op.info().findParam("axis")]));
  if (size.value_or(0) > kLongestArg)
    c.broken(op, "reduces {0} elements; {1} is the limit", *size, kLongestArg);
}

void checkEnginePrecision(Context &c, const Op &op) {
  switch (op.kind()) {
  case OpKind::conv:
  case OpKind::conv_transpose:
  case OpKind::linear:
  case OpKind::matmul:
  case OpKind::einsum:
  case OpKind::scaled_dot_product_attention:
    if (op[0]->type.dtype() == DType::F32)
      c.broken(op, "is computed in fp32");
    return;
  default:
    return;
  }
}

void checkEngineRange(Context &c, const Function &f) {
  for (auto [i, input] : llvm::enumerate(f.inputs()))
    if (input->type.isTensor() && !input->type.hasStaticShape() &&
        f.infoOfInput(i).enumeratedShapes.empty())
      c.broken("input '{0}' has a range of shapes", input->name);
}

void checkEngineLastAxis(Context &c, const Op &op) {
  constexpr int64_t kLarge = 1 << 16;
  for (const auto &result : op.results()) {
    if (!isComputedFloat(op, *result) || result->type.rank() < 3)
      continue;
    auto shape = constShape(result->type.shape());
    if (shape && shape->back() == 1 && numElements(llvm::ArrayRef<int64_t>(*shape)) >= kLarge)
      c.broken(op, "'{0}' is {1}, whose last dimension is padded from 1", result->name,
               result->type.str());
  }
}

const Check kEngineChecks[] = {
    {RuleId::SoftplusHalf, nullptr, checkSoftplus},
    {RuleId::LogSumExpHalf, nullptr, checkLogSumExp},
    {RuleId::LogSoftmaxHalf, nullptr, checkLogSoftmax},
    {RuleId::CumulativeExpHalf, nullptr, checkCumulativeExp},
    {RuleId::SquaresHalf, nullptr, checkSquares},
    {RuleId::AttentionBatch, nullptr, checkAttentionBatch},
    {RuleId::ConvWeight, nullptr, checkConvWeight},
    {RuleId::NarrowIndices, nullptr, checkNarrowIndices},
    {RuleId::ArgFlattened, nullptr, checkArgFlattened},
    {RuleId::PaletteScale, nullptr, checkPaletteScale},
    {RuleId::QuantizedPalette, nullptr, checkQuantizedPalette},
    {RuleId::ManyOutputs, checkManyOutputs, nullptr},
    {RuleId::EngineSize, nullptr, checkEngineSize},
    {RuleId::EngineKernel, nullptr, checkEngineKernel},
    {RuleId::EngineVolume, nullptr, checkEngineVolume},
    {RuleId::EngineRecurrent, nullptr, checkEngineRecurrent},
    {RuleId::EngineLoops, nullptr, checkEngineLoops},
    {RuleId::EngineScatter, nullptr, checkEngineScatter},
    {RuleId::EngineArg, nullptr, checkEngineArg},
    {RuleId::EnginePrecision, nullptr, checkEnginePrecision},
    {RuleId::EngineRange, checkEngineRange, nullptr},
    {RuleId::EngineLastAxis, nullptr, checkEngineLastAxis},
};

} // namespace

llvm::ArrayRef<Check> engineChecks() { return kEngineChecks; }

} // namespace plait::mil::device
