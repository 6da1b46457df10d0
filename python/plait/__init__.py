"""PyTorch models and LoRA adapters into one Core ML package whose functions share every weight; packages predict on any system.

    package = plait.compile({"classify": model, "embed": "embed.pt"}, inputs=[torch.rand(1, 3, 64, 64)])
    package.save("heads.mlpackage")
    package.functions["classify"](image)        # a dictionary of NumPy arrays

Everything here fails with ``plait.Error``, whose text is what the ``plait`` command prints, and warns with categories below
``plait.PlaitWarning``. Nothing prints. Different objects may be used in different threads; the GIL is free while the compiler
and the interpreter work. Options are called as the command's are, and mean the same.

The modules behind are loaded when a name is first used: ``import plait`` alone does not load torch.
"""

from __future__ import annotations

import importlib
import typing

from plait import _torch
from plait._build import VERSION as __version__

_torch.check()

if typing.TYPE_CHECKING:
    from plait._compile import compile, merge, pack_adapter
    from plait._errors import (AdapterWarning, DeviceWarning, Error, Message, PlaitWarning, PrecisionWarning, Problem, StateWarning,
                               TraceWarning)
    from plait._inputs import Adapter, Constant, Image, Model, Range, Tensor, bgr, gray, gray16, rgb
    from plait._package import Package
    from plait._function import Function, State
    from plait._results import (Bisection, Comparison, CompressedWeight, Finding, FunctionReport, FunctionSummary, NearlyShared, OutputCheck,
                                Report, Summary, Value, Verification)

__all__ = [
    "Adapter", "AdapterWarning", "Bisection", "Comparison", "CompressedWeight", "Constant", "DeviceWarning", "Error", "Finding", "Function", "FunctionReport",
    "FunctionSummary", "Image", "Message", "Model", "NearlyShared", "OutputCheck", "Package", "PlaitWarning", "PrecisionWarning", "Problem",
    "Range", "Report", "State", "StateWarning", "Summary", "Tensor", "TraceWarning", "Value", "Verification", "__version__",
    "bgr", "compile", "gray", "gray16", "merge", "pack_adapter", "rgb",
]

_PLACES = {
    "_compile": ("compile", "merge", "pack_adapter"),
    "_errors": ("AdapterWarning", "DeviceWarning", "Error", "Message", "PlaitWarning", "PrecisionWarning", "Problem", "StateWarning", "TraceWarning"),
    "_inputs": ("Adapter", "Constant", "Image", "Model", "Range", "Tensor", "bgr", "gray", "gray16", "rgb"),
    "_package": ("Package",),
    "_function": ("Function", "State"),
    "_results": ("Bisection", "Comparison", "CompressedWeight", "Finding", "FunctionReport", "FunctionSummary", "NearlyShared", "OutputCheck", "Report",
                 "Summary", "Value", "Verification"),
}
_PLACE_OF = {name: place for place, names in _PLACES.items() for name in names}


def __getattr__(name: str) -> typing.Any:
    place = _PLACE_OF.get(name)
    if place is None:
        raise AttributeError(f"module 'plait' has no attribute '{name}'")
    value = getattr(importlib.import_module(f"plait.{place}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
