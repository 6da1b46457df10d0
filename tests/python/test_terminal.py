"""The command in a terminal: colours, one line of progress, and none of both where nobody looks. The terminal is tmux's, or a
pseudo-terminal whose bytes are read."""

import os
import pty
import re
import select
import shlex
import shutil
import subprocess
import time

import numpy as np
import pytest
import torch
from command import plait, succeed
from paths import PLAIT

ESCAPE = "\x1b["


class Net(torch.nn.Module):
    def __init__(self, shift=0.0):
        super().__init__()
        torch.manual_seed(0)
        self.layers = torch.nn.Sequential(*[torch.nn.Linear(256, 256) for _ in range(4)])
        self.shift = shift

    def forward(self, x):
        return self.layers(x) + self.shift


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("terminal")
    for name, shift in (("a", 0.0), ("b", 1.0)):
        torch.jit.trace(Net(shift).eval(), torch.rand(1, 256)).save(str(folder / f"{name}.pt"))
    succeed("compile", "-o", folder / "a.mlpackage", "--input", "x=[1, 256]", folder / "a.pt")
    np.save(folder / "x.npy", np.zeros((1, 256), np.float32))
    return folder


class Screen:
    """A shell in tmux."""

    def __init__(self, folder, columns, environment):
        self.socket = folder / "tmux"
        self.log = folder / "status"
        # A variable that pytest's own terminal has is not this one's.
        clean = {key: value for key, value in os.environ.items() if key not in ("NO_COLOR", "CLICOLOR", "TMUX")}
        self.tmux("-f", "/dev/null", "new-session", "-d", "-x", str(columns), "-y", "40", "sh", env={**clean, "TERM": "xterm-256color"})
        self.type("PS1='$ '")  # root's is another
        for key, value in environment.items():
            self.type(f"export {key}={value}")

    def tmux(self, *arguments, **options):
        return subprocess.run(["tmux", "-S", self.socket, *arguments], check=True, capture_output=True, text=True, timeout=60, **options).stdout

    def type(self, line):
        self.tmux("send-keys", "-l", line)
        self.tmux("send-keys", "Enter")

    def text(self, escapes=False):
        return self.tmux("capture-pane", "-p", *(["-e"] if escapes else []))

    def until(self, done, seconds=120):
        """What the screen shows once `done` says so."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            shown = self.text()
            if done(shown):
                return shown
            time.sleep(0.05)
        raise AssertionError(self.text())

    def run(self, *arguments, redirect=""):
        """The screen with its escapes when the command is done."""
        self.tmux("send-keys", "-R")
        self.tmux("clear-history")
        self.type(f"clear; {shlex.join([str(PLAIT), *map(str, arguments)])} {redirect}; echo status $? > {self.log}")
        self.until(lambda shown: self.log.exists())
        shown = self.until(lambda shown: shown.rstrip().endswith("$"))
        status = int(self.log.read_text().split()[1])
        self.log.unlink()
        return status, self.text(escapes=True), shown


@pytest.fixture
def screen(tmp_path):
    if not shutil.which("tmux"):
        pytest.skip("there is no tmux")
    screens = []

    def make(columns=120, **environment):
        screens.append(Screen(tmp_path, columns, environment))
        return screens[-1]

    yield make
    for one in screens:
        one.tmux("kill-server")


def coloured(text, colour, word):
    """Whether the word follows an escape that sets the colour: 1 red, 2 green, 3 yellow."""
    return re.search(rf"\x1b\[[0-9;]*3{colour}m{word}", text)


def test_colours(screen, folder):
    terminal = screen()
    status, shown, _ = terminal.run("verify", folder / "a.mlpackage", "--against", folder / "a.pt")
    assert status == 0 and coloured(shown, 2, "PASS") and coloured(shown, 2, "ok")
    status, shown, _ = terminal.run("verify", folder / "a.mlpackage", "--against", folder / "b.pt")
    assert status == 1 and coloured(shown, 1, "FAIL") and coloured(shown, 1, "wrong")
    status, shown, _ = terminal.run("inspect", folder / "none.mlpackage")
    assert status == 1 and coloured(shown, 1, "error:")
    status, shown, _ = terminal.run("compile", "-o", folder / "w.mlpackage", "--input", "x=int64[1, 256]", folder / "a.pt")
    assert status == 1 and coloured(shown, 3, "warning:")


@pytest.mark.parametrize("environment", [{"NO_COLOR": "1"}, {"CLICOLOR": "0"}, {"TERM": "dumb"}], ids=str)
def test_no_colours_where_nobody_wants_them(screen, folder, environment):
    terminal = screen(**environment)
    status, shown, plain = terminal.run("verify", folder / "a.mlpackage", "--against", folder / "b.pt")
    assert status == 1 and "FAIL" in plain and ESCAPE not in shown


def test_neither_in_a_pipe(screen, folder):
    terminal = screen()
    terminal.run("verify", folder / "a.mlpackage", "--against", folder / "b.pt", redirect=f"2>&1 | cat > {folder}/piped")
    assert "FAIL" in (folder / "piped").read_text() and "\x1b" not in (folder / "piped").read_text()
    result = plait("verify", folder / "a.mlpackage", "--against", folder / "b.pt", "--draws", "40")
    assert "\x1b" not in result.stdout + result.stderr and "\r" not in result.stdout + result.stderr


def long_work(folder):
    """Far more than two seconds of it, that ends when somebody stops it."""
    return [str(PLAIT), "verify", str(folder / "a.mlpackage"), "--against", str(folder / "a.pt"), "--draws", "10000", "--steps", "100"]


@pytest.mark.parametrize("columns", [120, 40])
def test_one_line_of_progress(screen, folder, columns):
    terminal = screen(columns)
    terminal.type("clear; " + f"cd {folder}; plait=" + str(PLAIT))
    terminal.type("clear; $plait verify a.mlpackage --against a.pt --draws 10000 --steps 100; echo stopped")
    progress = re.compile(r"^main: running .*", re.MULTILINE)  # 40 columns have no room for more of it
    shown = terminal.until(lambda shown: progress.search(shown))
    seen = set()
    for _ in range(20):
        lines = progress.findall(terminal.text())
        assert len(lines) <= 1  # written over, whatever the width is
        seen.update(lines)
        time.sleep(0.1)
    assert len(seen) > 1
    if columns == 120:
        shown = terminal.until(lambda shown: "left" in shown)
        assert re.search(r"main: running the \w+, draw \d+ of 10000, step \d+ of 100  \d+ %  \d+:\d\d(:\d\d)? left", shown), shown
    terminal.tmux("send-keys", "C-c")
    shown = terminal.until(lambda shown: shown.rstrip().endswith("$"))
    assert "running" not in shown


def test_no_progress_on_a_dumb_terminal(screen, folder):
    terminal = screen(TERM="dumb")
    terminal.type(shlex.join(long_work(folder)))
    time.sleep(4)
    assert "running the" not in terminal.text()
    terminal.tmux("send-keys", "C-c")


def bytes_of(command, seconds):
    """What a command writes to a terminal in that time, or until it is done."""
    process, descriptor = pty.fork()
    if process == 0:
        os.environ["TERM"] = "xterm-256color"
        os.execv(command[0], command)
    written, end = b"", time.monotonic() + seconds
    while time.monotonic() < end:
        if not select.select([descriptor], [], [], 0.2)[0]:
            continue
        try:
            piece = os.read(descriptor, 65536)
        except OSError:  # the other side is closed
            break
        if not piece:
            break
        written += piece
    else:
        os.kill(process, 15)
    os.waitpid(process, 0)
    os.close(descriptor)
    return written.decode()


def test_quick_work_shows_no_progress(folder):
    written = bytes_of([str(PLAIT), "inspect", str(folder / "a.mlpackage")], 60)
    assert "\x1b[K" not in written and "function" in written


def test_quiet_shows_no_progress(folder, tmp_path):
    command = [str(PLAIT), "compile", "-q", "-o", str(tmp_path / "p.mlpackage"), "--precision", "auto", "--min-snr", "139", "--input", "x=[1, 256]",
               str(folder / "a.pt")]
    assert "\r" not in bytes_of(command, 60).replace("\r\n", "")


def test_long_work_of_run_shows_calls(folder, tmp_path):
    written = bytes_of([str(PLAIT), "run", str(folder / "a.mlpackage"), "--input", f"x={folder}/x.npy", "--steps", "100000", "--output-dir",
                        str(tmp_path / "out")], 8)
    lines = re.findall(r"\r\x1b\[K(running main, call [^\r\n]*)", written)
    assert len(lines) > 3 and all("of 100000" in line for line in lines)
    # Each is gone before the next line of the results.
    assert not re.search(r"running main[^\r]*\r?\n", written)


def test_verbose_says_phases_and_passes(folder, tmp_path):
    result = succeed("compile", "-v", "-o", tmp_path / "p.mlpackage", "--input", "x=[1, 256]", folder / "a.pt")
    phases = re.findall(r"^plait: (\w+) +\d+\.\d\d s", result.stderr, re.MULTILINE)
    assert phases == ["start", "read", "lower", "passes", "share", "write"]
    assert re.search(r"^plait:   [a-z-]+ +\d+\.\d{3} s  \d+ -> \d+ operations$", result.stderr, re.MULTILINE), result.stderr
    assert re.search(r"^plait:   \d+ runs of passes that changed nothing", result.stderr, re.MULTILINE)
