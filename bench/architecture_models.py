"""Architectures of public libraries, small and with random weights: what bench/architectures.py compiles.

A family is a generator of (name, build). build() gives a model in evaluation mode, whose forward takes tensors and gives tensors, and its
example inputs. A library that is not installed has no architectures. What PyTorch itself cannot build or run raises in build(); such a
name is no row of the table.
"""

import collections
import inspect
import re

import torch
from torch import nn

# What a configuration's numbers are set to, where it has them.
SMALL = {
    **dict.fromkeys(("hidden_size", "d_model", "dim", "n_embd", "embed_dim", "embedding_dim", "encoder_hidden_size", "decoder_hidden_size", "emb_dim",
                     "attention_hidden_size", "projection_dim", "embedding_size", "d_embed", "encoder_embed_dim", "decoder_embed_dim", "word_embed_proj_dim",
                     "fpn_feature_size", "hidden_dim", "output_dim", "out_hidden_size", "prediction_length_hidden"), 64),
    **dict.fromkeys(("num_hidden_layers", "n_layers", "n_layer", "encoder_layers", "decoder_layers", "num_layers", "num_decoder_layers", "num_encoder_layers",
                     "depth", "n_encoder_layer", "encoder_num_hidden_layers", "decoder_num_hidden_layers"), 2),
    **dict.fromkeys(("num_attention_heads", "n_heads", "n_head", "encoder_attention_heads", "decoder_attention_heads", "num_heads", "encoder_num_attention_heads",
                     "decoder_num_attention_heads", "num_encoder_attention_heads", "num_decoder_attention_heads"), 4),
    **dict.fromkeys(("num_key_value_heads", "num_kv_heads"), 2),
    **dict.fromkeys(("intermediate_size", "ffn_dim", "encoder_ffn_dim", "decoder_ffn_dim", "d_ff", "d_inner", "n_inner", "dim_feedforward",
                     "encoder_intermediate_size", "decoder_intermediate_size", "moe_intermediate_size", "shared_expert_intermediate_size", "mlp_dim"), 96),
    **dict.fromkeys(("vocab_size", "text_vocab_size", "decoder_vocab_size", "padded_vocab_size"), 200),
    **dict.fromkeys(("head_dim", "d_kv", "attention_head_size", "d_head", "qk_rope_head_dim", "qk_nope_head_dim", "v_head_dim"), 16),
    **dict.fromkeys(("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts"), 4),
    **dict.fromkeys(("num_experts_per_tok", "num_selected_experts", "moe_topk", "moe_k", "num_experts_per_token"), 2),
    **dict.fromkeys(("n_group", "topk_group"), 1),
    **dict.fromkeys(("max_position_embeddings", "n_positions", "max_sequence_length", "context_length"), 128),
    "q_lora_rank": 32, "kv_lora_rank": 32, "num_queries": 8, "state_size": 8, "rotary_dim": 8, "num_mel_bins": 16, "max_source_positions": 50,
    "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 4,
}
TOKENS, SOUND, MEL = 12, 4000, 100


class Tensors(nn.Module):
    """A model that takes tensors by name and gives the floating-point tensors of what it returns."""

    def __init__(self, model, names, constants=None):
        super().__init__()
        self.model, self.names, self.constants = model, names, constants or {}

    def forward(self, *tensors):
        return tuple(floats(self.model(**dict(zip(self.names, tensors, strict=True)), **self.constants)))


def floats(value):
    if isinstance(value, torch.Tensor):
        return [value] if value.is_floating_point() else []
    if isinstance(value, dict):
        value = list(value.values())
    return [tensor for item in value for tensor in floats(item)] if isinstance(value, (tuple, list)) else []


def shrunk(config):
    """The keyword arguments that make a configuration small, those of the configurations inside it too."""
    from transformers import PretrainedConfig

    options = {}
    for name, value in vars(config).items():
        if isinstance(value, PretrainedConfig):
            options[name] = shrunk(value)
        elif name in SMALL and isinstance(value, int) and not isinstance(value, bool) and value > SMALL[name]:
            options[name] = SMALL[name]
        elif name == "initializer_range" and value < 1e-3: # all of it would be zeros in fp16
            options[name] = 0.02
    for name in ("pad_token_id", "bos_token_id", "eos_token_id", "decoder_start_token_id"):
        if isinstance(getattr(config, name, None), int) and getattr(config, name) >= SMALL["vocab_size"]:
            options[name] = 1
    return options


def configuration(kind):
    config = kind()
    options = shrunk(config)
    small = kind(**options)
    for part in (small, *(value for value in vars(small).values() if hasattr(value, "_attn_implementation"))):
        part._attn_implementation = "eager"
        for name in ("use_cache", "return_dict", "output_hidden_states", "output_attentions"):
            if hasattr(part, name) and name != "return_dict":
                setattr(part, name, False)
    return small


def example_of(name, config):
    """The input of a name that transformers' models use, or None."""
    parts = [config, *(getattr(config, part, None) for part in ("vision_config", "text_config", "encoder", "audio_config", "image_encoder"))]

    def said(word, fallback):
        for part in parts:
            value = getattr(part, word, None)
            if value is not None:
                return value
        return fallback

    if name in ("input_ids", "decoder_input_ids"):
        return torch.randint(2, 100, (1, TOKENS))
    if name == "attention_mask":
        return torch.ones(1, TOKENS, dtype=torch.int64)
    if name == "pixel_values":
        size = said("image_size", 64)
        height, width = size if isinstance(size, (list, tuple)) else (size, size)
        return torch.randn(1, said("num_channels", 3), min(height, 256), min(width, 256))
    if name == "input_values":
        return torch.randn(1, SOUND)
    if name == "input_features":
        return torch.randn(1, said("num_mel_bins", 16), MEL)
    return None


def of_transformers(kind_name):
    import transformers

    def build():
        kind = getattr(transformers, kind_name)
        config = configuration(kind.config_class)
        model = kind(config).eval()
        parameters = inspect.signature(model.forward).parameters
        constants = {"return_dict": False} if "return_dict" in parameters or "kwargs" in parameters else {}
        if "use_cache" in parameters:
            constants["use_cache"] = False
        main, error = kind.main_input_name, None
        for names in ((main,), (main, "decoder_input_ids"), ("input_ids", "pixel_values"), ("input_ids", main), (main, "attention_mask"), ("input_ids",)):
            inputs = {name: example_of(name, config) for name in names if name in parameters}
            if not inputs or any(value is None for value in inputs.values()):
                continue
            wrapped = Tensors(model, list(inputs), constants)
            try:
                with torch.no_grad():
                    if wrapped(*inputs.values()):
                        return wrapped, list(inputs.values())
            except Exception as found:  # other inputs may do
                error = error or found
        raise error or NotImplementedError(f"no example for {main}")

    return build


def transformers_family():
    try:
        from transformers.models.auto.modeling_auto import MODEL_MAPPING_NAMES
    except ImportError:
        return
    for model_type, kind in MODEL_MAPPING_NAMES.items():
        yield model_type, of_transformers(kind if isinstance(kind, str) else kind[0])


def vision_family():
    try:
        import torchvision
    except (ImportError, RuntimeError):
        return
    large = ("vit_h", "vit_l", "regnet_y_128", "regnet_y_32", "regnet_x_32", "regnet_y_16", "regnet_x_16", "efficientnet_v2_l", "convnext_large", "wide_resnet101", "swin3d_b")
    for name in torchvision.models.list_models():
        if name.startswith(large):
            continue

        def build(name=name):
            try:
                model = torchvision.models.get_model(name, weights=None, weights_backbone=None)
            except (TypeError, ValueError):  # it has no backbone of its own
                model = torchvision.models.get_model(name, weights=None)
            sizes = ((1, 3, 64, 64), (1, 3, 128, 128), (1, 3, 224, 224), (1, 3, 299, 299), (1, 3, 8, 112, 112))
            return sized(model.eval(), sizes)

        yield name, build


def sized(model, sizes):
    """The model on the first of the sizes that it takes."""
    error = None
    for size in sizes:
        example = torch.randn(size)
        try:
            with torch.no_grad():
                result = model(example)
            if floats(result):
                return Tensors(Positional(model), ["x"]), [example]
        except Exception as found:  # a size that the model refuses
            error = found
    raise error or NotImplementedError("it gives no floating-point tensor")


def varied(count, *shape):
    """Random inputs of different scales and offsets: averages over what is alike but for noise would hardly vary."""
    each = (count, *(1 for _ in shape))
    return torch.randn(count, *shape) * (0.5 + torch.rand(each)) + torch.randn(count, *shape[:1], *(1 for _ in shape[1:]))


def let_norms_see(model, tensors):
    """Gives batch norms the means and variances of random inputs: with those of a fresh model, deep networks vanish or overflow.

    They add 2 as well. Rectified around 0, a normed network of random weights multiplies any difference by 1.2 a layer
    (0.5 / 0.34 of its variance), which a trained one does not; rectified around 2, by 1.01.
    """
    norms = [module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.track_running_stats]
    if not norms or not all(tensor.is_floating_point() for tensor in tensors):
        return
    before = [(norm.momentum, norm.running_mean.clone(), norm.running_var.clone()) for norm in norms]
    for norm in norms:
        norm.train()
        norm.momentum = 1.0
        if norm.affine:
            norm.bias.data.fill_(2)
    try:
        batch = max(4, min(16, 2**18 // max(tensor[0, 0].numel() for tensor in tensors if tensor.dim() > 1)))  # few values would be a poor measure
        model(*(varied(batch * tensor.shape[0], *tensor.shape[1:]) if tensor.dim() > 1 else tensor for tensor in tensors))
    except Exception:  # a model that takes one batch alone, or a norm of one value
        for norm, (_, mean, variance) in zip(norms, before, strict=True):
            norm.running_mean.copy_(mean)
            norm.running_var.copy_(variance)
    for norm, (momentum, _, _) in zip(norms, before, strict=True):
        norm.momentum = momentum
        norm.eval()


class Positional(nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x):
        return self.model(x)


def timm_family():
    """The smallest-sounding model of each of timm's families: names of a module that begin alike, but for a depth (resnet50d, resnet101)."""
    try:
        import timm
    except (ImportError, RuntimeError):
        return
    words = ("test", "atto", "nano", "pico", "femto", "micro", "tiny", "_xx", "_xs", "_t0", "mini", "small", "_s", "18", "26", "b0", "a0")
    rank = lambda name: (min([i for i, word in enumerate(words) if word in name] or [99]), len(name), name)
    for module in timm.list_modules():
        families = collections.defaultdict(list)
        for name in timm.list_models(module=module):
            families[re.sub(r"(?<=[a-z])\d\d+[a-z0-9]*$", "", name.split("_")[0])].append(name)
        for names in families.values():

            def build(name=min(names, key=rank)):
                model = timm.create_model(name, pretrained=False).eval()
                return sized(model, ((1, 3, 96, 96), (1, *model.default_cfg.get("input_size", (3, 224, 224))), (1, 3, 224, 224), (1, 3, 256, 256)))

            yield min(names, key=rank), build


def diffusers_family():
    try:
        import diffusers
    except (ImportError, RuntimeError):
        return
    blocks = {"block_out_channels": (32, 64), "layers_per_block": 1, "norm_num_groups": 8}
    down, up = ("DownBlock2D", "CrossAttnDownBlock2D"), ("CrossAttnUpBlock2D", "UpBlock2D")
    image, step = torch.randn(1, 4, 16, 16), torch.tensor([10.0])
    words = torch.randn(1, 7, 32)
    heads = {"attention_head_dim": 16, "num_attention_heads": 2, "num_layers": 2}

    def case(kind, options, **inputs):
        def build():
            return Tensors(getattr(diffusers, kind)(**options).eval(), list(inputs), {"return_dict": False}), list(inputs.values())
        return kind, build

    yield case("UNet2DModel", {**blocks, "sample_size": 16, "in_channels": 4, "out_channels": 4, "down_block_types": ("DownBlock2D", "AttnDownBlock2D"),
                               "up_block_types": ("AttnUpBlock2D", "UpBlock2D"), "attention_head_dim": 8}, sample=image, timestep=step)
    yield case("UNet2DConditionModel", {**blocks, "sample_size": 16, "down_block_types": down, "up_block_types": up, "cross_attention_dim": 32,
                                        "attention_head_dim": 8}, sample=image, timestep=step, encoder_hidden_states=words)
    yield case("AutoencoderKL", {"block_out_channels": (32, 64), "down_block_types": ("DownEncoderBlock2D",) * 2, "up_block_types": ("UpDecoderBlock2D",) * 2,
                                 "latent_channels": 4, "norm_num_groups": 8}, sample=torch.randn(1, 3, 32, 32))
    yield case("AutoencoderTiny", {}, sample=torch.randn(1, 3, 64, 64))
    yield case("VQModel", {"block_out_channels": (32, 64), "down_block_types": ("DownEncoderBlock2D",) * 2, "up_block_types": ("UpDecoderBlock2D",) * 2,
                           "norm_num_groups": 8}, sample=torch.randn(1, 3, 32, 32))
    yield case("Transformer2DModel", {**heads, "in_channels": 32, "sample_size": 16, "norm_num_groups": 8}, hidden_states=torch.randn(1, 32, 16, 16))
    yield case("DiTTransformer2DModel", {**heads, "sample_size": 16, "num_embeds_ada_norm": 100}, hidden_states=image, timestep=torch.tensor([10]),
               class_labels=torch.tensor([3]))
    yield case("PixArtTransformer2DModel", {**heads, "sample_size": 16, "cross_attention_dim": 32, "caption_channels": 32}, hidden_states=image,
               encoder_hidden_states=words, timestep=step)
    yield case("SD3Transformer2DModel", {**heads, "sample_size": 16, "in_channels": 4, "joint_attention_dim": 32, "caption_projection_dim": 32,
                                         "pooled_projection_dim": 64, "out_channels": 4}, hidden_states=image, encoder_hidden_states=words,
               pooled_projections=torch.randn(1, 64), timestep=step)
    yield case("FluxTransformer2DModel", {"in_channels": 4, "num_layers": 1, "num_single_layers": 1, "attention_head_dim": 16, "num_attention_heads": 2,
                                          "joint_attention_dim": 32, "pooled_projection_dim": 32, "axes_dims_rope": (4, 4, 8)},
               hidden_states=torch.randn(1, 16, 4), encoder_hidden_states=words, pooled_projections=torch.randn(1, 32), timestep=step,
               img_ids=torch.randn(16, 3), txt_ids=torch.zeros(7, 3))
    yield case("PriorTransformer", {**heads, "embedding_dim": 32, "num_embeddings": 7, "additional_embeddings": 4}, hidden_states=torch.randn(1, 32), timestep=step,
               proj_embedding=torch.randn(1, 32), encoder_hidden_states=words)
    yield case("UNet1DModel", {"block_out_channels": (32, 32), "down_block_types": ("DownBlock1D", "AttnDownBlock1D"), "up_block_types": ("AttnUpBlock1D", "UpBlock1D"),
                               "in_channels": 4, "out_channels": 4, "extra_in_channels": 16}, sample=torch.randn(1, 4, 64), timestep=step)
    yield case("T2IAdapter", {"channels": [32, 64], "num_res_blocks": 1, "downscale_factor": 8}, x=torch.randn(1, 3, 64, 64))


def audio_family():
    try:
        import torchaudio
    except (ImportError, OSError, RuntimeError):
        return
    sound = torch.randn(1, SOUND)
    transforms = torchaudio.transforms

    def plain(name, make, *inputs):
        def build():
            model = make().eval()
            return Tensors(Listed(model), [f"x{i}" for i in range(len(inputs))]), list(inputs)
        return name, build

    yield plain("Spectrogram", lambda: transforms.Spectrogram(400), sound)
    yield plain("MelSpectrogram", lambda: transforms.MelSpectrogram(16000, n_fft=400, n_mels=32), sound)
    yield plain("MFCC", lambda: transforms.MFCC(16000, n_mfcc=13, melkwargs={"n_fft": 400, "n_mels": 32}), sound)
    yield plain("LFCC", lambda: transforms.LFCC(16000, n_lfcc=13, speckwargs={"n_fft": 400}), sound)
    yield plain("AmplitudeToDB", lambda: transforms.AmplitudeToDB(), torch.rand(1, 32, 20))
    yield plain("MuLawEncoding", lambda: nn.Sequential(transforms.MuLawEncoding(), transforms.MuLawDecoding()), sound.clamp(-1, 1))
    yield plain("Resample", lambda: transforms.Resample(16000, 8000), sound)
    yield plain("ComputeDeltas", lambda: transforms.ComputeDeltas(), torch.randn(1, 13, 40))
    yield plain("SpectralCentroid", lambda: transforms.SpectralCentroid(16000), sound)
    yield plain("GriffinLim", lambda: transforms.GriffinLim(64, n_iter=2, rand_init=False), torch.rand(1, 33, 20))
    yield plain("SlidingWindowCmn", lambda: transforms.SlidingWindowCmn(cmn_window=8), torch.randn(1, 20, 13))
    models = torchaudio.models
    yield plain("Conformer", lambda: models.Conformer(32, 4, 64, 2, 7), torch.randn(1, 20, 32), torch.tensor([20]))
    yield plain("DeepSpeech", lambda: models.DeepSpeech(16, n_hidden=32), torch.randn(1, 1, 20, 16))
    yield plain("Wav2Letter", lambda: models.Wav2Letter(num_classes=20, input_type="mfcc", num_features=13), torch.randn(1, 13, 60))
    yield plain("WaveRNN", lambda: models.WaveRNN([2, 2], 20, 4, n_rnn=32, n_fc=32, n_freq=16, n_hidden=16, n_output=16), torch.randn(1, 1, 24), torch.randn(1, 1, 16, 10))
    yield plain("ConvTasNet", lambda: models.ConvTasNet(enc_num_feats=32, msk_num_feats=16, msk_num_hidden_feats=32, msk_num_layers=2, msk_num_stacks=1), sound[None])
    yield plain("Emformer", lambda: models.Emformer(32, 4, 64, 2, 4, left_context_length=4, right_context_length=1), torch.randn(1, 17, 32), torch.tensor([16]))
    yield plain("HDemucs", lambda: models.HDemucs(["a", "b"], channels=8, depth=4), torch.randn(1, 2, 16384))
    yield plain("wav2vec2_base", lambda: models.wav2vec2_model("group_norm", [(16, 10, 5), (16, 3, 2)], False, 32, 0.0, 8, 4, 2, 4, 0.0, 0.0, 48, 0.0, 0.0, False, None), sound)
    yield plain("SquimObjective", lambda: models.squim_objective_base(), torch.randn(1, 16000))


class Listed(nn.Module):
    """A model that takes its inputs by position."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, **inputs):
        return self.model(*inputs.values())


def plain_family():
    """PyTorch's own layers as models."""
    def case(name, make, *inputs):
        def build():
            return Tensors(Listed(make().eval()), [f"x{i}" for i in range(len(inputs))]), list(inputs)
        return name, build

    row, image, steps = torch.randn(1, 32), torch.randn(1, 8, 16, 16), torch.randn(1, 10, 32)
    yield case("MLP", lambda: nn.Sequential(nn.Linear(32, 64), nn.GELU(), nn.LayerNorm(64), nn.Linear(64, 8)), row)
    yield case("LSTM", lambda: nn.LSTM(32, 16, 2, batch_first=True, bidirectional=True), steps)
    yield case("GRU", lambda: nn.GRU(32, 16, 2, batch_first=True), steps)
    yield case("RNN", lambda: nn.RNN(32, 16, batch_first=True), steps)
    yield case("Transformer", lambda: nn.Transformer(32, 4, 1, 1, 64, batch_first=True), steps, torch.randn(1, 5, 32))
    yield case("TransformerEncoder", lambda: nn.TransformerEncoder(nn.TransformerEncoderLayer(32, 4, 64, batch_first=True, norm_first=True), 2), steps)
    yield case("MultiheadAttention", lambda: nn.MultiheadAttention(32, 4, batch_first=True), steps, steps, steps)
    yield case("ConvTranspose", lambda: nn.Sequential(nn.Conv2d(8, 16, 3, 2), nn.BatchNorm2d(16), nn.SiLU(), nn.ConvTranspose2d(16, 8, 4, 2)), image)
    yield case("PixelShuffle", lambda: nn.Sequential(nn.Conv2d(8, 32, 3, padding=1), nn.PixelShuffle(2), nn.PReLU(8)), image)
    yield case("Bilinear", lambda: nn.Bilinear(32, 32, 8), row, row)


FAMILIES = {"transformers": transformers_family, "torchvision": vision_family, "timm": timm_family, "diffusers": diffusers_family, "torchaudio": audio_family,
            "plain": plain_family}
