"""Models through torch.export's door: saved, compiled, run beside PyTorch and verified against the archive."""

import json

import numpy as np
import torch
from command import succeed


def save(path, model, inputs, dynamic=None, decomposed=False, **options):
    """The exported program of a model, saved at `path`."""
    with torch.no_grad():
        program = torch.export.export(model.eval(), tuple(inputs), dynamic_shapes=dynamic, **options)
        if decomposed:
            program = program.run_decompositions({})
        torch.export.save(program, path)
    return program


def flat(result):
    """Tensors and numbers of a result, in order."""
    if isinstance(result, torch.Tensor):
        return [result]
    if isinstance(result, (bool, int, float)):
        return [torch.tensor(result)]
    if isinstance(result, dict):
        result = list(result.values())
    return [] if result is None else [leaf for part in result for leaf in flat(part)]


def names(package):
    """Names of inputs and outputs, in order."""
    function, = json.loads(succeed("inspect", package, "--json").stdout)["functions"]
    return [i["name"] for i in function["inputs"]], [o["name"] for o in function["outputs"]]


def check_run(folder, package, model, inputs, tolerance=1e-4):
    """What the package computes is what PyTorch does."""
    given, results = names(package)
    arguments = []
    for name, value in zip(given, inputs, strict=True):
        array = value.numpy() if value.is_floating_point() or value.dtype == torch.bool else value.numpy().astype(np.int32)
        np.save(folder / f"{name}.npy", np.atleast_1d(array))
        arguments += ["--input", f"{name}={folder / name}.npy"]
    succeed("run", package, *arguments, "--output-dir", folder / "out")
    with torch.no_grad():
        expected = flat(model(*[i.clone() for i in inputs]))
    assert len(results) == len(expected)
    for name, wanted in zip(results, expected, strict=True):
        got = np.load(folder / "out" / f"{name}.npy")
        np.testing.assert_allclose(got.astype(np.float64).reshape(tuple(wanted.shape)), wanted.double().numpy(),
                                   rtol=tolerance, atol=tolerance, err_msg=name)


def check(folder, model, inputs, *options, dynamic=None, runs=(), decomposed=False, verify=True, **export):
    """Compiles the model from its archive in fp32; runs it on `inputs` and `runs`, and verifies it. The package."""
    folder.mkdir(exist_ok=True)
    archive, package = folder / "model.pt2", folder / "p.mlpackage"
    save(archive, model, inputs, dynamic, decomposed, **export)
    succeed("compile", "-q", "-o", package, "--precision", "fp32", *options, archive)
    for some in (inputs, *runs):
        check_run(folder, package, model, some)
    if verify:
        succeed("verify", package, "--against", archive)
    return package
