"""plait patch: B out of A and the patch, byte by byte. The grammar of docs/patch.md is read here by other code than plait's."""

import fcntl
import hashlib
import json
import os
import resource
import shutil
import signal
import struct
import subprocess
import sys
import zlib

import adapter_models as models
import peer
import pytest
import torch
from adapter_checks import save_base
from command import digest, plait, succeed
from paths import PLAIT, ROOT
from peft import LoraConfig

SIZE, RANK = 1000, 16
MODEL = "Data/com.apple.CoreML/model.mlmodel"
WEIGHTS = "Data/com.apple.CoreML/weights/weight.bin"


# ---- The page's grammar --------------------------------------------------------------------------

def uint(value):
    out = bytearray()
    while value >= 128:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes(out + bytes([value]))


def piecewise(data):
    return hashlib.sha256(b"".join(hashlib.sha256(data[i:i + (1 << 20)]).digest() for i in range(0, len(data), 1 << 20))).digest()


class Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, count):
        assert self.at + count <= len(self.data)
        self.at += count
        return self.data[self.at - count:self.at]

    def uint(self):
        value = shift = 0
        while True:
            byte, = self.take(1)
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    def files(self):
        found = []
        for _ in range(self.uint()):
            kind, = self.take(1)
            path = None if kind == 2 else self.take(self.uint()).decode()
            found.append((kind, path, *((0, None) if kind == 1 else (self.uint(), self.take(32)))))
        return found


def apply(patch, base):
    """{path: contents}, the side file under None, as docs/patch.md says it."""
    reader = Reader(patch)
    assert reader.take(8) == b"plaitpch"
    version, size = struct.unpack("<IQ", reader.take(12))
    assert version == 1 and size == len(patch)
    there = [base.get(path) for _, path, *_ in reader.files()]
    made = {}
    for kind, path, size, digest_of in reader.files():
        made[path] = (kind, size, digest_of)
    for path, (kind, size, digest_of) in made.items():
        if kind == 1:
            made[path] = None
            continue
        out = bytearray()
        while len(out) < size:
            packed, = reader.take(1)
            raw = reader.uint()
            steps = Reader(zlib.decompress(reader.take(reader.uint()), -15) if packed else reader.take(raw))
            assert len(steps.data) == raw <= 1 << 20
            while steps.at < raw:
                if steps.take(1) == b"\0":
                    file, place, count = steps.uint(), steps.uint(), steps.uint()
                    out += there[file][place:place + count]
                else:
                    out += steps.take(steps.uint())
        assert len(out) == size and piecewise(out) == digest_of
        made[path] = bytes(out)
    assert reader.at == len(patch)
    return made


def contents(package):
    return {str(path.relative_to(package)): path.read_bytes() for path in package.rglob("*") if path.is_file()}


# ---- Packages --------------------------------------------------------------------------------------

def function(folder, number):
    return ["--function", f"adapter_{number}={folder}/adapted_model_{number}.pt", "--input", f"x=[1, {SIZE}]", "--output", "y"]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Packages of one adapter, of two, of both in another order and precision, and of the second with other metadata."""
    folder = tmp_path_factory.mktemp("patch")
    make = ROOT / "examples" / "lora_adapters" / "make_models.py"
    subprocess.run([sys.executable, make, folder, "--size", str(SIZE), "--rank", str(RANK), "--adapters", "2"], check=True,
                   capture_output=True)
    succeed("compile", "-o", folder / "one.mlpackage", *function(folder, 1))
    succeed("compile", "-o", folder / "two.mlpackage", *function(folder, 1), *function(folder, 2))
    succeed("compile", "-o", folder / "other.mlpackage", "--precision", "fp32", "--debug-info", "on", "--author", "A. Author",
            *function(folder, 2), *function(folder, 1))
    return folder


def make(base, result, patch):
    succeed("patch", "make", base, result, "-o", patch)
    return patch


@pytest.mark.parametrize("base, result", [("one", "two"), ("two", "one"), ("two", "other"), ("other", "two"), ("two", "two")])
def test_byte_by_byte(made, tmp_path, base, result):
    base, result = made / f"{base}.mlpackage", made / f"{result}.mlpackage"
    patch = make(base, result, tmp_path / "d.plaitpatch")
    before = digest(base)
    package = tmp_path / "out.mlpackage"
    if base != result:
        succeed("patch", "apply", base, patch, "-o", package)
        assert digest(package) == digest(result) and digest(base) == before
    package = shutil.copytree(base, tmp_path / "p.mlpackage", symlinks=True)
    report = succeed("patch", "apply", package, patch).stdout
    assert digest(package) == digest(result)
    assert ("already" in report) == (base == result)
    assert "already" in succeed("patch", "apply", package, patch).stdout
    assert apply(patch.read_bytes(), contents(base)) == contents(result)
    peer.check_package(package)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["d.plaitpatch", *(["out.mlpackage"] if base != result else []), "p.mlpackage"]
    again = make(base, result, tmp_path / "again.plaitpatch")
    assert again.read_bytes() == patch.read_bytes()


def test_an_adapter_costs_what_it_is(made, tmp_path):
    """Its weights and one per cent, whether the package was grown or compiled anew."""
    grown = shutil.copytree(made / "one.mlpackage", tmp_path / "grown.mlpackage")
    succeed("add", grown, *function(made, 2))
    own = json.loads(succeed("inspect", grown, "--json").stdout)["functions"][1]["own_weight_bytes"]
    assert own >= 4 * SIZE * RANK * 2
    for result in (grown, made / "two.mlpackage"):
        size = make(made / "one.mlpackage", result, tmp_path / "d.plaitpatch").stat().st_size
        assert size <= 1.01 * own, (size, own)


def test_a_moved_weight_is_found(made, tmp_path):
    """Functions in another order: every blob lies elsewhere."""
    turned = tmp_path / "turned.mlpackage"
    succeed("compile", "-o", turned, *function(made, 2), *function(made, 1))
    assert make(made / "two.mlpackage", turned, tmp_path / "d.plaitpatch").stat().st_size < 20_000


def test_side_files_and_empty_folders(tmp_path):
    base = torch.nn.Sequential(torch.nn.Linear(24, 32), torch.nn.ReLU(), torch.nn.Linear(32, 24)).eval()
    save_base(base, (torch.randn(1, 24),), tmp_path / "base.pt")
    for number, name in enumerate(("one", "two")):
        models.adapt(base, LoraConfig(r=4, target_modules=["0", "2"]), tmp_path / name, number)
    common = ["--base", tmp_path / "base.pt", "--input", "x=[1, 24]", "--output", "y"]
    plain, taking = tmp_path / "plain.mlpackage", tmp_path / "taking.mlpackage"
    succeed("compile", "-o", plain, *common, "--base-function", "plain")
    succeed("compile", "-o", taking, *common, "--lora", "inputs", "--adapter", f"one={tmp_path}/one")
    (taking / "Data" / "com.example" / "inner").mkdir(parents=True)
    (taking / ".DS_Store").write_bytes(b"Finder's own")
    there, back = make(plain, taking, tmp_path / "there"), make(taking, plain, tmp_path / "back")
    side = (tmp_path / "taking.adapter.json").read_bytes()
    assert apply(there.read_bytes(), contents(plain))[None] == side
    package, before = shutil.copytree(plain, tmp_path / "p.mlpackage"), digest(plain)
    succeed("patch", "apply", package, there)
    assert (tmp_path / "p.adapter.json").read_bytes() == side
    assert (package / "Data" / "com.example" / "inner").is_dir() and not (package / ".DS_Store").exists()
    result = plait("patch", "apply", taking, back, "-o", package)  # its side file goes with it
    assert result.returncode == 0 and digest(package) == before and not (tmp_path / "p.adapter.json").exists()
    (tmp_path / "p.adapter.json").write_text("somebody's")
    result = plait("patch", "apply", plain, there, "-o", package)
    assert result.returncode == 1 and "p.adapter.json" in result.stderr and digest(package) == before


# ---- What is refused ---------------------------------------------------------------------------------

def damage(package, path, change):
    file = package / path
    data = bytearray(file.read_bytes())
    change(data)
    file.write_bytes(data)


def test_another_base_is_named(made, tmp_path):
    patch = make(made / "one.mlpackage", made / "two.mlpackage", tmp_path / "d.plaitpatch")
    for change, message in [
            (lambda package: damage(package, WEIGHTS, lambda data: data.__setitem__(-1, data[-1] ^ 1)), f"'{WEIGHTS}' has other contents"),
            (lambda package: damage(package, MODEL, lambda data: data.append(0)), f"'{MODEL}' has "),
            (lambda package: damage(package, MODEL, lambda data: data.__setitem__(0, data[0] ^ 1)), f"'{MODEL}' has other contents"),
            (lambda package: (package / "Data" / "more").write_text("more"), "it has 'Data/more' beside"),
            (lambda package: (package / WEIGHTS).unlink(), f"it has not '{WEIGHTS}'"),
            (lambda package: (package / "link").symlink_to("Data"), "is a link"),
            (lambda package: (package.parent / "p.adapter.json").write_text("{}"), "it has the side file beside")]:
        package = shutil.copytree(made / "one.mlpackage", tmp_path / "p.mlpackage")
        change(package)
        before = digest(package)
        result = plait("patch", "apply", package, patch)
        assert result.returncode == 1 and message in result.stderr, result.stderr
        assert digest(package) == before
        shutil.rmtree(package)
        (tmp_path / "p.adapter.json").unlink(missing_ok=True)
    result = plait("patch", "apply", made / "two.mlpackage", patch, "-o", tmp_path / "out.mlpackage")
    assert result.returncode == 1 and "already; copy it" in result.stderr
    (tmp_path / "full.mlpackage").mkdir()
    (tmp_path / "full.mlpackage" / "file").touch()
    result = plait("patch", "apply", made / "one.mlpackage", patch, "-o", tmp_path / "full.mlpackage")
    assert result.returncode == 1 and "not a package" in result.stderr
    for arguments, message in [(["patch"], "make or apply"), (["patch", "undo", "a", "b"], "make or apply"), (["patch", "make", "a"], "two packages"),
                               (["patch", "apply", "a"], "a package and a patch"), (["patch", "make", "a", "b"], "-o"),
                               (["patch", "apply", made / "one.mlpackage", patch, "-o", tmp_path / "out"], ".mlpackage")]:
        result = plait(*arguments)
        assert result.returncode == 2 and message in result.stderr, result.stderr


def packed(base, result, recipes=b"", version=1, size=None):
    def files(listed):
        return uint(len(listed)) + b"".join(listed)
    body = files(base) + files(result) + recipes
    return b"plaitpch" + struct.pack("<IQ", version, len(body) + 20 if size is None else size) + body


def file(path, data=b"", size=None):
    path = path if isinstance(path, bytes) else path.encode()
    return b"\0" + uint(len(path)) + path + uint(len(data) if size is None else size) + piecewise(data)


def frame(steps, raw=None):
    return b"\0" + uint(len(steps) if raw is None else raw) + steps


def test_hostile_patches(made, tmp_path):
    """Each is an error that says what is wrong, and nothing is made."""
    package = shutil.copytree(made / "one.mlpackage", tmp_path / "p.mlpackage")
    before = digest(package)
    base = [file(path, data) for path, data in sorted(contents(package).items())]
    weights = len((package / WEIGHTS).read_bytes())
    text = b"\1" + uint(2) + b"hi"
    hi = [file("a", b"hi")]
    for patch, message in [
            (b"", "no patch"), (b"plaitpch", "no patch"), (b"PK\3\4" + bytes(40), "no patch"),
            (packed(base, hi, frame(text), version=2), "version 2"),
            (packed(base, hi, frame(text))[:-1], "incomplete"),
            (packed(base, hi, frame(text), size=1 << 63), "incomplete"),
            *((packed(base, [file(path, b"hi")], frame(text)), "no place inside of a package")
              for path in ("../a", "/a", "a/../../b", "a//b", "./a", "", "a/..", b"a\0b", "a" * 2000)),
            (packed(base, [file("b", b"hi"), *hi], frame(text) * 2), "not in order"),
            (packed(base, hi * 2, frame(text) * 2), "not in order"),
            (packed(base, [b"\2" + hi[0][3:]] * 2, frame(text) * 2), "not in order"),
            (packed(base, [file("a", b"hi"), file("a/b", b"hi")], frame(text) * 2), "where a folder is wanted"),
            (packed(base, [b"\3"]), "a kind that is not known"),
            (packed(base, hi, b"\2"), "a kind that is not known"),
            (packed(base, hi, frame(b"\2")), "a kind that is not known"),
            (packed(base, [hi[0][:-1]]), "ends before"), (packed(base, hi), "ends before"),
            (b"plaitpch" + struct.pack("<IQ", 1, 32) + b"\xff" * 12, "64 bits"),
            (packed(base, [file("a", size=1 << 62)]), "longer than any disk"),
            (packed(base, [file(f"{i}", size=1 << 60) for i in range(9)]), "longer than any disk"),
            (packed(base, [file("a", size=1 << 59)], frame(text)), "has room for"),
            (packed(base, [b"\2" + uint(1 << 31) + piecewise(b"")], frame(text)), "no side file"),
            (packed(base, hi, frame(b"")), "empty or too long"), (packed(base, hi, frame(text, 1 << 21)), "empty or too long"),
            (packed(base, hi, frame(b"\1\0" + text)), "makes nothing"),
            (packed(base, hi, frame(b"\1\3abc")), "more of a file than its size"),
            (packed(base, hi, frame(b"\1\2a")), "ends before"),
            (packed(base, hi, frame(b"\0" + uint(9) + uint(0) + uint(2))), "a file that the base does not have"),
            (packed(base, hi, frame(b"\0" + uint(2) + uint(weights - 1) + uint(2))), "behind the end of a file"),
            (packed(base, hi, frame(b"\0" + uint(2) + uint((1 << 64) - 1) + uint(2))), "behind the end of a file"),
            (packed(base, hi, b"\1" + uint(4) + uint(3) + b"\xff\xff\xff"), "does not unpack"),
            (packed(base, hi, frame(text) + b"x"), "follows its last recipe"),
            (packed(base, [file("a", b"ho")], frame(text)), "is not what it says")]:
        path = tmp_path / "d.plaitpatch"
        path.write_bytes(patch)
        result = plait("patch", "apply", package, path)
        assert result.returncode == 1 and message in result.stderr, (message, result.stderr)
        assert digest(package) == before and sorted(entry.name for entry in tmp_path.iterdir()) == ["d.plaitpatch", "p.mlpackage"]


def test_a_full_disk_and_another_process(made, tmp_path):
    patch = make(made / "one.mlpackage", made / "two.mlpackage", tmp_path / "d.plaitpatch")
    package = shutil.copytree(made / "one.mlpackage", tmp_path / "p.mlpackage")
    before = digest(package)

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, ((package / WEIGHTS).stat().st_size, resource.RLIM_INFINITY))

    result = plait("patch", "apply", package, patch, preexec_fn=limit)
    assert result.returncode == 1 and "cannot write" in result.stderr, result.stderr
    descriptor = os.open(package, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        result = plait("patch", "apply", package, patch)
        assert result.returncode == 1 and "being changed by another process" in result.stderr, result.stderr
    finally:
        os.close(descriptor)
    assert digest(package) == before and sorted(entry.name for entry in tmp_path.iterdir()) == ["d.plaitpatch", "p.mlpackage"]


@pytest.mark.parametrize("how", ["kill", "full"])
def test_stopped_at_every_step(made, stopper, tmp_path, how):
    """The old package or the new one, and after a kill the same patch can be applied."""
    patch = make(made / "one.mlpackage", made / "two.mlpackage", tmp_path / "d.plaitpatch")
    old, new = digest(made / "one.mlpackage"), digest(made / "two.mlpackage")
    folder = tmp_path / "work"
    folder.mkdir()
    for step in range(200):
        package = shutil.copytree(made / "one.mlpackage", folder / "p.mlpackage")
        environment = {**os.environ, "LD_PRELOAD": str(stopper), "STOP_FOLDER": str(folder), "STOP_AT": str(step), "STOP_HOW": how,
                       "STOP_MARK": str(tmp_path / "stopped")}
        result = subprocess.run([str(PLAIT), "patch", "apply", str(package), str(patch), "-q"], env=environment, capture_output=True,
                                text=True, timeout=60)
        if not (tmp_path / "stopped").exists():
            assert result.returncode == 0 and digest(package) == new, result.stderr
            break
        (tmp_path / "stopped").unlink()
        after = digest(package)
        assert after in (old, new), step
        if how == "kill":
            assert result.returncode == -signal.SIGKILL
            succeed("patch", "apply", package, patch)
            assert digest(package) == new
        else:
            # What is in place stays there where only the last flush failed.
            assert result.returncode == 1 or after == new, result.stderr
        assert [entry.name for entry in folder.iterdir()] == ["p.mlpackage"], step
        shutil.rmtree(package)
    else:
        pytest.fail("the command never ends")
    assert step >= 6
