"""Options of this test suite and the fixtures that run the command."""

import re

import pytest


def pytest_addoption(parser):
    parser.addoption("--quick", action="store_true", help="leave out full-size models")
    parser.addoption("--regex", help="only tests whose file::name contains a match")


def pytest_configure(config):
    config.addinivalue_line("markers", "full_size: uses models of hundreds of megabytes")


def pytest_collection_modifyitems(config, items):
    regex, quick = config.getoption("--regex"), config.getoption("--quick")
    chosen = [item for item in items
              if (not regex or re.search(regex, item.nodeid))
              and not (quick and item.get_closest_marker("full_size"))]
    dropped = [item for item in items if item not in chosen]
    config.hook.pytest_deselected(items=dropped)
    items[:] = chosen
