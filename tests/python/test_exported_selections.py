"""Sizes that data decides, in archives: selections, positions, repeated and unique elements, as from TorchScript."""

import json

import exported
import numpy as np
import pytest
import torch
from command import succeed
from torch import nn


class Selected(nn.Module):
    """Elements that stand side by side, and what can do without."""

    def forward(self, x, rows, counts):
        chosen, weights = x[rows > 0], torch.softmax(x[rows > 0] @ x.T, 0)
        return (chosen, torch.nonzero(x), torch.masked_select(x, x > 0.5) * 2, torch.repeat_interleave(x, counts, 0), torch.unique(counts),
                torch.unique_consecutive(counts), torch.cat([chosen, x]), weights, chosen.reshape(-1).cumsum(0),
                x[torch.nonzero(rows > 0)[:, 0]], (x[x > 0] - 1).mean(), chosen.shape[0] * torch.ones(2))


class Counted(nn.Module):
    """Sizes that are numbers of a tensor."""

    def forward(self, x, n):
        k = n.item()
        torch._check_is_size(k)
        torch._check(k <= x.shape[0])
        return torch.arange(k) * 2, torch.zeros(k, 3), x[:k], x.narrow(0, 0, k).sum(0)


def operations(package):
    function, = json.loads(succeed("inspect", package, "--json").stdout)["functions"]
    return {kind: count for kind, count in function["operations"].items() if kind != "const"}


@pytest.mark.parametrize("decomposed", [False, True])
def test_selections(tmp_path, decomposed):
    torch.manual_seed(0)
    model, inputs = Selected(), (torch.randn(5, 3), torch.tensor([1.0, -1, 2, 3, -2]), torch.tensor([2, 0, 3, 3, 1]))
    other = torch.randn(5, 3), torch.tensor([-1.0, 1, -2, -3, -2]), torch.tensor([1, 1, 1, 0, 4])
    package = exported.check(tmp_path, model, inputs, runs=[other], decomposed=decomposed)
    torch.jit.trace(model, inputs, check_trace=False).save(str(tmp_path / "model.pt"))
    script = tmp_path / "script.mlpackage"
    succeed("compile", "-q", "-o", script, "--precision", "fp32", "--input", "x=[5, 3]", "--input", "rows=[5]", "--input", "counts=int32[5]",
            tmp_path / "model.pt")
    assert operations(package) == operations(script)


def test_numbers(tmp_path):
    inputs = torch.rand(5, 3), torch.tensor(3)
    package = exported.check(tmp_path, Counted(), inputs, runs=[(inputs[0], torch.tensor(5))], verify=False)
    np.save(tmp_path / "n.npy", np.array([2], np.int32))
    succeed("verify", package, "--against", tmp_path / "model.pt2", "--input", f"n={tmp_path / 'n.npy'}")
