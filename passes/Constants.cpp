// Reading splats and small constants, and multiplying weights lazily.
#include "passes/Constants.h"

#include "support/Half.h"

#include "llvm/ADT/STLExtras.h"
#include <cstring>

namespace plait::passes {

using namespace mil;

/// Constants above this many elements are not looked into.
static constexpr int64_t kSplatElements = 1 << 20;

static std::optional<double> firstElement(const TensorData &scalar) {
  auto values = scalar.floatValues();
  if (!values) {
    llvm::consumeError(values.takeError());
    return std::nullopt;
  }
  return (*values)[0];
}

std::optional<double> splatValue(const TensorData &tensor) {
  int64_t count = tensor.numElements();
  if (count == 0 || tensor.dtype() == DType::String || isSubByte(tensor.dtype()))
    return std::nullopt;
  const TensorData::Node &node = tensor.node();
  if (node.kind == TensorData::Kind::Strided &&
      llvm::all_of(llvm::zip(node.shape, node.strides),
                   [](auto axis) { return std::get<0>(axis) == 1 || std::get<1>(axis) == 0; }))
    return firstElement(TensorData::view(node.storage, node.byteOffset, node.dtype, {}));
  if (count > kSplatElements)
    return std::nullopt;
  auto reader = TensorReader::create(tensor, nullptr);
  if (!reader) {
    llvm::consumeError(reader.takeError());
    return std::nullopt;
  }
  size_t width = bitWidth(tensor.dtype()) / 8;
  std::vector<uint8_t> first(width), tile;
  reader->read(0, 1, first.data());
  for (int64_t done = 1, step = 15; done < count; done += step, step = 1024) {
    int64_t run = std::min(step, count - done);
    tile.resize(run * width);
    reader->read(done, run, tile.data());
    for (int64_t i = 0; i < run; ++i)
      if (std::memcmp(tile.data() + i * width, first.data(), width) != 0)
        return std::nullopt;
  }
  return firstElement(TensorData::fromBytes(tensor.dtype(), {}, std::move(first)));
}

std::optional<double> splatValue(const Value *value) {
  const TensorData *tensor = constTensor(value);
  return tensor ? splatValue(*tensor) : std::nullopt;
}

std::optional<std::vector<double>> smallFloats(const TensorData &tensor, const PassContext &context,
                                               uint64_t limit) {
  if (!isFloat(tensor.dtype()) || tensor.byteSize() > limit)
    return std::nullopt;
  auto values = tensor.floatValues(context.evaluator);
  if (!values) {
    llvm::consumeError(values.takeError());
    return std::nullopt;
  }
  return std::move(*values);
}

std::optional<std::vector<double>> smallFloats(const Value *value, const PassContext &context) {
  const TensorData *tensor = constTensor(value);
  return tensor ? smallFloats(*tensor, context) : std::nullopt;
}

Origin computedFrom(llvm::ArrayRef<const Value *> constants) {
  Origin origin;
  for (const Value *value : constants)
    if (const TensorData *tensor = constTensor(value))
      origin = origin.with(originOf(*tensor).asComputed());
  return origin;
}

TensorData floats(DType dtype, llvm::ArrayRef<int64_t> shape, llvm::ArrayRef<double> values,
                  Origin origin) {
  if (dtype == DType::F16) {
    std::vector<uint16_t> half;
    for (double v : values)
      half.push_back(floatToHalf(float(v)));
    return TensorData::from<uint16_t>(dtype, shape, half).withOrigin(std::move(origin));
  }
  assert(dtype == DType::F32);
  std::vector<float> single(values.begin(), values.end());
  return TensorData::from<float>(dtype, shape, single).withOrigin(std::move(origin));
}

TensorData multiply(const TensorData &tensor, const TensorData &factor,
                    const PassContext &context) {
  if (std::optional<double> scalar = splatValue(factor); scalar && factor.numElements() == 1)
    return tensor.scale(*scalar);
  auto a = smallFloats(tensor, context), b = smallFloats(factor, context);
  if (!a || !b)
    return TensorData::computed(OpKind::mul, {{Attr(tensor)}, {Attr(factor)}}, tensor.type());
  // Strides of the factor over the tensor's shape, 0 where it broadcasts.
  llvm::ArrayRef<int64_t> shape = tensor.shape(), small = factor.shape();
  assert(small.size() <= shape.size());
  llvm::SmallVector<int64_t, 5> strides(shape.size(), 0);
  int64_t step = 1;
  for (size_t i = small.size(); i-- > 0;) {
    size_t axis = shape.size() - small.size() + i;
    strides[axis] = small[i] == 1 ? 0 : step;
    step *= small[i];
  }
  std::vector<double> products(a->size());
  for (int64_t n = 0; n < int64_t(products.size()); ++n) {
    int64_t rest = n, offset = 0;
    for (size_t i = shape.size(); i-- > 0; rest /= shape[i])
      offset += rest % shape[i] * strides[i];
    products[n] = float((*a)[n]) * float((*b)[offset]);
  }
  return floats(tensor.dtype(), shape, products,
                originOf(tensor).with(originOf(factor)).asComputed());
}

std::optional<std::vector<double>> alongAxis(const Value *constant, llvm::ArrayRef<Dim> shape,
                                             unsigned axis, const PassContext &context,
                                             uint64_t limit) {
  const TensorData *tensor = constTensor(constant);
  if (!tensor || !isFloat(tensor->dtype()) || tensor->rank() > shape.size() ||
      !shape[axis].isConst())
    return std::nullopt;
  unsigned offset = shape.size() - tensor->rank();
  bool varies = false;
  for (unsigned i = 0; i < tensor->rank(); ++i) {
    if (tensor->shape()[i] == 1)
      continue;
    if (i + offset != axis || !(shape[axis] == Dim(tensor->shape()[i])))
      return std::nullopt;
    varies = true;
  }
  auto values = smallFloats(*tensor, context, limit);
  if (values && !varies)
    values->assign(shape[axis].value(), double(values->front()));
  return values;
}

std::optional<TensorData> addToBias(const Value *bias, const Value *constant, bool negate,
                                    llvm::ArrayRef<Dim> shape, unsigned axis,
                                    const PassContext &context) {
  const TensorData *added = constTensor(constant);
  const TensorData *old = constTensor(bias);
  if (!added || (bias && !old) || (old && old->dtype() != added->dtype()))
    return std::nullopt;
  bool wasZero = !bias || isSplat(bias, 0);
  auto channels = shape[axis].tryValue();
  if (wasZero && channels && added->numElements() == *channels && added->rank() <= shape.size() &&
      added->rank() + axis >= shape.size() &&
      added->shape()[added->rank() + axis - shape.size()] == *channels)
    return added->reshape({*channels}).scale(negate ? -1 : 1);
  auto values = alongAxis(constant, shape, axis, context);
  auto sum = wasZero ? std::optional(std::vector<double>(values ? values->size() : 0))
                     : smallFloats(bias, context);
  if (!values || !sum || sum->size() != values->size())
    return std::nullopt;
  for (size_t i = 0; i < sum->size(); ++i)
    (*sum)[i] += negate ? -(*values)[i] : (*values)[i];
  return floats(added->dtype(), {int64_t(sum->size())}, *sum, computedFrom({bias, constant}));
}

} // namespace plait::passes
