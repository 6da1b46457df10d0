"""A recipe says the same as the options, and metadata arrives in the package."""

import models
import peer
import pytest
from command import digest, plait, succeed

RECIPE = """
output: recipe.mlpackage
default: second
metadata:
  author: A. Author
  license: MIT
  version: "1.2"
  description: Two functions
  user: {com.example.key: value, other: "two words"}
functions:
  first:
    model: models/mlp.pt
    inputs: ["x=[2, 12]"]
    outputs: [y]
  second:
    model: models/Lora.pt
    inputs: ["x=[2, 64]"]
    outputs: [y]
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "models").mkdir()
    for name in ("mlp", "Lora"):
        models.build(name)[0].save(str(tmp_path / "models" / f"{name}.pt"))
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    return tmp_path


def test_recipe_and_options_agree(folder):
    succeed("compile", "recipe.yaml", cwd=folder)
    succeed("compile", "-o", "options.mlpackage", "--default", "second", "--author", "A. Author", "--license", "MIT",
            "--version-string", "1.2", "--description", "Two functions", "--meta", "com.example.key=value", "--meta", "other=two words",
            "--function", "first=models/mlp.pt", "--input", "x=[2, 12]", "--output", "y",
            "--function", "second=models/Lora.pt", "--input", "x=[2, 64]", "--output", "y", cwd=folder)
    assert digest(folder / "recipe.mlpackage") == digest(folder / "options.mlpackage")


def test_paths_are_relative_to_the_recipe(folder, tmp_path_factory):
    succeed("compile", folder / "recipe.yaml", cwd=tmp_path_factory.mktemp("elsewhere"))
    assert (folder / "recipe.mlpackage" / "Manifest.json").exists()


def test_expected_share(folder):
    """The recipe's share holds where the command says nothing, and an option has the last word."""
    twice = RECIPE.split("functions:")[0] + """expect_shared: 100%
functions:
  first: {model: models/mlp.pt, inputs: "x=[2, 12]", outputs: y}
  second: {model: models/mlp.pt, inputs: "x=[2, 12]", outputs: y}
"""
    (folder / "recipe.yaml").write_text(twice)
    succeed("compile", "recipe.yaml", cwd=folder)
    (folder / "recipe.mlpackage").rename(folder / "shared.mlpackage")
    (folder / "recipe.yaml").write_text(RECIPE.replace("default: second", "expect_shared: 95%"))
    result = plait("compile", "recipe.yaml", cwd=folder)
    assert result.returncode == 1 and "95.00%" in result.stderr and "function 'first'" in result.stderr
    assert not (folder / "recipe.mlpackage").exists()
    succeed("compile", "recipe.yaml", "--expect-shared", "0%", cwd=folder)


def test_metadata(folder):
    succeed("compile", "recipe.yaml", cwd=folder)
    metadata = peer.check_package(folder / "recipe.mlpackage").description.metadata
    assert (metadata.author, metadata.license, metadata.versionString) == ("A. Author", "MIT", "1.2")
    assert metadata.shortDescription == "Two functions"
    assert metadata.userDefined["com.example.key"] == "value"
    assert metadata.userDefined["other"] == "two words"


@pytest.mark.parametrize("change, complaint", [
    (("functions:", "funktions:"), "funktions"),
    (("models/mlp.pt", "models/none.pt"), "none.pt"),
    (("default: second", "default: third"), "third"),
    (('["x=[2, 64]"]', '["x=[2, "]'), "recipe.yaml"),
    (("  second:", "  first:"), "first"),
    (("functions:", "functions: ["), "recipe.yaml"),
])
def test_bad_recipe(folder, change, complaint):
    (folder / "recipe.yaml").write_text(RECIPE.replace(*change))
    result = plait("compile", "recipe.yaml", cwd=folder)
    assert result.returncode == 1
    assert complaint in result.stderr
    assert not (folder / "recipe.mlpackage").exists()
