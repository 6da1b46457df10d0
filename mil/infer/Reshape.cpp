// Shape functions of operations that move elements without computing: reshapes, permutations and
// blocks.
#include "mil/infer/Shapes.h"

#include "llvm/ADT/SmallBitVector.h"

namespace plait::mil::infer {

Error transpose(InferContext &c) {
  auto perm = c.constInts(transpose::perm);
  auto shape = c.shape(transpose::x);
  llvm::SmallBitVector seen(shape.size());
  Shape result;
  for (int64_t axis : perm.value_or(llvm::SmallVector<int64_t, 8>())) {
    axis = axis < 0 ? axis + int64_t(shape.size()) : axis;
    if (axis < 0 || axis >= int64_t(shape.size()) || seen[axis])
      break;
    seen.set(axis);
    result.push_back(shape[axis]);
  }
  if (!perm || result.size() != shape.size() || perm->size() != shape.size())
    return c.fail("perm is no permutation of the {0} axes of x", shape.size());
  return c.result(c.dtype(transpose::x), result);
}

Error reshape(InferContext &c) {
  auto target = c.dims(reshape::shape);
  auto x = c.shape(reshape::x);
  if (!target) {
    auto shape = shapeFromOperand(c, reshape::shape);
    if (!shape)
      return shape.takeError();
    return c.result(c.dtype(reshape::x), *shape);
  }
  if (c.rank(reshape::shape) != 1)
    return c.fail("shape must be a vector, not of shape {0}", str(c.shape(reshape::shape)));
  Shape result;
  std::optional<size_t> inferred;
  Dim known = 1;
  for (auto [i, size] : llvm::enumerate(*target)) {
    Dim d = size;
    if (size == Dim(0)) { // copies the dimension of x at the same place from the right
      size_t fromRight = target->size() - i;
      d = fromRight <= x.size() ? x[x.size() - fromRight] : Dim(1);
    } else if (size == Dim(-1)) {
      if (inferred)
        return c.fail("shape has more than one -1");
      inferred = i;
      result.push_back(d);
      continue;
    } else if (size.isConst() && size.value() < 0) {
      return c.fail("shape has the negative size {0}", size.value());
    }
    known = known * d;
    result.push_back(d);
  }
  Dim total = numElements(x);
  if (inferred)
    result[*inferred] = known == Dim(0) ? Dim(0) : floordiv(total, known);
  if (!maybeEqual(numElements(result), total))
    return c.fail("x of shape {0} does not fit shape {1}", str(x), str(result));
  return c.result(c.dtype(reshape::x), result);
}

Error reshapeLike(InferContext &c) {
  auto refs = c.op().operands(reshape_like::ref_tensors);
  auto begins = c.op().operands(reshape_like::begins), ends = c.op().operands(reshape_like::ends),
       masks = c.op().operands(reshape_like::end_masks);
  if (begins.size() != refs.size() || ends.size() != refs.size() || masks.size() != refs.size())
    return c.fail("{0} ref_tensors, {1} begins, {2} ends and {3} end_masks; one of each is needed",
                  refs.size(), begins.size(), ends.size(), masks.size());
  Shape shape;
  for (size_t i = 0; i < refs.size(); ++i) {
    auto begin = constInt(begins[i]), end = constInt(ends[i]);
    auto mask = constBool(masks[i]);
    if (!begin || !end || !mask)
      return c.fail("begins, ends and end_masks must be constant scalars");
    auto ref = refs[i]->type.shape();
    int64_t rank = ref.size();
    auto clamp = [&](int64_t v) { return std::clamp<int64_t>(v < 0 ? v + rank : v, 0, rank); };
    for (int64_t d = clamp(*begin), last = *mask ? rank : clamp(*end); d < last; ++d)
      shape.push_back(ref[d]);
  }
  auto x = c.shape(reshape_like::x);
  if (!maybeEqual(numElements(x), numElements(shape)))
    return c.fail("x of shape {0} does not fit shape {1}", str(x), str(shape));
  return c.result(c.dtype(reshape_like::x), shape);
}

Error expandDims(InferContext &c) {
  auto axes = c.constInts(expand_dims::axes);
  if (!axes)
    return c.fail("axes is not known");
  size_t rank = c.rank(expand_dims::x) + axes->size();
  auto normalized = normalizeAxes(c, *axes, rank);
  if (!normalized)
    return normalized.takeError();
  llvm::sort(*normalized);
  Shape shape(c.shape(expand_dims::x));
  for (int64_t axis : *normalized) {
    if (axis > int64_t(shape.size()))
      return c.fail("axes has duplicates");
    shape.insert(shape.begin() + axis, Dim(1));
  }
  return c.result(c.dtype(expand_dims::x), shape);
}

Error squeeze(InferContext &c) {
  auto x = c.shape(squeeze::x);
  llvm::SmallBitVector gone(x.size());
  if (auto axes = c.constInts(squeeze::axes)) {
    auto normalized = normalizeAxes(c, *axes, x.size());
    if (!normalized)
      return normalized.takeError();
    // Axes of another size stay.
    for (int64_t axis : *normalized)
      gone[axis] = x[axis] == Dim(1);
  } else {
    for (size_t i = 0; i < x.size(); ++i)
      gone[i] = x[i] == Dim(1);
  }
  Shape shape;
  for (size_t i = 0; i < x.size(); ++i)
    if (!gone[i])
      shape.push_back(x[i]);
  return c.result(c.dtype(squeeze::x), shape);
}

Error flatten2d(InferContext &c) {
  auto x = c.shape(flatten2d::x);
  int64_t rank = x.size(), axis = c.constInt(flatten2d::axis).value_or(1);
  if (axis < -rank || axis > rank)
    return c.fail("axis {0} is out of range for rank {1}", axis, rank);
  axis = axis < 0 ? axis + rank : axis;
  return c.result(c.dtype(flatten2d::x),
                  {numElements(x.take_front(axis)), numElements(x.drop_front(axis))});
}

Error reverseSequence(InferContext &c) {
  for (unsigned param : {reverse_sequence::seq_axis, reverse_sequence::batch_axis})
    if (auto axis = c.axis(param, c.rank(reverse_sequence::x), 0); !axis)
      return axis.takeError();
  return c.result(c.type(reverse_sequence::x));
}

Error slidingWindows(InferContext &c) {
  Shape shape(c.shape(sliding_windows::x));
  auto axis = c.axis(sliding_windows::axis, shape.size(), 0);
  if (!axis)
    return axis.takeError();
  int64_t size = c.constInt(sliding_windows::size).value_or(0),
          stride = c.constInt(sliding_windows::stride).value_or(1);
  if (size < 1 || stride < 1)
    return c.fail("size is {0} and stride {1}; both must be positive", size, stride);
  if (shape[*axis].isConst() && shape[*axis].value() < size)
    return c.fail("windows of {0} do not fit an axis of {1}", size, shape[*axis].str());
  shape[*axis] = floordiv(shape[*axis] - size, stride) + 1;
  shape.insert(shape.begin() + *axis + 1, Dim(size));
  return c.result(c.dtype(sliding_windows::x), shape);
}

// ---- blocks of space, depth and batch
// ------------------------------------------------------------

static Error needRank4(InferContext &c) {
  if (c.rank(0) != 4)
    return c.fail("x has rank {0}; 4 is needed", c.rank(0));
  return Error::success();
}

/// n, c * r * r, h, w -> n, c, h * r, w * r
static Error depthToSpaceBy(InferContext &c, int64_t r) {
  if (Error error = needRank4(c))
    return error;
  auto x = c.shape(0);
  if (r < 1 || (x[1].isConst() && x[1].value() % (r * r) != 0))
    return c.fail("{0} channels do not make blocks of {1} x {1}", x[1].str(), r);
  return c.result(c.dtype(0), {x[0], floordiv(x[1], r * r), x[2] * r, x[3] * r});
}

static Error spaceToDepthBy(InferContext &c, int64_t r) {
  if (Error error = needRank4(c))
    return error;
  auto x = c.shape(0);
  for (const Dim &d : {x[2], x[3]})
    if (r < 1 || (d.isConst() && d.value() % r != 0))
      return c.fail("x of shape {0} does not divide into blocks of {1} x {1}", str(x), r);
  return c.result(c.dtype(0), {x[0], x[1] * (r * r), floordiv(x[2], r), floordiv(x[3], r)});
}

Error depthToSpace(InferContext &c) {
  return depthToSpaceBy(c, c.constInt(depth_to_space::block_size).value_or(0));
}
Error pixelShuffle(InferContext &c) {
  return depthToSpaceBy(c, c.constInt(pixel_shuffle::upscale_factor).value_or(0));
}
Error spaceToDepth(InferContext &c) {
  return spaceToDepthBy(c, c.constInt(space_to_depth::block_size).value_or(0));
}
Error pixelUnshuffle(InferContext &c) {
  return spaceToDepthBy(c, c.constInt(pixel_unshuffle::downscale_factor).value_or(0));
}

/// The two spatial blocks and the amounts at their begins and ends, of both batch operations.
static Error readBlocks(InferContext &c, llvm::SmallVectorImpl<int64_t> &blocks,
                        llvm::SmallVectorImpl<int64_t> &amounts) {
  if (Error error = needRank4(c))
    return error;
  auto b = c.constInts(1), a = c.constInts(2);
  const char *name = c.op().info().params[2].name;
  if (!b || !a || b->size() != 2 || c.rank(1) != 1 || c.rank(2) != 2 ||
      !(c.shape(2)[0] == Dim(2)) || !(c.shape(2)[1] == Dim(2)))
    return c.fail("block_shape and {0} must have shapes [2] and [2, 2]", name);
  if (llvm::any_of(*b, [](int64_t v) { return v < 1; }) ||
      llvm::any_of(*a, [](int64_t v) { return v < 0; }))
    return c.fail("block_shape must be positive and {0} not negative", name);
  blocks.assign(b->begin(), b->end());
  amounts.assign(a->begin(), a->end());
  return Error::success();
}

Error spaceToBatch(InferContext &c) {
  llvm::SmallVector<int64_t, 4> block, pad;
  if (Error error = readBlocks(c, block, pad))
    return error;
  auto x = c.shape(0);
  Shape shape{x[0] * (block[0] * block[1]), x[1]};
  for (int i : {0, 1}) {
    Dim padded = x[2 + i] + pad[2 * i] + pad[2 * i + 1];
    if (padded.isConst() && padded.value() % block[i] != 0)
      return c.fail("padded size {0} does not divide into blocks of {1}", padded.str(), block[i]);
    shape.push_back(floordiv(padded, block[i]));
  }
  return c.result(c.dtype(0), shape);
}

Error batchToSpace(InferContext &c) {
  llvm::SmallVector<int64_t, 4> block, crop;
  if (Error error = readBlocks(c, block, crop))
    return error;
  auto x = c.shape(0);
  int64_t area = block[0] * block[1];
  if (x[0].isConst() && x[0].value() % area != 0)
    return c.fail("batch {0} does not divide into blocks of {1} x {2}", x[0].str(), block[0],
                  block[1]);
  Shape shape{floordiv(x[0], area), x[1]};
  for (int i : {0, 1}) {
    Dim size = x[2 + i] * block[i] - crop[2 * i] - crop[2 * i + 1];
    if (size.isConst() && size.value() < 1)
      return c.fail("crops leave nothing of spatial dimension {0}", i);
    shape.push_back(size);
  }
  return c.result(c.dtype(0), shape);
}

} // namespace plait::mil::infer
