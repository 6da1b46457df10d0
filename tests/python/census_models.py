"""Small models of every operation family, converted by make_census.py: (name, module or function, inputs, dynamic).

`dynamic` is the axis of the first input that is converted as 2 up to its size; None where all are fixed.
"""

import torch
import torch.nn.functional as F
from torch import nn

CASES = []


def f32(*shape):
    return torch.rand(shape) + 0.5


def f16(*shape):
    return f32(*shape).half()


def i32(*shape, high=4):
    return torch.randint(0, high, shape, dtype=torch.int32)


class Function(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, *args):
        return self.function(*args)


def case(name, body, *inputs, dynamic=None):
    CASES.append((name, body if isinstance(body, nn.Module) else Function(body), inputs, dynamic))


# Elementwise, one operand
for name in ("abs acos asin atan atanh ceil cos cosh erf exp exp2 floor log neg reciprocal relu round rsqrt sigmoid sign "
             "sin sinh sqrt square tan tanh log2 log10 log1p expm1 acosh asinh frac trunc").split():
    case(name, getattr(torch, name), f32(2, 12) * 0.4)
for name in ("abs", "neg", "sign", "square", "relu"):
    case(f"{name}_int", getattr(torch, name), i32(2, 12))

# Activations
for name, module in {
    "elu": nn.ELU(0.7), "gelu": nn.GELU(), "gelu_tanh": nn.GELU("tanh"), "hardsigmoid": nn.Hardsigmoid(), "hardswish": nn.Hardswish(),
    "leaky_relu": nn.LeakyReLU(0.1), "log_softmax": nn.LogSoftmax(-1), "mish": nn.Mish(), "prelu": nn.PReLU(3),
    "relu6": nn.ReLU6(), "selu": nn.SELU(), "silu": nn.SiLU(), "softmax": nn.Softmax(1), "softplus": nn.Softplus(),
    "softplus_beta": nn.Softplus(2.0), "softsign": nn.Softsign(), "threshold": nn.Threshold(0.1, 0.2), "hardtanh": nn.Hardtanh(-0.5, 0.5),
    "glu": nn.GLU(-1), "logsigmoid": nn.LogSigmoid(), "celu": nn.CELU(0.5), "tanhshrink": nn.Tanhshrink(), "hardshrink": nn.Hardshrink(),
    "softshrink": nn.Softshrink(),
}.items():
    case(name, module, f32(2, 3, 12, 4) - 1)
case("relu6_function", F.relu6, f32(2, 3, 12, 4) - 1)

# Elementwise, two operands: tensors, broadcasting, numbers, constants
binary = {
    "add": torch.add, "sub": torch.sub, "mul": torch.mul, "div": torch.div, "maximum": torch.maximum, "minimum": torch.minimum,
    "pow": torch.pow, "floor_divide": torch.floor_divide, "remainder": torch.remainder, "fmod": torch.fmod, "atan2": torch.atan2,
}
for name, function in binary.items():
    case(name, function, f32(2, 12), f32(2, 12))
    case(f"{name}_broadcast", function, f32(2, 12), f32(12))
    case(f"{name}_constant", lambda x, f=function, c=f32(2, 12): f(x, c), f32(2, 12))
    case(f"{name}_constant_left", lambda x, f=function, c=f32(2, 12): f(c, x), f32(2, 12))
    if name not in ("atan2",):
        case(f"{name}_int", function, i32(2, 12) + 1, i32(2, 12) + 1)
    if name not in ("maximum", "minimum", "atan2"):
        case(f"{name}_number", lambda x, f=function: f(x, 2.5), f32(2, 12))
        case(f"{name}_int_number", lambda x, f=function: f(x, 2), i32(2, 12))
    if name not in ("atan2", "maximum", "minimum"):
        case(f"{name}_mixed", function, f32(2, 12), i32(2, 12) + 1)
case("add_alpha", lambda x, y: torch.add(x, y, alpha=3), f32(2, 12), f32(2, 12))
case("sub_alpha", lambda x, y: torch.sub(x, y, alpha=0.5), f32(2, 12), f32(2, 12))
case("rsub", lambda x: 1.0 - x, f32(2, 12))
case("rsub_int", lambda x: 7 - x, i32(2, 12))
case("reciprocal_number", lambda x: 1.0 / x, f32(2, 12))
case("div_floor", lambda x, y: torch.div(x, y, rounding_mode="floor"), f32(2, 12), f32(2, 12))
case("div_trunc", lambda x, y: torch.div(x, y, rounding_mode="trunc"), f32(2, 12), f32(2, 12))
case("div_trunc_int", lambda x, y: torch.div(x, y, rounding_mode="trunc"), i32(2, 12), i32(2, 12) + 1)
case("addcmul", lambda x, y, z: torch.addcmul(x, y, z, value=0.5), f32(2, 12), f32(2, 12), f32(2, 12))
case("addcdiv", lambda x, y, z: torch.addcdiv(x, y, z, value=0.5), f32(2, 12), f32(2, 12), f32(2, 12))
case("lerp", lambda x, y: torch.lerp(x, y, 0.3), f32(2, 12), f32(2, 12))
case("pow_left_number", lambda x: 2.0 ** x, f32(2, 12))

# Comparison and logic
for name in ("eq", "ne", "lt", "le", "gt", "ge"):
    function = getattr(torch, name)
    case(name, lambda x, y, f=function: f(x, y).float(), f32(2, 12), f32(2, 12))
    case(f"{name}_number", lambda x, f=function: f(x, 0.7).float(), f32(2, 12))
    case(f"{name}_int", lambda x, y, f=function: f(x, y).int(), i32(2, 12), i32(2, 12))
    case(f"{name}_int_number", lambda x, f=function: f(x, 2).int(), i32(2, 12))
for name in ("logical_and", "logical_or", "logical_xor"):
    case(name, lambda x, y, f=getattr(torch, name): f(x > 1, y > 1).float(), f32(2, 12), f32(2, 12))
case("logical_not", lambda x: torch.logical_not(x > 1).float(), f32(2, 12))
case("bitwise_not", lambda x: (~(x > 1)).float(), f32(2, 12))
case("bitwise_and", lambda x, y: ((x > 1) & (y > 1)).float(), f32(2, 12), f32(2, 12))
case("bool_to_int", lambda x: (x > 1).int(), f32(2, 12))
case("where", lambda x, y: torch.where(x > y, x, y), f32(2, 12), f32(2, 12))
case("where_number", lambda x: torch.where(x > 1, x, torch.zeros_like(x)), f32(2, 12))
case("where_scalars", lambda x: torch.where(x > 1, 1.0, 2.0), f32(2, 12))
case("where_int", lambda x, y: torch.where(x > y, x, y), i32(2, 12), i32(2, 12))
case("where_bool_buffer", lambda x, m=torch.rand(2, 12) > 0.5: torch.where(m, x, x * 2), f32(2, 12))
case("masked_fill", lambda x: x.masked_fill(x > 1, -1.0), f32(2, 12))
case("masked_fill_buffer", lambda x, m=torch.rand(2, 12) > 0.5: x.masked_fill(m, float("-inf")).softmax(-1), f32(2, 12))
case("clamp", lambda x: x.clamp(0.6, 1.2), f32(2, 12))
case("clamp_min", lambda x: x.clamp(min=0.6), f32(2, 12))
case("clamp_max", lambda x: x.clamp(max=0.6), f32(2, 12))
case("clamp_int", lambda x: x.clamp(1, 2), i32(2, 12))
case("isnan", lambda x: torch.isnan(x).float(), f32(2, 12))

# Casts
case("to_int", lambda x: x.to(torch.int32), f32(2, 12))
case("to_int64", lambda x: x.to(torch.int64) + 1, f32(2, 12))
case("to_half", lambda x: x.half() * 2, f32(2, 12))
case("to_bool", lambda x: x.bool().float(), f32(2, 12))
case("int_to_float", lambda x: x.float() * 0.5, i32(2, 12))
case("int_to_bool", lambda x: x.bool().int(), i32(2, 12))
case("half_to_int", lambda x: x.to(torch.int32), f16(2, 12))
case("half_to_float", lambda x: x.float() * 2, f16(2, 12))
case("type_as", lambda x, y: x.type_as(y) + y, i32(2, 12), f32(2, 12))

# Reductions
for name in ("sum", "mean", "amax", "amin", "prod", "logsumexp"):
    function = getattr(torch, name)
    case(f"{name}_last", lambda x, f=function: f(x, -1), f32(2, 3, 12))
    case(f"{name}_keep", lambda x, f=function: f(x, 1, keepdim=True), f32(2, 3, 12))
for name in ("sum", "mean", "amax", "amin"):
    case(f"{name}_axes", lambda x, f=getattr(torch, name): f(x, (1, 2)), f32(2, 3, 12))
for name in ("sum", "mean", "max", "min", "prod"):
    case(f"{name}_all", getattr(torch, name), f32(2, 3, 12))
case("sum_int", lambda x: x.sum(1), i32(2, 12))
case("max_dim", lambda x: torch.max(x, 1), f32(2, 12))
case("min_dim", lambda x: torch.min(x, 1, keepdim=True), f32(2, 12))
case("max_dim_values", lambda x: torch.max(x, 1)[0], f32(2, 12))
case("argmax", lambda x: torch.argmax(x, -1).int(), f32(2, 12))
case("argmin", lambda x: torch.argmin(x, -1, keepdim=True).int(), f32(2, 12))
case("norm", lambda x: torch.norm(x, dim=-1), f32(2, 12))
case("norm1", lambda x: torch.norm(x, p=1, dim=-1, keepdim=True), f32(2, 12))
case("linalg_norm", lambda x: torch.linalg.vector_norm(x, dim=-1, keepdim=True), f32(2, 12))
case("var", lambda x: torch.var(x, -1, unbiased=False), f32(2, 12))
case("var_unbiased", lambda x: torch.var(x, -1, keepdim=True), f32(2, 12))
case("std", lambda x: torch.std(x, -1, unbiased=False), f32(2, 12))
case("cumsum", lambda x: torch.cumsum(x, 1), f32(2, 12))
case("cumsum_int", lambda x: torch.cumsum(x, 1), i32(2, 12))
case("any", lambda x: torch.any(x > 1, 1).float(), f32(2, 12))
case("all", lambda x: torch.all(x > 1, 1).float(), f32(2, 12))
case("topk", lambda x: torch.topk(x, 3), f32(2, 12))
case("topk_smallest", lambda x: torch.topk(x, 3, largest=False)[0], f32(2, 12))
case("sort", lambda x: torch.sort(x, -1)[0], f32(2, 12))
case("argsort", lambda x: torch.argsort(x, -1).int(), f32(2, 12))
case("softmax_float", lambda x: F.softmax(x, -1, dtype=torch.float32), f32(2, 12))
case("normalize", lambda x: F.normalize(x, dim=-1), f32(2, 12))
case("cosine_similarity", lambda x, y: F.cosine_similarity(x, y, dim=1), f32(2, 12), f32(2, 12))

# Linear algebra
for bias in (True, False):
    tag = "" if bias else "_no_bias"
    case(f"linear{tag}", nn.Linear(12, 20, bias=bias), f32(2, 12))
    case(f"linear_rank3{tag}", nn.Linear(12, 20, bias=bias), f32(2, 3, 12))
    case(f"linear_rank4{tag}", nn.Linear(12, 20, bias=bias), f32(2, 3, 5, 12))
    case(f"linear_vector{tag}", nn.Linear(12, 20, bias=bias), f32(12))
case("linear_small", nn.Linear(2, 3), f32(2, 2))
case("linear_given_weight", F.linear, f32(2, 12), f32(5, 12))
case("linear_given_bias", F.linear, f32(2, 12), f32(5, 12), f32(5))
case("matmul", torch.matmul, f32(2, 12), f32(12, 5))
case("matmul_batched", torch.matmul, f32(2, 3, 4, 12), f32(2, 3, 12, 5))
case("matmul_transposed", lambda x, y: x @ y.transpose(-1, -2), f32(2, 4, 12), f32(2, 5, 12))
case("matmul_constant", lambda x, c=f32(12, 5): x @ c, f32(2, 12))
case("matmul_constant_left", lambda x, c=f32(5, 12): c @ x, f32(12, 2))
case("matmul_vector", torch.matmul, f32(2, 12), f32(12))
case("bmm", torch.bmm, f32(2, 4, 12), f32(2, 12, 5))
case("mm", torch.mm, f32(2, 12), f32(12, 5))
case("mv", torch.mv, f32(2, 12), f32(12))
case("addmm", lambda x, b=f32(5), w=f32(12, 5): torch.addmm(b, x, w), f32(2, 12))
case("addmm_scaled", lambda x, b=f32(5), w=f32(12, 5): torch.addmm(b, x, w, beta=0.5, alpha=2.0), f32(2, 12))
case("addmm_values", torch.addmm, f32(2, 5), f32(2, 12), f32(12, 5))
case("baddbmm", torch.baddbmm, f32(2, 4, 5), f32(2, 4, 12), f32(2, 12, 5))
case("einsum", lambda x, y: torch.einsum("bhid,bhjd->bhij", x, y), f32(2, 3, 4, 12), f32(2, 3, 5, 12))
case("einsum_product", lambda x, y: torch.einsum("bij,bjk->bik", x, y), f32(2, 4, 12), f32(2, 12, 5))
case("outer", torch.outer, f32(4), f32(5))

# Convolution and pooling
for bias in (True, False):
    tag = "" if bias else "_no_bias"
    case(f"conv1d{tag}", nn.Conv1d(4, 6, 3, bias=bias), f32(2, 4, 12))
    case(f"conv2d{tag}", nn.Conv2d(4, 6, 3, bias=bias), f32(2, 4, 12, 12))
    case(f"conv3d{tag}", nn.Conv3d(2, 3, 3, bias=bias), f32(2, 2, 6, 6, 6))
    case(f"conv_transpose1d{tag}", nn.ConvTranspose1d(4, 6, 3, bias=bias), f32(2, 4, 12))
    case(f"conv_transpose2d{tag}", nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1, output_padding=1, bias=bias), f32(2, 4, 12, 12))
    case(f"conv_bn{tag}", nn.Sequential(nn.Conv2d(4, 6, 3, bias=bias), nn.BatchNorm2d(6)), f32(2, 4, 12, 12))
case("conv2d_strided", nn.Conv2d(4, 6, 3, stride=2, padding=1, dilation=2), f32(2, 4, 12, 12))
case("conv2d_groups", nn.Conv2d(4, 8, 3, groups=4), f32(2, 4, 12, 12))
case("conv2d_same", nn.Conv2d(4, 6, 3, padding="same"), f32(2, 4, 12, 12))
case("conv2d_same_even", nn.Conv2d(4, 6, 4, padding="same"), f32(2, 4, 12, 12))
case("conv2d_reflect", nn.Conv2d(4, 6, 3, padding=1, padding_mode="reflect"), f32(2, 4, 12, 12))
case("conv2d_values", F.conv2d, f32(2, 4, 12, 12), f32(6, 4, 3, 3))
case("conv2d_1x1", nn.Conv2d(12, 20, 1), f32(2, 12, 4, 4))
for dims, shape in (("1d", (2, 4, 12)), ("2d", (2, 4, 12, 12))):
    case(f"max_pool{dims}", getattr(nn, f"MaxPool{dims}")(2), f32(*shape))
    case(f"max_pool{dims}_padded", getattr(nn, f"MaxPool{dims}")(3, stride=2, padding=1), f32(*shape))
    case(f"max_pool{dims}_ceil", getattr(nn, f"MaxPool{dims}")(3, stride=2, ceil_mode=True), f32(*shape))
    case(f"avg_pool{dims}", getattr(nn, f"AvgPool{dims}")(2), f32(*shape))
    case(f"avg_pool{dims}_padded", getattr(nn, f"AvgPool{dims}")(3, stride=2, padding=1, count_include_pad=False), f32(*shape))
    case(f"avg_pool{dims}_ceil", getattr(nn, f"AvgPool{dims}")(3, stride=2, padding=1, ceil_mode=True), f32(*shape))
    case(f"adaptive_avg_pool{dims}_1", getattr(nn, f"AdaptiveAvgPool{dims}")(1), f32(*shape))
    case(f"adaptive_avg_pool{dims}_3", getattr(nn, f"AdaptiveAvgPool{dims}")(3), f32(*shape))
    case(f"adaptive_max_pool{dims}_1", getattr(nn, f"AdaptiveMaxPool{dims}")(1), f32(*shape))
case("max_pool3d", nn.MaxPool3d(2), f32(2, 2, 6, 6, 6))
case("adaptive_avg_pool2d_uneven", nn.AdaptiveAvgPool2d((5, 7)), f32(2, 4, 12, 12))

# Normalisation
case("batch_norm1d", nn.BatchNorm1d(12), f32(2, 12))
case("batch_norm1d_rank3", nn.BatchNorm1d(12), f32(2, 12, 5))
case("batch_norm2d", nn.BatchNorm2d(12), f32(2, 12, 4, 4))
case("batch_norm2d_plain", nn.BatchNorm2d(12, affine=False), f32(2, 12, 4, 4))
case("batch_norm3d", nn.BatchNorm3d(12), f32(2, 12, 4, 4, 4))
case("layer_norm", nn.LayerNorm(12), f32(2, 3, 12))
case("layer_norm_plain", nn.LayerNorm(12, elementwise_affine=False), f32(2, 3, 12))
case("layer_norm_no_bias", nn.LayerNorm(12, bias=False), f32(2, 3, 12))
case("layer_norm_axes", nn.LayerNorm((3, 12)), f32(2, 3, 12))
case("group_norm", nn.GroupNorm(3, 12), f32(2, 12, 4, 4))
case("group_norm_plain", nn.GroupNorm(3, 12, affine=False), f32(2, 12, 4, 4))
case("group_norm_rank3", nn.GroupNorm(3, 12), f32(2, 12, 5))
case("instance_norm", nn.InstanceNorm2d(12, affine=True), f32(2, 12, 4, 4))
case("instance_norm_plain", nn.InstanceNorm2d(12), f32(2, 12, 4, 4))
case("instance_norm1d", nn.InstanceNorm1d(12, affine=True), f32(2, 12, 5))
case("rms_norm", lambda x, w=f32(12): x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6) * w, f32(2, 3, 12))
case("local_response_norm", nn.LocalResponseNorm(2), f32(2, 4, 6, 6))

# Shapes
case("reshape", lambda x: x.reshape(3, 8), f32(2, 12))
case("view_minus_one", lambda x: x.view(-1, 4), f32(2, 12))
case("flatten", lambda x: torch.flatten(x, 1), f32(2, 3, 4))
case("flatten_all", lambda x: torch.flatten(x), f32(2, 3, 4))
case("reshape_bool", lambda x: (x > 1).reshape(3, 8).float(), f32(2, 12))
case("reshape_int", lambda x: x.reshape(3, 8), i32(2, 12))
case("permute", lambda x: x.permute(2, 0, 1), f32(2, 3, 4))
case("permute_int", lambda x: x.permute(2, 0, 1), i32(2, 3, 4))
case("transpose", lambda x: x.transpose(1, 2), f32(2, 3, 4))
case("squeeze", lambda x: x.squeeze(1), f32(2, 1, 4))
case("squeeze_all", lambda x: x.squeeze(), f32(2, 1, 4))
case("unsqueeze", lambda x: x.unsqueeze(1), f32(2, 4))
case("unsqueeze_int", lambda x: x.unsqueeze(1), i32(2, 4))
case("unsqueeze_bool", lambda x: (x > 1).unsqueeze(1).float(), f32(2, 4))
case("expand", lambda x: x.expand(2, 3, 4), f32(2, 1, 4))
case("expand_int", lambda x: x.expand(2, 3, 4), i32(2, 1, 4))
case("expand_as", lambda x, y: x.expand_as(y) * y, f32(2, 1, 4), f32(2, 3, 4))
case("repeat", lambda x: x.repeat(2, 3), f32(2, 4))
case("repeat_int", lambda x: x.repeat(2, 3), i32(2, 4))
case("repeat_interleave", lambda x: x.repeat_interleave(2, dim=1), f32(2, 4))
case("flip", lambda x: x.flip(1), f32(2, 4))
case("roll", lambda x: x.roll(1, 1), f32(2, 4))
case("roll_dynamic", lambda x: x.roll(1, 1), f32(2, 4), dynamic=1)
case("unflatten", nn.Unflatten(1, (3, 4)), f32(2, 12))
case("unfold", nn.Unfold(2, stride=2), f32(2, 3, 4, 4))
case("pixel_shuffle", nn.PixelShuffle(2), f32(2, 8, 4, 4))
case("pixel_unshuffle", nn.PixelUnshuffle(2), f32(2, 2, 4, 4))
case("identity", lambda x: x, f32(2, 4))
case("identity_half", lambda x: x, f16(2, 4))
case("identity_int", lambda x: x, i32(2, 4))
case("triu", lambda x: x.triu(1), f32(4, 4))
case("tril", lambda x: x.tril(), f32(4, 4))
case("diagonal_mask", lambda x: x + torch.full((4, 4), float("-inf")).triu(1), f32(4, 4))

# Slices, gathers, joins
case("slice", lambda x: x[:, 1:3], f32(2, 12))
case("slice_step", lambda x: x[:, 1:9:2], f32(2, 12))
case("slice_end", lambda x: x[:, -3:], f32(2, 12))
case("slice_int", lambda x: x[:, 1:3], i32(2, 12))
case("slice_bool", lambda x: (x > 1)[:, 1:3].float(), f32(2, 12))
case("slice_two", lambda x: x[:, 1:3, 2:4], f32(2, 5, 6))
case("select", lambda x: x[:, 2], f32(2, 12))
case("select_last", lambda x: x[:, -1, :], f32(2, 3, 4))
case("select_int", lambda x: x[:, 2], i32(2, 12))
case("narrow", lambda x: x.narrow(1, 2, 4), f32(2, 12))
case("cat", lambda x, y: torch.cat((x, y), 1), f32(2, 3), f32(2, 4))
case("cat_three", lambda x, y, z: torch.cat((x, y, z), -1), f32(2, 3), f32(2, 4), f32(2, 5))
case("cat_int", lambda x, y: torch.cat((x, y), 1), i32(2, 3), i32(2, 4))
case("cat_mixed", lambda x, y: torch.cat((x, y), 1), f32(2, 3), i32(2, 4))
case("cat_constant", lambda x, c=f32(2, 12): torch.cat((x, c), 1), f32(2, 3))
case("cat_bool", lambda x, y: torch.cat((x > 1, y > 1), 1).float(), f32(2, 3), f32(2, 4))
case("stack", lambda x, y: torch.stack((x, y), 1), f32(2, 3), f32(2, 3))
case("stack_int", lambda x, y: torch.stack((x, y), 1), i32(2, 3), i32(2, 3))
case("split", lambda x: torch.split(x, 4, 1), f32(2, 12))
case("split_sizes", lambda x: torch.split(x, [3, 9], 1), f32(2, 12))
case("split_int", lambda x: torch.split(x, 4, 1), i32(2, 12))
case("chunk", lambda x: torch.chunk(x, 3, 1), f32(2, 12))
case("unbind", lambda x: torch.unbind(x, 0), f32(2, 12))
case("embedding", nn.Embedding(20, 12), i32(2, 5))
case("embedding_small", nn.Embedding(3, 2), i32(2, 5, high=3))
case("index_select", lambda x, i=torch.tensor([0, 2]): x.index_select(1, i), f32(2, 12))
case("index_select_value", lambda x, i: x.index_select(1, i), f32(2, 12), i32(3))
case("index_constant", lambda x, i=torch.tensor([0, 2]): x[:, i], f32(2, 12))
case("index_value", lambda x, i: x[i], f32(5, 12), i32(3))
case("index_two", lambda x, i, j: x[i, j], f32(5, 12), i32(3), i32(3))
case("gather", lambda x, i: torch.gather(x, 1, i.long()), f32(2, 12), i32(2, 3))
case("gather_int", lambda x, i: torch.gather(x, 1, i.long()), i32(2, 12), i32(2, 3))
case("scatter", lambda x, i, y: x.scatter(1, i.long(), y), f32(2, 12), i32(2, 3), f32(2, 3))
case("scatter_add", lambda x, i, y: x.scatter_add(1, i.long(), y), f32(2, 12), i32(2, 3), f32(2, 3))
case("index_put", lambda x, i, y: x.index_put((i.long(),), y), f32(5, 12), i32(3), f32(3, 12))
case("one_hot", lambda x: F.one_hot(x.long(), 5).float(), i32(2, 3))
case("select_scatter", lambda x, y: torch.select_scatter(x, y, 1, 2), f32(2, 12), f32(2))
case("slice_scatter", lambda x, y: torch.slice_scatter(x, y, 1, 2, 5), f32(2, 12), f32(2, 3))


def _slice_write(x, y):
    x = x.clone()
    x[:, 2:5] = y
    return x


def _select_write(x):
    x = x.clone()
    x[:, 3] = 0.0
    return x


def _fill_slices(x):
    out = x.new_zeros(2, 6)
    out[:, :3] = x
    out[:, 3:] = x * 2
    return out


case("slice_write", _slice_write, f32(2, 12), f32(2, 3))
case("select_write", _select_write, f32(2, 12))
case("fill_slices", _fill_slices, f32(2, 3))
for mode in ("constant", "reflect", "replicate"):
    case(f"pad_{mode}", lambda x, m=mode: F.pad(x, (1, 2), mode=m), f32(2, 3, 12))
    case(f"pad2d_{mode}", lambda x, m=mode: F.pad(x, (1, 2, 3, 1), mode=m), f32(2, 3, 12, 12))
case("pad_value", lambda x: F.pad(x, (1, 2), value=3.0), f32(2, 3, 12))
case("upsample_nearest", nn.Upsample(scale_factor=2), f32(2, 3, 4, 4))
case("upsample_bilinear", nn.Upsample(scale_factor=2, mode="bilinear"), f32(2, 3, 4, 4))
case("upsample_bilinear_corners", nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True), f32(2, 3, 4, 4))
case("interpolate_size", lambda x: F.interpolate(x, size=(7, 9), mode="bilinear", align_corners=False), f32(2, 3, 4, 4))
case("interpolate_nearest_size", lambda x: F.interpolate(x, size=(8, 12)), f32(2, 3, 4, 4))
case("interpolate1d", lambda x: F.interpolate(x, scale_factor=2.0), f32(2, 3, 4))

case("interpolate_down", lambda x: F.interpolate(x, scale_factor=0.5, mode="bilinear", align_corners=False), f32(2, 3, 8, 8))
case("embedding_large", nn.Embedding(70000, 2), i32(2, 5))
case("tile_small", lambda x: torch.tile(x, (2,)), f32(2, 4))
case("pad_int", lambda x: F.pad(x, (1, 2)), i32(2, 3, 12))
case("mul_three", lambda x, y: x * y * 0.5 + 1.0, f32(2, 12), f32(2, 12))
case("sign_of_difference", lambda x, y: torch.sign(x - y), f32(2, 12), f32(2, 12))

# Creation
case("zeros_like", lambda x: torch.zeros_like(x) + x, f32(2, 12))
case("ones_add", lambda x: x + torch.ones(2, 12), f32(2, 12))
case("full_add", lambda x: x + torch.full((2, 12), 0.3), f32(2, 12))
case("arange_add", lambda x: x + torch.arange(12), f32(2, 12))
case("positions", nn.Embedding(20, 12), torch.arange(5, dtype=torch.int32)[None])
case("meshgrid", lambda x, y: torch.meshgrid(x, y, indexing="ij"), f32(3), f32(4))

# Attention
def _attention(q, k, v):
    return F.scaled_dot_product_attention(q, k, v)


case("sdpa", _attention, f32(2, 3, 4, 8), f32(2, 3, 5, 8), f32(2, 3, 5, 8))
case("sdpa_rank3", _attention, f32(2, 4, 8), f32(2, 5, 8), f32(2, 5, 8))
case("sdpa_mask", lambda q, k, v, m=f32(4, 5): F.scaled_dot_product_attention(q, k, v, attn_mask=m), f32(2, 3, 4, 8), f32(2, 3, 5, 8), f32(2, 3, 5, 8))
case("sdpa_mask_value", lambda q, k, v, m: F.scaled_dot_product_attention(q, k, v, attn_mask=m), f32(2, 3, 4, 8), f32(2, 3, 5, 8), f32(2, 3, 5, 8), f32(2, 3, 4, 5))
case("sdpa_bool_mask", lambda q, k, v, m: F.scaled_dot_product_attention(q, k, v, attn_mask=m > 1), f32(2, 3, 4, 8), f32(2, 3, 5, 8), f32(2, 3, 5, 8), f32(2, 3, 4, 5))
case("sdpa_causal", lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True), f32(2, 3, 4, 8), f32(2, 3, 4, 8), f32(2, 3, 4, 8))


class MultiHead(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(16, 4, batch_first=True)

    def forward(self, x):
        return self.attention(x, x, x, need_weights=False)[0]


class HandAttention(nn.Module):
    def __init__(self):
        super().__init__()
        self.qkv = nn.Linear(16, 48)
        self.out = nn.Linear(16, 16)

    def forward(self, x):
        b, t, c = x.shape
        q, k, v = (part.view(b, t, 4, c // 4).transpose(1, 2) for part in self.qkv(x).chunk(3, -1))
        scores = q @ k.transpose(-2, -1) / 2.0
        mask = torch.ones(t, t, dtype=torch.bool).tril()
        scores = scores.masked_fill(~mask, float("-inf"))
        return self.out((scores.softmax(-1) @ v).transpose(1, 2).reshape(b, t, c))


case("multi_head", MultiHead(), f32(2, 5, 16))
case("hand_attention", HandAttention(), f32(2, 5, 16))
case("encoder_layer", nn.TransformerEncoderLayer(16, 4, 32, batch_first=True), f32(2, 5, 16))
case("encoder_layer_gelu", nn.TransformerEncoderLayer(16, 4, 32, activation="gelu", norm_first=True, batch_first=True), f32(2, 5, 16))
case("lstm", nn.LSTM(12, 16, batch_first=True), f32(2, 5, 12))
case("gru", nn.GRU(12, 16, batch_first=True), f32(2, 5, 12))
case("lora", lambda x, w=f32(20, 12), b=f32(20), p=f32(4, 12), q=f32(20, 4): F.linear(x, w, b) + F.linear(F.linear(x, p), q) * 0.25, f32(2, 12))


# Control flow, kept by scripting
class Branch(nn.Module):
    def forward(self, x):
        if bool(x.sum() > 3.0):
            y = x * 2.0
        else:
            y = x - 1.0
        return y


class Loop(nn.Module):
    def forward(self, x):
        i = 0
        while bool(x.sum() < 100.0) and i < 7:
            x = x * 2.0
            i += 1
        return x


class For(nn.Module):
    def forward(self, x, n):
        for _ in range(int(n)):
            x = x + 1.0
        return x


case("script_if", torch.jit.script(Branch()), f32(2, 12))
case("script_while", torch.jit.script(Loop()), f32(2, 12))
case("script_for", torch.jit.script(For()), f32(2, 12), i32(1))
