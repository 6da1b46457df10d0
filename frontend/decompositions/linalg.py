"""Linear algebra of small matrices, whose sizes are known while compiling: the steps of each algorithm one after another.

Golub and Van Loan, "Matrix Computations" (4th edition, 2013), have all of them: 3.4.1 (elimination with partial pivoting), 4.2
(Cholesky), 5.2 (Householder's QR), 9.3 (the exponential by scaling and squaring).
"""

from typing import List, Optional, Tuple

import torch
from torch import Tensor


# The number of rows; refuses what would take too many operations.
def square_size(self, a: Tensor, most: int) -> int:
    n = a.size(-1)
    if a.size(-2) != n:
        raise AssertionError("a matrix of " + str(a.size(-2)) + " by " + str(n) + ", which is not square")
    if n > most:
        raise AssertionError("a matrix of " + str(n) + " by " + str(n) + " would take too many operations, and up to " + str(most) + " by "
                           + str(most) + " is done; compute it while the model is made, or outside of it")
    return n


# Gauss and Jordan's elimination of [a, b]: the solution of a x = b, and the determinant's sign and the logarithm of its size.
def eliminate(self, a: Tensor, b: Tensor) -> Tuple[Tensor, Tensor, Tensor]:
    n = self.square_size(a, 32)
    both = torch.cat([a, b], -1)
    width = both.size(-1)
    position = torch.arange(n)
    sign = torch.ones_like(a.select(-1, 0).select(-1, 0))
    size = torch.zeros_like(sign)
    for k in range(n):
        column = both.select(-1, k)
        # Rows above are done.
        candidates = torch.where(position >= k, column.abs(), -1.0)
        pivot = candidates.argmax(-1, True)
        isPivot = position == pivot
        row = (both * isPivot.unsqueeze(-1).to(both.dtype)).sum([-2], True)
        # What stands in row k goes where the pivot was.
        at = torch.narrow(both, -2, k, 1)
        both = torch.where(isPivot.unsqueeze(-1), at, both)
        value = row.select(-1, k).squeeze(-1)
        swapped = pivot.squeeze(-1) != k
        sign = sign * torch.sign(value) * torch.where(swapped, -1.0, 1.0)
        size = size + torch.log(value.abs())
        safe = torch.where(value == 0, 1.0, value)
        row = row / safe.unsqueeze(-1).unsqueeze(-1)
        factors = torch.where(position == k, 0.0, both.select(-1, k)).unsqueeze(-1)
        both = torch.where((position == k).unsqueeze(-1), row, both - factors * row)
    return both.narrow(-1, n, width - n), sign, size


# The product of the pivots: the determinant.
def determinant(self, a: Tensor) -> Tensor:
    n = self.square_size(a, 32)
    if n == 1:
        return a.select(-1, 0).select(-1, 0)
    if n == 2:
        return (a.select(-2, 0).select(-1, 0) * a.select(-2, 1).select(-1, 1)
                - a.select(-2, 0).select(-1, 1) * a.select(-2, 1).select(-1, 0))
    if n == 3:
        x, y, z = a.select(-2, 0), a.select(-2, 1), a.select(-2, 2)
        return (x * torch.cross(y, z, -1)).sum([-1])
    position = torch.arange(n)
    result = torch.ones_like(a.select(-1, 0).select(-1, 0))
    for k in range(n):
        column = a.select(-1, k)
        pivot = torch.where(position >= k, column.abs(), -1.0).argmax(-1, True)
        isPivot = position == pivot
        row = (a * isPivot.unsqueeze(-1).to(a.dtype)).sum([-2], True)
        a = torch.where(isPivot.unsqueeze(-1), torch.narrow(a, -2, k, 1), a)
        value = row.select(-1, k).squeeze(-1)
        result = result * value * torch.where(pivot.squeeze(-1) != k, -1.0, 1.0)
        safe = torch.where(value == 0, 1.0, value)
        factors = torch.where(position > k, a.select(-1, k), 0.0).unsqueeze(-1)
        a = a - factors * (row / safe.unsqueeze(-1).unsqueeze(-1))
    return result


# aten::linalg_det aten::det
def linalg_det(self, a: Tensor) -> Tensor:
    return self.determinant(a)


# aten::logdet
def logdet(self, a: Tensor) -> Tensor:
    sign, size = self.linalg_slogdet(a)
    return torch.where(sign < 0, float("nan"), size)


# aten::linalg_slogdet aten::slogdet
def linalg_slogdet(self, a: Tensor) -> Tuple[Tensor, Tensor]:
    none = a.narrow(-1, 0, 1)
    return self.eliminate(a, none)[1:]


def identity_like(self, a: Tensor) -> Tensor:
    n = self.square_size(a, 32)
    return torch.eye(n, dtype=a.dtype).expand(a.shape)


# aten::linalg_inv aten::inverse
def linalg_inv(self, a: Tensor) -> Tensor:
    n = self.square_size(a, 32)
    if n == 1:
        return 1 / a
    if n == 2:
        p, q = a.select(-2, 0).select(-1, 0), a.select(-2, 0).select(-1, 1)
        r, s = a.select(-2, 1).select(-1, 0), a.select(-2, 1).select(-1, 1)
        adjugate = torch.stack([torch.stack([s, -q], -1), torch.stack([-r, p], -1)], -2)
        return adjugate / (p * s - q * r).unsqueeze(-1).unsqueeze(-1)
    return self.eliminate(a, self.identity_like(a))[0]


def no_errors(self, a: Tensor) -> Tensor:
    return torch.zeros_like(a.select(-1, 0).select(-1, 0), dtype=3)


# aten::linalg_inv_ex
def linalg_inv_ex(self, a: Tensor, check_errors: bool) -> Tuple[Tensor, Tensor]:
    return self.linalg_inv(a), self.no_errors(a)


# aten::linalg_solve
def linalg_solve(self, a: Tensor, b: Tensor, left: bool) -> Tensor:
    vector = b.dim() == 1 or (b.dim() == a.dim() - 1 and b.shape == a.shape[:-1])
    right = b.unsqueeze(-1) if vector else b
    if not left:
        a, right = a.transpose(-2, -1), right.transpose(-2, -1)
    batch = torch.broadcast_tensors([a.select(-1, 0).select(-1, 0), right.select(-1, 0).select(-1, 0)])[0].shape
    a, right = a.expand(batch + a.shape[-2:]), right.expand(batch + right.shape[-2:])
    result = self.eliminate(a, right)[0]
    if not left:
        result = result.transpose(-2, -1)
    return result.squeeze(-1) if vector else result


# aten::linalg_solve_ex
def linalg_solve_ex(self, a: Tensor, b: Tensor, left: bool, check_errors: bool) -> Tuple[Tensor, Tensor]:
    return self.linalg_solve(a, b, left), self.no_errors(a)


# a x = b of a triangle, by substitution.
def substitute(self, a: Tensor, b: Tensor, upper: bool, unit: bool) -> Tensor:
    n = self.square_size(a, 64)
    rows: List[Tensor] = []
    for step in range(n):
        k = n - 1 - step if upper else step
        value = b.narrow(-2, k, 1)
        if step > 0:
            done = torch.cat(rows, -2)
            if upper:
                value = value - torch.matmul(a.narrow(-2, k, 1).narrow(-1, k + 1, step), done)
            else:
                value = value - torch.matmul(a.narrow(-2, k, 1).narrow(-1, 0, step), done)
        if not unit:
            value = value / a.narrow(-2, k, 1).narrow(-1, k, 1)
        if upper:
            rows = [value] + rows
        else:
            rows.append(value)
    return torch.cat(rows, -2)


# aten::linalg_solve_triangular
def linalg_solve_triangular(self, a: Tensor, b: Tensor, upper: bool, left: bool, unitriangular: bool) -> Tensor:
    if left:
        return self.substitute(a, b, upper, unitriangular)
    return self.substitute(a.transpose(-2, -1), b.transpose(-2, -1), not upper, unitriangular).transpose(-2, -1)


# aten::triangular_solve
def triangular_solve(self, b: Tensor, a: Tensor, upper: bool, transpose: bool, unitriangular: bool) -> Tuple[Tensor, Tensor]:
    if transpose:
        result = self.substitute(a.transpose(-2, -1), b, not upper, unitriangular)
    else:
        result = self.substitute(a, b, upper, unitriangular)
    return result, a.expand(result.size()[:-2] + a.size()[-2:]).clone()


# aten::linalg_cholesky aten::cholesky
# Column by column; what is above the diagonal is not read.
def linalg_cholesky(self, a: Tensor, upper: bool) -> Tensor:
    n = self.square_size(a, 64)
    rest = a.transpose(-2, -1) if upper else a
    columns: List[Tensor] = []
    position = torch.arange(n).unsqueeze(-1)
    for k in range(n):
        column = rest.narrow(-1, k, 1)
        if k > 0:
            done = torch.cat(columns, -1)
            column = column - torch.matmul(done, done.narrow(-2, k, 1).transpose(-2, -1))
        column = column / torch.sqrt(column.narrow(-2, k, 1))
        columns.append(torch.where(position >= k, column, 0.0))
    lower = torch.cat(columns, -1)
    return lower.transpose(-2, -1) if upper else lower


# aten::linalg_cholesky_ex
def linalg_cholesky_ex(self, a: Tensor, upper: bool, check_errors: bool) -> Tuple[Tensor, Tensor]:
    return self.linalg_cholesky(a, upper), self.no_errors(a)


# aten::cholesky_solve
def cholesky_solve(self, b: Tensor, factor: Tensor, upper: bool) -> Tensor:
    lower = factor.transpose(-2, -1) if upper else factor
    return self.substitute(lower.transpose(-2, -1), self.substitute(lower, b, False, False), True, False)


# aten::cholesky_inverse
def cholesky_inverse(self, factor: Tensor, upper: bool) -> Tensor:
    return self.cholesky_solve(self.identity_like(factor), factor, upper)


# aten::linalg_matrix_power aten::matrix_power
def linalg_matrix_power(self, a: Tensor, n: int) -> Tensor:
    if n == 0:
        return self.identity_like(a).clone()
    if n < 0:
        a = self.linalg_inv(a)
        n = -n
    result = a
    started = False
    while n > 0:
        if n % 2 == 1:
            result = torch.matmul(result, a) if started else a
            started = True
        n = n // 2
        if n > 0:
            a = torch.matmul(a, a)
    return result


# aten::linalg_matrix_exp aten::matrix_exp
# e^a = (e^(a / 2^s))^(2^s), by Taylor's polynomial of degree 8 and as many squarings as the norm asks for: ten at the most, which
# are of no effect where the norm needs fewer.
def linalg_matrix_exp(self, a: Tensor) -> Tensor:
    unit = self.identity_like(a)
    norm = a.abs().sum([-2], True).amax([-1], True)
    squarings = torch.ceil(torch.log2(norm.clamp_min(1e-9))).clamp(0.0, 10.0) + 1
    scaled = a / torch.exp2(squarings)
    result = unit + scaled / 8.0
    for k in range(7):
        result = unit + torch.matmul(scaled, result) / float(7 - k)
    for k in range(11):
        result = torch.where(squarings > k, torch.matmul(result, result), result)
    return torch.where(norm > 1024, float("nan"), result)


# Householder's reflections, with LAPACK's signs: the first elements become those that are further from zero.
def householder(self, a: Tensor, complete: bool) -> Tuple[Tensor, Tensor]:
    m = a.size(-2)
    n = a.size(-1)
    steps = min(m, n)
    if steps > 32:
        raise AssertionError("a matrix of " + str(m) + " by " + str(n) + " would take too many operations, and up to 32 rows or columns "
                           "are done; compute it while the model is made, or outside of it")
    position = torch.arange(m).unsqueeze(-1)
    r = a
    q = torch.eye(m, dtype=a.dtype).expand(a.shape[:-2] + [m, m])
    # A last row alone is not reflected.
    for k in range(min(steps, m - 1)):
        x = torch.where(position >= k, r.narrow(-1, k, 1), 0.0)
        head = x.narrow(-2, k, 1)
        norm = torch.sqrt((x * x).sum([-2], True))
        rest = torch.where(position > k, x, 0.0)
        trivial = (rest * rest).sum([-2], True) == 0
        alpha = torch.where(head < 0, norm, -norm)
        v = torch.where(position == k, x - alpha, x)
        square = (v * v).sum([-2], True)
        v = torch.where(trivial, 0.0, v / torch.sqrt(torch.where(square == 0, 1.0, square)))
        r = r - 2 * torch.matmul(v, torch.matmul(v.transpose(-2, -1), r))
        q = q - 2 * torch.matmul(torch.matmul(q, v), v.transpose(-2, -1))
    r = torch.triu(r)
    if complete:
        return q, r
    return q.narrow(-1, 0, steps), r.narrow(-2, 0, steps)


# aten::linalg_qr
def linalg_qr(self, a: Tensor, mode: str) -> Tuple[Tensor, Tensor]:
    if mode == "r":
        raise AssertionError("the mode 'r' gives an empty tensor, which Core ML has not; take 'reduced'")
    return self.householder(a, mode == "complete")


# aten::qr
def qr(self, a: Tensor, some: bool) -> Tuple[Tensor, Tensor]:
    return self.householder(a, not some)
