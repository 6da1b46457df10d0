"""Operations that coremltools' PyTorch frontend does not emit: programs of its builder, run by plait."""

import logging
import warnings

warnings.filterwarnings("ignore")

import numpy as np
import peer_operations
import pytest
from command import succeed
from peer_operations import OPERATIONS, RANDOM, I, X
from peer_runs import operations

logging.disable(logging.ERROR)


def run(package, folder, out):
    np.save(folder / "x.npy", X)
    np.save(folder / "i.npy", I)
    succeed("run", package, "--input", f"x={folder}/x.npy", "--input", f"i={folder}/i.npy", "--output-dir", folder / out)
    return {file.stem.removeprefix("result_"): np.load(file) for file in (folder / out).glob("result_*.npy")}


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """One package holds them all: (outputs, kinds of operations in it)."""
    folder = tmp_path_factory.mktemp("operations")
    package, spec = peer_operations.package(folder, lambda x, i: {name: case(x, i) for name, (case, _) in OPERATIONS.items()})
    main = spec.mlProgram.functions["main"]
    return run(package, folder, "out"), operations(main.block_specializations[main.opset])


@pytest.mark.parametrize("name", OPERATIONS)
def test_operation(name, results):
    outputs, kinds = results
    assert name in kinds, "the package does not hold the operation"
    _, formula = OPERATIONS[name]
    expected = formula(X, I) if formula else peer_operations.infer(name)
    np.testing.assert_allclose(outputs[name].reshape(np.shape(expected)), expected, rtol=1e-5, atol=1e-5)


def test_random(tmp_path):
    package, spec = peer_operations.package(tmp_path, lambda x, i: {name: case() for name, (case, _, _) in RANDOM.items()})
    first, second = run(package, tmp_path, "first"), run(package, tmp_path, "second")
    for name, (_, mean, spread) in RANDOM.items():
        np.testing.assert_array_equal(first[name], second[name])
        assert abs(first[name].mean() - mean) < 0.06 and abs(first[name].std() - spread) < 0.06, name
