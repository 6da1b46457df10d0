"""Running the compiler: in a thread of its own, so that Ctrl-C reaches it, with progress on the way."""

from __future__ import annotations

import threading
import typing
import warnings
from collections.abc import Callable, Iterable

from plait._errors import Message, category
from plait._results import Report, report_of

Progress = typing.Union[bool, None, Callable[[str, float], object]]


class _Bar:
    """tqdm's bar, in a notebook the notebook's."""

    def __init__(self) -> None:
        from tqdm.auto import tqdm
        self.bar = tqdm(total=100, unit="%", bar_format="{l_bar}{bar}| {elapsed}", leave=False)

    def __call__(self, what: str, done: float) -> None:
        self.bar.set_description_str(what, refresh=False)
        self.bar.update(int(100 * done) - self.bar.n)

    def close(self) -> None:
        self.bar.close()


T = typing.TypeVar("T")


def attend(work: Callable[[Callable[[str, float], object] | None], T], cancel: Callable[[], object], progress: Progress) -> T:
    """What ``work`` returns, which is given the callback. KeyboardInterrupt ends it by ``cancel``; so does what the callback raises."""
    bar = _Bar() if progress is True else None
    callback = bar or (progress if callable(progress) else None)
    done = threading.Event()
    outcome: dict[str, typing.Any] = {}

    def attempt() -> None:
        try:
            outcome["result"] = work(callback)
        except BaseException as error:  # handed to the caller's thread
            outcome["error"] = error
        finally:
            done.set()
    thread = threading.Thread(target=attempt, name="plait", daemon=True)
    try:
        thread.start()
        try:
            done.wait()
        except BaseException:
            cancel()
            while not done.is_set():
                try:
                    done.wait()
                except KeyboardInterrupt:
                    continue
            raise
    finally:
        if bar:
            bar.close()
    thread.join()
    if "error" in outcome:
        raise outcome["error"]
    return typing.cast(T, outcome["result"])


def run(compiler: typing.Any, path: str, append: bool, progress: Progress, stacklevel: int) -> Report:
    """Writes the package; where it is ended, nothing is written."""
    report = report_of(attend(lambda callback: compiler.write(path, append, callback), compiler.cancel, progress))
    warn(report.warnings, stacklevel + 1)
    return report


def warn(messages: Iterable[Message], stacklevel: int) -> None:
    """The compiler's warnings as Python's."""
    for message in messages:
        warnings.warn(category(message.code)(message, message.code), stacklevel=stacklevel + 1)
