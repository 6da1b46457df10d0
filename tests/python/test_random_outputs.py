"""plait verify of functions that draw random numbers: named, compared by distribution, and refused where that says nothing."""

import pytest
import torch
from command import plait, succeed
from torch import nn
from torch.nn import functional as F


class Of(nn.Module):
    """A function as a model."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


def always_dropout(rate):
    """As models that drop while they infer write it: a dropout in training mode is refused by compile."""
    return lambda x: x * (torch.rand_like(x) >= rate) / (1 - rate)


# name: (the model, its operation, another that is nearly the same)
FUNCTIONS = {
    "normal": (lambda x: x + torch.randn_like(x), "random_normal", lambda x: x + 1.2 * torch.randn_like(x)),
    "uniform": (lambda x: torch.rand_like(x) * x, "random_uniform", lambda x: torch.rand_like(x) ** 1.3 * x),
    "dropout": (always_dropout(0.3), "random_uniform", always_dropout(0.7)),
    "bernoulli": (lambda x: torch.bernoulli(x.sigmoid()), "random_", lambda x: torch.bernoulli((x + 0.4).sigmoid())),
    "multinomial": (lambda x: torch.multinomial(F.softmax(x, -1), 1), "random_categorical",
                    lambda x: torch.multinomial(F.softmax(x + torch.arange(64) / 8, -1), 1)),
    "positions": (lambda x: x.cumsum(0) + 0.1 * torch.randn_like(x), "random_normal", lambda x: x.flip(0).cumsum(0) + 0.1 * torch.randn_like(x)),
}


def saved(path, function):
    torch.jit.trace(Of(function).eval(), torch.randn(4, 64), check_trace=False).save(str(path))
    return path


@pytest.mark.parametrize("name", FUNCTIONS)
def test_distributions(tmp_path, name):
    function, operation, other = FUNCTIONS[name]
    model, wrong = saved(tmp_path / "model.pt", function), saved(tmp_path / "wrong.pt", other)
    succeed("compile", "-o", tmp_path / "p.mlpackage", "--input", "x=fp16[4, 64]", model)
    result = plait("verify", tmp_path / "p.mlpackage", "--against", model)
    assert result.returncode == 0 and "200 draws are distributed as the model's" in result.stdout, result.stdout + result.stderr
    assert f"it draws random numbers: {operation}" in result.stdout, result.stdout
    result = plait("verify", tmp_path / "p.mlpackage", "--against", wrong)
    assert result.returncode == 1 and "200 draws are not distributed as the model's" in result.stdout, result.stdout + result.stderr


class Several(nn.Module):
    """One output that depends on random numbers, and one that does not."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(64, 8)

    def forward(self, x):
        y = self.layer(x)
        return y, y + torch.randn_like(y)


def test_other_outputs_are_held_against_the_model(tmp_path):
    torch.manual_seed(0)
    model = Several().eval()
    for name in ("model", "wrong"):
        torch.jit.trace(model, torch.randn(4, 64), check_trace=False).save(str(tmp_path / f"{name}.pt"))
        model.layer.weight.data[3, 5] += 0.5
    succeed("compile", "-o", tmp_path / "p.mlpackage", "--input", "x=[4, 64]", "--output", "a", "--output", "b", tmp_path / "model.pt")
    result = plait("verify", tmp_path / "p.mlpackage", "--against", tmp_path / "model.pt")
    assert result.returncode == 0 and "ok    a: max abs" in result.stdout and "ok    b: 200 draws" in result.stdout, result.stdout
    result = plait("verify", tmp_path / "p.mlpackage", "--against", tmp_path / "wrong.pt")
    assert result.returncode == 1 and "wrong a: max abs" in result.stdout, result.stdout


def test_draws_follow_from_the_seed(tmp_path):
    model = saved(tmp_path / "model.pt", FUNCTIONS["dropout"][0])
    succeed("compile", "-o", tmp_path / "p.mlpackage", "--input", "x=fp16[4, 64]", model)

    def report(seed):
        return succeed("verify", tmp_path / "p.mlpackage", "--against", model, "--seed", seed, "--json").stdout

    assert report(1) == report(1)
    assert report(1) != report(2)


class Walk(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("place", torch.zeros(2, 8))

    def forward(self, x):
        self.place.add_(torch.randn_like(x))
        return x + self.place


def test_what_is_refused(tmp_path):
    torch.jit.script(Walk()).save(str(tmp_path / "walk.pt"))
    succeed("compile", "-o", tmp_path / "walk.mlpackage", "--input", "x=[2, 8]", "--states", "auto", tmp_path / "walk.pt")
    result = plait("verify", tmp_path / "walk.mlpackage", "--against", tmp_path / "walk.pt")
    assert result.returncode == 1 and "draws random numbers (random_normal '" in result.stderr and "its state 'place' depends" in result.stderr, result.stderr
    model = saved(tmp_path / "model.pt", lambda x: x + torch.randn_like(x))
    succeed("compile", "-o", tmp_path / "p.mlpackage", "--input", "x=fp16[4, 64]", model)
    for options, message in [(("--atol", "1e-2"), "leave out --atol and --rtol"), (("--steps", "2"), "leave out --steps")]:
        result = plait("verify", tmp_path / "p.mlpackage", "--against", model, *options)
        assert result.returncode == 1 and message in result.stderr and "random_normal '" in result.stderr, result.stderr
    chosen = saved(tmp_path / "chosen.pt", lambda x: torch.nonzero(torch.randn_like(x) > 0))
    if plait("compile", "-o", tmp_path / "c.mlpackage", "--input", "x=fp16[4, 64]", chosen).returncode == 0:
        result = plait("verify", tmp_path / "c.mlpackage", "--against", chosen)
        assert result.returncode == 1 and "random" in result.stderr, result.stdout + result.stderr
