"""What is said of inputs, models and adapters, and the text of it that the compiler reads (docs/command.md has the grammar)."""

from __future__ import annotations

import dataclasses
import os
import typing
from collections.abc import Mapping, Sequence

from plait._errors import Error

rgb: typing.Final = "rgb"
"""The format of an image of three channels, red first."""
bgr: typing.Final = "bgr"
"""The format of an image of three channels, blue first."""
gray: typing.Final = "gray"
"""The format of an image of one channel of bytes."""
gray16: typing.Final = "gray16"
"""The format of an image of one channel of half-precision numbers."""


@dataclasses.dataclass(frozen=True)
class Range:
    """A dimension that may be anything from ``lower`` to ``upper``, both included, in elements."""

    lower: int
    upper: int

    def __str__(self) -> str:
        return f"{self.lower}..{self.upper}"


Dimension = typing.Union[int, Range]
Shape = Sequence[Dimension]


def shape_text(shape: Shape) -> str:
    """``[1, 3, 64..512]``"""
    if not isinstance(shape, Sequence) or isinstance(shape, str) or not all(isinstance(d, (int, Range)) for d in shape):
        raise Error(f"a shape is a sequence of sizes and plait.Range, and this is {shape!r}")
    return "[" + ", ".join(str(dimension) for dimension in shape) + "]"


@dataclasses.dataclass(frozen=True)
class Tensor:
    """An input that is an array.

    shape: sizes in elements; a ``Range`` leaves one open.
    dtype: "fp16", "fp32", "int32" or "bool"; where not said, floating-point of the package's precision, or what ``example``
        holds.
    shapes: in place of ``shape``, several fixed shapes of which the first is the default.
    example: a torch.Tensor that an ``nn.Module`` is traced with; made up where not given: random numbers, zeros for integers.
    name: of the input in the package, where it is not said by a dictionary's key.
    """

    shape: Shape = ()
    dtype: str | None = None
    shapes: Sequence[Sequence[int]] = ()
    example: typing.Any = None
    name: str | None = None

    def text(self) -> str:
        """As ``--input`` has it, without the name."""
        if self.shapes and self.shape:
            raise Error("an input has a shape or several shapes, not both")
        several = "{" + ", ".join(shape_text(one) for one in self.shapes) + "}"
        return (self.dtype or "") + (several if self.shapes else shape_text(self.shape))


@dataclasses.dataclass(frozen=True)
class Image:
    """An input that is an image, or an output that becomes one.

    format: ``plait.rgb``, ``plait.bgr``, ``plait.gray`` or ``plait.gray16``.
    shape: ``(1, channels, height, width)`` in pixels; height and width may be ``Range``. Of an output it may be left out.
    scale, bias: the model takes ``pixel * scale + bias``: one number, or one for each channel.
    shapes, example, name: as ``Tensor`` has them. The example is what the model takes, after scale and bias.
    """

    format: str
    shape: Shape = ()
    scale: float | Sequence[float] | None = None
    bias: float | Sequence[float] | None = None
    shapes: Sequence[Sequence[int]] = ()
    example: typing.Any = None
    name: str | None = None

    def text(self) -> str:
        """As ``--input`` has it, without the name."""
        def colours(shape: Shape) -> str:
            return "[" + ", ".join([self.format, *(str(dimension) for dimension in shape)]) + "]"
        several = "{" + ", ".join(colours(one) for one in self.shapes) + "}"
        text = "image" + (several if self.shapes else colours(self.shape))
        for word, value in (("scale", self.scale), ("bias", self.bias)):
            if value is not None:
                numbers = [value] if isinstance(value, (int, float)) else list(value)
                shown = ", ".join(repr(float(number)) for number in numbers)
                text += f" {word}={shown}" if len(numbers) == 1 else f" {word}=[{shown}]"
        return text


@dataclasses.dataclass(frozen=True)
class Model:
    """A model with what is said of its function alone; what is not said here, ``compile`` says for all.

    model: as ``plait.compile`` takes one. The other fields are options of ``plait.compile``.
    """

    model: typing.Any
    inputs: typing.Any = None
    outputs: typing.Any = None
    describe: Mapping[str, str] | None = None
    classes: typing.Any = None
    class_output: str | None = None
    states: typing.Any = None
    state_init: str | None = None
    lora: str | None = None
    method: str | None = None


@dataclasses.dataclass(frozen=True)
class Adapter:
    """An adapter with what is said of its function alone.

    source: a PEFT folder or safetensors file, several blended as the command has them (``"a:0.7+b:0.3"``), or a live PeftModel.
    root: the path of the module that was adapted, where the adapter fits several.
    allow_unmatched: whether to go on, with a warning, without tensors that belong to no module.
    alpha, scale: where the files do not say it: alpha, which the rank divides, or the quotient itself.
    lora: "keep", "fold" or "inputs"; as ``plait.compile`` says where not said.
    """

    source: typing.Any
    root: str | None = None
    allow_unmatched: bool | None = None
    alpha: float | None = None
    scale: float | None = None
    lora: str | None = None


def _dtype_of(array: typing.Any) -> str | None:
    """What an example array says of the input's type: nothing where it is floating-point."""
    name = str(array.dtype).removeprefix("torch.")
    if name.startswith(("float", "bfloat")):
        return None
    return "bool" if name == "bool" else "int32"


def is_array(value: typing.Any) -> bool:
    """Whether it is a torch.Tensor or a NumPy array."""
    return hasattr(value, "dtype") and hasattr(value, "shape")


@dataclasses.dataclass(frozen=True)
class Declared:
    """An input as the compiler is told of it, and what a trace needs."""

    name: str | None
    text: str
    spec: Tensor | Image | None
    example: typing.Any

    def said(self) -> str:
        """As ``--input`` has it."""
        return f"{self.name}={self.text}" if self.name else self.text


def declare(name: str | None, value: typing.Any) -> Declared:
    """One input, in any of the forms that ``plait.compile`` takes."""
    if isinstance(value, str):
        before, equals, after = value.partition("=")
        if equals and before.strip().isidentifier() and "[" not in before:
            if name and name != before.strip():
                raise Error(f"the input '{name}' is called '{before.strip()}' in {value!r}")
            return Declared(before.strip(), after, None, None)
        return Declared(name, value, None, None)
    if isinstance(value, (Tensor, Image)):
        return Declared(name or value.name, value.text(), value, value.example)
    if is_array(value):
        spec = Tensor(tuple(int(size) for size in value.shape), _dtype_of(value))
        return Declared(name, spec.text(), spec, value)
    if isinstance(value, Sequence):
        spec = Tensor(tuple(value))
        return Declared(name, spec.text(), spec, None)
    raise Error(f"an input is a torch.Tensor, an array, a shape, plait.Tensor, plait.Image or the command's text, and "
                f"{name or 'one'} is {type(value).__name__}")


def declare_all(inputs: typing.Any) -> list[Declared]:
    """The inputs of one function, in order."""
    if inputs is None:
        return []
    if isinstance(inputs, Mapping):
        return [declare(str(name), value) for name, value in inputs.items()]
    if isinstance(inputs, (str, Tensor, Image)) or is_array(inputs):
        return [declare(None, inputs)]
    if isinstance(inputs, Sequence):
        return [declare(None, value) for value in inputs]
    raise Error(f"inputs are a list or a dictionary, and this is {type(inputs).__name__}")


def output_texts(outputs: typing.Any) -> list[str]:
    """The outputs of one function as ``--output`` has them: names, or names with a type or an Image."""
    if outputs is None:
        return []
    if isinstance(outputs, str):
        return [outputs]
    if isinstance(outputs, Mapping):
        texts = []
        for name, value in outputs.items():
            if isinstance(value, Image):
                value = value.text()
            texts.append(f"{name}={value}" if value else str(name))
        return texts
    if isinstance(outputs, Sequence) and all(isinstance(name, str) for name in outputs):
        return list(outputs)
    raise Error("outputs are a list of names, or a dictionary from names to \"fp16\", \"fp32\", plait.Image or None")


def path_text(value: typing.Any) -> str:
    """A path, whether text or os.PathLike."""
    return os.fspath(value)
