"""examples/language_model: what `plait run` generates is what PyTorch generates."""

import os
import subprocess

from paths import PLAIT, ROOT


def test_generates_what_pytorch_does(tmp_path):
    result = subprocess.run(["bash", str(ROOT / "examples" / "language_model" / "run.sh"), str(tmp_path)], capture_output=True, text=True,
                            env={**os.environ, "PLAIT": str(PLAIT), "STEPS": "300"}, timeout=900)
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    assert result.stdout.count("64 of 64 tokens are PyTorch's") == 3
    assert "one MLState serves all of them" in result.stdout
