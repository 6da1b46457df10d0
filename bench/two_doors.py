"""Operations of one model by its two ways in: an archive of torch.export and a TorchScript trace, in fp32.

    two_doors.py [--models NAME,NAME ...] [--markdown FILE]

Models are the twenty of tests/python/fault_models.py and small random configurations of transformers (operations.py has most of them). Of each: operations
of the package by either way, constants left out, and how far apart the results of the two packages are on one input. Prints a line each and, at the end,
how many have more operations by the archive. `--markdown` writes the table of docs/exported.md. Models are exported with `strict=False` and no other option.
"""

import argparse
import json
import pathlib
import re
import subprocess
import sys
import tempfile
import warnings

import measure
import operations

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "tests" / "python"))

TEXT, GROUPED, VISION = operations.TEXT, operations.GROUPED, operations.VISION
FURTHER = {
    "xlm_roberta": ("XLMRobertaModel", TEXT, "tokens"),
    "camembert": ("CamembertModel", TEXT, "tokens"),
    "convbert": ("ConvBertModel", TEXT | {"embedding_size": 32}, "tokens"),
    "squeezebert": ("SqueezeBertModel", TEXT | {"embedding_size": 32}, "tokens"),
    "layoutlm": ("LayoutLMModel", TEXT, "tokens"),
    "nystromformer": ("NystromformerModel", TEXT, "tokens"),
    "t5_encoder": ("T5EncoderModel", {"d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4, "vocab_size": 64}, "tokens"),
    "gptj": ("GPTJModel", {"n_embd": 32, "n_layer": 2, "n_head": 4, "vocab_size": 64, "n_positions": 64, "rotary_dim": 8}, "tokens"),
    "gpt_bigcode": ("GPTBigCodeModel", {"n_embd": 32, "n_layer": 2, "n_head": 4, "vocab_size": 64, "n_positions": 64}, "tokens"),
    "falcon": ("FalconModel", {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 64}, "tokens"),
    "gemma2": ("Gemma2Model", GROUPED | {"head_dim": 8}, "tokens"),
    "phi3": ("Phi3Model", GROUPED | {"pad_token_id": 0}, "tokens"),
    "olmo2": ("Olmo2Model", GROUPED, "tokens"),
    "granite": ("GraniteModel", GROUPED, "tokens"),
    "cohere": ("CohereModel", GROUPED, "tokens"),
    "starcoder2": ("Starcoder2Model", GROUPED, "tokens"),
    "mixtral": ("MixtralModel", GROUPED | {"num_local_experts": 4}, "tokens"),
    "mamba": ("MambaModel", {"hidden_size": 32, "num_hidden_layers": 2, "vocab_size": 64, "state_size": 8}, "tokens"),
    "rwkv": ("RwkvModel", {"hidden_size": 32, "num_hidden_layers": 2, "attention_hidden_size": 32, "vocab_size": 64, "context_length": 64}, "tokens"),
    "yolos": ("YolosModel", VISION | {"image_size": [32, 32]}, "image"),
    "dinov3_vit": ("DINOv3ViTModel", VISION, "image"),
    "mobilevit": ("MobileViTModel", {"image_size": 32, "hidden_sizes": [16, 24, 32], "neck_hidden_sizes": [8, 8, 16, 24, 32, 40, 64], "patch_size": 2}, "image"),
    "poolformer": ("PoolFormerModel", {"hidden_sizes": [8, 16, 16, 32], "depths": [1, 1, 1, 1]}, "image"),
    "levit": ("LevitModel", {"image_size": 64, "hidden_sizes": [16, 24, 32], "num_attention_heads": [2, 3, 4], "depths": [1, 1, 1], "key_dim": [8, 8, 8]}, "large"),
    "whisper_encoder": ("WhisperModel", {"d_model": 32, "encoder_layers": 2, "encoder_attention_heads": 4, "encoder_ffn_dim": 48, "num_mel_bins": 8,
                                         "max_source_positions": 50, "decoder_layers": 1, "decoder_attention_heads": 4, "decoder_ffn_dim": 48}, "mel"),
    "hubert": ("HubertModel", operations.TRANSFORMERS["wav2vec2"][1], "sound"),
}


def build(name):
    """The model and its one or more inputs, by name."""
    import fault_models
    import torch
    if name in fault_models.ARCHITECTURES:
        return fault_models.build(name)
    operations.TRANSFORMERS.update(FURTHER)
    if FURTHER.get(name, "   ")[2] == "mel":
        import transformers
        kind, options, _ = FURTHER[name]
        model = getattr(transformers, kind)(transformers.WhisperConfig(**options)).encoder

        class Encoder(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.model = model

            def forward(self, x):
                return self.model(x, return_dict=False)[0]
        return Encoder(), {"x": torch.randn(1, 8, 100)}
    if FURTHER.get(name, "   ")[2] == "large":
        operations.TRANSFORMERS[name] = (*FURTHER[name][:2], "image")
        model, _ = operations.of_transformers(name)
        return model, {"x": torch.randn(1, 3, 64, 64)}
    return operations.of_transformers(name)


def compiled(folder, model, inputs):
    """Operations of the package, and its results on the inputs; or what is said instead."""
    import numpy as np
    package = folder / (model.name + ".mlpackage")
    declared = [part for name, tensor in inputs.items() for part in
                ("--input", f"{name}={'fp32' if tensor.is_floating_point() else 'int32'}{list(tensor.shape)}")]
    done = subprocess.run([measure.PLAIT, "compile", "-q", "-o", package, "--precision", "fp32", *declared, model], capture_output=True, text=True)
    if done.returncode:
        operator = re.search(r"aten::\w+", done.stderr)
        return f"refused: `{operator[0]}`" if operator else "refused: it writes its own tensors" if "writes to its own" in done.stderr else "refused"
    function, = json.loads(subprocess.run([measure.PLAIT, "inspect", package, "--json"], check=True, capture_output=True).stdout)["functions"]
    arrays = []
    for name, tensor in inputs.items():
        array = tensor.numpy()
        np.save(folder / f"{name}.npy", array if tensor.is_floating_point() else array.astype(np.int32))
        arrays += ["--input", f"{name}={folder / name}.npy"]
    target = folder / model.name.replace(".", "_")
    subprocess.run([measure.PLAIT, "run", package, *arrays, "--output-dir", target], check=True, capture_output=True)
    results = [np.load(target / f"{output['name']}.npy") for output in function["outputs"]]
    return sum(count for kind, count in function["operations"].items() if kind != "const"), results


def both(name):
    """What the archive becomes, and what the trace does."""
    import torch
    torch.manual_seed(1)
    model, inputs = build(name)
    model.eval()
    found = {}
    with tempfile.TemporaryDirectory() as temporary, torch.no_grad():
        folder = pathlib.Path(temporary)
        ways = {"pt2": lambda path: torch.export.save(torch.export.export(model, tuple(inputs.values()), strict=False), path),
                "pt": lambda path: torch.jit.trace(model, tuple(inputs.values()), check_trace=False).save(str(path))}
        for ending, write in ways.items():
            try:
                write(folder / f"model.{ending}")
            except Exception as error:
                found[ending] = f"not {'exported' if ending == 'pt2' else 'traced'}: {type(error).__name__}"
                continue
            found[ending] = compiled(folder, folder / f"model.{ending}", inputs)
    return found["pt2"], found["pt"]


def apart(one, other):
    """The largest difference of two lists of results, or None where they have other shapes."""
    import numpy as np
    if [a.shape for a in one] != [b.shape for b in other]:
        return None
    return max(float(np.abs(a.astype(np.float64) - b).max()) if a.size else 0.0 for a, b in zip(one, other))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default="", help="names, with commas; all where not said")
    parser.add_argument("--markdown", type=pathlib.Path)
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    import fault_models
    import torch
    torch.backends.mha.set_fastpath_enabled(False)
    names = options.models.split(",") if options.models else [*fault_models.ARCHITECTURES, *operations.TRANSFORMERS, *FURTHER]
    rows, more, differ = [], [], []
    for name in names:
        try:
            archive, script = both(name)
        except Exception as error:
            print(f"{name:16} left out: {type(error).__name__}: {error}"[:160], flush=True)
            continue
        shown = [str(way[0]) if isinstance(way, tuple) else way for way in (archive, script)]
        distance = "—"
        if isinstance(archive, tuple) and isinstance(script, tuple):
            off = apart(archive[1], script[1])
            distance = "other shapes" if off is None else "same bits" if off == 0 else f"{off:.0e}"
            if archive[0] > script[0]:
                more.append(name)
            if distance == "other shapes" or off > 1e-4:
                differ.append(name)
        rows.append((name, *shown, distance))
        print(f"{name:16} {shown[0]:>24} {shown[1]:>24}  {distance}", flush=True)
    print(f"\n{len(rows)} architectures; more operations by the archive: {', '.join(more) or 'none'}; other results: {', '.join(differ) or 'none'}")
    if options.markdown:
        lines = ["| architecture | `.pt2` | `.pt` | results |", "|---|---|---|---|", *(f"| {' | '.join(row)} |" for row in rows)]
        options.markdown.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
