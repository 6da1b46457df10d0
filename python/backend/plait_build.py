"""The build backend: scikit-build-core, told where torch is, and the metadata that follows from that torch.

The wheel is linked to one LibTorch and runs with that minor version alone. Which one it is must be the choice of the
environment that the wheel is for, and not of the isolated one that pip builds in: there the newest torch would be
fetched, gigabytes of CUDA with it. So torch is looked for

    1. where Python finds it (pip --no-build-isolation, or an isolated environment that has it)
    2. in the site-packages of the interpreter, which pip's isolated environments hide but do not change

and becomes a requirement of the build only where both have none.
"""

import importlib.util
import os
import pathlib
import re
import shutil
import sysconfig

from scikit_build_core import build as _backend
from scikit_build_core.build import build_sdist, get_requires_for_build_sdist

__all__ = ["build_editable", "build_sdist", "build_wheel", "dynamic_metadata", "dynamic_wheel", "get_requires_for_build_editable",
           "get_requires_for_build_sdist", "get_requires_for_build_wheel", "prepare_metadata_for_build_editable", "prepare_metadata_for_build_wheel"]

ROOT = pathlib.Path(__file__).resolve().parents[2]


def torch_folder():
    """The folder of the package torch, or None."""
    folders = []
    spec = importlib.util.find_spec("torch")
    if spec and spec.submodule_search_locations:
        folders += spec.submodule_search_locations
    folders += [os.path.join(sysconfig.get_path(kind), "torch") for kind in ("purelib", "platlib")]
    return next((pathlib.Path(folder) for folder in folders if os.path.isfile(os.path.join(folder, "version.py"))), None)


def torch_version(folder):
    """Major and minor version of the torch there: (2, 13)."""
    found = re.search(r"__version__\s*=\s*['\"](\d+)\.(\d+)", (folder / "version.py").read_text())
    if not found:
        raise RuntimeError(f"{folder / 'version.py'} does not say a version")
    return int(found[1]), int(found[2])


def dynamic_metadata(settings, project):
    """The version, which CMakeLists.txt has, and what the wheel needs beside it."""
    version = re.search(r"project\(plait VERSION ([\d.]+)", (ROOT / "CMakeLists.txt").read_text())[1]
    folder = torch_folder()
    torch = "torch"
    if folder:
        major, minor = torch_version(folder)
        torch = f"torch>={major}.{minor},<{major}.{minor + 1}"
    return {"version": version, "dependencies": [torch, "numpy", "tqdm"]}


def dynamic_wheel(settings):
    """Which of these may differ between the sources and a wheel that is built from them."""
    return {"dependencies": True}


def _requirements(found):
    return found if torch_folder() else [*found, "torch"]


def get_requires_for_build_wheel(config_settings=None):
    return _requirements(_backend.get_requires_for_build_wheel(config_settings))


def get_requires_for_build_editable(config_settings=None):
    return _requirements(_backend.get_requires_for_build_editable(config_settings))


def prepare_metadata_for_build_wheel(metadata_directory, config_settings=None):
    return _backend.prepare_metadata_for_build_wheel(metadata_directory, config_settings)


def prepare_metadata_for_build_editable(metadata_directory, config_settings=None):
    return _backend.prepare_metadata_for_build_editable(metadata_directory, config_settings)


def _prepare():
    """What CMake is to see: torch, and a compiler cache where there is one, as scripts/env.sh has it."""
    folder = torch_folder()
    if folder is None:
        raise SystemExit("plait is linked to LibTorch, which is part of torch: pip install torch first")
    os.environ.setdefault("LibTorch_ROOT", str(folder))
    launcher = os.environ.get("PLAIT_COMPILER_LAUNCHER", "ccache" if shutil.which("ccache") else "")
    if launcher:
        os.environ.setdefault("CMAKE_C_COMPILER_LAUNCHER", launcher)
        os.environ.setdefault("CMAKE_CXX_COMPILER_LAUNCHER", launcher)
        os.environ.setdefault("CCACHE_BASEDIR", str(ROOT))
        os.environ.setdefault("CCACHE_NOHASHDIR", "1")
        os.environ.setdefault("CCACHE_PCH_EXTSUM", "1")
        os.environ.setdefault("CCACHE_SLOPPINESS", "pch_defines,time_macros,include_file_mtime,include_file_ctime")


def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    _prepare()
    return _backend.build_wheel(wheel_directory, config_settings, metadata_directory)


def build_editable(wheel_directory, config_settings=None, metadata_directory=None):
    _prepare()
    return _backend.build_editable(wheel_directory, config_settings, metadata_directory)
