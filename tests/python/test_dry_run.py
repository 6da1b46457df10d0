"""--dry-run says what would be written, to the byte, and touches nothing."""

import json

import pytest
import torch
from command import digest, plait, succeed

FIELDS = ("package_bytes", "weight_file_bytes", "functions")


class Scaled(torch.nn.Module):
    """A weight that is computed when it is written, beside one that is not."""

    def __init__(self, shift=0.0):
        super().__init__()
        torch.manual_seed(0)
        self.a = torch.nn.Parameter(torch.randn(192, 192))
        self.b = torch.nn.Parameter(torch.randn(192, 192))
        self.last = torch.nn.Linear(192, 192)
        with torch.no_grad():
            self.last.bias += shift

    def forward(self, x):
        return self.last(x @ (self.a @ self.b).softmax(-1))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dry")
    for name, shift in (("a", 0.0), ("b", 1.0)):
        torch.jit.trace(Scaled(shift).eval(), torch.rand(1, 192)).save(str(folder / f"{name}.pt"))
    succeed("compile", "-o", folder / "a.mlpackage", "--input", "x=[1, 192]", "--function", f"a={folder}/a.pt")
    succeed("compile", "-o", folder / "b.mlpackage", "--input", "x=[1, 192]", "--function", f"b={folder}/b.pt")
    return folder


def state(folder):
    return digest(folder), sorted(str(path) for path in folder.rglob("*"))


def ask(*arguments):
    return json.loads(succeed(*arguments, "--json").stdout)


def check(folder, *arguments):
    """Dry, then really: the same sizes, functions and sharing."""
    before = state(folder)
    dry = ask(*arguments, "--dry-run")
    assert state(folder) == before and not dry["written"]
    text = succeed(*arguments, "--dry-run").stdout
    assert "--dry-run" in text and state(folder) == before
    real = ask(*arguments)
    assert real["written"]
    assert {field: dry[field] for field in FIELDS if field in dry} == {field: real[field] for field in FIELDS if field in real}
    return dry, real


@pytest.mark.parametrize("options", [[], ["--share", "off"], ["--precision", "fp32"], ["--compress", "int8"], ["--debug-info", "on"]])
def test_compile(folder, tmp_path, options):
    check(tmp_path, "compile", "-o", tmp_path / "p.mlpackage", "--input", "x=[1, 192]", *options, "--function", f"a={folder}/a.pt",
          "--function", f"b={folder}/b.pt", "--function", f"c={folder}/a.pt")


def test_compile_onto_a_package(folder, tmp_path):
    succeed("merge", "-o", tmp_path / "p.mlpackage", folder / "b.mlpackage")
    check(tmp_path, "compile", "-o", tmp_path / "p.mlpackage", "--input", "x=[1, 192]", folder / "a.pt")


def test_add(folder, tmp_path):
    succeed("merge", "-o", tmp_path / "p.mlpackage", folder / "a.mlpackage")
    dry, _ = check(tmp_path, "add", tmp_path / "p.mlpackage", "--input", "x=[1, 192]", "--function", f"b={folder}/b.pt")
    assert dry["functions"][0]["shared_weight_bytes"] > 0


def test_merge(folder, tmp_path):
    check(tmp_path, "merge", "-o", tmp_path / "p.mlpackage", folder / "a.mlpackage", folder / "b.mlpackage")


@pytest.mark.parametrize("options", [["b"], ["b", "--compact"], ["a", "--default", "b", "--compact"]])
def test_remove(folder, tmp_path, options):
    succeed("merge", "-o", tmp_path / "p.mlpackage", folder / "a.mlpackage", folder / "b.mlpackage")
    dry, real = check(tmp_path, "remove", tmp_path / "p.mlpackage", *options)
    assert dry["used_weight_bytes"] == real["used_weight_bytes"]


def test_compress(folder, tmp_path):
    check(tmp_path, "compress", folder / "a.mlpackage", "-o", tmp_path / "p.mlpackage", "--compress", "int8")


def test_a_dry_run_refuses_what_the_run_refuses(folder, tmp_path):
    before = state(tmp_path)
    for arguments in (["merge", "-o", tmp_path / "p.mlpackage", folder / "a.mlpackage", folder / "a.mlpackage"],
                      ["merge", "-o", tmp_path / "p.mlpackage", folder / "a.mlpackage", folder / "b.mlpackage", "--expect-shared", "100%"],
                      ["compress", folder / "a.mlpackage", "-o", tmp_path / "p.mlpackage", "--compress", "int8", "--require-coverage",
                       "100%", "--compress", "*=none"],
                      ["remove", folder / "a.mlpackage", "a"]):
        assert plait(*arguments, "--dry-run").returncode == 1 and state(tmp_path) == before


@pytest.mark.parametrize("option", ["--save-recipe", "--write-recipe"])
def test_recipes_are_not_written_either(folder, tmp_path, option):
    (tmp_path / "r.yaml").write_text(f"model: {folder}/a.pt\ninputs: 'x=[1, 192]'\nprecision: auto\n")
    result = plait("compile", "-o", tmp_path / "p.mlpackage", tmp_path / "r.yaml", "--dry-run", option, tmp_path / "s.yaml")
    assert result.returncode == 2 and "--dry-run" in result.stderr
