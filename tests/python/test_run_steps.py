"""plait run: steps that share states, traces, times, and what it refuses, by name."""

import json
import re

import coremltools as ct
import numpy as np
import pytest
import torch
from command import plait, succeed
from coremltools.converters.mil.mil import Builder as mb
from coremltools.converters.mil.mil import types


@pytest.fixture(scope="module")
def counter(tmp_path_factory):
    """y = total = total + x and z = 2 y; total is a state."""
    folder = tmp_path_factory.mktemp("counter")

    @mb.program(input_specs=[mb.TensorSpec(shape=(1, 3), dtype=types.fp16), mb.StateTensorSpec(shape=(1, 3), dtype=types.fp16)],
                opset_version=ct.target.iOS18)
    def program(x, total):
        y = mb.add(x=x, y=mb.read_state(input=total), name="sum")
        kept = mb.coreml_update_state(state=total, value=y)
        return mb.mul(x=kept, y=np.float16(2), name="z")

    ct.convert(program, convert_to="mlprogram", minimum_deployment_target=ct.target.iOS18, skip_model_load=True,
               outputs=[ct.TensorType(name="z", dtype=np.float16)]).save(str(folder / "counter.mlpackage"))
    for step in range(1, 4):
        (folder / f"step{step}").mkdir()
        np.save(folder / f"step{step}" / "x.npy", np.full((1, 3), step, np.float32))
    return folder


def result(folder, step, name="z"):
    return np.load(folder / str(step) / f"{name}.npy")[0, 0]


def test_states_are_kept_between_steps(counter, tmp_path):
    steps = [text for step in (1, 2, 3) for text in ("--steps", counter / f"step{step}")]
    succeed("run", counter / "counter.mlpackage", *steps, "--output-dir", tmp_path)
    assert [result(tmp_path, step) for step in (1, 2, 3)] == [2, 6, 12]


def test_plan(counter, tmp_path):
    plan = {"steps": [{"inputs": {"x": "step1/x.npy"}}, {"inputs": {"x": {"output": "z"}}, "repeat": 2}, {}]}
    (counter / "plan.json").write_text(json.dumps(plan))
    succeed("run", counter / "counter.mlpackage", "--steps", counter / "plan.json", "--input", f"x={counter}/step3/x.npy",
            "--output-dir", tmp_path)
    # totals: 1; 1 + 2; 3 + 6; 9 + 3
    assert [result(tmp_path, step) for step in (1, 2, 3, 4)] == [2, 6, 18, 24]


def test_trace_time_profile(counter, tmp_path):
    out = succeed("run", counter / "counter.mlpackage", "--input", f"x={counter}/step2/x.npy", "--output-dir", tmp_path / "one",
                  "--trace", "sum", "--time", "--profile", "--compute", "native").stdout
    assert np.load(tmp_path / "one" / "sum.npy").tolist() == [[2, 2, 2]]
    assert re.search(r"loaded in [\d.]+ ms", out) and re.search(r"call 1 ran in [\d.]+ ms", out)
    assert re.search(r"[\d.]+ ms +1 x add\n", out) and re.search(r"[\d.]+ ms +1 x mul\n", out)
    succeed("run", counter / "counter.mlpackage", "--input", f"x={counter}/step2/x.npy", "--output-dir", tmp_path / "all", "--trace", "all")
    assert {"sum.npy", "z.npy"} < {file.name for file in (tmp_path / "all").iterdir()}


@pytest.mark.parametrize("plan, message", [
    ("[]", "steps"), ("{", "plan.json"), ('{"steps": []}', "at least one step"), ('{"steps": [{"input": {}}]}', "did you mean 'inputs'"),
    ('{"steps": [{"inputs": {"x": 3}}]}', "FILE.npy"), ('{"steps": [{"inputs": {"x": {"output": "z"}}}]}', "no step before it"),
    ('{"steps": [{"inputs": {"x": "step1/x.npy"}}, {"inputs": {"x": {"output": "q"}}}]}', "no output 'q'"),
    ('{"steps": [{"repeat": 0}]}', "repeat"), ('{"steps": [{"inputs": {"y": "step1/x.npy"}}]}', "no input 'y'"),
    ('{"steps": [{"inputs": {"total": "step1/x.npy"}}]}', "'total' is a state"),
    ('{"steps": [{"inputs": {"x": "none.npy"}}]}', "none.npy"), ('{"steps": [{}]}', "input 'x'"),
])
def test_plans_refused(counter, tmp_path, plan, message):
    (counter / "plan.json").write_text(plan)
    refused = plait("run", counter / "counter.mlpackage", "--steps", counter / "plan.json", "--output-dir", tmp_path)
    assert refused.returncode == 1
    assert message in refused.stderr, refused.stderr


class Gather(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.table = torch.nn.Embedding(10, 4)

    def forward(self, x, ids):
        return self.table(ids) + x


@pytest.fixture(scope="module")
def gather(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gather")
    torch.jit.trace(Gather().eval(), (torch.rand(3, 4), torch.zeros(3, dtype=torch.int32))).save(str(folder / "model.pt"))
    succeed("compile", "-o", folder / "p.mlpackage", "--precision", "fp32", "--input", "x=[3, 4]", "--input", "ids=int32[3]",
            folder / "model.pt")
    return folder


X, IDS = np.ones((3, 4), np.float32), np.array([1, 9, 4], np.int32)


def call(folder, target, *options, **arrays):
    given = []
    for name, value in arrays.items():
        np.save(target / f"{name}.npy", value)
        given += ["--input", f"{name}={target}/{name}.npy"]
    return plait("run", folder / "p.mlpackage", *options, *given, "--output-dir", target / "out")


@pytest.mark.parametrize("x", [X, X.astype(np.float16), X.astype(np.float64)], ids=lambda x: str(x.dtype))
@pytest.mark.parametrize("ids", [IDS, IDS.astype(np.int64), IDS.astype(np.uint8), IDS.astype(np.int16)], ids=lambda x: str(x.dtype))
def test_arrays_convert(gather, tmp_path, x, ids):
    assert call(gather, tmp_path, x=x, ids=ids).returncode == 0


@pytest.mark.parametrize("name, x", [
    ("'>f4'", X.astype(">f4")), ("'<c8'", X.astype(np.complex64)), ("'|O'", X.astype(object)),
    ("'<U32'", X.astype(str)), ("records", np.zeros((3, 4), [("a", "<f4"), ("b", "<i4")])), ("[3, 4]", X[:2]), ("[3, 4]", X[None]),
    ("int64", X.astype(np.int64)), ("'<M8[s]'", X.astype("datetime64[s]")), ("'|V4'", X.view("V4")),
], ids=lambda value: value.replace("'", "") if isinstance(value, str) else "")
def test_arrays_refused(gather, tmp_path, name, x):
    refused = call(gather, tmp_path, x=x, ids=IDS)
    assert refused.returncode == 1
    assert name in refused.stderr and "x" in refused.stderr, refused.stderr


def test_fortran_order(gather, tmp_path):
    x = np.arange(12, dtype=np.float32).reshape(3, 4)
    for given in (x, np.asfortranarray(x), np.asfortranarray(x.astype(np.float64))):
        assert call(gather, tmp_path, x=given, ids=IDS).returncode == 0
        outputs = [np.load(path) for path in sorted((tmp_path / "out").glob("*.npy"))]
        expected = expected if given is not x else outputs
        for found, wanted in zip(outputs, expected, strict=True):
            np.testing.assert_array_equal(found, wanted)


def test_calls_refused(gather, tmp_path):
    for arrays, options, message in [
        ({"x": X}, [], "input 'ids' of type tensor<int32, [3]> is missing"),
        ({"x": X, "ids": IDS.astype(np.float32)}, [], "input 'ids' is int32 and the array fp32"),
        ({"x": X, "ids": np.array([1, 2, 2 ** 40])}, [], f"{2 ** 40} does not fit the int32 of input 'ids'"),
        ({"x": X, "ids": np.array([1, 2, 10])}, [], "index 10"),
        ({"x": X, "ids": IDS, "idx": IDS}, [], "no input 'idx' (did you mean 'ids'?)"),
        ({"x": X, "ids": IDS}, ["--function", "other"], "no function 'other'"),
        ({"x": X, "ids": IDS}, ["--trace", "nothing"], "no value named 'nothing'"),
    ]:
        refused = call(gather, tmp_path, *options, **arrays)
        assert refused.returncode == 1 and message in refused.stderr, refused.stderr
    assert plait("run", gather / "p.mlpackage", "--compute", "fp64", "--output-dir", tmp_path).returncode == 2
    missing = plait("run", gather / "p.mlpackage", "--input", "x=/nowhere/x.npy", "--output-dir", tmp_path)
    assert missing.returncode == 1 and "/nowhere/x.npy" in missing.stderr
