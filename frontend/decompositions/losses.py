"""Losses: their definitions in LibTorch's documentation. A reduction is 0 none, 1 mean, 2 sum."""

from typing import Optional, Tuple

import torch
from torch import Tensor


def loss_reduce(self, x: Tensor, reduction: int) -> Tensor:
    if reduction == 1:
        return x.mean()
    if reduction == 2:
        return x.sum()
    return x


# The loss of each element and its weight; classes are axis 1, or axis 0 of a vector.
def nll_terms(self, x: Tensor, target: Tensor, weight: Optional[Tensor], ignore_index: int) -> Tuple[Tensor, Tensor]:
    axis = 0 if x.dim() == 1 else 1
    kept = target != ignore_index
    index = torch.where(kept, target, torch.zeros_like(target))
    picked = torch.gather(x, axis, index.unsqueeze(axis)).squeeze(axis)
    factors = kept.to(x.dtype)
    if weight is not None:
        factors = factors * torch.take(weight, index)
    return torch.where(kept, -picked, torch.zeros_like(picked)) * factors, factors


def nll_both(self, x: Tensor, target: Tensor, weight: Optional[Tensor], reduction: int, ignore_index: int) -> Tuple[Tensor, Tensor]:
    losses, factors = self.nll_terms(x, target, weight, ignore_index)
    total = factors.sum()
    if reduction == 1:
        return losses.sum() / total, total
    if reduction == 2:
        return losses.sum(), total
    # Of one row LibTorch gives the weight, of a batch that is not reduced 0.
    return losses, total if x.dim() == 1 else torch.zeros_like(total)


# aten::nll_loss aten::nll_loss2d aten::nll_loss_nd
def nll_loss(self, x: Tensor, target: Tensor, weight: Optional[Tensor], reduction: int, ignore_index: int) -> Tensor:
    return self.nll_both(x, target, weight, reduction, ignore_index)[0]


# aten::nll_loss_forward aten::nll_loss2d_forward
def nll_loss_forward(self, x: Tensor, target: Tensor, weight: Optional[Tensor], reduction: int, ignore_index: int) -> Tuple[Tensor, Tensor]:
    return self.nll_both(x, target, weight, reduction, ignore_index)


# aten::cross_entropy_loss
def cross_entropy_loss(self, x: Tensor, target: Tensor, weight: Optional[Tensor], reduction: int, ignore_index: int,
                       label_smoothing: float) -> Tensor:
    axis = 0 if x.dim() == 1 else 1
    classes = x.size(axis)
    logs = torch.log_softmax(x, axis)
    shape = [1] * x.dim()
    shape[axis] = classes
    if x.dim() == target.dim() and target.is_floating_point():
        if label_smoothing > 0:
            target = target * (1 - label_smoothing) + label_smoothing / classes
        terms = logs * target
        if weight is not None:
            terms = terms * weight.reshape(shape)
        losses = -terms.sum([axis])
        if reduction == 1:
            return losses.sum() / (x.numel() // classes)
        return self.loss_reduce(losses, reduction)
    losses, factors = self.nll_terms(logs, target, weight, ignore_index)
    if label_smoothing > 0:
        spread = logs if weight is None else logs * weight.reshape(shape)
        smooth = torch.where(target != ignore_index, -spread.sum([axis]), torch.zeros_like(losses))
        losses = losses * (1 - label_smoothing) + smooth * (label_smoothing / classes)
    if reduction == 1:
        return losses.sum() / factors.sum()
    return self.loss_reduce(losses, reduction)


# aten::kl_div
def kl_div(self, x: Tensor, target: Tensor, reduction: int, log_target: bool) -> Tensor:
    if log_target:
        return self.loss_reduce(torch.exp(target) * (target - x), reduction)
    return self.loss_reduce(torch.xlogy(target, target) - target * x, reduction)


# aten::cosine_embedding_loss
def cosine_embedding_loss(self, a: Tensor, b: Tensor, target: Tensor, margin: float, reduction: int) -> Tensor:
    axis = target.dim()
    epsilon = 1e-12
    product = (a * b).sum([axis])
    cosine = product / torch.sqrt(((a * a).sum([axis]) + epsilon) * ((b * b).sum([axis]) + epsilon))
    zeros = torch.zeros_like(cosine)
    apart = torch.where(target == -1, (cosine - margin).clamp_min(0.0), zeros)
    return self.loss_reduce(torch.where(target == 1, 1 - cosine, zeros) + apart, reduction)


# aten::hinge_embedding_loss
def hinge_embedding_loss(self, x: Tensor, target: Tensor, margin: float, reduction: int) -> Tensor:
    if not x.is_floating_point():
        raise AssertionError("distances of integers; convert them to floating point first")
    zeros = torch.zeros_like(x)
    apart = torch.where(target != 1, (margin - x).clamp_min(0.0), zeros)
    return self.loss_reduce(apart + torch.where(target != -1, x, zeros), reduction)


# aten::margin_ranking_loss
def margin_ranking_loss(self, a: Tensor, b: Tensor, target: Tensor, margin: float, reduction: int) -> Tensor:
    return self.loss_reduce((margin - target * (a - b)).clamp_min(0.0), reduction)


# aten::soft_margin_loss
def soft_margin_loss(self, x: Tensor, target: Tensor, reduction: int) -> Tensor:
    return self.loss_reduce(torch.log1p(torch.exp(-x * target)), reduction)


# aten::poisson_nll_loss
def poisson_nll_loss(self, x: Tensor, target: Tensor, log_input: bool, full: bool, eps: float, reduction: int) -> Tensor:
    losses = torch.exp(x) - target * x if log_input else x - target * torch.log(x + eps)
    if full:
        # Stirling's approximation of the factorial's logarithm.
        stirling = target * torch.log(target) - target + 0.5 * torch.log(6.283185307179586 * target)
        losses = losses + torch.where(target <= 1, torch.zeros_like(stirling), stirling)
    return self.loss_reduce(losses, reduction)


# aten::multi_margin_loss
def multi_margin_loss(self, x: Tensor, target: Tensor, p: number, margin: number, weight: Optional[Tensor], reduction: int) -> Tensor:
    rows = x.unsqueeze(0) if x.dim() == 1 else x
    index = target.reshape([-1, 1])
    classes = rows.size(1)
    own = torch.gather(rows, 1, index)
    terms = torch.pow((rows - own + margin).clamp_min(0.0), p)
    if weight is not None:
        terms = terms * torch.take(weight, index)
    others = torch.arange(classes).unsqueeze(0) != index
    losses = torch.where(others, terms, torch.zeros_like(terms)).sum([1]) / classes
    if target.dim() == 0:
        losses = losses.squeeze(0)
    return self.loss_reduce(losses, reduction)


# aten::multilabel_margin_loss_forward
def multilabel_margin_loss_forward(self, x: Tensor, target: Tensor, reduction: int) -> Tuple[Tensor, Tensor]:
    rows = x.unsqueeze(0) if x.dim() == 1 else x
    labels = target.unsqueeze(0) if target.dim() == 1 else target
    classes = rows.size(1)
    # What stands before the first -1 is a class.
    valid = torch.cumsum((labels < 0).to(3), 1) == 0
    index = torch.where(valid, labels, torch.zeros_like(labels))
    same = (index.unsqueeze(2) == torch.arange(classes)) & valid.unsqueeze(2)
    isTarget = same.any(1)
    own = torch.gather(rows, 1, index)
    terms = (1.0 - (own.unsqueeze(2) - rows.unsqueeze(1))).clamp_min(0.0)
    counted = valid.unsqueeze(2) & torch.logical_not(isTarget).unsqueeze(1)
    losses = torch.where(counted, terms, torch.zeros_like(terms)).sum([1, 2]) / classes
    if x.dim() == 1:
        losses = losses.squeeze(0)
        isTarget = isTarget.squeeze(0)
    return self.loss_reduce(losses, reduction), isTarget.to(x.dtype)


# aten::multilabel_margin_loss
def multilabel_margin_loss(self, x: Tensor, target: Tensor, reduction: int) -> Tensor:
    return self.multilabel_margin_loss_forward(x, target, reduction)[0]


def pairwise_norm(self, a: Tensor, b: Tensor, p: float, eps: float) -> Tensor:
    return torch.linalg_vector_norm(a - b + eps, p, [-1])


# aten::triplet_margin_loss
def triplet_margin_loss(self, anchor: Tensor, positive: Tensor, negative: Tensor, margin: float, p: float, eps: float, swap: bool,
                        reduction: int) -> Tensor:
    near, far = self.pairwise_norm(anchor, positive, p, eps), self.pairwise_norm(anchor, negative, p, eps)
    if swap:
        far = torch.minimum(far, self.pairwise_norm(positive, negative, p, eps))
    return self.loss_reduce((margin + near - far).clamp_min(0.0), reduction)
