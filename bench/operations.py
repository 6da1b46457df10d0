"""How many operations the programs of plait and of coremltools have, from the same traces, both in fp16.

    operations.py [--models NAME,NAME ...] [--kinds] [--json FILE]

Constants do not count. Of each architecture: operations of both, their ratio, and the kinds that plait has more of. At the end the geometric mean, and
the kinds in surplus over all. `--kinds` prints every kind in which the two differ. Architectures are the twenty of tests/python/fault_models.py and small random
configurations of transformers; one that either cannot convert is named and left out.
"""

import argparse
import collections
import json
import math
import pathlib
import subprocess
import sys
import tempfile
import warnings

import measure

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "tests" / "python"))

TEXT = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64, "vocab_size": 64, "max_position_embeddings": 64}
GROUPED = TEXT | {"num_key_value_heads": 2}
VISION = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64, "image_size": 32, "patch_size": 8}
# name: (class of transformers, configuration, what it takes)
TRANSFORMERS = {
    "distilbert": ("DistilBertModel", {"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 64, "vocab_size": 64}, "tokens"),
    "roberta": ("RobertaModel", TEXT, "tokens"),
    "electra": ("ElectraModel", TEXT | {"embedding_size": 16}, "tokens"),
    "albert": ("AlbertModel", TEXT | {"embedding_size": 16}, "tokens"),
    "mpnet": ("MPNetModel", TEXT, "tokens"),
    "deberta": ("DebertaV2Model", TEXT, "tokens"),
    "funnel": ("FNetModel", TEXT, "tokens"),
    "opt": ("OPTModel", {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "ffn_dim": 64, "vocab_size": 64, "word_embed_proj_dim": 32,
                         "max_position_embeddings": 64}, "tokens"),
    "gpt_neox": ("GPTNeoXModel", TEXT, "tokens"),
    "bloom": ("BloomModel", {"hidden_size": 32, "n_layer": 2, "n_head": 4, "vocab_size": 64}, "tokens"),
    "mistral": ("MistralModel", GROUPED, "tokens"),
    "qwen2": ("Qwen2Model", GROUPED, "tokens"),
    "qwen3": ("Qwen3Model", GROUPED | {"head_dim": 8}, "tokens"),
    "gemma": ("GemmaModel", GROUPED | {"head_dim": 8}, "tokens"),
    "gemma3": ("Gemma3TextModel", GROUPED | {"head_dim": 8}, "tokens"),
    "phi": ("PhiModel", GROUPED, "tokens"),
    "stablelm": ("StableLmModel", GROUPED, "tokens"),
    "olmo": ("OlmoModel", GROUPED, "tokens"),
    "vit_hf": ("ViTModel", VISION, "image"),
    "deit": ("DeiTModel", VISION, "image"),
    "beit": ("BeitModel", VISION, "image"),
    "dinov2": ("Dinov2Model", VISION, "image"),
    "clip_vision": ("CLIPVisionModel", VISION, "image"),
    "siglip_vision": ("SiglipVisionModel", VISION, "image"),
    "swin": ("SwinModel", {"image_size": 32, "patch_size": 2, "embed_dim": 16, "depths": [2, 2], "num_heads": [2, 4], "window_size": 4}, "image"),
    "convnext_hf": ("ConvNextModel", {"hidden_sizes": [16, 32], "depths": [2, 2], "num_stages": 2}, "image"),
    "convnextv2": ("ConvNextV2Model", {"hidden_sizes": [16, 32], "depths": [2, 2], "num_stages": 2}, "image"),
    "resnet_hf": ("ResNetModel", {"embedding_size": 16, "hidden_sizes": [16, 32], "depths": [2, 2], "layer_type": "basic"}, "image"),
    "regnet": ("RegNetModel", {"embedding_size": 16, "hidden_sizes": [16, 32], "depths": [2, 2], "groups_width": 8}, "image"),
    "mobilenet_v2": ("MobileNetV2Model", {"depth_multiplier": 0.35, "image_size": 32}, "image"),
    "segformer": ("SegformerModel", {"hidden_sizes": [8, 16], "depths": [1, 1], "num_encoder_blocks": 2, "num_attention_heads": [1, 2], "sr_ratios": [2, 1],
                                     "patch_sizes": [7, 3], "strides": [4, 2], "mlp_ratios": [2, 2]}, "image"),
    "wav2vec2": ("Wav2Vec2Model", {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64, "conv_dim": [16, 16],
                                   "conv_kernel": [10, 3], "conv_stride": [5, 2], "num_conv_pos_embeddings": 8, "num_conv_pos_embedding_groups": 4}, "sound"),
}


def of_transformers(name):
    import torch
    import transformers

    class First(torch.nn.Module):
        def __init__(self, model):
            super().__init__()
            self.model = model

        def forward(self, x):
            return self.model(x, return_dict=False)[0]

    kind, options, takes = TRANSFORMERS[name]
    model = getattr(transformers, kind)
    config = model.config_class(**options)
    for word in ("attn_implementation", "_attn_implementation"):
        setattr(config, word, "eager")
    if hasattr(config, "use_cache"):
        config.use_cache = False
    example = {"tokens": torch.arange(12)[None] % 64, "image": torch.randn(1, 3, 32, 32), "sound": torch.randn(1, 2000)}[takes]
    return First(model(config)), {"x": example.int() if takes == "tokens" else example}


def of_peer(module, inputs):
    import coremltools as ct
    import numpy as np

    types = [ct.TensorType(name=name, shape=tensor.shape, dtype=np.float16 if tensor.is_floating_point() else np.int32)
             for name, tensor in inputs.items()]
    model = ct.convert(module, inputs=types, minimum_deployment_target=ct.target.iOS18, compute_precision=ct.precision.FLOAT16, skip_model_load=True)
    counts = collections.Counter()

    def count(block):
        for operation in block.operations:
            if operation.type != "const":
                counts[operation.type] += 1
            for inner in operation.blocks:
                count(inner)

    for function in model.get_spec().mlProgram.functions.values():
        for block in function.block_specializations.values():
            count(block)
    return counts


def of_plait(folder, inputs):
    declared = [part for name, tensor in inputs.items() for part in
                ("--input", f"{name}={'fp16' if tensor.is_floating_point() else 'int32'}{list(tensor.shape)}")]
    measure.run([measure.PLAIT, "compile", "-o", folder / "p.mlpackage", *declared, folder / "model.pt"])
    report = json.loads(subprocess.run([measure.PLAIT, "inspect", folder / "p.mlpackage", "--json"], check=True, capture_output=True).stdout)
    counts = collections.Counter(report["functions"][0]["operations"])
    counts.pop("const", None)
    return counts


def surplus(ours, theirs):
    return {kind: ours[kind] - theirs[kind] for kind in sorted({*ours, *theirs}, key=lambda kind: theirs[kind] - ours[kind]) if ours[kind] != theirs[kind]}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default="", help="names, with commas; all where not said")
    parser.add_argument("--kinds", action="store_true")
    parser.add_argument("--json", type=pathlib.Path)
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    import fault_models
    import torch

    torch.backends.mha.set_fastpath_enabled(False)
    names = options.models.split(",") if options.models else [*fault_models.ARCHITECTURES, *TRANSFORMERS]
    results, total = {}, collections.Counter()
    for name in names:
        torch.manual_seed(1)
        try:
            model, inputs = fault_models.build(name) if name in fault_models.ARCHITECTURES else of_transformers(name)
            with tempfile.TemporaryDirectory() as temporary, torch.no_grad():
                folder = pathlib.Path(temporary)
                module = torch.jit.trace(model.eval(), tuple(inputs.values()), check_trace=False)
                module.save(str(folder / "model.pt"))
                ours = of_plait(folder, inputs)
                theirs = of_peer(module, inputs)
        except (Exception, SystemExit) as error:
            print(f"{name:16} left out: {str(error).splitlines()[-1] if str(error) else error!r}"[:160], flush=True)
            continue
        results[name] = {"plait": ours, "peer": theirs}
        more = surplus(ours, theirs)
        total.update({kind: count for kind, count in more.items() if count > 0})
        shown = more if options.kinds else {kind: count for kind, count in more.items() if count > 0}
        a, b = sum(ours.values()), sum(theirs.values())
        print(f"{name:16} {a:5} {b:5}  {a / b:5.2f}  " + ", ".join(f"{kind} {count:+}" for kind, count in shown.items()), flush=True)
    if not results:
        return
    ratios = {name: sum(both["plait"].values()) / sum(both["peer"].values()) for name, both in results.items()}
    mean = math.exp(sum(map(math.log, ratios.values())) / len(ratios))
    print(f"\n{len(ratios)} architectures, geometric mean {mean:.3f}; more than the peer: {', '.join(n for n, r in ratios.items() if r > 1) or 'none'}")
    print("in surplus: " + ", ".join(f"{kind} {count}" for kind, count in total.most_common(15)))
    if options.json:
        options.json.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
