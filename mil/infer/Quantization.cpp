// Shape functions of quantization and of compressed constants.
#include "mil/infer/Shapes.h"

#include "llvm/Support/MathExtras.h"

namespace plait::mil::infer {

/// Scale and zero point: both scalars without axis, or both vectors of the axis' length.
static Error checkScale(InferContext &c, unsigned input, unsigned zeroPoint, unsigned scale,
                        unsigned axis) {
  if (c.rank(scale) == 0) {
    if (c.has(axis))
      return c.fail("axis does not go with a scalar scale");
    if (c.has(zeroPoint) && c.rank(zeroPoint) != 0)
      return c.fail("zero_point has shape {0} beside a scalar scale", str(c.shape(zeroPoint)));
    return Error::success();
  }
  if (!c.has(axis))
    return c.fail("a scale of shape {0} needs axis", str(c.shape(scale)));
  auto at = c.axis(axis, c.rank(input), 0);
  if (!at)
    return at.takeError();
  Dim size = c.shape(input)[*at];
  for (unsigned param : {scale, zeroPoint})
    if (c.has(param) && !maybeEqual(c.shape(param), size))
      return c.fail("{0} has shape {1}; axis {2} has {3} elements",
                    c.op().info().params[param].name, str(c.shape(param)), *at, size.str());
  return Error::success();
}

Error quantize(InferContext &c) {
  using namespace mil::quantize;
  llvm::StringRef text = c.constString(output_dtype).value_or("");
  auto dtype = parseDType(text);
  if (!dtype || (*dtype != DType::I8 && *dtype != DType::U8))
    return c.fail("output_dtype \"{0}\" is neither int8 nor uint8", text);
  if (c.has(zero_point) && c.dtype(zero_point) != *dtype)
    return c.fail("zero_point is {0} and output_dtype {1}", name(c.dtype(zero_point)), text);
  if (Error error = checkScale(c, input, zero_point, scale, axis))
    return error;
  return c.result(*dtype, c.shape(input));
}

Error dequantize(InferContext &c) {
  using namespace mil::dequantize;
  if (Error error = checkScale(c, input, zero_point, scale, axis))
    return error;
  return c.result(c.dtype(scale), c.shape(input));
}

// ---- constexpr_*
// ---------------------------------------------------------------------------------

Error constexprAffineDequantize(InferContext &c) {
  using namespace constexpr_affine_dequantize;
  auto data = c.shape(quantized_data);
  auto at = c.axis(axis, data.size(), 0);
  if (!at)
    return at.takeError();
  for (unsigned param : {scale, zero_point})
    if (c.rank(param) > 1 || (c.rank(param) == 1 && !maybeEqual(c.shape(param)[0], data[*at])))
      return c.fail("{0} has shape {1}; a scalar or a vector of {2} elements is needed",
                    c.op().info().params[param].name, str(c.shape(param)), data[*at].str());
  return c.result(c.dtype(scale), data);
}

Error constexprCast(InferContext &c) {
  if (c.constString(constexpr_cast::output_dtype).value_or("") != "fp32")
    return c.fail("output_dtype must be fp32");
  return c.result(DType::F32, c.shape(constexpr_cast::source_val));
}

/// Blocks of `data` share one element of scale: each dimension a multiple of scale's.
static Error checkBlocks(const InferContext &c, llvm::ArrayRef<Dim> data, DType dataDType,
                         unsigned scale, unsigned offset) {
  auto blocks = c.shape(scale);
  if (data.empty() || data.size() != blocks.size())
    return c.fail("data has shape {0} and scale {1}; one rank of at least 1 is needed", str(data),
                  str(blocks));
  for (auto [d, s] : llvm::zip(data, blocks))
    if (d.isConst() && s.isConst() && (s.value() < 1 || d.value() % s.value() != 0))
      return c.fail("data of shape {0} does not divide into blocks for scale {1}", str(data),
                    str(blocks));
  if (!c.has(offset))
    return Error::success();
  if (!maybeEqual(c.shape(offset), blocks))
    return c.fail("offset has shape {0} and scale {1}", str(c.shape(offset)), str(blocks));
  if (!isFloat(c.dtype(offset)) && c.dtype(offset) != dataDType)
    return c.fail("offset is {0} and data {1}", name(c.dtype(offset)), name(dataDType));
  return Error::success();
}

Error constexprBlockwiseShiftScale(InferContext &c) {
  using namespace constexpr_blockwise_shift_scale;
  if (Error error = checkBlocks(c, c.shape(data), c.dtype(data), scale, offset))
    return error;
  return c.result(c.dtype(scale), c.shape(data));
}

/// The shape of what a look-up table makes of `indices`.
static Expected<Shape> lookup(const InferContext &c, llvm::ArrayRef<Dim> indices,
                              DType indicesDType, unsigned lut, unsigned vectorAxis) {
  auto table = constShape(c.shape(lut));
  Shape shape(indices);
  if (!table || indices.empty() || table->size() != indices.size() + 2)
    return c.fail("lut has shape {0}; indices of shape {1} need two dimensions more",
                  str(c.shape(lut)), str(indices));
  for (size_t i = 0; i < indices.size(); ++i)
    if (indices[i].isConst() && ((*table)[i] < 1 || indices[i].value() % (*table)[i] != 0))
      return c.fail("indices of shape {0} do not divide into the groups of lut {1}", str(indices),
                    str(c.shape(lut)));
  int64_t palette = (*table)[indices.size()], vector = table->back();
  if (palette != int64_t(1) << bitWidth(indicesDType))
    return c.fail("lut has {0} entries; {1} indices need {2}", palette, name(indicesDType),
                  int64_t(1) << bitWidth(indicesDType));
  if (!c.has(vectorAxis)) {
    if (vector != 1)
      return c.fail("vectors of {0} need vector_axis", vector);
    return shape;
  }
  auto axis = c.axis(vectorAxis, indices.size(), 0);
  if (!axis)
    return axis.takeError();
  shape[*axis] = shape[*axis] * vector;
  return shape;
}

/// The number of ones in a constant bit mask, where it is at hand.
static std::optional<int64_t> countOnes(const Value *mask) {
  const TensorData *tensor = constTensor(mask);
  if (!tensor || tensor->dtype() != DType::U1)
    return std::nullopt;
  auto bytes = tensor->contiguousBytes();
  if (bytes.empty())
    return std::nullopt;
  int64_t ones = 0, bits = tensor->numElements();
  for (int64_t i = 0; i < bits / 8; ++i)
    ones += llvm::popcount(bytes[i]);
  if (bits % 8)
    ones += llvm::popcount(uint8_t(bytes[bits / 8] & ((1 << bits % 8) - 1)));
  return ones;
}

static Error checkSparse(const InferContext &c, unsigned nonzero, unsigned mask) {
  auto values = c.shape(nonzero);
  if (values.size() != 1)
    return c.fail("{0} has shape {1}; a vector is needed", c.op().info().params[nonzero].name,
                  str(values));
  if (auto ones = countOnes(c.op()[mask]); ones && !maybeEqual(values[0], *ones))
    return c.fail("the mask has {0} ones for {1} values", *ones, values[0].str());
  return Error::success();
}

/// The shape that the iOS16 forms state in an operand of their own.
static Expected<Shape> statedShape(const InferContext &c, unsigned param) {
  auto values = c.constInts(param);
  if (!values || llvm::any_of(*values, [](int64_t v) { return v < 0; }))
    return c.fail("shape must be a constant vector of sizes");
  return Shape(values->begin(), values->end());
}

Error constexprLutToDense(InferContext &c) {
  using namespace constexpr_lut_to_dense;
  if (c.has(constexpr_lut_to_dense::shape)) { // iOS16: packed indices in bytes
    auto result = statedShape(c, constexpr_lut_to_dense::shape);
    if (!result)
      return result.takeError();
    if (c.rank(indices) != 1 || c.rank(lut) != 1 || !c.shape(lut)[0].isConst())
      return c.fail("with shape, indices and lut must be vectors");
    int64_t entries = c.shape(lut)[0].value();
    if (entries < 2 || entries > 256 || !llvm::isPowerOf2_64(entries))
      return c.fail("lut has {0} entries", entries);
    Dim bytes = ceildiv(numElements(*result) * int64_t(llvm::Log2_64(entries)), 8);
    if (!maybeEqual(c.shape(indices)[0], bytes))
      return c.fail("indices has {0} bytes; shape {1} needs {2}", c.shape(indices)[0].str(),
                    str(*result), bytes.str());
    return c.result(c.dtype(lut), *result);
  }
  auto result = lookup(c, c.shape(indices), c.dtype(indices), lut, vector_axis);
  if (!result)
    return result.takeError();
  return c.result(c.dtype(lut), *result);
}

Error constexprLutToSparse(InferContext &c) {
  using namespace constexpr_lut_to_sparse;
  if (Error error = checkSparse(c, indices_nonzero_data, indices_mask))
    return error;
  auto result = lookup(c, c.shape(indices_mask), c.dtype(indices_nonzero_data), lut, vector_axis);
  if (!result)
    return result.takeError();
  if (Error error = c.result(c.dtype(indices_mask), *result))
    return error;
  return c.result(c.dtype(lut), c.shape(indices_nonzero_data)[0] * c.shape(lut).back());
}

Error constexprSparseToDense(InferContext &c) {
  using namespace constexpr_sparse_to_dense;
  if (c.has(constexpr_sparse_to_dense::shape)) { // iOS16: the mask is packed in bytes
    auto result = statedShape(c, constexpr_sparse_to_dense::shape);
    if (!result)
      return result.takeError();
    if (c.rank(mask) != 1 || c.rank(nonzero_data) != 1 ||
        !maybeEqual(c.shape(mask)[0], ceildiv(numElements(*result), 8)))
      return c.fail("mask of shape {0} does not fit shape {1}", str(c.shape(mask)), str(*result));
    return c.result(c.dtype(nonzero_data), *result);
  }
  if (Error error = checkSparse(c, nonzero_data, mask))
    return error;
  return c.result(c.dtype(nonzero_data), c.shape(mask));
}

Error constexprSparseBlockwiseShiftScale(InferContext &c) {
  using namespace constexpr_sparse_blockwise_shift_scale;
  if (Error error = checkSparse(c, nonzero_data, data_mask))
    return error;
  if (Error error = checkBlocks(c, c.shape(data_mask), c.dtype(nonzero_data), scale, offset))
    return error;
  if (Error error = c.result(c.type(data_mask)))
    return error;
  return c.result(c.dtype(scale), c.shape(nonzero_data));
}

} // namespace plait::mil::infer
