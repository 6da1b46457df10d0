"""What coremltools converts, plait runs: the interpreter on packages that it had no part in, against PyTorch.

docs/runtime.md lists the operations that these packages, and those of test_peer_operations, hold; the last test keeps
it true.
"""

import pathlib
import re

import coremltools
import numpy as np
import peer_models
import peer_operations
import pytest
from paths import ROOT
from peer_runs import Runs

# coremltools adds 1e-4 to what `inverse` inverts; so does Core ML.
LOOSER = {"unary.reciprocal": 3e-4}

SINGLE = list(peer_models.CASES)
# Whole families where rounding matters, and a sample of the others.
HALF = [name for index, name in enumerate(SINGLE)
        if name.split(".")[0] in ("linear", "conv", "norm", "attention", "block", "recurrent") or index % 4 == 0]


@pytest.fixture(scope="module")
def runs(request):
    chosen = {item.callspec.params["name"] for item in request.session.items
              if item.module is request.module and hasattr(item, "callspec")}
    if any(item.originalname == "test_documented" for item in request.session.items):
        chosen = set(SINGLE)
    results = Runs([(name, precision) for precision, names in (("FLOAT32", SINGLE), ("FLOAT16", HALF)) for name in names if name in chosen])
    yield results
    results.close()


def check(result, rtol, atol):
    actual, expected, _ = result
    if actual.shape != expected.shape:  # coremltools has no outputs of rank 0
        actual = actual.reshape(expected.shape)
    np.testing.assert_allclose(actual.astype(np.float64), expected.astype(np.float64), rtol=rtol,
                               atol=atol * max(1.0, float(np.abs(expected).max())))


def test_enough():
    assert len(SINGLE) >= 250


@pytest.mark.parametrize("name", SINGLE)
def test_fp32(name, runs):
    check(runs[name, "FLOAT32"], LOOSER.get(name, 1e-4), 1e-5)


@pytest.mark.parametrize("name", HALF)
def test_fp16(name, runs):
    check(runs[name, "FLOAT16"], 2e-2, 1e-2)


def documented():
    """The three lists of docs/runtime.md."""
    text = (ROOT / "docs" / "runtime.md").read_text()
    lists = re.findall(r"^<!-- operations: (\w+) -->\n(.*?)\n\n", text + "\n\n", flags=re.S | re.M)
    return {name: set(body.split()) for name, body in lists}


def table():
    text = (ROOT / "mil" / "Ops.def").read_text()
    return set(re.findall(r"^OP\((\w+)", text, flags=re.M)) | set(re.findall(r'^OP_KEYWORD\(\w+, "(\w+)"', text, flags=re.M))


def test_reaches_what_the_frontend_emits():
    sources = (pathlib.Path(coremltools.__file__).parent / "converters" / "mil" / "frontend" / "torch").glob("*.py")
    emitted = set().union(*(re.findall(r"\bmb\.(\w+)", source.read_text()) for source in sources)) & table()
    assert len(emitted) > 100
    reached = documented()["models"] | documented()["programs"]
    assert emitted <= reached, f"in no package: {' '.join(sorted(emitted - reached))}"


def test_documented(runs):
    everything = table()
    models = set().union(*(runs[name, "FLOAT32"][2] for name in SINGLE)) & everything
    written = peer_operations.covered() - models
    expected = {"models": models, "programs": written, "own": everything - models - written}
    for name, operations in documented().items():
        assert operations == expected[name], f"list '{name}' of docs/runtime.md should be:\n{' '.join(sorted(expected[name]))}"
    assert set(documented()) == set(expected)
