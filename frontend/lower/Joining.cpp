// Joining and repeating: cat, stack, repeat, tile, repeat_interleave, flip, roll, meshgrid.
#include "frontend/engine/Engine.h"
#include "frontend/lower/Expr.h"
#include "frontend/lower/Families.h"

#include <ATen/Functions.h>

namespace plait::frontend {

using namespace mil;

namespace {
using Tensors = llvm::SmallVector<Tensor, 4>;

/// All in the element type that they promote to.
at::ScalarType promoteAll(Call &c, Tensors &tensors) {
  at::ScalarType dtype = tensors[0].dtype;
  for (const Tensor &tensor : tensors)
    dtype = at::promote_types(dtype, tensor.dtype);
  for (Tensor &tensor : tensors)
    tensor = c.cast(tensor, dtype);
  return dtype;
}

/// Concatenates along an axis. Operands without elements are left out: Core ML has no empty
/// tensors.
void giveConcat(Call &c, Tensors tensors, int64_t dim) {
  if (c.failed() || tensors.empty())
    return c.refuse(Code::UnsupportedForm, "nothing to join");
  at::ScalarType dtype = promoteAll(c, tensors);
  llvm::SmallVector<Value *, 4> values;
  int64_t rank = 0;
  for (const Tensor &tensor : tensors)
    if (!llvm::is_contained(tensor.shape(), Dim(0))) {
      values.push_back(tensor.value);
      rank = tensor.rank();
    }
  if (values.empty())
    return c.result(tensors[0]);
  if (dim < -rank || dim >= rank)
    return c.refuse(Code::OperandMismatch, "axis {0} is out of range for rank {1}", dim, rank);
  c.result(concat(c, values, dim < 0 ? dim + rank : dim), dtype);
}

void lowerCat(Call &c) { giveConcat(c, c.tensors("tensors"), c.integer("dim")); }

void lowerStack(Call &c) {
  Tensors tensors = c.tensors("tensors");
  if (c.failed() || tensors.empty())
    return c.refuse(Code::UnsupportedForm, "nothing to join");
  int64_t axis = c.axis("dim", tensors[0].rank() + 1);
  if (c.failed())
    return;
  // MIL's stack wants rank 1 or more, and has no effect on one operand.
  if (tensors[0].rank() == 0 || tensors.size() == 1) {
    for (Tensor &tensor : tensors)
      tensor.value = tensor.rank() == 0 ? c.reshape(tensor.value, {1})
                                        : expandDims(Expr(c, tensor), axis).value();
    return giveConcat(c, tensors, axis);
  }
  at::ScalarType dtype = promoteAll(c, tensors);
  llvm::SmallVector<Value *, 4> values;
  for (const Tensor &tensor : tensors)
    values.push_back(tensor.value);
  c.result(c.emit(OpKind::stack,
                  {{stack::values, llvm::ArrayRef<Value *>(values)}, {stack::axis, axis}}),
           dtype);
}

/// At least `rank` axes, as atleast_Nd adds them.
Tensor atLeast(Call &c, Tensor x, int64_t rank) {
  Shape shape(x.shape());
  if (int64_t(shape.size()) >= rank)
    return x;
  if (rank == 3 && shape.size() == 2)
    shape.push_back(1);
  else if (rank == 3 && shape.size() == 1)
    shape = {1, shape[0], 1};
  else
    while (int64_t(shape.size()) < rank)
      shape.insert(shape.begin(), 1);
  return {c.reshape(x.value, shape), x.dtype};
}

template <int64_t Rank> void lowerAtLeast(Call &c) {
  bool sequence = c.schema().argumentIndexWithName("tensors").has_value();
  Tensors tensors = sequence ? c.tensors("tensors") : Tensors{c.tensor("self")};
  if (c.failed())
    return;
  for (Tensor &tensor : tensors)
    tensor = atLeast(c, tensor, Rank);
  if (sequence)
    c.resultList(tensors);
  else
    c.result(tensors[0]);
}

/// hstack, vstack, dstack and column_stack: cat after atleast_Nd.
template <int64_t Rank> void lowerStackAlong(Call &c) {
  Tensors tensors = c.tensors("tensors");
  if (c.failed() || tensors.empty())
    return c.refuse(Code::UnsupportedForm, "nothing to join");
  bool columns = c.name() == "aten::column_stack";
  for (Tensor &tensor : tensors)
    tensor = columns && tensor.rank() < 2
                 ? Tensor{c.reshape(tensor.value, {numElements(tensor.shape()), 1}), tensor.dtype}
                 : atLeast(c, tensor, Rank);
  int64_t axis = Rank == 3 ? 2 : Rank == 2 ? 0 : tensors[0].rank() == 1 ? 0 : 1;
  giveConcat(c, tensors, columns ? 1 : axis);
}

void giveTiled(Call &c, const Tensor &x, Shape reps) {
  Shape shape(x.shape());
  while (shape.size() < reps.size())
    shape.insert(shape.begin(), 1);
  while (reps.size() < shape.size())
    reps.insert(reps.begin(), 1);
  Value *value = c.reshape(x.value, shape);
  if (llvm::all_of(reps, [](const Dim &r) { return r == Dim(1); }))
    return c.result(value, x.dtype);
  Value *tiled = c.emit(OpKind::tile, {{tile::x, value}, {tile::reps, c.materialise(reps)}});
  if (tiled->type.isTensor()) {
    for (auto [size, times] : llvm::zip(shape, reps))
      size = size * times;
    tiled->type = tiled->type.withShape(shape);
  }
  c.result(tiled, x.dtype);
}

void lowerRepeat(Call &c) {
  Tensor x = c.tensor("self");
  Shape reps = c.dims("repeats");
  if (c.failed())
    return;
  if (int64_t(reps.size()) < x.rank())
    return c.refuse(Code::OperandMismatch, "{0} counts for {1} axes", reps.size(), x.rank());
  giveTiled(c, x, reps);
}

void lowerTile(Call &c) {
  Tensor x = c.tensor("self");
  Shape reps = c.dims("dims");
  if (!c.failed())
    giveTiled(c, x, reps);
}

/// Every element `times` times in place: [n] to [n, times], then merged.
void lowerRepeatInterleave(Call &c) {
  Tensor x = c.tensor("self");
  Dim times = c.dim("repeats");
  if (c.failed())
    return;
  bool flat = !c.has("dim");
  Expr e(c, flat ? c.reshape(x.value, {numElements(x.shape())}) : x.value);
  int64_t axis = flat ? 0 : c.axis("dim", x.rank());
  if (c.failed() || !e.valid())
    return;
  Shape merged(e.shape());
  merged[axis] = merged[axis] * times;
  auto size = e.shape()[axis].tryValue();
  if (e.rank() >= 5 && size && times.isConst()) {
    llvm::SmallVector<int64_t, 0> positions;
    for (int64_t i = 0; i < *size * times.value(); ++i)
      positions.push_back(i / times.value());
    bool isBool = x.isBool();
    Expr source = isBool ? castTo(e, DType::I32) : e;
    Expr y = gather(source, Expr(c, c.builder().ints(positions)), axis);
    return c.result(isBool ? castTo(y, DType::Bool) : y, x.dtype);
  }
  Shape spread(e.shape());
  spread.insert(spread.begin() + axis + 1, times);
  Value *repeated = c.broadcastTo(expandDims(e, axis + 1), spread);
  c.result(c.reshape(repeated, merged), x.dtype);
}

/// Which element of [0, counts.size()) each element of the result repeats, where the counts are
/// computed at run time, which decide how many there are: the number of those that end before it.
Expr repeatedPositions(Call &c, const Tensor &counts, const Dim &size) {
  Expr each(c, c.broadcastTo(c.reshape(counts.value, {numElements(counts.shape())}), {size}));
  if (!each.valid())
    return each;
  Engine &engine = c.engine();
  Expr ends(c, c.emit(OpKind::cumsum, {{cumsum::x, each.value()},
                                       {cumsum::axis, 0},
                                       {cumsum::exclusive, false},
                                       {cumsum::reverse, false}}));
  Expr total = reduce(OpKind::reduce_sum, each, {0}, false);
  if (!total.valid() || !ends.valid())
    return total;
  Expr positions = iota(c, *engine.dimOf(engine.makeTensor(total.value(), at::kLong)));
  Expr behind = binary(OpKind::less_equal, expandDims(ends, {1}), expandDims(positions, {0}));
  return reduce(OpKind::reduce_sum, castTo(behind, DType::I32), {0}, false);
}

/// Counts that differ from element to element.
void lowerRepeatInterleaveTensor(Call &c) {
  Tensor x = c.tensor("self");
  at::Tensor repeats = c.knownTensor("repeats");
  if (c.failed())
    return;
  bool flat = !c.has("dim");
  Expr e(c, flat ? c.reshape(x.value, {numElements(x.shape())}) : x.value);
  int64_t axis = flat ? 0 : c.axis("dim", x.rank());
  if (c.failed() || !e.valid())
    return;
  auto size = e.shape()[axis].tryValue();
  Expr positions(c, nullptr);
  if (repeats.defined() && size)
    positions = Expr(c, c.engine().constant(at::repeat_interleave(
                            repeats.to(at::kLong).reshape({-1}).expand({*size}).contiguous())));
  else
    positions = repeatedPositions(c, c.tensor("repeats"), e.shape()[axis]);
  if (!positions.valid())
    return;
  Expr source = x.isBool() ? castTo(e, DType::I32) : e;
  c.result(castTo(gather(source, positions, axis), x.milType()), x.dtype);
}

/// The positions by themselves, of counts alone.
void lowerRepeatedPositions(Call &c) {
  Tensor counts = c.tensor("repeats");
  if (c.failed())
    return;
  if (counts.rank() != 1)
    return c.refuse(Code::OperandMismatch, "the counts have {0} dimensions; one is needed",
                    counts.rank());
  c.result(repeatedPositions(c, counts, counts.shape()[0]), at::kLong);
}

Expr flipped(const Expr &x, llvm::ArrayRef<int64_t> axes) {
  if (axes.empty())
    return x;
  return Expr(x.call(),
              x.call().emit(OpKind::reverse, {{reverse::x, x.value()}, {reverse::axes, axes}}));
}

void lowerFlip(Call &c) {
  Tensor x = c.tensor("self");
  if (c.failed())
    return;
  llvm::SmallVector<int64_t, 6> axes;
  if (c.name() == "aten::fliplr")
    axes = {1};
  else if (c.name() == "aten::flipud")
    axes = {0};
  else if (!c.integers("dims").empty())
    axes = c.axes("dims", x.rank());
  if (!c.failed())
    c.result(flipped(Expr(c, x), axes), x.dtype);
}

void lowerRot90(Call &c) {
  Tensor x = c.tensor("self");
  int64_t k = c.integer("k") & 3;
  auto axes = orderedAxes(c, "dims", x.rank());
  if (c.failed() || axes.size() != 2)
    return c.refuse(Code::OperandMismatch, "two axes are needed");
  Expr e(c, x);
  auto perm = allAxes(x.rank());
  std::swap(perm[axes[0]], perm[axes[1]]);
  if (k == 2)
    e = flipped(e, axes);
  else if (k == 1)
    e = Expr(c, c.permute(flipped(e, axes[1]), perm));
  else if (k == 3)
    e = flipped(Expr(c, c.permute(e, perm)), axes[1]);
  c.result(e, x.dtype);
}

/// Beyond this the table of places costs more than the copies that it saves.
constexpr int64_t kGatheredSize = 16384;

/// The last `shift` elements come first: one gather, as coremltools has it, where sizes are known.
Expr rolled(const Expr &x, int64_t axis, const Dim &shift) {
  Call &c = x.call();
  if (!x.valid())
    return x;
  Dim size = x.shape()[axis];
  Dim by = floormod(shift, size);
  if (by == Dim(0))
    return x;
  if (size.isConst() && size.value() <= kGatheredSize && by.isConst() && x.dtype() != DType::Bool) {
    llvm::SmallVector<int64_t, 16> places(size.value());
    for (int64_t i = 0; i < size.value(); ++i)
      places[i] = (i + size.value() - by.value()) % size.value();
    return gather(x, Expr(c, c.builder().ints(places)), axis);
  }
  return concat(c, {slice(x, axis, size - by, size), slice(x, axis, 0, size - by)}, axis);
}

void lowerRoll(Call &c) {
  Tensor x = c.tensor("self");
  Shape shifts = c.dims("shifts");
  auto dims = c.integers("dims");
  if (c.failed())
    return;
  if (dims.empty()) {
    Expr flat(c, c.reshape(x.value, {numElements(x.shape())}));
    return c.result(c.reshape(rolled(flat, 0, shifts[0]), x.shape()), x.dtype);
  }
  auto axes = orderedAxes(c, "dims", x.rank());
  if (c.failed() || axes.size() != shifts.size())
    return c.refuse(Code::OperandMismatch, "{0} shifts for {1} axes", shifts.size(), axes.size());
  Expr y(c, x);
  for (auto [axis, shift] : llvm::zip(axes, shifts))
    y = rolled(y, axis, shift);
  c.result(y, x.dtype);
}

void lowerMeshgrid(Call &c) {
  Tensors tensors = c.tensors("tensors");
  bool xy = c.schema().argumentIndexWithName("indexing") && c.string("indexing") == "xy";
  if (c.failed())
    return;
  Shape shape;
  for (const Tensor &tensor : tensors)
    shape.push_back(numElements(tensor.shape()));
  bool swapped = xy && tensors.size() >= 2;
  if (swapped)
    std::swap(shape[0], shape[1]);
  for (auto [i, tensor] : llvm::enumerate(tensors)) {
    size_t axis = swapped && i < 2 ? 1 - i : i;
    Shape along(shape.size(), 1);
    along[axis] = shape[axis];
    tensor.value = c.broadcastTo(c.reshape(tensor.value, along), shape);
  }
  c.resultList(tensors);
}

void lowerBroadcastTensors(Call &c) {
  Tensors tensors = c.tensors("tensors");
  if (c.failed())
    return;
  llvm::SmallVector<llvm::ArrayRef<Dim>, 4> shapes;
  for (const Tensor &tensor : tensors)
    shapes.push_back(tensor.shape());
  auto shape = broadcastShapes(c, shapes);
  if (!shape)
    return;
  for (Tensor &tensor : tensors)
    tensor.value = c.broadcastTo(tensor.value, *shape);
  c.resultList(tensors);
}
} // namespace

void registerJoining(Table &table) {
  table.add({"aten::cat", "aten::concat", "aten::concatenate"}, lowerCat);
  table.add({"aten::stack"}, lowerStack);
  table.add({"aten::hstack"}, lowerStackAlong<1>);
  table.add({"aten::vstack", "aten::row_stack", "aten::column_stack"}, lowerStackAlong<2>);
  table.add({"aten::dstack"}, lowerStackAlong<3>);
  table.add({"aten::atleast_1d", "aten::atleast_1d.Sequence"}, lowerAtLeast<1>);
  table.add({"aten::atleast_2d", "aten::atleast_2d.Sequence"}, lowerAtLeast<2>);
  table.add({"aten::atleast_3d", "aten::atleast_3d.Sequence"}, lowerAtLeast<3>);
  table.add({"aten::repeat"}, lowerRepeat);
  table.add({"aten::tile"}, lowerTile);
  table.add({"aten::repeat_interleave.self_int"}, lowerRepeatInterleave);
  table.add({"aten::repeat_interleave.self_Tensor"}, lowerRepeatInterleaveTensor);
  table.add({"aten::repeat_interleave.Tensor"}, lowerRepeatedPositions);
  table.add({"aten::flip", "aten::fliplr", "aten::flipud"}, lowerFlip);
  table.add({"aten::rot90"}, lowerRot90);
  table.add({"aten::roll"}, lowerRoll);
  table.add({"aten::meshgrid", "aten::meshgrid.indexing"}, lowerMeshgrid);
  table.add({"aten::broadcast_tensors"}, lowerBroadcastTensors);
}

} // namespace plait::frontend
