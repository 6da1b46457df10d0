"""plait add and plait remove: a package grows and shrinks where it is, and is valid at every moment."""

import fcntl
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time

import adapter_models as models
import numpy as np
import peer
import pytest
import torch
from adapter_checks import assert_close, run, save_base
from command import plait, succeed
from command import digest as digest_all
from paths import PLAIT, ROOT
from peft import LoraConfig

SIZE = 400


def digest(package):
    """Of all but the manifest, which coremltools writes anew when it reads a package."""
    return {path: value for path, value in digest_all(package).items() if path != "Manifest.json"}


def inspect(package):
    return json.loads(succeed("inspect", package, "--json").stdout)


def function(folder, number):
    return ["--function", f"adapter_{number}={folder}/adapted_model_{number}.pt", "--input", f"x=[1, {SIZE}]", "--output", "y"]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Three adapted models, a package of the first, and one of all."""
    folder = tmp_path_factory.mktemp("grow")
    make = ROOT / "examples" / "lora_adapters" / "make_models.py"
    subprocess.run([sys.executable, make, folder, "--size", str(SIZE), "--rank", "8", "--adapters", "3"], check=True,
                   capture_output=True)
    succeed("compile", "-o", folder / "one.mlpackage", *function(folder, 1))
    succeed("compile", "-o", folder / "all.mlpackage", *function(folder, 1), *function(folder, 2), *function(folder, 3))
    return folder


@pytest.fixture
def package(made, tmp_path):
    return shutil.copytree(made / "one.mlpackage", tmp_path / "p.mlpackage")


def test_growing_is_compiling_all_at_once(made, package):
    before = peer.weights_file(package).read_bytes()
    for number in (2, 3):
        succeed("add", package, *function(made, number))
    assert digest(package) == digest(made / "all.mlpackage")
    assert peer.weights_file(package).read_bytes()[64:len(before)] == before[64:]
    peer.check_package(package)
    succeed("verify", package, *[text for number in (1, 2, 3) for text in
                                 ("--function", f"adapter_{number}", "--against", made / f"adapted_model_{number}.pt")])


def test_what_is_added_takes_what_is_its_own(made, package):
    before = inspect(package)
    succeed("add", package, *function(made, 2), "--default", "adapter_2")
    after = inspect(package)
    assert after["default_function"] == "adapter_2"
    own = after["functions"][1]["own_weight_bytes"]
    assert 4 * SIZE * 8 * 2 <= own <= 4 * SIZE * 8 * 2 + 4096
    assert after["weights"]["file_bytes"] - before["weights"]["file_bytes"] <= own + 64 * 2 * 8


def test_a_plain_package_grows(made, tmp_path):
    package = tmp_path / "plain.mlpackage"
    succeed("compile", "-o", package, "--precision", "fp32", "--input", f"x=[1, {SIZE}]", "--output", "y",
            made / "adapted_model_1.pt")
    succeed("add", package, *function(made, 2), "--expect-shared", "80%")  # fp32 too, without being told
    report = inspect(package)
    assert [entry["name"] for entry in report["functions"]] == ["main", "adapter_2"]
    assert report["default_function"] == "main"
    peer.check_package(package)
    succeed("verify", package, "--function", "main", "--against", made / "adapted_model_1.pt",
            "--function", "adapter_2", "--against", made / "adapted_model_2.pt")


def test_removing_and_taking_back(made, tmp_path):
    package = shutil.copytree(made / "all.mlpackage", tmp_path / "p.mlpackage")
    whole = digest(package)
    size = peer.weights_file(package).stat().st_size
    succeed("remove", package, "adapter_2")
    assert [entry["name"] for entry in inspect(package)["functions"]] == ["adapter_1", "adapter_3"]
    assert peer.weights_file(package).stat().st_size == size
    peer.check_package(package)
    succeed("remove", package, "--compact")
    assert peer.weights_file(package).stat().st_size < size
    peer.check_package(package)
    succeed("remove", package, "adapter_3")
    succeed("add", package, *function(made, 2))
    succeed("add", package, *function(made, 3))
    assert digest(package) == whole


def test_refusals_change_nothing(made, package, tmp_path):
    before = digest(package)
    for arguments, message in [
            (["add", package, *function(made, 1)], "there is a function 'adapter_1' already"),
            (["add", package, *function(made, 2), "--default", "nobody"], "'nobody' cannot be the default"),
            (["add", package, *function(made, 2), "--expect-shared", "99.9%"], "function 'adapter_2'"),
            (["add", package, *function(made, 2)[:2], "--input", "x=[1, 7]"], "7"),
            (["remove", package, "adapter_2"], "no function 'adapter_2'"),
            (["remove", package, "adapter_1"], "last function"),
            (["add", tmp_path / "none.mlpackage", *function(made, 2)], "no such package")]:
        result = plait(*arguments)
        assert result.returncode == 1 and message in result.stderr, result.stderr
        assert digest(package) == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["p.mlpackage"]


def test_full_disk(made, package):
    before = digest(package)
    size = peer.weights_file(package).stat().st_size

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 5000, resource.RLIM_INFINITY))

    result = plait("add", package, *function(made, 2), preexec_fn=limit)
    assert result.returncode == 1 and "weight.bin" in result.stderr
    assert digest(package) == before


def test_read_only(made, package):
    before = digest(package)
    folder = package / "Data" / "com.apple.CoreML"
    weights = peer.weights_file(package)
    weights.chmod(0o444)
    folder.chmod(0o555)
    try:
        result = plait("add", package, *function(made, 2))
        if result.returncode == 0:
            pytest.skip("permissions do not bind this user")
        assert result.returncode == 1 and "cannot write" in result.stderr
    finally:
        folder.chmod(0o755)
        weights.chmod(0o644)
    assert digest(package) == before


def test_one_process_at_a_time(made, tmp_path):
    package = shutil.copytree(made / "all.mlpackage", tmp_path / "p.mlpackage")
    before = digest(package)
    descriptor = os.open(package, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        for arguments in (["add", package, *function(made, 2)], ["remove", package, "adapter_2"], ["remove", package, "--compact"],
                          ["compile", "-o", package, *function(made, 2)], ["merge", "-o", package, made / "one.mlpackage"]):
            result = plait(*arguments)
            assert result.returncode == 1 and "being changed by another process" in result.stderr, result.stderr
        assert digest(package) == before
    finally:
        os.close(descriptor)
    succeed("remove", package, "adapter_2", "--compact")


def weights(package):
    return peer.weights_file(package).relative_to(package)


@pytest.mark.parametrize("link", [os.link, os.symlink])
def test_a_linked_copy_stays_as_it_is(made, tmp_path, link):
    """One file under two names: what one package adds would overwrite what the other one uses."""
    whole = shutil.copytree(made / "all.mlpackage", tmp_path / "whole.mlpackage")
    grown = shutil.copytree(whole, tmp_path / "grown.mlpackage")
    (grown / weights(grown)).unlink()
    link(whole / weights(whole), grown / weights(grown))
    before = digest(whole)
    succeed("remove", grown, "adapter_2", "adapter_3")
    succeed("add", grown, *function(made, 3))
    assert digest(whole) == before
    for package in (whole, grown):
        peer.check_package(package)
    succeed("verify", grown, "--function", "adapter_3", "--against", made / "adapted_model_3.pt")
    assert not (grown / weights(grown)).is_symlink()
    shutil.rmtree(grown / weights(grown).parent)
    os.symlink(whole / weights(whole).parent, grown / weights(grown).parent)
    succeed("merge", "-o", grown, whole)  # in place of the folder, which stays
    shutil.rmtree(grown / weights(grown).parent)
    os.symlink(whole / weights(whole).parent, grown / weights(grown).parent)
    succeed("remove", grown, "adapter_2", "adapter_3")
    result = plait("add", grown, *function(made, 3))
    assert result.returncode == 1 and "is a link to another folder" in result.stderr, result.stderr
    assert digest(whole) == before


def test_other_items_of_the_manifest_stay(made, package):
    manifest = json.loads((package / "Manifest.json").read_text())
    item = {"author": "com.example", "description": "notes", "name": "notes", "path": "com.example/notes"}
    manifest["itemInfoEntries"]["11111111-2222-3333-4444-555555555555"] = item
    (package / "Manifest.json").write_text(json.dumps(manifest))
    notes = package / "Data" / "com.example" / "notes"
    (notes / "inner").mkdir(parents=True)
    (notes / "inner" / "a.txt").write_text("a")
    (notes / "b.txt").write_text("b")
    (notes / "loop").symlink_to(".")
    (notes / "nowhere").symlink_to("missing")
    missing = {**item, "name": "missing", "path": "com.example/missing"}
    manifest["itemInfoEntries"]["22222222-2222-3333-4444-555555555555"] = missing
    (package / "Manifest.json").write_text(json.dumps(manifest))
    for arguments in (["add", package, *function(made, 2)], ["remove", package, "adapter_2"], ["remove", package, "--compact"]):
        succeed(*arguments)
        items = json.loads((package / "Manifest.json").read_text())["itemInfoEntries"]
        assert items["11111111-2222-3333-4444-555555555555"] == item
        assert items["22222222-2222-3333-4444-555555555555"] == missing
        assert os.readlink(notes / "loop") == "." and os.readlink(notes / "nowhere") == "missing"
        assert (notes / "inner" / "a.txt").read_text() == "a" and (notes / "b.txt").read_text() == "b"
    assert len(items) == 4
    (package / "Data" / "com.example" / "missing").write_text("found")
    peer.check_package(package)


def test_a_model_at_the_root_of_data(made, package):
    data, manifest = package / "Data", json.loads((package / "Manifest.json").read_text())
    for path in list((data / "com.apple.CoreML").iterdir()):
        path.rename(data / path.name)
    for item in manifest["itemInfoEntries"].values():
        item["path"] = item["path"].removeprefix("com.apple.CoreML/")
    (package / "Manifest.json").write_text(json.dumps(manifest))
    succeed("remove", package, "--compact")
    assert digest(package) == digest(made / "one.mlpackage")
    assert len(json.loads((package / "Manifest.json").read_text())["itemInfoEntries"]) == 2


def test_a_folder_of_another_package_stays_as_it_is(made, package, tmp_path):
    whole = shutil.copytree(made / "all.mlpackage", tmp_path / "whole.mlpackage")
    before = digest(whole)
    shutil.rmtree(package / "Data")
    (package / "Data").symlink_to(whole / "Data")
    for arguments in (["add", package, *function(made, 2)], ["remove", package, "adapter_2"]):
        result = plait(*arguments)
        assert result.returncode == 1 and "outside of the package" in result.stderr, result.stderr
    assert digest(whole) == before


@pytest.mark.parametrize("count", [0, 1, 1000])
def test_what_lies_behind_the_last_blob_does_not_matter(made, package, count):
    """Bytes that are no blobs, and a header that counts them, or does not count what there is."""
    clean = shutil.copytree(package, package.parent / "clean.mlpackage")
    file = package / weights(package)
    content = bytearray(file.read_bytes())
    content[:4] = count.to_bytes(4, "little")
    file.write_bytes(content + b"\xef" * 5000)
    for each in (clean, package):
        succeed("add", each, *function(made, 2))
    assert digest(package) == digest(clean)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_stopped_at_any_moment(made, tmp_path, number):
    """The old package or the new one; what a kill left is overwritten by the next addition."""
    old = digest(made / "one.mlpackage")
    clean = shutil.copytree(made / "one.mlpackage", tmp_path / "clean.mlpackage")
    start = time.monotonic()
    succeed("add", clean, *function(made, 2))
    duration = time.monotonic() - start
    new = digest(clean)
    model = "Data/com.apple.CoreML/model.mlmodel"
    for moment in range(8):
        package = shutil.copytree(made / "one.mlpackage", tmp_path / f"{moment}.mlpackage")
        process = subprocess.Popen([str(PLAIT), *map(str, ["add", package, *function(made, 2), "--quiet"])])
        time.sleep(duration * (0.6 + moment / 16))
        process.send_signal(number)
        process.wait(timeout=60)
        after = digest(package)
        assert after[model] in (old[model], new[model])
        peer.check_package(package)
        if after[model] == new[model]:
            assert after == new
            continue
        if number == signal.SIGINT:
            assert sorted(after) == sorted(old)
        succeed("add", package, *function(made, 2))
        assert digest(package) == new


# ---- Adapters ----------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def adapted(tmp_path_factory):
    """A base, three adapters of it, and packages of the base alone and of all."""
    folder = tmp_path_factory.mktemp("adapted")
    torch.manual_seed(0)
    base = torch.nn.Sequential(torch.nn.Linear(96, 128), torch.nn.ReLU(), torch.nn.Linear(128, 96)).eval()
    x = torch.randn(1, 96)
    save_base(base, (x,), folder / "base.pt")
    np.save(folder / "x.npy", x.numpy())
    for number, name in enumerate(("one", "two", "three")):
        model = models.adapt(base, LoraConfig(r=4, target_modules=["0", "2"]), folder / name, number)
        with torch.no_grad():
            np.save(folder / f"{name}.npy", model(x).numpy())
    common = ["--base", folder / "base.pt", "--input", "x=[1, 96]", "--output", "y"]
    succeed("compile", "-o", folder / "plain.mlpackage", "--precision", "fp32", *common, "--base-function", "plain",
            "--adapter", f"one={folder}/one")
    succeed("compile", "-o", folder / "all.mlpackage", "--precision", "fp32", *common, "--base-function", "plain",
            *(text for name in ("one", "two", "three") for text in ("--adapter", f"{name}={folder}/{name}")))
    return folder, common


def test_adapters_are_added_to_their_base(adapted, tmp_path):
    folder, common = adapted
    package = shutil.copytree(folder / "plain.mlpackage", tmp_path / "p.mlpackage")
    before = inspect(package)
    succeed("add", package, *common, "--adapter", f"two={folder}/two")
    succeed("add", package, *common, "--adapter", f"three={folder}/three")
    assert digest(package) == digest(folder / "all.mlpackage")
    after = inspect(package)
    file = (folder / "two" / "adapter_model.safetensors").stat().st_size
    for function in after["functions"][2:]:
        assert function["own_weight_bytes"] <= 1.1 * file
        assert function["weight_bytes"] - function["own_weight_bytes"] >= before["functions"][0]["weight_bytes"]
    peer.check_package(package)
    for name in ("one", "two", "three"):
        assert_close(run(package, name, {"x": np.load(folder / "x.npy")}, tmp_path), np.load(folder / f"{name}.npy"), name)
        succeed("verify", package, "--function", name, "--against", folder / "base.pt", "--adapter", folder / name)
    succeed("remove", package, "two")
    succeed("remove", package, "--compact")
    succeed("add", package, *common, "--adapter", f"mixed={folder}/two:0.5+{folder}/three:0.5", "--lora", "fold")
    assert [function["name"] for function in inspect(package)["functions"]] == ["plain", "one", "three", "mixed"]
    peer.check_package(package)


def test_refused_adapters_change_nothing(adapted, tmp_path):
    folder, common = adapted
    package = shutil.copytree(folder / "plain.mlpackage", tmp_path / "p.mlpackage")
    before = digest(package)
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "adapter_config.json").write_text('{"peft_type": "OFT"}')
    shutil.copy(folder / "two" / "adapter_model.safetensors", tmp_path / "bad")
    for arguments, message in [
            ([*common, "--adapter", f"one={folder}/two"], "there is a function 'one' already"),
            ([*common, "--adapter", f"two={tmp_path}/bad"], "OFT"),
            ([*common, "--adapter", f"two={tmp_path}/none"], "none"),
            ([*common, "--adapter", f"two={folder}/two", "--expect-shared", "99.9%"], "function 'two'"),
            (["--adapter", f"two={folder}/two"], "--base")]:
        result = plait("add", package, *arguments)
        assert result.returncode in (1, 2) and message in result.stderr, result.stderr
        assert digest(package) == before
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["bad", "p.mlpackage"]


@pytest.mark.parametrize("how", ["kill", "full"])
@pytest.mark.parametrize("command", ["add", "remove"])
def test_stopped_at_every_step(adapted, stopper, tmp_path, how, command):
    """The command itself, killed in the middle of every write, cut, flush and rename, or out of room from there on."""
    folder, common = adapted
    source = folder / ("plain.mlpackage" if command == "add" else "all.mlpackage")
    arguments = [*common, "--adapter", f"two={folder}/two"] if command == "add" else ["two"]
    clean = shutil.copytree(source, tmp_path / "clean.mlpackage")
    old = digest(clean)
    succeed(command, clean, *arguments)
    new = digest(clean)
    model = "Data/com.apple.CoreML/model.mlmodel"
    stopped, committed = 0, []
    for step in range(200):
        package = shutil.copytree(source, tmp_path / f"{step}.mlpackage")
        environment = {**os.environ, "LD_PRELOAD": str(stopper), "STOP_FOLDER": str(package), "STOP_AT": str(step),
                       "STOP_HOW": how, "STOP_MARK": str(tmp_path / "stopped")}
        result = subprocess.run([str(PLAIT), command, str(package), *map(str, arguments), "--quiet"], env=environment,
                                capture_output=True, text=True, timeout=60)
        if not (tmp_path / "stopped").exists():
            assert result.returncode == 0, result.stderr
            break  # there is no such step
        (tmp_path / "stopped").unlink()
        after = digest(package)
        assert after[model] in (old[model], new[model]), step
        peer.check_package(package)
        stopped += 1
        committed.append(after[model] == new[model])
        if how == "full":
            assert result.returncode in (0, 1), result.stderr
            assert result.returncode == 0 or "space" in result.stderr or "write" in result.stderr, result.stderr
        else:
            assert result.returncode == -signal.SIGKILL
        if after[model] == new[model]:
            assert after == new, step
        else:
            if how == "full":
                assert after == old, step
            succeed(command, package, *arguments)
            assert digest(package) == new, step
        shutil.rmtree(package)
    else:
        pytest.fail("the command never ends")
    assert stopped >= (8 if command == "add" else 4)
    # Once the new model is in place, it stays.
    assert committed == sorted(committed)
