"""One convolutional backbone under two heads is stored once, batch norm folded."""

import json
import subprocess
import sys

import peer
import pytest
from census import unknown_signatures
from command import succeed
from paths import ROOT


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("backbone")
    make = ROOT / "examples" / "shared_backbone" / "make_models.py"
    subprocess.run([sys.executable, make, folder, "--width", "8"], check=True, capture_output=True)
    return folder


@pytest.mark.parametrize("precision", ["fp16", "fp32"])
def test_heads(folder, precision):
    package = folder / f"{precision}.mlpackage"
    succeed("compile", "-o", package, "--precision", precision, "--default", "classifier",
            "--function", f"classifier={folder}/classifier.pt", "--input", "image=[1, 3, 64, 64]", "--output", "probabilities",
            "--function", f"regressor={folder}/regressor.pt", "--input", "image=[1, 3, 64, 64]", "--output", "box")
    spec = peer.check_package(package)
    assert not unknown_signatures(spec)
    convolutions = {}
    for (function, constant), (offset, data) in peer.read_blobs(package, spec).items():
        convolutions.setdefault(function, {})[offset] = data.size
    shared = convolutions["classifier"].keys() & convolutions["regressor"].keys()
    sizes = sorted(convolutions["classifier"][offset] for offset in shared)
    widths = [(3, 8), (8, 16), (16, 16), (16, 32), (32, 32), (32, 64)]
    for inputs, outputs in widths:
        assert inputs * outputs * 9 in sizes
    report = json.loads(succeed("inspect", package, "--json").stdout)
    for function in report["functions"]:
        assert function["operations"]["conv"] == 6
        assert "batch_norm" not in function["operations"]
        succeed("verify", package, "--function", function["name"], "--against", folder / f"{function['name']}.pt")
