"""Small PyTorch models of every operation family that coremltools converts, for plait to run.

CASES maps a name to (function or module, inputs). Inputs are float32 or int32 arrays; a case's name says its
family before the dot.
"""

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

CASES = {}
torch.backends.mha.set_fastpath_enabled(False)  # fused layers trace as operations that nothing converts


def arrays(*shapes, seed=0, scale=1.0):
    rng = np.random.default_rng(seed)
    return tuple(torch.from_numpy((rng.standard_normal(shape) * scale).astype(np.float32)) for shape in shapes)


def add(name, model, *inputs):
    assert name not in CASES, name
    CASES[name] = model, inputs


class Apply(nn.Module):
    """A function as a module."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, *inputs):
        return self.function(*inputs)


def build(name):
    """The traced module in eval mode and its inputs."""
    model, inputs = CASES[name]
    torch.manual_seed(0)
    module = model() if isinstance(model, type) or getattr(model, "makes_module", False) else Apply(model)
    module = module.eval()
    with torch.no_grad():
        return torch.jit.trace(module, inputs, check_trace=False), inputs


def makes(function):
    function.makes_module = True
    return function


X = arrays((2, 3, 4))[0]
UNIT = torch.tanh(X) * 0.9
POSITIVE = X.abs() + 0.5
IMAGE = arrays((1, 4, 8, 8))[0]

# ---- elementwise
for f in ("abs", "ceil", "floor", "round", "sign", "sin", "cos", "tan", "sinh", "cosh", "tanh", "exp", "exp2", "erf", "atan",
          "square", "neg", "sigmoid", "relu", "expm1"):
    add(f"unary.{f}", getattr(torch, f), X)
for f in ("asin", "acos", "atanh"):
    add(f"unary.{f}", getattr(torch, f), UNIT)
for f in ("sqrt", "rsqrt", "log", "log10", "log2", "log1p", "reciprocal"):
    add(f"unary.{f}", getattr(torch, f), POSITIVE)
Y, ROW = arrays((2, 3, 4), (4,), seed=1)
for f in ("add", "sub", "mul", "div", "maximum", "minimum"):
    add(f"binary.{f}", getattr(torch, f), X, POSITIVE if f == "div" else Y)
    add(f"binary.{f}_row", getattr(torch, f), X, ROW.abs() + 0.5)
    add(f"binary.{f}_outer", getattr(torch, f), X[:, :, :1], (ROW.abs() + 0.5))
add("binary.pow", torch.pow, POSITIVE, Y)
add("binary.pow_scalar", lambda x: torch.pow(x, 3), X)
add("binary.pow_half", lambda x: torch.pow(x, 0.5), POSITIVE)
add("binary.rsub", lambda x: 2 - x, X)
add("binary.floor_divide", torch.floor_divide, X * 4, POSITIVE)
add("binary.remainder", torch.remainder, X * 4, POSITIVE)
add("binary.div_floor", lambda x, y: torch.div(x, y, rounding_mode="floor"), X * 4, POSITIVE)
add("binary.div_trunc", lambda x, y: torch.div(x, y, rounding_mode="trunc"), X * 4, POSITIVE)
for f in ("eq", "ne", "lt", "le", "gt", "ge"):
    add(f"compare.{f}", lambda x, y, f=f: getattr(torch, f)(x, y).float(), X, Y)
    add(f"compare.{f}_scalar", lambda x, f=f: getattr(torch, f)(x, 0.0).float(), X)
for f in ("logical_and", "logical_or", "logical_xor"):
    add(f"logical.{f}", lambda x, y, f=f: getattr(torch, f)(x > 0, y > 0).float(), X, Y)
add("logical.not", lambda x: torch.logical_not(x > 0).float(), X)
add("select.where", lambda x, y: torch.where(x > y, x, y * 2), X, Y)
add("select.where_row", lambda x, y: torch.where(x > 0, x, y), X, ROW)
add("select.masked_fill", lambda x, y: x.masked_fill(y > 0, -1.0), X, Y)
add("select.clamp", lambda x: torch.clamp(x, -0.5, 0.75), X)
add("select.clamp_min", lambda x: torch.clamp(x, min=0.25), X)
add("select.clamp_max", lambda x: torch.clamp(x, max=0.25), X)
INTS = torch.arange(24, dtype=torch.int32).reshape(2, 3, 4) - 12
for f in ("add", "sub", "mul", "maximum", "minimum"):
    add(f"integer.{f}", getattr(torch, f), INTS, INTS.flip(0) + 13)
add("integer.floor_divide", torch.floor_divide, INTS, INTS.abs() + 2)
add("integer.remainder", torch.remainder, INTS, INTS.abs() + 2)
add("integer.to_float", lambda x: x.float() * 0.5, INTS)
add("integer.from_float", lambda x: (x * 3).int(), X)
add("integer.sum", lambda x: x.sum(1), INTS)

# ---- activations
for name, function in {
    "relu6": F.relu6, "silu": F.silu, "softplus": F.softplus, "softsign": F.softsign, "gelu": F.gelu,
    "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"), "elu": F.elu, "elu_alpha": lambda x: F.elu(x, 0.5),
    "leaky_relu": lambda x: F.leaky_relu(x, 0.2), "hardsigmoid": F.hardsigmoid, "hardswish": F.hardswish,
    "hardtanh": lambda x: F.hardtanh(x, -0.5, 0.5), "selu": F.selu, "mish": F.mish,
    "softmax": lambda x: F.softmax(x, -1), "softmax_1": lambda x: F.softmax(x, 1),
    "log_softmax": lambda x: F.log_softmax(x, -1), "threshold": lambda x: F.threshold(x, 0.25, 0.25),
    "softplus_beta": lambda x: F.softplus(x, 2.0), "glu": lambda x: F.glu(x, -1),
}.items():
    add(f"activation.{name}", function, X)
add("activation.prelu", makes(lambda: nn.PReLU(4, 0.3)), IMAGE)
add("activation.prelu_one", makes(lambda: nn.PReLU()), IMAGE)

# ---- linear algebra
add("linear.linear", makes(lambda: nn.Linear(4, 5)), X)
add("linear.no_bias", makes(lambda: nn.Linear(4, 5, bias=False)), X)
add("linear.two", makes(lambda: nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 3))), X)
A, B, C = arrays((2, 3, 4), (2, 4, 5), (4, 6), seed=2)
add("linear.matmul", torch.matmul, A, B)
add("linear.matmul_broadcast", torch.matmul, A, C)
add("linear.bmm", torch.bmm, A, B)
add("linear.mm", torch.mm, A[0], C)
add("linear.addmm", lambda b, x, y: torch.addmm(b, x, y, beta=0.5, alpha=2.0), C[0], A[0], C)
add("linear.baddbmm", lambda c, x, y: torch.baddbmm(c, x, y), torch.ones(2, 3, 5), A, B)
add("linear.matmul_transposed", lambda x, y: torch.matmul(x, y.transpose(-1, -2)), A, A + 1)
add("linear.einsum", lambda x, y: torch.einsum("bij,bjk->bik", x, y), A, B)
add("linear.einsum_heads", lambda x, y: torch.einsum("nchw,nwhu->nchu", x, y), *arrays((1, 2, 3, 4), (1, 4, 3, 5)))
add("linear.outer", lambda x, y: x[:, None] * y[None, :], ROW, ROW * 2)
add("linear.norm", lambda x: torch.norm(x, dim=-1), X)
add("linear.norm_1", lambda x: torch.norm(x, p=1, dim=1, keepdim=True), X)
add("linear.cosine", lambda x, y: F.cosine_similarity(x, y, dim=-1), X, Y)

# ---- convolutions, pools
for name, options in {
    "plain": {}, "stride": {"stride": 2}, "padding": {"padding": 1}, "dilation": {"dilation": 2, "padding": 2}, "groups": {"groups": 2},
    "depthwise": {"groups": 4}, "no_bias": {"bias": False}, "same": {"padding": "same"}, "reflect": {"padding": 1, "padding_mode": "reflect"},
    "asymmetric": {"stride": (2, 1), "padding": (0, 2)},
}.items():
    add(f"conv.2d_{name}", makes(lambda options=options: nn.Conv2d(4, 8, 3, **options)), IMAGE)
SEQUENCE = arrays((2, 4, 12), seed=3)[0]
for name, options in {"plain": {}, "stride": {"stride": 2, "padding": 1}, "dilation": {"dilation": 3}, "groups": {"groups": 4},
                      "same": {"padding": "same"}}.items():
    add(f"conv.1d_{name}", makes(lambda options=options: nn.Conv1d(4, 8, 3, **options)), SEQUENCE)
VOLUME = arrays((1, 2, 5, 6, 7), seed=4)[0]
add("conv.3d", makes(lambda: nn.Conv3d(2, 4, 3, padding=1)), VOLUME)
for name, options in {"plain": {}, "stride": {"stride": 2}, "padding": {"stride": 2, "padding": 1}, "groups": {"groups": 2},
                      "output_padding": {"stride": 2, "padding": 1, "output_padding": 1}, "no_bias": {"bias": False, "stride": 3}}.items():
    add(f"conv.transpose2d_{name}", makes(lambda options=options: nn.ConvTranspose2d(4, 6, 3, **options)), IMAGE)
add("conv.transpose1d", makes(lambda: nn.ConvTranspose1d(4, 6, 4, stride=2, padding=1)), SEQUENCE)
for kind in ("MaxPool", "AvgPool"):
    for name, options in {"plain": {}, "stride": {"stride": 1}, "padding": {"padding": 1}, "ceil": {"ceil_mode": True},
                          "ceil_padding": {"ceil_mode": True, "padding": 1}}.items():
        add(f"pool.{kind}2d_{name}", makes(lambda kind=kind, options=options: getattr(nn, f"{kind}2d")(3, **options)), IMAGE)
    add(f"pool.{kind}1d", makes(lambda kind=kind: getattr(nn, f"{kind}1d")(3, stride=2)), SEQUENCE)
    add(f"pool.{kind}3d", makes(lambda kind=kind: getattr(nn, f"{kind}3d")(2)), VOLUME)
add("pool.avg_exclude", makes(lambda: nn.AvgPool2d(3, padding=1, count_include_pad=False)), IMAGE)
add("pool.avg_uneven", makes(lambda: nn.AvgPool2d((2, 3), stride=(1, 2))), IMAGE)
add("pool.adaptive_1", makes(lambda: nn.AdaptiveAvgPool2d(1)), IMAGE)
add("pool.adaptive_4", makes(lambda: nn.AdaptiveAvgPool2d(4)), IMAGE)
add("pool.adaptive_max", makes(lambda: nn.AdaptiveMaxPool2d(2)), IMAGE)


# ---- normalisation
def trained(norm):
    """Parameters and statistics that are not all ones and zeros."""
    generator = torch.Generator().manual_seed(5)
    for value in [*norm.parameters(), *norm.buffers()]:
        if value.dtype.is_floating_point:
            value.data = torch.rand(value.shape, generator=generator) + 0.5
    return norm


add("norm.batch2d", makes(lambda: trained(nn.BatchNorm2d(4))), IMAGE)
add("norm.batch1d", makes(lambda: trained(nn.BatchNorm1d(4))), SEQUENCE)
add("norm.batch1d_flat", makes(lambda: trained(nn.BatchNorm1d(4))), X[0])
add("norm.batch3d", makes(lambda: trained(nn.BatchNorm3d(2))), VOLUME)
add("norm.batch_plain", makes(lambda: trained(nn.BatchNorm2d(4, affine=False))), IMAGE)
add("norm.layer", makes(lambda: trained(nn.LayerNorm(4))), X)
add("norm.layer_two", makes(lambda: trained(nn.LayerNorm((3, 4)))), X)
add("norm.layer_plain", makes(lambda: nn.LayerNorm(4, elementwise_affine=False)), X)
add("norm.group", makes(lambda: trained(nn.GroupNorm(2, 4))), IMAGE)
add("norm.instance", makes(lambda: trained(nn.InstanceNorm2d(4, affine=True))), IMAGE)
add("norm.instance_plain", makes(lambda: nn.InstanceNorm2d(4)), IMAGE)
add("norm.instance1d", makes(lambda: nn.InstanceNorm1d(4)), SEQUENCE)
add("norm.local_response", makes(lambda: nn.LocalResponseNorm(3)), IMAGE)
add("norm.normalize", lambda x: F.normalize(x, dim=1), X)
add("norm.rms", lambda x: x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-5), X)

# ---- reductions, sorting
for f in ("sum", "mean", "amax", "amin", "logsumexp", "argmax", "argmin"):
    add(f"reduce.{f}_last", lambda x, f=f: getattr(torch, f)(x, -1), X)
    add(f"reduce.{f}_keep", lambda x, f=f: getattr(torch, f)(x, 1, keepdim=True), X)
for f in ("sum", "mean", "amax"):
    add(f"reduce.{f}_two", lambda x, f=f: getattr(torch, f)(x, (0, 2)), X)
for f in ("sum", "mean"):
    add(f"reduce.{f}_all", lambda x, f=f: getattr(torch, f)(x) + x[0, 0, :1], X)
add("reduce.max_values", lambda x: torch.max(x, 1)[0], X)
add("reduce.max_indices", lambda x: torch.max(x, 1)[1], X)
add("reduce.min_values", lambda x: torch.min(x, 2)[0], X)
add("reduce.std", lambda x: torch.std(x, -1), X)
add("reduce.var", lambda x: torch.var(x, -1, unbiased=False), X)
add("reduce.cumsum", lambda x: torch.cumsum(x, 1), X)
add("reduce.any", lambda x: (x > 1).any(1).float(), X)
add("reduce.all", lambda x: (x > -1).all(1).float(), X)
add("sort.topk", lambda x: torch.topk(x, 2)[0], X)
add("sort.topk_indices", lambda x: torch.topk(x, 2, dim=1)[1], X)
add("sort.topk_smallest", lambda x: torch.topk(x, 2, largest=False)[0], X)
add("sort.sort", lambda x: torch.sort(x, 1)[0], X)
add("sort.sort_descending", lambda x: torch.sort(x, 2, descending=True)[0], X)
add("sort.argsort", lambda x: torch.argsort(x, -1), X)

# ---- shapes
for name, function in {
    "reshape": lambda x: x.reshape(6, 4), "view": lambda x: x.view(2, -1), "flatten": lambda x: x.flatten(1),
    "permute": lambda x: x.permute(2, 0, 1), "transpose": lambda x: x.transpose(1, 2), "unsqueeze": lambda x: x.unsqueeze(1),
    "squeeze": lambda x: x[:, :1].squeeze(1), "expand": lambda x: x[:, :1].expand(2, 3, 4), "repeat": lambda x: x.repeat(1, 2, 3),
    "select": lambda x: x[:, 1], "slice": lambda x: x[:, 1:, ::2], "slice_negative": lambda x: x[:, -2:, :-1],
    "narrow": lambda x: x.narrow(2, 1, 2), "flip": lambda x: x.flip(1, 2), "roll": lambda x: torch.roll(x, 1, 2),
    "cat": lambda x: torch.cat([x, x * 2, x[:, :1]], 1), "stack": lambda x: torch.stack([x, -x], 2),
    "split": lambda x: torch.split(x, [1, 2], 1)[1], "chunk": lambda x: torch.chunk(x, 2, 2)[0] * torch.chunk(x, 2, 2)[1],
    "unbind": lambda x: torch.unbind(x, 1)[2], "triu": lambda x: torch.triu(x, 1), "tril": lambda x: torch.tril(x),
    "tile": lambda x: torch.tile(x, (2, 1, 1)),
    "zeros_like": lambda x: torch.zeros_like(x) + x, "full": lambda x: torch.full((2, 3, 4), 0.5) * x,
    "arange": lambda x: torch.arange(4).float() + x, "new_zeros": lambda x: x.new_zeros(4) + x, "ones": lambda x: torch.ones(4) - x,
}.items():
    add(f"shape.{name}", function, X)
add("shape.pixel_shuffle", makes(lambda: nn.PixelShuffle(2)), IMAGE)
add("shape.pixel_unshuffle", makes(lambda: nn.PixelUnshuffle(2)), IMAGE)
add("shape.meshgrid", lambda x, y: torch.meshgrid(x, y, indexing="ij")[0] + torch.meshgrid(x, y, indexing="ij")[1], ROW, ROW * 2)
for mode in ("constant", "reflect", "replicate"):
    add(f"pad.{mode}", lambda x, mode=mode: F.pad(x, (1, 2, 2, 1), mode=mode), IMAGE)
    add(f"pad.{mode}_1d", lambda x, mode=mode: F.pad(x, (1, 2), mode=mode), SEQUENCE)
add("pad.value", lambda x: F.pad(x, (1, 0), value=2.5), X)

# ---- gathers
IDS = torch.tensor([[1, 4, 0], [9, 2, 2]], dtype=torch.int32)
add("gather.embedding", makes(lambda: nn.Embedding(10, 6)), IDS)
add("gather.index_select", lambda x: torch.index_select(x, 1, torch.tensor([2, 0])), X)
add("gather.gather", lambda x: torch.gather(x, 1, torch.tensor([[[0, 1, 2, 0]], [[2, 2, 0, 1]]])), X)
add("gather.take_rows", lambda x: x[torch.tensor([1, 0, 1])], X)
add("gather.two_indices", lambda x: x[torch.tensor([0, 1]), torch.tensor([2, 1])], X)
add("gather.from_input", lambda x, i: x[i.long()], arrays((10, 3))[0], IDS)
add("gather.scatter_add", lambda x: torch.zeros(2, 3, 4).scatter_add(1, torch.tensor([[[0, 1, 2, 0]], [[2, 2, 0, 1]]]), x[:, :1]) + x, X)
add("gather.scatter", lambda x: x.scatter(1, torch.tensor([[[0, 1, 2, 0]], [[2, 2, 0, 1]]]), 7.0), X)
add("gather.index_put", lambda x: torch.index_put(x, (torch.tensor([0, 1]), torch.tensor([2, 1])), torch.tensor(5.0)), X)
add("gather.one_hot", lambda i: F.one_hot(i.long(), 10).float(), IDS)
add("gather.nonzero_mask", lambda x: (x > 0).float() * x, X)

# ---- images
for name, options in {
    "nearest": {"scale_factor": 2, "mode": "nearest"}, "bilinear": {"scale_factor": 2, "mode": "bilinear", "align_corners": False},
    "bilinear_align": {"scale_factor": 2, "mode": "bilinear", "align_corners": True},
    "size": {"size": (12, 10), "mode": "bilinear", "align_corners": False}, "size_nearest": {"size": (16, 24), "mode": "nearest"},
    "size_align": {"size": (5, 6), "mode": "bilinear", "align_corners": True},
}.items():
    add(f"image.{name}", lambda x, options=options: F.interpolate(x, **options), IMAGE)
add("image.linear1d", lambda x: F.interpolate(x, scale_factor=2, mode="linear", align_corners=False), SEQUENCE)
add("image.nearest1d", lambda x: F.interpolate(x, scale_factor=2, mode="nearest"), SEQUENCE)
GRID = torch.tanh(arrays((1, 5, 6, 2), seed=6)[0])
for mode in ("bilinear", "nearest"):
    for padding in ("zeros", "border", "reflection"):
        add(f"image.grid_{mode}_{padding}", lambda x, g, mode=mode, padding=padding: F.grid_sample(
            x, g, mode=mode, padding_mode=padding, align_corners=True), IMAGE, GRID)
add("image.affine", lambda x: F.grid_sample(x, F.affine_grid(torch.tensor([[[0.75, 0.25, 0.1], [-0.25, 0.5, 0.0]]]), [1, 4, 6, 7],
                                                             align_corners=True), align_corners=True), IMAGE)


# ---- recurrent layers
class Recurrent(nn.Module):
    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x):
        return self.layer(x)[0]


STEPS = arrays((5, 2, 4), seed=7)[0]
for name, options in {"plain": {}, "no_bias": {"bias": False}, "two_layers": {"num_layers": 2}, "bidirectional": {"bidirectional": True}}.items():
    for kind in ("LSTM", "GRU", "RNN"):
        if kind == "RNN" and name == "bidirectional":
            continue
        add(f"recurrent.{kind}_{name}", makes(lambda kind=kind, options=options: Recurrent(getattr(nn, kind)(4, 3, **options))), STEPS)
add("recurrent.LSTM_batch_first", makes(lambda: Recurrent(nn.LSTM(4, 3, batch_first=True))), STEPS)
add("recurrent.RNN_relu", makes(lambda: Recurrent(nn.RNN(4, 3, nonlinearity="relu"))), STEPS)


# ---- attention and whole blocks
class Attention(nn.Module):
    def __init__(self, masked):
        super().__init__()
        self.masked = masked

    def forward(self, q, k, v):
        mask = torch.tril(torch.ones(6, 6)).bool() if self.masked else None
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)


Q, K, V = arrays((1, 2, 6, 8), (1, 2, 6, 8), (1, 2, 6, 8), seed=8)
add("attention.plain", makes(lambda: Attention(False)), Q, K, V)
add("attention.masked", makes(lambda: Attention(True)), Q, K, V)


class SelfAttention(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.MultiheadAttention(16, 4, batch_first=True)

    def forward(self, x):
        return self.inner(x, x, x, need_weights=False)[0]


TOKENS = arrays((1, 7, 16), seed=9)[0]
add("attention.multihead", makes(SelfAttention), TOKENS)
add("block.encoder", makes(lambda: nn.TransformerEncoderLayer(16, 4, 32, batch_first=True)), TOKENS)
add("block.encoder_prenorm", makes(lambda: nn.TransformerEncoderLayer(16, 4, 32, batch_first=True, norm_first=True, activation="gelu")), TOKENS)
add("block.cnn", makes(lambda: nn.Sequential(
    nn.Conv2d(4, 8, 3, padding=1), trained(nn.BatchNorm2d(8)), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 8, 3, groups=8), nn.SiLU(),
    nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5), nn.Softmax(-1))), IMAGE)
add("block.mixer", makes(lambda: nn.Sequential(nn.LayerNorm(16), nn.Linear(16, 64), nn.GELU(), nn.Linear(64, 16), nn.Tanh())), TOKENS)
add("block.unet", makes(lambda: nn.Sequential(
    nn.Conv2d(4, 8, 3, stride=2, padding=1), nn.LeakyReLU(0.1), nn.ConvTranspose2d(8, 4, 2, stride=2), nn.Sigmoid())), IMAGE)
