"""The one exception, and the categories of warnings."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Iterable


@dataclasses.dataclass(frozen=True)
class Problem:
    """One of the reasons why a model cannot be compiled, as far as known; "" and 0 where not.

    message: what is wrong, in words.
    operation: the operator, such as ``aten::fft_fft``.
    module: the path of the module that calls it, such as ``encoder.layers.0``.
    file, line: the place in the model's source.
    function: the function of the package that was being made.
    count: how often the operation is used so.
    code: what kind of refusal it is, such as ``P0301``; ``plait explain P0301`` tells more.
    """

    message: str
    operation: str = ""
    module: str = ""
    file: str = ""
    line: int = 0
    function: str = ""
    count: int = 1
    code: str = ""


class Error(Exception):
    """Everything that plait refuses or fails at.

    ``str(error)`` is the text that the ``plait`` command prints: what went wrong, where, and what to do. ``problems`` is the
    same as a tuple of ``Problem``, one for each operation that is not supported; at least one. ``cancelled`` is whether
    somebody ended the work. ``code`` is what kind of refusal it is, by a number that stays (``P0101``): ``plait explain P0101``
    says what it means, with an example and the way out. A traceback shows it from Python 3.11.
    """

    def __init__(self, message: str, problems: Iterable[Problem] = (), cancelled: bool = False, code: str = "") -> None:
        super().__init__(message)
        self.problems: tuple[Problem, ...] = tuple(problems) or (Problem(message, code=code),)
        self.cancelled = cancelled
        self.code = code
        if code and hasattr(self, "add_note"):
            self.add_note(f"plait explain {code} says what that means")

    def __reduce__(self) -> tuple[type[Error], tuple[str, tuple[Problem, ...], bool, str]]:
        return type(self), (str(self), self.problems, self.cancelled, self.code)


class Message(str):
    """The text of a warning. ``code`` is what kind it is, such as ``P0701``; ``plait explain P0701`` tells more."""

    code: str

    def __new__(cls, text: str, code: str = "") -> Message:
        made = super().__new__(cls, text)
        made.code = code
        return made

    def __getnewargs__(self) -> tuple[str, str]:
        return str(self), self.code


class PlaitWarning(UserWarning):
    """The package may not be what is wanted. The categories below say in which way; ``code`` says it by a number that stays."""

    def __init__(self, message: str = "", code: str = "") -> None:
        first, line_break, rest = message.partition("\n")
        super().__init__(f"{first} [{code}]{line_break}{rest}" if code else message)
        self.code = code

    def __reduce__(self) -> tuple[typing.Any, ...]:
        return _warning, (type(self), str(self), self.code)


class TraceWarning(PlaitWarning):
    """A trace holds what its example inputs decided: control flow, or a number that was read out of a tensor."""


class PrecisionWarning(PlaitWarning):
    """Numbers that half precision does not hold."""


class StateWarning(PlaitWarning):
    """Tensors that the model writes, or states that functions do not have alike."""


class AdapterWarning(PlaitWarning):
    """Tensors of an adapter that belong to nothing, or scales that are not known."""


class DeviceWarning(PlaitWarning):
    """Something that a device is known to refuse, or to do slowly."""


# Of warnings, by the hundreds of their codes.
_CATEGORIES: dict[str, type[PlaitWarning]] = {
    "P04": AdapterWarning, "P06": DeviceWarning, "P07": PrecisionWarning, "P08": StateWarning, "P11": TraceWarning,
}


def category(code: str) -> type[PlaitWarning]:
    """The category of warnings of a code."""
    return _CATEGORIES.get(code[:3], PlaitWarning)


def _warning(kind: type[PlaitWarning], text: str, code: str) -> PlaitWarning:
    made = kind(text)
    made.code = code
    return made


def _from_compiler(text: str, cancelled: bool, code: str, problems: Iterable[tuple[str, str, str, str, int, str, str]]) -> Error:
    """The compiler's exception, with each problem once, however often the model has it."""
    counted: dict[tuple[str, str, str, str, int, str, str], int] = {}
    for problem in problems:
        counted[problem] = counted.get(problem, 0) + 1
    return Error(text, [Problem(*said, count, of) for (*said, of), count in counted.items()], cancelled, code)
