"""What a function is given: tensors in tuples and dictionaries, numbers, by name and in order."""

import json
from typing import Dict, List, NamedTuple, Optional, Tuple

import pytest
import torch
from command import plait, succeed
from peer import check_package
from torch import Tensor, nn


class Nested(nn.Module):
    def forward(self, x: Tensor, pair: Tuple[Tensor, Tensor], batch: Dict[str, Tensor], mask: Optional[Tensor] = None,
                scale: float = 1.0, n: int = 2, mode: str = "add", negate: bool = False):
        y = x * scale + pair[0] * n + pair[1] * 3 + batch["a"] * 5 - batch["b"] * 7
        if mask is not None:
            y = y * mask
        if mode == "half":
            y = y / 2
        return -y if negate else y


NESTED = [text for name in ("x", "pair_0", "pair_1", "batch_a", "batch_b") for text in ("--input", f"{name}=fp32[4]")]


def save(folder, module, name="model.pt"):
    torch.jit.script(module.eval()).save(str(folder / name))
    return folder / name


def compile_and_verify(folder, model, *inputs):
    package = folder / "p.mlpackage"
    succeed("compile", "-o", package, "--precision", "fp32", *inputs, model)
    succeed("verify", package, "--against", model)
    return package


def inputs_of(package):
    return {value["name"]: value for value in json.loads(succeed("inspect", package, "--json").stdout)["functions"][0]["inputs"]}


@pytest.mark.parametrize("inputs, further", [
    ([], []),
    (["mask=fp32[4]"], ["mask"]),
    (["n=int32[1]", "scale=fp32[1]", "negate=bool[1]"], ["scale", "n", "negate"]),
])
def test_arguments(tmp_path, inputs, further):
    package = compile_and_verify(tmp_path, save(tmp_path, Nested()), *NESTED, *[t for i in inputs for t in ("--input", i)])
    assert list(inputs_of(package)) == ["x", "pair_0", "pair_1", "batch_a", "batch_b", *further]
    check_package(package)


def test_names_go_before_the_order(tmp_path):
    """What is called as an argument is that argument, whatever comes before it; tuples may be given in order."""
    model = save(tmp_path, Nested())
    inputs = ["batch_b=fp32[4]", "batch_a=fp32[4]", "mask=fp32[4]", "first=fp32[4]", "fp32[4]", "third=fp32[4]"]
    package = compile_and_verify(tmp_path, model, *[t for i in inputs for t in ("--input", i)])
    assert list(inputs_of(package)) == ["first", "pair_0", "third", "batch_b", "batch_a", "mask"]


class Point(NamedTuple):
    x: Tensor
    y: Tensor


class Deep(nn.Module):
    def forward(self, point: Point, layers: List[Tuple[Tensor, Tensor]], heads: Dict[str, Tuple[Tensor, Tensor]], n: int):
        y = point.x * 2 - point.y
        for i, (a, b) in enumerate(layers):
            y = y + a * (i + 2) - b
        left_one = heads["left_one"]
        return (y + left_one[0] * 9 - heads["b"][1]) * n, heads["b"][0] + left_one[1]


def test_containers_of_containers(tmp_path):
    names = ["point_x", "point_y", "layers_0_0", "layers_0_1", "layers_1_0", "layers_1_1", "heads_left_one_0", "heads_left_one_1",
             "heads_b_0", "heads_b_1"]
    package = compile_and_verify(tmp_path, save(tmp_path, Deep()), *[t for n in names for t in ("--input", f"{n}=fp32[6]")],
                                 "--input", "n=int32[1]")
    assert list(inputs_of(package)) == [*names, "n"]


@pytest.mark.parametrize("inputs, message", [
    (["n=fp32[1]"], "argument 'n' has type int; as an input it is one number, --input 'n=int32[1]'"),
    (["scale=int32[1]"], "as an input it is one number, --input 'scale=fp32[1]'"),
    (["negate=bool[2]"], "as an input it is one number, --input 'negate=bool[1]'"),
])
def test_refused_arguments(tmp_path, inputs, message):
    refused = plait("compile", "-o", tmp_path / "p.mlpackage", *NESTED, *[t for i in inputs for t in ("--input", i)], save(tmp_path, Nested()))
    assert refused.returncode in (1, 2) and message in refused.stderr, refused.stderr


class Needy(nn.Module):
    def forward(self, x: Tensor, n: int, ratio: float, flag: bool, mode: str):
        return x * n


@pytest.mark.parametrize("given, message", [
    ([], "'n' has type int and no default; --input 'n=int32[1]' makes it an input"),
    (["n=int32[1]"], "'ratio' has type float and no default; --input 'ratio=fp32[1]' makes it an input"),
    (["n=int32[1]", "ratio=[1]"], "'flag' has type bool and no default; --input 'flag=bool[1]' makes it an input"),
    (["n=int32[1]", "ratio=[1]", "flag=bool[1]"], "'mode' has type str and no default; say what it is: --input 'mode=\"…\"'"),
])
def test_arguments_without_a_default(tmp_path, given, message):
    refused = plait("compile", "-o", tmp_path / "p.mlpackage", "--input", "x=[4]", *[t for i in given for t in ("--input", i)],
                    save(tmp_path, Needy()))
    assert refused.returncode in (1, 2) and message in refused.stderr, refused.stderr


class Scaled(nn.Module):
    def forward(self, x, scale: float = 2.0):
        return x * scale


def test_a_number_goes_by_its_name(tmp_path):
    refused = plait("compile", "-o", tmp_path / "p.mlpackage", "--input", "x=[4]", "--input", "gain=[1]", save(tmp_path, Scaled()))
    assert refused.returncode in (1, 2), refused.stdout
    assert "2 inputs are declared, but forward takes 1" in refused.stderr and "is called as its argument, 'scale'" in refused.stderr


# ---- Archives of torch.export --------------------------------------------------------------------------------------------


class Exported(nn.Module):
    def forward(self, x, pair, batch, n, *, gain=None, bias=None):
        y = x * pair[0] + pair[1] * n + batch["a"] * 3
        return y * gain + bias


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    path = tmp_path_factory.mktemp("exported") / "m.pt2"
    arguments = (torch.rand(2, 4), (torch.rand(4), torch.rand(4)), {"a": torch.ones(4, dtype=torch.long)}, 5)
    shapes = {"x": {0: torch.export.Dim("rows", min=1, max=9)}, "pair": (None, None), "batch": {"a": None}, "n": torch.export.Dim.DYNAMIC,
              "gain": None, "bias": None}
    program = torch.export.export(Exported(), arguments, {"gain": torch.tensor(2.0), "bias": torch.rand(1)}, dynamic_shapes=shapes)
    torch.export.save(program, path)
    return path


def test_archive(archive, tmp_path):
    package = tmp_path / "p.mlpackage"
    succeed("compile", "-o", package, "--precision", "fp32", archive)
    assert {name: (value["dtype"], value["shape"]) for name, value in inputs_of(package).items()} == {
        "x": ("fp32", ["1..9", 4]), "pair_0": ("fp32", [4]), "pair_1": ("fp32", [4]), "batch_a": ("int32", [4]), "n": ("int32", [1]),
        "gain": ("fp32", [1]), "bias": ("fp32", [1])}
    succeed("verify", package, "--against", archive, "--range", "n=2..9", "--draws", "2")
    # One input may be narrowed by its name; the others stay as they were exported.
    succeed("compile", "-o", package, "--precision", "fp32", "--input", "batch_a=[4]", "--input", "x=[1..3, 4]", archive)
    assert inputs_of(package)["x"]["shape"] == ["1..3", 4] and inputs_of(package)["batch_a"]["dtype"] == "int32"


@pytest.mark.parametrize("given, message", [
    ("batch_a=fp16[4]", "input 'batch_a' is declared fp16, and the model was exported for Long; say --input 'batch_a=int32[…]'"),
    ("batch_a=bool[4]", "input 'batch_a' is declared bool, and the model was exported for Long"),
    ("n=fp32[1]", "input 'n' is declared fp32, and the model was exported for a number; say --input 'n=int32[…]'"),
    ("n=int32[2]", "input 'n' is a number of the model; declare it 'n=int32[1]'"),
    ("gain=[2]", "input 'gain' is declared [2], and the model was exported for []"),
])
def test_archive_refused(archive, tmp_path, given, message):
    refused = plait("compile", "-o", tmp_path / "p.mlpackage", "--input", given, archive)
    assert refused.returncode == 1 and message in refused.stderr, refused.stderr
