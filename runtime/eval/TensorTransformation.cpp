// Operations that rearrange elements.
#include "runtime/eval/Eval.h"

namespace plait::runtime {

using namespace mil;
namespace {

Results evalExpandDims(EvalContext &c) {
  at::Tensor x = c.raw(expand_dims::x);
  int64_t rank = x.dim() + int64_t(c.ints(expand_dims::axes).size());
  for (int64_t axis : c.axes(expand_dims::axes, rank))
    x = x.unsqueeze(axis);
  return x;
}

Results evalSqueeze(EvalContext &c) {
  at::Tensor x = c.raw(squeeze::x);
  if (!c.has(squeeze::axes))
    return x.squeeze();
  std::vector<int64_t> axes = c.axes(squeeze::axes, x.dim());
  for (auto axis = axes.rbegin(); axis != axes.rend(); ++axis) {
    TORCH_CHECK(x.size(*axis) == 1, "axis ", *axis, " has size ", x.size(*axis), ", not 1");
    x = x.squeeze(*axis);
  }
  return x;
}

/// 0 copies the dimension of x at the same place from the right, -1 takes what is left.
Results evalReshape(EvalContext &c) {
  at::Tensor x = c.raw(reshape::x);
  std::vector<int64_t> shape = c.ints(reshape::shape);
  for (size_t i = 0; i < shape.size(); ++i)
    if (shape[i] == 0 && x.numel() != 0) {
      int64_t axis = x.dim() - int64_t(shape.size()) + int64_t(i);
      shape[i] = axis < 0 ? 1 : x.size(axis);
    }
  return x.reshape(shape);
}

Results evalReshapeLike(EvalContext &c) {
  namespace r = reshape_like;
  std::vector<at::Tensor> references = c.raws(r::ref_tensors), begins = c.raws(r::begins),
                          ends = c.raws(r::ends), masks = c.raws(r::end_masks);
  TORCH_CHECK(references.size() == begins.size() && begins.size() == ends.size() &&
                  ends.size() == masks.size(),
              "ref_tensors, begins, ends and end_masks differ in length");
  std::vector<int64_t> shape;
  for (size_t i = 0; i < references.size(); ++i) {
    int64_t rank = references[i].dim();
    auto bound = [&](const at::Tensor &t) {
      int64_t value = t.item().toLong();
      return std::clamp<int64_t>(value < 0 ? value + rank : value, 0, rank);
    };
    int64_t end = masks[i].item().toBool() ? rank : bound(ends[i]);
    for (int64_t axis = bound(begins[i]); axis < end; ++axis)
      shape.push_back(references[i].size(axis));
  }
  return c.raw(r::x).reshape(shape);
}

Results evalReverse(EvalContext &c) {
  at::Tensor x = c.raw(reverse::x);
  return x.flip(c.axes(reverse::axes, x.dim()));
}

/// The first lengths[i] elements along seq_axis reversed, for each i along batch_axis.
Results evalReverseSequence(EvalContext &c) {
  namespace rs = reverse_sequence;
  at::Tensor x = c.raw(rs::x);
  int64_t sequence = c.axis(rs::seq_axis, x.dim(), 0), batch = c.axis(rs::batch_axis, x.dim(), 0);
  std::vector<int64_t> lengths = c.ints(rs::lengths, size_t(x.size(batch)), 0);
  at::Tensor result = x.clone(at::MemoryFormat::Contiguous);
  TORCH_CHECK(sequence != batch, "seq_axis and batch_axis are both ", batch);
  // Selecting the batch axis moves the axes behind it one to the left.
  int64_t inner = sequence > batch ? sequence - 1 : sequence;
  for (int64_t i = 0; i < x.size(batch); ++i) {
    TORCH_CHECK(lengths[i] >= 0 && lengths[i] <= x.size(sequence), "length ", lengths[i],
                " is out of range for size ", x.size(sequence));
    result.select(batch, i)
        .slice(inner, 0, lengths[i])
        .copy_(x.select(batch, i).slice(inner, 0, lengths[i]).flip(inner));
  }
  return result;
}

/// Windows of `size` elements at every `stride`: the axis becomes [windows, size].
Results evalSlidingWindows(EvalContext &c) {
  namespace sw = sliding_windows;
  at::Tensor x = c.raw(sw::x);
  int64_t axis = c.axis(sw::axis, x.dim(), 0);
  return x.unfold(axis, c.integer(sw::size), c.integer(sw::stride, 1)).movedim(-1, axis + 1);
}

Results evalTranspose(EvalContext &c) {
  return c.raw(transpose::x).permute(c.ints(transpose::perm));
}

/// Channels are [block row, block column, channel]: [n, b b c, h, w] -> [n, c, h b, w b].
Results evalDepthToSpace(EvalContext &c) {
  at::Tensor x = c.raw(depth_to_space::x);
  int64_t b = c.integer(depth_to_space::block_size);
  int64_t n = x.size(0), channels = x.size(1) / (b * b), h = x.size(2), w = x.size(3);
  return x.reshape({n, b, b, channels, h, w})
      .permute({0, 3, 4, 1, 5, 2})
      .reshape({n, channels, h * b, w * b});
}

Results evalSpaceToDepth(EvalContext &c) {
  at::Tensor x = c.raw(space_to_depth::x);
  int64_t b = c.integer(space_to_depth::block_size);
  int64_t n = x.size(0), channels = x.size(1), h = x.size(2) / b, w = x.size(3) / b;
  return x.reshape({n, channels, h, b, w, b})
      .permute({0, 3, 5, 1, 2, 4})
      .reshape({n, channels * b * b, h, w});
}

/// [n, c, h, w] padded, then cut into blocks: batch [block row, block column, n].
Results evalSpaceToBatch(EvalContext &c) {
  namespace s = space_to_batch;
  std::vector<int64_t> block = c.ints(s::block_shape), p = c.ints(s::paddings);
  TORCH_CHECK(block.size() == 2 && p.size() == 4, "block_shape has ", block.size(),
              " elements and paddings ", p.size());
  at::Tensor x = at::constant_pad_nd(c.raw(s::x), {p[2], p[3], p[0], p[1]}, 0);
  int64_t n = x.size(0), channels = x.size(1), h = x.size(2) / block[0], w = x.size(3) / block[1];
  return x.reshape({n, channels, h, block[0], w, block[1]})
      .permute({3, 5, 0, 1, 2, 4})
      .reshape({block[0] * block[1] * n, channels, h, w});
}

Results evalBatchToSpace(EvalContext &c) {
  namespace s = batch_to_space;
  at::Tensor x = c.raw(s::x);
  std::vector<int64_t> block = c.ints(s::block_shape), p = c.ints(s::crops);
  TORCH_CHECK(block.size() == 2 && p.size() == 4, "block_shape has ", block.size(),
              " elements and crops ", p.size());
  int64_t n = x.size(0) / (block[0] * block[1]), channels = x.size(1), h = x.size(2), w = x.size(3);
  at::Tensor joined = x.reshape({block[0], block[1], n, channels, h, w})
                          .permute({2, 3, 4, 0, 5, 1})
                          .reshape({n, channels, h * block[0], w * block[1]});
  return joined.slice(2, p[0], joined.size(2) - p[1]).slice(3, p[2], joined.size(3) - p[3]);
}

Results evalPixelShuffle(EvalContext &c) {
  return at::pixel_shuffle(c.raw(pixel_shuffle::x), c.integer(pixel_shuffle::upscale_factor));
}

Results evalPixelUnshuffle(EvalContext &c) {
  return at::pixel_unshuffle(c.raw(pixel_unshuffle::x),
                             c.integer(pixel_unshuffle::downscale_factor));
}

} // namespace

void registerTensorTransformations(Registry &r) {
  r.add(OpKind::batch_to_space, evalBatchToSpace);
  r.add(OpKind::depth_to_space, evalDepthToSpace);
  r.add(OpKind::expand_dims, evalExpandDims);
  r.add(OpKind::pixel_shuffle, evalPixelShuffle);
  r.add(OpKind::pixel_unshuffle, evalPixelUnshuffle);
  r.add(OpKind::reshape, evalReshape);
  r.add(OpKind::reshape_like, evalReshapeLike);
  r.add(OpKind::reverse, evalReverse);
  r.add(OpKind::reverse_sequence, evalReverseSequence);
  r.add(OpKind::sliding_windows, evalSlidingWindows);
  r.add(OpKind::space_to_batch, evalSpaceToBatch);
  r.add(OpKind::space_to_depth, evalSpaceToDepth);
  r.add(OpKind::squeeze, evalSqueeze);
  r.add(OpKind::transpose, evalTranspose);
}

} // namespace plait::runtime
