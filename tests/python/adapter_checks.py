"""Holds functions with adapters against PEFT's own forward."""

import adapter_models as models
import numpy as np
import torch
from command import succeed


def save_base(wrapper, inputs, path):
    with torch.no_grad():
        torch.jit.trace(wrapper, inputs, check_trace=False).save(str(path))


def run(package, function, arrays, folder):
    given = []
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
        given += ["--input", f"{name}={folder}/{name}.npy"]
    succeed("run", package, "--function", function, *given, "--output-dir", folder / function)
    return np.load(folder / function / "y.npy")


def assert_close(found, expected, message=""):
    scale = np.abs(expected).max()
    np.testing.assert_allclose(found / scale, expected / scale, rtol=1e-4, atol=2e-5, err_msg=message)


def check_all(folder, base, wrap, inputs, declared, adapters, modes=("keep", "fold"), options=()):
    """`adapters`: name to configuration (or a pair with options of models.adapt)."""
    save_base(wrap(base), tuple(inputs.values()), folder / "base.pt")
    expected, given = {}, []
    for seed, (name, config) in enumerate(adapters.items(), 1):
        config, extra = config if isinstance(config, tuple) else (config, {})
        model = models.adapt(base, config, folder / name, seed, **extra)
        with torch.no_grad():
            expected[name] = wrap(model)(*inputs.values()).float().numpy()
        given += ["--adapter", f"{name}={folder}/{name}"]
    with torch.no_grad():
        plain = wrap(base)(*inputs.values()).float().numpy()
    arrays = {name: value.numpy() for name, value in inputs.items()}
    for mode in modes:
        package = folder / f"{mode}.mlpackage"
        succeed("compile", "-o", package, "--precision", "fp32", "--lora", mode, "--base", folder / "base.pt",
                *(text for declaration in declared for text in ("--input", declaration)), "--output", "y", *options,
                "--base-function", "plain", *given)
        np.testing.assert_allclose(run(package, "plain", arrays, folder), plain, rtol=1e-4, atol=1e-4)
        for name, value in expected.items():
            assert np.abs(value - plain).max() > 3e-3, f"{name} changes nothing"
            assert_close(run(package, name, arrays, folder), value, f"{name}, {mode}")
