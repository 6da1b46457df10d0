"""What Core ML refuses is refused by every command that writes a package, and --allow is the way out by name."""

import pytest
import torch
from torch import nn

from command import digest, plait, succeed

SPEC = ["--input", "x=[2, 8]"]


class SixAxes(nn.Module):
    def forward(self, x):
        return x.reshape(1, 2, 1, 2, 1, 4) * 2


class Empty(nn.Module):
    def forward(self, x):
        return x * 2, x[:, 0:0]


class Plain(nn.Module):
    def forward(self, x):
        return x * 3


CHOICE = """program(1.3)
{
    func main<ios18>(tensor<fp32, [2, 8]> x) {
        tensor<bool, [1, 8]> c = const()[val = tensor<bool, [1, 8]>([[true, false, true, false, true, false, true, false]])];
        tensor<fp32, [2, 8]> y = square(x = x);
        tensor<fp32, [2, 8]> z = select(cond = c, a = x, b = y);
    } -> (z);
}
"""

BROKEN = [(SixAxes(), "rank-limit"), (Empty(), "no-empty-tensor")]


def save(tmp_path, module, name="model"):
    path = tmp_path / f"{name}.pt"
    torch.jit.trace(module, torch.rand(2, 8)).save(str(path))
    return path


@pytest.mark.parametrize("module, rule", BROKEN)
def test_compile(tmp_path, module, rule):
    model, package = save(tmp_path, module), tmp_path / "p.mlpackage"
    result = plait("compile", "-o", package, *SPEC, model)
    assert result.returncode == 1 and not package.exists()
    assert f"[{rule}]" in result.stderr and f"--allow {rule}" in result.stderr
    assert "test_rules.py" in result.stderr  # the line of the model
    other = "rank-limit" if rule != "rank-limit" else "no-empty-tensor"
    assert plait("compile", "-o", package, "--allow", other, *SPEC, model).returncode == 1
    result = succeed("compile", "-o", package, "--allow", other, "--allow", rule, *SPEC, model)
    assert f"warning: main: operation" in result.stderr and f"[{rule}]" in result.stderr


@pytest.mark.parametrize("module, rule", BROKEN)
def test_add_and_merge(tmp_path, module, rule):
    plain, broken = save(tmp_path, Plain(), "plain"), save(tmp_path, module, "broken")
    package, other, merged = tmp_path / "p.mlpackage", tmp_path / "other.mlpackage", tmp_path / "m.mlpackage"
    succeed("compile", "-o", package, "--function", f"a={plain}", *SPEC)
    before = digest(package)
    result = plait("add", package, "--function", f"b={broken}", *SPEC)
    assert result.returncode == 1 and f"[{rule}]" in result.stderr and digest(package) == before
    result = succeed("add", package, "--allow", rule, "--function", f"b={broken}", *SPEC)
    assert "warning: b: operation" in result.stderr

    succeed("compile", "-o", other, *SPEC, plain)
    result = plait("merge", "-o", merged, package, f"c={other}")
    assert result.returncode == 1 and f"--allow {rule}" in result.stderr and not merged.exists()
    result = succeed("merge", "-o", merged, "--allow", rule, package, f"c={other}")
    assert "warning: b: operation" in result.stderr


def test_merge_warns_of_risks(tmp_path):
    """select that broadcasts is fine in the packages of one function that it comes from."""
    for name in "ab":
        text = tmp_path / f"{name}.mil"
        text.write_text(CHOICE)
        succeed("opt", "-o", tmp_path / f"{name}.mlpackage", text)
    result = succeed("merge", "-o", tmp_path / "m.mlpackage", f"a={tmp_path / 'a.mlpackage'}", f"b={tmp_path / 'b.mlpackage'}")
    assert "[select-broadcast]" in result.stderr


def test_names_of_rules(tmp_path):
    model = save(tmp_path, Plain())
    result = plait("compile", "-o", tmp_path / "p.mlpackage", "--allow", "rank-limits", *SPEC, model)
    assert result.returncode == 2 and "rank-limit" in result.stderr and "--list-rules" in result.stderr
    assert plait("merge", "-o", tmp_path / "p.mlpackage", "--allow", "nothing", "a.mlpackage").returncode == 2


def test_recipe(tmp_path):
    model = save(tmp_path, SixAxes())
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(f"output: p.mlpackage\nmodel: {model.name}\ninputs: ['x=[2, 8]']\nallow: [rank-limit]\n")
    assert "[rank-limit]" in succeed("compile", recipe).stderr
    recipe.write_text(f"output: p.mlpackage\nmodel: {model.name}\ninputs: ['x=[2, 8]']\nallow:\n  - rank-limits\n")
    result = plait("compile", recipe)
    assert result.returncode == 1 and ":5:5:" in result.stderr and "rank-limits" in result.stderr
