"""Small real pictures in class folders."""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

COLORS = {"ants": (200, 30, 30), "bees": (30, 30, 200)}


# 64 x 48 pixels in the colour of the ants, which pi-heif reads and cannot write.
HEIC = base64.b64decode(
    "AAAAHGZ0eXBoZWljAAAAAG1pZjFoZWljbWlhZgAAAX1tZXRhAAAAAAAAACFoZGxyAAAAAAAAAABwaWN0AAAAAAAAAAAAAAAAAAAA"
    "ACJpbG9jAAAAAERAAAEAAQAAAAABoQABAAAAAAAAAB0AAAAjaWluZgAAAAAAAQAAABVpbmZlAgAAAAABAABodmMxAAAAAA5waXRt"
    "AAAAAAABAAAA/WlwcnAAAADdaXBjbwAAAHZodmNDAQNwAAAAkAAAAAAAHvAA/P34+AAADwNgAAEAGEABDAH//wNwAAADAJAAAAMA"
    "AAMAHroCQGEAAQAqQgEBA3AAAAMAkAAAAwAAAwAeoCCBBZbq5Ka5uAhoMCAAAAMDIAAAAwAhYgABAAZEAcFzwIkAAAATY29scm5j"
    "bHgAAQANAAaAAAAAFGlzcGUAAAAAAAAAQAAAAEAAAAAoY2xhcAAAAEAAAAABAAAAMAAAAAEAAAAAAAAAAv////AAAAACAAAAEHBp"
    "eGkAAAAAAwgICAAAABhpcG1hAAAAAAAAAAEAAQWBAgMFhAAAACVtZGF0AAAAGSgBrxOA9SeBP//gpUf/utZ4fg8Lfnny1PA="
)


def picture(
    color: tuple[int, int, int] = COLORS["ants"], size: tuple[int, int] = (24, 20), seed: int = 0
) -> Image.Image:
    """A noisy picture of one colour; another seed gives other bytes."""
    noise = np.random.default_rng(seed).integers(-25, 25, (size[1], size[0], 3))
    return Image.fromarray((np.array(color) + noise).clip(0, 255).astype(np.uint8))


def photograph(seed: int, size: tuple[int, int] = (160, 120)) -> Image.Image:
    """A picture with shapes of every size, as photographs have them; another seed gives another one."""
    random = np.random.default_rng(seed)
    whole = np.zeros((size[1], size[0], 3))
    for side in (3, 6, 12, 24, 48):
        noise = Image.fromarray(random.integers(0, 256, (side, side, 3), dtype=np.uint8))
        whole += np.asarray(noise.resize(size, Image.Resampling.BICUBIC), float) / side**0.5
    whole -= whole.min()
    return Image.fromarray((whole * (215 / whole.max())).astype(np.uint8))


def write_classes(folder: Path, count: int, classes: Mapping[str, tuple[int, int, int]] = COLORS) -> Path:
    """`count` pictures per class as folder/<class>/<number>.png."""
    for seed, (name, color) in enumerate(classes.items()):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            picture(color, seed=100 * seed + number).save(folder / name / f"{number}.png")
    return folder


def png16(values: npt.NDArray[np.uint16]) -> bytes:
    """A PNG file of 16-bit values: H x W, or H x W x bands for gray and alpha (2), RGB (3) and RGBA (4)."""
    height, width = values.shape[:2]
    bands = values.shape[2] if values.ndim == 3 else 1
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = struct.pack(">IIBBBBB", width, height, 16, {1: 0, 2: 4, 3: 2, 4: 6}[bands], 0, 0, 0)
    body = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def tiff(
    values: npt.NDArray[np.generic], photometric: int = 2, extra: tuple[int, ...] = (), preview: bool = False
) -> bytes:
    """An uncompressed TIFF file of H x W x bands, in this machine's order of bytes.

    `photometric` is 1 for gray and 2 for RGB; `extra` is the meaning of further bands (0 none, 2 alpha).
    """
    height, width, bands = values.shape
    kind = {"u": 1, "i": 2, "f": 3}[values.dtype.kind]
    bits = 8 * values.dtype.itemsize
    tags: dict[int, tuple[int, ...]] = {
        254: (1 if preview else 0,),
        256: (width,),
        257: (height,),
        258: (bits,) * bands,
        259: (1,),
        262: (photometric,),
        273: (0,),  # where the pixels begin, below
        277: (bands,),
        278: (height,),
        279: (values.nbytes,),
        339: (kind,) * bands,
    }
    if extra:
        tags[338] = extra
    start = 8
    behind = start + 2 + 12 * len(tags) + 4
    entries, more = b"", b""
    for _ in range(2):  # first for the sizes
        entries, more = b"", b""
        for tag, numbers in sorted(tags.items()):
            packed = struct.pack(f"={len(numbers)}I", *numbers)
            if len(numbers) > 1:
                packed, more = struct.pack("=I", behind + len(more)), more + packed
            entries += struct.pack("=HHI", tag, 4, len(numbers)) + packed
        tags[273] = (behind + len(more),)
    order = b"II" if struct.pack("=H", 1) == b"\1\0" else b"MM"
    head = order + struct.pack("=HIH", 42, start, len(tags))
    return head + entries + struct.pack("=I", 0) + more + values.tobytes()
