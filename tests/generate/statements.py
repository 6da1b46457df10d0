"""Statements of random programs: text for what the values at hand allow.

Each function takes a `Scope` and gives a line, or None where it finds nothing to work on. An expression may name a value
of the scope only; whether it runs is found by running it (writer.py).
"""

import torch

SCALARS = ("0.5", "2.0", "-1.0", "0.25", "1.5", "-0.5")


class Scope:
    """The values of a program at one place, once for each of the sizes it is tried at."""

    def __init__(self, chance, worlds):
        self.chance, self.worlds = chance, worlds

    def names(self, wanted):
        return [name for name, value in self.worlds[0].items() if wanted(value)]

    def pick(self, wanted):
        names = self.names(wanted)
        # What came last is what is least used so far.
        return self.chance.choice(names[-6:] if self.chance.random() < 0.7 else names) if names else None

    def tensor(self, wanted=lambda value: True):
        return self.pick(lambda value: isinstance(value, torch.Tensor) and wanted(value))

    def floats(self, rank=0):
        return self.tensor(lambda value: value.dtype == torch.float32 and value.dim() >= rank)

    def like(self, name, same=True):
        """Another of the same type; of the same shape, or of one that broadcasts to it."""
        value = self.worlds[0][name]

        def fits(other):
            if other.dtype != value.dtype:
                return False
            if other.shape == value.shape:
                return True
            return not same and other.dim() <= value.dim() and all(
                a in (1, b) for a, b in zip(reversed(other.shape), reversed(value.shape)))
        return self.tensor(fits)

    def apart(self, name, wanted=lambda value: True):
        """A tensor that shares no memory with another: what a write reads while it writes has no one meaning."""
        place = self.worlds[0][name].untyped_storage().data_ptr()
        return self.tensor(lambda value: value.dtype == torch.float32 and wanted(value)
                           and value.untyped_storage().data_ptr() != place)

    def mask(self, name):
        value = self.worlds[0][name]
        return self.tensor(lambda other: other.dtype == torch.bool and other.shape == value.shape)

    def number(self):
        """An int: a literal, or a name."""
        name = self.pick(lambda value: type(value) is int)
        return name if name and self.chance.random() < 0.4 else None

    def rank(self, name):
        return self.worlds[0][name].dim()

    def size(self, name, dim):
        """The least of all worlds."""
        return min(world[name].shape[dim] if dim < world[name].dim() else 1 for world in self.worlds)

    def dim(self, name):
        dim = self.chance.randrange(self.rank(name))
        return dim if self.chance.random() < 0.7 else dim - self.rank(name)

    def index(self, name, dim):
        size = max(self.size(name, dim % self.rank(name)), 1)
        return self.number() or str(self.chance.randrange(-size, size))

    def bounds(self, name, dim):
        """A slice: "1:", ":-1", "0:3:2", "i0:"."""
        size = self.size(name, dim % self.rank(name))
        start = self.number() or str(self.chance.randint(-size, size))
        stop = self.number() or str(self.chance.randint(-size, size + 1))
        return self.chance.choice([f"{start}:", f":{stop}", f"{start}:{stop}", "::2", "1::2", f":{stop}:2", ":"])


# ---- expressions


def view(s):
    name = s.tensor(lambda value: value.dim() > 0)
    if not name:
        return None
    rank, dim, choice = s.rank(name), s.dim(name), s.chance.choice
    other = s.dim(name)
    order = list(range(rank))
    s.chance.shuffle(order)
    size = s.size(name, dim % rank)
    forms = [
        lambda: f"{name}.transpose({dim}, {other})",
        lambda: f"{name}.permute({', '.join(map(str, order))})",
        lambda: f"{name}.select({dim}, {s.index(name, dim)})",
        lambda: f"{name}[{s.index(name, 0)}]",
        lambda: f"{name}[{s.bounds(name, 0)}]",
        lambda: f"{name}[{', '.join([':'] * (dim % rank) + [s.bounds(name, dim)])}]",
        lambda: f"{name}[..., {s.index(name, rank - 1)}]",
        lambda: f"{name}[..., {s.bounds(name, rank - 1)}]",
        lambda: f"{name}[{s.bounds(name, 0)}, {s.index(name, 1)}]" if rank > 1 else None,
        lambda: f"{name}[None]" if rank < 4 else None,
        lambda: f"{name}.unsqueeze({choice([dim, rank])})" if rank < 4 else None,
        lambda: f"{name}.squeeze({dim})",
        lambda: f"{name}.narrow({dim}, {s.number() or 0}, {choice([1, size, max(size - 1, 0)])})",
        lambda: f"{name}.reshape(-1)",
        lambda: f"{name}.view(-1)",
        lambda: f"{name}.flatten({choice([0, min(1, rank - 1)])})",
        lambda: f"{name}.reshape({name}.size(0), -1)",
        lambda: f"{name}.view({', '.join(f'{name}.size({axis})' for axis in range(rank))}, 1)" if rank < 4 else None,
        lambda: f"{name}.reshape({', '.join(str(s.size(name, axis)) for axis in order)})",
        lambda: f"{name}.expand({choice([2, 3])}, {', '.join(['-1'] * rank)})" if rank < 4 else None,
        lambda: f"{name}.unsqueeze({dim}).expand({', '.join(['-1'] * (dim % rank) + ['2'] + ['-1'] * (rank - dim % rank))})"
        if rank < 4 and dim >= 0 else None,
        lambda: f"{name}.t()" if rank == 2 else None,
        lambda: f"{name}.diagonal({choice([0, 0, 1, -1])})" if rank == 2 else None,
        lambda: f"{name}.chunk(2, {dim})[{choice([0, -1])}]",
        lambda: f"{name}.split({choice([1, 2])}, {dim})[{choice([0, -1])}]",
        lambda: f"{name}.unbind({dim})[{choice([0, -1])}]",
        lambda: f"{name}.unfold({dim}, {choice([1, 2])}, {choice([1, 2])})" if rank < 4 else None,
        lambda: f"{name}.movedim({dim}, {other})",
        lambda: f"{name}.view_as({s.like(name)})",
        lambda: f"{name}.expand_as({s.tensor(lambda value: value.dim() >= rank)})",
        lambda: f"{name}.detach()",
        lambda: name,
    ]
    return choice(forms)()


def pure(s):
    name = s.floats()
    if not name:
        return None
    choice, rank = s.chance.choice, s.rank(name)
    other = s.like(name, same=False) or name
    scalar = choice(SCALARS + tuple(s.names(lambda value: isinstance(value, float)))[-2:])
    forms = [
        lambda: f"{name} {choice('+-*')} {other}",
        lambda: f"{name} {choice('+-*')} {scalar}",
        lambda: f"{scalar} {choice('+-*')} {name}",
        lambda: f"{name} {choice('+-*')} {s.number() or 2}",
        lambda: f"torch.{choice(['relu', 'neg', 'abs', 'floor', 'sign', 'square', 'tanh', 'sigmoid'])}({name})",
        lambda: f"torch.{choice(['maximum', 'minimum'])}({name}, {other})",
        lambda: f"torch.where({name} > {scalar}, {name}, {other})",
        lambda: f"{name}.clone()",
        lambda: f"{name}.contiguous()",
        lambda: f"{name} {choice(['>', '<=', '==', '!='])} {choice([other, scalar])}",
        lambda: f"{name}.{choice(['sum', 'mean', 'max', 'min'])}()",
        lambda: f"torch.{choice(['zeros_like', 'ones_like'])}({name})",
        lambda: f"torch.clamp({name}, {choice(['-1.0', '0.0'])}, {choice(['1.0', '2.0'])})",
        lambda: f"torch.add({name}, {other}, alpha={choice([2, -1])})",
        lambda: f"{name}.masked_fill({s.mask(name)}, {scalar})",
        lambda: f"{name}.to(torch.int64)",
        lambda: f"torch.lerp({name}, {other}, 0.5)",
    ]
    if rank:
        forms += [lambda: along(s, name)] * 12
    return choice(forms)()


def along(s, name):
    choice, rank, dim = s.chance.choice, s.rank(name), s.dim(name)
    other = s.like(name) or name
    index = s.tensor(lambda value: value.dtype == torch.int64 and value.dim() == 1)
    keep = choice(["", ", keepdim=True"])
    # Of equal numbers topk may take any, so no two are equal along the dimension: the numbers are eighths.
    distinct = f"({name}.float() + torch.cumsum(torch.ones_like({name}.float()), {dim}) * 0.015625)"
    forms = [
        lambda: f"{name}.{choice(['sum', 'mean', 'amax', 'amin'])}({dim}{keep})",
        lambda: f"{name}.max({dim}{keep})[{choice([0, 1])}]",
        lambda: f"torch.softmax({name}, {dim})",
        lambda: f"torch.cumsum({name}, {dim})",
        lambda: f"torch.cat([{name}, {other}], {dim})",
        lambda: f"torch.stack([{name}, {other}], {choice([dim, rank])})" if rank < 4 else None,
        lambda: f"torch.flip({name}, [{dim}])",
        lambda: f"torch.roll({name}, {choice([1, -1, 2])}, {dim})",
        lambda: f"{name}.argmax({dim})",
        lambda: f"torch.sort({name}, {dim})[{choice([0, 0, 1])}]",
        lambda: f"torch.topk({distinct}, {choice([1, min(2, s.size(name, dim % rank))])}, {dim})[{choice([0, 1])}]",
        lambda: f"torch.matmul({name}, {choice([other, name])}.transpose(-1, -2))" if rank > 1 else None,
        lambda: f"F.pad({name}, [{choice([0, 1])}, {choice([1, 2])}])",
        lambda: f"torch.tril({name})" if rank > 1 else None,
        lambda: f"{name}.repeat({', '.join(str(choice([1, 1, 2])) for _ in range(rank))})",
        lambda: f"{name}.index_select({dim}, {index} % {s.size(name, dim % rank)})",
        lambda: f"{name}[{index} % {s.size(name, 0)}]",
        lambda: f"{name}.gather({dim}, {name}.argmax({dim}, keepdim=True))",
        lambda: f"F.layer_norm({name}, [{s.size(name, rank - 1)}])",
        lambda: f"torch.any({name} > 0.5, {dim})",
        lambda: f"{name}.new_zeros({', '.join(f'{name}.size({axis})' for axis in range(rank))})",
        lambda: f"torch.zeros({name}.size({dim}), {choice([1, 2])})",
        lambda: f"torch.arange({name}.size({dim}))",
        lambda: f"torch.full([{name}.size({dim})], 0.5)",
        lambda: f"torch.einsum('i,i->i', {name}, {other})" if rank == 1 else None,
    ]
    return choice(forms)()


def integers(s):
    name = s.tensor(lambda value: value.dtype == torch.int64)
    if not name:
        return None
    other, choice = s.like(name, same=False) or name, s.chance.choice
    return choice([f"{name} {choice('+-*')} {other}", f"{name} % {choice([2, 3])}", f"{name} // {choice([2, 3, -2])}",
                   f"{name}.to(torch.float32)", f"{name} == {choice([other, '1'])}", f"{name} * 0.5",
                   f"{name}.clone()", f"{name}.sum()", f"F.one_hot({name} % 3, 3).to(torch.float32)"])


def bools(s):
    name = s.tensor(lambda value: value.dtype == torch.bool)
    if not name:
        return None
    other, choice = s.like(name, same=False) or name, s.chance.choice
    return choice([f"~{name}", f"{name} & {other}", f"{name} | {other}", f"torch.logical_xor({name}, {other})",
                   f"{name}.to(torch.float32)", f"{name}.any()", f"{name}.all()", f"{name}.to(torch.int64)",
                   f"{name}.to(torch.int64).sum()"])


def number(s):
    """An int, as an expression."""
    tensor, choice = s.tensor(lambda value: value.dim() > 0), s.chance.choice
    forms = []
    if tensor:
        forms += [f"{tensor}.size({s.dim(tensor)})"] * 3 + [f"{tensor}.dim()", f"len({tensor})", f"{tensor}.numel()"]
    single = s.tensor(lambda value: value.numel() == 1 and value.dtype != torch.bool)
    if single:
        forms += [f"int({single})", f"int({single}) % 3"]
    if tensor:
        forms += [f"int({tensor}.sum()) % 2", f"int(({tensor} > 0).sum())"]
    ints = s.names(lambda value: type(value) is int)
    if ints:
        forms += [f"{choice(ints)} {choice(['+', '-', '*', '//', '%'])} {choice(['2', '3', choice(ints)])}",
                  f"min({choice(ints)}, {choice([2, 3])})", f"max({choice(ints)}, 1)"]
    return choice(forms) if forms else None


def real(s):
    tensor, choice = s.floats(), s.chance.choice
    if not tensor:
        return None
    ints = s.names(lambda value: type(value) is int) or ["2"]
    return choice([f"float({tensor}.{choice(['sum', 'max', 'mean'])}())", f"{choice(ints)} / 2",
                   f"float({choice(ints)}) * 0.5", f"float({tensor}.min())"])


def condition(s):
    choice, forms = s.chance.choice, []
    tensor, ints = s.floats(), s.names(lambda value: type(value) is int)
    if tensor:
        forms += [f"bool({tensor}.sum() > {choice(['0', '0.5', '-1.0'])})", f"float({tensor}.max()) > {choice(SCALARS)}"]
        if s.rank(tensor):
            forms += [f"{tensor}.size({s.dim(tensor)}) {choice(['>', '==', '<'])} {choice([1, 2, 3])}"]
    if ints:
        forms += [f"{choice(ints)} {choice(['>', '==', '<=', '!='])} {choice([0, 1, 2, choice(ints)])}"] * 2
    flags = s.names(lambda value: type(value) is bool)
    if flags:
        forms += [choice(flags)]
    one = s.tensor(lambda value: value.dtype == torch.bool and value.numel() == 1)
    if one:
        forms += [f"bool({one})"]
    if not forms:
        return None
    first = choice(forms)
    return choice([first, first, first, f"not ({first})", f"({first}) and ({choice(forms)})",
                   f"({first}) or ({choice(forms)})"])


def several(s, fresh):
    """Statements of several results, some of them unused; lists and what is made of them."""
    name, choice = s.floats(rank=1), s.chance.choice
    if not name:
        return None
    dim, first, second = s.dim(name), fresh("t"), fresh("t")
    other = s.like(name) or name
    held = s.pick(lambda value: isinstance(value, list))
    forms = [
        lambda: f"{first}, {second} = torch.{choice(['max', 'min', 'sort'])}({name}, {dim})",
        lambda: f"{first}, {second} = {name}.chunk(2, {dim})",
        lambda: f"{first}, {second} = {name}, {other} + 1",
        lambda: f"{fresh('l')} = [{name}, {other}]",
        lambda: f"{fresh('l')} = {name}.{choice(['split(1, ', 'unbind('])}{dim})",
    ]
    if held:
        forms += [lambda: f"{held}.append({name})", lambda: f"{first} = {held}[{choice([0, -1])}]",
                  lambda: f"{first} = torch.{choice(['stack', 'cat'])}({held}, {choice([0, -1])})",
                  lambda: f"{held}[{choice([0, -1])}] = {name}", lambda: f"{held}[0].add_(1.0)",
                  lambda: f"{fresh('i')} = len({held})", lambda: f"{first} = {held}.pop()"]
    return choice(forms)()


# ---- writes


def place(s, name):
    """A part of a tensor, to write to."""
    rank, choice = s.rank(name), s.chance.choice
    if rank == 0:
        return name
    dim = s.dim(name)
    forms = [name, f"{name}[{s.index(name, 0)}]", f"{name}[{s.bounds(name, 0)}]",
             f"{name}[..., {s.index(name, rank - 1)}]", f"{name}[..., {s.bounds(name, rank - 1)}]",
             f"{name}.select({dim}, {s.index(name, dim)})", f"{name}.transpose({dim}, {s.dim(name)})",
             f"{name}.transpose({dim}, {s.dim(name)})[{choice([0, -1])}]", f"{name}.narrow({dim}, 0, 1)",
             f"{name}.view(-1)[{s.bounds(name, 0)}]", f"{name}.chunk(2, {dim})[0]",
             f"{name}.unsqueeze({dim})[{choice([':', '0'])}]"]
    if rank == 2:
        forms += [f"{name}.diagonal()", f"{name}.t()[{s.bounds(name, 1)}]", f"{name}[{s.bounds(name, 0)}, {s.index(name, 1)}]"]
    return choice(forms)


def write(s):
    name = s.floats()
    if not name:
        return None
    choice, rank = s.chance.choice, s.rank(name)
    target = place(s, name)
    other = part = s.apart(name)
    scalar = choice(SCALARS)
    forms = [
        lambda: f"{target}.{choice(['mul_', 'add_', 'sub_', 'fill_'])}({scalar})",
        lambda: f"{target}.{choice(['add_', 'mul_', 'copy_', 'sub_'])}({choice([part, other])})",
        lambda: f"{target}.add_({choice([part, other])}, alpha=2)",
        lambda: f"{target}.{choice(['relu_', 'neg_', 'zero_', 'abs_', 'floor_'])}()",
        lambda: f"{target}.clamp_({choice(['-1.0', '0.0'])}, 1.0)",
        lambda: f"{target}.masked_fill_({target} > {scalar}, {choice(SCALARS)})",
        lambda: f"{name}.masked_fill_({s.mask(name)}, {scalar})",
        lambda: f"{name} {choice(['+=', '-=', '*='])} {choice([other, scalar])}",
    ]
    if rank:
        dim = s.dim(name)
        index = s.tensor(lambda value: value.dtype == torch.int64 and value.dim() == 1)
        size = s.size(name, dim % rank)
        forms += [
            lambda: f"{name}[{s.index(name, 0)}] = {choice([scalar, part])}",
            lambda: f"{name}[{s.bounds(name, 0)}] = {choice([scalar, part])}",
            lambda: f"{name}[..., {s.index(name, rank - 1)}] = {choice([scalar, part])}",
            lambda: f"{name}[..., {s.bounds(name, rank - 1)}] {choice(['+=', '*=', '='])} {choice([scalar, part])}",
            lambda: f"{name}[{s.bounds(name, 0)}, {s.index(name, 1)}] {choice(['+=', '='])} {choice([scalar, part])}"
            if rank > 1 else None,
            lambda: f"{name}[{name} > {scalar}] = {choice(SCALARS)}",
            lambda: f"{name}[{index} % {s.size(name, 0)}] = {choice([scalar, part])}",
            lambda: f"{name}.index_fill_({dim}, {index} % {size}, {scalar})",
            lambda: f"{name}.index_add_({dim}, {index} % {size}, {part})",
            lambda: f"{name}.scatter_({dim}, {name}.argmax({dim}, keepdim=True), {scalar})",
            lambda: f"{name}.cumsum_({dim})",
            lambda: f"{name}.{choice(['tril_', 'triu_'])}()" if rank > 1 else None,
            lambda: f"{name}.transpose_({dim}, {s.dim(name)})",
            lambda: f"{name}.unsqueeze_({dim})" if rank < 3 else None,
            lambda: f"{name}.squeeze_({dim})",
        ]
    return choice(forms)()


def out(s):
    """An out= form, onto what has the shape of the result."""
    choice = s.chance.choice
    target = s.floats()
    if not target:
        return None
    shape = s.worlds[0][target].shape
    name = s.apart(target, lambda value: value.shape == shape)
    if not name:
        return None
    other = s.apart(target, lambda value: value.shape == shape)
    forms = [
        lambda: f"torch.{choice(['add', 'sub', 'mul', 'maximum'])}({name}, {other}, out={target})",
        lambda: f"torch.{choice(['neg', 'abs', 'floor', 'square', 'sign'])}({name}, out={target})",
        lambda: f"torch.clamp({name}, -1.0, 1.0, out={target})",
        lambda: f"torch.add({name}, {other}, alpha=2, out={target})",
    ]
    if s.rank(name):
        dim = s.dim(name)
        place = target if s.chance.random() < 0.6 else f"{target}[:]"
        row = f"{target}.select({dim}, {s.index(target, dim)})"
        forms += [
            lambda: f"torch.{choice(['sum', 'mean', 'amax'])}({name}, {dim}, out={row})",
            lambda: f"torch.cumsum({name}, {dim}, out={place})",
            lambda: f"torch.softmax({name}, {dim}, out={place})",
            lambda: f"torch.cat([{name}[:1], {name}[1:]], 0, out={place})",
            lambda: f"torch.add({name}, {other}, out={place})",
        ]
    return choice(forms)()
