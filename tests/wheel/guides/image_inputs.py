"""coremltools' guide on image inputs and classifiers, with one import changed: scale and bias, labels, an image as the output."""

import numpy as np
import PIL.Image
import torch

import plait.coremltools as ct

torch.manual_seed(0)
torch_model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3, stride=4), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(),
                                  torch.nn.Linear(8, 4), torch.nn.Softmax(-1)).eval()
example_input = torch.rand(1, 3, 32, 32)
traced_model = torch.jit.trace(torch_model, example_input)
class_labels = ["tench", "goldfish", "great white shark", "tiger shark"]

scale = 1 / (0.226 * 255.0)
bias = [-0.485 / 0.229, -0.456 / 0.224, -0.406 / 0.225]
image_input = ct.ImageType(name="image", shape=example_input.shape, scale=scale, bias=bias, color_layout=ct.colorlayout.RGB)
mlmodel = ct.convert(
    traced_model,
    inputs=[image_input],
    classifier_config=ct.ClassifierConfig(class_labels),
    compute_units=ct.ComputeUnit.CPU_ONLY,
    minimum_deployment_target=ct.target.iOS18,
)
mlmodel.short_description = "Which fish it is"
mlmodel.author = "the guide"
mlmodel.license = "CC0"
mlmodel.version = "1.0"
mlmodel.input_description["image"] = "Input image to be classified"
mlmodel.save("fish.mlpackage")

mlmodel = ct.models.MLModel("fish.mlpackage")
assert (mlmodel.author, mlmodel.version, mlmodel.input_description["image"]) == ("the guide", "1.0", "Input image to be classified")
pixels = np.random.randint(0, 256, (32, 32, 3), dtype=np.uint8)
img = PIL.Image.fromarray(pixels)
out_dict = mlmodel.predict({"image": img})
numbers = torch.tensor(pixels, dtype=torch.float32).permute(2, 0, 1)[None] * scale + torch.tensor(bias).reshape(1, 3, 1, 1)
with torch.no_grad():
    expected = torch_model(numbers)[0].numpy()
assert out_dict["classLabel"] == class_labels[int(expected.argmax())]
probabilities = [out_dict["classLabel_probs"][label] for label in class_labels]
assert np.abs(np.array(probabilities) - expected).max() < 1e-2
spec = mlmodel.get_spec()
assert spec.description.input[0].type.imageType.width == 32 and spec.description.predictedFeatureName == "classLabel"


# An image as the output.
class Invert(torch.nn.Module):
    def forward(self, x):
        return 255.0 - x


mlmodel = ct.convert(
    torch.jit.trace(Invert(), torch.rand(1, 3, 8, 8)),
    inputs=[ct.ImageType(name="colorImage", shape=(1, 3, 8, 8), color_layout=ct.colorlayout.RGB)],
    outputs=[ct.ImageType(name="colorOutput", color_layout=ct.colorlayout.RGB)],
    minimum_deployment_target=ct.target.macOS13,
)
small = pixels[:8, :8]
inverted = mlmodel.predict({"colorImage": PIL.Image.fromarray(small)})["colorOutput"]
assert inverted.mode == "RGB" and np.array_equal(np.asarray(inverted), 255 - small)
