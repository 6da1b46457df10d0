"""Small well-formed programs over many operations, as protobuf messages: those that tests/mil/data/shapes.txt holds, one
operation each, with the types that coremltools gives its results."""

import itertools

import coremltools.proto.MIL_pb2 as mil
import coremltools.proto.Model_pb2 as model
import numpy as np
from paths import ROOT

DTYPES = {"f16": mil.FLOAT16, "f32": mil.FLOAT32, "i32": mil.INT32, "i16": mil.INT16, "i8": mil.INT8, "u8": mil.UINT8,
          "u16": mil.UINT16, "u32": mil.UINT32, "bool": mil.BOOL, "str": mil.STRING}
NUMPY = {"f16": np.float16, "f32": np.float32, "i32": np.int32, "i16": np.int16, "i8": np.int8, "u8": np.uint8,
         "u16": np.uint16, "u32": np.uint32, "bool": bool, "str": object}
FIELDS = {"f32": "floats", "i32": "ints", "i16": "ints", "u16": "ints", "bool": "bools", "str": "strings"}
# coremltools keeps literals of these operations in attributes.
IN_ATTRIBUTES = ("constexpr_affine_dequantize", "constexpr_cast")


def set_type(value_type, dtype, shape):
    """`?` is a dynamic dimension."""
    tensor = value_type.tensorType
    tensor.dataType, tensor.rank = DTYPES[dtype], len(shape)
    for size in shape:
        dimension = tensor.dimensions.add()
        if size == "?":
            dimension.unknown.variadic = False
        else:
            dimension.constant.size = int(size)


def set_value(value, dtype, array):
    array = np.asarray(array, dtype=NUMPY[dtype])
    set_type(value.type, dtype, array.shape)
    tensor = value.immediateValue.tensor
    if dtype in FIELDS:
        getattr(tensor, FIELDS[dtype]).values.extend(array.flatten().tolist())
    else:
        tensor.bytes.values = array.tobytes()


def add_const(block, name, dtype, array):
    operation = block.operations.add(type="const")
    set_value(operation.attributes["name"], "str", name)
    set_value(operation.attributes["val"], dtype, array)
    output = operation.outputs.add(name=name)
    output.type.CopyFrom(operation.attributes["val"].type)


def parse_array(text):
    """(dtype, array) of a constant of the table."""
    if ":" in text:
        dtype, number = text.split(":", 1)
        return dtype, number if dtype == "str" else bool(int(number)) if dtype == "bool" else float(number)
    if text.endswith(")"):
        dtype, numbers = text[:-1].split("(")
        return dtype, [float(number) for number in numbers.split(",") if number]
    dtype, shape = text[:-2].split("[")
    return dtype, np.ones([int(size) for size in shape.split(",") if size])


def program(line):
    """The Model of one line of the table."""
    head, results = line.split(" -> ")
    kind, *params = head.split()
    spec = model.Model(specificationVersion=9)
    spec.mlProgram.version = 1
    function = spec.mlProgram.functions["main"]
    function.opset = "CoreML8"
    block = function.block_specializations["CoreML8"]
    operation = mil.Operation(type=kind)
    set_value(operation.attributes["name"], "str", "y")
    # Something else to take by mistake.
    set_type(function.inputs.add(name="other").type, "f32", ["2", "3"])
    add_const(block, "number", "i32", 1)
    for param in params:
        name, values = param.split("=", 1)
        for number, text in enumerate(values.split("+")):
            is_operand = text.endswith("]")
            if kind in IN_ATTRIBUTES and not is_operand:
                set_value(operation.attributes[name], *parse_array(text))
                continue
            binding = operation.inputs[name].arguments.add()
            value_name = f"{name}_{number}"
            if is_operand:
                dtype, shape = text[:-1].split("[")
                set_type(function.inputs.add(name=value_name).type, dtype, [size for size in shape.split(",") if size])
            elif kind.startswith("constexpr_"):
                set_value(binding.value, *parse_array(text))
                continue
            else:
                add_const(block, value_name, *parse_array(text))
            binding.name = value_name
    for number, text in enumerate(results.split()):
        dtype, shape = text[:-1].split("[")
        output = operation.outputs.add(name=f"out_{number}")
        set_type(output.type, dtype, [size for size in shape.split(",") if size])
        block.outputs.append(output.name)
    block.operations.append(operation)
    return spec


def programs(each):
    """{description: Model}: of every operation `each` accepted lines, spread over its lines. Functions take no scalars."""
    lines = [line for line in (ROOT / "tests" / "mil" / "data" / "shapes.txt").read_text().splitlines()
             if not line.startswith("#") and not line.endswith("error") and "[]" not in line.split(" -> ")[0]]
    chosen = {}
    for _, group in itertools.groupby(lines, key=lambda line: line.split()[0]):
        group = list(group)
        for index in sorted({len(group) * part // each for part in range(each)}):
            chosen[group[index]] = program(group[index])
    return chosen
