"""Compression by what it does: schemes chosen for a size or for a signal-to-noise ratio, weights by calibration inputs, GPTQ."""

import pathlib
import re

import numpy as np
import pytest
import torch
from command import digest, plait, succeed
from peft import LoraConfig, get_peft_model
from torch import nn


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


@pytest.mark.parametrize("options, status, message", [
    (["--min-snr", "30", "--inputs", "inputs", "--compress", "q4"], 2, "is a scheme for every weight"),
    (["--min-snr", "30"], 2, "--min-snr needs inputs"),
    (["--min-snr", "many", "--inputs", "inputs"], 2, "not a number that is 0 or greater"),
    (["--min-snr", "0", "--inputs", "inputs"], 2, "decibels between 0 and 140"),
    (["--size-budget", "many", "--inputs", "inputs"], 2, "a number of bytes is wanted"),
    (["--size-budget", "2kB", "--inputs", "inputs"], 1, "bytes are left for them"),
    (["--min-snr", "45", "--size-budget", "33kB", "--inputs", "inputs"], 1, "--size-budget leaves"),
    (["--min-snr", "30", "--inputs", "inputs", "--compress", "skewed*=palette1"], 1, "with no more than the rules compress, an output reaches"),
    (["--inputs", "inputs"], 2, "--compress SCHEME is missing"),
    (["--compress", "q4", "--inputs", "nowhere"], 1, "a folder of inputs is wanted"),
    (["--compress", "q4", "--gptq"], 2, "--gptq needs inputs"),
])
def test_refusals(options, status, message, files, tmp_path):
    result = plait("compress", files / "plain.mlpackage", "-o", tmp_path / "out.mlpackage", *options, cwd=files)
    assert result.returncode == status and message in result.stderr, result.stderr
    assert not (tmp_path / "out.mlpackage").exists()
