"""Operators that arrange elements, by joining, slicing and gathering."""

from typing import List, Optional, Tuple

import torch
from torch import Tensor


# aten::block_diag
def block_diag(self, tensors: List[Tensor]) -> Tensor:
    columns = 0
    for x in tensors:
        columns += x.size(-1) if x.dim() > 0 else 1
    rows: List[Tensor] = []
    before = 0
    for x in tensors:
        block = x.reshape([1, -1]) if x.dim() < 2 else x
        width = block.size(1)
        rows.append(torch.constant_pad_nd(block, [before, columns - before - width], 0))
        before += width
    return torch.cat(rows, 0)


# aten::cartesian_prod
def cartesian_prod(self, tensors: List[Tensor]) -> Tensor:
    if len(tensors) == 1:
        return tensors[0]
    total = 1
    for x in tensors:
        total *= x.size(0)
    columns: List[Tensor] = []
    inner = total
    outer = 1
    for x in tensors:
        n = x.size(0)
        inner = inner // n
        columns.append(x.reshape([1, n, 1]).expand([outer, n, inner]).reshape([total]))
        outer *= n
    return torch.stack(columns, 1)


# aten::combinations
def combinations(self, x: Tensor, r: int, with_replacement: bool) -> Tensor:
    n = x.size(0)
    if r == 0 or (n < r and not with_replacement):
        raise AssertionError("no combination of " + str(r) + " of " + str(n) + " elements, and Core ML has no empty tensors")
    # The rows of all r-tuples of positions that ascend.
    rows: List[List[int]] = [[i] for i in range(n)]
    for _ in range(r - 1):
        longer: List[List[int]] = []
        for row in rows:
            last = row[len(row) - 1]
            for i in range(last if with_replacement else last + 1, n):
                longer.append(row + [i])
        rows = longer
    flat: List[int] = []
    for row in rows:
        flat += row
    return torch.index_select(x, 0, torch.tensor(flat)).reshape([-1, r])


def vander_of(self, x: Tensor, n: int, increasing: bool) -> Tensor:
    powers = torch.arange(n) if increasing else torch.arange(n - 1, -1, -1)
    if not x.is_floating_point():
        return torch.pow(x.unsqueeze(-1), powers)
    # 0 to the power of 0 is 1.
    return torch.where(powers == 0, torch.ones_like(x).unsqueeze(-1), torch.pow(x.unsqueeze(-1), powers.to(x.dtype)))


# aten::vander
def vander(self, x: Tensor, n: Optional[int], increasing: bool) -> Tensor:
    return self.vander_of(x, x.size(0) if n is None else n, increasing)


# aten::linalg_vander
def linalg_vander(self, x: Tensor, n: Optional[int]) -> Tensor:
    if x.dim() == 0:
        x = x.unsqueeze(0)
    return self.vander_of(x, x.size(-1) if n is None else n, True)


# aten::diagflat
def diagflat(self, x: Tensor, offset: int) -> Tensor:
    return torch.diag(x.flatten(), offset)


# aten::linalg_diagonal
def linalg_diagonal(self, x: Tensor, offset: int, dim1: int, dim2: int) -> Tensor:
    return torch.diagonal(x, offset, dim1, dim2)


# aten::as_strided_copy
def as_strided_copy(self, x: Tensor, size: List[int], stride: List[int], storage_offset: Optional[int]) -> Tensor:
    return torch.as_strided(x, size, stride, storage_offset).clone()


# aten::pad_sequence
def pad_sequence(self, sequences: List[Tensor], batch_first: bool, padding_value: float, padding_side: str) -> Tensor:
    length = 0
    for x in sequences:
        length = max(length, x.size(0))
    rows: List[Tensor] = []
    for x in sequences:
        missing = length - x.size(0)
        pads = [0] * (2 * x.dim())
        if padding_side == "left":
            pads[len(pads) - 2] = missing
        else:
            pads[len(pads) - 1] = missing
        rows.append(torch.constant_pad_nd(x, pads, padding_value) if missing > 0 else x)
    return torch.stack(rows, 0 if batch_first else 1)


# aten::put
def put(self, x: Tensor, index: Tensor, source: Tensor, accumulate: bool) -> Tensor:
    flat = torch.index_put(x.reshape([-1]), [index.reshape([-1])], source.reshape([-1]), accumulate)
    return flat.reshape(x.shape)


# aten::renorm
def renorm(self, x: Tensor, p: number, dim: int, maxnorm: number) -> Tensor:
    axis = dim + x.dim() if dim < 0 else dim
    others: List[int] = []
    for d in range(x.dim()):
        if d != axis:
            others.append(d)
    norm = torch.linalg_vector_norm(x, p, others, True)
    return torch.where(norm > maxnorm, x * (torch.reciprocal(norm + 1e-7) * maxnorm), x)


# aten::sum_to_size
def sum_to_size(self, x: Tensor, size: List[int]) -> Tensor:
    missing = x.dim() - len(size)
    axes = [i for i in range(missing)]
    for i in range(len(size)):
        if size[i] == 1 and x.size(missing + i) != 1:
            axes.append(missing + i)
    if len(axes) > 0:
        x = x.sum(axes, True)
    return x.reshape(size)


# aten::unfold_copy
def unfold_copy(self, x: Tensor, dimension: int, size: int, step: int) -> Tensor:
    return x.unfold(dimension, size, step).clone()


# aten::flatten_dense_tensors
def flatten_dense_tensors(self, tensors: List[Tensor]) -> Tensor:
    flat: List[Tensor] = []
    for x in tensors:
        flat.append(x.reshape([-1]))
    return torch.cat(flat, 0)


# aten::unflatten_dense_tensors
def unflatten_dense_tensors(self, flat: Tensor, tensors: List[Tensor]) -> List[Tensor]:
    parts: List[Tensor] = []
    begin = 0
    for x in tensors:
        count = x.numel()
        parts.append(flat.narrow(0, begin, count).reshape(x.shape))
        begin += count
    return parts


# ---- Integrals and derivatives along an axis ----


def pairs_of(self, y: Tensor, dim: int) -> Tensor:
    n = y.size(dim)
    return y.narrow(dim, 1, n - 1) + y.narrow(dim, 0, n - 1)


# The points along y's axis: those of a vector lie on that axis, others broadcast with y.
def trapezoid_points(self, y: Tensor, x: Tensor, axis: int) -> Tensor:
    if x.dim() == 1:
        shape = [1] * y.dim()
        shape[axis] = -1
        return x.reshape(shape)
    if x.dim() < y.dim():
        return x.reshape([1] * (y.dim() - x.dim()) + x.size())
    return x


# aten::trapezoid.x aten::trapz.x
def trapezoid_x(self, y: Tensor, x: Tensor, dim: int) -> Tensor:
    axis = dim + y.dim() if dim < 0 else dim
    points = self.trapezoid_points(y, x, axis)
    if (y.size(axis) == 1 or points.size(axis) == 1) and points.dim() <= y.dim():
        return torch.zeros_like(y.select(axis, 0)) + torch.zeros_like(points.select(axis, 0))
    return (self.pairs_of(y, axis) * torch.diff(points, 1, axis)).sum([axis]) / 2.0


# aten::trapezoid.dx
def trapezoid_dx(self, y: Tensor, dx: number, dim: int) -> Tensor:
    if y.size(dim) == 1:
        return torch.zeros_like(y).sum([dim])
    return self.pairs_of(y, dim).sum([dim]) * dx / 2.0


# aten::trapz.dx
def trapz_dx(self, y: Tensor, dx: float, dim: int) -> Tensor:
    if y.size(dim) == 1:
        return torch.zeros_like(y).sum([dim])
    return self.pairs_of(y, dim).sum([dim]) * dx / 2.0


# aten::cumulative_trapezoid.x
def cumulative_trapezoid_x(self, y: Tensor, x: Tensor, dim: int) -> Tensor:
    axis = dim + y.dim() if dim < 0 else dim
    widths = torch.diff(self.trapezoid_points(y, x, axis), 1, axis)
    return torch.cumsum(self.pairs_of(y, axis) * widths, axis) / 2.0


# aten::cumulative_trapezoid.dx
def cumulative_trapezoid_dx(self, y: Tensor, dx: number, dim: int) -> Tensor:
    return torch.cumsum(self.pairs_of(y, dim), dim) * dx / 2.0


# Central differences; at the ends one-sided of the first or second order.
def gradient_even(self, x: Tensor, dim: int, step: float, edge_order: int) -> Tensor:
    n = x.size(dim)
    middle = (x.narrow(dim, 2, n - 2) - x.narrow(dim, 0, n - 2)) / (2 * step)
    a, b, y, z = x.narrow(dim, 0, 1), x.narrow(dim, 1, 1), x.narrow(dim, n - 2, 1), x.narrow(dim, n - 1, 1)
    if edge_order == 1:
        first, last = (b - a) / step, (z - y) / step
    else:
        c, w = x.narrow(dim, 2, 1), x.narrow(dim, n - 3, 1)
        first, last = (-1.5 * a + 2 * b - 0.5 * c) / step, (1.5 * z - 2 * y + 0.5 * w) / step
    return torch.cat([first, middle, last], dim)


def gradient_at(self, x: Tensor, dim: int, points: Tensor, edge_order: int) -> Tensor:
    n = x.size(dim)
    shape = [1] * x.dim()
    shape[dim] = -1
    h = torch.diff(points).reshape(shape)
    lower, upper = h.narrow(dim, 0, n - 2), h.narrow(dim, 1, n - 2)
    a = -upper / (lower * (lower + upper))
    b = (upper - lower) / (lower * upper)
    c = lower / (upper * (lower + upper))
    middle = a * x.narrow(dim, 0, n - 2) + b * x.narrow(dim, 1, n - 2) + c * x.narrow(dim, 2, n - 2)
    slopes = torch.diff(x, 1, dim) / h
    if edge_order == 1:
        first, last = slopes.narrow(dim, 0, 1), slopes.narrow(dim, n - 2, 1)
    else:
        h0, h1 = h.narrow(dim, 0, 1), h.narrow(dim, 1, 1)
        g0, g1 = h.narrow(dim, n - 3, 1), h.narrow(dim, n - 2, 1)
        first = (-(2 * h0 + h1) / (h0 * (h0 + h1)) * x.narrow(dim, 0, 1) + (h0 + h1) / (h0 * h1) * x.narrow(dim, 1, 1)
                 - h0 / (h1 * (h0 + h1)) * x.narrow(dim, 2, 1))
        last = (g1 / (g0 * (g0 + g1)) * x.narrow(dim, n - 3, 1) - (g0 + g1) / (g0 * g1) * x.narrow(dim, n - 2, 1)
                + (g0 + 2 * g1) / (g1 * (g0 + g1)) * x.narrow(dim, n - 1, 1))
    return torch.cat([first, middle, last], dim)


def gradient_axes(self, x: Tensor, dim: Optional[int]) -> List[int]:
    if dim is None:
        return [i for i in range(x.dim())]
    return [dim + x.dim() if dim < 0 else dim]


# aten::gradient.array
def gradient_array(self, x: Tensor, dim: List[int], edge_order: int) -> List[Tensor]:
    results: List[Tensor] = []
    for d in dim:
        results.append(self.gradient_even(x, d, 1.0, edge_order))
    return results


# aten::gradient.scalarint
def gradient_scalarint(self, x: Tensor, spacing: Optional[number], dim: Optional[int], edge_order: int) -> List[Tensor]:
    results: List[Tensor] = []
    for d in self.gradient_axes(x, dim):
        results.append(self.gradient_even(x, d, 1.0 if spacing is None else float(spacing), edge_order))
    return results


# aten::gradient.scalararray
def gradient_scalararray(self, x: Tensor, spacing: number, dim: List[int], edge_order: int) -> List[Tensor]:
    results: List[Tensor] = []
    for d in dim:
        results.append(self.gradient_even(x, d, float(spacing), edge_order))
    return results


# aten::gradient.tensorarrayint
def gradient_tensorarrayint(self, x: Tensor, spacing: List[Tensor], dim: Optional[int], edge_order: int) -> List[Tensor]:
    results: List[Tensor] = []
    axes = self.gradient_axes(x, dim)
    for i in range(len(axes)):
        results.append(self.gradient_at(x, axes[i], spacing[i], edge_order))
    return results


# aten::gradient.tensorarray
def gradient_tensorarray(self, x: Tensor, spacing: List[Tensor], dim: List[int], edge_order: int) -> List[Tensor]:
    results: List[Tensor] = []
    for i in range(len(dim)):
        axis = dim[i] + x.dim() if dim[i] < 0 else dim[i]
        results.append(self.gradient_at(x, axis, spacing[i], edge_order))
    return results
