"""A class activation map drawn over its picture: the redder, the more a place speaks for the label."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image

COLOR = (230, 40, 20)
# Weight (0..1) of the map's color where the map is highest, and of the picture's own colors everywhere.
STRONGEST = 0.65
COLORFUL = 0.35

Rows = Sequence[Sequence[float]]


def tells(rows: Rows) -> bool:
    """Whether a map has more than one place, so that it can show differences."""
    return len(rows) * len(rows[0]) > 1


def draw(picture: Image.Image, rows: Rows, side: float) -> Image.Image:
    """A copy of an RGB picture with faded colors and a map over it.

    Args:
        rows: the answer's "map". Its lowest place gets no color, nor do places below 0, which speak against
        the label.
        side: the answer's "map_side": the share (0..1) of the shorter side that the map covers, centered.
    """
    heat = np.maximum(np.array(rows, np.float32), 0)
    heat -= heat.min()
    heat *= STRONGEST * 255 / max(float(heat.max()), 1e-9)
    length = round(min(picture.size) * side)
    place = ((picture.width - length) // 2, (picture.height - length) // 2)
    mask = Image.new("L", picture.size)
    smooth = Image.fromarray(heat).resize((length, length), Image.Resampling.BILINEAR)
    mask.paste(Image.fromarray(np.asarray(smooth).round().astype(np.uint8)), place)
    faded = Image.blend(picture.convert("L").convert("RGB"), picture, COLORFUL)
    return Image.composite(Image.new("RGB", picture.size, COLOR), faded, mask)
