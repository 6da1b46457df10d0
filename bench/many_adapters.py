"""Many adapters of one base in one package: what each of them costs.

    many_adapters.py [--counts 1,10,100] [--rank 16] [--layers 4] [--width 256] [--from folders|traces]
                     [--repeats 3] [--peer-limit 600] [--folder build/bench/many]

The base is a transformer with LoRA on every linear layer of its blocks. `folders` gives plait the base once and the
adapters as PEFT saves them; `traces` gives it each adapted model as a traced file of its own, which is what
coremltools is given in either case. coremltools is stopped after --peer-limit seconds for each count (0: not run).
Prints a Markdown table, and what one more adapter costs beside what it weighs.
"""

import argparse
import copy
import json
import os
import pathlib
import platform
import shutil
import subprocess
import sys

import measure
import torch
from models import Transformer
from peft import LoraConfig, get_peft_model

EXAMPLE = torch.zeros(1, 64, dtype=torch.int32)


def make(folder, count, options):
    """base.pt, adapted_K.pt and adapter_K/ in `folder`, those that are missing."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    base = Transformer(layers=options.layers, width=options.width, heads=4, tokens=2000, positions=64).eval()
    if not (folder / "base.pt").exists():
        torch.jit.trace(base, EXAMPLE, check_trace=False).save(str(folder / "base.pt"))
    for number in range(1, count + 1):
        if (folder / f"adapted_{number}.pt").exists():
            continue
        torch.manual_seed(number)
        targets = ["q_proj", "k_proj", "v_proj", "o_proj", "up", "down"]
        model = get_peft_model(copy.deepcopy(base), LoraConfig(target_modules=targets, r=options.rank, lora_alpha=options.rank))
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if "lora_B" in name:
                    parameter.normal_(std=0.02)
        model.save_pretrained(folder / f"adapter_{number}")
        torch.jit.trace(model.eval(), EXAMPLE, check_trace=False).save(str(folder / f"adapted_{number}.pt"))


def plait_command(folder, count, package, source):
    command = [measure.PLAIT, "compile", "-o", package, "--input", "ids=int32[1, 64]", "--output", "y"]
    if source == "folders":
        command += ["--base", folder / "base.pt"]
    for number in range(1, count + 1):
        command += (["--adapter", f"adapter_{number}={folder}/adapter_{number}"] if source == "folders"
                    else ["--function", f"adapter_{number}={folder}/adapted_{number}.pt"])
    return command


def peer_command(folder, count, package):
    models = [folder / f"adapted_{number}.pt" for number in range(1, count + 1)]
    return [sys.executable, pathlib.Path(__file__).parent / "peer_multifunction.py", package, "int32", "1,64", *models]


def row(tool, count, cost, size):
    print(f"| {count} | {tool} | {cost.wall:.2f} | {cost.cpu:.2f} | {cost.peak / measure.MB:.0f} | "
          f"{cost.anonymous / measure.MB:.1f} | {size:,} |", flush=True)


def peer_row(folder, count, limit):
    """Whether coremltools got there in time."""
    package = folder / f"peer_{count}.mlpackage"
    shutil.rmtree(package, ignore_errors=True)
    try:
        cost = measure.run(peer_command(folder, count, package), sample=True, timeout=limit)
    except subprocess.TimeoutExpired:
        print(f"| {count} | coremltools | more than {limit} | | | | |", flush=True)
        return False
    row("coremltools", count, cost, measure.size(package))
    return True


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--counts", default="1,10,100")
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--from", dest="source", choices=["folders", "traces"], default="traces")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--peer-limit", type=int, default=600)
    parser.add_argument("--folder", type=pathlib.Path, default=measure.ROOT / "build" / "bench" / "many")
    options = parser.parse_args()
    counts = [int(count) for count in options.counts.split(",")]
    folder = options.folder / f"{options.layers}x{options.width}r{options.rank}"
    make(folder, max(counts), options)

    print(f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores; from {options.source}\n")
    print("| N | tool | wall s | CPU s | peak resident MB | anonymous MB | package bytes |")
    print("|---|---|---|---|---|---|---|")
    ours, peer_goes_on = {}, options.peer_limit > 0
    for count in counts:
        measure.warm(path for path in folder.rglob("*") if path.is_file())
        package = folder / f"plait_{count}.mlpackage"
        shutil.rmtree(package, ignore_errors=True)
        cost = measure.measure(plait_command(folder, count, package, options.source), options.repeats)
        report = json.loads(subprocess.run([measure.PLAIT, "inspect", package, "--json"], check=True, capture_output=True).stdout)
        ours[count] = cost, measure.size(package), report
        row("plait", count, cost, measure.size(package))
        peer_goes_on = peer_goes_on and peer_row(folder, count, options.peer_limit)

    print()
    for few, many in zip(counts, counts[1:]):
        (cost, size, report), (more, larger, after) = ours[few], ours[many]
        operations = [sum(sum(function["operations"].values()) for function in entry["functions"]) for entry in (report, after)]
        own = sum(function["own_weight_bytes"] for function in after["functions"]) / many
        each = many - few
        print(f"from N = {few} to {many}, for each adapter: {(more.wall - cost.wall) / each * 1e3:.1f} ms wall, "
              f"{(more.cpu - cost.cpu) / each * 1e3:.1f} ms CPU, {(larger - size) / each:,.0f} bytes of package (weights of its own: "
              f"{own:,.0f}), {(more.anonymous - cost.anonymous) / (operations[1] - operations[0]):.0f} bytes of anonymous memory an operation")


if __name__ == "__main__":
    main()
