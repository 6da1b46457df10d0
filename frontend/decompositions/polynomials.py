"""Orthogonal polynomials of a degree that is known, by their recurrences: Abramowitz and Stegun, "Handbook of Mathematical Functions"
(1964), table 22.7.
"""

from typing import List

import torch
from torch import Tensor


# From p(0) = 1 and p(1): kind 0 is p(k + 1) = 2 x p(k) - p(k - 1), 1 Hermite's H, 2 Hermite's He, 3 Laguerre's, 4 Legendre's.
def orthogonal(self, x: Tensor, degree: number, first: Tensor, kind: int) -> Tensor:
    n = int(degree)
    one = torch.ones_like(first)
    if n < 0:
        return torch.zeros_like(first)
    if n == 0:
        return one
    before, now = one, first
    for k in range(1, n):
        if kind == 0:
            next = 2 * x * now - before
        elif kind == 1:
            next = 2 * x * now - 2 * k * before
        elif kind == 2:
            next = x * now - k * before
        elif kind == 3:
            next = ((2 * k + 1 - x) * now - k * before) / (k + 1.0)
        else:
            next = ((2 * k + 1) * x * now - k * before) / (k + 1.0)
        before, now = now, next
    return now


# aten::special_chebyshev_polynomial_t.n_scalar
def chebyshev_t(self, x: Tensor, n: number) -> Tensor:
    x = self.real_of(x)
    return self.orthogonal(x, n, x, 0)


# aten::special_chebyshev_polynomial_u.n_scalar
def chebyshev_u(self, x: Tensor, n: number) -> Tensor:
    x = self.real_of(x)
    return self.orthogonal(x, n, 2 * x, 0)


# aten::special_chebyshev_polynomial_v.n_scalar
def chebyshev_v(self, x: Tensor, n: number) -> Tensor:
    x = self.real_of(x)
    return self.orthogonal(x, n, 2 * x - 1, 0)


# aten::special_chebyshev_polynomial_w.n_scalar
def chebyshev_w(self, x: Tensor, n: number) -> Tensor:
    x = self.real_of(x)
    return self.orthogonal(x, n, 2 * x + 1, 0)


# aten::special_shifted_chebyshev_polynomial_t.n_scalar
def shifted_chebyshev_t(self, x: Tensor, n: number) -> Tensor:
    return self.chebyshev_t(2 * self.real_of(x) - 1, n)


# aten::special_shifted_chebyshev_polynomial_u.n_scalar
def shifted_chebyshev_u(self, x: Tensor, n: number) -> Tensor:
    return self.chebyshev_u(2 * self.real_of(x) - 1, n)


# aten::special_shifted_chebyshev_polynomial_v.n_scalar
def shifted_chebyshev_v(self, x: Tensor, n: number) -> Tensor:
    return self.chebyshev_v(2 * self.real_of(x) - 1, n)


# aten::special_shifted_chebyshev_polynomial_w.n_scalar
def shifted_chebyshev_w(self, x: Tensor, n: number) -> Tensor:
    return self.chebyshev_w(2 * self.real_of(x) - 1, n)


# aten::special_hermite_polynomial_h.n_scalar
def hermite_h(self, x: Tensor, n: number) -> Tensor:
    x = self.real_of(x)
    return self.orthogonal(x, n, 2 * x, 1)


# aten::special_hermite_polynomial_he.n_scalar
def hermite_he(self, x: Tensor, n: number) -> Tensor:
    x = self.real_of(x)
    return self.orthogonal(x, n, x, 2)


# aten::special_laguerre_polynomial_l.n_scalar
def laguerre_l(self, x: Tensor, n: number) -> Tensor:
    x = self.real_of(x)
    return self.orthogonal(x, n, 1 - x, 3)


# aten::special_legendre_polynomial_p.n_scalar
def legendre_p(self, x: Tensor, n: number) -> Tensor:
    x = self.real_of(x)
    return self.orthogonal(x, n, x, 4)
