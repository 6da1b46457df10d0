"""Runs the plait command."""

import hashlib
import pathlib
import subprocess

from paths import PLAIT


def plait(*arguments, cwd=None, timeout=300, **options):
    """The finished process; a crash or a hang fails the test."""
    result = subprocess.run([str(PLAIT), *map(str, arguments)], cwd=cwd, capture_output=True, text=True, timeout=timeout,
                            stdin=subprocess.DEVNULL, **options)
    assert result.returncode in (0, 1, 2), f"exit status {result.returncode}: {result.stderr[-2000:]}"
    return result


def succeed(*arguments, **options):
    result = plait(*arguments, **options)
    assert result.returncode == 0, f"plait {' '.join(map(str, arguments))}\n{result.stdout}{result.stderr}"
    return result


def digest(folder):
    """{relative path: SHA-256} of every file below a folder."""
    folder = pathlib.Path(folder)
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(folder.rglob("*")) if path.is_file()}
