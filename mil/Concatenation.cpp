// Making and reading concatenations.
#include "mil/Concatenation.h"

#include "mil/Attr.h"
#include "mil/OpInfo.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/SmallVectorExtras.h"
#include <cassert>

namespace plait::mil {

using Kind = TensorData::Kind;

void Concatenation::forEachRun(
    llvm::ArrayRef<int64_t> shape, int64_t begin, int64_t count,
    llvm::function_ref<void(const TensorData &, int64_t, int64_t, int64_t)> visit) const {
  int64_t inner = numElements(shape.drop_front(axis + 1)), row = shape[axis] * inner;
  for (int64_t at = 0; at < count;) {
    int64_t outer = (begin + at) / row, within = (begin + at) % row;
    for (const TensorData *part : parts) {
      int64_t size = part->shape()[axis] * inner;
      if (within < size) {
        int64_t run = std::min(count - at, size - within);
        visit(*part, outer * size + within, at, run);
        at += run;
        within += run;
        if (at == count)
          return;
      }
      within -= size;
    }
  }
}

TensorData Concatenation::make(llvm::ArrayRef<TensorData> parts, size_t axis) {
  llvm::SmallVector<int64_t, 4> shape(parts[0].shape());
  std::vector<Attr> values;
  shape[axis] = 0;
  for (const TensorData &part : parts) {
    shape[axis] += part.shape()[axis];
    values.emplace_back(part);
  }
  return TensorData::computed(
      OpKind::concat, {std::move(values), {Attr::integer(int32_t(axis))}, {Attr::boolean(false)}},
      Type::tensor(parts[0].dtype(), llvm::ArrayRef<int64_t>(shape)));
}

std::optional<Concatenation> concatenationOf(const TensorData::Node &node) {
  if (node.kind != Kind::Computed || node.op != OpKind::concat || isSubByte(node.dtype))
    return std::nullopt;
  const auto &interleave = node.operands[concat::interleave];
  if (!interleave.empty() && interleave[0].tensor()->contiguousBytes()[0] != 0)
    return std::nullopt;
  auto axis = node.operands[concat::axis][0].tensor()->intValues();
  if (!axis) {
    llvm::consumeError(axis.takeError());
    return std::nullopt;
  }
  Concatenation found{{}, size_t((*axis)[0] < 0 ? (*axis)[0] + node.shape.size() : (*axis)[0])};
  for (const Attr &value : node.operands[concat::values])
    found.parts.push_back(value.tensor());
  return found;
}

/// Two row-major views of which the second begins where the first ends, in one parameter.
static bool areNeighbours(const TensorData &a, const TensorData &b) {
  if (a.contiguousBytes().empty() || b.contiguousBytes().empty())
    return false;
  const TensorData::Node &x = a.node(), &y = b.node();
  return x.storage == y.storage && x.origin == y.origin && x.origin &&
         x.byteOffset + a.byteSize() == y.byteOffset;
}

/// One number, seen all over.
static bool isSplat(const TensorData &tensor) {
  return tensor.kind() == Kind::Strided && !tensor.shape().empty() &&
         llvm::all_of(tensor.node().strides, [](int64_t stride) { return stride == 0; });
}

static bool areOneSplat(llvm::ArrayRef<TensorData> parts) {
  auto number = [](const TensorData &part) {
    const TensorData::Node &node = part.node();
    return node.storage->bytes.slice(node.byteOffset, bitWidth(node.dtype) / 8);
  };
  return llvm::all_of(parts, isSplat) && !isSubByte(parts[0].dtype()) &&
         llvm::all_of(parts, [&](const auto &part) { return number(part) == number(parts[0]); });
}

TensorData concatenated(llvm::ArrayRef<TensorData> parts) {
  assert(!parts.empty());
  if (parts.size() == 1)
    return parts[0];
  auto shapeOf = [&](int64_t rows) {
    llvm::SmallVector<int64_t, 4> shape(parts[0].shape());
    shape[0] = rows;
    return shape;
  };
  auto inner = [](const TensorData &part) { return part.node().inputs[0]; };
  if (llvm::all_of(parts, [&](const TensorData &part) {
        return part.kind() == Kind::Cast && inner(part).dtype() == inner(parts[0]).dtype();
      }))
    return concatenated(llvm::map_to_vector(parts, inner)).cast(parts[0].dtype());
  int64_t rows = 0;
  for (const TensorData &part : parts)
    rows += part.shape()[0];
  if (areOneSplat(parts)) {
    const TensorData::Node &node = parts[0].node();
    llvm::SmallVector<int64_t, 4> strides(node.shape.size(), 0);
    return TensorData::view(node.storage, node.byteOffset, node.dtype, shapeOf(rows), strides,
                            node.origin);
  }
  llvm::SmallVector<TensorData, 4> joined;
  for (const TensorData &part : parts) {
    if (joined.empty() || !areNeighbours(joined.back(), part)) {
      joined.push_back(part);
      continue;
    }
    const TensorData &before = joined.back();
    const TensorData::Node &node = before.node();
    joined.back() = TensorData::view(node.storage, node.byteOffset, node.dtype,
                                     shapeOf(before.shape()[0] + part.shape()[0]), {}, node.origin);
  }
  return joined.size() == 1 ? joined[0] : Concatenation::make(joined, 0);
}

} // namespace plait::mil
