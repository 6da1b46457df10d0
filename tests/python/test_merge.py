"""plait merge does what coremltools' save_multifunction does, to packages that coremltools made, and takes no more bytes."""

import json
import logging
import shutil
import warnings

warnings.filterwarnings("ignore")

import coremltools as ct
import numpy as np
import peer
import pytest
import torch
from command import digest, plait, succeed


class Backbone(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.first = torch.nn.Linear(64, 96)
        self.second = torch.nn.Linear(96, 96)

    def forward(self, x):
        return torch.relu(self.second(torch.relu(self.first(x))))


def total(package):
    return sum(path.stat().st_size for path in package.rglob("*") if path.is_file())


def inspect(package):
    return json.loads(succeed("inspect", package, "--json").stdout)


@pytest.fixture(scope="module")
def packages(tmp_path_factory):
    """Two heads on one backbone, each converted by coremltools, and both of them saved by save_multifunction."""
    logging.disable(logging.ERROR)
    folder = tmp_path_factory.mktemp("merge")
    torch.manual_seed(0)
    backbone = Backbone()
    descriptor = ct.utils.MultiFunctionDescriptor()
    for name, width in (("classifier", 10), ("regressor", 3)):
        model = torch.jit.trace(torch.nn.Sequential(backbone, torch.nn.Linear(96, width)).eval(), torch.rand(1, 64))
        converted = ct.convert(model, inputs=[ct.TensorType("x", (1, 64))], outputs=[ct.TensorType("y")],
                               minimum_deployment_target=ct.target.iOS18, skip_model_load=True)
        converted.save(str(folder / f"{name}.mlpackage"))
        descriptor.add_function(str(folder / f"{name}.mlpackage"), src_function_name="main", target_function_name=name)
    descriptor.default_function_name = "classifier"
    ct.utils.save_multifunction(descriptor, str(folder / "peer.mlpackage"))
    logging.disable(logging.NOTSET)
    return folder


def test_no_larger_than_the_peer(packages, tmp_path):
    ours = tmp_path / "ours.mlpackage"
    succeed("merge", "-o", ours, f"classifier={packages}/classifier.mlpackage", f"regressor={packages}/regressor.mlpackage")
    spec = peer.check_package(ours)
    assert spec.description.defaultFunctionName == "classifier"
    assert [function.name for function in spec.description.functions] == ["classifier", "regressor"]
    assert total(ours) <= total(packages / "peer.mlpackage")
    assert peer.weights_file(ours).stat().st_size <= peer.weights_file(packages / "peer.mlpackage").stat().st_size
    # Every constant of every function is the one that was in its package, to the bit.
    ours_blobs = peer.read_blobs(ours, spec)
    for name in ("classifier", "regressor"):
        source = peer.read_blobs(packages / f"{name}.mlpackage")
        mine = {constant: data for (function, constant), (_, data) in ours_blobs.items() if function == name}
        assert sorted(mine) == sorted(constant for _, constant in source)
        for (_, constant), (_, data) in source.items():
            assert data.tobytes() == mine[constant].tobytes()


def test_functions_compute_what_they_computed(packages, tmp_path):
    np.save(tmp_path / "x.npy", np.random.default_rng(0).standard_normal((1, 64)).astype(np.float32))
    ours = tmp_path / "ours.mlpackage"
    succeed("merge", "-o", ours, f"a={packages}/classifier.mlpackage", f"b={packages}/peer.mlpackage:regressor")

    def run(package, *function):
        succeed("run", package, *function, "--input", f"x={tmp_path}/x.npy", "--output-dir", tmp_path / "out")
        return np.load(tmp_path / "out" / "y.npy")

    assert (run(ours, "--function", "a") == run(packages / "classifier.mlpackage")).all()
    assert (run(ours, "--function", "b") == run(packages / "regressor.mlpackage")).all()


def test_merging_what_was_merged_changes_nothing(packages, tmp_path):
    first, second = tmp_path / "first.mlpackage", tmp_path / "second.mlpackage"
    succeed("merge", "-o", first, packages / "peer.mlpackage")
    succeed("merge", "-o", second, first)
    assert digest(first) == digest(second)
    assert total(first) <= total(packages / "peer.mlpackage")


def test_all_functions_and_renamed_ones(packages, tmp_path):
    ours = tmp_path / "ours.mlpackage"
    succeed("merge", "-o", ours, "--default", "again", "--author", "someone", packages / "peer.mlpackage",
            f"again={packages}/peer.mlpackage:classifier")
    report = inspect(ours)
    assert [function["name"] for function in report["functions"]] == ["classifier", "regressor", "again"]
    assert report["default_function"] == "again"
    assert report["metadata"]["author"] == "someone"
    weights = report["weights"]
    assert weights["unique_bytes"] == inspect(packages / "peer.mlpackage")["weights"]["unique_bytes"]
    shares = weights["shared_bytes"]
    assert shares[0][2] == shares[0][0] == shares[2][2]
    peer.check_package(ours)


def test_expect_shared(packages, tmp_path):
    sources = [f"a={packages}/classifier.mlpackage", f"b={packages}/regressor.mlpackage"]
    ours = tmp_path / "ours.mlpackage"
    succeed("merge", "-o", ours, "--expect-shared", "90%", *sources)
    before = digest(ours)
    result = plait("merge", "-o", ours, "--expect-shared", "99.9", *sources)
    assert result.returncode == 1
    assert "function 'a'" in result.stderr and "function 'b'" in result.stderr
    assert digest(ours) == before and [entry.name for entry in tmp_path.iterdir()] == ["ours.mlpackage"]


def test_refuses(packages, tmp_path):
    ours = tmp_path / "ours.mlpackage"
    both = [packages / "classifier.mlpackage", packages / "regressor.mlpackage"]
    result = plait("merge", "-o", ours, *both)
    assert result.returncode == 1 and "two functions are called 'main'" in result.stderr and not ours.exists()
    result = plait("merge", "-o", ours, f"{packages}/peer.mlpackage:nothing")
    assert result.returncode == 1 and "there are classifier, regressor" in result.stderr
    result = plait("merge", "-o", ours, tmp_path / "none.mlpackage")
    assert result.returncode == 1 and "none.mlpackage" in result.stderr


def test_the_peers_package_grows_and_shrinks(packages, tmp_path):
    """add, remove and --compact take a package of save_multifunction as it is, and never make it larger than the peer's."""
    package = shutil.copytree(packages / "peer.mlpackage", tmp_path / "p.mlpackage")
    np.save(tmp_path / "x.npy", np.random.default_rng(0).standard_normal((1, 64)).astype(np.float32))

    def outputs(package, function):
        succeed("run", package, "--function", function, "--input", f"x={tmp_path}/x.npy", "--output-dir", tmp_path / "out")
        return np.load(tmp_path / "out" / "y.npy")

    expected = {name: outputs(packages / "peer.mlpackage", name) for name in ("classifier", "regressor")}
    succeed("remove", package, "regressor")
    peer.check_package(package)
    assert total(package) <= total(packages / "peer.mlpackage")
    succeed("remove", package, "--compact")
    peer.check_package(package)
    assert peer.weights_file(package).stat().st_size <= peer.weights_file(packages / "classifier.mlpackage").stat().st_size
    assert (outputs(package, "classifier") == expected["classifier"]).all()

    model = torch.nn.Sequential(Backbone(), torch.nn.Linear(96, 5)).eval()
    torch.jit.trace(model, torch.rand(1, 64)).save(str(tmp_path / "other.pt"))
    succeed("add", package, "--function", f"other={tmp_path}/other.pt", "--input", "x=[1, 64]", "--output", "y")
    succeed("merge", "-o", tmp_path / "all.mlpackage", package, f"{packages}/peer.mlpackage:regressor")
    peer.check_package(tmp_path / "all.mlpackage")
    for name in ("classifier", "regressor"):
        assert (outputs(tmp_path / "all.mlpackage", name) == expected[name]).all()
    succeed("remove", tmp_path / "all.mlpackage", "other", "--compact")
    assert total(tmp_path / "all.mlpackage") <= total(packages / "peer.mlpackage")
    assert (peer.weights_file(tmp_path / "all.mlpackage").stat().st_size
            <= peer.weights_file(packages / "peer.mlpackage").stat().st_size)


def test_a_single_and_a_multifunction_package(packages, tmp_path):
    """What save_multifunction makes of the same two, ours makes no larger, whichever form each has."""
    descriptor = ct.utils.MultiFunctionDescriptor()
    for source, function, name in (("classifier", "main", "a"), ("peer", "regressor", "b"), ("peer", "classifier", "c")):
        descriptor.add_function(str(packages / f"{source}.mlpackage"), src_function_name=function, target_function_name=name)
    descriptor.default_function_name = "a"
    ct.utils.save_multifunction(descriptor, str(tmp_path / "theirs.mlpackage"))
    succeed("merge", "-o", tmp_path / "ours.mlpackage", f"a={packages}/classifier.mlpackage",
            f"b={packages}/peer.mlpackage:regressor", f"c={packages}/peer.mlpackage:classifier")
    peer.check_package(tmp_path / "ours.mlpackage")
    assert total(tmp_path / "ours.mlpackage") <= total(tmp_path / "theirs.mlpackage")
    assert (peer.weights_file(tmp_path / "ours.mlpackage").stat().st_size
            <= peer.weights_file(tmp_path / "theirs.mlpackage").stat().st_size)


def test_names_that_are_no_names(packages, tmp_path):
    """A word of MIL's grammar, or anything else that names no function, is said to be none; it is no part of a path."""
    for name, why in (("int8", "word of MIL's grammar (try 'int8_')"), ("8bit", "begins with a digit (try '_8bit')"),
                      ("a-b", "letters, digits and _ make a name (try 'a_b')"), ("", "is empty")):
        result = plait("merge", "-o", tmp_path / "o.mlpackage", f"{name}={packages}/classifier.mlpackage")
        assert result.returncode == 2 and f"'{name}' cannot name a function" in result.stderr and why in result.stderr, result.stderr
    result = plait("merge", "-o", tmp_path / "o.mlpackage", f"{packages}/classifier.mlpackage:int8")
    assert result.returncode == 1 and "no function 'int8'" in result.stderr, result.stderr
    # A path of its own that has a '='.
    shutil.copytree(packages / "classifier.mlpackage", tmp_path / "a=b-c.mlpackage")
    shutil.copytree(packages / "classifier.mlpackage", tmp_path / "a-b=c.mlpackage")
    succeed("merge", "-o", tmp_path / "o.mlpackage", tmp_path / "a=b-c.mlpackage")
    succeed("merge", "-o", "o.mlpackage", "a-b=c.mlpackage", cwd=tmp_path)
