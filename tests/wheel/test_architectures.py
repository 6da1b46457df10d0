"""Networks of many kinds: compiled from the live module, predicted, and compared with PyTorch."""

import models
import numpy as np
import plait
import pytest
import torch
from torch import nn

# A trace cannot hold what these do; as ScriptModules they are compiled below.
NAMES = sorted(models.MODELS)


def flat(value):
    if isinstance(value, torch.Tensor):
        return [value]
    values = value.values() if isinstance(value, dict) else value
    return [tensor for one in values for tensor in flat(one)]


def compare(package, inputs, expected, tolerance=2e-3):
    out = package.default(*inputs)
    expected = flat(expected)
    assert len(out) == len(expected)
    for ours, theirs in zip(out.values(), expected):
        theirs = theirs.detach().double().numpy()
        assert list(ours.shape) == (list(theirs.shape) or [1]) or ours.size == theirs.size
        assert np.abs(ours.astype(np.float64).reshape(theirs.shape) - theirs).max(initial=0) <= tolerance * max(1, np.abs(theirs).max(initial=0))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.filterwarnings("ignore")
def test_small_networks(name):
    make, inputs, script = models.MODELS[name]
    torch.manual_seed(1)
    module = make().eval()
    expected = module(*[value.clone() for value in inputs])
    model = torch.jit.script(module) if script else module
    names = [plait.Tensor(tuple(value.shape), None if value.is_floating_point() else "int32", example=value, name=f"in{number}")
             for number, value in enumerate(inputs)]
    compare(plait.compile(model, inputs=names, precision="fp32", states="none"), inputs, expected)


class Last(nn.Module):
    """The first result of a transformer, which gives an object of its own."""

    def __init__(self, model, **options):
        super().__init__()
        self.model, self.options = model, options

    def forward(self, *inputs):
        return self.model(*inputs, return_dict=False, **self.options)[0]


def transformer(kind):
    import transformers as t
    size = dict(hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64)
    tokens = torch.randint(0, 50, (1, 9))
    if kind == "bert":
        return Last(t.BertModel(t.BertConfig(vocab_size=50, max_position_embeddings=16, **size))), tokens
    if kind == "gpt2":
        return Last(t.GPT2LMHeadModel(t.GPT2Config(vocab_size=50, n_positions=16, n_embd=32, n_layer=2, n_head=4)), use_cache=False), tokens
    if kind == "llama":
        return Last(t.LlamaForCausalLM(t.LlamaConfig(vocab_size=50, num_key_value_heads=2, max_position_embeddings=32, **size)), use_cache=False), tokens
    if kind == "vit":
        return Last(t.ViTModel(t.ViTConfig(image_size=16, patch_size=4, **size))), torch.rand(1, 3, 16, 16)
    if kind == "resnet":
        return Last(t.ResNetModel(t.ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic"))), torch.rand(1, 3, 32, 32)
    raise AssertionError(kind)


@pytest.mark.parametrize("kind", ("bert", "gpt2", "llama", "vit", "resnet"))
@pytest.mark.filterwarnings("ignore")
def test_transformers(kind):
    pytest.importorskip("transformers")
    torch.manual_seed(0)
    model, example = transformer(kind)
    model.eval()
    with torch.no_grad():
        expected = model(example)
    compare(plait.compile(model, inputs=[example], outputs=["y"], precision="fp32"), [example], expected)
