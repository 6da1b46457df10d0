"""Adapters of Kohya's scripts, LyCORIS and diffusers, held against the formulas of those tools written out here: the weight
with the adapter merged into it, put into the base.
"""

import copy
import json

import adapter_models as models
import numpy as np
import pytest
import safetensors.torch
import torch
from adapter_checks import assert_close, run, save_base
from command import plait, succeed

MODULES = ["conv_in", "down", "proj", "wave", "up", "to_q", "time"]


def draw(generator, *shape):
    return 0.3 * torch.randn(*shape, generator=generator)


def lora(weight, g, rank=4, tucker=False):
    out, inner, kernel = weight.shape[0], weight.shape[1], weight.shape[2:]
    ones = (1,) * len(kernel)
    if tucker and kernel:
        down, mid, up = draw(g, rank, inner, *ones), draw(g, rank, rank, *kernel), draw(g, out, rank, *ones)
        delta = torch.einsum("or,rsk,si->oik", up.flatten(1), mid.flatten(2), down.flatten(1))
        return {"lora_down.weight": down, "lora_mid.weight": mid, "lora_up.weight": up}, delta, rank
    down, up = draw(g, rank, inner, *kernel), draw(g, out, rank, *ones)
    return {"lora_down.weight": down, "lora_up.weight": up}, up.flatten(1) @ down.flatten(1), rank


def cp(core, a, b):
    return torch.einsum("ijk,ip,jr->prk", core.flatten(2), a, b)


def loha(weight, g, rank=3, tucker=False):
    out, inner, kernel = weight.shape[0], weight.shape[1], weight.shape[2:]
    if tucker and kernel:
        parts = {f"hada_{name}": draw(g, *shape) for k in "12" for name, shape in
                 ((f"t{k}", (rank, rank, *kernel)), (f"w{k}_a", (rank, out)), (f"w{k}_b", (rank, inner)))}
        one, two = (cp(parts[f"hada_t{k}"], parts[f"hada_w{k}_a"], parts[f"hada_w{k}_b"]) for k in "12")
    else:
        parts = {f"hada_w{k}_{side}": draw(g, *shape) for k in "12" for side, shape in
                 (("a", (out, rank)), ("b", (rank, weight[0].numel())))}
        one, two = (parts[f"hada_w{k}_a"] @ parts[f"hada_w{k}_b"] for k in "12")
    return parts, one * two, rank


def lokr(weight, g, rank=2, tucker=False, whole=False):
    out, inner, kernel = weight.shape[0], weight.shape[1], weight.shape[2:]
    a, b = (4 if out % 4 == 0 else 1), (4 if inner % 4 == 0 else 1)
    c, d = out // a, inner // b
    parts = {"lokr_w1": draw(g, a, b)}
    if whole:
        w2 = parts["lokr_w2"] = draw(g, c, d, *kernel)
        rank = None
    elif tucker and kernel:
        parts |= {"lokr_t2": draw(g, rank, rank, *kernel), "lokr_w2_a": draw(g, rank, c), "lokr_w2_b": draw(g, rank, d)}
        w2 = cp(parts["lokr_t2"], parts["lokr_w2_a"], parts["lokr_w2_b"])
    else:
        parts |= {"lokr_w2_a": draw(g, c, rank), "lokr_w2_b": draw(g, rank, d * int(np.prod(kernel)))}
        w2 = parts["lokr_w2_a"] @ parts["lokr_w2_b"]
    w2 = w2.reshape(c, d, -1)
    delta = torch.einsum("ab,cdk->acbdk", parts["lokr_w1"], w2).reshape(out, -1)
    return parts, delta, rank


def decompose(weight, merged, g, axis):
    """LyCORIS' apply_weight_decompose: each output, or each input, of the merged weight gets a length of its own."""
    rows = merged.transpose(0, 1) if axis else merged
    norm = rows.reshape(rows.shape[0], -1).norm(dim=1)
    shape = [1] * weight.dim()
    shape[axis] = -1
    scale = norm * (1 + 0.3 * torch.randn(norm.shape, generator=g))
    return scale.reshape(shape), merged * (scale / norm).reshape(shape)


def make(kind, axis=None, alpha=3.0, seed=0, **options):
    """The tensors of an adapter in Kohya's naming, and the UNet with it merged in."""
    g = torch.Generator().manual_seed(seed)
    model, tensors = models.unet(), {}
    for name in MODULES:
        module = model.get_submodule(name)
        parts, delta, rank = kind(module.weight.detach(), g, **options)
        scale = alpha / rank if rank else 1.0
        merged = module.weight.detach() + scale * delta.reshape(module.weight.shape)
        if axis is not None:
            parts["dora_scale"], merged = decompose(module.weight, merged, g, axis)
        tensors |= {f"lora_unet_{name}.{key}": value.contiguous() for key, value in parts.items()}
        tensors[f"lora_unet_{name}.alpha"] = torch.tensor(alpha)
        module.weight = torch.nn.Parameter(merged)
    return tensors, model


CASES = {"lora": (lora, {}), "locon_tucker": (lora, {"tucker": True}), "dora": (lora, {"axis": 0}),
         "dora_of_inputs": (lora, {"axis": 1}), "dora_tucker": (lora, {"tucker": True, "axis": 0}),
         "loha": (loha, {}), "loha_tucker": (loha, {"tucker": True}), "loha_dora": (loha, {"axis": 0}),
         "lokr": (lokr, {}), "lokr_tucker": (lokr, {"tucker": True}), "lokr_whole": (lokr, {"whole": True}),
         "lokr_dora": (lokr, {"axis": 0}), "lokr_dora_of_inputs": (lokr, {"axis": 1, "whole": True})}


@pytest.fixture(scope="module")
def unet(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tools")
    torch.manual_seed(7)
    inputs = {"x": torch.randn(1, 3, 8, 8), "t": torch.randn(1, 8)}
    save_base(models.unet(), tuple(inputs.values()), folder / "base.pt")
    return folder, inputs


def compile_unet(folder, package, *options):
    return plait("compile", "-o", package, "--base", folder / "base.pt", "--precision", "fp32", "--input",
                 "x=[1, 3, 8, 8]", "--input", "t=[1, 8]", "--output", "y", *options)


@pytest.mark.parametrize("mode", ["keep", "fold"])
def test_kohya_and_lycoris(unet, tmp_path, mode):
    folder, inputs = unet
    given, expected = [], {}
    for seed, (name, (kind, options)) in enumerate(CASES.items()):
        tensors, model = make(kind, seed=seed, **options)
        safetensors.torch.save_file(tensors, tmp_path / f"{name}.safetensors")
        with torch.no_grad():
            expected[name] = model(*inputs.values()).numpy()
        given += ["--adapter", f"{name}={tmp_path}/{name}.safetensors"]
    result = compile_unet(folder, tmp_path / "p.mlpackage", "--lora", mode, *given)
    assert result.returncode == 0, result.stderr
    with torch.no_grad():
        plain = models.unet()(*inputs.values()).numpy()
    for name, value in expected.items():
        assert np.abs(value - plain).max() > 3e-3
        found = run(tmp_path / "p.mlpackage", name, {key: array.numpy() for key, array in inputs.items()}, tmp_path)
        assert_close(found, value, f"{name}, {mode}")
        succeed("verify", tmp_path / "p.mlpackage", "--function", name, "--against", folder / "base.pt", "--adapter",
                tmp_path / f"{name}.safetensors")


def test_blends(unet, tmp_path):
    """What each adds, times its weight; a blend of other kinds, or of what has magnitudes, is refused."""
    folder, inputs = unet
    merged = models.unet()
    for name, kind, weight, seed in (("a", lora, 0.7, 1), ("b", lora, -0.4, 2)):
        tensors, model = make(kind, seed=seed, rank=3 if name == "b" else 4)
        safetensors.torch.save_file(tensors, tmp_path / f"{name}.safetensors")
        with torch.no_grad():
            for module in MODULES:
                base = models.unet().get_submodule(module).weight
                merged.get_submodule(module).weight += weight * (model.get_submodule(module).weight - base)
    for name, (kind, options) in {"dora": (lora, {"axis": 0}), "loha": (loha, {})}.items():
        safetensors.torch.save_file(make(kind, **options)[0], tmp_path / f"{name}.safetensors")
    package = tmp_path / "p.mlpackage"
    result = compile_unet(folder, package, "--adapter", f"m={tmp_path}/a.safetensors:0.7+{tmp_path}/b.safetensors:-0.4")
    assert result.returncode == 0, result.stderr
    with torch.no_grad():
        expected = merged(*inputs.values()).numpy()
    assert_close(run(package, "m", {key: array.numpy() for key, array in inputs.items()}, tmp_path), expected)
    for other in ("dora", "loha"):
        result = compile_unet(folder, tmp_path / "q.mlpackage", "--adapter",
                              f"m={tmp_path}/a.safetensors:0.5+{tmp_path}/{other}.safetensors:0.5")
        assert result.returncode == 1 and "cannot be blended" in result.stderr


def diffusers(tensors, part="unet"):
    """The same LoRA in diffusers' naming, alpha left to the metadata."""
    names = {"lora_down": "lora_A", "lora_up": "lora_B"}
    result = {}
    for key, value in tensors.items():
        module, factor, *_ = key.removeprefix("lora_unet_").split(".")
        if factor in names:
            result[f"{part}.{module}.{names[factor]}.weight"] = value
    return result


def test_metadata_of_diffusers(unet, tmp_path):
    """Newer diffusers keep the LoRA's configuration in the metadata of the file."""
    folder, inputs = unet
    tensors, model = make(lora, alpha=6.0)
    config = {"unet.r": 4, "unet.lora_alpha": 6, "unet.peft_type": "LORA", "unet.target_modules": MODULES,
              "unet.use_dora": False, "unet.rank_pattern": {}, "unet.alpha_pattern": {}}
    metadata = {"format": "pt", "lora_adapter_metadata": json.dumps(config)}
    safetensors.torch.save_file(diffusers(tensors), tmp_path / "a.safetensors", metadata)
    package = tmp_path / "p.mlpackage"
    result = compile_unet(folder, package, "--adapter", f"a={tmp_path}/a.safetensors")
    assert result.returncode == 0, result.stderr
    with torch.no_grad():
        expected = model(*inputs.values()).numpy()
    assert_close(run(package, "a", {key: array.numpy() for key, array in inputs.items()}, tmp_path), expected)

    for change, message in [({"unet.use_dora": True}, "lora_magnitude_vector"),
                            ({"unet.r": 5}, "rank"), ({"unet.secret": 1}, "'secret'"), ({"r": 4}, "part of a pipeline")]:
        metadata = {"lora_adapter_metadata": json.dumps({**config, **change})}
        safetensors.torch.save_file(diffusers(tensors), tmp_path / "b.safetensors", metadata)
        result = compile_unet(folder, tmp_path / "q.mlpackage", "--adapter", f"b={tmp_path}/b.safetensors")
        assert result.returncode == 1 and message in result.stderr, result.stderr


class Text(torch.nn.Module):
    def __init__(self, depth):
        super().__init__()
        self.layers = torch.nn.ModuleList([torch.nn.Linear(8, 8) for _ in range(depth)])

    def forward(self, x):
        for layer in self.layers:
            x = torch.tanh(layer(x))
        return x


def text_lora(depth, seed):
    g = torch.Generator().manual_seed(seed)
    return {f"layers.{i}": (draw(g, 2, 8), draw(g, 8, 2)) for i in range(depth)}


def write_pipeline(path, style, parts):
    """A file of several parts as Kohya's scripts or diffusers write it, alpha the rank."""
    tensors, metadata = {}, None
    for part, modules in parts.items():
        for module, (a, b) in modules.items():
            if style == "kohya":
                name = f"lora_{part}_{module.replace('.', '_')}"
                tensors |= {f"{name}.lora_down.weight": a, f"{name}.lora_up.weight": b, f"{name}.alpha": torch.tensor(2.0)}
            else:
                tensors |= {f"{part}.{module}.lora_A.weight": a, f"{part}.{module}.lora_B.weight": b}
    if style == "metadata":
        metadata = {"lora_adapter_metadata": json.dumps({f"{part}.{key}": value for part, modules in parts.items() for
                                                         key, value in {"r": 2, "lora_alpha": 2, "peft_type": "LORA",
                                                                        "target_modules": list(modules)}.items()})}
    safetensors.torch.save_file(tensors, path, metadata)


@pytest.mark.parametrize("style", ["kohya", "diffusers", "metadata"])
def test_parts_of_a_pipeline(tmp_path, style):
    """A file of several: that which the base is, though another has modules of its names; the rest must be let go."""
    torch.manual_seed(0)
    base, x = Text(2).eval(), torch.randn(1, 8)
    save_base(base, (x,), tmp_path / "base.pt")
    names = ("te1", "te2", "unet") if style == "kohya" else ("text_encoder", "text_encoder_2", "unet")
    first, path = text_lora(2, 1), tmp_path / "a.safetensors"
    write_pipeline(path, style, {names[0]: first, names[1]: text_lora(4, 2), names[2]: {"conv.q": text_lora(1, 3)["layers.0"]}})
    given = ["compile", "-o", tmp_path / "p.mlpackage", "--base", tmp_path / "base.pt", "--precision", "fp32", "--input",
             "x=[1, 8]", "--output", "y", "--adapter", f"a={path}"]
    result = plait(*given)
    assert result.returncode == 1 and names[1] in result.stderr and "--allow-unmatched" in result.stderr, result.stderr
    succeed(*given, "--allow-unmatched")
    with torch.no_grad():
        for module, (a, b) in first.items():
            base.get_submodule(module).weight += b @ a
        expected = base(x).numpy()
    assert_close(run(tmp_path / "p.mlpackage", "a", {"x": x.numpy()}, tmp_path), expected)

    write_pipeline(path, style, {names[0]: first, names[1]: text_lora(2, 2)})
    result = plait(*given, "--allow-unmatched")
    assert result.returncode == 1 and "both fit the base" in result.stderr, result.stderr


def test_two_adapters_in_one_file(tmp_path):
    base = Text(1).eval()
    save_base(base, (torch.randn(1, 8),), tmp_path / "base.pt")
    tensors = {f"layers.0.lora_{factor}.{name}.weight": torch.randn(*shape) for name in ("one", "two")
               for factor, shape in (("A", (2, 8)), ("B", (8, 2)))}
    safetensors.torch.save_file(tensors, tmp_path / "a.safetensors")
    result = plait("compile", "-o", tmp_path / "p.mlpackage", "--base", tmp_path / "base.pt", "--input", "x=[1, 8]",
                   "--adapter", f"a={tmp_path}/a.safetensors")
    assert result.returncode == 1 and "several adapters" in result.stderr, result.stderr


class Twins(torch.nn.Module):
    """Two modules whose paths are the same once dots are underscores."""

    def __init__(self):
        super().__init__()
        self.a_b = torch.nn.Linear(8, 8)
        self.a = torch.nn.Module()
        self.a.b = torch.nn.Linear(8, 8)

    def forward(self, x):
        return self.a.b(self.a_b(x))


def test_names_without_dots_that_fit_twice(tmp_path):
    save_base(Twins().eval(), (torch.randn(1, 8),), tmp_path / "base.pt")
    tensors = {"lora_unet_a_b.lora_down.weight": torch.randn(2, 8), "lora_unet_a_b.lora_up.weight": torch.randn(8, 2)}
    safetensors.torch.save_file(tensors, tmp_path / "a.safetensors")
    result = plait("compile", "-o", tmp_path / "p.mlpackage", "--base", tmp_path / "base.pt", "--input", "x=[1, 8]",
                   "--adapter", f"a={tmp_path}/a.safetensors")
    assert result.returncode == 1 and "'a_b'" in result.stderr and "'a.b'" in result.stderr, result.stderr


@pytest.mark.parametrize("change, message", [
    ({"lokr_w1": torch.tensor(1.0)}, "lokr_w1"),
    ({"lokr_w1": torch.ones(4, 4, 2)}, "lokr_w1"),
    ({"lokr_w2": torch.ones(2)}, "lokr_w2"),
    ({"lokr_w2": torch.ones(2, 2), "lokr_t2": torch.ones(1)}, None),
    ({"lokr_w2": None, "lokr_t2": torch.ones(3), "lokr_w2_a": torch.ones(1, 2), "lokr_w2_b": torch.ones(1, 2)}, "lokr_t2"),
    ({"lokr_w2": None, "lokr_w2_a": torch.ones(2, 3), "lokr_w2_b": torch.ones(2, 2)}, "lokr_w2"),
    ({"dora_scale": torch.ones(3)}, "dora_scale"),
    ({"dora_scale": torch.ones(0)}, "dora_scale"),
    ({"alpha": torch.ones(3, dtype=torch.int64)}, "alpha"),
])
def test_factors_that_do_not_fit(tmp_path, change, message):
    base = torch.nn.Sequential(torch.nn.Linear(8, 8)).eval()
    save_base(base, (torch.randn(1, 8),), tmp_path / "base.pt")
    parts = {"lokr_w1": torch.ones(4, 4), "lokr_w2": torch.ones(2, 2), **change}
    tensors = {f"lycoris_0.{key}": value for key, value in parts.items() if value is not None}
    safetensors.torch.save_file(tensors, tmp_path / "a.safetensors")
    result = plait("compile", "-o", tmp_path / "p.mlpackage", "--base", tmp_path / "base.pt", "--input", "x=[1, 8]",
                   "--adapter", f"a={tmp_path}/a.safetensors")
    assert result.returncode == (1 if message else 0), result.stderr
    assert message is None or message in result.stderr
