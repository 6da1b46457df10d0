"""How long the command takes to start: commands that need no LibTorch, and small compiles, beside LibTorch's own start.

    start.py [--repeats 15] [--folder build/bench]

All commands take turns, each in a fresh process on files in the page cache. Prints a Markdown table of medians; "of start"
is the wall time over that of bench/libtorch_start, which starts LibTorch and does nothing more.
"""

import argparse
import os
import pathlib
import platform
import shutil

import measure
import models
import multifunction


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--folder", type=pathlib.Path, default=measure.ROOT / "build" / "bench")
    options = parser.parse_args()
    paths = models.make("lora", options.folder, 8)
    measure.warm(paths)
    kept, written = options.folder / "start_kept.mlpackage", options.folder / "start_written.mlpackage"
    measure.run([*multifunction.plait_command(paths[:2], kept, "lora")])
    commands = {
        "LibTorch started": measure.libtorch_start(),
        "plait --version": [measure.PLAIT, "--version"],
        "plait help compile": [measure.PLAIT, "help", "compile"],
        "plait inspect, N = 2": [measure.PLAIT, "inspect", kept],
        "plait inspect --mil, N = 2": [measure.PLAIT, "inspect", "--mil", kept],
        "plait opt --list-passes": [measure.PLAIT, "opt", "--list-passes"],
        "plait compile, N = 2": multifunction.plait_command(paths[:2], written, "lora"),
        "plait compile, N = 8": multifunction.plait_command(paths, written, "lora"),
    }
    costs = measure.in_turn(list(commands.values()), options.repeats, before=lambda: shutil.rmtree(written, ignore_errors=True))
    print(f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, {options.repeats} runs of each\n")
    print("| command | wall ms | of start | CPU ms | of start |")
    print("|---|---|---|---|---|")
    for name, (wall, cpu) in zip(commands, costs):
        print(f"| `{name}` | {wall * 1e3:.1f} | {wall / costs[0][0]:.3f} | {cpu * 1e3:.1f} | {cpu / costs[0][1]:.3f} |")


if __name__ == "__main__":
    main()
