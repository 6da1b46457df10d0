"""Adapters applied without tracing give what PEFT's own forward gives, kept and folded, for every kind and option."""

import copy
import json

import adapter_models as models
import numpy as np
import peft
import pytest
import safetensors.torch
import torch
from adapter_checks import check_all, run, save_base
from command import plait, succeed
from peft import IA3Config, LoHaConfig, LoKrConfig, LoraConfig, VeraConfig


QV = ["q_proj", "v_proj"]
IDS = {"ids": torch.tensor([[3, 1, 4, 15, 9, 26]])}


def test_lora_options_llama(tmp_path):
    """Ranks, alphas, choices of modules, biases, replaced modules, other types of file."""
    check_all(tmp_path, models.llama(), models.Logits, IDS, ["ids=int32[1, 6]"], {
        "plain_lora": LoraConfig(r=4, lora_alpha=6, target_modules=QV),
        "rank_scaled": LoraConfig(r=4, lora_alpha=6, use_rslora=True, target_modules=QV),
        "patterns": LoraConfig(r=4, lora_alpha=6, target_modules="all-linear",
                               rank_pattern={"down_proj": 2, r"layers\.0\.self_attn\.q_proj": 3},
                               alpha_pattern={r"layers\.\d\.mlp\..*": 3, "^model.layers.1.self_attn.k_proj": 5}),
        "some_layers": LoraConfig(r=4, target_modules=QV, layers_to_transform=[1], layers_pattern="layers"),
        "regex": LoraConfig(r=4, target_modules=r".*\.(?:q|k)_proj$"),
        "excluded": LoraConfig(r=4, target_modules=QV, exclude_modules=r"model\.layers\.0\..*"),
        "all_biases": LoraConfig(r=4, target_modules=QV, bias="all"),
        "own_biases": LoraConfig(r=4, target_modules=QV, bias="lora_only", lora_bias=True),
        "replaced": LoraConfig(r=4, target_modules=QV, modules_to_save=["lm_head", "norm"]),
        "embedding": LoraConfig(r=4, target_modules=["embed_tokens", "q_proj", "lm_head"]),
        "bfloat": (LoraConfig(r=4, target_modules=QV), {"dtype": torch.bfloat16}),
        "pickled": (LoraConfig(r=4, target_modules=QV), {"safe_serialization": False}),
        "dropout": LoraConfig(r=4, target_modules=QV, lora_dropout=0.3, init_lora_weights="gaussian"),
    })


def test_kinds_llama(tmp_path):
    check_all(tmp_path, models.llama(), models.Logits, IDS, ["ids=int32[1, 6]"], {
        "dora": LoraConfig(r=4, use_dora=True, target_modules=["q_proj", "down_proj"]),
        "dora_embedding": LoraConfig(r=4, use_dora=True, target_modules=["embed_tokens", "v_proj"]),
        "ia3": IA3Config(target_modules=["k_proj", "down_proj"], feedforward_modules=["down_proj"]),
        "loha": LoHaConfig(r=3, alpha=5, target_modules=["q_proj", "down_proj"]),
        "lokr": LoKrConfig(r=2, alpha=5, target_modules=["q_proj", "down_proj"]),
        "lokr_both": LoKrConfig(r=1, alpha=5, target_modules=["q_proj", "up_proj"], decompose_both=True),
        "vera": VeraConfig(r=4, target_modules=["q_proj", "down_proj"], save_projection=True),
    })


def test_gpt2(tmp_path):
    """Its Conv1D has the weight transposed; its embedding and head are one weight."""
    check_all(tmp_path, models.gpt2(), models.Logits, IDS, ["ids=int32[1, 6]"], {
        "lora": LoraConfig(r=4, target_modules=["c_attn", "c_proj"], fan_in_fan_out=True),
        "dora": LoraConfig(r=4, target_modules=["c_attn"], fan_in_fan_out=True, use_dora=True, bias="all"),
        "ia3": IA3Config(target_modules=["c_attn", "mlp.c_proj"], feedforward_modules=["mlp.c_proj"],
                         fan_in_fan_out=True),
        "embedding": LoraConfig(r=4, target_modules=["wte", "wpe"]),
    })


def test_vit(tmp_path):
    check_all(tmp_path, models.vit(), models.Pixels, {"x": torch.rand(1, 3, 16, 16)}, ["x=[1, 3, 16, 16]"], {
        "lora": LoraConfig(r=4, target_modules=r".*attention\..*(query|value|q_proj|v_proj)",
                           modules_to_save=["classifier"]),
        "patches": LoraConfig(r=4, target_modules=["projection"]),
    })


def test_whisper_encoder(tmp_path):
    check_all(tmp_path, models.whisper(), models.Pixels, {"x": torch.randn(1, 8, 32)}, ["x=[1, 8, 32]"], {
        "lora": LoraConfig(r=4, target_modules=["q_proj", "v_proj", "fc1"]),
        "loha": LoHaConfig(r=3, target_modules=["out_proj", "fc2"]),
        "lokr": LoKrConfig(r=3, target_modules=["out_proj", "fc2"]),
    })


def test_unet(tmp_path):
    convolutions = ["conv_in", "down", "proj", "wave", "up"]
    check_all(tmp_path, models.unet(), lambda model: model, {"x": torch.randn(1, 3, 8, 8), "t": torch.randn(1, 8)},
              ["x=[1, 3, 8, 8]", "t=[1, 8]"], {
                  "lora": LoraConfig(r=4, target_modules=[*convolutions, "to_q", "time"]),
                  "dora": LoraConfig(r=4, target_modules=["down", "proj", "wave"], use_dora=True),
                  "biased": LoraConfig(r=4, target_modules=["down"], lora_bias=True, bias="all"),
                  "ia3": IA3Config(target_modules=["conv_in", "proj"], feedforward_modules=["proj"]),
                  "loha": LoHaConfig(r=3, target_modules=[*convolutions, "to_q"]),
                  "loha_tucker": LoHaConfig(r=3, target_modules=convolutions, use_effective_conv2d=True),
                  "lokr": LoKrConfig(r=2, target_modules=[*convolutions, "to_q"]),
                  "lokr_tucker": LoKrConfig(r=1, target_modules=["conv_in", "down", "up"], use_effective_conv2d=True,
                                            decompose_both=True),
              })


def test_tied_weights(tmp_path):
    """The head uses the embedding's weight: an adapted or replaced embedding leaves it as it was."""
    check_all(tmp_path, models.llama(tied=True), models.Logits, IDS, ["ids=int32[1, 6]"], {
        "embedding": LoraConfig(r=4, target_modules=["embed_tokens"]),
        "head": LoraConfig(r=4, target_modules=["lm_head"]),
        "projections": LoraConfig(r=4, target_modules=QV),
    })


@pytest.mark.parametrize("tied", [False, True])
def test_rows_for_tokens(tmp_path, tied):
    """trainable_token_indices: rows of the embedding alone, and of a head that has its weight."""
    check_all(tmp_path, models.llama(tied), models.Logits, IDS, ["ids=int32[1, 6]"], {
        "some": LoraConfig(r=4, target_modules=QV, trainable_token_indices=[1, 9, 33]),
        "named": LoraConfig(r=4, target_modules="all-linear", use_dora=True, exclude_modules=["lm_head"],
                            trainable_token_indices={"embed_tokens": [4]}),
    })
    given = ["compile", "-o", tmp_path / "p.mlpackage", "--base", tmp_path / "base.pt", "--input", "ids=int32[1, 6]"]
    succeed("verify", tmp_path / "keep.mlpackage", "--function", "some", "--against", tmp_path / "base.pt", "--adapter",
            tmp_path / "some")
    resized = edited(tmp_path / "some", tmp_path / "resized", trainable_token_indices=[1, 9, 64])
    for options, message in [(["--adapter", f"a={tmp_path}/some", "--lora", "inputs"], "--lora keep"),
                             (["--adapter", f"a={tmp_path}/some:0.5+{tmp_path}/named:0.5"], "cannot be blended"),
                             (["--adapter", f"a={resized}"], "was resized")]:
        result = plait(*given, *options)
        assert result.returncode == 1 and message in result.stderr, result.stderr


def test_bytes_of_rows_for_tokens(tmp_path):
    """The embedding stays shared."""
    base = models.llama(tied=True)
    base.resize_token_embeddings(2000)
    save_base(models.Logits(base), tuple(IDS.values()), tmp_path / "base.pt")
    models.adapt(base, LoraConfig(r=4, target_modules=QV, trainable_token_indices=[1, 9, 1033]), tmp_path / "a")
    succeed("compile", "-o", tmp_path / "p.mlpackage", "--base", tmp_path / "base.pt", "--input", "ids=int32[1, 6]",
            "--base-function", "plain", "--adapter", f"a={tmp_path}/a")
    report = json.loads(succeed("inspect", tmp_path / "p.mlpackage", "--json").stdout)["functions"]
    file = (tmp_path / "a" / "adapter_model.safetensors").stat().st_size / 2
    assert report[1]["own_weight_bytes"] <= 1.1 * file


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    """A base of 96 features, large enough for weights to outweigh the rest, with adapters of several kinds."""
    folder = tmp_path_factory.mktemp("llama")
    base = models.llama()
    save_base(models.Logits(base), tuple(IDS.values()), folder / "base.pt")
    models.adapt(base, LoraConfig(r=4, lora_alpha=6, target_modules=QV), folder / "one", 1)
    models.adapt(base, LoraConfig(r=2, lora_alpha=6, target_modules=QV), folder / "two", 2)
    return folder, base


def compile_llama(folder, package, *options, base="base.pt"):
    return plait("compile", "-o", package, "--base", folder / base, "--input", "ids=int32[1, 6]", "--output", "y",
                 "--precision", "fp32", *options)


def test_blend(llama, tmp_path):
    """As PEFT's add_weighted_adapter with "cat": the sum of what each adds."""
    folder, base = llama
    assert compile_llama(folder, tmp_path / "p.mlpackage", "--adapter",
                         f"both={folder}/one:0.7+{folder}/two:0.3").returncode == 0
    model = peft.PeftModel.from_pretrained(copy.deepcopy(base), folder / "one", adapter_name="one")
    model.load_adapter(folder / "two", "two")
    model.add_weighted_adapter(["one", "two"], [0.7, 0.3], "both", combination_type="cat")
    model.set_adapter("both")
    with torch.no_grad():
        expected = models.Logits(model.eval())(*IDS.values()).numpy()
    found = run(tmp_path / "p.mlpackage", "both", {"ids": IDS["ids"].numpy()}, tmp_path)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_verify_merges_in_libtorch(llama, tmp_path):
    folder, _ = llama
    package = tmp_path / "p.mlpackage"
    assert compile_llama(folder, package, "--adapter", f"one={folder}/one").returncode == 0
    succeed("verify", package, "--function", "one", "--against", folder / "base.pt", "--adapter", folder / "one")
    other = plait("verify", package, "--function", "one", "--against", folder / "base.pt", "--adapter", folder / "two")
    assert other.returncode == 1 and "FAIL" in other.stdout


def test_recipe(llama, tmp_path):
    folder, _ = llama
    (folder / "r.yaml").write_text(f"""output: {tmp_path}/recipe.mlpackage
base: base.pt
precision: fp32
inputs: ['ids=int32[1, 6]']
outputs: [y]
functions:
  plain: {{bare_base: on}}
  one: {{adapter: one}}
  both: {{adapter: 'one:0.7+two:0.3', lora: fold}}
""")
    succeed("compile", folder / "r.yaml")
    report = json.loads(succeed("inspect", tmp_path / "recipe.mlpackage", "--json").stdout)
    assert [function["name"] for function in report["functions"]] == ["plain", "one", "both"]


def test_adapters_as_inputs(llama, tmp_path):
    folder, base = llama
    models.adapt(base, LoraConfig(r=4, lora_alpha=9, target_modules=QV), folder / "later", 5)
    package = tmp_path / "p.mlpackage"
    result = compile_llama(folder, package, "--adapter", f"adapted={folder}/one", "--lora", "inputs")
    assert result.returncode == 0, result.stderr
    side = json.loads((tmp_path / "p.adapter.json").read_text())["functions"]["adapted"]
    assert all(entry["key"].startswith("base_model.model.") for entry in side)
    for name in ("one", "later"):
        arrays = tmp_path / name
        succeed("adapter", "pack", folder / name, "--map", tmp_path / "p.adapter.json", "--output-dir", arrays)
        given = {entry["input"]: np.load(arrays / f"{entry['input']}.npy") for entry in side}
        assert all(array.dtype == np.float16 and list(array.shape) == entry["shape"]
                   for entry, array in zip(side, given.values()))
        found = run(package, "adapted", {"ids": IDS["ids"].numpy(), **given}, arrays)
        model = peft.PeftModel.from_pretrained(copy.deepcopy(base), folder / name).eval()
        with torch.no_grad():
            expected = models.Logits(model)(*IDS.values()).numpy()
        np.testing.assert_allclose(found, expected, rtol=5e-3, atol=5e-3)
    wrong = plait("adapter", "pack", folder / "two", "--map", tmp_path / "p.adapter.json", "--output-dir", tmp_path / "w")
    assert wrong.returncode == 1 and "rank" in wrong.stderr


def kohya(source, path, alpha):
    """An adapter of PEFT's in the way of Kohya's scripts."""
    tensors = {}
    for key, value in safetensors.torch.load_file(source / "adapter_model.safetensors").items():
        module, factor = key.removeprefix("base_model.model.").split(".lora_")
        name = "lora_unet_" + module.replace(".", "_")
        tensors[f"{name}.lora_{'down' if factor.startswith('A') else 'up'}.weight"] = value
        tensors[f"{name}.alpha"] = torch.tensor(float(alpha))
    safetensors.torch.save_file(tensors, path)


def test_keys_of_other_tools(llama, tmp_path):
    folder, _ = llama
    kohya(folder / "one", tmp_path / "kohya.safetensors", 6)
    tensors = safetensors.torch.load_file(folder / "one" / "adapter_model.safetensors")
    with_scale = {key.replace("base_model.model.", "transformer."): value * (1.5 if "lora_B" in key else 1)
                  for key, value in tensors.items()}
    safetensors.torch.save_file(with_scale, tmp_path / "diffusers.safetensors")
    package = tmp_path / "p.mlpackage"
    result = compile_llama(folder, package, "--adapter", f"peft={folder}/one", "--adapter",
                           f"kohya={tmp_path}/kohya.safetensors", "--adapter",
                           f"diffusers={tmp_path}/diffusers.safetensors")
    assert result.returncode == 0, result.stderr
    outputs = [run(package, name, {"ids": IDS["ids"].numpy()}, tmp_path) for name in ("peft", "kohya", "diffusers")]
    np.testing.assert_allclose(outputs[1], outputs[0], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(outputs[2], outputs[0], rtol=1e-5, atol=1e-6)


def edited(source, folder, **config):
    folder.mkdir()
    text = json.loads((source / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps({**text, **config}))
    (folder / "adapter_model.safetensors").write_bytes((source / "adapter_model.safetensors").read_bytes())
    return folder


@pytest.mark.parametrize("config, message", [
    ({"peft_type": "OFT"}, "OFT"),
    ({"layer_replication": [[0, 1]]}, "layer_replication"),
    ({"megatron_config": {"a": 1}}, "megatron_config"),
    ({"init_lora_weights": "pissa"}, "path_initial_model_for_weight_conversion"),
    ({"alora_invocation_tokens": [1]}, "alora_invocation_tokens"),
    ({"r": 5}, "rank"),
    ({"target_modules": "(a+)+$"}, "belong to no module"),
    ({"target_modules": "(?<=a)b"}, "belong to no module"),
    ({"layers_to_transform": [0]}, "configuration does not choose"),
])
def test_refused_configurations(llama, tmp_path, config, message):
    folder, _ = llama
    adapter = edited(folder / "one", tmp_path / "a", **config)
    result = compile_llama(folder, tmp_path / "p.mlpackage", "--adapter", f"a={adapter}")
    assert result.returncode == 1, result.stdout
    assert message in result.stderr
    assert not (tmp_path / "p.mlpackage").exists()


def test_unmatched_tensors(llama, tmp_path):
    folder, _ = llama
    adapter = edited(folder / "one", tmp_path / "a")
    tensors = safetensors.torch.load_file(adapter / "adapter_model.safetensors")
    tensors["base_model.model.model.layers.7.self_attn.q_proj.lora_A.weight"] = torch.zeros(4, 32)
    safetensors.torch.save_file(tensors, adapter / "adapter_model.safetensors")
    result = compile_llama(folder, tmp_path / "p.mlpackage", "--adapter", f"a={adapter}")
    assert result.returncode == 1
    assert "layers.7.self_attn.q_proj.lora_A.weight" in result.stderr and "--allow-unmatched" in result.stderr
    result = compile_llama(folder, tmp_path / "p.mlpackage", "--adapter", f"a={adapter}", "--allow-unmatched")
    assert result.returncode == 0 and "warning" in result.stderr


class Pair(torch.nn.Module):
    def __init__(self, first, second):
        super().__init__()
        self.first, self.second = first, second

    def forward(self, x):
        return self.second(self.first(x))


class Mlp(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.up = torch.nn.Linear(8, 8)

    def forward(self, x):
        return torch.relu(self.up(x))


def test_root(tmp_path):
    """Two parts of the base fit: it must be said which; a frozen base and another base are refused."""
    pair = Pair(Mlp(), Mlp()).eval()
    x = torch.randn(2, 8)
    save_base(pair, (x,), tmp_path / "base.pt")
    second = models.adapt(pair.second, LoraConfig(r=2, target_modules=["up"]), tmp_path / "a")
    package, given = tmp_path / "p.mlpackage", ["--input", "x=[2, 8]", "--output", "y", "--precision", "fp32"]
    result = plait("compile", "-o", package, "--base", tmp_path / "base.pt", *given, "--adapter", f"a={tmp_path}/a")
    assert result.returncode == 1 and "'first', 'second'" in result.stderr and "--adapter-root" in result.stderr
    succeed("compile", "-o", package, "--base", tmp_path / "base.pt", *given, "--adapter", f"a={tmp_path}/a",
            "--adapter-root", "second")
    with torch.no_grad():
        expected = second(pair.first(x)).numpy()
    np.testing.assert_allclose(run(package, "a", {"x": x.numpy()}, tmp_path), expected, rtol=1e-5, atol=1e-5)

    torch.jit.freeze(torch.jit.trace(pair, (x,))).save(str(tmp_path / "frozen.pt"))
    result = plait("compile", "-o", package, "--base", tmp_path / "frozen.pt", *given, "--adapter", f"a={tmp_path}/a")
    assert result.returncode == 1 and "frozen" in result.stderr


def test_scripted_base(tmp_path):
    base = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3, padding=1), torch.nn.ReLU(), torch.nn.Conv2d(8, 4, 1)).eval()
    x = torch.randn(1, 3, 6, 6)
    torch.jit.script(base).save(str(tmp_path / "base.pt"))
    model = models.adapt(base, LoraConfig(r=2, target_modules=["0", "2"]), tmp_path / "a")
    package = tmp_path / "p.mlpackage"
    succeed("compile", "-o", package, "--base", tmp_path / "base.pt", "--input", "x=[1, 3, 6, 6]", "--output", "y",
            "--precision", "fp32", "--adapter", f"a={tmp_path}/a")
    with torch.no_grad():
        expected = model(x).numpy()
    np.testing.assert_allclose(run(package, "a", {"x": x.numpy()}, tmp_path), expected, rtol=1e-5, atol=1e-5)


def test_functional_weight(tmp_path):
    """MultiheadAttention uses out_proj's weight without calling it."""
    class Model(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.attention = torch.nn.MultiheadAttention(8, 2, batch_first=True)

        def forward(self, x):
            return self.attention(x, x, x, need_weights=False)[0]

    save_base(Model().eval(), (torch.randn(1, 4, 8),), tmp_path / "base.pt")
    tensors = {"base_model.model.attention.out_proj.lora_A.weight": torch.randn(2, 8),
               "base_model.model.attention.out_proj.lora_B.weight": torch.randn(8, 2)}
    (tmp_path / "a").mkdir()
    safetensors.torch.save_file(tensors, tmp_path / "a" / "adapter_model.safetensors")
    (tmp_path / "a" / "adapter_config.json").write_text(json.dumps(
        {"peft_type": "LORA", "r": 2, "lora_alpha": 2, "target_modules": ["out_proj"]}))
    result = plait("compile", "-o", tmp_path / "p.mlpackage", "--base", tmp_path / "base.pt", "--input", "x=[1, 4, 8]",
                   "--adapter", f"a={tmp_path}/a")
    assert result.returncode == 1
    assert "attention.out_proj" in result.stderr


def hostile_headers():
    good = {"base_model.model.up.lora_A.weight": {"dtype": "F32", "shape": [2, 8], "data_offsets": [0, 64]},
            "base_model.model.up.lora_B.weight": {"dtype": "F32", "shape": [8, 2], "data_offsets": [64, 128]}}

    def changed(**fields):
        header = copy.deepcopy(good)
        header["base_model.model.up.lora_B.weight"].update(fields)
        return json.dumps(header)

    yield "overlapping", changed(data_offsets=[32, 96])
    yield "beyond the end", changed(data_offsets=[64, 1 << 40])
    yield "negative", changed(data_offsets=[-64, 0])
    yield "backwards", changed(data_offsets=[128, 64])
    yield "huge shape", changed(shape=[1 << 62, 1 << 62])
    yield "negative shape", changed(shape=[-8, -2])
    yield "other size", changed(shape=[8, 3])
    yield "unknown type", changed(dtype="F7")
    yield "fraction", changed(data_offsets=[64.5, 128])
    yield "duplicate", json.dumps(good)[:-1] + ', "base_model.model.up.lora_A.weight": {"dtype": "F32", "shape": [2, 8], "data_offsets": [0, 64]}}'
    yield "deep", "{" + '"a":[' * 100000
    yield "not json", '{"a": '
    yield "no object", "[1, 2]"


@pytest.mark.parametrize("name, header", list(hostile_headers()), ids=lambda value: value if len(value) < 20 else "")
def test_hostile_safetensors(tmp_path, name, header):
    base = tmp_path / "base.pt"
    save_base(Mlp().eval(), (torch.randn(2, 8),), base)
    text = header.encode()
    (tmp_path / "a.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + bytes(128))
    result = plait("compile", "-o", tmp_path / "p.mlpackage", "--base", base, "--input", "x=[2, 8]", "--adapter",
                   f"a={tmp_path}/a.safetensors")
    assert result.returncode == 1, name
    assert "a.safetensors" in result.stderr


def test_truncated_safetensors(tmp_path):
    base = tmp_path / "base.pt"
    save_base(Mlp().eval(), (torch.randn(2, 8),), base)
    models.adapt(Mlp(), LoraConfig(r=2, target_modules=["up"]), tmp_path / "a")
    whole = (tmp_path / "a" / "adapter_model.safetensors").read_bytes()
    for size in (0, 5, 8, 60, len(whole) - 1):
        (tmp_path / "a" / "adapter_model.safetensors").write_bytes(whole[:size])
        result = plait("compile", "-o", tmp_path / "p.mlpackage", "--base", base, "--input", "x=[2, 8]", "--adapter",
                       f"a={tmp_path}/a")
        assert result.returncode == 1, size
        assert "adapter_model.safetensors" in result.stderr


def test_own_bytes(tmp_path):
    """Kept, a function's own weights take at most 1.1 times its adapter's file at two bytes a number."""
    torch.manual_seed(0)
    base = torch.nn.Sequential(*(torch.nn.Linear(512, 512) for _ in range(2))).eval()
    save_base(base, (torch.randn(1, 512),), tmp_path / "base.pt")
    configs = {
        "lora": LoraConfig(r=8, target_modules=["0", "1"]),
        "dora": LoraConfig(r=8, target_modules=["0", "1"], use_dora=True),
        "loha": LoHaConfig(r=4, target_modules=["0", "1"]),
        "lokr": LoKrConfig(r=4, target_modules=["0", "1"]),
        "ia3": IA3Config(target_modules=["0", "1"], feedforward_modules=[]),
    }
    given = []
    for seed, (name, config) in enumerate(configs.items(), 1):
        models.adapt(base, config, tmp_path / name, seed)
        given += ["--adapter", f"{name}={tmp_path}/{name}"]
    package = tmp_path / "p.mlpackage"
    report = succeed("compile", "-o", package, "--base", tmp_path / "base.pt", "--input", "x=[1, 512]",
                     "--base-function", "plain", *given).stdout
    whole = json.loads(succeed("inspect", package, "--json").stdout)["weights"]["unique_bytes"]
    print(report)
    for name in configs:
        succeed("compile", "-o", tmp_path / "without.mlpackage", "--base", tmp_path / "base.pt", "--input", "x=[1, 512]",
                "--base-function", "plain",
                *(text for other in configs if other != name for text in ("--adapter", f"{other}={tmp_path}/{other}")))
        own = whole - json.loads(succeed("inspect", tmp_path / "without.mlpackage", "--json").stdout)["weights"]["unique_bytes"]
        file = (tmp_path / name / "adapter_model.safetensors").stat().st_size / 2
        assert own <= 1.1 * file, (name, own, file)
