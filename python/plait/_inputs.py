"""What is said of inputs, models and adapters, and the text of it that the compiler reads (docs/command.md has the grammar)."""

from __future__ import annotations

import ast
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
    """A dimension that may be anything from ``lower`` to ``upper``, both included, in elements.

    name: of a size that inputs have in common: dimensions of one name are equal in every call. ``"n"`` in a shape is the same
        size again.
    """

    lower: int
    upper: int
    name: str = ""

    def __str__(self) -> str:
        return f"{self.name}:{self.lower}..{self.upper}" if self.name else f"{self.lower}..{self.upper}"


Dimension = typing.Union[int, Range, str]
Shape = Sequence[Dimension]


def _is_dimension(value: typing.Any) -> bool:
    return isinstance(value, str) and value.isidentifier() or isinstance(value, (int, Range)) and not isinstance(value, bool)


def shape_text(shape: Shape) -> str:
    """``[1, 3, 64..512]``"""
    if not isinstance(shape, Sequence) or isinstance(shape, str) or not all(_is_dimension(d) for d in shape):
        raise Error(f"a shape is a sequence of sizes, plait.Range and names of sizes, and this is {shape!r}", code="P0201")
    if any(isinstance(dimension, int) and dimension < 0 for dimension in shape):
        raise Error(f"{tuple(shape)} is no shape: sizes are not negative; a size that is open is plait.Range(1, 512)", code="P0201")
    return "[" + ", ".join(str(dimension) for dimension in shape) + "]"


@dataclasses.dataclass(frozen=True)
class Tensor:
    """An input that is an array.

    shape: sizes in elements; a ``Range`` leaves one open, a name is the size of that name in another input.
    dtype: "fp16", "fp32", "int32", "int8" (from ios26) or "bool"; where not said, floating-point of the package's precision, or what ``example``
        holds.
    shapes: in place of ``shape``, several fixed shapes of which the first is the default.
    example: a torch.Tensor that an ``nn.Module`` is traced with; made up where not given: random numbers, zeros for integers.
    name: of the input in the package, where it is not said by a dictionary's key.
    default: what every element is where the app gives no array.
    """

    shape: Shape = ()
    dtype: str | None = None
    shapes: Sequence[Sequence[int]] = ()
    example: typing.Any = None
    name: str | None = None
    default: float | None = None

    def text(self) -> str:
        """As ``--input`` has it, without the name."""
        if self.shapes and self.shape:
            raise Error("an input has a shape or several shapes, not both", code="P0201")
        several = "{" + ", ".join(shape_text(one) for one in self.shapes) + "}"
        default = "" if self.default is None else f" default={float(self.default)!r}"
        return (self.dtype or "") + (several if self.shapes else shape_text(self.shape)) + default


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
    if name.startswith("complex"):
        raise Error(f"an input is an array of {name}, and Core ML has no complex numbers; give real and imaginary parts as two inputs, and "
                    "put them together in forward(): torch.complex(real, imaginary)", code="P0201")
    return "bool" if name == "bool" else "int32"


def is_array(value: typing.Any) -> bool:
    """Whether it is a torch.Tensor or a NumPy array."""
    return hasattr(value, "dtype") and hasattr(value, "shape")


@dataclasses.dataclass(frozen=True)
class Constant:
    """An argument that is no input but the same in every call: None, a bool, a number, a text, or a list of these.

        plait.compile(model, inputs={"x": (1, 8), "scale": plait.Constant(2.0), "mask": None})

    In a dictionary of inputs None, numbers and bools are constants as they are; lists and texts need ``plait.Constant``, since
    they would be a shape or the command's text.
    """

    value: typing.Any

    def text(self) -> str:
        """As ``--input`` has it, without the name."""
        if isinstance(self.value, (list, tuple)):
            return "list[" + ", ".join(Constant._scalar(one) for one in self.value) + "]"
        return Constant._scalar(self.value)

    @staticmethod
    def _scalar(value: typing.Any) -> str:
        if value is None or isinstance(value, (bool, int)):
            return str(value).lower()
        if isinstance(value, float):
            return repr(value)
        if isinstance(value, str) and not set(value) & set('"\n\r'):
            return f'"{value}"'
        raise Error(f"a constant is None, a bool, a number, a text without quotes, or a list of these, and this is {value!r}", code="P0201")


@dataclasses.dataclass(frozen=True)
class Declared:
    """An input as the compiler is told of it, and what a trace needs; or a constant."""

    name: str | None
    text: str
    spec: Tensor | Image | None
    example: typing.Any
    constant: Constant | None = None

    def said(self) -> str:
        """As ``--input`` has it."""
        return f"{self.name}={self.text}" if self.name else self.text


def declare(name: str | None, value: typing.Any) -> Declared:
    """One input, in any of the forms that ``plait.compile`` takes."""
    if isinstance(value, str):
        before, equals, after = value.partition("=")
        if equals and before.strip().isidentifier() and "[" not in before:
            if name and name != before.strip():
                raise Error(f"the input '{name}' is called '{before.strip()}' in {value!r}", code="P0201")
            return Declared(before.strip(), after, None, None)
        return Declared(name, value, None, None)
    if value is None or isinstance(value, (bool, int, float)):
        value = Constant(value)
    if isinstance(value, Constant):
        if not name:
            raise Error(f"{value.text()} is a constant, and no argument is named; give inputs as a dictionary from names", code="P0201")
        return Declared(name, value.text(), None, None, value)
    if isinstance(value, (Tensor, Image)):
        return Declared(name or value.name, value.text(), value, value.example)
    if is_array(value):
        spec = Tensor(tuple(int(size) for size in value.shape), _dtype_of(value))
        return Declared(name, spec.text(), spec, value)
    if isinstance(value, Sequence):
        spec = Tensor(tuple(value))
        return Declared(name, spec.text(), spec, None)
    raise Error(f"an input is a torch.Tensor, an array, a shape, plait.Tensor, plait.Image, plait.Constant or the command's text, and "
                f"{name or 'one'} is {type(value).__name__}", code="P0201")


def _with_sizes(declared: list[Declared]) -> list[Declared]:
    """Sizes that are names have the range that another input says."""
    known = {size.name: size for d in declared if d.spec for size in d.spec.shape if isinstance(size, Range) and size.name}

    def resolved(d: Declared) -> Declared:
        if d.spec is None or not any(isinstance(size, str) for size in d.spec.shape):
            return d
        for size in d.spec.shape:
            if isinstance(size, str) and size not in known:
                raise Error(f"input '{d.said()}': nothing says what the size '{size}' may be; plait.Range(1, 512, \"{size}\") says it", code="P0201")
        shape = tuple(known[size] if isinstance(size, str) else size for size in d.spec.shape)
        return dataclasses.replace(d, spec=dataclasses.replace(d.spec, shape=shape))
    return [resolved(d) for d in declared]


def constant_of(text: str) -> typing.Any:
    """The value of a constant as ``--input`` has it."""
    words: dict[str, typing.Any] = {"none": None, "true": True, "false": False, "inf": float("inf"), "-inf": -float("inf"), "nan": float("nan")}
    if text in words:
        return words[text]
    try:
        return ast.literal_eval(text)
    except ValueError:  # a list with words in it
        return [constant_of(one.strip()) for one in text.strip("[]").split(",")]


def declare_all(inputs: typing.Any) -> list[Declared]:
    """The inputs and constants of one function, in order."""
    return _with_sizes(_declare_each(inputs))


def _declare_each(inputs: typing.Any) -> list[Declared]:
    if inputs is None:
        return []
    if isinstance(inputs, Mapping):
        return [declare(str(name), value) for name, value in inputs.items()]
    if isinstance(inputs, (str, Tensor, Image)) or is_array(inputs) or _is_bare_shape(inputs):
        return [declare(None, inputs)]
    if isinstance(inputs, Sequence):
        return [declare(None, value) for value in inputs]
    raise Error(f"inputs are a list or a dictionary, and this is {type(inputs).__name__}", code="P0201")


def _is_bare_shape(inputs: typing.Any) -> bool:
    """Whether it is the shape of one input, and no list of inputs: numbers in a list would be constants of no argument."""
    return isinstance(inputs, Sequence) and any(isinstance(one, (int, Range)) for one in inputs) and all(map(_is_dimension, inputs))


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
    raise Error("outputs are a list of names, or a dictionary from names to \"fp16\", \"fp32\", plait.Image or None", code="P0201")


def path_text(value: typing.Any) -> str:
    """A path, whether text or os.PathLike."""
    return os.fspath(value)
