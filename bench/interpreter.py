"""What the reference interpreter costs.

    interpreter.py speed  [--rounds 5] [--calls 20] [--precision fp32|fp16] [--threads N]
    interpreter.py memory [--layers 18] [--width 2048] [--tokens 50000]

`speed` runs a transformer block of width 1024 on 128 tokens in TorchScript (fp32) and in plait, in turns, and gives the
ratio of each round's medians. `memory` runs one step of a model of about a billion parameters, stored in fp16, and holds
the peak of anonymous memory against twice the largest weight plus the activations that are alive at once.
"""

import argparse
import json
import os
import pathlib
import re
import statistics
import subprocess
import sys
import time

import measure

SPEED = {"width": 1024, "heads": 16, "length": 128}


def compiled(folder, name, declared, precision, make):
    """The model file and its package, made once."""
    model, package = folder / f"{name}.pt", folder / f"{name}_{precision}.mlpackage"
    if not model.exists():
        make(model)
    if not package.exists():
        measure.run([measure.PLAIT, "compile", "-o", package, "--precision", precision, "--input", declared, model])
    return model, package


def speed(options):
    import models
    import numpy as np
    import torch

    def make(path):
        torch.manual_seed(0)
        block = models.Block(SPEED["width"], SPEED["heads"]).eval()
        torch.jit.trace(block, torch.rand(1, SPEED["length"], SPEED["width"])).save(str(path))

    shape = (1, SPEED["length"], SPEED["width"])
    model, package = compiled(options.folder, "block", f"x={list(shape)}", options.precision, make)
    x = torch.randn(shape)
    np.save(options.folder / "x.npy", x.numpy())
    plan = options.folder / "plan.json"
    plan.write_text(json.dumps({"steps": [{"inputs": {"x": "x.npy"}, "repeat": options.calls + 3}]}))
    module = torch.jit.load(str(model)).eval()
    if options.threads:
        torch.set_num_threads(options.threads)
    environment = os.environ | {"OMP_NUM_THREADS": str(torch.get_num_threads())}
    ratios, fastest = [], (float("inf"), float("inf"))
    for _ in range(options.rounds):
        times = []
        with torch.inference_mode():
            for _ in range(options.calls + 3):
                start = time.perf_counter()
                module(x)
                times.append((time.perf_counter() - start) * 1e3)
        script = statistics.median(times[3:])
        output = subprocess.run([measure.PLAIT, "run", package, "--steps", plan, "--time", "--output-dir", options.folder / "out"],
                                check=True, capture_output=True, text=True, env=environment).stdout
        every = [float(value) for value in re.findall(r"ran in ([\d.]+) ms", output)][3:]
        ours = statistics.median(every)
        ratios.append(ours / script)
        fastest = min(fastest[0], *times[3:]), min(fastest[1], *every)
        print(f"TorchScript {script:7.2f} ms   plait {ours:7.2f} ms   ratio {ratios[-1]:.2f}")
    print(f"fastest calls {fastest[0]:.2f} and {fastest[1]:.2f} ms; median ratio {statistics.median(ratios):.2f} ({options.precision}, {torch.get_num_threads()} threads)")


MAKE_LARGE = """
import sys, torch
sys.path.insert(0, sys.argv[2])
import models
torch.manual_seed(0)
torch.set_default_dtype(torch.float16)
layers, width, tokens = map(int, sys.argv[3:])
model = models.Transformer(layers, width, width // 128, tokens).eval()
with torch.no_grad():
    torch.jit.trace(model, torch.zeros((1, 64), dtype=torch.int32), check_trace=False).save(sys.argv[1])
"""


def memory(options):
    import numpy as np

    def make(path):  # by a process of its own, whose memory is not what is measured
        subprocess.run([sys.executable, "-c", MAKE_LARGE, path, pathlib.Path(__file__).parent,
                        *map(str, (options.layers, options.width, options.tokens))], check=True)

    name = f"large_{options.layers}x{options.width}x{options.tokens}"
    _, package = compiled(options.folder, name, "ids=int32[1, 64]", "fp16", make)
    np.save(options.folder / "ids.npy", np.arange(64, dtype=np.int32)[None])
    command = [measure.PLAIT, "run", package, "--input", f"ids={options.folder}/ids.npy", "--output-dir", options.folder / "out"]
    cost = measure.run(command, sample=True)
    largest = 2 * max(options.tokens, 4 * options.width) * options.width
    activations = 4 * 64 * (4 * options.width + 4 * options.width)
    print(f"package {measure.size(package):,} bytes, largest weight {largest / measure.MB:.0f} MB")
    print(f"one step in {cost.wall:.1f} s; peak of anonymous memory {cost.anonymous / measure.MB:.0f} MB, LibTorch's own included; "
          f"bound {(2 * largest + activations) / measure.MB:.0f} MB")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["speed", "memory"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--calls", type=int, default=20)
    parser.add_argument("--precision", choices=["fp32", "fp16"], default="fp32")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--layers", type=int, default=18)
    parser.add_argument("--width", type=int, default=2048)
    parser.add_argument("--tokens", type=int, default=50000)
    parser.add_argument("--folder", type=pathlib.Path, default=measure.ROOT / "build" / "bench")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    {"speed": speed, "memory": memory}[options.what](options)


if __name__ == "__main__":
    main()
