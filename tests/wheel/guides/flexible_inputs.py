"""coremltools' guide on flexible input shapes, with one import changed: enumerated shapes, ranges, and several inputs."""

import numpy as np
import torch

import plait.coremltools as ct


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.features = torch.nn.Sequential(
            torch.nn.Conv2d(3, 8, 3, stride=2, padding=1), torch.nn.BatchNorm2d(8), torch.nn.ReLU6(), torch.nn.Conv2d(8, 16, 3, stride=2, padding=1),
            torch.nn.ReLU6(), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
        self.classifier = torch.nn.Linear(16, 10)

    def forward(self, x):
        return self.classifier(self.features(x))


torch_model = Net().eval()
example_input = torch.rand(1, 3, 67, 67)
traced_model = torch.jit.trace(torch_model, example_input)


def check(mlmodel, *sizes):
    for height, width in sizes:
        x = np.random.rand(1, 3, height, width).astype(np.float32)
        with torch.no_grad():
            expected = torch_model(torch.tensor(x)).numpy()
        assert np.abs(mlmodel.predict({"input": x})["output"] - expected).max() < 1e-2


# Select from predetermined shapes.
input_shape = ct.EnumeratedShapes(shapes=[[1, 3, 25, 25], [1, 3, 50, 50], [1, 3, 67, 67]], default=[1, 3, 67, 67])
model_from_torch = ct.convert(
    traced_model,
    inputs=[ct.TensorType(shape=input_shape, name="input")],
    outputs=[ct.TensorType(name="output")],
    minimum_deployment_target=ct.target.iOS16,
)
check(model_from_torch, (25, 25), (50, 50), (67, 67))
spec = model_from_torch.get_spec()
array = spec.description.input[0].type.multiArrayType
assert list(array.shape) == [1, 3, 67, 67]
assert [list(shape.shape) for shape in array.enumeratedShapes.shapes] == [[1, 3, 67, 67], [1, 3, 25, 25], [1, 3, 50, 50]]

# Set the range for each dimension.
input_shape = ct.Shape(shape=(1, 3, ct.RangeDim(lower_bound=25, upper_bound=100, default=45), ct.RangeDim(lower_bound=25, upper_bound=100, default=45)))
model_from_torch = ct.convert(
    traced_model,
    inputs=[ct.TensorType(shape=input_shape, name="input")],
    outputs=[ct.TensorType(name="output")],
    minimum_deployment_target=ct.target.iOS16,
)
check(model_from_torch, (25, 25), (45, 60), (100, 100))
ranges = model_from_torch.get_spec().description.input[0].type.multiArrayType.shapeRange.sizeRanges
assert [(one.lowerBound, one.upperBound) for one in ranges] == [(1, 1), (3, 3), (25, 100), (25, 100)]


# Several inputs.
class Concatenate(torch.nn.Module):
    def forward(self, x, y):
        return torch.cat([x, y], dim=-1)


traced_model = torch.jit.trace(Concatenate(), (torch.rand(1, 4), torch.rand(1, 6)))
dim = ct.RangeDim(lower_bound=1, upper_bound=16)
mlmodel = ct.convert(
    traced_model,
    inputs=[ct.TensorType(name="x", shape=(1, dim)), ct.TensorType(name="y", shape=(1, 6), dtype=np.float32)],
    outputs=[ct.TensorType(name="z", dtype=np.float32)],
    minimum_deployment_target=ct.target.iOS18,
)
assert mlmodel.predict({"x": np.ones((1, 9)), "y": np.zeros((1, 6))})["z"].sum() == 9
