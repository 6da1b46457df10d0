"""Small models as one release of PyTorch saves them, with what it computes itself: test data of ReleasesTest.cpp.

    python3 write_release.py [FOLDER]        # writes FOLDER/torch-VERSION.zip

Runs in an environment that has that torch and NumPy alone, whatever the release: archives of torch.export from 2.4 on, TorchScript
before. What a release cannot save is noted in index.json with its words:

    {"torch": "2.6.0", "cases": [{"name": "cond", "file": "cond.pt2", "runs": 2, "inputs": ["[3, 4]"]}, …], "skipped": {"scan": "…"}}

"inputs" and "states" are what `plait compile` is told; "model" names one of several models of an archive.

Beside each file lie the arrays of its runs, in order: cond/0/input_0.npy, cond/0/output_0.npy.
"""

import io
import json
import os
import sys
import tempfile
import warnings
import zipfile
from typing import Dict, List, NamedTuple, Optional, Tuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

RELEASE = torch.__version__.split("+")[0]
NUMBER = tuple(int(part) for part in RELEASE.split(".")[:2])


# ---- Models ------------------------------------------------------------------------------------------------------------------


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm, self.up, self.down = nn.LayerNorm(8), nn.Linear(8, 16), nn.Linear(16, 8)

    def forward(self, x):
        return x + self.down(F.gelu(self.up(self.norm(x))))


class Stack(nn.Module):
    """Modules in modules."""

    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList([Block(), Block()])
        self.head = nn.Sequential(nn.ReLU(), nn.Linear(8, 3))

    def forward(self, x):
        for block in self.blocks:
            x = block(x)
        return self.head(x)


class Convolution(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.norm.running_mean.uniform_()
        self.norm.running_var.uniform_(0.5, 1.5)

    def forward(self, x):
        y = F.max_pool2d(torch.relu(self.norm(self.conv(x))), 2)
        return F.interpolate(y, scale_factor=2.0, mode="bilinear", align_corners=False), y.mean((2, 3))


class Attention(nn.Module):
    def __init__(self, **options):
        super().__init__()
        self.embed, self.qkv = nn.Embedding(11, 8), nn.Linear(8, 24)
        self.register_buffer("mask", torch.ones(16, 16).tril().bool(), **options)

    def forward(self, tokens):
        x = self.embed(tokens)
        rows, length = tokens.shape
        q, k, v = [part.view(rows, length, 2, 4).transpose(1, 2) for part in self.qkv(x).chunk(3, -1)]
        scores = q @ k.transpose(-1, -2) / 2.0
        scores = scores.masked_fill(~self.mask[:length, :length], float("-inf"))
        return (scores.softmax(-1) @ v).transpose(1, 2).reshape(rows, length, 8)


class Fused(nn.Module):
    def __init__(self):
        super().__init__()
        self.qkv = nn.Linear(8, 24)

    def forward(self, x):
        q, k, v = [part.view(2, 5, 2, 4).transpose(1, 2) for part in self.qkv(x).chunk(3, -1)]
        return F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2)


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm, self.gru = nn.LSTM(4, 3, batch_first=True), nn.GRU(3, 3)

    def forward(self, x):
        y, (h, c) = self.lstm(x)
        return self.gru(y.transpose(0, 1))[0], h, c


class Cache(nn.Module):
    """Buffers that forward writes, whole and in part."""

    def __init__(self):
        super().__init__()
        self.register_buffer("keys", torch.zeros(4, 3))
        self.register_buffer("count", torch.zeros(1))

    def forward(self, x):
        self.keys[1:3] = x
        self.count.add_(1)
        return self.keys * self.count + 1


class Derived(nn.Module):
    """A size that is twice another."""

    def forward(self, x, y):
        return x.repeat(2, 1) + y, torch.cat([x, y])


class Symbolic(nn.Module):
    def forward(self, x):
        n = x.shape[0]
        return torch.arange(n * 2 + 1), x.reshape(n, 2, 2).sum(1), x[: n // 2] * n, x.new_zeros(n + 1), x[-1:] * (n * 0.5)


class Counted(nn.Module):
    """Sizes as whole numbers alone."""

    def forward(self, x):
        n = x.shape[0]
        return torch.arange(n * 2 + 1), x.reshape(n, 2, 2).sum(1), x.new_zeros(n + 1), torch.cat([x, x])


class InPlace(nn.Module):
    def forward(self, x):
        y = x.clone()
        y[:, 1:3] = 7
        y.add_(1).transpose(0, 1)[0].mul_(x[:, 0])
        z = torch.zeros(3, 4)
        z.copy_(y)
        z[z > 2] = 0
        return y, z


class Cond(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 4)

    def forward(self, x):
        def yes(a):
            return self.linear(a)

        def no(a):
            return a * 2

        return torch.cond(x.sum() > 0, yes, no, (x,))


class While(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 4)

    def forward(self, x, n):
        from torch._higher_order_ops.while_loop import while_loop

        def goes_on(i, a):
            return i < n

        def turn(i, a):
            return i + 1, torch.tanh(self.linear(a))

        i, y = while_loop(goes_on, turn, (torch.zeros((), dtype=torch.int64), x))
        return y + 1, i


class Scan(nn.Module):
    def forward(self, x):
        from torch._higher_order_ops.scan import scan

        def step(carried, row):
            total = carried + row
            return total, total * 2

        return scan(step, torch.zeros(4), x)


class Mapped(nn.Module):
    def forward(self, x, y):
        from functorch.experimental.control_flow import map

        def turn(row, other):
            return torch.relu(row) + other

        return map(turn, x, y)


class Modes(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 4)

    def forward(self, x):
        with torch.no_grad():
            y = x + 1
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=False):
            z = self.linear(y)
        return y, z


class NoGrad(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 4)

    def forward(self, x):
        with torch.no_grad():
            y = x + 1
        return y, self.linear(y)


class Strided(nn.Module):
    """Weights that are views: transposed, of one storage, tied, a part of another."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(4, 6), nn.Linear(4, 6)
        self.first.weight = nn.Parameter(torch.rand(4, 6).t())
        self.second.weight = self.first.weight
        base = torch.rand(5, 8)
        self.register_buffer("left", base[:, :4])
        self.register_buffer("right", base[1, 2:8:3])

    def forward(self, x):
        return self.first(x) + self.second(x * 2), x @ self.left.t(), self.right + x[0, :2]


class Types(nn.Module):
    """Elements of other types than float."""

    def __init__(self):
        super().__init__()
        self.halves = nn.Parameter(torch.rand(4).half())
        self.doubles = nn.Parameter(torch.rand(4).double())
        self.bfloats = nn.Parameter(torch.rand(4).bfloat16())
        self.register_buffer("bytes", torch.arange(4, dtype=torch.uint8) + 250)
        self.register_buffer("small", torch.arange(4, dtype=torch.int8) - 2)
        self.register_buffer("short", torch.arange(4, dtype=torch.int16) * 9999)
        self.register_buffer("long", torch.arange(4))
        self.register_buffer("bools", torch.tensor([True, False, True, True]))

    def forward(self, x):
        y = x * self.halves.float() + self.doubles.float() + self.bfloats.to(torch.float32)
        return torch.where(self.bools, y, -y), self.bytes + 1, self.short + self.small, (x.long() + self.long).to(torch.int32)


class Complex(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("turns", torch.polar(torch.ones(3, 2), torch.rand(3, 2)))

    def forward(self, x):
        return torch.view_as_real(torch.view_as_complex(x.reshape(3, 2, 2)) * self.turns).flatten(1)


class Trees(nn.Module):
    """Dictionaries, tuples, numbers and None, in and out; constants of the code."""

    def __init__(self):
        super().__init__()
        self.constant = torch.tensor([1.0, 2.0, 3.0])

    def forward(self, x, others, flag, options, *, last):
        y = x * self.constant + others[0] * others[1]["b"] + torch.tensor(3.0)
        y = y + options["a"] + last if flag else y
        first, second = torch.split(y, [1, 2], dim=1)
        return {"sum": y, "parts": (first, [second]), "none": None, "number": 3}


class Several(nn.Module):
    """Operators with several results, and arguments of every kind."""

    def forward(self, x):
        values, places = x.topk(2, dim=-1)
        largest, where = x.max(dim=0, keepdim=True)
        parts = x.unbind(0)
        total = torch.stack([part.sum() for part in parts])
        clipped = torch.clamp(x, min=-0.5, max=float("inf")).to(dtype=torch.float32, memory_format=torch.contiguous_format)
        return values, places.to(torch.int32), largest, where.to(torch.int32), total, clipped.cumsum(1).roll(1, 0), x.var(1)


class Flow(nn.Module):
    """Branches, loops, lists, dictionaries, tuples and text of TorchScript."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(4, 4), nn.Linear(4, 4)])
        self.mode = "add"

    def forward(self, x, skip: Optional[torch.Tensor] = None) -> Dict[str, torch.Tensor]:
        found: Dict[str, torch.Tensor] = {}
        parts: List[torch.Tensor] = []
        assert x.dim() == 2, "two dimensions"
        for i, layer in enumerate(self.layers):
            x = layer(x)
            if i == 0:
                x = torch.relu(x)
            parts.append(x)
        n = 0
        while n < 3:
            x = x + n if self.mode == "add" else x - n
            n += 1
        if skip is not None:
            x = x + skip
        if bool(x.sum() > 0):
            found["sum"] = x
        else:
            found["sum"] = -x
        found["parts"] = torch.cat([part[:, : part.size(1) // 2] for part in parts], 1)
        return found


class Pair(NamedTuple):
    first: torch.Tensor
    second: torch.Tensor


class Tuples(nn.Module):
    def forward(self, x) -> Tuple[Pair, torch.Tensor]:
        values, places = torch.max(x, 1)
        return Pair(values, places.to(torch.int32)), x.mean(0, keepdim=True)


class Changed(nn.Module):
    """Operators whose meaning or arguments other releases changed."""

    def forward(self, x):
        whole = (x * 10).to(torch.int64)
        full = torch.full([2], 7.0)
        steps = torch.linspace(-1.0, 1.0, steps=5) + torch.logspace(0.0, 1.0, steps=5)
        halves = whole.to(torch.float32) / 4
        shaped = F.interpolate(x.reshape(1, 1, 2, 4), scale_factor=2.0, mode="nearest")
        resized = F.interpolate(x.reshape(1, 1, 2, 4), size=[3, 5], mode="bilinear", align_corners=True)
        grid = F.affine_grid(torch.tensor([[[1.0, 0.0, 0.1], [0.0, 1.0, 0.0]]]), [1, 1, 2, 4], align_corners=False)
        sampled = F.grid_sample(x.reshape(1, 1, 2, 4), grid, align_corners=False)
        return F.gelu(x), full, steps, halves, shaped, resized, sampled, F.softplus(x), F.hardswish(x), x.norm(), x.std(1)


class DefaultSteps(nn.Module):
    """linspace without a number of steps, as it was until torch 1.10."""

    def forward(self, x):
        return torch.linspace(0.0, 1.0)[:5] + x


class Elements(nn.Module):
    def __init__(self):
        super().__init__()
        self.halves = nn.Parameter(torch.rand(4).half())
        self.doubles = nn.Parameter(torch.rand(4).double())
        self.register_buffer("octets", torch.arange(4, dtype=torch.uint8) + 250)
        self.register_buffer("long", torch.arange(4))
        self.register_buffer("bools", torch.tensor([True, False, True, True]))
        base = torch.rand(5, 8)
        self.register_buffer("left", base[:, :4])
        self.register_buffer("right", base[1, 2:8:4])

    def forward(self, x):
        y = x * self.halves.float() + self.doubles.float()
        return torch.where(self.bools, y, -y), self.octets + 1, x.long() + self.long, x @ self.left.t(), x[:, :2] + self.right


# ---- Cases -------------------------------------------------------------------------------------------------------------------


def cases():
    """(name, model, runs, options): the first run is what the model is exported with."""
    def rows(*sizes):
        return [(torch.rand(size, 4),) for size in sizes]

    bound = {"min": 2, "max": 9}
    yield "stack", Stack(), [(torch.rand(2, 8),)], {}
    yield "stack_decomposed", Stack(), [(torch.rand(2, 8),)], {"decomposed": True}
    yield "stack_strict", Stack(), [(torch.rand(2, 8),)], {"strict": True}
    yield "stack_training", Stack(), [(torch.rand(2, 8),)], {"training": True}
    yield "batch", Stack(), [(torch.rand(3, 8),), (torch.rand(7, 8),)], {"sizes": [{0: bound}]}
    yield "convolution", Convolution(), [(torch.rand(2, 2, 6, 6),)], {}
    yield "convolution_decomposed", Convolution(), [(torch.rand(2, 2, 6, 6),)], {"decomposed": True}
    yield "attention", Attention(persistent=False), [(torch.tensor([[1, 5, 2, 10, 0]]),)], {}
    yield "attention_sizes", Attention(persistent=False), [(torch.tensor([[1, 5, 2], [3, 3, 4]]),), (torch.tensor([[7, 8, 9, 10, 1, 2]] * 2),)], {
        "sizes": [{1: {"min": 2, "max": 6}}]}
    yield "fused", Fused(), [(torch.rand(2, 5, 8),)], {}
    yield "fused_decomposed", Fused(), [(torch.rand(2, 5, 8),)], {"decomposed": True}
    yield "recurrent", Recurrent(), [(torch.rand(2, 5, 4),)], {}
    cache = [(torch.tensor([[1.5, 2.0, 0.25], [-1.0, 0.0, 8.0]]),)] * 2, {"states": ["keys=fp16[4, 3]", "count=fp16[1]"]}
    yield "cache", Cache(), cache[0], cache[1]
    yield "cache_decomposed", Cache(), cache[0], dict(cache[1], decomposed=True)
    yield "derived", Derived(), [(torch.rand(3, 4), torch.rand(6, 4)), (torch.rand(5, 4), torch.rand(10, 4))], {
        "sizes": [{0: bound}, {0: "twice"}]}
    some = {"sizes": [{0: {"min": 4, "max": 9}}]}
    yield "symbolic", Symbolic(), rows(6, 9, 4), some
    yield "symbolic_decomposed", Symbolic(), rows(6, 9, 4), dict(some, decomposed=True)
    yield "counted", Counted(), rows(6, 9, 4), some
    yield "in_place", InPlace(), rows(3), {}
    yield "in_place_training", InPlace(), rows(3), {"training": True}
    yield "cond", Cond(), [(torch.rand(3, 4),), (-torch.rand(3, 4),)], {}
    yield "while", While(), [(torch.rand(3, 4), torch.tensor(3)), (torch.rand(3, 4), torch.tensor(0))], {}
    yield "scan", Scan(), rows(3), {}
    yield "map", Mapped(), [(torch.randn(3, 4), torch.rand(4))], {}
    yield "modes", Modes(), rows(3), {}
    yield "no_grad", NoGrad(), rows(3), {}
    yield "strided", Strided(), rows(3), {}
    yield "types", Types(), rows(2), {}
    yield "bfloat", Stack().bfloat16(), [(torch.rand(2, 8),)], {"widened": True}
    yield "complex", Complex(), rows(3), {}
    yield "trees", Trees(), [(torch.rand(2, 3), [torch.rand(2, 3), {"b": torch.rand(3)}], True, {"a": torch.rand(1)})], {
        "keywords": {"last": torch.rand(2, 1)}}
    yield "several", Several(), [(torch.rand(4, 4) - 0.5,)], {}


def script_cases():
    """(name, module of TorchScript as a thunk, model, runs, how inputs are declared)."""
    def traced(model, run):
        return lambda: torch.jit.trace(model.eval(), run)

    def scripted(model):
        return lambda: torch.jit.script(model.eval())

    def case(name, model, run, *declared, trace=False):
        return name, traced(model, run) if trace else scripted(model), model.eval(), [run], declared

    yield case("traced_stack", Stack(), (torch.rand(2, 8),), "[2, 8]", trace=True)
    yield case("scripted_stack", Stack(), (torch.rand(2, 8),), "[2, 8]")
    model = Stack().eval()
    yield "frozen_stack", lambda: torch.jit.freeze(torch.jit.script(model)), model, [(torch.rand(2, 8),)], ("[2, 8]",)
    yield case("traced_convolution", Convolution(), (torch.rand(2, 2, 6, 6),), "[2, 2, 6, 6]", trace=True)
    yield case("scripted_convolution", Convolution(), (torch.rand(2, 2, 6, 6),), "[2, 2, 6, 6]")
    yield case("traced_attention", Attention(), (torch.tensor([[1, 5, 2, 10, 0]]),), "int32[1, 5]", trace=True)
    yield case("scripted_recurrent", Recurrent(), (torch.rand(2, 5, 4),), "[2, 5, 4]")
    yield case("scripted_flow", Flow(), (torch.rand(3, 4),), "[3, 4]")
    yield case("scripted_tuples", Tuples(), (torch.rand(3, 4),), "[3, 4]")
    yield case("traced_changed", Changed(), (torch.rand(2, 4),), "[2, 4]", trace=True)
    yield case("scripted_changed", Changed(), (torch.rand(2, 4),), "[2, 4]")
    yield case("scripted_default_steps", DefaultSteps(), (torch.rand(5),), "[5]")
    yield case("scripted_elements", Elements(), (torch.rand(3, 4),), "[3, 4]")
    yield case("traced_in_place", InPlace(), (torch.rand(3, 4),), "[3, 4]", trace=True)


class Writer:
    def __init__(self, path):
        self.zip = zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9)
        self.index = {"torch": RELEASE, "cases": [], "skipped": {}}

    def add(self, name, file, content, runs, **more):
        """`runs`: (inputs, outputs) as tensors."""
        if file not in self.zip.namelist():
            self.zip.writestr(file, content)
        for number, (inputs, outputs) in enumerate(runs):
            for kind, tensors in (("input", inputs), ("output", outputs)):
                for i, tensor in enumerate(tensors):
                    array = io.BytesIO()
                    np.save(array, np.atleast_1d(tensor.detach().numpy()))  # Core ML has no rank 0
                    self.zip.writestr("{}/{}/{}_{}.npy".format(name, number, kind, i), array.getvalue())
        self.index["cases"].append(dict(name=name, file=file, runs=len(runs), **more))

    def skip(self, name, error):
        self.index["skipped"][name] = "{}: {}".format(type(error).__name__, str(error).strip().split("\n")[0][:200])

    def close(self):
        self.zip.writestr("index.json", json.dumps(self.index, indent=1))
        self.zip.close()


def leaves(value, numbers=True):
    if isinstance(value, torch.Tensor):
        return [value]
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        return [leaf for part in value for leaf in leaves(part, numbers)]
    return [torch.tensor(value)] if numbers and value is not None else []


def copied(value):
    if isinstance(value, torch.Tensor):
        return value.clone()
    if isinstance(value, dict):
        return {key: copied(one) for key, one in value.items()}
    if hasattr(value, "_fields"):
        return type(value)(*map(copied, value))
    return type(value)(map(copied, value)) if isinstance(value, (list, tuple)) else value


def computed(model, runs, keywords):
    """[(inputs, outputs)], after whatever earlier runs wrote. Inputs are tensors alone."""
    results = []
    for run in runs:
        inputs = [copied(leaf) for leaf in leaves([run, keywords], numbers=False)]
        with torch.no_grad():
            outputs = leaves(copied(model(*copied(run), **copied(keywords))))
        results.append((inputs, outputs))
    return results


# ---- torch.export ------------------------------------------------------------------------------------------------------------


def dimensions(sizes):
    from torch.export import Dim
    free = {}

    def dim(what):
        if what == "twice":
            return 2 * free["n"]
        return free.setdefault("n", Dim("n", **what))

    return None if sizes is None else tuple({axis: dim(what) for axis, what in one.items()} for one in sizes)


def exported(model, run, options):
    export, more = torch.export.export, {}
    if options.get("training"):
        export = getattr(torch.export, "export_for_training", export)
    if options.get("strict"):
        more["strict"] = True
    with torch.no_grad():
        program = export(model, run, options.get("keywords"), dynamic_shapes=dimensions(options.get("sizes")), **more)
        return program.run_decompositions({} if NUMBER >= (2, 6) else None) if options.get("decomposed") else program


def several(writer, folder):
    """Two models in one archive."""
    try:
        from torch.export.pt2_archive._package import package_pt2
    except ImportError as error:
        writer.skip("two", error)
        return
    model = Stack().eval()
    runs = {name: [(torch.rand(rows, 8),)] for name, rows in (("one", 1), ("two", 2))}
    programs = {name: torch.export.export(model, run[0]) for name, run in runs.items()}
    path = os.path.join(folder, "several.pt2")
    package_pt2(path, exported_programs=programs)
    for name, run in runs.items():
        with open(path, "rb") as file:
            writer.add("two_" + name, "two.pt2", file.read(), computed(model, run, {}), model=name)


def write_archives(writer, folder):
    for name, model, runs, options in cases():
        path = os.path.join(folder, name + ".pt2")
        model.eval()
        example = runs[0]
        if options.get("widened"):
            example = tuple(one.bfloat16() for one in example)
        try:
            torch.export.save(exported(model, example, options), path)
        except Exception as error:
            writer.skip(name, error)
            continue
        with open(path, "rb") as file:
            content = file.read()
        # Half precision is computed in full precision, as an fp32 package does.
        model = model.float() if options.get("widened") else model
        writer.add(name, name + ".pt2", content, computed(model, runs, options.get("keywords", {})),
                   **{key: options[key] for key in ("states",) if key in options})
    several(writer, folder)


# ---- TorchScript -------------------------------------------------------------------------------------------------------------


def write_scripts(writer, folder):
    for name, make, model, runs, declared in script_cases():
        path = os.path.join(folder, name + ".pt")
        try:
            results = computed(model, runs, {})
            torch.jit.save(make(), path)
        except Exception as error:
            writer.skip(name, error)
            continue
        with open(path, "rb") as file:
            writer.add(name, name + ".pt", file.read(), results, inputs=list(declared))


def main():
    torch.manual_seed(0)
    warnings.simplefilter("ignore")
    target = sys.argv[1] if len(sys.argv) > 1 else "."
    writer = Writer(os.path.join(target, "torch-{}.zip".format(RELEASE)))
    with tempfile.TemporaryDirectory() as folder:
        (write_archives if NUMBER >= (2, 4) else write_scripts)(writer, folder)
    writer.close()
    print(RELEASE, len(writer.index["cases"]), "cases")
    for name, why in writer.index["skipped"].items():
        print("  skipped {}: {}".format(name, why))


if __name__ == "__main__":
    main()
