"""From a picture's bytes to the network's input: one way, everywhere from the split to the endpoint.

This file is part of the model artifact, beside the serving code.
"""

from __future__ import annotations

import logging
import struct
import warnings
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt
import pi_heif
from PIL import ExifTags, Image, ImageFile, JpegImagePlugin, TiffImagePlugin, UnidentifiedImageError

from entrypoints import depth
from entrypoints.depth import MAX_VALUE

# Pillow's names. Many phones and cameras write MPO as .jpg; iPhones write HEIF, which Pillow reads with
# pi-heif. Containers have it, too: nothing is converted at upload, since phones also send such pictures to
# the endpoint, and since the bytes tell whether a picture was trained on.
FORMATS = ("AVIF", "BMP", "HEIF", "JPEG", "MPO", "PNG", "TIFF", "WEBP")
ACCEPTED = "AVIF, BMP, HEIC, JPEG, PNG, TIFF or WebP"  # their usual names
MAX_PIXELS = 100_000_000
# New models decode a large JPEG picture at 1/2, 1/4 or 1/8 of its size if its shorter side keeps at least
# this many times the pixels that it is then resized to. benchmarks/decoding.py measures what that changes.
JPEG_RESERVE = 4

# First bytes of files that Pillow reads if they are complete, and of files often mistaken for pictures.
_DAMAGED = {b"\xff\xd8\xff": "JPEG", b"\x89PNG\r\n\x1a\n": "PNG", b"RIFF": "WebP", b"BM": "BMP"}
_NO_PICTURES = {
    b"%pdf": "a PDF file",
    b"<svg": "an SVG drawing",
    b"<!doctype html": "a web page",
    b"<html": "a web page",
    b"version https://git-lfs": "a pointer of Git LFS; get the file itself with `git lfs pull`",
    b"\x93numpy": "a NumPy array",
    b"\xff\x0a": "a JPEG XL file",
    b"\0\0\0\x0cjxl ": "a JPEG XL file",
    b"pk\x03\x04": "a zip archive",
}
# First letters of a file's kind, in HEIC's family of formats.
_BRANDS = {b"avi": "AVIF", b"hei": "HEIC", b"hev": "HEIC", b"mif": "HEIC", b"msf": "HEIC"}
_TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
# Bands of a TIFF file without transparency: gray, RGB, CMYK.
_BANDS = (1, 3, 4)
_ALPHA = (1, 2)  # of the tag ExtraSamples
_FLOAT = 3  # of the tag SampleFormat
_REDUCED = 1  # bit of the tag NewSubfileType: a small copy of another page

# Errors of Pillow's decoders on broken files: almost any, since most of their code trusts files.
_DECODING_ERRORS = (
    *(OSError, EOFError, SyntaxError, ValueError, TypeError, LookupError, AttributeError),
    *(ArithmeticError, AssertionError, RuntimeError, struct.error, zlib.error),
)

# EXIF orientation -> how to turn the picture upright. ImageOps.exif_transpose also rewrites the EXIF, which
# fails if a camera wrote tags of the wrong type.
_TURNS: dict[object, Image.Transpose] = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


# Pillow's own formats come first: files of HEIF's family may be AVIF.
Image.init()
pi_heif.register_heif_opener(thumbnails=False, depth_images=False, aux_images=False, decode_threads=1)
# MAX_PIXELS is the limit. Pillow would warn below it.
Image.MAX_IMAGE_PIXELS = None
# Pillow's warnings about odd tags and palettes would mix with a program's own lines.
warnings.filterwarnings("ignore", module=r"(PIL|pi_heif)\b")
logging.getLogger("PIL").addHandler(logging.NullHandler())


class ImageError(ValueError):
    """Bytes that are not an accepted picture; the message completes "FILE ..."."""


def least_side(preprocessing: Mapping[str, Any]) -> int:
    """`decode`'s argument for a model, from model.json; models of earlier versions decode in full."""
    pixels: int = preprocessing["resize"] * preprocessing.get("jpeg_reserve", 0)
    return pixels


def decode(source: bytes | Path, max_value: int | None = None, least_side: int = 0) -> Image.Image:
    """Decode a picture completely, turn it upright and convert it to RGB. Its bytes decide its format.

    Transparent pixels are laid over white.

    Args:
        max_value: the 16-bit value that becomes 255, see depth.py. None: the smallest full scale that holds
        this picture's values, for display and comparisons.
        least_side: if above 0, JPEG pictures in gray or RGB are decoded at the smallest of 1/1, 1/2, 1/4 and
        1/8 of their size whose shorter side has at least this many pixels.

    Raises:
        ImageError: not a picture, truncated, not in FORMATS, above MAX_PIXELS, or its pixels are not gray or
        colours of 8 or 16 bits.
        OSError: the file cannot be read.
    """
    with _opened(source) as image:
        if least_side and min(image.size) >= 2 * least_side:
            _shrink(image, least_side)
        # With several bands Pillow reads the upper 8 bits.
        wide = None if max_value == MAX_VALUE and not image.mode.startswith("I") else _values(image, source)
        if wide is None:
            rgb = _to_rgb(image)
        else:
            rgb = _to_rgb(wide.shown(max_value or depth.full_scale([int(wide.colors.max())])))
        turn = _TURNS.get(image.getexif().get(ExifTags.Base.Orientation))
        upright = rgb if turn is None else rgb.transpose(turn)
        upright.info = {}  # no colour profile, no EXIF
        return upright


def largest_value(source: bytes | Path) -> int | None:
    """The largest value of a 16-bit picture; None for others, which are not decoded.

    Raises:
        ImageError, OSError: like `decode`.
    """
    with _opened(source) as image:
        wide = _values(image, source)
        return None if wide is None else int(wide.colors.max())


def preprocess(image: Image.Image, image_size: int, resize: int) -> npt.NDArray[np.uint8]:
    """Scale the shorter side to `resize` pixels and crop the centre square of `image_size` pixels.

    In one step, so that a very long picture costs no more than a square one. Returns uint8 of shape
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
    """`normalize` subtracts the first from each channel's pixels and divides by the second."""
    return np.array(mean, np.float32) * np.float32(255), np.array(std, np.float32) * np.float32(255)


@contextmanager
def _opened(source: bytes | Path) -> Iterator[ImageFile.ImageFile]:
    """A picture that Pillow has opened but not loaded; its errors in this context become ImageError."""
    try:
        with Image.open(BytesIO(source) if isinstance(source, bytes) else source) as image:
            if image.format not in FORMATS:
                raise ImageError(f"is a {image.format} file; accepted are {ACCEPTED}")
            if image.width * image.height > MAX_PIXELS:
                raise ImageError(f"has {image.width} x {image.height} pixels; the limit is {MAX_PIXELS:,}")
            if isinstance(image, TiffImagePlugin.TiffImageFile):
                _check_tiff(image.tag_v2)
            yield image
    except ImageError:
        raise
    except UnidentifiedImageError:
        raise ImageError(_unidentified(source)) from None
    except _DECODING_ERRORS as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # The file cannot be read; its content may be fine.
        raise ImageError(f"is truncated or damaged ({' '.join(str(error).split())})") from None


def _unidentified(source: bytes | Path) -> str:
    """Describe a file that Pillow cannot open; completes "FILE ..."."""
    with BytesIO(source) if isinstance(source, bytes) else source.open("rb") as file:
        head = file.read(1024)
        if not head:
            return "is empty"
        if head.startswith(_TIFF_STARTS):
            return _unidentified_tiff(file)
    if head[4:8] == b"ftyp":
        kind = _BRANDS.get(head[8:11])
        return f"is a damaged {kind} file" if kind else "is a video, or a file of another kind"
    if found := next((name for start, name in _DAMAGED.items() if head.startswith(start)), None):
        return f"is a damaged {found} file"
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if text.startswith(b"<?xml") and b"<svg" in text:
        return "is an SVG drawing"
    if head[128:132] == b"DICM":
        return "is a DICOM file; save its pixels as PNG with 16 bits"
    named = next((name for start, name in _NO_PICTURES.items() if text.startswith(start)), None)
    return f"is {named or 'not an image'}"


def _unidentified_tiff(file: IO[bytes]) -> str:
    """Describe a TIFF file that Pillow has no mode for; completes "FILE ..."."""
    file.seek(0)
    head = file.read(8)
    if head[2:3] == b"+" or head[3:4] == b"+":
        head += file.read(8)
    try:
        tags = TiffImagePlugin.ImageFileDirectory_v2(head)
        file.seek(tags.next)
        tags.load(file)
        _check_tiff(tags)
        bits = tags.get(TiffImagePlugin.BITSPERSAMPLE, (1,))
    except ImageError as error:
        return str(error)
    except _DECODING_ERRORS:
        return "is a damaged TIFF file"
    if TiffImagePlugin.IMAGEWIDTH not in tags:
        return "is a damaged TIFF file"
    count = tags.get(TiffImagePlugin.SAMPLESPERPIXEL, 1)
    return f"is a TIFF file with {_bands(count)} of {bits[0]} bits, which is not read; save it as PNG"


def _check_tiff(tags: TiffImagePlugin.ImageFileDirectory_v2) -> None:
    """Refuse files that Pillow would read only in part, or not at all."""
    count = tags.get(TiffImagePlugin.SAMPLESPERPIXEL, 1)
    if _FLOAT in tags.get(TiffImagePlugin.SAMPLEFORMAT, (1,)):
        raise ImageError(
            f"has {_bands(count)} of floating-point pixels, whose range is unknown; save it with 8 or 16 bits"
        )
    alpha = sum(kind in _ALPHA for kind in tags.get(TiffImagePlugin.EXTRASAMPLES, ()))
    if count - alpha not in _BANDS:
        raise ImageError(f"has {_bands(count)}; a picture has 1, 3 or 4 (gray, RGB, CMYK) and transparency")
    if tags.get(ExifTags.Base.NewSubfileType, 0) & _REDUCED:
        raise ImageError("begins with a small preview, as raw photos do; convert it to JPEG, PNG or TIFF")


def _bands(count: int) -> str:
    return "1 band" if count == 1 else f"{count} bands"


def _values(image: ImageFile.ImageFile, source: bytes | Path) -> depth.Values | None:
    again = BytesIO(source) if isinstance(source, bytes) else source
    try:
        return depth.values(image, lambda: Image.open(again))
    except depth.RangeError as error:
        raise ImageError(str(error)) from None


def _shrink(image: ImageFile.ImageFile, least_side: int) -> None:
    """Have libjpeg decode at a fraction of the size: it skips most of the inverse transform's work."""
    if isinstance(image, JpegImagePlugin.JpegImageFile) and image.mode in ("L", "RGB"):
        image.draft(None, (least_side, least_side))


def _to_rgb(image: Image.Image) -> Image.Image:
    image.load()
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")
