"""Makes a small llama-like base, traced, and three PEFT adapters of it, as save_pretrained writes them.

    make_adapters.py OUTPUT-FOLDER

writes base.pt (torch.jit.save of a trace) and the folders chat, code (LoRA of two ranks) and poetry (DoRA). Random
values stand for training.
"""

import copy
import pathlib
import sys

import torch
from peft import LoraConfig, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM

ADAPTERS = {
    "chat": LoraConfig(r=8, lora_alpha=16, target_modules=["q_proj", "v_proj"]),
    "code": LoraConfig(r=16, lora_alpha=16, use_rslora=True, target_modules="all-linear"),
    "poetry": LoraConfig(r=8, lora_alpha=16, use_dora=True, target_modules=["q_proj", "k_proj", "v_proj", "o_proj"]),
}


class Logits(torch.nn.Module):
    """Tracing wants tensors out, not an object: a wrapper is what most people trace."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, tokens):
        return self.model(input_ids=tokens, use_cache=False).logits


def main():
    output = pathlib.Path(sys.argv[1])
    output.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    base = LlamaForCausalLM(LlamaConfig(hidden_size=256, intermediate_size=688, num_hidden_layers=4,
                                        num_attention_heads=8, num_key_value_heads=4, vocab_size=2048,
                                        max_position_embeddings=128)).eval()
    tokens = torch.randint(0, 2048, (1, 32))
    with torch.no_grad():
        torch.jit.trace(Logits(base), tokens, check_trace=False).save(str(output / "base.pt"))
        for name, config in ADAPTERS.items():
            model = get_peft_model(copy.deepcopy(base), config)
            for key, parameter in model.named_parameters():
                if "lora_B" in key:
                    parameter.normal_(std=0.02)
            model.save_pretrained(output / name)


if __name__ == "__main__":
    main()
