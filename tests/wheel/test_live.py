"""Live modules as people have them: what their forward() gives, what torch.compile made of them, and what a trace warns of."""

import collections
import dataclasses
import warnings

import numpy as np
import plait
import pytest
import torch
from torch import nn


@dataclasses.dataclass
class Output:
    """A result by names."""

    mean: torch.Tensor
    parts: tuple
    hidden: dict
    loss: torch.Tensor | None = None


class Gives(nn.Module):
    """Gives what a function makes of its input."""

    def __init__(self, make):
        super().__init__()
        self.make = make

    def forward(self, x):
        return self.make(x)


@pytest.mark.parametrize("make, names", (
    (lambda x: (x * 2, None), ["y"]),
    (lambda x: Output(x.mean(-1), (x, None, x + 1), {"last": x}), ["mean", "parts_0", "parts_1", "hidden_last"]),
    (lambda x: {"a": x, "inner": {"b": x * 2, "none": None}, "none": None}, ["a", "inner_b"]),
    (lambda x: collections.namedtuple("Pair", "one two")(x, x + 1), ["one", "two"]),
), ids=("none", "dataclass", "nested", "namedtuple"))
def test_results_of_many_kinds(make, names):
    model = Gives(make)
    x = torch.rand(2, 3)
    package = plait.compile(model, inputs=[x], precision="fp32", outputs=names if isinstance(make(x), tuple) else None)
    assert "forward" not in model.__dict__
    given = package.default(x)
    assert list(given) == names
    np.testing.assert_allclose(next(iter(given.values())), {"y": x * 2, "mean": x.mean(-1)}.get(names[0], x), atol=1e-6)
    assert package.verify(model).passed


class DynamicCache:
    """What a language model keeps, which is no tensor."""


def test_a_result_that_is_no_tensor_is_named():
    with pytest.raises(plait.Error, match=r"'past' is DynamicCache; use_cache=False leaves the cache out"):
        plait.compile(Gives(lambda x: {"logits": x, "past": DynamicCache()}), inputs=[torch.rand(2, 3)])


def test_what_torch_compile_made_is_compiled_as_it_was_written():
    torch.manual_seed(0)
    part = torch.compile(nn.GELU())
    inner = nn.Sequential(nn.Linear(4, 4), part)
    x = torch.rand(1, 4)
    expected = nn.functional.gelu(inner[0](x)).detach()
    inner[0].compile()
    for model in (inner, torch.compile(inner)):
        out = plait.compile(model, inputs=[x], outputs=["y"], precision="fp32").default(x)["y"]
        np.testing.assert_allclose(out, expected, atol=1e-5)
    assert inner[1] is part and inner[0]._compiled_call_impl is not None
    with pytest.raises(plait.Error, match="torch.compile made"):
        plait.compile(Gives(torch.compile(torch.sin)), inputs=[x])


def test_lazy_parameters_are_refused():
    with pytest.raises(plait.Error, match="0.weight.*run it once") as caught:
        plait.compile(nn.Sequential(nn.LazyLinear(4)), inputs=[torch.rand(1, 8)])
    assert caught.value.code == "P1105"


class Looks(nn.Module):
    """Looks at sizes, and at numbers where it is asked to."""

    def __init__(self, numbers):
        super().__init__()
        self.numbers = numbers
        self.norm, self.lstm = nn.GroupNorm(2, 4), nn.LSTM(6, 4, batch_first=True)

    def forward(self, x):
        count = x.shape[1]
        count *= x.shape[2]
        if count > 3 and int(count) != 5 and bool(count == 24):
            x = x + 1
        if self.numbers and x.sum() > 0:
            x = x * 2
        return self.lstm(self.norm(x))[0]


@pytest.mark.parametrize("numbers", (False, True))
def test_a_trace_warns_of_numbers_and_not_of_sizes(numbers):
    before = torch.Tensor.__bool__, torch.Tensor.item
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        plait.compile(Looks(numbers), inputs=[torch.rand(1, 4, 6)])
    found = [one for one in caught if one.category is plait.TraceWarning]
    assert len(found) == numbers and all(f"{__file__}:" in str(one.message) for one in found), [str(one.message) for one in found]
    assert (torch.Tensor.__bool__, torch.Tensor.item) == before


@pytest.mark.parametrize("make", (
    lambda x: x + 1 if x.nonzero().shape[0] > 2 else x,
    lambda x: x + 1 if x[x > 0].shape[0] > 2 else x,
    lambda x: x + 1 if torch.where(x > 0)[0].shape[0] > 2 else x,
    lambda x: x + 1 if torch.arange(x.sum().to(torch.int64)).shape[0] > 2 else x,
), ids=("nonzero", "mask", "where", "arange"))
def test_sizes_that_follow_from_values_are_values(make):
    with pytest.warns(plait.TraceWarning, match="Python boolean"):
        plait.compile(Gives(make), inputs=[torch.rand(3, 4)])


def test_a_shape_alone_is_one_input():
    assert str(plait.compile(nn.Linear(8, 2), inputs=(1, 8)).default.inputs[0]) == "input: fp16[1, 8]"


def test_places_are_those_of_the_model_or_of_the_caller():
    with pytest.raises(plait.Error) as caught:
        plait.compile(nn.Sequential(nn.FractionalMaxPool2d(2, output_size=3)), inputs={"input": (1, 2, 8, 8)})
    (problem,) = caught.value.problems
    assert problem.module == "0" and problem.file == __file__, problem
