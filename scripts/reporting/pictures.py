"""Pictures in S3 as small thumbnails inside the page."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from io import BytesIO

from PIL import Image, ImageOps

from entrypoints import image
from scripts import maps
from scripts.reporting.parts import Picture
from scripts.reporting.store import Store, Unavailable, parallel

# Smaller pictures are kept as they are, pixel by pixel.
TINY_PX = 48


# A prediction's map: its rows, and the share of the picture's shorter side that they cover (maps.py).
Map = tuple[maps.Rows, float]


def thumbnails(
    store: Store, uris: Sequence[str], side_px: int, square: bool, drawn: Sequence[Map | None] = ()
) -> list[Picture]:
    """One thumbnail per URI, at most `side_px`; `square` crops the middle.

    `drawn` are maps to draw over them, one per URI. Missing or damaged pictures have an empty URI.
    """

    def fetch(item: tuple[str, Map | None]) -> Picture:
        uri, found = item
        file = uri.rpartition("/")[2]
        try:
            picture = image.decode(store.read(uri))
            if found is not None:
                picture = maps.draw(picture, *found)
            return Picture(file, data_uri(picture, side_px, square))
        except (Unavailable, image.ImageError):
            return Picture(file, "")

    return parallel(fetch, list(zip(uris, drawn or [None] * len(uris), strict=True)))


def data_uri(picture: Image.Image, side_px: int, square: bool) -> str:
    """A data: URI of a picture scaled down to `side_px`."""
    if square:
        side = min(side_px, *picture.size)
        picture = ImageOps.fit(picture, (side, side))
    else:
        picture.thumbnail((side_px, side_px))
    file = BytesIO()
    picture.info = {}  # no color profile and no EXIF, which take space and may hold secrets
    if max(picture.size) <= TINY_PX:
        kind = "png"
        picture.save(file, "PNG", optimize=True)
    else:
        kind = "webp"
        picture.save(file, "WEBP", quality=72)
    return f"data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode()}"
