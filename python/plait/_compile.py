"""plait.compile and plait.merge."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import os
import pathlib
import tempfile
import typing
from collections.abc import Callable, Mapping, Sequence

from plait import _peft, _running, _torch
from plait._errors import Error, Message
from plait._inputs import Adapter, Declared, Model, declare_all, output_texts, path_text
from plait._package import Package, fresh_place
from plait._results import Report

if typing.TYPE_CHECKING:
    import numpy


def compile(
    models: typing.Any = None,
    *,
    inputs: typing.Any = None,
    outputs: typing.Any = None,
    adapters: typing.Any = None,
    base: typing.Any = None,
    base_function: str | None = None,
    describe: Mapping[str, str] | None = None,
    classes: typing.Any = None,
    class_output: str | None = None,
    states: typing.Any = None,
    state_init: str | None = None,
    lora: str = "keep",
    adapter_root: str | None = None,
    allow_unmatched: bool = False,
    lora_alpha: float | None = None,
    lora_scale: float | None = None,
    method: str = "forward",
    default: str | None = None,
    precision: str = "fp16",
    target: str = "ios18",
    share: bool = True,
    join_linears: bool = True,
    expect_shared: float | None = None,
    allow: Sequence[str] = (),
    compress: str | Sequence[str] = (),
    require_coverage: float | None = None,
    size_budget: int | str | None = None,
    measure_on: str | os.PathLike[str] | None = None,
    calibrate: str | os.PathLike[str] | None = None,
    gptq: bool = False,
    keep_fp32: str | Sequence[str] = (),
    min_snr: float | None = None,
    debug_info: bool = False,
    threads: int = 0,
    author: str = "",
    license: str = "",
    version_string: str = "",
    description: str = "",
    meta: Mapping[str, str] | None = None,
    output: str | os.PathLike[str] | None = None,
    progress: bool | Callable[[str, float], object] | None = None,
) -> Package:
    """Compiles models into one package whose functions share every identical weight.

    What becomes a function:

    models: one model, whose function is called ``main``, or a dictionary of models by their functions' names. A model is a
        ``torch.nn.Module`` (traced, with its weights read where they are; modes and gradients stay), a
        ``torch.jit.ScriptModule``, the path of a TorchScript file, a live ``PeftModel`` (a function for each adapter that it
        holds), or ``plait.Model`` with options of its own.
    adapters: adapters by their functions' names: PEFT folders, safetensors files, live PeftModels, ``plait.Adapter``. They are
        applied to ``base``, or to the only model of ``models``, which is traced once for all; a PeftModel brings its own.
    base: what adapters are applied to, where ``models`` does not say it; a dictionary of several (``{"prefill": …, "decode": …}``)
        makes a function ``NAME_PHASE`` of each adapter with each.
    base_function: the name of a function that is the base without an adapter.

    Of a function (``plait.Model`` says it of one alone):

    inputs: in the order of the model's arguments, as a list, or as a dictionary from names; or a dictionary from functions to
        these. Each is an example ``torch.Tensor``, a shape in elements, ``plait.Tensor``, ``plait.Image``, or text as ``--input``.
        An argument that is no input but the same in every call is None, a number, a bool, or ``plait.Constant``, by its name.
    outputs: the names of the results in order; or a dictionary from names to "fp16", "fp32", ``plait.Image`` or None.
    describe: texts for people, by the names of inputs, outputs and states.
    classes, class_output: the labels of a classifier, a sequence or a file, and the result that holds their probabilities.
    states: what becomes of tensors that the model writes: "auto", "none", or a list as ``--states`` has it.
    state_init: "zeros" or "input": what becomes of those that can be no state.
    lora: "keep", "fold" or "inputs". adapter_root, allow_unmatched, lora_alpha, lora_scale: as ``plait.Adapter`` has them.
    method: of a ScriptModule.

    Of the package, as the command has them:

    default: the function that runs where none is named; the first otherwise. precision: "fp16", "fp32", or "auto", which looks for
    the least that has to be in fp32 for every output to reach min_snr, in dB. keep_fp32: operations that are computed in fp32 in a
    package of fp16. target: "ios16" to "ios26". share: whether functions share weights. join_linears: whether linear layers of
    one input become one where no sharing is lost. expect_shared: fail where a function shares less than this percentage of its
    weights' bytes. allow: rules of Core ML that are a warning here. debug_info: whether the package tells where its operations
    come from. threads: 0 is one a processor.

    Of compression, as ``Package.compress`` has them: compress, require_coverage, size_budget, measure_on, calibrate, gptq; without
    precision="auto" min_snr too.

    Metadata: author, license, version_string, description, meta.

    output: where to write the ``.mlpackage``; without it the package lies in a temporary folder until ``Package.save``.
    progress: True shows a bar; a function is called with what is done now, and how much of the whole, from 0 to 1. Ctrl-C, and
        what the function raises, end the work, and nothing is written.

    Returns the package. Raises ``plait.Error`` where something cannot be compiled, with one problem for each operation; what a
    model's own forward() raises comes out as it is. Warns with categories below ``plait.PlaitWarning``.
    """
    options = {name: value for name, value in locals().items() if name in _PACKAGE_OPTIONS and value is not None}
    common = Model(None, inputs, outputs, describe, classes, class_output, states, state_init, None, method)
    said = Adapter(None, adapter_root, allow_unmatched, lora_alpha, lora_scale)
    with _Job(options, common, said) as job:
        job.add_all(models, adapters, base, base_function)
        place, temporary = (path_text(output), None) if output is not None else fresh_place()
        report = job.write(place, append=False, progress=progress, stacklevel=2)
    return Package._made(place, report, temporary)


_PACKAGE_OPTIONS = {"default", "precision", "target", "lora", "share", "join_linears", "expect_shared", "allow", "debug_info", "threads",
                    "compress", "require_coverage", "size_budget", "measure_on", "calibrate", "gptq", "keep_fp32", "min_snr", "author", "license",
                    "version_string", "description", "meta"}


def merge(
    sources: typing.Any,
    *,
    output: str | os.PathLike[str] | None = None,
    default: str | None = None,
    share: bool = True,
    expect_shared: float | None = None,
    allow: Sequence[str] = (),
    threads: int = 0,
    author: str = "",
    license: str = "",
    version_string: str = "",
    description: str = "",
    meta: Mapping[str, str] | None = None,
) -> Package:
    """Functions of existing packages, coremltools' too, in one package, with equal weights once.

    sources: a list of packages, each with all its functions, or a dictionary from new names to ``(package, function)`` or to a
        package, of which the default function is taken. A package is a ``plait.Package`` or a path.
    The other options are those of ``plait.compile``.

    Returns the package. Raises ``plait.Error`` where a source cannot be read or a name is there twice.
    """
    options = {name: value for name, value in locals().items() if name in _PACKAGE_OPTIONS and value is not None}
    listed: list[tuple[str, str, str]] = []
    if isinstance(sources, Mapping):
        for name, source in sources.items():
            package, function = source if isinstance(source, tuple) else (source, "")
            listed.append((_path_of(package), function, str(name)))
    else:
        listed = [(_path_of(source), "", "") for source in sources]
    place, temporary = (path_text(output), None) if output is not None else fresh_place()
    report = _running.report_of(_torch.compiler().merge(place, listed, _native(options)))
    _running.warn(report.warnings, 2)
    return Package._made(place, report, temporary)


def pack_adapter(adapter: str | os.PathLike[str], map: str | os.PathLike[str] | Package, function: str = "", *,
                 lora_alpha: float | None = None, lora_scale: float | None = None) -> dict[str, numpy.ndarray[typing.Any, typing.Any]]:
    """An adapter's matrices as arrays for a function that was compiled with ``lora="inputs"``: ``plait adapter pack``.

    adapter: a PEFT folder or a safetensors file. map: the side file, ``Report.adapter_map``, or the package that it belongs to.
    function: its name; "" where there is only one. lora_alpha, lora_scale: where the files do not say it.

    Returns fp16 arrays by the names of inputs, with the adapter's scale in them. Raises ``plait.Error`` where the adapter has
    other modules or ranks than the function.
    """
    compiler = _torch.compiler()
    place = compiler.adapter_map_path(str(map.path)) if isinstance(map, Package) else path_text(map)
    result: dict[str, numpy.ndarray[typing.Any, typing.Any]] = compiler.pack_adapter(
        path_text(adapter), place, function,
        {name: value for name, value in (("lora_alpha", lora_alpha), ("lora_scale", lora_scale)) if value is not None})
    return result


def _path_of(package: typing.Any) -> str:
    return str(package.path) if isinstance(package, Package) else path_text(package)


def _native(options: Mapping[str, typing.Any]) -> dict[str, typing.Any]:
    native = dict(options)
    for name in ("allow", "compress", "keep_fp32"):
        if name in native:
            native[name] = [native[name]] if isinstance(native[name], str) else list(native[name])
    for name in ("measure_on", "calibrate"):
        if name in native:
            native[name] = path_text(native[name])
    if "size_budget" in native:
        native["size_budget"] = str(native["size_budget"])
    if "meta" in native:
        native["meta"] = {str(key): str(value) for key, value in native["meta"].items()}
    return native


@dataclasses.dataclass
class _Source:
    """A model in the form that the compiler takes, and the inputs in the order of its arguments."""

    script: typing.Any  # a ScriptModule, or None
    path: str
    declared: list[Declared]
    traced: bool = False  # with the constants, which are no arguments of the script


class _Job:
    """Collects functions for one package. Live models are traced once for all functions that take the same inputs."""

    def __init__(self, options: Mapping[str, typing.Any], common: Model, said: Adapter, multifunction: bool = False) -> None:
        self.options = dict(options)
        self.common = common
        self.said = said
        self.append = multifunction
        self.functions: list[tuple[str, _Source, dict[str, typing.Any]]] = []
        self.traced: dict[tuple[typing.Any, ...], _Source] = {}
        self.warnings: list[Message] = []
        self.names: list[str] = []
        self.folder: tempfile.TemporaryDirectory[str] | None = None
        self.single = False
        self.stripped: set[int] = set()  # live bases: as they were before PEFT changed them

    def __enter__(self) -> _Job:
        return self

    def __exit__(self, *_: object) -> None:
        if self.folder:
            self.folder.cleanup()

    def scratch(self) -> pathlib.Path:
        """A folder for adapters of live models, and labels."""
        if self.folder is None:
            self.folder = tempfile.TemporaryDirectory(prefix="plait-")
        return pathlib.Path(tempfile.mkdtemp(dir=self.folder.name))

    # ---- What becomes a function -----------------------------------------------------------------------------------

    def add_all(self, models: typing.Any, adapters: typing.Any, base: typing.Any, base_function: str | None) -> None:
        named = dict(models) if isinstance(models, Mapping) else {}
        alone = None if isinstance(models, Mapping) else models
        if (models is None or isinstance(models, Mapping) and not models) and base is None and not adapters:
            raise Error("there is nothing to compile: give a model, or models by the names of their functions", code="P0903")
        if _peft.is_peft_model(adapters):
            adapters = {name: (adapters, name) for name in _peft.adapters_of(adapters)}
        elif isinstance(adapters, (str, os.PathLike)) or (adapters is not None and not isinstance(adapters, Mapping)):
            raise Error("adapters are a dictionary from the names of functions to folders or live PeftModels", code="P0902")
        live = _model_of(alone)
        if alone is not None and not adapters and base is None and not _peft.is_peft_model(live):
            if base_function is None:
                self.single = True
                self.names = ["main"]
                self.add_model("main", alone)
                return
            named, alone = {base_function: alone}, None
        self.names = [*named, *(adapters or {}), *([base_function] if base_function else [])]
        bases = self.bases(named, alone, base)
        self.names += bases
        for model in (live, *map(_model_of, named.values())):
            if _peft.is_peft_model(model):
                self.names += _peft.adapters_of(model)
        if base_function:
            for phase, model in self.need(bases, base_function).items():
                self.add_model(_phased(base_function, phase), model, phase)
        for name, model in named.items():
            self.add_model(str(name), model)
        if _peft.is_peft_model(live):
            self.add_peft("", alone)
        for name, adapter in (adapters or {}).items():
            self.add_adapter(str(name), adapter, bases)

    def bases(self, named: dict[typing.Any, typing.Any], alone: typing.Any, base: typing.Any) -> dict[str, typing.Any]:
        """What adapters are applied to, by phase ("" of the only one)."""
        if base is not None:
            found = {str(name): model for name, model in base.items()} if isinstance(base, Mapping) else {"": base}
        elif alone is not None:
            found = {"": alone}
        else:
            found = {"": next(iter(named.values()))} if len(named) == 1 else {}
        for phase, model in found.items():
            held = _model_of(model)
            if _peft.is_peft_model(held):
                held = _peft.base_of(held)
                found[phase] = dataclasses.replace(model, model=held) if isinstance(model, Model) else held
            self.stripped.add(id(held))
        return found

    def need(self, bases: dict[str, typing.Any], name: str) -> dict[str, typing.Any]:
        if not bases:
            raise Error(f"function '{name}': there are several models, or none, that the adapter could be applied to; base= says which", code="P0903")
        return bases

    def add_model(self, name: str, model: typing.Any, key: str = "") -> None:
        if _peft.is_peft_model(_model_of(model)):
            self.add_peft(name, model)
            return
        own = self.own(name, model, key)
        self.add(name, self.source(own.model, own, name), own, {})

    def add_peft(self, name: str, model: typing.Any) -> None:
        """A function for each adapter that the live model holds."""
        own = self.own(name, model)
        held = _peft.adapters_of(own.model)
        self.stripped.add(id(_peft.base_of(own.model)))
        for adapter in held:
            function = f"{name}_{adapter}" if name and len(held) > 1 else name or adapter
            self.add_adapter(function, (own.model, adapter), {"": dataclasses.replace(own, model=_peft.base_of(own.model))})

    def add_adapter(self, name: str, adapter: typing.Any, bases: dict[str, typing.Any]) -> None:
        own = adapter if isinstance(adapter, Adapter) else Adapter(adapter)
        source = own.source
        if _peft.is_peft_model(source):
            held = _peft.adapters_of(source)
            for one in held:
                self.add_adapter(name if len(held) == 1 else f"{name}_{one}", dataclasses.replace(own, source=(source, one)), bases)
            return
        if isinstance(source, tuple):
            model, one = source
            path = str(_peft.save_adapter(model, one, self.scratch() / one))
            if not bases:
                bases = {"": _peft.base_of(model)}
                self.stripped.add(id(bases[""]))
        elif isinstance(source, (str, os.PathLike)):
            path = path_text(source)
        else:
            raise Error(f"function '{name}': an adapter is a folder, a safetensors file or a live PeftModel, and this is "
                        f"{type(source).__name__}", code="P0902")
        options: dict[str, typing.Any] = {"adapter": path}
        for key, value, other in (("adapter_root", own.root, self.said.root), ("allow_unmatched", own.allow_unmatched, self.said.allow_unmatched),
                                  ("lora", own.lora, None)):
            if value is not None or other is not None:
                options[key] = value if value is not None else other
        alpha, scale = (own.alpha, own.scale) if (own.alpha, own.scale) != (None, None) else (self.said.alpha, self.said.scale)
        options |= {key: value for key, value in (("lora_alpha", alpha), ("lora_scale", scale)) if value is not None}
        for phase, model in self.need(bases, name).items():
            function = _phased(name, phase)
            said = self.own(function, model, phase or name)
            self.add(function, self.source(said.model, said, function), said, options)

    # ---- What is said of it ----------------------------------------------------------------------------------------

    def own(self, name: str, model: typing.Any, key: str = "") -> Model:
        """The model with all that is said of it: of its own, and else of all."""
        own = model if isinstance(model, Model) else Model(model)
        values = {field.name: getattr(own, field.name) if getattr(own, field.name) is not None else getattr(self.common, field.name)
                  for field in dataclasses.fields(Model)}
        for field in ("inputs", "outputs"):
            values[field] = self.of_function(values[field], name, key)
        return Model(**values)

    def of_function(self, value: typing.Any, name: str, key: str) -> typing.Any:
        """The part of a dictionary from functions that is this one's; the value itself where it is no such dictionary."""
        if not isinstance(value, Mapping) or not value or not all(isinstance(one, (list, tuple, Mapping)) for one in value.values()):
            return value
        known = {*self.names, name, key}
        if not set(value) <= known or not any(isinstance(one, (list, Mapping)) for one in value.values()):
            return value
        return value.get(name, value.get(key))

    def source(self, model: typing.Any, own: Model, name: str) -> _Source:
        declared = declare_all(own.inputs)
        if isinstance(model, (str, os.PathLike)):
            return _Source(None, path_text(model), declared)
        import torch
        if isinstance(model, torch.jit.ScriptModule):
            return _Source(model, "", declared)
        if isinstance(model, torch.nn.Module):
            key = (id(model), tuple(d.said() for d in declared), tuple(id(d.example) for d in declared if d.example is not None))
            if key not in self.traced:
                from plait import _trace
                if own.method != "forward":
                    raise Error(f"function '{name}': an nn.Module is traced through its forward(); method={own.method!r} is for ScriptModules", code="P0902")
                with _peft.without_adapters(model) if id(model) in self.stripped else contextlib.nullcontext():
                    script, ordered, warnings = _trace.trace(model, declared, name)
                self.warnings += warnings
                self.traced[key] = _Source(script, "", ordered, traced=True)
            return self.traced[key]
        if isinstance(model, torch.export.ExportedProgram):
            path = self.scratch() / "model.pt2"
            torch.export.save(model, path)
            return _Source(None, str(path), declared)
        raise Error(f"function '{name}': a model is an nn.Module, a ScriptModule, a PeftModel or the path of a TorchScript file, and this "
                    f"is {type(model).__name__}", code="P0902")

    def add(self, name: str, source: _Source, own: Model, options: dict[str, typing.Any]) -> None:
        options = dict(options)
        options["input"] = [declared.said() for declared in source.declared]
        options["traced"] = source.traced
        options["output"] = output_texts(own.outputs)
        options["describe"] = dict(own.describe or {})
        options["method"] = own.method or "forward"
        if own.classes is not None:
            options["classes"] = self.labels(own.classes)
            options["class_output"] = own.class_output or ""
        elif own.class_output:
            options["class_output"] = own.class_output
        if own.states is not None:
            options["states"] = [own.states] if isinstance(own.states, str) else list(own.states)
        if own.state_init is not None:
            if own.state_init not in ("zeros", "input"):
                raise Error(f"state_init is {own.state_init!r}; the choices are zeros, input", code="P0902")
            options["state_inputs"] = own.state_init == "input"
        if own.lora is not None:
            options["lora"] = own.lora
        self.functions.append((name, source, options))

    def labels(self, classes: typing.Any) -> str:
        """As ``--classes`` has it."""
        if isinstance(classes, (str, os.PathLike)):
            return path_text(classes)
        name = ""
        if isinstance(classes, Mapping):
            if len(classes) != 1:
                raise Error("classes are a sequence of labels, a file, or a dictionary from the name of the output to one of these", code="P0902")
            name, classes = next(iter(classes.items()))
            if isinstance(classes, (str, os.PathLike)):
                return f"{name}={path_text(classes)}"
        texts = [str(label) for label in classes]
        if any("\n" in text for text in texts):
            raise Error("a class label has no line break", code="P0902")
        file = self.scratch() / "labels.txt"
        file.write_text("".join(text + "\n" for text in texts), encoding="utf-8")
        return f"{name}={file}" if name else str(file)

    # ---- Writing ---------------------------------------------------------------------------------------------------

    def write(self, place: str, append: bool, progress: _running.Progress, stacklevel: int) -> Report:
        options = _native(self.options)
        options["multifunction"] = not self.single or append
        compiler = _torch.compiler().Compiler(options)
        for name, source, said in self.functions:
            if source.script is not None:
                compiler.add_module(name, source.script._c, copy.copy(said))
            else:
                compiler.add_file(name, source.path, said)
        _running.warn(self.warnings, stacklevel + 1)
        report = _running.run(compiler, place, append, progress, stacklevel + 1)
        return dataclasses.replace(report, warnings=(*self.warnings, *report.warnings))


def _model_of(model: typing.Any) -> typing.Any:
    return model.model if isinstance(model, Model) else model


def _phased(name: str, phase: str) -> str:
    return f"{name}_{phase}" if phase else name
