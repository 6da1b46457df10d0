"""Peak of anonymous memory while an adapter of each kind is folded into one large weight.

    fold_memory.py [--width 6000] [--rank 16] [--kinds lora,dora,...] [--folder build/bench/fold]

A fold holds factors and tiles, never a weight of width x width in fp32. "traced" is a trace of PEFT's own model.
"""

import argparse
import copy
import pathlib
import subprocess
import sys

import measure

KINDS = ["lora", "dora", "ia3", "loha", "lokr", "vera", "lora traced", "dora traced"]


def make(folder, width, rank):
    """In a process of its own: base.pt, one adapter folder and one trace for each kind."""
    import peft
    import torch

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(width, width)

        def forward(self, x):
            return self.layer(x)

    targets = ["layer"]
    configs = {
        "lora": peft.LoraConfig(r=rank, target_modules=targets),
        "dora": peft.LoraConfig(r=rank, target_modules=targets, use_dora=True),
        "ia3": peft.IA3Config(target_modules=targets, feedforward_modules=[]),
        "loha": peft.LoHaConfig(r=rank, target_modules=targets),
        "lokr": peft.LoKrConfig(r=rank, target_modules=targets),
        "vera": peft.VeraConfig(r=rank, target_modules=targets, save_projection=True),
    }
    torch.manual_seed(0)
    base, example = Net().eval(), torch.rand(1, width)
    torch.jit.trace(base, example).save(str(folder / "base.pt"))
    for name, config in configs.items():
        model = peft.get_peft_model(copy.deepcopy(base), config).eval()
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.requires_grad:
                    parameter.add_(0.01 * torch.randn_like(parameter))
        model.save_pretrained(folder / name)
        if name in ("lora", "dora"):
            torch.jit.trace(model, example, check_trace=False).save(str(folder / f"{name}.pt"))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--width", type=int, default=6000)
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--kinds", default=",".join(KINDS))
    parser.add_argument("--folder", type=pathlib.Path, default=measure.ROOT / "build" / "bench" / "fold")
    parser.add_argument("--make", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    if options.make:
        return make(options.folder, options.width, options.rank)
    if not (options.folder / "dora.pt").exists():
        subprocess.run([sys.executable, __file__, "--make", "--width", str(options.width), "--rank", str(options.rank),
                        "--folder", options.folder], check=True)
    package = options.folder / "folded.mlpackage"
    given = ["-o", package, "--input", f"x=[1, {options.width}]", "--output", "y", "--lora", "fold"]
    base = measure.measure([measure.PLAIT, "compile", *given, options.folder / "base.pt"], repeats=0)
    print(f"a weight of {options.width} x {options.width} in fp32: {options.width ** 2 * 4 / measure.MB:.0f} MB")
    print("| folded | wall s | anonymous MB | more than the base |")
    print("|---|---|---|---|")
    for kind in ["base alone", *options.kinds.split(",")]:
        name = kind.split()[0]
        source = (["--function", f"main={options.folder / name}.pt"] if kind.endswith("traced")
                  else ["--base", options.folder / "base.pt", "--adapter", f"main={options.folder / name}"])
        cost = base if kind == "base alone" else measure.measure([measure.PLAIT, "compile", *given, *source], repeats=0)
        print(f"| {kind} | {cost.wall:.2f} | {cost.anonymous / measure.MB:.1f} | "
              f"{(cost.anonymous - base.anonymous) / measure.MB:.1f} |", flush=True)


if __name__ == "__main__":
    main()
