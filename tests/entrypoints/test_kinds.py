"""All kinds of pictures: each is read, or refused in one line that says what it is."""

from __future__ import annotations

import struct
import subprocess
import sys
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from entrypoints.dataset import check_dataset
from entrypoints.image import ImageError, decode
from tests.entrypoints.conftest import ROOT
from tests.entrypoints.pictures import COLORS, HEIC, photograph, picture, tiff


def encoded(image: Image.Image, image_format: str, **options: object) -> bytes:
    file = BytesIO()
    image.save(file, image_format, **options)
    return file.getvalue()


def bands(count: int, kind: str = "uint8") -> np.ndarray:
    values: np.ndarray = np.dstack([np.full((5, 7), 10 * (number + 1)) for number in range(count)])
    return values.astype(kind)


def colour(body: bytes) -> list[int]:
    """The mean of each channel."""
    return [round(value) for value in np.asarray(decode(body)).mean(axis=(0, 1))]


READ = {
    "HEIC of a phone": HEIC,
    "AVIF": encoded(Image.new("RGB", (40, 30), COLORS["ants"]), "AVIF"),
    "palette PNG": encoded(Image.new("RGB", (9, 9), COLORS["ants"]).quantize(4), "PNG"),
    "animated WebP": encoded(
        Image.new("RGB", (9, 9), COLORS["ants"]), "WEBP", lossless=True, save_all=True,
        append_images=[Image.new("RGB", (9, 9))],
    ),
    "JPEG under Adobe's CMYK": encoded(Image.new("RGB", (9, 9), COLORS["ants"]).convert("CMYK"), "JPEG"),
    "TIFF with LZW": encoded(Image.new("RGB", (9, 9), COLORS["ants"]), "TIFF", compression="tiff_lzw"),
    "RGB and alpha TIFF": tiff(
        np.dstack([np.full((5, 7), value, np.uint8) for value in (*COLORS["ants"], 255)]), extra=(2,)
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(READ))
def test_is_read(name: str) -> None:
    assert np.abs(np.array(colour(READ[name])) - COLORS["ants"]).max() < 4, colour(READ[name])


REFUSED = {
    "float, one band": (tiff(bands(1, "float32"), 1), "has 1 band of floating-point pixels, whose range is"),
    "float, three bands": (tiff(bands(3, "float32")), "has 3 bands of floating-point pixels"),
    "double": (tiff(bands(1, "float64"), 1), "has 1 band of floating-point pixels"),
    "two bands": (tiff(bands(2), 1, (0,)), "has 2 bands; a picture has 1, 3 or 4"),
    "five bands that Pillow cuts to RGB": (tiff(bands(5), 2, (0, 0)), "has 5 bands"),
    "thirteen of a satellite": (tiff(bands(13, "uint16"), 1, (0,) * 12), "has 13 bands; a picture has"),
    "32-bit colours": (tiff(bands(3, "uint32")), "is a TIFF file with 3 bands of 32 bits, which is not read"),
    "raw photo": (tiff(bands(3), preview=True), "begins with a small preview, as raw photos do"),
    "damaged TIFF": (tiff(bands(3))[:30], "damaged"),
    "HEIC cut off in its header": (HEIC[:40], "is a damaged HEIC file"),
    "HEIC cut off in its pixels": (HEIC[:-20], "damaged"),
    "video": (b"\0\0\0\x18ftypmp42" + bytes(100), "is a video, or a file of another kind"),
    "web page": (b"\n <!DOCTYPE html>\n<html>404", "is a web page"),
    "Git LFS": (b"version https://git-lfs.github.com/spec/v1\noid sha256:1", "git lfs pull"),
    "SVG": (b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"/>', "is an SVG drawing"),
    "PDF": (b"%PDF-1.7\n", "is a PDF file"),
    "DICOM": (bytes(128) + b"DICM" + bytes(20), "is a DICOM file; save its pixels as PNG with 16 bits"),
    "JPEG XL": (b"\xff\x0a" + bytes(20), "is a JPEG XL file"),
    "NumPy": (b"\x93NUMPY\x01\0" + bytes(20), "is a NumPy array"),
    "archive": (b"PK\x03\x04" + bytes(20), "is a zip archive"),
    "PNG sent as text": (encoded(picture(), "PNG").replace(b"\r", b""), "not an image"),
    "JPEG's first bytes": (b"\xff\xd8\xff\xe0 no jpeg", "is truncated or damaged"),
    "GIF": (
        encoded(picture(), "GIF"),
        "is a GIF file; accepted are AVIF, BMP, HEIC, JPEG, PNG, TIFF or WebP",
    ),
}


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_is_refused_for_what_it_is(name: str) -> None:
    body, reason = REFUSED[name]
    with pytest.raises(ImageError) as caught:
        decode(body)
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_wrong_suffix_changes_nothing(dataset: Path) -> None:
    for name, body in {
        "phone.jpg": encoded(picture(seed=7), "PNG"),
        "download.png": encoded(photograph(3), "WEBP"),
        "scan.heic": encoded(photograph(4), "JPEG"),
        "IMG_1.JPG": HEIC,
    }.items():
        (dataset / "ants" / name).write_bytes(body)
    found = check_dataset(dataset)
    assert (found.counts["ants"], found.rejected) == (10, ())


def test_nothing_that_pillow_remarks_reaches_the_terminal(tmp_path: Path) -> None:
    """Pillow warns about each of these files."""
    folder = tmp_path / "odd"
    folder.mkdir()
    palette = Image.new("P", (8, 8))
    palette.putpalette(list(range(30)))
    palette.save(folder / "palette.png", transparency=bytes(range(8)))
    cut = bytearray(tiff(bands(3)))
    cut[cut.index(struct.pack("=HHI", 258, 4, 3)) + 8 :][:4] = struct.pack("=I", 1 << 20)
    (folder / "tags.tif").write_bytes(bytes(cut))
    head = struct.pack(">IIBBBBB", 9900, 9900, 1, 0, 0, 0, 0)
    rows = zlib.compress(bytes(9900 * (1 + -(-9900 // 8))))
    chunks = [(b"IHDR", head), (b"IDAT", rows), (b"IEND", b"")]
    (folder / "98 million pixels.png").write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + b"".join(
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
            for name, data in chunks
        )
    )
    program = (
        "import sys, pathlib\n"
        "if sys.argv[2] == 'ours':\n"
        "    from entrypoints.image import decode, ImageError\n"
        "else:\n"
        "    from PIL import Image\n"
        "    decode, ImageError = lambda file: Image.open(file).convert('RGB'), Exception\n"
        "for file in sorted(pathlib.Path(sys.argv[1]).iterdir()):\n"
        "    try: print(decode(file).size)\n"
        "    except ImageError as error: print(error)\n"
    )
    told = {
        whose: subprocess.run(
            [sys.executable, "-c", program, folder, whose],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
        for whose in ("ours", "Pillow's")
    }
    assert "DecompressionBombWarning" in told["Pillow's"].stderr
    assert "Palette images with Transparency" in told["Pillow's"].stderr
    assert told["ours"].stderr == ""
    assert "(9900, 9900)" in told["ours"].stdout
