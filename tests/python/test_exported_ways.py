"""Archives of torch.export wherever a model is named: recipes, --keep-fp32, --precision auto, --bisect."""

import re

import exported
import numpy as np
import pytest
import torch
from command import digest, plait, succeed
from torch import nn
from torch.export import Dim


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(8, 8), nn.Linear(8, 8)

    def forward(self, x):
        return self.second(torch.softmax(self.first(x), 1)) + x


class Stack(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.blocks = nn.ModuleList(Residual() for _ in range(3))

    def forward(self, x):
        for block in self.blocks:
            x = block(x)
        return x


def test_recipes(tmp_path):
    """A recipe says the same as the options, of an archive with one model and of one with two."""
    from torch.export.pt2_archive._package import package_pt2
    model, rows = Stack().eval(), Dim("rows", min=2, max=9)
    exported.save(tmp_path / "m.pt2", model, [torch.rand(3, 8)], [{0: rows}])
    package_pt2(tmp_path / "two.pt2", exported_programs={
        name: torch.export.export(model, (torch.rand(count, 8),)) for name, count in (("one", 1), ("four", 4))})
    (tmp_path / "recipe.yaml").write_text("""
output: recipe.mlpackage
precision: fp32
functions:
  ranged: {model: m.pt2}
  narrow: {model: m.pt2, inputs: ["x=[2..5, 8]"], outputs: [y]}
  four: {model: "two.pt2:four"}
""")
    succeed("compile", "-q", "recipe.yaml", cwd=tmp_path)
    succeed("compile", "-q", "-o", "options.mlpackage", "--precision", "fp32", "--function", "ranged=m.pt2", "--function", "narrow=m.pt2",
            "--input", "x=[2..5, 8]", "--output", "y", "--function", "four=two.pt2:four", cwd=tmp_path)
    assert digest(tmp_path / "recipe.mlpackage") == digest(tmp_path / "options.mlpackage")
    (tmp_path / "recipe.yaml").write_text("output: r.mlpackage\nfunctions:\n  a: {model: 'two.pt2:three'}\n")
    result = plait("compile", "recipe.yaml", cwd=tmp_path)
    assert result.returncode == 1 and "no model 'three'; it has four, one" in result.stderr, result.stderr


def test_kept_operations(tmp_path):
    """--keep-fp32 knows the modules of an archive, and finds what no operation is."""
    exported.save(tmp_path / "m.pt2", Stack(), [torch.rand(3, 8)])
    succeed("compile", "-q", "-o", "p.mlpackage", "--keep-fp32", "softmax at blocks.1", "m.pt2", cwd=tmp_path)
    text = succeed("inspect", "p.mlpackage", "--mil", cwd=tmp_path).stdout
    kinds = re.findall(r"tensor<(fp16|fp32), [^>]*> \w+ = softmax\(", text)
    assert kinds == ["fp16", "fp32", "fp16"], text
    result = plait("compile", "-o", "q.mlpackage", "--keep-fp32", "softmax at blocks.7", "m.pt2", cwd=tmp_path)
    assert result.returncode == 1 and "'softmax at blocks.7' fits no operation" in result.stderr, result.stderr


def test_bisect(tmp_path):
    """The module is named in which another archive has another weight."""
    model = Stack()
    exported.save(tmp_path / "right.pt2", model, [torch.rand(3, 8)])
    with torch.no_grad():
        model.blocks[1].second.weight.mul_(1.5)
    exported.save(tmp_path / "wrong.pt2", model, [torch.rand(3, 8)])
    succeed("compile", "-q", "-o", "p.mlpackage", "--debug-info", "on", "wrong.pt2", cwd=tmp_path)
    succeed("verify", "p.mlpackage", "--against", "wrong.pt2", cwd=tmp_path)
    result = plait("verify", "p.mlpackage", "--against", "right.pt2", "--bisect", cwd=tmp_path)
    assert result.returncode == 1
    assert "blocks.1.second" in result.stdout and "blocks.2.first" not in result.stdout, result.stdout


@pytest.mark.parametrize("form", ["archive", "script"])
def test_precision_is_found(tmp_path, form):
    """--precision auto runs an archive as it runs TorchScript, and keeps the same operation."""
    class Large(nn.Module):
        def forward(self, x):
            return torch.square(x + 300) - 90000
    path = tmp_path / ("m.pt2" if form == "archive" else "m.pt")
    if form == "archive":
        exported.save(path, Large(), [torch.rand(2, 8)])
    else:
        torch.jit.trace(Large(), torch.rand(2, 8)).save(str(path))
    result = succeed("compile", "-o", tmp_path / "p.mlpackage", "--precision", "auto", "--input", "x=[2, 8]", path)
    assert "--keep-fp32" in result.stdout, result.stdout
    np.save(tmp_path / "x.npy", np.ones((2, 8), np.float32))
    succeed("run", tmp_path / "p.mlpackage", "--input", f"x={tmp_path}/x.npy", "--output-dir", tmp_path / "out")
    output, = exported.names(tmp_path / "p.mlpackage")[1]
    np.testing.assert_allclose(np.load(tmp_path / "out" / f"{output}.npy"), np.full((2, 8), 601.0), rtol=1e-2)
