"""Tests of the installed wheel, in an environment made from it (scripts/wheel); nothing of the source tree is imported but models."""

import pathlib
import re
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "tests" / "models"))


def pytest_addoption(parser):
    parser.addoption("--quick", action="store_true", help="leave out full-size models")
    parser.addoption("--regex", help="only tests whose file::name contains a match")


def pytest_configure(config):
    config.addinivalue_line("markers", "full_size: uses models of hundreds of megabytes")
    import plait
    place = pathlib.Path(plait.__file__).resolve()
    if ROOT / "python" in place.parents:
        raise pytest.UsageError(f"{place} is the source tree's; scripts/wheel makes the environment to run this in")


def pytest_collection_modifyitems(config, items):
    regex, quick = config.getoption("--regex"), config.getoption("--quick")
    chosen = [item for item in items
              if (not regex or re.search(regex, item.nodeid)) and not (quick and item.get_closest_marker("full_size"))]
    config.hook.pytest_deselected(items=[item for item in items if item not in chosen])
    items[:] = chosen


@pytest.fixture
def mlp():
    """A small network in training mode, whose weights have gradients."""
    import torch
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.ReLU(), torch.nn.Dropout(0.5), torch.nn.Linear(16, 4))
    net(torch.rand(2, 8)).sum().backward()
    return net
