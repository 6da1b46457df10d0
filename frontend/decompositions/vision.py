"""torchvision's operators on regions of feature maps. A region is a row of rois: the number of its image, x1, y1, x2, y2.

Sampling is bilinear on a grid that is a product of positions along either axis, so that it is a product of matrices: what each
bin takes of each row of the map, the map, and what it takes of each column. Sources: the kernels of torchvision, csrc/ops/cpu.
"""

from typing import List, Tuple

import torch
from torch import Tensor


# The map of each region, [regions, channels, height, width]; of a single image [1, …], which broadcasts.
def map_of_regions(self, x: Tensor, rois: Tensor) -> Tensor:
    if x.size(0) == 1:
        return x
    return torch.index_select(x, 0, rois.select(1, 0).to(4))


# What each position of `at`, [regions, bins, samples], takes of each along an axis of `size`. One that is outside by more than a whole
# position takes nothing, one by less the border.
def shares(self, at: Tensor, size: int) -> Tensor:
    inside = torch.logical_and(at >= -1.0, at <= size)
    near = at.clamp(0.0, size - 1.0).unsqueeze(-1) - torch.arange(size)
    return torch.where(inside.unsqueeze(-1), torch.relu(1.0 - torch.abs(near)), 0.0)


# What each bin takes of each position along an axis of `size`, [regions, bins, size]: the mean of `samples` positions in it.
def sampled(self, begin: Tensor, length: Tensor, bins: int, samples: int, size: int) -> Tensor:
    if samples <= 0:
        return self.sampled_by_length(begin, length, bins, size)
    within = (torch.arange(samples) + 0.5) / samples
    steps = (torch.arange(bins).unsqueeze(1) + within).unsqueeze(0)
    at = begin.reshape([-1, 1, 1]) + steps * (length / bins).reshape([-1, 1, 1])
    return self.shares(at, size).mean(2)


# The same with as many samples as a bin is long, rounded up. Only those count that are not outside: they are less than a position apart,
# by ever less the more there are, so that no bin has more than size + 4 of them; it begins with the first.
def sampled_by_length(self, begin: Tensor, length: Tensor, bins: int, size: int) -> Tensor:
    step = (length / bins).reshape([-1, 1, 1])
    samples = torch.ceil(step)
    apart = step / torch.clamp_min(samples, 1.0)
    start = begin.reshape([-1, 1, 1]) + torch.arange(bins).reshape([1, -1, 1]) * step
    first = torch.clamp_min(torch.floor((-1.0 - start) / torch.where(samples > 0, apart, 1.0) - 0.5), 0.0)
    number = first + torch.arange(size + 5).reshape([1, 1, -1])
    at = start + (number + 0.5) * apart
    taken = torch.where((number < samples).unsqueeze(-1), self.shares(at, size), 0.0)
    return taken.sum(2) / torch.clamp_min(samples, 1.0)


# torchvision::roi_align
def roi_align(self, x: Tensor, rois: Tensor, spatial_scale: float, pooled_height: int, pooled_width: int, sampling_ratio: int,
              aligned: bool) -> Tensor:
    corners = rois.narrow(1, 1, 4) * spatial_scale
    if aligned:
        corners = corners - 0.5
    left, top = corners.select(1, 0), corners.select(1, 1)
    width, height = corners.select(1, 2) - left, corners.select(1, 3) - top
    if not aligned:
        width, height = torch.clamp_min(width, 1.0), torch.clamp_min(height, 1.0)
    rows = self.sampled(top, height, pooled_height, sampling_ratio, x.size(2))
    columns = self.sampled(left, width, pooled_width, sampling_ratio, x.size(3))
    return torch.matmul(torch.matmul(rows.unsqueeze(1), self.map_of_regions(x, rois)), columns.unsqueeze(1).transpose(2, 3))


# Each bin has channels of its own: what it takes of rows and of columns, [regions, bins, size], on the map of its channels.
def position_sensitive(self, x: Tensor, rois: Tensor, rows: Tensor, columns: Tensor) -> Tuple[Tensor, Tensor]:
    height, width, bins = rows.size(1), columns.size(1), rows.size(1) * columns.size(1)
    if x.size(1) % bins != 0:
        raise AssertionError("a number of channels that the bins do not divide")
    channels, places = x.size(1) // bins, x.size(2) * x.size(3)
    weights = torch.matmul(rows.unsqueeze(2).unsqueeze(4), columns.unsqueeze(1).unsqueeze(3)).reshape([-1, bins, places])
    if x.size(0) == 1:
        own = x.reshape([channels, bins, places]).permute(1, 2, 0)
        y = torch.matmul(weights.transpose(0, 1), own).permute(1, 2, 0)
    else:
        own = self.map_of_regions(x, rois).reshape([-1, channels, bins, places])
        y = (weights.unsqueeze(1) * own).sum(3)
    mapping = torch.arange(x.size(1)).reshape([1, channels, height, width]).expand([rois.size(0), -1, -1, -1])
    return y.reshape([-1, channels, height, width]), mapping.to(3)


# torchvision::ps_roi_align
def ps_roi_align(self, x: Tensor, rois: Tensor, spatial_scale: float, pooled_height: int, pooled_width: int,
                 sampling_ratio: int) -> Tuple[Tensor, Tensor]:
    corners = rois.narrow(1, 1, 4) * spatial_scale - 0.5
    left, top = corners.select(1, 0), corners.select(1, 1)
    rows = self.sampled(top, corners.select(1, 3) - top, pooled_height, sampling_ratio, x.size(2))
    columns = self.sampled(left, corners.select(1, 2) - left, pooled_width, sampling_ratio, x.size(3))
    return self.position_sensitive(x, rois, rows, columns)


# Halves away from zero, as C's round.
def rounded(self, x: Tensor) -> Tensor:
    return torch.sign(x) * torch.floor(torch.abs(x) + 0.5)


# The first position of each bin and the one behind its last, [regions, bins, 1], within [0, last].
def edges_of_bins(self, begin: Tensor, length: Tensor, bins: int, last: int) -> Tuple[Tensor, Tensor]:
    step = (length / bins).unsqueeze(1)
    bin = torch.arange(bins).unsqueeze(0)
    low = torch.floor(bin * step) + begin.unsqueeze(1)
    high = torch.ceil((bin + 1) * step) + begin.unsqueeze(1)
    return low.clamp(0.0, last).unsqueeze(-1), high.clamp(0.0, last).unsqueeze(-1)


# The same as what a mean takes of each position.
def averaged(self, begin: Tensor, end: Tensor, bins: int, size: int) -> Tensor:
    low, high = self.edges_of_bins(begin, torch.clamp_min(end - begin, 1.0), bins, size - 1)
    at = torch.arange(size)
    inside = torch.logical_and(at >= low, at < high)
    return torch.where(inside, 1.0 / torch.clamp_min(high - low, 1.0), 0.0)


# Which positions along an axis of `size` each bin has, [regions, bins, size].
def covered(self, begin: Tensor, end: Tensor, bins: int, size: int) -> Tensor:
    low, high = self.edges_of_bins(begin, torch.clamp_min(end - begin + 1.0, 1.0), bins, size)
    at = torch.arange(size)
    return torch.logical_and(at >= low, at < high)


# torchvision::roi_pool
# The largest element of each bin, by rows and then by columns; and where in the map it is first, -1 of bins that have none.
def roi_pool(self, x: Tensor, rois: Tensor, spatial_scale: float, pooled_height: int, pooled_width: int) -> Tuple[Tensor, Tensor]:
    corners = self.rounded(rois.narrow(1, 1, 4) * spatial_scale)
    rows = self.covered(corners.select(1, 1), corners.select(1, 3), pooled_height, x.size(2))
    columns = self.covered(corners.select(1, 0), corners.select(1, 2), pooled_width, x.size(3))
    map = self.map_of_regions(x, rois)
    of_rows: List[Tensor] = []
    for i in range(pooled_height):
        inside = rows.select(1, i).reshape([-1, 1, x.size(2), 1])
        of_rows.append(torch.where(inside, map, float("-inf")).amax([2]))
    tall = torch.stack(of_rows, 2)
    of_bins: List[Tensor] = []
    for j in range(pooled_width):
        inside = columns.select(1, j).reshape([-1, 1, 1, x.size(3)])
        of_bins.append(torch.where(inside, tall, float("-inf")).amax([3]))
    most = torch.stack(of_bins, 3)
    none = x.size(2) * x.size(3)
    number = torch.arange(none).reshape([x.size(2), x.size(3)])
    places: List[Tensor] = []
    for i in range(pooled_height):
        for j in range(pooled_width):
            inside = torch.logical_and(rows.select(1, i).unsqueeze(2), columns.select(1, j).unsqueeze(1)).unsqueeze(1)
            first = torch.logical_and(inside, map == most.select(2, i).select(2, j).unsqueeze(2).unsqueeze(3))
            places.append(torch.where(first, number, none).amin([2, 3]))
    place = torch.stack(places, 2).reshape([-1, x.size(1), pooled_height, pooled_width])
    filled = torch.logical_and(rows.any(2).unsqueeze(2), columns.any(2).unsqueeze(1)).unsqueeze(1)
    return torch.where(filled, most, 0.0), torch.where(filled, place, -1).to(3)


# torchvision::ps_roi_pool
def ps_roi_pool(self, x: Tensor, rois: Tensor, spatial_scale: float, pooled_height: int, pooled_width: int) -> Tuple[Tensor, Tensor]:
    corners = self.rounded(rois.narrow(1, 1, 4) * spatial_scale)
    rows = self.averaged(corners.select(1, 1), corners.select(1, 3), pooled_height, x.size(2))
    columns = self.averaged(corners.select(1, 0), corners.select(1, 2), pooled_width, x.size(3))
    return self.position_sensitive(x, rois, rows, columns)


# torchvision::deform_conv2d
# Each position of the kernel samples the input where the offsets say, zero outside of it.
def deform_conv2d(self, x: Tensor, weight: Tensor, offset: Tensor, mask: Tensor, bias: Tensor, stride_h: int, stride_w: int, pad_h: int,
                  pad_w: int, dilation_h: int, dilation_w: int, groups: int, offset_groups: int, use_mask: bool) -> Tensor:
    rows, columns, taps = weight.size(2), weight.size(3), weight.size(2) * weight.size(3)
    out_h, out_w = offset.size(2), offset.size(3)
    shifts = offset.reshape([x.size(0), offset_groups, taps, 2, out_h * out_w])
    tap = torch.arange(taps)
    top = torch.div(tap, columns, rounding_mode="floor") * dilation_h - pad_h
    left = torch.remainder(tap, columns) * dilation_w - pad_w
    at_h = top.unsqueeze(1) + (torch.arange(out_h) * stride_h).unsqueeze(1).expand([-1, out_w]).reshape([1, -1])
    at_w = left.unsqueeze(1) + (torch.arange(out_w) * stride_w).unsqueeze(0).expand([out_h, -1]).reshape([1, -1])
    width = x.size(1) // offset_groups
    sampled: List[Tensor] = []
    for group in range(offset_groups):
        own = shifts.select(1, group)
        y = (own.select(2, 0) + at_h) * (2.0 / x.size(2)) + (1.0 / x.size(2) - 1.0)
        z = (own.select(2, 1) + at_w) * (2.0 / x.size(3)) + (1.0 / x.size(3) - 1.0)
        taken = torch.grid_sampler(x.narrow(1, group * width, width), torch.stack([z, y], -1), 0, 0, False)
        if use_mask:
            taken = taken * mask.narrow(1, group * taps, taps).reshape([x.size(0), 1, taps, out_h * out_w])
        sampled.append(taken)
    patches = torch.cat(sampled, 1).reshape([x.size(0), groups, -1, out_h * out_w])
    kernel = weight.reshape([1, groups, weight.size(0) // groups, -1])
    return torch.matmul(kernel, patches).reshape([x.size(0), -1, out_h, out_w]) + bias.reshape([1, -1, 1, 1])
