"""What lies in the weight file of a package, without plait."""

import pathlib
import struct


def blobs(package):
    """(code of the element type, bits of padding, bytes, data) of each blob, in an order that does not depend on the file's."""
    data = (pathlib.Path(package) / "Data" / "com.apple.CoreML" / "weights" / "weight.bin").read_bytes()
    count, version = struct.unpack_from("<II", data)
    assert version == 2
    found, at = [], 64
    for _ in range(count):
        sentinel, code, size, begin, padding = struct.unpack_from("<IIQQQ", data, at)
        assert sentinel == 0xDEADBEEF
        found.append((code, padding, size, data[begin:begin + size]))
        at = (begin + size + 63) // 64 * 64
    return sorted(set(found))
