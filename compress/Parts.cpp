// Types, halves and permutations.
#include "compress/Parts.h"

#include "support/Half.h"

namespace plait::compress {

using mil::DType;
using mil::TensorData;

DType indexType(unsigned bits) {
  switch (bits) {
  case 1:
    return DType::U1;
  case 2:
    return DType::U2;
  case 3:
    return DType::U3;
  case 4:
    return DType::U4;
  case 6:
    return DType::U6;
  default:
    return DType::U8;
  }
}

DType integerType(const Scheme::Linear &linear) {
  if (linear.hasZeroPoint)
    return linear.bits == 4 ? DType::U4 : DType::U8;
  return linear.bits == 4 ? DType::I4 : DType::I8;
}

TensorData numbers(DType dtype, llvm::ArrayRef<int64_t> shape, llvm::ArrayRef<float> values) {
  if (dtype == DType::F32)
    return TensorData::from<float>(dtype, shape, values);
  std::vector<uint16_t> halves(values.size());
  floatToHalf(values.data(), halves.data(), values.size());
  return TensorData::from<uint16_t>(dtype, shape, halves);
}

std::vector<uint8_t> asItLies(const Layout &layout, llvm::ArrayRef<uint8_t> bytes) {
  llvm::SmallVector<int64_t, 5> steps(layout.shape.size()), index(layout.shape.size());
  int64_t step = 1, from = 0;
  for (size_t i = layout.perm.size(); i-- > 0; step *= layout.shape[layout.perm[i]])
    steps[layout.perm[i]] = step;
  std::vector<uint8_t> result(bytes.size());
  for (uint8_t &to : result) {
    to = bytes[size_t(from)];
    for (size_t axis = index.size(); axis-- > 0;) {
      from += steps[axis];
      if (++index[axis] < layout.shape[axis])
        break;
      from -= steps[axis] * index[axis];
      index[axis] = 0;
    }
  }
  return result;
}

} // namespace plait::compress
