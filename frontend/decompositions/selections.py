"""What a run-time mask selects: the operators that give such a selection, and those that make a fixed size of one.

A selection is its source and the mask over the first axes of that.
"""

from typing import List, Optional, Tuple

import torch
from torch import Tensor


# ---- Selecting ----


# The coordinates of all elements along each axis.
def coordinates_of(self, x: Tensor) -> List[Tensor]:
    found: List[Tensor] = []
    for d in range(x.dim()):
        shape = [1] * x.dim()
        shape[d] = -1
        found.append(torch.arange(x.size(d)).reshape(shape).expand(x.shape))
    return found


# aten::nonzero aten::argwhere
def nonzero(self, x: Tensor) -> Tensor:
    if x.dim() == 0:
        raise AssertionError("the positions in a tensor of rank 0, of which there is one or none; compare it instead")
    return torch.index(torch.stack(self.coordinates_of(x), -1), [x != 0])


# aten::nonzero_numpy aten::where
def nonzero_numpy(self, x: Tensor) -> List[Tensor]:
    if x.dim() == 0:
        raise AssertionError("the positions in a tensor of rank 0, of which there is one or none; compare it instead")
    mask = x != 0
    found: List[Tensor] = []
    for positions in self.coordinates_of(x):
        found.append(torch.index(positions, [mask]))
    return found


# aten::masked_select
def masked_select(self, x: Tensor, mask: Tensor) -> Tensor:
    both = torch.broadcast_tensors([x, mask])
    return torch.index(both[0].flatten(), [both[1].flatten() != 0])


def unique_sorted(self, x: Tensor, order: Tensor, back: List[int]) -> Tuple[Tensor, Tensor, Tensor]:
    n = x.size(0)
    first = torch.cat([torch.ones([1], dtype=11), x.narrow(0, 1, n - 1) != x.narrow(0, 0, n - 1)], 0)
    group = torch.cumsum(first.to(4), 0) - 1
    inverse = torch.scatter(torch.zeros_like(group), 0, order, group).reshape(back)
    sizes = torch.scatter_add(torch.zeros_like(group), 0, group, torch.ones_like(group))
    return torch.index(x, [first]), inverse, torch.index(torch.gather(sizes, 0, group), [first])


# aten::_unique2
def unique2(self, x: Tensor, sorted: bool, return_inverse: bool, return_counts: bool) -> Tuple[Tensor, Tensor, Tensor]:
    ordered, order = torch.sort(x.flatten())
    return self.unique_sorted(ordered, order, x.shape)


# aten::unique_consecutive
def unique_consecutive(self, x: Tensor, return_inverse: bool, return_counts: bool, dim: Optional[int]) -> Tuple[Tensor, Tensor, Tensor]:
    if dim is not None:
        raise AssertionError("unique slices along a dimension; whether two are equal takes a comparison of all their elements")
    flat = x.flatten()
    return self.unique_sorted(flat, torch.arange(flat.size(0)), x.shape)


# ---- Reducing ----


# The mask with the source's rank.
def over(self, x: Tensor, mask: Tensor) -> Tensor:
    return mask.reshape(mask.shape + [1] * (x.dim() - mask.dim())).expand(x.shape)


# The axes of the source that axes of the selection stand for: those of the mask for the first one.
def selected_axes(self, x: Tensor, mask: Tensor, dim: Optional[List[int]]) -> List[int]:
    rank = x.dim() - mask.dim() + 1
    axes: List[int] = []
    joins = False
    if dim is None or len(dim) == 0:
        return [i for i in range(x.dim())]
    for d in dim:
        axis = d + rank if d < 0 else d
        if axis == 0:
            joins = True
            for i in range(mask.dim()):
                axes.append(i)
        else:
            axes.append(axis + mask.dim() - 1)
    if not joins:
        raise AssertionError("the number of rows that remain depends on the data; reduce them too, or choose by torch.where")
    return axes


# The lengths 1 of a reduced selection's axes, where they are kept.
def kept(self, result: Tensor, mask: Tensor, keepdim: bool) -> Tensor:
    if keepdim:
        for _ in range(mask.dim() - 1):
            result = result.squeeze(0)
    return result


def selected_total(self, x: Tensor, mask: Tensor) -> Tensor:
    width = 1
    for d in range(mask.dim(), x.dim()):
        width *= x.size(d)
    return mask.sum() * width


# selected aten::sum
def selected_sum(self, x: Tensor, mask: Tensor, dtype: Optional[int]) -> Tensor:
    return torch.where(self.over(x, mask), x, torch.zeros_like(x)).sum(dtype=dtype)


# selected aten::sum.dim_IntList
def selected_sum_dim(self, x: Tensor, mask: Tensor, dim: Optional[List[int]], keepdim: bool, dtype: Optional[int]) -> Tensor:
    axes = self.selected_axes(x, mask, dim)
    return self.kept(torch.where(self.over(x, mask), x, torch.zeros_like(x)).sum(axes, keepdim, dtype=dtype), mask, keepdim)


# selected aten::mean
def selected_mean(self, x: Tensor, mask: Tensor, dtype: Optional[int]) -> Tensor:
    return self.selected_sum(x, mask, dtype) / self.selected_total(x, mask)


# selected aten::mean.dim
def selected_mean_dim(self, x: Tensor, mask: Tensor, dim: Optional[List[int]], keepdim: bool, dtype: Optional[int]) -> Tensor:
    axes = self.selected_axes(x, mask, dim)
    count = self.over(x, mask).sum(axes, keepdim)
    result = torch.where(self.over(x, mask), x, torch.zeros_like(x)).sum(axes, keepdim, dtype=dtype) / count
    return self.kept(result, mask, keepdim)


# The elements with another value where the mask is not set.
def filled(self, x: Tensor, mask: Tensor, least: bool) -> Tensor:
    if x.is_floating_point():
        return torch.where(self.over(x, mask), x, float("-inf") if least else float("inf"))
    return torch.where(self.over(x, mask), x, -2147483648 if least else 2147483647)


# selected aten::max
def selected_max(self, x: Tensor, mask: Tensor) -> Tensor:
    return self.filled(x, mask, True).max()


# selected aten::min
def selected_min(self, x: Tensor, mask: Tensor) -> Tensor:
    return self.filled(x, mask, False).min()


# selected aten::amax
def selected_amax(self, x: Tensor, mask: Tensor, dim: List[int], keepdim: bool) -> Tensor:
    return self.kept(self.filled(x, mask, True).amax(self.selected_axes(x, mask, dim), keepdim), mask, keepdim)


# selected aten::amin
def selected_amin(self, x: Tensor, mask: Tensor, dim: List[int], keepdim: bool) -> Tensor:
    return self.kept(self.filled(x, mask, False).amin(self.selected_axes(x, mask, dim), keepdim), mask, keepdim)


# selected aten::prod
def selected_prod(self, x: Tensor, mask: Tensor, dtype: Optional[int]) -> Tensor:
    return torch.where(self.over(x, mask), x, torch.ones_like(x)).prod(dtype=dtype)


# selected aten::any
def selected_any(self, x: Tensor, mask: Tensor) -> Tensor:
    return ((x != 0) & self.over(x, mask)).any()


# selected aten::all
def selected_all(self, x: Tensor, mask: Tensor) -> Tensor:
    return ((x != 0) | torch.logical_not(self.over(x, mask))).all()


# selected aten::count_nonzero
def selected_count_nonzero(self, x: Tensor, mask: Tensor, dim: Optional[int]) -> Tensor:
    if dim is not None:
        raise AssertionError("counted along a dimension; sum the comparison with 0 along it")
    return ((x != 0) & self.over(x, mask)).sum()


def selected_moments(self, x: Tensor, mask: Tensor, correction: float) -> Tuple[Tensor, Tensor]:
    mean = self.selected_mean(x, mask, None)
    total = self.selected_total(x, mask)
    return self.selected_sum(torch.square(x - mean), mask, None) / (total - correction), mean


# selected aten::var
def selected_var(self, x: Tensor, mask: Tensor, unbiased: bool) -> Tensor:
    return self.selected_moments(x, mask, 1.0 if unbiased else 0.0)[0]


# selected aten::std
def selected_std(self, x: Tensor, mask: Tensor, unbiased: bool) -> Tensor:
    return torch.sqrt(self.selected_var(x, mask, unbiased))


# selected aten::norm.Scalar
def selected_norm(self, x: Tensor, mask: Tensor, p: number) -> Tensor:
    return torch.linalg_vector_norm(torch.where(self.over(x, mask), x, torch.zeros_like(x)), p)


# selected aten::masked_scatter
# By a mask that selects the rows of the source, each goes back to where it came from.
def selected_masked_scatter(self, x: Tensor, where: Tensor, source: Tensor, mask: Tensor) -> Tensor:
    return torch.where(where, source.to(x.dtype), x)


# selected aten::index_put
def selected_index_put(self, x: Tensor, indices: List[Optional[Tensor]], source: Tensor, mask: Tensor, accumulate: bool) -> Tensor:
    source = source.to(x.dtype)
    return torch.where(self.over(x, mask), x + source if accumulate else source, x)
