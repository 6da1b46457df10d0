"""ct.convert on plait.compile."""

from __future__ import annotations

import os
import typing
import warnings
from collections.abc import Sequence

import plait
from plait._errors import Error
from plait.coremltools._refused import refuse
from plait.coremltools._types import ClassifierConfig, ComputeUnit, ImageType, StateType, TensorType, _type_text, precision, target
from plait.coremltools.models import MLModel


def convert(
    model: typing.Any,
    source: str = "auto",
    inputs: Sequence[typing.Any] | None = None,
    outputs: Sequence[typing.Any] | None = None,
    classifier_config: ClassifierConfig | None = None,
    minimum_deployment_target: target | None = None,
    convert_to: str | None = None,
    compute_precision: precision | None = None,
    skip_model_load: bool = False,
    compute_units: ComputeUnit = ComputeUnit.ALL,
    package_dir: str | None = None,
    debug: bool = False,
    pass_pipeline: typing.Any = None,
    states: Sequence[StateType] | None = None,
) -> MLModel:
    """A TorchScript model as a package of one function, "main".

    model: a ``torch.jit.ScriptModule``, an ``ExportedProgram`` (whose inputs it knows itself), or the path of a file of these. inputs, outputs: ``TensorType`` and ``ImageType`` in
    the order of the model's, shapes in elements. states: ``StateType`` for tensors that the model writes. classifier_config: makes
    a classifier. minimum_deployment_target: iOS 16 where not said. compute_precision: float16 where not said. package_dir: where
    to write the package; else it lies in a temporary folder until ``save``. skip_model_load, compute_units, debug: there is no Core
    ML here that they would be for. source is "pytorch" or "auto", convert_to "mlprogram", pass_pipeline None.

    Returns the model. Raises ``plait.Error`` where something cannot be converted, or is none of what plait does.
    """
    import torch
    if source not in ("auto", "pytorch"):
        refuse(f"source={source!r}", "plait compiles PyTorch models alone")
    if convert_to not in (None, "mlprogram"):
        refuse(f"convert_to={convert_to!r}", "plait writes ML programs")
    if pass_pipeline is not None:
        refuse("pass_pipeline", "plait's passes are its own; `plait opt` runs single ones on MIL text")
    if compute_precision is not None and not isinstance(compute_precision, precision):
        refuse("a compute_precision that chooses operations", "ct.precision.FLOAT16 or FLOAT32; for one output alone say its dtype")
    if isinstance(model, torch.nn.Module) and not isinstance(model, torch.jit.ScriptModule):
        refuse("an nn.Module", "torch.jit.trace it first, or give it to plait.compile, which does that")
    exported = isinstance(model, torch.export.ExportedProgram)
    if not exported and not isinstance(model, (str, os.PathLike, torch.jit.ScriptModule)):
        refuse(f"a model that is {type(model).__name__}", "it is a torch.jit.ScriptModule, an ExportedProgram or the path of a file")
    if not inputs and not exported:
        raise Error("inputs are needed: [ct.TensorType(shape=...), ...] for each argument of the model", code="P0202")
    where = minimum_deployment_target or target.iOS16
    if where.value not in ("ios16", "ios17", "ios18", "ios26"):
        refuse(f"minimum_deployment_target=ct.target.{where.name}", "plait writes for iOS 16 and macOS 13 and later")
    half = compute_precision is not precision.FLOAT32
    # Without a target coremltools writes for a system whose interfaces know no float16.
    otherwise = "fp32" if half and minimum_deployment_target is None else None
    said: list[typing.Any] = []
    for one in inputs or ():
        if isinstance(one, StateType):
            refuse("a StateType among the inputs", "states=[...]")
        if not isinstance(one, (TensorType, ImageType)):
            refuse(f"an input that is {type(one).__name__}", "ct.TensorType or ct.ImageType")
        said.append(one._input(otherwise))
    options: dict[str, typing.Any] = {}
    if classifier_config is not None:
        options["classes"] = {classifier_config.predicted_feature_name: classifier_config.class_labels}
        options["class_output"] = classifier_config.predicted_probabilities_output
    if states:
        options["states"] = [state._said() for state in states]
    if outputs:
        options["outputs"] = [_output(one, number, otherwise) for number, one in enumerate(outputs)]
    options |= {"inputs": said or None, "precision": "fp16" if half else "fp32", "target": where.value}
    if otherwise and not outputs and classifier_config is None:
        # What the outputs are called, and how many they are, is known of a package alone.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", plait.PlaitWarning)
            found = plait.compile(model, **options).default.outputs
        options["outputs"] = [f"{value.name}={otherwise}" if value.dtype == "fp16" else value.name for value in found]
    package = plait.compile(model, output=package_dir, **options)
    return MLModel(package, function_name="main")


def _output(one: typing.Any, number: int, otherwise: str | None) -> str:
    name = getattr(one, "name", None) or f"output_{number}"
    if isinstance(one, ImageType):
        return f"{name}={one._output().text()}"
    if not isinstance(one, TensorType):
        refuse(f"an output that is {type(one).__name__}", "ct.TensorType or ct.ImageType")
    dtype = _type_text(one.dtype)
    # What the model counts in is int32 by itself.
    if dtype in ("int32", "bool"):
        return name
    dtype = dtype or otherwise
    return f"{name}={dtype}" if dtype else name

