"""plait.compile: what it takes, and what it leaves alone."""

import subprocess
import sys
import warnings

import numpy as np
import plait
import pytest
import torch
from torch import nn


def close(ours, theirs, tolerance=2e-2):
    theirs = theirs.detach().float().numpy()
    return ours.shape == theirs.shape and np.abs(ours.astype(np.float32) - theirs).max() <= tolerance * max(1, np.abs(theirs).max())


def test_a_module_in_training_is_exported_and_left_as_it_was(mlp):
    before = {name: (p.data_ptr(), p._version, p.grad.clone()) for name, p in mlp.named_parameters()}
    mlp[0].eval()
    example = torch.rand(1, 8)
    random = torch.random.get_rng_state()
    package = plait.compile(mlp, inputs=[example], outputs=["y"])
    assert mlp.training and mlp[2].training and not mlp[0].training
    assert torch.equal(random, torch.random.get_rng_state())
    for name, p in mlp.named_parameters():
        pointer, version, grad = before[name]
        assert (p.data_ptr(), p._version) == (pointer, version) and torch.equal(p.grad, grad) and p.requires_grad
    x = torch.rand(1, 8)
    assert close(package.default(x)["y"], mlp.eval()(x))


def test_modules_scripts_and_files_are_functions_of_one_package(mlp, tmp_path):
    mlp.eval()
    script = torch.jit.trace(mlp, torch.rand(1, 8))
    script.save(str(tmp_path / "c.pt"))
    package = plait.compile({"a": mlp, "b": script, "c": tmp_path / "c.pt"}, inputs={"x": (1, 8)}, outputs=["y"], default="b",
                            author="me", meta={"kind": "test"})
    assert list(package.functions) == ["a", "b", "c"] and package.default.name == "b"
    x = np.random.rand(1, 8).astype(np.float32)
    for function in package.functions.values():
        assert [str(value) for value in function.inputs] == ["x: fp16[1, 8]"]
        assert close(function(x=x)["y"], mlp(torch.tensor(x)))
        assert function.summary.own_bytes == 0
    assert package.summary.metadata == {"author": "me", "user_defined": {"kind": "test"}}
    assert package.report.functions[0].shared_bytes == package.functions["a"].summary.weight_bytes > 0


def test_functions_may_each_say_their_own(mlp):
    package = plait.compile({"a": plait.Model(mlp, inputs=[plait.Tensor((1, 8), "fp32", name="left")], outputs={"l": "fp32"}),
                             "b": mlp}, inputs={"a": [(2, 8)], "b": [(3, 8)]}, outputs={"a": ["q"], "b": ["r"]})
    assert str(package.functions["a"].inputs[0]) == "left: fp32[1, 8]" and str(package.functions["a"].outputs[0]) == "l: fp32[1, 4]"
    assert str(package.functions["b"].inputs[0]).endswith("fp16[3, 8]") and package.functions["b"].outputs[0].name == "r"


class Names(nn.Module):
    def forward(self, left, scale=None, right=None):
        return left - 2 * right if scale is None else left * scale


def test_names_of_arguments_find_their_arguments():
    package = plait.compile(Names(), inputs={"right": torch.rand(3), "left": torch.rand(3)}, outputs=["y"], precision="fp32")
    out = package.default(left=np.ones(3), right=np.full(3, 0.25))["y"]
    assert np.allclose(out, 0.5)


@pytest.mark.parametrize("dtype", (torch.bfloat16, torch.float16))
def test_half_models_are_given_half_examples(dtype):
    net = nn.Linear(4, 4).to(dtype)
    x = torch.rand(1, 4)
    assert close(plait.compile(net, inputs=[(1, 4)], outputs=["y"]).default(x)["y"], net.float()(x))


class Dictionary(nn.Module):
    def forward(self, x):
        return {"double": 2 * x, "half": x / 2}


def test_dictionaries_are_outputs():
    package = plait.compile(Dictionary(), inputs=[torch.rand(4)])
    out = package.default(np.ones(4))
    assert sorted(float(value[0]) for value in out.values()) == [0.5, 2.0]


class Pool(nn.Module):
    def forward(self, x):
        return x.mean(1) + x.shape[1]


class Frozen(nn.Module):
    def forward(self, x):
        return x * 2 if x.shape[0] > 4 else x


class ByValue(nn.Module):
    def forward(self, x):
        return x * 2 if bool(x.sum() > 0) else x


def test_open_sizes_are_followed():
    package = plait.compile(Pool(), inputs=[plait.Tensor((2, plait.Range(1, 64)))], outputs=["y"])
    assert package.default.inputs[0].shape == (2, plait.Range(1, 64))
    for size in (1, 5, 64):
        assert np.allclose(package.default(np.ones((2, size)))["y"], 1 + size)


def test_a_size_that_decides_is_an_error():
    with pytest.raises(plait.Error, match="wrong at other sizes"):
        plait.compile(Frozen(), inputs=[plait.Tensor((plait.Range(1, 16), 3))])


def test_a_value_that_decides_is_a_warning():
    with pytest.warns(plait.TraceWarning, match="test_compile.py:"):
        package = plait.compile(ByValue(), inputs=[torch.ones(3)])
    assert "Python boolean" in package.report.warnings[0]


def test_images_and_classes():
    net = nn.Sequential(nn.Flatten(), nn.Linear(12, 3), nn.Softmax(-1))
    package = plait.compile(net, inputs={"photo": plait.Image(plait.rgb, (1, 3, 2, 2), scale=1 / 255)}, classes={"kind": ["cat", "dog", "fox"]})
    from PIL import Image
    pixels = np.random.randint(0, 256, (2, 2, 3), dtype=np.uint8)
    out = package.default(photo=Image.fromarray(pixels))
    expected = net.eval()(torch.tensor(pixels / 255.0, dtype=torch.float32).permute(2, 0, 1)[None])[0]
    assert out["kind"] == ["cat", "dog", "fox"][int(expected.argmax())]
    assert np.allclose([out["kind_probs"][label] for label in ("cat", "dog", "fox")], expected.detach(), atol=1e-2)
    with pytest.raises(plait.Error, match="RGBA"):
        package.default(photo=Image.new("RGBA", (2, 2)))


class Cache(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("total", torch.zeros(3))

    def forward(self, x):
        self.total.add_(x)
        return self.total * 1


def test_states():
    module = Cache()
    with pytest.raises(plait.Error, match="total"):
        plait.compile(module, inputs=[torch.rand(3)])
    package = plait.compile(module, inputs=[torch.rand(3)], outputs=["y"], states="auto")
    assert torch.equal(module.total, torch.zeros(3))  # tracing ran it
    function = package.default
    with pytest.raises(plait.Error, match="make_state"):
        function(np.ones(3))
    state, other = function.make_state(), package.make_state()
    for number in (1, 2, 3):
        assert np.allclose(function(np.ones(3), state=state)["y"], number)
    assert np.allclose(function(np.ones(3), state=other)["y"], 1)
    copied = state.copy()
    state["total"] = np.full(3, 10)
    assert np.allclose(function(np.ones(3), state=state)["y"], 11) and np.allclose(copied["total"], 3)
    state.reset()
    assert not state["total"].any() and list(state) == ["total"]
    before = state["total"]
    with pytest.raises(plait.Error):
        function(np.ones(4), state=state)
    assert np.array_equal(state["total"], before)
    with pytest.raises(plait.Error, match="shape"):
        state["total"] = np.ones(4)


class Unsupported(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(8, 8), Spectrum())

    def forward(self, x):
        return self.inner(x)


class Spectrum(nn.Module):
    def forward(self, x):
        return torch.linalg.eigvals(x).real + torch.linalg.svdvals(x)


def test_problems_are_a_list():
    with pytest.raises(plait.Error) as caught:
        plait.compile({"f": Unsupported()}, inputs=[torch.eye(8)])
    found = {problem.operation: problem for problem in caught.value.problems}
    assert "aten::linalg_eigvals" in found and len(found) >= 2, caught.value.problems
    problem = found["aten::linalg_eigvals"]
    assert problem.function == "f" and problem.module == "inner.1" and problem.file.endswith("test_compile.py") and problem.line > 0
    assert "aten::linalg_eigvals" in str(caught.value)


def test_a_models_own_exception_comes_out_as_it_is():
    class Fails(nn.Module):
        def forward(self, x):
            raise LookupError("of the model's own")
    with pytest.raises(LookupError, match="of the model's own"):
        plait.compile(Fails(), inputs=[torch.rand(2)])


@pytest.mark.parametrize("arguments, message", (
    (dict(models=None), "nothing to compile"),
    (dict(models=nn.Linear(2, 2)), "takes its inputs"),
    (dict(models=3, inputs=[(2, 2)]), "is int"),
    (dict(models=nn.Linear(2, 2), inputs=[(2, 2)], precision="fp8"), "the choices are fp16, fp32, auto"),
    (dict(models=nn.Linear(2, 2), inputs=[(2, 2)], target="ios12"), "the choices are"),
    (dict(models=nn.Linear(2, 2), inputs=[(2, 2)], compress="int9"), "compress"),
    (dict(models=nn.Linear(2, 2), inputs=[(2, 2)], require_coverage=50), "require_coverage"),
    (dict(models=nn.Linear(2, 2), inputs=[(2, 2)], min_snr=50), "min_snr is for"),
    (dict(models=nn.Linear(2, 2), inputs=[(2, 2)], precision="fp32", keep_fp32="softmax"), "keep_fp32 is for"),
    (dict(models=nn.Linear(2, 2), inputs=[(2, 2)], state_init="ones"), "the choices are zeros, input"),
    (dict(models=nn.Linear(2, 2), inputs=[{}]), "dict"),
    (dict(models={"a": nn.Linear(2, 2), "b": nn.Linear(2, 2)}, inputs=[(2, 2)], adapters={"c": "folder"}), "base= says which"),
    (dict(models=nn.Linear(2, 2), inputs=[(2, 2)], adapters={"c": 5}), "is int"),
    (dict(models=nn.Linear(2, 2), inputs=["x=[2, 2]"]), "no example is made"),
    (dict(models=nn.Linear(2, 2, device="meta"), inputs=[(2, 2)]), "load its weights"),
    (dict(models=nn.Linear(2, 2), inputs=[(2, 2)], output="p.txt"), "ends in .mlpackage"),
))
def test_refusals(arguments, message):
    with pytest.raises(plait.Error, match=message):
        plait.compile(**arguments)


MEMORY = """
import resource, sys, torch, plait

def anonymous():
    with open("/proc/self/smaps_rollup") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("Anonymous"))

size = int(sys.argv[1])
model = torch.nn.Sequential(*[torch.nn.Linear(4096, 4096, bias=False) for _ in range(size)])
plait.compile(torch.nn.Linear(8, 8), inputs=[torch.rand(1, 8)], output=sys.argv[2] + "/warm.mlpackage")
before, peak = anonymous(), 0

def watch(what, done):
    global peak
    peak = max(peak, anonymous())

plait.compile(model, inputs=[torch.rand(1, 4096)], output=sys.argv[2] + "/large.mlpackage", progress=watch)
print(sum(p.nbytes for p in model.parameters()) >> 20, (max(peak, anonymous()) - before) >> 10)
"""


@pytest.mark.full_size
@pytest.mark.skipif(sys.platform != "linux", reason="/proc")
def test_a_gigabyte_is_exported_without_a_copy(tmp_path):
    done = subprocess.run([sys.executable, "-c", MEMORY, "16", str(tmp_path)], capture_output=True, text=True, timeout=300, check=True)
    weights, growth = map(int, done.stdout.split())
    assert weights == 1024 and growth < 100, done.stdout


def test_weights_can_be_compressed_and_operations_kept_in_fp32():
    net = nn.Sequential(nn.Linear(64, 64), nn.Softmax(-1)).eval()
    x = torch.rand(1, 64)
    plain = plait.compile(net, inputs=[x], outputs=["y"])
    small = plait.compile(net, inputs=[x], outputs=["y"], compress="int8", require_coverage=50)
    assert small.summary.file_bytes < plain.summary.file_bytes and close(small.default(x)["y"], net(x))
    kept = plait.compile(net, inputs=[x], outputs=["y"], keep_fp32=["softmax"])
    assert "cast" in kept.default.summary.operations and close(kept.default(x)["y"], net(x))
    assert plait.compile(net, inputs=[x], precision="auto", min_snr=20).default is not None


class Exported(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(8, 4)

    def forward(self, x):
        return torch.relu(self.inner(x))


def test_exported_programs():
    net = Exported().eval()
    x = torch.rand(2, 8)
    program = torch.export.export(net, (x,))
    package = plait.compile({"f": program}, outputs=["y"])
    assert close(package.functions["f"](x)["y"], net(x)) and package.verify(program).passed


def test_warnings_have_categories():
    class Large(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.full((40, 40), 1e6))

        def forward(self, x):
            return x @ self.weight
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        plait.compile(Large(), inputs=[torch.rand(1, 40)])
    assert any(issubclass(one.category, plait.PrecisionWarning) and one.filename == __file__ for one in caught), [str(one.message) for one in caught]
