"""Class labels: the classifier that coremltools makes of a model, plait makes too."""

import json

import coremltools
import numpy as np
import peer
import pytest
import torch
from command import plait, succeed
from test_images import description, save

LABELS = {"strings": ["tench", "gold fish", "Hühnervögel", "ray"], "integers": [3, -5, 700, 0]}


class Scores(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(6, 4)

    def forward(self, x):
        return self.linear(x).softmax(1)


class Two(Scores):
    def forward(self, x):
        scores = self.linear(x)
        return scores, scores.softmax(1)


def write(path, labels):
    path.write_text("".join(f"{label}\n" for label in labels), encoding="utf-8")
    return path


@pytest.mark.parametrize("kind", LABELS)
def test_as_the_peers(tmp_path, kind):
    labels = LABELS[kind]
    traced = save(tmp_path / "m.pt", Scores, torch.rand(1, 6))
    config = coremltools.ClassifierConfig(labels, predicted_feature_name="label" if kind == "strings" else "classLabel")
    expected = coremltools.convert(traced, inputs=[coremltools.TensorType("x", (1, 6), dtype=np.float16)], convert_to="mlprogram",
                                   classifier_config=config, minimum_deployment_target=coremltools.target.iOS18).get_spec()
    file, package = write(tmp_path / "labels.txt", labels), tmp_path / "p.mlpackage"
    succeed("compile", "-o", package, "--input", "x=[1, 6]", "--classes", f"label={file}" if kind == "strings" else file, tmp_path / "m.pt")
    spec = peer.check_package(package)
    assert description(spec) == description(expected)
    ours, theirs = (peer.blocks(s)["main"].operations[-1] for s in (spec, expected))
    assert ours.type == theirs.type == "classify"
    assert ours.inputs["classes"] == theirs.inputs["classes"]
    assert list(ours.outputs) == list(theirs.outputs)

    x = np.random.default_rng(0).standard_normal((1, 6), np.float32)
    np.save(tmp_path / "x.npy", x)
    shown = succeed("run", package, "--input", f"x={tmp_path}/x.npy", "--output-dir", tmp_path / "out").stdout
    scores = traced(torch.from_numpy(x)).detach().numpy()[0]
    name = "label" if kind == "strings" else "classLabel"
    probabilities = json.loads((tmp_path / "out" / f"{name}_probs.json").read_text())
    np.testing.assert_allclose([probabilities[str(label)] for label in labels], scores, atol=1e-3)
    best = str(labels[scores.argmax()])
    assert json.loads((tmp_path / "out" / f"{name}.json").read_text()) == best
    assert shown.splitlines()[0].endswith(f": {best}")
    assert [line.split(maxsplit=1)[1] for line in shown.splitlines()[2:]] == [str(labels[i]) for i in np.argsort(-scores)]
    assert "PASS" in succeed("verify", package, "--against", tmp_path / "m.pt").stdout


def test_one_of_several_outputs_in_a_recipe(tmp_path):
    """In a package of several functions each says its own classes; Core ML's converter makes no such, so it must be allowed."""
    save(tmp_path / "m.pt", Two, torch.rand(1, 6))
    write(tmp_path / "labels.txt", LABELS["strings"])
    (tmp_path / "recipe.yaml").write_text("""
output: p.mlpackage
inputs: ["x=[1, 6]"]
outputs: [logits, chances]
functions:
  bare: m.pt
  named: {model: m.pt, classes: {file: labels.txt, label: kind, output: chances}}
""")
    refused = plait("compile", "recipe.yaml", cwd=tmp_path)
    assert refused.returncode == 1 and "classifiers cannot stand in a package of several functions" in refused.stderr
    succeed("compile", "recipe.yaml", "--allow", "classifier", cwd=tmp_path)
    spec = peer.load_spec(tmp_path / "p.mlpackage")
    bare, named = spec.description.functions
    assert not bare.predictedFeatureName
    assert (named.predictedFeatureName, named.predictedProbabilitiesName) == ("kind", "kind_probs")
    assert [output.name for output in named.output] == ["logits", "kind", "kind_probs"]
    assert "PASS" in succeed("verify", "p.mlpackage", "--function", "named", "--against", "m.pt", cwd=tmp_path).stdout
    np.save(tmp_path / "x.npy", np.ones((1, 6), np.float32))
    succeed("run", "p.mlpackage", "--function", "named", "--input", "x=x.npy", "--output-dir", "out", cwd=tmp_path)
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == ["kind.json", "kind_probs.json", "logits.npy"]


@pytest.mark.parametrize("text, options, complaint", [
    ("a\nb\nc\n", [], "there are 3 classes, and no floating-point output of that many elements: output_0 [1, 4], output_1 [1, 4]"),
    ("a\nb\nc\nd\n", [], "--class-output NAME"),
    ("a\nb\nc\nd\n", ["--class-output", "none"], "no output 'none'"),
    ("a\nb\nc\n", ["--output", "y", "--class-output", "y"], "3 classes, but output 'y' is"),
    ("a\nb\na\nd\n", [], "labels.txt:3: the label 'a' is there twice"),
    ("a\n\nc\nd\n", [], "labels.txt:2: a label is wanted"),
    ("", [], "labels.txt:1: a label is wanted"),
    (b"\xff\n", [], "UTF-8"),
    ("a\nb\nc\nd\n", ["--output", "classLabel"], "two of its inputs and outputs are called 'classLabel'"),
])
def test_refusals(tmp_path, text, options, complaint):
    save(tmp_path / "m.pt", Two, torch.rand(1, 6))
    (tmp_path / "labels.txt").write_bytes(text if isinstance(text, bytes) else text.encode())
    result = plait("compile", "-o", tmp_path / "p.mlpackage", "--input", "x=[1, 6]", "--classes", tmp_path / "labels.txt", *options,
                   tmp_path / "m.pt")
    assert result.returncode in (1, 2) and complaint in result.stderr, result.stderr
    assert not (tmp_path / "p.mlpackage").exists()


def test_a_file_is_wanted(tmp_path):
    save(tmp_path / "m.pt", Scores, torch.rand(1, 6))
    missing = plait("compile", "-o", tmp_path / "p.mlpackage", "--input", "x=[1, 6]", "--classes", tmp_path / "none.txt", tmp_path / "m.pt")
    assert missing.returncode == 1 and "none.txt" in missing.stderr
    alone = plait("compile", "-o", tmp_path / "p.mlpackage", "--input", "x=[1, 6]", "--class-output", "y", tmp_path / "m.pt")
    assert alone.returncode == 2 and "there are no --classes" in alone.stderr
