"""Progress, Ctrl-C, threads, and what is printed: nothing."""

import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import plait
import pytest
import torch
from torch import nn


def large(layers=3):
    return nn.Sequential(*[nn.Linear(1024, 1024) for _ in range(layers)])


def ctrl_c(when):
    """A callback that sends it to the calling thread, once: a second one could come when the test has ended."""
    main, sent = threading.get_ident(), []

    def callback(what, done):
        if not sent and when(what, done):
            sent.append(signal.pthread_kill(main, signal.SIGINT))
            time.sleep(0.1)
    return callback


@pytest.fixture(autouse=True)
def sigint_is_taken():
    """A job that a shell runs in the background, and what it starts, ignore Ctrl-C."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_a_callback_hears_of_progress():
    heard = []
    plait.compile({"f": large()}, inputs=[torch.rand(1, 1024)], progress=lambda what, done: heard.append((what, done)))
    assert heard[-1][1] == 1 and any("lowering f" in what for what, _ in heard)
    assert [done for _, done in heard] == sorted(done for _, done in heard)


def test_verifying_tells_how_far_it_is_and_is_ended():
    model = large()
    package = plait.compile(model, inputs=[torch.rand(1, 1024)])
    heard = []
    assert package.verify(model, draws=2, progress=lambda what, done: heard.append((what, done))).passed
    assert len(heard) == 4 and "running the model" in heard[0][0]
    assert [done for _, done in heard] == sorted(done for _, done in heard)

    class Enough(Exception):
        pass

    def enough(what, done):
        raise Enough

    with pytest.raises(Enough):
        package.verify(model, progress=enough)

    interrupt = ctrl_c(lambda what, done: True)
    with pytest.raises(KeyboardInterrupt):
        package.verify(model, draws=50, progress=interrupt)
    assert package.verify(model).passed


def test_true_shows_a_bar_and_nothing_else_is_printed(capfd):
    plait.compile(large(), inputs=[torch.rand(1, 1024)], progress=True)
    out, err = capfd.readouterr()
    assert out == "" and "%" in err
    package = plait.compile(large(), inputs=[torch.rand(1, 1024)])
    package.inspect(), package.verify(large()), package.default(np.ones((1, 1024)))
    assert capfd.readouterr() == ("", "")


def test_what_a_callback_raises_ends_it(tmp_path):
    class Enough(Exception):
        pass

    def callback(what, done):
        raise Enough(what)
    with pytest.raises(Enough):
        plait.compile(large(), inputs=[torch.rand(1, 1024)], progress=callback, output=tmp_path / "p.mlpackage")
    assert not list(tmp_path.iterdir())


def test_ctrl_c_cancels(tmp_path):
    callback = ctrl_c(lambda what, done: "writing" in what and done < 1)
    with pytest.raises(KeyboardInterrupt):
        plait.compile(large(6), inputs=[torch.rand(1, 1024)], progress=callback, output=tmp_path / "p.mlpackage")
    assert not list(tmp_path.iterdir())
    plait.compile(large(1), inputs=[torch.rand(1, 1024)], output=tmp_path / "p.mlpackage")  # the next one is not


def test_a_compile_in_another_thread_can_be_ended_by_its_callback(tmp_path):
    with ThreadPoolExecutor(1) as pool:
        job = pool.submit(plait.compile, large(1), inputs=[torch.rand(1, 1024)], output=tmp_path / "p.mlpackage")
        assert job.result().default.name == "main"


def test_exports_in_several_threads():
    def export(number):
        model = nn.Sequential(nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, number + 1)).eval()
        package = plait.compile({f"f{number}": model}, inputs=[torch.rand(1, 16)], outputs=["y"], precision="fp32")
        x = torch.rand(1, 16)
        return np.abs(package.default(x)["y"] - model(x).detach().numpy()).max()
    with ThreadPoolExecutor(4) as pool:
        assert max(pool.map(export, range(8))) < 1e-4


def test_one_function_in_several_threads():
    model = nn.Linear(64, 64).eval()
    function = plait.compile(model, inputs=[torch.rand(1, 64)], outputs=["y"], precision="fp32").default
    inputs = [torch.rand(1, 64) for _ in range(32)]
    with ThreadPoolExecutor(4) as pool:
        outputs = list(pool.map(lambda x: function(x)["y"], inputs))
    assert all(np.allclose(out, model(x).detach().numpy(), atol=1e-5) for out, x in zip(outputs, inputs))


def test_the_gil_is_free_while_the_compiler_works():
    count = 0
    running = True

    def counting():
        nonlocal count
        while running:
            count += 1
            time.sleep(0)
    thread = threading.Thread(target=counting)
    thread.start()
    seen = []
    plait.compile(large(), inputs=[torch.rand(1, 1024)], progress=lambda what, done: seen.append(count))
    running = False
    thread.join()
    assert seen[-1] - seen[0] > 10


def test_another_process_can_compile(tmp_path):
    text = """
import multiprocessing, sys, torch, plait
def work(number):
    return plait.compile(torch.nn.Linear(4, 4), inputs=[torch.rand(1, 4)]).default.name
if __name__ == "__main__":
    plait.compile(torch.nn.Linear(4, 4), inputs=[torch.rand(1, 4)])
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        print(pool.map(work, range(2)))
"""
    (tmp_path / "work.py").write_text(text)
    done = subprocess.run([sys.executable, tmp_path / "work.py"], capture_output=True, text=True, timeout=120, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert done.stdout.strip() == "['main', 'main']", done.stderr


