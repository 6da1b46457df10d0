"""Sizes that several inputs have in common: one symbol of the program, checked in every call."""

import json

import numpy as np
import pytest
import torch
from command import plait, succeed
from peer import check_package, load_spec
from test_arguments import inputs_of
from test_constants import given
from torch import nn


class Masked(nn.Module):
    """Where tokens and mask were of two sizes, PyTorch would broadcast one of them at 1."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(16, 8)

    def forward(self, tokens, mask):
        x = self.embedding(tokens) * mask.unsqueeze(2)
        return torch.cat([x, mask.unsqueeze(2).expand(-1, -1, 8)], 1)


SIZES = ["tokens=int32[1, n:1..64]", "mask=[1, n]"]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("named") / "m.pt"
    torch.manual_seed(0)
    torch.jit.trace(Masked().eval(), (torch.zeros(1, 5, dtype=torch.long), torch.ones(1, 5))).save(str(path))
    return path


def arrays(folder, tokens, mask):
    folder.mkdir(exist_ok=True)
    np.save(folder / "tokens.npy", np.arange(tokens, dtype=np.int32)[None] % 16)
    np.save(folder / "mask.npy", np.ones((1, mask), np.float32))
    return given(f"tokens={folder}/tokens.npy", f"mask={folder}/mask.npy")


def test_one_symbol(model, tmp_path):
    package = tmp_path / "p.mlpackage"
    succeed("compile", "-o", package, *given(*SIZES), model)
    succeed("verify", package, "--against", model, "--draws", "4")
    check_package(package)
    assert inputs_of(package)["tokens"]["shape"] == [1, "1..64"] and inputs_of(package)["mask"]["sizes"] == ["", "n"]
    shown = succeed("inspect", package).stdout
    assert "tokens: tensor<int32, [1, n:1..64]>" in shown and "mask: tensor<fp16, [1, n:1..64]>" in shown
    # The program knows that the sizes are equal: nothing of it looks at which is which.
    apart = tmp_path / "apart.mlpackage"
    succeed("compile", "-o", apart, *given("tokens=int32[1, 1..64]", "mask=[1, 1..64]"), model)
    together, separate = ({n: f["operations"] for n, f in [("main", json.loads(succeed("inspect", p, "--json").stdout)["functions"][0])]}["main"]
                          for p in (package, apart))
    assert sum(together.values()) <= sum(separate.values())
    assert "sizes" not in inputs_of(apart)["mask"]

    succeed("run", package, *arrays(tmp_path / "same", 7, 7), "--output-dir", tmp_path / "out")
    refused = plait("run", package, *arrays(tmp_path / "other", 7, 6), "--output-dir", tmp_path / "out")
    assert refused.returncode == 1 and "input 'mask' has shape [1, 6]" in refused.stderr and "input 'tokens' has n = 7" in refused.stderr

    # Core ML is told of both ranges; the names are in the metadata.
    assert load_spec(package).description.metadata.userDefined["plait.interface.main"] == \
        '{"sizes":{"mask":["","n"],"tokens":["","n"]}}'


def test_the_text_has_the_name(model, tmp_path):
    """By name where people read it; in Core ML's form, which has no names, as an attribute."""
    package, text = tmp_path / "p.mlpackage", tmp_path / "p.mil"
    succeed("compile", "-o", package, *given(*SIZES), model)
    shown = succeed("inspect", package, "--mil").stdout
    assert "tensor<int32, [1, n]> tokens, tensor<fp16, [1, n]> mask" in shown and "tensor<fp16, [1, n, 8]>" in shown and "[1, ?]" not in shown
    succeed("opt", package, "-o", text)
    assert "tensor<int32, [1, ?]> tokens, tensor<fp16, [1, ?]> mask" in text.read_text()
    assert 'PlaitSizeNames = dict<string, tensor<string, [?]>>({{"tokens", ["", "n"]}, {"mask", ["", "n"]}})' in text.read_text()
    again = tmp_path / "again.mlpackage"
    succeed("opt", text, "-o", again)
    assert succeed("inspect", again, "--mil").stdout == shown and inputs_of(again)["mask"]["sizes"] == ["", "n"]
    # Names that do not fit are as if there were none; bounds that differ cannot be one size.
    for wrong in ('["n"]', '["", "tensor"]', '["n", ""]'):
        (tmp_path / "wrong.mil").write_text(text.read_text().replace('{"mask", ["", "n"]}', f'{{"mask", {wrong}}}'))
        assert "PlaitSizeNames" not in succeed("opt", tmp_path / "wrong.mil").stdout
        assert "mask_1" in succeed("opt", tmp_path / "wrong.mil").stdout
    apart = text.read_text().replace('{"mask", [[1, 1], [1, 64]]}', '{"mask", [[1, 1], [1, 32]]}')
    assert apart != text.read_text()
    (tmp_path / "apart.mil").write_text(apart)
    assert "tokens_1" in succeed("opt", tmp_path / "apart.mil").stdout


def test_of_several_functions(model, tmp_path):
    package = tmp_path / "p.mlpackage"
    succeed("compile", "-o", package, *given(*SIZES), "--function", f"a={model}", "--function", f"b={model}")
    succeed("add", package, "--function", f"c={model}", *given("mask=[1, length]", "tokens=int32[1, length:2..8]"))
    merged = tmp_path / "m.mlpackage"
    succeed("merge", "-o", merged, f"x={package}:b", f"y={package}:c")
    for place, function, name in ((package, "a", "n"), (package, "c", "length"), (merged, "x", "n"), (merged, "y", "length")):
        values = {f["name"]: f for f in json.loads(succeed("inspect", place, "--json").stdout)["functions"]}[function]["inputs"]
        assert [value["sizes"] for value in values] == [["", name], ["", name]]
        succeed("verify", place, "--function", function, "--against", model)


def test_recipe(model, tmp_path):
    (tmp_path / "r.yaml").write_text(f"output: p.mlpackage\nmodel: {model}\ninputs: ['tokens=int32[1, n:1..64]', 'mask=[1, n]']\n")
    succeed("compile", tmp_path / "r.yaml")
    assert inputs_of(tmp_path / "p.mlpackage")["tokens"]["sizes"] == ["", "n"]
    (tmp_path / "r.yaml").write_text(f"output: p.mlpackage\nmodel: {model}\ninputs: ['tokens=int32[1, 1..64]', 'mask=[1, n]']\n")
    refused = plait("compile", tmp_path / "r.yaml")
    assert refused.returncode in (1, 2) and "nothing says what the size 'n' may be" in refused.stderr


def test_archive(tmp_path):
    """Sizes that are one symbol of the program are one size; naming one names all."""
    length = torch.export.Dim("length", min=2, max=64)
    program = torch.export.export(Masked().eval(), (torch.zeros(1, 5, dtype=torch.long), torch.ones(1, 5)),
                                  dynamic_shapes={"tokens": {1: length}, "mask": {1: length}})
    torch.export.save(program, tmp_path / "m.pt2")
    package = tmp_path / "p.mlpackage"
    succeed("compile", "-o", package, tmp_path / "m.pt2")
    assert inputs_of(package)["tokens"]["sizes"] == inputs_of(package)["mask"]["sizes"] == ["", "tokens_1"]
    refused = plait("run", package, *arrays(tmp_path / "other", 7, 6), "--output-dir", tmp_path / "out")
    assert refused.returncode == 1 and "input 'tokens' has tokens_1 = 7" in refused.stderr
    succeed("compile", "-o", package, *given("tokens=int32[1, n:2..8]", "mask=[1, n]"), tmp_path / "m.pt2")
    assert inputs_of(package)["mask"]["sizes"] == ["", "n"] and inputs_of(package)["mask"]["shape"] == [1, "2..8"]


def test_damaged_notes(model, tmp_path):
    """Notes that are none, or say what the description does not, are as if there were none."""
    import coremltools
    package = tmp_path / "p.mlpackage"
    succeed("compile", "-o", package, *given(*SIZES), model)
    for number, text in enumerate(["{", "[]", '{"sizes":{"mask":["n","n"],"tokens":["","n"]}}', '{"sizes":{"mask":["","n"],"gone":["","n"]}}']):
        spec = load_spec(package)
        spec.description.metadata.userDefined["plait.interface.main"] = text
        other = tmp_path / f"{number}.mlpackage"
        coremltools.models.MLModel(spec, weights_dir=str(package / "Data" / "com.apple.CoreML" / "weights"), skip_model_load=True).save(str(other))
        assert "sizes" not in inputs_of(other)["mask"]
        succeed("verify", other, "--against", model)
