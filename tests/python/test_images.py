"""Images of the interface: what coremltools says of them, plait says too; and the numbers are PyTorch's."""

import json

import coremltools
import numpy as np
import peer
import pytest
import torch
from command import plait, succeed
from coremltools import ImageType, colorlayout

SCALE, BIAS = 1 / 255, [-0.485, -0.456, -0.406]
PIXELS = "scale=1/255 bias=[-0.485, -0.456, -0.406]"


class Features(torch.nn.Module):
    """A convolution that pads with zeros: no bias can move into it."""

    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 4, 3, padding=1)

    def forward(self, x):
        return self.conv(x).mean((2, 3))


class Half(torch.nn.Module):
    def forward(self, x):
        return x * 0.5


def save(path, model, *example):
    torch.manual_seed(0)
    traced = torch.jit.trace(model().eval(), example)
    traced.save(str(path))
    return traced


def description(spec):
    """What a description says of the interface."""
    result = type(spec.description)()
    result.CopyFrom(spec.description)
    result.ClearField("metadata")
    return result


def enumerated(layout, *shapes):
    return ImageType("photo", coremltools.EnumeratedShapes(shapes), color_layout=layout)


def side(upper):
    return coremltools.RangeDim(8, upper)


CASES = {
    "rgb": (Features, 3, ImageType("photo", (1, 3, 8, 12), scale=SCALE, bias=BIAS), f"photo=image[rgb, 1, 3, 8, 12] {PIXELS}", None),
    "bgr": (Features, 3, ImageType("photo", (1, 3, 8, 8), color_layout=colorlayout.BGR), "photo=image[bgr, 1, 3, 8, 8]", None),
    "gray": (Half, 1, ImageType("photo", (1, 1, 8, 8), color_layout=colorlayout.GRAYSCALE), "photo=image[gray, 1, 1, 8, 8]", "gray"),
    "gray16": (Half, 1, ImageType("photo", (1, 1, 8, 8), color_layout=colorlayout.GRAYSCALE_FLOAT16),
               "photo=image[gray16, 1, 1, 8, 8]", "gray16"),
    "range": (Half, 3, ImageType("photo", (1, 3, side(32), side(64))), "photo=image[rgb, 1, 3, 8..32, 8..64]", "rgb"),
    "enumerated": (Half, 1, enumerated(colorlayout.GRAYSCALE, (1, 1, 8, 8), (1, 1, 16, 24)),
                   "photo=image{[gray, 1, 1, 8, 8], [gray, 1, 1, 16, 24]}", "gray"),
    "to_bgr": (Half, 3, ImageType("photo", (1, 3, 8, 8)), "photo=image[rgb, 1, 3, 8, 8]", "bgr"),
}
LAYOUTS = {"rgb": colorlayout.RGB, "bgr": colorlayout.BGR, "gray": colorlayout.GRAYSCALE, "gray16": colorlayout.GRAYSCALE_FLOAT16}


@pytest.mark.parametrize("name", CASES)
def test_as_the_peer_describes_it(tmp_path, name):
    model, channels, theirs, declared, out = CASES[name]
    width = 12 if name == "rgb" else 8
    traced = save(tmp_path / "m.pt", model, torch.rand(1, channels, 8, width))
    outputs = [ImageType("y", color_layout=LAYOUTS[out])] if out else [coremltools.TensorType("y", dtype=np.float16)]
    converted = coremltools.convert(traced, inputs=[theirs], outputs=outputs, convert_to="mlprogram",
                                    minimum_deployment_target=coremltools.target.iOS18)
    expected = converted.get_spec()
    succeed("compile", "-o", tmp_path / "p.mlpackage", "--input", declared, "--output", f"y=image[{out}]" if out else "y",
            tmp_path / "m.pt")
    spec = peer.check_package(tmp_path / "p.mlpackage")
    assert description(spec) == description(expected)
    assert spec.specificationVersion == expected.specificationVersion

    report, = json.loads(succeed("inspect", tmp_path / "p.mlpackage", "--json").stdout)["functions"]
    assert report["inputs"][0]["image"] == declared.split("[")[1].split(",")[0]
    assert report["outputs"][0].get("image") == out
    # Written again by a command that reads the package, it is the same; the peer's is too.
    converted.save(str(tmp_path / "theirs.mlpackage"))
    for package in ("p", "theirs"):
        succeed("merge", "-o", tmp_path / "again.mlpackage", f"{tmp_path}/{package}.mlpackage")
        again, = peer.load_spec(tmp_path / "again.mlpackage").description.functions
        assert list(again.input) == list(spec.description.input) and list(again.output) == list(spec.description.output)


def operations(spec):
    return [operation.type for operation in peer.blocks(spec)["main"].operations if operation.type != "const"]


def constant(spec, kind):
    """The type and contents of the second operand of the first operation of a kind."""
    operations = peer.blocks(spec)["main"].operations
    name = next(op for op in operations if op.type == kind).inputs["y"].arguments[0].name
    value = next(op for op in operations if op.outputs[0].name == name).attributes["val"]
    return value.type, list(value.immediateValue.tensor.floats.values)


def test_arithmetic_is_in_fp32_as_the_peers(tmp_path):
    """In fp16 the scale would be off for all pixels alike."""
    model, _, theirs, declared, _ = CASES["rgb"]
    traced = save(tmp_path / "m.pt", model, torch.rand(1, 3, 8, 12))
    expected = coremltools.convert(traced, inputs=[theirs], convert_to="mlprogram", minimum_deployment_target=coremltools.target.iOS18).get_spec()
    package = tmp_path / "p.mlpackage"
    succeed("compile", "-o", package, "--input", declared, "--output", "y=fp32", tmp_path / "m.pt")
    spec = peer.check_package(package)
    assert operations(spec)[:4] == operations(expected)[:4] == ["mul", "add", "cast", "conv"]
    assert spec.description.output[0].type.multiArrayType.dataType == 65568  # FLOAT32
    for name in ("mul", "add"):
        assert constant(spec, name) == constant(expected, name)

    pixels = np.random.default_rng(0).integers(0, 256, (1, 3, 8, 12), dtype=np.uint8)
    np.save(tmp_path / "photo.npy", pixels)
    succeed("run", package, "--input", f"photo={tmp_path}/photo.npy", "--output-dir", tmp_path / "out")
    taken = torch.from_numpy(pixels.astype(np.float32)) * SCALE + torch.tensor(BIAS)[None, :, None, None]
    np.testing.assert_allclose(np.load(tmp_path / "out" / "y.npy"), traced(taken).detach().numpy(), atol=1e-3)

    assert "PASS" in succeed("verify", package, "--against", tmp_path / "m.pt", "--image", f"photo={PIXELS}").stdout
    assert plait("verify", package, "--against", tmp_path / "m.pt").returncode == 1  # the model is given the pixels themselves
    for said, complaint in [("photo=scale=1/0", "a number"), ("other=scale=2", "no image 'other'"),
                            ("photo=scale=[1, 2]", "2 numbers"), ("photo=bias", "'='")]:
        result = plait("verify", package, "--against", tmp_path / "m.pt", "--image", said)
        assert result.returncode in (1, 2) and complaint in result.stderr

    for value in (256, -1, 0.5):
        np.save(tmp_path / "wrong.npy", np.full((1, 3, 8, 12), value, np.float32))
        result = plait("run", package, "--input", f"photo={tmp_path}/wrong.npy", "--output-dir", tmp_path / "none")
        assert result.returncode == 1 and "no pixel" in result.stderr


class Patches(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 4, 3)

    def forward(self, x):
        return self.conv(x).mean((2, 3))


@pytest.mark.parametrize("precision", ["fp16", "fp32"])
def test_arithmetic_goes_into_a_convolution_that_does_not_pad(tmp_path, precision):
    traced = save(tmp_path / "m.pt", Patches, torch.rand(1, 3, 8, 12))
    package, declared = tmp_path / "p.mlpackage", f"photo=image[rgb, 1, 3, 8, 12] {PIXELS}"
    succeed("compile", "-o", package, "--precision", precision, "--input", declared, "--output", "y=fp32", tmp_path / "m.pt")
    kinds = operations(peer.check_package(package))
    assert kinds[:2] == (["cast", "conv"] if precision == "fp16" else ["conv", "reduce_mean"]), kinds
    assert "PASS" in succeed("verify", package, "--against", tmp_path / "m.pt", "--image", f"photo={PIXELS}", "--draws", "3").stdout
    pixels = np.random.default_rng(0).integers(0, 256, (1, 3, 8, 12), dtype=np.uint8)
    np.save(tmp_path / "photo.npy", pixels)
    succeed("run", package, "--input", f"photo={tmp_path}/photo.npy", "--output-dir", tmp_path / "out")
    taken = torch.from_numpy(pixels.astype(np.float32)) * SCALE + torch.tensor(BIAS)[None, :, None, None]
    np.testing.assert_allclose(np.load(tmp_path / "out" / "y.npy"), traced(taken).detach().numpy(), atol=1e-3 if precision == "fp16" else 1e-5)


def test_arithmetic_stays_where_a_weight_would_be_two(tmp_path):
    save(tmp_path / "m.pt", Patches, torch.rand(1, 3, 8, 12))
    package = tmp_path / "p.mlpackage"
    functions = ["--function", f"one={tmp_path}/m.pt", "--input", f"x=image[rgb, 1, 3, 8, 12] {PIXELS}",
                 "--function", f"two={tmp_path}/m.pt", "--input", "x=image[rgb, 1, 3, 8, 12]"]
    succeed("compile", "-o", package, *functions)
    one, two = json.loads(succeed("inspect", package, "--json").stdout)["functions"]
    assert one["operations"].get("mul") == 1 and "mul" not in two["operations"]
    assert one["own_weight_bytes"] == two["own_weight_bytes"] == 0


def test_several_functions_and_a_recipe(tmp_path):
    save(tmp_path / "m.pt", Half, torch.rand(1, 3, 8, 8))
    (tmp_path / "recipe.yaml").write_text("""
output: p.mlpackage
inputs: ["photo=image[rgb, 1, 3, 8, 8] scale=0.5"]
functions:
  plain: {model: m.pt, outputs: ["y=fp32"], describe: {photo: what is seen, y: half of it}}
  image:
    model: m.pt
    inputs: ["photo=image[bgr, 1, 3, 8, 8]"]
    outputs: ["y=image[bgr, 1, 3, 8, 8]"]
""")
    succeed("compile", "recipe.yaml", cwd=tmp_path)
    spec = peer.check_package(tmp_path / "p.mlpackage")
    plain, image = spec.description.functions
    assert plain.input[0].type.imageType.colorSpace == 20 and plain.input[0].shortDescription == "what is seen"
    assert plain.output[0].type.HasField("multiArrayType") and plain.output[0].shortDescription == "half of it"
    assert image.output[0].type.imageType.colorSpace == 30 and image.output[0].type.imageType.width == 8
    text = succeed("inspect", tmp_path / "p.mlpackage").stdout
    assert "photo: rgb image, tensor<fp32, [1, 3, 8, 8]>; what is seen" in text


class Counts(torch.nn.Module):
    def forward(self, x):
        return x.sum((2, 3)), (x > 1).sum((2, 3))


@pytest.mark.parametrize("options, complaint", [
    (["--input", "x=[1, 3, 8, 8]", "--output", "y=image[rgb]"], "output 'y' is tensor"),
    (["--input", "x=[1, 3, 8, 8]", "--output", "y", "--output", "n=fp32"], "output 'n' is declared fp32, but is int32"),
    (["--input", "x=[1, 3, 8, 8]", "--output", "y=image[red]"], "rgb, bgr, gray or gray16 is wanted at 'red]'"),
    (["--input", "x=[1, 3, 8, 8]", "--output", "y=int32"], "fp16, fp32 or an image is wanted"),
    (["--input", "x=[1, 3, 8, 8]", "--describe", "z=text"], "no input, output or state 'z'"),
    (["--input", "x=[1, 3, 8, 8]", "--describe", "x=a", "--describe", "x=b"], "'x' is described twice"),
])
def test_refusals(tmp_path, options, complaint):
    save(tmp_path / "m.pt", Counts, torch.rand(1, 3, 8, 8))
    result = plait("compile", "-o", tmp_path / "p.mlpackage", *options, tmp_path / "m.pt")
    assert result.returncode in (1, 2) and complaint in result.stderr, result.stderr
    assert not (tmp_path / "p.mlpackage").exists()
