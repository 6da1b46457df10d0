"""plait compress, and --compress of compile and add: what is written, what coremltools makes of it, what stays shared."""

import logging
import re
import shutil
import struct
import warnings

warnings.filterwarnings("ignore")

import coremltools as ct
import coremltools.optimize.coreml as optimize
import numpy as np
import pytest
import torch
from command import digest, plait, succeed
from coremltools.converters.mil.frontend.milproto import load
from peft import LoraConfig, get_peft_model
from test_constexpr import decompressed
from torch import nn
from weight_files import blobs

SCHEMES = ["int8", "int4", "int4[channel]", "uint4[block 16]", "uint8", "palette1", "palette2[group 16]", "palette3", "palette4[group 16]",
           "palette6", "palette8", "palette4[vector 2]", "palette4[group 16, table int8]", "prune50%", "prune2:4", "prune50%+palette4", "prune50%+int8"]
# What is also run, beside a model with the decompressed weights: each form of operations once.
RUN = ("int4", "uint8", "palette4[group 16]", "palette4[vector 2]", "prune50%+palette4")


class Net(nn.Module):
    """An embedding that is also the head, a convolution and two layers; 'odd' divides into nothing."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(100, 64)
        self.conv = nn.Conv1d(64, 64, 3, padding=1)
        self.fc1 = nn.Linear(64, 192)
        self.odd = nn.Linear(192, 53)
        self.fc2 = nn.Linear(53, 64)
        self.head = nn.Linear(64, 100, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, ids):
        x = self.embed(ids)
        x = x + self.conv(x.transpose(1, 2)).transpose(1, 2)
        return self.head(x + self.fc2(self.odd(torch.relu(self.fc1(x)))))


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("compress")
    logging.disable(logging.ERROR)
    torch.manual_seed(0)
    model = Net().eval()
    ids = torch.arange(12).reshape(1, 12).int()
    torch.jit.trace(model, ids).save(str(folder / "net.pt"))
    for name in "ab":
        adapted = get_peft_model(Net().eval(), LoraConfig(r=4, target_modules=["fc1", "odd"], init_lora_weights=False))
        adapted.save_pretrained(str(folder / name))
    succeed("compile", "-o", folder / "plain.mlpackage", "--input", "ids=int32[1, 12]", "--output", "y", folder / "net.pt")
    np.save(folder / "ids.npy", ids.numpy())
    return folder


def adapted(folder, out, *options, names="ab"):
    adapters = [text for name in names for text in ("--adapter", f"{name}={folder}/{name}")]
    return succeed("compile", "-o", out, "--input", "ids=int32[1, 12]", "--output", "y", "--base", folder / "net.pt", "--base-function", "base",
                   *adapters, *options)


def run(folder, package, out, *options):
    succeed("run", package, "--input", f"ids={folder}/ids.npy", "--output-dir", out, *options)
    return np.load(out / "y.npy").astype(np.float64)


def weights(package):
    """{name: (kinds of operations, the weight as coremltools decompresses it)} of the users' weights in `main`."""
    model = ct.models.MLModel(str(package), skip_model_load=True)
    program = load.load(model.get_spec(), specification_version=model.get_spec().specificationVersion, file_weights_dir=model.weights_dir)
    found = {}
    for op in program.functions["main"].operations:
        weight = {"linear": "weight", "conv": "weight", "gather": "x"}.get(op.op_type)
        if weight:
            value = op.inputs[weight]
            found[op.op_type + str(value.shape)] = (value.op.op_type, decompressed(value.op) if value.op.op_type != "const" else value.val)
    return found


@pytest.fixture(scope="module")
def plain(files):
    return weights(files / "plain.mlpackage")


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_peer_decompresses_what_plait_computes(scheme, files, plain, tmp_path):
    """The report's SNR is that of what coremltools decompresses, and a model with those weights computes what plait computes."""
    out = tmp_path / "out.mlpackage"
    report = succeed("compress", files / "plain.mlpackage", "-o", out, "--compress", scheme).stdout
    before, after = plain, weights(out)
    snr = [float(row.group(1)) for row in re.finditer(r"^  \S+ +\[[\d, ]+\] +\d+  \S.*? +\d+\.\d\d +(\d+\.\d\d)( |$)", report, flags=re.M)]
    compressed = {name for name, (kind, _) in after.items() if kind.startswith("constexpr")}
    assert len(compressed) >= 5
    measured = []
    for name in compressed:
        a, b = before[name][1].astype(np.float64), after[name][1].astype(np.float64)
        assert after[name][1].dtype == np.float16
        measured.append(10 * np.log10((a ** 2).sum() / ((a - b) ** 2).sum()))
    assert snr and min(measured) > 3
    for value in snr:
        assert min(abs(value - m) for m in measured) < 0.011, (value, measured)
    if scheme not in RUN:
        return
    # The same weights uncompressed give the same numbers, to the last bit.
    names = {shape: torch.tensor(array.astype(np.float32)) for shape, (_, array) in after.items()}
    model = Net().eval()
    model.load_state_dict(torch.jit.load(str(files / "net.pt")).state_dict())
    with torch.no_grad():
        for module in (model.embed, model.conv, model.fc1, model.odd, model.fc2):
            kind = {nn.Linear: "linear", nn.Conv1d: "conv", nn.Embedding: "gather"}[type(module)]
            module.weight.copy_(names[kind + str(tuple(module.weight.shape))])
        model.head.weight = model.embed.weight
    torch.jit.trace(model, torch.zeros(1, 12).int()).save(str(tmp_path / "dense.pt"))
    succeed("compile", "-o", tmp_path / "dense.mlpackage", "--input", "ids=int32[1, 12]", "--output", "y", tmp_path / "dense.pt")
    np.testing.assert_array_equal(run(files, out, tmp_path / "run"), run(files, tmp_path / "dense.mlpackage", tmp_path / "dense"))


def test_a_shared_weight_is_compressed_once(files, tmp_path):
    """Compiling with --compress, and compressing what was compiled, are the same; functions share; adapters stay half."""
    adapted(files, tmp_path / "plain.mlpackage")
    adapted(files, tmp_path / "one.mlpackage", "--compress", "q4", "--debug-info", "on")
    report = succeed("compress", tmp_path / "plain.mlpackage", "-o", tmp_path / "two.mlpackage", "--compress", "q4").stdout
    assert blobs(tmp_path / "one.mlpackage") == blobs(tmp_path / "two.mlpackage")
    rows = [line.split() for line in report.splitlines() if "palette4[group" in line]
    assert len(rows) == 5 and all("3" in row for row in rows)
    assert sum(code == 11 for code, _, _, _ in blobs(tmp_path / "two.mlpackage")) == 5  # uint4
    three = adapted(files, tmp_path / "three.mlpackage", "--compress", "q4", names="a").stdout
    assert three.count("palette4") == 5
    base = run(files, tmp_path / "one.mlpackage", tmp_path / "base", "--function", "base")
    assert np.abs(run(files, tmp_path / "one.mlpackage", tmp_path / "a", "--function", "a") - base).max() > 0.01


def test_adding_to_a_compressed_package_shares_it(files, tmp_path):
    whole, grown = tmp_path / "whole.mlpackage", tmp_path / "grown.mlpackage"
    adapted(files, whole, "--compress", "q4")
    adapted(files, grown, "--compress", "q4", names="a")
    succeed("add", grown, "--base", files / "net.pt", "--adapter", f"b={files}/b", "--input", "ids=int32[1, 12]", "--output", "y",
            "--compress", "q4", "--expect-shared", "80%")
    assert blobs(grown) == blobs(whole)
    succeed("remove", grown, "a")
    np.testing.assert_array_equal(run(files, grown, tmp_path / "1", "--function", "b"), run(files, whole, tmp_path / "2", "--function", "b"))
    succeed("merge", "-o", tmp_path / "merged.mlpackage", f"x={grown}:b", f"y={whole}:b")
    assert sum(code == 11 for code, _, _, _ in blobs(tmp_path / "merged.mlpackage")) == 5
    against = ["verify", whole, "--function", "b", "--against", files / "net.pt", "--adapter", files / "b"]
    succeed(*against, "--atol", "0.5", "--rtol", "0.5")
    exact = plait(*against, "--atol", "1e-4", "--rtol", "1e-4", "--bisect")
    assert exact.returncode == 1 and re.search(r"embed|gather", exact.stdout), exact.stdout


def test_threads_do_not_show(files, tmp_path):
    for threads in (1, 3):
        succeed("compress", files / "plain.mlpackage", "-o", tmp_path / f"{threads}.mlpackage", "--compress", "palette6[group 8]", "--threads", threads)
    assert digest(tmp_path / "1.mlpackage") == digest(tmp_path / "3.mlpackage")


def test_rules(files, tmp_path):
    """By parameter, by module, by kind of operation, by pattern; the last that fits decides."""
    adapted(files, tmp_path / "rules.mlpackage", "--compress", "palette4", "--compress", "conv=none", "--compress", "fc*=palette6",
            "--compress", "fc2=int8", "--compress", "adapters=int8", "--compress", "fc1.bias=palette4")
    out = succeed("compile", "-o", tmp_path / "rules.mlpackage", "--input", "ids=int32[1, 12]", "--compress", "palette4", "--compress",
                  "conv=none", "--compress", "fc*=palette6", "--compress", "fc2=int8", "--compress", "fc1.bias=palette4",
                  files / "net.pt").stdout
    rows = {line.split()[0]: line for line in out.splitlines() if re.match(r"  \S+ +\[", line)}
    assert "palette4[tensor]" in rows["embed.weight"]
    assert "as it is: the scheme is none" in rows["conv.weight"]
    assert "palette6[tensor]" in rows["fc1.weight"]
    assert "int8[channel]" in rows["fc2.weight"]
    assert "palette4[tensor]" in rows["fc1.bias"]  # 192 numbers, but it is named
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(f"output: r.mlpackage\nmodel: {files}/net.pt\ninputs: 'ids=int32[1, 12]'\ncompress: [palette4, conv=none]\nrequire_coverage: 50%\n")
    assert "conv.weight" in succeed("compile", recipe).stdout


@pytest.mark.parametrize("options, status, message", [
    (["--compress", "palette5"], 2, "1, 2, 3, 4, 6 or 8 bits"),
    (["--compress", "nothing.here=int8"], 1, "no weight, module or kind of operation has that name"),
    ([], 2, "--compress SCHEME is missing"),
    (["--compress", "conv=int8", "--require-coverage", "95%"], 1, "less than the 95.00% that --require-coverage demands"),
    (["--compress", "int8", "--require-coverage", "many"], 2, "a percentage is wanted"),
])
def test_refusals(options, status, message, files, tmp_path):
    result = plait("compress", files / "plain.mlpackage", "-o", tmp_path / "out.mlpackage", *options)
    assert result.returncode == status and message in result.stderr, result.stderr
    assert not (tmp_path / "out.mlpackage").exists()


def test_older_targets_are_refused(files, tmp_path):
    result = plait("compile", "-o", tmp_path / "out.mlpackage", "--target", "ios17", "--input", "ids=int32[1, 12]", "--compress", "q8",
                   files / "net.pt")
    assert result.returncode == 1 and "for ios18 or later" in result.stderr


def test_packages_of_the_peer(files, tmp_path):
    """What coremltools converted is compressed, and never worse than coremltools does it; what it compressed stays as it is."""
    model = ct.convert(torch.jit.load(str(files / "net.pt")), inputs=[ct.TensorType(name="ids", shape=(1, 12), dtype=np.int32)],
                       minimum_deployment_target=ct.target.iOS17, skip_model_load=True)
    model.save(str(tmp_path / "peer.mlpackage"))
    out = succeed("compress", tmp_path / "peer.mlpackage", "-o", tmp_path / "ours.mlpackage", "--compress", "palette4").stdout
    assert "5 of 5 weights compressed" in out
    newer = ct.convert(torch.jit.load(str(files / "net.pt")), inputs=[ct.TensorType(name="ids", shape=(1, 12), dtype=np.int32)],
                       minimum_deployment_target=ct.target.iOS18, skip_model_load=True)
    optimize.palettize_weights(newer, optimize.OptimizationConfig(optimize.OpPalettizerConfig(nbits=4))).save(str(tmp_path / "theirs.mlpackage"))
    out = succeed("compress", tmp_path / "theirs.mlpackage", "-o", tmp_path / "again.mlpackage", "--compress", "palette4").stdout
    assert "0 of 0 weights compressed" in out
    assert blobs(tmp_path / "again.mlpackage") == blobs(tmp_path / "theirs.mlpackage")
    newer.save(str(tmp_path / "newer.mlpackage"))
    before = {name: array.astype(np.float64) for name, (_, array) in weights(tmp_path / "newer.mlpackage").items()}
    ours, theirs = weights(tmp_path / "ours.mlpackage"), weights(tmp_path / "theirs.mlpackage")
    for name, array in before.items():
        error = [((array - found[name][1].astype(np.float64)) ** 2).sum() for found in (ours, theirs)]
        assert error[0] <= error[1] * (1 + 1e-12), name


class Odd(nn.Module):
    """Counts that fill no byte of 3 or 6 bits; rows of zeros; a number that is none."""

    def __init__(self):
        super().__init__()
        self.odd, self.zeros, self.bad = nn.Linear(53, 53), nn.Linear(53, 64, bias=False), nn.Linear(64, 64)

    def forward(self, x):
        return self.bad(self.zeros(self.odd(x)))


@pytest.mark.parametrize("scheme, code, bits", [("palette3", 12, 3), ("palette6", 13, 6), ("palette1", 9, 1), ("int4[channel]", 8, 4), ("int4", 8, 4)])
def test_odd_counts_zeros_and_nan(scheme, code, bits, tmp_path):
    torch.manual_seed(0)
    model = Odd().eval()
    with torch.no_grad():
        model.zeros.weight[16:48] = 0
        model.bad.weight[3, 5] = float("nan")
    torch.jit.trace(model, torch.zeros(1, 53), check_trace=False).save(str(tmp_path / "odd.pt"))
    report = succeed("compile", "-o", tmp_path / "odd.mlpackage", "--input", "x=[1, 53]", "--output", "y", "--compress", scheme, tmp_path / "odd.pt").stdout
    assert re.search(r"bad\.weight .*as it is: it holds numbers that are not finite", report), report
    found = {size: padding for kind, padding, size, _ in blobs(tmp_path / "odd.mlpackage") if kind == code}
    for count in (53 * 53, 64 * 53):
        size = (count * bits + 7) // 8
        assert found[size] == 8 * size - count * bits
    dense = {name: array for name, (kind, array) in weights(tmp_path / "odd.mlpackage").items() if kind != "const"}
    assert set(dense) == {"linear(53, 53)", "linear(64, 53)"}
    assert np.isfinite(dense["linear(64, 53)"]).all()
    if "palette" not in scheme:  # a table for the whole has no entry that is zero for sure
        assert (dense["linear(64, 53)"][16:48] == 0).all()


def test_weights_behind_four_gigabytes(files, tmp_path):
    """Offsets have 64 bits: a package whose weights lie behind a hole of 5 GiB."""
    from coremltools.proto import Model_pb2
    shift, far = 5 << 30, tmp_path / "far.mlpackage"
    shutil.copytree(files / "plain.mlpackage", far)
    model = Model_pb2.Model()
    model.ParseFromString((far / "Data/com.apple.CoreML/model.mlmodel").read_bytes())
    for function in model.mlProgram.functions.values():
        for block in function.block_specializations.values():
            for op in block.operations:
                value = op.attributes["val"] if "val" in op.attributes else None
                if value is not None and value.HasField("blobFileValue"):
                    value.blobFileValue.offset += shift
    (far / "Data/com.apple.CoreML/model.mlmodel").write_bytes(model.SerializeToString())
    weight_file = far / "Data/com.apple.CoreML/weights/weight.bin"
    data = weight_file.read_bytes()
    with open(weight_file, "wb") as out:
        out.write(data[:64])
        at = 64
        while at < len(data):
            head = bytearray(data[at:at + 64])
            sentinel, code, size, begin = struct.unpack_from("<IIQQ", head)
            assert sentinel == 0xDEADBEEF
            struct.pack_into("<Q", head, 16, begin + shift)
            out.seek(at + shift)
            out.write(head)
            out.seek(begin + shift)
            out.write(data[begin:begin + size])
            at = (begin + size + 63) // 64 * 64
    for package, name in ((files / "plain.mlpackage", "near"), (far, "far")):
        succeed("compress", package, "-o", tmp_path / f"{name}4.mlpackage", "--compress", "q4")
    assert blobs(tmp_path / "far4.mlpackage") == blobs(tmp_path / "near4.mlpackage")
