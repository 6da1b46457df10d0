"""Prints what `plait run` generated beside the prompt, and fails where it is not what PyTorch generates.

    compare.py FOLDER NAME
"""

import json
import pathlib
import sys

import numpy as np
from make_models import NEW, PROMPTS, decode


def main():
    folder, name = pathlib.Path(sys.argv[1]), sys.argv[2]
    generated = [int(np.load(folder / f"{name}_out" / str(step) / "next.npy").item()) for step in range(1, NEW + 1)]
    print(f"\n--- {name}\n{PROMPTS[name]}{decode(generated)}\n---")
    expected = json.loads((folder / "expected.json").read_text())[name]
    if generated != expected:
        first = next(i for i, pair in enumerate(zip(generated, expected)) if pair[0] != pair[1])
        sys.exit(f"token {first} differs; PyTorch: {decode(expected)}")
    print(f"{NEW} of {NEW} tokens are PyTorch's")


if __name__ == "__main__":
    main()
