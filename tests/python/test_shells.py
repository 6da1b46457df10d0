"""Completion in the shells themselves, and the man page in the programs that print it."""

import shutil
import subprocess

import pytest
from command import succeed
from paths import PLAIT


def shell(name, script, cwd):
    """What a shell without start-up files prints."""
    program = shutil.which(name)
    if not program:
        pytest.skip(f"there is no {name}")
    plain = {"bash": ["--norc", "--noprofile"], "zsh": ["-f"], "fish": ["--no-config"]}[name]
    result = subprocess.run([program, *plain, "-c", script], cwd=cwd, capture_output=True, text=True, timeout=60)
    assert result.returncode == 0 and not result.stderr, result.stderr
    return result.stdout.splitlines()


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "my model.pt").write_text("x")
    (tmp_path / "chat").mkdir()
    return tmp_path


@pytest.mark.parametrize("line, replies", [
    ("plait insp", ["inspect "]),
    ("plait compile --prec", ["--precision "]),
    ("plait compile --precision ", ["fp16 ", "fp32 ", "auto "]),
    ("plait compile --precision=a", ["auto "]),
    ("plait compile --function f=", ["chat/", "my\\ model.pt "]),
    ("plait compile --function f=ch", ["chat/"]),
    ("plait compile --input 'x=", []),
])
def test_bash(folder, line, replies):
    """As bash calls it, whose words end at '=' (COMP_WORDBREAKS)."""
    script = (f"source <({PLAIT} completion bash); COMP_LINE=\"{line}\"; COMP_POINT=${{#COMP_LINE}}; _plait {PLAIT}; "
              "((${#COMPREPLY[@]})) && printf '%s\\n' \"${COMPREPLY[@]}\"; true")
    assert shell("bash", script, folder) == replies


def test_bash_knows_the_command(folder):
    assert "complete -o nospace -F _plait plait" in shell("bash", f"source <({PLAIT} completion bash); complete -p plait", folder)


def test_zsh(folder):
    """The candidates in a completion of zsh's own are compadd's; here it is a function that prints them."""
    script = f"""
compdef() {{ }}
source <({PLAIT} completion zsh)
compadd() {{ while [[ $1 != -a ]]; do shift; done; print -l -- "${{(P@)2}}" }}
words=({PLAIT} compile --precision f) CURRENT=4 PREFIX=f
_plait
words=({PLAIT} compile --function f=ch) CURRENT=4 PREFIX=f=ch
_plait
"""
    assert shell("zsh", script, folder) == ["fp16", "fp32", "f=chat/"]


def test_fish(folder):
    script = f"set PATH {PLAIT.parent} $PATH; plait completion fish | source; complete --do-complete 'plait compile --precision f'"
    assert [line.split("\t")[0] for line in shell("fish", script, folder)] == ["fp16", "fp32"]


def test_the_man_page_is_well_formed(tmp_path):
    page = tmp_path / "plait.1"
    page.write_text(succeed("help", "--man").stdout)
    if shutil.which("mandoc"):
        result = subprocess.run(["mandoc", "-T", "lint", "-W", "error", page], capture_output=True, text=True)
        assert result.returncode == 0, result.stdout
    elif shutil.which("groff"):
        result = subprocess.run(["groff", "-man", "-ww", "-z", "-Tutf8", page], capture_output=True, text=True)
        assert result.returncode == 0 and not result.stderr, result.stderr
    else:
        pytest.skip("there is neither mandoc nor groff")
