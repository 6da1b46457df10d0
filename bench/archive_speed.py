"""How long one model takes by its two ways in: a TorchScript trace and an archive of torch.export.

    archive_speed.py [--rounds 5] [--folder build/bench]

The model is the transformer of 100 million parameters of models.py. Each file is compiled in fp16, the two by turns, each in a process of its own; the
table has medians of wall and CPU time, and the largest peak of memory.
"""

import argparse
import pathlib
import statistics
import subprocess
import sys

import measure

MAKE = """import sys, torch, models
torch.manual_seed(0)
model, ids = models.Transformer().eval(), torch.arange(128)[None]
with torch.no_grad():
    torch.jit.trace(model, ids, check_trace=False).save(sys.argv[1])
    torch.export.save(torch.export.export(model, (ids,)), sys.argv[2])"""


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=pathlib.Path, default=measure.ROOT / "build" / "bench")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    files = [options.folder / f"transformer.{form}" for form in ("pt", "pt2")]
    if not all(file.exists() for file in files):
        subprocess.run([sys.executable, "-c", MAKE, *files], check=True, cwd=pathlib.Path(__file__).parent)
    costs = {file: [] for file in files}
    for _ in range(options.rounds):
        for file in files:
            costs[file].append(measure.run([measure.PLAIT, "compile", "-q", "-o", options.folder / f"{file.suffix[1:]}.mlpackage",
                                            "--input", "ids=int32[1, 128]", file]))
    print("| file | bytes | wall | CPU | peak |\n|---|---|---|---|---|")
    for file in files:
        wall, cpu = (statistics.median(getattr(cost, kind) for cost in costs[file]) for kind in ("wall", "cpu"))
        print(f"| `{file.suffix}` | {measure.size(file):,} | {wall:.2f} s | {cpu:.2f} s | {max(c.peak for c in costs[file]) / measure.MB:.0f} MB |")


if __name__ == "__main__":
    main()
