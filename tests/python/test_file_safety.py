"""Files that others write to meanwhile: two additions at once, killed ones, model files that change while they are read."""

import fcntl
import json
import os
import random
import shutil
import signal
import subprocess
import time

import adapter_models as models
import peer
import pytest
import torch
from adapter_checks import save_base
from command import digest, plait, succeed
from paths import PLAIT
from peft import LoraConfig


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A small base, an adapter of it, and a package of the base alone."""
    folder = tmp_path_factory.mktemp("made")
    torch.manual_seed(0)
    base = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.ReLU(), torch.nn.Linear(64, 8)).eval()
    save_base(base, (torch.rand(1, 64),), folder / "base.pt")
    models.adapt(base, LoraConfig(r=4, target_modules=["0", "2"]), folder / "lora", 1)
    succeed("compile", "-o", folder / "p.mlpackage", "--base", folder / "base.pt", "--input", "x=[1, 64]", "--base-function", "plain",
            "--adapter", f"first={folder}/lora", "--lora", "inputs")
    return folder


def test_two_at_once(made, tmp_path):
    """Additions of adapters side by side, and every second time one that is killed: nothing is lost, and nothing is left."""
    package = shutil.copytree(made / "p.mlpackage", tmp_path / "p.mlpackage")
    side = shutil.copy(made / "p.adapter.json", tmp_path / "p.adapter.json")
    chance = random.Random(0)

    def start(name):
        return subprocess.Popen([str(PLAIT), "add", str(package), "--quiet", "--base", str(made / "base.pt"), "--input", "x=[1, 64]",
                                 "--lora", "inputs", "--adapter", f"{name}={made}/lora"], stderr=subprocess.PIPE, text=True)

    wanted = ["plain", "first"]
    begin = time.monotonic()
    assert start("warm").wait() == 0
    duration = time.monotonic() - begin
    succeed("remove", package, "warm")
    for pair in range(8):
        names = [f"f{pair}a", f"f{pair}b"]
        wanted += names
        running = {name: start(name) for name in names}
        if pair % 2:
            time.sleep(duration * chance.uniform(0.5, 1.3))
            running[names[0]].send_signal(signal.SIGKILL)
        while running:
            for name, process in list(running.items()):
                message = process.communicate(timeout=60)[1]
                del running[name]
                if process.returncode == 0:
                    continue
                if "there is a function" in message:  # the one that was killed was in place, maybe without its entry
                    succeed("remove", package, name)
                else:
                    assert process.returncode == -signal.SIGKILL or "another process" in message, message
                running[name] = start(name)
        peer.check_package(package)
    assert sorted(f["name"] for f in json.loads(succeed("inspect", package, "--json").stdout)["functions"]) == sorted(wanted)
    assert sorted(json.loads(side.read_text())["functions"]) == sorted(set(wanted) - {"plain"})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["p.adapter.json", "p.mlpackage"]
    assert sorted(path.name for path in package.rglob("*")) == [
        "Data", "Manifest.json", "com.apple.CoreML", "model.mlmodel", "weight.bin", "weights"]


def test_what_a_killed_compile_left_is_collected(tmp_path):
    torch.manual_seed(0)
    torch.jit.trace(torch.nn.Sequential(*[torch.nn.Linear(1200, 1200) for _ in range(6)]).eval(),
                    torch.rand(1, 1200)).save(str(tmp_path / "net.pt"))
    target = tmp_path / "out" / "net.mlpackage"
    target.parent.mkdir()
    command = ["compile", "-o", target, "--quiet", "--input", "x=[1, 1200]", tmp_path / "net.pt"]
    left = 0
    for _ in range(20):
        process = subprocess.Popen([str(PLAIT), *map(str, command)])
        while process.poll() is None and not any(path.suffix == ".plait" for path in target.parent.iterdir()):
            time.sleep(0.001)
        process.kill()
        process.wait()
        left = sum(path.suffix == ".plait" for path in target.parent.iterdir())
        if left:
            break
    assert left
    succeed(*command)
    assert [path.name for path in target.parent.iterdir()] == ["net.mlpackage"]


def test_what_is_locked_is_not_read(made, tmp_path):
    """While another process changes a package, what it holds is not known."""
    package = shutil.copytree(made / "p.mlpackage", tmp_path / "p.mlpackage")
    model = package / "Data" / "com.apple.CoreML" / "model.mlmodel"
    content = model.read_bytes()
    model.write_bytes(b"half")
    descriptor = os.open(package, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        for arguments in (["merge", "-o", package, package], ["remove", package, "first"], ["remove", package, "--compact"]):
            result = plait(*arguments)
            assert result.returncode == 1 and "being changed by another process" in result.stderr, result.stderr
    finally:
        os.close(descriptor)
    model.write_bytes(content)
    succeed("merge", "-o", package, package)


def test_a_side_file_that_cannot_be_written(made, tmp_path):
    """Found before the package is touched."""
    package = shutil.copytree(made / "p.mlpackage", tmp_path / "p.mlpackage")
    shutil.copy(made / "p.adapter.json", tmp_path)
    before = digest(tmp_path)
    tmp_path.chmod(0o555)
    try:
        result = plait("add", package, "--base", made / "base.pt", "--input", "x=[1, 64]", "--lora", "inputs", "--adapter",
                       f"second={made}/lora")
        if result.returncode == 0:
            pytest.skip("permissions do not bind this user")
        assert result.returncode == 1 and "p.adapter.json" in result.stderr, result.stderr
    finally:
        tmp_path.chmod(0o755)
    assert digest(tmp_path) == before


def test_verify_keeps_the_merged_base_in_memory(made, tmp_path):
    succeed("compile", "-o", tmp_path / "p.mlpackage", "--base", made / "base.pt", "--input", "x=[1, 64]", "--adapter",
            f"a={made}/lora")
    temporary = tmp_path / "temporary"
    environment = {**os.environ, "TMPDIR": str(temporary)}  # which does not exist
    command = ["verify", tmp_path / "p.mlpackage", "--function", "a", "--against", made / "base.pt", "--adapter", made / "lora"]
    succeed(*command, env=environment)
    failed = plait(*command, "--atol", "0", "--rtol", "0", "--bisect", env=environment)
    assert failed.returncode == 1 and "every value of the model is reached" in failed.stdout, failed.stdout + failed.stderr


# ---- Changes from outside, at a step of the command --------------------------------------------

def test_the_side_file_changes_under_the_packages_lock(made, stopper, tmp_path):
    """Another addition comes in between the package and its side file."""
    package = shutil.copytree(made / "p.mlpackage", tmp_path / "p.mlpackage")
    side = shutil.copy(made / "p.adapter.json", tmp_path / "p.adapter.json")
    add = ["add", package, "--quiet", "--base", made / "base.pt", "--input", "x=[1, 64]", "--lora", "inputs", "--adapter"]
    environment = {**os.environ, "LD_PRELOAD": str(stopper), "STOP_FOLDER": str(side), "STOP_AT": "0", "STOP_HOW": "pause",
                   "STOP_MARK": str(tmp_path / "paused"), "STOP_FILE": str(tmp_path / "go")}
    first = subprocess.Popen([str(PLAIT), *map(str, add), f"a={made}/lora"], env=environment)
    while not (tmp_path / "paused").exists() and first.poll() is None:
        time.sleep(0.001)
    second = plait(*add, f"b={made}/lora")
    (tmp_path / "go").touch()
    assert first.wait(timeout=60) == 0
    if second.returncode:
        assert "being changed by another process" in second.stderr
        succeed(*add, f"b={made}/lora")
    assert sorted(json.loads(side.read_text())["functions"]) == ["a", "b", "first"]


@pytest.mark.parametrize("how, message", [("cut", "became shorter while it was read"), ("change", "changed while it was read")])
def test_a_model_that_changes_while_it_is_read(stopper, tmp_path, how, message):
    torch.manual_seed(0)
    model, target = tmp_path / "net.pt", tmp_path / "out" / "net.mlpackage"
    torch.jit.trace(torch.nn.Sequential(*[torch.nn.Linear(700, 700) for _ in range(6)]).eval(), torch.rand(1, 700)).save(str(model))
    target.parent.mkdir()
    command = ["compile", "-o", target, "--quiet", "--threads", "1", "--input", "x=[1, 700]", model]
    succeed(*command, "--precision", "fp32")
    before = digest(target)
    environment = {**os.environ, "LD_PRELOAD": str(stopper), "STOP_FOLDER": str(target.parent), "STOP_AT": "1", "STOP_HOW": how,
                   "STOP_FILE": str(model)}
    result = plait(*command, env=environment)
    assert result.returncode == 1 and message in result.stderr and "net.pt" in result.stderr, result.stderr
    assert digest(target) == before and [path.name for path in target.parent.iterdir()] == ["net.mlpackage"]
