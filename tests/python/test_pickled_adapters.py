"""adapter_model.bin: what torch.save writes in its several ways is read as safetensors are, without LibTorch; what is hostile gets an error."""

import collections
import io
import os
import pathlib
import random
import resource
import struct
import sys
import warnings
import zipfile
import zlib

import adapter_models as models
import numpy as np
import pytest
import safetensors.torch
import torch
from adapter_checks import save_base
from command import digest, plait, succeed
from peft import LoraConfig

A, B = "base_model.model.0.lora_A.weight", "base_model.model.0.lora_B.weight"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A base, an adapter of it, and the package that the adapter's safetensors give."""
    folder = tmp_path_factory.mktemp("pickled")
    torch.manual_seed(0)
    base = torch.nn.Sequential(torch.nn.Linear(8, 8)).eval()
    save_base(base, (torch.rand(1, 8),), folder / "base.pt")
    models.adapt(base, LoraConfig(r=2, target_modules=["0"]), folder / "a")
    assert compile_adapter(folder, folder / "a", folder / "a.mlpackage").returncode == 0
    return folder


def limited():
    if sys.platform == "linux":
        resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))


def compile_adapter(made, adapter, package):
    return plait("compile", "-o", package, "--base", made / "base.pt", "--input", "x=[1, 8]", "--adapter", f"a={adapter}",
                 "--quiet", timeout=60, preexec_fn=limited)


def folder_of(made, tmp_path, content):
    """The adapter with `content` in place of its safetensors."""
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "adapter_config.json").write_text((made / "a" / "adapter_config.json").read_text())
    (tmp_path / "adapter" / "adapter_model.bin").write_bytes(content)
    return tmp_path / "adapter"


def saved(value, **options):
    buffer = io.BytesIO()
    torch.save(value, buffer, **options)
    return buffer.getvalue()


def with_attribute(tensor, note="kept by Python alone"):
    tensor.note = note
    return tensor


def of_module(tensors):
    state = torch.nn.Linear(2, 2).state_dict()  # an OrderedDict with _metadata
    state.clear()
    state.update(tensors)
    return state


def negated(tensor):
    """The same numbers, with a bit that negates those in memory."""
    return torch.complex(torch.zeros_like(tensor), -tensor).conj().imag


@pytest.mark.parametrize("form", [
    dict, collections.OrderedDict, of_module,
    lambda tensors: {key: torch.nn.Parameter(tensor) for key, tensor in tensors.items()},
    lambda tensors: {key: with_attribute(tensor) for key, tensor in tensors.items()},
    lambda tensors: {key: tensor.t().contiguous().t() for key, tensor in tensors.items()},
    lambda tensors: {key: torch.cat([tensor, tensor])[len(tensor):] for key, tensor in tensors.items()},
    lambda tensors: {key: negated(tensor) for key, tensor in tensors.items()},
    lambda tensors: {key: with_attribute(tensor.clone()) if key == B else tensor for key, tensor in tensors.items()},
    lambda tensors: {key: with_attribute(torch.nn.Parameter(tensor)) for key, tensor in tensors.items()},
    lambda tensors: {key: with_attribute(tensor.clone(), torch.Size([2**40])) for key, tensor in tensors.items()},
    lambda tensors: {key: with_attribute(tensor.clone(), torch.device("cpu")) for key, tensor in tensors.items()},
])
def test_forms_of_saving(made, tmp_path, form):
    tensors = safetensors.torch.load_file(made / "a" / "adapter_model.safetensors")
    folder = folder_of(made, tmp_path, saved(form(tensors)))
    result = compile_adapter(made, folder, tmp_path / "a.mlpackage")
    assert result.returncode == 0, result.stderr
    assert digest(tmp_path / "a.mlpackage") == digest(made / "a.mlpackage")


class Own(torch.Tensor):
    pass


PLAIN = "{k: v.detach().clone()"
NOT_READ = {
    "torch.Size": (lambda tensors: {**tensors, "more": torch.Size([1])}, PLAIN),
    "NumPy": (lambda tensors: {**tensors, "more": np.ones(3)}, PLAIN),
    "a NumPy scalar": (lambda tensors: {**tensors, "more": np.float32(3)}, PLAIN),
    "sparse": (lambda tensors: {**tensors, "more": torch.eye(4).to_sparse()}, PLAIN),
    "8-bit floats": (lambda tensors: {key: tensor.to(torch.float8_e4m3fn) for key, tensor in tensors.items()}, PLAIN),
    "uint16": (lambda tensors: {**tensors, "more": torch.ones(2, dtype=torch.uint16)}, PLAIN),
    "an integer": (lambda tensors: {**tensors, "more": 2**40}, PLAIN),
    "defaultdict": (lambda tensors: collections.defaultdict(int, tensors), PLAIN),
}


@pytest.mark.parametrize("name", NOT_READ)
def test_sound_files_that_are_not_read(made, tmp_path, name):
    """They are not called damaged, and what to save instead is said."""
    form, message = NOT_READ[name]
    tensors = safetensors.torch.load_file(made / "a" / "adapter_model.safetensors")
    result = compile_adapter(made, folder_of(made, tmp_path, saved(form(tensors))), tmp_path / "a.mlpackage")
    assert result.returncode == 1 and message in result.stderr and "damaged" not in result.stderr, result.stderr


@pytest.mark.parametrize("protocol", [3, 4])
def test_other_protocols(made, tmp_path, protocol):
    tensors = safetensors.torch.load_file(made / "a" / "adapter_model.safetensors")
    folder = folder_of(made, tmp_path, saved(tensors, pickle_protocol=protocol))
    result = compile_adapter(made, folder, tmp_path / "a.mlpackage")
    assert result.returncode == 1 and f"protocol {protocol}" in result.stderr and "pickle_protocol" in result.stderr


def test_a_subclass_of_tensor(made, tmp_path):
    tensors = safetensors.torch.load_file(made / "a" / "adapter_model.safetensors")
    folder = folder_of(made, tmp_path, saved({key: tensor.as_subclass(Own) for key, tensor in tensors.items()}))
    result = compile_adapter(made, folder, tmp_path / "a.mlpackage")
    assert result.returncode == 1 and "a subclass" in result.stderr and "report" not in result.stderr, result.stderr


@pytest.mark.parametrize("name, message", [
    (A.replace("lora_A", "lora_A.default"), "both belong to module '0'"), (A + "\0", "behind a zero byte"),
    (A.replace("lora_A", "lora_A\0"), "behind a zero byte")])
def test_names_that_are_not_what_they_seem(made, tmp_path, name, message):
    tensors = safetensors.torch.load_file(made / "a" / "adapter_model.safetensors")
    tensors[name] = tensors[A] + 1
    result = compile_adapter(made, folder_of(made, tmp_path, saved(tensors)), tmp_path / "a.mlpackage")
    assert result.returncode == 1 and message in result.stderr, result.stderr
    (tmp_path / "adapter" / "adapter_model.bin").unlink()
    safetensors.torch.save_file(tensors, tmp_path / "adapter" / "adapter_model.safetensors")
    result = compile_adapter(made, tmp_path / "adapter", tmp_path / "a.mlpackage")
    assert result.returncode == 1 and message in result.stderr, result.stderr


# ---- Pickles, operation by operation -----------------------------------------------------------

def text(value):
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def number(value):
    return b"\x8a\x08" + struct.pack("<q", value)


def tuple_of(*values):
    return b"(" + b"".join(values) + b"t"


def name_of(module, name):
    return f"c{module}\n{name}\n".encode()


def storage(key="0", elements=16, kind=name_of("torch", "FloatStorage")):
    return tuple_of(text("storage"), kind, text(key), text("cpu"), number(elements)) + b"Q"


def tensor(of=storage(), offset=0, shape=(2, 8), strides=(8, 1), maker=name_of("torch._utils", "_rebuild_tensor_v2")):
    return maker + tuple_of(of, number(offset), tuple_of(*map(number, shape)), tuple_of(*map(number, strides)), b"\x89",
                            b"N") + b"R"


def dictionary(**replaced):
    entries = {A: tensor(), B: tensor(storage("1"), shape=(8, 2), strides=(2, 1)), **replaced}
    return b"\x80\x02}(" + b"".join(text(key) + value for key, value in entries.items()) + b"u."


def archive(pickle, lengths=(64, 64), more=(), method=zipfile.ZIP_STORED, byteorder="little"):
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of members that come twice
        with zipfile.ZipFile(buffer, "w", method) as file:
            file.writestr("a/data.pkl", pickle)
            for key, length in enumerate(lengths):
                file.writestr(f"a/data/{key}", bytes(range(length % 256)) + bytes(length - length % 256))
            file.writestr("a/version", "3\n")
            file.writestr("a/byteorder", byteorder)
            for name in more:
                file.writestr(f"a/{name}", bytes(64))
    return buffer.getvalue()


def called(module, name, *arguments):
    return b"\x80\x02" + name_of(module, name) + tuple_of(*arguments) + b"R."


def sparse():
    indices = tensor(storage("2", 4, name_of("torch", "LongStorage")), shape=(2, 2), strides=(2, 1))
    values = tensor(shape=(2,), strides=(1,))
    return name_of("torch._utils", "_rebuild_sparse_tensor") + tuple_of(
        number(1), tuple_of(number(2), number(8)), b"\x89", indices, values) + b"R"


def deflated(content):
    """As zip files hold it."""
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(content) + packer.flush()


WRAPPER = ("torch._tensor", "_rebuild_from_type_v2", b"N", b"N", b")", b"}")
HOSTILE = {
    "elements below zero": (archive(dictionary(**{A: tensor(storage(elements=-1))})), ""),
    "elements that overflow": (archive(dictionary(**{A: tensor(storage(elements=2**62 + 16))})), ""),
    "a huge storage": (archive(dictionary(**{A: tensor(storage(elements=2**40))})), "lies in a record of 64"),
    "a short record": (archive(dictionary(), (60, 64)), "lies in a record of 60"),
    "a missing record": (archive(dictionary(), (64,)), "'data/1' is missing"),
    "a record elsewhere": (archive(dictionary(**{A: tensor(storage("../data.pkl"))})), "is missing"),
    "a shape beyond": (archive(dictionary(**{A: tensor(shape=(2, 800))})), "storage"),
    "an offset beyond": (archive(dictionary(**{A: tensor(offset=9)})), "storage"),
    "an offset below zero": (archive(dictionary(**{A: tensor(offset=-1)})), "storage"),
    "strides below zero": (archive(dictionary(**{A: tensor(offset=15, strides=(-8, -1))})), ""),
    "strides that overflow": (archive(dictionary(**{A: tensor(strides=(2**63 - 1, 2**63 - 1))})), ""),
    "sizes below zero": (archive(dictionary(**{A: tensor(shape=(-2, -8))})), ""),
    "sizes that overflow": (archive(dictionary(**{A: tensor(shape=(2**62, 2**62))})), ""),
    "2^31 rows of one element": (archive(dictionary(**{A: tensor(shape=(2**31, 8), strides=(0, 0))})), "8, 2147483648"),
    "more sizes than strides": (archive(dictionary(**{A: tensor(strides=(1,))})), ""),
    "a number for a type": (archive(dictionary(**{A: tensor(storage(kind=number(200)))})), "no element type"),
    "8-bit floats": (archive(dictionary(**{A: tensor(storage(elements=16, kind=name_of("torch", "Float8_e5m2Storage")))})),
                     "no tensor of floating-point numbers"),
    "a sparse tensor": (archive(dictionary(**{A: sparse()}), (64, 64, 32)), f"'{A}' is sparse"),
    "no dictionary": (archive(b"\x80\x02]."), "no dictionary of tensors"),
    "something else by a name": (archive(dictionary(more=b"N")), "something other than tensors"),
    "a function of Python": (archive(called("os", "system", text("touch MARK"))), "class os.system"),
    "another function": (archive(called("builtins", "eval", text("open('MARK', 'w')"))), "class builtins.eval"),
    "a function by number": (archive(b"\x80\x02" + number(0) + b")R."), "calls what is no class or function"),
    "a tensor with no maker": (archive(called(*WRAPPER)), "without saying how"),
    "an odd dictionary": (archive(b"\x80\x02}(" + text("x") + b"u."), "values that are not there"),
    "a mark above the stack": (archive(b"\x80\x02NNN(\x87l."), "values that are not there"),
    "deep tuples": (archive(dictionary(more=b")" + b"\x85" * 1000000)), "nests containers"),
    "tuples as deep as modules may be": (archive(dictionary(more=b")" + b"\x85" * 1900)), "something other than tensors"),
    "deep dictionaries": (archive(b"\x80\x02" + (b"}(" + text("k")) * 1000000 + b"N" + b"u" * 1000000 + b"."), "nests containers"),
    "from the outside in": (archive(b"\x80\x02}q\x00(" + text("x") + b"]q\x01u" + b"h\x01(]q\x01e0" * 100000 + b"."),
                            "nests containers"),
    "a list in itself": (archive(b"\x80\x02]q\x00(h\x00e."), "holds itself"),
    "tuples of two, doubled": (archive(dictionary(more=b")" + b"q\x00h\x00\x86" * 100)), "something other than tensors"),
    "too many values": (archive(b"\x80\x02" + b"N" * 40000000 + b".", method=zipfile.ZIP_DEFLATED), "holds more than"),
    "a place in the memo": (archive(b"\x80\x02]" + b"N" * 1000000 + b"r\x00\x00\x10\x00."), "claims more than there is"),
    "a record that unpacks to 128 MiB": (archive(b"\x80\x02X\x00\x00\x00\x08" + bytes(128 << 20) + b"0.", method=zipfile.ZIP_DEFLATED),
                                         "its records unpack to 134217"),
    "a string of 4 GiB": (archive(b"\x80\x02X\xff\xff\xff\xffabc."), "claims more than there is"),
    "records that add up": (archive(dictionary(**{f"x{i}": tensor(storage(f"{i + 2}", 1 << 19)) for i in range(40)}),
                                    (64, 64, *(1 << 21,) * 40), method=zipfile.ZIP_DEFLATED), "its records unpack to 67"),
    "a record that does not unpack": (archive(dictionary(), method=zipfile.ZIP_DEFLATED).replace(deflated(dictionary()), b"\xff" * len(deflated(dictionary()))),
                                      "data.pkl' is damaged"),
    "numbers the other way round": (archive(dictionary(), byteorder="big"), "big-endian"),
    "no tensor of its maker": (archive(dictionary(**{A: name_of("torch._utils", "_rebuild_qtensor") + b")R"})), "is sparse or quantized"),
    "an object by its state": (archive(b"\x80\x02" + name_of("os", "system") + b")\x81}b."), "class os.system"),
    "a dictionary that is added to as a list": (archive(b"\x80\x02}Na."), "adds to what holds nothing"),
    "no end": (archive(dictionary()[:-1]), "has no end"),
    "an unknown operation": (archive(b"\x80\x02}i."), "none that torch.save writes"),
    "members that come twice": (archive(dictionary(), more=["data/0"]), "two records named"),
    "the old format": (saved({A: torch.ones(2, 8)}, _use_new_zipfile_serialization=False), "no zip archive"),
    "the old format of a function": (b"\x80\x02cos\nsystem\nX\x0a\x00\x00\x00touch MARK\x85R.", "no zip archive"),
    "nothing": (b"", "no zip archive"),
}


def test_no_libtorch(made, tmp_path):
    """Packing an adapter that is a pickle needs the program alone."""
    succeed("compile", "-o", tmp_path / "p.mlpackage", "--base", made / "base.pt", "--input", "x=[1, 8]", "--lora", "inputs",
            "--adapter", f"a={made / 'a'}")
    folder = folder_of(made, tmp_path, saved(safetensors.torch.load_file(made / "a" / "adapter_model.safetensors")))
    packed, loads = {}, {"LD_DEBUG": "files", "DYLD_PRINT_LIBRARIES": "1"}  # what the process loads, on Linux and on macOS
    for name, adapter in (("safetensors", made / "a"), ("pickle", folder)):
        result = plait("adapter", "pack", adapter, "--map", tmp_path / "p.adapter.json", "--output-dir", tmp_path / name,
                       env={**os.environ, **loads})
        assert result.returncode == 0 and "plait" in result.stderr and "libtorch" not in result.stderr, result.stderr[-2000:]
        packed[name] = {file.name: file.read_bytes() for file in (tmp_path / name).iterdir()}
    assert packed["pickle"] == packed["safetensors"] and len(packed["pickle"]) == 2


def test_a_storage_is_unpacked_once(made, tmp_path):
    """However many tensors are views of it."""
    half = 1 << 19
    shared = {A: tensor(storage("2", half)), B: tensor(storage("2", half), offset=half - 16, shape=(8, 2), strides=(2, 1))}
    folder = folder_of(made, tmp_path, archive(dictionary(**shared), (64, 64, 4 * half), method=zipfile.ZIP_DEFLATED))
    result = compile_adapter(made, folder, tmp_path / "a.mlpackage")
    assert result.returncode == 0, result.stderr


def test_the_archive_is_good(made, tmp_path):
    """So that what is wrong with the hostile ones is what they are called."""
    folder = folder_of(made, tmp_path, b"")
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        (folder / "adapter_model.bin").write_bytes(archive(dictionary(), method=method))
        result = compile_adapter(made, folder, tmp_path / "a.mlpackage")
        assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files(made, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    content, message = HOSTILE[name]
    result = compile_adapter(made, folder_of(made, tmp_path, content), tmp_path / "a.mlpackage")
    assert result.returncode == 1 and message in result.stderr, result.stderr
    assert "adapter_model.bin" in result.stderr and "terminate" not in result.stderr
    assert not (tmp_path / "a.mlpackage").exists() and not pathlib.Path("MARK").exists()


def test_mutants(made, tmp_path):
    """Cut short, with bits that flipped, and with operations of the pickle in place of others."""
    chance, whole, pickle = random.Random(11), archive(dictionary()), dictionary()
    mutants = [whole[:chance.randrange(len(whole))] for _ in range(3)]
    for _ in range(6):
        flipped, changed = bytearray(whole), bytearray(pickle)
        flipped[chance.randrange(len(flipped))] ^= 1 << chance.randrange(8)
        for _ in range(chance.choice((1, 2, 4))):
            changed[chance.randrange(len(changed))] = chance.choice(b"()]}Nt\x85\x86\x87eusRbQhqK\x81\x88")
        mutants += [bytes(flipped), archive(bytes(changed))]
    folder = folder_of(made, tmp_path, whole)
    for mutant in mutants:
        (folder / "adapter_model.bin").write_bytes(mutant)
        assert compile_adapter(made, folder, tmp_path / "a.mlpackage").returncode in (0, 1)
