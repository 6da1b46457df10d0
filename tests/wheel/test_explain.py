"""Codes of errors and warnings, and the examples of pages that are Python's."""

import pathlib
import pickle
import re
import sysconfig
import warnings

import code_pages
import pytest
import torch

import plait


@pytest.mark.parametrize("code", sorted(code for code, page in code_pages.PAGES.items() if "import plait" in page))
def test_example(code, tmp_path):
    said = code_pages.run(code_pages.PAGES[code], tmp_path, pathlib.Path(sysconfig.get_path("scripts")) / "plait")
    assert f"[{code}]" in said


class Rows(torch.nn.Module):
    def forward(self, x):
        return torch.linalg.eigvals(x), torch.diff(x, n=4)


def test_error_has_the_code_of_each_problem():
    with pytest.raises(plait.Error) as caught:
        plait.compile(torch.jit.script(Rows()), inputs=[plait.Tensor((2, 4))])
    assert caught.value.code == "P0301"
    assert {problem.code for problem in caught.value.problems} == {"P0301", "P0302"}
    again = pickle.loads(pickle.dumps(caught.value))
    assert (again.code, again.problems, str(again)) == (caught.value.code, caught.value.problems, str(caught.value))


def test_python_refuses_with_a_code():
    with pytest.raises(plait.Error) as caught:
        plait.compile()
    assert caught.value.code == "P0903" and caught.value.problems[0].code == "P0903"


class Large(torch.nn.Module):
    def forward(self, x):
        return x + 1e6


def test_warning_has_category_and_code():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        package = plait.compile(Large(), inputs=[torch.rand(1, 4)])
    said = [warning for warning in caught if issubclass(warning.category, plait.PlaitWarning)]
    assert [warning.category for warning in said] == [plait.PrecisionWarning]
    assert said[0].message.code == "P0701" and re.search(r"\[P0701\]$", str(said[0].message), re.MULTILINE)
    assert package.report.warnings[0].code == "P0701" and "[P" not in package.report.warnings[0]
    again = pickle.loads(pickle.dumps(package.report))
    assert again == package.report and again.warnings[0].code == "P0701"
    message = pickle.loads(pickle.dumps(said[0].message))
    assert (str(message), message.code) == (str(said[0].message), "P0701")
