"""Fourier transforms as products with constant tables of cosines and sines.

Along one axis of n elements a transform is a product with an n by n table for each part. Beyond 1024 elements a composite n is
split, n = p * q, into p transforms of q elements and q of p (Cooley and Tukey, "An Algorithm for the Machine Calculation of
Complex Fourier Series", 1965). Tables are computed in double precision.

Half precision: of random signals of 64 to 4096 elements the error is 2.6e-4 of the spectrum's root mean square with tables in
half, and 2.1e-4 with tables in fp32 and the result alone in half, at every length. So tables are as wide as the package.
"""

from typing import List, Optional, Tuple

import torch
from torch import Tensor


def fourier_scale(self, norm: Optional[str], forward: bool, n: int) -> float:
    name = "backward" if norm is None else norm
    if name == "ortho":
        return 1.0 / float(n) ** 0.5
    if name != "backward" and name != "forward":
        raise AssertionError("norm is '" + name + "', which is neither 'backward', 'ortho' nor 'forward'")
    if (name == "forward") == forward:
        return 1.0 / float(n)
    return 1.0


def fourier_mode(self, normalization: int, n: int) -> float:
    if normalization == 1:
        return 1.0 / float(n) ** 0.5
    if normalization == 2:
        return 1.0 / float(n)
    return 1.0


# Cosines and sines of 2 pi j k / n, for j < rows and k < columns.
def fourier_tables(self, n: int, rows: int, columns: int, scale: float) -> Tuple[Tensor, Tensor]:
    turns = (torch.arange(rows).unsqueeze(1) * torch.arange(columns).unsqueeze(0)) % n
    angles = turns.to(7) * (6.283185307179586 / float(n))
    return (torch.cos(angles) * scale).to(6), (torch.sin(angles) * scale).to(6)


# The largest divisor up to the square root: 1 of a prime.
def fourier_divisor(self, n: int) -> int:
    best = 1
    for d in range(2, int(float(n) ** 0.5) + 1):
        if n % d == 0:
            best = d
    return best


def fourier_direct(self, real: Tensor, imag: Optional[Tensor], count: int, forward: bool, scale: float) -> Tuple[Tensor, Tensor]:
    n = real.size(-1)
    cosines, sines = self.fourier_tables(n, n, count, scale)
    if not forward:
        sines = -sines
    if imag is None:
        return torch.matmul(real, cosines), torch.matmul(real, -sines)
    return (torch.matmul(real, cosines) + torch.matmul(imag, sines),
            torch.matmul(imag, cosines) - torch.matmul(real, sines))


# The first `count` values of the transform along the last axis: sum over t of x[t] exp(-+2 pi i t k / n).
def fourier_last(self, real: Tensor, imag: Optional[Tensor], count: int, forward: bool, scale: float) -> Tuple[Tensor, Tensor]:
    n = real.size(-1)
    p = self.fourier_divisor(n) if n > 1024 else 1
    q = n // p
    if q > 4096:
        raise AssertionError("a transform of " + str(n) + " elements needs a table of " + str(q) + " by " + str(q) + ", for " + str(n)
                           + " has no divisors near its square root; pad the signal to a length with small factors")
    if p == 1:
        return self.fourier_direct(real, imag, count, forward, scale)
    x = real.unflatten(-1, [p, q]).transpose(-1, -2)
    if imag is None:
        a, b = self.fourier_direct(x, None, p, forward, scale)
    else:
        a, b = self.fourier_direct(x, imag.unflatten(-1, [p, q]).transpose(-1, -2), p, forward, scale)
    cosines, sines = self.fourier_tables(n, q, p, 1.0)
    if forward:
        sines = -sines
    c, d = (a * cosines - b * sines).transpose(-1, -2), (a * sines + b * cosines).transpose(-1, -2)
    c, d = self.fourier_direct(c, d, q, forward, 1.0)
    c, d = c.transpose(-1, -2).flatten(-2), d.transpose(-1, -2).flatten(-2)
    return c.narrow(-1, 0, count), d.narrow(-1, 0, count)


# Along one axis.
def fourier_axis(self, x: Tensor, dim: int, count: int, forward: bool, scale: float) -> Tensor:
    last = x.transpose(dim, -1)
    if last.is_complex():
        real, imag = self.fourier_last(torch.real(last), torch.imag(last), count, forward, scale)
    else:
        if not last.is_floating_point():
            last = last.to(6)
        real, imag = self.fourier_last(last, None, count, forward, scale)
    return torch.complex(real, imag).transpose(dim, -1)


# The real signal of n elements with this one-sided spectrum.
def fourier_real(self, x: Tensor, dim: int, n: int, scale: float) -> Tensor:
    bins = n // 2 + 1
    last = x.transpose(dim, -1)
    real = torch.real(last)
    if n > 1024:
        # The other frequencies are the conjugates of these.
        others = n - bins
        imag = torch.imag(last) if x.is_complex() else torch.zeros_like(real)
        real = torch.cat([real, real.narrow(-1, 1, others).flip([-1])], -1)
        imag = torch.cat([imag, -imag.narrow(-1, 1, others).flip([-1])], -1)
        result = self.fourier_last(real, imag, n, False, scale)[0]
        return result.transpose(dim, -1)
    # Each frequency but the first and, of an even n, the last, stands for two.
    k = torch.arange(bins).unsqueeze(1)
    weights = torch.where((k == 0) | (2 * k == n), scale, 2.0 * scale).to(6)
    cosines, sines = self.fourier_tables(n, bins, n, 1.0)
    result = torch.matmul(real, cosines * weights)
    if x.is_complex():
        result = result - torch.matmul(torch.imag(last), sines * weights)
    return result.transpose(dim, -1)


# The first n elements along an axis, with zeros after what there is.
def fourier_resize(self, x: Tensor, dim: int, n: int) -> Tensor:
    size = x.size(dim)
    if size == n:
        return x
    if size > n:
        return x.narrow(dim, 0, n)
    axis = dim + x.dim() if dim < 0 else dim
    pads = [0] * (2 * (x.dim() - axis))
    pads[len(pads) - 1] = n - size
    return torch.constant_pad_nd(x, pads, 0)


# ---- The transforms that the others are made of ----


# aten::_fft_r2c
def fft_r2c(self, x: Tensor, dim: List[int], normalization: int, onesided: bool) -> Tensor:
    result = x
    last = len(dim) - 1
    for i in range(len(dim)):
        axis = dim[last - i]
        n = x.size(axis)
        count = n // 2 + 1 if onesided and i == 0 else n
        result = self.fourier_axis(result, axis, count, True, self.fourier_mode(normalization, n))
    return result


# complex aten::_fft_c2c
def fft_c2c(self, x: Tensor, dim: List[int], normalization: int, forward: bool) -> Tensor:
    for axis in dim:
        n = x.size(axis)
        x = self.fourier_axis(x, axis, n, forward, self.fourier_mode(normalization, n))
    return x


# complex aten::_fft_c2r
def fft_c2r(self, x: Tensor, dim: List[int], normalization: int, last_dim_size: int) -> Tensor:
    last = len(dim) - 1
    for axis in dim[:last]:
        n = x.size(axis)
        x = self.fourier_axis(x, axis, n, False, self.fourier_mode(normalization, n))
    x = self.fourier_resize(x, dim[last], last_dim_size // 2 + 1)
    return self.fourier_real(x, dim[last], last_dim_size, self.fourier_mode(normalization, last_dim_size))


# ---- One axis ----


def fft_any(self, x: Tensor, n: Optional[int], dim: int, norm: Optional[str], forward: bool) -> Tensor:
    count = x.size(dim) if n is None else n
    x = self.fourier_resize(x, dim, count)
    return self.fourier_axis(x, dim, count, forward, self.fourier_scale(norm, forward, count))


# aten::fft_fft
# complex aten::fft_fft
def fft_fft(self, x: Tensor, n: Optional[int], dim: int, norm: Optional[str]) -> Tensor:
    return self.fft_any(x, n, dim, norm, True)


# aten::fft_ifft
# complex aten::fft_ifft
def fft_ifft(self, x: Tensor, n: Optional[int], dim: int, norm: Optional[str]) -> Tensor:
    return self.fft_any(x, n, dim, norm, False)


# aten::fft_rfft
def fft_rfft(self, x: Tensor, n: Optional[int], dim: int, norm: Optional[str]) -> Tensor:
    count = x.size(dim) if n is None else n
    x = self.fourier_resize(x, dim, count)
    return self.fourier_axis(x, dim, count // 2 + 1, True, self.fourier_scale(norm, True, count))


# aten::fft_irfft
# complex aten::fft_irfft
def fft_irfft(self, x: Tensor, n: Optional[int], dim: int, norm: Optional[str]) -> Tensor:
    count = 2 * (x.size(dim) - 1) if n is None else n
    x = self.fourier_resize(x, dim, count // 2 + 1)
    return self.fourier_real(x, dim, count, self.fourier_scale(norm, False, count))


# aten::fft_hfft
# complex aten::fft_hfft
# The transform of a signal whose conjugate is its reverse.
def fft_hfft(self, x: Tensor, n: Optional[int], dim: int, norm: Optional[str]) -> Tensor:
    count = 2 * (x.size(dim) - 1) if n is None else n
    x = self.fourier_resize(x, dim, count // 2 + 1)
    return self.fourier_real(torch.conj_physical(x), dim, count, self.fourier_scale(norm, True, count))


# aten::fft_ihfft
def fft_ihfft(self, x: Tensor, n: Optional[int], dim: int, norm: Optional[str]) -> Tensor:
    count = x.size(dim) if n is None else n
    x = self.fourier_resize(x, dim, count)
    return torch.conj_physical(self.fourier_axis(x, dim, count // 2 + 1, True, self.fourier_scale(norm, False, count)))


# ---- Several axes ----


# The axes in [0, rank).
def fft_axes(self, x: Tensor, s: Optional[List[int]], dim: Optional[List[int]]) -> List[int]:
    if dim is not None:
        axes: List[int] = []
        for d in dim:
            axes.append(d + x.dim() if d < 0 else d)
        return axes
    count = x.dim() if s is None else len(s)
    return [x.dim() - count + i for i in range(count)]


# The sizes of the transforms; of what the last axis is made of, where that is one-sided.
def fft_sizes(self, x: Tensor, s: Optional[List[int]], axes: List[int], lastIsOneSided: bool) -> List[int]:
    sizes: List[int] = []
    for i in range(len(axes)):
        size = -1 if s is None else s[i]
        if size == -1:
            size = x.size(axes[i])
            if lastIsOneSided and i == len(axes) - 1:
                size = 2 * (size - 1)
        sizes.append(size)
    return sizes


def fft_all(self, x: Tensor, s: Optional[List[int]], dim: Optional[List[int]], norm: Optional[str], forward: bool) -> Tensor:
    axes = self.fft_axes(x, s, dim)
    if len(axes) == 0 and not x.is_complex():
        real = x if x.is_floating_point() else x.to(6)
        return torch.complex(real, torch.zeros_like(real))
    sizes = self.fft_sizes(x, s, axes, False)
    for i in range(len(axes)):
        x = self.fft_any(x, sizes[i], axes[i], norm, forward)
    return x


# aten::fft_fftn
# complex aten::fft_fftn
def fft_fftn(self, x: Tensor, s: Optional[List[int]], dim: Optional[List[int]], norm: Optional[str]) -> Tensor:
    return self.fft_all(x, s, dim, norm, True)


# aten::fft_ifftn
# complex aten::fft_ifftn
def fft_ifftn(self, x: Tensor, s: Optional[List[int]], dim: Optional[List[int]], norm: Optional[str]) -> Tensor:
    return self.fft_all(x, s, dim, norm, False)


# aten::fft_rfftn
def fft_rfftn(self, x: Tensor, s: Optional[List[int]], dim: Optional[List[int]], norm: Optional[str]) -> Tensor:
    axes = self.fft_axes(x, s, dim)
    sizes = self.fft_sizes(x, s, axes, False)
    last = len(axes) - 1
    x = self.fft_rfft(x, sizes[last], axes[last], norm)
    for i in range(last):
        x = self.fft_any(x, sizes[i], axes[i], norm, True)
    return x


# aten::fft_irfftn
# complex aten::fft_irfftn
def fft_irfftn(self, x: Tensor, s: Optional[List[int]], dim: Optional[List[int]], norm: Optional[str]) -> Tensor:
    axes = self.fft_axes(x, s, dim)
    sizes = self.fft_sizes(x, s, axes, True)
    last = len(axes) - 1
    for i in range(last):
        x = self.fft_any(x, sizes[i], axes[i], norm, False)
    return self.fft_irfft(x, sizes[last], axes[last], norm)


# aten::fft_hfftn
# complex aten::fft_hfftn
def fft_hfftn(self, x: Tensor, s: Optional[List[int]], dim: Optional[List[int]], norm: Optional[str]) -> Tensor:
    axes = self.fft_axes(x, s, dim)
    sizes = self.fft_sizes(x, s, axes, True)
    last = len(axes) - 1
    for i in range(last):
        x = self.fft_any(x, sizes[i], axes[i], norm, True)
    return self.fft_hfft(x, sizes[last], axes[last], norm)


# aten::fft_ihfftn
def fft_ihfftn(self, x: Tensor, s: Optional[List[int]], dim: Optional[List[int]], norm: Optional[str]) -> Tensor:
    axes = self.fft_axes(x, s, dim)
    sizes = self.fft_sizes(x, s, axes, False)
    last = len(axes) - 1
    x = self.fft_ihfft(x, sizes[last], axes[last], norm)
    for i in range(last):
        x = self.fft_any(x, sizes[i], axes[i], norm, False)
    return x


# aten::fft_fft2
# complex aten::fft_fft2
def fft_fft2(self, x: Tensor, s: Optional[List[int]], dim: List[int], norm: Optional[str]) -> Tensor:
    return self.fft_fftn(x, s, dim, norm)


# aten::fft_ifft2
# complex aten::fft_ifft2
def fft_ifft2(self, x: Tensor, s: Optional[List[int]], dim: List[int], norm: Optional[str]) -> Tensor:
    return self.fft_ifftn(x, s, dim, norm)


# aten::fft_rfft2
def fft_rfft2(self, x: Tensor, s: Optional[List[int]], dim: List[int], norm: Optional[str]) -> Tensor:
    return self.fft_rfftn(x, s, dim, norm)


# aten::fft_irfft2
# complex aten::fft_irfft2
def fft_irfft2(self, x: Tensor, s: Optional[List[int]], dim: List[int], norm: Optional[str]) -> Tensor:
    return self.fft_irfftn(x, s, dim, norm)


# aten::fft_hfft2
# complex aten::fft_hfft2
def fft_hfft2(self, x: Tensor, s: Optional[List[int]], dim: List[int], norm: Optional[str]) -> Tensor:
    return self.fft_hfftn(x, s, dim, norm)


# aten::fft_ihfft2
def fft_ihfft2(self, x: Tensor, s: Optional[List[int]], dim: List[int], norm: Optional[str]) -> Tensor:
    return self.fft_ihfftn(x, s, dim, norm)


def fft_shift_axes(self, x: Tensor, dim: Optional[List[int]]) -> List[int]:
    if dim is None:
        return [i for i in range(x.dim())]
    return dim


# aten::fft_fftshift
# complex aten::fft_fftshift
def fft_fftshift(self, x: Tensor, dim: Optional[List[int]]) -> Tensor:
    axes = self.fft_shift_axes(x, dim)
    return torch.roll(x, [x.size(d) // 2 for d in axes], axes)


# aten::fft_ifftshift
# complex aten::fft_ifftshift
def fft_ifftshift(self, x: Tensor, dim: Optional[List[int]]) -> Tensor:
    axes = self.fft_shift_axes(x, dim)
    return torch.roll(x, [(x.size(d) + 1) // 2 for d in axes], axes)


# ---- Frames of a signal ----


# The window of n elements, in the middle of them.
def stft_window(self, x: Tensor, window: Optional[Tensor], length: int, n: int) -> Tensor:
    if window is None:
        middle = torch.ones([length])
    else:
        middle = window
        if middle.is_complex():
            raise AssertionError("a complex window; take a real one")
    left = (n - length) // 2
    if length < n:
        middle = torch.constant_pad_nd(middle, [left, n - length - left], 0)
    return middle


# Frames times window times table, as a convolution: an output channel for each frequency.
def stft_frames(self, x: Tensor, n_fft: int, hop: int, window: Tensor, count: int, scale: float) -> Tensor:
    cosines, sines = self.fourier_tables(n_fft, count, n_fft, scale)
    window = window.to(6)
    rows = x.unsqueeze(0).unsqueeze(0) if x.dim() == 1 else x.unsqueeze(1)
    real = torch.conv1d(rows, (cosines * window).unsqueeze(1), None, hop)
    imag = torch.conv1d(rows, (-sines * window).unsqueeze(1), None, hop)
    if x.dim() == 1:
        real, imag = real.squeeze(0), imag.squeeze(0)
    return torch.complex(real, imag)


# aten::stft
def stft(self, x: Tensor, n_fft: int, hop_length: Optional[int], win_length: Optional[int], window: Optional[Tensor], normalized: bool,
         onesided: Optional[bool], return_complex: Optional[bool], align_to_window: Optional[bool]) -> Tensor:
    if align_to_window is not None and align_to_window:
        raise AssertionError("align_to_window; pad the signal before the call")
    hop = n_fft // 4 if hop_length is None else hop_length
    length = n_fft if win_length is None else win_length
    oneside = True if onesided is None else onesided
    scale = 1.0 / float(n_fft) ** 0.5 if normalized else 1.0
    if not x.is_floating_point():
        x = x.to(6)
    result = self.stft_frames(x, n_fft, hop, self.stft_window(x, window, length, n_fft), n_fft // 2 + 1 if oneside else n_fft, scale)
    if return_complex is None or not return_complex:
        return torch.view_as_real(result)
    return result


# aten::stft.center
def stft_center(self, x: Tensor, n_fft: int, hop_length: Optional[int], win_length: Optional[int], window: Optional[Tensor],
                center: bool, pad_mode: str, normalized: bool, onesided: Optional[bool], return_complex: Optional[bool],
                align_to_window: Optional[bool]) -> Tensor:
    if center:
        half = n_fft // 2
        rows = x.unsqueeze(0).unsqueeze(0) if x.dim() == 1 else x.unsqueeze(1)
        rows = torch.pad(rows, [half, half], pad_mode)
        x = rows.squeeze(0).squeeze(0) if x.dim() == 1 else rows.squeeze(1)
    return self.stft(x, n_fft, hop_length, win_length, window, normalized, onesided, return_complex, align_to_window)


# aten::istft
# complex aten::istft
# Each frame's inverse transform times the window, added where frames overlap, over the same sum of the squared window (Griffin and
# Lim, "Signal Estimation from Modified Short-Time Fourier Transform", 1984).
def istft(self, x: Tensor, n_fft: int, hop_length: Optional[int], win_length: Optional[int], window: Optional[Tensor], center: bool,
          normalized: bool, onesided: Optional[bool], length: Optional[int], return_complex: bool) -> Tensor:
    if return_complex:
        raise AssertionError("a complex signal of istft; transform its real and imaginary part")
    hop = n_fft // 4 if hop_length is None else hop_length
    width = n_fft if win_length is None else win_length
    if x.is_complex():
        real, imag = torch.real(x), torch.imag(x)
    else:
        real, imag = x.select(-1, 0), x.select(-1, 1)
    bins = real.size(-2)
    oneside = bins != n_fft if onesided is None else onesided
    scale = 1.0 / float(n_fft) ** 0.5 if normalized else 1.0 / float(n_fft)
    taper = self.stft_window(real, window, width, n_fft).to(6)
    cosines, sines = self.fourier_tables(n_fft, bins, n_fft, scale)
    if oneside:
        k = torch.arange(bins).unsqueeze(1)
        weights = torch.where((k == 0) | (2 * k == n_fft), 1.0, 2.0).to(6)
        cosines, sines = cosines * weights, sines * weights
    batched = real.dim() == 3
    if not batched:
        real, imag = real.unsqueeze(0), imag.unsqueeze(0)
    signal = torch.conv_transpose1d(real, (cosines * taper).unsqueeze(1), None, hop)
    signal = signal + torch.conv_transpose1d(imag, (-sines * taper).unsqueeze(1), None, hop)
    frames = real.size(-1)
    envelope = torch.conv_transpose1d(torch.ones([1, 1, frames]), (taper * taper).reshape([1, 1, n_fft]), None, hop)
    total = n_fft + hop * (frames - 1)
    begin = n_fft // 2 if center else 0
    end = total - begin if center else total
    if length is not None:
        end = begin + length
    stop = end if end < total else total
    signal, envelope = signal.slice(-1, begin, stop), envelope.slice(-1, begin, stop)
    signal = (signal / envelope).squeeze(1)
    if end > total:
        signal = torch.constant_pad_nd(signal, [0, end - total], 0)
    return signal if batched else signal.squeeze(0)
