"""plait's verifier and coremltools' MIL loader agree on mutants of good programs: what one refuses, the other does.

The programs are the operations of mil/data/shapes.txt and the packages of tests/backend/peer. Differences are classes
with a reason, which docs/mil.md lists as well; anything else fails.
"""

import collections
import logging
import pathlib
import random
import re
import shutil
import subprocess
import warnings

warnings.filterwarnings("ignore")

import coremltools.proto.MIL_pb2 as mil
import coremltools.proto.Model_pb2 as model
import peer
import pytest
from coremltools.converters.mil.frontend.milproto.load import load as load_mil
from mil_programs import DTYPES, programs
from paths import CHECK_PACKAGES, ROOT

# What plait refuses and coremltools loads: its loader builds operations one by one, by the rules of its builder, and looks
# at no more. Pattern of plait's message: reason.
STRICTER = {
    r"two values of one block are named|value name '.*' is not unique|a value has no name":
        "the loader lets a later value take the name of an earlier one, or none",
    r"is no identifier, or a word": "Core ML refuses such names when it loads; the loader does not look at names",
    r"is stored as another type|holds \d+ (strings|bytes)":
        "the loader converts whatever field of the message there is; Core ML reads the one of the element type",
    r"it is declared as": "the loader does not read the result types of constants",
    r"\(constexpr_\w+\): (result|has \d results)": "the loader does not read the result types of constexpr operations",
    r"result '.*' is (\w+); the operands make it tensor<\1": "the loader takes a scalar for any tensor of the element type",
    r"rnn: weight_ih has shape": "coremltools' rnn does not look at the shapes of its weights",
    r"while_loop: \d arguments": "the loader does not count the arguments of blocks",
    r"(read|write)_state: parameter '.*' takes one value": "the loader takes the first of several",
    r"non_maximum_suppression: boxes and scores have": "coremltools does not look at the ranks of boxes and scores",
    r"there is no value '.*' before its use": "the loader sees the values of other blocks and functions",
    r"the description (gives|has)": "the loader does not read the description; Core ML does",
}
# What plait accepts and the loader does not. Pattern of coremltools' message: reason.
LOOSER = {
    r"only supported attribute for operation|Unknown input 'more'":
        "Core ML's text form has attributes on operations; they are kept",
    r"Cannot add const range": "absent axes of layer_norm are all axes; coremltools' own default is an object it refuses",
    r"Functions input of type .* not supported":
        "a scalar input is well-formed MIL; the device profile refuses it (interface-rank)",
}


# Operations with programs that plait refuses on purpose (ShapeTableTest.cpp says why); those are left out.
DIFFERENT_SHAPES = {"flatten2d", "split", "einsum", "transpose", "avg_pool", "max_pool", "l2_pool"}


def names(block):
    return [value.name for operation in block.operations for value in operation.outputs]


class Mutator:
    """Breaks one thing of a program at random."""

    def __init__(self, spec, chance):
        self.spec, self.chance = spec, chance
        self.function = spec.mlProgram.functions[chance.choice(sorted(spec.mlProgram.functions))]
        self.block = self.function.block_specializations[self.function.opset]
        self.operations = [operation for operation in peer.all_operations(self.block) if operation.type != "const"]
        self.constants = [operation for operation in peer.all_operations(self.block) if operation.type == "const"]

    def pick(self, candidates):
        candidates = list(candidates)
        return self.chance.choice(candidates) if candidates else None

    def binding(self):
        bindings = [binding for operation in self.operations for _, argument in sorted(operation.inputs.items())
                    for binding in argument.arguments if binding.WhichOneof("binding") == "name"]
        return self.pick(bindings)

    def value_type(self, value_type):
        """Another element type, size or rank."""
        tensor = value_type.tensorType
        choice = self.chance.randrange(4)
        if choice == 0 or not tensor.dimensions:
            tensor.dataType = self.pick(code for code in DTYPES.values() if code != tensor.dataType)
        elif choice == 1:
            dimension = self.pick(tensor.dimensions)
            dimension.constant.size += self.pick([1, 2, 7])
        elif choice == 2:
            tensor.dimensions.add().constant.size = 2
            tensor.rank += 1
        else:
            del tensor.dimensions[-1]
            tensor.rank -= 1

    # ---- one method a kind of damage; False where there is nothing to damage

    def operand_swapped(self):
        binding = self.binding()
        if not binding:
            return False
        others = set(names(self.block)) | {value.name for value in self.function.inputs}
        binding.name = self.pick(sorted(others - {binding.name}))

    def operand_undefined(self):
        binding = self.binding()
        if not binding:
            return False
        binding.name += "_nowhere"

    def parameter_dropped(self):
        operation = self.pick(operation for operation in self.operations if operation.inputs)
        if not operation:
            return False
        del operation.inputs[self.pick(sorted(operation.inputs))]

    def parameter_renamed(self):
        operation = self.pick(operation for operation in self.operations if operation.inputs)
        if not operation:
            return False
        name = self.pick(sorted(operation.inputs))
        others = {param for other in self.operations for param in other.inputs} - set(operation.inputs)
        operation.inputs[self.pick(sorted(others) + [name + "s"])].CopyFrom(operation.inputs[name])
        del operation.inputs[name]

    def parameter_doubled(self):
        operation = self.pick(operation for operation in self.operations if operation.inputs)
        if not operation:
            return False
        argument = operation.inputs[self.pick(sorted(operation.inputs))]
        argument.arguments.add().CopyFrom(argument.arguments[0])

    def result_type(self):
        operation = self.pick(operation for operation in self.operations + self.constants if operation.outputs)
        if not operation:
            return False
        self.value_type(self.pick(operation.outputs).type)

    def result_added(self):
        operation = self.pick(operation for operation in self.operations if operation.outputs)
        if not operation:
            return False
        extra = operation.outputs.add()
        extra.CopyFrom(operation.outputs[0])
        extra.name += "_more"

    def result_removed(self):
        operation = self.pick(operation for operation in self.operations if operation.outputs)
        if not operation:
            return False
        if operation.outputs[-1].name in self.block.outputs:
            self.block.outputs.remove(operation.outputs[-1].name)
        del operation.outputs[-1]

    def input_type(self):
        value = self.pick(self.function.inputs)
        if not value or value.type.WhichOneof("type") != "tensorType":
            return False
        self.value_type(value.type)

    def constant_type(self):
        constant = self.pick(self.constants)
        if not constant:
            return False
        self.value_type(constant.attributes["val"].type)
        constant.outputs[0].type.CopyFrom(constant.attributes["val"].type)

    def constant_value(self):
        values = [constant.attributes["val"] for constant in self.constants]
        values += [value for operation in self.operations for key, value in sorted(operation.attributes.items())
                   if key != "name"]
        value = self.pick(value for value in values if value.WhichOneof("value") == "immediateValue")
        tensor = value.immediateValue.tensor if value else None
        kind = tensor.WhichOneof("value") if tensor else None
        if kind not in ("ints", "bools", "strings", "floats"):
            return False
        numbers = getattr(tensor, kind).values
        index = self.chance.randrange(len(numbers)) if numbers else None
        if index is None:
            return False
        if kind == "strings":
            numbers[index] = self.pick(["", "nonsense", "valid", "same", "fp16", "int32", "constant", "reflect"])
        elif kind == "bools":
            numbers[index] = not numbers[index]
        else:
            numbers[index] = self.pick([-1, 0, 1, 2, 3, 5, 17, -numbers[index], numbers[index] + 1])

    def operation_type(self):
        operation = self.pick(self.operations)
        if not operation:
            return False
        operation.type = self.pick([*KINDS, operation.type + "x"])

    def output_undefined(self):
        self.block.outputs[self.chance.randrange(len(self.block.outputs))] = "nowhere"

    def operations_reversed(self):
        operations = list(self.block.operations)[::-1]
        if len(operations) < 2:
            return False
        copies = [mil.Operation.FromString(operation.SerializeToString()) for operation in operations]
        del self.block.operations[:]
        self.block.operations.extend(copies)

    def name_taken(self):
        operation = self.pick(operation for operation in self.operations if operation.outputs)
        if not operation:
            return False
        operation.outputs[0].name = self.pick(value.name for value in self.function.inputs)

    def name_illegal(self):
        operation = self.pick(operation for operation in self.operations if operation.outputs)
        if not operation:
            return False
        name = self.pick(["1y", "a b", "tensor", ""])
        if operation.outputs[0].name in self.block.outputs:
            self.block.outputs[list(self.block.outputs).index(operation.outputs[0].name)] = name
        operation.outputs[0].name = name

    def opset(self):
        self.function.opset = self.pick(["CoreML5", "CoreML99", ""])

    def block_removed(self):
        operation = self.pick(operation for operation in self.operations if operation.blocks)
        if not operation:
            return False
        del operation.blocks[-1]

    def attribute_added(self):
        self.pick(self.operations).attributes["more"].CopyFrom(self.constants[0].attributes["name"])


DAMAGES = [name for name in vars(Mutator) if not name.startswith("__") and name not in ("pick", "binding", "value_type")]
KINDS = []


def peer_packages():
    for path in sorted((ROOT / "tests" / "backend" / "peer").glob("*.mlpackage")):
        spec = model.Model.FromString((path / "Data" / "com.apple.CoreML" / "model.mlmodel").read_bytes())
        if spec.specificationVersion == 9:
            yield path, spec


def loads(spec, weights):
    """What coremltools' loader says: nothing, or its complaint."""
    try:
        load_mil(spec, spec.specificationVersion, str(weights))
        return None
    except Exception as error:  # whatever it raises is its refusal
        return f"{type(error).__name__}: {error}"


def write(spec, folder, package):
    """As a package; weights and manifest are those of `package`."""
    data = folder / "Data" / "com.apple.CoreML"
    data.mkdir(parents=True)
    shutil.copy(package / "Manifest.json", folder)
    (data / "model.mlmodel").write_bytes(spec.SerializeToString())
    if (package / "Data" / "com.apple.CoreML" / "weights").exists():
        (data / "weights").symlink_to((package / "Data" / "com.apple.CoreML" / "weights").resolve())


@pytest.fixture(scope="module")
def mutants(tmp_path_factory):
    """[(what, plait's answer, coremltools' answer)] of good programs (what is None) and of mutants."""
    logging.disable(logging.ERROR)
    folder = tmp_path_factory.mktemp("mutants")
    bases = [(line, spec, next(peer_packages())[0]) for line, spec in programs(2).items()]
    KINDS[:] = sorted({line.split()[0] for line, _, _ in bases})
    bases += [(path.name, spec, path) for path, spec in peer_packages()]
    chance, cases = random.Random(4), []
    for number, (name, spec, package) in enumerate(bases):
        cases.append((None, name, spec, package))
        for damage in chance.sample(DAMAGES, 4) if package.name != name else DAMAGES * 3:
            mutant = type(spec).FromString(spec.SerializeToString())
            if getattr(Mutator(mutant, chance), damage)() is not False:
                cases.append((damage, name, mutant, package))
    paths = []
    for number, (_, _, spec, package) in enumerate(cases):
        paths.append(folder / f"{number}.mlpackage")
        write(spec, paths[-1], package)
    process = subprocess.run([CHECK_PACKAGES], input="".join(f"{path}\n" for path in paths), capture_output=True,
                             text=True, timeout=120)
    answers = process.stdout.splitlines()
    assert process.returncode == 0 and len(answers) == len(cases), process.stderr[-2000:] or cases[len(answers)][:2]
    results = []
    for (damage, name, spec, package), answer in zip(cases, answers):
        theirs = loads(spec, package / "Data" / "com.apple.CoreML" / "weights")
        results.append((damage, name, None if answer == "ok" else answer, theirs))
    logging.disable(logging.NOTSET)
    bad = {name: ours or theirs for damage, name, ours, theirs in results if damage is None and (ours or theirs)}
    unknown = {name: message for name, message in bad.items() if name.split()[0] not in DIFFERENT_SHAPES}
    assert not unknown, unknown
    return [result for result in results if result[1] not in bad]


def test_the_programs_are_good(mutants):
    assert len({result[1].split()[0] for result in mutants if result[0] is None}) > 140


def test_enough_mutants_are_refused_and_accepted(mutants):
    refused = [result for result in mutants if result[0] and result[2] and result[3]]
    accepted = [result for result in mutants if result[0] and not result[2] and not result[3]]
    assert len(refused) > 500 and len(accepted) > 40
    assert {result[0] for result in mutants} == {None, *DAMAGES}


def differences(mutants, side, other, classes):
    """Complaints of one side alone that no class explains; classes that explain nothing."""
    seen, unknown = collections.Counter(), []
    for result in mutants:
        if result[0] and result[side] and not result[other]:
            pattern = next((pattern for pattern in classes if re.search(pattern, result[side])), None)
            if pattern:
                seen[pattern] += 1
            else:
                unknown.append(f"{result[0]} of {result[1]}: {result[side]}")
    return unknown + [f"no mutant is of the class {pattern}" for pattern in classes if not seen[pattern]]


def test_plait_refuses_what_coremltools_refuses(mutants):
    unknown = differences(mutants, 3, 2, LOOSER)
    assert not unknown, "\n".join(unknown)


def test_coremltools_refuses_what_plait_refuses(mutants):
    unknown = differences(mutants, 2, 3, STRICTER)
    assert not unknown, "\n".join(unknown)
