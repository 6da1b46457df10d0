"""A program as a tree: lines, and blocks of lines under a head such as `if c:`. What the shrinker cuts at."""

import copy


class Block:
    """`parts` is [(head, body)]: one part of a loop, two of an if with else."""

    def __init__(self, *parts):
        self.parts = list(parts)


class Program:
    """A function of tensors. `arguments` is [(name, plait's declaration, shapes a run)]."""

    def __init__(self, arguments, body, results, traced=False):
        self.arguments, self.body, self.results, self.traced = arguments, body, results, traced

    def source(self, name="forward", method=False):
        arguments = ", ".join(["self"] * method + [f"{name}: torch.Tensor" for name, _, _ in self.arguments])
        lines = [f"def {name}({arguments}):", *indented(self.body, 1), f"    return ({', '.join(self.results)},)"]
        return "\n".join(lines) + "\n"

    def inputs(self):
        return ";".join(declaration for _, declaration, _ in self.arguments)

    def sizes(self):
        runs = zip(*[shapes for _, _, shapes in self.arguments])
        return "|".join(";".join("x".join(map(str, shape)) for shape in run) for run in runs)

    def copy(self):
        return copy.deepcopy(self)


def indented(body, depth):
    for part in body:
        if isinstance(part, Block):
            for head, inner in part.parts:
                yield "    " * depth + head
                yield from indented(inner, depth + 1) if inner else ["    " * (depth + 1) + "pass"]
        else:
            yield "    " * depth + part


def bodies(body):
    """All lists of lines in a tree, the outermost first."""
    yield body
    for part in body:
        if isinstance(part, Block):
            for _, inner in part.parts:
                yield from bodies(inner)
