"""The signature census: what plait writes is what coremltools writes.

Core ML reads a package with its own operator definitions, stricter than coremltools' documentation. Where no Core ML is
at hand, the best proof that it accepts an operation is that coremltools, whose packages it loads, writes the same:
census.txt holds every signature seen in its conversions (make_census.py). What plait writes beyond them is listed here.
"""

import pathlib
import re

from mil_signatures import signatures

TABLE = frozenset((pathlib.Path(__file__).parent / "census.txt").read_text().splitlines())

# (pattern of signatures, what coremltools writes in its place)
EXCEPTIONS = [
    (r"mod\(x: int32, y: (const )?int32\) -> int32",
     "torch.remainder of integers becomes floor_div, mul and sub; mod of int32 is written for the size of a dynamic dimension "
     "alone (roll_dynamic), with the constant as x"),
    (r"(linear\(bias: const fp(16|32), weight|matmul\(transpose_x: const bool, transpose_y: const bool, x): const fp(16|32), "
     r"[xy]: const fp(16|32)\) -> fp(16|32)",
     "an adapter's kernel is computed from its factors when a function runs; coremltools leaves such products to the function, as "
     "linear, where its const_elimination is told to (skip_const_by_size); matmul is the same without a bias of zeros"),
]


def unknown_signatures(spec):
    """Signatures in a program that coremltools was never seen to write, without the reasoned exceptions."""
    return sorted(text for text in signatures(spec) - TABLE
                  if not any(re.fullmatch(pattern, text) for pattern, _ in EXCEPTIONS))
