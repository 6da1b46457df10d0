"""What a model is given: sizes in common, default values, and arguments that are no inputs."""

import numpy as np
import plait
import pytest
import torch


class Options(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(8, 8)

    def forward(self, x, scale, mask=None, bias=None, mode="plain"):
        y = self.linear(x) * scale
        if mask is not None:
            y = y * mask
        if mode == "shifted":
            y = y + 1
        return y if bias is None else y + bias


INPUTS = {"x": (1, 8), "scale": 2.0, "mask": None, "bias": plait.Tensor((8,), default=0.5), "mode": plait.Constant("shifted")}


def test_constants_and_default_values():
    """The module is traced with the constants, as it is; afterwards its forward() is its own. The package remembers them."""
    model = Options().eval()
    package = plait.compile(model, inputs=INPUTS, outputs=["y"], precision="fp32")
    assert "forward" not in vars(model)
    function = package.functions["main"]
    assert [value.name for value in function.inputs] == ["x", "bias"]
    assert function.summary.constants == {"scale": "2.0", "mask": "none", "mode": '"shifted"'}
    assert [value.default_value for value in function.inputs] == [None, 0.5] and "0.5 by default" in str(function.inputs[1])
    x = torch.rand(1, 8)
    np.testing.assert_allclose(function(x)["y"], model(x, 2.0, bias=0.5, mode="shifted").detach(), rtol=1e-5)
    np.testing.assert_allclose(function(x, bias=np.zeros(8))["y"], model(x, 2.0, mode="shifted").detach(), rtol=1e-5)
    assert package.verify(model)
    with pytest.raises(plait.Error, match="input 'x' is missing"):
        function(bias=np.zeros(8))


def test_constants_of_a_script():
    class Scripted(torch.nn.Module):
        def forward(self, x, scale: float, negate: bool):
            return -x * scale if negate else x * scale
    script = torch.jit.script(Scripted())
    package = plait.compile(script, inputs={"x": (1, 8), "scale": 2.0, "negate": True})
    assert package.functions["main"].summary.constants == {"scale": "2.0", "negate": "true"}
    assert package.verify(script)


@pytest.mark.parametrize("inputs, message", [
    ({**INPUTS, "other": 2.0}, "forward\\(\\) has no argument 'other'"),
    ([(1, 8), 2.0], "2.0 is a constant, and no argument is named"),
    ({"scale": 2.0}, "all arguments are constants"),
    ({"x": (1, 8), "scale": plait.Constant({})}, "a constant is None, a bool, a number"),
    ({"x": (1, "n"), "scale": 2.0}, "nothing says what the size 'n' may be"),
    ({"scale": (1,), "y": (1, 8)}, "input 'scale' is called like forward\\(\\)'s argument, .* since 'y' is none; it takes x, scale"),
    ({"x": torch.zeros(1, 8, dtype=torch.complex64), "scale": 2.0}, "Core ML has no complex numbers"),
    ({"x": (-1, 8), "scale": 2.0}, "sizes are not negative; a size that is open is plait.Range"),
])
def test_refused(inputs, message):
    with pytest.raises(plait.Error, match=message):
        plait.compile(Options(), inputs=inputs)


def test_arguments_that_have_to_be_named():
    class Named(torch.nn.Module):
        def forward(self, x, *, scale):
            return x * scale
    given = {"x": np.random.rand(2, 4), "scale": np.full(4, 2.0)}  # float64, as NumPy makes it
    function = plait.compile(Named(), inputs=given, outputs=["y"], precision="fp32").default
    np.testing.assert_allclose(function(**given)["y"], given["x"] * 2, rtol=1e-5)


def test_there_is_nothing_to_compile():
    with pytest.raises(plait.Error, match="there is nothing to compile"):
        plait.compile({}, inputs=[(1, 8)])


class Masked(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = torch.nn.Embedding(16, 8)

    def forward(self, tokens, mask):
        return self.embedding(tokens) * mask.unsqueeze(2)


def test_named_sizes():
    package = plait.compile(Masked(), inputs={"tokens": plait.Tensor((1, plait.Range(1, 64, "n")), "int32"), "mask": (1, "n")})
    function = package.functions["main"]
    assert [value.shape for value in function.inputs] == [(1, plait.Range(1, 64, "n"))] * 2
    function(np.zeros((1, 5), int), np.ones((1, 5)))
    with pytest.raises(plait.Error, match="input 'tokens' has n = 5"):
        function(np.zeros((1, 5), int), np.ones((1, 1)))
