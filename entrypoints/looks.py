"""What is kept of each picture of a dataset so that its copies can be found: a digest and a thumbnail.

The thumbnails, 4 KB each, lie in a file that nobody sees and that goes with the process: memory does not grow
with the dataset. Needs Pillow and NumPy only.
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
_BYTES = SIDE_PX * SIDE_PX


class Look(NamedTuple):
    """One picture: the row of its thumbnail, the digest of its file, width and height."""

    row: int
    digest: int
    size: tuple[int, int]


class Looks:
    """The pictures that were looked at, by file; `add` may be called by several threads."""

    def __init__(self) -> None:
        self._of: dict[Path, Look] = {}
        self._thumbnails = tempfile.TemporaryFile()  # noqa: SIM115
        self._lock = Lock()

    def __getitem__(self, file: Path) -> Look:
        return self._of[file]

    def add(self, file: Path, data: bytes, picture: Image.Image) -> None:
        """Keep what is needed of one picture: its file's bytes, and the same decoded."""
        thumbnail = picture.convert("L").resize((SIDE_PX, SIDE_PX), Image.Resampling.BILINEAR)
        value = digest(data)
        with self._lock:
            row = len(self._of)
            self._of[file] = Look(row, value, picture.size)
        os.pwrite(self._thumbnails.fileno(), thumbnail.tobytes(), row * _BYTES)

    def thumbnails(self, files: Sequence[Path]) -> npt.NDArray[np.uint8]:
        """Grey thumbnails, stretched to a square, of shape (files, SIDE_PX, SIDE_PX)."""
        descriptor = self._thumbnails.fileno()
        parts = [os.pread(descriptor, _BYTES, self._of[file].row * _BYTES) for file in files]
        return np.frombuffer(b"".join(parts), np.uint8).reshape(len(files), SIDE_PX, SIDE_PX)
