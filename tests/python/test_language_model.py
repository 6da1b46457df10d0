"""examples/language_model: what `plait run` generates is what PyTorch generates."""

import os
import re
import subprocess

from paths import PLAIT, ROOT


def test_generates_what_pytorch_does(tmp_path):
    result = subprocess.run(["bash", str(ROOT / "examples" / "language_model" / "run.sh"), str(tmp_path)], capture_output=True, text=True,
                            env={**os.environ, "PLAIT": str(PLAIT), "STEPS": "300"}, timeout=900)
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    # compare.py fails at a token that PyTorch clearly prefers; one that it does not may come early, but hardly in two texts.
    same = [int(count) for count in re.findall(r"(\d+) of 64 tokens are PyTorch's", result.stdout)]
    assert len(same) == 3 and sorted(same)[1] == 64, same
    assert "one MLState serves all of them" in result.stdout
