"""--save-recipe: what is compiled from the recipe is what was compiled from the options, byte by byte."""

import itertools
import os
import random

import adapter_models as models
import peft
import pytest
import torch
import yaml
from adapter_checks import save_base
from command import digest, plait, succeed

ANY = [  # of any package
    ["--precision", "fp32"],
    ["--keep-fp32", "linear, sigmoid"],
    ["--join-linears", "off"],
    ["--debug-info", "on"],
    ["--threads", "2"],
    ["--author", "A: 'B' \"C\" # d", "--license", " MIT ", "--version-string", "1.20", "--description", "two\nlines", "--meta", "com.x: y=off",
     "--meta", "n=1e3"],
    ["--compress", "int8", "--compress", "*.bias=none", "--require-coverage", "10"],
    ["--compress", "prune50%+palette4[group 16]"],
]
SEVERAL = [  # of a package of named functions
    ["--share", "off"],
    ["--default", "b"],
    ["--expect-shared", "0.5%"],
]


class Net(torch.nn.Module):
    def __init__(self, shift=0.0):
        super().__init__()
        torch.manual_seed(0)
        self.first = torch.nn.Linear(64, 64)
        self.last = torch.nn.Linear(64, 64)
        self.register_buffer("total", torch.zeros(1, 64))
        self.register_buffer("count", torch.zeros(1, 64))
        with torch.no_grad():
            self.last.bias += shift

    def forward(self, x):
        self.total += x
        self.count.copy_(self.count + 1)
        return self.last(torch.relu(self.first(x))) + self.total, torch.sigmoid(x) * self.count


class Picture(torch.nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv = torch.nn.Conv2d(3, 4, 3)

    def forward(self, photo):
        h = self.conv(photo)
        return torch.softmax(h.mean((2, 3)), -1), (h[:, :1].sigmoid() * 255)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("recipes")
    (folder / "models: new").mkdir()
    for name, shift in (("a", 0.0), ("b", 1.0)):
        traced = torch.jit.trace(Net(shift).eval(), torch.rand(1, 64), check_trace=False)
        traced.total.zero_(), traced.count.zero_()  # tracing has run it
        traced.save(str(folder / "models: new" / f"{name}.pt"))
    torch.jit.trace(Picture().eval(), torch.rand(1, 3, 16, 16)).save(str(folder / "picture.pt"))
    (folder / "labels.txt").write_text("a cat\n#dog\nowl: big\n42\n")
    base = models.llama()
    ids = (torch.tensor([[3, 1, 4, 15, 9, 26]]),)
    save_base(models.Logits(base), ids, folder / "base.pt")
    for name, rank in (("chat", 2), ("code", 4)):
        models.adapt(base, peft.LoraConfig(r=rank, target_modules=["q_proj", "v_proj"]), folder / name, rank)
    return folder


def check(folder, work, *options):
    """Relative paths, from another folder than the recipe's."""
    package, recipe = work / "out" / "p.mlpackage", work / "recipes" / "r.yaml"
    for path in (package, recipe):
        path.parent.mkdir(exist_ok=True)
    succeed("compile", "-o", os.path.relpath(package, folder), "--save-recipe", os.path.relpath(recipe, folder), *options, cwd=folder)
    first = digest(package)
    side = work / "out" / "p.adapter.json"
    companion = side.read_text() if side.exists() else None
    yaml.safe_load(recipe.read_text())  # it is YAML to others too
    succeed("compile", recipe)  # over it: `output:` is the same
    assert digest(package) == first, recipe.read_text()
    assert (side.read_text() if side.exists() else None) == companion
    # It is itself again, whatever is said of what nobody asked.
    again = recipe.with_name("again.yaml")
    succeed("compile", recipe, "--save-recipe", again)
    assert again.read_text() == recipe.read_text()


COMBINATIONS = [sum(combination, []) for size in (1, 2) for combination in itertools.combinations(ANY, size)
                if not ({"--precision", "--keep-fp32"} <= set(sum(combination, [])))]
random.Random(0).shuffle(COMBINATIONS)


@pytest.mark.parametrize("options", COMBINATIONS[:8], ids=" ".join)
def test_one_function(folder, tmp_path, options):
    check(folder, tmp_path, *options, "--input", "x=[1, 64]", "--output", "y", "--output", "z=fp32",
          "--states", "none" if "fp32" in options else "auto", "models: new/a.pt")  # states are fp16


@pytest.mark.parametrize("options", SEVERAL + [sum(SEVERAL[1:], [])], ids=" ".join)
@pytest.mark.parametrize("states", [["--states", "none"], ["--states", "total=fp16[1, 64]", "--states", "count=none"],
                                    ["--states", "total=input", "--states", "auto", "--state-init", "input"]], ids=" ".join)
def test_several_functions(folder, tmp_path, options, states):
    check(folder, tmp_path, *options, "--input", "x=[1, 64]", *states, "--describe", "x=what it takes: \"numbers\"",
          "--function", "a=models: new/a.pt", "--output", "first=fp16", "--function", "b=models: new/b.pt", "--states", "auto")


def test_constants(folder, tmp_path):
    class Scaled(torch.nn.Module):
        def forward(self, x, weight, sizes: list[int], mode: str):
            return (x * weight).reshape(sizes) if mode == "a" else x

    torch.jit.script(Scaled()).save(str(folder / "scaled.pt"))
    check(folder, tmp_path, "--input", "x=[2, 2]", "--input", "weight=list[1, 2]", "--input", "sizes=[4, -1]", "--input", 'mode="a"', "scaled.pt")


@pytest.mark.parametrize("declared", [
    ["--input", "photo=image[rgb, 1, 3, 16, 16] scale=1/255 bias=[-0.485, -0.456, -0.406]"],
    ["--input", "photo=image{[bgr, 1, 3, 16, 16],[bgr, 1, 3, 32, 32]} scale=[1/3, 0.1, 0.001]"],
    ["--input", "photo=[1, 3, 16..32, 16]"],
    ["--input", "photo=fp32{[1,3,16,16],[1,3,24,24]}"],
], ids=" ".join)
def test_images_and_classes(folder, tmp_path, declared):
    check(folder, tmp_path, *declared, "--classes", "kind=labels.txt", "--class-output", "scores", "--output", "scores", "--output", "mask=image[gray]",
          "picture.pt")


@pytest.mark.parametrize("options", [
    ["--adapter", "chat=chat"],
    ["--adapter", "chat=chat/", "--base-function", "plain", "--adapter", "mixed=chat:0.7+code:0.3", "--lora", "fold"],
    ["--lora", "inputs", "--adapter", "chat=chat", "--adapter", "code=code", "--lora", "keep"],
    ["--adapter-root", "model", "--allow-unmatched", "--adapter", "chat=chat", "--adapter", "code=code"],
    ["--target", "ios26", "--adapter", "chat=chat", "--compress", "adapters=int8"],
], ids=" ".join)
def test_adapters(folder, tmp_path, options):
    check(folder, tmp_path, "--base", "base.pt", "--input", "ids=int32[1, 6]", *options)


def test_phases_of_a_language_model(folder, tmp_path):
    check(folder, tmp_path, "--base", "long=base.pt", "--input", "ids=int32[1, 6]", "--output", "logits", "--base", "short=base.pt", "--input",
          "ids=int32[1, 6]", "--lora", "fold", "--adapter", "chat=chat", "--base-function", "plain")


def test_an_archive_of_torch_export(folder, tmp_path):
    program = torch.export.export(Picture().eval(), (torch.rand(1, 3, 16, 16),))
    torch.export.save(program, str(folder / "picture.pt2"))
    check(folder, tmp_path, "picture.pt2")


def test_what_automatic_precision_chose(folder, tmp_path):
    class Overflows(torch.nn.Module):
        def forward(self, x):
            return ((x * 300) ** 2).sqrt()

    torch.jit.trace(Overflows(), torch.rand(1, 64)).save(str(tmp_path / "wide.pt"))
    check(folder, tmp_path, "--precision", "auto", "--input", "x=[1, 64]", tmp_path / "wide.pt")
    saved = yaml.safe_load((tmp_path / "recipes" / "r.yaml").read_text())
    assert saved["precision"] == "fp16" and saved["keep_fp32"]


def test_a_recipe_has_a_recipes_name(folder, tmp_path):
    result = plait("compile", "-o", tmp_path / "p.mlpackage", "--save-recipe", tmp_path / "r.txt", "--input", "x=[1, 64]", folder / "picture.pt")
    assert result.returncode == 2 and ".yaml" in result.stderr and not list(tmp_path.iterdir())


def test_a_folder_that_is_not_there(folder, tmp_path):
    result = plait("compile", "-o", tmp_path / "p.mlpackage", "--save-recipe", tmp_path / "none" / "r.yaml", folder / "picture.pt", "--input",
                   "photo=[1, 3, 16, 16]")
    assert result.returncode == 1 and "none" in result.stderr and not list(tmp_path.iterdir())


def test_the_base_of_one_function(folder, tmp_path):
    recipe = tmp_path / "r.yaml"
    recipe.write_text(f"output: p.mlpackage\nfunctions:\n  f: {{base: {folder}/base.pt, inputs: 'ids=int32[1, 6]'}}\n")
    result = plait("compile", recipe)
    assert result.returncode == 1 and "has no `model:`" in result.stderr
    assert not (tmp_path / "p.mlpackage").exists()
