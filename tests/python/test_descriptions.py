"""What a package says of its interface, field by field beside coremltools' package of the same model.

Wherever the peer can express something, plait says the same, but for what DIFFERENCES lists, with the reason.
"""

import coremltools as ct
import numpy as np
import pytest
import torch
from command import succeed
from peer import check_package, load_spec
from torch import nn

DIFFERENCES = {
    # coremltools writes the number as a float whatever the array holds; Apple's validator wants that of the array's type.
    "an int32 default": ("input.bias.type.multiArrayType", "floatDefaultValue", "intDefaultValue"),
}


class Sum(nn.Module):
    def forward(self, x, bias):
        return x * 2 + bias


class Two(nn.Module):
    def forward(self, x):
        return x + 1, (x * 2).sum(1)


class Pixels(nn.Module):
    def forward(self, photo):
        return photo * 0.5


class Scores(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(6, 3)

    def forward(self, x):
        return self.linear(x).softmax(1)


class Cache(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("k", torch.zeros(1, 32))

    def forward(self, x):
        self.k.add_(x)
        return self.k * 2


def tensor(name, shape, dtype=np.float16, **options):
    return ct.TensorType(name, shape, dtype=dtype, **options)


def photo(layout, shape, **options):
    return ct.ImageType("photo", shape, color_layout=layout, **options)


RANGE, SIDE = ct.RangeDim(1, 64, default=1), ct.RangeDim(8, 64, default=8)
COLORS = (1, 3, 8, 8)
GRAY = (1, 1, 8, 8)

# The model, shapes of examples, the peer's inputs and further options, plait's inputs and further options.
CASES = {
    "arrays": (Two, [(2, 6)], [tensor("x", (2, 6))], {}, ["x=fp16[2, 6]"], []),
    "arrays of fp32": (Two, [(2, 6)], [tensor("x", (2, 6), np.float32)], {"outputs": [ct.TensorType("a", dtype=np.float32), ct.TensorType("b", dtype=np.float32)]},
                       ["x=fp32[2, 6]"], ["--output", "a=fp32", "--output", "b=fp32"]),
    "integers": (Sum, [(2, 6), (6,)], [tensor("x", (2, 6)), tensor("bias", (6,), np.int32)], {}, ["x=fp16[2, 6]", "bias=int32[6]"], []),
    "a range": (Two, [(1, 6)], [tensor("x", (RANGE, 6))], {}, ["x=fp16[1..64, 6]"], []),
    "ranges of two inputs": (Sum, [(1, 6), (1, 6)], [tensor("x", (RANGE, 6)), tensor("bias", (RANGE, 6))], {}, ["x=fp16[n:1..64, 6]", "bias=fp16[n, 6]"], []),
    "enumerated shapes": (Two, [(1, 6)], [tensor("x", ct.EnumeratedShapes([(1, 6), (4, 6), (8, 6)]))], {}, ["x=fp16{[1, 6], [4, 6], [8, 6]}"], []),
    "rgb": (Pixels, [COLORS], [photo("RGB", COLORS, scale=1 / 255, bias=[-0.5, -0.25, 0])], {},
            ["photo=image[rgb, 1, 3, 8, 8] scale=1/255 bias=[-0.5, -0.25, 0]"], []),
    "bgr": (Pixels, [COLORS], [photo("BGR", COLORS)], {}, ["photo=image[bgr, 1, 3, 8, 8]"], []),
    "gray": (Pixels, [GRAY], [photo("G", GRAY, scale=2.0)], {}, ["photo=image[gray, 1, 1, 8, 8] scale=2"], []),
    "gray16": (Pixels, [GRAY], [photo(ct.colorlayout.GRAYSCALE_FLOAT16, GRAY)], {}, ["photo=image[gray16, 1, 1, 8, 8]"], []),
    "an image in a range": (Pixels, [COLORS], [photo("RGB", ct.Shape((1, 3, SIDE, SIDE)))], {}, ["photo=image[rgb, 1, 3, 8..64, 8..64]"], []),
    "enumerated images": (Pixels, [COLORS], [photo("RGB", ct.EnumeratedShapes([COLORS, (1, 3, 16, 16)]))], {},
                          ["photo=image{[rgb, 1, 3, 8, 8], [rgb, 1, 3, 16, 16]}"], []),
    "an image as output": (Pixels, [GRAY], [photo("G", GRAY)], {"outputs": [ct.ImageType("mask", color_layout=ct.colorlayout.GRAYSCALE)]},
                           ["photo=image[gray, 1, 1, 8, 8]"], ["--output", "mask=image[gray]"]),
    "a classifier": (Scores, [(1, 6)], [tensor("x", (1, 6))], {"classifier_config": ct.ClassifierConfig(["a", "b", "c"])},
                     ["x=fp16[1, 6]"], ["--classes", "strings.txt"]),
    "a classifier of integers": (Scores, [(1, 6)], [tensor("x", (1, 6))], {"classifier_config": ct.ClassifierConfig([3, 1, 2], predicted_feature_name="kind")},
                                 ["x=fp16[1, 6]"], ["--classes", "kind=integers.txt"]),
    "a state": (Cache, [(1, 32)], [tensor("x", (1, 32))], {"states": [ct.StateType(ct.TensorType(shape=(1, 32), dtype=np.float16), name="k")]},
                ["x=fp16[1, 32]"], ["--states", "auto"]),
    "a default": (Sum, [(2, 6), (6,)], [tensor("x", (2, 6)), tensor("bias", (6,), default_value=np.full(6, 0.5, np.float16))], {},
                  ["x=fp16[2, 6]", "bias=fp16[6] default=0.5"], []),
    "a default of 0": (Sum, [(2, 6), (6,)], [tensor("x", (2, 6)), tensor("bias", (6,), default_value=np.zeros(6, np.float16))], {},
                       ["x=fp16[2, 6]", "bias=fp16[6] default=0"], []),
    "a default in a range": (Sum, [(1, 6), (1, 6)],
                             [tensor("x", (RANGE, 6)), tensor("bias", (ct.RangeDim(1, 64, default=1), 6), default_value=np.full((1, 6), 2, np.float16))], {},
                             ["x=fp16[1..64, 6]", "bias=fp16[1..64, 6] default=2"], []),
    "an int32 default": (Sum, [(2, 6), (6,)], [tensor("x", (2, 6)), tensor("bias", (6,), np.int32, default_value=np.full(6, 3, np.int32))], {},
                         ["x=fp16[2, 6]", "bias=int32[6] default=3"], []),
}


def fields(message, path=""):
    """{path: value} of every field that is set; features by their names."""
    found = {}
    for descriptor, value in message.ListFields():
        here = f"{path}.{descriptor.name}" if path else descriptor.name
        repeated = hasattr(value, "__getitem__") and not isinstance(value, (str, bytes))
        if descriptor.message_type is None:
            found[here] = list(value) if repeated else value
        elif repeated:
            for number, one in enumerate(value):
                found.update(fields(one, f"{here}.{getattr(one, 'name', '') or number}"))
        else:
            found.update(fields(value, here) or {here: "set"})
    return found


def description(package_or_spec):
    spec = package_or_spec if hasattr(package_or_spec, "description") else load_spec(package_or_spec)
    copied = type(spec.description)()
    copied.CopyFrom(spec.description)
    copied.ClearField("metadata")  # of the tools' own
    return fields(copied), [feature.name for kind in (copied.input, copied.output, copied.state) for feature in kind], spec.specificationVersion


@pytest.mark.parametrize("case", CASES)
def test_as_the_peers(case, tmp_path):
    model, shapes, inputs, options, declared, further = CASES[case]
    torch.manual_seed(0)
    integers = [(i.dtype is not None and "int" in str(i.dtype)) if isinstance(i, ct.TensorType) else False for i in inputs]
    examples = [torch.ones(shape, dtype=torch.int32) if isInteger else torch.rand(shape) for shape, isInteger in zip(shapes, integers)]
    traced = torch.jit.trace(model().eval(), tuple(examples))
    for name, buffer in traced.named_buffers():
        buffer.zero_()
    traced.save(str(tmp_path / "m.pt"))
    converted = ct.convert(traced, inputs=inputs, convert_to="mlprogram", minimum_deployment_target=ct.target.iOS18, skip_model_load=True, **options)
    converted.save(str(tmp_path / "theirs.mlpackage"))
    theirs, their_order, their_version = description(tmp_path / "theirs.mlpackage")

    (tmp_path / "strings.txt").write_text("a\nb\nc\n")
    (tmp_path / "integers.txt").write_text("3\n1\n2\n")
    names = [one.name for one in converted.get_spec().description.output]
    given = [text for one in declared for text in ("--input", one)]
    if not {"--output", "--classes"} & set(further):
        given += [text for name in names for text in ("--output", name)]
    succeed("compile", "-o", "ours.mlpackage", *given, *further, "m.pt", cwd=tmp_path)
    check_package(tmp_path / "ours.mlpackage")
    ours, our_order, our_version = description(tmp_path / "ours.mlpackage")
    if case in DIFFERENCES:
        path, before, after = DIFFERENCES[case]
        theirs[f"{path}.{after}"] = int(theirs.pop(f"{path}.{before}"))
    assert ours == theirs
    assert our_order == their_order and our_version == their_version


def test_differences_are_of_cases():
    assert set(DIFFERENCES) <= set(CASES)
