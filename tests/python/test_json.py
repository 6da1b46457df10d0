"""--json of every command, held against the schemas in docs/schema: results, refusals and mistakes."""

import json

import adapter_models as models
import jsonschema
import numpy as np
import peft
import pytest
import referencing
import torch
from adapter_checks import save_base
from command import plait, succeed
from paths import ROOT

SCHEMAS = {path.stem: json.loads(path.read_text()) for path in (ROOT / "docs" / "schema").glob("*.json")}
PARTS = {"head", "package", "timing"}  # of several commands
REGISTRY = referencing.Registry().with_resources(
    [(f"{name}.json", referencing.Resource.from_contents(schema)) for name, schema in SCHEMAS.items()])
VALIDATORS = {name: jsonschema.Draft202012Validator(schema, registry=REGISTRY) for name, schema in SCHEMAS.items()}
WITH_JSON = sorted(set(SCHEMAS) - PARTS)


def ask(*arguments, status=0):
    """What the command says with --json: one object that fits its schema."""
    result = plait(*arguments, "--json")
    assert result.returncode == status, result.stderr
    said = json.loads(result.stdout)
    VALIDATORS[arguments[0]].validate(said)
    assert said["status"] == status and said["command"] == arguments[0]
    assert any(problem["severity"] == "error" for problem in said["problems"]) == ("plait: error:" in result.stderr)
    return said


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first = torch.nn.Linear(64, 64)
        self.last = torch.nn.Linear(64, 64)

    def forward(self, x):
        return self.last(torch.relu(self.first(x)))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("json")
    net = Net().eval()
    torch.jit.trace(net, torch.rand(1, 64)).save(str(folder / "net.pt"))
    with torch.no_grad():
        net.last.bias += 1
    torch.jit.trace(net, torch.rand(1, 64)).save(str(folder / "other.pt"))
    np.save(folder / "x.npy", np.zeros((1, 64), np.float32))
    succeed("compile", "-o", folder / "p.mlpackage", *functions(folder))
    return folder


def functions(folder):
    return ["--input", "x=[1, 64]", "--output", "y", "--function", f"a={folder}/net.pt", "--function", f"b={folder}/other.pt"]


@pytest.mark.parametrize("name", sorted(SCHEMAS))
def test_schemas_are_schemas(name):
    jsonschema.Draft202012Validator.check_schema(SCHEMAS[name])


def test_every_command_that_has_the_option_has_a_schema():
    commands = [line.split()[0] for line in succeed("help").stdout.splitlines() if line.startswith("  ") and not line[2:3].isdigit()]
    having = [name for name in commands if "--json" in succeed("help", name).stdout]
    assert sorted(having) == WITH_JSON
    assert set(commands) - set(having) <= {"help", "completion"}


@pytest.mark.parametrize("name", WITH_JSON)
def test_mistakes_of_the_call(name):
    said = ask(name, "--no-such-option", status=2)
    assert said["problems"][0]["kind"] == "usage" and "no-such-option" in said["problems"][0]["message"]


def test_compile(folder, tmp_path):
    said = ask("compile", "-o", tmp_path / "p.mlpackage", "-v", "--compress", "*.weight=int8", *functions(folder))
    assert said["written"] and [function["name"] for function in said["functions"]] == ["a", "b"]
    assert said["package_bytes"] == sum(path.stat().st_size for path in (tmp_path / "p.mlpackage").rglob("*") if path.is_file())
    assert {phase["name"] for phase in said["phases"]} >= {"read", "lower", "passes", "compress", "share", "write"}
    assert any(run["changed"] and run["operations_after"] < run["operations_before"] for run in said["passes"])
    assert said["compression"]["coverage"] == 100


def test_compile_with_automatic_precision(folder, tmp_path):
    said = ask("compile", "-o", tmp_path / "p.mlpackage", "--precision", "auto", *functions(folder))
    assert said["precision"]["operations"] > 0


def test_unsupported_operations_are_problems_with_places(tmp_path):
    class Odd(torch.nn.Module):
        def forward(self, x):
            return torch.linalg.eigvals(x).real + torch.linalg.svdvals(x)

    torch.jit.trace(Odd(), torch.rand(4, 4), check_trace=False).save(str(tmp_path / "odd.pt"))
    said = ask("compile", "-o", tmp_path / "p.mlpackage", "--input", "x=[4, 4]", tmp_path / "odd.pt", status=1)
    assert {problem["kind"] for problem in said["problems"] if problem["severity"] == "error"} == {"unsupported"}
    assert any(problem.get("operation", "").startswith("aten::linalg_") and problem.get("line", 0) > 0 for problem in said["problems"])
    assert "output" not in said


def test_a_missing_file_is_a_problem_of_files(tmp_path):
    said = ask("compile", "-o", tmp_path / "p.mlpackage", tmp_path / "none.pt", status=1)
    problem, = said["problems"]
    assert problem["kind"] == "file" and "none.pt" in problem["message"]


def test_warnings_are_problems_too(folder, tmp_path):
    said = ask("compile", "-o", tmp_path / "p.mlpackage", "--input", "x=int64[1, 64]", folder / "net.pt", status=1)
    assert any(problem["severity"] == "warning" and "int64" in problem["message"] for problem in said["problems"])


def test_inspect_of_every_kind_of_input(folder, tmp_path):
    class Many(torch.nn.Module):
        def forward(self, x, mask, bias, scale: float):
            return x * mask * scale + bias

    torch.jit.script(Many()).save(str(tmp_path / "m.pt"))
    declared = ["x=[1, n:1..8]", "mask=[1, n]", "bias=[1] default=0", "scale=2.0"]
    succeed("compile", "-o", tmp_path / "p.mlpackage", *[part for text in declared for part in ("--input", text)], tmp_path / "m.pt")
    function, = ask("inspect", tmp_path / "p.mlpackage")["functions"]
    assert function["constants"] == {"scale": "2.0"}
    assert function["inputs"][0] == {"name": "x", "dtype": "fp16", "shape": [1, "1..8"], "default_shape": [1, 1], "sizes": ["", "n"]}
    assert function["inputs"][2]["default_value"] == 0
    succeed("compile", "-o", tmp_path / "q.mlpackage", "--input", "x={[1, 64], [3, 64]}", folder / "net.pt")
    function, = ask("inspect", tmp_path / "q.mlpackage")["functions"]
    assert function["inputs"] == [{"name": "x", "dtype": "fp16", "shape": ["1..3", 64], "default_shape": [1, 64], "shapes": [[1, 64], [3, 64]]}]
    assert "x: tensor<fp16, [1..3, 64]>, one of [1, 64], [3, 64]\n" in succeed("inspect", tmp_path / "q.mlpackage").stdout


def test_add_merge_and_remove(folder, tmp_path):
    package = tmp_path / "p.mlpackage"
    succeed("merge", "-o", package, f"{folder}/p.mlpackage:a")
    said = ask("add", package, "--input", "x=[1, 64]", "--output", "y", "--function", f"c={folder}/other.pt")
    assert said["functions"][0]["name"] == "c" and said["functions"][0]["shared_weight_bytes"] > 0
    said = ask("merge", "-o", tmp_path / "m.mlpackage", package, f"d={folder}/p.mlpackage:b", "-v")
    assert [function["name"] for function in said["functions"]] == ["a", "c", "d"]
    assert [phase["name"] for phase in said["phases"]] == ["read", "share", "write"]
    said = ask("remove", tmp_path / "m.mlpackage", "c", "--compact")
    assert said["functions"] == ["a", "d"] and said["removed"] == ["c"]
    weights = tmp_path / "m.mlpackage" / "Data/com.apple.CoreML/weights/weight.bin"
    assert said["weight_file_bytes"] == weights.stat().st_size
    ask("remove", tmp_path / "m.mlpackage", "nobody", status=1)


def test_compress(folder, tmp_path):
    inputs = tmp_path / "inputs"
    inputs.mkdir()
    np.save(inputs / "x.npy", np.random.default_rng(0).normal(size=(1, 64)).astype(np.float32))
    said = ask("compress", folder / "p.mlpackage", "-o", tmp_path / "q.mlpackage", "--compress", "q4", "--inputs", inputs)
    assert [output["function"] for output in said["outputs"]] == ["a", "b"] and said["compression"]["weights"]


def test_inspect(folder):
    said = ask("inspect", folder / "p.mlpackage")
    assert len(said["functions"]) == 2 and said["weights"]["blobs"] > 0
    said = ask("inspect", folder / "p.mlpackage", "--cost")
    assert said["functions"][0]["total"]["arithmetic"] > 0
    ask("inspect", folder / "none.mlpackage", status=1)


def test_verify(folder):
    said = ask("verify", folder / "p.mlpackage", "--function", "a", "--against", folder / "net.pt", "--draws", "2")
    assert said["passed"] and said["functions"][0]["outputs"][0]["verdict"] == "ok"
    said = ask("verify", folder / "p.mlpackage", "--function", "a", "--against", folder / "other.pt", "--bisect", status=1)
    assert not said["passed"] and said["functions"][0]["bisect"]
    ask("verify", folder / "p.mlpackage", "--function", "a", "--against", folder / "net.pt", "--atol", "1", "--rtol", "0")


def test_run(folder, tmp_path):
    said = ask("run", folder / "p.mlpackage", "--input", f"x={folder}/x.npy", "--output-dir", tmp_path, "--steps", "3", "--profile",
               "--trace", "all", "--states")
    assert [call["number"] for call in said["calls"]] == [1, 2, 3] and said["profile"]
    file = said["calls"][0]["files"][0]
    assert file["name"] == "y" and np.load(file["file"]).shape == (1, 64)


def test_classes_of_run(tmp_path):
    net = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.Softmax(-1)).eval()
    torch.jit.trace(net, torch.rand(1, 4)).save(str(tmp_path / "net.pt"))
    (tmp_path / "labels.txt").write_text("cat\ndog\nowl\n")
    succeed("compile", "-o", tmp_path / "p.mlpackage", "--input", "x=[1, 4]", "--classes", tmp_path / "labels.txt", tmp_path / "net.pt")
    np.save(tmp_path / "x.npy", np.zeros((1, 4), np.float32))
    said = ask("run", tmp_path / "p.mlpackage", "--input", f"x={tmp_path}/x.npy", "--output-dir", tmp_path / "out")
    contents = {file["name"]: file["content"] for file in said["calls"][0]["files"]}
    assert contents["classLabel"] in ("cat", "dog", "owl") and sorted(contents["classLabel_probs"]) == ["cat", "dog", "owl"]


def test_opt(folder, tmp_path):
    said = ask("opt", folder / "p.mlpackage", "--passes", "dce,cse", "-v")
    assert "func a<ios18>" in said["text"] and [run["name"] for run in said["passes"]] == ["dce", "cse"]
    assert ask("opt", folder / "p.mlpackage", "-o", tmp_path / "q.mlpackage")["output"].endswith("q.mlpackage")
    assert ask("opt", "--list-passes")["passes"] and ask("opt", "--list-rules")["rules"]
    ask("opt", folder / "p.mlpackage", "--print-after", "dce", status=2)


def test_doctor(folder):
    assert ask("doctor", folder / "p.mlpackage")["form"] == "mlpackage"
    assert ask("doctor", "--list-rules")["rules"]
    ask("doctor", folder, status=1)
    said = json.loads(plait("doctor", folder / "p.mlpackage", "--format", "json").stdout)
    VALIDATORS["doctor"].validate(said)


def test_diff_patch_and_report(folder, tmp_path):
    assert ask("diff", folder / "p.mlpackage", folder / "p.mlpackage")["same"]
    succeed("merge", "-o", tmp_path / "a.mlpackage", f"a={folder}/p.mlpackage:a")
    succeed("merge", "-o", tmp_path / "b.mlpackage", f"a={folder}/p.mlpackage:b")
    assert not ask("diff", tmp_path / "a.mlpackage", tmp_path / "b.mlpackage", "--snr", status=1)["same"]
    made = ask("patch", "make", tmp_path / "a.mlpackage", tmp_path / "b.mlpackage", "-o", tmp_path / "d.plaitpatch")
    assert made["patch_bytes"] == (tmp_path / "d.plaitpatch").stat().st_size
    assert ask("patch", "apply", tmp_path / "a.mlpackage", tmp_path / "d.plaitpatch")["written"]
    assert not ask("patch", "apply", tmp_path / "a.mlpackage", tmp_path / "d.plaitpatch")["written"]
    assert ask("report", tmp_path / "a.mlpackage", "-o", tmp_path / "r.html")["output"].endswith("r.html")


def test_adapter_pack(tmp_path):
    base = models.llama()
    save_base(models.Logits(base), (torch.tensor([[3, 1, 4, 15, 9, 26]]),), tmp_path / "base.pt")
    models.adapt(base, peft.LoraConfig(r=2, target_modules=["q_proj"]), tmp_path / "chat", 1)
    package = tmp_path / "p.mlpackage"
    ask("compile", "-o", package, "--lora", "inputs", "--base", tmp_path / "base.pt", "--input", "ids=int32[1, 6]",
        "--adapter", f"chat={tmp_path}/chat")
    assert ask("inspect", package)["functions"][0]["adapter_inputs"]
    said = ask("adapter", "pack", tmp_path / "chat", "--map", tmp_path / "p.adapter.json", "--output-dir", tmp_path / "arrays")
    assert all(np.load(entry["file"]).nbytes == entry["bytes"] for entry in said["arrays"])


def test_explain():
    codes = {entry["code"] for entry in ask("explain")["codes"]}
    page, ranks = ask("explain", "P0301", "rank-limit")["pages"]
    assert page["code"] == "P0301" and "## The way out" in page["text"] and "rule" not in page
    assert ranks["rule"]["rule"] == "rank-limit" and ranks["rule"]["sources"] and {page["code"], ranks["code"]} <= codes
    ask("explain", "P0001", status=2)


def test_version():
    assert ask("version")["plait"] == succeed("version").stdout.split()[1]
