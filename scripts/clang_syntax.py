#!/usr/bin/env python3
"""Checks the syntax of every file with the oldest Clang that plait promises and with a new one; compiles nothing.

    scripts/clang_syntax.py [-j JOBS]

It takes the units of the release build (build/release/compile_commands.json), which must be configured:

    units without LibTorch   clang++-14 with libc++ 14; clang++-19, of sources
    units with LibTorch      clang++-19 with libstdc++, as LibTorch's wheel is built

A source that clang++-19 compiled for the sanitizer build (build/asan), with the same warnings, is not read by it again.

Ninja runs the checks (build/clang), so that a second run looks only at what changed. A compiler that is not installed is said
to be missing and left out. On a Mac the build itself is Clang's with libc++.
"""

import argparse
import json
import pathlib
import platform
import shlex
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
FOLDER = ROOT / "build" / "clang"
HEADER = "#include <torch/csrc/jit/api/module.h>\n#include <ATen/ATen.h>\n"
WARNINGS = ["-Wall", "-Wextra", "-Werror", "-Wno-unused-parameter", "-Wno-deprecated-declarations"]
OLD, NEW = "clang++-14", "clang++-19"


def units():
    """(file, folder, options that say what the unit is) of each unit, once."""
    found = {}
    for entry in json.loads((ROOT / "build" / "release" / "compile_commands.json").read_text()):
        file = (pathlib.Path(entry["directory"]) / entry["file"]).resolve()
        if file.suffix != ".cpp" or file.name == "TorchPch.cpp":
            continue
        options, rest = [], iter(shlex.split(entry["command"])[1:])
        for option in rest:
            if option == "-isystem":
                options += [option, next(rest)]
            elif option in ("-o", "-include"):
                next(rest)
            elif option == "-DNDEBUG":
                continue  # what assertions alone use is used
            elif option[:2] in ("-D", "-I") or option.startswith("-std="):
                options.append(option)
        found.setdefault(file, (entry["directory"], options))
    return [(file, *found[file]) for file in sorted(found)]


def compiled_already():
    """The sources, below the build's folder or the project's, that the new Clang compiled in the sanitizer build."""
    build = ROOT / "build" / "asan"
    commands = build / "compile_commands.json"
    found = set()
    for entry in json.loads(commands.read_text()) if commands.exists() else []:
        compiled_by_new = any(word.endswith(NEW) for word in shlex.split(entry["command"])[:2])
        if compiled_by_new and pathlib.Path(entry["output"]).exists():
            found.add(place(pathlib.Path(entry["file"]), build))
    return found


def place(unit, build):
    return unit.relative_to(build) if unit.is_relative_to(build) else unit.relative_to(ROOT)


def checks():
    """(compiler, options, file, folder, whether it has LibTorch)"""
    release, already = ROOT / "build" / "release", compiled_already()
    for file, folder, options in units():
        with_torch = any("torch/include" in option for option in options)
        if with_torch:
            yield NEW, options, file, folder, True
            continue
        yield OLD, ["-stdlib=libc++", *options], file, folder, False
        if "tests" not in file.relative_to(ROOT).parts and place(file, release) not in already:
            yield NEW, options, file, folder, False


def quoted(words):
    return shlex.join(map(str, words)).replace("$", "$$")


def ninja_file(installed):
    header = FOLDER / "torch.h"
    if not header.exists() or header.read_text() != HEADER:
        header.write_text(HEADER)
    lines = ["rule check", "  command = cd $in_folder && $compiler -MD -MF $out.d $options && touch $out",
             "  depfile = $out.d", "  deps = gcc", "  description = $compiler $what"]
    compiled = False
    for compiler, options, file, folder, with_torch in checks():
        if compiler not in installed:
            continue
        name = str(file.relative_to(ROOT)).removeprefix("build/release/").replace("/", "_")
        out, needed = FOLDER / f"{compiler}_{name}.ok", []
        words = [*options, *WARNINGS, "-fsyntax-only", "-MT", out, file]
        if with_torch:
            binary = FOLDER / "torch.h.pch"
            if not compiled:
                compiled = True
                lines += [f"build {binary}: check {header}", f"  in_folder = {folder}", f"  compiler = {compiler}", "  what = torch.h",
                          f"  options = {quoted([*options, '-x', 'c++-header', '-MT', binary, '-o', binary, header])}"]
            words[:0] = ["-include-pch", binary]
            needed = [f" | {binary}"]
        lines += [f"build {out}: check {file}{''.join(needed)}", f"  in_folder = {folder}", f"  compiler = {compiler}",
                  f"  what = {name}", f"  options = {quoted(words)}"]
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-j", dest="jobs", default="2")
    jobs = parser.parse_args().jobs
    if platform.system() == "Darwin":
        return 0
    installed = [compiler for compiler in (OLD, NEW) if shutil.which(compiler)]
    for compiler in (OLD, NEW):
        if compiler not in installed:
            print(f"{compiler} is not installed: its checks are left out")
    FOLDER.mkdir(parents=True, exist_ok=True)
    (FOLDER / "build.ninja").write_text(ninja_file(installed))
    return subprocess.run(["ninja", "-C", str(FOLDER), "-k", "0", "-j", jobs], check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
