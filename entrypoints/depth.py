"""Pictures with 16-bit values: their values, and the 8 bits that networks see.

10- and 12-bit cameras write such files, too, whose upper 8 bits are nearly black. So a dataset has a full
scale, the value that becomes 255: 2^n - 1, from 255 to 65535. model.json holds it.

This file travels inside the model artifact, beside image.py.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFile

# The default full scale, and the only one in models of earlier versions.
MAX_VALUE = 65535
HEAD_BYTES = 25
# With several bands Pillow keeps each value's upper byte. Given the opposite byte order, it keeps the lower
# one. Name of an order -> name of the opposite; N is this machine's.
_OTHER_BYTES = {
    f"{bands};16{order}": f"{bands};16{other}"
    for bands in ("RGB", "RGBA", "RGBX")
    for order, other in (("B", "L"), ("L", "B"), ("N", "B" if sys.byteorder == "little" else "L"))
}
# Gray with transparency is four bytes, whose lower ones Pillow drops; reading four bands keeps them all.
_GRAY_ALPHA, _FOUR_BYTES = "LA;16B", "RGBA"


class RangeError(ValueError):
    """Integers beyond 16 bits; the message completes "FILE ..."."""


class Values(NamedTuple):
    """uint16 values of shape H x W or H x W x 3, and any transparency in 8 bits (H x W)."""

    colors: npt.NDArray[np.uint16]
    alpha: npt.NDArray[np.uint8] | None = None

    def shown(self, max_value: int) -> Image.Image:
        """A picture of mode L, RGB, LA or RGBA; this value and higher ones become 255."""
        pixels = (self.colors >> (max_value.bit_length() - 8)).clip(0, 255).astype(np.uint8)
        if self.alpha is None:
            return Image.fromarray(pixels)
        return Image.fromarray(np.dstack([pixels, self.alpha]))


def may_be_wide(head: bytes) -> bool:
    """Whether a file with these first HEAD_BYTES may have 16-bit values: a TIFF, or a PNG that says so."""
    return head.startswith((b"II", b"MM")) or (head.startswith(b"\x89PNG") and head[24:25] == b"\x10")


def of(preprocessing: Mapping[str, Any]) -> int:
    """The full scale of a model's training, from model.json; earlier versions lack it."""
    max_value: int = preprocessing.get("max_value", MAX_VALUE)
    return max_value


def full_scale(largest: Iterable[int]) -> int:
    """The smallest full scale that holds all values; MAX_VALUE if there are none."""
    bits = [max(value.bit_length(), 8) for value in largest]
    return (1 << max(bits)) - 1 if bits else MAX_VALUE


def values(image: ImageFile.ImageFile, again: Callable[[], ImageFile.ImageFile]) -> Values | None:
    """The values of a picture that Pillow has opened but not loaded; None if they have 8 bits.

    Also None for bands that Pillow reads only as 8 bits: CMYK, premultiplied and planar colours.

    Args:
        again: opens the picture again.

    Raises:
        RangeError: integers below 0 or above 65535.
    """
    if image.mode.startswith("I"):
        gray = np.asarray(image)
        low, high = int(gray.min()), int(gray.max())
        if low < 0 or high > MAX_VALUE:
            raise RangeError("has values outside 0 to 65535; save it with 8 or 16 bits")
        return Values(gray.astype(np.uint16, copy=False))
    orders = {_order(tile) for tile in image.tile}
    if orders == {_GRAY_ALPHA}:
        _read_as(image, _FOUR_BYTES)
        pairs = np.asarray(image)
        return Values(_joined(pairs[..., 0], pairs[..., 1]), pairs[..., 2])
    if len(orders) != 1 or (other := _OTHER_BYTES.get(orders.pop())) is None:
        return None
    upper = np.asarray(image)
    with again() as lower:
        _read_as(lower, other)
        colors = _joined(upper[..., :3], np.asarray(lower)[..., :3])
    return Values(colors, upper[..., 3] if upper.shape[2] == 4 else None)


def _order(tile: Any) -> str:
    """Pillow's name for the byte layout of a part of a file."""
    name = tile.args[0] if isinstance(tile.args, tuple) else tile.args
    return str(name)


def _read_as(image: ImageFile.ImageFile, order: str) -> None:
    image.tile = [
        tile._replace(args=(order, *tile.args[1:]) if isinstance(tile.args, tuple) else order)
        for tile in image.tile
    ]


def _joined(upper: npt.NDArray[np.uint8], lower: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint16]:
    return np.left_shift(upper, 8, dtype=np.uint16) | lower
