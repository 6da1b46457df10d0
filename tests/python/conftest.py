"""Options of this test suite and where it finds the models."""

import re
import shutil
import subprocess
import sys

import pytest
from paths import PLAIT, ROOT

sys.path.insert(0, str(ROOT / "tests" / "models"))


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
    if not PLAIT.is_file() and any("test_sources" not in item.nodeid for item in chosen):
        raise pytest.UsageError(f"{PLAIT} is missing: build the release preset, or set PLAIT")


@pytest.fixture(scope="session")
def stopper(tmp_path_factory):
    """A library that stops the command, or changes a file, at a step of it (stop_at_step.c)."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if sys.platform != "linux" or not compiler:
        pytest.skip("needs Linux's LD_PRELOAD and a C compiler")
    library = tmp_path_factory.mktemp("stopper") / "stop.so"
    source = ROOT / "tests" / "python" / "stop_at_step.c"
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"], check=True)
    return library
