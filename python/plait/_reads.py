"""Which numbers that a model reads out of tensors its trace may hold: those that follow from sizes alone.

Sizes are fixed in a package, or ranges, at whose ends the trace is run beside the model. So torch's warning about them says
nothing, and layers of torch's own (``nn.LSTM``, ``interpolate``) look at sizes in every call.
"""

from __future__ import annotations

import contextlib
import sys
import typing
import warnings
from collections.abc import Callable, Iterator

import torch

_READERS = ("__bool__", "__int__", "__index__", "__float__", "item")

# What sizes are computed and compared with, in place too.
_ARITHMETIC = {
    "aten::Int", "aten::ScalarImplicit", "aten::add", "aten::ceil", "aten::detach", "aten::div", "aten::eq", "aten::floor", "aten::floor_divide", "aten::ge", "aten::gt",
    "aten::le", "aten::logical_not", "aten::lt", "aten::mul", "aten::ne", "aten::neg", "aten::remainder", "aten::rsub", "aten::sub", "aten::to",
    "prim::NumToTensor",
}


def _follows_from_sizes(value: typing.Any) -> bool:
    """Of a value of the graph that is being recorded."""
    seen: set[str] = set()
    left = [value]
    while left:
        value = left.pop()
        if value.debugName() in seen:
            continue
        seen.add(value.debugName())
        node = value.node()
        if node.kind() in ("aten::size", "prim::Constant"):
            continue
        if node.kind().removesuffix("_") not in _ARITHMETIC:
            return False
        left += node.inputs()
    return True


def _reader(original: Callable[[torch.Tensor], typing.Any]) -> Callable[[torch.Tensor], typing.Any]:
    def read(tensor: torch.Tensor) -> typing.Any:
        if torch._C._get_tracing_state() is None:
            return original(tensor)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            number = original(tensor)
        if caught and not _follows_from_sizes(torch._C._get_value_trace(tensor)):  # type: ignore[attr-defined]
            asking = sys._getframe(1)
            for warning in caught:
                warnings.warn_explicit(warning.message, warning.category, asking.f_code.co_filename, asking.f_lineno)
        return number
    return read


@contextlib.contextmanager
def of_sizes_allowed() -> Iterator[None]:
    """While a model is traced: no warning for numbers that follow from sizes."""
    own = {name: torch.Tensor.__dict__.get(name) for name in _READERS}
    for name in _READERS:
        setattr(torch.Tensor, name, _reader(getattr(torch.Tensor, name)))
    try:
        yield
    finally:
        for name, method in own.items():
            if method is None:
                delattr(torch.Tensor, name)
            else:
                setattr(torch.Tensor, name, method)
