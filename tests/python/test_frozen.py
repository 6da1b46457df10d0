"""A model and its frozen copy (torch.jit.freeze folds batch norms) share every weight: plait folds them by the same
arithmetic."""

import json

import pytest
import torch
from command import succeed
from torch import nn


def trained(norm):
    with torch.no_grad():
        norm.running_mean.normal_()
        norm.running_var.uniform_(1e-4, 4)
        if norm.affine:
            norm.weight.normal_()
            norm.bias.normal_()
    return norm


class Backbone(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, 16, 3, padding=1, bias=False), trained(nn.BatchNorm2d(16)), nn.ReLU(),
            nn.Conv2d(16, 16, 3, groups=16), trained(nn.BatchNorm2d(16, eps=1e-3)), nn.ReLU6(),
            nn.Conv2d(16, 64, 1), trained(nn.BatchNorm2d(64, affine=False)), nn.Hardswish(),
            nn.ConvTranspose2d(64, 24, 2, stride=2), trained(nn.BatchNorm2d(24)), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.head = nn.Sequential(nn.Linear(24, 48), trained(nn.BatchNorm1d(48)), nn.ReLU(), nn.Linear(48, 12))

    def forward(self, x):
        return self.head(self.body(x))


@pytest.mark.parametrize("precision", ["fp16", "fp32"])
def test_a_frozen_copy_shares_every_weight(tmp_path, precision):
    torch.manual_seed(5)
    x = torch.randn(1, 3, 12, 12)
    traced = torch.jit.trace(Backbone().eval(), x)
    traced.save(str(tmp_path / "plain.pt"))
    torch.jit.freeze(traced).save(str(tmp_path / "frozen.pt"))
    weights = {}
    for name, functions in (("one", ["plain"]), ("both", ["plain", "frozen"])):
        arguments = [part for f in functions for part in ("--function", f"{f}={tmp_path / f}.pt")]
        succeed("compile", "-o", tmp_path / f"{name}.mlpackage", "--precision", precision, "--input", "x=[1, 3, 12, 12]",
                *arguments)
        weights[name] = json.loads(succeed("inspect", tmp_path / f"{name}.mlpackage", "--json").stdout)["weights"]
    assert weights["both"]["unique_bytes"] == weights["one"]["unique_bytes"]
    assert weights["both"]["referenced_bytes"] == 2 * weights["one"]["referenced_bytes"]
