"""What continuous integration runs: the workflows read, the scripts in them tried on small packages. Core ML's part is played by plait."""

import importlib.util
import json
import os
import subprocess
import sys
import time

import numpy as np
import PIL.Image
import pytest
import torch
import yaml
from command import succeed
from paths import PLAIT, ROOT


def module(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("ci")
    for name, seed in (("one", 0), ("two", 0), ("other", 1)):
        torch.manual_seed(seed)
        torch.jit.trace(torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.ReLU()).eval(), torch.rand(2, 64)).save(str(path / f"{name}.pt"))
    (path / "recipe.yaml").write_text("output: p.mlpackage\ninputs: ['x=[2, 64]']\noutputs: [y]\nfunctions: {one: one.pt, two: two.pt}\n")
    (path / "models.txt").write_text("one one.pt\n\ntwo two.pt\n")
    return path


def test_workflows_are_workflows():
    for path in [*ROOT.glob(".github/workflows/*.yml"), ROOT / "examples" / "ci" / "workflow.yml"]:
        workflow = yaml.safe_load(path.read_text())
        assert "NOT RUN YET" in path.read_text()
        assert workflow["defaults"]["run"]["shell"] == "bash"  # sh in containers, which has no `source`
        for job in workflow["jobs"].values():
            for step in job["steps"]:
                assert ("run" in step) != ("uses" in step), step
                for line in step.get("run", "").splitlines():
                    for word in line.split():  # scripts that steps name are there
                        if word.startswith(("scripts/", "plait/examples/")):
                            assert (ROOT / word.removeprefix("plait/")).is_file(), word


def check(folder, *arguments, work="build"):
    environment = {"PLAIT": str(PLAIT), "WORK": str(folder / work), "PATH": "/usr/bin:/bin"}
    return subprocess.run([ROOT / "examples" / "ci" / "check.sh", *arguments], cwd=folder, capture_output=True, text=True, env=environment)


def test_the_users_checks(folder):
    result = check(folder, "recipe.yaml", "models.txt")
    assert result.returncode == 0, result.stderr
    assert "PASS  one against" in result.stdout and "PASS  two against" in (folder / "build" / "verify.txt").read_text()
    assert len(json.loads((folder / "build" / "inspect.json").read_text())["functions"]) == 2
    # The same again is as large as it was; against another model it fails.
    again = check(folder, "recipe.yaml", "models.txt", "build/inspect.json", work="again")
    assert again.returncode == 0 and "+0.00 %" in again.stdout
    (folder / "wrong.txt").write_text("one other.pt\n")
    wrong = check(folder, "recipe.yaml", "wrong.txt", work="wrong")
    assert wrong.returncode == 1 and "FAIL  one against" in wrong.stdout and "inspect.json" not in wrong.stdout


def test_sizes_compared():
    compare = module(ROOT / "examples" / "ci" / "compare_sizes.py").compare

    def summary(file, **functions):
        return {"weights": {"file_bytes": file}, "functions": [{"name": name, "weight_bytes": size} for name, size in functions.items()]}

    assert compare(summary(1000, a=500), summary(1020, a=510), 2)[1] == []
    rows, grown = compare(summary(1000, a=500, b=500), summary(1021, a=500, c=7), 2)
    assert grown == ["weight file: 1,000 bytes became 1,021, +2.10 %; 2 % is allowed"]
    assert [row[3] for row in rows] == ["+2.10 %", "+0.00 %", "gone", "new"]


class Stand:
    """Plays Core ML's part by plait's interpreter; `error` is added to what it computes."""
    load_seconds = 0.0

    def __init__(self, tool, package, function, error):
        self.outputs = iter(tool.reference(PLAIT, package, function["name"], tool.random_inputs(function)))
        self.error = error

    def predict(self, inputs):
        return {name: array + self.error for name, array in next(self.outputs).items()}

    def close(self):
        pass


def test_core_ml_is_held_against_the_interpreter(folder):
    tool = module(ROOT / "scripts" / "core_ml_check.py")
    succeed("compile", "recipe.yaml", "-o", "p.mlpackage", cwd=folder)
    interpreter, known = tool.reference, {}

    def once(command, package, function, inputs):
        if function not in known:
            known[function] = interpreter(command, package, function, inputs)
        return known[function]

    tool.reference = once

    def load(package, function, unit, is_plain):
        assert not is_plain
        if unit == "CPU_AND_NE":
            raise RuntimeError("it does not load")
        return Stand(tool, package, function, 0 if unit == "CPU_ONLY" else np.float16(0.5))

    said = []
    report = tool.check(PLAIT, [folder / "p.mlpackage", folder / "none.mlpackage"], load, said.append)
    rows = report["packages"][0]["functions"][0]["units"]
    assert [rows[unit]["right"] for unit in tool.UNITS] == [True, False, False] and not report["right"]
    assert len(rows["CPU_ONLY"]["calls"]) == 2 and "it does not load" in rows["CPU_AND_NE"]["error"]
    assert "no such package" in report["packages"][1]["error"]
    assert "CPU_ONLY ok, CPU_AND_GPU WRONG" in said[1] and "CPU_AND_NE WRONG (RuntimeError: it does not load)" in said[1]
    good = tool.check(PLAIT, [folder / "p.mlpackage"], lambda p, f, u, i: Stand(tool, p, f, 0), said.append)
    assert good["right"] and json.dumps(good)


class Photo(torch.nn.Module):
    def forward(self, photo, depth):
        return photo * 0.5, photo.mean([2, 3]).softmax(1), depth * 2


def test_images_and_labels(tmp_path):
    """What Core ML takes and gives for them is Pillow's, strings and dictionaries."""
    tool = module(ROOT / "scripts" / "core_ml_check.py")
    torch.jit.trace(Photo(), (torch.rand(1, 3, 8, 8), torch.rand(1, 1, 8, 8))).save(str(tmp_path / "m.pt"))
    (tmp_path / "labels.txt").write_text("7\n8\n9\n")
    succeed("compile", "-o", "p.mlpackage", "--input", "photo=image{[bgr, 1, 3, 16, 16], [bgr, 1, 3, 8, 32]} scale=1/255",
            "--input", "depth=image[gray16, 1, 1, 8, 8]", "--output", "darker=image[bgr]", "--output", "scores", "--output", "deep", "--classes",
            "kind=labels.txt", "--class-output", "scores", "m.pt", cwd=tmp_path)
    function, = json.loads(succeed("inspect", tmp_path / "p.mlpackage", "--json").stdout)["functions"]
    inputs = tool.random_inputs(function)
    assert inputs["photo"].shape == (1, 3, 16, 16)
    expected = tool.reference(PLAIT, tmp_path / "p.mlpackage", "main", inputs)[0]
    assert expected["darker"].shape == (1, 3, 16, 16) and expected["kind"] in expected["kind_probs"] and len(expected["kind_probs"]) == 3
    photo, depth = (tool.image_of(inputs[name], colours) for name, colours in (("photo", "bgr"), ("depth", "gray16")))
    assert (photo.mode, depth.mode) == ("RGB", "F") and (tool.pixels(photo)[:, ::-1] == inputs["photo"]).all()

    given = {"darker": PIL.Image.fromarray(expected["darker"][0].transpose(1, 2, 0)), "deep": expected["deep"], "kind": int(expected["kind"]),
             "kind_probs": {int(label): chance for label, chance in expected["kind_probs"].items()}}
    given = {name: tool.comparable(value) for name, value in given.items()}
    assert all(tool.compare_output(name, given, expected)["right"] for name in expected)
    least = min(expected["kind_probs"], key=expected["kind_probs"].get)
    assert tool.compare_output("kind", {"kind": "8"}, {"kind": "7", "chances": {"7": 0.400, "8": 0.397}})["right"]
    assert not tool.compare_output("kind", {"kind": "8"}, {"kind": "7", "chances": {"7": 0.400, "8": 0.390}})["right"]
    for wrong in ({"darker": given["darker"] + 3}, {"kind_probs": {label: chance + 0.02 for label, chance in given["kind_probs"].items()}},
                  {"kind_probs": {least: 1.0}}):
        assert not tool.compare_output(*wrong, given | wrong, expected)["right"]


class Fragile:
    """Plays Core ML in a process of its own: it adds one, fails where it is told to, and ends its process."""
    load_seconds = 1.5

    def __init__(self, *arguments):
        self.arguments = arguments

    def predict(self, inputs):
        if "end" in inputs:
            os.abort()
        if "wait" in inputs:
            time.sleep(60)
        return {name: array + 1 for name, array in inputs.items()}


def test_core_ml_may_end_its_process(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    import core_ml_check as tool  # by name, as the other process imports it
    model = tool.Separate("p", "main", model=Fragile)
    assert model.load_seconds == 1.5 and model.predict({"x": np.zeros(2)})["x"].tolist() == [1, 1]
    with pytest.raises(tool.Problem, match="^TypeError: "):
        model.predict({"x": None})
    model = tool.Separate(model=Fragile)
    with pytest.raises(tool.Problem, match="Core ML ended its process with status -6"):
        model.predict({"end": 1})
    model = tool.Separate(model=Fragile, seconds=20)
    model.seconds = 0.2
    with pytest.raises(tool.Problem, match="no answer in 0.2 seconds"):
        model.predict({"wait": 1})
    assert not model.process.is_alive()


def test_what_is_compared():
    compare = module(ROOT / "scripts" / "core_ml_check.py").compare
    assert compare([1, np.nan], [1.001, np.nan])["right"] and not compare([1, 0], [1, np.nan])["right"]
    assert not compare([1.0, 2.0], [1.0])["right"] and not compare([1.0], [1.02])["right"]
    assert compare([1.0], [1.0])["snr"] is None and compare([1.001], [1.0])["snr"] == pytest.approx(60, abs=0.1)


def test_the_plan_runs_anywhere(folder):
    succeed("compile", "recipe.yaml", "-o", "p.mlpackage", cwd=folder)
    script = ROOT / "scripts" / "core_ml_check.py"
    plan = subprocess.run([sys.executable, script, "--plait", PLAIT, "--plan", folder / "p.mlpackage"], capture_output=True, text=True)
    assert plan.returncode == 0 and "one(x float16[2, 64]), 2 calls on CPU_ONLY" in plan.stdout, plan.stderr
    if sys.platform != "darwin":
        refused = subprocess.run([sys.executable, script, folder / "p.mlpackage"], capture_output=True, text=True)
        assert refused.returncode == 1 and "Core ML is on macOS only" in refused.stderr
