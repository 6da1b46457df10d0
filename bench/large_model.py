"""Compiles a model whose weights are larger than the memory that the process may have.

    large_model.py [--forms pt,pt2] [--layers 8] [--width 8192] [--limit-mb 512] [--folder build/bench]

Sixteen layers of that width are 1.07 billion parameters. `pt` is TorchScript, `pt2` an archive of torch.export. The limit is a control group's memory.max where one can be made, page cache included; else RLIMIT_DATA, which bounds
what the process allocates. The model's file is larger than either.
"""

import argparse
import contextlib
import os
import pathlib
import resource
import subprocess
import sys

import measure


def make(path, layers, width):
    """Written by a process of its own, whose memory is not what is measured."""
    code = ("import sys, torch; from torch import nn; torch.manual_seed(0)\n"
            "layers, width = int(sys.argv[2]), int(sys.argv[3])\n"
            "model = nn.Sequential(*(nn.Linear(width, width) for _ in range(layers))).eval()\n"
            "example = torch.rand(1, width)\n"
            "if sys.argv[1].endswith('.pt2'):\n"
            "    torch.export.save(torch.export.export(model, (example,)), sys.argv[1])\n"
            "else:\n"
            "    torch.jit.trace(model, example, check_trace=False).save(sys.argv[1])")
    subprocess.run([sys.executable, "-c", code, path, str(layers), str(width)], check=True)


@contextlib.contextmanager
def control_group(limit):
    """A function that moves the calling process into a fresh group of `limit` bytes, or None where none can be made."""
    for root, knob in (("/sys/fs/cgroup", "memory.max"), ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")):
        group = pathlib.Path(root) / f"plait-bench-{os.getpid()}"
        if not (group.parent / "cgroup.procs").exists():
            continue
        try:
            group.mkdir()
        except OSError:
            continue
        try:
            if (group / knob).exists():
                (group / knob).write_text(str(limit))
                yield lambda: (group / "cgroup.procs").write_text(str(os.getpid()))
                return
        finally:
            group.rmdir()
    yield None


def compiled(path, options):
    """Prints what compiling the file took."""
    package = options.folder / "large.mlpackage"
    command = [measure.PLAIT, "compile", "-o", package, "--input", f"x=[1, {options.width}]", path]
    limit = options.limit_mb * 1000 * 1000
    with control_group(limit) as enter:
        kind = "control group" if enter else "RLIMIT_DATA"
        enter = enter or (lambda: resource.setrlimit(resource.RLIMIT_DATA, (limit, limit)))
        cost = measure.run(command, sample=True, limit=enter)
    print(f"{path.name}: model file {measure.size(path):,} bytes, limit {limit:,} bytes ({kind})")
    print(f"compiled in {cost.wall:.1f} s, {cost.cpu:.1f} s of CPU, peak resident {cost.peak / measure.MB:.0f} MB, "
          f"anonymous {cost.anonymous / measure.MB:.1f} MB, package {measure.size(package):,} bytes")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--forms", default="pt")
    parser.add_argument("--layers", type=int, default=8)
    parser.add_argument("--width", type=int, default=8192)
    parser.add_argument("--limit-mb", type=int, default=512)
    parser.add_argument("--folder", type=pathlib.Path, default=measure.ROOT / "build" / "bench")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    for form in options.forms.split(","):
        path = options.folder / f"large_{options.layers}x{options.width}.{form}"
        if not path.exists():
            make(path, options.layers, options.width)
        compiled(path, options)


if __name__ == "__main__":
    main()
