"""Makes one convolutional feature extractor with two heads, a classifier and a regressor, each traced whole.

    make_models.py OUTPUT-FOLDER [--width CHANNELS]

writes classifier.pt and regressor.pt, which hold the same backbone weights twice.
"""

import argparse
import pathlib

import torch
from torch import nn


def block(inputs, outputs, stride=1):
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    )


class Backbone(nn.Module):
    """(1, 3, 64, 64) image to (1, 8 * width) features."""

    def __init__(self, width):
        super().__init__()
        self.stages = nn.Sequential(
            block(3, width), nn.MaxPool2d(2),
            block(width, 2 * width), block(2 * width, 2 * width), nn.MaxPool2d(2),
            block(2 * width, 4 * width), block(4 * width, 4 * width), nn.AvgPool2d(2),
            block(4 * width, 8 * width, stride=2),
        )
        self.pool = nn.AdaptiveAvgPool2d(1)

    def forward(self, image):
        return torch.flatten(self.pool(self.stages(image)), 1)


class WithHead(nn.Module):
    def __init__(self, backbone, head):
        super().__init__()
        self.backbone = backbone
        self.head = head

    def forward(self, image):
        return self.head(self.backbone(image))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", type=pathlib.Path)
    parser.add_argument("--width", type=int, default=32)
    options = parser.parse_args()

    options.output.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    backbone = Backbone(options.width)
    images = torch.rand(8, 3, 64, 64)
    with torch.no_grad():
        for _ in range(4):  # batch norm gathers statistics, as in training
            backbone(images + 0.1 * torch.randn_like(images))
    features = 8 * options.width
    heads = {
        "classifier": nn.Sequential(nn.Linear(features, 10), nn.Softmax(dim=1)),
        "regressor": nn.Sequential(nn.Linear(features, 64), nn.GELU(), nn.Linear(64, 4)),
    }
    for name, head in heads.items():
        model = WithHead(backbone, head).eval()
        torch.jit.save(torch.jit.trace(model, images[:1]), str(options.output / f"{name}.pt"))


if __name__ == "__main__":
    main()
