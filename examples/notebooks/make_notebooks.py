"""Writes the notebooks of this folder, executed, from the cells below: `python make_notebooks.py`, where plait is installed.

A notebook that was edited by hand would be written over; the cells are edited here.
"""

import pathlib
import sys

import nbformat
from nbclient import NotebookClient

HERE = pathlib.Path(__file__).parent

ADAPTERS = [
    "# Adapters of one base\n\nA base and two LoRA adapters of it, live in this process, become one Core ML package: three functions, one base in the file.",
    """import warnings

warnings.filterwarnings("ignore")

import numpy as np
import plait
import torch
from peft import LoraConfig, get_peft_model
from torch import nn

seed = torch.manual_seed(0)""",
    "## A base, and two adapters on it\n\nAny `nn.Module` will do. The adapters would be trained; here they begin with random numbers.",
    """class Base(nn.Module):
    def __init__(self, size=512):
        super().__init__()
        self.up = nn.Linear(size, 2 * size)
        self.down = nn.Linear(2 * size, size)

    def forward(self, x):
        return x + self.down(torch.relu(self.up(x)))


def lora(rank):
    return LoraConfig(target_modules=["up", "down"], r=rank, init_lora_weights=False)


base = Base()
live = get_peft_model(base, lora(4), adapter_name="chat")
live.add_adapter("code", lora(8))""",
    "## One package\n\nThe base is traced once, for all three functions. Its weights are read where they are.",
    """package = plait.compile(live, base=base, base_function="plain", inputs={"x": (1, 512)}, outputs=["y"])
package""",
    "The numbers of the table are data:",
    """for function in package.summary.functions:
    print(f"{function.name:6} {function.weight_bytes:>9,} bytes of weights, {function.own_bytes:>7,} its own")
print(f"without sharing the package would be {package.summary.referenced_bytes / package.summary.unique_bytes:.1f} times as large")""",
    "## It predicts, on any system",
    """x = torch.rand(1, 512)
for name in ("chat", "code"):
    live.set_adapter(name)
    with torch.no_grad():
        expected = live.eval()(x).numpy()
    ours = package.functions[name](x)["y"]
    print(f"{name}: off by {np.abs(ours - expected).max():.4f} of {np.abs(expected).max():.1f}")""",
    "`verify` says whether rounding explains that:",
    """live = live.unload()  # the base is itself again
checked = package.verify(base, function="plain")
output = checked.outputs[0]
print(checked.passed, f"off by {output.distance:.1e}, rounding explains {output.explained:.1e}")""",
    "## One more, later",
    """third = get_peft_model(base, lora(2), adapter_name="verse")
report = package.add(adapters={"verse": third}, inputs={"x": (1, 512)}, outputs=["y"])
print(report.functions[0].name, f"{report.functions[0].own_bytes:,} bytes of its own,", list(package.functions))""",
]

FAULT = [
    "# Find the fp16 fault\n\nA model is right in PyTorch and wrong as a package. Which operation is it, and what helps?",
    """import numpy as np
import plait
import torch
from torch import nn

seed = torch.manual_seed(0)""",
    "## A model that half precision does not hold\n\nIt normalises by a sum of cubes. The cube of 100 is a million, and the largest number of fp16 is 65504. (Of squares plait writes a form that does not overflow.)",
    """class Norm(nn.Module):
    def forward(self, x):
        return x / (x.abs() ** 3).sum(-1, keepdim=True) ** (1 / 3)


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Linear(64, 512)
        self.norm = Norm()
        self.head = nn.Linear(512, 4)

    def forward(self, x):
        return self.head(self.norm(100 * self.encoder(x)))


model = Model().eval()
half = plait.compile(model, inputs={"x": (1, 64)}, outputs=["y"], debug_info=True)""",
    "## Is it right?",
    """checked = half.verify(model)
for output in checked.outputs:
    print(output.name, output.verdict, f"off by {output.comparison.max_absolute:.3g} of {output.comparison.peak:.3g}")""",
    "## Where does it begin?\n\n`bisect` runs the function step by step, with and without rounding.",
    """found = half.bisect(model)
for line in found.text:
    print(line)""",
    "The values inside can be looked at:",
    """x = np.random.default_rng(0).normal(size=(1, 64)).astype(np.float32)
values = half.default.trace({"x": x})
for name, array in values.items():
    print(f"{name:24} {array.dtype}  largest {np.abs(array.astype(np.float64)).max():.4g}")""",
    "## What helps\n\nThe whole package in fp32, at twice the size:",
    """full = plait.compile(model, inputs={"x": (1, 64)}, outputs=["y"], precision="fp32")
print(full.verify(model).passed, full.summary.file_bytes, "bytes in place of", half.summary.file_bytes)""",
    "Or a norm that never makes the large number:",
    """class Careful(nn.Module):
    def forward(self, x):
        x = x / x.abs().amax(-1, keepdim=True)
        return x / (x.abs() ** 3).sum(-1, keepdim=True) ** (1 / 3)


model.norm = Careful()
mended = plait.compile(model, inputs={"x": (1, 64)}, outputs=["y"])
print(mended.verify(model).passed, mended.summary.file_bytes, "bytes")""",
]

NOTEBOOKS = {"adapters": ADAPTERS, "fp16_fault": FAULT}


def notebook(cells):
    """Text and code take turns."""
    made = nbformat.v4.new_notebook(metadata={"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}})
    for number, text in enumerate(cells):
        code = number % 2 == 1
        cell = nbformat.v4.new_code_cell(text) if code else nbformat.v4.new_markdown_cell(text)
        cell["id"] = f"cell-{number}"
        made.cells.append(cell)
    return made


def execute(name):
    made = notebook(NOTEBOOKS[name])
    NotebookClient(made, timeout=120, kernel_name="python3").execute()
    for cell in made.cells:
        cell.metadata.pop("execution", None)
        for output in cell.get("outputs", ()):
            if "text/html" in output.get("data", {}):
                output.data.pop("text/plain", None)  # where the package lay
    made.metadata.pop("language_info", None)
    return made


if __name__ == "__main__":
    for name in sys.argv[1:] or NOTEBOOKS:
        nbformat.write(execute(name), HERE / f"{name}.ipynb")
