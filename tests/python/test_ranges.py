"""Input ranges that include 1, where PyTorch treats axes of one element differently: the package does what PyTorch does at
every size, or the range is refused with the reason."""

import numpy
import pytest
import torch
from torch import nn

from command import plait, succeed


class Expand(nn.Module):
    def forward(self, x):
        return x.expand(3, 4).sum(0), torch.cat([x.expand(3, 4), torch.ones(3, 4)])


class Einsum(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.arange(12.).view(3, 4))

    def forward(self, x):
        return torch.einsum("...i,...i->...", x, self.weight), (x + self.weight).sum(0)


class Squeeze(nn.Module):
    def forward(self, x):
        return x.squeeze() * 2


class SqueezeNamed(nn.Module):
    def forward(self, x):
        return x.unsqueeze(1).squeeze(1) * 2


def save(tmp_path, module):
    path = tmp_path / "model.pt"
    torch.jit.script(module).save(str(path))
    return path


@pytest.mark.parametrize("module", [Expand(), Einsum(), SqueezeNamed()])
def test_both_are_right(tmp_path, module):
    model, package = save(tmp_path, module), tmp_path / "p.mlpackage"
    succeed("compile", "-o", package, "--input", "x=[1..3, 4]", model)
    for size in (1, 3):
        numpy.save(tmp_path / "x.npy", numpy.random.default_rng(size).random((size, 4), dtype=numpy.float32))
        succeed("verify", package, "--against", model, "--input", f"x={tmp_path / 'x.npy'}")


def test_squeeze_of_what_may_be_1(tmp_path):
    model, package = save(tmp_path, Squeeze()), tmp_path / "p.mlpackage"
    result = plait("compile", "-o", package, "--input", "x=[1..3, 4]", model)
    assert result.returncode == 1 and not package.exists()
    assert "dimension 0" in result.stderr and "begin at 2" in result.stderr and "test_ranges.py" in result.stderr
    succeed("compile", "-o", package, "--input", "x=[2..3, 4]", model)
    succeed("compile", "-o", package, "--input", "x=[1, 4]", model)
