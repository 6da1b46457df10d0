"""Live PeftModels: the base that they hold, and each of their adapters as a PEFT folder. peft itself is imported only here."""

from __future__ import annotations

import contextlib
import pathlib
import sys
import typing
from collections.abc import Iterator

import torch

from plait._errors import Error


def is_peft_model(model: typing.Any) -> bool:
    """Whether it is a PeftModel; nothing is one where peft was never imported."""
    peft = sys.modules.get("peft")
    return peft is not None and isinstance(model, peft.PeftModel)


def adapters_of(model: typing.Any) -> list[str]:
    """The names of the adapters, in the order in which they were added."""
    for name, config in model.peft_config.items():
        if config.is_prompt_learning:
            raise Error(f"adapter '{name}' is of the kind {config.peft_type.value}, which changes what the model is given and no "
                        "weight; trace the PeftModel as an nn.Module of its own (torch.jit.trace), with its virtual tokens inside", code="P0402")
    return list(model.peft_config)


def base_of(model: typing.Any) -> torch.nn.Module:
    """The model that was adapted."""
    base: torch.nn.Module = model.get_base_model()
    return base


def _original(module: torch.nn.Module) -> torch.nn.Module | None:
    """What PEFT put `module` in the place of; None where it is none of PEFT's."""
    from peft.tuners.tuners_utils import BaseTunerLayer
    if isinstance(module, BaseTunerLayer):
        if getattr(module, "merged", False):
            raise Error("an adapter is merged into the live model's weights; call unmerge_adapter() first", code="P0411")
        original: torch.nn.Module = module.get_base_layer()
        return original
    if type(module).__module__.startswith("peft.") and isinstance(getattr(module, "original_module", None), torch.nn.Module):
        return typing.cast(torch.nn.Module, module.original_module)
    return None


@contextlib.contextmanager
def without_adapters(base: torch.nn.Module) -> Iterator[None]:
    """The layers that PEFT wrapped are themselves again, in their places, as before get_peft_model()."""
    if "peft" not in sys.modules:
        yield
        return
    replaced: list[tuple[torch.nn.Module, str, torch.nn.Module]] = []

    def visit(parent: torch.nn.Module, seen: set[int]) -> None:
        if id(parent) in seen:
            return
        seen.add(id(parent))
        for name, child in list(parent._modules.items()):
            if child is None:
                continue
            original = _original(child)
            if original is not None:
                replaced.append((parent, name, child))
                parent._modules[name] = original
                child = original
            visit(child, seen)
    try:
        visit(base, set())
        yield
    finally:
        for parent, name, child in replaced:
            parent._modules[name] = child


def save_adapter(model: typing.Any, name: str, folder: pathlib.Path) -> pathlib.Path:
    """The adapter's own tensors, as PEFT's save_pretrained() lays them out; the base stays where it is."""
    import copy

    from peft.utils import get_peft_model_state_dict
    from safetensors.torch import save_file

    folder.mkdir(parents=True)
    with torch.no_grad():
        tensors = get_peft_model_state_dict(model, adapter_name=name, save_embedding_layers=False)
        save_file({key: tensor.detach().cpu().contiguous().clone() for key, tensor in tensors.items()}, folder / "adapter_model.safetensors")
    config = copy.deepcopy(model.peft_config[name])
    config.inference_mode = True
    config.save_pretrained(str(folder))
    return folder
