"""Trains a small language model of characters and two adapters of it, and traces it as prefill and decode.

    make_models.py OUTPUT-FOLDER [STEPS]

The model is a Llama of transformers with grouped heads and rotary positions. STEPS says how long it trains (400: about a
minute). Written are prefill.pt and decode.pt, the PEFT folders verse and jack, a plan for `plait run` for each of the
three, and expected.json: what PyTorch generates, and how clearly it chose each token.
"""

import copy
import json
import pathlib
import sys

import numpy as np
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM, StaticCache

HERE = pathlib.Path(__file__).parent
PROMPT, NEW, LENGTH = 8, 64, 96
PROMPTS = {"plain": "Alice wa", "verse": "He took ", "jack": "This is "}


def encode(text):
    """A newline is 0; the printable characters of ASCII follow."""
    return [0 if c == "\n" else ord(c) - 31 for c in text]


def decode(tokens):
    return "".join("\n" if token == 0 else chr(token + 31) for token in tokens)


def train(model, name, steps, rate):
    text = torch.tensor(encode((HERE / "texts" / f"{name}.txt").read_text()))
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps)
    model.train()
    for _ in range(steps):
        starts = torch.randint(0, len(text) - LENGTH, (8,))
        tokens = torch.stack([text[start:start + LENGTH] for start in starts])
        loss = model(input_ids=tokens, labels=tokens, use_cache=False).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    print(f"{name}: loss {loss.item():.2f}", flush=True)
    return model.eval()


class Step(torch.nn.Module):
    """Some tokens and their position in, the next token and its position out. The cache is StaticCache's own code on
    buffers of this module, which become states."""

    def __init__(self, model):
        super().__init__()
        self.model = model
        config = model.config
        self.cache = StaticCache(config=config, max_cache_len=LENGTH)
        self.cache.early_initialization(1, config.num_key_value_heads, config.head_dim, torch.float32, "cpu")
        for i, layer in enumerate(self.cache.layers):
            self.register_buffer(f"k_cache_{i}", layer.keys)
            self.register_buffer(f"v_cache_{i}", layer.values)

    def forward(self, tokens, position):
        for i, layer in enumerate(self.cache.layers):
            layer.keys, layer.values = getattr(self, f"k_cache_{i}"), getattr(self, f"v_cache_{i}")
            layer.cumulative_length = position[0].clone()  # counts in place: a state could not hold integers
        positions = (position + torch.arange(tokens.shape[1]))[None]
        logits = self.model(input_ids=tokens, position_ids=positions, past_key_values=self.cache, use_cache=True).logits
        return logits[:, -1].argmax(-1, keepdim=True), position + tokens.shape[1]


def trace(model, tokens, path):
    with torch.no_grad():
        traced = torch.jit.trace(Step(model).eval(), (torch.zeros(1, tokens, dtype=torch.long), torch.tensor([0])),
                                 check_trace=False)
        for name, buffer in traced.named_buffers():
            if "cache" in name:
                buffer.zero_()  # tracing ran the model
    traced.save(str(path))


def generate(model, prompt):
    """Tokens, and for each by how much its logit leads, in standard deviations of all logits."""
    tokens = torch.tensor([encode(prompt)])
    with torch.no_grad():
        out = model.generate(input_ids=tokens, attention_mask=torch.ones_like(tokens), max_new_tokens=NEW, do_sample=False,
                             eos_token_id=None, pad_token_id=0, output_logits=True, return_dict_in_generate=True)
    logits = torch.cat(out.logits)
    best = logits.topk(2).values
    return {"tokens": out.sequences[0, PROMPT:].tolist(), "leads": ((best[:, 0] - best[:, 1]) / logits.std()).tolist()}


def write_plan(output, name):
    np.save(output / f"{name}_prompt.npy", np.array([encode(PROMPTS[name])], np.int32))
    np.save(output / "start.npy", np.zeros(1, np.int32))
    steps = [{"function": f"{name}_prefill", "inputs": {"tokens": f"{name}_prompt.npy", "position": "start.npy"}},
             {"function": f"{name}_decode", "repeat": NEW - 1,
              "inputs": {"tokens": {"output": "next"}, "position": {"output": "next_position"}}}]
    (output / f"{name}.json").write_text(json.dumps({"steps": steps}))


def main():
    output = pathlib.Path(sys.argv[1])
    steps = int(sys.argv[2]) if len(sys.argv) > 2 else 400
    output.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    base = LlamaForCausalLM(LlamaConfig(vocab_size=96, hidden_size=128, intermediate_size=256, num_hidden_layers=2,
                                        num_attention_heads=4, num_key_value_heads=2, head_dim=32,
                                        max_position_embeddings=LENGTH, attention_dropout=0.0))
    train(base, "base", steps, 3e-3)
    trace(base, PROMPT, output / "prefill.pt")
    trace(base, 1, output / "decode.pt")
    expected = {"plain": generate(base, PROMPTS["plain"])}
    for name in ("verse", "jack"):
        adapted = get_peft_model(copy.deepcopy(base), LoraConfig(r=8, lora_alpha=16, target_modules="all-linear"))
        train(adapted, name, max(steps // 3, 4), 1e-2)
        adapted.save_pretrained(output / name)
        expected[name] = generate(PeftModel.from_pretrained(copy.deepcopy(base), output / name).eval(), PROMPTS[name])
    for name in expected:
        write_plan(output, name)
    (output / "expected.json").write_text(json.dumps(expected))


if __name__ == "__main__":
    main()
