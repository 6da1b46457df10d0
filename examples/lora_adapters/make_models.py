"""Makes a base model of 72 million parameters and LoRA adaptations of it, traced, as an app team would have them.

    make_models.py OUTPUT-FOLDER [--adapters N] [--size WIDTH] [--rank R] [--peft]

writes adapted_model_1.pt ... adapted_model_N.pt (torch.jit.save of a trace on a (1, WIDTH) input). With --peft it
also writes base_model.pt, the traced base without adapters, and adapter_1/ ... adapter_N/ as PEFT saves them.
"""

import argparse
import copy
import pathlib

import torch
from peft import LoraConfig, get_peft_model


class Base(torch.nn.Module):
    def __init__(self, width):
        super().__init__()
        self.linear1 = torch.nn.Linear(width, width)
        self.relu = torch.nn.ReLU()
        self.linear2 = torch.nn.Linear(width, width)

    def forward(self, x):
        return self.linear2(self.relu(self.linear1(x)))


def adapt(base, rank, seed):
    """A LoRA adaptation of `base`. PEFT starts lora_B at zero; random values stand for a fine-tuning."""
    torch.manual_seed(seed)
    model = get_peft_model(copy.deepcopy(base), LoraConfig(target_modules=["linear1", "linear2"], r=rank, lora_alpha=1))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.5)
    return model.eval()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", type=pathlib.Path)
    parser.add_argument("--adapters", type=int, default=2)
    parser.add_argument("--size", type=int, default=6000)
    parser.add_argument("--rank", type=int, default=32)
    parser.add_argument("--peft", action="store_true")
    options = parser.parse_args()

    options.output.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    base = Base(options.size).eval()
    example = torch.rand(1, options.size)
    with torch.no_grad():
        if options.peft:
            torch.jit.trace(base, example).save(str(options.output / "base_model.pt"))
        for number in range(1, options.adapters + 1):
            model = adapt(base, options.rank, number)
            if options.peft:
                model.save_pretrained(options.output / f"adapter_{number}")
            torch.jit.save(torch.jit.trace(model, example), str(options.output / f"adapted_model_{number}.pt"))


if __name__ == "__main__":
    main()
