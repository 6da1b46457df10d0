"""States through the command: declared, refused, run and verified over several steps, and beside coremltools' own packages."""

import json

import coremltools as ct
import numpy as np
import peer
import pytest
import torch
from command import plait, succeed
from torch import nn


class Cache(nn.Module):
    """One step of attention with its keys and values kept; written at a position, or at a fixed place."""

    def __init__(self, where):
        super().__init__()
        torch.manual_seed(0)
        self.where = where
        self.query, self.key, self.value = (nn.Linear(64, 64) for _ in range(3))
        self.register_buffer("k_cache", torch.zeros(1, 2, 32, 32))
        self.register_buffer("v_cache", torch.zeros(1, 2, 32, 32))

    def heads(self, x):
        return x.view(1, x.shape[1], 2, 32).transpose(1, 2)

    def write(self, cache, new, at):
        if self.where == "slice":
            cache[:, :, 3:3 + new.shape[2]] = new
        else:
            cache.index_copy_(2, at, new)

    def forward(self, x, at):
        self.write(self.k_cache, self.heads(self.key(x)), at)
        self.write(self.v_cache, self.heads(self.value(x)), at)
        scores = torch.softmax(self.heads(self.query(x)) @ self.k_cache.transpose(2, 3) / 8, -1)
        return (scores @ self.v_cache).transpose(1, 2).reshape(1, x.shape[1], 64) + at.float().sum() * 0


class Counter(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("count", torch.zeros(1))

    def forward(self, x):
        self.count.add_(1)
        return x * self.count


class Position(nn.Module):
    """A counter of integers, and a buffer that begins with ones."""

    def __init__(self):
        super().__init__()
        self.register_buffer("position", torch.zeros(1, dtype=torch.int64))
        self.register_buffer("scale", torch.ones(2, 32))

    def forward(self, x):
        self.position += 1
        self.scale.mul_(0.5)
        return x * self.scale + self.position


class Replaced(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("window", torch.zeros(4, 32))

    def forward(self, x):
        self.window = torch.cat([self.window[1:], x], 0)
        if bool(x.sum() > 0):
            self.window[0] = 1
        return self.window.sum(0)


def traced(folder, model, *example):
    """Saved with zeros in its buffers: a trace runs the model."""
    module = torch.jit.trace(model.eval(), example, check_trace=False)
    for buffer in module.buffers():
        buffer.zero_()
    module.save(str(folder / "model.pt"))
    return folder / "model.pt"


def scripted(folder, model, name="model.pt"):
    torch.jit.script(model.eval()).save(str(folder / name))
    return folder / name


CACHE_INPUTS = ["--input", "x=[1, 2, 64]", "--input", "at=int32[2]"]


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cache")
    model = traced(folder, Cache("index"), torch.rand(1, 2, 64), torch.tensor([0, 1]))
    out = succeed("compile", "-o", folder / "p.mlpackage", "--states", "auto", *CACHE_INPUTS, model).stdout
    assert "states of main: k_cache [1, 2, 32, 32], v_cache [1, 2, 32, 32]" in out
    return folder


def test_verify_steps(cache):
    result = succeed("verify", cache / "p.mlpackage", "--against", cache / "model.pt", "--steps", "5", "--draws", "2", "--range", "at=0..31")
    assert "ok    state k_cache" in result.stdout and "ok    state v_cache" in result.stdout


def test_verify_finds_a_state_that_differs(cache, tmp_path):
    """The model beside it writes something else, which only the second step would show in the output."""
    other = Cache("index")
    with torch.no_grad():
        other.value.weight += 0.5
    model = traced(tmp_path, other, torch.rand(1, 2, 64), torch.tensor([0, 1]))
    result = plait("verify", cache / "p.mlpackage", "--against", model, "--steps", "2", "--range", "at=0..31")
    assert result.returncode == 1 and "wrong state v_cache" in result.stdout and "ok    state k_cache" in result.stdout


def test_run_steps_and_states(cache, tmp_path):
    model = torch.jit.load(str(cache / "model.pt"))
    steps = []
    for step in range(3):
        (tmp_path / f"in{step}").mkdir()
        np.save(tmp_path / f"in{step}" / "x.npy", np.random.default_rng(step).normal(size=(1, 2, 64)).astype(np.float32))
        np.save(tmp_path / f"in{step}" / "at.npy", np.array([2 * step, 2 * step + 1], np.int32))
        steps += ["--steps", tmp_path / f"in{step}"]
    succeed("run", cache / "p.mlpackage", *steps, "--states", "--output-dir", tmp_path / "out")
    for step in range(3):
        with torch.no_grad():
            expected = model(torch.tensor(np.load(tmp_path / f"in{step}" / "x.npy")), torch.tensor([2 * step, 2 * step + 1]))
        assert np.allclose(np.load(tmp_path / "out" / str(step + 1) / "output.npy"), expected.numpy(), atol=2e-3)
        for name in ("k_cache", "v_cache"):
            assert np.allclose(np.load(tmp_path / "out" / str(step + 1) / f"{name}.npy"), getattr(model, name).detach().numpy(), atol=4e-3)
    repeated = ["--input", f"x={tmp_path}/in0/x.npy", "--input", f"at={tmp_path}/in0/at.npy"]
    succeed("run", cache / "p.mlpackage", *repeated, "--steps", "2", "--output-dir", tmp_path / "twice")
    assert sorted(folder.name for folder in (tmp_path / "twice").iterdir()) == ["1", "2"]


def test_whole_replacement_in_a_script(tmp_path):
    model = scripted(tmp_path, Replaced())
    succeed("compile", "-o", tmp_path / "p.mlpackage", "--states", "auto", "--input", "x=[1, 32]", model)
    succeed("verify", tmp_path / "p.mlpackage", "--against", model, "--steps", "6")


def test_refused_without_a_word(tmp_path):
    model = traced(tmp_path, Cache("index"), torch.rand(1, 2, 64), torch.tensor([0, 1]))
    refused = plait("compile", "-o", tmp_path / "p.mlpackage", *CACHE_INPUTS, model)
    assert refused.returncode == 1 and not (tmp_path / "p.mlpackage").exists()
    wanted = "--states 'k_cache=fp16[1, 2, 32, 32]' --states 'v_cache=fp16[1, 2, 32, 32]'"
    assert wanted in refused.stderr and "--states auto" in refused.stderr and "--states none" in refused.stderr
    named = ["--states", "k_cache=fp16[1, 2, 32, 32]", "--states", "v_cache=fp16[1, 2, 32, 32]"]
    succeed("compile", "-o", tmp_path / "p.mlpackage", *CACHE_INPUTS, *named, model)


def test_inputs_that_the_app_hands_on(tmp_path):
    model = scripted(tmp_path, Position())
    refused = plait("compile", "-o", tmp_path / "p.mlpackage", "--states", "auto", "--input", "x=[2, 32]", model)
    assert refused.returncode == 1
    assert "--states 'position=input' --states 'scale=input'" in refused.stderr, refused.stderr
    for how in (["--states", "auto", "--state-init", "input"], ["--states", "position=input", "--states", "scale=input"]):
        succeed("compile", "-o", tmp_path / "p.mlpackage", *how, "--input", "x=[2, 32]", model)
        summary = json.loads(succeed("inspect", tmp_path / "p.mlpackage", "--json").stdout)
        main = summary["functions"][0]
        assert [value["name"] for value in main["inputs"]] == ["x", "position", "scale"]
        assert [value["name"] for value in main["outputs"]] == ["output", "position_out", "scale_out"]
        out = succeed("verify", tmp_path / "p.mlpackage", "--against", model, "--steps", "4").stdout
        assert "ok    position_out" in out and "ok    scale_out" in out
        said = "the app hands on to main: position_out as the next position"
        again = succeed("compile", "-o", tmp_path / "p.mlpackage", *how, "--input", "x=[2, 32]", model).stdout
        assert said in again and "scale_out as the next scale" in again, again
        assert main["handed_on"] == {"position": "position_out", "scale": "scale_out"}
        assert "handed on   position: position_out of the call before" in succeed("inspect", tmp_path / "p.mlpackage").stdout


def test_none_forgets(tmp_path):
    model = scripted(tmp_path, Position())
    succeed("compile", "-o", tmp_path / "p.mlpackage", "--states", "none", "--input", "x=[2, 32]", model)
    np.save(tmp_path / "x.npy", np.ones((2, 32), np.float32))
    succeed("run", tmp_path / "p.mlpackage", "--input", f"x={tmp_path}/x.npy", "--steps", "3", "--output-dir", tmp_path / "out")
    for step in "123":
        assert (np.load(tmp_path / "out" / step / "output.npy") == 1.5).all()


class Two(nn.Module):
    """A state, and a tensor that is to be forgotten; another name for a part of each."""

    def __init__(self):
        super().__init__()
        self.register_buffer("kept", torch.zeros(2, 32))
        self.register_buffer("scratch", torch.zeros(2, 32))

    def forward(self, x):
        self.scratch.add_(1)
        self.kept.add_(x * self.scratch)
        return self.kept + self.scratch


def exported(tmp_path, model, *example):
    torch.export.save(torch.export.export(model.eval(), example), tmp_path / "model.pt2")
    return tmp_path / "model.pt2"


@pytest.mark.parametrize("form", ["pt", "pt2"])
def test_what_is_forgotten_is_forgotten_by_the_model_that_verifies(tmp_path, form):
    model = scripted(tmp_path, Two()) if form == "pt" else exported(tmp_path, Two(), torch.ones(2, 32))
    package = tmp_path / "p.mlpackage"
    for options, forgotten in ((["none"], ["kept", "scratch"]), (["auto", "scratch=none"], ["scratch"]), (["auto"], [])):
        succeed("compile", "-o", package, *(part for one in options for part in ("--states", one)), "--input", "x=[2, 32]", model)
        result = plait("verify", package, "--against", model, "--steps", "3", "--json")
        function, = json.loads(result.stdout)["functions"]
        assert result.returncode == 0 and sorted(function["forgotten"]) == forgotten, result.stdout
    succeed("compile", "-o", package, "--states", "none", "--input", "x=[2, 32]", model)
    said = succeed("verify", package, "--against", model, "--steps", "3").stdout
    assert "each call began with what the model's file holds of" in said and "(--states)" in said


class Narrow(nn.Module):
    """Keeps bfloat16, which rounds by itself further than a state in fp16 does."""

    def __init__(self):
        super().__init__()
        self.register_buffer("k", torch.zeros(4, 32, dtype=torch.bfloat16))

    def forward(self, x):
        self.k.copy_(self.k * 0.9 + x.to(torch.bfloat16))
        return self.k.float() * 2


@pytest.mark.parametrize("form", ["pt", "pt2"])
def test_a_bfloat16_buffer_is_compared_by_what_bfloat16_rounds(tmp_path, form):
    model = scripted(tmp_path, Narrow()) if form == "pt" else exported(tmp_path, Narrow(), torch.ones(4, 32))
    succeed("compile", "-o", tmp_path / "p.mlpackage", "--states", "auto", "--input", "x=[4, 32]", model)
    out = succeed("verify", tmp_path / "p.mlpackage", "--against", model, "--steps", "3").stdout
    assert "ok    state k" in out


@pytest.mark.parametrize("options, message", [
    (["--states", "auto", "--states", "none"], "beside another auto or none"),
    (["--states", "k"], "auto, none, NAME=fp16[SHAPE], NAME=input or NAME=none is wanted"),
    (["--states", "k=fp32[1]"], "a state of Core ML holds fp16"),
    (["--states", "k=fp16[1..2]"], "one fixed shape"),
    (["--states", "k=fp16[1]", "--states", "k=input"], "'k' is named twice"),
    (["--state-init", "ones"], "the choices are zeros, input"),
    (["--states", "counter=fp16[1]"], "the model has no tensor of that name (did you mean 'count'?); it has count"),
    (["--states", "count=fp16[2]"], "in the model it is [1]"),
])
def test_options_refused(tmp_path, options, message):
    refused = plait("compile", "-o", tmp_path / "p.mlpackage", *options, "--input", "x=[4]", scripted(tmp_path, Counter()))
    assert refused.returncode in (1, 2) and message in refused.stderr, refused.stderr


def test_counter_warns_of_its_width(tmp_path):
    result = succeed("compile", "-o", tmp_path / "p.mlpackage", "--states", "auto", "--input", "x=[4]", scripted(tmp_path, Counter()))
    assert "the last dimension of state 'count' is 1" in result.stderr


class Clears(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("seen", torch.zeros(32))

    def forward(self, x):
        y = self.seen + x
        self.seen.fill_(2)
        return y


def test_constants_are_no_constants_when_written(tmp_path):
    """Core ML crashes where it loads a function that writes a constant into a state."""
    model = scripted(tmp_path, Clears())
    result = succeed("compile", "-o", tmp_path / "p.mlpackage", "--states", "auto", "--input", "x=[32]", model)
    assert "state-write" not in result.stderr
    succeed("verify", tmp_path / "p.mlpackage", "--against", model, "--steps", "3")


def test_recipe(tmp_path):
    scripted(tmp_path, Counter())
    scripted(tmp_path, Position(), "position.pt")
    (tmp_path / "recipe.yaml").write_text("""
output: p.mlpackage
states: auto
functions:
  count: {model: model.pt, inputs: 'x=[4]'}
  place: {model: position.pt, inputs: 'x=[2, 32]', states: ['scale=input'], state_init: input}
""")
    refused = plait("compile", tmp_path / "recipe.yaml")
    assert refused.returncode == 1 and "'position'" in refused.stderr
    text = (tmp_path / "recipe.yaml").read_text().replace("['scale=input']", "['position=input', 'scale=fp16']")
    (tmp_path / "recipe.yaml").write_text(text)
    out = succeed("compile", tmp_path / "recipe.yaml").stdout
    assert "states of count: count [1]" in out and "states of place" not in out
    (tmp_path / "recipe.yaml").write_text(text.replace("states: auto", "states: car"))
    refused = plait("compile", tmp_path / "recipe.yaml")
    assert refused.returncode == 1 and "recipe.yaml:3:" in refused.stderr


def test_inspect_says_which_functions_share_states(tmp_path):
    for name, size in (("one", 32), ("two", 32), ("three", 64)):
        model = Counter()
        model.count = torch.zeros(size)
        scripted(tmp_path, model, f"{name}.pt")
    functions = [text for name, size in (("one", 32), ("two", 32), ("three", 64))
                 for text in ("--function", f"{name}={tmp_path}/{name}.pt", "--input", f"x=[{size}]")]
    result = succeed("compile", "-o", tmp_path / "p.mlpackage", "--states", "auto", *functions)
    assert "state 'count' is tensor<fp16, [64]>, and in function 'one' it is tensor<fp16, [32]>" in result.stderr
    out = succeed("inspect", tmp_path / "p.mlpackage").stdout
    assert "count [32]: one, two; one MLState serves all of them" in out
    assert "not alike: count is tensor<fp16, [32]> in one, tensor<fp16, [64]> in three" in out


class Normed(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(32)
        self.register_buffer("sum", torch.zeros(4, 32))

    def forward(self, x):
        self.sum.add_(x)
        return self.norm(x) + self.sum


def test_counters_of_batch_norms_are_left_alone(tmp_path):
    model = scripted(tmp_path, Normed())
    succeed("compile", "-o", tmp_path / "p.mlpackage", "--states", "auto", "--input", "x=[4, 32]", model)
    succeed("verify", tmp_path / "p.mlpackage", "--against", model, "--steps", "3")
    torch.jit.script(Normed().train()).save(str(tmp_path / "training.pt"))
    given = ["-o", tmp_path / "p.mlpackage", "--states", "auto", "--input", "x=[4, 32]", tmp_path / "training.pt"]
    refused = plait("compile", *given)
    assert refused.returncode == 1 and "'norm.num_batches_tracked' can be no state" in refused.stderr
    result = succeed("compile", *given, "--states", "norm.num_batches_tracked=none")
    assert "states of main: sum [4, 32]\n" in result.stdout and "call model.eval()" in result.stderr


class Reads(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("count", torch.zeros(1))

    def forward(self, x):
        return x * (self.count + x)


def test_a_function_that_only_reads_has_the_state_if_it_is_named(tmp_path):
    scripted(tmp_path, Counter(), "writes.pt")
    scripted(tmp_path, Reads(), "reads.pt")
    given = ["-o", tmp_path / "p.mlpackage", "--input", "x=[1]", "--function", f"writes={tmp_path}/writes.pt", "--states", "auto",
             "--function", f"reads={tmp_path}/reads.pt"]
    said = succeed("compile", *given).stderr
    assert "function reads reads 'count' as the model holds it, and function writes keeps it as a state" in said
    assert "as the model holds it" not in succeed("compile", *given, "--states", "none").stderr
    result = succeed("compile", *given, "--states", "count=fp16")
    assert "as the model holds it" not in result.stderr and "states of reads: count [1]" in result.stdout
    (tmp_path / "plan.json").write_text(json.dumps({"steps": [{"repeat": 3}, {"function": "reads"}]}))
    np.save(tmp_path / "x.npy", np.full(1, 2, np.float32))
    succeed("run", tmp_path / "p.mlpackage", "--input", f"x={tmp_path}/x.npy", "--steps", tmp_path / "plan.json",
            "--output-dir", tmp_path / "out")
    assert np.load(tmp_path / "out" / "4" / "output.npy") == 2 * (3 + 2)


# ---- beside coremltools ------------------------------------------------------------------------


def convert(model, *inputs):
    module = torch.jit.load(str(model))
    states = [ct.StateType(wrapped_type=ct.TensorType(shape=buffer.shape, dtype=np.float16), name=name)
              for name, buffer in module.named_buffers()]
    return ct.convert(module, inputs=list(inputs), outputs=[ct.TensorType(name="output", dtype=np.float16)], states=states,
                      minimum_deployment_target=ct.target.iOS18, skip_model_load=True)


def state_operations(spec):
    counts = {"read_state": 0, "write_state": 0, "slice_update": 0, "scatter": 0}
    for block in peer.blocks(spec).values():
        for operation in peer.all_operations(block):
            for kind in counts:
                counts[kind] += operation.type.startswith(kind)
    return counts


@pytest.mark.parametrize("name", ["slice", "counter"])
def test_says_what_the_peer_says(tmp_path, name):
    if name == "slice":
        model = traced(tmp_path, Cache("slice"), torch.rand(1, 2, 64), torch.tensor([0, 1]))
        declared = CACHE_INPUTS
        inputs = [ct.TensorType(name="x", shape=(1, 2, 64), dtype=np.float16), ct.TensorType(name="at", shape=(2,), dtype=np.int32)]
    else:
        model, declared = traced(tmp_path, Counter(), torch.rand(4)), ["--input", "x=[4]"]
        inputs = [ct.TensorType(name="x", shape=(4,), dtype=np.float16)]
    succeed("compile", "-o", tmp_path / "p.mlpackage", "--states", "auto", "--output", "output", *declared, model)
    mine, theirs = peer.check_package(tmp_path / "p.mlpackage"), convert(model, *inputs).get_spec()
    assert mine.specificationVersion == theirs.specificationVersion
    for kind in ("input", "output", "state"):
        features = [{feature.name: feature for feature in getattr(spec.description, kind)} for spec in (mine, theirs)]
        assert features[0] == features[1], kind
    assert {i.name: i for i in mine.mlProgram.functions["main"].inputs} == {i.name: i for i in theirs.mlProgram.functions["main"].inputs}
    # A cache is moved no more often.
    counts, others = state_operations(mine), state_operations(theirs)
    assert all(counts[kind] <= others[kind] for kind in counts), (counts, others)
    loaded = peer.load_program(tmp_path / "p.mlpackage", mine)
    assert {op.op_type for op in loaded.functions["main"].operations} >= {"read_state", "coreml_update_state"}


def test_runs_the_peers_package_over_steps(tmp_path):
    model = traced(tmp_path, Cache("slice"), torch.rand(1, 2, 64), torch.tensor([0, 1]))
    convert(model, ct.TensorType(name="x", shape=(1, 2, 64), dtype=np.float16),
            ct.TensorType(name="at", shape=(2,), dtype=np.int32)).save(str(tmp_path / "peer.mlpackage"))
    out = succeed("verify", tmp_path / "peer.mlpackage", "--against", model, "--steps", "4").stdout
    assert "ok    state k_cache" in out and "ok    state v_cache" in out
