// The operations whose result shares memory with their argument: each becomes a step of a view, for
// known and run-time tensors alike. Which of them alias is LibTorch's rule: `view` always,
// `reshape` where the strides allow it. Their `_copy` forms give a tensor of its own.
#include "frontend/lower/Families.h"
#include "frontend/lower/ViewCall.h"

#include "llvm/ADT/Sequence.h"

namespace plait::frontend {
namespace views {

// ---- Other sizes -------------------------------------------------------------------------------

/// Fills in a -1.
static Shape completeShape(llvm::ArrayRef<Dim> from, Shape to) {
  int64_t hole = -1;
  Dim known = 1;
  for (auto [i, d] : llvm::enumerate(to)) {
    if (d == Dim(-1)) {
      TORCH_CHECK(hole < 0, "only one dimension can be inferred");
      hole = i;
    } else {
      known = known * d;
    }
  }
  Dim total = mil::numElements(from);
  if (hole >= 0)
    to[hole] = known == Dim(0) ? Dim(0) : floordiv(total, known);
  Dim result = mil::numElements(to);
  TORCH_CHECK(!result.isConst() || !total.isConst() || result == total, "shape ", mil::str(to),
              " is invalid for a tensor of shape ", mil::str(from));
  return to;
}

static Handled shaped(ViewCall &c, const char *size, bool mustAlias) {
  auto shape = c.dims(size);
  if (!shape)
    return std::nullopt;
  return one(c.engine().reshapeTensor(c.self, completeShape(c.self->shape, *shape), mustAlias));
}
static Handled view(ViewCall &c) { return shaped(c, "size", true); }
static Handled reshape(ViewCall &c) { return shaped(c, "shape", false); }

static Handled shapedAs(ViewCall &c, bool mustAlias) {
  auto other = c["other"].tensor();
  if (!other)
    return std::nullopt;
  return one(c.engine().reshapeTensor(c.self, other->shape, mustAlias));
}
static Handled viewAs(ViewCall &c) { return shapedAs(c, true); }
static Handled reshapeAs(ViewCall &c) { return shapedAs(c, false); }

static Handled ravel(ViewCall &c) {
  return one(c.engine().reshapeTensor(c.self, {mil::numElements(c.self->shape)}, false));
}

/// The very object: what unsqueeze_() does to it is seen under both names.
static Handled itself(ViewCall &c) { return one(Val(c.self)); }

static Handled flatten(ViewCall &c) {
  const Shape &from = c.self->shape;
  int64_t start = c.axis("start_dim"), end = c.axis("end_dim");
  if (start == end && c.rank > 0)
    return itself(c);
  Shape shape(from.begin(), from.begin() + std::min(start, c.rank));
  Dim merged = 1;
  for (int64_t i = start; i <= end && i < c.rank; ++i)
    merged = merged * from[i];
  shape.push_back(merged);
  for (int64_t i = end + 1; i < c.rank; ++i)
    shape.push_back(from[i]);
  return one(c.engine().reshapeTensor(c.self, std::move(shape), false));
}

static Handled unflatten(ViewCall &c) {
  const Shape &from = c.self->shape;
  int64_t dim = c.axis("dim");
  auto sizes = c.dims("sizes");
  if (!sizes)
    return std::nullopt;
  Shape inner = completeShape({Sizes(from)[dim]}, *sizes);
  Shape shape(from.begin(), from.begin() + dim);
  shape.append(inner.begin(), inner.end());
  shape.append(from.begin() + dim + 1, from.end());
  return one(c.engine().reshapeTensor(c.self, std::move(shape), true));
}

/// The same tensor as another object.
static Handled same(ViewCall &c) {
  return one(c.engine().reshapeTensor(c.self, c.self->shape, true));
}

static Handled squeeze(ViewCall &c) {
  llvm::SmallVector<bool, 5> drop(c.rank, true);
  if (auto dim = c.find("dim")) {
    drop.assign(c.rank, false);
    auto list = dim->list();
    for (const Val &value : list ? llvm::ArrayRef<Val>(list->values) : llvm::ArrayRef<Val>(*dim)) {
      if (!value.known() || !value.known()->isInt())
        return std::nullopt;
      int64_t d = ValueCall::wrapAxis(value.known()->toInt(), c.rank);
      if (c.rank)
        drop[d] = true;
    }
  }
  ViewStep step{.kind = ViewStep::Reshape};
  std::optional<Shape> strides;
  if (c.self->strides)
    strides.emplace();
  for (int64_t i = 0; i < c.rank; ++i) {
    TORCH_CHECK(!drop[i] || !mayBeOne(c.self->shape[i]), "dimension ", i,
                " goes where it has one element and stays where it has more, and its size ",
                c.self->shape[i].str(),
                " may be either: let the input's range begin at 2, fix that size, or name the "
                "dimensions that are to go: squeeze(dim)");
    if (!(drop[i] && c.self->shape[i] == Dim(1))) {
      step.shape.push_back(c.self->shape[i]);
      if (strides)
        strides->push_back((*c.self->strides)[i]);
    }
  }
  return one(Val(c.engine().view(c.self, std::move(step), std::move(strides))));
}

static Handled unsqueeze(ViewCall &c) {
  int64_t dim = static_cast<ValueCall &>(c).axis("dim", c.rank + 1);
  ViewStep step{.kind = ViewStep::Reshape};
  step.shape = c.self->shape;
  step.shape.insert(step.shape.begin() + dim, Dim(1));
  std::optional<Shape> strides = c.self->strides;
  if (strides)
    strides->insert(strides->begin() + dim,
                    dim < c.rank ? (*c.self->strides)[dim] * c.self->shape[dim] : Dim(1));
  return one(Val(c.engine().view(c.self, std::move(step), std::move(strides))));
}

static Handled expandTo(ViewCall &c, const Shape &shape) {
  int64_t added = int64_t(shape.size()) - c.rank;
  TORCH_CHECK(added >= 0, "expand to fewer dimensions");
  ViewStep step{.kind = ViewStep::Expand};
  std::optional<Shape> strides;
  if (c.self->strides)
    strides.emplace();
  for (int64_t i = 0; i < int64_t(shape.size()); ++i) {
    Dim from = i < added ? Dim(1) : c.self->shape[i - added];
    Dim to = shape[i] == Dim(-1) ? from : shape[i];
    TORCH_CHECK(from == to || from == Dim(1) || !from.isConst() || !to.isConst(),
                "a tensor of shape ", mil::str(c.self->shape), " cannot expand to shape ",
                mil::str(shape));
    step.shape.push_back(to);
    if (strides)
      strides->push_back(i < added || !(from == to) ? Dim(0) : (*c.self->strides)[i - added]);
    // One that may be 1 is repeated in place, or is not.
    if (!(from == to) && mayBeOne(from))
      strides.reset();
  }
  if (llvm::ArrayRef<Dim>(step.shape) == llvm::ArrayRef<Dim>(c.self->shape))
    return same(c);
  return one(Val(c.engine().view(c.self, std::move(step), std::move(strides))));
}
static Handled expand(ViewCall &c) {
  auto shape = c.dims("size");
  return shape ? expandTo(c, *shape) : std::nullopt;
}
static Handled expandAs(ViewCall &c) {
  auto other = c["other"].tensor();
  return other ? expandTo(c, other->shape) : std::nullopt;
}

// ---- Other orders ------------------------------------------------------------------------------

static Handled permute(ViewCall &c) {
  auto dims = c.dims("dims");
  if (!dims)
    return std::nullopt;
  llvm::SmallVector<int64_t, 5> perm;
  for (const Dim &d : *dims)
    perm.push_back(ValueCall::wrapAxis(d.value(), c.rank));
  return one(c.engine().permuteTensor(c.self, perm));
}

static Handled swap(ViewCall &c, int64_t a, int64_t b) {
  auto perm = llvm::to_vector<5>(llvm::seq<int64_t>(0, c.rank));
  if (c.rank > 1)
    std::swap(perm[a], perm[b]);
  return one(c.engine().permuteTensor(c.self, perm));
}
static Handled transpose(ViewCall &c) {
  bool byAxis(c.find("axis0")); // of swapaxes
  return swap(c, c.axis(byAxis ? "axis0" : "dim0"), c.axis(byAxis ? "axis1" : "dim1"));
}
static Handled swapLast(ViewCall &c) { return swap(c, c.rank - 2, c.rank - 1); }
static Handled t(ViewCall &c) { return c.rank == 2 ? swap(c, 0, 1) : one(Val(c.self)); }

static Handled reverseAxes(ViewCall &c) {
  auto perm = llvm::to_vector<5>(llvm::reverse(llvm::seq<int64_t>(0, c.rank)));
  return one(c.engine().permuteTensor(c.self, perm));
}

static Handled moveDim(ViewCall &c) {
  auto positions = [&](const char *argument) {
    auto list = c.dims(argument);
    Shape dims = list ? *list : Shape{*c[argument].asDim()};
    llvm::SmallVector<int64_t, 5> axes;
    for (const Dim &d : dims)
      axes.push_back(ValueCall::wrapAxis(d.value(), c.rank));
    return axes;
  };
  auto source = positions("source"), destination = positions("destination");
  TORCH_CHECK(source.size() == destination.size(), source.size(), " dimensions are moved to ",
              destination.size(), " places");
  llvm::SmallVector<int64_t, 5> perm(c.rank, -1), rest;
  for (auto [from, to] : llvm::zip(source, destination))
    perm[to] = from;
  for (int64_t i = 0; i < c.rank; ++i)
    if (!llvm::is_contained(source, i))
      rest.push_back(i);
  for (size_t i = 0, k = 0; i < perm.size() && k < rest.size(); ++i)
    if (perm[i] < 0)
      perm[i] = rest[k++];
  TORCH_CHECK(!llvm::is_contained(perm, -1), "two dimensions are moved to one place");
  return one(c.engine().permuteTensor(c.self, perm));
}

// ---- Parts -------------------------------------------------------------------------------------

static Handled slice(ViewCall &c) {
  auto step = c.integer("step");
  if (!step)
    return std::nullopt;
  return one(c.engine().sliceTensor(c.self, c.axis("dim"), c["start"], c["end"], *step));
}

static Handled narrow(ViewCall &c) {
  auto start = c.engine().dimOf(c["start"]), length = c.engine().dimOf(c["length"]);
  if (!start || !length)
    return std::nullopt;
  int64_t dim = c.axis("dim");
  if (start->isConst() && start->value() < 0)
    start = *start + Sizes(c.self->shape)[dim];
  return one(c.engine().sliceTensor(c.self, dim, Val(*start), Val(*start + *length), 1));
}

static Handled select(ViewCall &c) {
  return one(c.engine().selectTensor(c.self, c.axis("dim"), c["index"]));
}

/// The elements (i, i + offset) of the last two axes, as a last axis: of the two laid out flat,
/// every (columns + 1)th.
static Val::TensorPtr diagonalOf(Engine &engine, const Val::TensorPtr &self, int64_t offset) {
  const Dim rows = self->shape.end()[-2], columns = self->shape.back();
  TORCH_CHECK(columns.isConst(), "a diagonal over columns of unknown size; give that dimension of "
                                 "the input one size");
  std::optional<Shape> strides = self->strides;
  if (strides) {
    Dim column = strides->pop_back_val(), row = strides->pop_back_val();
    strides->push_back(row + column);
  }
  Shape shape(self->shape.begin(), self->shape.end() - 2);
  shape.push_back(rows * columns);
  auto flat = engine.view(self, ViewStep{.kind = ViewStep::Reshape, .shape = shape}, std::nullopt);
  Dim length = offset < 0 ? min(rows + offset, columns) : min(rows, columns - offset);
  TORCH_CHECK(length.upper() > 0, "diagonal ", offset, " of a ", rows.str(), " by ", columns.str(),
              " matrix is empty; Core ML has no empty tensors");
  shape.back() = max(length, Dim(0));
  ViewStep step{.kind = ViewStep::Slice, .dim = int64_t(shape.size()) - 1, .shape = shape};
  step.start = offset < 0 ? columns * Dim(-offset) : Dim(offset);
  step.step = columns.value() + 1;
  return engine.view(flat, std::move(step), std::move(strides));
}

/// The call's diagonal of a tensor shaped like its first argument.
static Val::TensorPtr diagonalOf(ViewCall &c, const Val::TensorPtr &tensor) {
  int64_t dim1 = c.axis("dim1"), dim2 = c.axis("dim2");
  TORCH_CHECK(dim1 != dim2, "a diagonal over one dimension, ", dim1);
  auto perm = llvm::to_vector<5>(llvm::seq<int64_t>(0, c.rank));
  llvm::erase(perm, dim1);
  llvm::erase(perm, dim2);
  perm.append({dim1, dim2});
  Val::TensorPtr pair =
      llvm::is_sorted(perm) ? tensor : c.engine().permuteTensor(tensor, perm).tensor().get();
  return diagonalOf(c.engine(), pair, *c.integer("offset"));
}

static Handled diagonal(ViewCall &c) {
  return c.integer("offset") ? one(Val(diagonalOf(c, c.self))) : std::nullopt;
}

// ---- Writing a part of a copy ------------------------------------------------------------------

static Handled diagonalScatter(ViewCall &c) {
  if (!c.integer("offset"))
    return std::nullopt;
  Val result = c.engine().copy(c.self);
  c.engine().write(*diagonalOf(c, result.tensor()), c["src"]);
  return one(result);
}

static Handled scatter(ViewCall &c, llvm::function_ref<Val(const Val::TensorPtr &, int64_t)> view) {
  Val result = c.engine().copy(c.self);
  auto target = result.tensor();
  int64_t dim = c.axis("dim");
  Val part = view(target, dim);
  if (part.tensor())
    c.engine().write(*part.tensor(), c["src"]);
  return one(result);
}
static Handled sliceScatter(ViewCall &c) {
  return scatter(c, [&](const Val::TensorPtr &target, int64_t dim) {
    return c.engine().sliceTensor(target, dim, c["start"], c["end"], c.integer("step").value_or(1));
  });
}
static Handled selectScatter(ViewCall &c) {
  return scatter(c, [&](const Val::TensorPtr &target, int64_t dim) {
    return c.engine().selectTensor(target, dim, c["index"]);
  });
}

} // namespace views

void registerViews(Table &table) {
  using namespace views;
  table.addValues({"aten::view", "aten::_unsafe_view", "aten::_reshape_alias"}, ofTensor<view>);
  table.addValues({"aten::reshape"}, ofTensor<reshape>);
  table.addValues({"aten::view_as"}, ofTensor<viewAs>);
  table.addValues({"aten::reshape_as"}, ofTensor<reshapeAs>);
  table.addValues({"aten::ravel"}, ofTensor<ravel>);
  table.addValues({"aten::flatten.using_ints"}, ofTensor<flatten>);
  table.addValues({"aten::unflatten.int"}, ofTensor<unflatten>);
  table.addValues({"aten::detach", "aten::alias", "aten::lift_fresh", "aten::_conj"},
                  ofTensor<same>);
  table.addValues(
      {"aten::lift", "aten::conj", "aten::resolve_conj", "aten::resolve_neg", "aten::positive"},
      ofTensor<itself>);
  table.addValues("aten::squeeze", {"", "dim", "dims"}, ofTensor<squeeze>);
  table.addValues({"aten::unsqueeze"}, ofTensor<unsqueeze>);
  table.addValues({"aten::expand", "aten::broadcast_to"}, ofTensor<expand>);
  table.addValues({"aten::expand_as"}, ofTensor<expandAs>);

  table.addValues({"aten::permute"}, ofTensor<permute>);
  table.addValues({"aten::transpose.int", "aten::swapdims", "aten::swapaxes"}, ofTensor<transpose>);
  table.addValues({"aten::mT", "aten::mT.a", "aten::mH", "aten::mH.a", "aten::matrix_H",
                   "aten::matrix_H.a", "aten::adjoint"},
                  ofTensor<swapLast>);
  table.addValues({"aten::t"}, ofTensor<t>);
  table.addValues("aten::numpy_T", {"", "a"}, ofTensor<reverseAxes>);
  table.addValues("aten::movedim", {"int", "intlist"}, ofTensor<moveDim>);
  table.addValues("aten::moveaxis", {"int", "intlist"}, ofTensor<moveDim>);

  table.addValues({"aten::slice.Tensor"}, ofTensor<slice>);
  table.addValues("aten::narrow", {"", "Tensor"}, ofTensor<narrow>);
  table.addValues({"aten::select.int"}, ofTensor<select>);
  table.addValues({"aten::diagonal"}, ofTensor<diagonal>);

  table.addValues({"aten::diagonal_scatter"}, ofTensor<diagonalScatter>);
  table.addValues({"aten::slice_scatter"}, ofTensor<sliceScatter>);
  table.addValues({"aten::select_scatter"}, ofTensor<selectScatter>);

  table.addValues({"aten::view_copy", "aten::_reshape_alias_copy"}, copyOf<view>);
  table.addValues(
      {"aten::detach_copy", "aten::alias_copy", "aten::lift_fresh_copy", "aten::_conj_copy"},
      copyOf<same>);
  table.addValues("aten::squeeze_copy", {"", "dim", "dims"}, copyOf<squeeze>);
  table.addValues({"aten::unsqueeze_copy"}, copyOf<unsqueeze>);
  table.addValues({"aten::expand_copy"}, copyOf<expand>);
  table.addValues({"aten::permute_copy"}, copyOf<permute>);
  table.addValues({"aten::transpose_copy.int"}, copyOf<transpose>);
  table.addValues({"aten::t_copy"}, copyOf<t>);
  table.addValues({"aten::slice_copy.Tensor"}, copyOf<slice>);
  table.addValues({"aten::narrow_copy"}, copyOf<narrow>);
  table.addValues({"aten::select_copy.int"}, copyOf<select>);
  table.addValues({"aten::diagonal_copy"}, copyOf<diagonal>);
}

} // namespace plait::frontend
