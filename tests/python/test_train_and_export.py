"""The examples that train and export in one process."""

import re
import subprocess
import sys

import pytest
from paths import BUILD, ROOT

EXAMPLE = ROOT / "examples" / "train_and_export"


@pytest.fixture(scope="module")
def output(tmp_path_factory):
    folder = tmp_path_factory.mktemp("digits")
    subprocess.run([sys.executable, EXAMPLE / "make_digits.py", folder / "digits.bin"], check=True)
    result = subprocess.run([BUILD / "bin" / "train_and_export", folder / "digits.bin", folder / "digits.mlpackage"],
                            capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stderr == ""
    return result.stdout


def test_accuracy_is_that_of_libtorch(output):
    rows = re.findall(r"^(\w+) +([\d.]+)% +([\d.]+)% +([\d.]+)% +(\d+) bytes +(\d+) bytes$", output, re.MULTILINE)
    assert [row[0] for row in rows] == ["base", "rotated", "noisy", "inverted"]
    for name, before, in_torch, in_plait, own, shared in rows:
        assert in_torch == in_plait, output
        assert float(in_plait) > 75, output
        assert int(own) < 0.25 * int(shared), output
    assert float(rows[1][2]) > float(rows[1][1]) + 20, "the adapter learns the rotated digits\n" + output
    assert "equal accuracy in LibTorch and plait" in output


def test_every_package_holds_the_weights_of_one_step(tmp_path):
    """each_epoch checks its packages and that training went on; docs/training.md runs it for a minute."""
    result = subprocess.run([BUILD / "bin" / "each_epoch", tmp_path / "classifier.mlpackage", "2"],
                            capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stderr == ""
    epochs, packages = map(int, re.match(r"(\d+) epochs, (\d+) packages, 0 of them wrong; training went on as without exports$",
                                         result.stdout).groups())
    assert 0 < packages <= epochs
