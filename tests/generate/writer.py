"""Writes random programs. Every statement runs as it is written, at each of the sizes that the program is for, so that
the next one can be chosen by what the values are; what does not run is left out again."""

import copy
import random
import warnings

import statements
import torch
from checker import example
from tree import Block, Program, indented

MAX_ELEMENTS, MAX_RANK, LARGEST = 400, 4, 500.0

# weight: of statements that bind a name.
EXPRESSIONS = [(8, statements.view, "t"), (8, statements.pure, "t"), (2, statements.integers, "t"),
               (2, statements.bools, "t"), (2, statements.number, "i"), (1, statements.real, "f")]
WRITES = [(5, statements.write), (1, statements.out)]


def is_small(value):
    if isinstance(value, torch.Tensor):
        if value.numel() > MAX_ELEMENTS or value.dim() > MAX_RANK or 0 in value.shape:
            return False
        return value.dtype == torch.bool or bool(torch.isfinite(value).all() and value.abs().max() <= LARGEST)
    return isinstance(value, (int, float, bool)) and abs(value) <= LARGEST


def kind_of(value):
    return (value.dtype, value.dim()) if isinstance(value, torch.Tensor) else type(value)


class Writer:
    def __init__(self, seed, traced):
        self.chance = random.Random(seed)
        self.traced = traced
        self.names = 0
        self.arguments = self.make_arguments()
        runs = len(self.arguments[0][2])
        torch.manual_seed(seed)
        self.worlds = [{name: example(declaration, shapes[run]) for name, declaration, shapes in self.arguments}
                       for run in range(runs)]
        self.globals = {"torch": torch, "F": torch.nn.functional}

    # ---- the interface

    def make_arguments(self):
        """One to three tensors. About half of the programs have a dimension with a range, which others may share."""
        chance = self.chance
        sizes = {"n": None, "m": None}
        for name in sizes:
            low = chance.choice([1, 2, 2, 3])
            sizes[name] = (low, low + chance.choice([1, 2, 3]))
        flexible = chance.random() < 0.5
        dims = ["n", 2, 3, 4, 3] if flexible else [2, 3, 4, 3]
        runs = [{name: low for name, (low, _) in sizes.items()}]
        if flexible:
            runs += [{name: high for name, (_, high) in sizes.items()},
                     {name: chance.randint(low, high) for name, (low, high) in sizes.items()}]
        arguments = []
        # A symbol is an input's own: two inputs with a range each are of independent sizes to plait, equal ones here.
        for name in ["x0", "x1", "x2"][:chance.choice([1, 1, 2, 2, 3])]:
            shape = [chance.choice(dims) for _ in range(chance.choice([1, 2, 2, 3]))]
            dtype = chance.choice(["", "", "", "", "int32"])
            text = ", ".join("{}..{}".format(*sizes[size]) if isinstance(size, str) else str(size) for size in shape)
            shapes = [tuple(run.get(size, size) for size in shape) for run in runs]
            arguments.append((name, f"{name}={dtype or 'fp32'}[{text}]", shapes))
        return arguments

    # ---- running

    def run(self, text, worlds):
        code = compile(text, "<program>", "exec")
        for world in worlds:
            exec(code, self.globals, world)

    def fits(self, worlds, name=None):
        """Whether all values, or those of one name, are small enough to compare. The rank and the type of one name do
        not depend on the size."""
        for world in worlds:
            for value in [world[name]] if name else world.values():
                if not all(map(is_small, value if isinstance(value, (list, tuple)) else [value])):
                    return False
        return not name or len({kind_of(world[name]) for world in worlds}) == 1

    def attempt(self, text, worlds, name=None):
        """Runs it in copies; the worlds change only where all of it runs."""
        after = [copy.deepcopy(world) for world in worlds]
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                self.run(text, after)
            if not self.fits(after, name) or (name and not self.fits(after)):
                return False
        except Exception:
            return False
        for world, other in zip(worlds, after):
            world.clear()
            world.update(other)
        return True

    # ---- writing

    def fresh(self, prefix):
        self.names += 1
        return f"{prefix}{self.names}"

    def choose(self, weighted):
        return self.chance.choices([entry[1:] for entry in weighted], [entry[0] for entry in weighted])[0]

    def line(self, worlds, rebind):
        """One statement. `rebind`: names that a block may give new values, of the same type and rank."""
        scope = statements.Scope(self.chance, worlds)
        if self.chance.random() < 0.4:
            make, = self.choose(WRITES)
            text = make(scope)
            return text if text and "None" not in text.replace("[None]", "") and self.attempt(text, worlds) else None
        if self.chance.random() < 0.12:
            before = self.names
            text = statements.several(scope, self.fresh)
            if text and "None" not in text and self.attempt(text, worlds):
                return text
            self.names = before
            return None
        make, prefix = self.choose(EXPRESSIONS)
        value = make(scope)
        if not value or "None" in value.replace("[None]", ""):
            return None
        name = None
        if rebind and prefix == "t" and self.chance.random() < 0.5:
            name = self.chance.choice(rebind)
            trial = [copy.deepcopy(world) for world in worlds]
            if not self.attempt(f"new = {value}", trial, "new") or any(
                    trial[0]["new"].dtype != worlds[0][name].dtype or world["new"].dim() != world[name].dim()
                    or (world["new"].shape != world[name].shape and self.chance.random() < 0.8) for world in trial):
                name = None
        name = name or self.fresh(prefix)
        text = f"{name} = {value}"
        return text if self.attempt(text, worlds, name) else None

    def lines(self, worlds, count, depth, rebind=()):
        body = []
        for _ in range(count * 3):
            if len(body) >= count:
                break
            if depth < 2 and self.chance.random() < 0.18:
                part = self.block(worlds, depth)
            else:
                part = self.line(worlds, rebind)
            if part is not None:
                body.append(part)
        return body

    def tensors(self, worlds):
        return [name for name, value in worlds[0].items() if isinstance(value, torch.Tensor)]

    def block(self, worlds, depth):
        rebind = self.chance.sample(self.tensors(worlds), min(3, len(self.tensors(worlds))))
        if self.chance.random() < 0.5:
            return self.branch(worlds, depth, rebind)
        return self.loop(worlds, depth, rebind)

    def keep(self, worlds, after):
        """The outer names as they are behind a block."""
        for world, other in zip(worlds, after):
            names = set(world)
            world.clear()
            world.update({name: value for name, value in other.items() if name in names})

    def branch(self, worlds, depth, rebind):
        condition = statements.condition(statements.Scope(self.chance, worlds))
        if not condition or not self.attempt(f"flag = {condition}", [copy.deepcopy(world) for world in worlds], "flag"):
            return None
        bodies, ends = [], []
        for _ in range(self.chance.choice([1, 2, 2])):
            inner = [copy.deepcopy(world) for world in worlds]
            bodies.append(self.lines(inner, self.chance.randint(1, 3), depth + 1, rebind))
            ends.append(inner)
        if not any(bodies):
            return None
        ends.append([copy.deepcopy(world) for world in worlds])
        taken = []
        for number, world in enumerate(worlds):
            value = eval(condition, self.globals, world)
            taken.append(ends[0 if value else 1][number])
        self.keep(worlds, taken)
        return Block(*zip([f"if {condition}:", "else:"], bodies))

    def loop(self, worlds, depth, rebind):
        scope = statements.Scope(self.chance, worlds)
        trips = str(self.chance.randint(0, 3))
        if self.chance.random() < 0.6:
            value = statements.number(scope)
            if value and self.attempt(f"trips = {value}", [copy.deepcopy(world) for world in worlds], "trips"):
                trips = f"min({value}, 4)"
        variable = self.fresh("i")
        inner = [copy.deepcopy(world) for world in worlds]
        for world in inner:
            world[variable] = 0
        body = self.lines(inner, self.chance.randint(1, 3), depth + 1, rebind)
        if not body:
            return None
        if self.chance.random() < 0.2:
            condition = statements.condition(statements.Scope(self.chance, inner))
            if condition:
                body.insert(self.chance.randint(0, len(body)),
                            Block((f"if {condition}:", [self.chance.choice(["break", "continue"])])))
        block = Block((f"for {variable} in range({trips}):", body))
        after = [copy.deepcopy(world) for world in worlds]
        if not self.attempt("\n".join(indented([block], 0)), after):
            return None
        self.keep(worlds, after)
        return block

    def write(self, count):
        body = self.lines(self.worlds, count, 0)
        tensors = self.tensors(self.worlds)
        results = self.chance.sample(tensors, min(len(tensors), self.chance.randint(1, 4)))
        numbers = [name for name, value in self.worlds[0].items() if type(value) in (int, float)]
        if numbers and not self.traced and self.chance.random() < 0.2:
            results.append(self.chance.choice(numbers))
        return Program(self.arguments, body, results, self.traced)


def write_program(seed):
    chance = random.Random(seed)
    traced = chance.random() < 0.25
    return Writer(seed, traced).write(chance.choice([3, 5, 8, 12]))
