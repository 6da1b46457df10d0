"""Architectures of public libraries through plait and coremltools: whether each compiles and is right, operations, and time.

    architectures.py [--families transformers,timm ...] [--names NAME,NAME] [--seconds 120] [--no-peer] [--results FILE] [--markdown FILE]

Each is built small with random weights (architecture_models.py), traced, compiled in fp16 by `plait compile`, and held against its model by `plait verify`;
coremltools converts the same trace in fp16 for iOS 18. Operations are counted without constants, times are CPU seconds of one run: plait's are those
of the whole command, coremltools' of the call alone. Every architecture has a process and --seconds of its own for each of the three.

Results are appended to the file, a line of JSON each, and what stands there is not run again; --markdown writes the table of docs/architectures.md from it.
The libraries may be in another environment than build/venv: any Python with PyTorch, coremltools and those of them that are wanted does.
"""

import argparse
import collections
import json
import math
import multiprocessing
import pathlib
import re
import resource
import signal
import subprocess
import sys
import tempfile
import warnings

import architecture_models
import measure

COUNTED_OUT = {"const"}


def timed(call, who):
    """The call's result, and its seconds of CPU in this process or in the children it waits for."""
    def seconds():
        usage = resource.getrusage(who)
        return usage.ru_utime + usage.ru_stime
    start = seconds()
    result = call()
    return result, seconds() - start


def last_line(text):
    lines = [line for line in text.strip().splitlines() if line.strip()]
    wanted = [line for line in lines if "error:" in line or "FAIL" in line or "wrong" in line or "rounded" in line]
    return (wanted or lines or [""])[0].strip()[:300]


def plait_on(model, declared, folder, seconds):
    """{operations, seconds, verdict, snr} or {refused} of a saved trace."""
    package = folder / "p.mlpackage"
    command = [measure.PLAIT, "compile", "-o", package, *declared, model]
    try:
        done, took = timed(lambda: subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False), resource.RUSAGE_CHILDREN)
        if done.returncode:
            return {"refused": last_line(done.stderr.replace(str(folder), "")), "seconds": took}
        report = json.loads(subprocess.run([measure.PLAIT, "inspect", package, "--json"], check=True, capture_output=True).stdout)
        operations = report["functions"][0]["operations"]
        row = {"operations": sum(count for kind, count in operations.items() if kind not in COUNTED_OUT), "seconds": took}
        done = subprocess.run([measure.PLAIT, "verify", package, "--against", model], capture_output=True, text=True, timeout=2 * seconds, check=False)
        snrs = [float(number) for number in re.findall(r"SNR (-?[\d.]+) dB", done.stdout)]
        row["verdict"] = "right" if done.returncode == 0 else last_line(done.stdout.replace("FAIL", "") + done.stderr)
        if snrs:
            row["snr"] = min(snrs)
        return row
    except subprocess.TimeoutExpired as expired:
        return {"refused": f"no end within {expired.timeout:.0f} s"}


def peer_on(module, inputs):
    import coremltools as ct
    import numpy as np

    types = [ct.TensorType(name=name, shape=tensor.shape, dtype=np.float16 if tensor.is_floating_point() else np.int32) for name, tensor in inputs.items()]
    model, took = timed(lambda: ct.convert(module, inputs=types, minimum_deployment_target=ct.target.iOS18, compute_precision=ct.precision.FLOAT16,
                                           skip_model_load=True), resource.RUSAGE_SELF)

    def count(block):
        return sum((op.type not in COUNTED_OUT) + sum(map(count, op.blocks)) for op in block.operations)

    functions = model.get_spec().mlProgram.functions.values()
    return {"operations": sum(count(block) for function in functions for block in function.block_specializations.values()), "seconds": took}


class OutOfTime(Exception):
    pass


def within(seconds, call):
    """The call's result, or OutOfTime."""
    def ring(signum, frame):
        raise OutOfTime(f"no end within {seconds} s")
    signal.signal(signal.SIGALRM, ring)
    signal.alarm(seconds)
    try:
        return call()
    finally:
        signal.alarm(0)


def one(build, options, results):
    """Puts what became of one architecture; runs in a process of its own."""
    import torch

    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    torch.manual_seed(1)
    torch.backends.mha.set_fastpath_enabled(False)
    with tempfile.TemporaryDirectory() as temporary, torch.no_grad():
        folder = pathlib.Path(temporary)
        try:
            def trace():
                model, tensors = build()
                model.eval()
                for parameter in model.parameters(): # routers of experts begin as zeros, and all experts would be alike
                    if parameter.dim() > 1 and not parameter.any():
                        parameter.normal_(0, 0.02)
                architecture_models.let_norms_see(model, tensors)
                model(*tensors)
                return model, tensors, torch.jit.trace(model, tuple(tensors), check_trace=False, strict=False)
            model, tensors, module = within(options.seconds, trace)
            others = [tensor.flip(-1) for tensor in tensors]
            for ours, theirs in zip(architecture_models.floats(module(*others)), architecture_models.floats(model(*others)), strict=True):
                if ours.shape != theirs.shape or (ours - theirs).abs().max() > 1e-2 * theirs.abs().max():
                    raise ValueError("the trace is right for its example alone")
            module.save(str(folder / "model.pt"))
        except Exception as error:
            results.put({"untraced": f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else ''}"[:300]})
            return
        inputs = {f"x{i}": tensor.to(torch.int32) if not tensor.is_floating_point() else tensor for i, tensor in enumerate(tensors)}
        declared = [part for name, tensor in inputs.items() for part in
                    ("--input", f"{name}={'fp16' if tensor.is_floating_point() else 'int32'}{list(tensor.shape)}")]
        row = {"parameters": sum(p.numel() for p in model.parameters()), "plait": plait_on(folder / "model.pt", declared, folder, options.seconds)}
        if not options.no_peer:
            try:
                row["peer"] = within(options.seconds, lambda: peer_on(module, inputs))
            except Exception as error:
                row["peer"] = {"refused": f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else ''}"[:200]}
        results.put(row)


def run(family, name, build, options):
    """The row of one architecture; what kills its process is a row too."""
    context = multiprocessing.get_context("fork")
    results = context.SimpleQueue()
    process = context.Process(target=quiet, args=(build, options, results))
    process.start()
    process.join(7 * options.seconds)
    if process.is_alive():
        process.kill()
        process.join()
    row = results.get() if not results.empty() else {"untraced": f"the process ended with {process.exitcode}"}
    return {"family": family, "name": name, **row}


def quiet(build, options, results):
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with open("/dev/null", "w") as nowhere:
        sys.stdout = sys.stderr = nowhere
        one(build, options, results)


def shown(row):
    if "untraced" in row:
        return f"{row['family']:12} {row['name']:32} not traced: {row['untraced']}"
    ours, peer = row["plait"], row.get("peer", {})
    what = f"{ours['operations']:5} {ours['seconds']:6.2f} s  {ours['verdict'][:120]}" if "operations" in ours else f"refused: {ours['refused']}"
    return f"{row['family']:12} {row['name']:32} {what}   | {peer.get('operations', '-'):>5} {peer.get('seconds', 0):6.2f} s"


def cell(row, key, form):
    return form.format(row[key]) if key in row else ""


def markdown(rows):
    rows = [row for row in rows if "plait" in row]
    right = [row for row in rows if row["plait"].get("verdict") == "right"]
    both = [row for row in rows if "operations" in row["plait"] and "operations" in row.get("peer", {})]
    ratios = [row["plait"]["operations"] / row["peer"]["operations"] for row in both if row["peer"]["operations"]]
    speeds = [row["peer"]["seconds"] / row["plait"]["seconds"] for row in both]
    mean = lambda values: math.exp(sum(map(math.log, values)) / len(values)) if values else math.nan
    lines = ["# Architectures", "",
             "`bench/architectures.py` builds architectures of public libraries small and with random weights, traces them, compiles them in fp16, and holds each",
             "package against its model with `plait verify`. coremltools converts the same traces (`refused`: an error, or no end within a minute). This page is made by it; times are CPU seconds of one run, plait's of the whole command and coremltools' of its call.",
             "Models that PyTorch does not trace with the inputs that the bench knows, or whose trace is right for its example alone, are left out. `rounded` says that fp16 is too narrow for",
             "these weights, and `wrong` that the outputs differ by more than rounding explains. Detection models of torchvision give as many boxes as they find, with random weights perhaps none: numbers differ where rounding finds another one.", "",
             f"{len(rows)} architectures: {len(right)} are right by plait, {sum('operations' in row.get('peer', {}) for row in rows)} are converted by coremltools. "
             f"Where both have a program, plait's has {mean(ratios):.2f} times the operations of coremltools' (geometric mean; more in {sum(ratio > 1 for ratio in ratios)} of {len(ratios)}), and is made "
             f"in {1 / mean(speeds):.3f} of the time.", ""]
    for family, group in grouped(rows):
        lines += [f"## {family}", "", "| architecture | parameters | operations | seconds | result | coremltools: operations | seconds |", "|---|---|---|---|---|---|---|"]
        for row in group:
            ours, peer = row["plait"], row.get("peer", {})
            verdict = ours.get("verdict") or f"refused: {ours['refused']}"
            if verdict == "right":
                verdict = f"right{cell(ours, 'snr', ', {:.0f} dB')}"
            lines.append(f"| {row['name']} | {row['parameters'] / 1e6:.2f} M | {cell(ours, 'operations', '{}')} | {cell(ours, 'seconds', '{:.2f}')} | {escaped(verdict)} | "
                         f"{cell(peer, 'operations', '{}') or 'refused'} | {cell(peer, 'seconds', '{:.1f}')} |")
        lines.append("")
    return "\n".join(lines)


def escaped(text):
    """A cell's text, without the places of this machine."""
    text = re.sub(r"plait: error: |main against \S+ |\S*/model\.pt: | at /.*", "", text)
    return re.sub(r"([|<>])", r"\\\1", text)[:160]


def grouped(rows):
    families = collections.defaultdict(list)
    for row in rows:
        families[row["family"]].append(row)
    return families.items()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--families", default=",".join(architecture_models.FAMILIES))
    parser.add_argument("--names", default="")
    parser.add_argument("--seconds", type=int, default=120)
    parser.add_argument("--no-peer", action="store_true")
    parser.add_argument("--results", type=pathlib.Path, default=measure.ROOT / "build" / "bench" / "architectures.jsonl")
    parser.add_argument("--markdown", type=pathlib.Path)
    options = parser.parse_args()
    options.results.parent.mkdir(parents=True, exist_ok=True)
    rows = [json.loads(line) for line in options.results.read_text().splitlines()] if options.results.exists() else []
    done, names = {(row["family"], row["name"]) for row in rows}, set(filter(None, options.names.split(",")))
    if not options.no_peer:
        import coremltools  # noqa: F401  once, and not in each process
    with options.results.open("a") as file:
        for family in options.families.split(","):
            for name, build in architecture_models.FAMILIES[family]():
                if (family, name) in done or (names and name not in names):
                    continue
                row = run(family, name, build, options)
                rows.append(row)
                file.write(json.dumps(row) + "\n")
                file.flush()
                print(shown(row), flush=True)
    if options.markdown:
        options.markdown.write_text(markdown(sorted(rows, key=lambda row: (list(architecture_models.FAMILIES).index(row["family"]), row["name"]))))


if __name__ == "__main__":
    main()
