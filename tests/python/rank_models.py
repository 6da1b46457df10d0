"""Blocks of published vision and audio models whose tensors have six axes and more, written out small.

blocks() gives (name, module, input as plait's --input has it, example).
"""

import torch
import torch.nn.functional as F
from torch import nn

BLOCKS = {}


def block(*shape):
    """Registers a module with the shape of its input, in which "1..3" is a range."""
    def register(cls):
        BLOCKS[cls.__name__] = (cls, shape)
        return cls
    return register


class Attention(nn.Module):
    """Self-attention over the last axis but one."""
    def __init__(self, dim, heads):
        super().__init__()
        self.heads, self.qkv, self.proj = heads, nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)

    def forward(self, x):
        b, n, c = x.shape
        q, k, v = self.qkv(x).reshape(b, n, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4)
        y = (q @ k.transpose(-2, -1) * (c // self.heads) ** -0.5).softmax(-1) @ v
        return self.proj(y.transpose(1, 2).reshape(b, n, c))


def windows(x, w):
    b, h, v, c = x.shape
    return x.view(b, h // w, w, v // w, w, c).permute(0, 1, 3, 2, 4, 5).reshape(-1, w * w, c)


def unwindows(x, w, h, v):
    b = x.shape[0] // ((h // w) * (v // w))
    return x.view(b, h // w, v // w, w, w, -1).permute(0, 1, 3, 2, 4, 5).reshape(b, h, v, -1)


class Windows(nn.Module):
    def __init__(self, size=4, shift=0, dim=8):
        super().__init__()
        self.size, self.shift, self.norm, self.attention = size, shift, nn.LayerNorm(dim), Attention(dim, 2)

    def forward(self, x):
        h, v = x.shape[1:3]
        y = self.norm(x)
        if self.shift:
            y = torch.roll(y, (-self.shift, -self.shift), (1, 2))
        y = unwindows(self.attention(windows(y, self.size)), self.size, h, v)
        if self.shift:
            y = torch.roll(y, (self.shift, self.shift), (1, 2))
        return x + y


@block(1, 8, 8, 8)
class Swin(Windows):
    pass


@block(1, 4, 4, 8)
class SwinSingleWindow(Windows):
    """One window: every reshape to six axes only adds axes of one element."""


@block(2, 8, 12, 8)
class SwinShifted(Windows):
    def __init__(self):
        super().__init__(4, 2)


@block("1..3", 8, 8, 8)
class SwinBatches(Windows):
    pass


@block(1, "1..3", "1..4", 8)
class SwinSizes(nn.Module):
    """Sizes are known when the model runs."""
    def __init__(self):
        super().__init__()
        self.attention = Attention(8, 2)

    def forward(self, x):
        x = torch.cat([x, x, x, x], 1)
        x = torch.cat([x, x, x, x], 2)
        return unwindows(self.attention(windows(x, 4)), 4, x.shape[1], x.shape[2])


@block(1, 8, 9, 11)
class ViTDetWindows(nn.Module):
    """Padded to whole windows, and cut again (SAM, ViTDet)."""
    def __init__(self):
        super().__init__()
        self.attention = Attention(8, 2)

    def forward(self, x):
        x = x.permute(0, 2, 3, 1)
        h, v = x.shape[1:3]
        y = F.pad(x, (0, 0, 0, -v % 4, 0, -h % 4))
        y = unwindows(self.attention(windows(y, 4)), 4, y.shape[1], y.shape[2])
        return y[:, :h, :v].contiguous()


@block(1, 8, 8, 8)
class MaxViT(nn.Module):
    """Blocks, then a grid, as torchvision and timm have them: seven axes with the heads."""
    def __init__(self):
        super().__init__()
        self.one, self.two = Attention(8, 2), Attention(8, 4)

    def forward(self, x):
        b, c, h, v = x.shape
        p = 4
        y = x.reshape(b, c, h // p, p, v // p, p).permute(0, 2, 4, 3, 5, 1).reshape(b, (h // p) * (v // p), p * p, c)
        y = self.one(y.flatten(0, 1)).view_as(y)
        x = y.reshape(b, h // p, v // p, p, p, c).permute(0, 5, 1, 3, 2, 4).reshape(b, c, h, v)
        y = x.reshape(b, c, p, h // p, p, v // p).permute(0, 3, 5, 2, 4, 1).reshape(b, (h // p) * (v // p), p * p, c)
        y = self.two(y.flatten(0, 1)).view_as(y)
        return y.reshape(b, h // p, v // p, p, p, c).permute(0, 5, 3, 1, 4, 2).reshape(b, c, h, v)


@block(1, 8, 8, 8)
class DaViT(nn.Module):
    """Windows of channels in groups."""
    def __init__(self):
        super().__init__()
        self.qkv = nn.Linear(8, 24)

    def forward(self, x):
        b, h, v, c = x.shape
        w = x.view(b, h // 4, 4, v // 4, 4, c).permute(0, 1, 3, 2, 4, 5).contiguous().view(-1, 16, c)
        q, k, u = self.qkv(w).reshape(w.shape[0], 16, 3, 2, c // 2).permute(2, 0, 3, 1, 4).unbind(0)
        y = ((q.transpose(-1, -2) @ k).softmax(-1) @ u.transpose(-1, -2)).transpose(-1, -2)
        y = y.transpose(1, 2).reshape(-1, 4, 4, c)
        return y.view(-1, h // 4, v // 4, 4, 4, c).permute(0, 1, 3, 2, 4, 5).contiguous().view(-1, h, v, c)


@block(1, 6, 8, 8)
class MobileViTv2(nn.Module):
    """Unfold, separable attention with a sum over patches, fold."""
    def __init__(self):
        super().__init__()
        self.qkv = nn.Conv2d(6, 13, 1)

    def forward(self, x):
        b, c, h, v = x.shape
        y = x.reshape(b, c, h // 2, 2, v // 2, 2).permute(0, 1, 3, 5, 2, 4).reshape(b, c, -1, h // 2 * (v // 2))
        q, k, u = self.qkv(y).split([1, 6, 6], 1)
        y = F.relu(u) * (k * q.softmax(-1)).sum(-1, keepdim=True)
        y = y.reshape(b, c, 2, 2, h // 2, v // 2).permute(0, 1, 4, 2, 5, 3)
        return y.reshape(b, c, h, v)


@block(1, 64, 8)
class HieraUnroll(nn.Module):
    """Tokens in the order of pooling, two steps; back with a mask unit of its own axes."""
    def forward(self, x):
        b, n, c = x.shape
        size = [8, 8]
        y = x.view(b, *size, c)
        for _ in range(2):
            size = [s // 2 for s in size]
            y = y.view(y.shape[0], size[0], 2, size[1], 2, c).permute(0, 2, 4, 1, 3, 5)
            y = y.flatten(0, 2).reshape(-1, size[0], size[1], c)
        y = y.reshape(-1, b, n // 16, c).transpose(0, 1).reshape(b, n, c)
        # reroll, with a pooled axis of one element a side
        z = y.view(b, 4, 4, 4, 1, 1, c).permute(0, 3, 1, 4, 2, 5, 6).reshape(b, n // 4, 1, 4, 1, c)
        return y, z.max(3)[0].squeeze(2).squeeze(2)


@block(1, 8, 8, 8)
class Twins(nn.Module):
    """Locally grouped attention: heads and three parts beside the groups, of seven axes."""
    def __init__(self):
        super().__init__()
        self.qkv = nn.Linear(8, 24)

    def forward(self, x):
        b, h, v, c = x.shape
        y = x.reshape(b, h // 4, 4, v // 4, 4, c).transpose(2, 3)
        qkv = self.qkv(y).reshape(b, (h // 4) * (v // 4), 16, 3, 2, c // 2).permute(3, 0, 1, 4, 2, 5)
        q, k, u = qkv[0], qkv[1], qkv[2]
        y = (q @ k.transpose(-2, -1)).softmax(-1) @ u
        y = y.transpose(2, 3).reshape(b, h // 4, v // 4, 4, 4, c)
        return y.transpose(2, 3).reshape(b, h, v, c)


@block(1, 8, 8, 8)
class Nest(nn.Module):
    """Blockify and back, with attention of six axes between."""
    def __init__(self):
        super().__init__()
        self.qkv = nn.Linear(8, 24)

    def forward(self, x):
        b, h, v, c = x.shape
        y = x.reshape(b, h // 4, 4, v // 4, 4, c).transpose(2, 3).reshape(b, -1, 16, c)
        q, k, u = self.qkv(y).reshape(b, y.shape[1], 16, 3, 2, c // 2).permute(3, 0, 4, 1, 2, 5).unbind(0)
        y = F.scaled_dot_product_attention(q, k, u).permute(0, 2, 3, 4, 1).reshape(b, -1, 16, c)
        return y.reshape(b, h // 4, v // 4, 4, 4, c).transpose(2, 3).reshape(b, h, v, c)


@block(1, 2, 16, 8)
class MViT(nn.Module):
    """Decomposed relative positions, added along two pairs of axes."""
    def __init__(self):
        super().__init__()
        self.rel = nn.Parameter(torch.randn(4, 4, 8))

    def forward(self, q):
        b, n, _, d = q.shape
        scores = q @ q.transpose(-2, -1)
        r = q.reshape(b, n, 4, 4, d)
        h = torch.einsum("byhwc,hkc->byhwk", r, self.rel)
        w = torch.einsum("byhwc,wkc->byhwk", r, self.rel)
        scores = scores.view(b, n, 4, 4, 4, 4) + h[..., None] + w[..., None, :]
        return scores.view(b, n, 16, 16).softmax(-1)


@block(1, 4, 16)
class SnacUpsampling(nn.Module):
    """Noise and snake on a signal that is repeated along an axis of its own."""
    def __init__(self):
        super().__init__()
        self.alpha = nn.Parameter(torch.rand(1, 4, 1) + 0.5)
        self.up = nn.ConvTranspose1d(4, 4, 4, 2, 1)

    def forward(self, x):
        shape = x.shape
        y = x.reshape(shape[0], shape[1], -1)
        y = y + (self.alpha + 1e-9).reciprocal() * torch.sin(self.alpha * y).pow(2)
        y = self.up(y.reshape(shape))
        b, c, t = y.shape
        # local attention: windows of the time axis with heads, three at once
        w = y.view(b, 2, c // 2, t // 8, 8).unsqueeze(0).expand(3, -1, -1, -1, -1, -1).permute(0, 1, 2, 4, 3, 5)
        return torch.einsum("bhnid,bhnjd->bhnij", w[0], w[1]).softmax(-1) @ w[2]


@block(1, 3, 5, 6)
class UpFirDn(nn.Module):
    """StyleGAN's upsampling: zeros between, a pad, a filter."""
    def __init__(self):
        super().__init__()
        self.register_buffer("kernel", torch.tensor([[1., 2, 1], [2, 4, 2], [1, 2, 1]]) / 16)

    def forward(self, x):
        b, c, h, w = x.shape
        y = x.reshape(b, c, h, 1, w, 1)
        y = F.pad(y, [0, 1, 0, 0, 0, 1]).reshape(b, c, h * 2, w * 2)
        y = F.pad(y, [2, 1, 2, 1])
        return F.conv2d(y, self.kernel[None, None].repeat(c, 1, 1, 1), groups=c)[:, :, ::1, ::1]


@block(1, 4, 3, 3)
class NearestByExpand(nn.Module):
    def forward(self, x):
        b, c, h, w = x.shape
        y = x[:, :, :, None, :, None].expand(b, c, h, 2, w, 3)
        return y.reshape(b, c, h * 2, w * 3)


@block(1, 2, 4, 6, 8)
class PixelUnshuffle3d(nn.Module):
    def forward(self, x):
        b, c, d, h, w = x.shape
        y = x.view(b, c, d // 2, 2, h // 2, 2, w // 2, 2).permute(0, 1, 3, 5, 7, 2, 4, 6)
        return y.reshape(b, c * 8, d // 2, h // 2, w // 2)


@block(1, 16, 2, 3, 4)
class PixelShuffle3d(nn.Module):
    def forward(self, x):
        b, c, d, h, w = x.shape
        y = x.view(b, c // 8, 2, 2, 2, d, h, w).permute(0, 1, 5, 2, 6, 3, 7, 4)
        return y.reshape(b, c // 8, d * 2, h * 2, w * 2)


@block(2, 4, 4, 6, 6)
class VideoSwin(nn.Module):
    """Windows in three dimensions: eight axes."""
    def __init__(self):
        super().__init__()
        self.attention = Attention(6, 2)

    def forward(self, x):
        b, d, h, w, c = x.shape
        y = torch.roll(x, (-1, -1, -1), (1, 2, 3))
        y = y.view(b, d // 2, 2, h // 2, 2, w // 3, 3, c).permute(0, 1, 3, 5, 2, 4, 6, 7).reshape(-1, 12, c)
        y = self.attention(y).view(b, d // 2, h // 2, w // 3, 2, 2, 3, c)
        return torch.roll(y.permute(0, 1, 4, 2, 5, 3, 6, 7).reshape(b, d, h, w, c), (1, 1, 1), (1, 2, 3))


@block(2, 12, 10, 4)
class EinopsReductions(nn.Module):
    """reduce(x, 'b (h 3) (w 5) c -> …', …) of six and seven axes."""
    def forward(self, x):
        b, h, w, c = x.shape
        y = x.reshape(b, h // 3, 3, w // 5, 5, c)
        z = x.reshape(b, 2, h // 6, 3, 2, w // 10 * 5, c)
        return (y.mean((2, 4)), y.amax((1, 3)), z.sum((1, 3, 5)), z.prod(3).amin(4), y.std((2, 4)), z.logsumexp((2, 4)))


@block(2, 12, 10, 4)
class EinopsRearranges(nn.Module):
    """Six axes that all move by themselves."""
    def forward(self, x):
        y = x.reshape(2, 2, 2, 3, 2, 5, 4)
        return (y.permute(6, 4, 2, 0, 5, 3, 1).reshape(8, 4, -1), y.permute(1, 0, 3, 2, 5, 4, 6).reshape(4, -1),
                y.permute(5, 0, 4, 1, 3, 2, 6).softmax(2).flatten(1), y.transpose(0, 5).flip((1, 3)).reshape(5, -1))


@block(1, 2, 3, 4, 5)
class SixAxes(nn.Module):
    """What else is done with six axes: joins, pieces, indices, comparisons, masks."""
    def __init__(self):
        super().__init__()
        self.register_buffer("index", torch.tensor([2, 0]))
        self.weight = nn.Parameter(torch.randn(5, 3))
        self.norm = nn.LayerNorm([4, 5])

    def forward(self, x):
        y = x.unsqueeze(3).expand(-1, -1, -1, 2, -1, -1)
        z = torch.stack([y[:, :, :, 0], x.relu()], 4)
        joined = torch.cat([y.flatten(0, 1), y.flatten(0, 1) * 2], 0).unsqueeze(0)
        parts = joined.split([1, 3], 1)
        picked = y.index_select(2, self.index)
        chosen = torch.where(y > 0.5, y, torch.zeros_like(y)).cumsum(4)
        product = y @ self.weight
        best = y.topk(2, 5)
        return (z.sum(4), parts[1].amax(3), picked[:, :, 1], chosen.flatten(2), product.flatten(0, 2), self.norm(y).flatten(1),
                best[0].flatten(1), best[1].flatten(1), y[:, 1:, ::2, :, 1:3, -1].flatten(1), y.argmax(5).flatten(1),
                y.gather(5, best[1]).mean((0, 3)))


@block(1, 6, 8, 8)
class FocalWindows(nn.Module):
    """Windows with their surroundings by unfold, grouped by head."""
    def forward(self, x):
        b, c, h, w = x.shape
        k = F.unfold(F.pad(x, (1, 1, 1, 1)), 6, stride=4)
        k = k.view(b, 2, c // 2, 6, 6, -1).permute(0, 5, 1, 3, 4, 2).flatten(3, 4)
        q = x.view(b, 2, c // 2, h // 4, 4, w // 4, 4).permute(0, 3, 5, 1, 4, 6, 2).reshape(b, -1, 2, 16, c // 2)
        y = (q @ k.transpose(-2, -1)).softmax(-1) @ k
        return y.view(b, 2, 2, 2, 4, 4, 3).permute(0, 3, 6, 1, 4, 2, 5).reshape(b, c, h, w)


def blocks():
    for name, (make, shape) in BLOCKS.items():
        torch.manual_seed(3)
        example = torch.rand([n if isinstance(n, int) else int(n.split("..")[1]) for n in shape])
        yield name, make().eval(), f"x=[{', '.join(map(str, shape))}]", example
