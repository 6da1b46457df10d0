// Making views, for lower/Views.cpp and lower/Splits.cpp: a tensor object with one more step than
// its base. As in LibTorch, a reshape is a view if the strides allow it.
#include "frontend/engine/Engine.h"

#include "llvm/ADT/SmallBitVector.h"

#include <ATen/Functions.h>

namespace plait::frontend {

using mil::OpKind;

namespace {
enum class Alias { Yes, No, Unknown };

/// Whether a reshape of a strided tensor is a view, and its strides: LibTorch's rule, on symbolic
/// sizes.
Alias reshapeStrides(const TensorObj &tensor, llvm::ArrayRef<Dim> shape,
                     std::optional<Shape> &result) {
  if (!tensor.strides)
    return Alias::Unknown;
  if (isContiguous(tensor)) {
    result = contiguousStrides(shape);
    return Alias::Yes;
  }
  const Shape &strides = *tensor.strides;
  bool allConst =
      mil::constShape(tensor.shape) && mil::constShape(shape) && mil::constShape(strides);
  Alias no = allConst ? Alias::No : Alias::Unknown;
  Shape newStrides(shape.size());
  int64_t target = int64_t(shape.size()) - 1;
  Dim base = strides.back(), chunk = 1, covered = 1;
  for (int64_t d = int64_t(tensor.shape.size()) - 1; d >= 0; --d) {
    chunk = chunk * tensor.shape[d];
    bool ends = d == 0 || (!(tensor.shape[d - 1] == Dim(1)) && !(strides[d - 1] == chunk * base));
    if (!ends)
      continue;
    while (target >= 0 && (!(covered == chunk) || shape[target] == Dim(1))) {
      newStrides[target] = covered * base;
      covered = covered * shape[target];
      --target;
    }
    if (!(covered == chunk))
      return no;
    if (d > 0) {
      base = strides[d - 1];
      chunk = covered = 1;
    }
  }
  if (target >= 0)
    return no;
  result = std::move(newStrides);
  return Alias::Yes;
}

} // namespace

Val Engine::reshapeTensor(const Val::TensorPtr &self, Shape shape, bool mustAlias) {
  if (llvm::ArrayRef<Dim>(shape) == llvm::ArrayRef<Dim>(self->shape)) {
    auto same = std::make_shared<TensorObj>(*self);
    same->serial = nextSerial_++;
    return Val(std::move(same));
  }
  std::optional<Shape> strides;
  Alias alias = reshapeStrides(*self, shape, strides);
  if (alias == Alias::Yes || mustAlias)
    return Val(view(self, ViewStep{.kind = ViewStep::Reshape, .shape = shape}, std::move(strides)));
  if (std::holds_alternative<ComplexParts>(self->cell->content)) {
    auto reshaped = [&](unsigned which) {
      return copy(reshapeTensor(part(self, which).tensor(), shape, false).tensor());
    };
    Val result = makeComplex(reshaped(0), reshaped(1));
    if (alias == Alias::Unknown)
      mayAlias(result, Val(self));
    return result;
  }
  at::Tensor known = readKnown(*self);
  auto sizes = mil::constShape(shape);
  const auto *cell = std::get_if<Cell::Known>(&self->cell->content);
  Val result = known.defined() && sizes
                   ? makeKnown({known.reshape(*sizes), cell->fromWeight, cell->origin})
                   : makeTensor(reshape(read(*self), shape), self->dtype());
  if (alias == Alias::Unknown)
    mayAlias(result, Val(self));
  return result;
}

Val Engine::permuteTensor(const Val::TensorPtr &self, llvm::ArrayRef<int64_t> perm) {
  llvm::SmallBitVector taken(self->shape.size());
  for (int64_t axis : perm) {
    TORCH_CHECK(perm.size() == taken.size() && !taken[axis], "the dimensions of a tensor of rank ",
                taken.size(), " are put in an order that does not name each of them once");
    taken.set(axis);
  }
  ViewStep step{.kind = ViewStep::Permute};
  std::optional<Shape> strides;
  if (self->strides)
    strides.emplace();
  for (int64_t axis : perm) {
    step.perm.push_back(axis);
    step.shape.push_back(self->shape[axis]);
    if (strides)
      strides->push_back((*self->strides)[axis]);
  }
  return Val(view(self, std::move(step), std::move(strides)));
}

Val Engine::sliceTensor(const Val::TensorPtr &self, int64_t dim, const Val &start, const Val &end,
                        int64_t step) {
  TORCH_CHECK(step > 0, "a slice has step ", step, ": it must be positive");
  const Dim size = Sizes(self->shape)[dim];
  // None and "to the end" before symbolic clamping.
  auto bound = [&](const Val &val, Dim fallback) -> Maybe<Dim> {
    if (val.isNone())
      return fallback;
    auto d = dimOf(val);
    if (!d)
      return std::nullopt;
    if (d->isConst()) {
      int64_t value = d->value();
      if (value < 0)
        return max(size + value, Dim(0));
      return value == INT64_MAX ? size : min(Dim(value), size);
    }
    // A symbolic bound that may be negative counts from the end.
    Dim wrapped = d->lower() >= 0 ? *d : d->upper() < 0 ? size + *d : *d;
    return max(min(wrapped, size), Dim(0));
  };
  auto first = bound(start, 0), last = bound(end, size);
  if (!first || !last) {
    fail(makeError(Code::NotKnown, "the bounds of a slice must be integers"));
    return Val();
  }
  ViewStep slice{.kind = ViewStep::Slice, .dim = dim, .start = *first, .step = step};
  slice.shape = self->shape;
  slice.shape[dim] = max(ceildiv(*last - *first, step), Dim(0));
  std::optional<Shape> strides = self->strides;
  if (strides)
    (*strides)[dim] = (*strides)[dim] * step;
  return Val(view(self, std::move(slice), std::move(strides)));
}

Val Engine::selectTensor(const Val::TensorPtr &self, int64_t dim, const Val &index) {
  ViewStep step{.kind = ViewStep::Select, .dim = dim};
  const Dim &size = Sizes(self->shape)[dim];
  Maybe<Dim> position = index.asDim();
  if (!position && index.tensor())
    position = readDim(*index.tensor());
  if (position) {
    if (position->isConst() && size.isConst())
      TORCH_CHECK(position->value() >= -size.value() && position->value() < size.value(), "index ",
                  position->value(), " is out of range for dimension ", dim, " of size ",
                  size.value());
    step.start = position->isConst() && position->value() < 0 ? size + *position : *position;
  } else {
    mil::Value *value = scalar(index, mil::DType::I32);
    mil::Value *wrapped =
        builder_.emit(OpKind::add, {{mil::add::x, value}, {mil::add::y, materialise(size)}});
    mil::Value *negative = builder_.emit(OpKind::less, {{mil::less::x, value}, {mil::less::y, 0}});
    step.dynamicStart = builder_.emit(
        OpKind::select,
        {{mil::select::cond, negative}, {mil::select::a, wrapped}, {mil::select::b, value}});
  }
  step.shape = self->shape;
  step.shape.erase(step.shape.begin() + dim);
  std::optional<Shape> strides = self->strides;
  if (strides)
    strides->erase(strides->begin() + dim);
  return Val(view(self, std::move(step), std::move(strides)));
}

Val Engine::splitTensor(const Val::TensorPtr &self, int64_t dim, llvm::ArrayRef<Dim> sizes,
                        bool unbind) {
  // One `split` serves every piece of a run-time tensor.
  mil::Op *split = nullptr;
  auto lengths = mil::constShape(sizes);
  if (std::holds_alternative<mil::Value *>(self->cell->content) && lengths && sizes.size() > 1 &&
      llvm::all_of(*lengths, [](int64_t n) { return n > 0; }))
    split = builder_.create(OpKind::split,
                            {{mil::split::x, read(*self)},
                             {mil::split::split_sizes, llvm::ArrayRef<int64_t>(*lengths)},
                             {mil::split::axis, dim}});
  std::vector<Val> pieces;
  Dim start = 0;
  for (auto [i, size] : llvm::enumerate(sizes)) {
    ViewStep step{.kind = unbind ? ViewStep::Select : ViewStep::Slice, .dim = dim, .start = start};
    step.shape = self->shape;
    std::optional<Shape> strides = self->strides;
    mil::Value *value = split ? split->result(i) : nullptr;
    if (unbind) {
      step.shape.erase(step.shape.begin() + dim);
      if (strides)
        strides->erase(strides->begin() + dim);
      if (value)
        value =
            builder_.emit(OpKind::squeeze, {{mil::squeeze::x, value}, {mil::squeeze::axes, {dim}}});
    } else {
      step.shape[dim] = size;
    }
    pieces.push_back(Val(view(self, std::move(step), std::move(strides), value)));
    start = start + size;
  }
  return makeList(c10::TensorType::get(), std::move(pieces));
}

} // namespace plait::frontend
