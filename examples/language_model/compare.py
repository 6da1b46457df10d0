"""Prints what `plait run` generated beside the prompt, and fails where it is not what PyTorch generates.

From a token on at which PyTorch's first two choices are closer than half precision rounds, another text is as good.

    compare.py FOLDER NAME
"""

import json
import pathlib
import sys

import numpy as np
from make_models import NEW, PROMPTS, decode

ROUNDING = 0.02  # of logits in half precision, in their standard deviations


def main():
    folder, name = pathlib.Path(sys.argv[1]), sys.argv[2]
    generated = [int(np.load(folder / f"{name}_out" / str(step) / "next.npy").item()) for step in range(1, NEW + 1)]
    print(f"\n--- {name}\n{PROMPTS[name]}{decode(generated)}\n---")
    expected = json.loads((folder / "expected.json").read_text())[name]
    tokens = expected["tokens"]
    same = next((i for i in range(NEW) if generated[i] != tokens[i]), NEW)
    if same < NEW and expected["leads"][same] > ROUNDING:
        sys.exit(f"token {same} differs; PyTorch: {decode(tokens)}")
    print(f"{same} of {NEW} tokens are PyTorch's" + ("" if same == NEW else ", which hardly prefers its next one to another"))


if __name__ == "__main__":
    main()
