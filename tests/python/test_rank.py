"""Tensors of six axes and more: what is written has none, and computes what PyTorch does."""

import re

import pytest
import torch

import rank_models
from command import plait, succeed

BLOCKS = list(rank_models.blocks())


def ranks(package):
    """The rank of every value of the program."""
    text = succeed("opt", package).stdout
    return [shape.count(",") + 1 for shape in re.findall(r"tensor<\w+, \[([^\]]+)\]> \w+", text)]


@pytest.mark.parametrize("name, module, spec, example", BLOCKS, ids=[block[0] for block in BLOCKS])
def test_blocks_of_published_models(tmp_path, name, module, spec, example):
    torch.jit.trace(module, example, check_trace=False).save(str(tmp_path / "model.pt"))
    succeed("compile", "--precision", "fp32", "-o", tmp_path / "p.mlpackage", "--input", spec, tmp_path / "model.pt")
    assert max(ranks(tmp_path / "p.mlpackage")) <= 5
    succeed("verify", tmp_path / "p.mlpackage", "--against", tmp_path / "model.pt")
