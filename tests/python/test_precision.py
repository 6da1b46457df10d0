"""Models that store or compute in half precision, and weights that half precision cannot hold."""

import json

import numpy as np
import pytest
import torch
from command import succeed
from torch import nn


class Block(nn.Module):
    """Casts to half and back around one half-precision layer."""

    def __init__(self):
        super().__init__()
        self.before = nn.Linear(16, 16)
        self.narrow = nn.Linear(16, 16).half()

    def forward(self, x):
        return self.narrow(self.before(x).half()).float() + x


class Products(nn.Module):
    """Half-precision arithmetic without weights."""

    def forward(self, x):
        y = x.half()
        return (y @ y.t()).float(), (y * 0.1 + 3).to(torch.float32), y


class Autocast(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(16, 32)
        self.norm = nn.LayerNorm(32)
        self.second = nn.Linear(32, 4)

    def forward(self, x):
        with torch.autocast("cpu", torch.bfloat16):
            return self.second(torch.relu(self.norm(self.first(x)))).float()


def network():
    return nn.Sequential(nn.Linear(16, 32), nn.LayerNorm(32), nn.GELU(), nn.Linear(32, 8), nn.Softmax(-1))


def convolutions():
    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(),
                         nn.Linear(32, 4))


MODELS = {
    "half": (lambda: network().half(), (4, 16), torch.half),
    "half_cnn": (lambda: convolutions().half(), (1, 3, 8, 8), torch.half),
    "bfloat16": (lambda: network().bfloat16(), (4, 16), torch.bfloat16),
    "block": (Block, (4, 16), torch.float),
    "products": (Products, (4, 16), torch.float),
    "autocast": (Autocast, (4, 16), torch.float),
}


@pytest.fixture(scope="module", params=MODELS)
def model(request, tmp_path_factory):
    make, shape, dtype = MODELS[request.param]
    torch.manual_seed(3)
    folder = tmp_path_factory.mktemp("precision")
    with torch.no_grad():
        torch.jit.trace(make().eval(), torch.randn(shape).to(dtype), check_trace=False).save(str(folder / "model.pt"))
    return request.param, folder, f"x=[{', '.join(map(str, shape))}]"


@pytest.mark.parametrize("precision", ["fp16", "fp32"])
def test_half_models(model, precision):
    name, folder, declaration = model
    package = folder / f"{precision}.mlpackage"
    succeed("compile", "-o", package, "--precision", precision, "--input", declaration, folder / "model.pt")
    # LibTorch itself rounds within some of them, also of those that give fp32: verify sees that.
    succeed("verify", package, "--against", folder / "model.pt")


def test_half_weights_are_stored_as_they_are(model):
    name, folder, declaration = model
    if name != "half":
        pytest.skip("one model is enough")
    package = folder / "stored.mlpackage"
    succeed("compile", "-o", package, "--input", declaration, folder / "model.pt")
    stored = json.loads(succeed("inspect", package, "--json").stdout)["weights"]["unique_bytes"]
    parameters = sum(p.numel() for p in torch.jit.load(str(folder / "model.pt")).parameters())
    assert stored <= 2 * parameters


@pytest.mark.parametrize("value, precision, warns", [(1e6, "fp16", True), (1e6, "fp32", False), (65504.0, "fp16", False)])
def test_weights_beyond_half(tmp_path, value, precision, warns):
    torch.manual_seed(3)
    model = nn.Sequential(nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 4))  # the first weight is 256 KiB
    with torch.no_grad():
        model[0].weight[3, 5] = value
        model[0].weight[200, 7] = -value
    torch.jit.trace(model.eval(), torch.zeros(1, 256)).save(str(tmp_path / "model.pt"))
    result = succeed("compile", "-o", tmp_path / "p.mlpackage", "--precision", precision, "--input", "x=[1, 256]",
                     tmp_path / "model.pt")
    warnings = [line for line in result.stderr.splitlines() if "beyond the range of fp16" in line]
    assert len(warnings) == warns, result.stderr
    if warns:
        assert "function main" in warnings[0] and "1000000" in warnings[0] and "linear" in warnings[0]
        assert "is computed in fp32" in warnings[0]
    # Small inputs: what the layer gives has to fit fp16, too.
    succeed("verify", tmp_path / "p.mlpackage", "--against", tmp_path / "model.pt", "--input-scale", "0.01")
    weights = json.loads(succeed("inspect", tmp_path / "p.mlpackage", "--json").stdout)["weights"]["unique_bytes"]
    assert (weights > 256 * 256 * 4) == (warns or precision == "fp32")  # that weight alone is in fp32
    assert weights < 256 * 256 * 4 + (256 + 256 * 4 + 4) * (2 if warns else 4) + 1024


class TwoHeads(nn.Module):
    """A convolution whose weight two batch norms use, so that none is folded into it."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Conv2d(3, 4, 3, bias=False)
        self.norms = nn.ModuleList([nn.BatchNorm2d(4), nn.BatchNorm2d(4)])
        for i, norm in enumerate(self.norms):
            norm.running_var.fill_(3e5 + i)
            norm.weight.data.fill_(500)

    def forward(self, x):
        return self.norms[0](self.layer(x)), self.norms[1](self.layer(x.flip(3)))


@pytest.mark.parametrize("model, warns", [
    (TwoHeads(), True), (nn.Sequential(nn.Conv2d(3, 4, 3), TwoHeads().norms[0]), False),
    (nn.Sequential(nn.ReLU(), nn.BatchNorm2d(3)), False)])
def test_a_variance_beyond_half(tmp_path, model, warns):
    """Folded in fp32 where it can be folded, else computed in fp32."""
    torch.jit.trace(model.eval(), torch.zeros(1, 3, 6, 6)).save(str(tmp_path / "model.pt"))
    result = succeed("compile", "-o", tmp_path / "p.mlpackage", "--input", "x=[1, 3, 6, 6]", tmp_path / "model.pt")
    assert ("batch_norm" in result.stderr and "is computed in fp32" in result.stderr) == warns, result.stderr
    succeed("verify", tmp_path / "p.mlpackage", "--against", tmp_path / "model.pt")


class Masked(nn.Module):
    """Attention under a mask that it makes of m, which is 1 where a key takes part."""

    def __init__(self, form):
        super().__init__()
        self.form = form

    def forward(self, x, m):
        if self.form == "bool":
            mask = m > 0.5
        elif self.form == "infinite":
            mask = torch.zeros_like(m).masked_fill(m < 0.5, -float("inf"))
        elif self.form == "sum":
            causal = torch.full((4, 4), torch.finfo(torch.float).min).triu(1)
            mask = torch.zeros_like(m).masked_fill(m < 0.5, -float("inf")) + causal
        else:
            mask = (1 - m) * torch.finfo(torch.float).min
        return nn.functional.scaled_dot_product_attention(x, x, x, attn_mask=mask)


@pytest.mark.parametrize("precision", ["fp16", "fp32"])
@pytest.mark.parametrize("form", ["bool", "infinite", "sum", "finite"])
def test_wholly_masked_rows(tmp_path, form, precision):
    torch.manual_seed(3)
    x, m = torch.randn(1, 2, 4, 8), torch.tensor([[1.0, 1, 0, 0], [0, 0, 0, 0], [0, 1, 1, 1], [0, 0, 0, 0]])
    model = torch.jit.trace(Masked(form), (x, m))
    model.save(str(tmp_path / "model.pt"))
    result = succeed("compile", "-o", tmp_path / "p.mlpackage", "--precision", precision, "--input", "x=[1, 2, 4, 8]", "--input",
                     "m=[4, 4]", "--output", "y", tmp_path / "model.pt")
    assert "warning" not in result.stderr, result.stderr
    dtype = np.float16 if precision == "fp16" else np.float32
    np.save(tmp_path / "x.npy", x.numpy().astype(dtype))
    np.save(tmp_path / "m.npy", m.numpy().astype(dtype))
    succeed("run", tmp_path / "p.mlpackage", "--input", f"x={tmp_path}/x.npy", "--input", f"m={tmp_path}/m.npy", "--output-dir", tmp_path)
    expected, actual = model(x, m).numpy(), np.load(tmp_path / "y.npy")
    assert np.isfinite(expected).all() and np.isfinite(actual).all()
    # LibTorch's mean over such a row of finite_min is what rounding leaves of it: -3e4 leaves more.
    rows = slice(0, 4, 2) if (form, precision) == ("finite", "fp16") else slice(None)
    np.testing.assert_allclose(actual[:, :, rows], expected[:, :, rows], atol=2e-3 if precision == "fp16" else 1e-5)


def test_steps_of_quotients(tmp_path):
    """No pass turns x / 49 into x * (1 / 49), which is less than 1 at 49, where a floor follows."""

    class Steps(nn.Module):
        def forward(self, x):
            return torch.floor(x / 49), (x / 3).int(), x // 0.1, torch.div(x, 0.001, rounding_mode="trunc"), x / 49 >= 1

    x = torch.tensor([49.0, 0.1, 98, 147, 1, 9, 27])
    torch.jit.trace(Steps(), x).save(str(tmp_path / "model.pt"))
    outputs = [part for i in range(5) for part in ("--output", f"y{i}")]
    succeed("compile", "-o", tmp_path / "p.mlpackage", "--precision", "fp32", "--input", "x=[7]", *outputs, tmp_path / "model.pt")
    np.save(tmp_path / "x.npy", x.numpy())
    succeed("run", tmp_path / "p.mlpackage", "--input", f"x={tmp_path}/x.npy", "--output-dir", tmp_path)
    for i, expected in enumerate(Steps()(x)):
        np.testing.assert_array_equal(np.load(tmp_path / f"y{i}.npy"), expected.numpy())


@pytest.mark.parametrize("precision", ["fp16", "fp32"])
def test_norms_of_large_orders(tmp_path, precision):
    """fp16 holds no 30th power of 1.5 or of 0.5; a norm of that order is as large as its elements. Beyond fp32, LibTorch's is infinite or 0."""

    class Norms(nn.Module):
        def forward(self, x):
            return torch.linalg.vector_norm(x, 30, 1), torch.cdist(x, x.flip(0), 100.0), torch.norm(x, -30, 0), torch.renorm(x[:2], 30, 0, 2.0)

    x = torch.tensor([[0.3, -0.1, 0.2], [8, -7.5, 3], [0.01, 0.001, 0], [40, 1, 2]])
    torch.jit.trace(Norms(), x).save(str(tmp_path / "model.pt"))
    outputs = [part for i in range(4) for part in ("--output", f"y{i}")]
    result = succeed("compile", "-o", tmp_path / "p.mlpackage", "--precision", precision, "--input", "x=[4, 3]", *outputs, tmp_path / "model.pt")
    assert "warning" not in result.stderr, result.stderr
    np.save(tmp_path / "x.npy", x.numpy().astype(np.float16 if precision == "fp16" else np.float32))
    succeed("run", tmp_path / "p.mlpackage", "--input", f"x={tmp_path}/x.npy", "--output-dir", tmp_path)
    for i, expected in enumerate(Norms()(x)):
        np.testing.assert_allclose(np.load(tmp_path / f"y{i}.npy"), expected.numpy(), rtol=1e-2 if precision == "fp16" else 1e-5)
