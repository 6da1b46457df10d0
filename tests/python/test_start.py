"""Commands that need no LibTorch start without it; those that do load it, and say where they looked where it is missing."""

import json
import os
import re
import shutil
import subprocess
import sys

import models
import pytest
from command import succeed
from paths import PLAIT

INPUT = ["--input", "x=[2, 12]"]
FOLDED = """program(1.3)
{
  func main<ios18>(tensor<fp32, [2]> x) {
    tensor<fp32, [2]> one = const()[name = string("one"), val = tensor<fp32, [2]>([0x1p+0, 0x1p+1])];
    tensor<fp32, [2]> two = exp(x = one)[name = string("two")];
    tensor<fp32, [2]> y = add(x = x, y = two)[name = string("y")];
  } -> (y);
}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """model.pt, p.mlpackage made from it, and text whose constants a pass computes."""
    folder = tmp_path_factory.mktemp("start")
    models.build("mlp")[0].save(str(folder / "model.pt"))
    succeed("compile", "-o", folder / "p.mlpackage", *INPUT, folder / "model.pt")
    (folder / "folded.mil").write_text(FOLDED)
    return folder


def loaded(tmp_path, *arguments, program=PLAIT, status=0):
    """The names of the shared objects that a run of the command loads."""
    where = "LD_DEBUG_OUTPUT" if sys.platform == "linux" else "DYLD_PRINT_TO_FILE"
    environment = {**os.environ, "LD_DEBUG": "files", "DYLD_PRINT_LIBRARIES": "1", where: str(tmp_path / "loaded")}
    result = subprocess.run([program, *arguments], capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert result.returncode == status, result.stderr
    text = "".join(path.read_text(errors="replace") for path in tmp_path.glob("loaded*"))
    assert "libc++" in text or "libstdc++" in text, "the loader told nothing"
    return text


@pytest.mark.parametrize("arguments", [
    ["--version"], ["help"], ["help", "compile"], ["compile", "--help"], ["inspect", "P"], ["inspect", "--json", "P"],
    ["inspect", "--mil", "P"], ["merge", "-o", "m.mlpackage", "a=P", "b=P"], ["remove", "Q", "b"],
    ["remove", "Q", "--compact"], ["compress", "P", "-o", "c.mlpackage", "--compress", "q8"], ["opt", "--list-passes"], ["opt", "P"], ["opt", "P", "--passes=dce,cse", "-o", "o.mlpackage"],
], ids=" ".join)
def test_starts_without_libtorch(folder, tmp_path, arguments):
    if "Q" in arguments:
        succeed("merge", "-o", tmp_path / "q.mlpackage", f"a={folder}/p.mlpackage", f"b={folder}/p.mlpackage")
    places = {"P": str(folder / "p.mlpackage"), "Q": "q.mlpackage"}
    arguments = [argument.replace("P", places["P"]) if argument.endswith("=P") else places.get(argument, argument)
                 for argument in arguments]
    assert "libtorch" not in loaded(tmp_path, *arguments)


def test_mistakes_are_told_without_libtorch(folder, tmp_path):
    assert "libtorch" not in loaded(tmp_path, "compile", "-o", "m.mlpackage", *INPUT, "none.pt", status=1)
    assert "libtorch" not in loaded(tmp_path, "compile", "-o", "m.mlpackage", "--input", "x=[", folder / "model.pt", status=2)
    assert "libtorch" not in loaded(tmp_path, "verify", folder / "p.mlpackage", "--function", "none", "--against",
                                    folder / "model.pt", status=1)


def test_computing_loads_it(folder, tmp_path):
    assert "libtorch_cpu" in loaded(tmp_path, "compile", "-o", "m.mlpackage", *INPUT, folder / "model.pt")


def test_constants_are_computed_where_a_pass_asks(folder, tmp_path):
    (tmp_path / "plain").mkdir()
    assert "libtorch" not in loaded(tmp_path / "plain", "opt", folder / "folded.mil", "--passes=dce")
    assert "libtorch_cpu" in loaded(tmp_path, "opt", folder / "folded.mil", "--passes=fold-constants")


def part_of(program):
    """The shared object beside a program."""
    return next(program.resolve().parents[1].rglob("plait_libtorch.so"))


def copied(tmp_path, part=True):
    """A copy of the command, with or without its shared object."""
    program = tmp_path / "bin" / "plait"
    program.parent.mkdir()
    shutil.copy2(PLAIT, program)
    place = tmp_path / part_of(PLAIT).relative_to(PLAIT.resolve().parents[1])
    if part:
        place.parent.mkdir(parents=True)
        shutil.copy2(part_of(PLAIT), place)
    return program, place


def test_a_copy_of_both_files_works_anywhere(folder, tmp_path):
    program, _ = copied(tmp_path)
    link = tmp_path / "link"
    link.symlink_to(program)
    subprocess.run([link, "compile", "-o", tmp_path / "m.mlpackage", *INPUT, folder / "model.pt"], check=True)
    assert json.loads(succeed("inspect", "--json", tmp_path / "m.mlpackage").stdout)["functions"]


def test_the_place_of_a_missing_part_is_said(folder, tmp_path):
    program, place = copied(tmp_path, part=False)
    result = subprocess.run([program, "compile", "-o", tmp_path / "m.mlpackage", *INPUT, folder / "model.pt"],
                            capture_output=True, text=True)
    assert result.returncode == 1 and str(place) in result.stderr, result.stderr
    assert not (tmp_path / "m.mlpackage").exists()
    subprocess.run([program, "inspect", folder / "p.mlpackage"], check=True, stdout=subprocess.DEVNULL)


@pytest.mark.skipif(sys.platform != "linux", reason="a signed file cannot be changed")
def test_the_place_of_a_missing_libtorch_is_said(folder, tmp_path):
    program, place = copied(tmp_path)
    image = place.read_bytes()
    changed = re.sub(rb"/lib(?=[\0:])", b"/no!", image)  # where its run path names LibTorch's folder
    assert changed != image
    place.write_bytes(changed)
    environment = {name: value for name, value in os.environ.items() if name != "LD_LIBRARY_PATH"}
    for arguments in (["compile", "-o", tmp_path / "m.mlpackage", *INPUT, folder / "model.pt"],
                      ["verify", folder / "p.mlpackage", "--against", folder / "model.pt"],
                      ["opt", folder / "folded.mil", "--passes=fold-constants"]):
        result = subprocess.run([program, *arguments], capture_output=True, text=True, env=environment)
        assert result.returncode == 1, result.stderr
        assert "LibTorch cannot be loaded" in result.stderr and "libtorch_cpu.so" in result.stderr
        assert re.search(r"looked for in '/.*/lib'", result.stderr), result.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="of the ELF loader")
def test_everything_that_is_shared_is_there(folder, tmp_path):
    """Bound at once, a symbol that the program does not show is missed at once."""
    subprocess.run([PLAIT, "compile", "-o", tmp_path / "m.mlpackage", *INPUT, folder / "model.pt"], check=True,
                   env={**os.environ, "LD_BIND_NOW": "1"})
