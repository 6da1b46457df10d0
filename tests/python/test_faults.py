"""plait verify tells faults from rounding: planted in twenty architectures, every one that changes an output by more than half a
per cent is caught, at both precisions, and no right function fails."""

import copy

import pytest
import torch
from command import plait, succeed
from fault_models import ARCHITECTURES, FAULTS, build, faulty
from torch.ao.quantization import get_default_qconfig_mapping
from torch.ao.quantization.quantize_fx import convert_fx, prepare_fx


def traced(model, inputs, path):
    with torch.no_grad():
        module = torch.jit.trace(model, tuple(inputs.values()), check_trace=False)
    module.save(str(path))
    return module


def declared(name, tensor):
    kind = "" if tensor.is_floating_point() else "int32"
    return f"{name}={kind}{list(tensor.shape)}"


def change(right, wrong, inputs):
    """The least change of the output over a few inputs, relative to its largest value."""
    generator, least = torch.Generator().manual_seed(5), float("inf")
    for _ in range(4):
        drawn = [torch.randn(t.shape, generator=generator) if t.is_floating_point() else
                 torch.randint(0, 64, t.shape, generator=generator, dtype=t.dtype) for t in inputs.values()]
        with torch.no_grad():
            a, b = right(*drawn), wrong(*drawn)
        least = min(least, float((a - b).abs().max() / a.abs().max()))
    return least


@pytest.mark.parametrize("precision", ["fp16", "fp32"])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_faults_are_told_from_rounding(tmp_path, name, precision):
    torch.backends.mha.set_fastpath_enabled(False)
    model, inputs = build(name)
    right = traced(model, inputs, tmp_path / "right.pt")
    functions, changes = {"right": "right.pt"}, {}
    for fault in FAULTS:
        for part in (0.3, 0.8):
            other = faulty(model, fault, part)
            if other is None:
                continue
            label = f"{fault}_{int(part * 10)}"
            changes[label] = change(right, traced(other, inputs, tmp_path / f"{label}.pt"), inputs)
            functions[label] = f"{label}.pt"
    arguments = [part for label, file in functions.items() for part in
                 ("--function", f"{label}={file}", *(text for i in inputs.items() for text in ("--input", declared(*i))))]
    succeed("compile", "-o", "p.mlpackage", "--precision", precision, "--quiet", *arguments, cwd=tmp_path)
    report = plait("verify", "p.mlpackage", *(part for label in functions for part in ("--function", label, "--against", "right.pt")),
                   "--draws", "2", cwd=tmp_path)
    assert report.stderr == "", report.stderr
    verdicts = dict(reversed(line.split(" against ")[0].split("  ")) for line in report.stdout.splitlines() if " against " in line)
    assert verdicts.pop("right") == "PASS", report.stdout
    assert len(verdicts) == len(changes) >= 4
    missed = {label: changes[label] for label, verdict in verdicts.items() if verdict != "FAIL" and changes[label] > 5e-3}
    assert not missed, f"{missed}\n{report.stdout}"


def quantised(model, inputs):
    """Weights and activations of eight bits, with scales from a few calls."""
    generator = torch.Generator().manual_seed(3)
    prepared = prepare_fx(copy.deepcopy(model), get_default_qconfig_mapping("x86"), tuple(inputs.values()))
    with torch.no_grad():
        for _ in range(8):
            prepared(*(torch.randn(t.shape, generator=generator) for t in inputs.values()))
    return convert_fx(prepared)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.skipif("x86" not in torch.backends.quantized.supported_engines, reason="PyTorch has no such kernels here")
@pytest.mark.parametrize("name", ["mlp", "resnet"])
def test_faults_are_told_from_steps(tmp_path, name):
    """Of quantised models numbers fall on the next step, which is no fault; what changes twice as much as quantising does, is."""
    model, inputs = build(name)
    right = traced(quantised(model, inputs), inputs, tmp_path / "right.pt")
    bar, functions, changes = 2 * change(model, right, inputs), {"right": "right.pt"}, {}
    for fault in FAULTS:
        for part in (0.3, 0.8):
            if (other := faulty(model, fault, part)) is not None:
                label = f"{fault}_{int(part * 10)}"
                changes[label] = change(right, traced(quantised(other, inputs), inputs, tmp_path / f"{label}.pt"), inputs)
                functions[label] = f"{label}.pt"
    arguments = [part for label, file in functions.items() for part in
                 ("--function", f"{label}={file}", *(text for i in inputs.items() for text in ("--input", declared(*i))))]
    for precision in ("fp16", "fp32"):
        succeed("compile", "-o", f"{precision}.mlpackage", "--precision", precision, "--quiet", *arguments, cwd=tmp_path)
        report = plait("verify", f"{precision}.mlpackage", *(part for label in functions for part in ("--function", label, "--against", "right.pt")),
                       "--draws", "2", cwd=tmp_path)
        verdicts = dict(reversed(line.split(" against ")[0].split("  ")) for line in report.stdout.splitlines() if " against " in line)
        assert verdicts.pop("right") == "PASS", report.stdout
        assert len(verdicts) == len(changes) and max(changes.values()) > bar
        missed = {label: changes[label] for label, verdict in verdicts.items() if verdict != "FAIL" and changes[label] > bar}
        assert not missed, f"{missed}\n{report.stdout}"


def planted(model, other):
    """The module in which a fault was planted."""
    parameters = dict(model.named_parameters())
    for name, parameter in other.named_parameters():
        if not torch.equal(parameter, parameters[name]):
            return name.rpartition(".")[0]
    return next(name for name, module in other.named_modules() if getattr(module, "off", 0))


def test_bisect_names_the_planted_module(tmp_path):
    named, wrong = 0, []
    for name in ("mlp", "resnet", "decoder"):
        torch.backends.mha.set_fastpath_enabled(False)
        model, inputs = build(name)
        (tmp_path / name).mkdir()
        traced(model, inputs, tmp_path / name / "right.pt")
        places = {"right": None}
        for fault in FAULTS:
            for part in (0.3, 0.8):
                if other := faulty(model, fault, part):
                    places[f"{fault}_{int(part * 10)}"] = planted(model, other)
                    traced(other, inputs, tmp_path / name / f"{fault}_{int(part * 10)}.pt")
        arguments = [part for label in places for part in
                     ("--function", f"{label}={label}.pt", *(text for i in inputs.items() for text in ("--input", declared(*i))))]
        succeed("compile", "-o", "p.mlpackage", "--debug-info", "on", "--quiet", *arguments, cwd=tmp_path / name)
        for label, place in places.items():
            report = plait("verify", "p.mlpackage", "--function", label, "--against", "right.pt", "--bisect", cwd=tmp_path / name)
            accused = [line for line in report.stdout.splitlines() if "leaves the model at" in line]
            if place is None:
                assert report.returncode == 0 and not accused, report.stdout
            elif report.returncode:
                hit = bool(accused) and f"'{place}'" in accused[0]
                named += hit
                wrong += [] if hit else [(name, label, place, report.stdout)]
    assert named >= 20 and named >= 9 * len(wrong), wrong
