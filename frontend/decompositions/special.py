"""Special functions by approximations of known accuracy.

AS: Abramowitz and Stegun, "Handbook of Mathematical Functions" (1964), with the number of the formula; the errors are theirs.
"""

from typing import List, Tuple

import torch
from torch import Tensor


def real_of(self, x: Tensor) -> Tensor:
    return x if x.is_floating_point() else x.to(6)


# Horner's scheme, the highest power first.
def polynomial(self, x: Tensor, coefficients: List[float]) -> Tensor:
    result = x * coefficients[0] + coefficients[1]
    for c in coefficients[2:]:
        result = result * x + c
    return result


# ---- Gamma function ----


# ln gamma of x > 0: AS 6.1.41, Stirling's series, from 6 on, where it is off by less than 2e-9; below by gamma(x + 1) = x gamma(x).
def lgamma_positive(self, x: Tensor) -> Tensor:
    small = x < 6
    w = x.clamp_max(6.0)
    z = torch.where(small, w + 6, x)
    r = 1 / z
    series = r * (1 / 12.0 - r * r * (1 / 360.0 - r * r / 1260.0))
    stirling = (z - 0.5) * torch.log(z) - z + 0.9189385332046727 + series
    steps = torch.log(w * (w + 1)) + torch.log((w + 2) * (w + 3)) + torch.log((w + 4) * (w + 5))
    return torch.where(small, stirling - steps, stirling)


# aten::lgamma
# Below 1/2 by reflection, AS 6.1.17.
def lgamma(self, x: Tensor) -> Tensor:
    x = self.real_of(x)
    mirrored = x < 0.5
    above = self.lgamma_positive(torch.where(mirrored, 1 - x, x))
    sine = torch.sin((x - torch.round(x)).abs() * 3.141592653589793)
    result = torch.where(mirrored, 1.1447298858494002 - torch.log(sine) - above, above)
    return torch.where(torch.isinf(x), float("inf"), result)


# aten::digamma
# AS 6.3.18 from 6 on, off by less than 1e-9; below by psi(x + 1) = psi(x) + 1 / x; below 1/2 by reflection, AS 6.3.7.
def digamma(self, x: Tensor) -> Tensor:
    x = self.real_of(x)
    mirrored = x < 0.5
    y = torch.where(mirrored, 1 - x, x)
    small = y < 6
    w = y.clamp_max(6.0)
    steps = 1 / w + 1 / (w + 1) + 1 / (w + 2) + 1 / (w + 3) + 1 / (w + 4) + 1 / (w + 5)
    z = torch.where(small, w + 6, y)
    r = 1 / (z * z)
    above = torch.log(z) - 0.5 / z - r * (1 / 12.0 - r * (1 / 120.0 - r * (1 / 252.0 - r / 240.0)))
    above = torch.where(small, above - steps, above)
    turn = (x - torch.round(x)) * 3.141592653589793
    result = torch.where(mirrored, above - 3.141592653589793 * torch.cos(turn) / torch.sin(turn), above)
    result = torch.where((x < 0) & (x == torch.floor(x)), float("nan"), result)
    return torch.where(x == 0, torch.copysign(torch.full_like(x, float("inf")), -x), result)


# aten::mvlgamma aten::special_multigammaln
def mvlgamma(self, x: Tensor, p: int) -> Tensor:
    x = self.real_of(x)
    result = torch.full_like(x, 0.25 * p * (p - 1) * 1.1447298858494002)
    for j in range(p):
        result = result + self.lgamma(x - 0.5 * j)
    return result


# Hurwitz's zeta function by Euler and Maclaurin's sum, AS 23.2.9, after 16 terms; NaN from where q + 16 is below 8.
def zeta_of(self, s: Tensor, q: Tensor) -> Tensor:
    result = torch.pow(q, -s)
    for k in range(1, 16):
        result = result + torch.pow(q + k, -s)
    a = q + 16
    power = torch.pow(a, -s)
    result = result + power * a / (s - 1) + 0.5 * power
    # Each term by the one before, whose factors are neither tiny nor large: B(2j) / (2j)! is in the quotients.
    term = power * (s / a) / 12.0
    result = result + term
    for j, quotient in enumerate([-60.0, -42.0, -40.0, -39.6]):
        term = term * ((s + (2 * j + 1)) / a) * ((s + (2 * j + 2)) / a) / quotient
        result = result + term
    result = torch.where(q < -8, float("nan"), result)
    result = torch.where((q <= 0) & (q == torch.floor(q)), float("inf"), result)
    result = torch.where((q <= 0) & (q != torch.floor(q)) & (s != torch.floor(s)), float("nan"), result)
    result = torch.where(s == 1, float("inf"), result)
    return torch.where(s < 1, float("nan"), result)


# aten::special_zeta
def special_zeta(self, s: Tensor, q: Tensor) -> Tensor:
    return self.zeta_of(self.real_of(s), self.real_of(q))


# aten::special_zeta.other_scalar
def special_zeta_other(self, s: Tensor, q: number) -> Tensor:
    s = self.real_of(s)
    return self.zeta_of(s, torch.full_like(s, q))


# aten::special_zeta.self_scalar
def special_zeta_self(self, s: number, q: Tensor) -> Tensor:
    q = self.real_of(q)
    return self.zeta_of(torch.full_like(q, s), q)


# aten::polygamma aten::special_polygamma
# AS 6.4.10; below 1/2 the first derivative by reflection, AS 6.4.7.
def polygamma(self, n: int, x: Tensor) -> Tensor:
    x = self.real_of(x)
    if n == 0:
        return self.digamma(x)
    if n < 0:
        raise AssertionError("n is " + str(n) + ", which must not be negative")
    if n == 1:
        mirrored = x < 0.5
        above = self.zeta_of(torch.full_like(x, 2), torch.where(mirrored, 1 - x, x))
        sine = torch.sin((x - torch.round(x)) * 3.141592653589793)
        return torch.where(mirrored, 9.869604401089358 / (sine * sine) - above, above)
    factorial = 1.0
    for k in range(1, n + 1):
        factorial = -factorial * k
    return -factorial * self.zeta_of(torch.full_like(x, n + 1), x)


# ---- Error function ----


# The inverse of erf, given w = -ln((1 - x)(1 + x)): Giles, "Approximating the erfinv function" (2012), single precision, off by
# less than 4 in the last place.
def erfinv_from(self, x: Tensor, w: Tensor) -> Tensor:
    near = self.polynomial(w.clamp_max(5.0) - 2.5, [2.81022636e-08, 3.43273939e-07, -3.5233877e-06, -4.39150654e-06, 0.00021858087,
                                                    -0.00125372503, -0.00417768164, 0.246640727, 1.50140941])
    far = self.polynomial(torch.sqrt(w.clamp_min(5.0)) - 3.0, [-0.000200214257, 0.000100950558, 0.00134934322, -0.00367342844,
                                                               0.00573950773, -0.0076224613, 0.00943887047, 1.00167406, 2.83297682])
    return torch.where(w < 5, near, far) * x


# aten::erfinv aten::special_erfinv
def erfinv(self, x: Tensor) -> Tensor:
    x = self.real_of(x)
    result = self.erfinv_from(x, -torch.log((1 - x) * (1 + x)))
    result = torch.where(x.abs() == 1, x * float("inf"), result)
    return torch.where(x.abs() > 1, float("nan"), result)


# aten::special_ndtri
# The quantile of the normal distribution, sqrt(2) erfinv(2 p - 1).
def special_ndtri(self, p: Tensor) -> Tensor:
    p = self.real_of(p)
    result = 1.4142135623730951 * self.erfinv_from(2 * p - 1, -torch.log(4 * p * (1 - p)))
    result = torch.where(p == 0, float("-inf"), result)
    result = torch.where(p == 1, float("inf"), result)
    return torch.where((p < 0) | (p > 1), float("nan"), result)


# e^(x^2) erfc(x) of x >= 0: Press and others, "Numerical Recipes" (1992), 6.2, erfcc: a fractional error of less than 1.2e-7.
def erfcx_positive(self, x: Tensor) -> Tensor:
    t = 1 / (1 + 0.5 * x)
    return t * torch.exp(self.polynomial(t, [0.17087277, -0.82215223, 1.48851587, -1.13520398, 0.27886807, -0.18628806, 0.09678418,
                                             0.37409196, 1.00002368, -1.26551223]))


# aten::special_erfcx
def special_erfcx(self, x: Tensor) -> Tensor:
    x = self.real_of(x)
    above = self.erfcx_positive(x.abs())
    return torch.where(x < 0, 2 * torch.exp(x * x) - above, above)


# aten::special_ndtr
def special_ndtr(self, x: Tensor) -> Tensor:
    x = self.real_of(x) * 0.7071067811865476
    tail = 0.5 * self.erfcx_positive(x.abs()) * torch.exp(-x * x)
    return torch.where(x < 0, tail, 1 - tail)


# aten::special_log_ndtr
def special_log_ndtr(self, x: Tensor) -> Tensor:
    x = self.real_of(x) * 0.7071067811865476
    tail = self.erfcx_positive(x.abs())
    below = torch.log(0.5 * tail) - x * x
    return torch.where(x < -1, below, torch.log1p(-0.5 * torch.erfc(x)))


# ---- Bessel functions ----


# e^-|x| I0(x): AS 9.8.1 (1.6e-7) and 9.8.2 (1.9e-7).
def i0e_of(self, x: Tensor) -> Tensor:
    a = x.abs()
    t = a.clamp_max(3.75) / 3.75
    near = self.polynomial(t * t, [0.0045813, 0.0360768, 0.2659732, 1.2067492, 3.0899424, 3.5156229, 1.0]) * torch.exp(-a)
    z = a.clamp_min(3.75)
    far = self.polynomial(3.75 / z, [0.00392377, -0.01647633, 0.02635537, -0.02057706, 0.00916281, -0.00157565, 0.00225319, 0.01328592,
                                     0.39894228]) / torch.sqrt(z)
    return torch.where(a < 3.75, near, far)


# e^-|x| I1(x): AS 9.8.3 (8e-9) and 9.8.4 (2.2e-7).
def i1e_of(self, x: Tensor) -> Tensor:
    a = x.abs()
    t = a.clamp_max(3.75) / 3.75
    near = a * self.polynomial(t * t, [0.00032411, 0.00301532, 0.02658733, 0.15084934, 0.51498869, 0.87890594, 0.5]) * torch.exp(-a)
    z = a.clamp_min(3.75)
    far = self.polynomial(3.75 / z, [-0.00420059, 0.01787654, -0.02895312, 0.02282967, -0.01031555, 0.00163801, -0.00362018, -0.03988024,
                                     0.39894228]) / torch.sqrt(z)
    return torch.where(a < 3.75, near, far) * torch.sign(x)


# aten::special_i0e
def special_i0e(self, x: Tensor) -> Tensor:
    return self.i0e_of(self.real_of(x))


# aten::special_i1e
def special_i1e(self, x: Tensor) -> Tensor:
    return self.i1e_of(self.real_of(x))


# aten::i0 aten::special_i0 aten::special_modified_bessel_i0
def i0(self, x: Tensor) -> Tensor:
    x = self.real_of(x)
    return self.i0e_of(x) * torch.exp(x.abs())


# aten::special_i1 aten::special_modified_bessel_i1
def special_i1(self, x: Tensor) -> Tensor:
    x = self.real_of(x)
    return self.i1e_of(x) * torch.exp(x.abs())


# e^x K0(x): AS 9.8.5 (1e-8) and 9.8.6 (1.9e-7).
def k0e_of(self, x: Tensor) -> Tensor:
    t = x.clamp_max(2.0)
    y = t * t / 4
    near = self.polynomial(y, [0.0000074, 0.0001075, 0.00262698, 0.0348859, 0.23069756, 0.4227842, -0.57721566])
    near = (near - torch.log(t / 2) * self.i0e_of(t) * torch.exp(t)) * torch.exp(t)
    z = x.clamp_min(2.0)
    far = self.polynomial(2 / z, [0.00053208, -0.0025154, 0.00587872, -0.01062446, 0.02189568, -0.07832358, 1.25331414]) / torch.sqrt(z)
    result = torch.where(x <= 2, near, far)
    result = torch.where(x == 0, float("inf"), result)
    return torch.where(x < 0, float("nan"), result)


# e^x K1(x): AS 9.8.7 (8e-9) and 9.8.8 (2.2e-7).
def k1e_of(self, x: Tensor) -> Tensor:
    t = x.clamp_max(2.0)
    y = t * t / 4
    near = self.polynomial(y, [-0.00004686, -0.00110404, -0.01919402, -0.18156897, -0.67278579, 0.15443144, 1.0]) / t
    near = (near + torch.log(t / 2) * self.i1e_of(t) * torch.exp(t)) * torch.exp(t)
    z = x.clamp_min(2.0)
    far = self.polynomial(2 / z, [-0.00068245, 0.00325614, -0.00780353, 0.01504268, -0.0365562, 0.23498619, 1.25331414]) / torch.sqrt(z)
    result = torch.where(x <= 2, near, far)
    result = torch.where(x == 0, float("inf"), result)
    return torch.where(x < 0, float("nan"), result)


# aten::special_scaled_modified_bessel_k0
def special_scaled_k0(self, x: Tensor) -> Tensor:
    return self.k0e_of(self.real_of(x))


# aten::special_scaled_modified_bessel_k1
def special_scaled_k1(self, x: Tensor) -> Tensor:
    return self.k1e_of(self.real_of(x))


# aten::special_modified_bessel_k0
def special_k0(self, x: Tensor) -> Tensor:
    x = self.real_of(x)
    return self.k0e_of(x) * torch.exp(-x)


# aten::special_modified_bessel_k1
def special_k1(self, x: Tensor) -> Tensor:
    x = self.real_of(x)
    return self.k1e_of(x) * torch.exp(-x)


# ---- Logarithms and others ----


# aten::special_entr
def special_entr(self, x: Tensor) -> Tensor:
    x = self.real_of(x)
    result = torch.where(x == 0, 0.0, -x * torch.log(x))
    return torch.where(x < 0, float("-inf"), result)


def xlog1py_of(self, x: Tensor, y: Tensor) -> Tensor:
    x, y = self.real_of(x), self.real_of(y)
    return torch.where((x == 0) & torch.logical_not(torch.isnan(y)), torch.zeros_like(x), x * torch.log1p(y))


# aten::special_xlog1py
def special_xlog1py(self, x: Tensor, y: Tensor) -> Tensor:
    return self.xlog1py_of(x, y)


# aten::special_xlog1py.other_scalar
def special_xlog1py_other(self, x: Tensor, y: number) -> Tensor:
    x = self.real_of(x)
    return self.xlog1py_of(x, torch.full_like(x, y))


# aten::special_xlog1py.self_scalar
def special_xlog1py_self(self, x: number, y: Tensor) -> Tensor:
    y = self.real_of(y)
    return self.xlog1py_of(torch.full_like(y, x), y)


# aten::special_spherical_bessel_j0
def special_spherical_bessel_j0(self, x: Tensor) -> Tensor:
    x = self.real_of(x)
    safe = torch.where(x == 0, 1.0, x)
    result = torch.where(x.abs() < 0.5, 1 - x * x / 6 + torch.pow(x, 4) / 120 - torch.pow(x, 6) / 5040, torch.sin(safe) / safe)
    return torch.where(torch.isinf(x), 0.0, result)


# aten::angle
def angle(self, x: Tensor) -> Tensor:
    x = self.real_of(x)
    result = torch.where(x < 0, 3.141592653589793, torch.zeros_like(x))
    return torch.where(torch.isnan(x), x, result)


# aten::isreal
def isreal(self, x: Tensor) -> Tensor:
    return torch.ones_like(x, dtype=11)


# aten::frexp.Tensor
# The exponent that the logarithm gives may be off by one where it is rounded.
def frexp(self, x: Tensor) -> Tuple[Tensor, Tensor]:
    size = x.abs()
    usual = (size > 0) & (size < float("inf"))
    safe = torch.where(usual, size, 1.0)
    exponent = torch.floor(torch.log2(safe)) + 1
    # In two steps: the power alone may be out of range.
    half = torch.floor(exponent / 2)
    mantissa = safe * torch.exp2(-half) * torch.exp2(half - exponent)
    over, under = mantissa >= 1, mantissa < 0.5
    mantissa = torch.where(over, mantissa * 0.5, torch.where(under, mantissa * 2, mantissa))
    exponent = exponent + over.to(x.dtype) - under.to(x.dtype)
    return torch.where(usual, mantissa * torch.sign(x), x), torch.where(usual, exponent, 0.0).to(3)


# aten::gcd
# Euclid's algorithm, as often as the elements need it.
def gcd(self, x: Tensor, y: Tensor) -> Tensor:
    # Both in one shape and type.
    a, b = x.abs() + 0 * y, y.abs() + 0 * x
    while bool((b != 0).any()):
        safe = torch.where(b == 0, 1, b)
        rest = torch.where(b == 0, 0, torch.remainder(a, safe))
        a, b = torch.where(b == 0, a, b), rest
    return a


# aten::lcm
def lcm(self, x: Tensor, y: Tensor) -> Tensor:
    divisor = self.gcd(x, y)
    result = torch.floor_divide(x, torch.where(divisor == 0, 1, divisor)) * y
    return result.abs()
