"""Makes the packages beside it with coremltools (9.0 made those that are checked in): small, and each with something
that plait itself does not write. Run again only to add one."""

import pathlib
import shutil

import coremltools as ct
import coremltools.optimize.coreml as optimize
import numpy
import torch
from torch import nn

HERE = pathlib.Path(__file__).parent
torch.manual_seed(0)


def save(name, model, example, compress=None, **options):
    traced = model if isinstance(model, torch.jit.ScriptModule) else torch.jit.trace(model.eval(), example)
    package = ct.convert(traced, **options)
    if compress:
        package = compress(package)
    # Metadata with the date of the day would change the file each time.
    for key in list(package.user_defined_metadata):
        if "date" in key:
            del package.user_defined_metadata[key]
    shutil.rmtree(HERE / f"{name}.mlpackage", ignore_errors=True)
    package.save(str(HERE / f"{name}.mlpackage"))


class Loop(nn.Module):
    def forward(self, x):
        for _ in range(int(x.shape[0])):
            if bool(x.sum() > 0):
                x = x + 1
            else:
                x = x - 1
        return x


class Cache(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("cache", torch.zeros(1, 4, dtype=torch.float16))

    def forward(self, x):
        self.cache.add_(x)
        return self.cache * 2


net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3), nn.Softmax(-1))
mlp = nn.Sequential(nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 4))
image = torch.rand(1, 3, 4, 4)
save("image_classifier", net, image, inputs=[ct.ImageType(name="x", shape=image.shape, scale=1 / 255)],
     classifier_config=ct.ClassifierConfig(["a", "b", "c"]), minimum_deployment_target=ct.target.iOS17)
save("optional_input", mlp, torch.rand(2, 16), minimum_deployment_target=ct.target.iOS15,
     inputs=[ct.TensorType(name="x", shape=(2, 16), default_value=numpy.zeros((2, 16), numpy.float32))])
save("enumerated", mlp, torch.rand(2, 16), minimum_deployment_target=ct.target.iOS18,
     inputs=[ct.TensorType(name="x", shape=ct.EnumeratedShapes([(1, 16), (4, 16)], default=(4, 16)))])
save("quantized16", mlp, torch.rand(2, 16), minimum_deployment_target=ct.target.iOS16,
     inputs=[ct.TensorType(name="x", shape=(2, 16))],
     compress=lambda m: optimize.linear_quantize_weights(
         m, optimize.OptimizationConfig(optimize.OpLinearQuantizerConfig(weight_threshold=10))))
save("int4_blocks", mlp, torch.rand(2, 16), minimum_deployment_target=ct.target.iOS18,
     inputs=[ct.TensorType(name="x", shape=(2, 16))],
     compress=lambda m: optimize.linear_quantize_weights(m, optimize.OptimizationConfig(
         optimize.OpLinearQuantizerConfig(dtype="int4", granularity="per_block", block_size=8, weight_threshold=10))))
save("loop", torch.jit.script(Loop()), None, inputs=[ct.TensorType(name="x", shape=(3, 4))],
     minimum_deployment_target=ct.target.iOS18)
save("state", Cache(), torch.rand(1, 4).half(), inputs=[ct.TensorType(name="x", shape=(1, 4), dtype=numpy.float16)],
     outputs=[ct.TensorType(name="y", dtype=numpy.float16)], minimum_deployment_target=ct.target.iOS18,
     states=[ct.StateType(wrapped_type=ct.TensorType(shape=(1, 4), dtype=numpy.float16), name="cache")])
both = ct.utils.MultiFunctionDescriptor()
for name in ("one", "two"):
    both.add_function(str(HERE / "enumerated.mlpackage"), "main", name)
both.default_function_name = "two"
shutil.rmtree(HERE / "two_functions.mlpackage", ignore_errors=True)
ct.utils.save_multifunction(both, str(HERE / "two_functions.mlpackage"))
