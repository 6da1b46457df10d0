"""Forms that fp16 computes as the model does, at magnitudes that real models reach: nothing overflows or vanishes on the way."""

import re

import numpy as np
import pytest
import torch
import transformers.models.gemma.modeling_gemma as gemma
import transformers.models.llama.modeling_llama as llama
import transformers.models.t5.modeling_t5 as t5
from command import plait, succeed
from torch import nn
from torch.nn import functional as F


class Of(nn.Module):
    """A function as a model."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, *inputs):
        return self.function(*inputs)


def normal(*shape, scale=1.0, offset=0.0):
    return scale * torch.randn(*shape) + offset


def with_spikes(*shape, spike):
    x = torch.randn(*shape)
    x[..., 3] = spike
    return x


def gemma_norm():
    norm = gemma.GemmaRMSNorm(64)
    norm.weight.data.normal_()
    return norm


def scores(form):
    def attend(q, k):
        product = q @ k.transpose(-1, -2)
        return (product / 8 if form == "quotient" else product * 0.125).softmax(-1)
    return attend


def masked(rows):
    """Scores under a causal mask of the largest numbers, as transformers' masks are; of `rows` none is attended to."""
    mask = torch.triu(torch.full((16, 16), torch.finfo(torch.float32).min), 1)
    mask[rows] = torch.finfo(torch.float32).min
    return lambda x: (x + mask).softmax(-1)


def chances(x):
    return torch.log(F.softmax(x, -1) + 1e-6)


torch.manual_seed(0)  # of the inputs below: where a row is decided by little, the draw would decide the test
# name: (model, inputs)
FORMS = {
    "RMSNorm": (lambda: nn.RMSNorm(64), [normal(1, 8, 64, scale=300)]),
    "RMSNorm, massive": (lambda: nn.RMSNorm(64, eps=1e-6), [with_spikes(1, 8, 64, spike=20000)]),
    "LlamaRMSNorm": (lambda: llama.LlamaRMSNorm(64), [normal(1, 8, 64, scale=2000)]),
    "T5LayerNorm": (lambda: t5.T5LayerNorm(64), [normal(1, 8, 64, scale=2000)]),
    "GemmaRMSNorm": (gemma_norm, [normal(1, 8, 64, scale=800)]),
    "l2 norm of queries": (lambda: Of(lambda x: x * torch.rsqrt((x * x).sum(-1, keepdim=True) + 1e-6)), [normal(1, 4, 8, 64, scale=400)]),
    "quotient": (lambda: Of(lambda x: x / torch.sqrt(x.pow(2).mean(1, keepdim=True) + 1e-5)), [normal(1, 16, 8, scale=700)]),
    "softmax under a mask": (lambda: Of(masked([])), [normal(1, 4, 16, 16, scale=30)]),
    "softmax of rows without a key": (lambda: Of(masked([0, 3])), [normal(1, 4, 16, 16)]),
    "LayerNorm, massive": (lambda: nn.LayerNorm(64), [with_spikes(1, 8, 64, spike=20000)]),
    "GroupNorm": (lambda: nn.GroupNorm(4, 16), [normal(1, 16, 8, 8, scale=2000)]),
    "InstanceNorm": (lambda: nn.InstanceNorm2d(4), [normal(1, 4, 8, 8, scale=2000, offset=500)]),
    "variance": (lambda: Of(lambda x: (x.var(-1), x.std(-1), x.var(-1, unbiased=False))[0]), [with_spikes(4, 256, spike=1200)]),
    "deviation": (lambda: Of(lambda x: x.std(-1)), [normal(4, 256, scale=5000)]),
    "mean of squares": (lambda: Of(lambda x: (x ** 2).mean((1, 2))), [with_spikes(2, 16, 256, spike=2000)]),
    "vector norm": (lambda: Of(lambda x: torch.linalg.vector_norm(x, dim=-1)), [normal(4, 64, scale=3000)]),
    "norm in pieces": (lambda: Of(lambda x: x.pow(2).sum(-1).sqrt()), [normal(4, 64, scale=3000)]),
    "normalize": (lambda: Of(lambda x: F.normalize(x, dim=-1)), [normal(4, 64, scale=3000)]),
    "normalize, small": (lambda: Of(lambda x: F.normalize(x, dim=-1)), [normal(4, 64, scale=1e-3)]),
    "cosine similarity": (lambda: nn.CosineSimilarity(-1), [normal(4, 64, scale=500, offset=400), normal(4, 64, scale=500, offset=300)]),
    "logsumexp": (lambda: Of(lambda x: torch.logsumexp(x, -1)), [normal(4, 64, scale=500)]),
    "log_softmax": (lambda: Of(lambda x: F.log_softmax(x, -1)), [normal(4, 64, scale=200)]),
    "mean over a long axis": (lambda: Of(lambda x: x.mean(1)), [normal(2, 20000, scale=3, offset=10)]),
    "pooling of a large map": (lambda: nn.AdaptiveAvgPool2d(1), [normal(1, 4, 128, 128, offset=20)]),
    "scores by a factor": (lambda: Of(scores("factor")), [normal(1, 4, 6, 64, scale=30), normal(1, 4, 9, 64, scale=30, offset=30)]),
    "scores by a quotient": (lambda: Of(scores("quotient")), [normal(1, 4, 9, 64, scale=30, offset=30), normal(1, 4, 6, 64, scale=30)]),
    "tanh gelu": (lambda: nn.GELU(approximate="tanh"), [normal(4, 64, scale=100)]),
    "gelu in pieces": (lambda: Of(lambda x: 0.5 * x * (1 + torch.tanh(0.7978845608 * (x + 0.044715 * torch.pow(x, 3))))), [normal(4, 64, scale=100)]),
    "gelu's cube by products": (lambda: Of(lambda x: 0.5 * x * (1 + torch.tanh(0.7978845608 * (x + 0.044715 * x * x * x)))), [normal(4, 64, scale=100)]),
    "cumulative sum": (lambda: Of(lambda x: torch.cumsum(x, 1)), [normal(2, 4000, offset=2)]),
    "a tiny epsilon": (lambda: Of(lambda x: x / (x.norm(dim=-1, keepdim=True) + 1e-8)), [normal(4, 64, scale=1e-2)]),
    "a quotient by a sum": (lambda: Of(lambda x: x / (x.sum(-1, keepdim=True) + 1e-12)), [normal(4, 64, scale=1e-3, offset=1e-2)]),
    "an epsilon in a root": (lambda: Of(lambda x: x * torch.rsqrt(x.abs().mean(-1, keepdim=True) + 1e-12)), [normal(4, 64, scale=1e-2)]),
    "decibels": (lambda: Of(lambda x: 10 * torch.log10(torch.clamp(x, min=1e-10))), [normal(4, 64).relu()]),
    "softmax of a long row": (lambda: Of(chances), [normal(2, 3000, scale=4)]),
}


def test_forms(tmp_path):
    """One package of all of them; each is within half a per cent of its largest value."""
    options, functions = [], {}
    torch.manual_seed(3)
    for number, (label, (make, inputs)) in enumerate(FORMS.items()):
        name = f"f{number}"
        functions[name] = label
        model = make().eval()
        inputs = [tensor.half().float() for tensor in inputs]
        with torch.no_grad():
            torch.jit.trace(model, tuple(inputs), check_trace=False).save(str(tmp_path / f"{name}.pt"))
        np.savez(tmp_path / f"{name}.npz", **{f"x{i}": tensor.numpy() for i, tensor in enumerate(inputs)})
        (tmp_path / name).mkdir()
        (tmp_path / f"{name}.npz").rename(tmp_path / name / "set.npz")
        options += ["--function", f"{name}={tmp_path / name}.pt"]
        for i, tensor in enumerate(inputs):
            options += ["--input", f"x{i}=fp16[{', '.join(map(str, tensor.shape))}]"]
    result = succeed("compile", "-o", tmp_path / "p.mlpackage", *options)
    warned = {list(FORMS)[int(number)] for number in re.findall(r"function f(\d+)", result.stderr)}
    assert warned <= {"a tiny epsilon", "a quotient by a sum", "an epsilon in a root", "decibels"}, result.stderr
    verify = [part for name in functions for part in ("--function", name, "--against", tmp_path / f"{name}.pt", "--inputs", tmp_path / name)]
    report = plait("verify", tmp_path / "p.mlpackage", "--atol", "1e-4", "--rtol", "5e-3", *verify)
    failed = [functions[name] for name in re.findall(r"^FAIL  (\w+) ", report.stdout, re.M)]
    assert not failed and report.returncode == 0, f"{failed}\n{report.stdout}{report.stderr}"


class Positions(nn.Module):
    """Indices, counts and angles of sequences longer than fp16 counts."""

    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(6000, 4)
        self.register_buffer("frequencies", 1 / 10000 ** (torch.arange(0, 8, 2) / 8))

    def forward(self, mask, x):
        places = mask.cumsum(1) - 1
        angles = (places[:, None].float().transpose(1, 2) @ self.frequencies[None, None]).float()
        count = mask.sum(1, keepdim=True).float()
        bucket = torch.floor(places.float() / 3).long()
        scaled = torch.round(x * 1000).long()
        return (self.table(places), torch.cat([angles.sin(), angles.cos()], -1), (x[:, :1] * 0 + count) / 4096, self.table(bucket),
                self.table(scaled.clamp(0, 5999)), (places.float() >= count / 2).float())


def test_positions_and_counts_are_exact(tmp_path):
    torch.manual_seed(3)
    mask = torch.ones(1, 5000, dtype=torch.int32)
    mask[:, 6::7] = 0  # the first counts: places begin at 0
    x = (torch.rand(1, 16) * 4).half().float()
    model = torch.jit.trace(Positions(), (mask, x))
    model.save(str(tmp_path / "model.pt"))
    succeed("compile", "-o", tmp_path / "p.mlpackage", "--input", "mask=int32[1, 5000]", "--input", "x=fp16[1, 16]",
            *(part for i in range(6) for part in ("--output", f"y{i}")), tmp_path / "model.pt")
    np.savez(tmp_path / "set.npz", mask=mask.numpy(), x=x.numpy())
    np.save(tmp_path / "mask.npy", mask.numpy())
    np.save(tmp_path / "x.npy", x.numpy())
    succeed("run", tmp_path / "p.mlpackage", "--input", f"mask={tmp_path}/mask.npy", "--input", f"x={tmp_path}/x.npy", "--output-dir", tmp_path)
    for i, expected in enumerate(model(mask, x)):
        actual = np.load(tmp_path / f"y{i}.npy")
        np.testing.assert_allclose(actual, expected.detach().numpy(), rtol=2e-3, atol=2e-3, err_msg=f"y{i}")


def test_draws_of_many_classes(tmp_path):
    """A class beyond 2048 is drawn as what it is."""
    weights = torch.zeros(1, 50000)
    weights[0, 40001] = 1
    torch.jit.trace(Of(lambda w: torch.multinomial(w, 1)), weights, check_trace=False).save(str(tmp_path / "model.pt"))
    succeed("compile", "-o", tmp_path / "p.mlpackage", "--input", "w=fp16[1, 50000]", "--output", "y", tmp_path / "model.pt")
    np.save(tmp_path / "w.npy", weights.numpy())
    succeed("run", tmp_path / "p.mlpackage", "--input", f"w={tmp_path}/w.npy", "--output-dir", tmp_path)
    assert np.load(tmp_path / "y.npy").tolist() == [[40001]]


@pytest.mark.parametrize("function, warning", [
    (lambda x: torch.log(x + 1e-10), "which fp16 has not"), (lambda x: torch.log(torch.clamp(x, min=1e-10)), "which fp16 has not"), (lambda x: x * 1e-9, "which fp16 has not"),
    (lambda x: x + 4097, "the whole number 4097"), (lambda x: x + torch.arange(4094.0, 4102), "the whole number 4095"),
    (lambda x: x / x.norm().clamp(min=1e-12), None), (lambda x: F.layer_norm(x, (8,), eps=1e-12), None), (lambda x: x + 4096, None)])
def test_constants_that_fp16_has_not(tmp_path, function, warning):
    torch.jit.trace(Of(function), torch.ones(2, 8)).save(str(tmp_path / "model.pt"))
    result = succeed("compile", "-o", tmp_path / "p.mlpackage", "--input", "x=fp16[2, 8]", tmp_path / "model.pt")
    assert warning in result.stderr if warning else "warning" not in result.stderr, result.stderr
