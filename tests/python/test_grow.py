"""plait add and plait remove: a package grows and shrinks where it is, and is valid at every moment."""

import json
import resource
import shutil
import signal
import subprocess
import sys
import time

import peer
import pytest
from command import plait, succeed
from command import digest as digest_all
from paths import PLAIT, ROOT

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
