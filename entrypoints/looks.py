"""A digest and a thumbnail of each picture of a dataset, to find copies.

The thumbnails, 5 KB each, are in an unnamed file that ends with the process: memory does not grow with the
dataset. Needs only Pillow and NumPy.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from threading import Lock
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from entrypoints.digests import digest

SIDE_PX = 64
COLOUR_PX = 16
_GREY, _COLOUR = SIDE_PX * SIDE_PX, 3 * COLOUR_PX * COLOUR_PX


class Look(NamedTuple):
    """One picture: the row of its thumbnail, the digest of its file, width and height."""

    row: int
    digest: int
    size: tuple[int, int]


class Looks:
    """The pictures seen, by file; several threads may call `add`."""

    def __init__(self) -> None:
        self._of: dict[Path, Look] = {}
        self._thumbnails = tempfile.TemporaryFile()  # noqa: SIM115
        self._lock = Lock()

    def __getitem__(self, file: Path) -> Look:
        return self._of[file]

    def add(self, file: Path, data: bytes, picture: Image.Image) -> None:
        """Add one picture: its file's bytes, and the same decoded."""
        small = picture.resize((SIDE_PX, SIDE_PX), Image.Resampling.BILINEAR)
        colours = small.reduce(SIDE_PX // COLOUR_PX)
        value = digest(data)
        with self._lock:
            row = len(self._of)
            self._of[file] = Look(row, value, picture.size)
        thumbnail = small.convert("L").tobytes() + colours.tobytes()
        os.pwrite(self._thumbnails.fileno(), thumbnail, row * (_GREY + _COLOUR))

    def thumbnails(self, files: Sequence[Path]) -> npt.NDArray[np.uint8]:
        """Grey thumbnails, stretched to a square, of shape (files, SIDE_PX, SIDE_PX)."""
        return self._read(files, 0, _GREY).reshape(len(files), SIDE_PX, SIDE_PX)

    def colours(self, files: Sequence[Path]) -> npt.NDArray[np.uint8]:
        """Smaller thumbnails with colours, of shape (files, 3, COLOUR_PX, COLOUR_PX)."""
        pixels = self._read(files, _GREY, _COLOUR).reshape(len(files), COLOUR_PX, COLOUR_PX, 3)
        return pixels.transpose(0, 3, 1, 2)

    def _read(self, files: Sequence[Path], start: int, size: int) -> npt.NDArray[np.uint8]:
        descriptor, step = self._thumbnails.fileno(), _GREY + _COLOUR
        parts = [os.pread(descriptor, size, self._of[file].row * step + start) for file in files]
        return np.frombuffer(b"".join(parts), np.uint8)
