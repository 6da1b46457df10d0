// The operations whose result shares memory with their argument: each becomes a step of a view, for
// known and run-time tensors alike. Which of them alias is LibTorch's rule: `view` always,
// `reshape` where the strides allow it, `contiguous` and `to` where nothing is to be done.
#include "frontend/engine/Engine.h"

#include "llvm/ADT/Sequence.h"
#include <ATen/Functions.h>

namespace plait::frontend {

using mil::OpKind;

namespace {
/// Arguments by schema name.
class Named {
public:
  Named(const c10::FunctionSchema &schema, llvm::ArrayRef<Val> arguments)
      : schema_(schema), arguments_(arguments) {}

  const Val *find(llvm::StringRef name) const {
    for (auto [i, argument] : llvm::enumerate(schema_.arguments()))
      if (argument.name() == name)
        return &arguments_[i];
    return nullptr;
  }
  const Val &operator[](llvm::StringRef name) const {
    const Val *val = find(name);
    assert(val && "the schema has this argument");
    return *val;
  }
  std::optional<int64_t> integer(llvm::StringRef name) const {
    const Val *val = find(name);
    return val && val->known() && val->known()->isInt() ? std::optional(val->known()->toInt())
                                                        : std::nullopt;
  }

private:
  const c10::FunctionSchema &schema_;
  llvm::ArrayRef<Val> arguments_;
};

int64_t wrapAxis(int64_t axis, int64_t rank) {
  int64_t bound = std::max<int64_t>(rank, 1);
  TORCH_CHECK(axis >= -bound && axis < bound, "dimension ", axis,
              " is out of range for a tensor of rank ", rank);
  return axis < 0 ? axis + bound : axis;
}

/// How LibTorch lays the tensor out, as a tensor without memory; undefined where that is not known.
at::Tensor layoutOf(const TensorObj &tensor) {
  auto sizes = mil::constShape(tensor.shape);
  auto strides = tensor.strides ? mil::constShape(*tensor.strides) : std::nullopt;
  if (!sizes || !strides)
    return {};
  return at::empty_strided(at::IntArrayRef(sizes->data(), sizes->size()),
                           at::IntArrayRef(strides->data(), strides->size()),
                           at::device(at::kMeta));
}

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

/// Fills in a -1.
Shape completeShape(llvm::ArrayRef<Dim> from, Shape to) {
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
} // namespace

std::optional<Dim> Engine::dimOf(const Val &val) {
  if (auto dim = val.asDim())
    return dim;
  if (auto tensor = val.tensor())
    if (auto dim = readDim(*tensor))
      return dim;
  mil::Value *value = nullptr;
  if (val.number() && val.number()->kind == c10::TypeKind::IntType)
    value = val.number()->value;
  else if (auto tensor = val.tensor(); tensor && at::isIntegralType(tensor->dtype(), false))
    value = reshape(read(*tensor), {});
  if (!value)
    return std::nullopt;
  Dim symbol = Dim::symbol("n" + std::to_string(nextSerial_++) + "_", 0);
  symbolSources_[symbol.str()].push_back({value, -1, scopes_.back()});
  return symbol;
}

std::optional<Shape> Engine::dimsOf(const Val &list) {
  auto values = list.list();
  if (!values)
    return std::nullopt;
  Shape shape;
  for (const Val &value : values->values) {
    auto dim = dimOf(value);
    if (!dim)
      return std::nullopt;
    shape.push_back(*dim);
  }
  return shape;
}

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
  const Dim size = self->shape[dim];
  // None and "to the end" before symbolic clamping.
  auto bound = [&](const Val &val, Dim fallback) -> std::optional<Dim> {
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
    fail(makeError("the bounds of a slice must be integers"));
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
  const Dim &size = self->shape[dim];
  std::optional<Dim> position = index.asDim();
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

/// Sizes of the pieces of chunk, split and tensor_split.
static Shape equalPieces(const Dim &total, const Dim &each) {
  Shape sizes;
  TORCH_CHECK(total.isConst() && each.isConst() && each.value() > 0,
              "a dimension of run-time size cannot be split into pieces");
  for (int64_t at = 0; at < total.value(); at += each.value())
    sizes.push_back(std::min(each.value(), total.value() - at));
  if (sizes.empty())
    sizes.push_back(total);
  return sizes;
}

Engine::Handled Engine::viewOperation(const c10::FunctionSchema &schema, Arguments arguments) {
  using Results = std::vector<Val>;
  llvm::StringRef name = schema.name();
  if (!name.consume_front("aten::") || arguments.empty())
    return std::nullopt;
  auto self = arguments[0].tensor();
  if (!self)
    return std::nullopt;
  // view_copy and its like: the same, as a tensor of its own.
  bool copies = name != "_to_copy" && name.consume_back("_copy");
  Named arg(schema, arguments);
  int64_t rank = self->shape.size();
  auto one = [&](Val result) -> Handled {
    auto tensor = result.tensor();
    return Results{copies && tensor ? copy(tensor) : std::move(result)};
  };
  auto axis = [&](llvm::StringRef argument) {
    return wrapAxis(arg[argument].known()->toInt(), rank);
  };
  auto swap = [&](int64_t a, int64_t b) {
    auto perm = llvm::to_vector<5>(llvm::seq<int64_t>(0, rank));
    if (rank > 1)
      std::swap(perm[a], perm[b]);
    return permuteTensor(self, perm);
  };
  auto shaped = [&](const Val &size, bool mustAlias) -> Handled {
    auto shape = dimsOf(size);
    if (!shape)
      return std::nullopt;
    return one(reshapeTensor(self, completeShape(self->shape, *shape), mustAlias));
  };

  if (name == "view" || name == "_unsafe_view") {
    if (arg.find("dtype"))
      return std::nullopt;
    return shaped(arg["size"], true);
  }
  if (name == "reshape")
    return shaped(arg["shape"], false);
  if (name == "_reshape_alias")
    return shaped(arg["size"], true);
  if (name == "view_as" || name == "reshape_as") {
    if (!arg["other"].tensor())
      return std::nullopt;
    return one(reshapeTensor(self, arg["other"].tensor()->shape, name == "view_as"));
  }
  if (name == "ravel")
    return one(reshapeTensor(self, {mil::numElements(self->shape)}, false));
  if (name == "flatten" && arg.integer("start_dim") && !arg.find("out_dim")) {
    int64_t start = axis("start_dim"), end = axis("end_dim");
    Shape shape(self->shape.begin(), self->shape.begin() + std::min(start, rank));
    Dim merged = 1;
    for (int64_t i = start; i <= end && i < rank; ++i)
      merged = merged * self->shape[i];
    shape.push_back(merged);
    for (int64_t i = end + 1; i < rank; ++i)
      shape.push_back(self->shape[i]);
    return one(reshapeTensor(self, std::move(shape), false));
  }
  if (name == "unflatten" && arg.integer("dim")) {
    int64_t dim = axis("dim");
    auto sizes = dimsOf(arg["sizes"]);
    if (!sizes)
      return std::nullopt;
    Shape inner = completeShape({self->shape[dim]}, *sizes);
    Shape shape(self->shape.begin(), self->shape.begin() + dim);
    shape.append(inner.begin(), inner.end());
    shape.append(self->shape.begin() + dim + 1, self->shape.end());
    return one(reshapeTensor(self, std::move(shape), true));
  }
  if (name == "squeeze") {
    llvm::SmallVector<bool, 5> drop(rank, true);
    if (const Val *dim = arg.find("dim")) {
      drop.assign(rank, false);
      auto list = dim->list();
      for (const Val &value :
           list ? llvm::ArrayRef<Val>(list->values) : llvm::ArrayRef<Val>(*dim)) {
        if (!value.known() || !value.known()->isInt())
          return std::nullopt;
        int64_t d = wrapAxis(value.known()->toInt(), rank);
        if (rank)
          drop[d] = true;
      }
    }
    ViewStep step{.kind = ViewStep::Reshape};
    std::optional<Shape> strides;
    if (self->strides)
      strides.emplace();
    for (int64_t i = 0; i < rank; ++i)
      if (!(drop[i] && self->shape[i] == Dim(1))) {
        step.shape.push_back(self->shape[i]);
        if (strides)
          strides->push_back((*self->strides)[i]);
      }
    return one(Val(view(self, std::move(step), std::move(strides))));
  }
  if (name == "unsqueeze") {
    int64_t dim = wrapAxis(arg["dim"].known()->toInt(), rank + 1);
    ViewStep step{.kind = ViewStep::Reshape};
    step.shape = self->shape;
    step.shape.insert(step.shape.begin() + dim, Dim(1));
    std::optional<Shape> strides = self->strides;
    if (strides)
      strides->insert(strides->begin() + dim,
                      dim < rank ? (*self->strides)[dim] * self->shape[dim] : Dim(1));
    return one(Val(view(self, std::move(step), std::move(strides))));
  }
  if (name == "permute") {
    auto dims = dimsOf(arg["dims"]);
    if (!dims)
      return std::nullopt;
    llvm::SmallVector<int64_t, 5> perm;
    for (const Dim &d : *dims)
      perm.push_back(wrapAxis(d.value(), rank));
    return one(permuteTensor(self, perm));
  }
  if ((name == "transpose" || name == "swapaxes" || name == "swapdims") && !arg.find("dim0_name")) {
    bool byAxis = arg.find("axis0");
    return one(swap(axis(byAxis ? "axis0" : "dim0"), axis(byAxis ? "axis1" : "dim1")));
  }
  if (name == "t")
    return one(rank == 2 ? swap(0, 1) : Val(self));
  if (name == "numpy_T")
    return one(permuteTensor(self, llvm::to_vector<5>(llvm::reverse(llvm::seq<int64_t>(0, rank)))));
  if (name == "mT" || name == "matrix_H" || name == "adjoint" || name == "mH")
    return one(swap(rank - 2, rank - 1));
  if (name == "movedim" || name == "moveaxis") {
    auto positions = [&](llvm::StringRef argument) {
      auto list = dimsOf(arg[argument]);
      Shape dims = list ? *list : Shape{arg[argument].asDim().value()};
      llvm::SmallVector<int64_t, 5> axes;
      for (const Dim &d : dims)
        axes.push_back(wrapAxis(d.value(), rank));
      return axes;
    };
    auto source = positions("source"), destination = positions("destination");
    llvm::SmallVector<int64_t, 5> perm(rank, -1), rest;
    for (auto [from, to] : llvm::zip(source, destination))
      perm[to] = from;
    for (int64_t i = 0; i < rank; ++i)
      if (!llvm::is_contained(source, i))
        rest.push_back(i);
    for (int64_t i = 0, k = 0; i < rank; ++i)
      if (perm[i] < 0)
        perm[i] = rest[k++];
    return one(permuteTensor(self, perm));
  }
  if (name == "expand" || name == "expand_as" || name == "broadcast_to") {
    std::optional<Shape> shape;
    if (name == "expand_as") {
      if (arg["other"].tensor())
        shape = arg["other"].tensor()->shape;
    } else {
      shape = dimsOf(arg["size"]);
    }
    if (!shape)
      return std::nullopt;
    int64_t added = int64_t(shape->size()) - rank;
    TORCH_CHECK(added >= 0, "expand to fewer dimensions");
    ViewStep step{.kind = ViewStep::Expand};
    std::optional<Shape> strides;
    if (self->strides)
      strides.emplace();
    for (int64_t i = 0; i < int64_t(shape->size()); ++i) {
      Dim from = i < added ? Dim(1) : self->shape[i - added];
      Dim to = (*shape)[i] == Dim(-1) ? from : (*shape)[i];
      TORCH_CHECK(from == to || from == Dim(1) || !from.isConst() || !to.isConst(),
                  "a tensor of shape ", mil::str(self->shape), " cannot expand to shape ",
                  mil::str(*shape));
      step.shape.push_back(to);
      if (strides)
        strides->push_back(i < added || !(from == to) ? Dim(0) : (*self->strides)[i - added]);
    }
    if (llvm::ArrayRef<Dim>(step.shape) == llvm::ArrayRef<Dim>(self->shape))
      return one(reshapeTensor(self, self->shape, true));
    return one(Val(view(self, std::move(step), std::move(strides))));
  }
  if (name == "slice" && arg.find("dim")) {
    auto step = arg.integer("step");
    if (!step)
      return std::nullopt;
    return one(sliceTensor(self, axis("dim"), arg["start"], arg["end"], *step));
  }
  if (name == "narrow") {
    auto start = dimOf(arg["start"]), length = dimOf(arg["length"]);
    if (!start || !length)
      return std::nullopt;
    int64_t dim = axis("dim");
    if (start->isConst() && start->value() < 0)
      start = *start + self->shape[dim];
    return one(sliceTensor(self, dim, Val(*start), Val(*start + *length), 1));
  }
  if (name == "select" && arg.find("index"))
    return one(selectTensor(self, axis("dim"), arg["index"]));
  if ((name == "diagonal" || name == "diagonal_scatter") && arg.integer("offset")) {
    int64_t dim1 = axis("dim1"), dim2 = axis("dim2");
    TORCH_CHECK(dim1 != dim2, "a diagonal over one dimension, ", dim1);
    auto perm = llvm::to_vector<5>(llvm::seq<int64_t>(0, rank));
    llvm::erase(perm, dim1);
    llvm::erase(perm, dim2);
    perm.append({dim1, dim2});
    auto diagonal = [&](const Val::TensorPtr &of) {
      auto pair = llvm::is_sorted(perm) ? of : permuteTensor(of, perm).tensor();
      return diagonalOf(*this, pair, *arg.integer("offset"));
    };
    if (name == "diagonal")
      return one(Val(diagonal(self)));
    Val result = copy(self);
    write(*diagonal(result.tensor()), arg["src"]);
    return Results{result};
  }
  if (name == "unbind") {
    int64_t dim = axis("dim");
    TORCH_CHECK(self->shape[dim].isConst(), "a dimension of run-time size cannot be unbound");
    return Results{splitTensor(self, dim, Shape(self->shape[dim].value(), Dim(1)), true)};
  }
  if (name == "split" || name == "split_with_sizes" || name == "chunk" || name == "tensor_split" ||
      name == "unsafe_split" || name == "unsafe_chunk" || name == "unsafe_split_with_sizes" ||
      name == "hsplit" || name == "vsplit" || name == "dsplit") {
    int64_t dim = name == "vsplit"   ? 0
                  : name == "hsplit" ? std::min<int64_t>(rank - 1, 1)
                  : name == "dsplit" ? 2
                                     : axis("dim");
    TORCH_CHECK(dim < rank, name.str(), " of a tensor of rank ", rank);
    Dim total = self->shape[dim];
    Shape sizes;
    if (auto chunks = arg.integer("chunks")) {
      TORCH_CHECK(total.isConst(), "a dimension of run-time size cannot be split into chunks");
      sizes = equalPieces(total, std::max<int64_t>(1, (total.value() + *chunks - 1) / *chunks));
    } else if (const Val *sections = arg.find("sections")) {
      if (!sections->known() || !sections->known()->isInt() || !total.isConst())
        return std::nullopt;
      int64_t n = sections->known()->toInt();
      for (int64_t i = 0; i < n; ++i)
        sizes.push_back(total.value() / n + (i < total.value() % n));
    } else if (const Val *indices = arg.find("indices")) {
      auto cuts = dimsOf(*indices);
      if (!cuts)
        return std::nullopt;
      Dim at = 0;
      for (const Dim &cut : *cuts) {
        Dim end = cut.isConst() && cut.value() < 0 ? total + cut : min(cut, total);
        sizes.push_back(max(end - at, Dim(0)));
        at = end;
      }
      sizes.push_back(total - at);
    } else if (const Val *each = arg.find("split_size"); each && !each->list()) {
      auto size = dimOf(*each);
      if (!size)
        return std::nullopt;
      sizes = equalPieces(total, *size);
    } else {
      const Val *list = arg.find("split_sizes");
      auto given = dimsOf(list ? *list : arg["split_size"]);
      if (!given)
        return std::nullopt;
      sizes = *given;
    }
    return Results{splitTensor(self, dim, sizes, false)};
  }
  if (name == "detach" || name == "alias" || name == "lift" || name == "lift_fresh" ||
      name == "_conj" || name == "conj" || name == "resolve_conj" || name == "resolve_neg" ||
      name == "positive" || name == "real")
    return one(reshapeTensor(self, self->shape, true));
  auto formatOf = [&](at::MemoryFormat otherwise) {
    auto format = arg.integer("memory_format");
    return format ? at::MemoryFormat(*format) : otherwise;
  };
  // A copy with the strides that LibTorch gives it, unknown ones where those are not known.
  auto copied = [&](at::MemoryFormat format) {
    Val result = copy(self);
    auto tensor = result.tensor();
    if (!tensor)
      return result;
    bool rowMajor = format == at::MemoryFormat::Contiguous ||
                    (format == at::MemoryFormat::Preserve && isContiguous(*self));
    tensor->strides.reset();
    if (at::Tensor layout = layoutOf(*self); layout.defined()) {
      layout = layout.clone(format);
      tensor->strides.emplace(layout.strides().begin(), layout.strides().end());
    } else if (rowMajor) {
      tensor->strides = contiguousStrides(self->shape);
    }
    return result;
  };
  if (name == "is_contiguous") {
    at::MemoryFormat format = formatOf(at::MemoryFormat::Contiguous);
    if (at::Tensor layout = layoutOf(*self); layout.defined())
      return Results{Val(c10::IValue(layout.is_contiguous(format)))};
    if (format == at::MemoryFormat::Contiguous && self->strides)
      return Results{Val(c10::IValue(isContiguous(*self)))};
    return std::nullopt;
  }
  if (name == "contiguous") {
    at::MemoryFormat format = formatOf(at::MemoryFormat::Contiguous);
    bool rowMajor = format == at::MemoryFormat::Contiguous;
    at::Tensor layout = layoutOf(*self);
    if (layout.defined() ? layout.is_contiguous(format) : rowMajor && isContiguous(*self))
      return one(Val(self));
    Val result = copied(format);
    if (!layout.defined() && !(rowMajor && self->strides))
      mayAlias(result, Val(self));
    return Results{result};
  }
  if (name == "clone")
    return Results{copied(formatOf(at::MemoryFormat::Preserve))};
  if (name == "to" || name == "type_as" || name == "_to_copy" ||
      name == "_autocast_to_reduced_precision" || name == "_autocast_to_full_precision") {
    at::ScalarType dtype = self->dtype();
    if (const Val *to = arg.find("dtype"); to && to->known() && to->known()->isInt())
      dtype = at::ScalarType(to->known()->toInt());
    else if (const Val *other = arg.find("other"); other && other->tensor())
      dtype = other->tensor()->dtype();
    const Val *flag = arg.find("copy");
    bool forced = name == "_to_copy" ||
                  (flag && flag->known() && flag->known()->isBool() && flag->known()->toBool());
    at::MemoryFormat format = formatOf(at::MemoryFormat::Preserve);
    if (dtype == self->dtype()) {
      if (!forced && format == at::MemoryFormat::Preserve)
        return Results{Val(self)};
      at::Tensor layout = layoutOf(*self);
      if (!forced && layout.defined() && layout.suggest_memory_format() == format)
        return Results{Val(self)};
      Val result = copied(format);
      if (!forced && !layout.defined())
        mayAlias(result, Val(self));
      return Results{result};
    }
    Val result = castTensor(self, dtype);
    if (auto tensor = result.tensor();
        tensor && (!isContiguous(*self) || format != at::MemoryFormat::Preserve))
      tensor->strides.reset();
    return Results{result};
  }
  if (name == "copy" && arg.find("src")) {
    Val result = makeTensor(read(*self), self->dtype());
    if (result.tensor())
      write(*result.tensor(), arg["src"]);
    return Results{result};
  }
  if (name == "slice_scatter" || name == "select_scatter") {
    Val result = copy(self);
    auto target = result.tensor();
    int64_t dim = axis("dim");
    Val part = name == "select_scatter" ? selectTensor(target, dim, arg["index"])
                                        : sliceTensor(target, dim, arg["start"], arg["end"],
                                                      arg.integer("step").value_or(1));
    if (part.tensor())
      write(*part.tensor(), arg["src"]);
    return Results{result};
  }
  return std::nullopt;
}

} // namespace plait::frontend
