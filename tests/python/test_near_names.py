"""A name that does not exist is answered with the nearest that does: on the disk, in a model, in a package, in the tables."""

import numpy as np
import pytest
import torch
from command import plait, succeed


class Two(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = torch.nn.Linear(4, 3)

    def forward(self, image, scale):
        return self.fc(image) * scale, image.mean()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("near")
    torch.jit.trace(Two(), (torch.rand(2, 4), torch.rand(2, 3))).save(str(path / "model.pt"))
    (path / "chat").mkdir()
    (path / "labels.txt").write_text("a\nb\n")
    for name in ("adapter_1", "adapter_2"):
        succeed("compile", "-o", path / f"{name}.mlpackage", "--function", f"{name}=model.pt", *INTERFACE, cwd=path)
    succeed("merge", "-o", "p.mlpackage", "adapter_1.mlpackage", "adapter_2.mlpackage", cwd=path)
    np.save(path / "image.npy", np.zeros((2, 4), np.float32))
    return path


INTERFACE = ["--input", "image=[2, 4]", "--input", "scale=[2, 3]", "--output", "scores", "--output", "mean"]


@pytest.mark.parametrize("arguments, message", [
    (["compile", "-o", "q.mlpackage", *INTERFACE, "modle.pt"], "modle.pt: no such file (did you mean 'model.pt'?)"),
    (["compile", "-o", "q.mlpackage", *INTERFACE, "--base", "model.pt", "--adapter", "a=./caht"],
     "no such file or folder (did you mean './chat'?)"),
    (["compile", "-o", "q.mlpackage", *INTERFACE, "--function", "one=model.pt", "--default", "oen"], "(did you mean 'one'?)"),
    (["compile", "-o", "q.mlpackage", *INTERFACE, "--allow", "rank-limits", "model.pt"], "(did you mean 'rank-limit'?)"),
    (["compile", "-o", "q.mlpackage", *INTERFACE, "--precision", "fp61", "model.pt"], "(did you mean 'fp16'?)"),
    (["inspect", "q.mlpackage"], "no such package (did you mean 'p.mlpackage'?)"),
    (["remove", "p.mlpackage", "adaptr_2"], "no function 'adaptr_2' (did you mean 'adapter_2'?)"),
    (["remove", "p.mlpackage", "adapter_1", "--default", "adapter2"], "holds adapter_2 (did you mean 'adapter_2'?)"),
    (["run", "p.mlpackage", "--function", "adapter_3", "--output-dir", "out"], "no function 'adapter_3' (did you mean 'adapter_1'?)"),
    (["run", "p.mlpackage", "--input", "imgae=image.npy", "--output-dir", "out"], "no input 'imgae' (did you mean 'image'?)"),
    (["run", "p.mlpackage", "--input", "image=image.npy", "--trace", "scroes", "--output-dir", "out"], "named 'scroes' (did you mean 'scores'?)"),
    (["verify", "p.mlpackage", "--against", "modle.pt"], "modle.pt: no such file (did you mean 'model.pt'?)"),
    (["compile", "-o", "q.mlpackage", *INTERFACE, "--describe", "scroes=one", "model.pt"], "'scroes' to be described (did you mean 'scores'?)"),
    (["compile", "-o", "q.mlpackage", *INTERFACE, "--classes", "labels.txt", "--class-output", "maen", "model.pt"],
     "no output 'maen' (did you mean 'mean'?)"),
    (["compile", "-o", "q.mlpackage", *INTERFACE, "--states", "fc.wieght=fp16", "model.pt"], "no tensor of that name (did you mean 'fc.weight'?)"),
    (["verify", "p.mlpackage", "--against", "model.pt", "--range", "imgae=0..1"], "no input of function 'adapter_1' (did you mean 'image'?)"),
    (["opt", "p.mlpackage", "--passes", "dcee"], "no pass 'dcee' (did you mean 'dce'?)"),
    (["opt", "p.mlpackage", "--print-after", "csee"], "no such pass (did you mean 'cse'?)"),
    (["opt", "q.mlpackage"], "(did you mean 'p.mlpackage'?)"),
    (["doctor", "q.mlpackage"], "no such file or folder (did you mean 'p.mlpackage'?)"),
    (["doctor", "p.mlpackage", "--ignore", "rank-limits"], "(did you mean 'rank-limit'?)"),
    (["explain", "rank-limits"], "(did you mean 'rank-limit'?)"),
    (["compile", "-o", "q.mlpackage", *INTERFACE, "--classes", "label.txt", "model.pt"], "(did you mean 'labels.txt'?)"),
])
def test_the_nearest_is_said(folder, arguments, message):
    result = plait(*arguments, cwd=folder)
    assert result.returncode in (1, 2) and message in result.stderr, result.stderr
