"""Weights that coremltools.optimize.torch compressed before the model was saved: the integers, indices and tables are recovered."""

import logging
import re
import warnings

warnings.filterwarnings("ignore")
logging.disable(logging.INFO)

import coremltools as ct
import numpy as np
import pytest
import torch
from command import succeed
from coremltools.converters.mil.frontend.milproto import load
from coremltools.optimize.torch.palettization import PostTrainingPalettizer, PostTrainingPalettizerConfig
from coremltools.optimize.torch.pruning import MagnitudePruner, MagnitudePrunerConfig
from coremltools.optimize.torch.quantization import PostTrainingQuantizer, PostTrainingQuantizerConfig
from test_constexpr import decompressed
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1, self.conv, self.fc2 = nn.Linear(64, 96), nn.Conv2d(32, 48, (1, 3)), nn.Linear(48, 64)

    def forward(self, x):
        x = torch.relu(self.fc1(x)).reshape(1, 32, 1, 30)
        return self.fc2(torch.relu(self.conv(x)).permute(0, 2, 3, 1))


def quantized(model, **options):
    return PostTrainingQuantizer(model, PostTrainingQuantizerConfig.from_dict({"global_config": options})).compress()


def palettized(model, **options):
    return PostTrainingPalettizer(model, PostTrainingPalettizerConfig.from_dict({"global_config": {"n_bits": 4, **options}})).compress()


def pruned(model):
    pruner = MagnitudePruner(model, MagnitudePrunerConfig.from_dict({"global_config": {"target_sparsity": 0.5}}))
    pruner.prepare(inplace=True)
    pruner.step()
    made, model = pruner.finalize(), Net().eval()
    for name in ("fc1", "conv", "fc2"):  # what pruning leaves cannot be copied, which the next compression wants to do
        source, module = getattr(made, name), getattr(model, name)
        with torch.no_grad():
            module.weight.copy_(source.weight)
            module.bias.copy_(source.bias)
        module.register_buffer("_COREML_/weight/compression_type", source.get_buffer("_COREML_/weight/compression_type"))
    return model


MODELS = {
    "int8": lambda model: quantized(model, weight_dtype="int8"),
    "uint8": lambda model: quantized(model, weight_dtype="uint8", quantization_scheme="affine"),
    "int4 blocks": lambda model: quantized(model, weight_dtype="int4", granularity="per_block", block_size=16),
    "groups": lambda model: palettized(model, granularity="per_grouped_channel", group_size=16),
    "integer table": lambda model: palettized(model, granularity="per_tensor", lut_dtype="int8"),
    "vectors": lambda model: palettized(model, granularity="per_tensor", cluster_dim=2),
    "scaled": lambda model: palettized(model, granularity="per_tensor", enable_per_channel_scale=True),
    "pruned": pruned,
    "pruned, int8": lambda model: quantized(pruned(model), weight_dtype="int8"),
}
INPUT = torch.randn(1, 10, 64, generator=torch.Generator().manual_seed(0))


def in_training(name):
    torch.manual_seed(0)
    return MODELS[name](Net().eval()).eval()


def constants(package):
    """{name of the user: [(operation, its constants)] from the weight up}, as coremltools reads them."""
    model = ct.models.MLModel(str(package), skip_model_load=True)
    program = load.load(model.get_spec(), specification_version=model.get_spec().specificationVersion, file_weights_dir=model.weights_dir)
    found = {}
    for op in program.functions["main"].operations:
        if op.op_type not in ("linear", "conv"):
            continue
        value = op.inputs["weight"]
        chain, maker = [], value.op
        while maker.op_type != "const":
            chain.append((maker.op_type, {key: v.val for key, v in maker.inputs.items() if v is not None and v.op is not None and v.op.op_type == "const"}))
            maker = next((v.op for v in maker.inputs.values() if v is not None and v.op is not None and v.op.op_type != "const"), None)
            if maker is None:
                break
        dense = decompressed(value.op) if chain else value.val
        found[f"{op.op_type}{tuple(value.shape)}"] = (chain, dense)
    return found


def convert(model, path, out, *options):
    if path.suffix == ".pt2":
        torch.export.save(torch.export.export(model, (INPUT,)), str(path))
    else:
        torch.jit.trace(model, INPUT).save(str(path))
    return succeed("compile", "-o", out, "--input", "x=[1, 10, 64]", "--output", "y", path, *options).stdout


@pytest.mark.parametrize("name", MODELS)
def test_what_was_compressed_is_recovered(name, tmp_path):
    """Every weight that has buffers becomes what they say; decompressed it is the parameter, to half precision."""
    model = in_training(name)
    report = convert(model, tmp_path / "model.pt", tmp_path / "out.mlpackage")
    state = model.state_dict()
    stored = [key.split("._COREML_")[0] for key in state if key.endswith("/compression_type")]
    assert report.count("as it was stored") == len(stored) >= 2
    parameters = {tuple(state[f"{path}.weight"].shape): state[f"{path}.weight"].numpy() for path in stored}
    for user, (chain, dense) in constants(tmp_path / "out.mlpackage").items():
        if dense.shape in parameters:
            assert chain and dense.dtype == np.float16, user
            np.testing.assert_allclose(dense.astype(np.float32), parameters[dense.shape], rtol=3e-3, atol=1e-6)
    succeed("verify", tmp_path / "out.mlpackage", "--against", tmp_path / "model.pt", "--atol", "1e-2", "--rtol", "1e-2")


@pytest.mark.parametrize("name", ["uint8", "int4 blocks", "groups", "integer table", "pruned, int8"])
def test_it_is_what_the_peer_makes_of_it(name, tmp_path):
    """coremltools' converter leaves the same operations with the same integers, indices, tables, scales and masks."""
    model = in_training(name)
    convert(model, tmp_path / "model.pt", tmp_path / "ours.mlpackage")
    peer = ct.convert(torch.jit.load(str(tmp_path / "model.pt")), inputs=[ct.TensorType(name="x", shape=INPUT.shape)], skip_model_load=True,
                      minimum_deployment_target=ct.target.iOS18)
    peer.save(str(tmp_path / "peer.mlpackage"))
    ours, theirs = constants(tmp_path / "ours.mlpackage"), constants(tmp_path / "peer.mlpackage")
    for user in ours.keys() & theirs.keys():
        if name == "integer table":  # they leave what iOS 18 reads wrongly; the numbers are the same
            np.testing.assert_allclose(ours[user][1], theirs[user][1], rtol=2e-3, atol=1e-6)
            continue
        assert [kind for kind, _ in ours[user][0]] == [kind for kind, _ in theirs[user][0]]
        for (_, own), (_, other) in zip(ours[user][0], theirs[user][0]):
            assert own.keys() == other.keys()
            for key in own:
                np.testing.assert_array_equal(np.asarray(own[key]), np.asarray(other[key]), err_msg=f"{user} {key}")


def test_archives_of_torch_export(tmp_path):
    model = in_training("int4 blocks")
    convert(model, tmp_path / "model.pt", tmp_path / "traced.mlpackage")
    report = convert(model, tmp_path / "model.pt2", tmp_path / "exported.mlpackage")
    assert report.count("as it was stored") == 3
    for user, (chain, dense) in constants(tmp_path / "exported.mlpackage").items():
        np.testing.assert_array_equal(dense, constants(tmp_path / "traced.mlpackage")[user][1])


def test_what_the_buffers_do_not_say_is_not_compressed(tmp_path):
    """A weight that was changed afterwards, one whose table lacks a number, and buffers that nobody knows."""
    model = in_training("int8")
    with torch.no_grad():
        model.fc1.weight.add_(1e-3)
    model.conv.register_buffer("_COREML_/weight/sparsity", torch.tensor(1))
    report = convert(model, tmp_path / "model.pt", tmp_path / "out.mlpackage")
    rows = {row.split()[0]: row for row in report.splitlines() if re.match(r"  \S+ +\[", row)}
    assert "is no multiple of its scale" in rows["fc1.weight"]
    assert "'sparsity' is none of the buffers that are known" in rows["conv.weight"]
    assert "as it was stored" in rows["fc2.weight"]
    assert [bool(chain) for chain, _ in constants(tmp_path / "out.mlpackage").values()].count(True) == 1
    model = in_training("groups")
    with torch.no_grad():
        model.fc1.weight[3, 5] += 0.01
    assert "is not in its lut" in convert(model, tmp_path / "model.pt", tmp_path / "out.mlpackage")


def test_rules_beside_it(tmp_path):
    """A scheme for all leaves what was compressed before; one by name does not. Older targets store it as it is."""
    model = in_training("groups")
    report = convert(model, tmp_path / "model.pt", tmp_path / "out.mlpackage", "--compress", "palette2", "--compress", "conv=int8",
                     "--compress", "fc2=none")
    rows = {row.split()[0]: row for row in report.splitlines() if re.match(r"  \S+ +\[", row)}
    assert "as it was stored" in rows["fc1.weight"]
    assert "int8[channel]" in rows["conv.weight"]
    assert "the scheme is none" in rows["fc2.weight"]
    torch.jit.trace(model, INPUT).save(str(tmp_path / "model.pt"))
    result = succeed("compile", "-o", tmp_path / "old.mlpackage", "--target", "ios17", "--input", "x=[1, 10, 64]", tmp_path / "model.pt")
    assert "were compressed before the model was saved" in result.stderr
