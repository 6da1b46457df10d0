"""Which numbers that a model reads out of tensors its trace may hold: those that follow from sizes alone.

Sizes are fixed in a package, or ranges, at whose ends the trace is run beside the model. So torch's warning about them says
nothing, and layers of torch's own (``nn.LSTM``, ``GroupNorm``) look at sizes in every call. A size that follows from values, of
what ``nonzero`` gives, is no such size.
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
    "aten::Int", "aten::ScalarImplicit", "aten::add", "aten::ceil", "aten::detach", "aten::div", "aten::eq", "aten::floor", "aten::floor_divide",
    "aten::ge", "aten::gt", "aten::le", "aten::logical_not", "aten::lt", "aten::mul", "aten::ne", "aten::neg", "aten::remainder", "aten::rsub",
    "aten::sub", "aten::to", "prim::NumToTensor",
}

# What gives a tensor whose size follows from values.
_COUNTING = {
    "aten::_unique", "aten::_unique2", "aten::argwhere", "aten::bincount", "aten::masked_select", "aten::nonzero", "aten::nonzero_numpy",
    "aten::repeat_interleave", "aten::tensor_split", "aten::unique_consecutive", "aten::unique_dim", "aten::unique_dim_consecutive", "aten::where",
}

_PLAIN = {"prim::Constant", "prim::GetAttr", "prim::ListConstruct", "prim::ListUnpack", "prim::NumToTensor", "prim::Param", "prim::TracedAttr",
          "prim::TupleConstruct", "prim::TupleUnpack"}

_HOLD_TENSORS = (torch._C.TensorType, torch._C.ListType, torch._C.TupleType, torch._C.ClassType)


class _Sizes:
    """What of the graph that is being recorded has sizes that follow from sizes of inputs, whatever is in these."""

    def __init__(self) -> None:
        self.known: set[int] = set()  # tensors, by their numbers in the graph

    def decide(self, value: typing.Any) -> bool:
        """Whether a number follows from sizes alone."""
        numbers, tensors = [value], []
        as_number: set[int] = set()
        as_tensor: set[int] = set()
        while numbers or tensors:
            number = bool(numbers)
            value = (numbers or tensors).pop()
            seen = as_number if number else as_tensor
            if value.unique() in seen or not number and value.unique() in self.known:
                continue
            seen.add(value.unique())
            node = value.node()
            if number and node.kind() == "prim::Constant":
                continue
            if number and node.kind() == "aten::size":
                tensors += list(node.inputs())[:1]
            elif number and node.kind().removesuffix("_") in _ARITHMETIC:
                numbers += node.inputs()
            elif number or not self._keeps(node):
                return False
            else:
                for one in node.inputs():
                    (tensors if isinstance(one.type(), _HOLD_TENSORS) else numbers).append(one)
        self.known |= as_tensor
        return True

    @staticmethod
    def _keeps(node: typing.Any) -> bool:
        """Whether sizes of the node's results follow from those of its tensors and from its numbers."""
        kind = node.kind()
        if kind == "aten::index":  # by a mask: as many as it has ones
            places = [one.type() for one in list(node.inputs())[1].node().inputs()]
            return not any(isinstance(one, torch._C.TensorType) and one.scalarType() in ("Bool", "Byte") for one in places)
        if kind == "aten::where":
            return len(list(node.inputs())) == 3
        return kind in _PLAIN or kind.startswith("aten::") and kind not in _COUNTING


def _reader(original: Callable[[torch.Tensor], typing.Any], sizes: _Sizes) -> Callable[[torch.Tensor], typing.Any]:
    def read(tensor: torch.Tensor) -> typing.Any:
        if torch._C._get_tracing_state() is None:
            return original(tensor)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            number = original(tensor)
        if caught and not sizes.decide(torch._C._get_value_trace(tensor)):  # type: ignore[attr-defined]
            asking = sys._getframe(1)
            for warning in caught:
                warnings.warn_explicit(warning.message, warning.category, asking.f_code.co_filename, asking.f_lineno)
        return number
    return read


@contextlib.contextmanager
def of_sizes_allowed() -> Iterator[None]:
    """While a model is traced: no warning for numbers that follow from sizes."""
    own = {name: torch.Tensor.__dict__.get(name) for name in _READERS}
    sizes = _Sizes()
    for name in _READERS:
        setattr(torch.Tensor, name, _reader(getattr(torch.Tensor, name), sizes))
    try:
        yield
    finally:
        for name, method in own.items():
            if method is None:
                delattr(torch.Tensor, name)
            else:
                setattr(torch.Tensor, name, method)
