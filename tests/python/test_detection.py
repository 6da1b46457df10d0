"""torchvision's operators in TorchScript files and archives, where no torchvision is: loaded, lowered, verified by plait's own kernels.

The reference is written here, by the definitions of torchvision's documentation and kernels (csrc/ops/cpu).
"""

import math
import re

import exported
import numpy as np
import pytest
import torch
from command import plait, succeed
from torch import nn

SCHEMAS = """nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor
roi_align(Tensor input, Tensor rois, float spatial_scale, int pooled_height, int pooled_width, int sampling_ratio, bool aligned) -> Tensor
roi_pool(Tensor input, Tensor rois, float spatial_scale, int pooled_height, int pooled_width) -> (Tensor, Tensor)
ps_roi_align(Tensor input, Tensor rois, float spatial_scale, int pooled_height, int pooled_width, int sampling_ratio) -> (Tensor, Tensor)
ps_roi_pool(Tensor input, Tensor rois, float spatial_scale, int pooled_height, int pooled_width) -> (Tensor, Tensor)
deform_conv2d(Tensor input, Tensor weight, Tensor offset, Tensor mask, Tensor bias, int stride_h, int stride_w, int pad_h, int pad_w, """ \
    "int dilation_h, int dilation_w, int groups, int offset_groups, bool use_mask) -> Tensor"


def nms(boxes, scores, threshold):
    kept = []
    for i in scores.sort(descending=True, stable=True)[1].tolist():
        def overlap(j, i=i):
            low, high = torch.maximum(boxes[i, :2], boxes[j, :2]), torch.minimum(boxes[i, 2:], boxes[j, 2:])
            both = (high - low).clamp(min=0).prod()
            return both / ((boxes[i, 2:] - boxes[i, :2]).prod() + (boxes[j, 2:] - boxes[j, :2]).prod() - both)
        if all(overlap(j) <= threshold for j in kept):
            kept.append(i)
    return torch.tensor(kept, dtype=torch.int64)


def between(image, y, x, border):
    """Bilinear; at the border, up to one position outside, the border itself, or zeros around the image."""
    height, width = image.shape
    if border:
        if y < -1 or y > height or x < -1 or x > width:
            return 0.0
        y, x = min(max(y, 0), height - 1), min(max(x, 0), width - 1)
    total = 0.0
    for row in (math.floor(y), math.floor(y) + 1):
        for column in (math.floor(x), math.floor(x) + 1):
            if 0 <= row < height and 0 <= column < width:
                total += float(image[row, column]) * (1 - abs(y - row)) * (1 - abs(x - column))
    return total


def samples(image, top, left, bin_height, bin_width, ratio):
    """Without a ratio, as many as the bin is long."""
    rows, columns = (ratio if ratio > 0 else max(math.ceil(size), 0) for size in (bin_height, bin_width))
    return sum(between(image, top + (i + 0.5) * bin_height / rows, left + (j + 0.5) * bin_width / columns, True)
               for i in range(rows) for j in range(columns)) / max(rows * columns, 1)


def regions(rois, channels, height, width, bin_of):
    result = torch.zeros(len(rois), channels, height, width)
    for n, roi in enumerate(rois.tolist()):
        for c in range(channels):
            for i in range(height):
                for j in range(width):
                    result[n, c, i, j] = bin_of(int(roi[0]), roi[1:], c, i, j)
    return result


def mapping(x, rois, height, width):
    return torch.arange(x.shape[1], dtype=torch.int32).reshape(1, -1, height, width).repeat(len(rois), 1, 1, 1)


def roi_align(x, rois, scale, height, width, ratio, aligned):
    def bin_of(image, roi, c, i, j):
        left, top, right, bottom = [side * scale - (0.5 if aligned else 0) for side in roi]
        h, w = (bottom - top, right - left) if aligned else (max(bottom - top, 1), max(right - left, 1))
        return samples(x[image, c], top + i * h / height, left + j * w / width, h / height, w / width, ratio)
    return regions(rois, x.shape[1], height, width, bin_of)


def ps_roi_align(x, rois, scale, height, width, ratio):
    def bin_of(image, roi, c, i, j):
        left, top, right, bottom = [side * scale - 0.5 for side in roi]
        h, w = (bottom - top) / height, (right - left) / width
        return samples(x[image, (c * height + i) * width + j], top + i * h, left + j * w, h, w, ratio)
    return regions(rois, x.shape[1] // (height * width), height, width, bin_of), mapping(x, rois, height, width)


def roi_pool(x, rois, scale, height, width):
    places = torch.full((len(rois), x.shape[1], height, width), -1, dtype=torch.int32)

    def bin_of(image, roi, c, i, j):
        left, top, right, bottom = [int(math.copysign(math.floor(abs(side * scale) + 0.5), side)) for side in roi]
        h, w = max(bottom - top + 1, 1) / height, max(right - left + 1, 1) / width
        rows = [min(max(edge + top, 0), x.shape[2]) for edge in (math.floor(i * h), math.ceil((i + 1) * h))]
        columns = [min(max(edge + left, 0), x.shape[3]) for edge in (math.floor(j * w), math.ceil((j + 1) * w))]
        part = x[image, c, rows[0]:rows[1], columns[0]:columns[1]]
        if not part.numel():
            return 0.0
        n, = [n for n, other in enumerate(rois.tolist()) if other[1:] == roi and int(other[0]) == image]
        row, column = divmod(int(part.argmax()), part.shape[1])
        places[n, c, i, j] = (row + rows[0]) * x.shape[3] + column + columns[0]
        return float(part.max())
    return regions(rois, x.shape[1], height, width, bin_of), places


def ps_roi_pool(x, rois, scale, height, width):
    def bin_of(image, roi, c, i, j):
        left, top, right, bottom = [int(math.copysign(math.floor(abs(side * scale) + 0.5), side)) for side in roi]
        h, w = max(bottom - top, 1) / height, max(right - left, 1) / width
        rows = [min(max(edge + top, 0), x.shape[2] - 1) for edge in (math.floor(i * h), math.ceil((i + 1) * h))]
        columns = [min(max(edge + left, 0), x.shape[3] - 1) for edge in (math.floor(j * w), math.ceil((j + 1) * w))]
        part = x[image, (c * height + i) * width + j, rows[0]:rows[1], columns[0]:columns[1]]
        return float(part.mean()) if part.numel() else 0.0
    return regions(rois, x.shape[1] // (height * width), height, width, bin_of), mapping(x, rois, height, width)


def deform_conv2d(x, weight, offset, mask, bias, sh, sw, ph, pw, dh, dw, groups, offset_groups, use_mask):
    result = torch.zeros(x.shape[0], weight.shape[0], *offset.shape[2:])
    taps, columns = weight.shape[2] * weight.shape[3], weight.shape[3]
    for n, out, i, j in np.ndindex(*result.shape):
        for inner in range(weight.shape[1]):
            channel = out // (weight.shape[0] // groups) * weight.shape[1] + inner
            for tap in range(taps):
                own = channel // (x.shape[1] // offset_groups) * taps + tap
                y = i * sh - ph + tap // columns * dh + float(offset[n, 2 * own, i, j])
                z = j * sw - pw + tap % columns * dw + float(offset[n, 2 * own + 1, i, j])
                value = between(x[n, channel], y, z, False) * float(weight[out, inner, tap // columns, tap % columns])
                result[n, out, i, j] += value * (float(mask[n, own, i, j]) if use_mask else 1)
    return result + bias.reshape(1, -1, 1, 1)


@pytest.fixture(scope="module", autouse=True)
def library():
    """torchvision's operators in this process."""
    declared = torch.library.Library("torchvision", "FRAGMENT")
    for schema in SCHEMAS.splitlines():
        declared.define(schema)
    for kernel in (nms, roi_align, roi_pool, ps_roi_align, ps_roi_pool, deform_conv2d):
        declared.impl(kernel.__name__, kernel, "CPU")
    declared.impl("roi_align", lambda x, rois, scale, height, width, ratio, aligned: x.new_empty(len(rois), x.shape[1], height, width), "Meta")
    return declared


def boxes(count, size=40.0):
    corners = torch.rand(count, 2) * size
    return torch.cat([corners, corners + 1 + torch.rand(count, 2) * size], 1)


def rois(count, images=1):
    return torch.cat([torch.randint(0, images, (count, 1)).float(), boxes(count)], 1)


def check_script(folder, module, inputs, declared, tolerance=1e-4):
    torch.jit.script(module.eval()).save(str(folder / "model.pt"))
    package = folder / "p.mlpackage"
    options = [part for one in declared for part in ("--input", one)]
    succeed("compile", "-q", "-o", package, "--precision", "fp32", *options, folder / "model.pt")
    for one in inputs:
        exported.check_run(folder, package, module, one, tolerance)
    return package


class Suppressed(nn.Module):
    def forward(self, x, scores):
        kept = torch.ops.torchvision.nms(x, scores, 0.4)
        return kept, x[kept], scores[kept][:3]


def test_nms(tmp_path):
    torch.manual_seed(0)
    draws = [(boxes(20), torch.rand(20)) for _ in range(3)] + [(boxes(20, 4.0), torch.ones(20))]
    package = check_script(tmp_path, Suppressed(), draws, ["x=[20, 4]", "scores=[20]"])
    assert "non_maximum_suppression" in succeed("inspect", package).stdout
    # plait's own kernel; the boxes are those that were drawn here, since random ones have no area.
    np.save(tmp_path / "boxes.npy", draws[0][0].numpy())
    succeed("verify", package, "--against", tmp_path / "model.pt", "--input", f"x={tmp_path / 'boxes.npy'}")


class SuppressedByScore(nn.Module):
    """Of those that are good enough: how many there are is known at run time."""

    def forward(self, x, scores):
        good = scores > 0.5
        kept = torch.ops.torchvision.nms(x[good], scores[good], 0.4)
        return x[good][kept]


def test_nms_of_a_selection(tmp_path):
    torch.manual_seed(0)
    check_script(tmp_path, SuppressedByScore(), [(boxes(20), torch.rand(20)) for _ in range(3)], ["x=[20, 4]", "scores=[20]"])


class SuppressedByLevel(nn.Module):
    """As detectors do: of each level what is good enough and at most five, all in one, nothing where there is none. The number of boxes has a bound."""

    def forward(self, x, scores):
        found, rated = [], []
        for level in range(12):
            good = scores[level] > 0.8
            rates, boxes = scores[level][good], x[level][good]
            count = torch.cat([torch.tensor([5]), torch._shape_as_tensor(rates)[0].unsqueeze(0)], 0).min()
            rates, order = rates.topk(int(count.item()))
            found.append(boxes[order])
            rated.append(rates)
        boxes, rates = torch.cat(found, 0), torch.cat(rated, 0)
        if boxes.numel() == 0:
            kept = torch.empty([0], dtype=torch.int64)
        else:
            kept = torch.ops.torchvision.nms(boxes + boxes.max() * 0.5, rates, 0.4)
        kept = kept[:20]
        return boxes[kept], rates[kept]


def test_nms_of_levels(tmp_path):
    torch.manual_seed(0)
    x = torch.stack([boxes(20) for _ in range(12)])
    package = check_script(tmp_path, SuppressedByLevel(), [(x, torch.rand(12, 20) ** power) for power in (1, 8, 0.1)] + [(x, torch.zeros(12, 20))],
                           ["x=[12, 20, 4]", "scores=[12, 20]"])
    limit = re.search(r"_max_boxes = const\(\).*val = int32\((\d+)\)", succeed("opt", package).stdout)
    assert limit.group(1) == "60"


class Regions(nn.Module):
    def __init__(self, aligned: bool):
        super().__init__()
        self.aligned = aligned

    def forward(self, x, rois):
        aligned = torch.ops.torchvision.roi_align(x, rois, 0.25, 3, 2, 2, self.aligned)
        sensitive, channels = torch.ops.torchvision.ps_roi_align(x, rois, 0.25, 3, 2, 2)
        pooled, channels = torch.ops.torchvision.ps_roi_pool(x, rois, 0.25, 3, 2)
        most, places = torch.ops.torchvision.roi_pool(x, rois, 0.25, 3, 2)
        return aligned, sensitive, pooled, channels, most, places


class Adaptive(nn.Module):
    """As many samples as each bin is long."""

    def __init__(self, aligned: bool):
        super().__init__()
        self.aligned = aligned

    def forward(self, x, rois):
        aligned = torch.ops.torchvision.roi_align(x, rois, 0.25, 3, 2, -1, self.aligned)
        return aligned, torch.ops.torchvision.ps_roi_align(x, rois, 0.25, 3, 2, 0)[0]


@pytest.mark.parametrize("aligned", [False, True])
def test_adaptive_regions(tmp_path, aligned):
    """Smaller than a position, turned around, over the borders, and many times larger than the map."""
    torch.manual_seed(1)
    special = torch.tensor([[0, 8, 8, 9, 9.0], [0, 20, 20, 12, 12], [0, -300, -500, 400, 700], [0, 90, 90, 130, 140]])
    inputs = torch.randn(1, 12, 9, 11), torch.cat([rois(4), special])
    package = check_script(tmp_path, Adaptive(aligned), [inputs], ["x=[1, 12, 9, 11]", "rois=[8, 5]"])
    np.save(tmp_path / "rois.npy", inputs[1].numpy())
    succeed("verify", package, "--against", tmp_path / "model.pt", "--input", f"rois={tmp_path / 'rois.npy'}")


@pytest.mark.parametrize("aligned", [False, True])
@pytest.mark.parametrize("images", [1, 3])
def test_regions(tmp_path, images, aligned):
    """Within the maps, over their borders and outside; of one image and of several."""
    torch.manual_seed(images)
    inputs = torch.randn(images, 12, 9, 11), rois(6, images)
    package = check_script(tmp_path, Regions(aligned), [inputs], [f"x=[{images}, 12, 9, 11]", "rois=[6, 5]"])
    np.save(tmp_path / "rois.npy", inputs[1].numpy())
    succeed("verify", package, "--against", tmp_path / "model.pt", "--input", f"rois={tmp_path / 'rois.npy'}")


class Deformed(nn.Module):
    def __init__(self, groups: int, offset_groups: int, use_mask: bool):
        super().__init__()
        torch.manual_seed(0)
        self.groups, self.offset_groups, self.use_mask = groups, offset_groups, use_mask
        self.weight, self.bias = nn.Parameter(torch.randn(4, 4 // groups, 3, 2)), nn.Parameter(torch.randn(4))

    def forward(self, x, offset, mask):
        return torch.ops.torchvision.deform_conv2d(x, self.weight, offset, mask, self.bias, 2, 1, 1, 1, 1, 2, self.groups,
                                                   self.offset_groups, self.use_mask)


@pytest.mark.parametrize("groups, offset_groups, use_mask", [(1, 1, True), (2, 2, True), (2, 1, False)])
def test_deformable_convolution(tmp_path, groups, offset_groups, use_mask):
    module, taps = Deformed(groups, offset_groups, use_mask), offset_groups * 6
    height, width = 3, 6
    inputs = torch.randn(2, 4, 6, 6), torch.randn(2, 2 * taps, height, width), torch.rand(2, taps, height, width)
    declared = ["x=[2, 4, 6, 6]", f"offset=[2, {2 * taps}, {height}, {width}]", f"mask=[2, {taps}, {height}, {width}]"]
    with torch.no_grad():
        package = check_script(tmp_path, module, [inputs], declared)
    succeed("verify", package, "--against", tmp_path / "model.pt")


def test_archives(tmp_path):
    class Aligned(nn.Module):
        def forward(self, x, rois):
            return torch.ops.torchvision.roi_align(x, rois, 0.5, 2, 2, 2, False) * 2

    exported.check(tmp_path, Aligned(), (torch.randn(1, 3, 8, 8), rois(4)), verify=False)


def test_refusals(tmp_path):
    class Undivided(nn.Module):
        def forward(self, x, rois):
            return torch.ops.torchvision.ps_roi_pool(x, rois, 1.0, 2, 2)[0]

    torch.jit.script(Undivided()).save(str(tmp_path / "model.pt"))
    result = plait("compile", "-o", tmp_path / "p.mlpackage", "--input", "x=[1, 3, 8, 8]", "--input", "rois=[4, 5]", tmp_path / "model.pt")
    assert result.returncode == 1 and "a number of channels that the bins do not divide" in result.stderr, result.stderr
