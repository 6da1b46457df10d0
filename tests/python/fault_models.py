"""Twenty small architectures, and faults to plant in them: what `plait verify` has to tell from rounding.

ARCHITECTURES maps a name to a function that gives (model, {input: example}). Examples of integers are indices below 64.
"""

import copy
import math

import adapter_models
import torch
import torch.nn.functional as F
import transformers
from torch import nn

HEADS = 4


class Attention(nn.Module):
    """Causal; `off` moves its mask by one."""

    def __init__(self, width, off=0):
        super().__init__()
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))
        self.off = off

    def forward(self, x):
        def heads(y):
            return y.unflatten(-1, (HEADS, -1)).transpose(1, 2)

        query, key, value = heads(self.query(x)), heads(self.key(x)), heads(self.value(x))
        scores = query @ key.transpose(-1, -2) / math.sqrt(query.shape[-1])
        length = x.shape[1]
        visible = torch.ones(length, length).tril(self.off) > 0
        scores = scores.masked_fill(~visible, float("-inf")).softmax(-1)
        return self.out((scores @ value).transpose(1, 2).flatten(2))


class Decoder(nn.Module):
    def __init__(self, width=32, layers=2):
        super().__init__()
        self.table = nn.Embedding(64, width)
        self.attentions = nn.ModuleList(Attention(width) for _ in range(layers))
        self.mlps = nn.ModuleList(nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)) for _ in range(layers))
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2 * layers))
        self.head = nn.Linear(width, 64)

    def forward(self, ids):
        x = self.table(ids)
        for i, (attention, mlp) in enumerate(zip(self.attentions, self.mlps)):
            x = x + attention(self.norms[2 * i](x))
            x = x + mlp(self.norms[2 * i + 1](x))
        return self.head(x)


class Residual(nn.Module):
    def __init__(self, *layers, activation=None):
        super().__init__()
        self.layers, self.activation = nn.Sequential(*layers), activation or nn.Identity()

    def forward(self, x):
        return self.activation(x + self.layers(x))


def conv_norm(inputs, outputs, size=3, **options):
    return nn.Sequential(nn.Conv2d(inputs, outputs, size, padding=size // 2, bias=False, **options), nn.BatchNorm2d(outputs))


class SqueezeExcite(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.down, self.up = nn.Conv2d(width, width // 4, 1), nn.Conv2d(width // 4, width, 1)

    def forward(self, x):
        return x * F.hardsigmoid(self.up(F.relu(self.down(x.mean((2, 3), keepdim=True)))))


class Swap(nn.Module):
    """Exchanges two axes."""

    def __init__(self, a, b):
        super().__init__()
        self.a, self.b = a, b

    def forward(self, x):
        return x.transpose(self.a, self.b)


class Recurrent(nn.Module):
    def __init__(self, cell):
        super().__init__()
        self.cell, self.head = cell, nn.Linear(32, 8)

    def forward(self, x):
        return self.head(self.cell(x)[0])


class TextCnn(nn.Module):
    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(64, 16)
        self.convs = nn.ModuleList(nn.Conv1d(16, 16, size) for size in (2, 3, 4))
        self.head = nn.Linear(48, 6)

    def forward(self, ids):
        x = self.table(ids).transpose(1, 2)
        return self.head(torch.cat([F.relu(conv(x)).amax(2) for conv in self.convs], 1))


class PointNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Conv1d(3, 32, 1), nn.BatchNorm1d(32), nn.ReLU(), nn.Conv1d(32, 32, 1), nn.BatchNorm1d(32), nn.ReLU())
        self.head = nn.Linear(32, 5)

    def forward(self, points):
        return self.head(self.layers(points).amax(2)).log_softmax(1)


class Mixer(nn.Module):
    def __init__(self):
        super().__init__()
        self.patches = nn.Conv2d(3, 32, 4, stride=4)
        self.tokens = Residual(nn.LayerNorm(32), Swap(1, 2), nn.Linear(16, 16), nn.GELU(), nn.Linear(16, 16), Swap(1, 2))
        self.channels = Residual(nn.LayerNorm(32), nn.Linear(32, 64), nn.GELU(), nn.Linear(64, 32))
        self.head = nn.Linear(32, 10)

    def forward(self, x):
        return self.head(self.channels(self.tokens(self.patches(x).flatten(2).transpose(1, 2))).mean(1))


class CrossAttention(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention, self.norm, self.head = nn.MultiheadAttention(32, HEADS, batch_first=True), nn.LayerNorm(32), nn.Linear(32, 32)

    def forward(self, x, memory):
        return self.head(self.norm(x + self.attention(x, memory, memory, need_weights=False)[0]))


class Hidden(nn.Module):
    """A model of transformers that gives its last hidden state."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, ids):
        return self.model(input_ids=ids)[0]


def image(size=16):
    return {"x": torch.randn(1, 3, size, size)}


def tokens(length=12):
    return {"ids": torch.randint(0, 64, (1, length), dtype=torch.int32)}


def sequence():
    return {"x": torch.randn(1, 10, 32)}


def bert():
    config = transformers.BertConfig(hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48, vocab_size=64,
                                     max_position_embeddings=32)
    return transformers.BertModel(config, add_pooling_layer=False)


def t5():
    config = transformers.T5Config(d_model=32, d_kv=8, d_ff=48, num_layers=2, num_heads=4, vocab_size=64)
    return transformers.T5EncoderModel(config)


def resnet():
    return nn.Sequential(conv_norm(3, 16), nn.ReLU(), *(Residual(conv_norm(16, 16), nn.ReLU(), conv_norm(16, 16), activation=nn.ReLU())
                                                        for _ in range(4)), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10))


def mobilenet():
    block = [conv_norm(16, 32, 1), nn.Hardswish(), conv_norm(32, 32, 3, groups=32), nn.Hardswish(), SqueezeExcite(32), conv_norm(32, 16, 1)]
    return nn.Sequential(conv_norm(3, 16, 3, stride=2), nn.Hardswish(), Residual(*block), nn.Flatten(), nn.Linear(16 * 64, 10))


def convnext():
    block = [nn.Conv2d(16, 16, 7, padding=3, groups=16), Swap(1, 3), nn.LayerNorm(16), nn.Linear(16, 64), nn.GELU(), nn.Linear(64, 16), Swap(1, 3)]
    return nn.Sequential(nn.Conv2d(3, 16, 4, stride=4), Residual(*block), nn.Conv2d(16, 10, 1))


def autoencoder():
    return nn.Sequential(nn.Conv2d(3, 16, 3, stride=2, padding=1), nn.SiLU(), nn.GroupNorm(4, 16), nn.Conv2d(16, 16, 3, padding=1), nn.SiLU(),
                         nn.ConvTranspose2d(16, 8, 4, stride=2, padding=1), nn.SiLU(), nn.Conv2d(8, 3, 3, padding=1), nn.Tanh())


ARCHITECTURES = {
    "mlp": lambda: (nn.Sequential(nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 10)), {"x": torch.randn(4, 32)}),
    "normed_mlp": lambda: (nn.Sequential(*(Residual(nn.LayerNorm(32), nn.Linear(32, 64), nn.GELU(), nn.Linear(64, 32)) for _ in range(4))), sequence()),
    "gated": lambda: (nn.Sequential(nn.Linear(32, 64), nn.GLU(), nn.Softplus(), nn.Linear(32, 8), nn.Softmax(-1)), sequence()),
    "resnet": lambda: (resnet(), image()),
    "mobilenet": lambda: (mobilenet(), image()),
    "convnext": lambda: (convnext(), image()),
    "autoencoder": lambda: (autoencoder(), image()),
    "unet": lambda: (adapter_models.unet(), {"x": torch.randn(1, 3, 16, 16), "t": torch.randn(1, 8)}),
    "mixer": lambda: (Mixer(), image()),
    "vit": lambda: (adapter_models.Pixels(adapter_models.vit()), image()),
    "decoder": lambda: (Decoder(), tokens()),
    "encoder": lambda: (nn.TransformerEncoder(nn.TransformerEncoderLayer(32, HEADS, 48, batch_first=True), 2), sequence()),
    "cross": lambda: (CrossAttention(), {"x": torch.randn(1, 6, 32), "memory": torch.randn(1, 10, 32)}),
    "llama": lambda: (adapter_models.Logits(adapter_models.llama()), tokens()),
    "gpt2": lambda: (adapter_models.Logits(adapter_models.gpt2()), tokens()),
    "bert": lambda: (Hidden(bert()), tokens()),
    "t5": lambda: (Hidden(t5()), tokens()),
    "lstm": lambda: (Recurrent(nn.LSTM(32, 32, num_layers=2, batch_first=True)), sequence()),
    "gru": lambda: (Recurrent(nn.GRU(32, 32, batch_first=True)), sequence()),
    "text_cnn": lambda: (TextCnn(), tokens()),
    "pointnet": lambda: (PointNet(), {"points": torch.randn(1, 3, 40)}),
}


def build(name):
    """The model, as if trained: norms and statistics are not what they are initialised with."""
    torch.manual_seed(1)
    model, inputs = ARCHITECTURES[name]()
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.running_mean.copy_(0.2 * torch.randn(module.running_mean.shape, generator=generator))
                module.running_var.copy_(0.5 + torch.rand(module.running_var.shape, generator=generator))
        for name, parameter in model.named_parameters():
            if parameter.dim() == 1:
                parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return model.eval(), inputs


def weights(model):
    return [(name, p) for name, p in model.named_parameters() if p.dim() > 1 and "embed" not in name and "table" not in name and p.numel() > 64]


def scaled(model):
    for _, weight in weights(model):
        yield weight, weight * 1.05


def dropped(model):
    for name, bias in model.named_parameters():
        if "bias" in name and bias.dim() == 1:
            yield bias, torch.zeros_like(bias)


def transposed(model):
    for _, weight in weights(model):
        if weight.dim() == 2 and weight.shape[0] == weight.shape[1]:
            yield weight, weight.t().contiguous()


def swapped(model):
    for name, weight in weights(model):
        if weight.dim() == 2 and weight.shape[0] == 32 and any(part in name for part in ("query", "q_proj", "q.weight", "SelfAttention.q")):
            heads = weight.reshape(HEADS, -1, weight.shape[1])
            yield weight, heads[[1, 0, *range(2, HEADS)]].reshape(weight.shape)


def adapted(model):
    """Another adapter of the rank 2 than the model's own."""
    generator = torch.Generator().manual_seed(3)
    for _, weight in weights(model):
        rows = weight.shape[0]
        columns = weight.numel() // rows
        delta = torch.randn(rows, 2, generator=generator) @ torch.randn(2, columns, generator=generator)
        yield weight, weight + 0.1 * weight.std() * delta.reshape(weight.shape)


def masked(model):
    for module in model.modules():
        if isinstance(module, Attention):
            yield module, None


FAULTS = {"scaled": scaled, "dropped": dropped, "transposed": transposed, "swapped": swapped, "adapted": adapted, "masked": masked}


def faulty(model, fault, place):
    """A copy with a fault at one of its places, counted by the fraction `place` of them; None where the fault has none."""
    other = copy.deepcopy(model)
    with torch.no_grad():
        places = list(FAULTS[fault](other))
        if not places:
            return None
        target, value = places[min(int(place * len(places)), len(places) - 1)]
        if value is None:
            target.off = 1
        else:
            target.copy_(value)
    return other
