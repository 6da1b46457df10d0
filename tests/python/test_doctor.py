"""plait doctor: packages of plait and of coremltools, places in the model, and compiled models."""

import json

import torch
from coremltools.converters.mil import Builder as mb
from torch import nn

import coremltools as ct
from command import plait, succeed


class Head(nn.Module):
    def forward(self, x):
        return torch.nn.functional.softplus(x)


def findings(*arguments):
    return json.loads(plait("doctor", "--json", *arguments).stdout)["findings"]


def test_places_in_the_model(tmp_path):
    model = torch.jit.trace(nn.Sequential(nn.Identity(), Head()), torch.rand(2, 8))
    model.save(str(tmp_path / "model.pt"))
    package = tmp_path / "p.mlpackage"
    succeed("compile", "-o", package, "--debug-info", "on", "--input", "x=[2, 8]", tmp_path / "model.pt")
    (finding,) = [f for f in findings(package) if f["rule"] == "softplus-fp16"]
    assert finding["file"].endswith("test_doctor.py") and finding["line"] > 10 and finding["module"]
    notes = plait("doctor", "--format", "github", package).stdout.splitlines()
    assert any(line.startswith("::warning file=") and "test_doctor.py,line=" in line for line in notes)


def coremltools_package(path):
    @mb.program(input_specs=[mb.TensorSpec((1, 4)), mb.TensorSpec((1, 4))], opset_version=ct.target.iOS17)
    def program(x, y):
        square = mb.slice_by_index(x=mb.mul(x=x, y=x), begin=[0, 0], end=[1, 4], squeeze_mask=[True, False])
        return mb.add(x=mb.reduce_sum(x=square, axes=[0], keep_dims=True), y=y)

    ct.convert(program, convert_to="mlprogram", minimum_deployment_target=ct.target.iOS17, skip_model_load=True).save(str(path))


def test_a_package_of_coremltools(tmp_path):
    package, fixed = tmp_path / "p.mlpackage", tmp_path / "fixed.mlpackage"
    coremltools_package(package)
    rules = {f["rule"] for f in findings(package)}
    assert rules == {"slice-masks"}
    assert findings(package, "--fix", "-o", fixed) == []
    # What was written is a package to coremltools too, of the same interface.
    old, new = (ct.models.MLModel(str(p), skip_model_load=True).get_spec().description for p in (package, fixed))
    assert [f.name for f in old.input] == [f.name for f in new.input] and [f.name for f in old.output] == [f.name for f in new.output]
