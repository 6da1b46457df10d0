"""ct.utils: several functions in one package, and the Model message of a package."""

from __future__ import annotations

import os
import pathlib
import typing

import plait
from plait.coremltools._refused import refuse_name

__all__ = ["MultiFunctionDescriptor", "load_spec", "save_multifunction"]


class MultiFunctionDescriptor:
    """Which functions of which packages become one package.

    model_path: a package whose functions are there at the beginning. ``default_function_name`` has to be said before saving.
    """

    def __init__(self, model_path: str | os.PathLike[str] | None = None) -> None:
        self._functions: dict[str, tuple[str, str]] = {}
        self._default: str | None = None
        if model_path is not None:
            self.add_model(model_path)

    @property
    def default_function_name(self) -> str | None:
        """The function that runs where none is named. Setting it to what is no text is a ValueError."""
        return self._default

    @default_function_name.setter
    def default_function_name(self, name: str) -> None:
        if not isinstance(name, str):
            raise ValueError(f"default_function_name is a name, and this is {name!r}")
        self._default = name

    def add_function(self, model_path: str | os.PathLike[str], src_function_name: str, target_function_name: str) -> None:
        """``src_function_name`` of the package at ``model_path``, under the name ``target_function_name``. Raises ValueError where it is not there, or the name is taken."""
        path = os.fspath(model_path)
        known = plait.Package(path).functions
        if src_function_name not in known:
            raise ValueError(f"src_function_name {src_function_name} not found in {path}; it has {', '.join(known)}")
        if target_function_name in self._functions:
            raise ValueError(f"function {target_function_name} already exist.")
        self._functions[target_function_name] = (path, src_function_name)

    def add_model(self, model_path: str | os.PathLike[str]) -> None:
        """Every function of a package, under its own name. Raises ValueError where a name is taken."""
        for name in plait.Package(model_path).functions:
            self.add_function(model_path, name, name)

    def remove_function(self, function_name: str) -> None:
        """Leaves a function out again. Raises ValueError where there is none."""
        if function_name not in self._functions:
            raise ValueError(f"function_name {function_name} not found.")
        del self._functions[function_name]


def save_multifunction(desc: MultiFunctionDescriptor, destination_path: str | os.PathLike[str]) -> None:
    """Writes the functions of a descriptor as one package at ``destination_path``, with equal weights once.

    Raises ValueError without ``default_function_name``, and ``plait.Error`` where the package cannot be written.
    """
    if not desc._functions:
        raise ValueError("the descriptor has no functions")
    if desc._default is None:
        raise ValueError("default_function_name must be set for the MultiFunctionDescriptor instance before calling save_multifunction.")
    if desc._default not in desc._functions:
        raise ValueError(f"default_function_name {desc._default} not found in the program. Available functions names are {list(desc._functions)}")
    plait.merge({name: source for name, source in desc._functions.items()}, output=destination_path, default=desc._default)


def load_spec(model_path: str | os.PathLike[str]) -> typing.Any:
    """The Model message of a package, as protobuf has it. Needs the package protobuf; raises ``plait.Error`` without it."""
    from plait.coremltools._spec import read_spec
    return read_spec(pathlib.Path(model_path))


def __getattr__(name: str) -> typing.Any:
    refuse_name("coremltools.utils", name)
