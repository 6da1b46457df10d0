"""plait.coremltools: scripts as coremltools' public guides have them, and what it refuses."""

import os
import pathlib
import subprocess
import sys
import textwrap

import numpy as np
import plait
import plait.coremltools as ct
import pytest
import torch

GUIDES = pathlib.Path(__file__).parent / "guides"


def run(text, folder):
    (folder / "script.py").write_text(text)
    done = subprocess.run([sys.executable, "-W", "ignore", "script.py"], cwd=folder, capture_output=True, text=True, timeout=300,
                          env={**os.environ, "OMP_NUM_THREADS": "2"})
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("guide", sorted(path.name for path in GUIDES.glob("*.py")))
def test_guides_run(guide, tmp_path):
    text = (GUIDES / guide).read_text()
    assert text.count("plait") == 1 and "import plait.coremltools as ct" in text  # one import is changed
    run(text if guide != "multifunction.py" else text.replace("SIZE = 6000", "SIZE = 600"), tmp_path)


@pytest.mark.full_size
def test_the_guide_on_multifunction_models_at_its_own_size(tmp_path):
    run((GUIDES / "multifunction.py").read_text(), tmp_path)
    shared = plait.Package(tmp_path / "combined_adapter_models.mlpackage").summary
    assert shared.unique_bytes < 0.6 * shared.referenced_bytes


def traced(module=None):
    return torch.jit.trace(module or torch.nn.Linear(4, 2), torch.rand(1, 4))


def inputs():
    return [ct.TensorType(name="x", shape=(1, 4))]


@pytest.mark.parametrize("call, message", (
    (lambda: ct.convert(traced(), inputs=inputs(), convert_to="neuralnetwork"), "ML programs"),
    (lambda: ct.convert(traced(), inputs=inputs(), source="tensorflow"), "PyTorch"),
    (lambda: ct.convert(traced(), inputs=inputs(), minimum_deployment_target=ct.target.iOS14), "iOS 16"),
    (lambda: ct.convert(traced(), inputs=inputs(), pass_pipeline="x"), "plait opt"),
    (lambda: ct.convert(traced(), inputs=inputs(), compute_precision=lambda op: True), "dtype"),
    (lambda: ct.convert(torch.nn.Linear(4, 2), inputs=inputs()), "torch.jit.trace"),
    (lambda: ct.convert(traced()), "inputs are needed"),
    (lambda: ct.convert(traced(), inputs=[ct.TensorType(name="x")]), "needs its shape"),
    (lambda: ct.TensorType(name="x", shape=(1,), dtype=np.float64)._input(None), "float16, float32 or int32"),
    (lambda: ct.RangeDim(1), "upper_bound"),
    (lambda: ct.ImageType(channel_first=False), "channels"),
    (lambda: ct.StateType(ct.TensorType(shape=(1,))), "path of the buffer"),
    (lambda: ct.models.MLModel(3), "path"),
))
def test_what_it_does_not_take_is_refused_by_name(call, message):
    with pytest.raises(plait.Error, match=message):
        call()


@pytest.mark.parametrize("place, name, message", (
    (ct, "optimize", "compress="), (ct, "PassPipeline", "plait opt"), (ct.utils, "make_pipeline", "save_multifunction"),
    (ct.utils, "rename_feature", "TensorType"), (ct.models, "CompiledMLModel", "interpreter"), (ct, "nonsense", "python.md"),
))
def test_names_that_are_not_there_say_the_other_way(place, name, message):
    with pytest.raises(AttributeError, match=message):
        getattr(place, name)
    assert not hasattr(place, name)


def test_default_values(tmp_path):
    class Biased(torch.nn.Module):
        def forward(self, x, bias):
            return x + bias
    script = torch.jit.trace(Biased(), (torch.rand(1, 4), torch.rand(4)))
    model = ct.convert(script, inputs=[ct.TensorType("x", (1, 4)), ct.TensorType("bias", (4,), default_value=np.full(4, 2, np.float32))])
    x = np.ones((1, 4), np.float32)
    (result,) = model.predict({"x": x}).values()
    np.testing.assert_array_equal(result, x + 2)
    with pytest.raises(ValueError, match="one number"):
        ct.TensorType("bias", (2,), default_value=np.array([1, 2]))
    with pytest.raises(ValueError, match="no default_value"):
        ct.TensorType("bias", ct.EnumeratedShapes([(1,), (2,)]), default_value=np.zeros(1))


def test_descriptors(tmp_path):
    ct.convert(traced(), inputs=inputs(), minimum_deployment_target=ct.target.iOS18).save(tmp_path / "a.mlpackage")
    desc = ct.utils.MultiFunctionDescriptor(tmp_path / "a.mlpackage")
    with pytest.raises(ValueError, match="already exist"):
        desc.add_function(tmp_path / "a.mlpackage", "main", "main")
    with pytest.raises(ValueError, match="not found"):
        desc.add_function(tmp_path / "a.mlpackage", "other", "b")
    desc.add_function(tmp_path / "a.mlpackage", src_function_name="main", target_function_name="b")
    desc.remove_function("main")
    with pytest.raises(ValueError, match="default_function_name"):
        ct.utils.save_multifunction(desc, tmp_path / "c.mlpackage")
    desc.default_function_name = "b"
    ct.utils.save_multifunction(desc, str(tmp_path / "c.mlpackage"))
    model = ct.models.MLModel(str(tmp_path / "c.mlpackage"))
    assert [set(one) for one in model.predict([{"x": np.ones((1, 4))}] * 2)] == [set(model._function.outputs[0].name for _ in "x")] * 2


@pytest.mark.parametrize("half", (True, False))
def test_types_of_the_interface_are_coremltools_defaults(half):
    precision = ct.precision.FLOAT16 if half else ct.precision.FLOAT32
    new = ct.convert(traced(), inputs=inputs(), outputs=[ct.TensorType(name="y")], minimum_deployment_target=ct.target.iOS18, compute_precision=precision)
    old = ct.convert(traced(), inputs=inputs(), outputs=[ct.TensorType(name="y")], compute_precision=precision)
    assert str(new._function.inputs[0]) == f"x: {'fp16' if half else 'fp32'}[1, 4]"
    assert str(old._function.inputs[0]) == "x: fp32[1, 4]" and old._function.outputs[0].dtype == "fp32"
    unnamed = ct.convert(traced(), inputs=inputs(), compute_precision=precision)._function.outputs
    assert [one.dtype for one in unnamed] == ["fp32"] and len(unnamed) == 1
    assert old.get_spec().specificationVersion == 7 and new.get_spec().specificationVersion == 9


def test_texts_of_inputs_and_outputs_are_by_name(tmp_path):
    model = ct.convert(traced(), inputs=inputs(), outputs=[ct.TensorType(name="y")])
    model.input_description["x"] = "what it takes"
    assert dict(model.input_description) == {"x": "what it takes"} and list(model.output_description) == ["y"] and "x" in model.input_description
    with pytest.raises(KeyError, match="no input 'z'; there are x"):
        model.input_description["z"] = "nothing"
    model.save(tmp_path / "m.mlpackage")
    assert repr(ct.models.MLModel(tmp_path / "m.mlpackage").input_description) == "{'x': 'what it takes'}"
    assert ct.models.utils.load_spec is ct.utils.load_spec
    with pytest.raises(plait.Error, match="mil_program"):
        ct.models.MLModel(tmp_path / "m.mlpackage", mil_program=object())


PEER = """
import sys, warnings
warnings.filterwarnings("ignore")
import numpy as np, torch, coremltools as peer
net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(4 * 36, 3), torch.nn.Softmax(-1)).eval()
traced = torch.jit.trace(net, torch.rand(1, 3, 8, 8))
image = peer.ImageType(name="photo", shape=(1, 3, 8, 8), scale=1 / 255)
peer.convert(traced, inputs=[image], classifier_config=peer.ClassifierConfig(["a", "b", "c"]), minimum_deployment_target=peer.target.iOS18,
             skip_model_load=True).save(sys.argv[1] + "/classifier.mlpackage")
peer.convert(traced, inputs=[peer.TensorType(name="x", shape=(1, 3, 8, 8))], outputs=[peer.TensorType(name="y")],
             minimum_deployment_target=peer.target.iOS16, skip_model_load=True).save(sys.argv[1] + "/array.mlpackage")
pixels = np.random.randint(0, 256, (8, 8, 3), dtype=np.uint8)
with torch.no_grad():
    expected = net(torch.tensor(pixels / 255.0, dtype=torch.float32).permute(2, 0, 1)[None]).numpy()
np.savez(sys.argv[1] + "/data.npz", pixels=pixels, expected=expected)
"""


def test_coremltools_own_packages_are_predicted(tmp_path):
    pytest.importorskip("coremltools")
    from PIL import Image
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(PEER), str(tmp_path)], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    data = np.load(tmp_path / "data.npz")
    out = plait.Package(tmp_path / "classifier.mlpackage").default(photo=Image.fromarray(data["pixels"]))
    assert out["classLabel"] == "abc"[int(data["expected"].argmax())]
    assert np.allclose([out["classLabel_probs"][label] for label in "abc"], data["expected"][0], atol=1e-2)
    x = data["pixels"].transpose(2, 0, 1)[None] / 255
    assert np.allclose(ct.models.MLModel(tmp_path / "array.mlpackage").predict({"x": x})["y"], data["expected"], atol=1e-2)
    merged = plait.merge({"one": tmp_path / "array.mlpackage", "two": (tmp_path / "array.mlpackage", "main")})
    assert np.allclose(merged.functions["two"](x)["y"], data["expected"], atol=1e-2)
