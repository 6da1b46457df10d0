// Reading and writing through views. A tensor is a chain of steps from its cell: reading applies
// them in order; writing replaces the cell's content by undoing them, from the view back to the
// base:
//
//     y = x.t()[1:]; y.copy_(v)     x' = transpose(slice_update(transpose(x), v, begin=[1, 0]))
#include "frontend/engine/DeferredResult.h"
#include "frontend/engine/Engine.h"

#include <ATen/Functions.h>

namespace plait::frontend {

using mil::Arg;
using mil::Builder;
using mil::OpKind;
namespace slice_by_index = mil::slice_by_index;
namespace slice_update = mil::slice_update;

// ---- Known content -----------------------------------------------------------------------------

/// The step on a LibTorch tensor; undefined where a size or position is symbolic.
static at::Tensor applyKnown(const at::Tensor &base, const ViewStep &step) {
  auto shape = mil::constShape(step.shape);
  if (!shape || step.dynamicStart || !step.start.isConst())
    return {};
  switch (step.kind) {
  case ViewStep::Slice: {
    int64_t start = step.start.value(), count = (*shape)[step.dim];
    return base.slice(step.dim, start, count ? start + (count - 1) * step.step + 1 : start,
                      step.step);
  }
  case ViewStep::Select:
    return base.select(step.dim, step.start.value());
  case ViewStep::Permute:
    return base.permute(step.perm);
  case ViewStep::Reshape:
    return base.reshape(*shape);
  case ViewStep::Expand:
    return base.expand(*shape);
  }
  return {};
}

at::Tensor Engine::readKnown(const TensorObj &tensor) {
  at::Tensor value;
  if (const auto *known = std::get_if<Cell::Known>(&tensor.cell->content)) {
    value = known->tensor;
  } else if (const auto *parts = std::get_if<ComplexParts>(&tensor.cell->content)) {
    at::Tensor real = readKnown(*parts->real), imag = readKnown(*parts->imag);
    if (real.defined() && imag.defined())
      value = at::complex(real, imag);
  }
  if (!value.defined())
    return {};
  for (const ViewStep &step : tensor.view) {
    value = applyKnown(value, step);
    if (!value.defined())
      return {};
  }
  return value;
}

at::Tensor Engine::compute(const TensorObj &tensor) {
  at::Tensor value = readKnown(tensor);
  if (value.defined() || !tensor.cell->deferred)
    return value;
  value = tensor.cell->deferred->result();
  for (const ViewStep &step : tensor.view)
    if (value.defined())
      value = applyKnown(value, step);
  return value;
}

mil::Origin Engine::originOf(const Val &val) {
  auto tensor = val.tensor();
  const auto *known = tensor ? std::get_if<Cell::Known>(&tensor->cell->content) : nullptr;
  return known ? known->origin : mil::Origin();
}

Maybe<Dim> Engine::readDim(const TensorObj &tensor) {
  if (const Dim *dim = std::get_if<Dim>(&tensor.cell->content))
    return *dim; // one element, whatever the view
  if (!at::isIntegralType(tensor.dtype(), false))
    return std::nullopt;
  at::Tensor known = readKnown(tensor);
  if (known.defined() && known.numel() == 1)
    return Dim(known.item<int64_t>());
  return std::nullopt;
}

// ---- Run-time content --------------------------------------------------------------------------

mil::Value *Engine::cellValue(Cell &cell) {
  if (const auto *known = std::get_if<Cell::Known>(&cell.content))
    return constant(known->tensor, cell.attribute, known->origin);
  if (const auto *dim = std::get_if<Dim>(&cell.content))
    return castTo(materialise(*dim), milTypeOf(cell.dtype));
  if (auto *value = std::get_if<mil::Value *>(&cell.content))
    return *value;
  if (const auto *selection = std::get_if<Selection>(&cell.content))
    return sideBySide(*selection, cell.shape[0]);
  builder_.fail(makeError(Code::UnsupportedType,
                          "a complex tensor is no single value here; pass its real and its "
                          "imaginary part"));
  return builder_.poison();
}

mil::Value *Engine::read(TensorObj &tensor) {
  if (tensor.isComplex()) {
    builder_.fail(makeError(Code::UnsupportedType,
                            "it does not take complex tensors; compute with the real and the "
                            "imaginary part: torch.real(x), torch.imag(x)"));
    return builder_.poison();
  }
  if (tensor.cell->isStale)
    throw Refusal(Code::SharedMemory,
                  "it reads a tensor that a loop may have written to as the module's attribute, "
                  "which the loop also assigns; clone it before the loop");
  // The new content of a state is read from the state, so that it is not kept twice.
  if (tensor.cell->unstored && isOutermost())
    store(*tensor.cell);
  if (tensor.cached && tensor.cachedVersion == tensor.cell->version &&
      llvm::is_contained(scopes_, tensor.cachedScope))
    return tensor.cached;
  mil::Value *value;
  if (at::Tensor known = readKnown(tensor); known.defined()) {
    value =
        constant(known, tensor.cell->attribute, std::get<Cell::Known>(tensor.cell->content).origin);
  } else {
    value = cellValue(*tensor.cell);
    if (std::holds_alternative<Dim>(tensor.cell->content))
      value = reshape(value, tensor.shape);
    else
      for (const ViewStep &step : tensor.view)
        value = applyStep(value, step);
  }
  tensor.cached = value;
  tensor.cachedVersion = tensor.cell->version;
  tensor.cachedScope = scopes_.back();
  return value;
}

/// begin of a slice or update: zeros but for the step's dimension.
mil::Value *Engine::beginVector(mil::Value *base, const ViewStep &step) {
  Shape begin(base->type.rank(), Dim(0));
  if (!step.dynamicStart) {
    begin[step.dim] = step.start;
    return materialise(begin);
  }
  llvm::SmallVector<mil::Value *, 4> parts;
  for (unsigned i = 0; i < begin.size(); ++i)
    parts.push_back(
        i == unsigned(step.dim)
            ? builder_.emit(OpKind::expand_dims, {{mil::expand_dims::x, step.dynamicStart},
                                                  {mil::expand_dims::axes, {0}}})
            : builder_.ints({0}));
  if (parts.size() == 1)
    return parts[0];
  return builder_.emit(OpKind::concat, {{mil::concat::values, parts}, {mil::concat::axis, 0}});
}

/// The arguments begin, end, stride and end_mask that take `count` elements from the step's start.
static llvm::SmallVector<Arg, 6> sliceArguments(Engine &engine, mil::Value *base,
                                                const ViewStep &step, const Dim &count,
                                                mil::Value *begin) {
  unsigned rank = base->type.rank();
  llvm::SmallVector<Arg, 6> args{Arg(slice_by_index::begin, begin)};
  std::unique_ptr<bool[]> mask(new bool[rank]);
  std::fill_n(mask.get(), rank, true);
  const Dim &size = base->type.shape()[step.dim];
  // From the first element to the last; of none 0, and not 1 - step, which would count from the
  // end.
  Dim length = (count - 1) * step.step + 1;
  if (step.step > 1 && count.lower() < 1)
    length = max(length, Dim(0));
  mil::Value *end;
  if (step.dynamicStart) {
    mask[step.dim] = false;
    llvm::SmallVector<Dim, 5> lengths(rank, Dim(0));
    lengths[step.dim] = length;
    end = engine.builder().emit(OpKind::add,
                                {{mil::add::x, begin}, {mil::add::y, engine.materialise(lengths)}});
  } else {
    mask[step.dim] = step.start + count * step.step == size && step.step == 1;
    Shape ends(base->type.shape().begin(), base->type.shape().end());
    for (unsigned i = 0; i < rank; ++i)
      if (!ends[i].isConst())
        ends[i] = 0; // masked
    if (!mask[step.dim])
      ends[step.dim] = step.start + length;
    else if (size.isConst())
      ends[step.dim] = size;
    end = engine.materialise(ends);
  }
  args.push_back(Arg(slice_by_index::end, end));
  if (step.step != 1) {
    llvm::SmallVector<int64_t, 5> strides(rank, 1);
    strides[step.dim] = step.step;
    args.push_back(Arg(slice_by_index::stride, llvm::ArrayRef<int64_t>(strides)));
  }
  args.push_back(Arg(slice_by_index::end_mask, llvm::ArrayRef<bool>(mask.get(), rank)));
  return args;
}

mil::Value *Engine::applyStep(mil::Value *base, const ViewStep &step) {
  if (Builder::isPoison(base))
    return base;
  mil::Value *result = nullptr;
  switch (step.kind) {
  case ViewStep::Slice: {
    if (!step.dynamicStart && step.start == Dim(0) && step.step == 1 &&
        step.shape[step.dim] == base->type.shape()[step.dim])
      return base;
    // The slice is empty, and MIL has no bounds for that.
    if (base->type.isTensor() && isEmpty(step.shape)) {
      auto shape = mil::constShape(step.shape);
      mil::DType dtype = base->type.dtype();
      result = shape ? builder_.constant(mil::TensorData::splat(dtype, *shape, 0))
                     : builder_.emit(OpKind::fill, {{mil::fill::shape, materialise(step.shape)},
                                                    {mil::fill::value, builder_.scalar(dtype, 0)}});
      break;
    }
    auto args = sliceArguments(*this, base, step, step.shape[step.dim], beginVector(base, step));
    args.push_back(Arg(slice_by_index::x, base));
    result = builder_.emit(OpKind::slice_by_index, args);
    break;
  }
  case ViewStep::Select: {
    mil::Value *picked;
    if (step.dynamicStart) {
      mil::Value *index =
          builder_.emit(OpKind::expand_dims,
                        {{mil::expand_dims::x, step.dynamicStart}, {mil::expand_dims::axes, {0}}});
      picked = builder_.emit(
          OpKind::gather,
          {{mil::gather::x, base}, {mil::gather::indices, index}, {mil::gather::axis, step.dim}});
    } else {
      auto args = sliceArguments(*this, base, step, 1, beginVector(base, step));
      args.push_back(Arg(slice_by_index::x, base));
      picked = base->type.shape()[step.dim] == Dim(1) ? base
                                                      : builder_.emit(OpKind::slice_by_index, args);
      // A place that follows from sizes may be the last one or not: it is one element anyway.
      if (picked != base && !Builder::isPoison(picked)) {
        Shape one(picked->type.shape().begin(), picked->type.shape().end());
        one[size_t(step.dim)] = 1;
        picked->type = picked->type.withShape(one);
      }
    }
    result = builder_.emit(OpKind::squeeze,
                           {{mil::squeeze::x, picked}, {mil::squeeze::axes, {step.dim}}});
    break;
  }
  case ViewStep::Permute:
    return builder_.emit(
        OpKind::transpose,
        {{mil::transpose::x, base}, {mil::transpose::perm, llvm::ArrayRef<int64_t>(step.perm)}});
  case ViewStep::Reshape:
    return reshape(base, step.shape);
  case ViewStep::Expand:
    return broadcastTo(base, step.shape);
  }
  if (!Builder::isPoison(result))
    result->type = result->type.withShape(step.shape);
  return result;
}

mil::Value *Engine::insertStep(mil::Value *base, const ViewStep &step, mil::Value *part) {
  if (Builder::isPoison(base) || Builder::isPoison(part))
    return builder_.poison();
  switch (step.kind) {
  case ViewStep::Slice:
  case ViewStep::Select: {
    bool select = step.kind == ViewStep::Select;
    Dim count = select ? Dim(1) : step.shape[step.dim];
    if (select)
      part = builder_.emit(OpKind::expand_dims,
                           {{mil::expand_dims::x, part}, {mil::expand_dims::axes, {step.dim}}});
    if (!step.dynamicStart && step.start == Dim(0) && step.step == 1 &&
        count == base->type.shape()[step.dim])
      return part;
    // The parameters of slice_by_index by name: slice_update numbers them differently. coremltools
    // writes every one of them.
    unsigned rank = base->type.rank();
    llvm::SmallVector<Arg, 8> args{Arg(slice_update::x, base), Arg(slice_update::update, part)};
    bool hasStride = false;
    for (Arg &arg : sliceArguments(*this, base, step, count, beginVector(base, step))) {
      hasStride |= arg.param == slice_by_index::stride;
      arg.param = arg.param == slice_by_index::begin    ? unsigned(slice_update::begin)
                  : arg.param == slice_by_index::end    ? unsigned(slice_update::end)
                  : arg.param == slice_by_index::stride ? unsigned(slice_update::stride)
                                                        : unsigned(slice_update::end_mask);
      args.push_back(std::move(arg));
    }
    auto none = mil::TensorData::splat(mil::DType::Bool, {int64_t(rank)}, 0);
    if (!hasStride)
      args.push_back(Arg(slice_update::stride,
                         mil::Attr(mil::TensorData::splat(mil::DType::I32, {int64_t(rank)}, 1))));
    args.push_back(Arg(slice_update::begin_mask, mil::Attr(none)));
    args.push_back(Arg(slice_update::squeeze_mask, mil::Attr(none)));
    return builder_.emit(OpKind::slice_update, args);
  }
  case ViewStep::Permute: {
    llvm::SmallVector<int64_t, 5> inverse(step.perm.size());
    for (auto [i, axis] : llvm::enumerate(step.perm))
      inverse[axis] = i;
    return builder_.emit(
        OpKind::transpose,
        {{mil::transpose::x, part}, {mil::transpose::perm, llvm::ArrayRef<int64_t>(inverse)}});
  }
  case ViewStep::Reshape:
    return reshape(part, base->type.shape());
  case ViewStep::Expand:
    builder_.fail(makeError(
        Code::SharedMemory,
        "an expanded tensor is written to: several of its elements share one place in memory; "
        "clone it first"));
    return builder_.poison();
  }
  return part;
}

// ---- Objects -----------------------------------------------------------------------------------

Val::TensorPtr Engine::view(const Val::TensorPtr &base, ViewStep step, std::optional<Shape> strides,
                            mil::Value *value) {
  for (const Dim &size : step.shape)
    TORCH_CHECK(!size.isConst() || size.value() >= 0, "a tensor of shape ", mil::str(step.shape));
  auto object = std::make_shared<TensorObj>();
  object->serial = nextSerial_++;
  object->cell = base->cell;
  object->view = base->view;
  object->shape = step.shape;
  object->strides = std::move(strides);
  object->offset = base->offset;
  if (base->view.empty())
    object->offset = isContiguous(*base) ? std::optional(Dim(0)) : std::nullopt;
  if (object->offset && (step.kind == ViewStep::Slice || step.kind == ViewStep::Select))
    object->offset = base->strides && !step.dynamicStart
                         ? std::optional(*object->offset + step.start * (*base->strides)[step.dim])
                         : std::nullopt;
  object->view.push_back(std::move(step));
  // The value of the base is kept, so that the next read adds only this step. A state is read only
  // when it is needed.
  if (!value && std::holds_alternative<mil::Value *>(base->cell->content) && !base->view.empty() &&
      !base->cell->state)
    value = applyStep(read(*base), object->view.back());
  if (value) {
    object->cached = value;
    object->cachedVersion = base->cell->version;
    object->cachedScope = scopes_.back();
  }
  return object;
}

Val Engine::copy(const Val::TensorPtr &tensor) {
  if (auto selection = selectionOf(Val(tensor)))
    return makeSelection({copy(selection->source).tensor(), selection->mask}, tensor->shape[0]);
  if (std::holds_alternative<ComplexParts>(tensor->cell->content) ||
      (tensor->isComplex() && !readKnown(*tensor).defined()))
    return makeComplex(copy(part(tensor, 0).tensor()), copy(part(tensor, 1).tensor()));
  if (at::Tensor known = readKnown(*tensor); known.defined()) {
    const auto &cell = std::get<Cell::Known>(tensor->cell->content);
    return makeKnown({known, cell.fromWeight, cell.origin});
  }
  if (auto dim = readDim(*tensor); dim && tensor->shape.empty())
    return makeDimTensor(*dim, tensor->dtype());
  return makeTensor(read(*tensor), tensor->dtype());
}

void Engine::mayAlias(const Val &a, const Val &b) {
  if (auto list = a.list()) {
    for (const Val &element : list->values)
      mayAlias(element, b);
    return;
  }
  if (auto list = b.list()) {
    for (const Val &element : list->values)
      mayAlias(a, element);
    return;
  }
  auto x = a.tensor(), y = b.tensor();
  if (!x || !y || x->cell == y->cell)
    return;
  for (const auto &tensor : {x.get(), y.get()}) {
    tensor->cell->mayBeAliased = true;
    if (auto *parts = std::get_if<ComplexParts>(&tensor->cell->content))
      parts->real->cell->mayBeAliased = parts->imag->cell->mayBeAliased = true;
  }
}

void Engine::setContent(const std::shared_ptr<Cell> &cell, decltype(Cell::content) content) {
  touch(cell);
  cell->content = std::move(content);
  cell->deferred = nullptr;
  cell->version = nextVersion_++;
  cell->unstored = cell->state != nullptr;
}

void Engine::write(TensorObj &target, const Val &value) {
  if (isEmpty(target.shape)) // an empty view: nothing to write
    return;
  uint64_t version = target.cell->version;
  writeOne(target, value);
  if (target.cell->version != version)
    passOn(target.cell.get(), nullptr);
}

void Engine::writeOne(TensorObj &target, const Val &value) {
  Cell &cell = *target.cell;
  if (!mayWrite(target.cell))
    return;
  if (cell.mayBeAliased) {
    fail(makeError(Code::SharedMemory,
                   "a tensor is written to that may or may not share memory with another one; "
                   "clone it before the "
                   "write"));
    return;
  }
  if (isQuantized(value) || target.isQuantized())
    return writeQuantized(target, value);
  // Known into known, at a known place: LibTorch does it on a copy of its own.
  auto known = toKnown(value);
  if (auto *content = std::get_if<Cell::Known>(&cell.content); content && known) {
    at::Tensor base = content->tensor.clone(at::MemoryFormat::Contiguous);
    at::Tensor place = base;
    for (const ViewStep &step : target.view)
      if (place.defined())
        place = applyKnown(place, step);
    if (place.defined() && place.is_alias_of(base)) {
      if (known->isTensor())
        place.copy_(known->toTensor());
      else
        place.fill_(known->toScalar());
      mil::Origin origin = content->origin.with(originOf(value)).asComputed();
      setContent(target.cell, Cell::Known{std::move(base), content->fromWeight, std::move(origin)});
      return;
    }
  }
  if (const Selection *own = std::get_if<Selection>(&cell.content)) {
    auto given = selectionOf(value);
    if (target.view.empty() && given && isSameMask(*own, *given)) {
      setContent(target.cell, *given);
      return;
    }
    setContent(target.cell, cellValue(cell));
  }
  // Both parts are written; of a known tensor that holds them from now on.
  if (target.isComplex()) {
    Val tensor = asTensor(value);
    auto view = std::make_shared<TensorObj>(target);
    for (unsigned which : {0u, 1u})
      write(*part(view, which).tensor(), part(tensor.tensor(), which));
    cell.version = nextVersion_++;
    return;
  }
  mil::Value *stored;
  if (auto tensor = value.tensor()) {
    Val cast = castTensor(tensor, cell.dtype);
    stored = cast.tensor() ? read(*cast.tensor()) : builder_.poison();
  } else {
    stored = scalar(value, milTypeOf(cell.dtype));
  }
  if (Builder::isPoison(stored))
    return;
  stored = broadcastTo(stored, target.shape);
  llvm::SmallVector<mil::Value *, 4> bases{target.view.empty() ? nullptr : cellValue(cell)};
  for (size_t i = 0; i + 1 < target.view.size(); ++i)
    bases.push_back(applyStep(bases.back(), target.view[i]));
  for (size_t i = target.view.size(); i-- > 0;)
    stored = insertStep(bases[i], target.view[i], stored);
  if (!Builder::isPoison(stored))
    setContent(target.cell, stored);
}

} // namespace plait::frontend
