"""Functions of a package, run in the reference interpreter, and their states."""

from __future__ import annotations

import threading
import typing
from collections.abc import Iterator, Mapping, MutableMapping

from plait import _torch
from plait._errors import Error
from plait._inputs import is_array
from plait._results import FunctionSummary, Value

if typing.TYPE_CHECKING:
    import numpy

    Array = numpy.ndarray[typing.Any, typing.Any]

_NUMPY = {"fp16": "float16", "fp32": "float32", "fp64": "float64"}


def numpy_of(value: typing.Any, declared: Value) -> Array:
    """An input's array: of a NumPy array, a torch.Tensor on any device, a PIL image, numbers or lists of them."""
    import numpy
    if hasattr(value, "getbands"):
        return _of_image(value, declared)
    if hasattr(value, "detach"):
        tensor = value.detach().cpu()
        if str(tensor.dtype) == "torch.bfloat16":
            tensor = tensor.float()
        return numpy.ascontiguousarray(tensor.resolve_conj().resolve_neg().numpy())
    array = numpy.asarray(value)
    if not is_array(value) and array.dtype.kind in "fi" and declared.dtype in ("fp16", "fp32"):
        array = array.astype("float32")
    if array.dtype.kind not in "fiub":
        raise Error(f"input '{declared.name}' is {type(value).__name__} of {array.dtype}, which is no array of numbers", code="P0210")
    if not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    return numpy.asarray(array, order="C")


def _of_image(image: typing.Any, declared: Value) -> Array:
    """The pixels of a PIL image, [1, channels, height, width], as bytes."""
    import numpy
    if declared.image is None:
        raise Error(f"input '{declared.name}' takes an array, {declared}, and this is an image", code="P0210")
    if declared.image == "gray16":
        if image.mode not in ("F", "I;16", "I"):
            raise Error(f"input '{declared.name}' is a gray16 image, and this is one of the mode {image.mode}; give an array, or mode F", code="P0210")
        return numpy.asarray(image, dtype="float16")[None, None]
    if image.mode not in ("RGB", "L", "1") and not (image.mode == "P" and "transparency" not in image.info):
        raise Error(f"input '{declared.name}' takes RGB or grey images, and this has the mode {image.mode}; image.convert(\"RGB\") makes it so", code="P0210")
    pixels = numpy.asarray(image.convert("L" if declared.image == "gray" else "RGB"))
    if declared.image == "gray":
        return numpy.ascontiguousarray(pixels[None, None])
    if declared.image == "bgr":
        pixels = pixels[:, :, ::-1]
    return numpy.ascontiguousarray(pixels.transpose(2, 0, 1)[None])


class State(MutableMapping[str, typing.Any]):
    """What a function keeps from call to call: arrays by the names of its states, zeros at first.

    ``Function.make_state`` makes one; a call that is given it reads and replaces its arrays. Functions whose states have the
    same names and shapes can be called with the same one, such as prefill and decode. Reading gives a copy of an array; writing
    takes anything that NumPy can make an array of, of the same shape in elements, else ``plait.Error``. It can be pickled and
    copied.
    """

    def __init__(self, arrays: Mapping[str, Array]) -> None:
        self._arrays = dict(arrays)

    def __getitem__(self, name: str) -> Array:
        if name not in self._arrays:
            raise KeyError(f"there is no state '{name}'; there are {', '.join(self._arrays)}")
        return self._arrays[name].copy()

    def __setitem__(self, name: str, value: typing.Any) -> None:
        import numpy
        if name not in self._arrays:
            raise KeyError(f"there is no state '{name}'; there are {', '.join(self._arrays)}")
        before = self._arrays[name]
        array = numpy.asarray(value.detach().cpu().float() if hasattr(value, "detach") else value)
        if array.shape != before.shape:
            raise Error(f"state '{name}' has the shape {list(before.shape)}, and this has {list(array.shape)}", code="P0210")
        self._arrays[name] = array.astype(before.dtype)

    def __delitem__(self, name: str) -> None:
        raise TypeError("the states of a function are what they are; reset() makes them zeros")

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)

    def reset(self) -> None:
        """All states are zeros again."""
        for array in self._arrays.values():
            array[...] = 0

    def copy(self) -> State:
        """Another state with the same contents."""
        return State({name: array.copy() for name, array in self._arrays.items()})

    def __repr__(self) -> str:
        return "State(" + ", ".join(f"{name}: {array.dtype}{list(array.shape)}" for name, array in self._arrays.items()) + ")"


class Function:
    """A function of a package; calling it runs it in plait's reference interpreter, on any system.

        package.functions["classify"](image=array)
        package.functions["decode"](tokens, position, state=state)

    The interpreter is made to be right, not to be fast. Calls from several threads wait for one another.
    """

    def __init__(self, package: typing.Any, summary: FunctionSummary) -> None:
        self._package = package
        self._summary = summary
        self._ready: typing.Any = None
        self._lock = threading.Lock()

    @property
    def name(self) -> str:
        """As the package calls it."""
        return self._summary.name

    @property
    def inputs(self) -> tuple[Value, ...]:
        """What it takes, in order; shapes in elements."""
        return self._summary.inputs

    @property
    def outputs(self) -> tuple[Value, ...]:
        """What it gives, in order; shapes in elements."""
        return self._summary.outputs

    @property
    def states(self) -> tuple[Value, ...]:
        """What it keeps from call to call; shapes in elements."""
        return self._summary.states

    @property
    def summary(self) -> FunctionSummary:
        """Its interface, operations and the bytes of its weights."""
        return self._summary

    def make_state(self) -> State:
        """States that are zeros, to be given to calls."""
        import numpy
        return State({value.name: numpy.zeros([int(str(size)) for size in value.shape], _NUMPY[value.dtype]) for value in self.states})

    def __call__(self, *arrays: typing.Any, state: State | None = None, compute: str = "fp32", **named: typing.Any) -> dict[str, typing.Any]:
        """Runs it: inputs in order or by name, as ``predict`` takes them. Returns the outputs by name; raises ``plait.Error``."""
        if len(arrays) > len(self.inputs):
            raise Error(f"function '{self.name}' takes {len(self.inputs)} inputs, and {len(arrays)} are given", code="P0210")
        given = {value.name: array for value, array in zip(self.inputs, arrays)}
        for name in named:
            if name in given:
                raise Error(f"function '{self.name}': input '{name}' is given twice", code="P0210")
        return self.predict({**given, **named}, state=state, compute=compute)

    def predict(self, inputs: Mapping[str, typing.Any], *, state: State | None = None, compute: str = "fp32") -> dict[str, typing.Any]:
        """Runs it on every input by name, but for those that have a default value.

        inputs: NumPy arrays, torch tensors, numbers, and PIL images where an input is one, in the shapes of ``inputs``, counted in
            elements. Floating-point types are converted to the input's own, and so are integers that fit.
        state: of a function with states, what ``make_state`` made; the call reads it and leaves its own contents in it.
        compute: "fp32": operations on fp16 compute in fp32 with a rounded result each; "native": in fp16 throughout.

        Returns NumPy arrays by the names of outputs, in the types that the function declares; of a classifier the label, and a
        dictionary of probabilities. Raises ``plait.Error`` where an input is missing, unknown, or of another type or shape; the
        state is then as before.
        """
        results, after, _ = self._run(inputs, state, compute, [])
        if state is not None:
            state._arrays.update(after)
        return results

    def trace(self, inputs: Mapping[str, typing.Any], values: typing.Any = "all", *, state: State | None = None,
              compute: str = "fp32") -> dict[str, Array]:
        """The contents of values inside the function: ``plait run --trace``.

        inputs, state, compute: as ``predict`` has them; the state stays as it is. values: names of values in the package's MIL, or
        "all". Returns NumPy arrays by name, in the order in which they are computed. Raises ``plait.Error``.
        """
        names = [values] if isinstance(values, str) else list(values)
        traced: dict[str, Array] = self._run(inputs, state, compute, names)[2]
        return traced

    def _run(self, inputs: Mapping[str, typing.Any], state: State | None, compute: str, trace: list[str]) -> tuple[typing.Any, ...]:
        if compute not in ("fp32", "native"):
            raise Error(f"compute is {compute!r}; the choices are fp32, native", code="P0902")
        if not isinstance(inputs, Mapping):
            raise Error(f"function '{self.name}': inputs are a dictionary of arrays by name", code="P0210")
        declared = {value.name: value for value in self.inputs}
        for name in inputs:
            if name not in declared:
                raise Error(f"function '{self.name}' has no input '{name}'; it has {', '.join(declared) or 'none'}", code="P0210")
        missing = [name for name, value in declared.items() if name not in inputs and value.default_value is None]
        if missing:
            raise Error(f"function '{self.name}': input '{missing[0]}' is missing; it takes {', '.join(map(str, self.inputs))}", code="P0210")
        begin: dict[str, Array] = {}
        if self.states:
            if state is None:
                raise Error(f"function '{self.name}' keeps states from call to call ({', '.join(value.name for value in self.states)}): make "
                            "some with make_state() and give them to every call", code="P0210")
            for value in self.states:
                if value.name not in state._arrays:
                    raise Error(f"function '{self.name}' has the state '{value.name}', and what it is given has not", code="P0210")
                begin[value.name] = state._arrays[value.name]
        elif state is not None:
            raise Error(f"function '{self.name}' has no states, and is given some", code="P0210")
        arrays = {name: numpy_of(value, declared[name]) for name, value in inputs.items()}
        with self._lock:
            if self._ready is None:
                self._ready = _torch.compiler().ReadyFunction(self._package._opened(), self.name)
            ready = self._ready
        result: tuple[typing.Any, ...] = ready.run(arrays, begin, compute == "native", trace)
        return result

    def __repr__(self) -> str:
        return f"Function({self.name}: {', '.join(map(str, self.inputs))} -> {', '.join(map(str, self.outputs))})"
