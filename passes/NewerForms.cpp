// Operations of older opsets in the forms of newer ones. What an operation computes stays the same
// to the bit; where a newer opset has no way to say it, whyNotNewer() says so.
//
// Most forms differ in parameters that the newer one has besides, whose defaults mean what the
// older one did. The others are here, one function each.
#include "passes/Opsets.h"
#include "passes/Rewrite.h"

#include "llvm/Support/MathExtras.h"

#include <numeric>

namespace plait::passes {

using namespace mil;

namespace {

// ---- gather and scatter: negative indices no longer count from the end --------------------------

struct Indexed {
  unsigned data, indices;
  bool coordinates; ///< the last axis of the indices holds one index an axis of the data
};

std::optional<Indexed> indexed(const Op &op) {
  switch (op.kind()) {
  case OpKind::gather:
    return Indexed{gather::x, gather::indices, false};
  case OpKind::gather_along_axis:
    return Indexed{gather_along_axis::x, gather_along_axis::indices, false};
  case OpKind::gather_nd:
    return Indexed{gather_nd::x, gather_nd::indices, true};
  case OpKind::scatter:
    return Indexed{scatter::data, scatter::indices, false};
  case OpKind::scatter_along_axis:
    return Indexed{scatter_along_axis::data, scatter_along_axis::indices, false};
  case OpKind::scatter_nd:
    return Indexed{scatter_nd::data, scatter_nd::indices, true};
  default:
    return std::nullopt;
  }
}

/// The axes of the data that the indices count along; nullopt where their number is not known.
std::optional<llvm::SmallVector<int64_t, 5>> indexedAxes(const Op &op, const Indexed &what) {
  const Value *data = op[what.data], *indices = op[what.indices];
  unsigned rank = data->type.rank();
  if (!what.coordinates) {
    auto axis = op.info().findParam("axis");
    return llvm::SmallVector<int64_t, 5>{normalAxis(constInt(op[*axis]).value_or(0), rank)};
  }
  if (indices->type.rank() == 0 || !indices->type.shape().back().isConst())
    return std::nullopt;
  int64_t first = 0;
  if (auto batch = op.info().findParam("batch_dims"))
    first = constInt(op[*batch]).value_or(0);
  llvm::SmallVector<int64_t, 5> axes(indices->type.shape().back().value());
  std::iota(axes.begin(), axes.end(), first);
  if (first < 0 || first + int64_t(axes.size()) > int64_t(rank))
    return std::nullopt;
  return axes;
}

/// Nothing that the value holds is below zero, whatever the inputs are.
bool isNeverNegative(const Value *value) {
  if (isUnsigned(value->type.dtype()))
    return true;
  if (auto constants = constInts(value))
    return llvm::none_of(*constants, [](int64_t i) { return i < 0; });
  if (!value->def())
    return false;
  switch (value->def()->kind()) {
  case OpKind::argsort:
  case OpKind::non_zero:
  case OpKind::reduce_argmax:
  case OpKind::reduce_argmin:
  case OpKind::shape:
    return true;
  case OpKind::topk:
    return value->index() == 1;
  default:
    return false;
  }
}

/// The sizes of axes that follow one another: a scalar for one, a vector where `asVector`.
Value *sizesOf(Builder &builder, Value *data, llvm::ArrayRef<int64_t> axes, bool asVector) {
  llvm::SmallVector<int64_t, 5> sizes;
  for (int64_t axis : axes)
    if (const Dim &size = data->type.shape()[axis]; size.isConst())
      sizes.push_back(size.value());
  if (sizes.size() == axes.size())
    return asVector ? builder.ints(sizes) : builder.scalar(DType::I32, double(sizes[0]));
  Value *shape = builder.emit(OpKind::shape, {{shape::x, data}});
  if (!asVector)
    return builder.emit(OpKind::gather, {{gather::x, shape}, {gather::indices, axes[0]}});
  return builder.emit(OpKind::slice_by_index, {{slice_by_index::x, shape},
                                               {slice_by_index::begin, {axes.front()}},
                                               {slice_by_index::end, {axes.back() + 1}}});
}

/// indices, with the size of its axis added to each that is negative.
void countFromStart(Op &op, const Indexed &what) {
  Value *indices = op[what.indices];
  if (isNeverNegative(indices))
    return;
  auto axes = *indexedAxes(op, what);
  Builder builder = Builder::before(&op);
  if (indices->type.dtype() != DType::I32)
    indices = builder.emit(OpKind::cast, {{cast::x, indices}, {cast::dtype, "int32"}});
  Value *sizes = sizesOf(builder, op[what.data], axes, what.coordinates);
  auto constants = constInts(indices), constSizes = constInts(sizes);
  if (!constSizes && constInt(sizes))
    constSizes = {*constInt(sizes)};
  if (constants && constSizes) {
    std::vector<int32_t> positive;
    for (auto [i, index] : llvm::enumerate(*constants))
      positive.push_back(
          int32_t(index < 0 ? index + (*constSizes)[i % constSizes->size()] : index));
    auto shape = *staticShape(indices);
    Value *fixed =
        derivedConstant(&op, TensorData::from<int32_t>(DType::I32, shape, positive), indices);
    op.set(what.indices, fixed);
    for (Value *unused : {indices, sizes})
      if (unused->def())
        eraseDead(unused->def());
    return;
  }
  Value *negative =
      builder.emit(OpKind::less, {{less::x, indices}, {less::y, builder.scalar(DType::I32, 0)}});
  Value *added = builder.emit(OpKind::add, {{add::x, indices}, {add::y, sizes}});
  op.set(what.indices,
         builder.emit(OpKind::select,
                      {{select::cond, negative}, {select::a, added}, {select::b, indices}}));
}

// ---- crop_resize: regions became boxes and the images that they are of --------------------------

std::string whyNotBoxes(const Op &op) {
  const Type &roi = op[crop_resize::roi]->type;
  auto x = op[crop_resize::x]->type.shape();
  if (!roi.hasStaticShape())
    return "how many regions there are is not fixed";
  if (roi.shape()[2] == Dim(5))
    return "";
  if (!x[0].isConst() || (x[0].value() > 1 && !x[1].isConst()))
    return "how many images there are is not fixed";
  return "";
}

void cropBoxes(Op &op) {
  Builder builder = Builder::before(&op);
  Value *x = op[crop_resize::x], *roi = op[crop_resize::roi];
  int64_t count = roi->type.shape()[0].value();
  bool indexed = roi->type.shape()[2].value() == 5;
  int64_t batch = indexed ? 1 : x->type.shape()[0].value();
  Value *flat = builder.emit(OpKind::squeeze, {{squeeze::x, roi}, {squeeze::axes, {1, 3, 4}}});
  Value *boxes = flat, *images = nullptr;
  if (indexed) {
    boxes = builder.emit(OpKind::slice_by_index, {{slice_by_index::x, flat},
                                                  {slice_by_index::begin, {0, 1}},
                                                  {slice_by_index::end, {count, 5}}});
    Value *first = builder.emit(OpKind::slice_by_index, {{slice_by_index::x, flat},
                                                         {slice_by_index::begin, {0, 0}},
                                                         {slice_by_index::end, {count, 1}}});
    images = builder.emit(OpKind::squeeze, {{squeeze::x, first}, {squeeze::axes, {1}}});
    images = builder.emit(OpKind::cast, {{cast::x, images}, {cast::dtype, "int32"}});
  } else {
    // Box n of image b is the (n * batch + b)-th.
    if (batch > 1) {
      boxes = builder.emit(OpKind::tile, {{tile::x, boxes}, {tile::reps, {1, batch}}});
      boxes = builder.emit(OpKind::reshape,
                           {{reshape::x, boxes}, {reshape::shape, {count * batch, 4}}});
    }
    llvm::SmallVector<int64_t, 8> order;
    for (int64_t n = 0; n < count * batch; ++n)
      order.push_back(n % batch);
    images = builder.ints(order);
  }
  llvm::SmallVector<Arg, 10> args{
      {crop_resize::x, x}, {crop_resize::boxes, boxes}, {crop_resize::box_indices, images}};
  for (unsigned param = 0; param < op.numParams(); ++param)
    if (param != crop_resize::x && param != crop_resize::roi && op[param])
      args.emplace_back(param, op[param]);
  Value *crops = builder.emit(OpKind::crop_resize, args);
  Value *result =
      batch == 1
          ? builder.emit(OpKind::expand_dims, {{expand_dims::x, crops}, {expand_dims::axes, {1}}})
          : builder.emit(OpKind::reshape,
                         {{reshape::x, crops},
                          {reshape::shape,
                           {count, batch, crops->type.shape()[1].value(),
                            crops->type.shape()[2].value(), crops->type.shape()[3].value()}}});
  replaceOp(&op, result);
}

// ---- clip: alpha is below beta
// --------------------------------------------------------------------

bool isClipToOne(const Op &op) {
  auto low = constFloat(op[clip::alpha]), high = constFloat(op[clip::beta]);
  return low && high && *low == *high;
}

void clipToOne(Op &op) {
  Builder builder = Builder::before(&op);
  Value *y =
      builder.emit(OpKind::maximum, {{maximum::x, op[clip::x]}, {maximum::y, op[clip::alpha]}});
  y = builder.emit(OpKind::minimum, {{minimum::x, y}, {minimum::y, op[clip::beta]}});
  replaceOp(&op, y);
}

// ---- compressed constants: elements of their own width, and no shape
// ------------------------------

/// The element type of packed indices into a table.
std::optional<DType> indexType(int64_t entries) {
  switch (entries) {
  case 2:
    return DType::U1;
  case 4:
    return DType::U2;
  case 8:
    return DType::U3;
  case 16:
    return DType::U4;
  case 64:
    return DType::U6;
  case 256:
    return DType::U8;
  default:
    return std::nullopt;
  }
}

/// The bytes of `packed` as a tensor of narrow elements.
Expected<TensorData> unpacked(const TensorData &packed, DType dtype,
                              llvm::ArrayRef<int64_t> shape) {
  if (packed.kind() == TensorData::Kind::Strided && !packed.contiguousBytes().empty())
    return TensorData::view(packed.node().storage, packed.node().byteOffset, dtype, shape);
  auto bytes = packed.bytes();
  if (!bytes)
    return bytes.takeError();
  return TensorData::fromBytes(dtype, shape, std::move(*bytes));
}

struct Unpacked {
  TensorData elements; ///< indices or mask
  llvm::SmallVector<int64_t, 6> shape;
};

std::optional<Unpacked> unpack(const Op &op, unsigned packed, unsigned shapeParam, DType dtype) {
  auto shape = constInts(op[shapeParam]);
  const TensorData *bytes = constTensor(op[packed]);
  if (!shape || shape->empty() || !bytes)
    return std::nullopt;
  Unpacked result;
  result.shape.assign(shape->begin(), shape->end());
  auto elements = unpacked(*bytes, dtype, result.shape);
  if (!elements) {
    consumeError(elements.takeError());
    return std::nullopt;
  }
  result.elements = std::move(*elements);
  return result;
}

std::string whyNotUnpacked(const Op &op) {
  if (op.result()->isOutput())
    return "a compressed constant is an output of the function";
  bool lut = op.is(OpKind::constexpr_lut_to_dense);
  unsigned shape = lut ? unsigned(constexpr_lut_to_dense::shape) : constexpr_sparse_to_dense::shape;
  unsigned packed =
      lut ? unsigned(constexpr_lut_to_dense::indices) : constexpr_sparse_to_dense::mask;
  auto sizes = constInts(op[shape]);
  if (!sizes || sizes->empty() || !constTensor(op[packed]))
    return "what it packs is no constant of a known shape";
  if (!lut)
    return "";
  const TensorData *table = constTensor(op[constexpr_lut_to_dense::lut]);
  if (!table)
    return "its table is no constant";
  if (!indexType(table->numElements()))
    return fmt::format("its table has {0} entries; 2, 4, 8, 16, 64 and 256 are possible",
                       table->numElements());
  return "";
}

void unpackTable(Op &op) {
  namespace l = constexpr_lut_to_dense;
  const TensorData &table = *constTensor(op[l::lut]);
  auto parts = *unpack(op, l::indices, l::shape, *indexType(table.numElements()));
  llvm::SmallVector<int64_t, 8> shape(parts.shape.size(), 1);
  shape.push_back(table.numElements());
  shape.push_back(1);
  Value *indices = derivedConstant(&op, parts.elements, op[l::indices]);
  Value *lut = derivedConstant(&op, table.reshape(shape), op[l::lut]);
  replaceOp(&op, Builder::before(&op).emit(op.kind(), {{l::indices, indices}, {l::lut, lut}}));
}

void unpackMask(Op &op) {
  namespace s = constexpr_sparse_to_dense;
  auto parts = *unpack(op, s::mask, s::shape, DType::U1);
  Value *mask = derivedConstant(&op, parts.elements, op[s::mask]);
  replaceOp(&op, Builder::before(&op).emit(
                     op.kind(), {{s::nonzero_data, op[s::nonzero_data]}, {s::mask, mask}}));
}

} // namespace

std::string whyNotNewer(const Op &op, Opset target) {
  Opset now = op.opset();
  if (op.is(OpKind::clip) && now < op.info().newest) {
    auto low = constFloat(op[clip::alpha]), high = constFloat(op[clip::beta]);
    if (low && high && *low > *high)
      return fmt::format("alpha {0} is above beta {1}, which {2} does not allow", *low, *high,
                         name(target));
  }
  if (op.is(OpKind::non_maximum_suppression) && op[non_maximum_suppression::score_threshold])
    return fmt::format("it drops boxes by score_threshold and counts the others, which {0} has no "
                       "operation for; convert the model again for {1}",
                       name(target), info(target).systems);
  if (op.is(OpKind::crop_resize) && op[crop_resize::roi])
    return whyNotBoxes(op);
  if ((op.is(OpKind::constexpr_lut_to_dense) && op[constexpr_lut_to_dense::shape]) ||
      (op.is(OpKind::constexpr_sparse_to_dense) && op[constexpr_sparse_to_dense::shape]))
    return whyNotUnpacked(op);
  if (auto what = indexed(op); what && info(now).negativeIndices && !info(target).negativeIndices)
    if (!isNeverNegative(op[what->indices]) && !indexedAxes(op, *what))
      return "how many axes its indices count along is not known";
  return "";
}

void makeNewer(Op &op, Opset before) {
  if (auto what = indexed(op);
      what && info(before).negativeIndices && !info(op.opset()).negativeIndices)
    countFromStart(op, *what);
  Builder::before(&op).fillDefaults(op);
  if (op.is(OpKind::crop_resize) && op[crop_resize::roi])
    return cropBoxes(op);
  if (op.is(OpKind::clip) && before < op.info().newest && isClipToOne(op))
    return clipToOne(op);
  if (op.is(OpKind::constexpr_lut_to_dense) && op[constexpr_lut_to_dense::shape])
    return unpackTable(op);
  if (op.is(OpKind::constexpr_sparse_to_dense) && op[constexpr_sparse_to_dense::shape])
    return unpackMask(op);
}

} // namespace plait::passes
