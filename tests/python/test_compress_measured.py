"""Compression by what it does: schemes chosen for a size or for a signal-to-noise ratio, weights by calibration inputs, GPTQ."""

import json
import pathlib
import re

import numpy as np
import pytest
import torch
from command import digest, plait, succeed
from peft import LoraConfig, get_peft_model
from torch import nn
from weight_files import blobs


class Uneven(nn.Module):
    """`loud` reaches the output as it is, `quiet` is scaled down; inputs of `skewed` are of very different sizes."""

    def __init__(self):
        super().__init__()
        self.loud, self.quiet = nn.Linear(64, 96), nn.Linear(64, 96)
        self.skewed = nn.Linear(96, 96)

    def forward(self, x):
        return self.skewed(torch.relu(self.loud(x)) + 0.01 * torch.relu(self.quiet(x)))


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("measured")
    torch.manual_seed(0)
    model = Uneven().eval()
    with torch.no_grad():
        model.loud.weight.mul_(torch.logspace(-1.5, 1, 96)[torch.randperm(96)][:, None])
    torch.jit.trace(model, torch.zeros(4, 64)).save(str(folder / "model.pt"))
    for name in "ab":
        adapted = get_peft_model(Uneven().eval(), LoraConfig(r=4, target_modules=["loud", "quiet"], init_lora_weights=False))
        adapted.save_pretrained(str(folder / name))
    succeed("compile", "-o", folder / "plain.mlpackage", "--input", "x=[64, 64]", "--output", "y", "--base", folder / "model.pt", "--base-function",
            "base", "--adapter", f"a={folder}/a", "--adapter", f"b={folder}/b")
    for number in range(3):
        (folder / "inputs" / str(number)).mkdir(parents=True)
        np.save(folder / "inputs" / str(number) / "x.npy", np.random.default_rng(number).standard_normal((64, 64), dtype=np.float32))
    return folder


def compress(files, out, *options):
    return succeed("compress", files / "plain.mlpackage", "-o", out, *options).stdout


def snr_of_outputs(report):
    return {name: float(snr) for name, snr in re.findall(r"^  outputs of (\w+): SNR (\S+) dB$", report, flags=re.M)}


def schemes(report):
    rows = re.findall(r"^  (\S+) +\[[\d, ]+\] +\d+  (as it is|\S+(?: \d+)?\]?)", report, flags=re.M)
    return {name.split("_")[0]: scheme for name, scheme in rows}


def size(package):
    return sum(file.stat().st_size for file in pathlib.Path(package).rglob("*") if file.is_file())


def output(package, folder, files, function, number):
    succeed("run", package, "--function", function, "--input", f"x={files}/inputs/{number}/x.npy", "--output-dir", folder)
    return np.load(folder / "y.npy").astype(np.float64)


def test_the_report_says_what_outputs_are(files, tmp_path):
    """The worst output of the sets, for each function, as an outsider measures it."""
    report = compress(files, tmp_path / "q4.mlpackage", "--compress", "q4", "--inputs", files / "inputs")
    said = snr_of_outputs(report)
    assert set(said) == {"base", "a", "b"}
    for function, snr in said.items():
        measured = []
        for number in range(3):
            a = output(files / "plain.mlpackage", tmp_path / "plain", files, function, number)
            b = output(tmp_path / "q4.mlpackage", tmp_path / "q4", files, function, number)
            measured.append(10 * np.log10((a ** 2).sum() / ((a - b) ** 2).sum()))
        assert abs(min(measured) - snr) < 0.1


def test_a_signal_to_noise_ratio(files, tmp_path):
    """Every function reaches it, in fewer bytes than one scheme for all that does, and what is quiet has the fewest bits."""
    report = compress(files, tmp_path / "chosen.mlpackage", "--min-snr", "30", "--inputs", files / "inputs")
    reached = snr_of_outputs(report)
    assert len(reached) == 3 and min(reached.values()) >= 30
    found = schemes(report)
    assert found["quiet"].startswith("palette2")
    assert not found["loud"].startswith("palette2")
    for scheme in ("palette6", "int8"):
        other = compress(files, tmp_path / "same.mlpackage", "--compress", scheme, "--inputs", files / "inputs")
        assert min(snr_of_outputs(other).values()) < 30 or size(tmp_path / "same.mlpackage") > size(tmp_path / "chosen.mlpackage")
    succeed("verify", tmp_path / "chosen.mlpackage", "--function", "b", "--against", files / "model.pt", "--adapter", files / "b",
            "--atol", "0.5", "--rtol", "0.5")


def test_a_size(files, tmp_path):
    """The package is within it, and no worse than one scheme for all that takes as much."""
    same = compress(files, tmp_path / "same.mlpackage", "--compress", "palette4[group 16]", "--inputs", files / "inputs")
    for more in (1000, 4000):  # the bytes that names of operations take are not known before
        budget = size(tmp_path / "same.mlpackage") + more
        report = compress(files, tmp_path / "chosen.mlpackage", "--size-budget", str(budget), "--inputs", files / "inputs")
        assert size(tmp_path / "chosen.mlpackage") <= budget
        assert min(snr_of_outputs(report).values()) >= min(snr_of_outputs(same).values())
    assert min(snr_of_outputs(report).values()) > min(snr_of_outputs(same).values()) + 3


class Reading(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.conv = nn.Embedding(800, 96), nn.Conv1d(96, 48, 3, padding=1, bias=False)
        self.up, self.down = nn.Linear(48, 192, bias=False), nn.Linear(192, 96, bias=False)

    def forward(self, ids):
        return self.down(torch.relu(self.up(self.conv(self.embed(ids).transpose(1, 2)).transpose(1, 2))))


def test_a_size_is_never_worse_than_one_scheme(tmp_path):
    """Random weights matter alike, and one set of inputs says little about which errors count: what is chosen is still no worse
    on it than any scheme for all that takes as many bytes."""
    torch.manual_seed(0)
    torch.jit.trace(Reading().eval(), torch.zeros(1, 48).int()).save(str(tmp_path / "model.pt"))
    (tmp_path / "inputs").mkdir()
    np.savez(tmp_path / "inputs" / "0.npz", ids=np.random.default_rng(1).integers(0, 800, (1, 48), dtype=np.int32))
    succeed("compile", "-o", tmp_path / "plain.mlpackage", "--input", "ids=int32[1, 48]", "--output", "y", tmp_path / "model.pt")

    def snr(*options):
        report = succeed("compress", tmp_path / "plain.mlpackage", "-o", tmp_path / "out.mlpackage", "--inputs", tmp_path / "inputs", "--json",
                         *options).stdout
        return json.loads(report)["outputs"][0]["snr"]
    for scheme in ("palette3[group 16]", "int4", "palette6", "palette8"):
        one, taken = snr("--compress", scheme), size(tmp_path / "out.mlpackage")
        assert snr("--size-budget", str(taken)) >= one, scheme
        assert size(tmp_path / "out.mlpackage") <= taken


def test_rules_are_kept(files, tmp_path):
    report = compress(files, tmp_path / "out.mlpackage", "--min-snr", "20", "--inputs", files / "inputs", "--compress", "loud*=int8", "--compress", "skewed*=none")
    found = schemes(report)
    assert found["loud"] == "int8[channel]" and found["skewed"] == "as it is"
    assert min(snr_of_outputs(report).values()) >= 20


def test_calibration(files, tmp_path):
    """Weights by what they are multiplied with leave less noise in every output, and GPTQ less than that."""
    def measured(*options, out="out"):
        return snr_of_outputs(compress(files, tmp_path / f"{out}.mlpackage", "--inputs", files / "inputs", *options))
    for scheme in ("palette3[channel]", "palette4[group 16]", "int4[block 32]"):
        plain = measured("--compress", f"skewed*={scheme}")
        calibrated = measured("--compress", f"skewed*={scheme}", "--calibrate", files / "inputs")
        rounded = measured("--compress", f"skewed*={scheme}", "--calibrate", files / "inputs", "--gptq")
        for function, snr in plain.items():
            assert calibrated[function] > snr + 0.5, scheme
            assert rounded[function] > calibrated[function] + 1, scheme
    for threads in (1, 3):
        measured("--compress", "palette4[group 16]", "--calibrate", files / "inputs", "--gptq", "--threads", str(threads), out=threads)
    assert digest(tmp_path / "1.mlpackage") == digest(tmp_path / "3.mlpackage")


class Tied(nn.Module):
    """An embedding that is also the head."""

    def __init__(self):
        super().__init__()
        self.embed, self.hidden, self.head = nn.Embedding(100, 64), nn.Linear(64, 64), nn.Linear(64, 100, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, ids):
        return self.head(torch.relu(self.hidden(self.embed(ids))))


def test_an_embedding_that_is_also_the_head(tmp_path):
    """GPTQ is for sums alone: of numbers that are looked up it would make the errors larger."""
    torch.manual_seed(0)
    torch.jit.trace(Tied().eval(), torch.zeros(1, 12).int()).save(str(tmp_path / "tied.pt"))
    (tmp_path / "inputs").mkdir()
    np.savez(tmp_path / "inputs" / "0.npz", ids=np.arange(12, dtype=np.int32)[None])
    def measured(*options):
        return succeed("compile", "-o", tmp_path / "tied.mlpackage", "--input", "ids=int32[1, 12]", "--compress", "q4", "--inputs", tmp_path / "inputs",
                       *options, tmp_path / "tied.pt").stdout
    plain, rounded = measured(), measured("--calibrate", tmp_path / "inputs", "--gptq")
    assert re.search(r"hidden\.weight .*GPTQ", rounded) and not re.search(r"embed\.weight .*GPTQ", rounded), rounded
    assert snr_of_outputs(rounded)["main"] > snr_of_outputs(plain)["main"]


@pytest.mark.parametrize("options, status, message", [
    (["--min-snr", "30", "--inputs", "inputs", "--compress", "q4"], 2, "is a scheme for every weight"),
    (["--min-snr", "30"], 2, "--min-snr needs inputs"),
    (["--min-snr", "many", "--inputs", "inputs"], 2, "not a number that is 0 or greater"),
    (["--min-snr", "0", "--inputs", "inputs"], 2, "decibels between 0 and 140"),
    (["--size-budget", "many", "--inputs", "inputs"], 2, "a number of bytes is wanted"),
    (["--size-budget", "2kB", "--inputs", "inputs"], 1, "with 2 bits a number where that can be"),
    (["--min-snr", "45", "--size-budget", "33kB", "--inputs", "inputs"], 1, "and --size-budget allows"),
    (["--min-snr", "30", "--inputs", "inputs", "--compress", "skewed*=palette1"], 1, "with no more than the rules compress, an output reaches"),
    (["--inputs", "inputs"], 2, "--compress SCHEME is missing"),
    (["--compress", "q4", "--lora", "fold", "--min-snr", "30", "--inputs", "inputs"], 2, "is a scheme for every weight"),
    (["--compress", "q4", "--inputs", "nowhere"], 1, "a folder of inputs is wanted"),
    (["--compress", "q4", "--gptq"], 2, "--gptq needs inputs"),
])
def test_refusals(options, status, message, files, tmp_path):
    result = plait("compress", files / "plain.mlpackage", "-o", tmp_path / "out.mlpackage", *options, cwd=files)
    assert result.returncode == status and message in result.stderr, result.stderr
    assert not (tmp_path / "out.mlpackage").exists()


ADAPTED = ["--input", "x=[64, 64]", "--output", "y", "--base-function", "base"]


def adapted(files):
    return [*ADAPTED, "--base", files / "model.pt", "--adapter", f"a={files}/a", "--adapter", f"b={files}/b"]


@pytest.mark.parametrize("options", [
    ["--compress", "q4", "--inputs", "inputs"],
    ["--compress", "q4", "--calibrate", "inputs", "--gptq", "--require-coverage", "50%"],
    ["--min-snr", "25", "--inputs", "inputs"],
    ["--size-budget", "60kB", "--inputs", "inputs", "--compress", "skewed*=int8"],
    ["--compress", "q4+lowrank4"],
])
def test_compiling_does_what_compressing_does(options, files, tmp_path):
    """plait compile with the options, and plait compress with them on what it compiles without."""
    said = [files / "inputs" if option == "inputs" else option for option in options]
    report = succeed("compile", "-o", tmp_path / "one.mlpackage", *adapted(files), *said).stdout
    other = succeed("compress", files / "plain.mlpackage", "-o", tmp_path / "two.mlpackage", *said).stdout
    assert snr_of_outputs(report) == snr_of_outputs(other)
    if "--compress" in options and "--size-budget" not in options:
        assert blobs(tmp_path / "one.mlpackage") == blobs(tmp_path / "two.mlpackage")
    if "--size-budget" in options:
        assert size(tmp_path / "one.mlpackage") <= 60000


def test_a_recipe_says_the_same(files, tmp_path):
    (tmp_path / "r.yaml").write_text(f"""output: {tmp_path}/recipe.mlpackage
base: {files}/model.pt
inputs: ['x=[64, 64]']
outputs: [y]
min_snr: 25
measure_on: {files}/inputs
functions:
  base: {{bare_base: on}}
  a: {{adapter: {files}/a}}
""")
    report = succeed("compile", tmp_path / "r.yaml").stdout
    assert set(snr_of_outputs(report)) == {"base", "a"} and min(snr_of_outputs(report).values()) >= 25


@pytest.mark.parametrize("options, status, message", [
    (["--min-snr", "30"], 2, "--min-snr is of --precision auto; without that it chooses how weights are compressed"),
    (["--inputs", "inputs"], 2, "--inputs is for --precision auto and for --compress"),
    (["--calibrate", "inputs"], 2, "--calibrate is of compression, and nothing is compressed"),
    (["--compress", "q4", "--gptq"], 2, "--gptq needs inputs"),
    (["--require-coverage", "50%"], 2, "--require-coverage is of --compress"),
    (["--size-budget", "1kB", "--inputs", "inputs"], 1, "with 2 bits a number where that can be"),
    (["--size-budget", "60kB", "--inputs", "inputs", "--target", "ios17"], 1, "for ios18 or later"),
])
def test_refusals_of_compile(options, status, message, files, tmp_path):
    result = plait("compile", "-o", tmp_path / "out.mlpackage", "--input", "x=[64, 64]", files / "model.pt", *options, cwd=files)
    assert result.returncode == status and message in result.stderr, result.stderr
    assert not (tmp_path / "out.mlpackage").exists()


def test_a_correction_of_low_rank(files, tmp_path):
    """It stands beside the compressed weight in every function, once, and takes noise away; with calibration more of what matters."""
    found = {}
    for scheme in ("palette2[group 16]", "palette2[group 16]+lowrank8", "palette2[group 16]+lowrank24"):
        report = compress(files, tmp_path / "out.mlpackage", "--compress", scheme, "--inputs", files / "inputs")
        found[scheme] = snr_of_outputs(report)
        if "+" in scheme:
            assert re.search(r"loud\S* +\[96, 64\] +3  palette2\[group 16\]\+lowrank", report), report
            rank = int(scheme.split("lowrank")[1])
            # Two factors of each of three weights, once for three functions.
            assert sum(code == 1 and count in (2 * rank * 96, 2 * rank * 64) for code, _, count, _ in blobs(tmp_path / "out.mlpackage")) == 6
    plain, some, more = found.values()
    for function in plain:
        assert plain[function] + 0.5 < some[function] < more[function]
    succeed("verify", tmp_path / "out.mlpackage", "--function", "b", "--against", files / "model.pt", "--adapter", files / "b", "--atol", "2", "--rtol", "2")
    # The factors are nobody's weights afterwards, and what is compressed stays.
    again = succeed("compress", tmp_path / "out.mlpackage", "-o", tmp_path / "again.mlpackage", "--compress", "q4").stdout
    assert "palette4" not in again and blobs(tmp_path / "again.mlpackage") == blobs(tmp_path / "out.mlpackage")
    calibrated = compress(files, tmp_path / "out.mlpackage", "--compress", "palette2[group 16]+lowrank8", "--calibrate", files / "inputs")
    without = compress(files, tmp_path / "out.mlpackage", "--compress", "palette2[group 16]", "--calibrate", files / "inputs")
    for function, snr in snr_of_outputs(without).items():
        assert snr_of_outputs(calibrated)[function] > snr + 0.5


def test_merging_into_a_compressed_base(files, tmp_path):
    """--lora fold decompresses, merges and compresses again: the functions are what the merged models are."""
    compress(files, tmp_path / "q8.mlpackage", "--compress", "q8")
    report = succeed("compress", tmp_path / "q8.mlpackage", "-o", tmp_path / "folded.mlpackage", "--compress", "q8", "--lora", "fold")
    assert not report.stderr and report.stdout.count("int8[channel]") >= 4  # those of a and of b
    merged = succeed("inspect", tmp_path / "folded.mlpackage", "--mil").stdout
    assert merged.count(" linear(") == 9
    for function in "ab":
        succeed("verify", tmp_path / "folded.mlpackage", "--function", function, "--against", files / "model.pt", "--adapter", files / function,
                "--atol", "0.3", "--rtol", "0.3")
    plain = plait("compress", files / "model.pt", "-o", tmp_path / "x.mlpackage", "--compress", "q8", "--lora", "fold")
    assert plain.returncode == 1
    succeed("compile", "-o", tmp_path / "one.mlpackage", "--input", "x=[64, 64]", files / "model.pt")
    nothing = plait("compress", tmp_path / "one.mlpackage", "-o", tmp_path / "x.mlpackage", "--compress", "q8", "--lora", "fold")
    assert nothing.returncode == 1 and "no function has an adapter's branch beside its weight" in nothing.stderr
