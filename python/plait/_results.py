"""What plait gives back: plain data, frozen, that can be pickled and compared."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Iterable, Mapping

from plait._errors import Message
from plait._inputs import Dimension, Range


@dataclasses.dataclass(frozen=True)
class Value:
    """An input, output or state of a function.

    dtype: as in MIL: "fp16", "fp32", "int32" …; of a classifier's outputs "string", "int64" or "dict".
    shape: sizes in elements; a ``Range`` where one is open.
    image: "rgb", "bgr", "gray" or "gray16" where it is one, else None.
    description: a text for people.
    shapes: the shapes that are allowed, where they were enumerated; the first is the default.
    default: the default shape where some size is open.
    default_value: of an input, what every element is where no array is given; None: it has to be given.
    """

    name: str
    dtype: str
    shape: tuple[Dimension, ...]
    image: str | None = None
    description: str = ""
    shapes: tuple[tuple[int, ...], ...] = ()
    default: tuple[int, ...] = ()
    default_value: float | None = None

    def __str__(self) -> str:
        def bracketed(shape: Iterable[Dimension]) -> str:
            return "[" + ", ".join(str(size) for size in shape) + "]"
        sizes = "{" + ", ".join(map(bracketed, self.shapes)) + "}" if self.shapes else bracketed(self.shape)
        default = "" if self.default_value is None else f", {self.default_value:g} by default"
        return f"{self.name}: {self.image + ' image, ' if self.image else ''}{self.dtype}{sizes}{default}"


@dataclasses.dataclass(frozen=True)
class FunctionSummary:
    """What a package says of one function.

    operations: how many of each MIL operation, constants not counted.
    weight_bytes: of the weights that it uses; own_bytes: of those that no other function uses.
    constants: arguments of the model that are no inputs, and what they are in every call, as ``--input`` has it.
    """

    name: str
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    states: tuple[Value, ...]
    operations: Mapping[str, int]
    weight_bytes: int
    own_bytes: int
    constants: Mapping[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class NearlyShared:
    """Two weights that could be one but for little.

    weights: function, name and type of each. reason: "values", "type", "transposed" or "scaled". bytes: of one of them.
    different: how many of the ``elements`` differ, by at most ``max_difference``.
    """

    weights: tuple[tuple[str, str, str], tuple[str, str, str]]
    reason: str
    bytes: int
    elements: int
    different: int
    max_difference: float


@dataclasses.dataclass(frozen=True)
class Summary:
    """What a package holds: ``plait inspect``.

    sharing: function by function, in their order, the bytes of weights that both use; on the diagonal those that one uses.
    file_bytes: of the weight files; unique_bytes: of all weights once; referenced_bytes: of a weight once for each function.
    """

    specification_version: int
    default_function: str
    functions: tuple[FunctionSummary, ...]
    metadata: Mapping[str, typing.Any]
    sharing: tuple[tuple[int, ...], ...]
    file_bytes: int
    blobs: int
    unique_bytes: int
    referenced_bytes: int
    nearly_shared: tuple[NearlyShared, ...]


@dataclasses.dataclass(frozen=True)
class FunctionReport:
    """A function that was written.

    operations: of MIL, constants not counted. own_bytes, shared_bytes: of its weights, those that no other function uses and those that
    others use too. states: their names. handed_on: inputs that the app hands on from call to call, and the outputs that they come from.
    """

    name: str
    operations: int
    own_bytes: int
    shared_bytes: int
    states: tuple[str, ...]
    handed_on: dict[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class CompressedWeight:
    """What became of one weight.

    functions: how many use it. scheme: as ``compress`` has it; "" where the weight stays as it is, and ``skipped`` says why. bits: of a
    number, with all tables and scales. snr: in dB, of the weight; infinite where nothing changed. note: what is not as asked for.
    """

    name: str
    shape: tuple[int, ...]
    functions: int
    scheme: str
    bits: float
    snr: float
    skipped: str
    note: str


@dataclasses.dataclass(frozen=True)
class Report:
    """What compiling, adding, merging or compressing wrote.

    functions: those that were written now. weight_file_bytes, package_bytes: sizes of files. warnings: the texts of all that
    were given, each with its ``code``. adapter_map: the side file for ``plait.pack_adapter``, "" where there is none. weights: what
    compression made of each; none where nothing was to be compressed. output_snr: of each function in dB, where outputs were measured.
    """

    functions: tuple[FunctionReport, ...]
    weight_file_bytes: int
    package_bytes: int
    warnings: tuple[Message, ...]
    adapter_map: str
    weights: tuple[CompressedWeight, ...] = ()
    output_snr: dict[str, float] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Comparison:
    """How far two arrays are apart.

    max_absolute: the largest error. max_relative: the largest quotient of error and reference. peak: the largest reference.
    snr: signal to noise in dB, infinite where nothing differs. cosine: of the two as vectors. non_finite: elements that are
    NaN or infinite on one side only. worst: the element with the largest error, counted in row-major order; -1 for none.
    """

    elements: int
    max_absolute: float
    max_relative: float
    peak: float
    snr: float
    cosine: float
    non_finite: int
    worst: int


@dataclasses.dataclass(frozen=True)
class OutputCheck:
    """One output, or a state after a call, where it was worst.

    passed: whether the verdict is "fine". is_state: whether it is a state and no output. comparison: of the function as it computes with
    the model. verdict: "fine"; "rounded": explained by rounding, and further away than any output may be; "wrong": not explained by it.
    distance, explained: the largest error, and what rounding explains of it. draw, step: the set of inputs and the call.
    causes: the operations where rounding is felt, each with the relative error of its operands and of its result.
    """

    name: str
    passed: bool
    verdict: str
    is_state: bool
    distance: float
    explained: float
    draw: int
    step: int
    comparison: Comparison
    causes: tuple[tuple[str, float, float], ...]


@dataclasses.dataclass(frozen=True)
class Finding:
    """An operation of a function, its result, and the place in the model that computes it ("" where not known)."""

    operation: str
    value: str
    place: str
    comparison: Comparison | None


@dataclasses.dataclass(frozen=True)
class Bisection:
    """Where a function begins to go wrong.

    rounding: the first operation that fp16 takes further away than it may. overflow: the first whose result is NaN or
    infinite in fp16 alone; ``overflowed`` elements, up to ``magnitude``. non_finite: the first that makes NaN or infinity of
    finite numbers, rounding or not. departure: the first that computes something else than the model; looked for where
    ``traced``, else ``untraced`` says why not. text: the same in sentences.
    """

    rounding: Finding | None
    overflow: Finding | None
    overflowed: int
    magnitude: float
    non_finite: Finding | None
    departure: Finding | None
    traced: bool
    untraced: str
    text: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Verification:
    """A function held against its model: ``plait verify``.

    passed: whether all outputs did. atol, rtol: the tolerance, or how far rounding may take an output. outputs: in the order
    of the function, states last. uncompared: states that the model has no tensor for. forgotten: tensors that the model writes
    to and the function does not keep; with several steps, each call of the model began with what its file holds. random: operations that draw random
    numbers, after a failure. bisection: where it was asked for, after a failure.
    """

    function: str
    passed: bool
    atol: float
    rtol: float
    outputs: tuple[OutputCheck, ...]
    uncompared: tuple[str, ...]
    forgotten: tuple[str, ...]
    random: tuple[str, ...]
    bisection: Bisection | None

    def __bool__(self) -> bool:
        return self.passed


# ---- From what the compiler gives ---------------------------------------------------------------------------------------


def _dimension(size: int | str, name: str = "") -> Dimension:
    if isinstance(size, int):
        return size
    lower, dots, upper = size.partition("..")
    return Range(int(lower), int(upper), name) if dots else Range(0, 2**63 - 1, name)


def _value(data: dict[str, typing.Any], shapes: tuple[typing.Any, typing.Any] | None = None) -> Value:
    enumerated, default = shapes or ((), ())
    dtype = data.get("dtype") or ("dict" if data["type"].startswith("dict") else data["type"])
    sizes = data.get("shape", ())
    names = data.get("sizes") or [""] * len(sizes)
    return Value(data["name"], dtype, tuple(map(_dimension, sizes, names)), data.get("image"), data.get("description", ""),
                 tuple(tuple(shape) for shape in enumerated), tuple(default), data.get("default_value"))


def summary_of(data: dict[str, typing.Any], shapes: dict[str, dict[str, tuple[typing.Any, typing.Any]]]) -> Summary:
    """From ``plait inspect --json``, and the shapes that flexible inputs take."""
    functions = tuple(
        FunctionSummary(f["name"], tuple(_value(v, shapes.get(f["name"], {}).get(v["name"])) for v in f["inputs"]),
                        tuple(map(_value, f["outputs"])), tuple(map(_value, f.get("states", ()))), dict(f["operations"]),
                        f["weight_bytes"], f["own_weight_bytes"], dict(f.get("constants", {})))
        for f in data["functions"])
    weights = data["weights"]
    near = tuple(
        NearlyShared(((n["weights"][0]["function"], n["weights"][0]["weight"], n["weights"][0]["type"]),
                      (n["weights"][1]["function"], n["weights"][1]["weight"], n["weights"][1]["type"])),
                     n["reason"], n["bytes"], n["elements"], n["different"], float(n["max_difference"]))
        for n in weights["nearly_shared"])
    return Summary(data["specification_version"], data["default_function"], functions, data.get("metadata", {}),
                   tuple(tuple(row) for row in weights["shared_bytes"]), weights["file_bytes"], weights["blobs"],
                   weights["unique_bytes"], weights["referenced_bytes"], near)


def messages_of(data: Iterable[tuple[str, str]]) -> tuple[Message, ...]:
    """The compiler's warnings."""
    return tuple(Message(text, code) for code, text in data)


def report_of(data: dict[str, typing.Any]) -> Report:
    """From the compiler's report."""
    functions = tuple(FunctionReport(f["name"], f["operations"], f["own_bytes"], f["shared_bytes"], tuple(f["states"]), dict(f["handed_on"]))
                      for f in data["functions"])
    return Report(functions, data["weight_file_bytes"], data["package_bytes"], messages_of(data["warnings"]), data["adapter_map"],
                  tuple(CompressedWeight(**weight) for weight in data["weights"]), dict(data["output_snr"]))


def _finding(data: dict[str, typing.Any] | None) -> Finding | None:
    if data is None:
        return None
    compared = data["comparison"]
    return Finding(data["operation"], data["value"], data["place"], Comparison(**compared) if compared else None)


def verification_of(function: str, data: dict[str, typing.Any]) -> Verification:
    """From the compiler's report of a verification."""
    outputs = tuple(
        OutputCheck(o["name"], o["passed"], o["verdict"], o["is_state"], o["distance"], o["explained"], o["draw"], o["step"],
                    Comparison(**o["comparison"]), tuple(tuple(cause) for cause in o["causes"]))
        for o in data["outputs"])
    found = data["bisect"]
    bisection = None
    if found:
        bisection = Bisection(_finding(found["rounding"]), _finding(found["overflow"]), found["overflowed"], found["magnitude"],
                              _finding(found["non_finite"]), _finding(found["departure"]), found["traced"], found["untraced"],
                              tuple(found["text"]))
    return Verification(function, data["passed"], data["atol"], data["rtol"], outputs, tuple(data["uncompared"]),
                        tuple(data["forgotten"]), tuple(data["random"]), bisection)
