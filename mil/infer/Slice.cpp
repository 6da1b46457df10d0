// Shape functions of slices.
#include "mil/infer/Shapes.h"

namespace plait::mil::infer {

namespace {
/// One dimension of a slice as slice_by_index states it. `begin` and `end` are absent where they
/// are computed; a mask makes them the natural ends.
struct Range {
  std::optional<Dim> begin, end;
  bool beginMask, endMask;
  int64_t stride;
};

/// A bound brought into [0, size] or, for negative strides, [-1, size - 1].
Dim clampBound(const Dim &bound, const Dim &size, int64_t low) {
  Dim b = bound.isConst() && bound.value() < 0 ? bound + size : bound;
  return min(max(b, Dim(low)), size + low);
}

Dim slicedSize(const Range &r, const Dim &size) {
  int64_t stride = r.stride, step = std::abs(stride);
  if (r.beginMask && r.endMask)
    return ceildiv(size, step);
  bool begins = r.begin && r.begin->isConst(), ends = r.end && r.end->isConst();
  // One element whatever the size: [b, b + 1), [-1, end), [0, end) backwards. An index out of
  // range counts as in range here, as it does in Core ML's own type check.
  if (!r.beginMask && !r.endMask && begins && ends) {
    int64_t b = r.begin->value(), e = r.end->value(), count = -1;
    if (b >= 0 && e >= b && stride > 0)
      count = (e - b + step - 1) / step;
    else if (b < 0 && e < 0 && b >= e && stride < 0)
      count = (b - e + step - 1) / step;
    if (count == 0 || count == 1)
      return count;
  }
  if (!r.beginMask && r.endMask && begins &&
      ((r.begin->value() == 0 && stride < 0) || (r.begin->value() == -1 && stride > 0)))
    return 1;
  if (size == Dim(1))
    return 1;
  if ((!r.beginMask && !r.begin) || (!r.endMask && !r.end))
    return Dim::unknown();
  // Symbolic bounds of unknown sign cannot be told from offsets from the end.
  auto usable = [](const Dim &d) { return d.isConst() || d.lower() >= 0; };
  if ((!r.beginMask && !usable(*r.begin)) || (!r.endMask && !usable(*r.end)))
    return Dim::unknown();
  int64_t low = stride > 0 ? 0 : -1;
  Dim first = r.beginMask ? (stride > 0 ? Dim(0) : size - 1) : clampBound(*r.begin, size, low);
  Dim last = r.endMask ? (stride > 0 ? size : Dim(-1)) : clampBound(*r.end, size, low);
  Dim span = stride > 0 ? last - first : first - last;
  return max(Dim(0), ceildiv(span, step));
}
} // namespace

Expected<Shape> sliceShape(const InferContext &c, unsigned beginParam) {
  const OpInfo &row = c.op().info();
  auto param = [&](const char *name) { return *row.findParam(name); };
  auto x = c.shape(param("x"));
  size_t rank = x.size();
  auto begin = c.dims(beginParam), end = c.dims(param("end"));
  auto stride = c.constInts(param("stride"));
  auto beginMask = c.constInts(param("begin_mask")), endMask = c.constInts(param("end_mask")),
       squeezeMask = c.constInts(param("squeeze_mask"));
  auto lengthOf = [&](unsigned index) -> Dim {
    return c.rank(index) == 1 ? c.shape(index)[0] : Dim(-1);
  };
  for (const char *name : {"begin", "end", "stride", "begin_mask", "end_mask", "squeeze_mask"})
    if (c.has(param(name)) && !maybeEqual(lengthOf(param(name)), int64_t(rank)))
      return c.fail("{0} has shape {1} for x of rank {2}", name, str(c.shape(param(name))), rank);
  Shape shape;
  for (size_t i = 0; i < rank; ++i) {
    if (squeezeMask && (*squeezeMask)[i])
      continue;
    Range r{begin ? std::optional((*begin)[i]) : std::nullopt,
            end ? std::optional((*end)[i]) : std::nullopt, beginMask && (*beginMask)[i],
            endMask && (*endMask)[i], stride ? (*stride)[i] : 1};
    if (r.stride == 0)
      return c.fail("the stride of dimension {0} is 0", i);
    if (!r.beginMask && !r.endMask && r.begin && r.end && r.begin->isConst() && r.end->isConst()) {
      int64_t b = r.begin->value(), e = r.end->value();
      if ((b >= 0 && e >= 0 && r.stride > 0 && e < b) || (b < 0 && e < 0 && r.stride < 0 && b < e))
        return c.fail("dimension {0} has begin {1} and end {2} with stride {3}", i, b, e, r.stride);
    }
    shape.push_back(slicedSize(r, x[i]));
  }
  return shape;
}

Error sliceByIndex(InferContext &c) {
  auto shape = sliceShape(c, slice_by_index::begin);
  if (!shape)
    return shape.takeError();
  return c.result(c.dtype(slice_by_index::x), *shape);
}

Error sliceUpdate(InferContext &c) {
  auto shape = sliceShape(c, slice_update::begin);
  if (!shape)
    return shape.takeError();
  auto update = c.shape(slice_update::update);
  if (!maybeEqual(*shape, update))
    return c.fail("update has shape {0}; the slice has {1}", str(update), str(*shape));
  if (update.empty())
    return c.fail("update is a scalar; slice without squeeze_mask");
  return c.result(c.type(slice_update::x));
}

Error sliceBySize(InferContext &c) {
  auto x = c.shape(slice_by_size::x);
  for (unsigned param : {slice_by_size::begin, slice_by_size::size})
    if (c.rank(param) != 1 || !maybeEqual(c.shape(param)[0], int64_t(x.size())))
      return c.fail("{0} has shape {1} for x of rank {2}", c.op().info().params[param].name,
                    str(c.shape(param)), x.size());
  auto begin = c.dims(slice_by_size::begin), size = c.dims(slice_by_size::size);
  if (!size)
    return c.result(c.dtype(slice_by_size::x), unknownDims(x.size()));
  Shape shape;
  for (size_t i = 0; i < x.size(); ++i) {
    Dim d = (*size)[i];
    if (d == Dim(-1)) {
      bool known =
          begin && ((*begin)[i].isConst() ? (*begin)[i].value() >= 0 : (*begin)[i].lower() >= 0);
      d = known ? x[i] - (*begin)[i] : Dim::unknown();
    }
    if (d.isConst() && (d.value() < 0 || (x[i].isConst() && d.value() > x[i].value())))
      return c.fail("dimension {0} of {1} elements gives no slice of {2}", i, x[i].str(), d.str());
    shape.push_back(d);
  }
  return c.result(c.dtype(slice_by_size::x), shape);
}

} // namespace plait::mil::infer
