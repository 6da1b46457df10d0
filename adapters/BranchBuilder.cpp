// Each is an operation or two.
#include "adapters/BranchBuilder.h"

#include "mil/InputSizes.h"
#include "mil/Materialise.h"
#include "mil/Reshape.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/Sequence.h"

namespace plait::adapters {

using mil::Arg;
using mil::Builder;
using mil::DType;
using mil::OpKind;

Shape BranchBuilder::shapeOf(const Value *x) {
  return x->type.isTensor() ? Shape(x->type.shape()) : Shape();
}

Value *BranchBuilder::constant(const TensorData &tensor, llvm::StringRef hint) {
  return builder_.constant(tensor.cast(DType::F32), hint);
}

TensorData BranchBuilder::data(const Value *value) const {
  const TensorData *data = mil::constTensor(value);
  assert((data || Builder::isPoison(value)) && "made by constant()");
  return data ? *data : TensorData::splat(DType::F32, {1, 1}, 0);
}

Value *BranchBuilder::binary(OpKind kind, Value *x, Value *y) {
  // All binary rows have x and y first.
  return builder_.emit(kind, {{mil::add::x, x}, {mil::add::y, y}});
}

Value *BranchBuilder::mul(Value *x, double factor) {
  if (factor == 1)
    return x;
  return builder_.emit(OpKind::mul, {{mil::mul::x, x}, {mil::mul::y, factor}});
}

// ---- Products ----------------------------------------------------------------------------------

Value *BranchBuilder::linearOp(Value *x, Value *weight) {
  return builder_.emit(OpKind::linear, {{mil::linear::x, x}, {mil::linear::weight, weight}});
}

Value *BranchBuilder::product(Value *x, Value *y, bool transposed) {
  return builder_.emit(OpKind::matmul, {{mil::matmul::x, x},
                                        {mil::matmul::y, y},
                                        {mil::matmul::transpose_x, false},
                                        {mil::matmul::transpose_y, transposed}});
}

Value *BranchBuilder::linear(Value *x, Value *weight) {
  if (Builder::isPoison(x) || Builder::isPoison(weight))
    return poison();
  if (mil::isCompileTime(weight))
    return linearOp(x, weight);
  if (x->type.rank() > 1)
    return product(x, weight, /*transposed=*/true);
  return squeeze(product(expand(x, 0), weight, /*transposed=*/true), 0);
}

Value *BranchBuilder::matmul(Value *x, Value *y) {
  if (Builder::isPoison(x) || Builder::isPoison(y))
    return poison();
  // A constant right-hand matrix is the weight of a linear layer.
  if (mil::constTensor(y) && y->type.rank() == 2 && !mil::isCompileTime(x))
    return linearOp(x, permute(y, {1, 0}));
  return product(x, y, /*transposed=*/false);
}

// ---- Sums --------------------------------------------------------------------------------------

Value *BranchBuilder::sum(Value *x, int64_t axis) {
  int64_t rank = shapeOf(x).size();
  return builder_.emit(OpKind::reduce_sum,
                       {{mil::reduce_sum::x, x},
                        {mil::reduce_sum::axes, {axis < 0 ? axis + rank : axis}},
                        {mil::reduce_sum::keep_dims, false}});
}

Value *BranchBuilder::norm(Value *x) {
  return builder_.emit(OpKind::reduce_l2_norm,
                       {{mil::reduce_l2_norm::x, x},
                        {mil::reduce_l2_norm::axes, {int64_t(shapeOf(x).size()) - 1}},
                        {mil::reduce_l2_norm::keep_dims, false}});
}

// ---- Shapes ------------------------------------------------------------------------------------

Value *BranchBuilder::cast(Value *x, DType dtype) {
  if (Builder::isPoison(x) || x->type.dtype() == dtype)
    return x;
  if (const TensorData *constant = mil::constTensor(x))
    return builder_.constant(constant->cast(dtype), x->name);
  return builder_.emit(OpKind::cast, {{mil::cast::x, x}, {mil::cast::dtype, name(dtype)}});
}

Value *BranchBuilder::reshape(Value *x, llvm::ArrayRef<Dim> shape) {
  if (Builder::isPoison(x) || x->type.shape() == shape)
    return x;
  const TensorData *constant = mil::constTensor(x);
  if (auto sizes = mil::constShape(shape); constant && sizes)
    return builder_.constant(constant->reshape(*sizes), x->name);
  return mil::reshapeTo(builder_, x, shape,
                        [&](llvm::ArrayRef<Dim> sizes) { return materialise(sizes); });
}

Value *BranchBuilder::permute(Value *x, llvm::ArrayRef<int64_t> axes) {
  if (Builder::isPoison(x) || llvm::all_of(llvm::enumerate(axes), [](auto it) {
        return int64_t(it.index()) == it.value();
      }))
    return x;
  if (const TensorData *constant = mil::constTensor(x))
    return builder_.constant(constant->permute(axes), x->name);
  return builder_.emit(OpKind::transpose, {{mil::transpose::x, x}, {mil::transpose::perm, axes}});
}

Value *BranchBuilder::swapLast(Value *x) {
  if (Builder::isPoison(x))
    return x;
  auto axes = llvm::to_vector<5>(llvm::seq<int64_t>(0, x->type.rank()));
  std::swap(axes[axes.size() - 1], axes[axes.size() - 2]);
  return permute(x, axes);
}

Value *BranchBuilder::expand(Value *x, int64_t axis) {
  Shape shape = shapeOf(x);
  if (Builder::isPoison(x))
    return x;
  shape.insert(axis < 0 ? shape.end() + axis + 1 : shape.begin() + axis, Dim(1));
  return reshape(x, shape);
}

Value *BranchBuilder::squeeze(Value *x, int64_t axis) {
  Shape shape = shapeOf(x);
  if (Builder::isPoison(x))
    return x;
  shape.erase(shape.begin() + axis);
  return reshape(x, shape);
}

Value *BranchBuilder::widen(Value *x, int64_t count) {
  Shape shape = shapeOf(x);
  if (Builder::isPoison(x) || shape.back() == Dim(count))
    return x;
  llvm::SmallVector<int64_t, 12> pad(2 * shape.size(), 0);
  pad.back() = count - shape.back().value();
  return builder_.emit(OpKind::pad, {{mil::pad::x, x},
                                     {mil::pad::pad, llvm::ArrayRef<int64_t>(pad)},
                                     {mil::pad::mode, "constant"},
                                     {mil::pad::constant_val, 0.0}});
}

Value *BranchBuilder::slice(Value *x, int64_t axis, int64_t begin, int64_t count, int64_t step) {
  Shape shape = shapeOf(x);
  if (Builder::isPoison(x))
    return x;
  if (axis < 0)
    axis += shape.size();
  if (begin == 0 && step == 1 && shape[axis] == Dim(count))
    return x;
  llvm::SmallVector<int64_t, 5> begins(shape.size(), 0), ends, steps(shape.size(), 1);
  // Whole axes are masked, so that only the sliced one's bounds are ever read.
  llvm::SmallVector<bool, 5> mask(shape.size(), true);
  for (const Dim &dim : shape)
    ends.push_back(dim.tryValue().value_or(0));
  begins[axis] = begin;
  ends[axis] = begin + (count - 1) * step + 1;
  steps[axis] = step;
  mask[axis] = false;
  llvm::SmallVector<Arg, 6> args = {{mil::slice_by_index::x, x},
                                    {mil::slice_by_index::begin, llvm::ArrayRef<int64_t>(begins)},
                                    {mil::slice_by_index::end, llvm::ArrayRef<int64_t>(ends)},
                                    {mil::slice_by_index::begin_mask, llvm::ArrayRef<bool>(mask)},
                                    {mil::slice_by_index::end_mask, llvm::ArrayRef<bool>(mask)}};
  if (step != 1)
    args.push_back({mil::slice_by_index::stride, llvm::ArrayRef<int64_t>(steps)});
  return builder_.emit(OpKind::slice_by_index, args);
}

// ---- Rows --------------------------------------------------------------------------------------

Value *BranchBuilder::gather(Value *x, Value *indices) {
  if (Builder::isPoison(x) || Builder::isPoison(indices))
    return poison();
  // Indices of rank 0 go through a vector, which Core ML takes on any axis.
  bool scalar = indices->type.rank() == 0;
  if (scalar)
    indices = reshape(indices, {Dim(1)});
  Value *y = builder_.emit(OpKind::gather, {{mil::gather::x, x},
                                            {mil::gather::indices, indices},
                                            {mil::gather::axis, 0},
                                            {mil::gather::batch_dims, 0},
                                            {mil::gather::validate_indices, false}});
  return scalar ? squeeze(y, 0) : y;
}

Value *BranchBuilder::putRows(Value *x, llvm::ArrayRef<int64_t> indices, Value *rows,
                              int64_t axis) {
  int64_t rank = shapeOf(x).size();
  return builder_.emit(OpKind::scatter, {{mil::scatter::data, x},
                                         {mil::scatter::indices, builder_.ints(indices, "tokens")},
                                         {mil::scatter::updates, rows},
                                         {mil::scatter::axis, axis < 0 ? axis + rank : axis},
                                         {mil::scatter::mode, "update"},
                                         {mil::scatter::validate_indices, false}});
}

Value *BranchBuilder::select(Value *mask, Value *a, Value *b) {
  if (Builder::isPoison(mask) || Builder::isPoison(a) || Builder::isPoison(b))
    return poison();
  Shape shape = shapeOf(b);
  return builder_.emit(OpKind::select, {{mil::select::cond, broadcast(mask, shape)},
                                        {mil::select::a, broadcast(a, shape)},
                                        {mil::select::b, b}});
}

Value *BranchBuilder::broadcast(Value *x, llvm::ArrayRef<Dim> shape) {
  if (Builder::isPoison(x) || x->type.shape() == shape)
    return x;
  Shape repeats;
  for (auto [from, to] : llvm::zip(x->type.shape(), shape))
    repeats.push_back(from == Dim(1) ? to : Dim(1));
  Value *result =
      builder_.emit(OpKind::tile, {{mil::tile::x, x}, {mil::tile::reps, materialise(repeats)}});
  if (!Builder::isPoison(result))
    result->type = result->type.withShape(shape);
  return result;
}

// ---- Sizes -------------------------------------------------------------------------------------

Value *BranchBuilder::materialise(llvm::ArrayRef<Dim> shape) {
  return mil::materialise(builder_, shape, [&](llvm::StringRef symbol) -> Value * {
    if (auto source = mil::sourceOfSize(builder_.function(), symbol))
      return mil::sizeFrom(builder_, *source);
    fail(
        makeError(Code::NotKnown, "the size '{0}' is not known where an adapter needs it", symbol));
    return poison();
  });
}

} // namespace plait::adapters
