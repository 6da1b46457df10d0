"""Every kind of model compiles, coremltools accepts the package, its operations have signatures that coremltools writes,
and plait's interpreter agrees with LibTorch."""

import pathlib

import models
import peer
import pytest
from census import unknown_signatures
from command import succeed


@pytest.fixture(scope="module", params=list(models.MODELS))
def traced(request, tmp_path_factory):
    name = request.param
    path = tmp_path_factory.mktemp(name) / f"{name}.pt"
    models.build(name)[0].save(str(path))
    return name, path


def compiled(traced, precision):
    name, path = traced
    package = path.with_name(f"{name}-{precision}.mlpackage")
    if not package.exists():
        inputs = [text for declaration in models.declarations(name) for text in ("--input", declaration)]
        succeed("compile", "-o", package, "--precision", precision, *inputs, path)
    return package


@pytest.mark.parametrize("precision", ["fp16", "fp32"])
def test_coremltools_loads_it(traced, precision):
    spec = peer.check_package(compiled(traced, precision))
    assert list(spec.mlProgram.functions) == ["main"]
    assert not spec.description.functions


@pytest.mark.parametrize("precision", ["fp16", "fp32"])
def test_it_computes_what_libtorch_does(traced, precision):
    package = compiled(traced, precision)
    succeed("verify", package, "--against", traced[1])


@pytest.mark.parametrize("precision", ["fp16", "fp32"])
def test_coremltools_writes_such_signatures(traced, precision):
    unknown = unknown_signatures(peer.load_spec(compiled(traced, precision)))
    assert not unknown, "\n".join(unknown)
