"""Small TorchScript models, one of each kind that plait compiles, with the inputs to give them.

    models.py FOLDER    writes NAME.pt for each, and models.json: {NAME: {"inputs": ["x=fp32[1, 12]", ...], "file": NAME.pt}}

Tests/python imports the table; C++ tests can read what the command line wrote. The seeds are fixed.
"""

import json
import pathlib
import sys
from typing import Dict, List, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

MODELS = {}


def model(*inputs, script=False):
    """Registers a module class, or a function that makes a module, under its own name."""
    def register(make):
        MODELS[make.__name__] = (make, inputs, script)
        return make
    return register


def f32(*shape):
    return torch.rand(shape)


def ints(*shape, high):
    return torch.randint(0, high, shape, dtype=torch.int32)


# Ordinary networks

@model(f32(2, 12))
def mlp():
    return nn.Sequential(nn.Linear(12, 32), nn.ReLU(), nn.Dropout(0.5), nn.Linear(32, 32, bias=False), nn.Tanh(), nn.Linear(32, 5))


@model(f32(2, 12))
def activations():
    return nn.Sequential(nn.Linear(12, 12), nn.GELU(), nn.Linear(12, 12), nn.SiLU(), nn.Linear(12, 12), nn.Sigmoid(),
                         nn.Linear(12, 12), nn.LeakyReLU(0.1), nn.Linear(12, 12), nn.ELU(), nn.Linear(12, 12),
                         nn.GELU("tanh"), nn.Linear(12, 12), nn.Softplus(), nn.Linear(12, 12), nn.Hardswish(),
                         nn.Linear(12, 12), nn.ReLU6(), nn.Linear(12, 12), nn.Softmax(-1))


@model(f32(1, 3, 32, 32))
def cnn():
    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2),
                         nn.Conv2d(8, 16, 3, stride=2, bias=False), nn.BatchNorm2d(16), nn.ReLU(inplace=True),
                         nn.Conv2d(16, 16, 3, groups=16, padding=1), nn.AvgPool2d(2), nn.AdaptiveAvgPool2d(1),
                         nn.Flatten(), nn.Linear(16, 10), nn.LogSoftmax(1))


@model(f32(2, 4, 40))
def conv1d():
    return nn.Sequential(nn.Conv1d(4, 8, 5, padding=2), nn.BatchNorm1d(8), nn.ReLU(), nn.MaxPool1d(2), nn.GroupNorm(2, 8),
                         nn.Conv1d(8, 8, 3, dilation=2), nn.AvgPool1d(2))


@model(f32(1, 8, 12, 12))
class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(8, 8, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.second = nn.Conv2d(8, 8, 3, padding=1)

    def forward(self, x):
        return F.relu(self.second(F.relu_(self.norm(self.first(x)))) + x)


@model(f32(2, 6, 16))
class Encoder(nn.Module):
    """Pre-norm transformer encoder block with its own attention."""

    def __init__(self):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(16), nn.LayerNorm(16)
        self.qkv, self.out = nn.Linear(16, 48), nn.Linear(16, 16)
        self.up, self.down = nn.Linear(16, 32), nn.Linear(32, 16)

    def forward(self, x):
        batch, length, width = x.shape
        q, k, v = self.qkv(self.norm1(x)).chunk(3, dim=-1)
        q, k, v = (t.view(batch, length, 4, width // 4).transpose(1, 2) for t in (q, k, v))
        scores = torch.matmul(q, k.transpose(-2, -1)) / (width // 4) ** 0.5
        attended = torch.matmul(torch.softmax(scores, -1), v)
        x = x + self.out(attended.transpose(1, 2).contiguous().view(batch, length, width))
        return x + self.down(F.gelu(self.up(self.norm2(x))))


@model(f32(2, 6, 16))
def encoder_layer():
    return nn.TransformerEncoderLayer(16, 4, 32, batch_first=True)


@model(f32(2, 3, 6, 8), f32(2, 3, 7, 8), f32(2, 3, 7, 8))
class Attention(nn.Module):
    def forward(self, query, key, value):
        return F.scaled_dot_product_attention(query, key, value)


@model(ints(2, 7, high=50))
class TextClassifier(nn.Module):
    def __init__(self):
        super().__init__()
        self.tokens, self.positions = nn.Embedding(50, 16), nn.Embedding(10, 16)
        self.norm, self.head = nn.LayerNorm(16), nn.Linear(16, 3)

    def forward(self, tokens):
        positions = torch.arange(tokens.shape[1]).unsqueeze(0)
        x = self.norm(self.tokens(tokens) + self.positions(positions))
        mask = torch.full((7, 7), float("-inf")).triu(1)
        x = torch.softmax(x @ x.transpose(1, 2) + mask, -1) @ x
        return self.head(x.mean(dim=1))


@model(f32(2, 12))
class WeightNorm(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = torch.nn.utils.weight_norm(nn.Linear(12, 24))

    def forward(self, x):
        return self.linear(x)


@model(f32(2, 64))
class Lora(nn.Module):
    def __init__(self):
        super().__init__()
        self.base, self.down, self.up = nn.Linear(64, 48), nn.Linear(64, 8, bias=False), nn.Linear(8, 48, bias=False)

    def forward(self, x):
        return self.base(x) + self.up(self.down(x)) * 0.125


# One family of operations each

@model(f32(2, 12), f32(12))
class Arithmetic(nn.Module):
    def forward(self, x, y):
        a = torch.add(x, y, alpha=2.0) * 0.5 - y
        b = torch.sub(x, y, alpha=0.25) / (y + 1.0)
        c = 1.0 - torch.exp(-a.abs()) + torch.sqrt(x + 1.0) * torch.rsqrt(y + 0.5)
        return torch.maximum(a, b), torch.pow(x + 0.1, 2.0) + c, torch.clamp(torch.log(x + 0.5), -0.2, 0.3), 2.0 ** x


@model(ints(2, 12, high=9), ints(2, 12, high=5))
class Integers(nn.Module):
    def forward(self, x, y):
        return x + y * 3 - 2, x // (y + 1), x % (y + 1), torch.minimum(x, y), x.float() / 2


@model(f32(2, 12), f32(2, 12))
class Comparisons(nn.Module):
    def forward(self, x, y):
        both = (x > y) & (x < 0.9)
        kept = torch.where(both, x, torch.zeros_like(x))
        return kept, x.masked_fill(x <= 0.5, -1.0), torch.where(torch.logical_not(both), x, y), (x >= y).to(torch.int32), (x == y).float()


@model(f32(2, 3, 12))
class Reductions(nn.Module):
    def forward(self, x):
        values, _ = torch.max(x, dim=1)
        return (x.sum(-1), x.mean((0, 2)), x.amax(1, keepdim=True), x.amin(-1), x.sum(), values, torch.argmax(x, -1).int(),
                x.var(-1, unbiased=False), torch.logsumexp(x, 1), x.norm(dim=-1))


@model(f32(2, 3, 4))
class Shapes(nn.Module):
    def forward(self, x):
        return (x.reshape(6, -1), x.permute(2, 0, 1), x.flatten(1).unsqueeze(1), x.transpose(0, 2)[None].squeeze(0),
                x[:, :1].expand(2, 5, 4), x.view(2, 12).view(4, 6).t())


@model(f32(3, 12), f32(3, 5))
class Slices(nn.Module):
    def forward(self, x, y):
        first, second, third = torch.split(x, [3, 4, 5], dim=1)
        return (torch.cat((first, y), 1), torch.stack((x[:, 2], x[:, -1])), x[1:, 1:10:3], second * 2, third + y,
                torch.chunk(x, 3, dim=1)[1], x[:, -4:], x.select(0, 1), torch.unbind(x, 0)[2])


@model(f32(2, 12), ints(2, 12, high=7))
class Casts(nn.Module):
    def forward(self, x, n):
        return x.to(torch.int32), n.float() * 0.5, (x * 3).long() + n, (n > 3).float(), x.half().float(), n + 0.5


@model(f32(3, 4))
class Creation(nn.Module):
    def forward(self, x):
        rows, columns = x.shape
        return (x + torch.arange(columns), x + torch.ones(rows, 1), x * torch.full((columns,), 0.3), x - torch.zeros_like(x),
                x + torch.eye(3, 4), x * torch.ones_like(x))


@model(f32(2, 12))
class ShapeArithmetic(nn.Module):
    """Sizes as 0-d integer tensors, as tracing records them."""

    def forward(self, x):
        rows, columns = x.size(0), x.size(1)
        half = torch.div(torch.tensor(columns), 2, rounding_mode="floor")
        return x.view(rows * 2, columns // 2), x[:, : int(half)], x.reshape(-1, columns % 5 + 1) / rows


# Mutation

@model(f32(3, 12))
class Views(nn.Module):
    """Writes through views of views: every alias sees them."""

    def forward(self, x):
        x = x * 1.0
        inner = x[1:, 2:8]
        inner[:, ::2].mul_(3.0)
        inner.transpose(0, 1)[1] = -1.0
        x[0].add_(inner[0].sum())
        return x, inner


@model(f32(2, 3))
class FilledSlices(nn.Module):
    def forward(self, x):
        out = x.new_empty(2, 9)
        for k in range(3):
            out[:, 3 * k : 3 * k + 3] = x * (k + 1)
        return out


@model(f32(4, 6), f32(4, 6))
class InPlace(nn.Module):
    def forward(self, x, y):
        x = x.clone()
        x += y
        x.view(24)[::2].clamp_(max=0.7)
        x[x.size(0) - 1].zero_()
        z = torch.empty_like(x)
        torch.mul(x, y, out=z)
        return x.relu_(), z


# Scripted: control flow, containers

@model(f32(2, 6), script=True)
class Branch(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        y = x * 1.0
        if bool(x.sum() > 5.0):
            y = y * 2.0
            y[0].add_(1.0)
        else:
            y = y - 1.0
        return y + 0.5


@model(f32(2, 6), script=True)
class While(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        steps = 0
        total = torch.zeros_like(x)
        while bool(x.sum() < 100.0) and steps < 9:
            x = x * 1.5
            total[:, 1:].add_(x[:, 1:])
            steps += 1
        return total + float(steps)


@model(f32(2, 6), script=True)
class Statements(nn.Module):
    """What TorchScript has for `with` and for tasks beside one another."""

    def forward(self, x: Tensor) -> Tensor:
        task = torch.jit.fork(torch.relu, x)
        with torch.no_grad():
            y = x.diagonal() * 2.0
        return torch.jit.wait(task)[:, :2] + y


@model(f32(2, 6), script=True)
class ListAppend(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        parts: List[Tensor] = []
        for k in range(4):
            parts.append(x[:, k : k + 2] * float(k))
        parts.pop(0)
        return torch.cat(parts, 1)


@model(f32(2, 6), script=True)
class Dictionary(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Dict[str, Tensor]:
        return {"logits": self.linear(x), "sum": x.sum(1)}


@model(f32(2, 6), script=True)
class Layers(nn.Module):
    """A scripted loop over modules, early returns and optional values."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(6, 6) for _ in range(3)])
        self.scale: float = 0.5

    def forward(self, x: Tensor) -> Tuple[Tensor, Tensor]:
        if x.dim() != 2:
            raise RuntimeError("a matrix is needed")
        for layer in self.layers:
            x = torch.relu(layer(x))
        if self.training:
            return x, x
        return x * self.scale, x.sum(dim=1)


def build(name):
    """(ScriptModule, example inputs) of one entry."""
    make, inputs, script = MODELS[name]
    torch.manual_seed(1)
    module = make().eval()
    for child in module.modules():
        if isinstance(child, nn.modules.batchnorm._BatchNorm):
            child.running_mean.uniform_(-0.5, 0.5)
            child.running_var.uniform_(0.5, 1.5)
    scripted = torch.jit.script(module) if script else torch.jit.trace(module, inputs, strict=False, check_trace=False)
    return scripted, inputs


def declarations(name):
    """What --input says of each input: its dtype for integers, else by precision."""
    _, inputs, _ = MODELS[name]
    return [f"in{k}={'int32' if value.dtype == torch.int32 else ''}{list(value.shape)}" for k, value in enumerate(inputs)]


def write(folder):
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    table = {}
    for name in MODELS:
        build(name)[0].save(str(folder / f"{name}.pt"))
        table[name] = {"file": f"{name}.pt", "inputs": declarations(name)}
    (folder / "models.json").write_text(json.dumps(table, indent=1))


if __name__ == "__main__":
    write(sys.argv[1])
