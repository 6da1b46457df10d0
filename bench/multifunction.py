"""plait beside coremltools: N adapted models of one base into one multifunction package.

    multifunction.py [--models lora,transformer] [--counts 1,2,4,8] [--repeats 5] [--no-peer] [--folder build/bench]

Each tool runs in a fresh process on files in the page cache. Prints a Markdown table; times of plait are medians.
Anonymous memory is sampled on Linux only.
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
    shutil.rmtree(package, ignore_errors=True)
    cost = measure.measure(command, repeats)
    return cost, measure.size(package)


def row(model, count, tool, cost, size):
    print(f"| {model} | {count} | {tool} | {cost.wall:.2f} | {cost.cpu:.2f} | {cost.peak / measure.MB:.0f} | "
          f"{cost.anonymous / measure.MB:.1f} | {size:,} |", flush=True)


def ratios(model, count, peer, plait):
    (theirs, their_size), (ours, our_size) = peer, plait
    anonymous = f"{theirs.anonymous / ours.anonymous:.1f}x" if ours.anonymous else ""
    print(f"| {model} | {count} | ratio | {theirs.wall / ours.wall:.1f}x | {theirs.cpu / ours.cpu:.1f}x | "
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
    print("| model | N | tool | wall s | CPU s | peak resident MB | anonymous MB | package bytes |")
    print("|---|---|---|---|---|---|---|---|")
    row("-", 0, "LibTorch started", measure.libtorch_baseline(), 0)
    notes = []
    for name in options.models.split(","):
        paths = models.make(name, options.folder, max(counts))
        measure.warm(paths)
        ours = {}
        for count in counts:
            package = options.folder / f"{name}_{count}.mlpackage"
            ours[count] = *measured(plait_command(paths[:count], package, name), package, options.repeats), operation_count(package)
            row(name, count, "plait", *ours[count][:2])
            if not options.no_peer:
                peer_package = options.folder / f"{name}_{count}_peer.mlpackage"
                peer = measured(peer_command(paths[:count], peer_package, name), peer_package, 0)
                row(name, count, "coremltools", *peer)
                ratios(name, count, peer, ours[count][:2])
        first, last = min(counts), max(counts)
        if last > first:
            grown = ours[last][0].anonymous - ours[first][0].anonymous
            operations = ours[last][2] - ours[first][2]
            notes.append(f"{name}: {operations} operations more from N = {first} to {last}, {grown / operations:.0f} bytes of "
                         f"anonymous memory for each")
    print()
    print("\n".join(notes))


if __name__ == "__main__":
    main()
