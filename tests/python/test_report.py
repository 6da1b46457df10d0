"""plait report: a page that needs no network, tried in headless Chromium where there is one."""

import base64
import hashlib
import html.parser
import json
import re
import time

import pytest
import torch
from browser import Browser
from command import plait, succeed

# Names of functions and modules are what somebody else wrote.
HOSTILE = "</script><script>document.title='taken'</script><img src=x onerror=alert(1)> & \u2028 \"'"


class Block(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.up, self.down = torch.nn.Linear(16, 32), torch.nn.Linear(32, 16)

    def forward(self, x):
        return x + self.down(torch.relu(self.up(x)))


class Net(torch.nn.Module):
    def __init__(self, seed):
        super().__init__()
        torch.manual_seed(0)
        self.blocks = torch.nn.ModuleList(Block() for _ in range(3))
        torch.manual_seed(seed)
        self.head = torch.nn.Linear(16, 4)

    def forward(self, x):
        for block in self.blocks:
            x = block(x)
        return torch.softmax(self.head(x), 1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    arguments = []
    for seed, name in enumerate(("one", "two", "three")):
        torch.jit.trace(Net(seed).eval(), torch.rand(2, 16)).save(str(folder / f"{name}.pt"))
        arguments += ["--function", f"{name}={folder}/{name}.pt", "--input", "x=[2, 16]", "--output", "y"]
    succeed("compile", "-o", folder / "p.mlpackage", "--debug-info", "on", "--author", HOSTILE, "--meta", f"key={HOSTILE}",
            "--describe", f"y={HOSTILE}", *arguments)
    verified = succeed("verify", folder / "p.mlpackage", "--function", "one", "--against", folder / "one.pt").stdout
    (folder / "verified.txt").write_text(verified + HOSTILE)
    succeed("report", folder / "p.mlpackage", "-o", folder / "p.html", "--verification", folder / "verified.txt")
    return folder


class Parser(html.parser.HTMLParser):
    def __init__(self):
        super().__init__()
        self.found, self.policy, self.outside = {}, "", []

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.inside = attributes.get("type", tag)
        self.outside += [value for key, value in attributes.items() if key in ("src", "href") and not value.startswith("#")]
        if attributes.get("http-equiv") == "Content-Security-Policy":
            self.policy = attributes["content"]

    def handle_data(self, data):
        self.found.setdefault(getattr(self, "inside", ""), []).append(data)


def parse(path):
    parser = Parser()
    parser.feed(path.read_text())
    return parser


def test_the_page_holds_the_package(folder):
    parser = parse(folder / "p.html")
    data = json.loads("".join(parser.found["application/json"]))
    assert data["metadata"] == {"author": HOSTILE, "key": HOSTILE}
    assert [function["name"] for function in data["functions"]] == ["one", "two", "three"]
    summary = json.loads(succeed("inspect", folder / "p.mlpackage", "--json").stdout)
    text = data["strings"]
    for function, wanted in zip(data["functions"], summary["functions"], strict=True):
        assert (function["bytes"], function["own"]) == (wanted["weight_bytes"], wanted["own_weight_bytes"])
        kinds = [text[operation[0]] for operation in function["operations"]]
        assert {kind: kinds.count(kind) for kind in kinds} == {kind: count for kind, count in wanted["operations"].items()
                                                               if not kind.startswith("constexpr_")}
    assert data["uniqueBytes"] == summary["weights"]["unique_bytes"] and data["referencedBytes"] == summary["weights"]["referenced_bytes"]
    first = data["functions"][0]
    linear = next(operation for operation in first["operations"] if text[operation[0]] == "linear")
    assert linear[8] == 2 * 2 * 16 * 32  # two rows, 16 by 32, a multiplication and an addition each
    assert linear[9] == 2 * (2 * 16 + 2 * 32 + 16 * 32 + 32)  # operand, result, weight and bias in two bytes each
    assert text[linear[3]].startswith("blocks.0") and linear[5][1] == -1
    assert sum(len(users) == 3 for *_, users in data["weights"]) >= 12
    assert HOSTILE in data["verification"]


def test_nothing_gets_out_of_the_data(folder):
    """No markup but the page's own, no address, and no script that the policy does not name by its hash."""
    page, parser = (folder / "p.html").read_text(), parse(folder / "p.html")
    assert len(re.findall(r"<script\b", page)) == 2 and page.count("</script>") == 2 and "<img" not in page
    assert not parser.outside and "http:" not in page and "https:" not in page
    script = "".join(parser.found["script"]).rstrip("\n")
    hashes = ["'sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() + "'"
              for text in (re.search(r"<style>(.*?)</style>", page, re.DOTALL)[1], page.rpartition("<script>")[2].partition("</script>")[0])]
    assert parser.policy == f"default-src 'none'; style-src {hashes[0]}; script-src {hashes[1]}"
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function", script)


def test_what_is_refused(folder, tmp_path):
    for arguments, status, message in [
            (["report", folder / "p.mlpackage"], 2, "-o"), (["report", "-o", tmp_path / "r.html"], 2, "PKG.mlpackage"),
            (["report", tmp_path / "none.mlpackage", "-o", tmp_path / "r.html"], 1, "no such package"),
            (["report", folder / "p.mlpackage", "-o", tmp_path / "r.html", "--verification", tmp_path / "none"], 1, "none"),
            (["report", folder / "p.mlpackage", "-o", tmp_path / "none" / "r.html"], 1, "cannot write")]:
        result = plait(*arguments)
        assert result.returncode == status and message in result.stderr, result.stderr
    assert not list(tmp_path.iterdir())


# ---- In a browser ------------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    browser = Browser(tmp_path_factory.mktemp("browser"))
    yield browser
    browser.close()


def tabs(page):
    return page.evaluate("[...document.querySelectorAll('[role=tab]')].map(tab => tab.textContent)")


@pytest.mark.parametrize("width, dark", [(1280, False), (400, True)])
def test_every_part_is_drawn(folder, browser, width, dark):
    page = browser.page
    page.errors.clear()
    page.size(width, 900, dark)
    page.open(folder / "p.html")
    names = tabs(page)
    assert names == ["Overview", "Functions", "Sharing", "Weights", "Operations", "Graph", "Verification"]
    for i, name in enumerate(names):
        page.evaluate(f"document.getElementById('tab-{i}').click()")
        page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
        # Nothing is cut at the side, and texts stand out from what is behind them.
        assert page.evaluate("document.documentElement.scrollWidth") == width, name
        assert len(page.evaluate(f"document.getElementById('panel-{i}').innerText")) > 100, name
    assert page.evaluate("document.title") == "p.mlpackage: plait report"
    back, front = page.evaluate("[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color]")
    light = [sum(map(int, re.findall(r"\d+", colour)[:3])) for colour in (back, front)]
    assert light[0] < 150 < 600 < light[1] if dark else light[1] < 150 < 600 < light[0]
    page.evaluate("document.getElementById('theme').click()")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != back
    assert not page.errors


def test_the_keyboard(folder, browser):
    page = browser.page
    page.errors.clear()
    page.size(1280, 900)
    page.open(folder / "p.html")
    chosen = "document.querySelector('[aria-selected=true]').textContent"
    page.evaluate("document.querySelector('[role=tab]').focus()")
    for name in ("Functions", "Sharing", "Weights", "Operations", "Graph"):
        page.key("ArrowRight", 39)
        assert page.evaluate(chosen) == name
    page.key("/", 191, "/")
    page.type("softmax")
    assert "1 operation" in page.evaluate("document.getElementById('panel-5').innerText")
    page.key("Enter", 13, "\r")
    details = "document.querySelector('.details').innerText"
    assert "softmax" in page.evaluate(details)
    rows = "document.querySelectorAll('[role=treeitem]').length"
    page.evaluate("document.querySelector('[role=tree]').focus()")
    page.key("Home", 36)
    active = "document.querySelector('[role=tree] [aria-selected=true]').innerText"
    assert page.evaluate(active).startswith("input")
    page.evaluate("[...document.querySelectorAll('button')].find(button => button.textContent === 'Fold all').click()")
    folded = page.evaluate(rows)
    page.evaluate("document.querySelector('[role=tree]').focus()")
    page.key("ArrowDown", 40)
    assert "blocks" in page.evaluate(active)
    page.key("ArrowRight", 39)
    assert page.evaluate(rows) == folded + 3
    page.key("ArrowLeft", 37)
    assert page.evaluate(rows) == folded
    assert not page.errors


def test_a_large_page_draws_what_is_in_sight(browser, tmp_path, folder):
    """A hundred functions of two hundred operations: the page of a small package, with larger data."""
    page, parser = (folder / "p.html").read_text(), parse(folder / "p.html")
    data = json.loads("".join(parser.found["application/json"]))
    one = data["functions"][0]
    operations = [[*each[:5], [each[5][0], i - 1], *each[6:]] for i in range(200) for each in [one["operations"][i % len(one["operations"])]]
                  if each[5]]
    data["functions"] = [{**one, "name": f"function_{i}", "operations": operations} for i in range(100)]
    data["weights"] = [[f"weight_{i}", "tensor<fp16, [2500, 100]>", 500_000, list(range(100)) if i % 2 else [i % 100]] for i in range(1000)]
    data["groups"] = [[250_000_000, 500, list(range(100))], *([5_000_000, 10, [i]] for i in range(0, 100, 2))]
    begin, end = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL).span(1)
    path = tmp_path / "large.html"
    path.write_text(page[:begin] + json.dumps(data).replace("<", "\\u003c") + page[end:])
    browser.page.errors.clear()
    begun = time.monotonic()
    browser.page.open(path)
    assert browser.page.evaluate("document.documentElement.dataset.ready") == "yes"
    assert time.monotonic() - begun < 2
    for i, _ in enumerate(tabs(browser.page)):
        browser.page.evaluate(f"document.getElementById('tab-{i}').click()")
    # Few of the rows are in the page, however many there are.
    assert browser.page.evaluate("document.querySelectorAll('*').length") < 3000
    assert not browser.page.errors
