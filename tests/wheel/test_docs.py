"""Docstrings, types, and the pages."""

import dataclasses
import importlib
import inspect
import pathlib
import re
import subprocess
import sys

import plait
import plait.coremltools
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
HERE = pathlib.Path(__file__).parent


def public():
    """(name, object) of everything that users see, members of classes included."""
    places = [("plait", plait, plait.__all__), ("plait.coremltools", plait.coremltools, plait.coremltools.__all__),
              ("plait.coremltools.models", plait.coremltools.models, plait.coremltools.models.__all__),
              ("plait.coremltools.utils", plait.coremltools.utils, plait.coremltools.utils.__all__)]
    for place, module, names in places:
        yield place, module
        for name in names:
            value = getattr(module, name)
            if isinstance(value, str) or inspect.ismodule(value):
                continue
            yield f"{place}.{name}", value
            if inspect.isclass(value):
                for member, inner in vars(value).items():
                    if not member.startswith("_") and (callable(inner) or isinstance(inner, (property, classmethod))):
                        yield f"{place}.{name}.{member}", inner


PUBLIC = dict(public())


@pytest.mark.parametrize("name", sorted(PUBLIC))
def test_every_public_name_has_a_docstring(name):
    value = PUBLIC[name]
    text = inspect.getdoc(value.fget if isinstance(value, property) else value)
    assert text and len(text) > 20, name
    assert not text.startswith((name.rsplit(".", 1)[-1] + "(", "An enumeration")), f"{name} has the docstring that Python makes up"
    if dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            if name.startswith("plait.") and len(dataclasses.fields(value)) > 5 and field.name not in ("name", "inputs", "outputs", "states", "functions"):
                assert re.search(rf"\b{field.name}\b", text) or "as ``" in text or "options of" in text or name in SHORT, f"{name} does not say {field.name}"
    elif inspect.isfunction(value):
        said = [word for word in ("``plait.Error``", "ValueError", "ImportError") if word in text]
        if len(inspect.signature(value).parameters) > 3:
            assert said, f"{name} does not say what it raises"
            for parameter in inspect.signature(value).parameters.values():
                if parameter.name != "self" and parameter.kind is not parameter.VAR_KEYWORD:
                    assert re.search(rf"\b{parameter.name}\b", text) or "The arguments are those of" in text or " options are those of" in text, (name, parameter.name)


# Whose fields say themselves.
SHORT = {"plait.Summary", "plait.Problem", "plait.NearlyShared", "plait.FunctionSummary", "plait.Comparison"}


def test_help_names_units_and_errors():
    text = "\n".join(inspect.getdoc(value.fget if isinstance(value, property) else value) or "" for value in PUBLIC.values())
    for word in ("elements", "bytes", "pixels", "plait.Error", "shape"):
        assert text.count(word) >= 2, word


def test_strict_types(tmp_path):
    pytest.importorskip("mypy")
    # torch's own types take half a minute, and are not what is asked here.
    (tmp_path / "mypy.ini").write_text("[mypy]\n[mypy-torch.*]\nfollow_imports = skip\n")
    done = subprocess.run([sys.executable, "-m", "mypy", "--strict", "--config-file", str(tmp_path / "mypy.ini"), "--cache-dir", str(tmp_path / "cache"),
                           str(HERE / "typed_program.py")],
                          capture_output=True, text=True, timeout=300, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    done = subprocess.run([sys.executable, str(HERE / "typed_program.py"), str(tmp_path)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr


def blocks(page):
    return re.findall(r"^```python\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)


def test_the_tour_runs(tmp_path, monkeypatch):
    """The blocks of docs/python.md are one program."""
    text = "\n".join(block for block in blocks(ROOT / "docs" / "python.md") if "not run here" not in block)
    (tmp_path / "tour.py").write_text(text)
    done = subprocess.run([sys.executable, "-W", "ignore", "tour.py"], capture_output=True, text=True, timeout=200, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_table_of_names_is_true():
    """Every name of plait's that docs/python.md says is there."""
    page = (ROOT / "docs" / "python.md").read_text()
    importlib.import_module("plait._plait")  # it is loaded when something needs it
    for name in set(re.findall(r"`plait\.([A-Za-z_.]+)", page)):
        value = plait
        for part in name.rstrip(".").split("."):
            value = getattr(value, part) if not (dataclasses.is_dataclass(value) and part in {f.name for f in dataclasses.fields(value)}) else None
            if value is None:
                break
