"""Compresses the same weights with plait and with coremltools.optimize: squared error, time, memory, bytes.

    compression.py [--models 10] [--width 384] [--scheme S ...] [--folder build/bench/compression]
    compression.py --outputs [--models 10] [--width 96]
    compression.py --large [--layers 16] [--hidden 2048] [--adapters 4] [--scheme q4 ...]

The models are stacks of linear layers, a convolution and an embedding whose weights follow ten distributions: what
trained ones look like, and what is hard for k-means and for scales. Both compress one and the same package of
coremltools; coremltools' own operations decompress what either wrote. coremltools is timed without importing,
converting and saving, plait as a whole command: seconds of processor time, which a busy machine does not change, and of the
clock in the sums.

--outputs compresses a transformer that is trained for a minute, and then each of the models, by one scheme for all weights,
and with --size-budget to as many bytes: the SNR of the output by either, on inputs that nothing was chosen on. Weights of random
numbers matter alike, and what choosing gains there is what the schemes differ by.

--large makes a Llama-shaped model of 1.1 billion random numbers with adapters of rank 16, compiles it, and runs
`plait compress` on the package: once timed, once to see how much anonymous memory it holds at most.

Each of the three ends with the bars that it is held to, and its exit status is 1 where one is not reached: no error
above coremltools', a tenth of its time for every kind of scheme; 3 dB more at equal bytes for trained weights; two minutes for q4, and 1.2 times
the largest tensor in memory.
"""

import argparse
import logging
import os
import pathlib
import sys
import time
import warnings

warnings.filterwarnings("ignore")
os.environ["TQDM_DISABLE"] = "1"

import measure
import models
import numpy as np
import torch
from torch import nn

# {scheme: (what coremltools calls it, its options)}
SCHEMES = {
    "int8": ("linear", dict(dtype="int8", granularity="per_channel")),
    "int8[tensor]": ("linear", dict(dtype="int8", granularity="per_tensor")),
    "uint8": ("linear", dict(mode="linear", dtype="uint8", granularity="per_channel")),
    "int4[channel]": ("linear", dict(dtype="int4", granularity="per_channel")),
    "int4[block 32]": ("linear", dict(dtype="int4", granularity="per_block", block_size=32)),
    "uint4[block 32]": ("linear", dict(mode="linear", dtype="uint4", granularity="per_block", block_size=32)),
    **{f"palette{bits}": ("palette", dict(nbits=bits, granularity="per_tensor")) for bits in (1, 2, 3, 4, 6, 8)},
    "palette4[group 16]": ("palette", dict(nbits=4, granularity="per_grouped_channel", group_size=16)),
    "palette3[channel]": ("palette", dict(nbits=3, granularity="per_grouped_channel", group_size=1)),
    "palette6[vector 2]": ("palette", dict(nbits=6, granularity="per_tensor", cluster_dim=2)),
    "prune50%": ("prune", dict(target_sparsity=0.5)),
    "prune2:4": ("prune", dict(n_m_ratio=(2, 4))),
}


def distributions(seed):
    """{name: numbers of a shape}."""
    rng = np.random.default_rng(seed)
    normal = rng.standard_normal

    def outliers(shape):
        w = normal(shape) * 0.02
        w[rng.integers(0, shape[0], max(1, shape[0] // 50))] *= 12
        return w

    return {
        "normal": lambda shape: normal(shape) * 0.02,
        "uniform": lambda shape: rng.uniform(-0.05, 0.05, shape),
        "laplace": lambda shape: rng.laplace(0, 0.02, shape),
        "student": lambda shape: rng.standard_t(3, shape) * 0.02,
        "outlier channels": outliers,
        "two humps": lambda shape: np.where(rng.random(shape) < 0.5, -0.03, 0.03) + normal(shape) * 0.01,
        "skewed": lambda shape: rng.gamma(1.5, 0.02, shape),
        "scaled rows": lambda shape: normal(shape) * rng.lognormal(-4, 1, (shape[0],) + (1,) * (len(shape) - 1)),
        "bfloat16": lambda shape: torch.tensor(normal(shape) * 0.02).bfloat16().float().numpy(),
        "half zeros": lambda shape: normal(shape) * 0.02 * (rng.random(shape) < 0.5),
    }


class Stack(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.embed = nn.Embedding(2000, width)
        self.conv = nn.Conv1d(width, width // 2, 3, padding=1)
        self.up, self.down = nn.Linear(width // 2, 2 * width), nn.Linear(2 * width, width)

    def forward(self, ids):
        return self.down(torch.relu(self.up(self.conv(self.embed(ids).transpose(1, 2)).transpose(1, 2))))


def decompressed(package):
    """{name of the user: the weight}, by coremltools."""
    import coremltools as ct
    from coremltools.converters.mil.frontend.milproto import load
    model = ct.models.MLModel(str(package), skip_model_load=True)
    program = load.load(model.get_spec(), specification_version=model.get_spec().specificationVersion, file_weights_dir=model.weights_dir)
    found = {}
    for op in program.functions["main"].operations:
        parameter = {"linear": "weight", "conv": "weight", "gather": "x"}.get(op.op_type)
        if parameter:
            weight = op.inputs[parameter]
            found[op.op_type + str(weight.shape)] = weight.val if weight.op.op_type == "const" else weight.op.materialized_val_inference()
    return {name: array.astype(np.float64) for name, array in found.items()}


def judge(bars):
    """Prints (what, measured, text of the bar, whether it is reached) and gives the exit status."""
    print()
    for what, measured, bar, reached in bars:
        print(f"{'ok  ' if reached else 'MISS'} {what}: {measured} (bar: {bar})")
    return 0 if all(reached for *_, reached in bars) else 1


def by_peer(model, scheme):
    import coremltools.optimize.coreml as optimize
    kind, options = SCHEMES[scheme]
    config = {"linear": optimize.OpLinearQuantizerConfig, "palette": optimize.OpPalettizerConfig, "prune": optimize.OpMagnitudePrunerConfig}[kind]
    run = {"linear": optimize.linear_quantize_weights, "palette": optimize.palettize_weights, "prune": optimize.prune_weights}[kind]
    options = {"mode": "kmeans", **options} if kind == "palette" else options
    start = time.perf_counter(), time.process_time()
    made = run(model, optimize.OptimizationConfig(config(**options)))
    return made, np.array([time.perf_counter(), time.process_time()]) - start


def compare(arguments):
    import coremltools as ct
    logging.disable(logging.ERROR)
    folder = pathlib.Path(arguments.folder)
    folder.mkdir(parents=True, exist_ok=True)
    print(f"{'weights':<17} {'scheme':<19} {'error / peer':>12} {'seconds':>8} {'peer':>8} {'MB':>7} {'peer':>7}")
    worse, ours_total, peer_total = [], {}, {}
    for name, draw in list(distributions(0).items())[:arguments.models]:
        model = Stack(arguments.width).eval()
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.dim() > 1:
                    parameter.copy_(torch.tensor(draw(tuple(parameter.shape))))
        traced = torch.jit.trace(model, torch.zeros(1, 8).int())
        plain = ct.convert(traced, inputs=[ct.TensorType(name="ids", shape=(1, 8), dtype=np.int32)], minimum_deployment_target=ct.target.iOS18,
                           skip_model_load=True)
        plain.save(str(folder / "plain.mlpackage"))
        before = decompressed(folder / "plain.mlpackage")
        for scheme in arguments.scheme or SCHEMES:
            made, seconds = by_peer(plain, scheme)
            made.save(str(folder / "peer.mlpackage"))
            cost = measure.run([measure.PLAIT, "compress", folder / "plain.mlpackage", "-o", folder / "ours.mlpackage", "--compress", scheme])
            ours, theirs = decompressed(folder / "ours.mlpackage"), decompressed(folder / "peer.mlpackage")
            # What coremltools leaves as it is (it prunes no embedding) says nothing.
            errors = [(((ours[key] - before[key]) ** 2).sum(), ((theirs[key] - before[key]) ** 2).sum(), key) for key in before
                      if (theirs[key] != before[key]).any()]
            # Decompression multiplies in half, whatever the sizes: both errors are what a device would have.
            worse += [f"{name} {scheme} {key}: {a:.6g} above {b:.6g}" for a, b, key in errors if a > b * (1 + 1e-9)]
            a, b = sum(e[0] for e in errors), sum(e[1] for e in errors)
            kind = SCHEMES[scheme][0]
            ours_total[kind] = ours_total.get(kind, 0) + np.array([cost.wall, cost.cpu])
            peer_total[kind] = peer_total.get(kind, 0) + seconds
            print(f"{name:<17} {scheme:<19} {a / b if b else 1.0:>12.4f} {cost.cpu:>8.2f} {seconds[1]:>8.2f} "
                  f"{measure.size(folder / 'ours.mlpackage') / 1e6:>7.2f} {measure.size(folder / 'peer.mlpackage') / 1e6:>7.2f}", flush=True)
    print("".join(f"\n{line}" for line in worse))
    bars = [("weights with a larger error than coremltools'", len(worse), "none", not worse)]
    for kind, (wall, cpu) in ours_total.items():
        peer_wall, peer_cpu = peer_total[kind]
        bars.append((f"time of {kind}", f"{cpu / peer_cpu:.3f} of coremltools' processor time ({cpu:.1f} s of {peer_cpu:.1f} s), "
                     f"{wall / peer_wall:.3f} by the clock", "a tenth", cpu <= 0.1 * peer_cpu))
    return judge(bars)


class Reader(nn.Module):
    """Says which characters of a text were blotted out."""

    def __init__(self):
        super().__init__()
        self.body = models.Transformer(layers=4, width=128, heads=4, tokens=CHARACTERS, positions=LETTERS)
        self.head = nn.Linear(128, CHARACTERS, bias=False)

    def forward(self, ids):
        return self.head(self.body(ids))


CHARACTERS, LETTERS, STEPS = 128, 64, 400


def excerpts(rng, count, begin, end):
    """Of that part of the licence: [count, LETTERS]."""
    codes = np.frombuffer((measure.ROOT / "LICENSE").read_bytes(), np.uint8).astype(np.int32)
    starts = rng.integers(int(begin * len(codes)), int(end * len(codes)) - LETTERS, count)
    return np.stack([codes[at:at + LETTERS] for at in starts])


def blotted(rng, ids):
    return np.where(rng.random(ids.shape) < 0.15, 0, ids).astype(np.int32)


def trained():
    torch.manual_seed(0)
    rng, model = np.random.default_rng(0), Reader()
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=STEPS)
    for _ in range(STEPS):
        ids = excerpts(rng, 16, 0, 0.8)
        loss = nn.functional.cross_entropy(model(torch.tensor(blotted(rng, ids))).flatten(0, 1), torch.tensor(ids).long().flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return model.eval()


def random_stack(draw, width):
    model = Stack(width).eval()
    with torch.no_grad():
        for parameter in model.parameters():  # without biases, which would be most of the output
            parameter.copy_(torch.tensor(draw(tuple(parameter.shape))) if parameter.dim() > 1 else torch.zeros(1))
    return model


def outputs(arguments):
    folder = pathlib.Path(arguments.folder)
    plain, chosen, unseen = folder / "plain.mlpackage", folder / "chosen", folder / "unseen"

    def snr(*options):
        """Of the worst of the inputs that nothing was chosen on, and the bytes of the package."""
        measure.run([measure.PLAIT, "compress", plain, "-o", folder / "out.mlpackage", *options])
        found = []
        for inputs in sorted(unseen.iterdir()):
            np.save(folder / "ids.npy", np.load(inputs)["ids"])
            results = []
            for package in (plain, folder / "out.mlpackage"):
                measure.run([measure.PLAIT, "run", package, "--input", f"ids={folder}/ids.npy", "--output-dir", folder / "results"])
                results.append(np.load(folder / "results" / "y.npy").astype(np.float64))
            found.append(10 * np.log10((results[0] ** 2).sum() / ((results[0] - results[1]) ** 2).sum()))
        return min(found), measure.size(folder / "out.mlpackage")

    def rows(name, model, inputs):
        """What choosing adds, and choosing with --gptq: dB for each scheme."""
        rng = np.random.default_rng(1)
        for part in (chosen, unseen):
            part.mkdir(parents=True, exist_ok=True)
            for i in range(4):
                ids = inputs(rng, part)
                np.savez(part / f"{i}.npz", ids=ids)
        shape = ids.shape
        torch.jit.trace(model, torch.zeros(shape).int(), check_trace=False).save(str(folder / "model.pt"))
        measure.run([measure.PLAIT, "compile", "-o", plain, "--input", f"ids=int32{list(shape)}", "--output", "y", folder / "model.pt"])
        gains = []
        for scheme in arguments.scheme or ("palette4[group 16]", "palette6", "int4"):
            one, taken = snr("--compress", scheme)
            budget = ["--size-budget", str(taken), "--inputs", chosen]
            (by_size, bytes), (by_gptq, _) = snr(*budget), snr(*budget, "--gptq")
            gains.append((by_size - one, by_gptq - one))
            print(f"{name:<17} {scheme:<19} {taken / 1e6:>7.3f} {one:>7.2f} {bytes / 1e6:>7.3f} {by_size:>7.2f} {by_gptq:>7.2f}", flush=True)
        return np.array(gains)

    print(f"{'weights':<17} {'scheme':<19} {'MB':>7} {'SNR':>7} {'MB':>7} {'chosen':>7} {'+ gptq':>7}")
    bars = []
    gains = rows("trained", trained(), lambda rng, part: blotted(rng, excerpts(rng, 1, *((0, 0.8) if part == chosen else (0.8, 1)))))
    for what, column in (("by --size-budget", gains[:, 0]), ("with --gptq", gains[:, 1])):
        bars.append((f"SNR of outputs at equal bytes, trained weights, {what}", f"{column.mean():.1f} dB more, {column.min():.1f} at least",
                     "3 dB at least", column.min() >= 3))
    worst = []
    for name, draw in list(distributions(0).items())[:arguments.models]:
        gains = rows(name, random_stack(draw, arguments.width), lambda rng, part: rng.integers(0, 2000, (1, 512), dtype=np.int32))
        worst.append(gains.min())
    if worst:
        bars.append(("SNR of outputs at equal bytes, random weights", f"{min(worst):.2f} dB more at least", "not below one scheme, to 0.1 dB",
                     min(worst) >= -0.1))
    return judge(bars)


class LlamaBlock(nn.Module):
    def __init__(self, hidden):
        super().__init__()
        self.norm = nn.LayerNorm(hidden)
        self.q_proj, self.k_proj, self.v_proj, self.o_proj = (nn.Linear(hidden, hidden, bias=False) for _ in range(4))
        self.gate, self.up, self.down = (nn.Linear(hidden, 4 * hidden, bias=False), nn.Linear(hidden, 4 * hidden, bias=False),
                                         nn.Linear(4 * hidden, hidden, bias=False))

    def forward(self, x):
        h = self.norm(x)
        attended = nn.functional.scaled_dot_product_attention(self.q_proj(h), self.k_proj(h), self.v_proj(h))
        x = x + self.o_proj(attended)
        return x + self.down(nn.functional.silu(self.gate(x)) * self.up(x))


TOKENS = 32000


class Llama(nn.Module):
    def __init__(self, layers, hidden):
        super().__init__()
        self.embed = nn.Embedding(TOKENS, hidden)
        self.layers = nn.ModuleList(LlamaBlock(hidden) for _ in range(layers))

    def forward(self, ids):
        x = self.embed(ids)
        for layer in self.layers:
            x = layer(x)
        return x


def large(arguments):
    from peft import LoraConfig, get_peft_model
    folder = pathlib.Path(arguments.folder)
    folder.mkdir(parents=True, exist_ok=True)
    base, package = folder / "large.pt", folder / "large.mlpackage"
    if not package.exists():
        torch.manual_seed(0)
        torch.set_default_dtype(torch.float16)
        model = Llama(arguments.layers, arguments.hidden).eval()
        print(f"{sum(p.numel() for p in model.parameters()) / 1e9:.2f} billion numbers")
        ids = torch.zeros(1, 4).int()
        torch.jit.trace(model, ids, check_trace=False).save(str(base))
        options = []
        for k in range(arguments.adapters):
            adapted = get_peft_model(model, LoraConfig(r=16, target_modules=["q_proj", "v_proj"], init_lora_weights=False))
            adapted.save_pretrained(str(folder / f"adapter{k}"))
            model = adapted.unload()
            options += ["--adapter", f"adapter{k}={folder}/adapter{k}"]
        del model
        measure.run([measure.PLAIT, "compile", "-o", package, "--input", "ids=int32[1, 4]", "--output", "y", "--base", base, *options])
        base.unlink()
    out, largest = folder / "large_out.mlpackage", 2 * arguments.hidden * max(TOKENS, 4 * arguments.hidden)
    bars = []
    for scheme in arguments.scheme or ("q4",):
        command = [measure.PLAIT, "compress", package, "-o", out, "--compress", scheme]
        measure.warm(file for file in package.rglob("*") if file.is_file())
        cost, memory = measure.run(command), measure.run(command, sample=True).anonymous
        print(f"{scheme}: {cost.wall:.1f} s, {cost.cpu:.1f} s of processor time; "
              f"{measure.size(package) / 1e6:.0f} MB became {measure.size(out) / 1e6:.0f} MB")
        bars.append((f"time of {scheme}", f"{cost.wall:.1f} s", "120 s", cost.wall <= 120))
        bars.append((f"memory of {scheme}", f"{memory / 1e6:.0f} MB, {memory / largest:.2f} of the largest tensor", "1.2", memory <= 1.2 * largest))
    return judge(bars)


parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--models", type=int, default=10)
parser.add_argument("--width", type=int, default=384)
parser.add_argument("--scheme", action="append")
parser.add_argument("--outputs", action="store_true")
parser.add_argument("--large", action="store_true")
parser.add_argument("--layers", type=int, default=16)
parser.add_argument("--hidden", type=int, default=2048)
parser.add_argument("--adapters", type=int, default=4)
parser.add_argument("--folder", default=str(measure.ROOT / "build" / "bench" / "compression"))
arguments = parser.parse_args()
sys.exit(large(arguments) if arguments.large else outputs(arguments) if arguments.outputs else compare(arguments))
