from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps
from sklearn.datasets import load_digits

from entrypoints.copies import BYTES, NEAR, PIXELS, find
from entrypoints.image import decode
from entrypoints.looks import COLOUR_PX, SIDE_PX, Looks
from tests.entrypoints.pictures import photograph

WIDTH, HEIGHT = 160, 120


def looked_at(files: list[Path]) -> Looks:
    looks = Looks()
    for file in files:
        data = file.read_bytes()
        looks.add(file, data, decode(data))
    return looks


def found(folder: Path, near: bool = True) -> set[tuple[str, str, str]]:
    files = sorted(folder.iterdir())
    return {(pair.one.name, pair.other.name, pair.how) for pair in find(files, looked_at(files), near)}


def compressed(picture: Image.Image, quality: int) -> Image.Image:
    stream = BytesIO()
    picture.save(stream, "JPEG", quality=quality)
    return Image.open(stream).convert("RGB")


def mirrored(picture: Image.Image) -> Image.Image:
    return picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)


CHANGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "half": lambda picture: picture.resize((WIDTH // 2, HEIGHT // 2)),
    "another shape": lambda picture: picture.resize((100, 100)),
    "compressed": lambda picture: compressed(picture, 40),
    "mirrored": mirrored,
    "cropped": lambda picture: picture.crop((6, 1, WIDTH - 2, HEIGHT - 5)),
    "brighter": lambda picture: ImageEnhance.Brightness(picture).enhance(1.25),
    "darker": lambda picture: ImageEnhance.Brightness(picture).enhance(0.7),
    "all at once": lambda picture: compressed(
        mirrored(picture.crop((3, 3, WIDTH, HEIGHT))).resize((110, 80)), 70
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_near_copies_are_found(tmp_path: Path, change: str) -> None:
    for seed in range(12):
        photograph(seed).save(tmp_path / f"{seed:02}.png")
    for seed in (3, 7):
        CHANGES[change](photograph(seed)).save(tmp_path / f"{seed:02} {change}.png")
    assert found(tmp_path) == {(f"{seed:02} {change}.png", f"{seed:02}.png", NEAR) for seed in (3, 7)}
    assert found(tmp_path, near=False) == set()


def test_the_same_bytes_and_the_same_pixels(tmp_path: Path) -> None:
    photograph(1).save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes((tmp_path / "a.png").read_bytes())
    photograph(1).save(tmp_path / "c.bmp")
    photograph(2).save(tmp_path / "d.jpg", quality=90)
    with Image.open(tmp_path / "d.jpg") as opened:
        decoded = opened.convert("RGB")
    decoded.save(tmp_path / "e.webp", lossless=True)
    decoded.save(tmp_path / "f.png", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\0\0\0\0\0")
    photograph(3).save(tmp_path / "g.png")
    for near in (True, False):
        assert found(tmp_path, near) == {
            ("a.png", "b.png", BYTES),
            ("a.png", "c.bmp", PIXELS),
            ("d.jpg", "e.webp", PIXELS),
            ("d.jpg", "f.png", PIXELS),
        }


def test_alike_is_not_the_same(tmp_path: Path) -> None:
    """Many digits of one writer are alike; a mirrored digit still counts as a copy."""
    data = load_digits()
    for number, pixels in enumerate(data.images[:250]):
        digit = Image.fromarray((pixels * 15.9).astype(np.uint8)).resize((64, 64), Image.Resampling.BICUBIC)
        digit.save(tmp_path / f"{number:03}.png")
    with Image.open(tmp_path / "042.png") as opened:
        mirrored(opened).save(tmp_path / "042 m.png")
    assert found(tmp_path) == {("042 m.png", "042.png", NEAR)}


def test_the_same_scene_with_something_else_in_it_is_another_picture(tmp_path: Path) -> None:
    scene = photograph(1)
    scene.save(tmp_path / "a.png")
    scene.paste((250, 250, 250), (60, 40, 100, 80))
    scene.save(tmp_path / "b.png")
    assert found(tmp_path) == set()


def test_plain_pictures_are_copies_only_where_every_pixel_is_the_same(tmp_path: Path) -> None:
    for number, grey in enumerate((0, 0, 1, 128, 255)):
        Image.new("RGB", (40, 30 + (number == 1)), (grey,) * 3).save(tmp_path / f"{number}.png")
    Image.new("RGB", (40, 30)).save(tmp_path / "9.bmp")
    assert found(tmp_path) == {("0.png", "9.bmp", PIXELS)}


def test_no_picture_and_one(tmp_path: Path) -> None:
    assert found(tmp_path) == set()
    photograph(1).save(tmp_path / "a.png")
    assert found(tmp_path) == set()


def test_another_colour_is_another_picture(tmp_path: Path) -> None:
    picture = photograph(1)
    picture.save(tmp_path / "a.png")
    red, green, blue = picture.split()
    Image.merge("RGB", (green, red, blue)).save(tmp_path / "b.png")
    ImageOps.invert(picture).save(tmp_path / "c.png")
    assert found(tmp_path) == set()


def test_memory_holds_no_thumbnails(tmp_path: Path) -> None:
    photograph(1).save(tmp_path / "a.png")
    photograph(2).save(tmp_path / "b.png")
    files = [tmp_path / "b.png", tmp_path / "a.png"]
    looks = looked_at(files)
    thumbnails = looks.thumbnails(files[::-1])
    assert thumbnails.shape == (2, SIDE_PX, SIDE_PX)
    expected = photograph(1).resize((SIDE_PX, SIDE_PX), Image.Resampling.BILINEAR)
    assert (thumbnails[0] == np.asarray(expected.convert("L"))).all()
    colours = looks.colours(files[::-1])
    assert colours.shape == (2, 3, COLOUR_PX, COLOUR_PX)
    assert abs(colours[0].mean((1, 2)) - np.asarray(expected).mean((0, 1))).max() < 1
    assert looks[files[0]].size == (WIDTH, HEIGHT)
