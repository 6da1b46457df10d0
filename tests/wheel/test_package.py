"""plait.Package: what a package holds, running it, changing it, holding it against its model."""

import copy
import pathlib
import pickle

import numpy as np
import plait
import pytest
import torch
from torch import nn


@pytest.fixture
def two(mlp, tmp_path):
    other = copy.deepcopy(mlp)
    other[3] = nn.Linear(16, 5)
    return plait.compile({"a": mlp, "b": other}, inputs={"x": (1, 8)}, outputs=["y"], output=tmp_path / "two.mlpackage")


def test_what_a_package_holds(two):
    opened = plait.Package(two.path)
    assert opened.summary == two.summary and opened.report is None
    summary = two.inspect()
    a, b = summary.functions
    assert a.inputs == (plait.Value("x", "fp16", (1, 8)),) and b.outputs[0].shape == (1, 5)
    assert a.operations["linear"] == 2 and a.own_bytes < a.weight_bytes
    assert summary.sharing[0][1] == summary.sharing[1][0] == a.weight_bytes - a.own_bytes
    assert summary.unique_bytes < summary.referenced_bytes and summary.default_function == "a"


def test_results_can_be_pickled(two, mlp):
    for value in (two.summary, two.report, two.functions["a"](np.ones((1, 8))), two.verify(mlp, bisect=True), two.functions["a"].inputs[0],
                  plait.Error("text", [plait.Problem("text", operation="aten::x", line=3)], cancelled=True)):
        again = pickle.loads(pickle.dumps(value))
        assert type(again) is type(value)
        if isinstance(value, dict):
            assert np.array_equal(again["y"], value["y"])
        elif isinstance(value, plait.Error):
            assert (str(again), again.problems, again.cancelled) == (str(value), value.problems, True)
        else:
            assert again == value
    again = pickle.loads(pickle.dumps(two))
    assert again.path == two.path and again.summary == two.summary


def test_inputs_of_every_kind(two):
    f = two.functions["a"]
    x = torch.rand(1, 8)
    expected = f(x)["y"]
    assert expected.dtype == np.float16 and expected.shape == (1, 4)
    for value in (x.numpy(), x.double(), x.numpy().astype(">f4"), x.tolist(), x.clone().requires_grad_(), np.asfortranarray(x.numpy())):
        assert np.array_equal(f(value)["y"], expected)
    assert np.allclose(f(x.bfloat16())["y"], expected, atol=2e-2)
    assert f(x, compute="native")["y"].shape == (1, 4)
    traced = f.trace({"x": x})
    assert len(traced) >= 3 and np.array_equal(list(traced.values())[-1], expected)


@pytest.mark.parametrize("arguments, named, message", (
    ((), {}, "'x' is missing"), ((), {"z": 1}, "no input 'z'"), ((np.ones((1, 9)),), {}, r"\[1, 8\]"), ((np.ones((1, 8)), 1), {}, "takes 1 inputs"),
    ((np.ones((1, 8)),), {"x": 1}, "given twice"), ((["text"],), {}, "no array of numbers"), ((np.ones((1, 8)),), {"compute": "fp8"}, "choices"),
))
def test_refused_inputs(two, arguments, named, message):
    with pytest.raises(plait.Error, match=message):
        two.functions["a"](*arguments, **named)


def test_saving(mlp, tmp_path):
    package = plait.compile(mlp, inputs={"x": (1, 8)}, outputs=["y"])
    before = package.path
    x = np.random.rand(1, 8)
    expected = package.default(x)["y"]
    saved = package.save(tmp_path / "one.mlpackage")
    assert saved is package and package.path == tmp_path / "one.mlpackage" and not before.exists()
    assert np.array_equal(package.default(x)["y"], expected)
    package.save(tmp_path / "two.mlpackage")
    assert (tmp_path / "one.mlpackage").exists()
    assert np.array_equal(plait.Package(tmp_path / "one.mlpackage").default(x)["y"], expected)
    (tmp_path / "mine.mlpackage").mkdir()
    (tmp_path / "mine.mlpackage" / "notes.txt").write_text("mine")
    with pytest.raises(plait.Error):
        package.save(tmp_path / "mine.mlpackage")
    assert (tmp_path / "mine.mlpackage" / "notes.txt").read_text() == "mine"
    with pytest.raises(plait.Error, match="ends in .mlpackage"):
        package.save(tmp_path / "p.zip")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine.mlpackage", "one.mlpackage", "two.mlpackage"]


def test_what_nobody_saves_goes_away(mlp):
    package = plait.compile(mlp, inputs={"x": (1, 8)})
    folder = package.path.parent
    assert folder.exists()
    del package
    __import__("gc").collect()
    assert not folder.exists()


def test_adding_removing_and_merging(two, mlp, tmp_path):
    third = copy.deepcopy(mlp)
    report = two.add({"c": third}, inputs={"x": (2, 8)}, outputs=["y"])
    assert [f.name for f in report.functions] == ["c"] and report.functions[0].own_bytes == 0
    assert list(two.functions) == ["a", "b", "c"] and two.functions["c"](np.ones((2, 8)))["y"].shape == (2, 4)
    two.remove("b", default="c")
    assert list(two.functions) == ["a", "c"] and two.default.name == "c"
    with pytest.raises(plait.Error, match="no function 'b'"):
        two.remove("b")
    size = two.summary.file_bytes
    two.remove(compact=True)
    assert two.summary.file_bytes < size
    other = plait.compile({"d": mlp}, inputs={"x": (3, 8)}, outputs=["y"])
    merged = two.merge(other, output=tmp_path / "merged.mlpackage", default="d")
    assert list(merged.functions) == ["a", "c", "d"] and merged.default.name == "d"
    assert merged.summary.unique_bytes == two.summary.unique_bytes
    renamed = plait.merge({"x": (two.path, "a"), "y": other})
    assert list(renamed.functions) == ["x", "y"]


def test_verifying(two, mlp, tmp_path):
    checked = two.verify(mlp, function="a", draws=2)
    assert checked and checked.passed and checked.outputs[0].verdict == "fine" and checked.function == "a"
    assert checked.outputs[0].comparison.cosine > 0.999
    torch.jit.trace(mlp.eval(), torch.rand(1, 8)).save(str(tmp_path / "a.pt"))
    assert two.verify(tmp_path / "a.pt", inputs={"x": np.ones((1, 8))}).passed
    assert two.bisect(mlp) is None
    wrong = copy.deepcopy(mlp)
    wrong[3].weight.data *= 1.5
    found = two.bisect(wrong)
    assert found.departure.operation.startswith("linear") and found.text
    assert not two.verify(wrong)
    with pytest.raises(plait.Error, match="is int"):
        two.verify(3)


def test_a_notebook_shows_a_table_and_a_picture(mlp, two):
    text = two._repr_html_()
    assert "<table" in text and "<svg" in text and "two.mlpackage" in text and text.count("<rect") == 4
    assert "Package(" in repr(two) and "a" in repr(two)
    from plait._html import package_html
    assert "<script>" not in package_html("<script>", two.summary)


def test_nothing_is_there():
    with pytest.raises(plait.Error, match="nowhere"):
        plait.Package("/nowhere/x.mlpackage")


def test_files_stay_what_they_are_beside_the_command(two):
    import subprocess
    import sys
    shown = subprocess.run([sys.executable, "-m", "plait", "inspect", "--json", two.path], capture_output=True, text=True, check=True)
    assert pathlib.Path(two.path).exists() and '"default_function": "a"' in shown.stdout
