"""Projects out of tree: what `cmake --install` installs is found, compiled against, linked and run."""

import os
import re
import shutil
import subprocess
import sys

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


@pytest.fixture(scope="module", params=["static", "shared"])
def programs(request, prefix, tmp_path_factory):
    """The programs of examples/three_ways, built against the installed libplait of either kind."""
    build = tmp_path_factory.mktemp(f"three_ways_{request.param}")
    prefixes = ";".join([str(prefix), torch.utils.cmake_prefix_path, *cached("CMAKE_PREFIX_PATH").split(";")])
    run("cmake", "-S", SOURCES, "-B", build, "-G", "Ninja", f"-DCMAKE_PREFIX_PATH={prefixes}",
        f"-DBUILD_SHARED_LIBS={'ON' if request.param == 'shared' else 'OFF'}",
        f"-DCMAKE_CXX_COMPILER_LAUNCHER={os.environ.get('PLAIT_COMPILER_LAUNCHER', '')}",
        f"-DCMAKE_CXX_COMPILER={cached('CMAKE_CXX_COMPILER')}", "-DCMAKE_BUILD_TYPE=Debug", "-DCMAKE_CXX_FLAGS=-g0")
    run("cmake", "--build", build, "-j", os.cpu_count() or 1)
    assert needs_libplait(build / "from_live") == (request.param == "shared")
    return build


def needs_libplait(program):
    tool = ("otool", "-L") if sys.platform == "darwin" else ("readelf", "-d")
    return "libplait." in run(*tool, program)


def test_installed_headers_are_the_public_ones(prefix):
    installed = {path.relative_to(prefix / "include" / "plait").as_posix()
                 for path in (prefix / "include" / "plait").rglob("*") if path.is_file()}
    assert installed == {"plait.h", "torch.h", "export.h", "exception.h", "compile.h", "package.h", "run.h", "verify.h"}


def test_installed_command_runs(prefix, tmp_path):
    command = prefix / "bin" / "plait"
    assert run(command, "version")
    torch.jit.trace(torch.nn.Linear(8, 4).eval(), torch.rand(1, 8)).save(str(tmp_path / "model.pt"))
    assert run(command, "compile", "-o", tmp_path / "m.mlpackage", "--input", "x=[1, 8]", tmp_path / "model.pt")


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
@pytest.mark.parametrize("package", ["plait", "plait-static"])
def test_pkg_config(prefix, package, tmp_path):
    environment = {**os.environ, "PKG_CONFIG_PATH": ":".join({str(path.parent) for path in prefix.rglob("plait.pc")})}
    flags = run("pkg-config", "--cflags", "--libs", package, env=environment).split()
    compiler = cached("CMAKE_CXX_COMPILER")
    run(compiler, SOURCES / "from_file.cpp", "-o", tmp_path / "from_file", *flags)
    assert needs_libplait(tmp_path / "from_file") == (package == "plait")
    failed = subprocess.run([tmp_path / "from_file", "none.pt", tmp_path / "x.mlpackage"], capture_output=True, text=True)
    assert failed.returncode == 1 and "none.pt: no such file" in failed.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="nm's options are those of binutils")
def test_the_shared_library_exports_the_interface_alone(prefix):
    library = next(prefix.rglob("libplait.so"))
    symbols = [line.split(" ", 2)[2] for line in run("nm", "-D", "--defined-only", "-C", library).splitlines()]
    foreign = [symbol for symbol in symbols if not re.match(r"((typeinfo|typeinfo name|vtable) for )?plait::v0::", symbol)]
    assert not foreign, "\n".join(foreign)
    internal = [symbol for symbol in symbols if re.search(r"llvm::|plait::(mil|driver|frontend|runtime|passes)::|::Impl::", symbol)]
    assert not internal, "\n".join(internal)
    for name in ("Compiler::write(", "Session::run(", "addCallable(", "verify(", "Exception::~Exception("):
        assert any(f"plait::v0::{name}" in symbol for symbol in symbols), name


def test_documentation_quotes_the_programs():
    text = (ROOT / "docs" / "api.md").read_text()
    quoted = dict(re.findall(r"<!-- (examples/[^ ]+) -->\n```cpp\n(.*?)```", text, re.DOTALL))
    assert set(quoted) == {f"examples/three_ways/{way}.cpp" for way in WAYS}
    for path, program in quoted.items():
        assert program == (ROOT / path).read_text(), f"docs/api.md quotes an older {path}"
