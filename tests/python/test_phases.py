"""Several bases in one command: each adapter as prefill and decode, one set of weights, states that both functions have."""

import copy
import json

import numpy as np
import peft
import pytest
import torch
import transformers
from command import plait, succeed

LENGTH = 32
ROUNDING = 0.08  # how far logits in fp16 may be from those of PyTorch, in standard deviations of these; up to 0.04 was seen


class Step(torch.nn.Module):
    """Tokens and their position in; logits, the next token and its position out. Keys and values lie in buffers."""

    def __init__(self, model):
        super().__init__()
        # A window that slides through a cache of its own length is decided by numbers that a trace freezes: the cache of
        # all tokens does too, since the mask has the window.
        config = copy.deepcopy(model.config)
        config.sliding_window, config.layer_types = None, ["full_attention"] * config.num_hidden_layers
        self.model, self.cache = model, transformers.StaticCache(config=config, max_cache_len=LENGTH)
        self.cache.early_initialization(1, model.config.num_key_value_heads, model.config.head_dim, torch.float32, "cpu")
        for i, layer in enumerate(self.cache.layers):
            self.register_buffer(f"k_{i}", layer.keys)
            self.register_buffer(f"v_{i}", layer.values)

    def forward(self, tokens, position):
        for i, layer in enumerate(self.cache.layers):
            layer.keys, layer.values = getattr(self, f"k_{i}"), getattr(self, f"v_{i}")
            layer.cumulative_length = position[0].clone()
        at = (position + torch.arange(tokens.shape[1]))[None]
        logits = self.model(input_ids=tokens, position_ids=at, past_key_values=self.cache, use_cache=True).logits[:, -1]
        return logits, logits.argmax(-1, keepdim=True), position + tokens.shape[1]


COMMON = dict(hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, head_dim=32,
              vocab_size=64, max_position_embeddings=LENGTH)
CONFIGS = {
    "llama": transformers.LlamaConfig(**COMMON),
    "qwen3": transformers.Qwen3Config(**COMMON),
    # One layer looks at everything, one at the last eight tokens.
    "gemma3": transformers.Gemma3TextConfig(**COMMON, sliding_window=8, layer_types=["sliding_attention", "full_attention"]),
}


def make(name):
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(CONFIGS[name]).eval()
    for parameter in model.parameters():
        if parameter.dim() == 2:
            torch.nn.init.normal_(parameter, std=0.3)
    return model


def trace(model, tokens, path):
    with torch.no_grad():
        traced = torch.jit.trace(Step(model).eval(), (torch.zeros(1, tokens, dtype=torch.long), torch.tensor([0])), check_trace=False)
        for name, buffer in traced.named_buffers():
            if name[:2] in ("k_", "v_"):
                buffer.zero_()
    traced.save(str(path))


PHASES = ["--base", "prefill=prefill.pt", "--input", "tokens=int32[1, 6]", "--input", "position=int32[1]",
          "--base", "decode=decode.pt", "--input", "tokens=int32[1, 1]", "--input", "position=int32[1]"]
OUTPUTS = ["--output", "logits", "--output", "next", "--output", "next_position"]


@pytest.fixture(scope="module")
def phases(tmp_path_factory):
    folder = tmp_path_factory.mktemp("phases")
    model = make("llama")
    trace(model, 6, folder / "prefill.pt")
    trace(model, 1, folder / "decode.pt")
    for name, rank in (("chat", 4), ("code", 8)):
        adapted = peft.get_peft_model(make("llama"), peft.LoraConfig(r=rank, target_modules="all-linear"))
        for key, parameter in adapted.named_parameters():
            if "lora_B" in key:
                torch.nn.init.normal_(parameter, std=0.1)
        adapted.save_pretrained(folder / name)
    succeed("compile", "-o", "p.mlpackage", "--states", "auto", *OUTPUTS, *PHASES, "--base-function", "plain",
            "--adapter", "chat=chat", "--adapter", "code=code", "--expect-shared", "99%", cwd=folder)
    return folder


PROMPT = np.arange(6, dtype=np.int32)[None] * 7


def generate(folder, package, name, count):
    """The tokens that `plait run` gives behind the prompt, and the logits that it took each from: [count], [count, vocabulary]."""
    np.save(folder / "prompt.npy", PROMPT)
    np.save(folder / "zero.npy", np.zeros(1, np.int32))
    steps = [{"function": f"{name}prefill", "inputs": {"tokens": "prompt.npy", "position": "zero.npy"}},
             {"function": f"{name}decode", "inputs": {"tokens": {"output": "next"}, "position": {"output": "next_position"}},
              "repeat": count - 1}]
    (folder / "plan.json").write_text(json.dumps({"steps": steps}))
    succeed("run", package, "--function", f"{name}prefill", "--steps", folder / "plan.json", "--output-dir", folder / "out")
    def of(output):
        return np.concatenate([np.load(folder / "out" / str(step) / f"{output}.npy") for step in range(1, count + 1)]).astype(np.float32)
    return of("next").astype(np.int64)[:, 0], of("logits")


def check_generation(model, tokens, logits):
    """Each token is the likeliest by logits that are PyTorch's for the same text, up to what fp16 rounds.

    Two tokens may be as likely as one another within that, and then it is rounding, which no two CPUs have alike, that chooses.
    So PyTorch reads the text that was generated, in one call and without a cache, and where its own choice is clear it is the
    same.
    """
    text = torch.from_numpy(np.concatenate([PROMPT[0], tokens[:-1]]))[None].long()
    with torch.no_grad():
        expected = model(input_ids=text).logits[0, PROMPT.shape[1] - 1:].numpy()
    bound = ROUNDING * expected.std()
    assert np.abs(logits - expected).max() < bound
    assert (logits[np.arange(len(tokens)), tokens] == logits.max(axis=1)).all()
    best = np.sort(expected, axis=1)
    is_clear = best[:, -1] - best[:, -2] > 2 * bound
    assert (tokens == expected.argmax(axis=1))[is_clear].all()
    assert is_clear.mean() > 0.4, f"only {is_clear.sum()} of {len(tokens)} choices are clear: the model shows nothing"


def test_functions_and_sharing(phases):
    summary = json.loads(succeed("inspect", phases / "p.mlpackage", "--json").stdout)
    assert [function["name"] for function in summary["functions"]] == [
        f"{name}_{phase}" for name in ("plain", "chat", "code") for phase in ("prefill", "decode")]
    states = [function["states"] for function in summary["functions"]]
    assert all(sorted(s["name"] for s in one) == ["k_0", "k_1", "v_0", "v_1"] for one in states)
    out = succeed("inspect", phases / "p.mlpackage").stdout
    assert "one MLState serves all of them" in out and "not alike" not in out


@pytest.mark.parametrize("name", ["plain", "chat", "code"])
def test_generates_what_pytorch_does(phases, tmp_path, name):
    model = make("llama") if name == "plain" else peft.PeftModel.from_pretrained(make("llama"), phases / name).eval()
    check_generation(model, *generate(tmp_path, phases / "p.mlpackage", name + "_", 12))


@pytest.mark.parametrize("name", ["qwen3", "gemma3"])
def test_other_architectures(tmp_path, name):
    model = make(name)
    trace(model, 6, tmp_path / "prefill.pt")
    trace(model, 1, tmp_path / "decode.pt")
    functions = [text for phase, count in (("prefill", 6), ("decode", 1))
                 for text in ("--function", f"{phase}={tmp_path}/{phase}.pt", "--input", f"tokens=int32[1, {count}]", "--input", "position=int32[1]")]
    succeed("compile", "-o", tmp_path / "p.mlpackage", "--states", "auto", *OUTPUTS, *functions, "--precision", "fp16")
    check_generation(model, *generate(tmp_path, tmp_path / "p.mlpackage", "", 20))


class Listener(torch.nn.Module):
    """Whisper's decoder: what it said lies in the cache, what it hears comes with each call."""

    def __init__(self, model, config):
        super().__init__()
        self.decoder, self.head, self.config = model.model.decoder, model.proj_out, config
        self.cache = transformers.StaticCache(config=config, max_cache_len=LENGTH)
        self.cache.early_initialization(1, config.decoder_attention_heads, 32, torch.float32, "cpu")
        for i, layer in enumerate(self.cache.layers):
            self.register_buffer(f"k_{i}", layer.keys)
            self.register_buffer(f"v_{i}", layer.values)

    def forward(self, tokens, position, audio):
        for i, layer in enumerate(self.cache.layers):
            layer.keys, layer.values = getattr(self, f"k_{i}"), getattr(self, f"v_{i}")
            layer.cumulative_length = position[0].clone()
        both = transformers.EncoderDecoderCache(self.cache, transformers.DynamicCache(config=self.config))
        at = (position + torch.arange(tokens.shape[1]))[None]
        hidden = self.decoder(input_ids=tokens, encoder_hidden_states=audio, past_key_values=both, use_cache=True, position_ids=at)[0]
        return self.head(hidden)


def test_cross_attention(tmp_path):
    torch.manual_seed(0)
    config = transformers.WhisperConfig(vocab_size=64, d_model=64, encoder_layers=1, decoder_layers=2, encoder_attention_heads=2,
                                        decoder_attention_heads=2, encoder_ffn_dim=96, decoder_ffn_dim=96, num_mel_bins=8,
                                        max_source_positions=16, max_target_positions=LENGTH, pad_token_id=0, bos_token_id=1,
                                        eos_token_id=2, decoder_start_token_id=1)
    model = transformers.WhisperForConditionalGeneration(config).eval()
    with torch.no_grad():
        traced = torch.jit.trace(Listener(model, config).eval(), (torch.zeros(1, 3, dtype=torch.long), torch.tensor([0]), torch.rand(1, 16, 64)),
                                 check_trace=False)
        for name, buffer in traced.named_buffers():
            if name[:2] in ("k_", "v_"):
                buffer.zero_()
    traced.save(str(tmp_path / "model.pt"))
    succeed("compile", "-o", tmp_path / "p.mlpackage", "--states", "auto", "--input", "tokens=int32[1, 3]", "--input", "position=int32[1]",
            "--input", "audio=[1, 16, 64]", tmp_path / "model.pt")
    out = succeed("verify", tmp_path / "p.mlpackage", "--against", tmp_path / "model.pt", "--steps", "4", "--range", "position=0..28").stdout
    assert out.count("ok    state") == 4


def test_recipe_is_the_same(phases, tmp_path):
    (phases / "recipe.yaml").write_text("""
output: recipe.mlpackage
states: auto
outputs: [logits, next, next_position]
base:
  prefill: {model: prefill.pt, inputs: ['tokens=int32[1, 6]', 'position=int32[1]']}
  decode: {model: decode.pt, inputs: ['tokens=int32[1, 1]', 'position=int32[1]']}
functions:
  plain: {bare_base: on}
  chat: {adapter: chat}
  code: {adapter: code}
""")
    succeed("compile", phases / "recipe.yaml")
    for file in ("model.mlmodel", "weights/weight.bin"):
        parts = [(phases / package / "Data" / "com.apple.CoreML" / file).read_bytes() for package in ("p.mlpackage", "recipe.mlpackage")]
        assert parts[0] == parts[1]


@pytest.mark.parametrize("options, message", [
    (["--base", "a.pt", "--base", "b=b.pt", "--base-function", "x"], "of several bases each needs a name"),
    (["--base", "a=a.pt", "--base", "a=b.pt", "--base-function", "x"], "'a' is given twice"),
    (["--base", "a=a.pt"], "--base alone makes nothing"),
    (["--base-function", "x"], "needs the model that it is applied to"),
])
def test_refused(tmp_path, options, message):
    refused = plait("compile", "-o", tmp_path / "p.mlpackage", *options)
    assert refused.returncode == 2 and message in refused.stderr, refused.stderr


def test_plans_name_functions(phases, tmp_path):
    (tmp_path / "plan.json").write_text(json.dumps({"steps": [{"function": "nobody"}]}))
    refused = plait("run", phases / "p.mlpackage", "--steps", tmp_path / "plan.json", "--output-dir", tmp_path)
    assert refused.returncode == 1 and "no function 'nobody'" in refused.stderr
    (tmp_path / "plan.json").write_text(json.dumps({"steps": [{"function": 1}]}))
    refused = plait("run", phases / "p.mlpackage", "--steps", tmp_path / "plan.json", "--output-dir", tmp_path)
    assert refused.returncode == 1 and "function is the name of one" in refused.stderr
