"""Adapters that do not say all of themselves: whose scale is in no file, MLX's with a configuration of its own, files of tools
that plait does not read. What is not known is asked for, or refused with the tool's name.
"""

import json

import numpy as np
import pytest
import safetensors.torch
import torch
from adapter_checks import assert_close, run, save_base
from command import plait, succeed

X = torch.randn(2, 8, generator=torch.Generator().manual_seed(3))
G = torch.Generator().manual_seed(4)
DOWN, UP = torch.randn(2, 8, generator=G), torch.randn(8, 2, generator=G)


class Model(torch.nn.Module):
    def __init__(self, name="body"):
        super().__init__()
        self.name = name
        setattr(self, name, torch.nn.Module())
        getattr(self, name).h = torch.nn.ModuleList([torch.nn.Linear(8, 8)])
        self.embed = torch.nn.Embedding(8, 8)

    def forward(self, x):
        return torch.tanh(getattr(self, self.name).h[0](x)) + self.embed(torch.tensor([1]))


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scales")
    for name in ("body", "transformer"):
        torch.manual_seed(0)
        save_base(Model(name).eval(), (X,), folder / f"{name}.pt")
    return folder


def compile_it(base, package, adapter, *options, name="body"):
    return plait("compile", "-o", package, "--base", base / f"{name}.pt", "--precision", "fp32", "--input", "x=[2, 8]",
                 "--output", "y", "--adapter", f"a={adapter}", *options)


def with_scale(scale):
    torch.manual_seed(0)
    model = Model().eval()
    with torch.no_grad():
        layer = model.body.h[0]
        layer.weight += scale * UP @ DOWN
        return model(X).numpy()


def write(path, prefix, names=("lora_A.weight", "lora_B.weight"), module="body.h.0"):
    safetensors.torch.save_file({f"{prefix}{module}.{names[0]}": DOWN, f"{prefix}{module}.{names[1]}": UP}, path)
    return path


UNSCALED = {"bare": ("", {}), "peft": ("base_model.model.", {}), "comfy": ("diffusion_model.", {}),
            "kohya": ("lora_unet_", {"names": ("lora_down.weight", "lora_up.weight"), "module": "body_h_0"})}


@pytest.mark.parametrize("form", UNSCALED)
def test_a_scale_that_no_file_says(base, tmp_path, form):
    """It is asked for; --lora-alpha is divided by the rank, --lora-scale is not, in every command."""
    prefix, how = UNSCALED[form]
    path, package = write(tmp_path / "a.safetensors", prefix, **how), tmp_path / "p.mlpackage"
    result = compile_it(base, package, path)
    assert result.returncode == 1 and "--lora-alpha" in result.stderr and "--lora-scale" in result.stderr, result.stderr
    assert not package.exists()
    for option, value, scale in (("--lora-alpha", "3", 1.5), ("--lora-scale", "0.25", 0.25)):
        result = compile_it(base, package, path, option, value)
        assert result.returncode == 0, result.stderr
        assert_close(run(package, "a", {"x": X.numpy()}, tmp_path), with_scale(scale))
        verify = ("verify", package, "--function", "a", "--against", base / "body.pt", "--adapter", path)
        assert plait(*verify).returncode == 1
        succeed(*verify, option, value)
        result = compile_it(base, tmp_path / "q.mlpackage", path, "--lora", "inputs", option, value)
        assert result.returncode == 0, result.stderr
        pack = ("adapter", "pack", path, "--map", tmp_path / "q.adapter.json", "--output-dir", tmp_path / "out")
        assert "--lora-alpha" in plait(*pack).stderr
        succeed(*pack, option, value)
        product = np.load(next((tmp_path / "out").glob("*lora_B*"))).astype(float) @ DOWN.half().numpy().astype(float)
        np.testing.assert_allclose(product, (scale * UP @ DOWN).numpy(), rtol=1e-2, atol=1e-2)


def test_a_scale_in_a_recipe(base, tmp_path):
    path = write(tmp_path / "a.safetensors", "")
    recipe = tmp_path / "r.yaml"
    text = f"base: {base}/body.pt\ninputs: ['x=[2, 8]']\noutputs: [y]\nprecision: fp32\n"
    recipe.write_text(text + f"lora_alpha: 9\nfunctions:\n  a: {{adapter: {path}, lora_scale: 0.5}}\n  b: {{adapter: {path}}}\n")
    succeed("compile", recipe, "-o", tmp_path / "p.mlpackage")
    for name, scale in (("a", 0.5), ("b", 4.5)):
        assert_close(run(tmp_path / "p.mlpackage", name, {"x": X.numpy()}, tmp_path), with_scale(scale))
    for line, message in (("lora_scale: x", "is no number"), ("lora_scale: 1\nlora_alpha: 1", "one of them")):
        recipe.write_text(text + f"{line}\nfunctions:\n  a: {{adapter: {path}}}\n")
        result = plait("compile", recipe, "-o", tmp_path / "p.mlpackage")
        assert result.returncode != 0 and f"{recipe}:" in result.stderr and message in result.stderr, result.stderr


def test_a_scale_that_is_said_twice(base, tmp_path):
    path = tmp_path / "a.safetensors"
    safetensors.torch.save_file({"body.h.0.lora_A.weight": DOWN, "body.h.0.lora_B.weight": UP,
                                 "body.h.0.alpha": torch.tensor(2.0)}, path)
    result = compile_it(base, tmp_path / "p.mlpackage", path, "--lora-scale", "1")
    assert result.returncode == 1 and "says its scale itself" in result.stderr, result.stderr
    for options in (("--lora-scale", "1", "--lora-alpha", "1"), ("--lora-scale", "big"), ("--lora-alpha", "inf")):
        assert compile_it(base, tmp_path / "p.mlpackage", path, *options).returncode == 2, options


def test_names_that_are_the_models_own(base, tmp_path):
    """GPT-2's 'transformer.h.0' is no part of a pipeline of diffusers, and neither is a module of the base."""
    path = write(tmp_path / "a.safetensors", "", module="transformer.h.0")
    result = compile_it(base, tmp_path / "p.mlpackage", path, name="transformer")
    assert result.returncode == 1 and "--lora-scale" in result.stderr, result.stderr
    path = write(tmp_path / "a.safetensors", "text_encoder.", module="fc")
    torch.manual_seed(0)
    own = torch.nn.Sequential()
    own.add_module("text_encoder", torch.nn.Sequential())
    own.text_encoder.add_module("fc", torch.nn.Linear(8, 8))
    save_base(own.eval(), (X,), tmp_path / "own.pt")
    result = compile_it(tmp_path, tmp_path / "p.mlpackage", path, name="own")
    assert result.returncode == 1 and "--lora-scale" in result.stderr, result.stderr
    path = write(tmp_path / "a.safetensors", "unet.")
    assert compile_it(base, tmp_path / "p.mlpackage", path).returncode == 0
    assert_close(run(tmp_path / "p.mlpackage", "a", {"x": X.numpy()}, tmp_path), with_scale(1))


def test_names_of_torch_compile(base, tmp_path):
    for prefix, module in (("_orig_mod.unet.", "body.h.0"), ("unet._orig_mod.", "body._orig_mod.h.0")):
        path = write(tmp_path / "a.safetensors", prefix, module=module)
        result = compile_it(base, tmp_path / "p.mlpackage", path)
        assert result.returncode == 0, result.stderr
        assert_close(run(tmp_path / "p.mlpackage", "a", {"x": X.numpy()}, tmp_path), with_scale(1))


# ---- MLX ---------------------------------------------------------------------------------------

def mlx(folder, parameters=None, module="body.h.0", tensors=None, **config):
    folder.mkdir(exist_ok=True)
    own = {f"{module}.lora_a": DOWN.T.contiguous(), f"{module}.lora_b": UP.T.contiguous(), **(tensors or {})}
    safetensors.torch.save_file(own, folder / "adapters.safetensors", {"format": "mlx"})
    text = {"fine_tune_type": "lora", "num_layers": 16, "batch_size": 4, "learning_rate": 1e-5,
            "lora_parameters": {"rank": 2, "scale": 1.25, "dropout": 0.0, "keys": ["h.0"], **(parameters or {})}, **config}
    (folder / "adapter_config.json").write_text(json.dumps(text))
    return folder


@pytest.mark.parametrize("mode", ["keep", "fold", "inputs"])
def test_mlx(base, tmp_path, mode):
    """The factors are transposed, the scale is not divided."""
    folder, package = mlx(tmp_path / "m"), tmp_path / "p.mlpackage"
    for path in (folder, folder / "adapters.safetensors"):
        result = compile_it(base, package, path, "--lora", mode)
        assert result.returncode == 0, result.stderr
        arrays = {"x": X.numpy()}
        if mode == "inputs":
            succeed("adapter", "pack", folder, "--map", tmp_path / "p.adapter.json", "--output-dir", tmp_path / "out")
            arrays |= {file.stem: np.load(file) for file in (tmp_path / "out").glob("*.npy")}
        found, expected = run(package, "a", arrays, tmp_path), with_scale(1.25)
        np.testing.assert_allclose(found, expected, rtol=1e-2 if mode == "inputs" else 1e-5, atol=1e-2 if mode == "inputs" else 1e-5)
        succeed("verify", package, "--function", "a", "--against", base / "body.pt", "--adapter", path)


def test_mlx_dora(base, tmp_path):
    torch.manual_seed(0)
    model, length = Model().eval(), torch.rand(8, generator=torch.Generator().manual_seed(5)) + 0.5
    weight = model.body.h[0].weight.detach() + 1.25 * UP @ DOWN
    model.body.h[0].weight = torch.nn.Parameter(weight * (length / weight.norm(dim=1))[:, None])
    folder = mlx(tmp_path / "m", tensors={"body.h.0.m": length}, fine_tune_type="dora")
    result = compile_it(base, tmp_path / "p.mlpackage", folder)
    assert result.returncode == 0, result.stderr
    with torch.no_grad():
        assert_close(run(tmp_path / "p.mlpackage", "a", {"x": X.numpy()}, tmp_path), model(X).numpy())


@pytest.mark.parametrize("change, message", [
    ({"parameters": {"rank": 3}}, "rank 2"),
    ({"parameters": {"alpha": 16}}, "alpha / rank"),
    ({"fine_tune_type": "full"}, "'full'"),
    ({"lora_parameters": None}, "lora_parameters"),
    ({"parameters": {"keys": ["q_proj"]}}, "does not choose"),
    ({"tensors": {"body.h.0.lora_a": torch.ones(3, 2, 8)}}, "experts"),
    ({"module": "embed", "parameters": {"keys": ["embed"]}}, "embedding"),
])
def test_what_of_mlx_is_refused(base, tmp_path, change, message):
    result = compile_it(base, tmp_path / "p.mlpackage", mlx(tmp_path / "m", **change))
    assert result.returncode == 1 and message in result.stderr, result.stderr


def test_mlx_without_its_configuration(base, tmp_path):
    folder = mlx(tmp_path / "m")
    (folder / "adapter_config.json").unlink()
    result = compile_it(base, tmp_path / "p.mlpackage", folder)
    assert result.returncode == 1 and "MLX" in result.stderr and "adapter_config.json" in result.stderr, result.stderr
    (folder / "adapters.safetensors").unlink()
    (folder / "adapters.npz").write_bytes(b"")
    result = compile_it(base, tmp_path / "p.mlpackage", folder)
    assert result.returncode == 1 and "adapters.npz" in result.stderr, result.stderr


# ---- Other tools -------------------------------------------------------------------------------

@pytest.mark.parametrize("key, tool", [
    ("body.h.0.lora_a.weight", "torchtune"),
    ("body.h.0.A", "mlx-vlm"),
    ("unet:0:up", "lora_diffusion"),
    ("double_blocks.0.processor.qkv_lora1.up.weight", "XLabs"),
    ("encoder.0.loras.x.lora_A", "AdapterHub"),
    ("lora_unet_double_blocks_0_qkv.lora_down.weight", "Kohya"),
    ("diffusion_model.double_blocks.0.qkv.lora_A.weight", "ai-toolkit"),
    ("base_model.model.other.lora_A.weight", "PEFT"),
])
def test_keys_that_no_module_has(base, tmp_path, key, tool):
    """The tool is named; to go on without all of the adapter is no advice, and is not done."""
    safetensors.torch.save_file({key: DOWN}, tmp_path / "a.safetensors")
    for options in ((), ("--allow-unmatched",), ("--adapter-root", ""), ("--adapter-root", "", "--allow-unmatched")):
        result = compile_it(base, tmp_path / "p.mlpackage", tmp_path / "a.safetensors", *options)
        assert result.returncode == 1 and tool in result.stderr, result.stderr
        assert "--allow-unmatched" not in result.stderr, result.stderr


def test_an_adapter_of_modules_that_the_base_never_calls(base, tmp_path):
    folder = tmp_path / "m"
    torch.jit.script(Unused()).save(str(tmp_path / "unused.pt"))
    result = plait("compile", "-o", tmp_path / "p.mlpackage", "--base", tmp_path / "unused.pt", "--input", "x=[2, 8]",
                   "--adapter", f"a={mlx(folder, module='left.h.0')}", "--allow-unmatched")
    assert result.returncode == 1 and "never uses" in result.stderr, result.stderr
    assert "--allow-unmatched" not in result.stderr, result.stderr


class Unused(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.left = torch.nn.Sequential()
        self.left.add_module("h", torch.nn.Sequential(torch.nn.Linear(8, 8)))
        self.used = torch.nn.Linear(8, 8)

    def forward(self, x):
        return self.used(x)

    @torch.jit.export
    def other(self, x):
        return self.left(x)
