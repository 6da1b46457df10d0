"""plait explain: every code has a page, every message a code, and the example of a page gives its code."""

import ast
import re

import code_pages
import pytest
from command import plait, succeed
from paths import PLAIT, ROOT

CODES = {f"P{int(number):04}": name for name, number in
         re.findall(r"^CODE\((\w+), (\d+)\)", (ROOT / "support" / "Codes.def").read_text(), re.MULTILINE)}
# Traces are made by the Python package and the C++ library; tests/wheel runs these examples.
OF_THE_WHEEL = {code for code, page in code_pages.PAGES.items() if "import plait" in page}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pages")
    code_pages.prepare(folder, PLAIT)
    return folder


@pytest.mark.parametrize("code", sorted(set(code_pages.PAGES) - code_pages.OF_CPP - OF_THE_WHEEL))
def test_example(code, prepared, tmp_path):
    code_pages.copy(prepared, tmp_path)
    said = code_pages.run(code_pages.PAGES[code], tmp_path, PLAIT)
    assert re.search(rf"^plait: (error|warning): .* \[{code}\]$", said, re.MULTILINE), said


def test_pages_and_codes_are_the_same():
    assert set(code_pages.PAGES) == set(CODES)


@pytest.mark.parametrize("code", sorted(code_pages.PAGES))
def test_form_of_page(code):
    page = code_pages.PAGES[code]
    assert page.startswith(f"# {code}: ")
    assert re.findall(r"^## (.*)$", page, re.MULTILINE) == ["Example", "The way out"]
    languages = {language for language, _ in code_pages.blocks(page)}
    assert languages and languages <= {"sh", "python"} or languages == {"cpp"}


def test_examples_in_cpp_are_run():
    run = re.findall(r'^TEST_F\(CodePages, (P\d+)\) {\n.*\n#include "(P\d+)\.inc"\n.*\n  EXPECT_THAT\(codes, ElementsAre\("(P\d+)"\)\);$',
                     (ROOT / "tests" / "api" / "CodePagesTest.cpp").read_text(), re.MULTILINE)
    assert {code for codes in run for code in codes} == code_pages.OF_CPP and len(run) == len(code_pages.OF_CPP)


def sources():
    for folder in ("support", "mil", "passes", "frontend", "adapters", "compress", "backend", "runtime", "driver", "api", "python"):
        for path in sorted((ROOT / folder).rglob("*")):
            if path.suffix in (".h", ".cpp", ".def", ".py"):
                yield path, path.read_text()


def test_every_code_is_given_by_a_message():
    text = "\n".join(text for path, text in sources() if path.name != "Codes.def")
    unused = [code for code, name in CODES.items() if f"Code::{name}" not in text and f'"{code}"' not in text]
    assert not unused


def test_every_message_has_a_code():
    """makeError() and the like do not compile without one. What goes round them is looked for here."""
    found = []
    for path, text in sources():
        if path.suffix == ".py":
            found += [f"{path.relative_to(ROOT)}:{node.lineno}" for node in ast.walk(ast.parse(text))
                      if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) and getattr(node.exc.func, "id", "") == "Error"
                      and not any(keyword.arg == "code" for keyword in node.exc.keywords)]
            continue
        places = [place for place in re.finditer(r"createStringError|make_error<llvm::StringError>|Code::None", text)
                  if path.name not in ("Code.h", "Code.cpp", "Failure.h", "Failure.cpp")]
        # Some gather the codes of others.
        places = [place for place in places if place[0] != "Code::None" or path.name not in ("Held.h", "Engine.cpp", "CommandLine.h", "JsonOutput.cpp")]
        found += [f"{path.relative_to(ROOT)}:{text.count(chr(10), 0, place.start()) + 1}" for place in places]
    assert not found


def test_list():
    lines = succeed("explain").stdout.splitlines()
    for code, page in code_pages.PAGES.items():
        assert f"{code}  {page.splitlines()[0].split(': ', 1)[1]}" in lines


@pytest.mark.parametrize("code", sorted(code_pages.PAGES))
def test_page(code):
    assert succeed("explain", code).stdout == code_pages.PAGES[code]


@pytest.mark.parametrize("word", ["P0301", "p0301", "301", "[P0301]"])
def test_ways_to_say_it(word):
    assert succeed("explain", word).stdout == code_pages.PAGES["P0301"]


def test_rule():
    text = succeed("explain", "rank-limit").stdout
    assert "tensors have at most five dimensions" in text and "https://" in text and "# P0601" in text


def test_several():
    text = succeed("explain", "P0301", "P0302").stdout
    assert text == code_pages.PAGES["P0301"] + "\n" + code_pages.PAGES["P0302"]


@pytest.mark.parametrize("word, near", [("P0310x", "P0310"), ("rank-limits", "rank-limit"), ("P0399", "P03")])
def test_unknown(word, near):
    result = plait("explain", word)
    assert result.returncode == 2 and not result.stdout
    assert f"there is no code and no rule '{word}' (did you mean '{near}" in result.stderr and "[P0907]" in result.stderr


def test_each_of_joined_errors_has_its_code(tmp_path):
    """An operator without a lowering, and one that is used as it cannot be."""
    import torch

    class Two(torch.nn.Module):
        def forward(self, x):
            return torch.linalg.eigvals(x), torch.diff(x, n=4)

    torch.jit.script(Two()).save(str(tmp_path / "two.pt"))
    result = plait("compile", "-o", tmp_path / "p.mlpackage", "--input", "x=[2, 4]", tmp_path / "two.pt")
    assert result.returncode == 1
    assert re.findall(r"\[(P\d+)\]$", result.stderr, re.MULTILINE) == ["P0301", "P0302"]
