"""plait opt: rules, packages to text and back, and compiled models in every command that takes a package."""

import json
import re

import models
import pytest
from command import digest, succeed

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
