"""Signatures of the operations in a Core ML program: what an operation is given, of which types, constant or not.

A signature is text such as

    linear(bias: const fp16, weight: const fp16, x: fp16) -> fp16
    concat(axis: const int32, interleave: const bool, values: fp16*) -> fp16
    const() -> fp16 blob

    while_loop(loop_vars) blocks=2

Operands are sorted by name; `*` marks an operand that holds several values (their types, each once), or several
outputs of one type. What flows through an operation with blocks may be anything. Text that decides behaviour (modes,
dtypes) is not compared, only that it is there.
"""

import coremltools.proto.MIL_pb2 as mil

DTYPES = {mil.DataType.Value(name): short for name, short in {
    "BOOL": "bool", "STRING": "string", "FLOAT16": "fp16", "FLOAT32": "fp32", "FLOAT64": "fp64", "BFLOAT16": "bf16",
    "INT4": "int4", "INT8": "int8", "INT16": "int16", "INT32": "int32", "INT64": "int64", "UINT1": "uint1",
    "UINT2": "uint2", "UINT3": "uint3", "UINT4": "uint4", "UINT6": "uint6", "UINT8": "uint8", "UINT16": "uint16",
    "UINT32": "uint32", "UINT64": "uint64"}.items()}


def dtype(value_type):
    kind = value_type.WhichOneof("type")
    if kind == "tensorType":
        return DTYPES[value_type.tensorType.dataType]
    if kind == "listType":
        return f"list<{dtype(value_type.listType.type)}>"
    if kind == "stateType":
        return f"state<{dtype(value_type.stateType.wrappedType)}>"
    return kind


def operations(block, outer=None):
    """(operation, types of the values in sight) for every operation of a block and of the blocks inside."""
    values = dict(outer or {})
    for value in block.inputs:
        values[value.name] = (dtype(value.type), False)
    for operation in block.operations:
        yield operation, values
        for inner in operation.blocks:
            yield from operations(inner, values)
        constant = operation.type == "const" or operation.type.startswith("constexpr_")
        for output in operation.outputs:
            values[output.name] = (dtype(output.type), constant)


def signature(operation, values):
    if operation.blocks:
        return f"{operation.type}({', '.join(sorted(operation.inputs))}) blocks={len(operation.blocks)}"
    kinds = [dtype(output.type) for output in operation.outputs]
    outputs = f"{kinds[0]}*" if len(kinds) > 1 and len(set(kinds)) == 1 else ", ".join(kinds)
    if operation.type == "const":
        blob = operation.attributes["val"].WhichOneof("value") == "blobFileValue"
        return f"const() -> {outputs}{' blob' if blob else ''}"
    operands = []
    for name in sorted(operation.inputs):
        types = []
        for binding in operation.inputs[name].arguments:
            if binding.WhichOneof("binding") == "value":
                types.append((dtype(binding.value.type), True))
            else:
                types.append(values[binding.name])
        texts = sorted({f"{'const ' if constant else ''}{kind}" for kind, constant in types})
        operands.append(f"{name}: {'|'.join(texts)}{'*' if len(types) > 1 or name == 'values' else ''}")
    return f"{operation.type}({', '.join(operands)}) -> {outputs}"


def function_signatures(function):
    inputs = {value.name: (dtype(value.type), False) for value in function.inputs}
    block = function.block_specializations[function.opset]
    return {signature(operation, values) for operation, values in operations(block, inputs)}


def signatures(spec):
    """All signatures in a program."""
    return set().union(*map(function_signatures, spec.mlProgram.functions.values()))
