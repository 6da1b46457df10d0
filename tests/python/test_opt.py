"""plait opt: rules, packages to text and back, compiled models in every command that takes a package, and extracted operations."""

import json
import re

import models
import pytest
from command import digest, plait, succeed

INPUT = ["--input", "x=[2, 12]"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """model.pt, and p.mlpackage made from it."""
    folder = tmp_path_factory.mktemp("opt")
    models.build("mlp")[0].save(str(folder / "model.pt"))
    succeed("compile", "-o", folder / "p.mlpackage", "--author", "someone", *INPUT, folder / "model.pt")
    return folder


@pytest.fixture(scope="module")
def compiled(folder):
    """What Core ML's compiler would make of p.mlpackage, as far as plait reads it."""
    succeed("opt", folder / "p.mlpackage", "-o", folder / "p.mil")
    result = folder / "p.mlmodelc"
    (result / "weights").mkdir(parents=True)
    text = (folder / "p.mil").read_text().replace("@model_path/p.weights.bin", "@model_path/weights/weight.bin")
    (result / "model.mil").write_text(text)
    (result / "weights" / "weight.bin").write_bytes((folder / "p.weights.bin").read_bytes())
    (result / "metadata.json").write_text(json.dumps([{"author": "someone", "specificationVersion": 9}]))
    return result


def test_rules_have_sources():
    lines = succeed("opt", "--list-rules").stdout.splitlines()
    assert len(lines) > 60
    rules = lines[::2]
    assert all(re.fullmatch(r"[a-z0-9-]+ +(refused|risky) +\S.*", rule) for rule in rules), rules
    assert all(source.startswith(" " * 34) for source in lines[1::2])


def test_a_package_is_written_as_it_was(folder):
    succeed("opt", folder / "p.mlpackage", "-o", folder / "q.mlpackage")
    assert digest(folder / "p.mlpackage") == digest(folder / "q.mlpackage")


def test_text_gives_the_package_again(folder, compiled):
    succeed("opt", folder / "p.mil", "-o", folder / "r.mlpackage")
    assert digest(folder / "p.mlpackage") == digest(folder / "r.mlpackage")


def test_a_compiled_model_is_inspected(folder, compiled):
    package, model = (json.loads(succeed("inspect", "--json", path).stdout) for path in (folder / "p.mlpackage", compiled))
    for function in package["functions"] + model["functions"]:
        del function["weight_bytes"], function["own_weight_bytes"]  # text has small constants in itself, not in the weight file
    assert package["functions"] == model["functions"]
    assert package["specification_version"] == model["specification_version"]


def test_a_compiled_model_is_verified(folder, compiled):
    succeed("verify", compiled, "--against", folder / "model.pt")


def operations(text):
    """The names of the operations in a text, constants left out."""
    return [kind for kind in re.findall(r"^ +[^=\n]+ = (\w+)\(", text, re.MULTILINE) if kind != "const"]


@pytest.fixture(scope="module")
def linear(folder):
    """The name of a value of p.mlpackage that a linear computes, and the text of the whole."""
    text = succeed("inspect", "--mil", folder / "p.mlpackage").stdout
    return re.search(r"> (\w+) = linear\(", text)[1], text


def test_an_extracted_operation_stands_alone(folder, linear, tmp_path):
    name, _ = linear
    cut = succeed("opt", folder / "p.mlpackage", "--extract", name).stdout
    assert operations(cut) == ["linear"]
    assert f"-> ({name});" in cut and "@stand_in" in cut and "0x" not in cut
    # It reads back without a weight file, and printing it again changes nothing.
    (tmp_path / "cut.mil").write_text(cut)
    assert succeed("opt", tmp_path / "cut.mil", "--extract", name).stdout == cut
    succeed("opt", tmp_path / "cut.mil", "-o", tmp_path / "cut.mlpackage")
    summary = json.loads(succeed("inspect", "--json", tmp_path / "cut.mlpackage").stdout)
    assert summary["functions"][0]["operations"] == {"linear": 1}


def test_an_extracted_operation_keeps_its_weights_in_a_file(folder, linear, tmp_path):
    name, _ = linear
    succeed("opt", folder / "p.mlpackage", "--extract", name, "-o", tmp_path / "cut.mil")
    whole = (folder / "p.mlpackage/Data/com.apple.CoreML/weights/weight.bin").read_bytes()
    kept = (tmp_path / "cut.weights.bin").read_bytes()
    assert kept[128:] and kept[128:256] in whole


def test_depth_takes_more_along(folder, linear):
    name, text = linear
    whole = operations(text)
    last = re.search(r"-> \((\w+)\);", text)[1]
    sizes = [len(operations(succeed("opt", folder / "p.mlpackage", "--extract", last, "--depth", depth).stdout))
             for depth in ("0", "1", "2", "100")]
    assert sizes[0] == 1 and sizes == sorted(sizes) and sizes[1] > 1 and sizes[-1] == len(whole)


def test_passes_run_on_what_was_cut(folder, linear, tmp_path):
    text = succeed("compile", "-o", tmp_path / "q.mlpackage", *INPUT, "--quiet", "--print-after", "lowering", "--verify-each",
                   folder / "model.pt").stdout
    assert text.startswith("// after lowering\n")
    (tmp_path / "lowered.mil").write_text(text)
    value = re.search(r"> (\w+) = relu\(", text)[1]
    before = succeed("opt", tmp_path / "lowered.mil", "--extract", value, "--depth", "1").stdout
    after = succeed("opt", tmp_path / "lowered.mil", "--extract", value, "--depth", "1", "--passes", "to-half").stdout
    assert "fp16" not in before and "fp16" in after


def test_print_after_names_the_passes_that_changed_something(folder, tmp_path):
    text = succeed("compile", "-o", tmp_path / "q.mlpackage", *INPUT, "--quiet", "--print-after", "all", folder / "model.pt").stdout
    steps = re.findall(r"^// after ([\w-]+)$", text, re.MULTILINE)
    assert "lowering" not in steps and "to-half" in steps
    assert text.count("program(1.3)") == len(steps)
    succeed("compile", "-o", tmp_path / "r.mlpackage", *INPUT, "--quiet", folder / "model.pt")
    assert digest(tmp_path / "q.mlpackage") == digest(tmp_path / "r.mlpackage")
    one = succeed("opt", folder / "p.mil", "--pipeline", "--print-after", "lowering").stdout
    assert one.startswith("// after lowering\n")


@pytest.mark.parametrize("arguments, message, status", [
    (["--extract", "x"], "'x' is an input; name a value that an operation computes", 1),
    (["--extract", "nothing"], "'nothing' is no value of the program; name a value that an operation computes", 1),
    (["--extract", "y", "--function", "other"], "there is no function 'other'; there are main", 1),
    (["--extract", "y", "--function", "mian"], "there is no function 'mian' (did you mean 'main'?)", 1),
    (["--depth", "1"], "--depth belongs to --extract", 2),
    (["--function", "main"], "--function belongs to --extract", 2),
    (["--print-after", "tidy"], "--print-after tidy: no such pass; see: plait opt --list-passes", 2),
    (["--passes", "fold-lra"], "there is no pass 'fold-lra' (did you mean 'fold-lora'?)", 2),
])
def test_what_cannot_be_extracted_is_refused(folder, arguments, message, status):
    result = plait("opt", folder / "p.mlpackage", *arguments)
    assert result.returncode == status and message in result.stderr
