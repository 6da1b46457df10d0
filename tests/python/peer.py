"""Reads packages with coremltools: the spec, every blob, and every operation through its MIL loader."""

import pathlib
import warnings

warnings.filterwarnings("ignore")

import coremltools
import coremltools.proto.MIL_pb2 as mil
import numpy as np
from coremltools.converters.mil.frontend.milproto.load import load as load_mil
from coremltools.libmilstoragepython import _BlobStorageReader
from mil_signatures import dtype

READERS = {"fp16": "read_fp16_data", "fp32": "read_float_data", "int8": "read_int8_data", "uint8": "read_uint8_data",
           "int16": "read_int16_data", "uint16": "read_uint16_data", "int32": "read_int32_data", "uint32": "read_uint32_data",
           **{kind: f"read_{kind}_data" for kind in ("int4", "uint1", "uint2", "uint3", "uint4", "uint6")}}
SIZES = {"fp16": 2, "fp32": 4, "int8": 1, "uint8": 1, "int16": 2, "uint16": 2, "int32": 4, "uint32": 4}


def load_spec(package):
    return coremltools.utils.load_spec(str(package))


def weights_file(package):
    return pathlib.Path(package) / "Data" / "com.apple.CoreML" / "weights" / "weight.bin"


def all_operations(block):
    for operation in block.operations:
        yield operation
        for inner in operation.blocks:
            yield from all_operations(inner)


def blocks(spec):
    return {name: function.block_specializations[function.opset] for name, function in spec.mlProgram.functions.items()}


def blob_values(spec):
    """(function, name of the constant, value) of every constant that lives in the weights file."""
    for name, block in blocks(spec).items():
        for operation in all_operations(block):
            for value in [*operation.attributes.values(),
                          *(binding.value for argument in operation.inputs.values() for binding in argument.arguments
                            if binding.WhichOneof("binding") == "value")]:
                if value.WhichOneof("value") == "blobFileValue":
                    yield name, operation.outputs[0].name if operation.outputs else operation.type, value


def read_blobs(package, spec=None):
    """{(function, constant): (offset, array)}, each read by coremltools' own reader and of the length its type says."""
    spec = spec or load_spec(package)
    result, reader = {}, None
    for function, constant, value in blob_values(spec):
        assert value.blobFileValue.fileName == "@model_path/weights/weight.bin"
        reader = reader or _BlobStorageReader(str(weights_file(package)))
        kind, offset = dtype(value.type), value.blobFileValue.offset
        assert offset % 64 == 0
        data = np.asarray(getattr(reader, READERS[kind])(offset))
        if kind == "fp16":
            data = np.frombuffer(data.tobytes(), np.float16)
        shape = [dimension.constant.size for dimension in value.type.tensorType.dimensions]
        assert data.size == int(np.prod(shape)), f"{constant}: {data.size} elements for shape {shape}"
        result[function, constant] = offset, data
    return result


def load_program(package, spec=None):
    """coremltools' own program, all functions, built operation by operation with its type checks."""
    spec = spec or load_spec(package)
    return load_mil(spec, spec.specificationVersion, str(weights_file(package).parent))


VERSIONS = {"CoreML5": 6, "CoreML6": 7, "CoreML7": 8, "CoreML8": 9, "CoreML9": 10}


def check_package(package, opset="CoreML8"):
    """All that coremltools can check of a package where there is no Core ML; returns the spec."""
    model = coremltools.models.MLModel(str(package), skip_model_load=True)
    spec = load_spec(package)
    assert spec.specificationVersion == VERSIONS[opset] == model.get_spec().specificationVersion
    assert spec.WhichOneof("Type") == "mlProgram"
    assert all(function.opset == opset for function in spec.mlProgram.functions.values())
    read_blobs(package, spec)
    program = load_program(package, spec)
    assert set(program.functions) == set(spec.mlProgram.functions)
    check_interfaces(spec)
    return spec


def check_no_array(feature, kind, description):
    """An image, or the label or the probabilities of a classifier."""
    form = feature.type.WhichOneof("Type")
    if form == "imageType":
        image = feature.type.imageType
        shape = [dimension.constant.size for dimension in kind.tensorType.dimensions]
        assert dtype(kind) == ("fp16" if image.colorSpace == image.GRAYSCALE_FLOAT16 else "fp32")
        assert shape[:2] == [1, 3 if image.colorSpace in (image.RGB, image.BGR) else 1] and len(shape) == 4
        assert not all(shape) or shape[2:] == [image.height, image.width]
    elif form == "dictionaryType":
        assert feature.name == description.predictedProbabilitiesName
        assert kind.WhichOneof("type") == "dictionaryType"
    else:
        assert feature.name == description.predictedFeatureName
        assert form == {"string": "stringType", "int64": "int64Type"}[dtype(kind)]


def check_interfaces(spec):
    """What the description says of inputs and outputs is what each function has."""
    arrays = {"fp32": 65568, "fp16": 65552, "int32": 131104}
    described = spec.description.functions or [spec.description]
    names = [function.name for function in spec.description.functions] or ["main"]
    assert sorted(names) == sorted(spec.mlProgram.functions)
    if spec.description.functions:
        assert spec.description.defaultFunctionName in names
        assert not spec.description.input and not spec.description.output
    for name, description in zip(names, described):
        function = spec.mlProgram.functions[name]
        block = function.block_specializations[function.opset]
        inputs = [value.name for value in function.inputs if value.type.WhichOneof("type") != "stateType"]
        states = {value.name: value.type.stateType.wrappedType for value in function.inputs if value.name not in inputs}
        assert [feature.name for feature in description.input] == inputs
        assert [feature.name for feature in description.state] == list(states)
        for feature in description.state:
            array = feature.type.stateType.arrayType
            assert array.dataType == arrays["fp16"] and dtype(states[feature.name]) == "fp16"
            assert list(array.shape) == [d.constant.size for d in states[feature.name].tensorType.dimensions]
        assert sorted(feature.name for feature in description.output) == sorted(block.outputs)
        types = {value.name: value.type for value in function.inputs}
        types.update((value.name, value.type) for operation in block.operations for value in operation.outputs)
        for feature in [*description.input, *description.output]:
            if feature.type.WhichOneof("Type") != "multiArrayType":
                check_no_array(feature, types[feature.name], description)
                continue
            assert feature.type.multiArrayType.dataType == arrays[dtype(types[feature.name])]
            shape = [dimension.constant.size for dimension in types[feature.name].tensorType.dimensions]
            assert 1 <= len(shape) <= 5
            fixed = all(d.WhichOneof("dimension") == "constant" for d in types[feature.name].tensorType.dimensions)
            if feature.type.multiArrayType.shape and fixed:  # else it is the default shape
                assert list(feature.type.multiArrayType.shape) == shape
