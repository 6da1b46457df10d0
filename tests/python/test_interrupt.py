"""Ctrl-C at any moment leaves nothing half-written: the target is the old package or the new one, and nothing lies beside it."""

import signal
import subprocess
import time

import pytest
import torch
from command import digest, succeed
from paths import PLAIT


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_compile(tmp_path, number):
    torch.manual_seed(0)
    net = torch.nn.Sequential(*[torch.nn.Linear(1500, 1500) for _ in range(8)]).eval()
    model, target = tmp_path / "net.pt", tmp_path / "out" / "net.mlpackage"
    target.parent.mkdir()
    torch.jit.trace(net, torch.rand(1, 1500)).save(str(model))
    command = ["compile", "-o", target, "--input", "x=[1, 1500]", model]
    succeed(*command)
    new = digest(target)
    succeed(*command, "--precision", "fp32")
    old = digest(target)
    assert old != new
    start = time.monotonic()  # the files are in memory by now, as in the runs that are interrupted
    succeed(*command, "--precision", "fp32")
    duration = time.monotonic() - start

    interrupted = 0
    for moment in range(12):
        process = subprocess.Popen([str(PLAIT), *map(str, command), "--quiet"], stderr=subprocess.PIPE, text=True,
                                   preexec_fn=lambda: signal.signal(number, signal.SIG_DFL))  # tests in the background ignore SIGINT
        time.sleep(duration * (moment + 1) / 12)
        process.send_signal(number)
        _, complaint = process.communicate(timeout=60)
        assert process.returncode in (0, -number), complaint
        interrupted += process.returncode != 0
        assert [entry.name for entry in target.parent.iterdir()] == ["net.mlpackage"]
        assert digest(target) in (old, new)
        if digest(target) != old:
            succeed(*command, "--precision", "fp32")
    assert interrupted
