"""coremltools' words for inputs, outputs, targets and precisions."""

from __future__ import annotations

import enum
import os
import typing
from collections.abc import Sequence

from plait._errors import Error
from plait._inputs import Image, Range, Tensor
from plait.coremltools._refused import refuse


class target(enum.Enum):
    """The oldest system that runs a package. plait writes for iOS 16 and macOS 13 and later."""

    iOS16 = "ios16"
    iOS17 = "ios17"
    iOS18 = "ios18"
    iOS26 = "ios26"
    macOS13 = "ios16"
    macOS14 = "ios17"
    macOS15 = "ios18"
    macOS26 = "ios26"
    watchOS9 = "ios16"
    watchOS10 = "ios17"
    watchOS11 = "ios18"
    tvOS16 = "ios16"
    tvOS17 = "ios17"
    tvOS18 = "ios18"
    iOS13 = "older than iOS 16: iOS 13"
    iOS14 = "older than iOS 16: iOS 14"
    iOS15 = "older than iOS 16: iOS 15"
    macOS10_15 = "older than iOS 16: macOS 10.15"
    macOS11 = "older than iOS 16: macOS 11"
    macOS12 = "older than iOS 16: macOS 12"


class precision(enum.Enum):
    """What to compute and store in."""

    FLOAT16 = "fp16"
    FLOAT32 = "fp32"


class colorlayout(enum.Enum):
    """The colours of an image."""

    GRAYSCALE = "gray"
    RGB = "rgb"
    BGR = "bgr"
    GRAYSCALE_FLOAT16 = "gray16"


class ComputeUnit(enum.Enum):
    """Where Core ML is to run a model. plait's interpreter runs on the CPU, whichever is said."""

    ALL = 1
    CPU_AND_GPU = 2
    CPU_ONLY = 3
    CPU_AND_NE = 4


class RangeDim:
    """A dimension that may be anything from ``lower_bound`` to ``upper_bound``, in elements.

    default: the size where none is said. A package of plait has the lower bounds there, as text of the interface only.
    symbol: a name, which plait does not need. Raises ``plait.Error`` without an upper bound, which ML programs need.
    """

    def __init__(self, lower_bound: int = 1, upper_bound: int = -1, default: int | None = None, symbol: str | None = None) -> None:
        if upper_bound == -1:
            refuse("a RangeDim without upper_bound", "an ML program needs one: RangeDim(lower_bound=1, upper_bound=1024)")
        if lower_bound > upper_bound:
            raise ValueError(f"lower_bound {lower_bound} is above upper_bound {upper_bound}")
        if default is not None and not lower_bound <= default <= upper_bound:
            raise ValueError(f"default {default} lies outside of {lower_bound} to {upper_bound}")
        self.lower_bound, self.upper_bound, self.default, self.symbol = lower_bound, upper_bound, default, symbol


Sizes = Sequence[typing.Union[int, RangeDim]]


class Shape:
    """A shape in elements, whose dimensions may be ``RangeDim``. default: as of RangeDim."""

    def __init__(self, shape: Sizes, default: Sequence[int] | None = None) -> None:
        self.shape = tuple(shape)
        self.default = default


class EnumeratedShapes:
    """Several fixed shapes in elements, one of which is ``default``, else the first."""

    def __init__(self, shapes: Sequence[typing.Any], default: Sequence[int] | None = None) -> None:
        if len(shapes) < 2:
            raise ValueError("EnumeratedShapes takes at least two shapes")
        self.shapes = [tuple(one.shape if isinstance(one, Shape) else one) for one in shapes]
        self.default = tuple(default) if default is not None else self.shapes[0]
        if self.default not in self.shapes:
            raise ValueError(f"default {self.default} is none of the shapes")


def _type_text(dtype: typing.Any) -> str | None:
    """numpy.float16, "float16", or a type of MIL's, as plait calls it."""
    if dtype is None:
        return None
    name = getattr(dtype, "__name__", None) or str(getattr(dtype, "name", dtype))
    known = {"float16": "fp16", "half": "fp16", "fp16": "fp16", "float32": "fp32", "single": "fp32", "fp32": "fp32", "float": "fp32",
             "int32": "int32", "int": "int32", "int8": "int8", "bool": "bool", "bool_": "bool", "int64": "int32", "longlong": "int32"}
    if name not in known:
        refuse(f"the dtype {name}", "Core ML's arrays hold float16, float32 or int32")
    return known[name]


def _sizes(shape: Sizes) -> tuple[typing.Union[int, Range], ...]:
    return tuple(Range(size.lower_bound, size.upper_bound) if isinstance(size, RangeDim) else int(size) for size in shape)


class _InputType:
    def __init__(self, name: str | None, shape: typing.Any) -> None:
        self.name = name
        self.shape = Shape(shape) if isinstance(shape, (list, tuple)) else shape

    def _shapes(self) -> tuple[tuple[typing.Union[int, Range], ...], list[tuple[int, ...]]]:
        """The shape, or the enumerated ones with the default first."""
        if isinstance(self.shape, EnumeratedShapes):
            default = self.shape.default
            return (), [default, *(one for one in self.shape.shapes if one != default)]
        if isinstance(self.shape, Shape):
            return _sizes(self.shape.shape), []
        raise Error(f"input '{self.name}' needs its shape", code="P0204")


class TensorType(_InputType):
    """An input or output that is an array.

    name: in the package. shape: in elements: a sequence, ``Shape`` or ``EnumeratedShapes``. dtype: a NumPy type; where not said,
    float16 in a package of half precision for iOS 16 and later, else float32. default_value: an array of one number, what the
    elements are where the app gives none.
    """

    def __init__(self, name: str | None = None, shape: typing.Any = None, dtype: typing.Any = None, default_value: typing.Any = None) -> None:
        super().__init__(name, shape)
        self.dtype = dtype
        self.default_value: float | None = None
        if default_value is not None:
            values = set(default_value.flatten().tolist())
            if len(values) != 1:
                raise ValueError("all elements of a default_value are one number")
            self.default_value = float(values.pop())
            if isinstance(self.shape, EnumeratedShapes):
                raise ValueError("an input of EnumeratedShapes has no default_value")

    def _input(self, otherwise: str | None) -> Tensor:
        shape, shapes = self._shapes()
        return Tensor(shape, _type_text(self.dtype) or otherwise, shapes, name=self.name, default=self.default_value)


class ImageType(_InputType):
    """An input or output that is an image.

    shape: ``(1, channels, height, width)`` in pixels. scale, bias: the model takes ``pixel * scale + bias``. color_layout: of
    ``ct.colorlayout``, or "G", "RGB", "BGR". channel_first: True or None.
    """

    def __init__(self, name: str | None = None, shape: typing.Any = None, scale: float | Sequence[float] = 1.0,
                 bias: float | Sequence[float] | None = None, color_layout: typing.Any = colorlayout.RGB, channel_first: bool | None = None,
                 grayscale_use_uint8: bool = False) -> None:
        if channel_first is False:
            refuse("channel_first=False", "PyTorch's models take (1, channels, height, width)")
        if grayscale_use_uint8:
            refuse("grayscale_use_uint8", "pixels come as floating-point numbers")
        super().__init__(name, shape)
        self.scale, self.bias = scale, bias
        self.color_layout = {"G": colorlayout.GRAYSCALE, "G_FLOAT16": colorlayout.GRAYSCALE_FLOAT16}.get(color_layout) or (
            colorlayout[color_layout] if isinstance(color_layout, str) else color_layout)

    def _input(self, otherwise: str | None) -> Image:
        shape, shapes = self._shapes()
        return Image(self.color_layout.value, shape, self.scale, self.bias, shapes, name=self.name)

    def _output(self) -> Image:
        return Image(self.color_layout.value)


class StateType:
    """A tensor of the model that is a state. wrapped_type: a ``TensorType`` with its shape; name: its path in the model."""

    def __init__(self, wrapped_type: TensorType, name: str | None = None) -> None:
        if not isinstance(wrapped_type, TensorType):
            raise ValueError("StateType wraps a TensorType")
        if wrapped_type.name:
            raise ValueError("the name of a state is StateType's, not that of the type it wraps")
        if name is None:
            refuse("a StateType without a name", "the name is the path of the buffer in the model, such as \"cache.keys\"")
        if _type_text(wrapped_type.dtype) not in (None, "fp16"):
            refuse("a state of another type than float16", "Core ML's states hold float16")
        self.wrapped_type, self.name = wrapped_type, name

    def _said(self) -> str:
        """As ``--states`` has it."""
        shape = self.wrapped_type.shape
        if not isinstance(shape, Shape):
            return f"{self.name}=fp16"
        return f"{self.name}=fp16[{', '.join(str(size) for size in _sizes(shape.shape))}]"


class ClassifierConfig:
    """What makes a classifier of a function.

    class_labels: a list, or a file with a label a line. predicted_feature_name: the output that names the likeliest.
    predicted_probabilities_output: the result that holds the probabilities, where several could.
    """

    def __init__(self, class_labels: typing.Any, predicted_feature_name: str = "classLabel",
                 predicted_probabilities_output: str | None = None) -> None:
        self.class_labels: typing.Any = os.fspath(class_labels) if isinstance(class_labels, (str, os.PathLike)) else list(class_labels)
        self.predicted_feature_name = predicted_feature_name
        self.predicted_probabilities_output = predicted_probabilities_output
