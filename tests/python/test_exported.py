"""Archives of torch.export in: what they compute, their interface, their dialects, states and adapters."""

import json
import re
import zipfile

import exported
import pytest
import torch
from command import plait, succeed
from exported import check
from torch import nn
from torch.export import Dim


class Net(nn.Module):
    """Parameters, buffers of both kinds, a lifted constant, a list and a dictionary."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.linear, self.norm = nn.Linear(4, 4), nn.BatchNorm1d(4)
        self.register_buffer("offset", torch.rand(4))
        self.register_buffer("scale", torch.rand(4), persistent=False)
        self.constant = torch.tensor([1.0, 2.0, 3.0, 4.0])

    def forward(self, x, others, *, flag=True):
        y = self.norm(self.linear(x)) * self.scale + self.offset * self.constant + torch.tensor(3.0)
        y = y + others[0] if flag else y
        first, second = torch.split(y, [1, 3], dim=1)
        return {"probabilities": torch.softmax(y, 1), "parts": (first, second * 2), "rows": x.shape[0], "none": None}


ROWS = Dim("rows", min=2, max=10)


@pytest.mark.parametrize("decomposed", [False, True])
def test_interface(tmp_path, decomposed):
    """Inputs need not be declared; sizes that inputs have in common are one; results are called as their keys."""
    model, inputs = Net(), (torch.rand(3, 4), [torch.rand(3, 4)])
    dynamic = {"x": {0: ROWS}, "others": [{0: ROWS}], "flag": None}
    exported.save(tmp_path / "m.pt2", model, inputs, dynamic, decomposed, kwargs={"flag": True})
    package = tmp_path / "m.mlpackage"
    succeed("compile", "-q", "-o", package, "--precision", "fp32", tmp_path / "m.pt2")
    assert exported.names(package) == (["x", "others_0"], ["probabilities", "parts", "parts_0", "rows"])
    for rows in (3, 7):
        exported.check_run(tmp_path, package, lambda x, y: model(x, [y]), (torch.rand(rows, 4), torch.rand(rows, 4)))
    succeed("verify", package, "--against", tmp_path / "m.pt2")
    declared = ["--input", "a=[4, 4]", "--input", "b=[4, 4]", "--output", "p"]
    succeed("compile", "-q", "-o", package, *declared, tmp_path / "m.pt2")
    assert exported.names(package)[0] == ["a", "b"]


def refused(message, *arguments):
    result = plait("compile", *arguments)
    assert result.returncode == 1
    assert re.search(message, result.stderr), result.stderr


def test_declarations_that_do_not_fit(tmp_path):
    archive, package = tmp_path / "m.pt2", tmp_path / "m.mlpackage"
    exported.save(archive, nn.Linear(4, 2), [torch.rand(3, 4)], [{0: ROWS}])
    to = ["-o", package, archive]
    refused(r"'input' is declared \[3, 5\], and the model was exported for \[2..10, 4\]", "--input", "input=[3, 5]", *to)
    refused(r"declared \[1..4, 4\], and .* for \[2..10, 4\]", "--input", "input=[1..4, 4]", *to)
    refused(r"2 inputs are declared, but the model takes 1: input", "--input", "a=[3, 4]", "--input", "b=[3, 4]", *to)
    exported.save(archive, nn.Linear(4, 2), [torch.rand(3, 4)], [{0: Dim.DYNAMIC}])
    refused(r"no bound on a size of input 'input', \[2.., 4\]; .*--input 'input=\[2..512, 4\]'", *to)
    succeed("compile", "-q", "--input", "input=[2..64, 4]", *to)
    assert not plait("compile", "-o", package, f"{archive}:other").returncode == 0


class InPlace(nn.Module):
    def forward(self, x):
        y = x.clone()
        y[:, 1:3] = 7
        y.add_(1).transpose(0, 1)[0].mul_(x[:, 0])
        z = torch.zeros(3, 4)
        z.copy_(y)
        z[z > 2] = 0
        return y, z


class Symbolic(nn.Module):
    def forward(self, x):
        n = x.shape[0]
        k = max(n, 3) if isinstance(n, int) else torch.sym_max(n, 3)
        return torch.arange(n * 2 + 1), x.reshape(n // 1, 2, 2).sum(1), torch.zeros(k), n * 1.5, x.new_full((n,), n)


def test_dialects(tmp_path):
    """Writes in place, and sizes as numbers, decomposed and not."""
    for decomposed in (False, True):
        check(tmp_path / f"in_place{decomposed}", InPlace(), [torch.rand(3, 4)], decomposed=decomposed)
        check(tmp_path / f"symbolic{decomposed}", Symbolic(), [torch.rand(4, 4)], decomposed=decomposed,
              dynamic=[{0: Dim("n", min=2, max=9)}], runs=[[torch.rand(7, 4)], [torch.rand(2, 4)]])


class Branch(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 4)

    def forward(self, x):
        return torch.cond(x.sum() > 0, lambda a: self.linear(a), lambda a: a * 2, (x,))


class SizeBranch(nn.Module):
    def forward(self, x):
        return torch.cond(x.shape[0] > 4, lambda a: a + 1, lambda a: a * 2, (x,))


class While(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 4)

    def forward(self, x, n):
        from torch._higher_order_ops import while_loop
        i, y = while_loop(lambda i, a: i < n, lambda i, a: (i + 1, torch.tanh(self.linear(a))), (torch.tensor(0), x))
        return y + 1, i


class Scan(nn.Module):
    def forward(self, x):
        from torch._higher_order_ops import scan

        def step(carried, row):
            total = carried + row
            return total, total * 2
        return scan(step, torch.zeros(4), x)


class Mapped(nn.Module):
    def forward(self, x, y):
        from torch._higher_order_ops.map import map
        return map(lambda row, other: torch.relu(row) + other, x, y)


class Modes(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 4)

    def forward(self, x):
        with torch.no_grad():
            y = x + 1
        with torch.autocast("cpu", dtype=torch.bfloat16):
            z = self.linear(y)
        return y, z.float()


def test_branches(tmp_path):
    check(tmp_path / "branch", Branch(), [torch.rand(3, 4)], runs=[[-torch.rand(3, 4)]])
    check(tmp_path / "size", SizeBranch(), [torch.rand(3, 4)], dynamic=[{0: Dim("n", min=2, max=9)}],
          runs=[[torch.rand(7, 4)]])


def test_loops(tmp_path):
    check(tmp_path / "while", While(), [torch.rand(3, 4), torch.tensor(3)], runs=[[torch.rand(3, 4), torch.tensor(0)]])
    check(tmp_path / "scan", Scan(), [torch.rand(3, 4)])
    check(tmp_path / "rows", Scan(), [torch.rand(3, 4)], dynamic=[{0: Dim("n", min=2, max=9)}], runs=[[torch.rand(8, 4)]])
    check(tmp_path / "map", Mapped(), [torch.randn(3, 4), torch.rand(4)])


def test_modes(tmp_path):
    folder, model = tmp_path, Modes()
    exported.save(folder / "m.pt2", model, [torch.rand(3, 4)])
    succeed("compile", "-q", "-o", folder / "m.mlpackage", folder / "m.pt2")
    exported.check_run(folder, folder / "m.mlpackage", model, [torch.rand(3, 4)], 3e-2)


class Counter(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("count", torch.zeros(4))

    def forward(self, x):
        self.count.add_(1)
        return x * self.count


def test_operators_of_libraries_that_aten_has(tmp_path):
    """transformers multiplies the experts of a mixture by an operator of its own, which is ATen's under another name."""
    library = torch.library.Library("transformers", "FRAGMENT")
    known = hasattr(torch.ops.transformers, "grouped_mm_fallback")  # another test has imported transformers
    if not known:
        library.define("grouped_mm_fallback(Tensor input, Tensor weight, Tensor offs) -> Tensor")

    def grouped(x, weight, ends):
        rows, result, begin = torch.arange(x.shape[0]), torch.zeros(x.shape[0], weight.shape[2]), 0
        for expert, end in enumerate(ends.tolist()):
            own = (rows >= begin) & (rows < end)
            result, begin = torch.where(own[:, None], x @ weight[expert], result), end
        return result

    if not known:
        library.impl("grouped_mm_fallback", grouped, "CPU")
        library.impl("grouped_mm_fallback", lambda x, weight, ends: x.new_empty(x.shape[0], weight.shape[2]), "Meta")

    class Experts(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.weight = nn.Parameter(torch.rand(3, 4, 8))

        def forward(self, x, ends):
            return torch.ops.transformers.grouped_mm_fallback(x, self.weight, ends)

    inputs = torch.rand(6, 4), torch.tensor([2, 2, 6], dtype=torch.int32)
    check(tmp_path, Experts(), inputs, runs=[(torch.rand(6, 4), torch.tensor([0, 5, 6], dtype=torch.int32))],
          verify=False)  # of offsets that are drawn, PyTorch leaves rows as they were in memory


@pytest.mark.parametrize("decomposed", [False, True])
def test_states(tmp_path, decomposed):
    archive, package = tmp_path / "m.pt2", tmp_path / "m.mlpackage"
    exported.save(archive, Counter(), [torch.rand(3, 4)], decomposed=decomposed)
    refused("writes to its own 'count'.*", "-o", package, archive)
    succeed("compile", "-q", "-o", package, "--states", "auto", archive)
    verified = succeed("verify", package, "--against", archive, "--steps", "3", "--draws", "2")
    assert "state count" in verified.stdout
    succeed("compile", "-q", "-o", package, "--states", "none", archive)


def test_several_models(tmp_path):
    """A function of each, with one copy of weights that are equal."""
    torch.manual_seed(0)
    from torch.export.pt2_archive._package import package_pt2
    model = nn.Sequential(nn.Linear(200, 200), nn.ReLU())
    programs = {name: torch.export.export(model, (torch.rand(rows, 200),)) for name, rows in (("one", 1), ("two", 2))}
    archive, package = tmp_path / "m.pt2", tmp_path / "m.mlpackage"
    package_pt2(archive, exported_programs=programs)
    succeed("compile", "-q", "-o", package, "--precision", "fp32", archive)
    functions = json.loads(succeed("inspect", package, "--json").stdout)["functions"]
    assert [f["name"] for f in functions] == ["one", "two"]
    assert (package / "Data/com.apple.CoreML/weights/weight.bin").stat().st_size < 200 * 200 * 4 * 1.2
    for name in programs:
        succeed("verify", package, "--function", name, "--against", f"{archive}:{name}")
    refused("no model 'three'; it has one, two", "-o", package, f"{archive}:three")
    refused("2 models: one, two", "-o", package, "--function", f"f={archive}")
    succeed("compile", "-q", "-o", package, "--function", f"f={archive}:two")


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(8, 8), nn.Linear(8, 8)

    def forward(self, x):
        return self.second(torch.relu(self.first(x))) + x


class Stack(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.blocks = nn.ModuleList(Residual() for _ in range(2))

    def forward(self, x):
        for block in self.blocks:
            x = block(x)
        return x


def test_places(tmp_path):
    """Messages, reports and --bisect name modules and lines."""
    class Bad(Stack):
        def forward(self, x):
            return torch.linalg.svdvals(super().forward(x))
    archive, package = tmp_path / "m.pt2", tmp_path / "m.mlpackage"
    exported.save(archive, Bad(), [torch.rand(8, 8)])
    refused(r"aten::linalg_svdvals.*test_exported.py:\d+ in forward", "-o", package, archive)
    exported.save(archive, Stack(), [torch.rand(2, 8)])
    text = succeed("compile", "-q", "-o", package, "--print-after", "to-half", archive).stdout
    assert re.search(r"blocks[._]0[._]first", text), text


def test_weights_that_are_damaged(tmp_path):
    archive, package, damaged = tmp_path / "m.pt2", tmp_path / "m.mlpackage", tmp_path / "damaged.pt2"
    exported.save(archive, nn.Linear(64, 64), [torch.rand(2, 64)])
    content = bytearray(archive.read_bytes())
    with zipfile.ZipFile(archive) as zipped:
        weight = max(zipped.infolist(), key=lambda i: i.file_size if "weight_" in i.filename else 0)
    content[weight.header_offset + 2000] ^= 1
    damaged.write_bytes(content)
    refused(f"record '.*{weight.filename}' is damaged", "-o", package, damaged)
    damaged.write_bytes(bytes(content[:-100]))
    refused("truncated or damaged", "-o", package, damaged)


def changed(archive, target, edit):
    """The archive with its program edited."""
    with zipfile.ZipFile(archive) as source, zipfile.ZipFile(target, "w") as out:
        for item in source.infolist():
            data = source.read(item)
            if item.filename.endswith("models/model.json"):
                program = json.loads(data)
                edit(program)
                data = json.dumps(program).encode()
            out.writestr(item.filename, data)


def test_programs_that_are_refused(tmp_path):
    archive, package, edited = tmp_path / "m.pt2", tmp_path / "m.mlpackage", tmp_path / "edited.pt2"
    exported.save(archive, nn.Linear(4, 4), [torch.rand(2, 4)])
    succeed("compile", "-q", "-o", tmp_path / "good.mlpackage", archive)

    def node(program):
        return program["graph_module"]["graph"]["nodes"][0]
    for message, edit in {
        "version 9.0 of the schema": lambda p: p.update(schema_version={"major": 9, "minor": 0}),
        "'#mine:op' is an operator of a library": lambda p: node(p).update(target="#mine:op"),
        "mine::op": lambda p: node(p).update(target="torch.ops.mine.op.default"),
        "triton_kernel_wrapper": lambda p: node(p).update(target="torch.ops.higher_order.triton_kernel_wrapper"),
        "my.function": lambda p: node(p).update(target="my.function"),
        "argument 'as_matrix' that plait does not know": lambda p: node(p)["inputs"][0].update(arg={"as_matrix": 1}),
        "an object of the class 'my.Class'": lambda p: node(p)["inputs"][0].update(
            arg={"as_custom_obj": {"name": "o", "class_fqn": "my.Class"}}),
        "reads 'nothing' before": lambda p: node(p)["inputs"][0].update(arg={"as_tensor": {"name": "nothing"}}),
        "the archive says": lambda p: p["graph_module"]["graph"]["tensor_values"]["linear"]["sizes"].pop(),
        "lacks the argument 'weight'": lambda p: node(p)["inputs"].pop(1),
        "does not hold it": lambda p: p["graph_module"]["signature"]["input_specs"][0]["parameter"].update(
            parameter_name="other"),
    }.items():
        changed(archive, edited, edit)
        if message == "the archive says":
            changed(archive, edited, lambda p: p["graph_module"]["graph"]["tensor_values"]["linear"].update(
                sizes=[{"as_int": 3}, {"as_int": 4}]))
        refused(message, "-o", package, edited)
        if message != "the archive says":
            verified = plait("verify", tmp_path / "good.mlpackage", "--against", edited)
            assert verified.returncode == 1 and "edited.pt2" in verified.stderr, verified.stderr
    assert not package.exists()
