"""What the wheel is: its metadata, its files, the command, and what it says to a torch that is not its own."""

import email
import importlib.metadata
import os
import pathlib
import subprocess
import sys
import sysconfig

import plait
import pytest

FOLDER = pathlib.Path(plait.__file__).parent


def python(text, **environment):
    return subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, timeout=120, env={**os.environ, **environment})


def test_the_metadata_names_the_torch_that_is_needed():
    from plait import _build
    metadata = importlib.metadata.metadata("plait")
    major, minor = map(int, _build.TORCH.split("."))
    assert f"torch<{major}.{minor + 1},>={major}.{minor}" in metadata.get_all("Requires-Dist")
    assert metadata["License-Expression"] == "Apache-2.0" and metadata["Version"] == plait.__version__
    assert "3.10" in metadata["Requires-Python"]


def test_the_wheel_holds_licence_stubs_and_command():
    files = {str(file) for file in importlib.metadata.files("plait")}
    assert any(file.endswith("licenses/LICENSE") for file in files)
    assert {"plait/py.typed", "plait/_plait.pyi", "plait/_command/bin/plait"} <= files
    assert not [file for file in files if file.endswith((".cpp", ".a")) or "tests" in file]
    wheel = email.message_from_string(importlib.metadata.distribution("plait").read_text("WHEEL"))
    tag = f"cp{sys.version_info[0]}{sys.version_info[1]}"
    assert wheel["Tag"].startswith(f"{tag}-{tag}-") and wheel["Root-Is-Purelib"] == "false"


@pytest.mark.skipif(sys.platform != "linux", reason="ELF")
def test_nothing_names_the_place_where_it_was_built():
    for file in [*FOLDER.rglob("*.so"), FOLDER / "_command" / "bin" / "plait"]:
        paths = [line for line in subprocess.run(["readelf", "-d", file], capture_output=True, text=True, check=True).stdout.splitlines()
                 if "RPATH" in line or "RUNPATH" in line]
        assert all("[$ORIGIN/" in line for line in paths), (file, paths)


@pytest.mark.parametrize("how", ("script", "module"))
def test_the_command(how, tmp_path):
    script = pathlib.Path(sysconfig.get_path("scripts")) / "plait"
    call = [script] if how == "script" else [sys.executable, "-m", "plait"]
    version = subprocess.run([*call, "version"], capture_output=True, text=True, timeout=60)
    assert version.returncode == 0 and plait.__version__ in version.stdout
    import torch
    torch.jit.trace(torch.nn.Linear(4, 2), torch.rand(1, 4)).save(str(tmp_path / "model.pt"))
    made = subprocess.run([*call, "compile", "-o", tmp_path / "p.mlpackage", "--input", "x=[1, 4]", tmp_path / "model.pt"],
                          capture_output=True, text=True, timeout=120)
    assert made.returncode == 0, made.stderr
    assert plait.Package(tmp_path / "p.mlpackage").default.name == "main"
    assert subprocess.run([*call, "compile"], capture_output=True, timeout=60).returncode == 2


@pytest.mark.parametrize("version", ("2.99.0", "1.0.0+cpu"))
def test_another_torch_is_an_import_error_that_says_which(version, tmp_path):
    from plait import _build
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").write_text("raise SystemExit('torch was started')")
    (tmp_path / "torch" / "version.py").write_text(f"__version__ = '{version}'\n")
    failed = python("import plait", PYTHONPATH=str(tmp_path))
    assert failed.returncode == 1 and "ImportError" in failed.stderr
    assert f"torch {_build.TORCH}" in failed.stderr and version in failed.stderr and "pip install" in failed.stderr


def test_importing_loads_no_torch_and_is_quick():
    text = """
import sys, time
import torch, numpy
begin = time.process_time()
import plait, plait.coremltools
plait.compile, plait.Package
print(time.process_time() - begin)
"""
    assert "torch" not in python("import sys, plait; print(sorted(sys.modules))").stdout.replace("plait._torch", "")
    assert min(float(python(text).stdout) for _ in range(2)) < 0.05


def test_every_name_is_there():
    for name in plait.__all__:
        assert getattr(plait, name) is not None
    assert set(plait.__all__) <= set(dir(plait))
    with pytest.raises(AttributeError, match="no attribute 'compil'"):
        plait.compil  # noqa: B018
