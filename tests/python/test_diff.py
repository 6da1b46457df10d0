"""plait diff: what two packages differ in, names and places in files apart."""

import json

import coremltools as ct
import numpy as np
import pytest
import torch
from command import plait, succeed


class Net(torch.nn.Module):
    def __init__(self, layers=4, act=torch.nn.ReLU):
        super().__init__()
        torch.manual_seed(0)
        self.layers = torch.nn.Sequential(*(module for _ in range(layers) for module in (torch.nn.Linear(32, 32), act())))
        self.scale = 2.0

    def forward(self, x):
        return torch.softmax(self.layers(x) * self.scale, 1)


def build(folder, name, net, inputs=("x=[2, 32]",), outputs=("y",), options=()):
    net.eval()
    path = folder / f"{name}.pt"
    torch.jit.trace(net, torch.rand(2, 32)).save(str(path))
    package = folder / f"{name}.mlpackage"
    succeed("compile", "-o", package, *(text for each in inputs for text in ("--input", each)),
            *(text for each in outputs for text in ("--output", each)), *options, path)
    return package


def diff(a, b, *options):
    result = plait("diff", a, b, "--json", *options)
    assert not result.stderr and result.returncode in (0, 1), result.stderr
    found = json.loads(result.stdout)
    assert found["same"] == (result.returncode == 0)
    return found


def only(found):
    function, = found["functions"]["both"]
    return function


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("diff")
    build(folder, "net", Net())
    return folder


def test_names_and_places_are_no_matter(folder, tmp_path):
    class Other(torch.nn.Module):  # modules of other names, so values of other names
        def __init__(self):
            super().__init__()
            self.inner = Net()

        def forward(self, x):
            return self.inner(x)

    other = build(tmp_path, "other", Other())
    one, two = (succeed("inspect", package, "--mil").stdout for package in (folder / "net.mlpackage", other))
    assert one != two
    assert diff(folder / "net.mlpackage", other)["same"]
    assert "no difference" in succeed("diff", folder / "net.mlpackage", other).stdout


def test_a_weight(folder, tmp_path):
    net = Net()
    with torch.no_grad():
        net.layers[2].weight[0, :3] += 0.5
    found = diff(folder / "net.mlpackage", build(tmp_path, "b", net), "--snr")
    assert only(found)["same"] and found["weights"]["same"] == 7
    weight, = found["weights"]["differ"]
    assert (weight["different"], weight["elements"], weight["functions"]) == (3, 32 * 32, ["main"])
    old = Net().layers[2].weight.detach().half().double().numpy()
    new = net.layers[2].weight.detach().half().double().numpy()
    assert weight["snr"] == pytest.approx(10 * np.log10((old ** 2).sum() / ((old - new) ** 2).sum()), abs=1e-6)
    assert weight["max_difference"] == pytest.approx(np.abs(old - new).max())
    plain = diff(folder / "net.mlpackage", tmp_path / "b.mlpackage")["weights"]["differ"][0]
    assert "snr" not in plain and plain["different"] == 3
    text = plait("diff", folder / "net.mlpackage", tmp_path / "b.mlpackage", "--snr").stdout
    assert "3 of 1,024 elements differ, SNR " in text


def test_operations(folder, tmp_path):
    class Longer(Net):
        def forward(self, x):
            return torch.softmax(torch.tanh(self.layers(x)) * self.scale, 0)

    function = only(diff(folder / "net.mlpackage", build(tmp_path, "b", Longer())))
    assert [operation["kind"] for operation in function["operations"]["only_b"]] == ["tanh"]
    assert not function["operations"]["only_a"]
    changed = {operation["a"]["kind"]: {each["what"]: (each["a"], each["b"]) for each in operation["differences"]}
               for operation in function["operations"]["changed"]}
    assert changed["softmax"] == {"axis": ("1", "0")}
    assert "(tanh)" in changed["mul"]["x"][1]
    assert set(changed) == {"softmax", "mul"}


def test_a_layer_that_is_gone_is_that_layer(folder, tmp_path):
    """Of layers that are alike, the weights tell which one."""
    net = Net()
    del net.layers[2:4]
    found = diff(folder / "net.mlpackage", build(tmp_path, "b", net))
    operations = only(found)["operations"]
    assert sorted(operation["kind"] for operation in operations["only_a"]) == ["linear", "relu"] and not operations["only_b"]
    assert not found["weights"]["differ"] and found["weights"]["same"] == 6


def test_interfaces_functions_and_metadata(folder, tmp_path):
    a = tmp_path / "a.mlpackage"
    pt = folder / "net.pt"
    torch.jit.trace(Net(act=torch.nn.Tanh).eval(), torch.rand(2, 32)).save(str(tmp_path / "tanh.pt"))
    succeed("compile", "-o", a, "--author", "A", "--function", f"one={pt}", "--input", "x=[2, 32]", "--output", "y",
            "--function", f"two={tmp_path}/tanh.pt", "--input", "x=[2, 32]", "--output", "y")
    b = tmp_path / "b.mlpackage"
    succeed("compile", "-o", b, "--author", "B", "--function", f"one={pt}", "--input", "image=[1..4, 32]", "--output", "y=fp32",
            "--function", f"three={tmp_path}/tanh.pt", "--input", "x=[2, 32]", "--output", "y", "--function", f"four={pt}",
            "--input", "x=[2, 32]", "--output", "probabilities")
    found = diff(a, b)
    assert found["package"] == [{"what": "author", "a": "A", "b": "B"}]
    assert found["functions"]["only_a"] == [] and found["functions"]["only_b"] == ["four"]
    pairs = {(function["a"], function["b"]): function for function in found["functions"]["both"]}
    assert set(pairs) == {("one", "one"), ("two", "three")}
    assert pairs["two", "three"]["same"]
    what = {each["what"]: (each["a"], each["b"]) for each in pairs["one", "one"]["interface"]}
    assert what["input x"] == ("tensor<fp16, [2, 32]>", "") and "1..4" in what["input image"][1]
    assert what["output y"] == ("tensor<fp16, [2, 32]>", "tensor<fp32, [1..4, 32]>")
    assert not found["weights"]["differ"]
    text = plait("diff", a, b).stdout
    assert "function four is only in B" in text and "two -> three: another name, and the same" in text


def test_compressed_weights(tmp_path):
    plain, small = tmp_path / "plain.mlpackage", tmp_path / "small.mlpackage"
    build(tmp_path, "plain", torch.nn.Sequential(torch.nn.Linear(32, 96), torch.nn.ReLU(), torch.nn.Linear(96, 32)))
    succeed("compress", plain, "-o", small, "--compress", "q8")
    found = diff(plain, small, "--snr")
    assert only(found)["same"] and found["weights"]["same"] == 2
    weights = found["weights"]["differ"]
    assert [weight["type_b"].split(" by ")[1][:10] for weight in weights] == ["constexpr_"] * 2
    assert all(35 < weight["snr"] < 80 and weight["max_difference"] > 0 for weight in weights)
    assert diff(small, small)["same"]


def test_a_package_of_coremltools(folder, tmp_path):
    """The same model by both compilers: what is not the same is said, and all of its weights are found."""
    traced = torch.jit.load(str(folder / "net.pt"))
    other = ct.convert(traced, inputs=[ct.TensorType(name="x", shape=(2, 32), dtype=np.float16)], outputs=[ct.TensorType(name="y", dtype=np.float16)],
                       minimum_deployment_target=ct.target.iOS18, compute_precision=ct.precision.FLOAT16)
    other.save(str(tmp_path / "ct.mlpackage"))
    found = diff(folder / "net.mlpackage", tmp_path / "ct.mlpackage")
    assert only(found)["interface"] == [] and not found["weights"]["differ"] and found["weights"]["same"] == 8


def test_what_is_no_package(folder, tmp_path):
    result = plait("diff", folder / "net.mlpackage", tmp_path / "none.mlpackage")
    assert result.returncode == 1 and "no such package" in result.stderr
    for arguments in ([], [folder / "net.mlpackage"]):
        result = plait("diff", *arguments)
        assert result.returncode == 2 and "two packages" in result.stderr
