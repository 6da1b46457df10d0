"""LoRA as PEFT traces it, in every form: nothing is left of a scale when the branch is kept, nothing of the branch when it
is folded, and both compute what PEFT computes."""

import copy
import json

import adapter_models as models
import numpy as np
import peft
import pytest
import torch
from command import succeed
from peft import LoraConfig
from peft.tuners.lora.config import KasaConfig
from torch import nn
from transformers.pytorch_utils import Conv1D

R = 4


class Linears(nn.Module):
    """One layer with a bias and one without."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(24, 40)
        self.second = nn.Linear(40, 16, bias=False)

    def forward(self, x):
        return self.second(torch.relu(self.first(x)))


class Wide(nn.Module):
    """Products of its factors, and an identity of its width, are larger than what is computed at once."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(160, 130)
        self.second = nn.Linear(130, 16)

    def forward(self, x):
        return self.second(torch.relu(self.first(x)))


class Transposed(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = Conv1D(40, 24)
        self.second = Conv1D(16, 40)

    def forward(self, x):
        return self.second(torch.relu(self.first(x)))


class Embeddings(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Embedding(50, 24)
        self.second = nn.Linear(24, 16)

    def forward(self, ids):
        return self.second(self.first(ids))


class Images(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 24, 3, padding=1, stride=2)
        self.second = nn.Conv2d(24, 16, 1, bias=False)

    def forward(self, x):
        return self.second(torch.relu(self.first(x)))


class Waves(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Conv1d(6, 24, 5)
        self.second = nn.Conv1d(24, 16, 3, padding=1)

    def forward(self, x):
        return self.second(torch.relu(self.first(x)))


class Volumes(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Conv3d(3, 24, 3)
        self.second = nn.Conv3d(24, 16, 1)

    def forward(self, x):
        return self.second(torch.relu(self.first(x)))


def lora(**options):
    return LoraConfig(**{"r": R, "lora_alpha": 6, "target_modules": ["first", "second"], **options})


def adapted(base, *configs, prepare=None, **options):
    """PEFT's model with one adapter for each configuration, all of them active."""
    torch.manual_seed(0)
    base = base() if isinstance(base, type) else base
    model = peft.get_peft_model(base, configs[0], **options)
    names = ["default"]
    for index, config in enumerate(configs[1:]):
        names.append(f"other{index}")
        model.add_adapter(names[-1], config)
    if len(names) > 1:
        model.base_model.set_adapter(names)
    models.randomise(model, 1)
    if prepare:
        prepare(model)
    return model.eval()


def scaled_by(*factors):
    """Sets the scales of the adapters of every layer."""
    def prepare(model):
        for module in model.modules():
            if hasattr(module, "scaling"):
                for name, factor in zip(module.scaling, factors):
                    module.scaling[name] = factor
    return prepare


def other_kind(config, **options):
    return config(target_modules=["first", "second"], **options)


ROWS, IDS, WIDE = torch.randn(3, 24), torch.randint(0, 50, (2, 5)), torch.randn(3, 160)
PIXELS, SAMPLES, VOXELS = torch.randn(1, 3, 8, 8), torch.randn(1, 6, 20), torch.randn(1, 3, 5, 5, 5)

# name: (model, input, operations when kept, when folded). Layers and arithmetic are counted; others (relu) are not.
# Two layers with a branch each: 2 + 4 layers and 2 additions, or 2 layers. The factor per feature of a DoRA goes into a W
# that nothing else uses (fold-batch-norm); not into a gather.
PLAIN = {"linear": 6, "add": 2}, {"linear": 2}
CONV = {"conv": 6, "add": 2}, {"conv": 2}
FORMS = {
    "plain": (lambda: adapted(Linears, lora()), ROWS, *PLAIN),
    "rank_scaled": (lambda: adapted(Linears, lora(use_rslora=True)), ROWS, *PLAIN),
    "biased": (lambda: adapted(Linears, lora(lora_bias=True, bias="lora_only")), ROWS, *PLAIN),
    "dropout": (lambda: adapted(Linears, lora(lora_dropout=0.3)), ROWS, *PLAIN),
    "rank_3": (lambda: adapted(Linears, lora()), torch.randn(2, 3, 24), *PLAIN),
    "rank_4": (lambda: adapted(Linears, lora()), torch.randn(2, 3, 2, 24), *PLAIN),
    "rank_5": (lambda: adapted(Linears, lora()), torch.randn(2, 1, 3, 2, 24), *PLAIN),
    "scale_one": (lambda: adapted(Linears, lora(lora_alpha=R)), ROWS, *PLAIN),
    "scale_negative": (lambda: adapted(Linears, lora(), prepare=scaled_by(-0.7)), ROWS, *PLAIN),
    "scale_zero": (lambda: adapted(Linears, lora(), prepare=scaled_by(0.0)), ROWS, {"linear": 2}, {"linear": 2}),
    "large_rank": (lambda: adapted(Linears, lora(r=32)), ROWS, *PLAIN),
    "two_adapters": (lambda: adapted(Linears, lora(), lora(r=2, lora_alpha=5)), ROWS,
                     {"linear": 10, "add": 4}, {"linear": 2}),
    "three_adapters": (lambda: adapted(Linears, lora(), lora(r=2, use_rslora=True), lora(r=3, target_modules=["first"]),
                                       prepare=scaled_by(0.5, -2.0, 1.0)), ROWS, {"linear": 12, "add": 5}, {"linear": 2}),
    "transposed": (lambda: adapted(Transposed, lora(fan_in_fan_out=True)), ROWS, *PLAIN),
    "transposed_rank_3": (lambda: adapted(Transposed, lora(fan_in_fan_out=True)), torch.randn(2, 3, 24), *PLAIN),
    "embedding": (lambda: adapted(Embeddings, lora()), IDS,
                  {"gather": 2, "linear": 4, "add": 2}, {"gather": 1, "linear": 1}),
    "conv2d": (lambda: adapted(Images, lora()), PIXELS, *CONV),
    "conv1d": (lambda: adapted(Waves, lora()), SAMPLES, *CONV),
    "conv2d_biased": (lambda: adapted(Images, lora(lora_bias=True, bias="lora_only")), PIXELS, *CONV),
    "conv2d_two_adapters": (lambda: adapted(Images, lora(), lora(r=2)), PIXELS, {"conv": 10, "add": 4}, {"conv": 2}),
    "half_base": (lambda: adapted(Linears().half(), lora()), ROWS.half(), *PLAIN),
    "bfloat_base": (lambda: adapted(Linears().bfloat16(), lora()), ROWS.bfloat16(), *PLAIN),
    "half_adapter": (lambda: adapted(Linears().half(), lora(), autocast_adapter_dtype=False), ROWS.half(), *PLAIN),
    "dora": (lambda: adapted(Linears, lora(use_dora=True)), ROWS, *PLAIN),
    "dora_rank_scaled": (lambda: adapted(Linears, lora(use_dora=True, use_rslora=True)), ROWS, *PLAIN),
    "dora_rank_4": (lambda: adapted(Linears, lora(use_dora=True)), torch.randn(2, 3, 2, 24), *PLAIN),
    "dora_transposed": (lambda: adapted(Transposed, lora(use_dora=True, fan_in_fan_out=True)), ROWS, *PLAIN),
    "dora_dropout": (lambda: adapted(Linears, lora(use_dora=True, lora_dropout=0.3)), ROWS, *PLAIN),
    "dora_embedding": (lambda: adapted(Embeddings, lora(use_dora=True)), IDS,
                       {"gather": 2, "linear": 4, "add": 2, "mul": 1}, {"gather": 1, "linear": 1}),
    "dora_conv2d": (lambda: adapted(Images, lora(use_dora=True)), PIXELS, *CONV),
    "dora_conv1d": (lambda: adapted(Waves, lora(use_dora=True)), SAMPLES, *CONV),
    "dora_and_plain": (lambda: adapted(Linears, lora(use_dora=True), lora(r=2)), ROWS,
                       {"linear": 10, "add": 4}, {"linear": 2}),
    "plain_and_dora": (lambda: adapted(Linears, lora(), lora(r=2, use_dora=True)), ROWS,
                       {"linear": 10, "add": 4}, {"linear": 2}),
    "dora_wide": (lambda: adapted(Wide, lora(use_dora=True)), WIDE, *PLAIN),
    "conv3d": (lambda: adapted(Volumes, lora()), VOXELS, *CONV),
    "kasa": (lambda: adapted(Linears, lora(kasa_config=KasaConfig())), ROWS, *PLAIN),
    "vera": (lambda: adapted(Linears, other_kind(peft.VeraConfig, r=R)), ROWS, *PLAIN),
    "adalora": (lambda: adapted(Linears, other_kind(peft.AdaLoraConfig, init_r=R, target_r=2, total_step=10)), ROWS, *PLAIN),
    # The difference of the weights is multiplied out when the function runs.
    # A factor that is a product of two is multiplied out by the program.
    "lokr": (lambda: adapted(Linears, other_kind(peft.LoKrConfig, r=2)), ROWS,
             {"linear": 6, "mul": 4, "add": 2}, {"linear": 2}),
    "lokr_wide": (lambda: adapted(Wide, other_kind(peft.LoKrConfig, r=2)), WIDE,
                  {"linear": 6, "mul": 4, "add": 2}, {"linear": 2}),
    "lokr_conv2d": (lambda: adapted(Images, other_kind(peft.LoKrConfig, r=2, use_effective_conv2d=True)), PIXELS,
                    {"conv": 4, "linear": 1, "mul": 4, "add": 2}, {"conv": 2}),
    "dora_half_base": (lambda: adapted(Linears().half(), lora(use_dora=True)), ROWS.half(), *PLAIN),
}


class Hand(nn.Module):
    """LoRA that people write by hand, with its factors in every place."""

    def __init__(self, form):
        super().__init__()
        torch.manual_seed(0)
        self.base, self.a, self.b = nn.Linear(24, 40), nn.Linear(24, R, bias=False), nn.Linear(R, 40, bias=False)
        self.form = form

    def forward(self, x):
        return self.form(self, x)


def residual(m, x):
    x = x.repeat_interleave(2, 1)[:, :40]
    return x + (m.base(x[:, :24]) + m.b(m.a(x[:, :24])) * 0.25)


HAND = {
    "before_a": lambda m, x: m.base(x) + m.b(m.a(x * 0.25)),
    "between": lambda m, x: m.base(x) + m.b(m.a(x) * 0.25),
    "after_b": lambda m, x: m.b(m.a(x)) / 4 + m.base(x),
    "everywhere": lambda m, x: m.base(x) + 2 * m.b(0.5 * (m.a(x * 0.5) * -1.0)) * 0.25,
    "subtracted": lambda m, x: m.base(x) - 0.25 * m.b(m.a(x)),
    "of_the_sum": lambda m, x: 0.5 * (m.base(x) + 0.25 * m.b(m.a(x))),
    "weights_multiplied": lambda m, x: nn.functional.linear(x, m.base.weight) + m.b(m.a(x)) * 0.25 + m.base.bias,
    "functional": lambda m, x: torch.addmm(m.base(x), x @ m.a.weight.T, m.b.weight.T, alpha=0.25),
    "residual": residual,
}


def compile_form(tmp_path, model, x, mode):
    path, package = tmp_path / "model.pt", tmp_path / f"{mode}.mlpackage"
    with torch.no_grad():
        torch.jit.trace(model, (x,), check_trace=False).save(str(path))
        expected = model(x).float().numpy()
    dtype = {torch.float32: "", torch.float16: "fp16", torch.bfloat16: "fp32", torch.int64: "int32"}[x.dtype]
    succeed("compile", "-o", package, "--precision", "fp32", "--lora", mode, "--function", f"main={path}",
            "--input", f"x={dtype}{list(x.shape)}", "--output", "y")
    report = json.loads(succeed("inspect", package, "--json").stdout)
    counted = ("linear", "matmul", "conv", "gather", "add", "sub", "mul", "real_div", "reduce_l2_norm", "concat")
    operations = {name: count for name, count in report["functions"][0]["operations"].items() if name in counted}
    if "matmul" in operations:  # what linear's ranks do not allow
        operations["linear"] = operations.get("linear", 0) + operations.pop("matmul")
    np.save(tmp_path / "x.npy", x.float().numpy() if x.dtype == torch.bfloat16 else x.numpy())
    succeed("run", package, "--input", f"x={tmp_path}/x.npy", "--output-dir", tmp_path / mode)
    found = np.load(tmp_path / mode / "y.npy").astype(np.float32)
    tolerance = {torch.float16: 1e-2, torch.bfloat16: 5e-2}.get(x.dtype, 1e-4)
    scale = np.abs(expected).max()
    np.testing.assert_allclose(found / scale, expected / scale, atol=tolerance, rtol=0)
    return operations, package, path


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("mode", ["keep", "fold"])
def test_form(tmp_path, name, mode):
    make, x, kept, folded = FORMS[name]
    operations, package, path = compile_form(tmp_path, make(), x, mode)
    assert operations == (kept if mode == "keep" else folded)
    if x.dtype not in (torch.float16, torch.bfloat16):  # verify runs models in fp32, which a trace in halves is not made for
        succeed("verify", package, "--against", path)


@pytest.mark.parametrize("name", HAND)
@pytest.mark.parametrize("mode", ["keep", "fold"])
def test_by_hand(tmp_path, name, mode):
    operations, package, path = compile_form(tmp_path, Hand(HAND[name]), ROWS, mode)
    rest = {"add": 1} if name == "residual" else {}
    expected = {"linear": 3, "add": 1} if mode == "keep" else {"linear": 1}
    for operation, count in rest.items():
        expected[operation] = expected.get(operation, 0) + count
    assert operations == expected
    succeed("verify", package, "--against", path)


def test_weights_rounded_by_autocast_are_shared(tmp_path):
    """A DoRA's factor is not taken into a weight that its own function rounds to half and the base does not: in a package of
    half precision it is one."""
    base = Wide().eval()
    model = adapted(copy.deepcopy(base), lora(r=16, use_dora=True, target_modules=["first"]))
    with torch.no_grad():
        torch.jit.trace(base, (WIDE,)).save(str(tmp_path / "base.pt"))
        with torch.autocast("cpu", dtype=torch.float16):
            torch.jit.trace(model, (WIDE,), check_trace=False).save(str(tmp_path / "main.pt"))
    given = [text for name in ("base", "main")
             for text in ("--function", f"{name}={tmp_path}/{name}.pt", "--input", "x=[3, 160]", "--output", "y")]
    functions = {}
    for mode in ("keep", "fold"):
        package = tmp_path / f"{mode}.mlpackage"
        succeed("compile", "-o", package, "--lora", mode, *given)
        report = json.loads(succeed("inspect", package, "--json").stdout)
        functions[mode] = {function["name"]: function for function in report["functions"]}
        succeed("verify", package, "--function", "main", "--against", tmp_path / "main.pt")
    adapter = 2 * sum(value.numel() for value in peft.get_peft_model_state_dict(model).values())
    assert functions["keep"]["main"]["own_weight_bytes"] <= 1.1 * adapter
    assert functions["fold"]["main"]["operations"] == functions["fold"]["base"]["operations"]
