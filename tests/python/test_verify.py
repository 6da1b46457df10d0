"""plait verify: draws, ranges and given arrays; --bisect names what is wrong in packages that were made wrong on purpose."""

import re

import numpy as np
import pytest
import torch
from command import plait, succeed
from torch import nn


class Double(nn.Module):
    def forward(self, x):
        return x * 2


class Scores(nn.Module):
    """Beyond fp16 in the middle: around a million."""

    def forward(self, x):
        large = (x * 1000 + 500) ** 2
        return large / (large.mean() + 1)


class Vanishing(nn.Module):
    """Finite in fp32; in fp16 the squares vanish, and it divides zero by zero."""

    def forward(self, x):
        small = (x * 1e-5) ** 2
        return small / small.sum()


class Net(nn.Module):
    def __init__(self, middle):
        super().__init__()
        self.first, self.middle, self.second, self.last = nn.Linear(8, 16), middle, nn.Linear(16, 16), nn.Linear(16, 4)

    def forward(self, x):
        return self.last(torch.tanh(self.second(self.middle(torch.relu(self.first(x)) + 0.5))))


def compiled(folder, model, precision="fp16", declared="x=[2, 8]", example=None):
    torch.jit.trace(model.eval(), torch.rand(2, 8) if example is None else example).save(str(folder / "model.pt"))
    succeed("compile", "-o", folder / "p.mlpackage", "--precision", precision, "--input", declared, folder / "model.pt")
    return folder / "p.mlpackage", folder / "model.pt"


def verify(package, model, *options):
    return plait("verify", package, "--against", model, *options)


def test_passes(tmp_path):
    torch.manual_seed(0)
    package, model = compiled(tmp_path, Net(Double()))
    result = verify(package, model, "--draws", "3", "--seed", "5", "--bisect")
    assert result.returncode == 0, result.stdout
    assert re.search(r"max abs [\d.e+-]+, max rel [\d.e+-]+, SNR [\d.]+ dB, cosine [\d.]+", result.stdout)
    assert result.stdout == verify(package, model, "--draws", "3", "--seed", "5").stdout
    assert result.stdout != verify(package, model, "--draws", "3", "--seed", "6").stdout
    assert verify(package, model, "--compute", "native").returncode == 0


class Masked(nn.Module):
    def forward(self, x, mask):
        return x.masked_fill(mask, 0.0) + torch.sigmoid(mask)


def test_bool_inputs_reach_the_model_as_such(tmp_path):
    example = (torch.rand(2, 8), torch.rand(2, 8) > 0.5)
    torch.jit.trace(Masked().eval(), example).save(str(tmp_path / "model.pt"))
    succeed("compile", "-o", tmp_path / "p.mlpackage", "--input", "x=[2, 8]", "--input", "mask=bool[2, 8]",
            tmp_path / "model.pt")
    result = verify(tmp_path / "p.mlpackage", tmp_path / "model.pt", "--draws", "3", "--bisect")
    assert result.returncode == 0, result.stdout + result.stderr


class Numbers(nn.Module):
    """A number that the model also makes a bool of."""

    def forward(self, x, m):
        return x.masked_fill(m.to(torch.bool), 0.0), torch.full_like(m, 7)


def test_numbers_used_as_bools_stay_numbers(tmp_path):
    example = (torch.rand(2, 8), torch.ones(2, 8, dtype=torch.long))
    torch.jit.trace(Numbers().eval(), example).save(str(tmp_path / "model.pt"))
    succeed("compile", "-o", tmp_path / "p.mlpackage", "--input", "x=[2, 8]", "--input", "m=int32[2, 8]",
            tmp_path / "model.pt")
    result = verify(tmp_path / "p.mlpackage", tmp_path / "model.pt", "--draws", "3")
    assert result.returncode == 0, result.stdout + result.stderr


class OneSize(nn.Module):
    """Its trace holds the length that it was made with."""

    def forward(self, x):
        return x[:, : x.shape[1] - 2] + torch.ones(int(x.shape[1]) - 2)


def test_sizes_that_the_model_refuses_are_named(tmp_path):
    package, model = compiled(tmp_path, OneSize(), declared="x=[1, 8..12]", example=torch.rand(1, 8))
    assert verify(package, model).returncode == 0
    result = verify(package, model, "--draws", "2")
    assert result.returncode == 1
    assert "on inputs x [1, 12]" in result.stderr and "the model fails" in result.stderr, result.stderr


def test_overflow_is_named(tmp_path):
    torch.manual_seed(0)
    package, model = compiled(tmp_path, Net(Scores()))
    result = verify(package, model, "--bisect")
    assert result.returncode == 1
    overflow, = [line for line in result.stdout.splitlines() if "fp16 overflows at" in line]
    assert "in module 'middle' at" in overflow and "test_verify.py:" in overflow, result.stdout
    assert "without rounding to fp16 every value of the model is reached" in result.stdout
    assert result.stdout.count("NaN or infinite on one side") == 1  # said of the output, once


def test_nan_is_named(tmp_path):
    torch.manual_seed(0)
    package, model = compiled(tmp_path, Net(Vanishing()))
    result = verify(package, model, "--bisect")
    assert result.returncode == 1
    assert re.search(r"fp16 (overflows|leaves fp32) at .*in module 'middle' at .*test_verify.py:", result.stdout), result.stdout


@pytest.mark.parametrize("precision", ["fp16", "fp32"])
def test_a_wrong_weight_is_named(tmp_path, precision):
    torch.manual_seed(0)
    net = Net(Double())
    package, model = compiled(tmp_path, net, precision)
    weights = package / "Data" / "com.apple.CoreML" / "weights" / "weight.bin"
    values = net.second.weight.detach().numpy().astype(np.float16 if precision == "fp16" else np.float32)
    data = weights.read_bytes()
    assert data.count(values.tobytes()) == 1
    weights.write_bytes(data.replace(values.tobytes(), (values * -2).tobytes()))
    result = verify(package, model, "--bisect")
    assert result.returncode == 1
    departure, = [line for line in result.stdout.splitlines() if "leaves the model at" in line]
    assert "linear" in departure and "in module 'second'" in departure, result.stdout
    assert not re.search("leaves fp32|overflows", result.stdout), result.stdout


class Tokens(nn.Module):
    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(20, 4)

    def forward(self, ids):
        return self.table(ids).sum(1)


def test_integers_stay_in_the_table(tmp_path):
    package, model = compiled(tmp_path, Tokens(), declared="ids=int32[2, 8]", example=torch.zeros(2, 8, dtype=torch.int32))
    assert verify(package, model, "--draws", "20").returncode == 0
    assert verify(package, model, "--range", "ids=18..19").returncode == 0
    for option, message in [("ids=15..30", "index"), ("idx=0..1", "idx"), ]:
        result = verify(package, model, "--range", option)
        assert result.returncode == 1 and message in result.stderr, result.stderr
    for option in ("ids", "ids=3", "ids=5..2", "ids=a..b"):
        assert verify(package, model, "--range", option).returncode == 2


def test_given_arrays(tmp_path):
    torch.manual_seed(0)
    package, model = compiled(tmp_path, Net(Double()))
    np.save(tmp_path / "x.npy", np.full((2, 8), 1e4, np.float32))
    assert verify(package, model, "--input", f"x={tmp_path}/x.npy").returncode == 0
    np.save(tmp_path / "wrong.npy", np.zeros((3, 8), np.float32))
    for option, message in [(f"x={tmp_path}/wrong.npy", "[2, 8]"), (f"y={tmp_path}/x.npy", "no input 'y'"), ("x=/nowhere.npy", "/nowhere.npy")]:
        result = verify(package, model, "--input", option)
        assert result.returncode == 1 and message in result.stderr, result.stderr
    assert verify(package, model, "--draws", "0").returncode == 2
    assert plait("verify", package).returncode == 2
    missing = plait("verify", package, "--function", "other", "--against", model)
    assert missing.returncode == 1 and "no function 'other'" in missing.stderr


class Grid(nn.Module):
    def forward(self, x):
        rows, columns = torch.meshgrid([torch.arange(2), torch.arange(8)])
        return x + rows * columns


def test_what_libtorch_thinks_is_not_said(tmp_path):
    """torch.meshgrid without `indexing` makes LibTorch warn on the standard error."""
    torch.jit.script(Grid()).save(str(tmp_path / "m.pt"))
    result = succeed("compile", "-o", tmp_path / "p.mlpackage", "--input", "x=[2, 8]", tmp_path / "m.pt")
    assert result.stderr == ""
    result = verify(tmp_path / "p.mlpackage", tmp_path / "m.pt")
    assert result.returncode == 0 and result.stderr == "", result.stderr


class Shifted(nn.Module):
    """What fp16 has few digits for: numbers around `by`, whose differences are asked for."""

    def __init__(self, by):
        super().__init__()
        self.linear, self.by = nn.Linear(8, 8), by

    def forward(self, x):
        return torch.relu(self.linear(x) + self.by) - self.by


def test_rounding_is_spoken_of_and_named(tmp_path):
    torch.manual_seed(0)
    package, model = compiled(tmp_path, Shifted(20.0))
    result = verify(package, model)
    assert result.returncode == 0 and "PASS" in result.stdout, result.stdout
    assert re.search(r"rounding to fp16 takes it 0\.\d+ % of the largest value away, most at (add|sub) '", result.stdout), result.stdout
    package, model = compiled(tmp_path, Shifted(500.0))
    result = verify(package, model)
    assert result.returncode == 1 and "  rounded " in result.stdout and "allowed" in result.stdout, result.stdout
    package, model = compiled(tmp_path, Shifted(500.0), "fp32")
    result = verify(package, model)
    assert result.returncode == 0 and "rounding to fp16" not in result.stdout, result.stdout


@pytest.mark.parametrize("epsilon", [1e-12, 1e-7])
def test_an_epsilon_that_half_cannot_hold_is_rounding(tmp_path, epsilon):
    """Rows of small variance, as in a vision transformer's first layers: 6e-8 in place of 1e-12 is seen."""
    torch.manual_seed(0)

    class Small(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale, self.norm, self.last = nn.Linear(8, 8), nn.LayerNorm(8, eps=epsilon), nn.Linear(8, 8)
            with torch.no_grad():
                self.scale.weight.mul_(0.02), self.scale.bias.mul_(0.02)

        def forward(self, x):
            return self.last(self.norm(self.scale(x)))

    package, model = compiled(tmp_path, Small())
    result = verify(package, model)
    assert result.returncode == 0, result.stdout
    weights = torch.jit.load(str(model))
    with torch.no_grad():
        weights.norm.weight.mul_(1.02)
    weights.save(str(model))
    assert verify(package, model).returncode == 1, "two per cent of a weight are more"


def test_a_tolerance_overrides_what_rounding_explains(tmp_path):
    torch.manual_seed(0)
    net = Net(Double())
    package, model = compiled(tmp_path, net)
    with torch.no_grad():
        net.last.weight.mul_(1.01)
    torch.jit.trace(net, torch.rand(2, 8)).save(str(model))
    result = verify(package, model)
    off, explained = map(float, re.search(r"wrong .*; off by (\S+), rounding explains (\S+);", result.stdout).groups())
    assert result.returncode == 1 and off > 10 * explained, result.stdout
    for options in (["--rtol", "0.02"], ["--atol", "0.1"]):
        result = verify(package, model, *options)
        assert result.returncode == 0 and " allowed" in result.stdout and "explains" not in result.stdout, result.stdout
    assert verify(package, model, "--rtol", "1e-4", "--atol", "0").returncode == 1


class Best(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(8, 500)

    def forward(self, x):
        scores = self.linear(x)
        return scores.argmax(-1), scores.topk(20, -1)[1], scores > 0.1


def test_whole_numbers_may_flip_where_rounding_decides(tmp_path):
    torch.manual_seed(0)
    net = Best()
    package, model = compiled(tmp_path, net, declared="x=[64, 8]", example=torch.rand(64, 8))
    result = verify(package, model, "--draws", "3")
    assert result.returncode == 0, result.stdout
    assert max(map(int, re.findall(r"(\d+) of \d+ elements flipped by rounding", result.stdout))) > 0, result.stdout
    with torch.no_grad():
        net.linear.weight[3] *= 1.5
    torch.jit.trace(net, torch.rand(64, 8)).save(str(model))
    result = verify(package, model)
    assert result.returncode == 1 and "not the model's for another reason" in result.stdout, result.stdout


class Fused(nn.Module):
    """Convolutions whose norms are folded into them, and rounding that goes too far behind them."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU6(), nn.Conv2d(8, 8, 3), nn.BatchNorm2d(8), nn.ReLU6())
        self.shifted = Shifted(2000.0)

    def forward(self, x):
        return self.shifted(self.layers(x).mean((2, 3)))


def test_bisect_does_not_accuse_what_rounding_explains(tmp_path):
    torch.manual_seed(0)
    package, model = compiled(tmp_path, Fused(), declared="x=[2, 3, 12, 12]", example=torch.rand(2, 3, 12, 12))
    result = verify(package, model, "--bisect")
    assert result.returncode == 1 and "  rounded " in result.stdout, result.stdout
    assert "leaves the model" not in result.stdout and "fp16 leaves fp32 at" in result.stdout, result.stdout
    # Nor where the user allows less than rounding does.
    result = verify(package, model, "--bisect", "--atol", "1e-7", "--rtol", "1e-7")
    assert result.returncode == 1 and "leaves the model" not in result.stdout, result.stdout
