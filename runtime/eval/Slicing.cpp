// slice_by_index, slice_by_size, slice_update, crop. Bounds are Python's: negative ones count from
// the end, those out of range are clipped; a mask means "to the end"; a squeezed axis is the one
// element at `begin`.
#include "runtime/eval/Eval.h"

namespace plait::runtime {

using namespace mil;
namespace {

/// The window of x that a slice names, axes of negative stride still ascending.
struct Slice {
  at::Tensor view;
  std::vector<int64_t> flipped;  ///< axes to reverse
  std::vector<int64_t> squeezed; ///< axes to drop, descending
};

// slice_update has its own parameter indices for the same bounds.
struct Bounds {
  std::vector<int64_t> begin, end, stride, beginMask, endMask, squeezeMask;
};

Slice slice(const at::Tensor &x, const Bounds &b) {
  Slice result{x, {}, {}};
  for (int64_t i = 0; i < x.dim(); ++i) {
    int64_t size = x.size(i), step = b.stride[i], begin = b.begin[i], end = b.end[i];
    TORCH_CHECK(step != 0, "the stride of axis ", i, " is 0");
    begin = begin < 0 ? begin + size : begin;
    end = end < 0 ? end + size : end;
    if (b.squeezeMask[i]) {
      TORCH_CHECK(begin >= 0 && begin < size, "index ", b.begin[i], " of axis ", i,
                  " is out of range for size ", size);
      result.view = result.view.slice(i, begin, begin + 1);
      result.squeezed.insert(result.squeezed.begin(), i);
      continue;
    }
    if (step > 0) {
      begin = b.beginMask[i] ? 0 : std::clamp<int64_t>(begin, 0, size);
      end = b.endMask[i] ? size : std::clamp<int64_t>(end, 0, size);
      result.view = result.view.slice(i, begin, std::max(begin, end), step);
      continue;
    }
    // Downwards from begin to the one before end.
    begin = b.beginMask[i] ? size - 1 : std::clamp<int64_t>(begin, -1, size - 1);
    end = b.endMask[i] ? -1 : std::clamp<int64_t>(end, -1, size - 1);
    int64_t count = begin > end ? (begin - end - step - 1) / -step : 0;
    int64_t last = begin + (count - 1) * step;
    result.view = count ? result.view.slice(i, last, begin + 1, -step) : result.view.slice(i, 0, 0);
    result.flipped.push_back(i);
  }
  return result;
}

template <typename P> Bounds bounds(EvalContext &c, size_t rank) {
  return {c.ints(P::begin, rank, 0),    c.ints(P::end, rank, 0),
          c.ints(P::stride, rank, 1),   c.ints(P::begin_mask, rank, 0),
          c.ints(P::end_mask, rank, 0), c.ints(P::squeeze_mask, rank, 0)};
}

struct ByIndex {
  enum {
    begin = slice_by_index::begin,
    end = slice_by_index::end,
    stride = slice_by_index::stride,
    begin_mask = slice_by_index::begin_mask,
    end_mask = slice_by_index::end_mask,
    squeeze_mask = slice_by_index::squeeze_mask
  };
};
struct Update {
  enum {
    begin = slice_update::begin,
    end = slice_update::end,
    stride = slice_update::stride,
    begin_mask = slice_update::begin_mask,
    end_mask = slice_update::end_mask,
    squeeze_mask = slice_update::squeeze_mask
  };
};

Results evalSliceByIndex(EvalContext &c) {
  at::Tensor x = c.raw(slice_by_index::x);
  Slice part = slice(x, bounds<ByIndex>(c, x.dim()));
  at::Tensor result = part.flipped.empty() ? part.view : part.view.flip(part.flipped);
  for (int64_t axis : part.squeezed)
    result = result.squeeze(axis);
  return result;
}

Results evalSliceUpdate(EvalContext &c) {
  at::Tensor x = c.raw(slice_update::x).clone(at::MemoryFormat::Contiguous);
  Slice part = slice(x, bounds<Update>(c, x.dim()));
  at::Tensor update = c.raw(slice_update::update);
  if (!part.squeezed.empty() && update.dim() != x.dim())
    for (auto axis = part.squeezed.rbegin(); axis != part.squeezed.rend(); ++axis)
      update = update.unsqueeze(*axis);
  TORCH_CHECK(update.numel() == part.view.numel(), "update of shape ", update.sizes(),
              " does not fill the slice of shape ", part.view.sizes());
  update = update.reshape(part.view.sizes());
  part.view.copy_(part.flipped.empty() ? update : update.flip(part.flipped));
  return x;
}

Results evalSliceBySize(EvalContext &c) {
  at::Tensor x = c.raw(slice_by_size::x);
  std::vector<int64_t> begin = c.ints(slice_by_size::begin, x.dim(), 0);
  std::vector<int64_t> size = c.ints(slice_by_size::size, x.dim(), 0);
  for (int64_t i = 0; i < x.dim(); ++i) {
    int64_t length = x.size(i), start = begin[i] < 0 ? begin[i] + length : begin[i];
    int64_t count = size[i] == -1 ? length - start : size[i];
    TORCH_CHECK(start >= 0 && count >= 0 && start + count <= length, "elements ", start, " to ",
                start + count, " of axis ", i, " are out of range for size ", length);
    x = x.slice(i, start, start + count);
  }
  return x;
}

Results evalCrop(EvalContext &c) {
  at::Tensor x = c.raw(crop::x);
  std::vector<int64_t> height = c.ints(crop::crop_height, 2, 0),
                       width = c.ints(crop::crop_width, 2, 0);
  return x.slice(-2, height[0], x.size(-2) - height[1]).slice(-1, width[0], x.size(-1) - width[1]);
}

} // namespace

void registerSlicing(Registry &r) {
  r.add(OpKind::crop, evalCrop);
  r.add(OpKind::slice_by_index, evalSliceByIndex);
  r.add(OpKind::slice_by_size, evalSliceBySize);
  r.add(OpKind::slice_update, evalSliceUpdate);
}

} // namespace plait::runtime
