"""Holds what Core ML computes of packages against plait's interpreter: each function, on CPU, GPU and Neural Engine.

    core_ml_check.py --plait PLAIT --report REPORT.json PKG.mlpackage ...     on a Mac
    core_ml_check.py --plait PLAIT --plan PKG.mlpackage ...                   anywhere: what would be called, with which inputs

A function is called twice on the same state with seeded inputs, at the smallest of its shapes. An output is right where it is as near
as `plait verify` allows an output in fp16 to be: no error above 1e-3 + 1e-2 * (its largest absolute value), and NaN or infinite where the
interpreter's is. scripts/check_on_mac makes the packages of the examples and calls this.
"""

import argparse
import json
import pathlib
import platform
import subprocess
import sys
import tempfile
import time

import numpy as np

UNITS = ("CPU_ONLY", "CPU_AND_GPU", "CPU_AND_NE")
CALLS = 2
# As JSON has the types, and as Core ML takes them.
DTYPES = {"fp16": np.float16, "fp32": np.float32, "int32": np.int32, "bool": np.int32}
COLOURS = {"rgb": "RGB", "bgr": "RGB", "gray": "L"}


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
        shape = smallest(feature["shape"])
        if "image" in feature:
            arrays[feature["name"]] = generator.integers(0, 256, shape).astype(np.uint8)
        elif feature["dtype"] in ("fp16", "fp32"):
            arrays[feature["name"]] = generator.standard_normal(shape).astype(DTYPES[feature["dtype"]])
        else:
            arrays[feature["name"]] = generator.integers(0, 2, shape).astype(DTYPES[feature["dtype"]])
    return arrays


def reference(command, package, function, inputs):
    """[{name: array}] of each call, by plait's interpreter; outputs that are no arrays are left out."""
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        given = []
        for name, array in inputs.items():
            np.save(folder / f"{name}.npy", array)
            given += ["--input", f"{name}={folder}/{name}.npy"]
        plait(command, "run", package, "--function", function, *given, "--steps", CALLS, "--output-dir", folder / "out")
        return [{file.stem: np.load(file) for file in sorted((folder / "out" / str(call)).glob("*.npy"))} for call in range(1, CALLS + 1)]


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
        from PIL import Image

        given = {}
        for name, array in inputs.items():
            if name in self.images:
                pixels = array[0].transpose(1, 2, 0) if array.shape[1] == 3 else array[0, 0]
                if self.images[name] == "bgr":
                    pixels = pixels[:, :, ::-1]
                given[name] = Image.fromarray(np.ascontiguousarray(pixels), COLOURS[self.images[name]])
            else:
                given[name] = array
        return self.model.predict(given, state=self.state) if self.state else self.model.predict(given)


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


def check_function(command, package, function, is_plain, load, units=UNITS):
    inputs = random_inputs(function)
    result = {"function": function["name"], "inputs": {name: [str(array.dtype), *array.shape] for name, array in inputs.items()}, "units": {}}
    try:
        expected = reference(command, package, function["name"], inputs)
    except (RuntimeError, OSError, ValueError) as error:
        result["error"] = str(error)
        return result
    for unit in units:
        row = result["units"][unit] = {"right": False}
        try:
            model = load(package, function, unit, is_plain)
            row["load_seconds"] = round(model.load_seconds, 3)
            row["calls"] = []
            for outputs in expected:
                began = time.perf_counter()
                given = model.predict(inputs)
                row["calls"].append({"seconds": round(time.perf_counter() - began, 4),
                                     "outputs": {name: compare(given[name], array) for name, array in outputs.items() if name in given}})
                missing = sorted(outputs.keys() - given.keys())
                if missing:
                    row["calls"][-1]["missing"] = missing
            row["right"] = all(call["outputs"] and "missing" not in call and all(output["right"] for output in call["outputs"].values())
                               for call in row["calls"])
        except Exception as error:  # whatever Core ML raises is what the report is for
            row["error"] = f"{type(error).__name__}: {error}"
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


def check(command, packages, load, say=print):
    report = {"version": 1, "machine": machine(command), "packages": []}
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
    report = check(arguments.plait, arguments.packages, CoreML)
    pathlib.Path(arguments.report).write_text(json.dumps(report, indent=2) + "\n")
    print(f"\n{'everything is right' if report['right'] else 'not everything is right'}; the report is {arguments.report}")
    return 0 if report["right"] else 1


if __name__ == "__main__":
    sys.exit(main())
