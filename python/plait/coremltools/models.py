"""ct.models: packages, run by plait's interpreter on any system."""

from __future__ import annotations

import os
import pathlib
import typing
from collections.abc import Iterator, Mapping, MutableMapping, Sequence

import plait
from plait._errors import Error
from plait._function import Function, State
from plait.coremltools import utils
from plait.coremltools._refused import refuse, refuse_name
from plait.coremltools._types import ComputeUnit

__all__ = ["MLModel", "MLState", "utils"]


class MLState:
    """The states of a function, kept from ``predict`` to ``predict``; zeros at first. ``MLModel.make_state`` makes one."""

    def __init__(self, state: State) -> None:
        self._state = state

    def read_state(self, name: str) -> typing.Any:
        """A copy of a state's array, by its name. Raises ValueError where there is none."""
        if name not in self._state:
            raise ValueError(f"there is no state '{name}'; there are {', '.join(self._state)}")
        return self._state[name]

    def write_state(self, name: str, value: typing.Any) -> None:
        """Gives a state other contents, of its own shape in elements. Raises ValueError where there is no such state."""
        if name not in self._state:
            raise ValueError(f"there is no state '{name}'; there are {', '.join(self._state)}")
        self._state[name] = value


class MLModel:
    """One function of a package.

    model: the path of an ``.mlpackage``, any tool's. function_name: its default function where not said. compute_units,
    skip_model_load, optimization_hints: there is no Core ML here that they would be for. Raises ``plait.Error`` where there is no
    package or no such function.
    """

    def __init__(self, model: typing.Any, is_temp_package: bool = False, mil_program: typing.Any = None, skip_model_load: bool = False,
                 compute_units: ComputeUnit = ComputeUnit.ALL, weights_dir: str | None = None, function_name: str | None = None,
                 optimization_hints: typing.Any = None) -> None:
        if weights_dir is not None:
            refuse("weights_dir", "save the package, and open it by its path")
        if mil_program is not None:
            refuse("mil_program", "the path of an .mlpackage is enough")
        if isinstance(model, plait.Package):
            self._package = model
        elif isinstance(model, (str, os.PathLike)):
            self._package = plait.Package(model)
        else:
            refuse(f"a model that is {type(model).__name__}", "the path of an .mlpackage")
        self.function_name = function_name
        self.compute_unit = compute_units
        self._function: Function = self._package._function(function_name)
        self._spec: typing.Any = None

    @property
    def package_path(self) -> str:
        """Where the package lies."""
        return str(self._package.path)

    def predict(self, data: typing.Any, state: MLState | None = None) -> typing.Any:
        """Runs the function.

        data: arrays, and PIL images where an input is one, by the names of inputs, in the shapes of the interface, counted in
        elements; or a list of such dictionaries. state: of a function with states, what ``make_state`` made.

        Returns a dictionary by the names of outputs: NumPy arrays, PIL images, the label and the probabilities of a classifier; or
        a list of these. Raises ``plait.Error`` where an input is missing, unknown, or of another type or shape.
        """
        if isinstance(data, Mapping):
            return self._predict(data, state)
        if isinstance(data, Sequence) and not isinstance(data, str):
            return [self._predict(one, state) for one in data]
        raise TypeError("predict() takes a dictionary of inputs by name, or a list of such dictionaries")

    def _predict(self, data: Mapping[str, typing.Any], state: MLState | None) -> dict[str, typing.Any]:
        results = self._function.predict(data, state=state._state if state is not None else None)
        for value in self._function.outputs:
            if value.image is not None:
                results[value.name] = _to_image(results[value.name], value.image)
        return results

    def make_state(self) -> MLState:
        """States of the function that are zeros."""
        return MLState(self._function.make_state())

    def save(self, save_path: str | os.PathLike[str]) -> None:
        """Puts the package at ``save_path``, with what was said of it in ``author`` and the like. Raises ``plait.Error``."""
        path = pathlib.Path(save_path)
        if not path.suffix:
            path = path.with_suffix(".mlpackage")
        if path.suffix != ".mlpackage":
            refuse(f"the name {path.name}", "an ML program is a package, and its name ends in .mlpackage")
        self._package.save(path)
        if self._spec is not None:
            from plait.coremltools._spec import write_spec
            write_spec(self._package.path, self._spec)
            self._spec = None
            self._package._reload()
            self._function = self._package._function(self.function_name)

    def get_spec(self) -> typing.Any:
        """The package's Model message, as protobuf has it. Needs the package protobuf; raises ``plait.Error`` without it."""
        from plait.coremltools._spec import read_spec
        return read_spec(self._package.path) if self._spec is None else self._clone()

    def _clone(self) -> typing.Any:
        copy = type(self._spec)()
        copy.CopyFrom(self._spec)
        return copy

    def _edited(self) -> typing.Any:
        if self._spec is None:
            self._spec = self.get_spec()
        return self._spec

    @property
    def short_description(self) -> str:
        """What the package is for; ``save`` writes it."""
        return str(self.get_spec().description.metadata.shortDescription)

    @short_description.setter
    def short_description(self, text: str) -> None:
        self._edited().description.metadata.shortDescription = text

    @property
    def author(self) -> str:
        """Who made it; ``save`` writes it."""
        return str(self.get_spec().description.metadata.author)

    @author.setter
    def author(self, text: str) -> None:
        self._edited().description.metadata.author = text

    @property
    def license(self) -> str:
        """Under what licence it is; ``save`` writes it."""
        return str(self.get_spec().description.metadata.license)

    @license.setter
    def license(self, text: str) -> None:
        self._edited().description.metadata.license = text

    @property
    def version(self) -> str:
        """The version of the model; ``save`` writes it."""
        return str(self.get_spec().description.metadata.versionString)

    @version.setter
    def version(self, text: str) -> None:
        self._edited().description.metadata.versionString = text

    @property
    def user_defined_metadata(self) -> typing.Any:
        """Texts by keys of one's own; ``save`` writes what is put in."""
        return self._edited().description.metadata.userDefined

    @property
    def input_description(self) -> _Descriptions:
        """Texts for people, by the names of inputs; ``save`` writes what is put in."""
        return _Descriptions(self, "input")

    @property
    def output_description(self) -> _Descriptions:
        """Texts for people, by the names of outputs; ``save`` writes what is put in."""
        return _Descriptions(self, "output")

    def __getattr__(self, name: str) -> typing.Any:
        refuse_name("coremltools.models.MLModel", name)

    def __repr__(self) -> str:
        return f"MLModel({self._function!r})"


class _Descriptions(MutableMapping[str, str]):
    """What is said of inputs or outputs, by name."""

    def __init__(self, model: MLModel, kind: str) -> None:
        self._model, self._kind = model, kind

    def _features(self, spec: typing.Any) -> dict[str, typing.Any]:
        functions = [one for one in spec.description.functions if one.name == self._model._function.name]
        return {feature.name: feature for one in (functions or [spec.description]) for feature in getattr(one, self._kind)}

    def _feature(self, spec: typing.Any, name: str) -> typing.Any:
        found = self._features(spec)
        if name not in found:
            raise KeyError(f"there is no {self._kind} '{name}'; there are {', '.join(found)}")
        return found[name]

    def __getitem__(self, name: str) -> str:
        return str(self._feature(self._model.get_spec(), name).shortDescription)

    def __setitem__(self, name: str, text: str) -> None:
        self._feature(self._model._edited(), name).shortDescription = text

    def __delitem__(self, name: str) -> None:
        self[name] = ""

    def __iter__(self) -> Iterator[str]:
        return iter(self._features(self._model.get_spec()))

    def __len__(self) -> int:
        return len(self._features(self._model.get_spec()))

    def __repr__(self) -> str:
        return repr(dict(self))


def _to_image(pixels: typing.Any, layout: str) -> typing.Any:
    try:
        from PIL import Image
    except ImportError as error:
        raise Error("an output is an image, and that needs Pillow: pip install pillow; plait.Package gives its pixels as an array", code="P0903") from error
    if layout == "gray16":
        return Image.fromarray(pixels[0, 0].astype("float32"), mode="F")
    bytes_ = pixels.round().clip(0, 255).astype("uint8")
    if layout == "gray":
        return Image.fromarray(bytes_[0, 0])
    channels = bytes_[0].transpose(1, 2, 0)
    return Image.fromarray(channels[:, :, ::-1].copy() if layout == "bgr" else channels.copy())


def __getattr__(name: str) -> typing.Any:
    refuse_name("coremltools.models", name)
