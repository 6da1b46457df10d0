// From strides over the parameter's memory to slices, reshapes and permutations.
#include "adapters/ParameterView.h"

#include "adapters/Tensors.h"
#include "mil/ModuleTree.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/Sequence.h"

namespace plait::adapters {

using Node = TensorData::Node;

static bool isRowMajor(llvm::ArrayRef<int64_t> shape, llvm::ArrayRef<int64_t> strides) {
  int64_t step = 1;
  for (size_t i = shape.size(); i-- > 0;) {
    if (shape[i] != 1 && strides[i] != step)
      return false;
    step *= shape[i];
  }
  return true;
}

static Shape dims(llvm::ArrayRef<int64_t> sizes) { return Shape(sizes.begin(), sizes.end()); }

/// A small constant that was converted at once lies in memory of its own, whose order is compared.
static Value *ofCopy(BranchBuilder &build, const TensorData &constant, const TensorData &parameter,
                     Value *value) {
  if (constant.numElements() != parameter.numElements())
    return nullptr;
  auto isVector = [](const TensorData &tensor) {
    return llvm::count_if(tensor.shape(), [](int64_t size) { return size > 1; }) <= 1;
  };
  if (isVector(constant) && isVector(parameter))
    return build.reshape(value, dims(constant.shape()));
  TensorData stored = parameter.cast(constant.dtype());
  bool asIs = areEqual(stored.reshape(constant.shape()), constant);
  bool turned = stored.rank() == 2 && areEqual(stored.permute({1, 0}), constant);
  if (asIs == turned)
    return nullptr;
  return asIs ? build.reshape(value, dims(constant.shape())) : build.permute(value, {1, 0});
}

static Value *ofLeaf(BranchBuilder &build, const TensorData &constant, const TensorData &parameter,
                     Value *value) {
  const Node &leaf = constant.node(), &whole = parameter.node();
  const uint8_t *begin = mil::addressOf(parameter), *at = mil::addressOf(constant);
  uint64_t element = mil::byteSize(whole.dtype, 1);
  if (!begin || !at)
    return nullptr;
  if (at < begin || at >= begin + parameter.byteSize())
    return ofCopy(build, constant, parameter, value);
  if (leaf.dtype != whole.dtype || !isRowMajor(whole.shape, whole.strides) ||
      (at - begin) % element)
    return nullptr;
  int64_t offset = (at - begin) / element;
  // The axes in the order in which they lie in memory; those of one element anywhere.
  auto order = llvm::to_vector<5>(llvm::seq<int64_t>(0, leaf.shape.size()));
  llvm::stable_sort(order, [&](int64_t a, int64_t b) {
    return (leaf.shape[a] == 1 ? INT64_MAX : leaf.strides[a]) >
           (leaf.shape[b] == 1 ? INT64_MAX : leaf.strides[b]);
  });
  Sizes shape, strides, back(order.size());
  for (auto [position, axis] : llvm::enumerate(order)) {
    shape.push_back(leaf.shape[axis]);
    strides.push_back(leaf.strides[axis]);
    back[axis] = position;
  }
  int64_t row =
      whole.shape.empty() || whole.shape[0] == 0 ? 1 : parameter.numElements() / whole.shape[0];
  if (isRowMajor(shape, strides)) {
    int64_t count = constant.numElements();
    if (count != parameter.numElements()) {
      if (whole.shape.empty() || offset % row || count % row)
        return nullptr;
      value = build.slice(value, 0, offset / row, count / row);
    }
    return build.permute(build.reshape(value, dims(shape)), back);
  }
  // A part of each axis.
  if (shape.size() != whole.shape.size())
    return nullptr;
  for (size_t axis = 0; axis < shape.size(); ++axis) {
    int64_t from = offset / whole.strides[axis];
    offset %= whole.strides[axis];
    if ((shape[axis] != 1 && strides[axis] != whole.strides[axis]) ||
        from + shape[axis] > whole.shape[axis])
      return nullptr;
    value = build.slice(value, axis, from, shape[axis]);
  }
  return build.permute(value, back);
}

static Value *ofTree(BranchBuilder &build, const TensorData &constant, const TensorData &parameter,
                     Value *value) {
  const Node &node = constant.node();
  if (node.kind == TensorData::Kind::Strided)
    return ofLeaf(build, constant, parameter, value);
  if (node.inputs.size() != 1)
    return nullptr;
  Value *inner = ofTree(build, node.inputs[0], parameter, value);
  if (!inner)
    return nullptr;
  switch (node.kind) {
  case TensorData::Kind::Cast:
    return build.cast(inner, node.dtype);
  case TensorData::Kind::Reshape:
    return build.reshape(inner, dims(node.shape));
  case TensorData::Kind::Permute:
    return build.permute(inner, node.perm);
  default:
    return nullptr;
  }
}

Value *viewLike(BranchBuilder &build, const TensorData &constant, const TensorData &parameter,
                Value *value) {
  Value *view = ofTree(build, constant, parameter, value);
  return view ? build.cast(view, constant.dtype()) : nullptr;
}

} // namespace plait::adapters
