"""The command: ``plait`` on the PATH, and ``python -m plait``.

It is the program of the C++ build, which lies in this package. LibTorch is where torch is; the program finds it there when torch
lies beside plait, and is told otherwise.
"""

from __future__ import annotations

import os
import pathlib
import sys

from plait import _torch


def command() -> pathlib.Path:
    """Where the program is."""
    return pathlib.Path(__file__).resolve().parent / "_command" / "bin" / "plait"


def main() -> None:
    """Becomes the program."""
    program = command()
    torch = _torch.folder()
    if torch is not None and torch.resolve().parent != program.parents[3]:
        variable = "DYLD_LIBRARY_PATH" if sys.platform == "darwin" else "LD_LIBRARY_PATH"
        before = os.environ.get(variable)
        os.environ[variable] = str(torch / "lib") + (os.pathsep + before if before else "")
    os.execv(program, ["plait", *sys.argv[1:]])


if __name__ == "__main__":
    main()
