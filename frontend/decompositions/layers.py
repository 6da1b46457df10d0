"""What layers of networks use: resampling, bags of embeddings, quantisation that is only pretended, rare forms of convolutions."""

from typing import List, Optional, Tuple

import torch
from torch import Tensor


# ---- Resampling ----


# An antialiased resampling is linear and separable, so it is a product with a matrix for each axis: what it makes of the identity.
def resampled(self, x: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    if not x.is_floating_point():
        raise AssertionError("an image of integers; convert it to floating point first")
    return torch.matmul(torch.matmul(rows, x), columns.transpose(0, 1))


# aten::_upsample_bilinear2d_aa
def upsample_bilinear2d_aa(self, x: Tensor, output_size: List[int], align_corners: bool, scales_h: Optional[float],
                           scales_w: Optional[float]) -> Tensor:
    h, w = x.size(-2), x.size(-1)
    rows = torch._upsample_bilinear2d_aa(torch.eye(h).reshape([1, 1, h, h]), [output_size[0], h], align_corners, scales_h, None)
    columns = torch._upsample_bilinear2d_aa(torch.eye(w).reshape([1, 1, w, w]), [output_size[1], w], align_corners, scales_w, None)
    return self.resampled(x, rows.reshape([-1, h]), columns.reshape([-1, w]))


# aten::_upsample_bicubic2d_aa
def upsample_bicubic2d_aa(self, x: Tensor, output_size: List[int], align_corners: bool, scales_h: Optional[float],
                          scales_w: Optional[float]) -> Tensor:
    h, w = x.size(-2), x.size(-1)
    rows = torch._upsample_bicubic2d_aa(torch.eye(h).reshape([1, 1, h, h]), [output_size[0], h], align_corners, scales_h, None)
    columns = torch._upsample_bicubic2d_aa(torch.eye(w).reshape([1, 1, w, w]), [output_size[1], w], align_corners, scales_w, None)
    return self.resampled(x, rows.reshape([-1, h]), columns.reshape([-1, w]))


def resample_sizes(self, x: Tensor, output_size: Optional[List[int]], scale_factors: Optional[List[float]]) -> List[int]:
    if output_size is not None:
        return output_size
    if scale_factors is None:
        raise AssertionError("neither a size nor factors are given")
    return [int(float(x.size(-2)) * scale_factors[0]), int(float(x.size(-1)) * scale_factors[1])]


# aten::_upsample_bilinear2d_aa.vec
def upsample_bilinear2d_aa_vec(self, x: Tensor, output_size: Optional[List[int]], align_corners: bool,
                               scale_factors: Optional[List[float]]) -> Tensor:
    sizes = self.resample_sizes(x, output_size, scale_factors)
    if scale_factors is None:
        return self.upsample_bilinear2d_aa(x, sizes, align_corners, None, None)
    return self.upsample_bilinear2d_aa(x, sizes, align_corners, scale_factors[0], scale_factors[1])


# aten::_upsample_bicubic2d_aa.vec
def upsample_bicubic2d_aa_vec(self, x: Tensor, output_size: Optional[List[int]], align_corners: bool,
                              scale_factors: Optional[List[float]]) -> Tensor:
    sizes = self.resample_sizes(x, output_size, scale_factors)
    if scale_factors is None:
        return self.upsample_bicubic2d_aa(x, sizes, align_corners, None, None)
    return self.upsample_bicubic2d_aa(x, sizes, align_corners, scale_factors[0], scale_factors[1])


# A position among n elements, brought into range as `padding` says: 0 zeros, 1 border, 2 reflection.
def padded_position(self, position: Tensor, n: int, padding: int, align: bool) -> Tensor:
    if padding == 2:
        low = 0.0 if align else -0.5
        span = float(n - 1) if align else float(n)
        if span == 0:
            return torch.zeros_like(position)
        offset = torch.remainder((position - low).abs(), 2 * span)
        position = torch.where(offset > span, 2 * span - offset, offset) + low
    if padding != 0:
        position = position.clamp(0.0, float(n - 1))
    return position


# A coordinate of [-1, 1] as a position among n elements.
def plain_position(self, x: Tensor, n: int, align: bool) -> Tensor:
    return (x + 1) * ((n - 1) / 2.0) if align else ((x + 1) * float(n) - 1) / 2


def grid_position(self, x: Tensor, n: int, padding: int, align: bool) -> Tensor:
    return self.padded_position(self.plain_position(x, n, align), n, padding, align)


# The values at whole positions, zeros outside: [batch, channels, points].
def grid_values(self, x: Tensor, i: Tensor, j: Tensor, k: Tensor) -> Tensor:
    d, h, w = x.size(2), x.size(3), x.size(4)
    inside = (i >= 0) & (i < d) & (j >= 0) & (j < h) & (k >= 0) & (k < w)
    index = (i.clamp(0.0, d - 1.0) * h + j.clamp(0.0, h - 1.0)) * w + k.clamp(0.0, w - 1.0)
    index = index.to(4).unsqueeze(1).expand([-1, x.size(1), -1])
    values = torch.gather(x.flatten(2), 2, index)
    return torch.where(inside.unsqueeze(1), values, 0.0)


# aten::grid_sampler_3d
def grid_sampler_3d(self, x: Tensor, grid: Tensor, interpolation_mode: int, padding_mode: int, align_corners: bool) -> Tensor:
    points = grid.flatten(1, 3)
    k = self.grid_position(points.select(-1, 0), x.size(4), padding_mode, align_corners)
    j = self.grid_position(points.select(-1, 1), x.size(3), padding_mode, align_corners)
    i = self.grid_position(points.select(-1, 2), x.size(2), padding_mode, align_corners)
    shape = [x.size(0), x.size(1), grid.size(1), grid.size(2), grid.size(3)]
    if interpolation_mode == 1:
        return self.grid_values(x, torch.round(i), torch.round(j), torch.round(k)).reshape(shape)
    if interpolation_mode != 0:
        raise AssertionError("volumes are sampled bilinear or nearest")
    a, b, c = torch.floor(i), torch.floor(j), torch.floor(k)
    p, q, r = (i - a).unsqueeze(1), (j - b).unsqueeze(1), (k - c).unsqueeze(1)
    planes: List[Tensor] = []
    for da in range(2):
        rows: List[Tensor] = []
        for db in range(2):
            near = self.grid_values(x, a + da, b + db, c)
            far = self.grid_values(x, a + da, b + db, c + 1)
            rows.append(near + (far - near) * r)
        planes.append(rows[0] + (rows[1] - rows[0]) * q)
    return (planes[0] + (planes[1] - planes[0]) * p).reshape(shape)


# What a position that is t behind the second of four elements takes of each, by the cubic whose slope parameter is -0.75.
def cubic_shares(self, t: Tensor) -> List[Tensor]:
    shares: List[Tensor] = []
    for x in [t + 1, t, 1 - t, 2 - t]:
        near = (1.25 * x - 2.25) * x * x + 1
        far = ((-0.75 * x + 3.75) * x - 6) * x + 3
        shares.append(near if 0 < len(shares) and len(shares) < 3 else far)
    return shares


# aten::_grid_sampler_2d_cpu_fallback
def grid_sampler_2d(self, x: Tensor, grid: Tensor, interpolation_mode: int, padding_mode: int, align_corners: bool) -> Tensor:
    if interpolation_mode != 2:
        return torch.grid_sampler(x, grid, interpolation_mode, padding_mode, align_corners)
    height, width = x.size(2), x.size(3)
    points = grid.flatten(1, 2)
    at_k, at_j = self.plain_position(points.select(-1, 0), width, align_corners), self.plain_position(points.select(-1, 1), height, align_corners)
    first_k, first_j = torch.floor(at_k), torch.floor(at_j)
    shares_k, shares_j = self.cubic_shares((at_k - first_k).unsqueeze(1)), self.cubic_shares((at_j - first_j).unsqueeze(1))
    image, plane = x.unsqueeze(2), torch.zeros_like(at_k)
    columns: List[Tensor] = []
    for b in range(4):
        columns.append(self.padded_position(first_k + (b - 1), width, padding_mode, align_corners))
    result = torch.zeros([1])
    for a in range(4):
        row = self.padded_position(first_j + (a - 1), height, padding_mode, align_corners)
        along = torch.zeros([1])
        for b in range(4):
            along = along + self.grid_values(image, plane, row, columns[b]) * shares_k[b]
        result = result + along * shares_j[a]
    return result.reshape([x.size(0), x.size(1), grid.size(1), grid.size(2)])


# aten::max_unpool3d
def max_unpool3d(self, x: Tensor, indices: Tensor, output_size: List[int], stride: List[int], padding: List[int]) -> Tensor:
    d, h, w = output_size[0], output_size[1], output_size[2]
    flat = torch.zeros(x.shape[:-3] + [d * h * w], dtype=x.dtype)
    return torch.scatter(flat, -1, indices.flatten(-3), x.flatten(-3)).unflatten(-1, [d, h, w])


# ---- Embeddings ----


def bag_of(self, weight: Tensor, indices: Tensor, offsets: Tensor, mode: int, per_sample_weights: Optional[Tensor],
           include_last_offset: bool, padding_idx: int) -> Tuple[Tensor, Tensor, Tensor, Tensor]:
    bags = offsets.size(0) - 1 if include_last_offset else offsets.size(0)
    begins = offsets.narrow(0, 0, bags)
    position = torch.arange(indices.size(0))
    bag = (begins.unsqueeze(0) <= position.unsqueeze(1)).to(4).sum([1]) - 1
    belongs = bag.unsqueeze(0) == torch.arange(bags).unsqueeze(1)
    if padding_idx >= 0:
        belongs = belongs & (indices != padding_idx).unsqueeze(0)
    rows = torch.index_select(weight, 0, indices)
    counts = belongs.to(4).sum([1])
    if mode == 2:
        spread = torch.where(belongs.unsqueeze(2), rows.unsqueeze(0), float("-inf"))
        filled = (counts > 0).unsqueeze(1)
        return torch.where(filled, spread.amax([1]), 0.0), bag, counts, spread.argmax(1)
    if per_sample_weights is not None:
        rows = rows * per_sample_weights.unsqueeze(1)
    sums = torch.matmul(belongs.to(rows.dtype), rows)
    if mode == 1:
        sums = sums / counts.clamp_min(1).to(rows.dtype).unsqueeze(1)
    return sums, bag, counts, counts


# aten::_embedding_bag aten::_embedding_bag_forward_only
def embedding_bag_inner(self, weight: Tensor, indices: Tensor, offsets: Tensor, scale_grad_by_freq: bool, mode: int, sparse: bool,
                        per_sample_weights: Optional[Tensor], include_last_offset: bool,
                        padding_idx: int) -> Tuple[Tensor, Tensor, Tensor, Tensor]:
    return self.bag_of(weight, indices, offsets, mode, per_sample_weights, include_last_offset, padding_idx)


# aten::embedding_bag.padding_idx
def embedding_bag_padding(self, weight: Tensor, indices: Tensor, offsets: Tensor, scale_grad_by_freq: bool, mode: int, sparse: bool,
                          per_sample_weights: Optional[Tensor], include_last_offset: bool,
                          padding_idx: Optional[int]) -> Tuple[Tensor, Tensor, Tensor, Tensor]:
    padding = -1 if padding_idx is None else padding_idx
    if padding_idx is not None and padding < 0:
        padding += weight.size(0)
    return self.bag_of(weight, indices, offsets, mode, per_sample_weights, include_last_offset, padding)


# aten::index_reduce
def index_reduce(self, x: Tensor, dim: int, index: Tensor, source: Tensor, reduce: str, include_self: bool) -> Tensor:
    shape = [1] * source.dim()
    shape[dim] = -1
    return torch.scatter_reduce(x, dim, index.reshape(shape).expand(source.shape), source, reduce, include_self=include_self)


# ---- Pretended quantisation ----


# aten::fake_quantize_per_tensor_affine
def fake_quantize_tensor(self, x: Tensor, scale: float, zero_point: int, quant_min: int, quant_max: int) -> Tensor:
    if scale == 0:
        return torch.zeros_like(x)
    steps = torch.round(x * (1.0 / scale)) + zero_point
    return (steps.clamp(quant_min, quant_max) - zero_point) * scale


# aten::fake_quantize_per_tensor_affine.tensor_qparams
def fake_quantize_qparams(self, x: Tensor, scale: Tensor, zero_point: Tensor, quant_min: int, quant_max: int) -> Tensor:
    zero = torch.trunc(zero_point.to(x.dtype))
    steps = torch.round(x * torch.reciprocal(scale)) + zero
    return (steps.clamp(quant_min, quant_max) - zero) * scale


# aten::fake_quantize_per_channel_affine
def fake_quantize_channel(self, x: Tensor, scale: Tensor, zero_point: Tensor, axis: int, quant_min: int, quant_max: int) -> Tensor:
    shape = [1] * x.dim()
    shape[axis] = -1
    scale, zero = scale.reshape(shape), zero_point.reshape(shape)
    # A zero point between two steps is kept: it is rounded with the steps.
    if zero.is_floating_point():
        steps = torch.round(x * torch.reciprocal(scale) + zero)
        return (steps.clamp(quant_min, quant_max) - zero) * scale
    return self.fake_quantize_qparams(x, scale, zero, quant_min, quant_max)


# ---- Other forms of other operators ----


# aten::conv_tbc
def conv_tbc(self, x: Tensor, weight: Tensor, bias: Tensor, pad: int) -> Tensor:
    result = torch.conv1d(x.permute([1, 2, 0]), weight.permute([2, 1, 0]), bias, [1], [pad])
    return result.permute([2, 0, 1])


# aten::thnn_conv2d aten::_slow_conv2d_forward
def thnn_conv2d(self, x: Tensor, weight: Tensor, kernel_size: List[int], bias: Optional[Tensor], stride: List[int],
                padding: List[int]) -> Tensor:
    return torch.conv2d(x, weight, bias, stride, padding)


# aten::slow_conv3d aten::slow_conv3d_forward
def slow_conv3d(self, x: Tensor, weight: Tensor, kernel_size: List[int], bias: Optional[Tensor], stride: List[int],
                padding: List[int]) -> Tensor:
    return torch.conv3d(x, weight, bias, stride, padding)


# aten::slow_conv_dilated2d
def slow_conv_dilated2d(self, x: Tensor, weight: Tensor, kernel_size: List[int], bias: Optional[Tensor], stride: List[int],
                        padding: List[int], dilation: List[int]) -> Tensor:
    return torch.conv2d(x, weight, bias, stride, padding, dilation)


# aten::slow_conv_dilated3d
def slow_conv_dilated3d(self, x: Tensor, weight: Tensor, kernel_size: List[int], bias: Optional[Tensor], stride: List[int],
                        padding: List[int], dilation: List[int]) -> Tensor:
    return torch.conv3d(x, weight, bias, stride, padding, dilation)


# aten::slow_conv_transpose2d
def slow_conv_transpose2d(self, x: Tensor, weight: Tensor, kernel_size: List[int], bias: Optional[Tensor], stride: List[int],
                          padding: List[int], output_padding: List[int], dilation: List[int]) -> Tensor:
    return torch.conv_transpose2d(x, weight, bias, stride, padding, output_padding, 1, dilation)


# aten::slow_conv_transpose3d
def slow_conv_transpose3d(self, x: Tensor, weight: Tensor, kernel_size: List[int], bias: Optional[Tensor], stride: List[int],
                          padding: List[int], output_padding: List[int], dilation: List[int]) -> Tensor:
    return torch.conv_transpose3d(x, weight, bias, stride, padding, output_padding, 1, dilation)


# Which of n positions belong to each group, [groups, n]: group g has those from offsets[g - 1] to offsets[g].
def positions_of_groups(self, offsets: Tensor, n: int) -> Tensor:
    ends = offsets.unsqueeze(1)
    begins = torch.cat([torch.zeros_like(ends[:1]), ends[:-1]], 0)
    positions = torch.arange(n).unsqueeze(0)
    return torch.logical_and(positions >= begins, positions < ends)


# aten::_grouped_mm
# A product for each group, where run-time offsets say where the groups of an axis end: of the rows of x (the experts of a mixture), of
# the axis that is summed over, or of the columns of the result. Sizes must not depend on numbers, so that every group takes all positions,
# and those of other groups are zero. What is behind the last offset is zero, where PyTorch leaves it as it was in memory.
def grouped_mm(self, x: Tensor, y: Tensor, offsets: Optional[Tensor], bias: Optional[Tensor], out_dtype: Optional[int]) -> Tensor:
    if bias is not None:
        raise AssertionError("a bias, which PyTorch takes no more than this; add it to the result")
    if offsets is None:
        return torch.matmul(x, y)
    if x.dim() == 2 and y.dim() == 3:
        own = self.positions_of_groups(offsets, x.size(0)).unsqueeze(2)
        return torch.matmul(torch.where(own, x.unsqueeze(0), 0.0), y).sum(0)
    if x.dim() == 2 and y.dim() == 2:
        own = self.positions_of_groups(offsets, x.size(1)).unsqueeze(1)
        return torch.matmul(torch.where(own, x.unsqueeze(0), 0.0), y)
    if x.dim() == 3 and y.dim() == 2:
        own = self.positions_of_groups(offsets, y.size(1)).unsqueeze(1)
        return torch.where(own, torch.matmul(x, y), 0.0).sum(0)
    raise AssertionError("offsets with two operands of rank 3, whose groups are their first axis; leave them out")


# aten::_trilinear
def trilinear(self, a: Tensor, b: Tensor, c: Tensor, expand1: List[int], expand2: List[int], expand3: List[int], sumdim: List[int],
              unroll_dim: int) -> Tensor:
    for d in expand1:
        a = a.unsqueeze(d)
    for d in expand2:
        b = b.unsqueeze(d)
    for d in expand3:
        c = c.unsqueeze(d)
    return (a * b * c).sum(sumdim)


# aten::_add_relu.Tensor
def add_relu(self, x: Tensor, y: Tensor, alpha: number) -> Tensor:
    return torch.relu(torch.add(x, y, alpha=alpha))


# aten::_add_relu.Scalar
def add_relu_scalar(self, x: Tensor, y: number, alpha: number) -> Tensor:
    return torch.relu(torch.add(x, y, alpha))


# aten::_addmm_activation
def addmm_activation(self, x: Tensor, a: Tensor, b: Tensor, beta: number, alpha: number, use_gelu: bool) -> Tensor:
    result = torch.addmm(x, a, b, beta=beta, alpha=alpha)
    return torch.gelu(result) if use_gelu else torch.relu(result)


# aten::_safe_softmax
# Zeros where all of a row is -inf.
def safe_softmax(self, x: Tensor, dim: int, dtype: Optional[int]) -> Tensor:
    if dtype is not None:
        x = x.to(dtype)
    return torch.where((x == float("-inf")).all(dim, True), 0.0, torch.softmax(x, dim))


# aten::norm_except_dim
def norm_except_dim(self, v: Tensor, pow: int, dim: int) -> Tensor:
    if dim == -1:
        return torch.linalg_vector_norm(v, pow)
    axes: List[int] = []
    for d in range(v.dim()):
        if d != dim and d != dim + v.dim():
            axes.append(d)
    if len(axes) == 0:
        return torch.linalg_vector_norm(v.unsqueeze(-1), pow, [-1])
    return torch.linalg_vector_norm(v, pow, axes, True)


# aten::pdist aten::_pdist_forward
# The rows' distances, each to those after it.
def pdist(self, x: Tensor, p: float) -> Tensor:
    n = x.size(0)
    if n < 2 or n > 1024:
        raise AssertionError("the distances of " + str(n) + " rows, and 2 to 1024 are done; take torch.cdist")
    pairs = torch.triu_indices(n, n, 1)
    a, b = torch.index_select(x, 0, pairs.select(0, 0)), torch.index_select(x, 0, pairs.select(0, 1))
    return torch.cdist(a.unsqueeze(1), b.unsqueeze(1), p).reshape([-1])


# aten::_cdist_forward
def cdist_forward(self, a: Tensor, b: Tensor, p: float, compute_mode: Optional[int]) -> Tensor:
    return torch.cdist(a, b, p, compute_mode)


# aten::_euclidean_dist
def euclidean_dist(self, a: Tensor, b: Tensor) -> Tensor:
    return torch.cdist(a, b, 2.0, 2)


# aten::allclose
def allclose(self, x: Tensor, y: Tensor, rtol: float, atol: float, equal_nan: bool) -> bool:
    return bool(torch.isclose(x, y, rtol, atol, equal_nan).all())
