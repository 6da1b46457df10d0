"""Projects out of tree: what `cmake --install` installs is found, compiled against, linked and run."""

import os
import re
import shutil
import subprocess

import pytest
import torch
from paths import BUILD, ROOT

WAYS = ("from_file", "from_module", "from_live")
SOURCES = ROOT / "examples" / "three_ways"


def run(*command, **options):
    result = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=600, **options)
    assert result.returncode == 0, f"{command}\n{result.stdout[-4000:]}{result.stderr[-4000:]}"
    return result.stdout


def cached(name):
    for line in (BUILD / "CMakeCache.txt").read_text().splitlines():
        if line.startswith(name + ":"):
            return line.split("=", 1)[1]
    return ""


@pytest.fixture(scope="module")
def prefix(tmp_path_factory):
    path = tmp_path_factory.mktemp("prefix")
    run("cmake", "--install", BUILD, "--prefix", path)
    return path


@pytest.fixture(scope="module")
def programs(prefix, tmp_path_factory):
    build = tmp_path_factory.mktemp("three_ways")
    prefixes = ";".join([str(prefix), torch.utils.cmake_prefix_path, *cached("CMAKE_PREFIX_PATH").split(";")])
    run("cmake", "-S", SOURCES, "-B", build, "-G", "Ninja", f"-DCMAKE_PREFIX_PATH={prefixes}",
        f"-DCMAKE_CXX_COMPILER_LAUNCHER={os.environ.get('PLAIT_COMPILER_LAUNCHER', '')}",
        f"-DCMAKE_CXX_COMPILER={cached('CMAKE_CXX_COMPILER')}", "-DCMAKE_BUILD_TYPE=Debug", "-DCMAKE_CXX_FLAGS=-g0")
    run("cmake", "--build", build, "-j", os.cpu_count() or 1)
    return build


def test_installed_headers_are_the_public_ones(prefix):
    installed = {path.relative_to(prefix / "include" / "plait").as_posix()
                 for path in (prefix / "include" / "plait").rglob("*") if path.is_file()}
    assert installed == {"plait.h", "torch.h", "export.h", "exception.h", "compile.h", "package.h", "run.h", "verify.h"}


def test_installed_command_runs(prefix):
    assert run(prefix / "bin" / "plait", "version")


def test_from_file(programs, tmp_path):
    model = torch.nn.Sequential(torch.nn.Linear(8, 4), torch.nn.Softmax(-1)).eval()
    torch.jit.trace(model, torch.rand(1, 8)).save(str(tmp_path / "model.pt"))
    out = run(programs / "from_file", tmp_path / "model.pt", tmp_path / "out.mlpackage")
    assert out == "scores are fp16, 8 bytes\n"
    failed = subprocess.run([programs / "from_file", tmp_path / "none.pt", tmp_path / "x.mlpackage"],
                            capture_output=True, text=True)
    assert failed.returncode == 1 and "none.pt: no such file" in failed.stderr


def test_from_module(programs, tmp_path):
    out = run(programs / "from_module", tmp_path / "out.mlpackage")
    assert out == "64 bytes of weights are shared\nas LibTorch computes it\n"


def test_from_live(programs, tmp_path):
    out = run(programs / "from_live", tmp_path / "out.mlpackage").splitlines()
    assert out[0].endswith("lowering classify (1 of 1)") and out[-1] == "as LibTorch computes it"
    assert any(line.startswith("100% ") for line in out)


@pytest.mark.skipif(not shutil.which("pkg-config"), reason="pkg-config is missing")
def test_pkg_config(prefix, programs, tmp_path):
    environment = {**os.environ, "PKG_CONFIG_PATH": ":".join(str(path.parent) for path in prefix.rglob("plait.pc"))}
    flags = run("pkg-config", "--cflags", "--libs", "plait", env=environment).split()
    compiler = cached("CMAKE_CXX_COMPILER")
    run(compiler, SOURCES / "from_file.cpp", "-o", tmp_path / "from_file", *flags)
    failed = subprocess.run([tmp_path / "from_file", "none.pt", tmp_path / "x.mlpackage"], capture_output=True, text=True)
    assert failed.returncode == 1 and "none.pt: no such file" in failed.stderr


def test_documentation_quotes_the_programs():
    text = (ROOT / "docs" / "api.md").read_text()
    quoted = dict(re.findall(r"<!-- (examples/[^ ]+) -->\n```cpp\n(.*?)```", text, re.DOTALL))
    assert set(quoted) == {f"examples/three_ways/{way}.cpp" for way in WAYS}
    for path, program in quoted.items():
        assert program == (ROOT / path).read_text(), f"docs/api.md quotes an older {path}"
