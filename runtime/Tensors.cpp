// Constants as LibTorch tensors and back.
#include "runtime/Tensors.h"

#include "mil/MappedStorage.h"

namespace plait::runtime {

using mil::DType;
using mil::TensorData;

at::ScalarType heldType(DType dtype, Compute compute) {
  switch (dtype) {
  case DType::Bool:
    return at::kBool;
  case DType::F16:
    return compute == Compute::Exact || compute == Compute::Smooth ? at::kFloat : at::kHalf;
  case DType::BF16:
    return at::kBFloat16;
  case DType::F32:
    return at::kFloat;
  case DType::F64:
    return at::kDouble;
  case DType::I4:
  case DType::I8:
    return at::kChar;
  case DType::I16:
    return at::kShort;
  case DType::I32:
  case DType::U16:
    return at::kInt;
  case DType::I64:
  case DType::U32:
  case DType::U64:
    return at::kLong;
  case DType::U1:
  case DType::U2:
  case DType::U3:
  case DType::U4:
  case DType::U6:
  case DType::U8:
    return at::kByte;
  case DType::String:
    break;
  }
  return at::kByte;
}

/// The type whose elements lie in storage as LibTorch's do; sub-byte types have none.
static std::optional<at::ScalarType> storedType(DType dtype) {
  switch (dtype) {
  case DType::U16:
    return at::kUInt16;
  case DType::U32:
    return at::kUInt32;
  case DType::U64:
    return at::kUInt64;
  default:
    return mil::isSubByte(dtype) ? std::nullopt : std::optional(heldType(dtype));
  }
}

static at::Tensor unpack(llvm::ArrayRef<uint8_t> bytes, DType dtype,
                         llvm::ArrayRef<int64_t> shape) {
  unsigned width = mil::bitWidth(dtype);
  at::Tensor result = at::empty({mil::numElements(shape)}, heldType(dtype));
  auto *out = static_cast<uint8_t *>(result.data_ptr());
  for (int64_t i = 0; i < result.numel(); ++i) {
    uint64_t bit = uint64_t(i) * width;
    unsigned value = bytes[bit / 8] >> (bit % 8);
    if (bit % 8 + width > 8)
      value |= unsigned(bytes[bit / 8 + 1]) << (8 - bit % 8);
    value &= (1u << width) - 1;
    if (dtype == DType::I4 && value >= 8)
      value |= 0xF0;
    out[i] = uint8_t(value);
  }
  return result.reshape(at::IntArrayRef(shape.data(), shape.size()));
}

static std::vector<uint8_t> pack(const at::Tensor &tensor, DType dtype) {
  unsigned width = mil::bitWidth(dtype);
  std::vector<uint8_t> bytes(mil::byteSize(dtype, tensor.numel()));
  at::Tensor flat = tensor.to(heldType(dtype)).contiguous();
  auto *in = static_cast<const uint8_t *>(flat.data_ptr());
  for (int64_t i = 0; i < flat.numel(); ++i) {
    uint64_t bit = uint64_t(i) * width;
    unsigned value = in[i] & ((1u << width) - 1);
    bytes[bit / 8] |= uint8_t(value << (bit % 8));
    if (bit % 8 + width > 8)
      bytes[bit / 8 + 1] |= uint8_t(value >> (8 - bit % 8));
  }
  return bytes;
}

Expected<at::Tensor> toTensor(const TensorData &data, Compute compute, mil::Evaluator *evaluator) {
  DType dtype = data.dtype();
  at::IntArrayRef shape(data.shape().data(), data.shape().size());
  at::ScalarType held = heldType(dtype, compute);
  if (data.numElements() == 0)
    return at::empty(shape, held);
  const TensorData::Node &node = data.node();
  std::optional<at::ScalarType> stored = storedType(dtype);
  if (stored && node.kind == TensorData::Kind::Strided) {
    const uint8_t *bytes = node.storage->bytes.data() + node.byteOffset;
    if (reinterpret_cast<uintptr_t>(bytes) % c10::elementSize(*stored) == 0) {
      at::IntArrayRef strides(node.strides.data(), node.strides.size());
      // The deleter owns a handle on the storage.
      at::Tensor tensor = at::from_blob(
          const_cast<uint8_t *>(bytes), shape, strides, [data](void *) {},
          at::TensorOptions(*stored));
      return tensor.to(held);
    }
  }
  auto reader = mil::TensorReader::create(data, evaluator);
  if (!reader)
    return reader.takeError();
  if (!stored) {
    std::vector<uint8_t> bytes(data.byteSize());
    reader->read(0, data.numElements(), bytes.data());
    return unpack(bytes, dtype, data.shape());
  }
  at::Tensor tensor = at::empty(shape, *stored);
  reader->read(0, data.numElements(), static_cast<uint8_t *>(tensor.data_ptr()));
  return tensor.to(held);
}

TensorData toTensorData(const at::Tensor &tensor, DType dtype) {
  llvm::SmallVector<int64_t, 5> shape(tensor.sizes().begin(), tensor.sizes().end());
  if (mil::isSubByte(dtype))
    return TensorData::fromBytes(dtype, shape, pack(tensor, dtype));
  auto owner = std::make_shared<const at::Tensor>(tensor.to(*storedType(dtype)).contiguous());
  llvm::ArrayRef<uint8_t> bytes(static_cast<const uint8_t *>(owner->data_ptr()),
                                size_t(owner->numel()) * owner->element_size());
  return TensorData::view(mil::keptStorage(bytes, std::move(owner)), 0, dtype, shape);
}

} // namespace plait::runtime
