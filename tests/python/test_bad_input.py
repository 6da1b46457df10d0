"""What bad input gets: a message that says what and where, exit status 1 (2 for usage), no crash, the target as it was."""

import os
import pathlib
import random
import shutil
import subprocess
import zipfile

import models
import pytest
import torch
from command import digest, plait, succeed
from paths import PLAIT

GOOD = ["--input", "x=[2, 12]"]


@pytest.fixture(scope="module")
def mlp(tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "mlp.pt"
    models.build("mlp")[0].save(str(path))
    return path


@pytest.fixture
def target(tmp_path, mlp):
    """A folder that holds one good package; afterwards it must hold exactly what it held."""
    folder = tmp_path / "out"
    folder.mkdir()
    succeed("compile", "-o", folder / "kept.mlpackage", *GOOD, mlp)
    before = digest(folder)
    assert len(before) == 3
    yield folder / "kept.mlpackage"
    assert digest(folder) == before
    assert [entry.name for entry in folder.iterdir()] == ["kept.mlpackage"]


def refused(result, *fragments, status=1):
    assert result.returncode == status, result.stdout + result.stderr
    assert result.stderr.strip()
    for fragment in fragments:
        assert str(fragment).lower() in result.stderr.lower(), result.stderr
    for unwanted in ("terminate called", "exception raised from", "frame #", "stack dump", "assertion"):
        assert unwanted not in result.stderr.lower(), result.stderr


def test_missing_model(target):
    refused(plait("compile", "-o", target, *GOOD, "/nowhere/model.pt"), "/nowhere/model.pt", "no such file")


def test_model_is_a_folder(target, tmp_path):
    refused(plait("compile", "-o", target, *GOOD, tmp_path), tmp_path)


@pytest.mark.parametrize("keep", [0, 1, 100, 0.3, 0.6, 0.99, -1])
def test_truncated_model(target, mlp, tmp_path, keep):
    content = mlp.read_bytes()
    size = keep if isinstance(keep, int) else int(len(content) * keep)
    cut = tmp_path / "cut.pt"
    cut.write_bytes(content[:size])
    refused(plait("compile", "-o", target, *GOOD, cut), "cut.pt")


def test_damaged_models_never_crash(target, mlp, tmp_path):
    content, chance = mlp.read_bytes(), random.Random(7)
    for number in range(25):
        damaged = bytearray(content)
        for _ in range(20):
            damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        path = tmp_path / "damaged.pt"
        path.write_bytes(damaged)
        result = plait("compile", "-o", tmp_path / "any.mlpackage", *GOOD, path)
        assert result.returncode in (0, 1), f"damage {number}: {result.stderr}"


def test_state_dict(target, tmp_path):
    path = tmp_path / "weights.pt"
    torch.save(torch.nn.Linear(12, 5).state_dict(), path)
    refused(plait("compile", "-o", target, *GOOD, path), "weights.pt", "torch.jit")


def test_whole_pickled_module(target, tmp_path):
    path = tmp_path / "pickled.pt"
    torch.save(torch.nn.Linear(12, 5), path)
    refused(plait("compile", "-o", target, *GOOD, path), "pickled.pt", "torch.jit")


def test_exported_program(target, tmp_path):
    path = tmp_path / "exported.pt2"
    torch.export.save(torch.export.export(torch.nn.Linear(12, 5), (torch.rand(3, 12),)), path)
    refused(plait("compile", "-o", target, *GOOD, path), "exported.pt2", "dynamic_shapes")


@pytest.mark.parametrize("content", [b"", b"def forward(self, x): return x\n", b"PK\x03\x04" + b"\0" * 100, bytes(4096)])
def test_no_archive(target, tmp_path, content):
    path = tmp_path / "notes.pt"
    path.write_bytes(content)
    refused(plait("compile", "-o", target, *GOOD, path), "notes.pt")


def test_zip_of_something_else(target, tmp_path):
    path = tmp_path / "photos.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("photos/1.txt", "hello")
    refused(plait("compile", "-o", target, *GOOD, path), "photos.pt")


def test_too_many_inputs(target, mlp):
    refused(plait("compile", "-o", target, *GOOD, "--input", "y=[2, 12]", mlp), "input")


def test_too_few_inputs(target, tmp_path):
    path = tmp_path / "two.pt"
    models.build("Comparisons")[0].save(str(path))
    refused(plait("compile", "-o", target, *GOOD, path), "input")


def test_no_inputs(target, mlp):
    refused(plait("compile", "-o", target, mlp), "--input")


def test_shape_that_the_model_refuses(target, mlp):
    refused(plait("compile", "-o", target, "--input", "x=[2, 13]", mlp), "13", "12")


def test_wrong_output_count(target, mlp):
    refused(plait("compile", "-o", target, *GOOD, "--output", "a", "--output", "b", mlp), "output")


@pytest.mark.parametrize("shape", ["[2, -1]", "[0, 12]", "[2, 12", "2x12", "[]", "[2,,12]", "[99999999999999999999]", "fp99[2, 12]"])
def test_bad_shape(target, mlp, shape):
    result = plait("compile", "-o", target, "--input", f"x={shape}", mlp)
    refused(result, status=result.returncode)
    assert result.returncode in (1, 2)


@pytest.mark.parametrize("name", ["1x", "a b", "a-b", "", "é", "a@b", "tensor"])
def test_bad_input_name(target, mlp, name):
    result = plait("compile", "-o", target, "--input", f"{name}=[2, 12]", mlp)
    refused(result, status=result.returncode)
    assert result.returncode in (1, 2)


def test_input_and_output_of_one_name(target, mlp):
    refused(plait("compile", "-o", target, *GOOD, "--output", "x", mlp), "x")


def test_unknown_default(target, mlp):
    refused(plait("compile", "-o", target, "--default", "c", "--function", f"a={mlp}", *GOOD, "--function", f"b={mlp}", *GOOD),
            "c", "a", "b", status=1)


def test_two_functions_of_one_name(target, mlp):
    refused(plait("compile", "-o", target, "--function", f"a={mlp}", *GOOD, "--function", f"a={mlp}", *GOOD), "a", status=1)


@pytest.mark.parametrize("name", ["1a", "a b", "a-b", "a.b", "é"])
def test_function_name_that_is_no_identifier(target, mlp, name):
    refused(plait("compile", "-o", target, "--function", f"{name}={mlp}", *GOOD), name, status=1)


def test_one_bad_function_among_good(target, mlp):
    refused(plait("compile", "-o", target, "--function", f"a={mlp}", *GOOD, "--function", "b=/nowhere.pt", *GOOD), "/nowhere.pt")


def test_unsupported_operations_are_reported_together(target, tmp_path):
    class Odd(torch.nn.Module):
        def forward(self, x):
            return torch.linalg.svd(x)[1] + torch.linalg.eigvals(x).real + torch.linalg.svdvals(x)

    path = tmp_path / "odd.pt"
    torch.jit.trace(Odd(), torch.rand(4, 4)).save(str(path))
    refused(plait("compile", "-o", target, "--input", "x=[4, 4]", path), "aten::linalg_svd", "aten::linalg_eigvals")


def test_output_folder_is_missing(target, mlp, tmp_path):
    refused(plait("compile", "-o", tmp_path / "no" / "where.mlpackage", *GOOD, mlp), "where.mlpackage")
    assert not (tmp_path / "no").exists()


def test_output_below_a_file(target, mlp):
    refused(plait("compile", "-o", mlp / "x.mlpackage", *GOOD, mlp), "x.mlpackage")


def test_output_is_a_file_of_another_kind(mlp, tmp_path):
    path = tmp_path / "diary.txt"
    path.write_text("dear diary")
    result = plait("compile", "-o", path, *GOOD, mlp)
    assert result.returncode in (1, 2), result.stderr
    assert path.read_text() == "dear diary"


def test_output_is_a_folder_of_another_kind(mlp, tmp_path):
    folder = tmp_path / "photos.mlpackage"
    folder.mkdir()
    (folder / "1.jpg").write_text("photo")
    result = plait("compile", "-o", folder, *GOOD, mlp)
    assert result.returncode in (1, 2), result.stderr
    assert digest(folder).keys() == {"1.jpg"}


def test_file_size_limit(target, mlp):
    """Writing fails part of the way, as on a full disk."""
    resource = pytest.importorskip("resource")
    result = plait("compile", "-o", target, *GOOD, mlp, restore_signals=False,
                   preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000)))
    refused(result, "mlpackage")


def test_full_disk(mlp, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=96k", "tmpfs", disk], capture_output=True).returncode:
        pytest.skip("mounting a small disk needs privileges; test_file_size_limit covers a failing write")
    try:
        path = tmp_path / "large.pt"
        torch.jit.trace(torch.nn.Linear(300, 300), torch.rand(1, 300)).save(str(path))
        succeed("compile", "-o", disk / "kept.mlpackage", *GOOD, mlp)
        before = digest(disk)
        refused(plait("compile", "-o", disk / "kept.mlpackage", "--input", "x=[1, 300]", path), "kept.mlpackage", "space")
        assert digest(disk) == before
        assert [entry.name for entry in disk.iterdir()] == ["kept.mlpackage"]
    finally:
        subprocess.run(["umount", disk], check=True)


def test_read_only_folder(mlp, tmp_path):
    options, folder = {}, tmp_path / "locked"
    folder.mkdir()
    if os.geteuid() == 0:  # permissions do not bind root: run as nobody
        base = next(parent for parent in tmp_path.parents if parent.name.startswith("pytest-of-"))
        for parent in [mlp, *mlp.parents, *folder.parents]:
            if parent.owner() == "root" and parent.is_relative_to(base):
                parent.chmod(0o755)
        options = {"user": 65534, "group": 65534, "extra_groups": []}
        try:
            subprocess.run([PLAIT, "--help"], check=True, capture_output=True, **options)
        except (OSError, subprocess.SubprocessError):
            pytest.skip("an unprivileged user cannot run the command here")
    folder.chmod(0o555)
    refused(plait("compile", "-o", folder / "x.mlpackage", *GOOD, mlp, **options), "x.mlpackage", "permission")
    assert not list(folder.iterdir())


@pytest.mark.parametrize("arguments", [
    [], ["frobnicate"], ["compile"], ["compile", "-o", "x.mlpackage"], ["compile", "model.pt"], ["compile", "--nonsense"],
    ["compile", "-o", "x.mlpackage", "--precision", "fp12", "model.pt"], ["compile", "-o", "x.mlpackage", "--function", "justname"],
    ["inspect"], ["verify", "x.mlpackage"], ["run", "x.mlpackage"],
])
def test_usage(tmp_path, arguments):
    result = plait(*arguments, cwd=tmp_path)
    refused(result, status=2)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("command", [["inspect"], ["verify", "--against", "/nowhere.pt"]])
def test_missing_package(tmp_path, command):
    refused(plait(command[0], tmp_path / "none.mlpackage", *command[1:]), "none.mlpackage")


@pytest.mark.parametrize("victim", ["Manifest.json", "model.mlmodel", "weight.bin"])
@pytest.mark.parametrize("damage", ["missing", "empty", "half", "noise"])
def test_damaged_package(mlp, tmp_path, victim, damage):
    package = tmp_path / "p.mlpackage"
    succeed("compile", "-o", package, *GOOD, mlp)
    path, = package.rglob(victim)
    content = path.read_bytes()
    if damage == "missing":
        path.unlink()
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "half":
        path.write_bytes(content[: len(content) // 2])
    else:
        path.write_bytes(random.Random(3).randbytes(len(content)))
    result = plait("verify", package, "--against", mlp)
    refused(result)


def test_another_model_does_not_verify(target, mlp, tmp_path):
    torch.manual_seed(99)
    other = tmp_path / "other.pt"
    torch.jit.trace(models.MODELS["mlp"][0]().eval(), torch.rand(2, 12)).save(str(other))
    assert plait("verify", target, "--against", other).returncode == 1
    assert plait("verify", target, "--against", mlp).returncode == 0


def test_unknown_function_of_a_package(target, mlp):
    refused(plait("verify", target, "--function", "other", "--against", mlp), "other", "main")


class Noise(torch.nn.Module):
    """Writes to an argument, but by no in-place operation of its author."""

    def forward(self, x):
        return torch.ops.aten.rrelu_with_noise(x, torch.ones_like(x), 0.1, 0.3, False)


@pytest.mark.parametrize("module, message, absent", [
    (Noise, "aten::rrelu_with_noise writes to its argument, which is not supported", "in-place"),
])
def test_what_is_said_of_a_model(tmp_path, module, message, absent):
    torch.jit.script(module()).save(str(tmp_path / "m.pt"))
    result = plait("compile", "-o", tmp_path / "p.mlpackage", "--input", "x=[2, 3]", tmp_path / "m.pt")
    refused(result, message)
    assert absent not in result.stderr.splitlines()[0], result.stderr
