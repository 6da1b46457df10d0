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
        tensors[f"lora_unet_{name}.alpha"] = torch.tensor(alpha)  # an integer where LoRAs are extracted
        module.weight = torch.nn.Parameter(merged)
    return tensors, model


CASES = {"lora": (lora, {}), "lora_extracted": (lora, {"alpha": 4}), "locon_tucker": (lora, {"tucker": True}), "dora": (lora, {"axis": 0}),
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


def whole(generator, model, modules, prefix="lora_unet_"):
    """What LyCORIS' full and norm, and extractions of ComfyUI, add to parameters; put into the model too."""
    tensors = {}
    for name in modules:
        module = model.get_submodule(name)
        names = ("w_norm", "b_norm") if name == "norm" else ("diff", "diff_b")
        for key, attribute in zip(names, ("weight", "bias")):
            parameter = getattr(module, attribute, None)
            if parameter is not None:
                tensors[f"{prefix}{name}.{key}"] = draw(generator, *parameter.shape)
                setattr(module, attribute, torch.nn.Parameter(parameter.detach() + tensors[f"{prefix}{name}.{key}"]))
    return tensors


@pytest.mark.parametrize("mode", ["keep", "fold"])
def test_differences(unet, tmp_path, mode):
    """Whole layers, norms and biases, alone, beside LoRA and DoRA, and in a blend."""
    folder, inputs = unet
    adapters = {"whole": ({}, models.unet()), "dots": ({}, models.unet()), "lora": make(lora), "dora": make(lora, axis=0)}
    adapters["whole"][0].update(whole(torch.Generator().manual_seed(1), adapters["whole"][1], [*MODULES, "norm"]))
    adapters["dots"][0].update(whole(torch.Generator().manual_seed(2), adapters["dots"][1], MODULES, "diffusion_model."))
    given, expected = [], {}
    for name in ("lora", "dora"):
        tensors, model = adapters[name]
        biases = models.unet()
        added = whole(torch.Generator().manual_seed(3), biases, ["conv_in", "down", "time", "norm"])
        tensors.update({key: value for key, value in added.items() if key.endswith("_b") or "norm" in key})
        for module in ("conv_in", "down", "time", "norm"):
            model.get_submodule(module).bias = biases.get_submodule(module).bias
        model.norm.weight = biases.norm.weight
    for name, (tensors, model) in adapters.items():
        safetensors.torch.save_file(tensors, tmp_path / f"{name}.safetensors")
        with torch.no_grad():
            expected[name] = model(*inputs.values()).numpy()
        given += ["--adapter", f"{name}={tmp_path}/{name}.safetensors"]
    blend = models.unet()
    with torch.no_grad():
        for name, weight in (("whole", 0.7), ("lora", -0.4)):
            for own, theirs, base in zip(blend.parameters(), adapters[name][1].parameters(), models.unet().parameters()):
                own += weight * (theirs - base)
        expected["blend"] = blend(*inputs.values()).numpy()
    given += ["--adapter", f"blend={tmp_path}/whole.safetensors:0.7+{tmp_path}/lora.safetensors:-0.4"]
    package = tmp_path / "p.mlpackage"
    result = compile_unet(folder, package, "--lora", mode, *given)
    assert result.returncode == 0, result.stderr
    for name, value in expected.items():
        found = run(package, name, {key: array.numpy() for key, array in inputs.items()}, tmp_path)
        assert_close(found, value, f"{name}, {mode}")
    for name in adapters:
        succeed("verify", package, "--function", name, "--against", folder / "base.pt", "--adapter",
                tmp_path / f"{name}.safetensors")


@pytest.mark.parametrize("tensors, message", [
    ({"lora_unet_conv_in.oft_blocks": torch.zeros(2, 8, 8)}, "OFT"),
    ({"lora_unet_to_q.a1.weight": torch.zeros(2, 8)}, "GLoRA"),
    ({"lora_unet_to_q.weight": torch.zeros(32), "lora_unet_to_q.on_input": torch.tensor(0)}, "(IA)3 of LyCORIS"),
    ({"lora_unet_to_q.scalar": torch.tensor(1.0)}, "use_scalar"),
    ({"base_model.model.to_q.ia3_l": torch.ones(32, 1)}, "adapter_config.json"),
    ({"base_model.model.to_q.lora_A.weight": torch.ones(4, 32), "base_model.model.to_q.lora_B.weight": torch.ones(32, 4)},
     "adapter_config.json"),
    ({"lora_te1_to_q.lora_down.weight": torch.ones(4, 32)}, "another part of a pipeline"),
    ({"lora_unet_to_q.alpha": torch.tensor(float("nan"))}, "fp32"),
    ({"lora_unet_to_q.alpha": torch.ones(2)}, "one number"),
    ({"lora_unet_norm.w_norm": torch.ones(7)}, "another base"),
])
def test_refused_files(unet, tmp_path, tensors, message):
    folder, _ = unet
    beside = make(lora)[0] if next(iter(tensors)).startswith("lora_") else {}
    safetensors.torch.save_file({**beside, **tensors}, tmp_path / "a.safetensors")
    result = compile_unet(folder, tmp_path / "p.mlpackage", "--adapter", f"a={tmp_path}/a.safetensors")
    assert result.returncode == 1 and message in result.stderr, result.stderr


def test_parts_of_other_kinds_can_be_left_out(unet, tmp_path):
    folder, inputs = unet
    tensors, model = make(lora)
    safetensors.torch.save_file({**tensors, "lora_unet_norm.oft_blocks": torch.zeros(2)}, tmp_path / "a.safetensors")
    package, given = tmp_path / "p.mlpackage", ["--adapter", f"a={tmp_path}/a.safetensors", "--allow-unmatched"]
    result = compile_unet(folder, package, *given)
    assert result.returncode == 0 and "oft_blocks" in result.stderr, result.stderr
    with torch.no_grad():
        expected = model(*inputs.values()).numpy()
    assert_close(run(package, "a", {key: array.numpy() for key, array in inputs.items()}, tmp_path), expected)
    safetensors.torch.save_file({"lora_unet_norm.oft_blocks": torch.zeros(2)}, tmp_path / "a.safetensors")
    assert compile_unet(folder, package, *given).returncode == 1


class Attention(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.attn1 = torch.nn.Module()
        self.attn1.to_q = torch.nn.Linear(8, 8)
        self.attn1.to_out = torch.nn.ModuleList([torch.nn.Linear(8, 8), torch.nn.Dropout()])

    def forward(self, x):
        return self.attn1.to_out[0](torch.tanh(self.attn1.to_q(x)))


def test_older_names_of_diffusers(tmp_path):
    """Of attention processors, and of layers."""
    torch.manual_seed(0)
    base, x = Attention().eval(), torch.randn(2, 8)
    save_base(base, (x,), tmp_path / "base.pt")
    merged, tensors = copy.deepcopy(base), {"processors": {}, "layers": {}}
    for old, path in (("to_q", "to_q"), ("to_out", "to_out.0")):
        down, up = torch.randn(2, 8), torch.randn(8, 2)
        module = merged.attn1.get_submodule(path)
        module.weight = torch.nn.Parameter(module.weight.detach() + up @ down)
        for key, value in (("down", down), ("up", up)):
            tensors["processors"][f"unet.attn1.processor.{old}_lora.{key}.weight"] = value
            tensors["layers"][f"unet.attn1.{path}.lora_linear_layer.{key}.weight"] = value
    for name, parts in tensors.items():
        safetensors.torch.save_file(parts, tmp_path / f"{name}.safetensors")
        succeed("compile", "-o", tmp_path / "p.mlpackage", "--precision", "fp32", "--base", tmp_path / "base.pt", "--input",
                "x=[2, 8]", "--output", "y", "--adapter", f"a={tmp_path}/{name}.safetensors")
        with torch.no_grad():
            assert_close(run(tmp_path / "p.mlpackage", "a", {"x": x.numpy()}, tmp_path), merged(x).numpy(), name)


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
