"""Writes language_model.pt2: two programs of one small transformer, prefill and decode, and an adapter for it.

    make_models.py OUTPUT-FOLDER
"""

import argparse
import pathlib

import torch
from peft import LoraConfig, get_peft_model
from torch import nn
from torch.export import Dim, export
from torch.export.pt2_archive._package import package_pt2


class Block(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.before, self.between = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x, mask):
        def split(y):
            return y.unflatten(-1, (self.heads, -1)).transpose(1, 2)
        y = self.before(x)
        y = nn.functional.scaled_dot_product_attention(split(self.query(y)), split(self.key(y)), split(self.value(y)), mask)
        x = x + self.out(y.transpose(1, 2).flatten(2))
        return x + self.down(nn.functional.gelu(self.up(self.between(x))))


class LanguageModel(nn.Module):
    def __init__(self, words=1000, width=256, depth=4):
        super().__init__()
        self.embedding = nn.Embedding(words, width)
        self.blocks = nn.ModuleList(Block(width, 4) for _ in range(depth))
        self.head = nn.Linear(width, words, bias=False)

    def forward(self, tokens, mask):
        x = self.embedding(tokens)
        for block in self.blocks:
            x = block(x, mask)
        return {"logits": self.head(x)}


def programs(model):
    """One for prompts of 2 to 128 words, and one for a single word."""
    length = Dim("length", min=2, max=128)
    example = torch.zeros(1, 8, dtype=torch.long), torch.zeros(1, 1, 8, 8)
    return {"prefill": export(model, example, dynamic_shapes=({1: length}, {2: length, 3: length})),
            "decode": export(model, (torch.zeros(1, 1, dtype=torch.long), torch.zeros(1, 1, 1, 1)))}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", type=pathlib.Path)
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    model = LanguageModel().eval()
    with torch.no_grad():
        package_pt2(options.output / "language_model.pt2", exported_programs=programs(model))
    adapted = get_peft_model(model, LoraConfig(target_modules=["query", "value"], r=8, lora_alpha=8))
    for name, parameter in adapted.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(parameter, std=0.05)
    adapted.save_pretrained(options.output / "adapter")


if __name__ == "__main__":
    main()
