"""What coremltools converts, plait runs: the interpreter on packages that it had no part in, against PyTorch."""

import logging
import warnings

warnings.filterwarnings("ignore")

import coremltools as ct
import numpy as np
import peer_models
import pytest
import torch
from command import succeed


# coremltools adds 1e-4 to what `inverse` inverts; so does Core ML.
LOOSER = {"unary.reciprocal": 3e-4}


@pytest.fixture(autouse=True)
def quiet():
    logging.disable(logging.ERROR)  # coremltools reports every pass
    yield
    logging.disable(logging.NOTSET)


def converted(name, precision, folder):
    """The package, the arrays by input name, and what PyTorch computes."""
    model, inputs = peer_models.build(name)
    declared = [ct.TensorType(name=f"in{k}", shape=tuple(value.shape), dtype=np.int32 if value.dtype == torch.int32 else np.float32)
                for k, value in enumerate(inputs)]
    package = folder / "model.mlpackage"
    ct.convert(model, inputs=declared, convert_to="mlprogram", minimum_deployment_target=ct.target.iOS18,
               compute_precision=precision, skip_model_load=True).save(str(package))
    with torch.no_grad():
        expected = model(*inputs)
    return package, {f"in{k}": value.numpy() for k, value in enumerate(inputs)}, expected


def run(package, inputs, folder):
    arrays = []
    for name, value in inputs.items():
        np.save(folder / f"{name}.npy", value)
        arrays += ["--input", f"{name}={folder}/{name}.npy"]
    succeed("run", package, *arrays, "--output-dir", folder / "out")
    output, = (folder / "out").glob("*.npy")
    return np.load(output)


def check(name, precision, folder, rtol, atol):
    package, inputs, expected = converted(name, precision, folder)
    actual, expected = run(package, inputs, folder), expected.detach().numpy()
    if actual.shape != expected.shape:  # coremltools has no outputs of rank 0
        actual = actual.reshape(expected.shape)
    np.testing.assert_allclose(actual.astype(np.float64), expected.astype(np.float64), rtol=rtol,
                               atol=atol * max(1.0, float(np.abs(expected).max())))


@pytest.mark.parametrize("name", list(peer_models.CASES))
def test_fp32(name, tmp_path):
    check(name, ct.precision.FLOAT32, tmp_path, LOOSER.get(name, 1e-4), 1e-5)


@pytest.mark.full_size
@pytest.mark.parametrize("name", [name for name in peer_models.CASES if name.split(".")[0] in (
    "linear", "conv", "norm", "attention", "block", "recurrent")])
def test_fp16(name, tmp_path):
    check(name, ct.precision.FLOAT16, tmp_path, 2e-2, 1e-2)
