"""What the shim does not take, and plait's own way."""

from __future__ import annotations

import typing

from plait._errors import Error

_WAYS = {
    "optimize": "plait.compile(..., compress=\"palette4\") makes weights smaller, and so does the command `plait compress`",
    "transform": "compute_precision is ct.precision.FLOAT16 or FLOAT32; for one output alone say its dtype",
    "converters": "ct.convert is here, and what it takes",
    "proto": "get_spec() gives the messages",
    "libsvm": "plait compiles PyTorch models alone",
    "PassPipeline": "plait's passes are its own; `plait opt` runs single ones on MIL text",
    "CompiledMLModel": "nothing compiles for a device here; predict() runs plait's interpreter on the package",
    "make_pipeline": "plait has no pipelines; functions of one package share weights: ct.utils.save_multifunction",
    "rename_feature": "say the names when converting: TensorType(name=...)",
    "save_spec": "MLModel.save() writes the package",
    "bisect_model": "plait has no pipelines; functions of one package share weights",
    "materialize_dynamic_shape_mlmodel": "convert the model once for each shape, and merge the packages: equal weights are stored once",
    "randomize_weights": "plait writes the weights that the model has",
    "change_input_output_tensor_type": "say the types when converting: TensorType(dtype=...)",
}


def refuse_name(where: str, name: str) -> typing.NoReturn:
    """Of a module: there is no such name. hasattr() is then False."""
    way = _WAYS.get(name)
    raise AttributeError(f"plait.{where} has no '{name}'" + (f": {way}" if way else "; docs/python.md lists what it has"))


def refuse(what: str, way: str) -> typing.NoReturn:
    """Of an argument."""
    raise Error(f"plait.coremltools does not take {what}: {way}", code="P0902")
