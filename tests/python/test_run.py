"""plait run on arrays from files gives what LibTorch gives; inspect says what the package holds."""

import json

import models
import numpy as np
import pytest
import torch
from command import plait, succeed


@pytest.fixture(scope="module", params=["mlp", "cnn", "Integers", "Comparisons"])
def case(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    model, inputs = models.build(request.param)
    model.save(str(folder / "model.pt"))
    declared = [text for declaration in models.declarations(request.param) for text in ("--input", declaration)]
    succeed("compile", "-o", folder / "p.mlpackage", "--precision", "fp32", *declared, folder / "model.pt")
    for k, value in enumerate(inputs):
        np.save(folder / f"in{k}.npy", value.numpy())
    expected = model(*inputs)
    return folder, inputs, expected if isinstance(expected, tuple) else (expected,)


def test_run(case):
    folder, inputs, expected = case
    report = json.loads(succeed("inspect", folder / "p.mlpackage", "--json").stdout)
    outputs = [output["name"] for output in report["functions"][0]["outputs"]]
    arrays = [text for k in range(len(inputs)) for text in ("--input", f"in{k}={folder}/in{k}.npy")]
    succeed("run", folder / "p.mlpackage", *arrays, "--output-dir", folder / "out")
    assert len(outputs) == len(expected)
    for name, value in zip(outputs, expected):
        np.testing.assert_allclose(np.load(folder / "out" / f"{name}.npy"), value.detach().numpy(), rtol=2e-5, atol=2e-6)


def test_wrong_arrays(case):
    folder, inputs, _ = case
    np.save(folder / "wrong.npy", np.zeros((3, 3, 3, 3, 3), np.float32))
    arrays = [text for k in range(len(inputs)) for text in ("--input", f"in{k}={folder}/wrong.npy")]
    result = plait("run", folder / "p.mlpackage", *arrays, "--output-dir", folder / "none")
    assert result.returncode == 1
    assert "in0" in result.stderr


def test_missing_array(case):
    folder, _, _ = case
    result = plait("run", folder / "p.mlpackage", "--output-dir", folder / "none")
    assert result.returncode in (1, 2)
    assert "in0" in result.stderr


def test_inspect_json(case):
    folder, inputs, _ = case
    report = json.loads(succeed("inspect", folder / "p.mlpackage", "--json").stdout)
    assert set(report) >= {"specification_version", "default_function", "functions", "weights"}
    function, = report["functions"]
    assert set(function) >= {"name", "inputs", "outputs", "operations", "weight_bytes"}
    assert function["name"] == "main"
    assert [entry["shape"] for entry in function["inputs"]] == [list(value.shape) for value in inputs]
    assert [entry["dtype"] for entry in function["inputs"]] == ["int32" if value.dtype == torch.int32 else "fp32" for value in inputs]
    assert set(report["weights"]) >= {"file_bytes", "blobs", "unique_bytes", "referenced_bytes"}
    assert report["weights"]["unique_bytes"] <= report["weights"]["referenced_bytes"] + 64
    text = succeed("inspect", folder / "p.mlpackage").stdout
    assert "main" in text
    assert "func main<ios18>" in succeed("inspect", folder / "p.mlpackage", "--mil").stdout


class Masked(torch.nn.Module):
    def forward(self, x, mask):
        return torch.where(mask, x, -x)


def test_bool_arrays(tmp_path):
    """An input that is declared bool is a number in the package; a bool array is one too, as its zeros and ones are."""
    torch.jit.script(Masked()).save(str(tmp_path / "m.pt"))
    succeed("compile", "-o", tmp_path / "p.mlpackage", "--precision", "fp32", "--input", "x=[4]", "--input", "mask=bool[4]",
            "--output", "y", tmp_path / "m.pt")
    x, mask = np.array([1, 2, 3, 4], np.float32), np.array([True, False, False, True])
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "mask.npy", mask)
    succeed("run", tmp_path / "p.mlpackage", "--input", f"x={tmp_path}/x.npy", "--input", f"mask={tmp_path}/mask.npy",
            "--output-dir", tmp_path / "out")
    np.testing.assert_array_equal(np.load(tmp_path / "out" / "y.npy"), np.where(mask, x, -x))


class Doubled(torch.nn.Module):
    def forward(self, x):
        return torch.cat([x, x], 1)


def test_ranges_in_a_summary(tmp_path):
    torch.jit.trace(Doubled(), torch.rand(2, 3)).save(str(tmp_path / "m.pt"))
    succeed("compile", "-o", tmp_path / "p.mlpackage", "--input", "x=[2, 1..128]", "--output", "y", tmp_path / "m.pt")
    text = succeed("inspect", tmp_path / "p.mlpackage").stdout
    assert "x: tensor<fp16, [2, 1..128]>" in text and "y: tensor<fp16, [2, " in text, text
    summary = json.loads(succeed("inspect", tmp_path / "p.mlpackage", "--json").stdout)["functions"][0]
    assert summary["inputs"][0]["shape"] == [2, "1..128"]
    assert str(summary["outputs"][0]["shape"][1]) in text
