"""Arguments that are no inputs but the same in every call; default values; narrow integers; floats where a model takes integers."""

import json
from typing import Dict, List, Optional, Tuple

import numpy as np
import pytest
import torch
from command import plait, succeed
from peer import check_package, load_spec
from test_arguments import compile_and_verify, inputs_of, save
from torch import Tensor, nn


def given(*inputs):
    return [text for one in inputs for text in ("--input", one)]


class Options(nn.Module):
    def forward(self, x: Tensor, mask: Optional[Tensor], scale: float, n: int, negate: bool, mode: str, sizes: List[int],
                weights: Optional[List[float]], shift: Tensor, pair: Tuple[Tensor, Optional[Tensor]]):
        y = x * scale + n
        if mask is not None:
            y = y * mask
        if mode == "half":
            y = y / 2
        if weights is not None:
            y = y * weights[0] + weights[1]
        first, second = pair
        if second is not None:
            y = y + second
        y = (y + shift).reshape(sizes) * first
        return -y if negate else y


CONSTANTS = ["mask=none", "scale=2.5", "n=-3", "negate=true", 'mode="half"', "sizes=[2, 2]", "weights=[0.5, 1.0]", "shift=4.0",
             "pair_1=none"]


def function_of(package):
    return json.loads(succeed("inspect", package, "--json").stdout)["functions"][0]


def test_constants(tmp_path):
    """verify finds in the package what the model is given beside the inputs."""
    package = compile_and_verify(tmp_path, save(tmp_path, Options()), *given("x=fp32[4]", "pair_0=fp32[2, 2]", *CONSTANTS))
    assert list(inputs_of(package)) == ["x", "pair_0"]
    assert function_of(package)["constants"] == {
        "mask": "none", "scale": "2.5", "n": "-3", "negate": "true", "mode": '"half"', "sizes": "[2, 2]", "weights": "[0.5, 1.0]",
        "shift": "4.0", "pair_1": "none"}
    assert "constant    scale: 2.5 in every call" in succeed("inspect", package).stdout
    check_package(package)


def test_constants_beside_inputs_of_the_same_arguments(tmp_path):
    """One function has an input where another has a constant; both are verified with the package alone."""
    model = save(tmp_path, Options())
    rest = ["x=fp32[4]", "pair_0=fp32[2, 2]", 'mode=""', "sizes=list[2, 2]", "weights=none", "negate=false"]
    package = tmp_path / "p.mlpackage"
    succeed("compile", "-o", package, "--precision", "fp32", "--function", f"fixed={model}", *given(*rest, "mask=none", "scale=2.0", "n=1", "shift=0"),
            "--function", f"open={model}", *given(*rest, "mask=fp32[4]", "scale=fp32[1]", "n=int32[1]", "shift=fp32[1]", "pair_1=fp32[4]"))
    for function in ("fixed", "open"):
        succeed("verify", package, "--function", function, "--against", model)
    # They stay with their functions.
    merged = tmp_path / "m.mlpackage"
    succeed("merge", "-o", merged, f"one={package}:fixed", f"two={package}:open")
    succeed("verify", merged, "--function", "one", "--against", model)
    succeed("add", merged, "--precision", "fp32", "--function", f"three={model}", *given(*rest, "mask=none", "scale=3.0", "n=1", "shift=0"))
    succeed("verify", merged, "--function", "three", "--against", model)
    succeed("remove", merged, "two")
    succeed("verify", merged, "--function", "one", "--against", model)
    assert [f.get("constants", {}).get("scale") for f in json.loads(succeed("inspect", merged, "--json").stdout)["functions"]] == ["2.0", "3.0"]
    assert not [key for key in load_spec(merged).description.metadata.userDefined if key.endswith(".two")]


def test_recipe(tmp_path):
    save(tmp_path, Options())
    quoted = "".join(f"  - {one!r}\n" for one in ["x=fp32[4]", "pair_0=fp32[2, 2]", *CONSTANTS])
    (tmp_path / "r.yaml").write_text(f"output: p.mlpackage\nmodel: model.pt\nprecision: fp32\ninputs:\n{quoted}")
    succeed("compile", tmp_path / "r.yaml")
    succeed("verify", tmp_path / "p.mlpackage", "--against", tmp_path / "model.pt")


@pytest.mark.parametrize("wrong, message", [
    ("scale=none", "argument 'scale' has type float and cannot be none; it is not optional"),
    ("n=2.5", "argument 'n' has type int and cannot be 2.5"),
    ("negate=1", "argument 'negate' has type bool and cannot be 1"),
    ("sizes=2", "argument 'sizes' has type List[int] and cannot be 2"),
    ("pair=2.0", "argument 'pair' has type Tuple[Tensor, Optional[Tensor]] and cannot be 2.0; name its elements, 'pair_0'"),
    ("shift=[-1, 4]", "[-1, 4] is no shape of one: an open size has bounds, --input 'shift=[1..64, 4]'"),
    ("shift=[none, 4]", "[none, 4] is no shape of one"),
    ("other=2.0", "forward has no argument 'other' that could be 2.0"),
])
def test_refused_constants(tmp_path, wrong, message):
    name = wrong.split("=")[0]
    others = [one for one in CONSTANTS if one.split("=")[0] != name]
    refused = plait("compile", "-o", tmp_path / "p.mlpackage", *given("x=[4]", *(["pair_0=[2, 2]"] if name != "pair" else []), *others, wrong),
                    save(tmp_path, Options()))
    assert refused.returncode in (1, 2) and message in refused.stderr, refused.stderr


class Scaled(nn.Module):
    def forward(self, x, scale=2.0, mask=None):
        return x * scale if mask is None else x * mask


def test_archive(tmp_path):
    """An archive is of one program: constants may say again what it was exported with."""
    program = torch.export.export(Scaled(), (torch.rand(4),), {"scale": 3.0, "mask": None})
    torch.export.save(program, tmp_path / "m.pt2")
    package = tmp_path / "p.mlpackage"
    succeed("compile", "-o", package, *given("scale=3.0", "mask=none"), tmp_path / "m.pt2")
    succeed("verify", package, "--against", tmp_path / "m.pt2")
    for wrong, message in (("scale=2.0", "'scale' is declared 2.0, and the model was exported with 3.0; export it with scale=2.0"),
                           ("x=1.0", "'x' is declared 1.0, and it is an input of the program that the archive holds"),
                           ("y=1.0", "the program that the archive holds has no such argument")):
        refused = plait("compile", "-o", package, *given(wrong), tmp_path / "m.pt2")
        assert refused.returncode in (1, 2) and message in refused.stderr, refused.stderr


# ---- Default values ------------------------------------------------------------------------------------------------------


class Biased(nn.Module):
    def forward(self, x, bias, offset):
        return x * 2 + bias - offset


def test_default_values(tmp_path):
    torch.jit.trace(Biased(), (torch.rand(1, 4), torch.rand(4), torch.zeros(1, dtype=torch.long))).save(str(tmp_path / "m.pt"))
    package = tmp_path / "p.mlpackage"
    succeed("compile", "-o", package, *given("x=fp16[1, 4]", "bias=fp16[4] default=0.5", "offset=int32[1] default=3"), tmp_path / "m.pt")
    succeed("verify", package, "--against", tmp_path / "m.pt")
    check_package(package)
    features = {f.name: f.type for f in load_spec(package).description.input}
    assert not features["x"].isOptional and features["bias"].isOptional and features["offset"].isOptional
    assert features["bias"].multiArrayType.floatDefaultValue == 0.5 and features["offset"].multiArrayType.intDefaultValue == 3
    assert [value.get("default_value") for value in inputs_of(package).values()] == [None, 0.5, 3]
    assert "bias: tensor<fp16, [4]>, 0.5 by default" in succeed("inspect", package).stdout

    np.save(tmp_path / "x.npy", np.ones((1, 4), np.float32))
    np.save(tmp_path / "bias.npy", np.full(4, 7, np.float32))
    succeed("run", package, *given(f"x={tmp_path}/x.npy"), "--output-dir", tmp_path / "out")
    np.testing.assert_array_equal(np.load(tmp_path / "out" / "output.npy"), np.full((1, 4), 2 + 0.5 - 3, np.float16))
    succeed("run", package, *given(f"x={tmp_path}/x.npy", f"bias={tmp_path}/bias.npy"), "--output-dir", tmp_path / "out")
    np.testing.assert_array_equal(np.load(tmp_path / "out" / "output.npy"), np.full((1, 4), 2 + 7 - 3, np.float16))
    refused = plait("run", package, *given(f"bias={tmp_path}/bias.npy"), "--output-dir", tmp_path / "out")
    assert refused.returncode == 1 and "input 'x' of type tensor<fp16, [1, 4]> is missing" in refused.stderr

    # A text of it, and a copy, say the same.
    text = succeed("inspect", package, "--mil").stdout
    assert 'CoreML_InputDefaultValues = dict<string, fp32>({{"bias", 0x1p-1}, {"offset", 0x1.8p+1}})' in text, text[:600]
    succeed("merge", "-o", tmp_path / "m.mlpackage", f"main={package}", "--allow", "optional-of-functions")
    assert [value.get("default_value") for value in inputs_of(tmp_path / "m.mlpackage").values()] == [None, 0.5, 3]


def test_one_input_has_to_be_given(tmp_path):
    torch.jit.trace(Biased(), (torch.rand(4), torch.rand(4), torch.zeros(4))).save(str(tmp_path / "m.pt"))
    refused = plait("compile", "-o", tmp_path / "p.mlpackage", *given("x=[4] default=0", "bias=[4] default=0", "offset=[4] default=0"), tmp_path / "m.pt")
    assert refused.returncode == 1 and "every input has a default value" in refused.stderr and "--allow optional-inputs" in refused.stderr


def test_default_values_of_several_functions(tmp_path):
    torch.jit.trace(Biased(), (torch.rand(4), torch.rand(4), torch.zeros(4))).save(str(tmp_path / "m.pt"))
    inputs = given("x=[4]", "bias=[4] default=0", "offset=[4]")
    result = succeed("compile", "-o", tmp_path / "p.mlpackage", *inputs, "--function", f"one={tmp_path}/m.pt", "--function", f"two={tmp_path}/m.pt")
    assert "input 'bias' has a default value" in result.stderr and "[optional-of-functions]" in result.stderr


# ---- Element types -------------------------------------------------------------------------------------------------------


class Counted(nn.Module):
    def forward(self, x):
        return x.float() * 0.5


def test_int8(tmp_path):
    torch.jit.trace(Counted(), torch.zeros(1, 4, dtype=torch.int8)).save(str(tmp_path / "m.pt"))
    package = tmp_path / "p.mlpackage"
    succeed("compile", "-o", package, "--target", "ios26", *given("x=int8[1, 4]"), tmp_path / "m.pt")
    assert inputs_of(package)["x"]["dtype"] == "int8"
    succeed("verify", package, "--against", tmp_path / "m.pt", "--range", "x=-128..127")
    refused = plait("compile", "-o", package, *given("x=int8[1, 4]"), tmp_path / "m.pt")
    assert refused.returncode in (1, 2)
    assert "input 'x' is int8, which inputs can be from ios26 on" in refused.stderr and "--target ios26" in refused.stderr
    refused = plait("compile", "-o", package, "--target", "ios26", *given("x=uint8[1, 4]"), tmp_path / "m.pt")
    assert refused.returncode == 2 and "Core ML has no arrays of uint8" in refused.stderr


class Words(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(8, 4)

    def forward(self, tokens):
        return self.embedding(tokens.view(-1))


class Picked(nn.Module):
    def forward(self, x, at):
        return x[:, at]


def nested(inner):
    class Outer(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = inner

        def forward(self, *arguments):
            return self.inner(*arguments) * 2
    return Outer()


class Nested(nn.Module):
    def __init__(self):
        super().__init__()
        self.words = Words()

    def forward(self, batch: Dict[str, torch.Tensor], pair: Tuple[torch.Tensor, torch.Tensor]):
        return self.words(batch["tokens"]) * pair[0] + self.words(pair[1])


def test_integers_within_arguments(tmp_path):
    """Of a scripted model, in dictionaries and tuples, through functions that are called."""
    torch.jit.script(Nested().eval()).save(str(tmp_path / "m.pt"))
    package = tmp_path / "p.mlpackage"
    right = {"batch_tokens": "int32[1, 3]", "pair_0": "[1]", "pair_1": "int32[1, 3]"}
    for wrong in ("batch_tokens", "pair_1"):
        said = right | {wrong: "fp16[1, 3]"}
        refused = plait("compile", "-o", package, *given(*(f"{n}={t}" for n, t in said.items())), tmp_path / "m.pt")
        assert refused.returncode in (1, 2) and f"takes integers as '{wrong}', which aten::embedding as indices takes" in refused.stderr
    result = succeed("compile", "-o", package, *given("batch_tokens=[1, 3]", "pair_0=[1]", "pair_1=[1, 3]"), tmp_path / "m.pt")
    assert "input 'pair_1' is int32, since aten::embedding as indices takes it" in result.stderr
    assert [inputs_of(package)[name]["dtype"] for name in right] == ["int32", "fp16", "int32"]
    succeed("verify", package, "--against", tmp_path / "m.pt")


class Bits(nn.Module):
    def forward(self, a, b):
        return (a & b).float()


@pytest.mark.parametrize("model, example, name, use", [
    (Words(), (torch.zeros(1, 3, dtype=torch.long),), "tokens", "aten::embedding as indices"),
    (nested(Words()), (torch.zeros(1, 3, dtype=torch.long),), "tokens", "aten::embedding as indices"),
    (Picked(), (torch.rand(2, 5), torch.tensor([1, 2])), "at", "aten::index as indices"),
])
def test_floats_for_integers(tmp_path, model, example, name, use):
    """A file says nothing of the types of its arguments; what is done with them does. Where nothing is said the input is of integers, or refused
    where it may be of bools as well."""
    torch.jit.trace(model.eval(), example).save(str(tmp_path / "m.pt"))
    shapes = [str(list(e.shape)) for e in example]

    def compile_with(kind):
        inputs = [f"{kind}{shapes[-1]}"] if len(shapes) == 1 else [shapes[0], f"{kind}{shapes[-1]}"]
        return plait("compile", "-o", tmp_path / "p.mlpackage", *given(*inputs), tmp_path / "m.pt")
    refused = compile_with("fp32")
    assert refused.returncode in (1, 2)
    assert f"which {use} takes, and a floating-point input is declared; say --input '" in refused.stderr, refused.stderr
    assert compile_with("int32").returncode == 0
    inferred = compile_with("")
    if use == "aten::index as indices":
        assert inferred.returncode in (1, 2) and f"which {use} takes" in inferred.stderr and "or bool where it is a mask" in inferred.stderr
    else:
        assert inferred.returncode == 0 and f"input '{name}' is int32, since {use} takes it" in inferred.stderr, inferred.stderr
        succeed("verify", tmp_path / "p.mlpackage", "--against", tmp_path / "m.pt")


def test_bits_of_what_is_not_said(tmp_path):
    torch.jit.trace(Bits(), (torch.ones(2, dtype=torch.long), torch.ones(2, dtype=torch.long))).save(str(tmp_path / "m.pt"))
    refused = plait("compile", "-o", tmp_path / "p.mlpackage", *given("a=[2]", "b=[2]"), tmp_path / "m.pt")
    assert refused.returncode in (1, 2) and "takes integers as 'a', which aten::__and__ as self takes" in refused.stderr
    for kind in ("int32", "bool"):
        succeed("compile", "-o", tmp_path / "p.mlpackage", *given(f"a={kind}[2]", f"b={kind}[2]"), tmp_path / "m.pt")
        succeed("verify", tmp_path / "p.mlpackage", "--against", tmp_path / "m.pt")
