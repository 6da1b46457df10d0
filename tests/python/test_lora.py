"""The main job: LoRA adaptations of one base become functions of one package that holds the base once."""

import json
import subprocess
import sys

import numpy as np
import peer
import pytest
import torch
from census import unknown_signatures
from command import digest, plait, succeed
from paths import ROOT

MAKE = ROOT / "examples" / "lora_adapters" / "make_models.py"


def make(folder, *options):
    subprocess.run([sys.executable, MAKE, folder, *map(str, options)], check=True, capture_output=True)


def compile_adapters(folder, package, size, *options, adapters=2):
    functions = []
    for k in range(1, adapters + 1):
        functions += ["--function", f"adapter_{k}={folder}/adapted_model_{k}.pt",
                      "--input", f"input_adapted_model_{k}=[1, {size}]", "--output", f"out_adapted_model_{k}"]
    return succeed("compile", "-o", package, "--default", "adapter_1", *options, *functions)


def inspect(package):
    return json.loads(succeed("inspect", package, "--json").stdout)


def package_bytes(package):
    return sum(path.stat().st_size for path in package.rglob("*") if path.is_file())


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lora")
    make(folder, "--size", 96, "--rank", 8, "--adapters", 3)
    return folder


@pytest.fixture(scope="module")
def package(small):
    compile_adapters(small, small / "two.mlpackage", 96)
    return small / "two.mlpackage"


def test_interface(package):
    spec = peer.check_package(package)
    functions = {function.name: function for function in spec.description.functions}
    assert sorted(functions) == ["adapter_1", "adapter_2"]
    assert spec.description.defaultFunctionName == "adapter_1"
    for k in (1, 2):
        function = functions[f"adapter_{k}"]
        (feature,), (output,) = function.input, function.output
        assert feature.name == f"input_adapted_model_{k}"
        assert list(feature.type.multiArrayType.shape) == [1, 96]
        assert output.name == f"out_adapted_model_{k}"
        assert feature.type.multiArrayType.dataType == output.type.multiArrayType.dataType == 65552  # fp16


def test_signatures(package):
    assert not unknown_signatures(peer.load_spec(package))


def test_base_is_shared_and_scale_is_folded(package):
    report = inspect(package)
    assert report["specification_version"] == 9
    assert report["default_function"] == "adapter_1"
    assert [function["name"] for function in report["functions"]] == ["adapter_1", "adapter_2"]
    for k, function in enumerate(report["functions"], 1):
        assert function["operations"]["linear"] == 6
        assert "mul" not in function["operations"]
        assert function["inputs"] == [{"name": f"input_adapted_model_{k}", "dtype": "fp16", "shape": [1, 96]}]
        assert function["outputs"] == [{"name": f"out_adapted_model_{k}", "dtype": "fp16", "shape": [1, 96]}]
    weights = report["weights"]
    base = 2 * (96 * 96 + 96) * 2
    adapter = 4 * 96 * 8 * 2
    zeros = 96 * 2 + 8 * 2  # the biases that lora_A and lora_B lack; eight elements are no blob
    assert base + 2 * adapter + 96 * 2 <= weights["unique_bytes"] <= base + 2 * adapter + zeros
    assert weights["referenced_bytes"] >= weights["unique_bytes"] + base
    assert weights["file_bytes"] == peer.weights_file(package).stat().st_size


def test_every_blob_is_what_the_model_holds(small, package):
    """Base weights are the rounded originals, to the bit; the offsets of both functions are the same."""
    blobs = peer.read_blobs(package)
    state = torch.jit.load(str(small / "adapted_model_1.pt")).state_dict()
    for k in (1, 2):
        offsets = {}
        for name, tensor in state.items():
            if "base_layer" in name:
                expected = tensor.detach().half().numpy().reshape(-1)
                found = {offset for (function, _), (offset, data) in blobs.items()
                         if function == f"adapter_{k}" and data.size == expected.size and np.array_equal(data, expected)}
                assert len(found) == 1, name
                offsets[name] = found.pop()
        if k == 1:
            first = offsets
    assert offsets == first


@pytest.mark.parametrize("precision", ["fp16", "fp32"])
def test_it_computes_what_libtorch_does(small, tmp_path, precision):
    package = tmp_path / "p.mlpackage"
    compile_adapters(small, package, 96, "--precision", precision)
    peer.check_package(package)
    assert not unknown_signatures(peer.load_spec(package))
    for k in (1, 2):
        succeed("verify", package, "--function", f"adapter_{k}", "--against", small / f"adapted_model_{k}.pt")
    crossed = plait("verify", package, "--function", "adapter_1", "--against", small / "adapted_model_2.pt")
    assert crossed.returncode == 1


def test_same_bytes_every_time(small, tmp_path):
    # Not the shared package: coremltools rewrites the manifest of what it opens.
    first = tmp_path / "first.mlpackage"
    compile_adapters(small, first, 96)
    for name, options in {"again": [], "one": ["--threads", "1"], "two": ["--threads", "2"]}.items():
        compile_adapters(small, tmp_path / f"{name}.mlpackage", 96, *options)
        assert digest(tmp_path / f"{name}.mlpackage") == digest(first), name


def test_a_third_adapter_costs_its_own_weights_only(small, package, tmp_path):
    compile_adapters(small, tmp_path / "three.mlpackage", 96, adapters=3)
    grown = inspect(tmp_path / "three.mlpackage")["weights"]["unique_bytes"] - inspect(package)["weights"]["unique_bytes"]
    assert grown == 4 * 96 * 8 * 2


def test_replaces_an_older_package(small, tmp_path):
    target, fresh = tmp_path / "p.mlpackage", tmp_path / "fresh.mlpackage"
    compile_adapters(small, fresh, 96)
    compile_adapters(small, target, 96, adapters=3)
    compile_adapters(small, target, 96)
    assert digest(target) == digest(fresh)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["fresh.mlpackage", "p.mlpackage"]


@pytest.mark.full_size
def test_full_size(tmp_path):
    """72 million parameters and two adapters, each stored once at two bytes."""
    make(tmp_path)
    package = tmp_path / "combined_adapter_models.mlpackage"
    compile_adapters(tmp_path, package, 6000)
    assert package_bytes(package) <= 147_250_000
    spec = peer.check_package(package)
    assert not unknown_signatures(spec)
    for k in (1, 2):
        succeed("verify", package, "--function", f"adapter_{k}", "--against", tmp_path / f"adapted_model_{k}.pt")
