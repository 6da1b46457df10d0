// Reading elements at positions: embedding, embedding_bag, index_select, gather, x[i, j, …],
// one_hot.
#include "frontend/engine/Engine.h"
#include "frontend/lower/Advanced.h"
#include "frontend/lower/Families.h"

#include <ATen/Functions.h>
#include <cfloat>

namespace plait::frontend {

using namespace mil;

/// MIL's gathers take no bool.
Expr gatherable(const Expr &x) {
  return x.valid() && x.dtype() == DType::Bool ? castTo(x, DType::I32) : x;
}

/// x at `indices` along an axis; the result has the indices' axes there. Indices of rank 0 go
/// through a vector, since Core ML takes them on the first axis only.
static void giveGathered(Call &c, const Tensor &x, Expr indices, int64_t axis) {
  Expr e(c, x);
  bool scalar = indices.valid() && indices.rank() == 0;
  if (scalar)
    indices = Expr(c, c.reshape(indices, {1}));
  Expr y = gather(gatherable(e), indices, axis);
  if (scalar)
    y = squeeze(y, {axis});
  c.result(castTo(y, x.milType()), x.dtype);
}

std::optional<AdvancedIndex> advancedIndex(Call &c, llvm::ArrayRef<Dim> shape) {
  AdvancedIndex index;
  const Val &list = c.val("indices");
  auto entries = list.list();
  if (!entries) {
    c.refuse(Code::NotKnown, "the indices must be a list of known length");
    return std::nullopt;
  }
  std::vector<std::pair<int64_t, Tensor>> found;
  int64_t axis = 0;
  auto given = c.optionalTensors("indices");
  for (auto [entry, tensor] : llvm::zip(entries->values, given)) {
    if (c.failed())
      return std::nullopt;
    if (!tensor) {
      ++axis;
      continue;
    }
    if (tensor.dtype != at::kBool && tensor.dtype != at::kByte) {
      index.isEmpty |= isEmpty(tensor.shape());
      found.emplace_back(axis++, tensor);
      continue;
    }
    // A mask over as many axes as it has: its true positions, where they are known.
    if (axis + tensor.rank() > int64_t(shape.size()))
      c.refuse(Code::OperandMismatch, "a mask of {0} axes for {1} axes of a tensor", tensor.rank(),
               int64_t(shape.size()) - axis);
    auto object = entry.tensor();
    at::Tensor known = object ? c.engine().compute(*object) : at::Tensor();
    if (!known.defined()) {
      if (given.size() == 1 ||
          llvm::count_if(given, [](const Tensor &t) { return bool(t); }) == 1) {
        index.mask = c.cast(tensor, at::kBool);
        index.maskAxis = axis;
        return index;
      }
      c.refuse(Code::DataDependentSize,
               "a mask that is computed at run time gives a tensor whose size depends on data, "
               "which Core ML cannot describe; use torch.where");
      return std::nullopt;
    }
    for (const at::Tensor &positions : at::nonzero(known.to(at::kBool)).unbind(1)) {
      index.isEmpty |= positions.numel() == 0;
      if (index.isEmpty)
        break;
      found.emplace_back(axis++, Tensor{c.engine().constant(positions.contiguous()), at::kLong});
    }
  }
  if (index.isEmpty)
    return index;
  if (found.empty()) {
    c.refuse(Code::UnsupportedForm, "no index is given");
    return std::nullopt;
  }
  llvm::SmallVector<llvm::ArrayRef<Dim>, 4> shapes;
  for (auto &[where, tensor] : found) {
    if (where >= int64_t(shape.size())) {
      c.refuse(Code::OperandMismatch, "more indices than the tensor's {0} axes", shape.size());
      return std::nullopt;
    }
    index.axes.push_back(where);
    index.indices.push_back(wrapIndices(Expr(c, c.castTo(tensor.value, DType::I32)), shape[where]));
    shapes.push_back(tensor.shape());
  }
  auto broadcast = broadcastShapes(c, shapes);
  if (!broadcast || c.failed())
    return std::nullopt;
  index.shape = *broadcast;
  // Neighbouring indices put their axes in their own place, others in front.
  bool adjacent = index.axes.back() - index.axes.front() + 1 == int64_t(index.axes.size());
  index.position = adjacent ? index.axes.front() : 0;
  return index;
}

llvm::SmallVector<int64_t, 6> AdvancedIndex::toFront(int64_t rank) const {
  llvm::SmallVector<int64_t, 6> perm(axes.begin(), axes.end());
  for (int64_t axis = 0; axis < rank; ++axis)
    if (!llvm::is_contained(axes, axis))
      perm.push_back(axis);
  return perm;
}

Expr AdvancedIndex::coordinates(Call &c) const {
  llvm::SmallVector<Value *, 4> parts;
  int64_t rank = shape.size();
  for (const Expr &index : indices)
    parts.push_back(expandDims(Expr(c, c.broadcastTo(index, shape)), {rank}));
  return concat(c, parts, rank);
}

Expr permuteIfNeeded(const Expr &x, llvm::ArrayRef<int64_t> perm) {
  return llvm::is_sorted(perm) ? x : Expr(x.call(), x.call().permute(x, perm));
}

namespace {
void lowerEmbedding(Call &c) {
  Tensor weight = c.tensor("weight"), indices = c.tensor("indices");
  if (!c.failed())
    giveGathered(c, weight, Expr(c, c.castTo(indices.value, DType::I32)), 0);
}

/// Rows of a table summed, averaged or maximised over bags: bag i takes the indices from offsets[i]
/// up to the next offset. Bags of one known length are an axis; others are scattered into.
void lowerEmbeddingBag(Call &c) {
  Tensor weight = c.tensor("weight"), indices = c.tensor("indices"), offsets = c.tensor("offsets");
  int64_t mode = c.integer("mode");
  bool ends = c.boolean("include_last_offset");
  for (unsigned result = 1; result < 4; ++result)
    if (c.isUsed(result))
      return c.refuse(Code::UnsupportedForm, "only the first result is computed");
  if (c.failed())
    return;
  if (indices.rank() != 1)
    return c.refuse(Code::OperandMismatch, "indices of rank {0}; 1 is needed", indices.rank());
  enum { Sum, Mean, Max };
  Dim count = indices.size(0), width = weight.size(1);
  Dim bags = ends ? offsets.size(0) - Dim(1) : offsets.size(0);
  Expr rows = gather(Expr(c, weight), Expr(c, c.castTo(indices.value, DType::I32)), 0);
  if (Tensor scale = c.optionalTensor("per_sample_weights"))
    rows = rows * expandDims(Expr(c, c.cast(scale, weight.dtype)), {1});
  if (!rows.valid())
    return;
  auto total = count.tryValue(), known = bags.tryValue();
  at::Tensor starts = c.knownTensor("offsets");
  if (starts.defined() && total && known && *known > 0 && *total % *known == 0 &&
      starts.slice(0, 0, *known).equal(at::arange(*known, starts.options()) * (*total / *known))) {
    Expr bagged(c, c.reshape(rows, {bags, *total / *known, width}));
    OpKind kind = mode == Sum    ? OpKind::reduce_sum
                  : mode == Mean ? OpKind::reduce_mean
                                 : OpKind::reduce_max;
    c.result(reduce(kind, bagged, {1}, false), weight.dtype);
  } else {
    // An index's bag is the last one that begins at or before it.
    Expr first(c, c.castTo(offsets.value, DType::I32));
    if (ends)
      first = slice(first, 0, 0, bags);
    Expr begun = lessEqual(expandDims(first, {0}), expandDims(iota(c, count), {1}));
    Expr bag = reduce(OpKind::reduce_sum, castTo(begun, DType::I32), {1}, false) - 1.0;
    auto scattered = [&](double start, const Expr &updates, llvm::StringRef how) {
      Shape shape(updates.shape());
      shape[0] = bags;
      return Expr(c, c.emit(OpKind::scatter, {{scatter::data, c.full(shape, DType::F32, start)},
                                              {scatter::indices, bag.value()},
                                              {scatter::updates, updates.value()},
                                              {scatter::axis, 0},
                                              {scatter::mode, how},
                                              {scatter::validate_indices, false}}));
    };
    Expr sizes = scattered(0, Expr(c, c.full({count, 1}, DType::F32, 1)), "add");
    Expr y = scattered(mode == Max ? -FLT_MAX : 0, rows, mode == Max ? "max" : "add");
    if (mode == Mean)
      y = y / maximum(sizes, 1.0);
    else if (mode == Max)
      y = select(greater(sizes, 0.0), y, 0.0);
    c.result(y, weight.dtype);
  }
  for (unsigned result = 1; result < 4; ++result)
    c.result(Val());
}

void lowerIndexSelect(Call &c) {
  Tensor x = c.tensor("self"), index = c.tensor("index");
  if (c.failed())
    return;
  int64_t axis = c.axis("dim", std::max<int64_t>(x.rank(), 1));
  if (c.failed())
    return;
  if (x.rank() == 0)
    return c.result(x);
  Value *indices = index.rank() == 0 ? c.reshape(index.value, {1}) : index.value;
  giveGathered(c, x, Expr(c, indices), axis);
}

/// Elements of x at positions along an axis, of a tensor that has x's other axes.
Expr takeAlong(const Expr &x, const Expr &indices, int64_t axis) {
  Call &c = x.call();
  if (x.rank() != indices.rank())
    c.refuse(Code::OperandMismatch,
             "indices of shape {0} for a tensor of shape {1}; both need one rank",
             mil::str(indices.shape()), mil::str(x.shape()));
  Expr source = gatherable(x);
  // PyTorch reads only as much of the other axes as the indices have.
  for (int64_t i = 0; source.valid() && i < source.rank(); ++i)
    if (i != axis && !(source.shape()[i] == indices.shape()[i]))
      source = slice(source, i, 0, indices.shape()[i]);
  Expr y(c, c.emit(OpKind::gather_along_axis, {{gather_along_axis::x, source.value()},
                                               {gather_along_axis::indices, indices.value()},
                                               {gather_along_axis::axis, axis},
                                               {gather_along_axis::validate_indices, false}}));
  return castTo(y, x.dtype());
}

void lowerGather(Call &c) {
  Tensor x = c.tensor("self"), index = c.tensor("index");
  if (c.failed())
    return;
  int64_t axis = c.axis("dim", std::max<int64_t>(x.rank(), 1));
  if (c.failed())
    return;
  Expr e(c, x), i(c, index);
  if (x.rank() == 0 || index.rank() == 0) {
    // A scalar counts as a vector of one.
    Expr vector = x.rank() == 0 ? Expr(c, c.reshape(e, {1})) : e;
    Expr y = takeAlong(vector, index.rank() == 0 ? Expr(c, c.reshape(i, {1})) : i, 0);
    return c.result(c.reshape(y, index.shape()), x.dtype);
  }
  c.result(takeAlong(e, i, axis), x.dtype);
}

void lowerTakeAlongDim(Call &c) {
  Tensor x = c.tensor("self"), index = c.tensor("indices");
  if (c.failed())
    return;
  Expr e(c, x), i(c, index);
  if (!c.has("dim")) {
    e = Expr(c, c.reshape(e, {numElements(x.shape())}));
    i = Expr(c, c.reshape(i, {numElements(index.shape())}));
    return c.result(takeAlong(e, i, 0), x.dtype);
  }
  int64_t axis = c.axis("dim", x.rank());
  if (c.failed())
    return;
  // Everything but the axis broadcasts.
  Shape left(x.shape()), right(index.shape());
  left[axis] = right[axis] = 1;
  auto shape = broadcastShapes(c, {left, right});
  if (!shape)
    return;
  auto spread = [&](const Expr &value) {
    Shape target = *shape;
    target[axis] = value.shape()[axis];
    return Expr(c, c.broadcastTo(value, target));
  };
  c.result(takeAlong(spread(e), spread(i), axis), x.dtype);
}

/// take: x as if it were flat.
void lowerTake(Call &c) {
  Tensor x = c.tensor("self"), index = c.tensor("index");
  if (c.failed())
    return;
  Dim size = numElements(x.shape());
  Tensor flat{c.reshape(x.value, {size}), x.dtype};
  giveGathered(c, flat, wrapIndices(Expr(c, index), size), 0);
}

void lowerIndex(Call &c) {
  Tensor x = c.tensor("self");
  if (c.failed())
    return;
  auto index = advancedIndex(c, x.shape());
  if (!index)
    return;
  if (index->isEmpty)
    return c.refuse(Code::UnsupportedForm,
                    "an index of no positions gives an empty tensor, which Core ML has not");
  if (index->mask) {
    Engine &engine = c.engine();
    Val mask = engine.makeTensor(index->mask.value, at::kBool);
    if (index->maskAxis == 0)
      return c.result(engine.makeSelection(engine.copy(c.val("self").tensor()), mask));
    // The mask's axes to the front, and what they select back to their place.
    llvm::SmallVector<int64_t, 6> front, back;
    int64_t axis = index->maskAxis, width = index->mask.rank();
    for (int64_t i = 0; i < width; ++i)
      front.push_back(axis + i);
    for (int64_t i = 0; i < x.rank(); ++i)
      if (i < axis || i >= axis + width)
        front.push_back(i);
    for (int64_t i = 0; i + width <= x.rank(); ++i)
      back.push_back(i < axis ? i + 1 : i == axis ? 0 : i);
    Val moved = engine.makeTensor(permuteIfNeeded(Expr(c, x), front).value(), x.dtype);
    Val rows = engine.makeSelection(moved, mask);
    Expr y(c, engine.read(*rows.tensor()));
    return y.valid() ? c.result(permuteIfNeeded(y, back), x.dtype) : void();
  }
  if (index->axes.size() == 1)
    return giveGathered(c, x, index->indices[0], index->axes[0]);
  Expr front = permuteIfNeeded(gatherable(Expr(c, x)), index->toFront(x.rank()));
  Expr y(c, c.emit(OpKind::gather_nd, {{gather_nd::x, front.value()},
                                       {gather_nd::indices, index->coordinates(c).value()},
                                       {gather_nd::batch_dims, 0},
                                       {gather_nd::validate_indices, false}}));
  if (!y.valid())
    return;
  // The indices' axes go from the front to their place.
  int64_t width = index->shape.size();
  llvm::SmallVector<int64_t, 6> perm;
  for (int64_t i = 0; i < index->position; ++i)
    perm.push_back(width + i);
  for (int64_t i = 0; i < width; ++i)
    perm.push_back(i);
  for (int64_t i = width + index->position; i < y.rank(); ++i)
    perm.push_back(i);
  c.result(castTo(permuteIfNeeded(y, perm), x.milType()), x.dtype);
}

void lowerOneHot(Call &c) {
  Tensor indices = c.tensor("self");
  int64_t classes = c.integer("num_classes");
  if (c.failed())
    return;
  if (classes < 0)
    return c.refuse(Code::DataDependentSize,
                    "the number of classes must be given; counting them depends on run-time data");
  c.result(c.emit(OpKind::one_hot, {{one_hot::indices, indices.value},
                                    {one_hot::one_hot_vector_size, classes},
                                    {one_hot::axis, -1},
                                    {one_hot::on_value, 1},
                                    {one_hot::off_value, 0}}),
           at::kLong);
}
} // namespace

void registerIndexing(Table &table) {
  table.add({"aten::embedding"}, lowerEmbedding);
  table.add({"aten::embedding_bag"}, lowerEmbeddingBag);
  table.add({"aten::index_select"}, lowerIndexSelect);
  table.add({"aten::gather"}, lowerGather);
  table.add({"aten::take_along_dim"}, lowerTakeAlongDim);
  table.add({"aten::take"}, lowerTake);
  table.add({"aten::index.Tensor", "aten::index.Tensor_hacked_twin", "aten::_unsafe_index.Tensor",
             "aten::_unsafe_index.Tensor_hacked_twin"},
            lowerIndex);
  table.add({"aten::one_hot"}, lowerOneHot);
  // Of what a run-time mask selects: each row for itself.
  table.setSelectedRows({"aten::softmax.int", "aten::log_softmax.int", "aten::_softmax",
                         "aten::_log_softmax", "aten::sum.dim_IntList", "aten::mean.dim",
                         "aten::amax", "aten::amin", "aten::linalg_vector_norm", "aten::logsumexp",
                         "aten::linear", "aten::layer_norm", "aten::embedding", "aten::gather",
                         "aten::cumsum", "aten::one_hot", "aten::zeros_like", "aten::ones_like",
                         "aten::full_like"});
}

} // namespace plait::frontend
