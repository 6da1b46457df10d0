// Making and recognising identity matrices.
#include "mil/IdentityMatrix.h"

#include "mil/Attr.h"
#include "mil/OpInfo.h"

#include "llvm/ADT/STLExtras.h"

namespace plait::mil {

TensorData identityMatrix(DType dtype, int64_t rows, int64_t columns) {
  TensorData none = TensorData::scalar(int32_t(0));
  return TensorData::computed(OpKind::band_part,
                              {{Attr(TensorData::splat(DType::F32, {rows, columns}, 1))},
                               {Attr(none)},
                               {Attr(none)}},
                              Type::tensor(DType::F32, {rows, columns}))
      .cast(dtype);
}

bool isIdentityMatrix(const TensorData &tensor) {
  const TensorData *tree = &tensor;
  while (tree->kind() == TensorData::Kind::Cast || tree->kind() == TensorData::Kind::Permute)
    tree = &tree->node().inputs[0];
  const TensorData::Node &node = tree->node();
  if (node.kind != TensorData::Kind::Computed || node.op != OpKind::band_part ||
      node.shape.size() != 2 || node.shape[0] != node.shape[1])
    return false;
  TensorData ones = TensorData::splat(node.dtype, node.shape, 1);
  TensorData none = TensorData::scalar(int32_t(0));
  auto is = [&](unsigned param, const TensorData &expected) {
    // A bound that is absent keeps the whole of its side.
    if (node.operands[param].empty())
      return false;
    const TensorData *operand = node.operands[param][0].tensor();
    return operand && operand->sameTree(expected);
  };
  return is(band_part::x, ones) && is(band_part::lower, none) && is(band_part::upper, none);
}

} // namespace plait::mil
