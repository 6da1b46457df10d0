"""plait run takes PNG and JPEG, and writes images as PNG. The PNG of these tests are written and read by Python itself."""

import base64
import struct
import zlib

import numpy as np
import pytest
import torch
from command import plait, succeed
from test_images import Half, save

# 8 x 8 pixels of one colour each, by libjpeg at quality 100: 77; (200, 40, 90); CMYK.
JPEG = {
    "gray": "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAAEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQ"
            "EBAQH/wAALCAAIAAgBAREA/8QAFAABAAAAAAAAAAAAAAAAAAAACf/EABQQAQAAAAAAAAAAAAAAAAAAAAD/2gAIAQEAAD8AGd//2Q==",
    "rgb": "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAAEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE"
           "BAQH/2wBDAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQH/wAARCAAIAAgDASIAAhEBAx"
           "EB/8QAFQABAQAAAAAAAAAAAAAAAAAAAAn/xAAUEAEAAAAAAAAAAAAAAAAAAAAA/8QAFQEBAQAAAAAAAAAAAAAAAAAABQr/xAAUEQEAAAAAAAAAAAAAAAA"
           "AAAAA/9oADAMBAAIRAxEAPwCd4A9TA//Z",
    "cmyk": "/9j/7gAOQWRvYmUAZAAAAAAA/9sAQwABAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEB/8"
            "AAFAgACAAIBEMRAE0RAFkRAEsRAP/EABUAAQEAAAAAAAAAAAAAAAAAAAoJ/8QAFBABAAAAAAAAAAAAAAAAAAAAAP/aAA4EQwBNAFkASwAAPwBIAn6Z4d7/2Q==",
}
LAYOUT = {1: 0, 2: 4, 3: 2, 4: 6}  # PNG's number of grey, grey with alpha, RGB, RGBA


def write_png(path, pixels):
    """uint8 or uint16 [height, width, channels]."""
    height, width, channels = pixels.shape
    rows = b"".join(b"\0" + row.tobytes() for row in pixels.astype(pixels.dtype.newbyteorder(">")))

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 8 * pixels.itemsize, LAYOUT[channels], 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))
    return path


def read_png(path):
    """[height, width, channels] of an 8-bit PNG of whatever filters."""
    data, at, packed = path.read_bytes(), 8, b""
    while at < len(data):
        size, name = struct.unpack(">I4s", data[at:at + 8])
        if name == b"IHDR":
            width, height, depth, layout, *_ = struct.unpack(">IIBBBBB", data[at + 8:at + 8 + size])
        elif name == b"IDAT":
            packed += data[at + 8:at + 8 + size]
        at += 12 + size
    channels = {number: count for count, number in LAYOUT.items()}[layout]
    assert depth == 8
    raw, stride = zlib.decompress(packed), width * channels
    result = np.zeros((height + 1, width + 1, channels), np.int64)
    for y in range(height):
        kind, row = raw[y * (stride + 1)], np.frombuffer(raw, np.uint8, stride, y * (stride + 1) + 1).reshape(width, channels)
        for x in range(width):
            left, up, corner = result[y + 1, x], result[y, x + 1], result[y, x]
            paeth = left + up - corner
            far = np.abs([paeth - left, paeth - up, paeth - corner])
            near = np.where((far[0] <= far[1]) & (far[0] <= far[2]), left, np.where(far[1] <= far[2], up, corner))
            guess = [0 * left, left, up, (left + up) // 2, near][kind]
            result[y + 1, x + 1] = (row[x] + guess) % 256
    return result[1:, 1:].astype(np.uint8)


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    """y = x / 2 of an image, once as it is and once as numbers."""
    folder = tmp_path_factory.mktemp("images")
    save(folder / "rgb.pt", Half, torch.rand(1, 3, 8, 8))
    save(folder / "gray.pt", Half, torch.rand(1, 1, 8, 8))
    flexible = "x=image[rgb, 1, 3, 4..16, 8]"
    succeed("compile", "-o", folder / "p.mlpackage", "--precision", "fp32",
            "--function", f"rgb={folder}/rgb.pt", "--input", "x=image[rgb, 1, 3, 8, 8]", "--output", "y",
            "--function", f"bgr={folder}/rgb.pt", "--input", "x=image[bgr, 1, 3, 8, 8]", "--output", "y=image[bgr]",
            "--function", f"gray={folder}/gray.pt", "--input", "x=image[gray, 1, 1, 8, 8]", "--output", "y=image[gray]",
            "--function", f"gray16={folder}/gray.pt", "--input", "x=image[gray16, 1, 1, 8, 8]", "--output", "y=image[gray16]",
            "--function", f"flexible={folder}/rgb.pt", "--input", flexible, "--output", "y",
            "--function", f"array={folder}/rgb.pt", "--input", "x=[1, 3, 8, 8]", "--output", "y")
    return folder / "p.mlpackage"


def run(package, tmp_path, function, file, *options):
    succeed("run", package, "--function", function, "--input", f"x={file}", "--output-dir", tmp_path / "out", *options)
    arrays = tmp_path / "out" / "y.npy"
    return np.load(arrays) if arrays.exists() else read_png(tmp_path / "out" / "y.png")


PIXELS = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
LUMA = ((PIXELS.astype(np.int64) @ [19595, 38470, 7471] + 0x8000) >> 16).astype(np.uint8)


def test_png(package, tmp_path):
    color = write_png(tmp_path / "color.png", PIXELS)
    opaque = write_png(tmp_path / "opaque.png", np.concatenate([PIXELS, np.full((8, 8, 1), 255, np.uint8)], 2))
    for file in (color, opaque):
        np.testing.assert_array_equal(run(package, tmp_path, "rgb", file), PIXELS.transpose(2, 0, 1)[None] / 2)
    halves = np.rint(PIXELS / 2)  # to even, as numpy rounds
    np.testing.assert_array_equal(run(package, tmp_path / "bgr", "bgr", color), halves)
    np.testing.assert_array_equal(run(package, tmp_path / "gray", "gray", color)[..., 0], np.rint(LUMA / 2))
    grey = write_png(tmp_path / "grey.png", PIXELS[..., :1])
    np.testing.assert_array_equal(run(package, tmp_path, "rgb", grey), np.repeat(PIXELS[None, None, ..., 0], 3, 1) / 2)
    (tmp_path / "step").mkdir()
    write_png(tmp_path / "step" / "x.png", PIXELS)
    succeed("run", package, "--function", "rgb", "--steps", tmp_path / "step", "--output-dir", tmp_path / "steps")
    np.testing.assert_array_equal(np.load(tmp_path / "steps" / "1" / "y.npy"), PIXELS.transpose(2, 0, 1)[None] / 2)


def test_jpeg(package, tmp_path):
    for name, color in (("gray", (77, 77, 77)), ("rgb", (200, 40, 90))):
        (tmp_path / "photo.jpg").write_bytes(base64.b64decode(JPEG[name]))
        values = run(package, tmp_path, "rgb", tmp_path / "photo.jpg") * 2
        assert np.abs(values - np.array(color).reshape(1, 3, 1, 1)).max() <= 1


@pytest.mark.parametrize("height, width", [(16, 16), (19, 5), (4, 30), (8, 9)])
def test_resize(package, tmp_path, height, width):
    pixels = np.random.default_rng(1).integers(0, 256, (height, width, 3), dtype=np.uint8)
    file = write_png(tmp_path / "x.png", pixels)
    refused = plait("run", package, "--function", "rgb", "--input", f"x={file}", "--output-dir", tmp_path / "none")
    assert refused.returncode == 1 and f"the image is {width} x {height}, and input 'x' takes 8 x 8; --resize" in refused.stderr
    expected = torch.nn.functional.interpolate(torch.from_numpy(pixels.transpose(2, 0, 1)[None].copy()), (8, 8), mode="bilinear", antialias=True)
    assert np.abs(run(package, tmp_path, "rgb", file, "--resize") * 2 - expected.numpy()).max() <= 1


def test_sizes_of_a_range(package, tmp_path):
    file = write_png(tmp_path / "x.png", PIXELS[:5])
    assert run(package, tmp_path, "flexible", file).shape == (1, 3, 5, 8)
    file = write_png(tmp_path / "x.png", PIXELS[:3])
    refused = plait("run", package, "--function", "flexible", "--input", f"x={file}", "--output-dir", tmp_path / "none")
    assert "takes 8 x 4 and others" in refused.stderr
    assert run(package, tmp_path, "flexible", file, "--resize").shape == (1, 3, 4, 8)


def test_refusals(package, tmp_path):
    good = write_png(tmp_path / "good.png", PIXELS)
    clear = write_png(tmp_path / "clear.png", np.concatenate([PIXELS, np.full((8, 8, 1), 254, np.uint8)], 2))
    deep = write_png(tmp_path / "deep.png", PIXELS.astype(np.uint16) * 257)
    cut = tmp_path / "cut.png"
    cut.write_bytes(good.read_bytes()[:80])
    cmyk = tmp_path / "cmyk.jpg"
    cmyk.write_bytes(base64.b64decode(JPEG["cmyk"]))
    short = tmp_path / "short.jpg"
    short.write_bytes(base64.b64decode(JPEG["rgb"])[:-8])
    text = tmp_path / "text.png"
    text.write_text("no image")
    huge = tmp_path / "huge.png"
    data = bytearray(good.read_bytes())
    data[16:24] = struct.pack(">II", 1 << 20, 1 << 20)
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    huge.write_bytes(data)
    gif = tmp_path / "x.gif"
    gif.write_bytes(b"GIF89a" + bytes(20))
    for function, file, complaint in [
        ("rgb", gif, "neither PNG nor JPEG"), ("array", gif, "no .npy file"), ("rgb", clear, "transparent"), ("rgb", deep, "16 bits a channel"), ("rgb", cut, "no PNG that can be read"),
        ("rgb", cmyk, "neither grey nor RGB"), ("rgb", short, "no JPEG that can be read"), ("rgb", text, "text.png"),
        ("rgb", huge, "PNG"), ("array", good, "input 'x' takes an array"), ("gray16", good, "give an array"),
        ("rgb", tmp_path / "none.png", "none.png"),
    ]:
        result = plait("run", package, "--function", function, "--input", f"x={file}", "--output-dir", tmp_path / "none")
        assert result.returncode == 1 and complaint in result.stderr, (file, result.stderr)
        assert not (tmp_path / "none").exists()
    assert plait("verify", package, "--function", "rgb", "--against", package.parent / "rgb.pt", "--input", f"x={good}").returncode == 0


def test_gray16_is_written_as_numbers(package, tmp_path):
    np.save(tmp_path / "x.npy", np.full((1, 1, 8, 8), 0.25, np.float16))
    np.testing.assert_array_equal(run(package, tmp_path, "gray16", tmp_path / "x.npy"), np.full((1, 1, 8, 8), 0.125, np.float16))
