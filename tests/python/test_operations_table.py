"""docs/ops.md, the table of operations as a page, against coremltools' operation classes of every opset."""

import re

import coremltools as ct
import pytest
from coremltools.converters.mil.mil import types
from coremltools.converters.mil.mil.input_type import TensorInputType
from coremltools.converters.mil.mil.ops.registry import SSAOpRegistry
from paths import ROOT

OPSETS = {"ios15": ct.target.iOS15, "ios16": ct.target.iOS16, "ios17": ct.target.iOS17, "ios18": ct.target.iOS18}


def read_parameter(text):
    """("x", ("T", {"fp16", "fp32"}, const, optional)) of "`x` T: fp16, fp32, *const* = 1"."""
    name, variable, rest = re.fullmatch(r"`(\w+)`(?: …)?( [A-Z])?: (.*)", text).groups()
    head, _, default = rest.partition(" = ")
    words = head.split(", ")
    const = "*const*" in words or "*inline*" in words
    optional = "*optional*" in words or bool(default)
    return name, ((variable or "").strip(), frozenset(w for w in words if w[0] != "*"), const, optional)


def read_page():
    """{operation: [(since, {parameter: …}), …]}, the newest form last."""
    forms = {}
    for line in (ROOT / "docs" / "ops.md").read_text().splitlines():
        if not line.startswith("| `"):
            continue
        name, since, parameters, older, _ = (cell.strip() for cell in line.strip()[1:-1].split("|"))
        newest = dict(read_parameter(p) for p in parameters.split("<br>") if p)
        rows = []
        for form in (f for f in older.split("<br>") if f):
            opset, changes = form.split(": ", 1)
            changed = dict(newest)
            for change in changes.split("; "):
                if change.startswith("−"):
                    del changed[change[1:].strip("`")]
                elif change != "the same":
                    parameter, description = read_parameter(change)
                    changed[parameter] = description
            rows.append((opset, changed))
        forms[name.strip("`")] = rows + [(since, newest)]
    return forms


PAGE = read_page()


def ours(name, opset):
    """The form that the page gives the opset; None where it has no such operation."""
    found = [parameters for since, parameters in PAGE[name] if since <= opset]
    return found[-1] if found else None


def peers(name, opset):
    """coremltools' class of the operation in the opset."""
    versions = SSAOpRegistry.core_ops.get(name, {})
    found = [version for version in versions if version <= OPSETS[opset]]
    return versions[max(found)] if found else None


def tied(parameters):
    """The sets of parameters that have one element type."""
    groups = {}
    for name, variable in parameters:
        groups.setdefault(variable or name, set()).add(name)
    return {frozenset(group) for group in groups.values() if len(group) > 1}


@pytest.mark.parametrize("opset", OPSETS)
def test_every_operation_is_there(opset):
    # _const_symbolic stands for a value while coremltools converts; write_state is only a function of its writer.
    expected = {name for name in SSAOpRegistry.core_ops if peers(name, opset)} - {"_const_symbolic"}
    have = {name for name in PAGE if ours(name, opset) is not None} - {"write_state"}
    assert have == expected


@pytest.mark.parametrize("opset", OPSETS)
def test_parameters_are_the_same(opset):
    wrong = []
    for name in PAGE:
        form, peer = ours(name, opset), peers(name, opset)
        if form is None or peer is None or name in ("const", "cond", "while_loop"):
            continue
        kinds = peer.input_spec.input_types
        if set(form) != set(kinds):
            wrong.append((name, set(form) ^ set(kinds)))
            continue
        for parameter, (variable, domain, const, optional) in form.items():
            kind = kinds[parameter]
            if not isinstance(kind, TensorInputType):
                continue
            identifier = kind.type_domain_id
            allowed = peer.type_domains[identifier] if identifier else kind.type_domain
            allowed = allowed if isinstance(allowed, (tuple, list)) else (allowed,)
            names = frozenset(types.builtin_to_string(t) for t in allowed)
            if domain != names:
                wrong.append((name, parameter, sorted(domain), sorted(names)))
            if (const, optional) != (kind.const, kind.optional):
                wrong.append((name, parameter, "const, optional", (const, optional), (kind.const, kind.optional)))
        several = [p for p, kind in kinds.items() if isinstance(kind, TensorInputType) and len(form[p][1]) > 1]
        ties = tied((p, form[p][0]) for p in several), tied((p, kinds[p].type_domain_id) for p in several)
        if ties[0] != ties[1]:
            wrong.append((name, "one type", *ties))
    assert not wrong, "\n".join(map(str, wrong))
