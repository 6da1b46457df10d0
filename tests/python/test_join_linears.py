"""Queries, keys and values as one layer: where it costs no sharing, and what becomes of it elsewhere."""

import json

import pytest
import torch
from torch import nn

from command import plait, succeed

WIDTH, HEADS, LENGTH = 64, 4, 8
PARTS = ("q_proj", "k_proj", "v_proj")


class Attention(nn.Module):
    def __init__(self, kv_heads):
        super().__init__()
        self.heads, self.kv_heads, self.width = HEADS, kv_heads, WIDTH // HEADS
        self.q_proj = nn.Linear(WIDTH, WIDTH)
        self.k_proj = nn.Linear(WIDTH, kv_heads * self.width, bias=False)
        self.v_proj = nn.Linear(WIDTH, kv_heads * self.width)
        self.out_proj = nn.Linear(WIDTH, WIDTH)

    def forward(self, x):
        def split(y, heads):
            return y.view(1, LENGTH, heads, self.width).transpose(1, 2)
        q, k, v = split(self.q_proj(x), self.heads), split(self.k_proj(x), self.kv_heads), split(self.v_proj(x), self.kv_heads)
        if self.kv_heads != self.heads:
            k, v = (part.repeat_interleave(self.heads // self.kv_heads, 1) for part in (k, v))
        y = nn.functional.scaled_dot_product_attention(q, k, v)
        return x + self.out_proj(y.transpose(1, 2).reshape(1, LENGTH, WIDTH))


def saved(path, own=(), kv_heads=HEADS, layers=2):
    """A trace; the layers named in `own` have weights of this model alone."""
    torch.manual_seed(0)
    model = nn.Sequential(*(Attention(kv_heads) for _ in range(layers))).eval()
    torch.manual_seed(ord(path.name[0]))
    with torch.no_grad():
        for layer in model:
            for name in own:
                getattr(layer, name).weight.normal_(0, 0.1)
        torch.jit.trace(model, torch.randn(1, LENGTH, WIDTH)).save(str(path))
    return path


def compiled(package, *arguments):
    succeed("compile", "-o", package, "--input", f"x=[1, {LENGTH}, {WIDTH}]", *arguments)
    return package


def operations(package):
    """{function: {kind: how many}}"""
    report = json.loads(succeed("inspect", package, "--json").stdout)
    return {function["name"]: function["operations"] for function in report["functions"]}


def weight_bytes(package):
    return next(package.rglob("weight.bin")).stat().st_size


def counts(package, kind="linear"):
    return {name: kinds.get(kind, 0) for name, kinds in operations(package).items()}


@pytest.mark.parametrize(("kv_heads", "linears"), [(HEADS, 4), (2, 4), (1, 6)]) # keys of one head are not transposed
def test_one_layer(tmp_path, kv_heads, linears):
    model = saved(tmp_path / "m.pt", kv_heads=kv_heads)
    joined, apart = compiled(tmp_path / "j.mlpackage", model), compiled(tmp_path / "a.mlpackage", "--join-linears", "off", model)
    assert counts(joined)["main"] == linears and counts(apart)["main"] == 8
    assert sum(operations(joined)["main"].values()) < sum(operations(apart)["main"].values())
    for package in (joined, apart):
        succeed("verify", package, "--against", model)
    # Queries with a bias, keys without: the zeros of the keys are the joined bias's.
    assert abs(weight_bytes(joined) - weight_bytes(apart)) < 4096


def test_functions_of_one_layer_share_it(tmp_path):
    first, second = saved(tmp_path / "1.pt"), saved(tmp_path / "2.pt", own=["out_proj"])
    package = compiled(tmp_path / "p.mlpackage", "--function", f"a={first}", "--function", f"b={second}", "--expect-shared", "70%")
    assert counts(package) == {"a": 4, "b": 4}


@pytest.mark.parametrize(("own", "linears"), [(["q_proj", "v_proj"], 6), (["q_proj"], 6), (["k_proj"], 6), (PARTS, 4)])
def test_nothing_is_stored_twice(tmp_path, own, linears):
    """What functions have alike stays one weight: those of one function, or of all, are joined among themselves."""
    first, second = saved(tmp_path / "1.pt"), saved(tmp_path / "2.pt", own=own)
    functions = ["--function", f"a={first}", "--function", f"b={second}"]
    joined = compiled(tmp_path / "j.mlpackage", *functions)
    apart = compiled(tmp_path / "a.mlpackage", "--join-linears", "off", *functions)
    assert counts(joined) == {"a": linears, "b": linears}
    assert weight_bytes(joined) < weight_bytes(apart) + 4096
    for name, model in (("a", first), ("b", second)):
        succeed("verify", joined, "--function", name, "--against", model)


def test_add_looks_at_the_package(tmp_path):
    first, second = saved(tmp_path / "1.pt"), saved(tmp_path / "2.pt", own=["out_proj"])
    for mode, linears in (("off", 8), ("on", 4)):
        package = compiled(tmp_path / f"{mode}.mlpackage", "--join-linears", mode, "--function", f"a={first}")
        before = weight_bytes(package)
        succeed("add", package, "--input", f"x=[1, {LENGTH}, {WIDTH}]", "--function", f"b={second}", "--expect-shared", "70%")
        assert counts(package) == {"a": linears, "b": linears}
        assert weight_bytes(package) < before + 2 * (WIDTH * WIDTH * 2 + 4096)
        succeed("verify", package, "--function", "b", "--against", second)


def test_compression_decides_for_each_part(tmp_path):
    model = saved(tmp_path / "m.pt")
    linears = {}
    for number, rules in enumerate((["int8"], ["int8", "*.q_proj.*=none"], ["0.v_proj=palette6[group 16]", "*.k_proj.*=int8"], ["palette4[tensor]"], ["palette4[group 16]"])):
        options = [option for rule in rules for option in ("--compress", rule)]
        package = compiled(tmp_path / f"{number}.mlpackage", *options, model)
        linears[" ".join(rules)] = counts(package)["main"]
    assert linears == {"int8": 4, "int8 *.q_proj.*=none": 6, "0.v_proj=palette6[group 16] *.k_proj.*=int8": 7, "palette4[tensor]": 8, "palette4[group 16]": 4}


def test_a_joined_weight_is_found_by_each_of_its_parameters(tmp_path):
    model = saved(tmp_path / "m.pt")
    package = compiled(tmp_path / "p.mlpackage", "--debug-info", "on", model)
    said = "".join(path.read_text() for path in package.rglob("*.json") if path.name != "Manifest.json")
    for part in PARTS:
        assert f"0.{part}.weight" in said
    out = succeed("compress", package, "-o", tmp_path / "c.mlpackage", "--compress", "0.k_proj=int8", "--json").stdout
    weights = json.loads(out)["compression"]["weights"]
    assert [weight["shape"] for weight in weights if weight.get("scheme", "").startswith("int8")] == [[3 * WIDTH, WIDTH]]


def test_two_of_one_input_stay(tmp_path):
    class Gated(nn.Module):
        def __init__(self):
            super().__init__()
            self.gate, self.up = nn.Linear(WIDTH, 96), nn.Linear(WIDTH, 96)

        def forward(self, x):
            return nn.functional.silu(self.gate(x)) * self.up(x)

    path = tmp_path / "m.pt"
    torch.jit.trace(Gated().eval(), torch.randn(1, LENGTH, WIDTH)).save(str(path))
    assert counts(compiled(tmp_path / "p.mlpackage", path)) == {"main": 2}


def test_the_option_is_on_or_off(tmp_path):
    result = plait("compile", "-o", tmp_path / "p.mlpackage", "--join-linears", "auto", tmp_path / "m.pt")
    assert result.returncode == 2 and "--join-linears" in result.stderr
