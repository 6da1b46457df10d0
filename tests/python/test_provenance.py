"""Where operations come from and which parameters constants are: written with --debug-info on, said by every command."""

import json
import re
import shutil

import numpy as np
import peer
import pytest
import torch
from command import digest, plait, succeed
from torch import nn

SIDE_FILE = "Data/com.apple.CoreML/plait-debug.json"


class Layer(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.linear = nn.Linear(width, width)
        self.register_buffer("scale", torch.rand(width))

    def forward(self, x):
        return torch.sin(self.linear(x)) * self.scale


class Tied(nn.Module):
    """One weight under two names, one module under two."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([Layer(16), Layer(16)])
        self.alias = self.layers[1]
        self.head = nn.Linear(16, 16, bias=False)
        self.head.weight = self.layers[0].linear.weight

    def forward(self, x):
        for layer in self.layers:
            x = layer(x)
        return self.head(x)


def saved(folder, how, model=None):
    torch.manual_seed(0)
    model = (model or Tied()).eval()
    path = folder / "model.pt"
    with torch.no_grad():
        (torch.jit.trace(model, torch.rand(2, 16)) if how == "traced" else torch.jit.script(model)).save(str(path))
    return path


def compiled(folder, model, *options, name="p"):
    package = folder / f"{name}.mlpackage"
    succeed("compile", "-o", package, *options, "--input", "x=[2, 16]", model)
    return package


def told(package, function="main"):
    return json.loads((package / SIDE_FILE).read_text())["functions"][function]


@pytest.mark.parametrize("how", ["traced", "scripted"])
@pytest.mark.parametrize("precision", ["fp16", "fp32"])
def test_parameters_and_places(tmp_path, how, precision):
    package = compiled(tmp_path, saved(tmp_path, how), "--debug-info", "on", "--precision", precision)
    info = told(package)
    parameters = sorted(map(tuple, info["parameters"].values()))
    assert ("head.weight", "layers.0.linear.weight") in parameters
    assert ("alias.linear.weight", "layers.1.linear.weight") in parameters
    assert ("layers.0.linear.bias",) in parameters and ("layers.0.scale",) in parameters
    assert not info["computed"]
    modules = {name: info["places"][place] for name, place in info["operations"].items()}
    sines = [place for name, place in modules.items() if "sin" in name]
    second = "alias" if how == "traced" else "layers.1"  # a trace reaches a module by the name that was given last
    assert {place[0] for place in sines} == {"layers.0", second} and {place[2] for place in sines} == {"aten::sin"}
    assert all(re.search(r"test_provenance\.py:\d+ in forward", place[1]) for place in sines), sines
    assert all(place[2] for place in modules.values())
    # Names say where an operation is, too.
    assert "layers_0_linear_linear" in modules or "layers_0_linear_linear" in " ".join(modules), modules


def test_the_rest_of_the_package_does_not_depend_on_it(tmp_path):
    model = saved(tmp_path, "traced")
    plain, told_of = compiled(tmp_path, model, name="a"), compiled(tmp_path, model, "--debug-info", "on", name="b")
    assert not (plain / SIDE_FILE).exists()
    files = digest(told_of)
    assert files.pop(SIDE_FILE) and files == digest(plain)
    assert digest(compiled(tmp_path, model, "--debug-info", "on", name="c")) == digest(told_of)
    peer.load_spec(told_of)
    peer.read_blobs(told_of)


def test_commands_say_it(tmp_path):
    model = saved(tmp_path, "traced")
    package = compiled(tmp_path, model, "--debug-info", "on")
    text = succeed("inspect", package, "--mil").stdout
    assert re.search(r"sin\(.*// layers\.0 at .*test_provenance\.py:\d+ in forward", text), text
    assert 'param = tensor<string, [2]>(["head.weight", "layers.0.linear.weight"])' in text
    assert "// layers.0 at" in succeed("opt", package).stdout
    np.save(tmp_path / "x.npy", np.zeros((2, 16), np.float16))
    lines = succeed("run", package, "--input", f"x={tmp_path}/x.npy", "--output-dir", tmp_path / "out", "--trace", "all").stdout
    assert re.search(r"sin.*layers\.0 at .*test_provenance\.py:\d+", lines), lines
    # And nothing where the package does not.
    assert "layers.0 at" not in succeed("inspect", compiled(tmp_path, model, name="q"), "--mil").stdout


def test_it_follows_functions(tmp_path):
    model = saved(tmp_path, "traced")
    package = compiled(tmp_path, model, "--debug-info", "on")
    first = told(package)
    succeed("add", package, "--function", f"other={model}", "--input", "x=[2, 16]")
    assert told(package) == first and told(package, "other")["parameters"]
    merged = tmp_path / "m.mlpackage"
    succeed("merge", "-o", merged, f"a={package}:main", f"b={package}:other")
    assert told(merged, "a") == first and told(merged, "b")["operations"] == told(package, "other")["operations"]
    succeed("remove", package, "other", "--default", "main")
    assert set(json.loads((package / SIDE_FILE).read_text())["functions"]) == {"main"}
    succeed("remove", merged, "a", "--default", "b", "--compact")
    assert "b" in json.loads((merged / SIDE_FILE).read_text())["functions"]
    shutil.copytree(package, tmp_path / "d.mlpackage")
    (tmp_path / "d.mlpackage" / SIDE_FILE).write_text("nonsense")
    result = plait("inspect", tmp_path / "d.mlpackage", "--mil")
    assert result.returncode == 1 and "delete it" in result.stderr


class Square(nn.Module):
    def forward(self, x):
        return torch.square(x * 300)


class Overflowing(nn.Module):
    def __init__(self):
        super().__init__()
        self.middle = Square()

    def forward(self, x):
        return torch.log(self.middle(x + 1) + 1)


def test_bisect_says_the_operations_own_place(tmp_path):
    model = saved(tmp_path, "traced", Overflowing())
    package = compiled(tmp_path, model, "--debug-info", "on")
    result = plait("verify", package, "--against", model, "--bisect")
    assert result.returncode == 1
    assert re.search(r"fp16 overflows at .*\(aten::\w+ in module 'middle' at .*test_provenance\.py:\d+ in forward", result.stdout), \
        result.stdout
