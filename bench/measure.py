"""Runs a command in a process of its own and says what it took."""

import dataclasses
import os
import pathlib
import statistics
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
PLAIT = pathlib.Path(os.environ.get("PLAIT", ROOT / "build" / "release" / "bin" / "plait"))
MB = 1e6


@dataclasses.dataclass
class Cost:
    wall: float  # seconds, process start and end included
    cpu: float  # seconds, user and system
    peak: int  # bytes, peak resident
    anonymous: int  # bytes, peak of anonymous resident memory; 0 where not sampled


def _memory(status):
    """(RssAnon, VmHWM) of /proc/PID/status in bytes; zeros when the process is gone."""
    values = {b"RssAnon:": 0, b"VmHWM:": 0}
    try:
        status.seek(0)
        for line in status.read().splitlines():
            key = line.split(maxsplit=1)[0]
            if key in values:
                values[key] = int(line.split()[1]) * 1024
    except OSError:
        pass
    return values[b"RssAnon:"], values[b"VmHWM:"]


def run(command, sample=False, limit=None, expect=0, timeout=None):
    """One run. Sampling reads /proc every half millisecond, which disturbs timing: time and sample in separate runs.

    After `timeout` seconds (of a run that samples) the process is killed and TimeoutExpired raised."""
    start = time.perf_counter()
    process = subprocess.Popen([str(part) for part in command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                               stderr=subprocess.STDOUT, preexec_fn=limit)
    anonymous = peak = 0
    if sample and sys.platform == "linux":
        with open(f"/proc/{process.pid}/status", "rb", buffering=0) as status:
            while any(now := _memory(status)) or os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
                anonymous, peak = max(anonymous, now[0]), max(peak, now[1])
                if timeout and time.perf_counter() - start > timeout:
                    process.kill()
                    process.wait()
                    raise subprocess.TimeoutExpired(command, timeout)
                time.sleep(0.0005)
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != expect:
        raise SystemExit(f"{' '.join(map(str, command))}\nexit status {process.returncode}\n{output.decode()[-4000:]}")
    # Not ru_maxrss where there is better: it counts what this process held when it forked, before the command began.
    peak = peak or usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return Cost(wall, usage.ru_utime + usage.ru_stime, peak, anonymous)


def measure(command, repeats=1):
    """Medians of time over `repeats` runs, and memory from one more that is sampled (the only one if repeats is 0)."""
    runs = [run(command) for _ in range(repeats)]
    sampled = run(command, sample=True)
    runs = runs or [sampled]
    return Cost(statistics.median(cost.wall for cost in runs), statistics.median(cost.cpu for cost in runs),
                sampled.peak, sampled.anonymous)


def warm(paths):
    """Reads files so that every run finds them in the page cache."""
    for path in paths:
        with open(path, "rb") as file:
            while file.read(1 << 24):
                pass


def size(path):
    path = pathlib.Path(path)
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file()) if path.is_dir() else path.stat().st_size


def libtorch_start():
    """The program that starts LibTorch and does nothing more (bench/libtorch_start.cpp)."""
    subprocess.run(["ninja", "-C", ROOT / "build" / "release", "libtorch_start"], check=True, stdout=subprocess.DEVNULL)
    return [ROOT / "build" / "release" / "bin" / "libtorch_start"]


def in_turn(commands, repeats, before=lambda: None):
    """Medians of wall and CPU seconds of each command, the commands in turn, so that what else the machine does meets all
    alike; the first turn does not count. `before` is called before each run."""
    runs = [[] for _ in commands]
    for turn in range(repeats + 1):
        for command, costs in zip(commands, runs):
            before()
            cost = run(command)
            if turn:
                costs.append(cost)
    return [(statistics.median(cost.wall for cost in costs), statistics.median(cost.cpu for cost in costs)) for costs in runs]
