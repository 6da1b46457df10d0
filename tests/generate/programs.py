"""Random TorchScript programs, each compiled by plait and held against LibTorch.

    build/venv/bin/python tests/generate/programs.py [--seeds FIRST..LAST] [--shrink]

Prints how many programs came out how, and for each kind of fault a program, shrunk with --shrink. A program follows from
its seed alone.
"""

import argparse
import collections
import pathlib
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import torch
from checker import Checker, kind
from shrink import shrink
from writer import write_program

ROOT = pathlib.Path(__file__).resolve().parents[2]
FAULTS = ("crash", "wrong", "broken", "unreadable")


def check_programs(numbered, binary):
    """Yields (seed, program, answer) of (seed, program)."""
    checker = Checker(binary)
    with tempfile.TemporaryDirectory() as folder:
        answers = checker.check([program for _, program in numbered], pathlib.Path(folder) / "programs.pt")
    checker.close()
    for (seed, program), answer in zip(numbered, answers):
        yield seed, program, answer


def check(seeds, binary, batch=50, seconds=None):
    """The same for the programs of seeds, until the time is over."""
    end = time.monotonic() + (seconds or float("inf"))
    for start in range(0, len(seeds), batch):
        if time.monotonic() > end:
            break
        yield from check_programs([(seed, write_program(seed)) for seed in seeds[start:start + batch]], binary)


def shrunk(program, answer, binary, budget=300):
    checker, number = Checker(binary), 0
    with tempfile.TemporaryDirectory() as folder:
        def still(candidate):
            nonlocal number
            number += 1
            return kind(checker.check([candidate], pathlib.Path(folder) / f"{number}.pt")[0]) == kind(answer)
        program = shrink(program, still, budget)
        answer = checker.check([program], pathlib.Path(folder) / "last.pt")[0]
    checker.close()
    return program, answer


def describe(seed, program, answer):
    how = "traced" if program.traced else "scripted"
    return f"seed {seed}, {how}, {program.inputs()} at {program.sizes()}\n{answer[0]}: {answer[1]}\n{program.source()}"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", default="0..1000")
    parser.add_argument("--seconds", type=float, help="begin no more programs after that time")
    parser.add_argument("--shrink", action="store_true", help="cut the programs shown down to what shows the fault")
    parser.add_argument("--each", type=int, default=1, help="programs to show of each kind")
    parser.add_argument("--binary", default=str(ROOT / "build" / "release" / "bin" / "check_programs"))
    parser.add_argument("--refusals", action="store_true", help="the kinds of refusals too")
    options = parser.parse_args()
    torch.set_num_threads(1)
    first, _, last = options.seeds.partition("..")
    words, kinds, examples = collections.Counter(), collections.Counter(), collections.defaultdict(list)
    begin = time.monotonic()
    for seed, program, answer in check(range(int(first), int(last or first) + 1), options.binary, seconds=options.seconds):
        words[answer[0]] += 1
        if answer[0] in FAULTS or (options.refusals and answer[0] in ("refused", "unwritten", "invalid")):
            kinds[kind(answer)] += 1
            examples[kind(answer)].append((seed, program, answer))
    seconds = time.monotonic() - begin
    print(f"{sum(words.values())} programs in {seconds:.0f} s:", dict(words))
    for name, count in kinds.most_common():
        print(f"\n==== {count} x {name}")
        for seed, program, answer in examples[name][:options.each]:
            if options.shrink and answer[0] in FAULTS:
                program, answer = shrunk(program, answer, options.binary)
            print(describe(seed, program, answer))
    return int(any(words[word] for word in FAULTS))


if __name__ == "__main__":
    sys.exit(main())
