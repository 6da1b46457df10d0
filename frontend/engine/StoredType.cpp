// One table for both directions.
#include "frontend/engine/StoredType.h"

#include "llvm/ADT/STLExtras.h"

#include <ATen/Functions.h>

namespace plait::frontend {

using mil::DType;

static constexpr std::pair<at::ScalarType, DType> kStoredTypes[] = {
    {at::kFloat, DType::F32}, {at::kDouble, DType::F64},    {at::kHalf, DType::F16},
    {at::kLong, DType::I64},  {at::kBFloat16, DType::BF16}, {at::kInt, DType::I32},
    {at::kShort, DType::I16}, {at::kChar, DType::I8},       {at::kByte, DType::U8},
    {at::kBool, DType::Bool}};

std::optional<DType> storedType(at::ScalarType dtype) {
  for (const auto &[theirs, ours] : kStoredTypes)
    if (theirs == dtype)
      return ours;
  return std::nullopt;
}

Expected<at::Tensor> storedTensor(const mil::TensorData &data) {
  auto type =
      llvm::find_if(kStoredTypes, [&](const auto &row) { return row.second == data.dtype(); });
  if (type == std::end(kStoredTypes))
    return makeError(Code::UnsupportedType, "a weight of {0} has no PyTorch type",
                     mil::name(data.dtype()));
  auto bytes = data.bytes();
  if (!bytes)
    return bytes.takeError();
  at::Tensor tensor =
      at::empty(at::IntArrayRef(data.shape().data(), data.shape().size()), type->first);
  std::copy(bytes->begin(), bytes->end(), static_cast<uint8_t *>(tensor.mutable_data_ptr()));
  return tensor;
}

} // namespace plait::frontend
