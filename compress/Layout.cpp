// Axes of operations and divisions of axes.
#include "compress/Layout.h"

#include "llvm/ADT/STLExtras.h"

namespace plait::compress {

using namespace mil;

std::optional<Axes> axesOf(const Op &user, const Value *weight) {
  unsigned rank = weight->type.rank();
  auto at = [&](unsigned param) { return user[param] == weight; };
  if (rank < 2)
    return std::nullopt;
  switch (user.kind()) {
  case OpKind::linear:
    return at(linear::weight) ? std::optional(Axes{0, 1}) : std::nullopt;
  case OpKind::conv:
    return at(conv::weight) ? std::optional(Axes{0, 1}) : std::nullopt;
  case OpKind::conv_transpose:
    return at(conv_transpose::weight) ? std::optional(Axes{1, 0}) : std::nullopt;
  case OpKind::gather:
    return at(gather::x) ? std::optional(Axes{0, 1}) : std::nullopt;
  case OpKind::matmul: {
    Axes last{rank - 1, rank - 2}, other{rank - 2, rank - 1};
    if (at(matmul::y))
      return constBool(user[matmul::transpose_y]).value_or(false) ? other : last;
    return constBool(user[matmul::transpose_x]).value_or(false) ? last : other;
  }
  default:
    return std::nullopt;
  }
}

Layout::Layout(llvm::ArrayRef<int64_t> shape, Axes axes)
    : axes(axes), shape(shape.begin(), shape.end()), rows(1), inputs(1), inner(1) {
  perm.push_back(axes.out);
  rows = shape[axes.out];
  if (axes.in) {
    perm.push_back(*axes.in);
    inputs = shape[*axes.in];
  }
  for (unsigned axis = 0; axis < shape.size(); ++axis)
    if (axis != axes.out && axis != axes.in) {
      perm.push_back(axis);
      inner *= shape[axis];
    }
  inOrder = llvm::is_sorted(perm);
}

/// The divisor of `count` that is nearest to `wanted`, a smaller one where there is one of at least
/// half of it; `count` itself where there is none beyond `wanted`.
static int64_t divisorNear(int64_t count, int64_t wanted) {
  for (int64_t size = std::min(wanted, count); size * 2 >= wanted && size > 0; --size)
    if (count % size == 0)
      return size;
  for (int64_t size = wanted + 1; size < count; ++size)
    if (count % size == 0)
      return size;
  return count;
}

Cells cellsOf(const Layout &layout, Grain grain) {
  Cells cells{grain, layout.rows, layout.inputs, {}, ""};
  switch (grain.kind) {
  case Grain::Kind::Tensor:
    break;
  case Grain::Kind::Channel:
    cells.rows = 1;
    break;
  case Grain::Kind::Group:
    cells.rows = divisorNear(layout.rows, grain.size);
    break;
  case Grain::Kind::Block:
    cells.rows = 1;
    cells.inputs = divisorNear(layout.inputs, grain.size);
    break;
  }
  int64_t found = grain.kind == Grain::Kind::Block ? cells.inputs : cells.rows;
  if (grain.size > 1 && found != grain.size) {
    bool isBlock = grain.kind == Grain::Kind::Block;
    cells.grain.size = found;
    cells.note =
        fmt::format("{0}s of {1} in place of {2}: there are {3}", isBlock ? "block" : "group",
                    found, grain.size, isBlock ? layout.inputs : layout.rows);
  }
  cells.shape.assign(layout.shape.size(), 1);
  cells.shape[layout.axes.out] = layout.rows / cells.rows;
  if (layout.axes.in)
    cells.shape[*layout.axes.in] = layout.inputs / cells.inputs;
  return cells;
}

} // namespace plait::compress
