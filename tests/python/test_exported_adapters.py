"""Adapters on archives of torch.export: PEFT's folders find their modules in a flat graph."""

import copy
import json

import adapter_models
import exported
import pytest
import torch
from command import succeed
from peft import LoraConfig, get_peft_model
from torch import nn


class Tied(nn.Module):
    """An embedding that is the head too, a module that is called twice, a convolution."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.table, self.head = nn.Embedding(20, 8), nn.Linear(8, 20, bias=False)
        self.head.weight = self.table.weight
        self.twice, self.conv = nn.Linear(8, 8), nn.Conv1d(8, 8, 3, padding=1)

    def forward(self, ids):
        x = self.table(ids)
        x = self.twice(torch.relu(self.twice(x)))
        return self.head(self.conv(x.transpose(1, 2)).transpose(1, 2))


def adapted(model, folder, targets, **options):
    """PEFT's folder of an adapter with numbers of its own, and the model with it."""
    model = get_peft_model(copy.deepcopy(model), LoraConfig(target_modules=targets, r=2, lora_alpha=4, **options))
    torch.manual_seed(1)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.normal_(std=0.3)
    model.save_pretrained(folder)
    return model.eval()


def check(tmp_path, model, inputs, targets, decomposed=False, tied=False, **options):
    archive, package = tmp_path / "base.pt2", tmp_path / "p.mlpackage"
    exported.save(archive, model, inputs, decomposed=decomposed)
    reference = adapted(model, tmp_path / "adapter", targets, **options)
    for lora in ("keep", "fold"):
        succeed("compile", "-q", "-o", package, "--precision", "fp32", "--lora", lora, "--base", archive,
                "--base-function", "base", "--adapter", f"tuned={tmp_path / 'adapter'}")
        succeed("verify", package, "--function", "base", "--against", archive)
        if not tied:  # what two modules have cannot be merged into one of them
            succeed("verify", package, "--function", "tuned", "--against", archive, "--adapter", tmp_path / "adapter")
        succeed("verify", package, "--function", "tuned", "--against", archived(tmp_path, reference, inputs))
    functions = json.loads(succeed("inspect", package, "--json").stdout)["functions"]
    assert [f["name"] for f in functions] == ["base", "tuned"]


def archived(tmp_path, reference, inputs):
    """The adapted model as PEFT computes it, exported by itself."""
    exported.save(tmp_path / "tuned.pt2", reference, inputs)
    return tmp_path / "tuned.pt2"


@pytest.mark.parametrize("decomposed", [False, True])
def test_layers(tmp_path, decomposed):
    check(tmp_path, Tied(), [torch.randint(0, 20, (1, 6))], ["twice", "conv"], decomposed)


def test_tied_weights(tmp_path):
    check(tmp_path, Tied(), [torch.randint(0, 20, (1, 6))], ["twice", "table"], tied=True)


def test_language_model(tmp_path):
    check(tmp_path, adapter_models.Logits(adapter_models.llama()), [torch.randint(0, 60, (1, 6))], ["q_proj", "v_proj", "down_proj"])


def test_transposed_weights(tmp_path):
    check(tmp_path, adapter_models.Logits(adapter_models.gpt2()), [torch.randint(0, 60, (1, 6))], ["c_attn"], fan_in_fan_out=True)
