"""Programs in an archive, and the process that holds them against LibTorch (CheckPrograms.cpp)."""

import itertools
import re
import subprocess
import tempfile
import warnings

import torch
import torch.nn.functional as F


class Wrapper(torch.nn.Module):
    """A function as a module that can be traced."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, *inputs):
        return self.function(*inputs)


class Holder(torch.nn.Module):
    """Modules whose constants differ are of different types, and a method is defined on a type."""

    __constants__ = ["number"]
    numbers = itertools.count()

    def __init__(self):
        super().__init__()
        self.number = next(Holder.numbers)

    def forward(self, x):
        return x


def example(declaration, shape):
    if "int32" in declaration:
        return torch.randint(0, 4, shape)
    if "bool" in declaration:
        return torch.randint(0, 2, shape) > 0
    return (torch.randperm(torch.Size(shape).numel()) - torch.Size(shape).numel() // 2).reshape(shape) / 8


def traced(program):
    names = {"torch": torch, "F": F}
    exec(program.source("forward"), names)
    inputs = tuple(example(declaration, shapes[0]) for _, declaration, shapes in program.arguments)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.jit.trace(Wrapper(names["forward"]).eval(), inputs, check_trace=False)


def save(programs, path):
    """All programs in one archive: a scripted one is a method, a traced one a module. Gives what TorchScript says of
    those that it does not take."""
    holder, refused = Holder(), {}
    for number, program in enumerate(programs):
        if program.traced:
            try:
                setattr(holder, f"m{number}", traced(program))
            except Exception as error:  # the writer's mistake, whatever it is
                refused[number] = f"{type(error).__name__}: {error}"
    holder = torch.jit.script(holder)
    for number, program in enumerate(programs):
        if not program.traced:
            try:
                torch.jit.CompilationUnit(program.source(f"m{number}"))  # a method that fails would stay in the module
            except Exception as error:
                refused[number] = f"{type(error).__name__}: {error}"
            else:
                holder.define(program.source(f"m{number}", method=True))
    torch.jit.save(holder, str(path))
    return refused


class Checker:
    """Answers [(word, text)], restarted behind a program that brings it down."""

    def __init__(self, command):
        self.command, self.process = command, None

    def ask(self, line):
        if self.process is None:
            # A pipe that nobody reads would be full of LibTorch's warnings one day.
            self.errors = tempfile.TemporaryFile()
            self.process = subprocess.Popen([self.command], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                            stderr=self.errors, text=True)
        try:
            self.process.stdin.write(line + "\n")
            self.process.stdin.flush()
            answer = self.process.stdout.readline()
        except BrokenPipeError:
            answer = ""
        if answer:
            word, _, text = answer.rstrip("\n").partition("\t")
            return word, text
        status = self.process.wait()
        self.errors.seek(0)
        last = self.errors.read().decode(errors="replace").strip().splitlines()[-3:]
        self.close()
        return "crash", f"status {status} " + " / ".join(last)

    def check(self, programs, path):
        """The answer for each program; "unwritten" where TorchScript does not take it."""
        refused = save(programs, path)
        return [("unwritten", refused[number]) if number in refused else self.ask("\t".join(
            [str(path), f"m{number}" + ".forward" * program.traced, program.inputs(), program.sizes()]))
            for number, program in enumerate(programs)]

    def close(self):
        if self.process is not None:
            for pipe in (self.process.stdin, self.process.stdout, self.errors):
                try:
                    pipe.close()
                except BrokenPipeError:
                    pass  # what it never took
            self.process.wait()
            self.process = None


def kind(answer):
    """What is the same for one fault in two programs: the word, and the text without names and numbers."""
    word, text = answer
    if word == "wrong":
        return word + (" number of results" if " results where" in text else text.split(", at ")[0][len("result 0"):])
    text = text.split(" at <string>")[0]
    text = re.sub(r"^m\d+(\.forward)?: |^\.m\d+: ", "", text)
    return word + " " + re.sub(r"'[^']*'|\[[^\]]*\]|\d+", "_", text)[:160]
