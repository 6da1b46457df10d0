"""The one exception, and the categories of warnings."""

from __future__ import annotations

import dataclasses
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
    """

    message: str
    operation: str = ""
    module: str = ""
    file: str = ""
    line: int = 0
    function: str = ""
    count: int = 1


class Error(Exception):
    """Everything that plait refuses or fails at.

    ``str(error)`` is the text that the ``plait`` command prints: what went wrong, where, and what to do. ``problems`` is the
    same as a tuple of ``Problem``, one for each operation that is not supported; at least one. ``cancelled`` is whether
    somebody ended the work.
    """

    def __init__(self, message: str, problems: Iterable[Problem] = (), cancelled: bool = False) -> None:
        super().__init__(message)
        self.problems: tuple[Problem, ...] = tuple(problems) or (Problem(message),)
        self.cancelled = cancelled

    def __reduce__(self) -> tuple[type[Error], tuple[str, tuple[Problem, ...], bool]]:
        return type(self), (str(self), self.problems, self.cancelled)


class PlaitWarning(UserWarning):
    """The package may not be what is wanted. The categories below say in which way."""


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


def _from_compiler(text: str, cancelled: bool, problems: Iterable[tuple[str, str, str, str, int, str]]) -> Error:
    """The compiler's exception, with each problem once, however often the model has it."""
    counted: dict[tuple[str, str, str, str, int, str], int] = {}
    for problem in problems:
        counted[problem] = counted.get(problem, 0) + 1
    return Error(text, [Problem(*problem, count) for problem, count in counted.items()], cancelled)
