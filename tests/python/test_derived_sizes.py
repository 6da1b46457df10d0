"""Sizes of an archive's inputs that follow from one another: carried into the package, and checked in every call."""

import json

import numpy as np
import pytest
import torch
from command import plait, succeed
from peer import check_package, load_spec
from test_arguments import inputs_of
from test_constants import given
from torch import nn
from torch.export import Dim


class Halves(nn.Module):
    """Every second row of y, from the second on, beside those of x."""

    def forward(self, x, y):
        return x + y[1::2], y.sum(1)


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    path = tmp_path_factory.mktemp("derived") / "m.pt2"
    n = Dim("n", min=2, max=64)
    torch.export.save(torch.export.export(Halves(), (torch.rand(3, 4), torch.rand(7, 4)), dynamic_shapes={"x": {0: n}, "y": {0: 2 * n + 1}}), path)
    return path


def run(folder, package, **shapes):
    folder.mkdir(exist_ok=True)
    for name, shape in shapes.items():
        np.save(folder / f"{name}.npy", np.ones(shape, np.float32))
    return plait("run", package, *given(*(f"{name}={folder}/{name}.npy" for name in shapes)), "--output-dir", folder / "out")


def test_relation(archive, tmp_path):
    package = tmp_path / "p.mlpackage"
    succeed("compile", "-q", "-o", package, "--precision", "fp32", archive)
    succeed("verify", package, "--against", archive, "--draws", "3")
    check_package(package)
    assert inputs_of(package)["y"]["sizes"] == ["2*x_0 + 1", ""] and inputs_of(package)["x"]["sizes"] == ["x_0", ""]
    assert "y: tensor<fp32, [2*x_0 + 1:5..129, 4]>" in succeed("inspect", package).stdout
    assert load_spec(package).description.metadata.userDefined["plait.interface.main"] == \
        '{"sizes":{"x":["x_0",""],"y":["2*x_0 + 1",""]}}'
    # The program knows it: x and half of y have one size, and nothing is broadcast.
    operations = json.loads(succeed("inspect", package, "--json").stdout)["functions"][0]["operations"]
    assert not {"tile", "select", "maximum"} & set(operations)
    assert run(tmp_path / "in", package, x=(5, 4), y=(11, 4)).returncode == 0
    refused = run(tmp_path / "in", package, x=(5, 4), y=(12, 4))
    assert refused.returncode == 1
    assert "input 'y' has shape [12, 4] where the function takes [2*x_0 + 1, 4]: input 'x' has x_0 = 5, so that 2*x_0 + 1 is 11" in refused.stderr


def test_the_text_has_the_relation(archive, tmp_path):
    package, text, again = tmp_path / "p.mlpackage", tmp_path / "p.mil", tmp_path / "again.mlpackage"
    succeed("compile", "-q", "-o", package, "--precision", "fp32", archive)
    succeed("opt", package, "-o", text)
    assert 'PlaitSizeNames = dict<string, tensor<string, [?]>>({{"x", ["x_0", ""]}, {"y", ["2*x_0 + 1", ""]}})' in text.read_text()
    succeed("opt", text, "-o", again)
    assert inputs_of(again)["y"]["sizes"] == ["2*x_0 + 1", ""]
    assert succeed("inspect", again, "--mil").stdout == succeed("inspect", package, "--mil").stdout
    assert "so that 2*x_0 + 1 is 11" in run(tmp_path / "in", again, x=(5, 4), y=(12, 4)).stderr
    # What follows from a size that no input is has no meaning.
    text.write_text(text.read_text().replace('"2*x_0 + 1"', '"2*z + 1"'))
    assert "2*z" not in succeed("opt", text).stdout


def test_declared(archive, tmp_path):
    """One declaration narrows what follows; two that disagree are refused; names are the user's."""
    package = tmp_path / "p.mlpackage"
    for declared, shapes in (("x=[2..8, 4]", ["2..8", "5..17"]), ("y=[5..17, 4]", ["2..8", "5..17"]), ("y=[9, 4]", [4, 9])):
        succeed("compile", "-q", "-o", package, *given(declared), archive)
        assert [inputs_of(package)[name]["shape"][0] for name in "xy"] == shapes
    succeed("compile", "-q", "-o", package, *given("x=[rows:2..8, 4]"), archive)
    assert inputs_of(package)["y"]["sizes"] == ["2*rows + 1", ""]
    for declared, message in ((("x=[2..8, 4]", "y=[5..129, 4]"), "declared 5..129, and it is 2*x_0 + 1, from 5 to 17"),
                              (("y=[5..18, 4]",), "declared 5..18, and it is 2*x_0 + 1, from 5 to 17"),
                              (("x=[n:2..64, 4]", "y=[n, 4]"), "are not equal|declared")):
        refused = plait("compile", "-o", package, *given(*declared), archive)
        assert refused.returncode == 1 and any(part in refused.stderr for part in message.split("|")), refused.stderr


class Pairs(nn.Module):
    def forward(self, x, y):
        return x.reshape(-1, 2).sum(1) + y.reshape(-1, 3).sum(1)


def test_no_dimension_is_the_symbol(tmp_path):
    n = Dim("n", min=2, max=16)
    archive, package = tmp_path / "m.pt2", tmp_path / "p.mlpackage"
    torch.export.save(torch.export.export(Pairs(), (torch.rand(8), torch.rand(12)), dynamic_shapes={"x": {0: 2 * n}, "y": {0: 3 * n}}), archive)
    succeed("compile", "-q", "-o", package, "--precision", "fp32", archive)
    succeed("verify", package, "--against", archive, "--draws", "3")
    assert run(tmp_path / "in", package, x=(10,), y=(15,)).returncode == 0
    assert "7 is no 2*" in run(tmp_path / "in", package, x=(7,), y=(15,)).stderr
    assert "so that 3*" in run(tmp_path / "in", package, x=(10,), y=(18,)).stderr


def test_kept_by_edits(archive, tmp_path):
    """Functions that are added and merged keep how their sizes belong together."""
    package, merged = tmp_path / "p.mlpackage", tmp_path / "m.mlpackage"
    succeed("compile", "-q", "-o", package, "--function", f"a={archive}")
    succeed("add", package, "--function", f"b={archive}")
    succeed("merge", "-o", merged, f"c={package}:b")
    for place, function in ((package, "a"), (package, "b"), (merged, "c")):
        functions = {f["name"]: f for f in json.loads(succeed("inspect", place, "--json").stdout)["functions"]}
        assert functions[function]["inputs"][1]["sizes"] == ["2*x_0 + 1", ""]


def test_damaged_notes(archive, tmp_path):
    """What the description contradicts, or is no size, is as if it were not there."""
    import coremltools
    package = tmp_path / "p.mlpackage"
    succeed("compile", "-q", "-o", package, archive)
    for number, y in enumerate(["2*x_0", "2*x_0 + 1 +", "2*gone + 1", "x_0 - x_0 + 5", "floordiv(x_0, 0)", "(" * 5000, "x_0" + "*x_0" * 5000]):
        spec = load_spec(package)
        spec.description.metadata.userDefined["plait.interface.main"] = json.dumps({"sizes": {"x": ["x_0", ""], "y": [y, ""]}})
        other = tmp_path / f"{number}.mlpackage"
        coremltools.models.MLModel(spec, weights_dir=str(package / "Data" / "com.apple.CoreML" / "weights"), skip_model_load=True).save(str(other))
        known = inputs_of(other)["y"]
        assert known["shape"] == ["5..129", 4]
        # Of a symbol that no other dimension has, a size may well be that expression.
        assert known.get("sizes") == (["2*gone + 1", ""] if "gone" in y else None), y
