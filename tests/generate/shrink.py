"""Makes a program that shows a fault as small as it gets: lines go, blocks give way to their bodies, values to others."""

import re

from tree import Block, bodies


def at(program, number):
    for index, body in enumerate(bodies(program.body)):
        if index == number:
            return body


def smaller(program):
    """Programs with one thing less, the boldest cut first."""
    for number, body in enumerate(bodies(program.body)):
        size = len(body)
        step = size
        while step >= 1:
            for start in range(size - step, -1, -1):
                if step == size or start % max(step // 2, 1) == 0:
                    cut = program.copy()
                    del at(cut, number)[start:start + step]
                    yield cut
            step //= 2
    if len(program.results) > 1:
        for index in range(len(program.results)):
            cut = program.copy()
            del cut.results[index]
            yield cut
    for number, body in enumerate(bodies(program.body)):
        for index, part in enumerate(body):
            if isinstance(part, Block):
                for _, inner in part.parts:
                    cut = program.copy()
                    place = at(cut, number)
                    head = part.parts[0][0]
                    loop = re.match(r"for (\w+) in", head)
                    place[index:index + 1] = ([f"{loop[1]} = 0"] if loop else []) + [*inner]
                    yield cut
            else:
                yield from lines(program, number, index, part)
    for index in range(len(program.arguments)):
        if not re.search(rf"\b{program.arguments[index][0]}\b", "\n".join(program.source().splitlines()[1:])):
            if len(program.arguments) > 1:
                cut = program.copy()
                del cut.arguments[index]
                yield cut
    runs = len(program.arguments[0][2])
    if runs > 1:
        for run in range(runs):
            cut = program.copy()
            for _, _, shapes in cut.arguments:
                shapes[:] = [shapes[run]]
            yield cut
    for index, (name, declaration, shapes) in enumerate(program.arguments):
        if ".." in declaration and len(shapes) == 1:
            cut = program.copy()
            inner = ", ".join(map(str, shapes[0]))
            cut.arguments[index] = (name, re.sub(r"\[.*\]", f"[{inner}]", declaration), shapes)
            yield cut


def lines(program, number, index, text):
    """Simpler forms of one assignment: another value of its own expression, or one of its parts."""
    assigned = re.match(r"(\w+) = (.+)$", text)
    if not assigned:
        return
    name, value = assigned.groups()
    operands = [word for word in dict.fromkeys(re.findall(r"\b[tx]\d+\b", value)) if word != name]
    for operand in operands:
        if value not in (operand, f"{operand}.clone()"):
            for form in (operand, f"{operand}.clone()", f"torch.zeros_like({operand})"):
                if value != form:
                    cut = program.copy()
                    at(cut, number)[index] = f"{name} = {form}"
                    yield cut


def shrink(program, still, budget=400):
    """The smallest found for which `still` holds, asking at most `budget` times."""
    while budget > 0:
        for candidate in smaller(program):
            budget -= 1
            if still(candidate):
                program = candidate
                break
            if budget <= 0:
                break
        else:
            return program
    return program
