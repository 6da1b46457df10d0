"""The models that the benchmarks convert: (name, input declaration) and files made once in a folder."""

import copy
import pathlib
import sys

import torch
import torch.nn.functional as F
from torch import nn

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "examples" / "lora_adapters"))


class Block(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.q_proj, self.k_proj = nn.Linear(width, width), nn.Linear(width, width)
        self.v_proj, self.o_proj = nn.Linear(width, width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def split(self, x):
        batch, length, width = x.shape
        return x.view(batch, length, self.heads, width // self.heads).transpose(1, 2)

    def forward(self, x):
        h = self.norm1(x)
        q, k, v = self.split(self.q_proj(h)), self.split(self.k_proj(h)), self.split(self.v_proj(h))
        attended = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(x.shape)
        x = x + self.o_proj(attended)
        return x + self.down(F.gelu(self.up(self.norm2(x))))


class Transformer(nn.Module):
    """An encoder of 12 layers, 768 wide, with 20,000 tokens: 100.8 million parameters."""

    def __init__(self, layers=12, width=768, heads=12, tokens=20000, positions=512):
        super().__init__()
        self.tokens, self.positions = nn.Embedding(tokens, width), nn.Embedding(positions, width)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(layers))
        self.norm = nn.LayerNorm(width)

    def forward(self, ids):
        x = self.tokens(ids) + self.positions(torch.arange(ids.shape[1]))
        for block in self.blocks:
            x = block(x)
        return self.norm(x)


def make_lora(folder, count):
    from make_models import Base, adapt
    torch.manual_seed(0)
    base, example = Base(6000).eval(), torch.rand(1, 6000)
    return [(f"adapted_model_{k}.pt", lambda k=k: torch.jit.trace(adapt(base, 32, k), example)) for k in range(1, count + 1)]


def make_transformer(folder, count):
    from peft import LoraConfig, get_peft_model
    torch.manual_seed(0)
    base, example = Transformer().eval(), torch.randint(0, 20000, (1, 128), dtype=torch.int32)

    def adapted(seed):
        torch.manual_seed(seed)
        targets = ["q_proj", "k_proj", "v_proj", "o_proj"]
        model = get_peft_model(copy.deepcopy(base), LoraConfig(target_modules=targets, r=16, lora_alpha=16))
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if "lora_B" in name:
                    parameter.normal_(std=0.02)
        return torch.jit.trace(model.eval(), example, check_trace=False)

    return [(f"transformer_{k}.pt", lambda k=k: adapted(k)) for k in range(1, count + 1)]


# name: (maker, dtype of the input, its shape)
MODELS = {"lora": (make_lora, "fp32", (1, 6000)), "transformer": (make_transformer, "int32", (1, 128))}


def make(name, folder, count):
    """Paths of `count` adapted models; those that exist are kept."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for file, trace in MODELS[name][0](folder, count):
        path = folder / file
        if not path.exists():
            with torch.no_grad():
                trace().save(str(path.with_suffix(".part")))
            path.with_suffix(".part").rename(path)
        paths.append(path)
    return paths
