"""Kinds of adapters beside LoRA's options: what PEFT computes of convolutions of every sort, AdaLoRA, LN tuning; what is
refused by name; how many bytes each kind takes."""

import copy
import json

import adapter_models as models
import numpy as np
import peer
import peft
import pytest
import safetensors.torch
import torch
from adapter_checks import assert_close, check_all, run, save_base
from census import unknown_signatures
from command import plait, succeed
from peft import (AdaLoraConfig, IA3Config, LNTuningConfig, LoHaConfig, LoKrConfig, LoraConfig, PeftType, VeraConfig)

IDS = {"ids": torch.tensor([[3, 1, 4, 15, 9, 26]])}


class Convolutions(torch.nn.Module):
    """Groups, depthwise, dilation, strides, one and two dimensions."""

    def __init__(self):
        super().__init__()
        self.grouped = torch.nn.Conv2d(8, 16, 3, padding=1, groups=4)
        self.depthwise = torch.nn.Conv2d(16, 16, 3, padding=1, groups=16)
        self.dilated = torch.nn.Conv2d(16, 8, 3, padding="same", dilation=2)
        self.strided = torch.nn.Conv2d(8, 8, (3, 5), stride=(2, 1), padding=(1, 2))
        self.wave = torch.nn.Conv1d(8, 32, 3, padding=1)
        self.square = torch.nn.Conv1d(32, 32, 3, padding=1, stride=2)

    def forward(self, x):
        x = torch.relu(self.depthwise(torch.relu(self.grouped(x))))
        x = self.strided(torch.relu(self.dilated(x)))
        return self.square(torch.relu(self.wave(x.flatten(2))))


class Volume(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.first = torch.nn.Conv3d(3, 8, 3, padding=1)
        self.last = torch.nn.Conv3d(8, 4, 1)

    def forward(self, x):
        return self.last(torch.relu(self.first(x)))


def check_convolutions(folder, adapters, **options):
    torch.manual_seed(0)
    check_all(folder, Convolutions().eval(), lambda model: model, {"x": torch.randn(1, 8, 8, 8)}, ["x=[1, 8, 8, 8]"],
              adapters, **options)


UNDILATED = ["grouped", "depthwise", "strided", "wave", "square"]


def test_convolutions(tmp_path):
    check_convolutions(tmp_path, {
        "lora": LoraConfig(r=4, target_modules=["strided", "wave", "square"]),
        "dora": LoraConfig(r=4, target_modules=["strided", "wave"], use_dora=True, bias="lora_only"),
        "adalora": AdaLoraConfig(init_r=4, target_r=2, total_step=10, target_modules=["dilated", "strided"]),
        "ia3": IA3Config(target_modules=["grouped", "strided"], feedforward_modules=["grouped"]),
        "ia3_out": IA3Config(target_modules=["grouped", "depthwise"], feedforward_modules=[]),
        "loha": LoHaConfig(r=3, target_modules=UNDILATED),
        "loha_tucker": LoHaConfig(r=3, target_modules=UNDILATED, use_effective_conv2d=True),
        "lokr": LoKrConfig(r=2, target_modules=["grouped", "strided", "square"]),
        "lokr_whole": LoKrConfig(r=8, target_modules=["strided", "wave", "square"]),
        "lokr_both": LoKrConfig(r=1, target_modules=["strided", "wave"], decompose_both=True),
    })


def test_kernels_that_are_computed_are_known_to_coremltools(tmp_path):
    torch.manual_seed(0)
    base = Convolutions().eval()
    save_base(base, (torch.randn(1, 8, 8, 8),), tmp_path / "base.pt")
    given = []
    for name, config in {"loha": LoHaConfig(r=2, target_modules=UNDILATED),
                         "tucker": LoHaConfig(r=2, target_modules=UNDILATED, use_effective_conv2d=True),
                         "lokr": LoKrConfig(r=1, target_modules=["grouped", "wave"], decompose_both=True)}.items():
        models.adapt(base, config, tmp_path / name)
        given += ["--adapter", f"{name}={tmp_path}/{name}"]
    succeed("compile", "-o", tmp_path / "p.mlpackage", "--base", tmp_path / "base.pt", "--input", "x=[1, 8, 8, 8]", *given)
    assert not unknown_signatures(peer.check_package(tmp_path / "p.mlpackage"))


def test_one_small_layer(tmp_path):
    """Its branch is linear layers, as of any other layer, though their zero biases weigh more than the factors."""
    torch.manual_seed(0)
    check_all(tmp_path, torch.nn.Sequential(torch.nn.Linear(24, 32)).eval(), lambda model: model,
              {"x": torch.randn(3, 24)}, ["x=[3, 24]"], {"dora": LoraConfig(r=1, target_modules=["0"], use_dora=True)},
              modes=("keep",))
    operations = functions_of(tmp_path / "keep.mlpackage")[1]["operations"]
    assert operations["linear"] == 3 and "matmul" not in operations


def test_a_kernel_that_is_computed_cannot_be_dilated(tmp_path):
    """Core ML dilates no weight that is computed, as a LoHa's difference is, and a weight it is folded into; nor an input."""
    torch.manual_seed(0)
    base = Convolutions().eval()
    save_base(base, (torch.randn(1, 8, 8, 8),), tmp_path / "base.pt")
    for name, config in {"loha": LoHaConfig(r=3, target_modules=["dilated"]),
                         "lokr": LoKrConfig(r=2, target_modules=["dilated"]),
                         "ia3": IA3Config(target_modules=["dilated"], feedforward_modules=[]),
                         "adalora": AdaLoraConfig(init_r=2, total_step=10, target_modules=["dilated"])}.items():
        models.adapt(base, config, tmp_path / name)
    for name, mode, advice in [("loha", "keep", "merge_and_unload"), ("loha", "fold", "merge_and_unload"),
                               ("lokr", "fold", "--lora keep"), ("ia3", "fold", "--lora keep"),
                               ("lokr", "inputs", "--lora keep"), ("adalora", "inputs", "--lora keep")]:
        result = plait("compile", "-o", tmp_path / "p.mlpackage", "--lora", mode, "--base", tmp_path / "base.pt", "--input",
                       "x=[1, 8, 8, 8]", "--adapter", f"a={tmp_path}/{name}")
        assert result.returncode == 1 and "dilate" in result.stderr and "'dilated'" in result.stderr, result.stderr
        assert advice in result.stderr, result.stderr


def test_convolutions_that_cannot_be_merged(tmp_path):
    """PEFT's lora_A sees all groups at once and is not dilated: no product of factors is that."""
    adapters = {"grouped": LoraConfig(r=4, target_modules=["grouped"]),
                "grouped_dora": LoraConfig(r=4, target_modules=["grouped"], use_dora=True),
                "depthwise": LoraConfig(r=16, target_modules=["depthwise"]),
                "dilated": LoraConfig(r=4, target_modules=["dilated"]),
                "dilated_dora": LoraConfig(r=4, target_modules=["dilated"], use_dora=True)}
    check_convolutions(tmp_path, adapters, modes=("keep",))
    for name in adapters:
        result = plait("compile", "-o", tmp_path / "fold.mlpackage", "--lora", "fold", "--base", tmp_path / "base.pt",
                       "--input", "x=[1, 8, 8, 8]", "--adapter", f"a={tmp_path}/{name}")
        assert result.returncode == 1 and "--lora keep" in result.stderr, result.stderr
        result = plait("verify", tmp_path / "keep.mlpackage", "--function", name, "--against", tmp_path / "base.pt",
                       "--adapter", tmp_path / name)
        assert result.returncode == 1 and "cannot be merged" in result.stderr, result.stderr


class Ends(torch.nn.Module):
    """Two modules whose names end alike, square, so that no vector shows what it scales; a norm that counts."""

    def __init__(self):
        super().__init__()
        self.conv, self.my_conv = (torch.nn.Conv2d(6, 6, 3, padding=1) for _ in range(2))
        self.norm = torch.nn.BatchNorm2d(6)

    def forward(self, x):
        return self.norm(self.my_conv(torch.tanh(self.conv(x))))


def test_feedforward_modules_are_ends_of_names(tmp_path):
    torch.manual_seed(0)
    targets = ["conv", "my_conv"]
    check_all(tmp_path, Ends().eval(), lambda model: model, {"x": torch.randn(1, 6, 6, 6)}, ["x=[1, 6, 6, 6]"], {
        "both": IA3Config(target_modules=targets, feedforward_modules=["conv"]),
        "one": IA3Config(target_modules=targets, feedforward_modules=["my_conv"]),
    })


def test_a_batch_norm_that_training_moved(tmp_path):
    """Its statistics are saved with it, and a count of batches that nothing reads after training."""
    torch.manual_seed(0)
    base, x = Ends().eval(), torch.randn(1, 6, 6, 6)
    save_base(base, (x,), tmp_path / "base.pt")
    for name, config in {"saved": LoraConfig(r=2, target_modules=["conv"], modules_to_save=["norm"]),
                         "tuned": LNTuningConfig(target_modules=["norm"])}.items():
        model = peft.get_peft_model(copy.deepcopy(base), config).train()
        model(1 + 2 * torch.randn(8, 6, 6, 6))
        model.save_pretrained(tmp_path / name)
        with torch.no_grad():
            expected = model.eval()(x).numpy()
            assert np.abs(expected - base(x).numpy()).max() > 1e-2
        succeed("compile", "-o", tmp_path / "p.mlpackage", "--precision", "fp32", "--base", tmp_path / "base.pt", "--input",
                "x=[1, 6, 6, 6]", "--output", "y", "--adapter", f"a={tmp_path}/{name}")
        assert_close(run(tmp_path / "p.mlpackage", "a", {"x": x.numpy()}, tmp_path), expected)


def test_conv3d(tmp_path):
    torch.manual_seed(0)
    targets = ["first", "last"]
    check_all(tmp_path, Volume().eval(), lambda model: model, {"x": torch.randn(1, 3, 4, 6, 6)}, ["x=[1, 3, 4, 6, 6]"], {
        "lora": LoraConfig(r=2, target_modules=targets),
        "dora": LoraConfig(r=2, target_modules=targets, use_dora=True),
        "ia3": IA3Config(target_modules=targets, feedforward_modules=["last"]),
    })


class Reflecting(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 4, 3, padding=1, padding_mode="reflect")

    def forward(self, x):
        return self.conv(x)


def test_other_padding_is_refused(tmp_path):
    """PEFT pads lora_A's input with zeros whatever the base does, and a trace no longer knows how much."""
    save_base(Reflecting().eval(), (torch.randn(1, 3, 6, 6),), tmp_path / "base.pt")
    models.adapt(Reflecting(), LoraConfig(r=2, target_modules=["conv"]), tmp_path / "a")
    result = plait("compile", "-o", tmp_path / "p.mlpackage", "--base", tmp_path / "base.pt", "--input", "x=[1, 3, 6, 6]",
                   "--adapter", f"a={tmp_path}/a")
    assert result.returncode == 1 and "'conv'" in result.stderr and "pads" in result.stderr, result.stderr


def test_adalora(tmp_path):
    """Also after training has taken ranks away, all of one module's among them."""
    torch.manual_seed(0)
    base = models.llama()
    options = dict(init_r=4, target_r=2, total_step=10, lora_alpha=20)
    check_all(tmp_path, base, models.Logits, IDS, ["ids=int32[1, 6]"], {
        "whole": AdaLoraConfig(target_modules=["q_proj", "down_proj"], bias="all", **options)})
    model = peft.get_peft_model(models.llama(), AdaLoraConfig(target_modules=["q_proj", "v_proj"], **options))
    models.randomise(model, 3)
    keep = {"0.self_attn.q_proj": [True, False, True, False], "1.self_attn.q_proj": [False] * 4,
            "0.self_attn.v_proj": [True] * 4, "1.self_attn.v_proj": [False, False, False, True]}
    model.peft_config["default"].rank_pattern = {f"model.layers.{name}.lora_E.default": kept
                                                 for name, kept in keep.items()}
    model.save_pretrained(tmp_path / "allocated")
    tensors = safetensors.torch.load_file(tmp_path / "allocated" / "adapter_model.safetensors")
    assert tensors["base_model.model.model.layers.0.self_attn.q_proj.lora_A"].shape[0] == 2
    check_saved(tmp_path, "allocated")


def check_saved(folder, name):
    """A folder for the llama whose trace is folder/base.pt, held against PEFT's own loading of it."""
    model = peft.PeftModel.from_pretrained(models.llama(), folder / name).eval()
    with torch.no_grad():
        expected = models.Logits(model)(*IDS.values()).numpy()
        plain = models.Logits(models.llama())(*IDS.values()).numpy()
    assert np.abs(expected - plain).max() > 3e-3
    for mode in ("keep", "fold"):
        package = folder / f"{name}-{mode}.mlpackage"
        succeed("compile", "-o", package, "--precision", "fp32", "--lora", mode, "--base", folder / "base.pt", "--input",
                "ids=int32[1, 6]", "--output", "y", "--adapter", f"{name}={folder}/{name}")
        assert_close(run(package, name, {"ids": IDS["ids"].numpy()}, folder), expected, mode)


def test_gpt2(tmp_path):
    check_all(tmp_path, models.gpt2(), models.Logits, IDS, ["ids=int32[1, 6]"], {
        "adalora": AdaLoraConfig(init_r=4, target_r=2, total_step=10, target_modules=["c_attn"], fan_in_fan_out=True),
        "vera": VeraConfig(r=4, target_modules=["c_attn"], fan_in_fan_out=True),
        "vera_drawn": VeraConfig(r=4, target_modules=["c_attn", "c_proj"], fan_in_fan_out=True, save_projection=False,
                                 projection_prng_key=2**40),
        "ln": LNTuningConfig(target_modules=["ln_1", "ln_f"]),
        "head": LoraConfig(r=4, use_rslora=True, target_modules=["c_fc", "lm_head"], fan_in_fan_out=True),
        "dora": LoraConfig(r=4, use_dora=True, target_modules=["wpe", "c_proj"], fan_in_fan_out=True),
        "layers": LoraConfig(r=4, target_modules=["c_attn"], layers_to_transform=[1], layers_pattern="h",
                             fan_in_fan_out=True),
    })


def test_ln_tuning(tmp_path):
    check_all(tmp_path, models.vit(), models.Pixels, {"x": torch.rand(1, 3, 16, 16)}, ["x=[1, 3, 16, 16]"], {
        "ln": LNTuningConfig(target_modules=r".*layernorm(_before|_after)?", modules_to_save=["classifier"])})


def test_an_embedding_that_is_saved_and_tied(tmp_path):
    """PEFT replaces the embedding alone, or, told to keep the tie, the head too."""
    check_all(tmp_path, models.llama(tied=True), models.Logits, IDS, ["ids=int32[1, 6]"], {
        "embedding": LoraConfig(r=4, target_modules=["q_proj"], modules_to_save=["embed_tokens"]),
        "both": LoraConfig(r=4, target_modules=["q_proj"], modules_to_save=["embed_tokens", "lm_head"]),
        "tied": LoraConfig(r=4, target_modules=["q_proj"], modules_to_save=["embed_tokens"], ensure_weight_tying=True),
        "tied_lora": LoraConfig(r=4, target_modules=["embed_tokens"], ensure_weight_tying=True),
    })


# ---- Refused -----------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A base of two linear layers, and a LoRA of it."""
    folder = tmp_path_factory.mktemp("small")
    base = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.Linear(8, 8)).eval()
    save_base(base, (torch.randn(1, 8),), folder / "base.pt")
    models.adapt(base, LoraConfig(r=2, target_modules=["0", "1"]), folder / "lora")
    models.adapt(base, LoraConfig(r=2, target_modules=["0"], use_dora=True), folder / "dora")
    return folder


def edited(source, folder, tensors=None, **config):
    folder.mkdir()
    text = json.loads((source / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps({**text, **config}))
    given = safetensors.torch.load_file(source / "adapter_model.safetensors")
    safetensors.torch.save_file(tensors(given) if tensors else given, folder / "adapter_model.safetensors")
    return folder


def compile_small(folder, package, adapter, *options):
    return plait("compile", "-o", package, "--base", folder / "base.pt", "--input", "x=[1, 8]", "--precision", "fp32",
                 "--adapter", f"a={adapter}", *options)


SUPPORTED = {"LORA", "ADALORA", "IA3", "LOHA", "LOKR", "VERA", "LN_TUNING"}


@pytest.mark.parametrize("kind", sorted({kind.value for kind in PeftType} - SUPPORTED) + ["SOMETHING_NEW"])
def test_other_kinds_are_refused_by_name(small, tmp_path, kind):
    result = compile_small(small, tmp_path / "p.mlpackage", edited(small / "lora", tmp_path / "a", peft_type=kind))
    assert result.returncode == 1 and kind in result.stderr and "--function" in result.stderr, result.stderr


def test_every_configuration_of_this_peft_is_known(small, tmp_path):
    """What PEFT writes by default is no unknown option."""
    configs = [AdaLoraConfig(init_r=2, total_step=10), IA3Config(feedforward_modules=[]), LoHaConfig(), LoKrConfig(),
               LoraConfig(), VeraConfig(), LNTuningConfig()]
    for number, config in enumerate(configs):
        config.target_modules = ["0"]
        base = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.Linear(8, 8))
        models.adapt(base, config, tmp_path / str(number))
        result = compile_small(small, tmp_path / "p.mlpackage", tmp_path / str(number))
        assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("option", [{"spectral_scaling": 0.5}, {"use_shift": True}, {"mode": "fancy"}, {"x": [1]}])
def test_unknown_options_are_refused(small, tmp_path, option):
    adapter = edited(small / "lora", tmp_path / "a", **option)
    result = compile_small(small, tmp_path / "p.mlpackage", adapter)
    assert result.returncode == 1 and f"'{next(iter(option))}'" in result.stderr, result.stderr


def test_unknown_options_that_are_off_change_nothing(small, tmp_path):
    adapter = edited(small / "lora", tmp_path / "a", use_new=False, new_config=None, new_list=[], new_kind="none", beta=0)
    result = compile_small(small, tmp_path / "p.mlpackage", adapter)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("config, tensors, message", [
    ({"use_dora": False}, None, "use_dora"),
    ({"use_dora": True}, lambda given: {key: value for key, value in given.items() if "magnitude" not in key},
     "lora_magnitude_vector"),
    ({}, lambda given: {**given, "base_model.model.0.lora_A.bias": torch.zeros(2)}, "lora_A.bias"),
    ({}, lambda given: {**given, "base_model.model.0.hada_w1_a": torch.zeros(8, 2)}, "hada_w1_a"),
])
def test_tensors_without_a_part_are_refused(small, tmp_path, config, tensors, message):
    result = compile_small(small, tmp_path / "p.mlpackage", edited(small / "dora", tmp_path / "a", tensors, **config))
    assert result.returncode == 1 and message in result.stderr, result.stderr


@pytest.mark.parametrize("config, tensors, message", [
    ({"lora_alpha": 1e308}, None, "fp32"), ({"use_rslora": "false"}, None, "'use_rslora'"),
    ({"rank_pattern": {"0": 0}}, None, "'rank_pattern'"),
    ({}, lambda given: {**given, "base_model.model.0.lora_A.weight": torch.zeros(0, 8)}, "ZeRO-3"),
    ({}, lambda given: {**given, "base_model.model.0.lora_A.other.weight": torch.zeros(2, 8)}, "lora_A.other.weight"),
    ({}, lambda given: {**given, "base_model.model.0.weight": torch.zeros(8, 8),
                        "base_model.model.0.base_layer.weight": torch.ones(8, 8)}, "0.base_layer.weight"),
])
def test_hostile_adapters(small, tmp_path, config, tensors, message):
    result = compile_small(small, tmp_path / "p.mlpackage", edited(small / "lora", tmp_path / "a", tensors, **config))
    assert result.returncode == 1 and message in result.stderr, result.stderr


@pytest.mark.parametrize("kind", [LoHaConfig, LoKrConfig, VeraConfig])
def test_another_rank_than_the_configuration_says(small, tmp_path, kind):
    base = torch.nn.Sequential(torch.nn.Linear(8, 8))
    options = {"save_projection": False} if kind is VeraConfig else {}
    models.adapt(base, kind(r=1, target_modules=["0"], **options), tmp_path / "made")
    result = compile_small(small, tmp_path / "p.mlpackage", edited(tmp_path / "made", tmp_path / "a", r=2))
    assert result.returncode == 1 and "rank 1" in result.stderr and "says 2" in result.stderr, result.stderr


def test_what_is_no_adapter_folder(small, tmp_path):
    """PEFT saves an adapter with a name a folder deeper; a file of its own has its configuration beside it."""
    folder = tmp_path / "several"
    (folder / "chat").mkdir(parents=True)
    for file in (small / "lora").iterdir():
        (folder / "chat" / file.name).write_bytes(file.read_bytes())
    result = compile_small(small, tmp_path / "p.mlpackage", folder)
    assert result.returncode == 1 and "'chat'" in result.stderr, result.stderr
    sharded = tmp_path / "sharded"
    sharded.mkdir()
    for name in ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "model.safetensors.index.json"):
        (sharded / name).write_bytes(b"")
    result = compile_small(small, tmp_path / "p.mlpackage", sharded)
    assert result.returncode == 1 and "whole model" in result.stderr, result.stderr

    outputs = []
    for number, path in enumerate((folder / "chat", folder / "chat" / "adapter_model.safetensors")):
        package = tmp_path / f"{number}.mlpackage"
        assert compile_small(small, package, path, "--output", "y").returncode == 0
        outputs.append(run(package, "a", {"x": np.ones((1, 8), np.float32)}, tmp_path))
    np.testing.assert_array_equal(outputs[0], outputs[1])
    (folder / "chat" / "adapter_config.json").unlink()
    result = compile_small(small, tmp_path / "p.mlpackage", folder / "chat" / "adapter_model.safetensors")
    assert result.returncode == 1 and "adapter_config.json" in result.stderr, result.stderr


def test_a_dora_cannot_be_weighted(small, tmp_path):
    result = compile_small(small, tmp_path / "p.mlpackage", f"{small}/dora:0.5")
    assert result.returncode == 1 and "DoRA" in result.stderr, result.stderr


def test_kinds_cannot_be_blended(small, tmp_path):
    base = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.Linear(8, 8))
    for name, config in {"ia3": IA3Config(target_modules=["0"], feedforward_modules=[]),
                         "loha": LoHaConfig(target_modules=["1"])}.items():
        models.adapt(base, config, tmp_path / name)
        result = compile_small(small, tmp_path / "p.mlpackage", f"{small}/lora:0.5+{tmp_path}/{name}:0.5")
        assert result.returncode == 1 and "cannot be blended" in result.stderr, result.stderr


@pytest.mark.parametrize("config", [LoraConfig(r=2, target_modules=["0"], use_dora=True),
                                    IA3Config(target_modules=["0"], feedforward_modules=[])])
def test_what_scales_a_weight_cannot_be_blended_with_what_adds_to_it(small, tmp_path, config):
    base = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.Linear(8, 8))
    models.adapt(base, config, tmp_path / "a")
    safetensors.torch.save_file({"lora_unet_0.diff": torch.ones(8, 8)}, tmp_path / "d.safetensors")
    result = compile_small(small, tmp_path / "p.mlpackage", f"{tmp_path}/a:1+{tmp_path}/d.safetensors:0.4")
    assert result.returncode == 1 and "cannot be blended" in result.stderr, result.stderr


def test_projections_of_a_module_that_the_base_lacks(small, tmp_path):
    """They are drawn in the sizes of the largest module, which nothing else says."""
    base = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.Linear(8, 8), torch.nn.Linear(8, 20))
    models.adapt(base, VeraConfig(r=4, target_modules=["0", "2"], save_projection=False), tmp_path / "a")
    result = compile_small(small, tmp_path / "p.mlpackage", tmp_path / "a", "--allow-unmatched")
    assert result.returncode == 1 and "save_projection=True" in result.stderr, result.stderr


# ---- Bytes -------------------------------------------------------------------------------------

def tensor_bytes(path, chosen=""):
    """Of the tensors of a file whose key holds `chosen`, at two bytes a number."""
    return sum(2 * value.numel() for key, value in safetensors.torch.load_file(path).items() if chosen in key)


def functions_of(package):
    return json.loads(succeed("inspect", package, "--json").stdout)["functions"]


def zero_bytes(package, function):
    """Of zeros that only this function has so far: biases that Core ML's linear takes and the model has not. They are
    nobody's own: the next adapter shares them."""
    blobs = peer.read_blobs(package)
    others = {offset for (name, _), (offset, _) in blobs.items() if name != function}
    own = {offset: array for (name, _), (offset, array) in blobs.items() if name == function and offset not in others}
    return sum(array.nbytes for array in own.values() if not array.any())


def check_bytes(folder, base, adapters, inputs, declared, replacing=()):
    """Kept, a function's own weights take at most 1.1 times what its adapter's tensors do, at two bytes a number; zeros do
    not count. The base's function has none of its own, except beside adapters that replace parameters (`replacing`)."""
    save_base(base, inputs, folder / "base.pt")
    for seed, (name, config) in enumerate(adapters.items(), 1):
        if callable(config):
            (folder / name).mkdir()
            safetensors.torch.save_file(config(torch.Generator().manual_seed(seed)), folder / name / "adapter_model.safetensors")
        else:
            models.adapt(base, config, folder / name, seed)
        package = folder / f"{name}.mlpackage"
        succeed("compile", "-o", package, "--base", folder / "base.pt", "--input", declared, "--base-function", "plain",
                "--adapter", f"{name}={folder}/{name}")
        plain, adapted = functions_of(package)
        own = adapted["own_weight_bytes"] - zero_bytes(package, name)
        file = tensor_bytes(folder / name / "adapter_model.safetensors")
        assert own <= 1.1 * file, (name, own, file)
        assert (plain["own_weight_bytes"] > 0) == (name in replacing), (name, plain)


def test_own_bytes_of_linear_layers(tmp_path):
    torch.manual_seed(0)
    base = torch.nn.Sequential(*(torch.nn.Linear(512, 512) for _ in range(3))).eval()
    targets = ["0", "1", "2"]
    check_bytes(tmp_path, base, {
        "lora": LoraConfig(r=8, target_modules=targets),
        "lora_bias": LoraConfig(r=8, target_modules=targets, bias="all"),
        "lora_saved": LoraConfig(r=8, target_modules=["0"], modules_to_save=["2"]),
        "dora": LoraConfig(r=8, target_modules=targets, use_dora=True),
        "adalora": AdaLoraConfig(init_r=8, target_r=4, total_step=10, target_modules=targets),
        "loha": LoHaConfig(r=4, target_modules=targets),
        "lokr": LoKrConfig(r=4, target_modules=targets),
        "lokr_whole": LoKrConfig(r=64, target_modules=targets),
        "ia3": IA3Config(target_modules=targets, feedforward_modules=["2"]),
        "vera": VeraConfig(r=64, target_modules=targets),
    }, (torch.randn(1, 512),), "x=[1, 512]", replacing=("lora_bias", "lora_saved"))


def numbers(generator, *shape):
    return 0.3 * torch.randn(*shape, generator=generator)


def test_own_bytes_of_one_small_layer(tmp_path):
    """Where a zero bias would be half as much as the factors, or more than they are."""
    torch.manual_seed(0)

    def kohya(**factors):
        return lambda generator: {"lora_unet_0.alpha": torch.tensor(2.0), **{f"lora_unet_0.{key.replace('__', '.')}":
                                  numbers(generator, *shape) for key, shape in factors.items()}}

    check_bytes(tmp_path, torch.nn.Sequential(torch.nn.Linear(24, 32)).eval(), {
        "lora_1": LoraConfig(r=1, target_modules=["0"]),
        "lora_4": LoraConfig(r=4, target_modules=["0"]),
        "dora_1": LoraConfig(r=1, target_modules=["0"], use_dora=True),
        "dora_4": LoraConfig(r=4, target_modules=["0"], use_dora=True),
        "loha": LoHaConfig(r=1, target_modules=["0"]),
        "lokr": LoKrConfig(r=1, target_modules=["0"], decompose_both=True),
        "ia3": IA3Config(target_modules=["0"], feedforward_modules=[]),
        "vera": VeraConfig(r=16, target_modules=["0"]),
        "dora_scale": kohya(lora_down__weight=(2, 24), lora_up__weight=(32, 2), dora_scale=(32, 1)),
        "dora_scale_in": kohya(lora_down__weight=(2, 24), lora_up__weight=(32, 2), dora_scale=(1, 24)),
    }, (torch.randn(1, 24),), "x=[1, 24]")


def test_own_bytes_of_convolutions(tmp_path):
    torch.manual_seed(0)
    base = torch.nn.Sequential(torch.nn.Conv2d(128, 256, 3, padding=1), torch.nn.Conv2d(256, 256, 1),
                               torch.nn.Conv2d(256, 256, 3, padding=1, groups=2)).eval()
    check_bytes(tmp_path, base, {
        "lora": LoraConfig(r=8, target_modules=["0", "1", "2"]),
        "dora": LoraConfig(r=8, target_modules=["0", "1"], use_dora=True),
        "adalora": AdaLoraConfig(init_r=8, target_r=4, total_step=10, target_modules=["0", "1"]),
        "loha": LoHaConfig(r=8, target_modules=["0", "1", "2"]),
        "loha_tucker": LoHaConfig(r=8, target_modules=["0", "1", "2"], use_effective_conv2d=True),
        "lokr": LoKrConfig(r=4, target_modules=["0", "1"]),
        "lokr_tucker": LoKrConfig(r=4, target_modules=["0", "1"], use_effective_conv2d=True),
        "ia3": IA3Config(target_modules=["0", "1", "2"], feedforward_modules=["2"]),
    }, (torch.randn(1, 128, 8, 8),), "x=[1, 128, 8, 8]")


def test_own_bytes_of_small_convolutions(tmp_path):
    """Kernels that are computed when the function runs: small as they are, their factors are smaller."""
    torch.manual_seed(0)
    check_bytes(tmp_path, Convolutions().eval(), {
        "lora": LoraConfig(r=2, target_modules=["strided", "wave", "square"]),
        "loha": LoHaConfig(r=2, target_modules=UNDILATED),
        "loha_tucker": LoHaConfig(r=3, target_modules=UNDILATED, use_effective_conv2d=True),
        "loha_tucker_1": LoHaConfig(r=1, target_modules=["strided", "square"], use_effective_conv2d=True),
        "lokr": LoKrConfig(r=2, target_modules=["grouped", "strided", "square"]),
        "lokr_both": LoKrConfig(r=1, target_modules=["grouped", "wave", "square"], decompose_both=True),
        "lokr_whole": LoKrConfig(r=8, target_modules=["grouped", "strided", "wave", "square"]),
    }, (torch.randn(1, 8, 8, 8),), "x=[1, 8, 8, 8]")


def test_own_bytes_of_embeddings_and_norms(tmp_path):
    torch.manual_seed(0)

    class Words(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.embed = torch.nn.Embedding(2000, 256)
            self.norm = torch.nn.LayerNorm(256)
            self.head = torch.nn.Linear(256, 2000)

        def forward(self, ids):
            return self.head(self.norm(self.embed(ids)))

    check_bytes(tmp_path, Words().eval(), {
        "lora": LoraConfig(r=8, target_modules=["embed"]),
        "dora": LoraConfig(r=8, target_modules=["embed", "head"], use_dora=True),
        "ln": LNTuningConfig(target_modules=["norm"]),
    }, (torch.tensor([[1, 2, 3]]),), "ids=int32[1, 3]", replacing=("ln",))


def test_own_bytes_of_vera_in_layers_of_several_sizes(tmp_path):
    """The projections are whole in the package, once, and cut for each size of layer when a function runs."""
    torch.manual_seed(0)
    base = torch.nn.Sequential(torch.nn.Linear(256, 768), torch.nn.Linear(768, 256)).eval()
    targets = ["0", "1"]
    check_bytes(tmp_path, base, {"alone": VeraConfig(r=64, target_modules=targets)}, (torch.randn(1, 256),), "x=[1, 256]")

    def own(adapters):
        given = []
        for seed, (name, key) in enumerate(adapters.items(), 1):
            config = VeraConfig(r=64, target_modules=targets, projection_prng_key=key)
            models.adapt(base, config, tmp_path / name, seed)
            given += ["--adapter", f"{name}={tmp_path}/{name}"]
        package = tmp_path / "p.mlpackage"
        succeed("compile", "-o", package, "--base", tmp_path / "base.pt", "--input", "x=[1, 256]", *given)
        return {function["name"]: function["own_weight_bytes"] for function in functions_of(package)}

    def file(name, chosen=""):
        return tensor_bytes(tmp_path / name / "adapter_model.safetensors", chosen)

    for name, size in own({"a": 0, "b": 0}).items():
        assert size <= 1.1 * file(name, "lambda"), "the projections are everybody's"
    for name, size in own({"c": 1, "d": 2}).items():
        assert file(name, "vera_A") < size <= 1.1 * file(name), "projections of another seed are its own"
