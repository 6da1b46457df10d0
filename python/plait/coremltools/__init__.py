"""The names and arguments of coremltools for what plait does, so that a script runs with one import changed.

    import plait.coremltools as ct

    model = ct.convert(torch.jit.trace(net, example), inputs=[ct.TensorType(name="x", shape=(1, 8))],
                       minimum_deployment_target=ct.target.iOS18)
    model.save("net.mlpackage")
    ct.models.MLModel("net.mlpackage").predict({"x": array})       # on Linux too

What plait does not do is refused by name, with plait's own way where there is one. docs/python.md has the table.
"""

from __future__ import annotations

import typing

from plait._build import VERSION as __version__
from plait.coremltools import models, utils
from plait.coremltools._convert import convert
from plait.coremltools._refused import refuse_name
from plait.coremltools._types import (ClassifierConfig, ComputeUnit, EnumeratedShapes, ImageType, RangeDim, Shape, StateType,
                                      TensorType, colorlayout, precision, target)

__all__ = ["ClassifierConfig", "ComputeUnit", "EnumeratedShapes", "ImageType", "RangeDim", "Shape", "StateType", "TensorType",
           "__version__", "colorlayout", "convert", "models", "precision", "target", "utils"]


def __getattr__(name: str) -> typing.Any:
    refuse_name("coremltools", name)
