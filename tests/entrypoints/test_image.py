from __future__ import annotations

import struct
from io import BytesIO

import numpy as np
import pytest
from PIL import Image, ImageOps

from entrypoints.image import ImageError, decode, preprocess
from tests.entrypoints.pictures import picture


def encoded(image: Image.Image, image_format: str = "PNG", **options: object) -> bytes:
    file = BytesIO()
    image.save(file, image_format, **options)
    return file.getvalue()


def test_cmyk_becomes_rgb() -> None:
    image = decode(encoded(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG"))
    assert image.mode == "RGB"
    assert np.abs(np.asarray(image).astype(int) - (255, 0, 0)).max() < 8


@pytest.mark.parametrize("image_format", ["PNG", "TIFF"])
def test_16_bit_keeps_its_upper_bits(image_format: str) -> None:
    values = np.array([[0, 1 << 8, 1 << 15, 65535]], np.uint16)
    image = decode(encoded(Image.fromarray(values), image_format))
    assert np.asarray(image)[0, :, 0].tolist() == [0, 1, 128, 255]


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "RGBA", "YCbCr"])
def test_every_mode_becomes_rgb(mode: str) -> None:
    image_format = "TIFF" if mode == "YCbCr" else "PNG"
    assert decode(encoded(picture().convert(mode), image_format)).mode == "RGB"


def test_transparent_pixels_lie_over_white() -> None:
    palette = Image.new("P", (4, 4), 0)
    palette.putpalette([255, 0, 0, 0, 0, 255])
    palette.putpixel((0, 0), 1)
    image = decode(encoded(palette, transparency=0))
    assert image.getpixel((0, 0)) == (0, 0, 255)
    assert image.getpixel((1, 1)) == (255, 255, 255)


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("orientation", range(10))
def test_every_exif_orientation_is_applied(orientation: int, mode: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    body = encoded(picture(size=(16, 8)).convert(mode), exif=exif)
    expected = ImageOps.exif_transpose(Image.open(BytesIO(body))).convert("RGB")
    assert np.array_equal(np.asarray(decode(body)), np.asarray(expected))


@pytest.mark.parametrize(
    "tag",
    [
        struct.pack("<HHII", 0x010F, 5, 1, 38),  # the maker, a text, as a rational number
        struct.pack("<HHI4s", 0x011A, 2, 4, b"ten"),  # the resolution, a number, as a text
    ],
)
def test_exif_tags_of_the_wrong_type_do_not_matter(tag: bytes) -> None:
    turn = struct.pack("<HHII", 0x0112, 3, 1, 6)
    tags = b"".join(sorted((tag, turn), key=lambda entry: struct.unpack_from("<H", entry)))
    exif = b"Exif\0\0II*\0" + struct.pack("<IH", 8, 2) + tags + struct.pack("<III", 0, 1, 2)
    assert decode(encoded(Image.new("RGB", (16, 8)), "JPEG", exif=exif)).size == (8, 16)


@pytest.mark.parametrize("position", [80, 88])
def test_what_pillow_s_decoders_do_not_expect_is_damage(position: int) -> None:
    """A DDS file with pixels of no known format: NotImplementedError."""
    body = bytearray(encoded(picture(size=(8, 8)), "DDS"))
    body[position : position + 4] = bytes(4)
    with pytest.raises(ImageError):
        decode(bytes(body))


def test_one_pixel() -> None:
    image = decode(encoded(Image.new("RGB", (1, 1), (1, 2, 3))))
    assert preprocess(image, 32, 37)[:, 5, 5].tolist() == [1, 2, 3]


def test_floating_point_pixels_are_refused() -> None:
    with pytest.raises(ImageError, match="floating-point"):
        decode(encoded(Image.new("F", (2, 2)), "TIFF"))


def test_too_many_pixels_are_refused_before_decoding() -> None:
    huge = bytearray(encoded(Image.new("L", (1, 1))))
    width_and_height = (20_000).to_bytes(4, "big") * 2
    huge[16:24] = width_and_height
    import zlib

    huge[29:33] = zlib.crc32(huge[12:29]).to_bytes(4, "big")
    with pytest.raises(ImageError, match="pixels"):
        decode(bytes(huge))


@pytest.mark.parametrize("body", [b"", b"text", b"\xff\xd8\xff\xe0 no jpeg", b"\x89PNG\r\n\x1a\n"])
def test_bytes_that_are_not_a_picture(body: bytes) -> None:
    with pytest.raises(ImageError):
        decode(body)


def test_every_truncation_is_noticed() -> None:
    whole = encoded(picture(size=(40, 40)), "JPEG")
    for length in range(0, len(whole) - 2, 50):
        with pytest.raises(ImageError):
            decode(whole[:length])


def test_preprocess_cuts_out_the_middle() -> None:
    image = Image.new("RGB", (300, 100), "white")
    image.paste("black", (100, 0, 200, 100))
    square = preprocess(image, 28, 28)
    assert square.shape == (3, 28, 28)
    assert square.dtype == np.uint8
    assert square[:, :, 2:-2].max() == 0


def test_preprocess_agrees_with_torchvision() -> None:
    from torchvision.transforms import v2

    image = picture(size=(90, 70)).resize((180, 140))
    theirs = v2.Compose([v2.Resize(64), v2.CenterCrop(56), v2.PILToTensor()])(image).numpy()
    ours = preprocess(image, 56, 64)
    assert np.abs(ours.astype(int) - theirs).mean() < 2


def test_a_very_long_picture_costs_no_more_than_a_square_one() -> None:
    assert preprocess(Image.new("RGB", (50_000, 1)), 224, 256).shape == (3, 224, 224)
