"""Integers of other libraries' quantisation: tensors of int8 or uint8, with scale and zero point beside them."""

from typing import List, Optional, Tuple

import torch
from torch import Tensor


# ---- torch.ao.quantization ----


# quantized_decomposed::quantize_per_tensor
def integers_of(self, x: Tensor, scale: float, zero_point: int, quant_min: int, quant_max: int, dtype: int) -> Tensor:
    return torch.clamp(torch.round(x * (1.0 / scale)) + zero_point, quant_min, quant_max).to(dtype)


# quantized_decomposed::quantize_per_tensor.tensor
def integers_by_tensors(self, x: Tensor, scale: Tensor, zero_point: Tensor, quant_min: int, quant_max: int, dtype: int) -> Tensor:
    return torch.clamp(torch.round(x * torch.reciprocal(scale)) + zero_point, quant_min, quant_max).to(dtype)


# quantized_decomposed::dequantize_per_tensor
def numbers_of(self, x: Tensor, scale: float, zero_point: int, quant_min: int, quant_max: int, dtype: int, out_dtype: Optional[int]) -> Tensor:
    return ((x.to(6) - zero_point) * scale).to(6 if out_dtype is None else out_dtype)


# quantized_decomposed::dequantize_per_tensor.tensor
def numbers_by_tensors(self, x: Tensor, scale: Tensor, zero_point: Tensor, quant_min: int, quant_max: int, dtype: int,
                       out_dtype: Optional[int]) -> Tensor:
    return ((x.to(6) - zero_point) * scale).to(6 if out_dtype is None else out_dtype)


# quantized_decomposed::quantize_per_channel
def integers_of_channels(self, x: Tensor, scales: Tensor, zero_points: Tensor, axis: int, quant_min: int, quant_max: int, dtype: int) -> Tensor:
    shape = [1] * x.dim()
    shape[axis] = -1
    return self.integers_by_tensors(x, scales.reshape(shape), zero_points.reshape(shape), quant_min, quant_max, dtype)


# quantized_decomposed::dequantize_per_channel
def numbers_of_channels(self, x: Tensor, scales: Tensor, zero_points: Optional[Tensor], axis: int, quant_min: int, quant_max: int, dtype: int,
                        out_dtype: Optional[int]) -> Tensor:
    shape = [1] * x.dim()
    shape[axis] = -1
    numbers = x.to(6)
    if zero_points is not None:
        numbers = numbers - zero_points.reshape(shape)
    return (numbers * scales.reshape(shape)).to(6 if out_dtype is None else out_dtype)


# quantized_decomposed::dequantize_per_channel_group
def numbers_of_groups(self, x: Tensor, scales: Tensor, zero_points: Optional[Tensor], quant_min: int, quant_max: int, dtype: int, group_size: int,
                      output_dtype: int) -> Tensor:
    size = x.size(-1) if group_size > x.size(-1) and scales.size(-1) == 1 else group_size
    numbers = x.to(6).reshape([-1, size])
    if zero_points is not None:
        numbers = numbers - zero_points.reshape([-1, 1])
    return (numbers * scales.reshape([-1, 1])).reshape(x.shape).to(output_dtype)


# quantized_decomposed::choose_qparams_per_token_asymmetric
def steps_of_tokens(self, x: Tensor, dtype: int) -> Tuple[Tensor, Tensor]:
    low = torch.clamp_max(torch.amin(x, [-1], True), 0.0)
    high = torch.clamp_min(torch.amax(x, [-1], True), 0.0)
    scale = torch.clamp_min((high - low) / 255.0, 1.1920928955078125e-07)
    below, above = low / scale, high / scale
    zero = torch.where(below + above - 1.0 > 0, -128.0 - below, 127.0 - above)
    return scale.to(7), torch.round(torch.clamp(zero, -128.0, 127.0)).to(4)


# quantized_decomposed::quantize_per_token
def integers_of_tokens(self, x: Tensor, scales: Tensor, zero_points: Tensor, quant_min: int, quant_max: int, dtype: int) -> Tensor:
    return torch.round(x * torch.reciprocal(scales) + zero_points).clamp(quant_min, quant_max).to(dtype)


# quantized_decomposed::dequantize_per_token
def numbers_of_tokens(self, x: Tensor, scales: Tensor, zero_points: Tensor, quant_min: int, quant_max: int, dtype: int, output_dtype: int) -> Tensor:
    return ((x.to(6) - zero_points) * scales).to(output_dtype)


# ---- torchao ----


# Blocks as axes of their own: [4, 64] in blocks of [1, 32] is [4, 2, 32]; what a scale has of it is [4, 2, 1].
def block_shape(self, x: Tensor, block_size: List[int], scales: bool) -> List[int]:
    shape: List[int] = []
    for i in range(len(block_size)):
        if block_size[i] > 1 and block_size[i] != x.size(i):
            shape.append(x.size(i) // block_size[i])
            shape.append(1 if scales else block_size[i])
        else:
            shape.append(1 if scales and block_size[i] != 1 else x.size(i))
    return shape


# torchao::quantize_affine
def integers_of_blocks(self, x: Tensor, block_size: List[int], scale: Tensor, zero_point: Optional[Tensor], output_dtype: int, quant_min: Optional[number],
                       quant_max: Optional[number]) -> Tensor:
    if quant_min is None or quant_max is None:
        raise AssertionError("the least and the largest integer have to be given: quant_min, quant_max")
    shape = self.block_shape(x, block_size, True)
    steps = torch.round(x.reshape(self.block_shape(x, block_size, False)) * torch.reciprocal(scale.reshape(shape)))
    if zero_point is not None:
        steps = steps + zero_point.reshape(shape)
    return steps.clamp(quant_min, quant_max).reshape(x.shape).to(output_dtype)


# torchao::dequantize_affine
def numbers_of_blocks(self, x: Tensor, block_size: List[int], scale: Tensor, zero_point: Optional[Tensor], input_dtype: int, quant_min: Optional[number],
                      quant_max: Optional[number], output_dtype: int) -> Tensor:
    shape = self.block_shape(x, block_size, True)
    numbers = x.to(output_dtype).reshape(self.block_shape(x, block_size, False))
    if zero_point is not None:
        numbers = numbers - zero_point.reshape(shape).to(output_dtype)
    return (numbers * scale.reshape(shape)).reshape(x.shape).to(output_dtype)


# torchao::choose_qparams_affine
def steps_of_blocks(self, x: Tensor, mapping_type: str, block_size: List[int], target_dtype: int, quant_min: Optional[number], quant_max: Optional[number],
                    eps: Optional[float], scale_dtype: Optional[int], zero_point_dtype: Optional[int], keepdim: bool) -> Tuple[Tensor, Tensor]:
    if quant_min is None or quant_max is None:
        raise AssertionError("the least and the largest integer have to be given: quant_min, quant_max")
    least, most = float(quant_min), float(quant_max)
    blocks = x.reshape(self.block_shape(x, block_size, False))
    axes: List[int] = []
    sizes: List[int] = []
    axis = 0
    for i in range(len(block_size)):
        if block_size[i] > 1 and block_size[i] != x.size(i):
            axes.append(axis + 1)
            sizes.append(x.size(i) // block_size[i])
            axis += 2
        else:
            if block_size[i] != 1:
                axes.append(axis)
            if block_size[i] == 1 or keepdim:
                sizes.append(x.size(i) if block_size[i] == 1 else 1)
            axis += 1
    low = torch.clamp_max(torch.amin(blocks, axes, True), 0.0)
    high = torch.clamp_min(torch.amax(blocks, axes, True), 0.0)
    if mapping_type == "ASYMMETRIC":
        scale = (high - low) / (most - least)
    elif mapping_type == "SYMMETRIC":
        scale = torch.maximum(-low, high) / ((most - least) / 2)
    else:
        scale = torch.maximum(low / least, high / most)
    scale = torch.clamp_min(scale, 1.1754943508222875e-38 if eps is None else eps)
    if mapping_type == "ASYMMETRIC":
        zero = torch.clamp(least - torch.round(low / scale), least, most)
        zero_type = 3 if zero_point_dtype is None else zero_point_dtype
    else:
        zero = torch.full_like(scale, float(int((most + least + 1) / 2)))
        zero_type = x.dtype if zero_point_dtype is None else zero_point_dtype
    return scale.reshape(sizes).to(x.dtype if scale_dtype is None else scale_dtype), zero.reshape(sizes).to(zero_type)


# ---- Weights of PyTorch's own kernels ----


# aten::_weight_int8pack_mm
def weight_int8_product(self, x: Tensor, weight: Tensor, scales: Tensor) -> Tensor:
    return torch.matmul(x, weight.to(x.dtype).t()) * scales
