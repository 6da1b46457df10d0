"""Writes what fuzzers start from into a folder: the cases of the golden files, the packages and weight files beside the
tests, in the form that the harnesses read, and a dictionary of MIL's words. Of the standard library alone.

    make_seeds.py FOLDER
"""

import pathlib
import re
import struct
import sys

TESTS = pathlib.Path(__file__).resolve().parents[1]


def texts():
    for path in sorted((TESTS / "golden").rglob("*.mil")):
        for number, case in enumerate(path.read_text().split("// -----\n")):
            yield f"{path.stem}-{number}", case.split("// ---- ")[0].encode()


def packages():
    for path in sorted((TESTS / "backend" / "peer").glob("*.mlpackage")):
        model, = path.rglob("*.mlmodel")
        weights = b"".join(file.read_bytes() for file in path.rglob("weight.bin"))
        yield path.stem, model.read_bytes(), weights


def words():
    table = (TESTS.parent / "mil" / "Ops.def").read_text()
    yield from sorted(set(re.findall(r"(?:OP|IN)\((\w+)", table)))
    yield from ("program(1.3)", "func main<ios18>", "tensor<fp16, [", "tensor<int32, []>", "state<tensor<fp16, [2]>>",
                "list<", "tuple<", "dict<", "string(", "BLOBFILE(path = string(\"w\"), offset = uint64(64))", "} -> (",
                "[name = ", "const()[val = ", "block0()", "true", "false", "inf", "nan(0x7e00)", "0x1.8p-3", "-1",
                "int4", "uint6", "bf16", "fp64", "int64", "9223372036854775807", "?", "[]", "\\x00")


def write(folder, name, content):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(content)


def main():
    target = pathlib.Path(sys.argv[1])
    for name, text in texts():
        write(target / "text", name, text)
    quoted = (word.replace("\\", "\\\\").replace('"', '\\"') for word in words())
    write(target, "text.dict", "".join(f'"{word}"\n' for word in quoted).encode())
    for name, model, weights in packages():
        write(target / "package", name, struct.pack("<I", len(model)) + model + weights)
        if weights:
            write(target / "weights", name, weights)


if __name__ == "__main__":
    main()
