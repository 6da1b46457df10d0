"""An ``nn.Module`` as TorchScript, by torch.jit.trace, with its weights where they are.

Afterwards the model is as before: modes, gradients, buffers that forward() writes to, random generators. What a trace cannot
hold is looked for: torch's own tracer warns where a number is read out of a tensor, which becomes a ``TraceWarning``; where
sizes are open, the trace is run beside the model at other sizes, and a difference is an error.
"""

from __future__ import annotations

import contextlib
import inspect
import threading
import typing
import warnings
from collections.abc import Callable, Iterator, Sequence

import torch

from plait import _forward, _reads
from plait._errors import Error, Message
from plait._inputs import Declared, Image, Range, Tensor

# torch's tracer keeps the names of modules in a global; modes and warnings are the process's too.
_one_at_a_time = threading.RLock()

_LARGE = 1 << 20


@contextlib.contextmanager
def undisturbed(module: torch.nn.Module) -> Iterator[None]:
    """In evaluation mode and without gradients; modes, buffers and the random stream are put back."""
    with _one_at_a_time:
        modes = [(part, part.training) for part in module.modules()]
        saved = []
        for buffer in module.buffers():
            # Larger ones are tables, or caches, which begin with zeros; copies of them would cost what an export may not.
            small = buffer.numel() * buffer.element_size() <= _LARGE
            if small or int(torch.count_nonzero(buffer)) == 0:
                saved.append((buffer, buffer.detach().clone() if small else None, buffer._version))
        devices = sorted({p.device.index or 0 for p in module.parameters() if p.device.type == "cuda"})
        try:
            with torch.random.fork_rng(devices), torch.no_grad():
                module.eval()
                yield
        finally:
            for part, training in modes:
                part.training = training
            with torch.no_grad():
                for buffer, content, version in saved:
                    if buffer._version != version:
                        buffer.zero_() if content is None else buffer.copy_(content)


def _usual(size: typing.Any) -> int:
    """The size that an open dimension has in an example that is made up: none at which PyTorch does something special."""
    if not isinstance(size, Range):
        return int(size)
    return size.lower if size.lower > 1 else min(size.upper, 8)


def _made_up(sizes: Sequence[int], spec: Tensor | Image, generator: torch.Generator) -> torch.Tensor:
    dtype = spec.dtype if isinstance(spec, Tensor) else None
    if dtype == "bool":
        return torch.ones(tuple(sizes), dtype=torch.bool)
    if dtype in ("int32", "int8"):
        return torch.zeros(tuple(sizes), dtype=torch.int64)  # what PyTorch counts in
    numbers = torch.rand(tuple(sizes), generator=generator)
    if isinstance(spec, Image):
        def each(value: typing.Any, otherwise: float) -> torch.Tensor:
            one = torch.tensor(otherwise if value is None else value, dtype=torch.float32)
            return one.reshape(-1, 1, 1) if one.dim() else one
        numbers = numbers * 255 * each(spec.scale, 1.0) + each(spec.bias, 0.0)
    return numbers


def _example(declared: Declared, number: int, generator: torch.Generator, floats: torch.dtype) -> torch.Tensor:
    if declared.example is not None:
        example = torch.as_tensor(declared.example)
        if example.dtype == torch.float64 and not isinstance(declared.example, torch.Tensor):
            example = example.to(floats)  # NumPy's usual type
    elif declared.spec is not None:
        example = _made_up(declared.spec.shapes[0] if declared.spec.shapes else [_usual(size) for size in declared.spec.shape],
                           declared.spec, generator)
        if example.is_floating_point():
            example = example.to(floats)
    else:
        raise Error(f"input {number + 1} ({declared.said()}) is text, from which no example is made for a trace; "
                    "give a tensor, or plait.Tensor(shape, dtype, example=...)", code="P1104")
    return example.detach().clone()


def _other_sizes(declared: Sequence[Declared]) -> list[list[Sequence[int] | None]]:
    """For each further run the shape of each input; None leaves the example. Dimensions declared alike stay alike."""
    runs: list[list[Sequence[int] | None]] = []
    open_ranges = {size for d in declared if d.spec for size in d.spec.shape if isinstance(size, Range)}

    def at(sizes: dict[Range, int]) -> list[Sequence[int] | None]:
        return [[sizes[size] if isinstance(size, Range) else int(size) for size in d.spec.shape] if d.spec and d.spec.shape else None
                for d in declared]
    if open_ranges:
        for choose in (lambda r: r.lower, lambda r: min(r.lower + 1, r.upper), lambda r: min(r.upper, r.lower + 16)):
            runs.append(at({size: choose(size) for size in open_ranges}))
    most = max((len(d.spec.shapes) for d in declared if d.spec), default=0)
    for number in range(1, most):
        runs.append([d.spec.shapes[min(number, len(d.spec.shapes) - 1)] if d.spec and d.spec.shapes else None for d in declared])
    unique: list[list[Sequence[int] | None]] = []
    for run in runs:
        if run not in unique:
            unique.append(run)
    return unique


def _resized(example: torch.Tensor, sizes: Sequence[int] | None) -> torch.Tensor:
    """The example's values, repeated or cut to other sizes."""
    if sizes is None or list(example.shape) == list(sizes):
        return example.clone()
    for axis, size in enumerate(sizes):
        example = example.index_select(axis, torch.arange(size) % example.shape[axis])
    return example


def _flat(value: typing.Any) -> list[torch.Tensor]:
    value = _forward.tidy(value)
    if isinstance(value, torch.Tensor):
        return [value]
    if isinstance(value, dict):
        return [tensor for one in value.values() for tensor in _flat(one)]
    if isinstance(value, (list, tuple)):
        return [tensor for one in value for tensor in _flat(one)]
    return []


def _differs(one: typing.Any, other: typing.Any) -> str:
    """How two results are not alike, or ""."""
    ours, theirs = _flat(one), _flat(other)
    if len(ours) != len(theirs):
        return f"{len(theirs)} results, and the trace gives {len(ours)}"
    for number, (a, b) in enumerate(zip(ours, theirs)):
        if a.shape != b.shape:
            return f"result {number} has the shape {list(b.shape)}, and in the trace {list(a.shape)}"
        x, y = a.double().nan_to_num(), b.double().nan_to_num()
        if not torch.allclose(x, y, rtol=1e-3, atol=1e-4 * float(y.abs().max()) if y.numel() else 0):
            return f"result {number} is off by {float((x - y).abs().max()):.3g}"
    return ""


def _arrange(module: torch.nn.Module, declared: list[Declared], function: str) -> tuple[list[Declared], bool]:
    """The inputs in the order of forward()'s arguments, and whether they are given by name."""
    names = [d.name for d in declared]
    try:
        arguments = list(inspect.signature(module.forward).parameters)
    except (TypeError, ValueError):
        return declared, False
    stranger = next((name for name in names if name not in arguments), None)
    for place, name in enumerate(names):
        if stranger and None not in names and name in arguments and arguments.index(name) != place:
            raise Error(f"function '{function}': input '{name}' is called like forward()'s argument, and stands in another's place, since '{stranger}' is none; "
                        f"it takes {', '.join(arguments)}: give all inputs its arguments' names, or all in their order", code="P0202")
    if not all(name in arguments for name in names):
        return declared, False
    ordered = sorted(declared, key=lambda d: arguments.index(d.name or ""))
    return ordered, [d.name for d in ordered] != arguments[:len(ordered)]


def _traced(module: torch.nn.Module, given: Callable[[], dict[str, typing.Any]], caught: list[warnings.WarningMessage], name: str) -> typing.Any:
    """By the arguments that ``given`` makes anew; results that a trace cannot give are made such in a second attempt."""
    def attempt() -> typing.Any:
        return torch.jit.trace(module, check_trace=False, strict=False, **given())
    try:
        return attempt()
    except RuntimeError as error:
        text = str(error)
        if "requires grad as a constant" in text:
            raise Error(f"function '{name}': it uses a parameter that is registered in no module; register it", code="P1101") from error
        if "dynamo-optimized" in text:
            raise Error(f"function '{name}': its forward() calls a function that torch.compile made, which cannot be traced; call the one that "
                        "was written, or make the model without torch.compile", code="P1101") from error
        if not any(part in text for part in ("Tracer cannot infer type", "output of the traced function", "Only tensors")):
            raise
    caught.clear()
    with _forward.with_tidy_results(module, name):
        return attempt()


def trace(module: torch.nn.Module, declared: list[Declared], name: str) -> tuple[typing.Any, list[Declared], list[Message]]:
    """The traced module, its inputs in the order of the trace and the constants behind them, and warnings."""
    module = _forward.uncompiled(module)
    if not declared:
        raise Error(f"function '{name}' is traced, and that takes its inputs: inputs=[torch.rand(...), ...]", code="P1104")
    if any(tensor.is_meta for tensor in [*module.parameters(), *module.buffers()]):
        raise Error(f"function '{name}': the model is on the device meta, where tensors have no contents; load its weights first", code="P1105")
    lazy = [path for path, tensor in [*module.named_parameters(), *module.named_buffers()] if torch.nn.parameter.is_lazy(tensor)]
    if lazy:
        raise Error(f"function '{name}': the model has parameters that get their shapes when it first runs ({lazy[0]}); run it once before", code="P1105")
    fixed = [d for d in declared if d.constant is not None]
    declared = [d for d in declared if d.constant is None]
    if not declared:
        raise Error(f"function '{name}': all arguments are constants; a function of Core ML takes at least one tensor", code="P0202")
    constants = {d.name or "": d.constant.value for d in fixed if d.constant is not None}
    with undisturbed(module), _forward.without_compilation(module), _forward.with_constants(module, constants, name):
        declared, by_name = _arrange(module, declared, name)
        generator = torch.Generator().manual_seed(0)
        devices = {tensor.device for tensor in [*module.parameters(), *module.buffers()]}
        device = devices.pop() if len(devices) == 1 else torch.device("cpu")
        floats = next((p.dtype for p in module.parameters() if p.is_floating_point()), torch.float32)
        examples = [_example(d, number, generator, floats).to(device) for number, d in enumerate(declared)]
        keys = [d.name or "" for d in declared]

        def given(tensors: Sequence[torch.Tensor]) -> dict[str, typing.Any]:
            return {"example_kwarg_inputs": dict(zip(keys, tensors))} if by_name else {"example_inputs": tuple(tensors)}

        def call(function: typing.Any, tensors: Sequence[torch.Tensor]) -> typing.Any:
            return function(**dict(zip(keys, tensors))) if by_name else function(*tensors)

        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            with _reads.of_sizes_allowed():
                traced = _traced(module, lambda: given([e.clone() for e in examples]), caught, name)
        found, others = [], set()
        for warning in caught:
            text = " ".join(str(warning.message).split())
            if issubclass(warning.category, torch.jit.TracerWarning):
                found.append(Message(f"{name}: {text.removesuffix(' We cannot record the data flow of Python values.')} "
                                     f"({warning.filename}:{warning.lineno})", "P1102"))
            elif not (issubclass(warning.category, (DeprecationWarning, FutureWarning)) and "torch.jit" in text):
                said = (text, warning.category, warning.filename, warning.lineno)
                if said not in others:
                    others.add(said)
                    warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
        for sizes in _other_sizes(declared):
            tensors = [_resized(example.cpu(), shape).to(device) for example, shape in zip(examples, sizes)]
            shapes = ", ".join(str(list(tensor.shape)) for tensor in tensors)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                try:
                    expected = call(module, [t.clone() for t in tensors])
                except Exception as error:
                    raise Error(f"function '{name}': the model does not run at sizes that are declared ({shapes}): {error}", code="P1103") from error
                try:
                    difference = _differs(call(traced, [t.clone() for t in tensors]), expected)
                except RuntimeError as error:
                    difference = f"the trace fails: {str(error).strip().splitlines()[-1]}"
            if difference:
                raise Error(f"function '{name}': the trace is wrong at other sizes than the examples' ({shapes}): {difference}; "
                            "something was decided by a size. Compute with sizes as x.shape gives them, declare fixed shapes, or "
                            "torch.jit.script the model", code="P1103")
    return traced, [*declared, *fixed], list(dict.fromkeys(found))
