"""What coremltools writes, plait reads and writes as it was: the packages are equal as messages, up to where weights lie
and how values inside are named, and equal in every weight; fields that plait does not know survive."""

import struct
import warnings

warnings.filterwarnings("ignore")

import coremltools as ct
import numpy as np
import peer
import peer_packages
import pytest
import torch
from command import succeed
from peer_packages import TARGETS, convert, mlp, quiet
from torch import nn

pytestmark = pytest.mark.usefixtures("quiet")


def cnn(outputs=3):
    return nn.Sequential(nn.Conv2d(3, outputs, 3, padding=1), nn.Sigmoid()).eval()


def plain(target):
    package = convert(mlp(), torch.rand(2, 16), target)
    package.author, package.license, package.version = "someone", "MIT", "1.2"
    package.short_description = "Scores of “things”"
    package.user_defined_metadata["com.example.key"] = "value"
    package.input_description["x"] = "features"
    return package


def fp32(target):
    return convert(mlp(), torch.rand(2, 16), target, compute_precision=ct.precision.FLOAT32)


def ranges(target):
    shape = (ct.RangeDim(1, 40, default=5), 16)
    return convert(mlp(), torch.rand(2, 16), target, inputs=[ct.TensorType(name="x", shape=shape)])


def enumerated(target):
    shapes = ct.EnumeratedShapes([(2, 16), (8, 16)], default=(8, 16))
    return convert(mlp(), torch.rand(2, 16), target, inputs=[ct.TensorType(name="x", shape=shapes)])


def image(target):
    return convert(cnn(), torch.rand(1, 3, 8, 8), target, outputs=[ct.ImageType(name="y", color_layout=ct.colorlayout.RGB)],
                   inputs=[ct.ImageType(name="x", shape=(1, 3, 8, 8), scale=1 / 255, bias=[-1, -1, -1])])


def flexible_image(target):
    shapes = ct.EnumeratedShapes([(1, 3, 8, 8), (1, 3, 16, 8)])
    return convert(cnn(), torch.rand(1, 3, 8, 8), target,
                   inputs=[ct.ImageType(name="x", shape=shapes, color_layout=ct.colorlayout.BGR)])


def classifier(target):
    return convert(mlp(), torch.rand(1, 16), target, classifier_config=ct.ClassifierConfig(["a", "b", "c", "d"]))


def integer_classifier(target):
    return convert(mlp(), torch.rand(1, 16), target, classifier_config=ct.ClassifierConfig([5, 6, 7, 8]))


def optional_input(target):
    default = np.ones((2, 16), np.float32)
    return convert(mlp(), torch.rand(2, 16), target, inputs=[ct.TensorType(name="x", shape=(2, 16), default_value=default)])


def scripted(target):
    class Loop(nn.Module):
        def forward(self, x):
            for _ in range(int(x.shape[0])):
                if bool(x.sum() > 0):
                    x = x + 1
                else:
                    x = x - 1
            return x

    return ct.convert(torch.jit.script(Loop()), minimum_deployment_target=TARGETS[target],
                      inputs=[ct.TensorType(name="x", shape=(ct.RangeDim(1, 9), 4))])


def palettized(target):
    return peer_packages.palettized(plain(target), bits=4)


def quantized(target):
    return peer_packages.quantized(plain(target))


def pruned(target):
    return peer_packages.pruned(plain(target))


def int4_blocks(target):
    return peer_packages.quantized(plain(target), dtype="int4", granularity="per_block", block_size=8)


def state(target):
    class Cache(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("cache", torch.zeros(1, 4, dtype=torch.float16))

        def forward(self, x):
            self.cache.add_(x)
            return self.cache * 2

    return convert(Cache().eval(), torch.rand(1, 4).half(), target, outputs=[ct.TensorType(name="y", dtype=np.float16)],
                   inputs=[ct.TensorType(name="x", shape=(1, 4), dtype=np.float16)],
                   states=[ct.StateType(wrapped_type=ct.TensorType(shape=(1, 4), dtype=np.float16), name="cache")])


def lstm(target):
    class Recurrent(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.LSTM(4, 3, bidirectional=True)

        def forward(self, x):
            return self.layer(x)[0]

    return convert(Recurrent().eval(), torch.rand(5, 2, 4), target)


CASES = [(make, target) for make in (plain, fp32, ranges, enumerated, image, classifier, optional_input) for target in TARGETS]
CASES += [(flexible_image, "ios16"), (integer_classifier, "ios17"), (scripted, "ios15"), (scripted, "ios18"),
          (palettized, "ios16"), (palettized, "ios18"), (quantized, "ios16"), (quantized, "ios18"), (pruned, "ios16"),
          (pruned, "ios18"), (int4_blocks, "ios18"), (state, "ios18"), (lstm, "ios17")]


def canonical(spec, package):
    """The message with values renamed in the order of their definition (those of the interface keep their names) and with
    contents in place of places in the weight file."""
    spec = type(spec).FromString(spec.SerializeToString())
    contents = {offset: data.tobytes() for offset, data in read_all(package, spec).items()}
    for name, function in spec.mlProgram.functions.items():
        block = function.block_specializations[function.opset]
        rename_block(block, {value.name: value.name for value in function.inputs}, set(block.outputs), [0])
    for _, _, value in peer.blob_values(spec):
        blob = contents[value.blobFileValue.offset]
        value.immediateValue.tensor.bytes.values = blob
    return spec


def read_all(package, spec):
    """{offset: bytes} of every blob that the program refers to, read from the file itself."""
    path, result = peer.weights_file(package), {}
    raw = path.read_bytes() if path.exists() else b""
    for _, _, value in peer.blob_values(spec):
        offset = value.blobFileValue.offset
        sentinel, code, size, start, padding = struct.unpack_from("<IIQQQ", raw, offset)
        assert sentinel == 0xDEADBEEF
        result[offset] = np.frombuffer(raw[start:start + size] + struct.pack("<IQ", code, padding), np.uint8)
    return result


def rename_block(block, outer, kept, counter):
    names = dict(outer)

    def define(value):
        new = value.name
        if value.name not in kept:
            new = f"v{counter[0]}"
            counter[0] += 1
        names[value.name] = new
        value.name = new

    for value in block.inputs:
        define(value)
    for operation in block.operations:
        for argument in operation.inputs.values():
            for binding in argument.arguments:
                if binding.WhichOneof("binding") == "name":
                    binding.name = names[binding.name]
        for inner in operation.blocks:
            rename_block(inner, names, set(), counter)
        for value in operation.outputs:
            define(value)
    block.outputs[:] = [names[name] for name in block.outputs]


def first_difference(a, b):
    lines = zip(str(a).splitlines(), str(b).splitlines())
    different = [index for index, (mine, theirs) in enumerate(lines) if mine != theirs]
    start = different[0] if different else min(len(str(a).splitlines()), len(str(b).splitlines()))
    return "\n".join(f"{side}: {line}" for side, text in (("before", a), ("after", b))
                     for line in str(text).splitlines()[max(start - 12, 0):start + 3])


def assert_equivalent(before, after):
    left, right = canonical(peer.load_spec(before), before), canonical(peer.load_spec(after), after)
    if left != right:
        pytest.fail(first_difference(left, right))


@pytest.mark.parametrize("make, target", CASES, ids=[f"{make.__name__}-{target}" for make, target in CASES])
def test_a_package_survives(make, target, tmp_path):
    before, after = tmp_path / "before.mlpackage", tmp_path / "after.mlpackage"
    make(target).save(str(before))
    succeed("opt", before, "-o", after, "--allow", "optional-inputs")  # the only input of one of them has a default
    assert_equivalent(before, after)
    peer.load_program(after)


# Texts of single inputs, images and classifiers' labels have no place in MIL text.
@pytest.mark.parametrize("make, target", [(fp32, "ios15"), (ranges, "ios16"), (enumerated, "ios18"), (scripted, "ios18"),
                                          (state, "ios18"), (lstm, "ios17")], ids=lambda value: getattr(value, "__name__", value))
def test_a_text_and_its_weights_survive(make, target, tmp_path):
    before, text, after = tmp_path / "before.mlpackage", tmp_path / "x.mil", tmp_path / "after.mlpackage"
    package = make(target)
    package.author = "someone"
    package.save(str(before))
    succeed("opt", before, "-o", text)
    succeed("opt", text, "-o", after)
    assert_equivalent(before, after)


def test_several_functions_survive(tmp_path):
    descriptor = ct.utils.MultiFunctionDescriptor()
    for name in ("one", "two"):
        convert(mlp(), torch.rand(2, 16), "ios18").save(str(tmp_path / f"{name}.mlpackage"))
        descriptor.add_function(str(tmp_path / f"{name}.mlpackage"), "main", name)
    descriptor.default_function_name = "two"
    ct.utils.save_multifunction(descriptor, str(tmp_path / "both.mlpackage"))
    succeed("opt", tmp_path / "both.mlpackage", "-o", tmp_path / "again.mlpackage")
    assert_equivalent(tmp_path / "both.mlpackage", tmp_path / "again.mlpackage")


def test_what_is_not_known_survives(tmp_path):
    """Fields of a later version in every message around the program, attributes of the program and of a function."""
    package = tmp_path / "p.mlpackage"
    plain("ios18").save(str(package))
    path = package / "Data" / "com.apple.CoreML" / "model.mlmodel"
    spec = peer.load_spec(package)
    text = peer.blocks(spec)["main"].operations[0].attributes["name"]
    spec.mlProgram.attributes["note"].CopyFrom(text)
    spec.mlProgram.functions["main"].attributes["note"].CopyFrom(text)
    spec.mlProgram.docString = "a text"
    spec.isUpdatable = True
    spec.description.predictedFeatureName = "something"
    spec.description.trainingInput.add(name="label")
    unknown = b"\x9a\x3f\x05hello"  # field 1011, five bytes
    for message in (spec, spec.description, spec.description.metadata, spec.description.input[0],
                    spec.description.input[0].type.multiArrayType):
        message.MergeFromString(unknown)
    path.write_bytes(spec.SerializeToString())
    succeed("opt", package, "-o", tmp_path / "again.mlpackage")
    again = peer.load_spec(tmp_path / "again.mlpackage")
    assert canonical(spec, package) == canonical(again, tmp_path / "again.mlpackage")
    assert path.read_bytes().count(b"\x9a\x3f\x05hello") == 5
    assert (tmp_path / "again.mlpackage" / "Data" / "com.apple.CoreML" / "model.mlmodel").read_bytes().count(unknown) == 5
