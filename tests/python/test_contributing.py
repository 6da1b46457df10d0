"""The worked examples of CONTRIBUTING.md, applied to the sources of now: each file that an example adds or changes compiles.

A comment above a block says where its code goes: `new: FILE`, or `FILE, behind: START` of the line that it follows. The files
that result lie in a folder that the compiler looks through before the checkout, so that nothing of that is copied or changed.
"""

import json
import pathlib
import re
import shlex
import subprocess
import textwrap

import pytest
from paths import BUILD, ROOT

BLOCK = re.compile(r"^( *)<!-- (new: )?([\w./]+)(?:, behind: (.+?))? -->\n\1```(\w+)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
# What is compiled in one go, by the folder whose flags it takes.
UNITS = {"driver": ("mil/OpInfo.cpp", "passes/DropAbs.cpp", "passes/Pipeline.cpp", "driver/CountCommand.cpp", "driver/Commands.cpp"),
         "tests/runtime": ("runtime/eval/ElementwiseUnary.cpp", "tests/runtime/ActivationTest.cpp")}


def examples():
    """(file, the start of the line that the code follows or "" where the file is new, the code)"""
    found = [(file, behind, textwrap.dedent(code))
             for _, new, file, behind, _, code in BLOCK.findall((ROOT / "CONTRIBUTING.md").read_text()) if new or behind]
    assert all(behind or not (ROOT / file).exists() for file, behind, _ in found)
    return found


@pytest.fixture(scope="module")
def applied(tmp_path_factory):
    folder = tmp_path_factory.mktemp("applied")
    for file, behind, code in examples():
        path = folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        if not behind:
            path.write_text(code)
            continue
        lines = (path if path.exists() else ROOT / file).read_text().splitlines(keepends=True)
        places = [i for i, line in enumerate(lines) if line.lstrip().startswith(behind)]
        assert len(places) == 1, f"{file}: {len(places)} lines begin with {behind}"
        lines.insert(places[0] + 1, code)
        path.write_text("".join(lines))
    return folder


def flags(folder):
    """Those of the release build, but for what the compiler writes."""
    for entry in json.loads((BUILD / "compile_commands.json").read_text()):
        file = str((pathlib.Path(entry["directory"]) / entry["file"]).resolve())
        if file.startswith((f"{ROOT / folder}/", f"{BUILD / 'unity' / folder}/")):
            words = shlex.split(entry["command"])
            return words[:words.index("-o")], entry["directory"]
    raise AssertionError(f"nothing of {folder} is compiled")


@pytest.mark.parametrize("folder", UNITS)
def test_what_is_added_compiles(applied, folder, request):
    if folder == "tests/runtime" and request.config.getoption("--quick"):
        pytest.skip("LibTorch's headers take some seconds")
    files = {file for file, _, _ in examples() if pathlib.Path(file).parts[0] == folder.split("/")[0] and file.endswith(".cpp")}
    assert files <= set().union(*UNITS.values())
    source = applied / f"{folder.replace('/', '_')}.cpp"
    source.write_text("".join(f'#include "{file}"\n' for file in UNITS[folder]))
    (compiler, *words), directory = flags(folder)
    result = subprocess.run([compiler, "-I", applied, *words, "-iquote", ROOT / folder, "-fsyntax-only", source], cwd=directory,
                            capture_output=True, text=True)
    assert result.returncode == 0, result.stderr[:6000]


def test_the_examples_are_all_there(applied):
    added = {file for file, _, _ in examples()}
    assert {"mil/Ops.def", "runtime/eval/ElementwiseUnary.cpp", "tests/runtime/ActivationTest.cpp", "passes/DropAbs.cpp",
            "passes/Passes.def", "passes/Pipeline.cpp", "driver/CountCommand.cpp", "driver/Commands.h", "driver/Commands.cpp",
            "tests/python/test_count.py"} <= added
    compile((applied / "tests/python/test_count.py").read_text(), "test_count.py", "exec")
