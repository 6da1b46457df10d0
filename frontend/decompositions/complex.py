"""Operators on complex tensors by those on their real and imaginary parts.

Numbers are 0-d tensors here. The elementary functions are Abramowitz and Stegun, "Handbook of Mathematical Functions", 3.7 to 4.6.
"""

from typing import List, Optional

import torch
from torch import Tensor


def imag_of(self, x: Tensor) -> Tensor:
    if x.is_complex():
        return torch.imag(x)
    return torch.zeros_like(x)


def complex_of(self, real: Tensor, imag: Tensor) -> Tensor:
    if real.dtype == imag.dtype:
        return torch.complex(real, imag)
    return torch.complex(real.to(7), imag.to(7))


# complex aten::conj aten::conj_physical aten::_conj aten::_conj_physical aten::_conj_copy
def complex_conj(self, x: Tensor) -> Tensor:
    return torch.complex(torch.real(x), -torch.imag(x))


# aten::conj_physical aten::_conj_physical
# Of a real tensor.
def real_conj(self, x: Tensor) -> Tensor:
    return x.clone()


# complex aten::mH aten::mH.a aten::adjoint aten::matrix_H aten::matrix_H.a
def complex_adjoint(self, x: Tensor) -> Tensor:
    return self.complex_conj(x.transpose(-2, -1))


# complex aten::view_as_real aten::view_as_real_copy
def complex_view_as_real(self, x: Tensor) -> Tensor:
    return torch.stack([torch.real(x), torch.imag(x)], -1)


# aten::polar
def polar(self, abs: Tensor, angle: Tensor) -> Tensor:
    return torch.complex(abs * torch.cos(angle), abs * torch.sin(angle))


# complex aten::zeros_like
def complex_zeros_like(self, x: Tensor, dtype: Optional[int], layout: Optional[int], device: Optional[Device], pin_memory: Optional[bool],
                       memory_format: Optional[int]) -> Tensor:
    zeros = torch.zeros_like(torch.real(x))
    if dtype is None:
        return torch.complex(zeros, zeros)
    return zeros.to(dtype)


# complex aten::ones_like
def complex_ones_like(self, x: Tensor, dtype: Optional[int], layout: Optional[int], device: Optional[Device], pin_memory: Optional[bool],
                      memory_format: Optional[int]) -> Tensor:
    ones = torch.ones_like(torch.real(x))
    if dtype is None:
        return torch.complex(ones, torch.zeros_like(ones))
    return ones.to(dtype)


# ---- Arithmetic ----


# complex aten::add.Tensor aten::add.Scalar
def complex_add(self, x: Tensor, y: Tensor, alpha: Tensor) -> Tensor:
    if not bool(alpha == 1):
        y = y * alpha
    if not y.is_complex():
        return self.complex_of(torch.real(x) + y, torch.imag(x) + torch.zeros_like(y))
    if not x.is_complex():
        return self.complex_of(x + torch.real(y), torch.imag(y) + torch.zeros_like(x))
    return self.complex_of(torch.real(x) + torch.real(y), torch.imag(x) + torch.imag(y))


# complex aten::sub.Tensor aten::sub.Scalar aten::subtract.Tensor aten::subtract.Scalar
def complex_sub(self, x: Tensor, y: Tensor, alpha: Tensor) -> Tensor:
    if not bool(alpha == 1):
        y = y * alpha
    if not y.is_complex():
        return self.complex_of(torch.real(x) - y, torch.imag(x) + torch.zeros_like(y))
    if not x.is_complex():
        return self.complex_of(x - torch.real(y), torch.zeros_like(x) - torch.imag(y))
    return self.complex_of(torch.real(x) - torch.real(y), torch.imag(x) - torch.imag(y))


# complex aten::rsub.Tensor aten::rsub.Scalar
def complex_rsub(self, x: Tensor, y: Tensor, alpha: Tensor) -> Tensor:
    return self.complex_sub(y, x, alpha)


# complex aten::mul.Tensor aten::mul.Scalar aten::multiply.Tensor aten::multiply.Scalar
def complex_mul(self, x: Tensor, y: Tensor) -> Tensor:
    if not y.is_complex():
        return torch.complex(torch.real(x) * y, torch.imag(x) * y)
    if not x.is_complex():
        return torch.complex(x * torch.real(y), x * torch.imag(y))
    a, b, c, d = torch.real(x), torch.imag(x), torch.real(y), torch.imag(y)
    return torch.complex(a * c - b * d, a * d + b * c)


# complex aten::div.Tensor aten::div.Scalar aten::divide.Tensor aten::divide.Scalar aten::true_divide.Tensor aten::true_divide.Scalar
def complex_div(self, x: Tensor, y: Tensor) -> Tensor:
    if not y.is_complex():
        return torch.complex(torch.real(x) / y, torch.imag(x) / y)
    c, d = torch.real(y), torch.imag(y)
    size = c * c + d * d
    if not x.is_complex():
        return torch.complex(x * c / size, -(x * d) / size)
    a, b = torch.real(x), torch.imag(x)
    return torch.complex((a * c + b * d) / size, (b * c - a * d) / size)


# complex aten::reciprocal
def complex_reciprocal(self, x: Tensor) -> Tensor:
    a, b = torch.real(x), torch.imag(x)
    size = a * a + b * b
    return torch.complex(a / size, -b / size)


# complex aten::square
def complex_square(self, x: Tensor) -> Tensor:
    return self.complex_mul(x, x)


# complex aten::addcmul
def complex_addcmul(self, x: Tensor, a: Tensor, b: Tensor, value: Tensor) -> Tensor:
    return x + a * b * value


# complex aten::lerp.Scalar aten::lerp.Tensor
def complex_lerp(self, x: Tensor, y: Tensor, weight: Tensor) -> Tensor:
    return x + (y - x) * weight


# ---- Magnitude and phase ----


# complex aten::abs aten::absolute
# The larger part is a factor outside: in half precision the square of 256 is infinite, and that of 1 / 4096 zero.
def complex_abs(self, x: Tensor) -> Tensor:
    a, b = torch.real(x).abs(), torch.imag(x).abs()
    large = torch.maximum(a, b)
    ratio = torch.minimum(a, b) / large.clamp_min(1e-7)
    return large * torch.sqrt(1 + ratio * ratio)


# complex aten::angle
def complex_angle(self, x: Tensor) -> Tensor:
    return torch.atan2(torch.imag(x), torch.real(x))


# complex aten::sgn
def complex_sgn(self, x: Tensor) -> Tensor:
    size = self.complex_abs(x)
    size = torch.where(size == 0, torch.ones_like(size), size)
    return torch.complex(torch.real(x) / size, torch.imag(x) / size)


# complex aten::isnan
def complex_isnan(self, x: Tensor) -> Tensor:
    return torch.isnan(torch.real(x)) | torch.isnan(torch.imag(x))


# complex aten::isinf
def complex_isinf(self, x: Tensor) -> Tensor:
    return torch.isinf(torch.real(x)) | torch.isinf(torch.imag(x))


# complex aten::isfinite
def complex_isfinite(self, x: Tensor) -> Tensor:
    return torch.isfinite(torch.real(x)) & torch.isfinite(torch.imag(x))


# complex aten::isreal
def complex_isreal(self, x: Tensor) -> Tensor:
    return torch.imag(x) == 0


# complex aten::eq.Tensor aten::eq.Scalar
def complex_eq(self, x: Tensor, y: Tensor) -> Tensor:
    return (torch.real(x) == torch.real(y)) & (self.imag_of(x) == self.imag_of(y))


# complex aten::ne.Tensor aten::ne.Scalar aten::not_equal.Tensor aten::not_equal.Scalar
def complex_ne(self, x: Tensor, y: Tensor) -> Tensor:
    return (torch.real(x) != torch.real(y)) | (self.imag_of(x) != self.imag_of(y))


# ---- Elementary functions ----


# complex aten::exp
def complex_exp(self, x: Tensor) -> Tensor:
    return torch.polar(torch.exp(torch.real(x)), torch.imag(x))


# complex aten::log
def complex_log(self, x: Tensor) -> Tensor:
    return torch.complex(torch.log(self.complex_abs(x)), self.complex_angle(x))


# complex aten::sqrt
def complex_sqrt(self, x: Tensor) -> Tensor:
    return torch.polar(torch.sqrt(self.complex_abs(x)), self.complex_angle(x) * 0.5)


# complex aten::rsqrt
def complex_rsqrt(self, x: Tensor) -> Tensor:
    return torch.polar(torch.rsqrt(self.complex_abs(x)), self.complex_angle(x) * -0.5)


# complex aten::sin
def complex_sin(self, x: Tensor) -> Tensor:
    a, b = torch.real(x), torch.imag(x)
    return torch.complex(torch.sin(a) * torch.cosh(b), torch.cos(a) * torch.sinh(b))


# complex aten::cos
def complex_cos(self, x: Tensor) -> Tensor:
    a, b = torch.real(x), torch.imag(x)
    return torch.complex(torch.cos(a) * torch.cosh(b), -torch.sin(a) * torch.sinh(b))


# complex aten::sinh
def complex_sinh(self, x: Tensor) -> Tensor:
    a, b = torch.real(x), torch.imag(x)
    return torch.complex(torch.sinh(a) * torch.cos(b), torch.cosh(a) * torch.sin(b))


# complex aten::cosh
def complex_cosh(self, x: Tensor) -> Tensor:
    a, b = torch.real(x), torch.imag(x)
    return torch.complex(torch.cosh(a) * torch.cos(b), torch.sinh(a) * torch.sin(b))


# complex aten::tanh
def complex_tanh(self, x: Tensor) -> Tensor:
    a, b = torch.tanh(torch.real(x)), torch.tan(torch.imag(x))
    size = 1 + a * a * b * b
    return torch.complex(a * (1 + b * b) / size, b * (1 - a * a) / size)


# complex aten::sigmoid
def complex_sigmoid(self, x: Tensor) -> Tensor:
    return self.complex_reciprocal(self.complex_exp(torch.neg(x)) + 1)


# complex aten::pow.Tensor_Tensor aten::pow.Tensor_Scalar aten::pow.Scalar
def complex_pow(self, x: Tensor, y: Tensor) -> Tensor:
    if not x.is_complex():
        x = self.complex_of(x, torch.zeros_like(x))
    if y.is_complex():
        return torch.where(x == 0, torch.zeros_like(x), self.complex_exp(self.complex_log(x) * y))
    return torch.where((x == 0) & (y != 0), torch.zeros_like(x), torch.polar(torch.pow(self.complex_abs(x), y), self.complex_angle(x) * y))


# ---- Choices ----


# complex aten::where.self aten::where.ScalarSelf aten::where.ScalarOther aten::where.Scalar
def complex_where(self, condition: Tensor, x: Tensor, y: Tensor) -> Tensor:
    return self.complex_of(torch.where(condition, torch.real(x), torch.real(y)),
                           torch.where(condition, self.imag_of(x), self.imag_of(y)))


# complex aten::masked_fill.Scalar aten::masked_fill.Tensor
def complex_masked_fill(self, x: Tensor, mask: Tensor, value: Tensor) -> Tensor:
    return self.complex_where(mask, value, x)


# ---- Products and reductions ----


# complex aten::matmul aten::mm aten::bmm aten::mv aten::linalg_matmul
def complex_matmul(self, x: Tensor, y: Tensor) -> Tensor:
    if not y.is_complex():
        return torch.complex(torch.matmul(torch.real(x), y), torch.matmul(torch.imag(x), y))
    c, d = torch.real(y), torch.imag(y)
    if not x.is_complex():
        return torch.complex(torch.matmul(x, c), torch.matmul(x, d))
    a, b = torch.real(x), torch.imag(x)
    return torch.complex(torch.matmul(a, c) - torch.matmul(b, d), torch.matmul(a, d) + torch.matmul(b, c))


# complex aten::dot
def complex_dot(self, x: Tensor, y: Tensor) -> Tensor:
    return (x * y).sum()


# complex aten::vdot
def complex_vdot(self, x: Tensor, y: Tensor) -> Tensor:
    return (torch.conj_physical(x) * y).sum()


# complex aten::linalg_vecdot
def complex_vecdot(self, x: Tensor, y: Tensor, dim: int) -> Tensor:
    return (torch.conj_physical(x) * y).sum([dim])


# complex aten::outer aten::ger
def complex_outer(self, x: Tensor, y: Tensor) -> Tensor:
    return x.unsqueeze(1) * y.unsqueeze(0)


# complex aten::linear
def complex_linear(self, x: Tensor, weight: Tensor, bias: Optional[Tensor]) -> Tensor:
    result = torch.matmul(x, weight.t())
    if bias is None:
        return result
    return result + bias


# complex aten::einsum
def complex_einsum(self, equation: str, operands: List[Tensor], path: Optional[List[int]]) -> Tensor:
    if len(operands) == 1:
        x = operands[0]
        return torch.complex(torch.einsum(equation, [torch.real(x)]), torch.einsum(equation, [torch.imag(x)]))
    if len(operands) != 2:
        raise AssertionError("a product of more than two complex tensors; write it as products of two")
    x, y = operands[0], operands[1]
    if not y.is_complex():
        return torch.complex(torch.einsum(equation, [torch.real(x), y]), torch.einsum(equation, [torch.imag(x), y]))
    c, d = torch.real(y), torch.imag(y)
    if not x.is_complex():
        return torch.complex(torch.einsum(equation, [x, c]), torch.einsum(equation, [x, d]))
    a, b = torch.real(x), torch.imag(x)
    return torch.complex(torch.einsum(equation, [a, c]) - torch.einsum(equation, [b, d]),
                         torch.einsum(equation, [a, d]) + torch.einsum(equation, [b, c]))


# complex aten::linalg_vector_norm
def complex_vector_norm(self, x: Tensor, ord: Tensor, dim: Optional[List[int]], keepdim: bool, dtype: Optional[int]) -> Tensor:
    return torch.linalg_vector_norm(self.complex_abs(x), ord.item(), dim, keepdim)
