"""Tiny models of the architectures that adapters are trained on, and adapters for them as PEFT saves them."""

import copy

import peft
import torch
import transformers


class Logits(torch.nn.Module):
    """What users trace: a wrapper that gives one tensor."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, ids):
        return self.model(input_ids=ids, use_cache=False)[0]


class Pixels(torch.nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x):
        return self.model(x)[0]


class UNet(torch.nn.Module):
    """Down, middle and up with convolutions, a time embedding and a skip."""

    def __init__(self):
        super().__init__()
        self.time = torch.nn.Linear(8, 16)
        self.conv_in = torch.nn.Conv2d(3, 16, 3, padding=1)
        self.down = torch.nn.Conv2d(16, 32, 3, stride=2, padding=1)
        self.norm = torch.nn.GroupNorm(4, 32)
        self.proj = torch.nn.Conv2d(32, 32, 1)
        self.to_q = torch.nn.Linear(32, 32, bias=False)
        self.wave = torch.nn.Conv1d(32, 32, 3, padding=1)
        self.up = torch.nn.Conv2d(48, 16, 3, padding="same")
        self.conv_out = torch.nn.Conv2d(16, 3, 3, padding=1)

    def forward(self, x, t):
        h = self.conv_in(x) + self.time(t)[:, :, None, None]
        skip = h
        h = torch.nn.functional.silu(self.norm(self.down(h)))
        h = h + self.proj(h)
        n, c, height, width = h.shape
        rows = h.flatten(2).transpose(1, 2)
        rows = rows + self.to_q(rows)
        rows = self.wave(rows.transpose(1, 2))
        h = torch.nn.functional.interpolate(rows.reshape(n, c, height, width), scale_factor=2.0)
        return self.conv_out(torch.nn.functional.silu(self.up(torch.cat([h, skip], 1))))


def llama(tied=False):
    torch.manual_seed(0)
    config = transformers.LlamaConfig(hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
                                      num_key_value_heads=2, vocab_size=64, max_position_embeddings=32,
                                      attention_bias=True, tie_word_embeddings=tied)
    return transformers.LlamaForCausalLM(config).eval()


def gpt2():
    torch.manual_seed(0)
    config = transformers.GPT2Config(n_embd=32, n_layer=2, n_head=4, vocab_size=64, n_positions=32)
    return transformers.GPT2LMHeadModel(config).eval()


def vit():
    torch.manual_seed(0)
    config = transformers.ViTConfig(hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48,
                                    image_size=16, patch_size=8)
    return transformers.ViTForImageClassification(config).eval()


def whisper():
    torch.manual_seed(0)
    config = transformers.WhisperConfig(d_model=32, encoder_layers=2, encoder_attention_heads=4, encoder_ffn_dim=48,
                                        num_mel_bins=8, max_source_positions=16)
    encoder = transformers.models.whisper.modeling_whisper.WhisperEncoder(config).eval()
    torch.nn.init.normal_(encoder.embed_positions.weight)
    return encoder


def unet():
    torch.manual_seed(0)
    return UNet().eval()


def randomise(model, seed):
    """Stands for training: PEFT starts adapters at what changes nothing."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if not parameter.requires_grad:
                continue
            noise = torch.randn(parameter.shape, generator=generator)
            if "ia3" in name or "magnitude" in name or "norm" in name:
                parameter.mul_(1 + 0.3 * noise)
            elif "lora" in name or "hada" in name or "lokr" in name or "vera" in name:
                parameter.copy_(0.3 * noise)
            else:
                parameter.add_(0.1 * noise)


def adapt(base, config, folder, seed=1, dtype=None, **options):
    """Saves an adapter of `base` at `folder` and gives the model as PEFT loads it from there."""
    model = peft.get_peft_model(copy.deepcopy(base), copy.deepcopy(config))
    randomise(model, seed)
    if dtype:
        for name, parameter in model.named_parameters():
            if "lora" in name:
                parameter.data = parameter.data.to(dtype)
    model.save_pretrained(folder, **options)
    return peft.PeftModel.from_pretrained(copy.deepcopy(base), folder).eval()
