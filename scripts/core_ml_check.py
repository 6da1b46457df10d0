"""Holds what Core ML computes of packages against plait's interpreter: each function, on CPU, GPU and Neural Engine.

    core_ml_check.py --plait PLAIT --report REPORT.json PKG.mlpackage ...     on a Mac
    core_ml_check.py --plait PLAIT --plan PKG.mlpackage ...                   anywhere: what would be called, with which inputs

A function is called twice on the same state with seeded inputs, at its default shapes. An output is right where it is as near
as `plait verify` allows an output in fp16 to be: no error above 1e-3 + 1e-2 * (its largest absolute value), and NaN or infinite where the
interpreter's is. So are the pixels of an image and the probabilities of classes; a label is right where its probability is as near to the
largest. Core ML runs in a process of its own, for each function and unit: what ends that process is an error of one row.
scripts/check_on_mac makes the packages of the examples and calls this.
"""

import argparse
import json
import multiprocessing
import pathlib
import platform
import subprocess
import sys
import tempfile
import time

import numpy as np

UNITS = ("CPU_ONLY", "CPU_AND_GPU", "CPU_AND_NE")
CALLS = 2
SECONDS = 900  # for loading a function, or one call
# As JSON has the types, and as Core ML takes them.
DTYPES = {"fp16": np.float16, "fp32": np.float32, "int32": np.int32, "int8": np.int8, "bool": np.int32}


def plait(command, *arguments):
    result = subprocess.run([command, *map(str, arguments)], capture_output=True, text=True)
    if result.returncode:
        raise RuntimeError(f"plait {arguments[0]}: {result.stderr.strip()}")
    return result.stdout


def smallest(shape):
    """A range is text, "1..128"; nothing is known of "?"."""
    return [size if isinstance(size, int) else int(size.split("..")[0]) if size[0].isdigit() else 1 for size in shape]


def random_inputs(function):
    """{name: array} of a function, as `plait inspect --json` describes it."""
    generator = np.random.default_rng(0)
    arrays = {}
    for feature in function["inputs"]:
        shape = feature.get("default_shape") or smallest(feature["shape"])
        if "image" in feature:
            arrays[feature["name"]] = generator.integers(0, 256, shape).astype(np.float16 if feature["image"] == "gray16" else np.uint8)
        elif feature["dtype"] in ("fp16", "fp32"):
            arrays[feature["name"]] = generator.standard_normal(shape).astype(DTYPES[feature["dtype"]])
        else:
            arrays[feature["name"]] = generator.integers(0, 2, shape).astype(DTYPES[feature["dtype"]])
    return arrays


def pixels(image):
    """[1, channels, height, width] of one of Pillow's."""
    array = np.asarray(image)
    return array[None, None] if array.ndim == 2 else array[..., :3].transpose(2, 0, 1)[None]


def reference(command, package, function, inputs):
    """[{name: array, label or {label: probability}}] of each call, by plait's interpreter."""
    from PIL import Image

    def read(file):
        if file["kind"] == "classes":
            return file["content"]
        return pixels(Image.open(file["file"])) if file["kind"] == "image" else np.load(file["file"])

    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        given = []
        for number, (name, array) in enumerate(inputs.items()):
            np.save(folder / f"{number}.npy", array)
            given += ["--input", f"{name}={folder}/{number}.npy"]
        said = json.loads(plait(command, "run", package, "--function", function, *given, "--steps", CALLS, "--output-dir", folder / "out", "--json"))
        return [{file["name"]: read(file) for file in call["files"]} for call in said["calls"]]


class CoreML:
    """A function that Core ML has loaded."""

    def __init__(self, package, function, units, is_plain):
        import coremltools

        began = time.perf_counter()
        self.model = coremltools.models.MLModel(str(package), compute_units=coremltools.ComputeUnit[units],
                                                **({} if is_plain else {"function_name": function["name"]}))
        self.load_seconds = time.perf_counter() - began
        self.state = self.model.make_state() if function.get("states") else None
        self.images = {feature["name"]: feature["image"] for feature in function["inputs"] if "image" in feature}

    def predict(self, inputs):
        given = {name: image_of(array, self.images[name]) if name in self.images else array for name, array in inputs.items()}
        outputs = self.model.predict(given, state=self.state) if self.state else self.model.predict(given)
        return {name: comparable(value) for name, value in outputs.items()}


def image_of(array, colours):
    """What coremltools takes for an image input: RGB, whatever the order in the program, L, or F of gray16."""
    from PIL import Image

    if colours == "gray16":
        return Image.fromarray(array[0, 0].astype(np.float32))
    if colours == "gray":
        return Image.fromarray(array[0, 0])
    return Image.fromarray(np.ascontiguousarray(array[0].transpose(1, 2, 0)[:, :, ::-1 if colours == "bgr" else 1]))


def comparable(value):
    """What coremltools gives for an output as reference() has it."""
    if isinstance(value, dict):
        return {str(label): float(probability) for label, probability in value.items()}
    if isinstance(value, (str, int)):
        return str(value)
    return pixels(value) if hasattr(value, "getbands") else np.asarray(value)


def serve(pipe, model, arguments):
    """The other side of Separate."""
    try:
        loaded = model(*arguments)
        pipe.send((loaded.load_seconds, None))
        while True:
            pipe.send((loaded.predict(pipe.recv()), None))
    except EOFError:  # nobody asks any more
        pass
    except Exception as error:  # whatever Core ML raises is what the report is for
        pipe.send((None, f"{type(error).__name__}: {error}"))


class Problem(Exception):
    """What came of it in the other process."""


class Separate:
    """A function in a process of its own. Core ML is known to end processes, and to take forever."""

    def __init__(self, *arguments, model=CoreML, seconds=SECONDS):
        context = multiprocessing.get_context("spawn")
        self.seconds, (self.pipe, theirs) = seconds, context.Pipe()
        self.process = context.Process(target=serve, args=(theirs, model, arguments), daemon=True)
        self.process.start()
        theirs.close()
        self.load_seconds = self.answer()

    def answer(self):
        try:
            if not self.pipe.poll(self.seconds):
                self.close()
                raise Problem(f"no answer in {self.seconds} seconds")
            value, error = self.pipe.recv()
        except (EOFError, ConnectionResetError):
            self.process.join()
            raise Problem(f"Core ML ended its process with status {self.process.exitcode}") from None
        if error:
            raise Problem(error)
        return value

    def predict(self, inputs):
        self.pipe.send(inputs)
        return self.answer()

    def close(self):
        self.process.kill()
        self.process.join()


def compare(actual, expected):
    """One output: how far it is off, and whether that is right."""
    actual, expected = np.asarray(actual, np.float64), np.asarray(expected, np.float64)
    if actual.shape != expected.shape:
        return {"right": False, "error": f"the shape is {list(actual.shape)}, not {list(expected.shape)}"}
    finite = np.isfinite(actual) & np.isfinite(expected)
    same = finite | (actual == expected) | (np.isnan(actual) & np.isnan(expected))
    difference, wanted = np.abs(actual - expected)[finite], expected[finite]
    largest, peak = float(difference.max(initial=0)), float(np.abs(wanted).max(initial=0))
    noise, signal = float((difference ** 2).sum()), float((wanted ** 2).sum())
    return {"right": bool(same.all()) and largest <= 1e-3 + 1e-2 * peak, "max_absolute": largest, "peak": peak,
            "non_finite": int((~same).sum()), "snr": 10 * float(np.log10(signal / noise)) if noise and signal else None}


def compare_output(name, given, expected):
    """One output of a call beside the others: arrays and images, probabilities, or a label."""
    actual, wanted = given[name], expected[name]
    if isinstance(wanted, dict):
        if not isinstance(actual, dict) or actual.keys() != wanted.keys():
            return {"right": False, "error": "the labels are others"}
        return compare([actual[label] for label in wanted], list(wanted.values()))
    if isinstance(wanted, str):
        chances = next((one for one in expected.values() if isinstance(one, dict) and wanted in one), {wanted: 1.0})
        nearly = chances.get(actual, -np.inf) >= chances[wanted] - (1e-3 + 1e-2 * abs(chances[wanted]))
        return {"right": actual == wanted or bool(nearly), "label": actual, "expected": wanted}
    return compare(actual, wanted)


def check_function(command, package, function, is_plain, load, units=UNITS):
    result = {"function": function["name"], "units": {}}
    try:
        inputs = random_inputs(function)
        result["inputs"] = {name: [str(array.dtype), *array.shape] for name, array in inputs.items()}
        expected = reference(command, package, function["name"], inputs)
    except (RuntimeError, OSError, ValueError, KeyError) as error:
        result["error"] = f"{type(error).__name__}: {error}"
        return result
    for unit in units:
        row, model = {"right": False}, None
        result["units"][unit] = row
        try:
            model = load(package, function, unit, is_plain)
            row["load_seconds"] = round(model.load_seconds, 3)
            row["calls"] = []
            for outputs in expected:
                began = time.perf_counter()
                given = model.predict(inputs)
                row["calls"].append({"seconds": round(time.perf_counter() - began, 4),
                                     "outputs": {name: compare_output(name, given, outputs) for name in outputs if name in given}})
                missing = sorted(outputs.keys() - given.keys())
                if missing:
                    row["calls"][-1]["missing"] = missing
            row["right"] = all(call["outputs"] and "missing" not in call and all(output["right"] for output in call["outputs"].values())
                               for call in row["calls"])
        except Exception as error:
            row["error"] = str(error) if isinstance(error, Problem) else f"{type(error).__name__}: {error}"
        finally:
            if model:
                model.close()
    return result


def line(result):
    """For people: `adapter_1  CPU_ONLY 71.2 dB  CPU_AND_GPU WRONG …`"""
    if "error" in result:
        return f"  {result['function']}: {result['error']}"
    parts = []
    for unit, row in result["units"].items():
        snrs = [output["snr"] for call in row.get("calls", []) for output in call["outputs"].values() if output.get("snr") is not None]
        parts.append(f"{unit} {'ok' if row['right'] else 'WRONG'}{f' {min(snrs):.1f} dB' if snrs else ''}"
                     f"{' (' + row['error'].splitlines()[0][:120] + ')' if 'error' in row else ''}")
    return f"  {result['function']}: " + ", ".join(parts)


def machine(command):
    def output(*arguments):
        try:
            return subprocess.run(arguments, capture_output=True, text=True).stdout.strip()
        except OSError:
            return ""

    return {"system": platform.platform(), "macos": platform.mac_ver()[0], "model": output("sysctl", "-n", "hw.model"),
            "processor": output("sysctl", "-n", "machdep.cpu.brand_string"), "python": platform.python_version(),
            "plait": plait(command, "version").strip()}


def check(command, packages, load, say=print, keep=lambda report: None):
    """The report; `keep` is given it after each package, so that what was found survives whatever ends this process."""
    report = {"version": 1, "machine": machine(command), "packages": [], "right": False}
    for package in packages:
        say(str(package))
        entry = {"package": pathlib.Path(package).name, "functions": []}
        report["packages"].append(entry)
        try:
            summary = json.loads(plait(command, "inspect", package, "--json"))
        except RuntimeError as error:
            entry["error"] = str(error)
            say(f"  {error}")
            continue
        is_plain = [function["name"] for function in summary["functions"]] == ["main"]
        for function in summary["functions"]:
            entry["functions"].append(check_function(command, package, function, is_plain, load))
            say(line(entry["functions"][-1]))
            keep(report)
    report["right"] = bool(report["packages"]) and all(
        "error" not in entry and all("error" not in result and all(row["right"] for row in result["units"].values())
                                     for result in entry["functions"]) for entry in report["packages"])
    return report


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("packages", nargs="+", metavar="PKG.mlpackage")
    parser.add_argument("--plait", default="plait", help="the command")
    parser.add_argument("--report", default="check_on_mac.json", help="where the report goes")
    parser.add_argument("--plan", action="store_true", help="only say what would be called")
    arguments = parser.parse_args()
    if arguments.plan:
        for package in arguments.packages:
            for function in json.loads(plait(arguments.plait, "inspect", package, "--json"))["functions"]:
                shapes = ", ".join(f"{name} {array.dtype}{list(array.shape)}" for name, array in random_inputs(function).items())
                print(f"{package}: {function['name']}({shapes}), {CALLS} calls on {', '.join(UNITS)}")
        return 0
    if platform.system() != "Darwin":
        sys.exit("error: Core ML is on macOS only; --plan says what would be checked")

    def keep(report):
        pathlib.Path(arguments.report).write_text(json.dumps(report, indent=2) + "\n")

    report = check(arguments.plait, arguments.packages, Separate, keep=keep)
    keep(report)
    print(f"\n{'everything is right' if report['right'] else 'not everything is right'}; the report is {arguments.report}")
    return 0 if report["right"] else 1


if __name__ == "__main__":
    sys.exit(main())
