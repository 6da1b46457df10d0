// Writing elements at positions: scatter and its reductions, index_put, index_add and the like,
// masked_scatter, slice_scatter.
//
// MIL scatters int32 and floats; bools go through int32. PyTorch takes negative indices in
// index_put and index_fill only, where they are made positive.
#include "frontend/lower/Advanced.h"
#include "frontend/lower/Families.h"

#include "llvm/ADT/StringSwitch.h"
#include <cfloat>

namespace plait::frontend {

using namespace mil;

namespace {
Expr scatterNd(const Expr &data, const Expr &coordinates, const Expr &updates,
               llvm::StringRef mode) {
  return Expr(data.call(),
              data.call().emit(OpKind::scatter_nd, {{scatter_nd::data, data.value()},
                                                    {scatter_nd::indices, coordinates.value()},
                                                    {scatter_nd::updates, updates.value()},
                                                    {scatter_nd::mode, mode},
                                                    {scatter_nd::validate_indices, false}}));
}

/// Scatter along an axis as PyTorch has it: `updates` and `indices` of one shape, which may be
/// smaller than data's on any axis.
Expr scatterAlong(const Expr &data, const Expr &indices, const Expr &updates, int64_t axis,
                  llvm::StringRef mode) {
  Call &c = data.call();
  if (!data.valid() || !indices.valid() || !updates.valid())
    return data;
  bool whole = true;
  for (int64_t i = 0; i < data.rank(); ++i)
    whole &= i == axis || data.shape()[i] == indices.shape()[i];
  if (whole)
    return Expr(
        c, c.emit(OpKind::scatter_along_axis, {{scatter_along_axis::data, data.value()},
                                               {scatter_along_axis::indices, indices.value()},
                                               {scatter_along_axis::updates, updates.value()},
                                               {scatter_along_axis::axis, axis},
                                               {scatter_along_axis::mode, mode},
                                               {scatter_along_axis::validate_indices, false}}));
  // Every axis gets a coordinate: its own position, except along `axis`.
  llvm::SmallVector<Value *, 5> parts;
  for (int64_t i = 0; i < data.rank(); ++i) {
    Expr part = indices;
    if (i != axis) {
      Shape along(data.rank(), 1);
      along[i] = indices.shape()[i];
      part = Expr(c, c.broadcastTo(c.reshape(iota(c, along[i]), along), indices.shape()));
    }
    parts.push_back(expandDims(part, {data.rank()}));
  }
  return scatterNd(data, concat(c, parts, data.rank()), updates, mode);
}

/// What one scatter call works on. A tensor of rank 0 counts as a vector of one.
struct Scatter {
  Scatter(Call &c) : self(c.tensor("self")), data(c, self), index(c, c.tensor("index")) {
    if (c.failed())
      return;
    axis = c.axis("dim", std::max<int64_t>(self.rank(), 1));
    if (c.failed())
      return;
    data = gatherable(data);
    if (self.rank() == 0)
      data = Expr(c, c.reshape(data, {1}));
    if (index.rank() == 0)
      index = Expr(c, c.reshape(index, {1}));
  }
  /// A tensor argument cut to the shape of the index, in data's element type.
  Expr updates(Call &c, llvm::StringRef name) {
    Expr source(c, c.castTo(c.tensor(name).value, data.dtype()));
    if (!source.valid())
      return source;
    if (source.rank() == 0)
      source = Expr(c, c.reshape(source, {1}));
    for (int64_t i = 0; i < source.rank() && i < index.rank(); ++i)
      source = slice(source, i, 0, index.shape()[i]);
    return source;
  }
  Expr filled(Call &c, llvm::StringRef name) {
    return Expr(c, c.broadcastTo(c.scalar(name, data.dtype()), index.shape()));
  }
  void give(Call &c, Expr result) {
    if (self.rank() == 0)
      result = Expr(c, c.reshape(result, {}));
    c.result(castTo(result, self.milType()), self.dtype);
  }
  Tensor self;
  Expr data, index;
  int64_t axis = 0;
};

/// The word for a reduction in MIL; empty for what MIL has not.
llvm::StringRef modeOf(llvm::StringRef reduce) {
  return llvm::StringSwitch<llvm::StringRef>(reduce)
      .Cases("add", "sum", "add")
      .Cases("multiply", "prod", "mul")
      .Case("amax", "max")
      .Case("amin", "min")
      .Default("");
}

/// scatter.src, .value, their reducing forms, and scatter_add.
template <bool FromValue> void lowerScatter(Call &c) {
  Scatter s(c);
  if (c.failed())
    return;
  llvm::StringRef mode = c.name() == "aten::scatter_add" ? "add" : "update";
  if (c.has("reduce")) {
    mode = modeOf(c.string("reduce"));
    if (mode.empty())
      return c.refuse(Code::UnsupportedForm, "no reduction '{0}'", c.string("reduce"));
  }
  Expr updates = FromValue ? s.filled(c, "value") : s.updates(c, "src");
  if (!c.failed())
    s.give(c, scatterAlong(s.data, s.index, updates, s.axis, mode));
}

/// scatter_reduce: without `include_self`, what is written to starts from the neutral element; a
/// mean is a sum divided by how much went into it.
void lowerScatterReduce(Call &c) {
  Scatter s(c);
  std::string reduce = c.string("reduce");
  bool includeSelf = c.boolean("include_self");
  if (c.failed())
    return;
  bool mean = reduce == "mean";
  llvm::StringRef mode = mean ? "add" : modeOf(reduce);
  if (mode.empty())
    return c.refuse(Code::UnsupportedForm, "no reduction '{0}'", reduce);
  Expr updates = s.updates(c, "src"), index = s.index, data = s.data;
  if (!updates.valid() || !index.valid())
    return;
  bool isFloat = s.self.isFloat();
  if (!includeSelf) {
    double lowest = isFloat ? -FLT_MAX : INT32_MIN, highest = isFloat ? FLT_MAX : INT32_MAX;
    double neutral = mode == "mul" ? 1 : mode == "max" ? lowest : mode == "min" ? highest : 0;
    Expr start(c, c.full(index.shape(), data.dtype(), neutral));
    data = scatterAlong(data, index, start, s.axis, "update");
  }
  Expr result = scatterAlong(data, index, updates, s.axis, mode);
  if (mean) {
    Expr one(c, c.full(index.shape(), data.dtype(), 1));
    Expr counts = scatterAlong(Expr(c, c.full(data.shape(), data.dtype(), includeSelf)), index, one,
                               s.axis, "add");
    counts = maximum(counts, 1);
    result = isFloat ? result / counts : floorDivide(result, counts);
  }
  s.give(c, result);
}

/// A vector of positions along `dim`, each with a slice of the source.
template <bool Add> void lowerIndexAdd(Call &c) {
  Scatter s(c);
  Tensor source = c.tensor("source");
  if (c.failed())
    return;
  Expr updates(c, c.castTo(source.value, s.data.dtype()));
  if (updates.valid() && updates.rank() == 0)
    updates = Expr(c, c.reshape(updates, {1}));
  if (Add)
    updates = timesArgument(c, updates, "alpha");
  s.give(c, Expr(c, c.emit(OpKind::scatter, {{scatter::data, s.data.value()},
                                             {scatter::indices, s.index.value()},
                                             {scatter::updates, updates.value()},
                                             {scatter::axis, s.axis},
                                             {scatter::mode, Add ? "add" : "update"},
                                             {scatter::validate_indices, false}})));
}

void lowerIndexFill(Call &c) {
  Scatter s(c);
  if (c.failed())
    return;
  s.index = wrapIndices(s.index, s.data.shape()[s.axis]);
  Shape shape(s.data.shape());
  shape[s.axis] = s.index.shape()[0];
  Expr updates(c, c.broadcastTo(c.scalar("value", s.data.dtype()), shape));
  s.give(c, Expr(c, c.emit(OpKind::scatter, {{scatter::data, s.data.value()},
                                             {scatter::indices, s.index.value()},
                                             {scatter::updates, updates.value()},
                                             {scatter::axis, s.axis},
                                             {scatter::mode, "update"},
                                             {scatter::validate_indices, false}})));
}

/// x[mask] = values for a run-time mask: a choice, where one value or one row of values serves all.
void putByMask(Call &c, const Tensor &x, const AdvancedIndex &index, const Tensor &values,
               bool accumulate) {
  Shape maskShape(x.rank(), 1);
  for (int64_t i = 0; i < index.mask.rank(); ++i)
    maskShape[index.maskAxis + i] = index.mask.size(i);
  int64_t trailing = x.rank() - index.maskAxis - index.mask.rank();
  if (numElements(values.shape()) != Dim(1) && (index.maskAxis != 0 || values.rank() > trailing))
    return c.refuse(Code::NotKnown,
                    "values are written at the positions of a run-time mask one by one; only one "
                    "value for all of them can be lowered");
  Expr mask(c, c.reshape(index.mask.value, maskShape));
  Expr value(c, c.castTo(values.value, x.milType()));
  if (value.valid() && numElements(values.shape()) == Dim(1))
    value = Expr(c, c.reshape(value, {}));
  Expr e(c, x);
  c.result(select(mask, accumulate ? e + value : value, e), x.dtype);
}

void lowerIndexPut(Call &c) {
  Tensor x = c.tensor("self"), values = c.tensor("values");
  bool accumulate = c.boolean("accumulate");
  if (c.failed())
    return;
  auto index = advancedIndex(c, x.shape());
  if (!index)
    return;
  if (index->isEmpty) // nothing is written
    return c.result(x);
  if (index->mask)
    return putByMask(c, x, *index, values, accumulate);
  // Values broadcast to the shape that reading would give, then follow the indexed axes to the
  // front.
  int64_t width = index->shape.size(), count = index->axes.size();
  Shape rest;
  auto perm = index->toFront(x.rank());
  for (int64_t axis : llvm::drop_begin(perm, count))
    rest.push_back(x.size(axis));
  Shape shape(rest);
  shape.insert(shape.begin() + index->position, index->shape.begin(), index->shape.end());
  Expr data = gatherable(Expr(c, x));
  Expr updates(c, c.broadcastTo(c.castTo(values.value, data.dtype()), shape));
  llvm::SmallVector<int64_t, 6> valuePerm;
  for (int64_t i = 0; i < width; ++i)
    valuePerm.push_back(index->position + i);
  for (int64_t i = 0; i < int64_t(shape.size()); ++i)
    if (i < index->position || i >= index->position + width)
      valuePerm.push_back(i);
  Expr result = scatterNd(permuteIfNeeded(data, perm), index->coordinates(c),
                          permuteIfNeeded(updates, valuePerm), accumulate ? "add" : "update");
  llvm::SmallVector<int64_t, 6> back(perm.size());
  for (auto [i, axis] : llvm::enumerate(perm))
    back[axis] = i;
  c.result(castTo(permuteIfNeeded(result, back), x.milType()), x.dtype);
}

/// The elements of `source`, in order, go to the true positions of a mask: the n-th true position
/// takes the n-th element.
void lowerMaskedScatter(Call &c) {
  Tensor x = c.tensor("self"), mask = c.tensor("mask"), source = c.tensor("source");
  if (c.failed())
    return;
  auto shape = broadcastShapes(c, {x.shape(), mask.shape()});
  if (!shape)
    return;
  Dim count = numElements(*shape), given = numElements(source.shape());
  if (given == Dim(0)) // there is no true position either
    return c.result(c.broadcastTo(x.value, *shape), x.dtype);
  Expr where(c, c.broadcastTo(c.castTo(mask.value, DType::Bool), *shape));
  Expr flags(c, c.castTo(c.reshape(where, {count}), DType::I32));
  Expr taken(c, c.emit(OpKind::cumsum, {{cumsum::x, flags.value()},
                                        {cumsum::axis, 0},
                                        {cumsum::exclusive, true},
                                        {cumsum::reverse, false}}));
  // Behind the last true position the count goes past the source; what is read there is not used.
  // A source that may be empty has one element more, since nothing can be read from none.
  Expr values = gatherable(Expr(c, c.reshape(source.value, {given})));
  if (!values.valid())
    return;
  if (given.lower() < 1)
    values = concat(c, {values.value(), c.full({1}, values.dtype(), 0)}, 0);
  taken = minimum(taken, sizeOf(c, given.lower() < 1 ? given : given - Dim(1)));
  Expr picked(c, c.reshape(gather(values, taken, 0), *shape));
  c.result(select(where, castTo(picked, x.milType()), Expr(c, c.broadcastTo(x.value, *shape))),
           x.dtype);
}

/// x with positions start, start + step … of an axis replaced.
void giveReplaced(Call &c, const Tensor &x, Expr source, int64_t axis, const Dim &start,
                  const Dim &end, int64_t step) {
  Expr e(c, x);
  if (step == 1) {
    llvm::SmallVector<Value *, 3> parts;
    if (!(start == Dim(0)))
      parts.push_back(slice(e, axis, 0, start));
    parts.push_back(source);
    if (!(end == x.size(axis)))
      parts.push_back(slice(e, axis, end, x.size(axis)));
    return c.result(concat(c, parts, axis), x.dtype);
  }
  Expr positions = iota(c, ceildiv(end - start, Dim(step))) * double(step) + sizeOf(c, start);
  Expr data = gatherable(e);
  Expr y(c, c.emit(OpKind::scatter, {{scatter::data, data.value()},
                                     {scatter::indices, positions.value()},
                                     {scatter::updates, castTo(source, data.dtype()).value()},
                                     {scatter::axis, axis},
                                     {scatter::mode, "update"},
                                     {scatter::validate_indices, false}}));
  c.result(castTo(y, x.milType()), x.dtype);
}

/// A position along a dimension: negative ones count from its end, and it is clamped to it.
Dim position(const Dim &value, const Dim &size) {
  Dim from = value.upper() < 0 ? value + size : value;
  return max(Dim(0), min(from, size));
}

void lowerSliceScatter(Call &c) {
  Tensor x = c.tensor("self"), source = c.tensor("src");
  if (c.failed())
    return;
  int64_t axis = c.axis("dim", x.rank()), step = c.integer("step");
  Dim size = x.size(axis);
  Dim start = c.has("start") ? position(c.dim("start"), size) : Dim(0);
  Dim end = c.has("end") ? position(c.dim("end"), size) : size;
  if (c.failed())
    return;
  Expr updates(c, c.castTo(source.value, x.milType()));
  giveReplaced(c, x, updates, axis, start, end, step);
}

void lowerSelectScatter(Call &c) {
  Tensor x = c.tensor("self"), source = c.tensor("src");
  if (c.failed())
    return;
  int64_t axis = c.axis("dim", x.rank());
  Dim at = c.dim("index");
  if (c.failed())
    return;
  at = position(at, x.size(axis));
  Expr row = expandDims(Expr(c, c.castTo(source.value, x.milType())), {axis});
  giveReplaced(c, x, row, axis, at, at + Dim(1), 1);
}
} // namespace

void registerScattering(Table &table) {
  table.add({"aten::scatter.src", "aten::scatter.reduce", "aten::scatter_add"},
            lowerScatter<false>);
  table.add({"aten::scatter.value", "aten::scatter.value_reduce"}, lowerScatter<true>);
  table.add({"aten::scatter_reduce.two"}, lowerScatterReduce);
  table.add({"aten::index_add"}, lowerIndexAdd<true>);
  table.add({"aten::index_copy"}, lowerIndexAdd<false>);
  table.add({"aten::index_fill.int_Scalar", "aten::index_fill.int_Tensor"}, lowerIndexFill);
  table.add({"aten::index_put", "aten::index_put.hacked_twin", "aten::_unsafe_index_put"},
            lowerIndexPut);
  table.add({"aten::masked_scatter"}, lowerMaskedScatter);
  table.add({"aten::slice_scatter"}, lowerSliceScatter);
  table.add({"aten::select_scatter"}, lowerSelectScatter);
}

} // namespace plait::frontend
