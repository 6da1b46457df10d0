"""Packages: what they hold, running their functions, changing them, and holding them against their models."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import shutil
import tempfile
import threading
import typing
import warnings
import weakref
from collections.abc import Callable, Iterator, Mapping

from plait import _peft, _running, _torch
from plait._errors import Error
from plait._function import Function, State
from plait._inputs import Adapter, Model, declare_all, path_text
from plait._results import Bisection, Report, Summary, Verification, messages_of, summary_of, verification_of


def fresh_place() -> tuple[str, str]:
    """Where a package goes that nobody has named yet, and the folder that goes with it."""
    folder = tempfile.mkdtemp(prefix="plait-")
    return os.path.join(folder, "model.mlpackage"), folder


def _discard(folder: str) -> None:
    shutil.rmtree(folder, ignore_errors=True)


class Package:
    """A Core ML package, plait's or another tool's, opened from a path.

        package = plait.Package("heads.mlpackage")
        package.functions["classify"](image)

    Weights stay in the mapped file. Methods that change the package change the files, which are a valid package at every
    moment. An object can be pickled; so it is opened again by its path, which has to be there still. Raises ``plait.Error``
    where there is no package at ``path`` or it cannot be read.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = pathlib.Path(os.path.abspath(path_text(path)))
        self._report: Report | None = None
        self._finalizer: weakref.finalize[..., typing.Any] | None = None
        self._lock = threading.RLock()
        self._reload()

    def _reload(self) -> None:
        self._open: typing.Any = None
        self._summary: Summary | None = None
        self._functions: dict[str, Function] = {}
        summary = self._inspected(near_sharing=False)
        self._summary = summary
        self._functions = {one.name: Function(self, one) for one in summary.functions}

    @classmethod
    def _made(cls, path: str, report: Report, temporary: str | None) -> Package:
        package = cls(path)
        package._report = report
        if temporary is not None:
            package._finalizer = weakref.finalize(package, _discard, temporary)
        return package

    def _opened(self) -> typing.Any:
        with self._lock:
            if self._open is None:
                self._open = _torch.compiler().OpenPackage(str(self._path))
            return self._open

    def _inspected(self, near_sharing: bool) -> Summary:
        text = _torch.compiler().inspect(str(self._path), near_sharing)
        return summary_of(json.loads(text), self._opened().input_shapes())

    # ---- What it holds ---------------------------------------------------------------------------------------------

    @property
    def path(self) -> pathlib.Path:
        """Where it lies; in a temporary folder until it is saved, if ``plait.compile`` was given no ``output``."""
        return self._path

    @property
    def functions(self) -> Mapping[str, Function]:
        """Its functions by name, in the order of the package."""
        return dict(self._functions)

    @property
    def default(self) -> Function:
        """The function that runs where none is named. Raises ``plait.Error`` where the package names none of several."""
        return self._function(None)

    @property
    def report(self) -> Report | None:
        """What making it wrote; None of a package that was opened."""
        return self._report

    @property
    def summary(self) -> Summary:
        """Functions, interfaces, sizes in bytes and the sharing matrix, without a comparison of weights."""
        assert self._summary is not None
        return self._summary

    def inspect(self) -> Summary:
        """The same with the weights that are nearly shared, and why not, which compares weights: ``plait inspect``."""
        return self._inspected(near_sharing=True)

    def _function(self, name: str | None) -> Function:
        wanted = name or self.summary.default_function
        if wanted in self._functions:
            return self._functions[wanted]
        if not wanted and len(self._functions) == 1:
            return next(iter(self._functions.values()))
        what = f"there is no function '{wanted}'" if wanted else "it names no default function"
        raise Error(f"{self._path.name}: {what}; there are {', '.join(self._functions)}", code="P0503")

    def predict(self, inputs: Mapping[str, typing.Any], *, function: str | None = None, state: State | None = None,
                compute: str = "fp32") -> dict[str, typing.Any]:
        """Runs a ``function``, the default one where none is named, as ``Function.predict`` does.

        inputs, state, compute: as there. Returns the outputs by name; raises ``plait.Error``.
        """
        return self._function(function).predict(inputs, state=state, compute=compute)

    def make_state(self, function: str | None = None) -> State:
        """States of a function, the default one where none is named, that are zeros."""
        return self._function(function).make_state()

    # ---- Changing it -----------------------------------------------------------------------------------------------

    def save(self, path: str | os.PathLike[str]) -> Package:
        """Puts the package at ``path`` (``*.mlpackage``), whole or not at all; a package that is there is replaced.

        A package in a temporary folder moves there. The object is then the package at ``path``. Returns itself. Raises
        ``plait.Error`` where something that is no package is there, or nothing can be written.
        """
        target = pathlib.Path(os.path.abspath(path_text(path)))
        if target.suffix != ".mlpackage":
            raise Error(f"{target}: the name of a package ends in .mlpackage", code="P0908")
        if target == self._path:
            return self
        compiler = _torch.compiler()
        compiler.copy_package(str(self._path), str(target))
        side, to = (pathlib.Path(compiler.adapter_map_path(str(one))) for one in (self._path, target))
        if side.is_file():
            shutil.copyfile(side, to)
        if self._finalizer is not None:
            self._finalizer()
            self._finalizer = None
        self._path = target
        self._open = None
        for function in self._functions.values():
            function._ready = None
        return self

    def add(self, models: typing.Any = None, *, inputs: typing.Any = None, outputs: typing.Any = None, adapters: typing.Any = None,
            base: typing.Any = None, base_function: str | None = None, describe: Mapping[str, str] | None = None, classes: typing.Any = None,
            class_output: str | None = None, states: typing.Any = None, state_init: str | None = None, lora: str = "keep",
            adapter_root: str | None = None, allow_unmatched: bool = False, lora_alpha: float | None = None,
            lora_scale: float | None = None, method: str = "forward", default: str | None = None, precision: str | None = None,
            expect_shared: float | None = None, allow: typing.Sequence[str] = (), compress: str | typing.Sequence[str] = (),
            require_coverage: float | None = None, keep_fp32: str | typing.Sequence[str] = (), min_snr: float | None = None,
            join_linears: bool = True, debug_info: bool = False, threads: int = 0,
            progress: bool | Callable[[str, float], object] | None = None) -> Report:
        """Compiles functions into the package, whose weights they share: ``plait add``.

        The arguments are those of ``plait.compile``; ``models`` is a dictionary by the functions' names. ``precision`` is that
        of most of the package's weights where not said. Returns what was added. Raises ``plait.Error``; the package is then as it
        was.
        """
        from plait._compile import _Job
        options = {"default": default, "precision": precision, "lora": lora, "expect_shared": expect_shared, "allow": allow,
                   "compress": compress, "require_coverage": require_coverage, "keep_fp32": keep_fp32, "min_snr": min_snr,
                   "join_linears": join_linears, "debug_info": debug_info, "threads": threads}
        common = Model(None, inputs, outputs, describe, classes, class_output, states, state_init, None, method)
        said = Adapter(None, adapter_root, allow_unmatched, lora_alpha, lora_scale)
        with _Job({name: value for name, value in options.items() if value is not None}, common, said) as job:
            job.add_all(models, adapters, base, base_function)
            report = job.write(str(self._path), append=True, progress=progress, stacklevel=2)
        self._reload()
        return report

    def remove(self, *functions: str, default: str | None = None, compact: bool = False) -> None:
        """Takes functions out: ``plait remove``.

        default: the function that runs from now on where none is named. compact: whether to write the package anew, without the
        weights that no function uses any more; no function need be named then. Raises ``plait.Error`` where there is no such
        function, or none would be left.
        """
        _torch.compiler().remove(str(self._path), list(functions), default or "", compact)
        self._reload()

    def compress(self, compress: str | typing.Sequence[str] = (), *, output: str | os.PathLike[str] | None = None,
                 require_coverage: float | None = None, size_budget: int | str | None = None, min_snr: float | None = None,
                 measure_on: str | os.PathLike[str] | None = None, calibrate: str | os.PathLike[str] | None = None, gptq: bool = False,
                 lora: str = "keep", allow: typing.Sequence[str] = (), threads: int = 0) -> Report:
        """Stores weights in fewer bits: ``plait compress``. The package is written anew, or as another one to ``output``.

        compress: schemes, "q4", or for some weights "lm_head=int8"; a weight that several functions share is compressed once.
        require_coverage: fail where less than this percentage of the weights' numbers is compressed.
        size_budget, min_snr: of weights that no rule names, choose the schemes so that the package takes as many bytes at most, a number
            or "900MB", or so that every output of every function has as many dB of signal over noise.
        measure_on: a folder of inputs on which outputs are measured, NAME.npy or folders of them. calibrate: a folder of inputs that say
            which errors of a weight matter. gptq: errors of linear layers make up for one another, by the calibration inputs.
        lora: "fold" merges the branches of adapters into their weights first, which are decompressed where they were compressed.
        allow: rules of Core ML that are a warning here. threads: 0 is one a processor.

        Returns what was made of each weight. Raises ``plait.Error``; the package is then as it was.
        """
        from plait._compile import _native
        options = {"compress": compress, "require_coverage": require_coverage, "size_budget": size_budget, "min_snr": min_snr,
                   "measure_on": measure_on, "calibrate": calibrate, "gptq": gptq, "lora": lora, "allow": allow, "threads": threads}
        target = str(self._path) if output is None else path_text(output)
        report = _running.report_of(_torch.compiler().compress(
            str(self._path), target, _native({name: value for name, value in options.items() if value is not None})))
        _running.warn(report.warnings, 2)
        if output is None:
            self._reload()
        return report

    def merge(self, *others: typing.Any, output: str | os.PathLike[str] | None = None, **options: typing.Any) -> Package:
        """Its functions and those of ``others`` as a new package, at ``output``; this one stays as it is.

        The other options are those of ``plait.merge``. Returns the new package; raises ``plait.Error``.
        """
        from plait._compile import merge
        return merge([self, *others], output=output, **options)

    # ---- Holding it against its models -----------------------------------------------------------------------------

    def verify(self, against: typing.Any, *, function: str | None = None, adapter: typing.Any = None, inputs: Mapping[str, typing.Any] | None = None,
               range: Mapping[str, tuple[int, int]] | None = None, image: Mapping[str, str] | None = None, compute: str = "fp32",
               atol: float | None = None, rtol: float | None = None, seed: int = 0, draws: int = 1, steps: int = 1,
               adapter_root: str | None = None, allow_unmatched: bool = False, lora_alpha: float | None = None,
               lora_scale: float | None = None, bisect: bool = False,
               progress: bool | Callable[[str, float], object] | None = None) -> Verification:
        """Runs a function and its model on the same inputs: ``plait verify``.

        against: the model: a file, a ScriptModule, an ExportedProgram, or an ``nn.Module``, which is traced on inputs like the
            function's.
        function: its name; the default function where not said.
        adapter: a PEFT folder, a safetensors file, a blend as the command has it, or a live PeftModel that holds one; LibTorch
            merges it into the model first. adapter_root, allow_unmatched, lora_alpha, lora_scale: as ``plait.compile`` has them.
        inputs: arrays in place of random numbers. range: bounds, both included, of random integers. image: what was said of an
            image's pixels, "scale=1/255 bias=-0.5", all by the names of inputs.
        compute: as ``Function.predict``. atol, rtol: the tolerance, in place of what rounding explains.
        seed, draws, steps: of the random inputs, how many sets of them, and calls for each on the same states.
        bisect: after a failure, look for the operation where it begins.
        progress: True shows a bar; a function is called with what is done now, and how much of the whole. Ctrl-C, and what the
            function raises, end the verification before the next operation of either.

        Returns what was measured; a difference is no error. Raises ``plait.Error`` where the two cannot be compared.
        """
        from plait._function import numpy_of
        target = self._function(function)
        declared = {value.name: value for value in target.inputs}
        for name in inputs or {}:
            if name not in declared:
                raise Error(f"function '{target.name}' has no input '{name}'; it has {', '.join(declared)}", code="P0210")
        options: dict[str, typing.Any] = {
            "adapter_root": adapter_root, "allow_unmatched": allow_unmatched, "lora_alpha": lora_alpha, "lora_scale": lora_scale,
            "seed": seed, "draws": draws, "steps": steps, "atol": atol, "rtol": rtol, "compute": compute, "bisect": bisect,
            "range": dict(range or {}), "image": dict(image or {}),
            "input": {name: numpy_of(value, declared[name]) for name, value in (inputs or {}).items()},
        }
        if draws < 1 or steps < 1:
            raise Error("draws and steps are at least 1", code="P0902")
        with _model_file(against, target) as (file, folder):
            if _peft.is_peft_model(adapter):
                held = _peft.adapters_of(adapter)
                if len(held) != 1:
                    raise Error(f"the PeftModel holds {', '.join(held)}; save the one that is meant, and give its folder", code="P0902")
                options["adapter"] = str(_peft.save_adapter(adapter, held[0], folder / "adapter"))
            elif adapter is not None:
                options["adapter"] = path_text(adapter)
            said = {name: value for name, value in options.items() if value is not None}
            compiler, opened = _torch.compiler(), self._opened()
            stop = compiler.Stop()
            data = _running.attend(lambda callback: compiler.verify(opened, target.name, file, said, callback, stop), stop.stop, progress)
        _running.warn(messages_of(data["warnings"]), 2)
        return verification_of(target.name, data)

    def bisect(self, against: typing.Any, *, function: str | None = None, **options: typing.Any) -> Bisection | None:
        """Where a function begins to go wrong: ``plait verify --bisect``; None where it is as it should be.

        The arguments are those of ``verify``. Raises ``plait.Error`` where the two cannot be compared.
        """
        return self.verify(against, function=function, bisect=True, **options).bisection

    # ---- Showing it ------------------------------------------------------------------------------------------------

    def _repr_html_(self) -> str:
        from plait._html import package_html
        return package_html(self.path.name, self.summary)

    def __repr__(self) -> str:
        return f"Package({str(self._path)!r}: {', '.join(self._functions)})"

    def __reduce__(self) -> tuple[type[Package], tuple[str]]:
        return type(self), (str(self._path),)


@contextlib.contextmanager
def _model_file(against: typing.Any, function: Function) -> Iterator[tuple[str, pathlib.Path]]:
    """The model as a file that the verifier loads, and a folder for what else it needs."""
    with tempfile.TemporaryDirectory(prefix="plait-") as place:
        folder = pathlib.Path(place)
        if isinstance(against, (str, os.PathLike)):
            yield path_text(against), folder
            return
        import torch
        if isinstance(against, torch.export.ExportedProgram):
            torch.export.save(against, folder / "model.pt2")
            yield str(folder / "model.pt2"), folder
            return
        script = against
        if isinstance(against, torch.nn.Module) and not isinstance(against, torch.jit.ScriptModule):
            from plait import _trace
            from plait._inputs import Constant, Declared, Image, Tensor, constant_of
            base = _peft.base_of(against) if _peft.is_peft_model(against) else against
            specs: list[Image | Tensor] = []
            for value in function.inputs:
                shapes = value.shapes or ()
                shape = () if shapes else value.shape
                dtype = value.dtype if value.dtype in ("int32", "int8", "bool") else None
                specs.append(Image(value.image, shape, shapes=shapes, name=value.name) if value.image
                             else Tensor(shape, dtype, shapes, name=value.name))
            with _peft.without_adapters(base) if base is not against else contextlib.nullcontext():
                constants = [Declared(name, text, None, None, Constant(constant_of(text))) for name, text in function.summary.constants.items()]
                script, _, _ = _trace.trace(base, [*declare_all(specs), *constants], function.name)
        if not isinstance(script, torch.jit.ScriptModule):
            raise Error(f"a function is held against a file, a ScriptModule, an ExportedProgram or an nn.Module, and this is {type(against).__name__}", code="P0902")
        file = folder / "model.pt"
        with warnings.catch_warnings():
            for category in (DeprecationWarning, FutureWarning):  # of torch.jit; the second from torch 2.15 on
                warnings.simplefilter("ignore", category)
            torch.jit.save(script, str(file))
        yield str(file), folder
