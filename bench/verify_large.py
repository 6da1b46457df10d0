"""Verifies a language model of 1.1 billion parameters with an adapter on it, and says how long that takes and how much memory.

    verify_large.py [--layers 16] [--hidden 2048] [--tokens 64] [--lora keep] [--folder build/bench]

The model is of Llama's form (RMSNorm, rotary embeddings, grouped keys, a gated feed-forward), with random weights in fp32: 4.4 GB with 16 layers. The adapter is
PEFT's, on the queries and values of every layer. `compile` writes a package of the base with the adapter, and `verify` holds it against the base and the adapter's
folder. The package and the model's file are in the page cache; what is printed is wall and CPU time, the peak of resident memory and of anonymous memory, which is
resident memory without the pages of mapped files. The folder needs 7 GB; it keeps the model's file.
"""

import argparse
import json
import multiprocessing
import pathlib

import measure

VOCABULARY = 32000


def write(path, adapter, layers, hidden, tokens):
    """The model's file and the adapter's folder. Runs in a process of its own, whose memory is not what is measured."""
    import safetensors.torch
    import torch
    from torch import nn
    from torch.nn import functional as F

    width, heads, groups = 64, hidden // 64, hidden // 256

    def turned(x, cosines, sines):
        first, second = x.chunk(2, -1)
        return x * cosines + torch.cat([-second, first], -1) * sines

    class Attention(nn.Module):
        def __init__(self):
            super().__init__()
            self.q_proj, self.o_proj = (nn.Linear(hidden, hidden, bias=False) for _ in range(2))
            self.k_proj, self.v_proj = (nn.Linear(hidden, width * groups, bias=False) for _ in range(2))

        def forward(self, x, cosines, sines):
            q, k, v = (y.view(1, tokens, -1, width).transpose(1, 2) for y in (self.q_proj(x), self.k_proj(x), self.v_proj(x)))
            k, v = (y.repeat_interleave(heads // groups, 1) for y in (turned(k, cosines, sines), v))
            y = F.scaled_dot_product_attention(turned(q, cosines, sines), k, v, is_causal=True)
            return self.o_proj(y.transpose(1, 2).reshape(1, tokens, hidden))

    class Layer(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm1, self.norm2 = nn.RMSNorm(hidden, eps=1e-5), nn.RMSNorm(hidden, eps=1e-5)
            self.self_attn = Attention()
            self.gate, self.up = (nn.Linear(hidden, 4 * hidden, bias=False) for _ in range(2))
            self.down = nn.Linear(4 * hidden, hidden, bias=False)

        def forward(self, x, cosines, sines):
            x = x + self.self_attn(self.norm1(x), cosines, sines)
            y = self.norm2(x)
            return x + self.down(F.silu(self.gate(y)) * self.up(y))

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = nn.Embedding(VOCABULARY, hidden)
            self.layers = nn.ModuleList(Layer() for _ in range(layers))
            self.norm = nn.RMSNorm(hidden, eps=1e-5)
            self.head = nn.Linear(hidden, VOCABULARY, bias=False)
            angles = torch.outer(torch.arange(tokens), 1 / 10000 ** (torch.arange(0, width, 2) / width)).repeat(1, 2)
            self.register_buffer("cosines", angles.cos())
            self.register_buffer("sines", angles.sin())

        def forward(self, ids):
            x = self.embedding(ids)
            for layer in self.layers:
                x = layer(x, self.cosines, self.sines)
            return self.head(self.norm(x))

    torch.manual_seed(0)
    model = Model().eval()
    adapter.mkdir(exist_ok=True)
    tensors, rank = {}, 16
    for number in range(layers):
        for module, size in (("q_proj", hidden), ("v_proj", width * groups)):
            name = f"base_model.model.layers.{number}.self_attn.{module}"
            tensors[f"{name}.lora_A.weight"] = torch.randn(rank, hidden) / hidden ** 0.5
            tensors[f"{name}.lora_B.weight"] = torch.randn(size, rank) * 0.02
    safetensors.torch.save_file(tensors, adapter / "adapter_model.safetensors")
    config = {"peft_type": "LORA", "r": rank, "lora_alpha": rank, "target_modules": ["q_proj", "v_proj"]}
    (adapter / "adapter_config.json").write_text(json.dumps(config))
    with torch.no_grad():
        torch.jit.trace(model, torch.zeros(1, tokens, dtype=torch.int32), check_trace=False).save(str(path))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", type=int, default=16)
    parser.add_argument("--hidden", type=int, default=2048)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--lora", default="keep", choices=["keep", "fold"])
    parser.add_argument("--folder", type=pathlib.Path, default=measure.ROOT / "build" / "bench")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    name = f"llama_{options.layers}x{options.hidden}_{options.tokens}"
    model, adapter, package = options.folder / f"{name}.pt", options.folder / f"{name}_adapter", options.folder / f"{name}.mlpackage"
    if not model.exists():
        part = model.with_suffix(".part")
        maker = multiprocessing.get_context("spawn").Process(target=write, args=(part, adapter, options.layers, options.hidden, options.tokens))
        maker.start()
        maker.join()
        part.rename(model)
    compiled = measure.run([measure.PLAIT, "compile", "-o", package, "--input", f"ids=int32[1, {options.tokens}]", "--lora", options.lora,
                            "--base", model, "--adapter", f"adapted={adapter}"])
    measure.warm([model, *(file for file in package.rglob("*") if file.is_file())])
    verify = [measure.PLAIT, "verify", package, "--function", "adapted", "--against", model, "--adapter", adapter]
    timed, sampled = measure.run(verify), measure.run(verify, sample=True)
    print(f"model file {measure.size(model):,} bytes, package {measure.size(package):,} bytes")
    print(f"compile  {compiled.wall:6.1f} s")
    print(f"verify   {timed.wall:6.1f} s, {timed.cpu:.1f} s of CPU, peak resident {sampled.peak / 1e9:.2f} GB, anonymous {sampled.anonymous / 1e9:.2f} GB")


if __name__ == "__main__":
    main()
