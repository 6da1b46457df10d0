"""fp16 with operations in fp32: chosen by name (--keep-fp32), or found by running the functions (--precision auto)."""

import json
import re

import numpy as np
import pytest
import torch
from command import plait, succeed
from torch import nn
from torch.nn import functional as F


class Residual(nn.Module):
    """Blocks of a transformer without attention, so that a model has operations enough."""

    def __init__(self, norm, width=32, depth=6):
        super().__init__()
        self.norms = nn.ModuleList(norm() for _ in range(depth))
        self.up = nn.ModuleList(nn.Linear(width, 2 * width) for _ in range(depth))
        self.gate = nn.ModuleList(nn.Linear(width, 2 * width) for _ in range(depth))
        self.down = nn.ModuleList(nn.Linear(2 * width, width) for _ in range(depth))

    def forward(self, x):
        for norm, up, gate, down in zip(self.norms, self.up, self.gate, self.down):
            y = norm(x)
            x = x + down(F.silu(gate(y)) * torch.tanh(up(y)) * torch.sigmoid(up(y)))
        return x


class Chain(nn.Module):
    """Layers with a way around each, so that an error at the beginning is seen at the end."""

    def __init__(self, layer, depth=25):
        super().__init__()
        self.layers = nn.ModuleList(layer() for _ in range(depth))

    def forward(self, x):
        for layer in self.layers:
            x = x + torch.tanh(layer(x)) * 0.3
        return x


class MassiveFeatures(nn.Module):
    """One feature is thousands of times as large as the others in one layer, as in language models."""

    def __init__(self):
        super().__init__()
        self.first, self.rest = Residual(nn.Identity, depth=1), Residual(lambda: nn.LayerNorm(32))
        self.scale = nn.Parameter(torch.ones(32))
        self.scale.data[5] = 4000

    def forward(self, x):
        x = self.first(x) * self.scale
        energy = (x * x).mean(-1, keepdim=True)
        return self.rest(x / (energy + 1e-5).sqrt())


class ScaledEmbedding(nn.Module):
    """Gemma's: an embedding times the root of the width, in a residual stream that grows."""

    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(50, 32)
        self.blocks = Residual(lambda: nn.LayerNorm(32))
        self.table.weight.data *= 300

    def forward(self, ids):
        x = self.table(ids) * 32 ** 0.5
        return self.blocks(x / x.square().sum(-1, keepdim=True).sqrt())


class LargeFeedForward(nn.Module):
    """T5's: hidden values beyond 65504 between two layers, and a root mean square behind them."""

    def __init__(self):
        super().__init__()
        self.wi, self.wo = nn.Linear(32, 64, bias=False), nn.Linear(64, 32, bias=False)
        self.blocks = Residual(lambda: nn.LayerNorm(32), depth=10)
        self.wi.weight.data *= 500
        self.wo.weight.data *= 500

    def forward(self, x):
        h = self.wo(F.relu(self.wi(x)))
        return self.blocks(h * torch.rsqrt(h.pow(2).mean(-1, keepdim=True) + 1e-6))


class SineGenerator(nn.Module):
    """A source for speech: the phase is a long sum of frequencies."""

    def __init__(self):
        super().__init__()
        self.blocks = Chain(lambda: nn.Conv1d(8, 8, 3, padding=1))
        self.head = nn.Conv1d(1, 8, 1)

    def forward(self, f0):
        phase = torch.cumsum(f0.abs() / 24000 * 400, dim=-1)
        wave = torch.sin(2 * torch.pi * phase)
        return self.blocks(self.head(wave))


class LargeGrid(nn.Module):
    """Sampling at places of an image of 4096 pixels."""

    def __init__(self):
        super().__init__()
        self.layers = Chain(lambda: nn.Conv2d(2, 2, 1))

    def forward(self, image, flow):
        base = torch.linspace(-1, 1, 4096).view(1, 1, -1, 1)
        x = base + flow * (2 / 4096)
        grid = torch.cat([x, torch.zeros_like(x)], -1)
        return self.layers(F.grid_sample(image, grid, align_corners=True)).sigmoid()


class TinyVariances(nn.Module):
    """Statistics of a channel that hardly varies, behind an activation, where nothing takes them in."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm2d(4, eps=1e-12)
        self.norm.running_var.fill_(1e-9)
        self.norm.running_mean.fill_(1e-5)
        self.layers = Chain(lambda: nn.Conv2d(4, 4, 3, padding=1))

    def forward(self, x):
        return self.layers(self.norm(F.relu(x) * 3e-5))


class LongSum(nn.Module):
    """A cumulative sum of thousands, of which differences matter."""

    def __init__(self):
        super().__init__()
        self.layers = Chain(lambda: nn.Linear(16, 16))

    def forward(self, x):
        total = torch.cumsum(x + 3, dim=1)
        return self.layers(total[:, 64:] - total[:, :-64] - 192)


class Timesteps(nn.Module):
    """A diffusion model's: sines of steps times frequencies."""

    def __init__(self):
        super().__init__()
        self.layers = Chain(lambda: nn.Linear(64, 64))

    def forward(self, x, t):
        angles = (t * 999)[:, None] * torch.exp(-np.log(100.0) * torch.arange(32) / 32)[None]
        return self.layers(torch.cat([angles.sin(), angles.cos()], -1) + 0.1 * x)


class LargeScores(nn.Module):
    """Scores of attention that overflow before they are scaled and capped."""

    def __init__(self):
        super().__init__()
        self.q, self.k, self.v = (nn.Linear(32, 32) for _ in range(3))
        self.blocks = Residual(lambda: nn.LayerNorm(32))
        self.q.weight.data *= 500
        self.k.weight.data *= 500

    def forward(self, x):
        scores = torch.tanh((self.q(x) @ self.k(x).transpose(1, 2)).div(8) / 40000) * 5
        return self.blocks(scores.softmax(-1) @ self.v(x))


class Offset(nn.Module):
    """The variance of numbers that are large and nearly equal, from their squares."""

    def __init__(self):
        super().__init__()
        self.layers = Chain(lambda: nn.Linear(8, 8))

    def forward(self, x):
        x = x.reshape(4, 8, 64) + 100
        return self.layers((x.square().mean(-1) - x.mean(-1).square()).sqrt())


class SquaredRelu(nn.Module):
    """Primer's activation: squares of hundreds, and a projection that makes them small again."""

    def __init__(self):
        super().__init__()
        self.up, self.down, self.blocks = nn.Linear(32, 64), nn.Linear(64, 32), Residual(lambda: nn.LayerNorm(32))
        self.up.weight.data *= 800
        self.down.weight.data *= 1e-4

    def forward(self, x):
        return self.blocks(self.down(F.relu(self.up(x)) ** 2))


class LargeEmbedding(nn.Module):
    """An embedding times the root of the width that is beyond fp16, and a norm."""

    def __init__(self):
        super().__init__()
        self.table, self.norm, self.blocks = nn.Embedding(50, 32), nn.LayerNorm(32), Residual(lambda: nn.LayerNorm(32))
        self.table.weight.data *= 30000

    def forward(self, ids):
        return self.blocks(self.norm(self.table(ids) * 32 ** 0.5))


class PredictedPitch(nn.Module):
    """SineGenerator of a pitch that a layer gives."""

    def __init__(self):
        super().__init__()
        self.pitch, self.source = nn.Conv1d(4, 1, 1), SineGenerator()

    def forward(self, x):
        return self.source(F.softplus(self.pitch(x)) * 20)


class LearnedAngle(nn.Module):
    """Timesteps of a place that a layer gives."""

    def __init__(self):
        super().__init__()
        self.place, self.source = nn.Linear(64, 1), Timesteps()

    def forward(self, x):
        return self.source(x, torch.sigmoid(self.place(x))[:, 0])


class RareChance(nn.Module):
    """The logarithm of what a chance near 1 leaves."""

    def __init__(self):
        super().__init__()
        self.layer, self.layers = nn.Linear(16, 16), Chain(lambda: nn.Linear(16, 16))

    def forward(self, x):
        return self.layers(torch.log(1 - torch.sigmoid(self.layer(x) + 8)))


class LargeSum(nn.Module):
    """A mean as a sum, beyond fp16, over a count."""

    def __init__(self):
        super().__init__()
        self.layers = Chain(lambda: nn.Linear(8, 8))

    def forward(self, x):
        return self.layers((F.relu(x) * 40).sum(1) / 20000)


class SharpSoftmax(nn.Module):
    """Scores of hundreds, of which small differences matter."""

    def __init__(self):
        super().__init__()
        self.layer, self.blocks = nn.Linear(32, 32), Residual(lambda: nn.LayerNorm(32))

    def forward(self, x):
        return self.blocks(F.softmax(self.layer(x).cos() * 200, -1))


def normal(*shape):
    return torch.randn(*shape)


MODELS = {
    "large feed-forward": (LargeFeedForward, [normal(1, 12, 32)]),
    "tiny variances": (TinyVariances, [normal(1, 4, 8, 8)]),
    "long sum": (LongSum, [normal(1, 3000, 16)]),
    "offset": (Offset, [normal(4, 512)]),
    "squared relu": (SquaredRelu, [normal(1, 12, 32)]),
    "predicted pitch": (PredictedPitch, [normal(1, 4, 2000)]),
    "learned angle": (LearnedAngle, [normal(4, 64)]),
    "rare chance": (RareChance, [normal(4, 16)]),
    "large sum": (LargeSum, [normal(2, 20000, 8)]),
    "sharp softmax": (SharpSoftmax, [normal(1, 12, 32)]),
}
SAFE = {
    "large embedding": (LargeEmbedding, [torch.arange(12)[None]]),
    "massive features": (MassiveFeatures, [normal(1, 12, 32)]),
    "scaled embedding": (ScaledEmbedding, [torch.arange(12)[None]]),
    "sine generator": (SineGenerator, [normal(1, 1, 2000)]),
    "large grid": (LargeGrid, [normal(1, 2, 1, 4096), normal(1, 1, 4096, 1)]),
    "timesteps": (Timesteps, [normal(4, 64), torch.rand(4)]),
    "large scores": (LargeScores, [normal(1, 12, 32)]),
}


def save(folder, name):
    make, inputs = (MODELS | SAFE)[name]
    torch.manual_seed(3)
    model = make().eval()
    with torch.no_grad():
        torch.jit.trace(model, tuple(inputs), check_trace=False).save(str(folder / "model.pt"))
    declared = []
    for i, tensor in enumerate(inputs):
        dtype = "int32" if tensor.dtype == torch.int64 else "fp16"
        declared += ["--input", f"x{i}={dtype}[{', '.join(map(str, tensor.shape))}]"]
    return declared + ["--output", "y"]


def worst(result):
    """The least signal-to-noise ratio that verify prints."""
    numbers = [float(number) for number in re.findall(r"SNR (\S+) dB", result.stdout)]
    return -np.inf if "NaN or infinite" in result.stdout else min(numbers)


@pytest.mark.parametrize("name", MODELS)
def test_auto(tmp_path, name):
    declared = save(tmp_path, name)
    succeed("compile", "-o", tmp_path / "half.mlpackage", *declared, tmp_path / "model.pt")
    half = plait("verify", tmp_path / "half.mlpackage", "--against", tmp_path / "model.pt", "--rtol", 1)
    assert worst(half) < 50, half.stdout
    result = succeed("compile", "-o", tmp_path / "auto.mlpackage", "--precision", "auto", *declared, tmp_path / "model.pt")
    reached, wide, operations = re.search(r"precision: (\S+) dB at least with (\d+) of (\d+) operations in fp32", result.stdout).groups()
    assert float(reached) >= 50 and int(wide) < 0.1 * int(operations), result.stdout
    auto = succeed("verify", tmp_path / "auto.mlpackage", "--against", tmp_path / "model.pt", "--seed", 7, "--rtol", 1)
    assert worst(auto) > 45, auto.stdout
    # What is printed says the same.
    keep = re.search(r"--keep-fp32 '(.*)'", result.stdout).group(1)
    succeed("compile", "-o", tmp_path / "again.mlpackage", "--keep-fp32", keep, *declared, tmp_path / "model.pt")
    programs = [succeed("inspect", tmp_path / f"{one}.mlpackage", "--mil").stdout for one in ("auto", "again")]
    assert programs[0] == programs[1]


@pytest.mark.parametrize("name", SAFE)
def test_safe_by_construction(tmp_path, name):
    """What the passes write does not fail at fp16 in the first place."""
    declared = save(tmp_path, name)
    result = succeed("compile", "-o", tmp_path / "p.mlpackage", "--precision", "auto", *declared, tmp_path / "model.pt")
    assert "with everything in fp16" in result.stdout, result.stdout
    assert worst(succeed("verify", tmp_path / "p.mlpackage", "--against", tmp_path / "model.pt")) > 48


class TwoNorms(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(8, 8), nn.Linear(8, 8)

    def forward(self, x):
        x = torch.softmax(self.first(x), -1)
        return torch.softmax(self.second(x) * 3, -1)


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    folder = tmp_path_factory.mktemp("two")
    torch.manual_seed(3)
    torch.jit.trace(TwoNorms().eval(), torch.zeros(2, 8)).save(str(folder / "model.pt"))
    return folder


def wide(package):
    """Kinds of operations with a result in fp32, casts aside."""
    program = succeed("inspect", package, "--mil").stdout
    return sorted(kind for kind in re.findall(r"tensor<fp32, [^;=]*> \w+ = (\w+)\(", program) if kind not in ("cast", "const"))


def casts(package):
    return json.loads(succeed("inspect", package, "--json").stdout)["functions"][0]["operations"].get("cast", 0)


@pytest.mark.parametrize("keep, kinds, borders", [
    ("softmax", ["softmax", "softmax"], 4), ("second", ["linear"], 2), ("second.weight", ["linear"], 2),
    ("softmax, second", ["linear", "softmax", "softmax"], 2), ("aten::linear at first", ["linear"], 2)])
def test_keep(two, tmp_path, keep, kinds, borders):
    succeed("compile", "-o", tmp_path / "p.mlpackage", "--keep-fp32", keep, "--input", "x=[2, 8]", two / "model.pt")
    assert (wide(tmp_path / "p.mlpackage"), casts(tmp_path / "p.mlpackage")) == (kinds, borders)
    succeed("verify", tmp_path / "p.mlpackage", "--against", two / "model.pt")


@pytest.mark.parametrize("options, status, message", [
    (["--keep-fp32", "softmaxx"], 1, "'softmaxx' fits no operation"),
    (["--keep-fp32", "a b"], 2, "'OPERATION at MODULE' is wanted"),
    (["--keep-fp32", "softmax", "--precision", "fp32"], 2, "in fp32 everything is kept"),
    (["--min-snr", "40"], 2, "--min-snr is of --precision auto"),
    (["--precision", "auto", "--min-snr", "200"], 2, "decibels between 0 and 140"),
    (["--precision", "auto", "--min-snr", "100"], 1, "100 dB cannot be reached"),
    (["--precision", "auto", "--inputs", "nowhere"], 1, "a folder of inputs is wanted"),
    (["--precision", "auto", "--write-recipe", "r.yaml"], 2, "a compile from a recipe")])
def test_refusals(two, tmp_path, options, status, message):
    result = plait("compile", "-o", tmp_path / "p.mlpackage", *options, "--input", "x=[2, 8]", two / "model.pt")
    assert result.returncode == status and message in result.stderr
    assert not (tmp_path / "p.mlpackage").exists()


class Squares(nn.Module):
    """Overflows on inputs that are not drawn."""

    def forward(self, x):
        return torch.log(x.square().sum(-1) + 1)


def test_inputs_of_an_app(tmp_path):
    torch.jit.trace(Squares(), torch.zeros(2, 8)).save(str(tmp_path / "model.pt"))
    compile_ = ["compile", "-o", tmp_path / "p.mlpackage", "--precision", "auto", "--input", "x=fp16[2, 8]", "--output", "y"]
    assert "everything in fp16" in succeed(*compile_, tmp_path / "model.pt").stdout
    folder = tmp_path / "inputs"
    (folder / "first").mkdir(parents=True)
    large = np.full((2, 8), 400, np.float32)
    np.save(folder / "first" / "x.npy", np.ones((2, 8), np.float32))
    np.savez(folder / "second.npz", x=large)
    np.savez_compressed(folder / "third.npz", x=large)
    np.save(folder / "other.npy", large)
    result = succeed(*compile_, "--inputs", folder, tmp_path / "model.pt")
    assert "an overflow with all of them in fp16" in result.stdout
    succeed("verify", tmp_path / "p.mlpackage", "--against", tmp_path / "model.pt", "--inputs", folder)
    assert "an overflow" in succeed(*compile_, "--input-scale", 400, tmp_path / "model.pt").stdout
    (folder / "notes.txt").write_text("no input")
    result = plait(*compile_, "--inputs", folder, tmp_path / "model.pt")
    assert result.returncode == 1 and "belongs to no input" in result.stderr
    succeed("compile", "-o", tmp_path / "half.mlpackage", "--input", "x=fp16[2, 8]", "--output", "y", tmp_path / "model.pt")
    (folder / "notes.txt").unlink()
    assert "it overflows" in plait("verify", tmp_path / "half.mlpackage", "--against", tmp_path / "model.pt", "--inputs", folder).stdout


def test_recipe(tmp_path):
    torch.jit.trace(Squares(), torch.zeros(2, 8)).save(str(tmp_path / "model.pt"))
    recipe = "# a\noutput: p.mlpackage\nprecision: auto\nfunctions:\n  one:\n    model: model.pt\n    inputs: 'x=fp16[2, 8]'\n"
    recipe += "  two:\n    model: model.pt\n    inputs: 'x=fp16[4, 8]'\n"
    (tmp_path / "r.yaml").write_text(recipe)
    result = succeed("compile", "--input-scale", 400, "--write-recipe", tmp_path / "chosen.yaml", tmp_path / "r.yaml")
    written = (tmp_path / "chosen.yaml").read_text()
    assert written.startswith("# a\noutput: p.mlpackage\nfunctions:") and "precision: fp16\nkeep_fp32:\n  - " in written, written
    first = succeed("inspect", tmp_path / "p.mlpackage", "--mil").stdout
    assert "precision" not in succeed("compile", tmp_path / "chosen.yaml").stdout
    assert succeed("inspect", tmp_path / "p.mlpackage", "--mil").stdout == first
    assert "in fp32" in result.stdout
    (tmp_path / "other").mkdir()
    result = plait("compile", "--write-recipe", tmp_path / "other" / "r.yaml", tmp_path / "r.yaml")
    assert result.returncode == 2 or "has to lie beside" in result.stderr


def test_shared_weights_stay_shared(tmp_path):
    """Two functions of one base that need fp32 at different places: what they share is chosen for both."""

    class Head(nn.Module):
        def __init__(self, scale):
            super().__init__()
            torch.manual_seed(3)
            self.fc, self.out, self.scale = nn.Linear(64, 64), nn.Linear(64, 64), scale

        def forward(self, x):
            return torch.tanh(self.out(torch.relu(self.fc(x * self.scale))) * 1e-5)

    options = []
    for name, scale in (("small", 1.0), ("large", 3e5)):
        torch.jit.trace(Head(scale).eval(), torch.zeros(1, 64)).save(str(tmp_path / f"{name}.pt"))
        options += ["--function", f"{name}={tmp_path / name}.pt"]
    result = succeed("compile", "-o", tmp_path / "p.mlpackage", "--precision", "auto", "--input", "x=fp16[1, 64]", "--output", "y=fp32",
                     *options, "--expect-shared", "90%")
    assert "in fp32" in result.stdout
