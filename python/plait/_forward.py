"""What stands in the place of a live module's forward() while it is traced, and what of torch.compile steps aside."""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
import typing
from collections.abc import Callable, Iterator

import torch

from plait._errors import Error


def uncompiled(module: torch.nn.Module) -> torch.nn.Module:
    """The module that torch.compile wrapped, else itself."""
    original = getattr(module, "_orig_mod", None)
    return original if type(module).__name__ == "OptimizedModule" and isinstance(original, torch.nn.Module) else module


@contextlib.contextmanager
def without_compilation(module: torch.nn.Module) -> Iterator[None]:
    """Parts of the module that torch.compile wrapped are themselves again, and run as they were written."""
    wrapped: list[tuple[torch.nn.Module, str, torch.nn.Module]] = []
    in_place: list[tuple[torch.nn.Module, typing.Any]] = []
    try:
        for part in list(module.modules()):
            for name, child in part._modules.items():
                if child is not None and uncompiled(child) is not child:
                    wrapped.append((part, name, child))
                    part._modules[name] = uncompiled(child)
            if part.__dict__.get("_compiled_call_impl") is not None:  # of Module.compile()
                in_place.append((part, part.__dict__.pop("_compiled_call_impl")))
        yield
    finally:
        for part, name, child in wrapped:
            part._modules[name] = child
        for part, call in in_place:
            part.__dict__["_compiled_call_impl"] = call


@contextlib.contextmanager
def _replaced(module: torch.nn.Module, forward: Callable[..., typing.Any], signature: inspect.Signature) -> Iterator[None]:
    own = module.__dict__.get("forward")
    forward.__signature__ = signature  # type: ignore[attr-defined]
    module.__dict__["forward"] = forward
    try:
        yield
    finally:
        if own is not None:
            module.__dict__["forward"] = own
        else:
            del module.__dict__["forward"]


def _without_keywords(signature: inspect.Signature) -> inspect.Signature:
    """Arguments that can only be named as arguments like others: a trace knows no others."""
    kinds = [one.kind for one in signature.parameters.values()]
    if inspect.Parameter.KEYWORD_ONLY not in kinds or inspect.Parameter.VAR_POSITIONAL in kinds:
        return signature
    parameters: list[inspect.Parameter] = []
    for one in signature.parameters.values():
        if one.kind is inspect.Parameter.KEYWORD_ONLY:
            needs_default = one.default is one.empty and any(before.default is not before.empty for before in parameters)
            one = one.replace(kind=inspect.Parameter.POSITIONAL_OR_KEYWORD, default=None if needs_default else one.default)
        parameters.append(one)
    return signature.replace(parameters=parameters)


@contextlib.contextmanager
def with_constants(module: torch.nn.Module, constants: dict[str, typing.Any], name: str) -> Iterator[None]:
    """forward() without the arguments that are constants, which it is given in every call, and without arguments that have to be named."""
    forward = module.forward
    try:
        signature = inspect.signature(forward)
    except (TypeError, ValueError):
        yield
        return
    for argument in constants:
        if argument not in signature.parameters:
            raise Error(f"function '{name}': forward() has no argument '{argument}'; it takes {', '.join(signature.parameters)}", code="P0202")
    rest = _without_keywords(signature.replace(parameters=[p for p in signature.parameters.values() if p.name not in constants]))
    if not constants and rest == signature:
        yield
        return

    def fixed(*arguments: typing.Any, **named: typing.Any) -> typing.Any:
        given = rest.bind(*arguments, **named)
        return forward(**given.arguments, **constants)
    with _replaced(module, fixed, rest):
        yield


def tidy(result: typing.Any) -> typing.Any:
    """A result as a trace can give it: without what is None, dataclasses as dictionaries, and these flat: ``{"text_state": …}``."""
    if dataclasses.is_dataclass(result) and not isinstance(result, (type, dict)):
        result = {field.name: getattr(result, field.name) for field in dataclasses.fields(result)}
    if isinstance(result, dict):
        return {name: value for key, one in result.items() if one is not None for name, value in _named(str(key), tidy(one))}
    if isinstance(result, (tuple, list)):
        return tuple(tidy(one) for one in result if one is not None)
    return result


def _named(key: str, value: typing.Any) -> Iterator[tuple[str, typing.Any]]:
    """What is in a tidy value, by names that begin with the key."""
    if isinstance(value, (dict, tuple)):
        for inner, one in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _named(f"{key}_{inner}", one)
    else:
        yield key, value


@contextlib.contextmanager
def with_tidy_results(module: torch.nn.Module, name: str) -> Iterator[None]:
    """forward() gives what ``tidy`` makes of its results; a ``plait.Error`` names what is none that a trace can give."""
    forward = module.forward

    def tidied(*arguments: typing.Any, **named: typing.Any) -> typing.Any:
        result = tidy(forward(*arguments, **named))
        for path, value in _named("", result):
            if not isinstance(value, torch.Tensor):
                what = f"the result '{path.removeprefix('_')}'" if path else "its result"
                hint = "; use_cache=False leaves the cache out: inputs={..., \"use_cache\": False}" if type(value).__name__.endswith("Cache") else ""
                raise Error(f"function '{name}': what its forward() gives cannot be traced; give tensors, or tuples, lists, dictionaries or "
                            f"dataclasses of them: {what} is {type(value).__name__}{hint}", code="P1101")
        return result
    with _replaced(module, tidied, inspect.signature(forward)):
        yield
