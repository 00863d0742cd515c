"""Large JPEG pictures are decoded at a fraction of their size, in training and serving alike."""

from __future__ import annotations

import json
import shutil
from io import BytesIO
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import ExifTags, Image

from entrypoints import image
from entrypoints.batches import Budget, Pictures, read_squares
from entrypoints.contract import ANY_IMAGE
from entrypoints.image import JPEG_RESERVE, ImageError, decode, preprocess
from entrypoints.serving import predictor
from scripts.invoke import transform
from tests.entrypoints.pictures import COLORS, photograph, png16

SIDE, RESIZE = 32, 37  # of the artifact
LEAST = RESIZE * JPEG_RESERVE


def jpeg(picture: Image.Image, image_format: str = "JPEG", **options: object) -> bytes:
    file = BytesIO()
    picture.save(file, image_format, quality=90, **options)
    return file.getvalue()


def difference(first: Image.Image, second: Image.Image) -> float:
    """The mean difference of two pictures at the artifact's size, of 255."""
    one, other = (preprocess(picture, SIDE, RESIZE).astype(int) for picture in (first, second))
    return float(np.abs(one - other).mean())


def pixels(picture: Image.Image) -> npt.NDArray[np.uint8]:
    return np.asarray(picture)


@pytest.fixture(scope="module")
def large() -> Image.Image:
    return photograph(0, (LEAST * 7, LEAST * 5))


@pytest.mark.parametrize(
    ("times", "fraction"), [(2, 2), (3.9, 2), (4, 4), (7.9, 4), (8, 8), (9, 8)], ids=lambda value: str(value)
)
def test_the_shorter_side_keeps_the_reserve(times: float, fraction: int) -> None:
    width, height = round(LEAST * times) + 5, round(LEAST * times)
    found = decode(jpeg(Image.new("RGB", (width, height))), least_side=LEAST)
    assert found.size == (-(-width // fraction), -(-height // fraction))
    assert min(found.size) >= LEAST


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"image_format": "MPO"}], ids=str)
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_hardly_anything_changes(large: Image.Image, mode: str, options: dict[str, object]) -> None:
    data = jpeg(large.convert(mode), **options)
    found = decode(data, least_side=LEAST)
    assert found.size == (-(-large.width // 4), -(-large.height // 4))
    assert difference(found, decode(data)) < 1


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_reduced_picture_is_upright(large: Image.Image, orientation: int) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    data = jpeg(large, exif=exif)
    found, full = decode(data, least_side=LEAST), decode(data)
    assert (found.width > found.height) == (full.width > full.height)
    assert difference(found, full) < 1


def test_a_jpeg_below_twice_the_reserve_is_decoded_as_before() -> None:
    for size in ((8, 8), (64, 64), (LEAST, LEAST), (LEAST * 20, LEAST * 2 - 1)):
        data = jpeg(photograph(1, size))
        assert np.array_equal(pixels(decode(data, least_side=LEAST)), pixels(decode(data)))


def test_other_pictures_are_decoded_as_before(large: Image.Image) -> None:
    files = {kind: jpeg(large, kind) for kind in ("PNG", "WEBP", "TIFF", "BMP")}
    files["CMYK"] = jpeg(large.convert("CMYK"))
    gray = np.linspace(0, 65535, large.width * large.height).astype(np.uint16)
    files["16 bits"] = png16(gray.reshape(large.height, large.width))
    for kind, data in files.items():
        assert np.array_equal(pixels(decode(data, 65535, LEAST)), pixels(decode(data, 65535))), kind


def test_every_truncation_of_a_reduced_picture_is_noticed(large: Image.Image) -> None:
    whole = jpeg(large)
    for length in range(0, len(whole) - 2, len(whole) // 20):
        with pytest.raises(ImageError):
            decode(whole[:length], least_side=LEAST)


def test_the_limit_counts_pixels_of_the_file(large: Image.Image, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image, "MAX_PIXELS", large.width * large.height - 1)
    with pytest.raises(ImageError, match="the limit is"):
        decode(jpeg(large), least_side=LEAST)


def served_by(artifact: Path, folder: Path, **preprocessing: object) -> tuple[predictor.Model, dict]:
    """A copy of the artifact with additions to its preprocessing: its model, and the whole preprocessing."""
    shutil.copytree(artifact, folder, dirs_exist_ok=True)
    card = json.loads((folder / "model.json").read_text())
    card["preprocessing"] |= preprocessing
    (folder / "model.json").write_text(json.dumps(card))
    return predictor.load(folder), card["preprocessing"]


def test_training_and_serving_see_the_same_pixels(artifact: Path, tmp_path: Path, large: Image.Image) -> None:
    file = tmp_path / "large.jpg"
    file.write_bytes(jpeg(large))
    model, how = served_by(artifact, tmp_path / "model", jpeg_reserve=JPEG_RESERVE)
    served = predictor.decode(model, file.read_bytes(), ANY_IMAGE)
    assert np.array_equal(transform(file, how), served)
    [trained] = read_squares([file], SIDE, RESIZE).numpy()
    assert np.array_equal(image.normalize(trained, model.mean, model.std), served[0])
    [kept] = Pictures([file], RESIZE, Budget(1))[torch.tensor([0])]
    reduced = decode(file, least_side=LEAST)
    expected = reduced.resize(tuple(kept.shape[:0:-1]), Image.Resampling.BILINEAR)
    assert np.array_equal(kept.permute(1, 2, 0).numpy(), pixels(expected))


def test_an_artifact_of_an_earlier_version_decodes_in_full(
    artifact: Path, tmp_path: Path, large: Image.Image
) -> None:
    model, how = served_by(artifact, tmp_path / "model")
    assert "jpeg_reserve" not in how and model.least_side == 0
    data = jpeg(large)
    served = predictor.decode(model, data, ANY_IMAGE)
    full = image.normalize(preprocess(decode(data), SIDE, RESIZE), model.mean, model.std)
    assert np.array_equal(served[0], full)
    assert np.array_equal(transform(data, how)[0], full)


def test_answers_to_large_pictures_agree(artifact: Path, tmp_path: Path) -> None:
    full, _ = served_by(artifact, tmp_path / "full")
    reduced, _ = served_by(artifact, tmp_path / "reduced", jpeg_reserve=JPEG_RESERVE)
    files = []
    for seed in range(6):
        for color in COLORS.values():
            tint = Image.new("RGB", (LEAST * 3, LEAST * 3), color)
            files.append(jpeg(Image.blend(tint, photograph(seed, tint.size), 0.2)))
    answers = [
        [predictor.recognize(model, predictor.decode(model, data, ANY_IMAGE))[0] for data in files]
        for model in (full, reduced)
    ]
    assert [one["label"] for one in answers[0]] == [one["label"] for one in answers[1]]
    changes = [
        abs(one["probabilities"]["ants"] - other["probabilities"]["ants"])
        for one, other in zip(*answers, strict=True)
    ]
    assert 0 < np.mean(changes) < 0.02
