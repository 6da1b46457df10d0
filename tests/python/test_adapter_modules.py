"""LoRA of modules that are named, shared, called and written in ways of their own, held against PEFT's forward."""

import copy
import json

import adapter_models as models
import numpy as np
import peft
import pytest
import safetensors.torch
import torch
from adapter_checks import assert_close, check_all, run, save_base
from command import plait, succeed
from peft import LoraConfig
from torch import nn


def lora(*targets, **options):
    return LoraConfig(r=2, lora_alpha=3, target_modules=list(targets) or "all-linear", **options)


def check(folder, base, inputs, adapters, declared, **options):
    check_all(folder, base.eval(), lambda model: model, inputs, declared, adapters, **options)


X = {"x": torch.randn(2, 8, generator=torch.Generator().manual_seed(1))}
DECLARED = ["x=[2, 8]"]


class Named(nn.Module):
    """Modules that have the names of what PEFT puts into a model."""

    def __init__(self):
        super().__init__()
        self.lora_A, self.lora, self.base_model = nn.Module(), nn.Module(), nn.Module()
        self.lora_A.proj, self.lora.up, self.lora.down = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 8)
        self.base_model.model, self.base_layer, self.lora_B = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 8)
        self.alpha, self.default = nn.Linear(8, 8), nn.Linear(8, 8)

    def forward(self, x):
        for module in (self.lora_A.proj, self.lora.up, self.lora.down, self.base_model.model, self.base_layer,
                       self.lora_B, self.alpha, self.default):
            x = x + torch.tanh(module(x))
        return x


def test_modules_named_as_parts_of_adapters_are(tmp_path):
    torch.manual_seed(0)
    check(tmp_path, Named(), X, {"lora": lora(), "dora": lora(use_dora=True), "biased": lora(bias="all", lora_bias=True)},
          DECLARED)


class Head(nn.Module):
    """Its decoder's weight is the embedding's, and its decoder's bias its own, as BERT's."""

    def __init__(self, embedding):
        super().__init__()
        self.decoder = nn.Linear(8, 10)
        self.decoder.weight = embedding.weight
        self.bias = nn.Parameter(torch.randn(10))
        self.decoder.bias = self.bias

    def forward(self, x):
        return self.decoder(x)


class Words(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(10, 8)
        self.head = Head(self.embed)

    def forward(self, ids):
        return self.head(self.embed(ids))


def test_a_bias_of_two_names(tmp_path):
    """PEFT saves it under both, and a trace hands it to the layer as an argument."""
    torch.manual_seed(0)
    targets = ("decoder", "embed")
    check(tmp_path, Words(), {"ids": torch.tensor([[1, 5, 2]])}, {
        "lora": lora(*targets, bias="all"), "dora": lora(*targets, bias="all", use_dora=True),
        "saved": lora("embed", modules_to_save=["head"])}, ["ids=int32[1, 3]"])


class ScaledEmbedding(nn.Embedding):
    embed_scale = 3.0

    def forward(self, ids):
        return super().forward(ids) * self.embed_scale


class Scaled(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.layer = ScaledEmbedding(10, 8), nn.Linear(8, 8)

    def forward(self, ids):
        return self.layer(self.embed(ids))


def test_an_embedding_that_is_scaled(tmp_path):
    """BART's: the scale is a number in the code of a trace."""
    torch.manual_seed(0)
    check(tmp_path, Scaled(), {"ids": torch.tensor([[1, 5, 2]])},
          {"lora": lora("embed"), "dora": lora("embed", "layer", use_dora=True)}, ["ids=int32[1, 3]"])


class Transposing(nn.Linear):
    def forward(self, x):
        return x @ self.weight.T + self.bias


class Transposed(nn.Module):
    def __init__(self):
        super().__init__()
        self.wide, self.narrow = Transposing(8, 12), Transposing(12, 4)

    def forward(self, x):
        return self.narrow(torch.relu(self.wide(x)))


def test_a_linear_layer_written_as_a_product(tmp_path):
    """Falcon's."""
    torch.manual_seed(0)
    check(tmp_path, Transposed(), X, {"lora": lora("wide", "narrow"), "dora": lora("wide", use_dora=True, bias="all")},
          DECLARED)


class Normed(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer, self.norm, self.head = nn.Linear(8, 8), nn.BatchNorm1d(8), nn.Linear(8, 4)

    def forward(self, x):
        return self.head(self.norm(self.layer(x)))


def compile_base(folder, adapter, *options):
    return plait("compile", "-o", folder / "p.mlpackage", "--precision", "fp32", "--base", folder / "base.pt",
                 *(text for declaration in DECLARED for text in ("--input", declaration)), "--output", "y", "--adapter",
                 f"a={adapter}", *options)


def check_file(folder, base, adapter, wrap=lambda model: model):
    """An adapter as it lies there, held against PEFT's loading of it."""
    with torch.no_grad():
        expected = wrap(peft.PeftModel.from_pretrained(copy.deepcopy(base), adapter).eval())(*X.values()).numpy()
    for mode in ("keep", "fold"):
        result = compile_base(folder, adapter, "--lora", mode)
        assert result.returncode == 0, result.stderr
        assert_close(run(folder / "p.mlpackage", "a", {"x": X["x"].numpy()}, folder), expected, mode)


def test_a_batch_norm_that_was_trained(tmp_path):
    """Its count of batches is saved too, and is nothing to evaluation."""
    torch.manual_seed(0)
    base = Normed().eval()
    save_base(base, tuple(X.values()), tmp_path / "base.pt")
    model = peft.get_peft_model(copy.deepcopy(base), lora("layer", modules_to_save=["norm"])).train()
    models.randomise(model, 1)
    for _ in range(3):
        model(torch.randn(16, 8))
    model.save_pretrained(tmp_path / "a")
    assert "base_model.model.norm.num_batches_tracked" in safetensors.torch.load_file(
        tmp_path / "a" / "adapter_model.safetensors")
    check_file(tmp_path, base, tmp_path / "a")


class OneBased(nn.Module):
    """Gemma's norm: the weight that is used is computed, and the compiler computes small ones itself."""

    def __init__(self, features):
        super().__init__()
        self.weight = nn.Parameter(0.1 * torch.randn(features))

    def forward(self, x):
        return x * torch.rsqrt((x * x).mean(-1, keepdim=True) + 1e-5) * (1 + self.weight)


class Computing(nn.Module):
    """Parameters that a lowering reads as numbers, or puts together, leave no constant of their own."""

    def __init__(self):
        super().__init__()
        self.lin, self.out, self.position = nn.Linear(8, 16), nn.Linear(8, 8), nn.Embedding(6, 8)
        self.act, self.norm, self.rnn = nn.PReLU(), OneBased(16), nn.LSTM(16, 8, batch_first=True)

    def forward(self, x):
        x = self.norm(self.act(self.lin(x + self.position(torch.arange(6)))))
        return self.out(self.rnn(x)[0])


def test_parameters_that_the_compiler_computes_with(tmp_path):
    torch.manual_seed(0)
    check(tmp_path, Computing(), {"x": torch.randn(1, 6, 8)},
          {"saved": lora("lin", "out", modules_to_save=["act", "norm", "rnn"]),
           "merged": lora("lin", "position", "out", modules_to_save=["norm"], use_dora=True)}, ["x=[1, 6, 8]"])


class Normalised(nn.Module):
    def __init__(self, normalise):
        super().__init__()
        self.conv = normalise(nn.Conv1d(2, 8, 3, padding=1))
        self.layer = normalise(nn.Linear(8, 8), dim=1)

    def forward(self, x):
        return self.layer(self.conv(x[None]).transpose(1, 2))


@pytest.mark.parametrize("normalise", [nn.utils.weight_norm, nn.utils.parametrizations.weight_norm])
def test_a_weight_that_is_computed(tmp_path, normalise):
    """weight_norm computes it of other parameters: the branch stands beside it, and is not merged."""
    torch.manual_seed(0)
    base = Normalised(normalise)
    check(tmp_path, base, X, {
        "lora": lora("conv", "layer"), "dora": lora("conv", "layer", use_dora=True),
        "biased": lora("conv", "layer", bias="all", lora_bias=True)}, DECLARED, modes=("keep",))
    result = compile_base(tmp_path, tmp_path / "lora", "--lora", "fold")
    assert result.returncode == 1 and "'conv'" in result.stderr and "--lora keep" in result.stderr, result.stderr
    result = plait("verify", tmp_path / "keep.mlpackage", "--function", "lora", "--against", tmp_path / "base.pt",
                   "--adapter", tmp_path / "lora")
    assert result.returncode == 1 and "weight_norm" in result.stderr, result.stderr


# ---- One module, several names -----------------------------------------------------------------

class Alias(nn.Module):
    def __init__(self):
        super().__init__()
        self.a = nn.Linear(8, 8)
        self.b = self.a

    def forward(self, x):
        return self.b(torch.relu(self.a(x)))


def test_a_module_of_two_names(tmp_path):
    """PEFT adapts calls by the first name alone. A script has both; a trace calls both by one."""
    torch.manual_seed(0)
    base = Alias().eval()
    models.adapt(base, lora("a"), tmp_path / "a")
    torch.jit.script(base).save(str(tmp_path / "base.pt"))
    check_file(tmp_path, base, tmp_path / "a")
    save_base(base, tuple(X.values()), tmp_path / "base.pt")
    result = compile_base(tmp_path, tmp_path / "a")
    assert result.returncode == 1 and "'a'" in result.stderr and "'b'" in result.stderr, result.stderr


def test_a_bias_that_both_names_bring(tmp_path):
    """bias="all" saves it by each; nothing but the bias is changed, so that both calls are alike."""
    torch.manual_seed(0)
    base = nn.Sequential(Alias(), nn.Linear(8, 8))
    check(tmp_path, base, X, {"lora": lora("1", bias="all")}, DECLARED)


class Halves(nn.Module):
    """One embedding in two places, which are no parts of one module."""

    def __init__(self):
        super().__init__()
        embed = nn.Embedding(10, 8)
        self.first, self.second = (nn.ModuleDict({"embed": embed, "layer": nn.Linear(8, 8)}) for _ in range(2))

    def forward(self, ids):
        return sum(half["layer"](half["embed"](ids)) for half in (self.first, self.second))


@pytest.mark.parametrize("config", [
    lora("layer", modules_to_save=["second.embed"]), lora("layer", "embed"),
    lora("layer", trainable_token_indices={"embed": [1, 5]})])
def test_a_module_of_names_in_two_parents(tmp_path, config):
    torch.manual_seed(0)
    base = Halves().eval()
    models.adapt(base, config, tmp_path / "a")
    save_base(base, (torch.tensor([[1, 5, 2]]),), tmp_path / "base.pt")
    result = plait("compile", "-o", tmp_path / "p.mlpackage", "--base", tmp_path / "base.pt", "--input",
                   "ids=int32[1, 3]", "--adapter", f"a={tmp_path}/a")
    assert result.returncode == 1 and "'first.embed" in result.stderr and "'second.embed'" in result.stderr
    assert "--function" in result.stderr, result.stderr


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.lin, self.norm = nn.Linear(8, 8), nn.LayerNorm(8)

    def forward(self, x):
        return self.norm(torch.relu(self.lin(x))) + x


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        block = Block()
        self.layers = nn.ModuleList([block, block])

    def forward(self, x):
        for layer in self.layers:
            x = layer(x)
        return x


def test_a_block_that_is_used_twice(tmp_path):
    """PEFT adapts both uses. bias="all" saves its parts by both names; a script does not tell it from two blocks."""
    torch.manual_seed(0)
    base = Recurrent().eval()
    check(tmp_path, base, X, {"lora": lora("lin"), "biased": lora("lin", bias="all"),
                              "saved": lora("lin", modules_to_save=["norm"])}, DECLARED)
    torch.jit.script(base).save(str(tmp_path / "base.pt"))
    result = compile_base(tmp_path, tmp_path / "lora")
    assert result.returncode == 1 and "'layers.0.lin'" in result.stderr and "'layers.1.lin'" in result.stderr
    assert "trace the base" in result.stderr, result.stderr
    # A file that has both names says what both are.
    (tmp_path / "both").mkdir()
    tensors = safetensors.torch.load_file(tmp_path / "lora" / "adapter_model.safetensors")
    tensors |= {key.replace("layers.0", "layers.1"): value.clone() for key, value in tensors.items()}
    safetensors.torch.save_file(tensors, tmp_path / "both" / "adapter_model.safetensors")
    (tmp_path / "both" / "adapter_config.json").write_text((tmp_path / "lora" / "adapter_config.json").read_text())
    check_file(tmp_path, base, tmp_path / "both")
    save_base(base, tuple(X.values()), tmp_path / "base.pt")
    check_file(tmp_path, base, tmp_path / "both")


class Pair(nn.Module):
    """Two modules around one layer."""

    def __init__(self):
        super().__init__()
        layer = nn.Linear(8, 8)
        self.a, self.b = Body(layer), Body(layer)

    def forward(self, x):
        return self.b(torch.relu(self.a(x)))


def test_a_layer_of_two_wrappers(tmp_path):
    """PEFT adapts the first alone."""
    torch.manual_seed(0)
    base = Pair().eval()
    models.adapt(base, lora("inner"), tmp_path / "a")
    save_base(base, tuple(X.values()), tmp_path / "base.pt")
    result = compile_base(tmp_path, tmp_path / "a")
    assert result.returncode == 1 and "'a.inner'" in result.stderr and "'b.inner'" in result.stderr, result.stderr


class Inner(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(8, 8), nn.Linear(8, 8)])
        self.norm = nn.LayerNorm(8)

    def forward(self, x):
        for layer in self.layers:
            x = torch.relu(layer(x))
        return self.norm(x)


class Whole(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.head = Inner(), nn.Linear(8, 4)

    def forward(self, x):
        return self.head(self.body(x))


class Part(nn.Module):
    """Holds a model, and the part of it that it calls."""

    def __init__(self, whole):
        super().__init__()
        self.whole = whole
        self.part = getattr(whole, "base_model", whole).body

    def forward(self, x):
        return self.part(x)


class Body(nn.Module):
    def __init__(self, body):
        super().__init__()
        self.inner = body

    def forward(self, x):
        return self.inner(x)


def test_a_wrapper_that_holds_a_model_and_its_part(tmp_path):
    torch.manual_seed(0)
    base = Whole().eval()
    save_base(Part(base), tuple(X.values()), tmp_path / "base.pt")
    models.adapt(base, lora("layers.0", "layers.1", modules_to_save=["norm"]), tmp_path / "a")
    check_file(tmp_path, base, tmp_path / "a", Part)


def test_a_part_of_the_model(tmp_path):
    """A part that the base leaves out must be said to be; a base that is a part itself needs the whole around it."""
    torch.manual_seed(0)
    base = Whole().eval()
    models.adapt(base, lora("layers.1", "head"), tmp_path / "a")
    save_base(Part(base), tuple(X.values()), tmp_path / "base.pt")
    result = compile_base(tmp_path, tmp_path / "a")
    assert result.returncode == 1 and "'whole.head'" in result.stderr and "--allow-unmatched" in result.stderr
    result = compile_base(tmp_path, tmp_path / "a", "--allow-unmatched")
    assert result.returncode == 0 and "warning" in result.stderr, result.stderr
    with torch.no_grad():
        model = peft.PeftModel.from_pretrained(copy.deepcopy(base), tmp_path / "a").eval()
        expected = Part(model)(*X.values()).numpy()
    assert_close(run(tmp_path / "p.mlpackage", "a", {"x": X["x"].numpy()}, tmp_path), expected)

    save_base(Body(base.body), tuple(X.values()), tmp_path / "base.pt")
    result = compile_base(tmp_path, tmp_path / "a")
    assert result.returncode == 1 and "a part of the model that was adapted" in result.stderr, result.stderr
    torch.jit.trace(lambda x: base.requires_grad_(False)(x), tuple(X.values())).save(str(tmp_path / "base.pt"))
    result = compile_base(tmp_path, tmp_path / "a")
    assert result.returncode == 1 and "traced from a function" in result.stderr, result.stderr


class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)

    def forward(self, x):
        return self.encoder(x[None])[0]


@pytest.fixture
def no_fast_path():
    torch.backends.mha.set_fastpath_enabled(False)
    yield
    torch.backends.mha.set_fastpath_enabled(True)


@pytest.mark.parametrize("dora", [False, True])
def test_layers_whose_weight_is_used_directly(tmp_path, no_fast_path, dora):
    """MultiheadAttention's out_proj learns nothing, and an adapter of it as it began is no error."""
    torch.manual_seed(0)
    base = Encoder().eval()
    models.adapt(base, lora(use_dora=dora), tmp_path / "a")
    save_base(base, tuple(X.values()), tmp_path / "base.pt")
    result = compile_base(tmp_path, tmp_path / "a")
    assert result.returncode == 1 and "self_attn.out_proj'" in result.stderr and "--function" in result.stderr
    path = tmp_path / "a" / "adapter_model.safetensors"
    tensors = safetensors.torch.load_file(path)
    for key, value in tensors.items():
        if "out_proj.lora_B" in key:
            value.zero_()
        if "out_proj.lora_magnitude" in key:
            layer = base.get_submodule(key.removeprefix("base_model.model.").rsplit(".", 1)[0])
            value.copy_(layer.weight.detach().norm(dim=1))
    safetensors.torch.save_file(tensors, path)
    check_file(tmp_path, base, tmp_path / "a")
    torch.backends.mha.set_fastpath_enabled(True)
    save_base(base, tuple(X.values()), tmp_path / "base.pt")
    result = compile_base(tmp_path, tmp_path / "a")
    assert result.returncode == 1 and "set_fastpath_enabled(False)" in result.stderr, result.stderr


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, x):
        return self.attention(x[None], x[None], x[None], need_weights=False)[0]


def test_attention_that_is_adapted_whole(tmp_path, no_fast_path):
    """PEFT merges into its weights when it is called, where no trace sees it; it must be merged before."""
    torch.manual_seed(0)
    base = Attention().eval()
    model = models.adapt(base, lora("attention"), tmp_path / "a")
    save_base(base, tuple(X.values()), tmp_path / "base.pt")
    result = compile_base(tmp_path, tmp_path / "a")
    assert result.returncode == 1 and "nn.MultiheadAttention" in result.stderr and "--function" in result.stderr
    with torch.no_grad():
        expected = model(*X.values()).numpy()
    save_base(model.merge_and_unload(), tuple(X.values()), tmp_path / "adapted.pt")
    succeed("compile", "-o", tmp_path / "p.mlpackage", "--precision", "fp32", "--function", f"a={tmp_path}/adapted.pt",
            "--input", "x=[2, 8]", "--output", "y")
    assert_close(run(tmp_path / "p.mlpackage", "a", {"x": X["x"].numpy()}, tmp_path), expected)


@pytest.mark.parametrize("nested", [False, True])
def test_a_head_that_is_saved_with_all_biases(tmp_path, nested):
    """bias="all" saves the head's bias by three names; PEFT reads the one that says nothing of a wrapper."""
    torch.manual_seed(0)
    head = nn.Sequential(nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 4)) if nested else nn.Linear(8, 4)
    base = nn.Sequential(nn.Linear(8, 8), head).eval()
    save_base(base, tuple(X.values()), tmp_path / "base.pt")
    models.adapt(base, lora("0", bias="all", modules_to_save=["1"]), tmp_path / "a")
    check_file(tmp_path, base, tmp_path / "a")
    path = tmp_path / "a" / "adapter_model.safetensors"
    tensors = safetensors.torch.load_file(path)
    unread = [key for key in tensors if "modules_to_save" in key or "original_module" in key]
    assert len(unread) == (4 if nested else 2), tensors.keys()
    safetensors.torch.save_file({key: value + (key in unread) for key, value in tensors.items()}, path)
    check_file(tmp_path, base, tmp_path / "a")


class Reading(nn.Module):
    """Uses the embedding's weight without calling it."""

    def __init__(self):
        super().__init__()
        self.embed, self.layer = nn.Embedding(10, 8), nn.Linear(8, 8)

    def forward(self, ids):
        return nn.functional.linear(torch.tanh(self.layer(self.embed(ids))), self.embed.weight)


def test_rows_for_tokens_of_a_weight_that_is_read(tmp_path):
    torch.manual_seed(0)
    check(tmp_path, Reading(), {"ids": torch.tensor([[1, 5, 2]])},
          {"rows": lora("layer", trainable_token_indices={"embed": [1, 5]})}, ["ids=int32[1, 3]"])


class Three(nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.two, self.head = nn.Embedding(10, 8), nn.Embedding(10, 8), nn.Linear(8, 10, bias=False)
        self.two.weight = self.head.weight = self.one.weight

    def forward(self, ids):
        return self.head(self.one(ids) * self.two(ids))


@pytest.mark.parametrize("tokens, status, message", [
    ({"one": [1, 5]}, 0, "'head' has the weight of 'one'"), ({"one": [5, 5]}, 1, "a token twice"),
    ({"one": [1, 5], "two": [1, 2]}, 1, "rows for tokens of 'one' and others of 'two'"),
])
def test_rows_for_tokens_of_a_tied_weight(tmp_path, tokens, status, message):
    """Modules with the weight are given the rows, and named; what the rows are must be plain."""
    torch.manual_seed(0)
    base = Three().eval()
    save_base(base, (torch.tensor([[1, 5, 2]]),), tmp_path / "base.pt")
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "adapter_config.json").write_text(json.dumps(
        {"peft_type": "LORA", "r": 2, "target_modules": ["q"], "trainable_token_indices": tokens}))
    safetensors.torch.save_file(
        {f"base_model.model.{name}.token_adapter.trainable_tokens_delta": torch.randn(len(rows), 8)
         for name, rows in tokens.items()}, tmp_path / "a" / "adapter_model.safetensors")
    result = plait("compile", "-o", tmp_path / "p.mlpackage", "--base", tmp_path / "base.pt", "--input",
                   "ids=int32[1, 3]", "--adapter", f"a={tmp_path}/a")
    assert result.returncode == status and message in result.stderr, result.stderr


# ---- Files -------------------------------------------------------------------------------------

def test_other_spellings_of_keys_and_options(tmp_path):
    """torch.compile's names, the module that a saved one stands for, and a choice in capitals."""
    torch.manual_seed(0)
    base = Whole().eval()
    save_base(base, tuple(X.values()), tmp_path / "base.pt")
    models.adapt(base, lora("layers.0", "layers.1", modules_to_save=["head"]), tmp_path / "a")
    tensors = safetensors.torch.load_file(tmp_path / "a" / "adapter_model.safetensors")
    tensors = {key.replace("model.body", "model._orig_mod.body"): value for key, value in tensors.items()}
    tensors["base_model.model.head.original_module.weight"] = base.head.weight.detach()
    (tmp_path / "b").mkdir()
    safetensors.torch.save_file(tensors, tmp_path / "b" / "adapter_model.safetensors")
    config = json.loads((tmp_path / "a" / "adapter_config.json").read_text())
    (tmp_path / "b" / "adapter_config.json").write_text(json.dumps({**config, "target_modules": "ALL-LINEAR"}))
    arrays = {"x": X["x"].numpy()}
    found = []
    for name in "ab":
        result = compile_base(tmp_path, tmp_path / name)
        assert result.returncode == 0, result.stderr
        found.append(run(tmp_path / "p.mlpackage", "a", arrays, tmp_path))
    np.testing.assert_array_equal(found[0], found[1])


def test_a_folder_of_adapters(tmp_path):
    """save_pretrained puts adapters of other names than the default one into folders of their own."""
    torch.manual_seed(0)
    base = Whole().eval()
    save_base(base, tuple(X.values()), tmp_path / "base.pt")
    model = peft.get_peft_model(copy.deepcopy(base), lora("head"), adapter_name="chat")
    model.add_adapter("code", lora("layers.0"))
    models.randomise(model, 1)
    model.save_pretrained(tmp_path / "a")
    result = compile_base(tmp_path, tmp_path / "a")
    assert result.returncode == 1 and "'chat', 'code'" in result.stderr, result.stderr
    for name in ("chat", "code"):
        check_file(tmp_path, base, tmp_path / "a" / name)
