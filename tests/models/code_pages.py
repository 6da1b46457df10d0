"""The pages of docs/codes: their examples are run in a folder that has a model, an adapter and a package."""

import importlib.util
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import warnings

import torch

FOLDER = pathlib.Path(__file__).resolve().parents[2] / "docs" / "codes"
PAGES = {path.stem: path.read_text() for path in sorted(FOLDER.glob("P*.md"))}


def blocks(page):
    """(language, text) of the fenced blocks of the example."""
    example = page.split("\n## Example\n")[1].split("\n## The way out\n")[0]
    return re.findall(r"^```(\w+)\n(.*?)^```$", example, re.DOTALL | re.MULTILINE)


# Compiled and run by tests/api/CodePagesTest.cpp.
OF_CPP = {code for code, page in PAGES.items() if any(language == "cpp" for language, _ in blocks(page))}


def prepare(folder, plait):
    """model.pt, an adapter of its first layer as PEFT saves it, and the model's package."""
    from safetensors.torch import save_file
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2))
    torch.jit.trace(net, torch.rand(1, 4)).save(str(folder / "model.pt"))
    (folder / "adapter").mkdir()
    save_file({"base_model.model.0.lora_A.weight": torch.rand(2, 4), "base_model.model.0.lora_B.weight": torch.rand(4, 2)},
              folder / "adapter" / "adapter_model.safetensors")
    (folder / "adapter" / "adapter_config.json").write_text(
        json.dumps({"peft_type": "LORA", "r": 2, "lora_alpha": 4, "use_dora": False, "target_modules": ["0"]}))
    subprocess.run([plait, "compile", "-q", "-o", "p.mlpackage", "--input", "x=[1, 4]", "--output", "y", "model.pt"], cwd=folder,
                   check=True)


def run_python(code, path):
    """What a block says with a code: its error, or its warnings."""
    path.write_text(code)
    spec = importlib.util.spec_from_file_location(f"example_{path.parent.name}_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # TorchScript looks for the sources of classes there
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            spec.loader.exec_module(module)
            said = ""
        except Exception as error:
            if not getattr(error, "code", ""):
                raise
            said = f"{error} [{error.code}]"
    return said + "\n".join(str(warning.message) for warning in caught)


def run(page, folder, plait):
    """What the last block of the example says; those before it have to succeed. `plait` is the command's path."""
    environment = {**os.environ, "PATH": f"{pathlib.Path(plait).parent}{os.pathsep}{os.environ['PATH']}"}
    said, before, path = "", pathlib.Path.cwd(), os.environ["PATH"]
    os.chdir(folder)
    os.environ["PATH"] = environment["PATH"]
    try:
        for number, (language, text) in enumerate(blocks(page)):
            if language == "python":
                output = folder / "output.txt"
                with output.open("w") as file:  # of commands that the block runs
                    saved = os.dup(2)
                    os.dup2(file.fileno(), 2)
                    try:
                        said = run_python(text, folder / f"block{number}.py")
                    finally:
                        os.dup2(saved, 2)
                        os.close(saved)
                said += output.read_text()
            else:
                result = subprocess.run(["bash", "-euc", text], capture_output=True, text=True, timeout=300)
                said = result.stderr
                assert result.returncode in (0, 1, 2), said
    finally:
        os.chdir(before)
        os.environ["PATH"] = path
    return said


def copy(prepared, to):
    for entry in prepared.iterdir():
        (shutil.copytree if entry.is_dir() else shutil.copy)(entry, to / entry.name)
