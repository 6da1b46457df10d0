"""Packages of older opsets, made by coremltools, brought to ios18; and packages that plait writes for other targets."""

import functools
import json
import shutil
import warnings

warnings.filterwarnings("ignore")

import coremltools as ct
import models
import numpy as np
import peer
import peer_operations
import peer_packages
import pytest
import torch
from command import digest, plait, succeed
from coremltools.converters.mil.mil import Builder as mb
from coremltools.converters.mil.mil import types
from peer_packages import mlp, quiet
from test_operations_table import PAGE, ours
from torch import nn

TARGETS = {name: target for name, target in peer_packages.TARGETS.items() if name != "ios18"}
X, I = peer_operations.X, peer_operations.I
pytestmark = pytest.mark.usefixtures("quiet")


def outputs(package, inputs, folder, *function):
    folder.mkdir(exist_ok=True)
    given = []
    for name, array in inputs.items():
        np.save(folder / f"{name}.npy", array)
        given += ["--input", f"{name}={folder}/{name}.npy"]
    succeed("run", package, *function, *given, "--output-dir", folder / "out")
    return {file.stem: np.load(file) for file in (folder / "out").glob("*.npy")}


def assert_same(package, merged, inputs, folder, *function):
    before = outputs(package, inputs, folder / "before")
    after = outputs(merged, inputs, folder / "after", *function)
    assert before and before.keys() == after.keys()
    for name, array in before.items():
        assert array.dtype == after[name].dtype and np.array_equal(array, after[name], equal_nan=True), name


def upgraded(package, folder):
    """The package as plait merge makes it, which coremltools reads as one of iOS18."""
    merged = folder / "merged.mlpackage"
    succeed("merge", "-o", merged, package)
    peer.check_package(merged)
    return merged


# ---- operation by operation ------------------------------------------------------------------------------------------

def small(shape, seed=1):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def pixels(shape):
    return np.random.default_rng(1).integers(0, 256, shape).astype(np.float32)


ROI = np.array([[0, 0.5, 2, 3], [1, 0, 3, 4.5]], np.float32)


def crop(x, roi, **more):
    return mb.crop_resize(x=x, roi=roi, target_height=2, target_width=3, sampling_mode="ALIGN_CORNERS", **more)


def recurrent(operation, gates, **more):
    weights = {"weight_ih": small((gates * 3, 6)), "weight_hh": small((gates * 3, 3), 2), "bias": small((gates * 3,), 3)}
    def make(x, i):
        sequence = mb.reshape(x=x, shape=[4, 4, 6])
        initial = {"initial_h": small((4, 3), 4)}
        if operation == "lstm":
            initial["initial_c"] = small((4, 3), 5)
        return getattr(mb, operation)(x=sequence, output_sequence=True, **initial, **weights, **more)[0]
    return make


def signed(i):
    """2, -1, 1, -2 of i: as indices of iOS15 and iOS16 they count from the end."""
    return mb.mul(x=mb.mod(x=mb.add(x=i, y=np.int32(1)), y=np.int32(3)), y=np.array([1, -1, 1, -1], np.int32))


# Beside OPERATIONS: what only older forms have, and every operation whose form changed that is not there.
OLDER = {
    "gather_negative": lambda x, i: mb.gather(x=x, indices=signed(i), axis=1),
    "gather_constant": lambda x, i: mb.gather(x=x, indices=np.array([-1, 0, -4], np.int32), axis=-2),
    "gather_scalar": lambda x, i: mb.gather(x=mb.squeeze(x=x, axes=[0]), indices=np.int32(-2), axis=0),
    "gather_along_axis_negative": lambda x, i: mb.gather_along_axis(
        x=x, indices=mb.tile(x=mb.reshape(x=signed(i), shape=[1, 4, 1, 1]), reps=[1, 1, 4, 6]), axis=2),
    "gather_nd_negative": lambda x, i: mb.gather_nd(x=mb.squeeze(x=x, axes=[0]), indices=mb.reshape(x=signed(i), shape=[2, 2])),
    "scatter_negative": lambda x, i: mb.scatter(data=x, indices=signed(i), updates=small((1, 4, 4, 6)), axis=1, mode="add"),
    "scatter_along_axis_negative": lambda x, i: mb.scatter_along_axis(
        data=x, indices=mb.tile(x=mb.reshape(x=signed(i), shape=[1, 4, 1, 1]), reps=[1, 1, 4, 6]), updates=small((1, 4, 4, 6)), axis=2,
        mode="add"),
    "scatter_nd_negative": lambda x, i: mb.scatter_nd(
        data=mb.squeeze(x=x, axes=[0]), indices=mb.reshape(x=signed(i), shape=[2, 2]), updates=small((2, 6)), mode="add"),
    "crop_resize_every": lambda x, i: crop(x, ROI.reshape(2, 1, 4, 1, 1)),
    "crop_resize_indexed": lambda x, i: crop(x, np.insert(ROI, 0, 0, 1).reshape(2, 1, 5, 1, 1)),
    "crop_resize_batch": lambda x, i: crop(mb.reshape(x=x, shape=[2, 2, 4, 6]), ROI.reshape(2, 1, 4, 1, 1)),
    "crop_resize_computed": lambda x, i: crop(x, mb.mul(x=ROI.reshape(2, 1, 4, 1, 1), y=mb.reduce_max(x=mb.sigmoid(x=x)))),
    "crop_resize_padded": lambda x, i: crop(x, (ROI + 2).reshape(2, 1, 4, 1, 1), pad_value=0.25),
    "clip_one": lambda x, i: mb.clip(x=x, alpha=np.float32(0.5), beta=np.float32(0.5)),
    "upsample_bilinear_centers": lambda x, i: mb.upsample_bilinear(
        x=x, scale_factor_height=2, scale_factor_width=3, align_corners=False),
    "lstm": recurrent("lstm", 4), "rnn": recurrent("rnn", 1), "gru": recurrent("gru", 3),
    "linear": lambda x, i: mb.linear(x=x, weight=small((5, 6)), bias=small((5,))),
    "matmul": lambda x, i: mb.matmul(x=x, y=small((6, 3))),
    "conv": lambda x, i: mb.conv(x=x, weight=small((2, 4, 3, 3)), bias=small((2,))),
    "conv_transpose": lambda x, i: mb.conv_transpose(x=x, weight=small((4, 2, 3, 3)), bias=small((2,))),
    "batch_norm": lambda x, i: mb.batch_norm(x=x, mean=small((4,)), variance=np.abs(small((4,))) + 1),
    "layer_norm": lambda x, i: mb.layer_norm(x=x, axes=[-1], gamma=small((6,)), beta=small((6,), 2)),
    "instance_norm": lambda x, i: mb.instance_norm(x=x, gamma=small((4,)), beta=small((4,), 2)),
    "topk": lambda x, i: mb.topk(x=x, k=2, axis=-1)[0],
    "reverse": lambda x, i: mb.reverse(x=x, axes=[1, 3]), "reverse_all": lambda x, i: mb.reverse(x=x),
    "topk_indices": lambda x, i: mb.topk(x=x, k=2, axis=-1)[1],
    "reduce_argmax": lambda x, i: mb.reduce_argmax(x=x, axis=1), "reduce_argmin": lambda x, i: mb.reduce_argmin(x=x, axis=3),
    "reshape": lambda x, i: mb.reshape(x=x, shape=[0, 0, -1, 2]),
    "slice_by_index": lambda x, i: mb.slice_by_index(x=x, begin=[0, 1, -3, 0], end=[1, 4, -1, 6], stride=[1, 2, 1, 3]),
    "slice_by_size": lambda x, i: mb.slice_by_size(x=x, begin=[0, 1, 2, 3], size=[1, 2, -1, 2]),
    "thresholded_relu": lambda x, i: mb.thresholded_relu(x=x, alpha=0.3),
    "sigmoid_hard": lambda x, i: mb.sigmoid_hard(x=x, alpha=0.3, beta=0.4),
    "resample": lambda x, i: mb.resample(
        x=x, coordinates=np.tanh(small((1, 3, 2, 2))), sampling_mode="bilinear", padding_mode="border", padding_value=0.0,
        coordinates_mode="normalized_minus_one_to_one", align_corners=True),
    "leaky_relu": lambda x, i: mb.leaky_relu(x=x, alpha=0.1), "elu": lambda x, i: mb.elu(x=x, alpha=0.7),
    "prelu": lambda x, i: mb.prelu(x=x, alpha=np.abs(small((4,)))), "clip": lambda x, i: mb.clip(x=x, alpha=-0.5, beta=0.5),
    "log": lambda x, i: mb.log(x=mb.square(x=x), epsilon=1e-3), "inverse": lambda x, i: mb.inverse(x=x, epsilon=1e-3),
    "rsqrt": lambda x, i: mb.rsqrt(x=mb.square(x=x)), "l2_norm": lambda x, i: mb.l2_norm(x=x),
    "cast": lambda x, i: mb.cast(x=x, dtype="int32"), "transpose": lambda x, i: mb.transpose(x=x, perm=[0, 2, 3, 1]),
    "expand_dims": lambda x, i: mb.expand_dims(x=x, axes=[0]), "squeeze": lambda x, i: mb.squeeze(x=x, axes=[0]),
}
CASES = {**{name: case for name, (case, _) in peer_operations.OPERATIONS.items()}, **OLDER}


def kinds_of(block):
    return {kind for operation in block.operations for kind in ({operation.op_type}.union(*map(kinds_of, operation.blocks)))}


@functools.cache
def possible(target):
    """The cases that coremltools can build in the opset, with the operations of each; others need a newer one, or an older."""
    found = {}
    # Only these count negative indices from the end; iOS17 leaves them undefined.
    negative = {"gather_constant", "gather_scalar"} | {name for name in OLDER if name.endswith("_negative")}
    for name, case in CASES.items():
        if target == "ios17" and name in negative:
            continue
        try:
            @mb.program(input_specs=[mb.TensorSpec(shape=X.shape), mb.TensorSpec(shape=I.shape, dtype=types.int32)],
                        opset_version=TARGETS[target])
            def program(x, i):
                return case(x, i)
        except (ValueError, TypeError, AttributeError, AssertionError, NotImplementedError, IndexError):
            continue
        found[name] = kinds_of(program.functions["main"])
    return found


# Compressed weights have tests of their own below, and so has what is refused.
TRIED_BELOW = {"constexpr_lut_to_dense", "constexpr_sparse_to_dense", "non_maximum_suppression"}


@pytest.mark.parametrize("target", TARGETS)
def test_every_form_that_changed_is_tried(target):
    """docs/ops.md has every operation of every opset. One whose form is that of iOS18 needs nothing; every other one is here."""
    changed = {name for name in PAGE if ours(name, target) is not None and ours(name, target) != ours(name, "ios18")}
    tried = set().union(*possible(target).values())
    assert changed - tried <= TRIED_BELOW


def test_every_older_case_is_possible():
    assert set(OLDER) - set(possible("ios15")) <= {"crop_resize_padded"}
    assert set(OLDER) - set(possible("ios16")) == set()


@pytest.mark.parametrize("target", TARGETS)
def test_operations_compute_what_they_did(target, tmp_path):
    names = list(possible(target))
    package, _ = peer_operations.package(tmp_path, lambda x, i: {name: CASES[name](x, i) for name in names}, TARGETS[target])
    assert_same(package, upgraded(package, tmp_path), {"x": X, "i": I}, tmp_path)


# ---- models ------------------------------------------------------------------------------------------------------------

def converted(target, model=None, example=None, **options):
    options.setdefault("outputs", [ct.TensorType(name="y")])
    return peer_packages.convert(model or mlp(), torch.rand(2, 16) if example is None else example, target, **options)


COMPRESSIONS = {**{f"palettized{bits}": functools.partial(peer_packages.palettized, bits=bits) for bits in (1, 2, 4, 6, 8)},
                "quantized": peer_packages.quantized, "pruned": peer_packages.pruned}


@pytest.mark.parametrize("target", ["ios16", "ios17"])
@pytest.mark.parametrize("compress", COMPRESSIONS)
def test_compressed_weights(compress, target, tmp_path):
    package = tmp_path / "p.mlpackage"
    COMPRESSIONS[compress](converted(target)).save(str(package))
    merged = upgraded(package, tmp_path)
    assert_same(package, merged, {"x": small((2, 16))}, tmp_path)
    # Packed bits stay packed.
    assert peer.weights_file(merged).stat().st_size <= peer.weights_file(package).stat().st_size + 64


class Embedding(nn.Module):
    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(20, 8)

    def forward(self, x):
        return self.table(x) * 2


def images(target):
    model = nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.Sigmoid()).eval()
    return converted(target, model, torch.rand(1, 3, 8, 8), outputs=None,
                     inputs=[ct.ImageType(name="x", shape=(1, 3, 8, 8), scale=1 / 255)])


def test_old_packages_share_with_new_ones(tmp_path):
    """An iOS15, an iOS16 and a package of plait's of one model hold one copy of its weights, and say what they said."""
    model = mlp()
    traced = torch.jit.trace(model, torch.rand(2, 16))
    traced.save(str(tmp_path / "m.pt"))
    for target in ("ios15", "ios16"):
        converted(target, model, compute_precision=ct.precision.FLOAT32).save(str(tmp_path / f"{target}.mlpackage"))
    succeed("compile", "-o", tmp_path / "new.mlpackage", "--precision", "fp32", "--input", "x=[2, 16]", "--output", "y", tmp_path / "m.pt")
    merged = tmp_path / "all.mlpackage"
    succeed("merge", "-o", merged, *[f"{name}={tmp_path}/{name}.mlpackage" for name in ("ios15", "ios16", "new")], "--expect-shared", "99%")
    peer.check_package(merged)
    for target in ("ios15", "ios16"):
        assert_same(tmp_path / f"{target}.mlpackage", merged, {"x": small((2, 16))}, tmp_path, "--function", target)
        succeed("verify", tmp_path / f"{target}.mlpackage", "--against", tmp_path / "m.pt")
        succeed("verify", merged, "--function", target, "--against", tmp_path / "m.pt")


@pytest.mark.parametrize("make", [images, lambda target: converted(
    target, Embedding().eval(), torch.randint(20, (1, 5)), inputs=[ct.TensorType(name="x", shape=(1, 5), dtype=np.int32)])],
    ids=["image", "embedding"])
def test_interfaces_stay(make, tmp_path):
    package = tmp_path / "p.mlpackage"
    make("ios16").save(str(package))
    merged = tmp_path / "merged.mlpackage"
    succeed("merge", "-o", merged, package)
    before, after = peer.load_spec(package).description, peer.load_spec(merged).description.functions[0]
    assert list(before.input) == list(after.input) and list(before.output) == list(after.output)
    x = np.array([[0, 3, -1, 7, -20]], np.int32) if before.input[0].type.HasField("multiArrayType") else pixels((1, 3, 8, 8))
    assert_same(package, merged, {"x": x}, tmp_path)


@pytest.mark.parametrize("target", TARGETS)
def test_adding_to_an_old_package(target, tmp_path):
    model = mlp()
    torch.jit.trace(model, torch.rand(2, 16)).save(str(tmp_path / "m.pt"))
    package, before = tmp_path / "p.mlpackage", tmp_path / "before.mlpackage"
    old = converted(target, model)
    old.author = "someone"
    old.save(str(package))
    shutil.copytree(package, before)
    (package / "Data" / "com.apple.CoreML" / "model.mlmodel").chmod(0o644)
    result = succeed("add", package, "--function", f"again={tmp_path}/m.pt", "--input", "x=[2, 16]", "--output", "y",
                     "--expect-shared", "90%")
    assert "again" in result.stdout and "main" not in result.stdout
    spec = peer.check_package(package)
    assert spec.description.metadata.author == "someone"
    assert [function.name for function in spec.description.functions] == ["main", "again"]
    assert spec.description.defaultFunctionName == "main"
    assert_same(before, package, {"x": small((2, 16))}, tmp_path, "--function", "main")
    succeed("verify", package, "--function", "again", "--against", tmp_path / "m.pt")
    # From now on it is as any other.
    succeed("add", package, "--function", f"third={tmp_path}/m.pt", "--input", "x=[2, 16]", "--output", "y", "--default", "third")
    peer.check_package(package)


def boxes_above(target):
    @mb.program(input_specs=[mb.TensorSpec(shape=(1, 5, 4)), mb.TensorSpec(shape=(1, 5, 2))], opset_version=TARGETS[target])
    def program(boxes, scores):
        return mb.non_maximum_suppression(boxes=boxes, scores=scores, iou_threshold=0.2, score_threshold=0.3, max_boxes=3)
    return ct.convert(program, convert_to="mlprogram", minimum_deployment_target=TARGETS[target], compute_precision=ct.precision.FLOAT32,
                      skip_model_load=True)


def test_what_has_no_newer_form_is_refused_by_name(tmp_path):
    package = tmp_path / "p.mlpackage"
    boxes_above("ios16").save(str(package))
    before = digest(package)
    result = plait("merge", "-o", tmp_path / "m.mlpackage", package)
    assert result.returncode == 1 and "(non_maximum_suppression)" in result.stderr and "score_threshold" in result.stderr
    torch.jit.trace(mlp(), torch.rand(2, 16)).save(str(tmp_path / "m.pt"))
    result = plait("add", package, "--function", f"again={tmp_path}/m.pt", "--input", "x=[2, 16]")
    assert result.returncode == 1 and "(non_maximum_suppression)" in result.stderr
    assert digest(package) == before
    # It runs as it is.
    boxes = np.array([[[1, 1, 2, 2], [1.1, 1, 2, 2], [5, 5, 2, 2], [8, 8, 1, 1], [5, 5, 2, 2.2]]], np.float32)
    scores = np.array([[[0.9, 0.1], [0.8, 0.1], [0.2, 0.7], [0.1, 0.2], [0.3, 0.5]]], np.float32)
    found = outputs(package, {"boxes": boxes, "scores": scores}, tmp_path / "run")
    counts = [array for array in found.values() if array.shape == (1,)]
    assert [int(array[0]) for array in counts] == [2]
    succeed("inspect", package)


# ---- targets ---------------------------------------------------------------------------------------------------------

OPSETS = {"ios16": "CoreML6", "ios17": "CoreML7", "ios18": "CoreML8", "ios26": "CoreML9"}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    for name in models.MODELS:
        models.build(name)[0].save(str(folder / f"{name}.pt"))
    return folder


@pytest.mark.parametrize("target", ["ios16", "ios17", "ios26"])
@pytest.mark.parametrize("name", list(models.MODELS))
def test_models_compile_for_targets(name, target, saved, tmp_path):
    package, model = tmp_path / "p.mlpackage", saved / f"{name}.pt"
    inputs = [text for declaration in models.declarations(name) for text in ("--input", declaration)]
    succeed("compile", "-o", package, "--target", target, *inputs, model)
    peer.check_package(package, OPSETS[target])
    succeed("verify", package, "--against", model)
    if target == "ios26":
        return
    # And back: what was written for an older system can be merged with what is written for a newer one.
    merged = tmp_path / "m.mlpackage"
    succeed("merge", "-o", merged, package)
    peer.check_package(merged)
    succeed("verify", merged, "--against", model)


def test_ios18_is_the_default(saved, tmp_path):
    for target in ([], ["--target", "ios18"]):
        succeed("compile", "-o", tmp_path / f"p{len(target)}.mlpackage", *target, "--input", "x=[2, 12]", saved / "mlp.pt")
    assert digest(tmp_path / "p0.mlpackage") == digest(tmp_path / "p2.mlpackage")


def test_several_functions_need_ios18(saved, tmp_path):
    result = plait("compile", "-o", tmp_path / "p.mlpackage", "--target", "ios17", "--function", f"a={saved}/mlp.pt",
                   "--input", "x=[2, 12]")
    assert result.returncode == 1 and "needs ios18 or later" in result.stderr and "leave --target ios17 out" in result.stderr
    result = plait("compile", "-o", tmp_path / "p.mlpackage", "--target", "ios15", "--input", "x=[2, 12]", saved / "mlp.pt")
    assert result.returncode == 2 and "the choices are ios16, ios17, ios18, ios26" in result.stderr
    assert not (tmp_path / "p.mlpackage").exists()


def test_functions_of_ios26(saved, tmp_path):
    """Several functions for ios26, which keeps its opset when it grows; merging takes older ones along."""
    package = tmp_path / "p.mlpackage"
    declared = ["--input", "x=[2, 12]", "--output", "y"]
    succeed("compile", "-o", package, "--target", "ios26", "--function", f"a={saved}/mlp.pt", *declared)
    succeed("add", package, "--function", f"b={saved}/mlp.pt", *declared)
    peer.check_package(package, "CoreML9")
    succeed("compile", "-o", tmp_path / "old.mlpackage", "--target", "ios16", *declared, saved / "mlp.pt")
    merged = tmp_path / "m.mlpackage"
    succeed("merge", "-o", merged, tmp_path / "old.mlpackage", package)
    spec = peer.check_package(merged, "CoreML9")
    assert [function.name for function in spec.description.functions] == ["main", "a", "b"]
    assert json.loads(succeed("inspect", merged, "--json").stdout)["functions"][0]["name"] == "main"


class Gru(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.GRU(4, 3)

    def forward(self, x):
        return self.layer(x)[0]


class Attention(nn.Module):
    def __init__(self, masked):
        super().__init__()
        self.masked = masked

    def forward(self, q, k, v, m):
        mask = m > 0 if self.masked == "bool" else m if self.masked else None
        return nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask) + 0 * m.sum()


class Update(nn.Module):
    def forward(self, x, u):
        x = x.clone()
        x[:, 1:3, ::2] = u
        x[:, -1] = 0
        return x


class Activations(nn.Module):
    """Constants of fp32 beside half-precision values, which iOS16 does not have."""

    def forward(self, x):
        y = nn.functional.leaky_relu(x, 0.01) + nn.functional.elu(x, 0.3) + nn.functional.hardsigmoid(x)
        return y * torch.rsqrt(x * x + 0.5) + torch.log(x.abs() + 0.1)


def compile_for(target, model, arguments, declared, folder, *options):
    torch.jit.trace(model.eval(), arguments).save(str(folder / "m.pt"))
    inputs = [text for declaration in declared for text in ("--input", declaration)]
    return plait("compile", "-o", folder / "p.mlpackage", "--target", target, *options, *inputs, folder / "m.pt")


def kinds(package):
    return {operation.type for block in peer.blocks(peer.load_spec(package)).values() for operation in peer.all_operations(block)}


@pytest.mark.parametrize("precision", ["fp16", "fp32"])
@pytest.mark.parametrize("target", ["ios16", "ios17"])
@pytest.mark.parametrize("masked", [None, "bool", "float"])
def test_attention_becomes_its_definition(masked, target, precision, tmp_path):
    q, k = torch.rand(1, 2, 3, 8), torch.rand(1, 2, 5, 8)
    result = compile_for(target, Attention(masked), (q, k, k, torch.randn(3, 5)),
                         ["q=[1, 2, 3, 8]", "k=[1, 2, 5, 8]", "v=[1, 2, 5, 8]", "m=[3, 5]"], tmp_path, "--precision", precision)
    assert result.returncode == 0, result.stderr
    assert not {"scaled_dot_product_attention"} & kinds(tmp_path / "p.mlpackage")
    peer.check_package(tmp_path / "p.mlpackage", OPSETS[target])
    succeed("verify", tmp_path / "p.mlpackage", "--against", tmp_path / "m.pt")


@pytest.mark.parametrize("target", ["ios16", "ios17"])
def test_updates_are_joined_or_scattered(target, tmp_path):
    result = compile_for(target, Update(), (torch.rand(2, 4, 6), torch.rand(2, 2, 3)), ["x=[2, 4, 6]", "u=[2, 2, 3]"], tmp_path)
    assert result.returncode == 0, result.stderr
    assert not {"slice_update"} & kinds(tmp_path / "p.mlpackage")
    peer.check_package(tmp_path / "p.mlpackage", OPSETS[target])
    succeed("verify", tmp_path / "p.mlpackage", "--against", tmp_path / "m.pt")


@pytest.mark.parametrize("target", ["ios16", "ios17"])
def test_constants_of_another_type(target, tmp_path):
    result = compile_for(target, Activations(), torch.randn(2, 6), ["x=[2, 6]"], tmp_path)
    assert result.returncode == 0, result.stderr
    peer.check_package(tmp_path / "p.mlpackage", OPSETS[target])
    succeed("verify", tmp_path / "p.mlpackage", "--against", tmp_path / "m.pt")


def test_what_has_no_older_form_is_refused_by_name(tmp_path):
    result = compile_for("ios17", Gru(), torch.rand(5, 2, 4), ["x=[5, 2, 4]"], tmp_path)
    assert result.returncode == 1 and not (tmp_path / "p.mlpackage").exists()
    assert "cannot be written for ios17 (iOS 17 and macOS 14)" in result.stderr
    assert "(gru): ios17 does not have its parameter" in result.stderr and "ios18 brought it" in result.stderr
