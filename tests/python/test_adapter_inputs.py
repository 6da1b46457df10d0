"""--lora inputs: functions that take adapters as arrays compute what PEFT does with each, whatever the kind."""

import json

import adapter_models as models
import numpy as np
import peft
import pytest
import safetensors.torch
import torch
from adapter_checks import run, save_base
from command import digest, plait, succeed
from peft import AdaLoraConfig, IA3Config, LoHaConfig, LoKrConfig, LoraConfig, VeraConfig

IDS = {"ids": torch.tensor([[3, 1, 4, 15, 9, 26]])}


def check_inputs(folder, base, wrap, inputs, declared, adapters, *options):
    """Each function is compiled of one adapter, and run with the arrays of that and of another one."""
    save_base(wrap(base), tuple(inputs.values()), folder / "base.pt")
    given = []
    for name, config in adapters.items():
        models.adapt(base, config, folder / name, 1)
        given += ["--adapter", f"{name}={folder}/{name}"]
    package = folder / "p.mlpackage"
    succeed("compile", "-o", package, "--precision", "fp32", "--lora", "inputs", "--base", folder / "base.pt",
            *(text for declaration in declared for text in ("--input", declaration)), "--output", "y", *options, *given)
    side = json.loads((folder / "p.adapter.json").read_text())["functions"]
    assert sorted(side) == sorted(adapters)
    for name, config in adapters.items():
        for number in (1, 2):
            other = folder / f"{name}-{number}"
            model = models.adapt(base, config, other, number)
            arrays = folder / f"{name}-{number}-arrays"
            succeed("adapter", "pack", other, "--map", folder / "p.adapter.json", "--function", name,
                    "--output-dir", arrays)
            packed = {entry["input"]: np.load(arrays / f"{entry['input']}.npy") for entry in side[name]}
            assert sorted(path.stem for path in arrays.iterdir()) == sorted(packed)
            for entry in side[name]:
                assert packed[entry["input"]].dtype == np.float16 and list(packed[entry["input"]].shape) == entry["shape"]
            found = run(package, name, {**{key: value.numpy() for key, value in inputs.items()}, **packed}, folder)
            with torch.no_grad():
                expected = wrap(model)(*inputs.values()).numpy()
                plain = wrap(base)(*inputs.values()).numpy()
            scale = np.abs(expected).max()
            error = np.abs(found - expected).max() / scale
            changed = np.abs(plain - expected).max() / scale
            assert error < 5e-3 and error < 0.1 * changed, (name, number, error, changed)


def test_llama(tmp_path):
    check_inputs(tmp_path, models.llama(), models.Logits, IDS, ["ids=int32[1, 6]"], {
        "lora": LoraConfig(r=4, lora_alpha=6, target_modules=["q_proj", "down_proj"]),
        "patterns": LoraConfig(r=4, lora_alpha=6, use_rslora=True, target_modules=["q_proj", "v_proj"],
                               rank_pattern={"q_proj": 2}, alpha_pattern={"v_proj": 3}),
        "biased": LoraConfig(r=4, target_modules=["q_proj"], lora_bias=True),
        "embedding": LoraConfig(r=4, target_modules=["embed_tokens", "lm_head"]),
        "adalora": AdaLoraConfig(init_r=4, target_r=2, total_step=10, lora_alpha=20, target_modules=["q_proj"]),
        "ia3": IA3Config(target_modules=["k_proj", "down_proj", "o_proj"], feedforward_modules=["down_proj"]),
        "loha": LoHaConfig(r=3, alpha=5, target_modules=["q_proj", "down_proj"]),
        "lokr": LoKrConfig(r=2, alpha=5, target_modules=["q_proj", "down_proj"]),
        "lokr_both": LoKrConfig(r=1, alpha=5, target_modules=["q_proj", "up_proj"], decompose_both=True),
        "vera": VeraConfig(r=8, target_modules=["q_proj", "down_proj"]),
        "vera_drawn": VeraConfig(r=8, target_modules=["q_proj", "down_proj"], save_projection=False),
    })


def test_gpt2(tmp_path):
    check_inputs(tmp_path, models.gpt2(), models.Logits, IDS, ["ids=int32[1, 6]"], {
        "lora": LoraConfig(r=4, target_modules=["c_attn", "c_proj"], fan_in_fan_out=True),
        "ia3": IA3Config(target_modules=["c_attn", "mlp.c_proj"], feedforward_modules=["mlp.c_proj"], fan_in_fan_out=True),
        "adalora": AdaLoraConfig(init_r=4, target_r=2, total_step=10, target_modules=["c_attn"], fan_in_fan_out=True),
        "vera": VeraConfig(r=8, target_modules=["c_attn"], fan_in_fan_out=True),
        "embedding": LoraConfig(r=4, target_modules=["wte", "wpe"]),
    })


def test_unet(tmp_path):
    convolutions = ["conv_in", "down", "proj", "wave", "up"]
    check_inputs(tmp_path, models.unet(), lambda model: model, {"x": torch.randn(1, 3, 8, 8), "t": torch.randn(1, 8)},
                 ["x=[1, 3, 8, 8]", "t=[1, 8]"], {
                     "lora": LoraConfig(r=4, target_modules=[*convolutions, "to_q", "time"]),
                     "adalora": AdaLoraConfig(init_r=4, target_r=2, total_step=10, target_modules=["down", "proj", "to_q"]),
                     "ia3": IA3Config(target_modules=["conv_in", "down"], feedforward_modules=["down"]),
                     "loha": LoHaConfig(r=3, target_modules=[*convolutions, "to_q"]),
                     "loha_tucker": LoHaConfig(r=3, target_modules=convolutions, use_effective_conv2d=True),
                     "lokr": LoKrConfig(r=2, target_modules=[*convolutions, "to_q"]),
                     "lokr_whole": LoKrConfig(r=8, target_modules=["wave", "proj"]),
                 })


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    folder = tmp_path_factory.mktemp("inputs")
    base = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.Linear(8, 8)).eval()
    save_base(base, (torch.randn(1, 8),), folder / "base.pt")
    for name, config in {"lora": LoraConfig(r=2, target_modules=["0"]),
                         "biases": LoraConfig(r=2, target_modules=["0"], bias="all"),
                         "saved": LoraConfig(r=2, target_modules=["0"], modules_to_save=["1"]),
                         "dora": LoraConfig(r=2, target_modules=["0"], use_dora=True),
                         "more": LoraConfig(r=2, target_modules=["0", "1"]),
                         "fewer": LoraConfig(r=2, target_modules=["1"]),
                         "ranks": LoraConfig(r=4, target_modules=["0"]),
                         "ia3": IA3Config(target_modules=["0"], feedforward_modules=[])}.items():
        models.adapt(base, config, folder / name)
    return folder


def compile_inputs(folder, package, adapter, *options):
    return plait("compile", "-o", package, "--base", folder / "base.pt", "--input", "x=[1, 8]", "--lora", "inputs",
                 "--adapter", f"a={adapter}", *options)


@pytest.mark.parametrize("name, message", [("biases", "bias"), ("saved", "base_model.model.1."), ("dora", "lora_magnitude_vector"),
                                           ("more", "base_model.model.1.lora_A"), ("fewer", "lora_"), ("ranks", "rank"),
                                           ("ia3", "LoRA")])
def test_only_what_fits_is_packed(small, tmp_path, name, message):
    assert compile_inputs(small, tmp_path / "p.mlpackage", small / "lora").returncode == 0
    result = plait("adapter", "pack", small / name, "--map", tmp_path / "p.adapter.json", "--output-dir", tmp_path / "out")
    assert result.returncode == 1 and message in result.stderr, result.stderr
    assert not (tmp_path / "out").exists()


def test_arrays_of_another_meaning(tmp_path):
    """The vectors of a square convolution do not show whether (IA)3 scales what goes in; the side file says it."""
    torch.manual_seed(0)
    base = torch.nn.Sequential(torch.nn.Conv2d(4, 4, 3, padding=1), torch.nn.Conv2d(4, 4, 1)).eval()
    check_inputs(tmp_path, base, lambda model: model, {"x": torch.randn(1, 4, 6, 6)}, ["x=[1, 4, 6, 6]"], {
        "mixed": IA3Config(target_modules=["0", "1"], feedforward_modules=["1"])})
    models.adapt(base, IA3Config(target_modules=["0", "1"], feedforward_modules=[]), tmp_path / "out")
    result = plait("adapter", "pack", tmp_path / "out", "--map", tmp_path / "p.adapter.json", "--output-dir", tmp_path / "o")
    assert result.returncode == 1 and "'1'" in result.stderr and "(IA)3 of inputs" in result.stderr, result.stderr


def test_inputs_are_the_same_for_every_adapter(small, tmp_path):
    """Names and order follow the base's modules, not the file's tensors."""
    tensors = safetensors.torch.load_file(small / "more" / "adapter_model.safetensors")
    folder = tmp_path / "pickled"
    folder.mkdir()
    (folder / "adapter_config.json").write_bytes((small / "more" / "adapter_config.json").read_bytes())
    torch.save(dict(sorted(tensors.items(), reverse=True)), folder / "adapter_model.bin")
    models.adapt(torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.Linear(8, 8)),
                 LoraConfig(r=2, target_modules=["1", "0"]), tmp_path / "other", 5)
    packages = []
    for number, adapter in enumerate((small / "more", folder, tmp_path / "other")):
        package = tmp_path / f"{number}.mlpackage"
        assert compile_inputs(small, package, adapter).returncode == 0
        packages.append((digest(package), (tmp_path / f"{number}.adapter.json").read_text()))
    assert packages[0] == packages[1] == packages[2]
    names = [entry["input"] for entry in json.loads(packages[0][1])["functions"]["a"]]
    assert names == ["_0_lora_A", "_0_lora_B", "_1_lora_A", "_1_lora_B"]


def test_verify(small, tmp_path):
    """The adapter that is merged into the model is also given to the function."""
    package = tmp_path / "p.mlpackage"
    assert compile_inputs(small, package, small / "more").returncode == 0
    models.adapt(torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.Linear(8, 8)),
                 LoraConfig(r=2, lora_alpha=3, target_modules=["0", "1"]), tmp_path / "other", 5)
    verify = ["verify", package, "--function", "a", "--against", small / "base.pt"]
    for adapter in (small / "more", tmp_path / "other"):
        succeed(*verify, "--adapter", adapter, "--draws", 2)
        succeed("adapter", "pack", adapter, "--map", tmp_path / "p.adapter.json", "--output-dir", tmp_path / "arrays")
    result = plait(*verify, "--adapter", small / "more", "--input", f"_0_lora_A={tmp_path}/arrays/_0_lora_A.npy")
    assert result.returncode == 1 and "FAIL" in result.stdout, result.stderr
    for given, message in (([], "--adapter DIR"), (["--adapter", f"{small}/more:0.5"], "blend"),
                           (["--adapter", small / "fewer"], "0.lora_A")):
        result = plait(*verify, *given)
        assert result.returncode == 1 and message in result.stderr, result.stderr


@pytest.mark.parametrize("adapter, message", [("biases", "0.bias"), ("saved", "1."), ("dora", "DoRA"),
                                              ("lora:0.5", "blend")])
def test_what_cannot_be_inputs(small, tmp_path, adapter, message):
    result = compile_inputs(small, tmp_path / "p.mlpackage", f"{small}/{adapter}")
    assert result.returncode == 1 and message in result.stderr and "--lora keep" in result.stderr, result.stderr
    assert not (tmp_path / "p.adapter.json").exists()


def test_files_without_a_configuration(small, tmp_path):
    """Kohya's linear layers are 1x1 convolutions, and alpha is a tensor."""
    generator = torch.Generator().manual_seed(4)
    for name, alpha in (("first", 1.0), ("second", 3.0)):
        safetensors.torch.save_file({
            "lora_unet_0.lora_down.weight": torch.randn(2, 8, 1, 1, generator=generator),
            "lora_unet_0.lora_up.weight": torch.randn(8, 2, 1, 1, generator=generator),
            "lora_unet_0.alpha": torch.tensor(alpha)}, tmp_path / f"{name}.safetensors")
    package = tmp_path / "p.mlpackage"
    assert compile_inputs(small, package, tmp_path / "first.safetensors", "--precision", "fp32", "--output",
                          "y").returncode == 0
    x = torch.randn(1, 8)
    base = torch.jit.load(small / "base.pt")
    for name, alpha in (("first", 1.0), ("second", 3.0)):
        succeed("adapter", "pack", tmp_path / f"{name}.safetensors", "--map", tmp_path / "p.adapter.json",
                "--output-dir", tmp_path / name)
        arrays = {path.stem: np.load(path) for path in (tmp_path / name).iterdir()}
        found = run(package, "a", {"x": x.numpy(), **arrays}, tmp_path)
        tensors = safetensors.torch.load_file(tmp_path / f"{name}.safetensors")
        delta = tensors["lora_unet_0.lora_up.weight"].flatten(1) @ tensors["lora_unet_0.lora_down.weight"].flatten(1)
        with torch.no_grad():
            expected = getattr(base, "1")(getattr(base, "0")(x) + x @ delta.T * alpha / 2).numpy()
        np.testing.assert_allclose(found, expected, rtol=1e-2, atol=1e-2)


class Pipeline(torch.nn.Module):
    """Two parts of a pipeline, by the names that diffusers gives their adapters."""

    def __init__(self):
        super().__init__()
        self.unet, self.text_encoder = torch.nn.Linear(8, 8), torch.nn.Linear(8, 8)

    def forward(self, x):
        return self.unet(self.text_encoder(x))


def test_a_wrapper_around_several_parts(tmp_path):
    """Each input is looked up in the part that it is of."""
    save_base(Pipeline().eval(), (torch.randn(1, 8),), tmp_path / "base.pt")
    tensors = {f"{part}.lora_{side}.weight": torch.randn(*shape) for part in ("unet", "text_encoder")
               for side, shape in (("A", (2, 8)), ("B", (8, 2)))}
    safetensors.torch.save_file(tensors, tmp_path / "a.safetensors")
    assert compile_inputs(tmp_path, tmp_path / "p.mlpackage", tmp_path / "a.safetensors").returncode == 0
    succeed("verify", tmp_path / "p.mlpackage", "--function", "a", "--against", tmp_path / "base.pt", "--adapter",
            tmp_path / "a.safetensors")
    for key in list(tensors):
        safetensors.torch.save_file({name: value for name, value in tensors.items() if name != key},
                                    tmp_path / "less.safetensors")
        result = plait("adapter", "pack", tmp_path / "less.safetensors", "--map", tmp_path / "p.adapter.json",
                       "--output-dir", tmp_path / "out")
        assert result.returncode == 1 and key in result.stderr, result.stderr


def test_the_side_file_follows_the_package(small, tmp_path):
    package, side = tmp_path / "p.mlpackage", tmp_path / "p.adapter.json"
    assert compile_inputs(small, package, small / "lora").returncode == 0
    add = ["add", package, "--base", small / "base.pt", "--input", "x=[1, 8]", "--lora", "inputs"]
    succeed(*add, "--adapter", f"b={small}/more")
    functions = json.loads(side.read_text())["functions"]
    assert sorted(functions) == ["a", "b"] and len(functions["a"]) == 2 and len(functions["b"]) == 4
    succeed("remove", package, "b")
    assert list(json.loads(side.read_text())["functions"]) == ["a"]
    succeed(*add, "--adapter", f"b={small}/ia3")
    functions = json.loads(side.read_text())["functions"]
    assert sorted(functions) == ["a", "b"] and len(functions["b"]) == 1
    side.write_text("{")
    for command in (["remove", package, "b"], [*add, "--adapter", f"c={small}/lora"]):
        result = plait(*command)
        assert result.returncode == 1 and "p.adapter.json" in result.stderr
    report = json.loads(succeed("inspect", package, "--json").stdout)
    assert [function["name"] for function in report["functions"]] == ["a", "b"]
    # A package that takes the place of this one has no such inputs.
    side.write_text(json.dumps({"functions": functions}))
    succeed("compile", "-o", package, "--input", "x=[1, 8]", small / "base.pt")
    assert not side.exists()


def test_merge_carries_side_files(small, tmp_path):
    """Under the functions' new names; a package without one has none to give."""
    packages = {name: tmp_path / f"{name}.mlpackage" for name in ("p", "q", "plain")}
    assert compile_inputs(small, packages["p"], small / "lora").returncode == 0
    assert compile_inputs(small, packages["q"], small / "more").returncode == 0
    succeed("compile", "-o", packages["plain"], "--input", "x=[1, 8]", small / "base.pt")
    merged, side = tmp_path / "merged.mlpackage", tmp_path / "merged.adapter.json"
    succeed("merge", "-o", merged, packages["p"], f"b={packages['q']}:a", packages["plain"], f"again={packages['p']}:a")
    functions = {name: json.loads((tmp_path / f"{name}.adapter.json").read_text())["functions"] for name in ("p", "q", "merged")}
    assert functions["merged"] == {"a": functions["p"]["a"], "b": functions["q"]["a"], "again": functions["p"]["a"]}
    report = json.loads(succeed("inspect", merged, "--json").stdout)
    assert {function["name"]: function.get("adapter_inputs") for function in report["functions"]} == {
        name: [entry["input"] for entry in entries] if (entries := functions["merged"].get(name)) else None
        for name in ("a", "b", "again", "main")}
    assert "adapter     4 of the inputs: merged.adapter.json" in succeed("inspect", merged).stdout
    # What is packed for the merged function is what its own package's function takes.
    for name, adapter, package in (("a", "lora", "p"), ("b", "more", "q")):
        folders = tmp_path / f"{name}-merged", tmp_path / f"{name}-alone"
        for folder, mapped, function in zip(folders, (side, tmp_path / f"{package}.adapter.json"), (name, "a")):
            succeed("adapter", "pack", small / adapter, "--map", mapped, "--function", function, "--output-dir", folder)
        assert digest(folders[0]) == digest(folders[1])
        arrays = {path.stem: np.load(path) for path in folders[0].iterdir()}
        x = {"x": np.ones((1, 8), np.float32), **arrays}
        succeed("compile", "-o", tmp_path / "kept.mlpackage", "--base", small / "base.pt", "--input", "x=[1, 8]", "--output", "y",
                "--adapter", f"{name}={small}/{adapter}")
        output, = report["functions"][0]["outputs"]
        for array, value in x.items():
            np.save(tmp_path / f"{array}.npy", value)
        succeed("run", merged, "--function", name, *(text for array in x for text in ("--input", f"{array}={tmp_path}/{array}.npy")),
                "--output-dir", tmp_path / "out")
        np.testing.assert_allclose(np.load(tmp_path / "out" / f"{output['name']}.npy").astype(np.float32),
                                   run(tmp_path / "kept.mlpackage", name, {"x": x["x"]}, tmp_path).astype(np.float32), atol=2e-2)
    succeed("remove", merged, "b", "--compact")
    assert sorted(json.loads(side.read_text())["functions"]) == ["a", "again"]
    # Merged onto one of its sources, and then with what takes no adapters alone.
    succeed("merge", "-o", packages["p"], packages["p"], packages["plain"])
    assert json.loads((tmp_path / "p.adapter.json").read_text())["functions"] == {"a": functions["p"]["a"]}
    succeed("remove", packages["p"], "a", "--default", "main")
    assert not (tmp_path / "p.adapter.json").exists()
    succeed("merge", "-o", merged, packages["plain"])
    assert not side.exists()


def test_side_files_that_do_not_fit(small, tmp_path):
    package, side, merged = tmp_path / "p.mlpackage", tmp_path / "p.adapter.json", tmp_path / "merged.mlpackage"
    assert compile_inputs(small, package, small / "lora").returncode == 0
    text = json.loads(side.read_text())
    text["functions"]["a"][0]["input"] = "elsewhere"
    side.write_text("{")
    result = plait("merge", "-o", merged, package)
    assert result.returncode == 1 and "p.adapter.json" in result.stderr, result.stderr
    assert not merged.exists()
    # What another package has left is no reason to refuse this one.
    side.write_text(json.dumps(text))
    result = succeed("merge", "-o", merged, package)
    assert "warning" in result.stderr and "'elsewhere'" in result.stderr, result.stderr
    assert not (tmp_path / "merged.adapter.json").exists()
    side.write_text("{")
    result = succeed("inspect", package, "--json")
    assert "warning" in result.stderr and "p.adapter.json" in result.stderr and json.loads(result.stdout)


def test_what_is_no_side_file_stays(small, tmp_path):
    package, side = tmp_path / "p.mlpackage", tmp_path / "p.adapter.json"
    plain = ["compile", "-o", package, "--input", "x=[1, 8]", small / "base.pt"]
    side.write_text('{"mine": 1}')
    result = succeed(*plain)
    assert "warning" in result.stderr and "p.adapter.json" in result.stderr and side.read_text() == '{"mine": 1}'
    before = digest(package)
    result = compile_inputs(small, package, small / "lora")
    assert result.returncode == 1 and "move it away" in result.stderr and side.read_text() == '{"mine": 1}'
    assert digest(package) == before
    succeed("add", package, "--function", f"more={small}/base.pt", "--input", "x=[2, 8]")
    side.unlink()
    side.mkdir()
    result = succeed(*plain)
    assert "warning" in result.stderr and side.is_dir()


def test_the_side_file_is_the_packages_own(small, tmp_path):
    """Whatever name the package is called by."""
    package, side = tmp_path / "p.mlpackage", tmp_path / "p.adapter.json"
    (tmp_path / "link.mlpackage").symlink_to("p.mlpackage")
    succeed("compile", "-o", package, "--input", "x=[1, 8]", small / "base.pt")
    assert compile_inputs(small, tmp_path / "link.mlpackage", small / "lora").returncode == 0
    assert side.exists() and not (tmp_path / "link.adapter.json").exists()
    for name in (f"{package}/.", tmp_path / "link.mlpackage"):
        report = json.loads(succeed("inspect", name, "--json").stdout)
        assert "adapter_inputs" in report["functions"][0]
    # Left by an addition that ended before the side file: of functions that are added now it says nothing.
    entries = json.loads(side.read_text())
    entries["functions"]["b"] = entries["functions"]["a"]
    side.write_text(json.dumps(entries))
    succeed("add", package, "--function", f"b={small}/base.pt", "--input", "x=[1, 8]")
    assert list(json.loads(side.read_text())["functions"]) == ["a"]
    side.write_text(json.dumps(entries))
    result = succeed("verify", package, "--function", "b", "--against", small / "base.pt")
    assert "warning" in result.stderr and "'b'" in result.stderr
    side.unlink()
    result = plait("verify", package, "--function", "a", "--against", small / "base.pt", "--adapter", small / "lora")
    assert result.returncode == 1 and "there is no" in result.stderr and "p.adapter.json" in result.stderr, result.stderr


@pytest.mark.parametrize("change, message", [
    ({"input": "../escaped"}, "no name of an input"), ({"shape": [0, 8]}, "sizes"), ({"shape": [1 << 62, 8]}, "sizes"),
    ({"shape": [-2, 8]}, "sizes"), ({"key": "base_model.model.7.lora_A.weight"}, "7.lora_A")])
def test_hostile_side_files(small, tmp_path, change, message):
    assert compile_inputs(small, tmp_path / "p.mlpackage", small / "lora").returncode == 0
    side = tmp_path / "p.adapter.json"
    text = json.loads(side.read_text())
    text["functions"]["a"][0].update(change)
    side.write_text(json.dumps(text))
    result = plait("adapter", "pack", small / "lora", "--map", side, "--output-dir", tmp_path / "out")
    assert result.returncode == 1 and message in result.stderr, result.stderr
    side.write_text("[" * 100000)
    assert plait("adapter", "pack", small / "lora", "--map", side, "--output-dir", tmp_path / "out").returncode == 1
