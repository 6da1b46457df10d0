"""The signature census: what plait writes is what coremltools writes.

Core ML reads a package with its own operator definitions, stricter than coremltools' documentation. Where no Core ML is
at hand, the best proof that it accepts an operation is that coremltools, whose packages it loads, writes the same:
census.txt holds every signature seen in its conversions (make_census.py). What plait writes beyond them is listed here.
"""

import pathlib
import re

from mil_signatures import signatures

TABLE = frozenset((pathlib.Path(__file__).parent / "census.txt").read_text().splitlines())

# (pattern of signatures, reason): the coremltools conversions at hand happen to hold none, or it cannot convert the model.
EXCEPTIONS = [
    (r"relu6\(x: fp(16|32)\) -> fp\1", "coremltools writes clip for the relu6 of its conversions; the operation is iOS15's"),
    (r"mod\(x: int32, y: int32\) -> int32", "int32 is in the domain of mod; no conversion at hand takes an integer remainder"),
    (r"cast\(dtype: const string, x: fp16\) -> (fp16|int32)",
     "fp16 and int32 are in the domain of cast; a cast to the type it has stays where it names an output"),
]


def unknown_signatures(spec):
    """Signatures in a program that coremltools was never seen to write, without the reasoned exceptions."""
    return sorted(text for text in signatures(spec) - TABLE
                  if not any(re.fullmatch(pattern, text) for pattern, _ in EXCEPTIONS))
