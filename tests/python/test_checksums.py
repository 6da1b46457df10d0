"""A byte of a model's weights that is not what its archive's CRC-32 says: nothing is compiled from it, nor compared with it."""

import zipfile

import pytest
import torch
from command import plait, succeed


class Model(torch.nn.Module):
    """A weight that is written as it is, one that is read transposed, a mask that LibTorch computes with, one nobody needs."""

    def __init__(self):
        super().__init__()
        self.straight = torch.nn.Linear(96, 64)
        self.turned = torch.nn.Parameter(torch.randn(64, 700))
        self.register_buffer("mask", torch.ones(96, 96))
        self.unused = torch.nn.Parameter(torch.randn(300, 300))

    def forward(self, x):
        return self.straight(x * self.mask.triu()[3]) @ self.turned


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("checksums") / "model.pt"
    torch.manual_seed(0)
    torch.jit.script(Model().eval()).save(str(path))
    return path


def damaged(path, target, size):
    """A copy whose record of `size` bytes has another byte in its middle."""
    data = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        entry, = (entry for entry in archive.infolist() if entry.file_size == size)
        offset = data.index(archive.read(entry))
    data[offset + size // 2] ^= 0x10
    target.write_bytes(data)
    return entry.filename


SIZES = {"straight": 96 * 64 * 4, "bias": 64 * 4, "turned": 64 * 700 * 4, "mask": 96 * 96 * 4}


def compile_it(output, *functions, options=()):
    return plait("compile", "-o", output, "--input", "x=[1, 96]", *options,
                 *(text for number, path in enumerate(functions) for text in ("--function", f"f{number}={path}")))


@pytest.mark.parametrize("precision", ["fp16", "fp32"])
@pytest.mark.parametrize("name", SIZES)
def test_a_damaged_weight(model, tmp_path, name, precision):
    record = damaged(model, tmp_path / "bad.pt", SIZES[name])
    for functions in ((tmp_path / "bad.pt",), (model, tmp_path / "bad.pt"), (tmp_path / "bad.pt", model)):
        result = compile_it(tmp_path / "p.mlpackage", *functions, options=("--precision", precision))
        assert result.returncode == 1 and f"bad.pt: record '{record}' is damaged" in result.stderr, result.stderr
        assert not (tmp_path / "p.mlpackage").exists()


def test_weights_that_nobody_needs_are_not_read(model, tmp_path):
    damaged(model, tmp_path / "bad.pt", 300 * 300 * 4)
    succeed("compile", "-o", tmp_path / "p.mlpackage", "--input", "x=[1, 96]", tmp_path / "bad.pt")


def test_add_and_verify(model, tmp_path):
    """What is compared with a package's weights is looked at too; the package stays as it was."""
    package = tmp_path / "p.mlpackage"
    assert compile_it(package, model).returncode == 0
    before = {file: file.read_bytes() for file in package.rglob("*") if file.is_file()}
    damaged(model, tmp_path / "bad.pt", SIZES["straight"])
    result = plait("add", package, "--function", f"g={tmp_path}/bad.pt", "--input", "x=[1, 96]")
    assert result.returncode == 1 and "is damaged" in result.stderr, result.stderr
    assert before == {file: file.read_bytes() for file in package.rglob("*") if file.is_file()}
    succeed("add", package, "--function", f"g={model}", "--input", "x=[1, 96]")
    succeed("verify", package, "--function", "f0", "--against", model)
    result = plait("verify", package, "--function", "f0", "--against", tmp_path / "bad.pt")
    assert result.returncode == 1 and "is damaged" in result.stderr, result.stderr


def test_an_adapter_that_is_a_pickle(tmp_path):
    layer = torch.nn.Sequential(torch.nn.Linear(8, 8)).eval()
    torch.jit.trace(layer, torch.ones(1, 8)).save(str(tmp_path / "base.pt"))
    (tmp_path / "a").mkdir()
    torch.save({"base_model.model.0.lora_A.weight": torch.randn(2, 8), "base_model.model.0.lora_B.weight": torch.randn(8, 2)},
               tmp_path / "a" / "whole.bin")
    data = bytearray((tmp_path / "a" / "whole.bin").read_bytes())
    with zipfile.ZipFile(tmp_path / "a" / "whole.bin") as archive:
        record = archive.read(next(name for name in archive.namelist() if name.endswith("data/0")))
    data[data.index(record) + 9] ^= 1
    (tmp_path / "a" / "adapter_model.bin").write_bytes(data)
    (tmp_path / "a" / "adapter_config.json").write_text('{"peft_type": "LORA", "r": 2, "lora_alpha": 2}')
    result = plait("compile", "-o", tmp_path / "p.mlpackage", "--base", tmp_path / "base.pt", "--input", "x=[1, 8]",
                   "--adapter", f"a={tmp_path}/a")
    assert result.returncode == 1 and "is damaged" in result.stderr, result.stderr
