// Padding in all modes, triangles and diagonals.
#include "frontend/lower/Expr.h"
#include "frontend/lower/Families.h"

namespace plait::frontend {

using namespace mil;

namespace {
/// Amounts before and after, one pair an axis of x, from PyTorch's list that starts at the last
/// axis.
struct Amounts {
  Shape before, after;
};

std::optional<Amounts> amounts(Call &c, int64_t rank, llvm::StringRef name) {
  Shape pad = c.dims(name);
  if (c.failed())
    return std::nullopt;
  if (pad.size() % 2 || int64_t(pad.size()) > 2 * rank) {
    c.refuse(Code::OperandMismatch, "{0} amounts for a tensor of rank {1}", pad.size(), rank);
    return std::nullopt;
  }
  Amounts a{Shape(rank, 0), Shape(rank, 0)};
  for (size_t i = 0; i < pad.size() / 2; ++i) {
    a.before[rank - 1 - i] = pad[2 * i];
    a.after[rank - 1 - i] = pad[2 * i + 1];
  }
  return a;
}

/// Cuts away what negative amounts ask for, and makes them 0.
Expr crop(Expr x, Amounts &a) {
  for (int64_t axis = 0; axis < x.rank(); ++axis) {
    auto take = [](Dim &amount) {
      if (!amount.isConst() || amount.value() >= 0)
        return Dim(0);
      Dim cut = Dim(0) - amount;
      amount = 0;
      return cut;
    };
    Dim front = take(a.before[axis]), back = take(a.after[axis]);
    Dim size = x.shape()[axis];
    x = slice(x, axis, front, size - back);
    if (!x.valid())
      break;
  }
  return x;
}

bool isZero(llvm::ArrayRef<Dim> dims) {
  return llvm::all_of(dims, [](const Dim &d) { return d == Dim(0); });
}

Expr padOp(const Expr &x, llvm::ArrayRef<int64_t> pad, llvm::StringRef mode, double value) {
  Call &c = x.call();
  DType dtype = x.dtype();
  Expr y(c, c.emit(OpKind::pad, {{pad::x, castTo(x, DType::F32).value()},
                                 {pad::pad, pad},
                                 {pad::mode, mode},
                                 {pad::constant_val, value}}));
  return castTo(y, dtype);
}

Expr padConstant(Expr x, Amounts a, double value) {
  Call &c = x.call();
  x = crop(x, a);
  if (!x.valid() || (isZero(a.before) && isZero(a.after)))
    return x;
  auto before = constShape(a.before), after = constShape(a.after);
  if (before && after) {
    llvm::SmallVector<int64_t, 12> pad;
    for (auto [front, back] : llvm::zip(*before, *after)) {
      pad.push_back(front);
      pad.push_back(back);
    }
    return padOp(x, pad, "constant", value);
  }
  // Core ML pads by constants; amounts that depend on a size are joined on.
  for (int64_t axis = 0; axis < x.rank() && x.valid(); ++axis) {
    llvm::SmallVector<Value *, 3> parts = {x};
    auto filled = [&](const Dim &amount) {
      Shape shape(x.shape());
      shape[axis] = amount;
      return c.full(shape, x.dtype(), value);
    };
    if (!(a.before[axis] == Dim(0)))
      parts.insert(parts.begin(), filled(a.before[axis]));
    if (!(a.after[axis] == Dim(0)))
      parts.push_back(filled(a.after[axis]));
    x = concat(c, parts, axis);
  }
  return x;
}

/// Where each element of a padded axis comes from.
llvm::SmallVector<int64_t, 0> sources(int64_t size, int64_t before, int64_t after,
                                      llvm::StringRef mode) {
  llvm::SmallVector<int64_t, 0> result;
  for (int64_t i = -before; i < size + after; ++i) {
    if (mode == "replicate")
      result.push_back(std::clamp<int64_t>(i, 0, size - 1));
    else if (mode == "reflect")
      result.push_back(i < 0 ? -i : i >= size ? 2 * (size - 1) - i : i);
    else
      result.push_back(((i % size) + size) % size);
  }
  return result;
}

/// reflect, replicate and circular. MIL's operation has the first two on the last two axes; the
/// rest is a gather of rows, or a join of slices where a size is not known. What negative amounts
/// cut away is still there to be mirrored or repeated; circular padding repeats what is left.
void givePadded(Call &c, const Tensor &x, Amounts a, llvm::StringRef mode) {
  Amounts cut = a; // negative amounts alone
  for (auto [positive, negative] : {std::pair(&a.before, &cut.before), {&a.after, &cut.after}})
    for (auto [more, less] : llvm::zip(*positive, *negative))
      if (mode != "circular" && more.isConst())
        (more.value() < 0 ? more : less) = 0;
  Expr y = crop(Expr(c, x), a);
  auto before = constShape(a.before), after = constShape(a.after);
  if (!before || !after)
    return c.refuse(Code::NotKnown, "amounts of '{0}' padding must be known", mode);
  if (!y.valid())
    return;
  int64_t rank = y.rank();
  llvm::SmallVector<int64_t, 12> last(2 * rank, 0);
  bool any = false;
  for (int64_t axis = 0; axis < rank; ++axis) {
    int64_t front = (*before)[axis], back = (*after)[axis];
    if (front == 0 && back == 0)
      continue;
    auto size = y.shape()[axis].tryValue();
    int64_t most = mode == "reflect" ? 1 : 0;
    if (size && mode != "replicate" && std::max(front, back) > *size - most)
      return c.refuse(Code::OperandMismatch, "'{0}' padding of {1} exceeds a dimension of size {2}",
                      mode, std::max(front, back), *size);
    if (mode != "circular" && axis >= rank - 2) {
      last[2 * axis] = front;
      last[2 * axis + 1] = back;
      any = true;
    } else if (mode == "circular") {
      Dim n = y.shape()[axis];
      llvm::SmallVector<Value *, 3> parts = {y};
      if (front)
        parts.insert(parts.begin(), slice(y, axis, n - Dim(front), n));
      if (back)
        parts.push_back(slice(y, axis, 0, back));
      y = concat(c, parts, axis);
    } else if (size) {
      Expr positions(c, c.builder().ints(sources(*size, front, back, mode)));
      Expr rows = x.isBool() ? castTo(y, DType::I32) : y;
      y = castTo(gather(rows, positions, axis), x.milType());
    } else {
      return c.refuse(Code::NotKnown,
                      "'{0}' padding of a dimension of unknown size; only the last two can be",
                      mode);
    }
    if (!y.valid())
      return;
  }
  y = any ? padOp(y, last, mode, 0) : y;
  c.result(mode == "circular" ? y : crop(y, cut), x.dtype);
}

void lowerPad(Call &c) {
  Tensor x = c.tensor("self");
  std::string mode = c.string("mode");
  double value = c.optionalNumber("value").value_or(0);
  if (c.failed())
    return;
  auto a = amounts(c, x.rank(), "pad");
  if (!a)
    return;
  if (mode == "constant")
    return c.result(padConstant(Expr(c, x), *a, value), x.dtype);
  if (mode != "reflect" && mode != "replicate" && mode != "circular")
    return c.refuse(Code::UnsupportedForm,
                    "mode is '{0}'; known are constant, reflect, replicate and circular", mode);
  givePadded(c, x, *a, mode);
}

void lowerConstantPad(Call &c) {
  Tensor x = c.tensor("self");
  double value = c.number("value");
  if (c.failed())
    return;
  if (auto a = amounts(c, x.rank(), "pad"))
    c.result(padConstant(Expr(c, x), *a, value), x.dtype);
}

/// reflection_padNd, replication_padNd and _pad_circular.
void lowerNamedPad(Call &c) {
  Tensor x = c.tensor("self");
  if (c.failed())
    return;
  llvm::StringRef name = c.name();
  bool circular = name.contains("circular");
  if (auto a = amounts(c, x.rank(), circular ? "pad" : "padding"))
    givePadded(c, x, *a,
               circular                      ? "circular"
               : name.contains("reflection") ? "reflect"
                                             : "replicate");
}

/// j - i for each element (i, j) of the last two axes, against `diagonal`.
Expr onOrAbove(const Expr &x, const Dim &diagonal) {
  Call &c = x.call();
  Dim rows = x.shape()[x.rank() - 2], columns = x.shape()[x.rank() - 1];
  Expr i(c, c.reshape(iota(c, rows), {rows, 1})), j(c, c.reshape(iota(c, columns), {1, columns}));
  return greaterEqual(j, i + sizeOf(c, diagonal));
}

/// tril keeps j - i <= diagonal, triu j - i >= diagonal. MIL's band always holds the main diagonal;
/// other triangles are a choice by position.
template <bool Lower> void lowerTriangle(Call &c) {
  Tensor x = c.tensor("self");
  Dim diagonal = c.dim("diagonal");
  if (c.failed())
    return;
  if (x.rank() < 2)
    return c.refuse(Code::OperandMismatch, "input of rank {0}; 2 or more is needed", x.rank());
  Expr e(c, x);
  if (auto d = diagonal.tryValue(); d && (Lower ? *d >= 0 : *d <= 0))
    return c.result(c.emit(OpKind::band_part, {{band_part::x, x.value},
                                               {band_part::lower, Lower ? int64_t(-1) : -*d},
                                               {band_part::upper, Lower ? *d : int64_t(-1)}}),
                    x.dtype);
  Expr upper = onOrAbove(e, Lower ? diagonal + Dim(1) : diagonal);
  c.result(Lower ? select(upper, 0, e) : select(upper, e, 0), x.dtype);
}

/// The elements of one diagonal over two axes, as a last axis: positions in the flattened pair.
Expr diagonalOf(Call &c, const Tensor &x, int64_t offset, int64_t dim1, int64_t dim2) {
  auto perm = allAxes(x.rank());
  llvm::erase(perm, dim1);
  llvm::erase(perm, dim2);
  perm.push_back(dim1);
  perm.push_back(dim2);
  auto rows = x.size(dim1).tryValue(), columns = x.size(dim2).tryValue();
  if (!rows || !columns) {
    c.refuse(Code::NotKnown, "a diagonal over dimensions of unknown size");
    return Expr(c, x);
  }
  llvm::SmallVector<int64_t, 0> positions;
  for (int64_t i = std::max<int64_t>(0, -offset); i < *rows && i + offset < *columns; ++i)
    positions.push_back(i * *columns + i + offset);
  if (positions.empty()) {
    c.refuse(Code::UnsupportedForm, "diagonal {0} of a {1} by {2} matrix is empty", offset, *rows,
             *columns);
    return Expr(c, x);
  }
  Expr moved(c, llvm::is_sorted(perm) ? x.value : c.permute(x.value, perm));
  if (!moved.valid())
    return moved;
  Shape flat(moved.shape().drop_back(2));
  flat.push_back(*rows * *columns);
  Expr source(c, c.reshape(moved, flat));
  if (x.isBool())
    source = castTo(source, DType::I32);
  return castTo(gather(source, Expr(c, c.builder().ints(positions)), flat.size() - 1), x.milType());
}

/// A vector along a diagonal of zeros; batches in front.
Expr embedDiagonal(Call &c, const Tensor &x, int64_t offset) {
  Dim n = x.shape().back(), size = n + Dim(std::abs(offset));
  // Each row (or, above the diagonal, each column) holds one element: a choice by position.
  Expr e = offset > 0 ? expandDims(Expr(c, x), {x.rank()}) : expandDims(Expr(c, x), {x.rank() - 1});
  Amounts a{Shape(e.rank(), 0), Shape(e.rank(), 0)};
  int64_t along = offset > 0 ? e.rank() - 2 : e.rank() - 1;
  a.after[along] = std::abs(offset);
  e = padConstant(e, a, 0);
  Expr i(c, c.reshape(iota(c, size), {size, 1})), j(c, c.reshape(iota(c, size), {1, size}));
  return select(equal(j, i + double(offset)), e, 0);
}

void lowerDiagEmbed(Call &c) {
  Tensor x = c.tensor("self");
  int64_t offset = c.integer("offset");
  if (c.failed())
    return;
  int64_t rank = x.rank() + 1;
  int64_t dim1 = c.axis("dim1", rank), dim2 = c.axis("dim2", rank);
  if (c.failed())
    return;
  Expr y = embedDiagonal(c, x, offset);
  // The last two axes go where they are wanted.
  llvm::SmallVector<int64_t, 6> perm(rank);
  int64_t next = 0;
  for (int64_t axis = 0; axis < rank; ++axis)
    perm[axis] = axis == dim1 ? rank - 2 : axis == dim2 ? rank - 1 : next++;
  c.result(llvm::is_sorted(perm) ? y.value() : c.permute(y, perm), x.dtype);
}

void lowerDiag(Call &c) {
  Tensor x = c.tensor("self");
  int64_t offset = c.integer("diagonal");
  if (c.failed())
    return;
  if (x.rank() == 1)
    c.result(embedDiagonal(c, x, offset), x.dtype);
  else
    c.result(diagonalOf(c, x, offset, 0, 1), x.dtype);
}

void lowerTrace(Call &c) {
  Tensor x = c.tensor("self");
  if (c.failed())
    return;
  Expr diagonal = diagonalOf(c, x, 0, 0, 1);
  if (!c.failed())
    c.result(reduce(OpKind::reduce_sum, diagonal, {0}, false), x.isFloat() ? x.dtype : at::kLong);
}
} // namespace

void registerPadding(Table &table) {
  table.add({"aten::pad"}, lowerPad);
  table.add({"aten::constant_pad_nd"}, lowerConstantPad);
  table.add({"aten::reflection_pad1d", "aten::reflection_pad2d", "aten::reflection_pad3d",
             "aten::replication_pad1d", "aten::replication_pad2d", "aten::replication_pad3d",
             "aten::_pad_circular"},
            lowerNamedPad);
  table.add({"aten::tril"}, lowerTriangle<true>);
  table.add({"aten::triu"}, lowerTriangle<false>);
  table.add({"aten::diag_embed"}, lowerDiagEmbed);
  table.add({"aten::diag"}, lowerDiag);
  table.add({"aten::trace"}, lowerTrace);
}

} // namespace plait::frontend
