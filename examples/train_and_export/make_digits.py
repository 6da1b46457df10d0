"""Writes the 1797 images of digits that scikit-learn ships to a file that C++ reads (Digits.h has its form)."""

import sys

import numpy as np
from sklearn.datasets import load_digits


def main():
    if len(sys.argv) != 2:
        sys.exit("usage: make_digits.py DIGITS.bin")
    digits = load_digits()
    order = np.random.default_rng(0).permutation(len(digits.target))
    with open(sys.argv[1], "wb") as file:
        file.write(b"DIGITS01")
        file.write(np.uint32(len(order)).astype("<u4").tobytes())
        file.write(digits.images[order].astype(np.uint8).tobytes())
        file.write(digits.target[order].astype(np.uint8).tobytes())


if __name__ == "__main__":
    main()
