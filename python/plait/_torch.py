"""The torch that this plait is linked to, and whether it is the one that is there.

LibTorch keeps no binary interface between its minor versions. The wheel says so in its requirements; an environment can be
changed behind them, so the version is looked at again, in torch's own file, which costs no start of torch.
"""

from __future__ import annotations

import importlib.util
import pathlib
import re
import sys
import typing

from plait._build import TORCH, VERSION


def _explain(found: str) -> str:
    major, minor = TORCH.split(".")
    return (f"plait {VERSION} is linked to torch {TORCH}, and {found}; "
            f"pip install 'torch>={TORCH},<{major}.{int(minor) + 1}', or build plait for another torch from its sources (pip install .)")


def _series(version: str) -> str:
    found = re.match(r"\d+\.\d+", version)
    return found.group() if found else version


def folder() -> pathlib.Path | None:
    """The folder of the package torch, without importing it; None where there is none."""
    if "torch" in sys.modules:
        places = list(getattr(sys.modules["torch"], "__path__", []))
    else:
        spec = importlib.util.find_spec("torch")
        places = list(spec.submodule_search_locations or []) if spec else []
    return pathlib.Path(places[0]) if places else None


def check() -> None:
    """Raises ImportError where torch is missing or of another minor version."""
    place = folder()
    if place is None:
        raise ImportError(_explain("there is no torch here"), name="torch")
    file = place / "version.py"
    found = re.search(r"__version__\s*=\s*['\"]([^'\"]+)", file.read_text()) if file.is_file() else None
    if found and _series(found.group(1)) != TORCH:
        raise ImportError(_explain(f"this is {found.group(1)}"), name="torch", path=str(place))


def compiler() -> typing.Any:
    """The extension module. torch is loaded first, so that LibTorch's libraries are there wherever they lie."""
    import torch
    if _series(torch.__version__) != TORCH:
        raise ImportError(_explain(f"this is {torch.__version__}"), name="torch")
    from plait import _plait
    return _plait
