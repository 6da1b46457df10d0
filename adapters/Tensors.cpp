// Reading in tiles.
#include "adapters/Tensors.h"

#include "llvm/ADT/STLExtras.h"

#include <cmath>

namespace plait::adapters {

using mil::DType;
using mil::TensorReader;

static constexpr int64_t kTile = 1 << 16;

std::string shapeText(llvm::ArrayRef<int64_t> shape) {
  std::string text = "[";
  for (size_t i = 0; i < shape.size(); ++i)
    text += (i ? ", " : "") + (shape[i] < 0 ? "any" : std::to_string(shape[i]));
  return text + "]";
}

static TensorReader readerOf(const TensorData &tensor) {
  return llvm::cantFail(TensorReader::create(tensor, nullptr));
}

std::vector<float> floatsOf(const TensorData &tensor) {
  TensorData wide = tensor.cast(DType::F32);
  std::vector<float> values(wide.numElements());
  if (!values.empty())
    readerOf(wide).read(0, values.size(), reinterpret_cast<uint8_t *>(values.data()));
  return values;
}

TensorData ofFloats(llvm::ArrayRef<int64_t> shape, llvm::ArrayRef<float> values) {
  return TensorData::from<float>(DType::F32, shape, values).withOrigin(mil::Origin::unnamed());
}

double numberOf(const TensorData &tensor) { return llvm::cantFail(tensor.floatValues())[0]; }

bool areEqual(const TensorData &one, const TensorData &other) {
  if (one.dtype() != other.dtype() || one.shape() != other.shape())
    return false;
  if (one.sameTree(other))
    return true;
  TensorReader a = readerOf(one), b = readerOf(other);
  std::vector<uint8_t> left, right;
  for (int64_t begin = 0, all = one.numElements(); begin < all; begin += kTile) {
    int64_t count = std::min(kTile, all - begin);
    left.resize(mil::byteSize(one.dtype(), count));
    right.resize(left.size());
    a.read(begin, count, left.data());
    b.read(begin, count, right.data());
    if (left != right)
      return false;
  }
  return true;
}

bool isZero(const TensorData &tensor) {
  TensorData wide = tensor.cast(DType::F32);
  TensorReader reader = readerOf(wide);
  std::vector<float> tile(kTile);
  for (int64_t begin = 0, all = wide.numElements(); begin < all; begin += kTile) {
    int64_t count = std::min(kTile, all - begin);
    reader.read(begin, count, reinterpret_cast<uint8_t *>(tile.data()));
    if (llvm::any_of(llvm::ArrayRef(tile).take_front(count), [](float v) { return v != 0; }))
      return false;
  }
  return true;
}

std::vector<float> rowNorms(const TensorData &tensor) {
  TensorData wide = tensor.cast(DType::F32);
  TensorReader reader = readerOf(wide);
  int64_t rows = wide.shape()[0], width = rows ? wide.numElements() / rows : 0;
  std::vector<float> row(width), norms;
  for (int64_t i = 0; i < rows; ++i) {
    reader.read(i * width, width, reinterpret_cast<uint8_t *>(row.data()));
    double sum = 0;
    for (float value : row)
      sum += double(value) * value;
    norms.push_back(float(std::sqrt(sum)));
  }
  return norms;
}

} // namespace plait::adapters
