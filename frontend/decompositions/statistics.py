"""Statistics of fixed size: sorted order, counts, covariance."""

from typing import List, Optional, Tuple

import torch
from torch import Tensor


# Linear interpolation between order statistics, Hyndman and Fan's type 7 ("Sample Quantiles in Statistical Packages", 1996).
def quantile_of(self, x: Tensor, q: Tensor, dim: Optional[int], keepdim: bool, interpolation: str, skipNan: bool) -> Tensor:
    if dim is None:
        rows = x.flatten()
    else:
        rows = torch.movedim(x, dim, -1) if x.dim() > 0 else x.flatten()
    count = rows.size(-1)
    nan = torch.isnan(rows)
    ordered = torch.sort(torch.where(nan, float("inf"), rows), -1)[0]
    points = q.reshape([-1])
    if skipNan:
        valid = torch.logical_not(nan).sum([-1], True)
        rank = points * (valid - 1).clamp_min(0).to(x.dtype)
    else:
        valid = nan.sum([-1], True)
        rank = points * float(count - 1)
        rank = rank.expand(rows.shape[:-1] + [points.size(0)])
    if interpolation == "lower":
        rank = torch.floor(rank)
    elif interpolation == "higher":
        rank = torch.ceil(rank)
    elif interpolation == "nearest":
        rank = torch.round(rank)
    elif interpolation != "linear" and interpolation != "midpoint":
        raise AssertionError("interpolation is '" + interpolation + "', and there are linear, lower, higher, midpoint and nearest")
    low = torch.floor(rank)
    below = torch.gather(ordered, -1, low.to(4))
    if interpolation == "linear" or interpolation == "midpoint":
        high = torch.ceil(rank)
        above = torch.gather(ordered, -1, high.to(4))
        weight = rank - low if interpolation == "linear" else torch.where(high > low, 0.5, 0.0).to(x.dtype)
        result = torch.where(weight > 0, below + (above - below) * weight, below)
    else:
        result = below
    missing = valid == 0 if skipNan else valid > 0
    result = torch.where(missing, float("nan"), result)
    # The quantiles come first.
    result = torch.movedim(result, -1, 0)
    if keepdim and x.dim() > 0:
        if dim is None:
            result = result.reshape([points.size(0)] + [1] * x.dim())
        else:
            result = result.unsqueeze(dim if dim < 0 else dim + 1)
    if q.dim() == 0:
        result = result.squeeze(0)
    return result


# aten::quantile
def quantile(self, x: Tensor, q: Tensor, dim: Optional[int], keepdim: bool, interpolation: str) -> Tensor:
    return self.quantile_of(x, q, dim, keepdim, interpolation, False)


# aten::nanquantile
def nanquantile(self, x: Tensor, q: Tensor, dim: Optional[int], keepdim: bool, interpolation: str) -> Tensor:
    return self.quantile_of(x, q, dim, keepdim, interpolation, True)


# aten::quantile.scalar
def quantile_scalar(self, x: Tensor, q: float, dim: Optional[int], keepdim: bool, interpolation: str) -> Tensor:
    return self.quantile_of(x, torch.scalar_tensor(q, dtype=x.dtype), dim, keepdim, interpolation, False)


# aten::nanquantile.scalar
def nanquantile_scalar(self, x: Tensor, q: float, dim: Optional[int], keepdim: bool, interpolation: str) -> Tensor:
    return self.quantile_of(x, torch.scalar_tensor(q, dtype=x.dtype), dim, keepdim, interpolation, True)


def nanmedian_of(self, x: Tensor, dim: int) -> Tuple[Tensor, Tensor]:
    nan = torch.isnan(x)
    ordered, order = torch.sort(torch.where(nan, float("inf"), x), dim)
    valid = torch.logical_not(nan).sum([dim], True)
    place = torch.floor_divide((valid - 1).clamp_min(0), 2)
    values = torch.gather(ordered, dim, place)
    return torch.where(valid == 0, float("nan"), values), torch.gather(order, dim, place)


# aten::nanmedian
def nanmedian(self, x: Tensor) -> Tensor:
    if not x.is_floating_point():
        return x.median()
    return self.nanmedian_of(x.flatten(), 0)[0].squeeze(0)


# aten::nanmedian.dim
def nanmedian_dim(self, x: Tensor, dim: int, keepdim: bool) -> Tuple[Tensor, Tensor]:
    if not x.is_floating_point() or x.dim() == 0:
        return torch.median(x, dim, keepdim)
    values, indices = self.nanmedian_of(x, dim)
    if not keepdim:
        values, indices = values.squeeze(dim), indices.squeeze(dim)
    return values, indices


# aten::mode
# The least of the values that occur most often, where it stands last.
def mode(self, x: Tensor, dim: int, keepdim: bool) -> Tuple[Tensor, Tensor]:
    if x.dim() == 0:
        return x.clone(), torch.zeros_like(x, dtype=4)
    rows = x.transpose(dim, -1)
    n = rows.size(-1)
    if n > 2048:
        raise AssertionError("the mode of " + str(n) + " values compares each with each other; take it of shorter pieces")
    counts = (rows.unsqueeze(-1) == rows.unsqueeze(-2)).to(3).sum([-1])
    often = counts == counts.amax([-1], True)
    values = torch.where(often, rows, rows.amax([-1], True)).amin([-1], True)
    order = torch.arange(n)
    last = torch.where(rows == values, order, -1).amax([-1], True)
    values, last = values.transpose(dim, -1), last.transpose(dim, -1)
    if not keepdim:
        values, last = values.squeeze(dim), last.squeeze(dim)
    return values, last


# The sum of weights for each of the bins that `place` names; -1 is none.
def counts_of(self, place: Tensor, bins: int, weight: Optional[Tensor], dtype: int) -> Tensor:
    hits = (place.flatten().unsqueeze(1) == torch.arange(bins)).to(dtype)
    if weight is None:
        return hits.sum([0])
    return (hits * weight.flatten().unsqueeze(1).to(dtype)).sum([0])


# aten::bincount
def bincount(self, x: Tensor, weights: Optional[Tensor], minlength: int) -> Tensor:
    if x.size(0) == 0:
        return torch.zeros([minlength], dtype=4)
    bins = int(torch.clamp_min(x.max() + 1, minlength))
    dtype = 4
    if weights is not None:
        dtype = weights.dtype if weights.is_floating_point() else 7
    return self.counts_of(x, bins, weights, dtype)


# The bin of each element among bins of one width from low to high; -1 outside.
def bins_of(self, x: Tensor, bins: int, low: Tensor, high: Tensor) -> Tensor:
    # One value alone is in the middle of a range of width 1 above and below.
    same = low == high
    low, high = torch.where(same, low - 1, low), torch.where(same, high + 1, high)
    place = torch.floor((x - low) / (high - low) * bins).to(4).clamp_max(bins - 1)
    return torch.where((x >= low) & (x <= high), place, -1)


# aten::histc
def histc(self, x: Tensor, bins: int, low: number, high: number) -> Tensor:
    lows, highs = torch.scalar_tensor(low, dtype=x.dtype), torch.scalar_tensor(high, dtype=x.dtype)
    if bool(lows == highs):
        lows, highs = x.min(), x.max()
    return self.counts_of(self.bins_of(x, bins, lows, highs), bins, None, x.dtype)


def histogram_density(self, counts: Tensor, edges: Tensor, density: bool) -> Tensor:
    if density:
        return counts / (counts.sum() * (edges.slice(0, 1, edges.size(0)) - edges.slice(0, 0, edges.size(0) - 1)))
    return counts


# aten::histogram.bins_tensor
def histogram_edges(self, x: Tensor, edges: Tensor, weight: Optional[Tensor], density: bool) -> Tuple[Tensor, Tensor]:
    bins = edges.size(0) - 1
    flat = x.flatten().unsqueeze(1)
    place = (flat >= edges).to(4).sum([1]) - 1
    place = torch.where(flat.squeeze(1) == edges[bins], bins - 1, place)
    place = torch.where(place < bins, place, -1)
    return self.histogram_density(self.counts_of(place, bins, weight, x.dtype), edges, density), edges


# aten::histogram.bin_ct
def histogram_count(self, x: Tensor, bins: int, range: Optional[List[float]], weight: Optional[Tensor], density: bool) -> Tuple[Tensor, Tensor]:
    if range is None:
        low, high = x.min(), x.max()
    else:
        low, high = torch.scalar_tensor(range[0], dtype=x.dtype), torch.scalar_tensor(range[1], dtype=x.dtype)
    same = low == high
    low, high = torch.where(same, low - 0.5, low), torch.where(same, high + 0.5, high)
    # As torch.linspace counts: from the nearer end.
    step = (high - low) / bins
    order = torch.arange(bins + 1)
    edges = torch.where(order < (bins + 1) // 2, low + step * order.to(x.dtype), high - step * (bins - order).to(x.dtype))
    return self.histogram_edges(x, edges, weight, density)


# aten::cov
def cov(self, x: Tensor, correction: int, fweights: Optional[Tensor], aweights: Optional[Tensor]) -> Tensor:
    rows = x.reshape([1, -1]) if x.dim() < 2 else x
    if not rows.is_floating_point():
        rows = rows.to(6)
    count = rows.size(1)
    if fweights is None and aweights is None:
        centred = rows - rows.mean([1], True)
        result = torch.matmul(centred, centred.t()) / max(count - correction, 0)
    else:
        weights = torch.ones([count], dtype=rows.dtype)
        if fweights is not None:
            weights = weights * fweights.to(rows.dtype)
        if aweights is not None:
            weights = weights * aweights.to(rows.dtype)
        total = weights.sum()
        mean = (rows * weights).sum([1], True) / total
        if aweights is None or correction == 0:
            factor = total - correction
        else:
            factor = total - correction * (weights * aweights).sum() / total
        centred = rows - mean
        result = torch.matmul(centred * weights, centred.t()) / factor.clamp_min(0)
    return result.squeeze()


# aten::corrcoef
def corrcoef(self, x: Tensor) -> Tensor:
    c = self.cov(x, 1, None, None)
    if c.dim() == 0:
        return c / c
    deviations = torch.sqrt(c.diagonal())
    return (c / deviations.unsqueeze(1) / deviations.unsqueeze(0)).clamp(-1, 1)


# aten::dist
def dist(self, x: Tensor, y: Tensor, p: number) -> Tensor:
    return torch.linalg_vector_norm(x - y, p)


# aten::_aminmax
def aminmax_all(self, x: Tensor) -> Tuple[Tensor, Tensor]:
    return x.amin(), x.amax()


# aten::_aminmax.dim
def aminmax_dim(self, x: Tensor, dim: int, keepdim: bool) -> Tuple[Tensor, Tensor]:
    return x.amin([dim], keepdim), x.amax([dim], keepdim)
