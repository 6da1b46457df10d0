"""plait beside coremltools: N adapted models of one base into one multifunction package.

    multifunction.py [--models lora,transformer] [--counts 1,2,4,8] [--repeats 5] [--no-peer] [--folder build/bench]

Each tool runs in a fresh process on files in the page cache. Prints a Markdown table; times of plait are medians, of runs
that take turns with runs of bench/libtorch_start: "of start" is plait's time over that of LibTorch's own start. Anonymous
memory is sampled on Linux only.
"""

import argparse
import os
import pathlib
import platform
import shutil
import subprocess
import sys

import measure
import models


def plait_command(paths, package, name):
    _, dtype, shape = models.MODELS[name]
    command = [measure.PLAIT, "compile", "-o", package, "--default", "adapter_1"]
    for k, path in enumerate(paths, 1):
        declared = f"x{k}={'int32' if dtype == 'int32' else ''}{list(shape)}"
        command += ["--function", f"adapter_{k}={path}", "--input", declared, "--output", f"y{k}"]
    return command


def peer_command(paths, package, name):
    _, dtype, shape = models.MODELS[name]
    return [sys.executable, pathlib.Path(__file__).parent / "peer_multifunction.py", package, dtype, ",".join(map(str, shape)), *paths]


def measured(command, package, repeats):
    """Its cost, that of LibTorch's start in between, and the package's size."""
    remove = lambda: shutil.rmtree(package, ignore_errors=True)
    remove()
    cost = measure.run(command, sample=True)
    start = None
    if repeats:
        (cost.wall, cost.cpu), start = measure.in_turn([command, measure.libtorch_start()], repeats, before=remove)
        remove()
        measure.run(command)
    return cost, start, measure.size(package)


def row(model, count, tool, cost, start, size):
    ratio = f"{cost.wall / start[0]:.2f}" if start else ""
    print(f"| {model} | {count} | {tool} | {cost.wall:.3f} | {ratio} | {cost.cpu:.3f} | {cost.peak / measure.MB:.0f} | "
          f"{cost.anonymous / measure.MB:.1f} | {size:,} |", flush=True)


def ratios(model, count, peer, plait):
    (theirs, _, their_size), (ours, _, our_size) = peer, plait
    anonymous = f"{theirs.anonymous / ours.anonymous:.1f}x" if ours.anonymous else ""
    print(f"| {model} | {count} | ratio | {theirs.wall / ours.wall:.1f}x | | {theirs.cpu / ours.cpu:.1f}x | "
          f"{theirs.peak / ours.peak:.1f}x | {anonymous} | {their_size / our_size:.4f}x |", flush=True)


def operation_count(package):
    """Operations of all functions as the package stores them; `const` is one."""
    text = subprocess.run([measure.PLAIT, "inspect", package, "--mil"], check=True, capture_output=True, text=True).stdout
    return sum(" = " in line and line.endswith(";") for line in text.splitlines())


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", default="lora,transformer")
    parser.add_argument("--counts", default="1,2,4,8")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--no-peer", action="store_true")
    parser.add_argument("--folder", type=pathlib.Path, default=measure.ROOT / "build" / "bench")
    options = parser.parse_args()
    counts = [int(count) for count in options.counts.split(",")]

    print(f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores\n")
    print("| model | N | tool | wall s | of start | CPU s | peak resident MB | anonymous MB | package bytes |")
    print("|---|---|---|---|---|---|---|---|---|")
    row("-", 0, "LibTorch started", measure.measure(measure.libtorch_start(), repeats=5), None, 0)
    notes = []
    for name in options.models.split(","):
        paths = models.make(name, options.folder, max(counts))
        measure.warm(paths)
        ours = {}
        for count in counts:
            package = options.folder / f"{name}_{count}.mlpackage"
            ours[count] = *measured(plait_command(paths[:count], package, name), package, options.repeats), operation_count(package)
            row(name, count, "plait", *ours[count][:3])
            if not options.no_peer:
                peer_package = options.folder / f"{name}_{count}_peer.mlpackage"
                peer = measured(peer_command(paths[:count], peer_package, name), peer_package, 0)
                row(name, count, "coremltools", *peer)
                ratios(name, count, peer, ours[count][:3])
        first, last = min(counts), max(counts)
        if last > first:
            grown = ours[last][0].anonymous - ours[first][0].anonymous
            operations = ours[last][3] - ours[first][3]
            notes.append(f"{name}: {operations} operations more from N = {first} to {last}, {grown / operations:.0f} bytes of "
                         f"anonymous memory for each")
    print()
    print("\n".join(notes))


if __name__ == "__main__":
    main()
