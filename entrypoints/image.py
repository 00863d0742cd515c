"""From the bytes of a picture to the network's input: one way, everywhere from the split to the endpoint.

This file travels inside the model artifact, beside what serves it.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, UnidentifiedImageError

# MPO is what many phones and cameras write under the name .jpg.
FORMATS = ("BMP", "JPEG", "MPO", "PNG", "TIFF", "WEBP")
MAX_PIXELS = 100_000_000

# What Pillow's decoders raise on broken files: whatever their code runs into, since most of it trusts them.
_DECODING_ERRORS = (
    *(OSError, EOFError, SyntaxError, ValueError, TypeError, LookupError, AttributeError),
    *(ArithmeticError, AssertionError, RuntimeError, struct.error, zlib.error),
)

# How a picture is turned upright that has this EXIF orientation. ImageOps.exif_transpose also writes the EXIF
# again, which fails where cameras wrote tags of the wrong type.
_TURNS: dict[object, Image.Transpose] = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class ImageError(ValueError):
    """Bytes that are not a picture we take; the message completes "FILE ..."."""


def decode(source: bytes | Path) -> Image.Image:
    """Decode a picture completely, turn it upright and convert it to RGB.

    Transparent pixels are laid over white. 16-bit gray keeps its upper 8 bits. `info["format"]` of the
    result holds Pillow's name of the file's format.

    Raises:
        ImageError: not a picture, truncated, in a format not in FORMATS, or above MAX_PIXELS.
        OSError: the file cannot be read.
    """
    try:
        with Image.open(BytesIO(source) if isinstance(source, bytes) else source) as image:
            if image.format not in FORMATS:
                raise ImageError(f"is a {image.format} file; accepted are {', '.join(FORMATS)}")
            if image.width * image.height > MAX_PIXELS:
                raise ImageError(f"has {image.width} x {image.height} pixels; the limit is {MAX_PIXELS:,}")
            image.load()
            rgb = _to_rgb(image)
            turn = _TURNS.get(image.getexif().get(ExifTags.Base.Orientation))
            if turn is not None:
                rgb = rgb.transpose(turn)
            rgb.info = {"format": image.format}
            return rgb
    except ImageError:
        raise
    except UnidentifiedImageError:
        raise ImageError("is empty" if _empty(source) else "is not an image") from None
    except Image.DecompressionBombError:
        raise ImageError(f"has too many pixels; the limit is {MAX_PIXELS:,}") from None
    except _DECODING_ERRORS as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # The file could not be read; that says nothing about its content.
        raise ImageError(f"is truncated or damaged ({error})") from None


def preprocess(image: Image.Image, image_size: int, resize: int) -> npt.NDArray[np.uint8]:
    """Scale the shorter side to `resize` pixels and cut out the middle square of `image_size` pixels.

    Both in one step, so that a very long picture costs no more than a square one. Returns uint8 of shape
    3 x image_size x image_size.
    """
    side = min(image.size) * image_size / resize
    left, top = (image.width - side) / 2, (image.height - side) / 2
    box = (left, top, left + side, top + side)
    square = image.resize((image_size, image_size), Image.Resampling.BILINEAR, box=box)
    return np.ascontiguousarray(np.asarray(square).transpose(2, 0, 1))


def normalize(
    pixels: npt.NDArray[np.uint8], mean: Sequence[float], std: Sequence[float]
) -> npt.NDArray[np.float32]:
    """uint8 pixels of shape 3 x H x W to float32: (pixel / 255 - mean) / std per channel."""
    shift, scale = (values.reshape(3, 1, 1) for values in shift_and_scale(mean, std))
    inputs = pixels.astype(np.float32)
    inputs -= shift
    inputs /= scale
    return inputs


def shift_and_scale(
    mean: Sequence[float], std: Sequence[float]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """What `normalize` subtracts from the pixels of each channel, and what it divides the rest by."""
    return np.array(mean, np.float32) * np.float32(255), np.array(std, np.float32) * np.float32(255)


def _empty(source: bytes | Path) -> bool:
    return not source if isinstance(source, bytes) else source.stat().st_size == 0


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB" and not image.has_transparency_data:
        return image
    if image.mode == "F":
        raise ImageError("has floating-point pixels, whose range is unknown; save it with 8 or 16 bits")
    if image.mode.startswith("I"):
        # Pillow's own conversion clips 16-bit values at 255.
        pixels = np.asarray(image).astype(np.int64).clip(0, 65535) >> 8
        return Image.fromarray(pixels.astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
    return image.convert("RGB")
