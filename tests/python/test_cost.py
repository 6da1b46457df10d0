"""plait inspect --cost: arithmetic, bytes and compute units of each operation."""

import json

import torch
from command import plait, succeed
from torch import nn


class Tagger(nn.Module):
    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(50, 16)
        self.cell = nn.LSTM(16, 8, batch_first=True)
        self.head = nn.Linear(8, 4)

    def forward(self, ids):
        return self.head(self.cell(self.table(ids))[0]).softmax(-1)


def compiled(folder, model, example, declared, *options):
    torch.jit.trace(model.eval(), example).save(str(folder / "model.pt"))
    package = folder / "p.mlpackage"
    succeed("compile", "-o", package, "--input", declared, *options, folder / "model.pt")
    return package


def told(package):
    report = json.loads(succeed("inspect", package, "--cost", "--json").stdout)
    return report["functions"][0], {entry["operation"]: entry for entry in report["functions"][0]["operations"]}


def test_formulas_and_units(tmp_path):
    torch.manual_seed(0)
    package = compiled(tmp_path, Tagger(), torch.zeros(1, 10, dtype=torch.int32), "ids=int32[1, 10]")
    function, of = told(package)
    assert of["linear"]["arithmetic"] == 2 * 10 * 8 * 4
    assert of["linear"]["bytes"] == 2 * (10 * 8 + 4 * 8 + 4 + 10 * 4)
    assert of["lstm"]["arithmetic"] == 2 * 10 * 4 * 8 * (16 + 8)
    assert of["softmax"]["arithmetic"] == 40 and of["softmax"]["units"] == ["cpu", "gpu", "neural_engine"]
    assert of["lstm"]["off_neural_engine"] == "recurrent" and of["gather"]["off_neural_engine"] == "gather-32"
    assert function["total"]["arithmetic"] == sum(entry["arithmetic"] for entry in function["operations"])
    assert function["neural_engine"]["operations"] == sum("neural_engine" in entry["units"] for entry in function["operations"])
    text = succeed("inspect", package, "--cost").stdout
    assert "[recurrent] lstm, gru and rnn" in text and "in all" in text and "NE allowed" in text


def test_convolutions_precision_and_unknown_sizes(tmp_path):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(4, 6, 3, groups=2), nn.ReLU(), nn.Conv2d(6, 2, 3, dilation=2))
    example = torch.rand(1, 4, 12, 12)
    function, _ = told(compiled(tmp_path, model, example, "x=[1, 4, 12, 12]"))
    convolutions = [entry for entry in function["operations"] if entry["operation"] == "conv"]
    assert convolutions[0]["arithmetic"] == 2 * 6 * 10 * 10 * (2 * 9)
    assert convolutions[1]["arithmetic"] == 2 * 2 * 6 * 6 * (6 * 9) and convolutions[1]["off_neural_engine"] == "dilated"
    function, _ = told(compiled(tmp_path, model, example, "x=[1, 4, 12, 12]", "--precision", "fp32"))
    assert {entry["off_neural_engine"] for entry in function["operations"]} == {"no-fp16"}
    function, _ = told(compiled(tmp_path, nn.ReLU(), torch.rand(2, 4), "x=[1..9, 4]"))
    assert function["operations"][0]["arithmetic"] is None and function["total"]["unknown"] == 1


def test_weights_count_as_stored(tmp_path):
    torch.manual_seed(0)
    package = compiled(tmp_path, nn.Linear(64, 64), torch.rand(1, 64), "x=[1, 64]")
    _, before = told(package)
    succeed("compress", package, "-o", tmp_path / "q.mlpackage", "--compress", "q4")
    _, after = told(tmp_path / "q.mlpackage")
    assert after["linear"]["arithmetic"] == before["linear"]["arithmetic"]
    assert after["linear"]["bytes"] < 0.5 * before["linear"]["bytes"]


def test_it_is_not_mil(tmp_path):
    package = compiled(tmp_path, nn.ReLU(), torch.rand(2, 4), "x=[2, 4]")
    result = plait("inspect", package, "--cost", "--mil")
    assert result.returncode == 2 and "exclude each other" in result.stderr
