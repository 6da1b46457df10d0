"""Adapters: PEFT folders, and live PeftModels, each with as many functions as it holds adapters."""

import copy

import numpy as np
import plait
import pytest
import torch
from torch import nn

peft = pytest.importorskip("peft")


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(16, 32)
        self.second = nn.Linear(32, 8)
        self.head = nn.Linear(8, 4)

    def forward(self, x):
        return self.head(torch.relu(self.second(torch.relu(self.first(x)))))


def lora(rank=4, **options):
    return peft.LoraConfig(target_modules=["first", "second"], r=rank, lora_alpha=8, init_lora_weights=False, **options)


def close(ours, theirs):
    theirs = theirs.detach().numpy()
    return np.abs(ours.astype(np.float32) - theirs).max() <= 2e-2 * max(1, np.abs(theirs).max())


@pytest.fixture
def base():
    torch.manual_seed(0)
    return Net()


@pytest.fixture
def live(base):
    model = peft.get_peft_model(base, lora(), adapter_name="chat")
    model.add_adapter("code", lora(2, modules_to_save=["head"]))
    for parameter in model.base_model.model.head.modules_to_save["code"].parameters():
        parameter.data.normal_()
    model.set_adapter("code")
    return model


def expected(live, name, x):
    live.eval()
    live.set_adapter(name)
    return live(x)


def test_a_live_model_gives_a_function_for_each_adapter(live):
    live.train()
    kinds = [type(module) for module in live.modules()]
    modes = [module.training for module in live.modules()]
    package = plait.compile(live, inputs=[torch.rand(1, 16)], outputs=["y"])
    assert [type(module) for module in live.modules()] == kinds and [module.training for module in live.modules()] == modes
    assert live.active_adapter == "code"
    assert list(package.functions) == ["chat", "code"]
    x = torch.rand(1, 16)
    for name, function in package.functions.items():
        assert close(function(x)["y"], expected(live, name, x)), name
        assert function.summary.own_bytes < function.summary.weight_bytes / 2  # the base is shared


def test_folders_and_live_models_beside_the_base(base, live, tmp_path):
    live.save_pretrained(str(tmp_path), selected_adapters=["chat"])
    torch.manual_seed(0)
    untouched = Net()  # the weights of `base`, which PEFT has wrapped
    package = plait.compile({"plain": untouched}, inputs=[(1, 16)], outputs=["y"], adapters={"chat": tmp_path / "chat", "live": live})
    assert list(package.functions) == ["plain", "chat", "live_chat", "live_code"]
    x = torch.rand(1, 16)
    assert close(package.functions["plain"](x)["y"], untouched.eval()(x))
    for name, adapter in (("chat", "chat"), ("live_chat", "chat"), ("live_code", "code")):
        assert close(package.functions[name](x)["y"], expected(live, adapter, x)), name


def test_the_base_is_traced_once(live, monkeypatch):
    from plait import _trace
    calls = []
    trace = _trace.trace
    monkeypatch.setattr(_trace, "trace", lambda *arguments: calls.append(1) or trace(*arguments))
    plait.compile(live, inputs=[torch.rand(1, 16)], base_function="plain", base=live.get_base_model())
    assert len(calls) == 1


def test_phases(base, tmp_path):
    model = peft.get_peft_model(copy.deepcopy(base), lora())
    model.save_pretrained(str(tmp_path))
    package = plait.compile(base={"one": base, "many": base}, base_function="plain", inputs={"one": [(1, 16)], "many": [(4, 16)]}, outputs=["y"],
                            adapters={"a": tmp_path})
    assert list(package.functions) == ["plain_one", "plain_many", "a_one", "a_many"]
    x = torch.rand(4, 16)
    assert close(package.functions["a_many"](x)["y"], model.eval()(x))


def test_blends_scales_and_inputs(base, tmp_path):
    for name in ("a", "b"):
        peft.get_peft_model(copy.deepcopy(base), lora()).save_pretrained(str(tmp_path / name))
    package = plait.compile(base, inputs=[(1, 16)], outputs=["y"],
                            adapters={"blend": f"{tmp_path}/a:0.5+{tmp_path}/b:0.5", "folded": plait.Adapter(tmp_path / "a", lora="fold"),
                                      "given": plait.Adapter(tmp_path / "a", lora="inputs")}, output=tmp_path / "p.mlpackage")
    assert package.report.adapter_map.endswith("p.adapter.json")
    arrays = plait.pack_adapter(tmp_path / "b", package, "given")
    x = torch.rand(1, 16)
    out = package.functions["given"].predict({"x": x, **arrays})["y"]
    model = peft.PeftModel.from_pretrained(copy.deepcopy(base), str(tmp_path / "b")).eval()
    assert close(out, model(x))


def test_refusals(base, live, tmp_path):
    with pytest.raises(plait.Error, match="neither|no such|not"):
        plait.compile(base, inputs=[(1, 16)], adapters={"a": tmp_path / "nowhere"})
    live.merge_adapter()
    with pytest.raises(plait.Error, match="unmerge_adapter"):
        plait.compile(live, inputs=[(1, 16)])
    live.unmerge_adapter()
    with pytest.raises(plait.Error, match="the names of functions"):
        plait.compile(base, inputs=[(1, 16)], adapters=[tmp_path])
