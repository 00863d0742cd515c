"""16-bit values: all bits are read, and a dataset's largest values are white."""

from __future__ import annotations

import json
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from entrypoints.batches import Budget, Pictures, full_scale, read_squares
from entrypoints.contract import ANY_IMAGE
from entrypoints.dataset import DatasetError, check_dataset
from entrypoints.depth import MAX_VALUE, may_be_wide
from entrypoints.image import ImageError, decode, largest_value, preprocess
from entrypoints.serving import predictor
from scripts.invoke import transform
from tests.entrypoints.conftest import Run
from tests.entrypoints.pictures import HEIC, picture, png16, tiff

RAMP = np.arange(64, dtype=np.uint16).reshape(8, 8) * 65  # 0 to 4095, as a camera of 12 bits has them


def saved(image: Image.Image, image_format: str, **options: object) -> bytes:
    file = BytesIO()
    image.save(file, image_format, **options)
    return file.getvalue()


def of_bands(count: int) -> np.ndarray:
    return np.dstack([RAMP, RAMP[::-1], RAMP.T, np.full_like(RAMP, 65535)][:count])


WIDE = {
    "gray PNG": png16(RAMP),
    "gray TIFF": saved(Image.fromarray(RAMP), "TIFF"),
    "RGB PNG": png16(of_bands(3)),
    "RGBA PNG": png16(of_bands(4)),
    "gray and alpha PNG": png16(np.dstack([RAMP, np.full_like(RAMP, 65535)])),
    "RGB TIFF": tiff(of_bands(3)),
    "RGBA TIFF": tiff(of_bands(4), extra=(2,)),
    "32-bit TIFF": saved(Image.fromarray(RAMP.astype(np.int32)), "TIFF"),
}


@pytest.mark.parametrize("name", sorted(WIDE))
def test_12_bits_in_16_keep_every_grey_that_8_bits_can_hold(name: str) -> None:
    assert largest_value(WIDE[name]) == 4095
    for max_value in (4095, None):
        pixels = np.asarray(decode(WIDE[name], max_value))
        assert pixels[..., 0].tolist() == (RAMP >> 4).tolist()
        if name.startswith("RGB"):
            assert pixels[..., 2].tolist() == (RAMP.T >> 4).tolist()
    assert np.asarray(decode(WIDE[name], MAX_VALUE))[..., 0].tolist() == (RAMP >> 8).tolist()


def test_what_is_above_the_full_scale_is_white() -> None:
    assert np.asarray(decode(png16(RAMP), 255))[0, :6, 0].tolist() == [0, 65, 130, 195, 255, 255]


def test_transparency_of_16_bits_has_its_own_scale() -> None:
    see_through = png16(np.dstack([RAMP, np.zeros_like(RAMP)]))
    assert np.asarray(decode(see_through, 4095)).min() == 255


@pytest.mark.parametrize("value", [-1, 65536])
def test_integers_beyond_16_bits_are_refused_with_their_range(value: int) -> None:
    values = np.array([[0, value]], np.int32)
    with pytest.raises(ImageError, match="has values outside 0 to 65535; save it"):
        decode(saved(Image.fromarray(values), "TIFF"), MAX_VALUE)


def test_pictures_of_8_bits_have_no_such_values() -> None:
    for body in (saved(picture(), "PNG"), saved(picture(), "JPEG"), saved(picture(), "TIFF"), HEIC):
        assert largest_value(body) is None
        assert np.array_equal(np.asarray(decode(body, 255)), np.asarray(decode(body)))


def test_heads_tell_which_files_may_have_them() -> None:
    assert {name for name, body in WIDE.items() if may_be_wide(body[:25])} == set(WIDE)
    assert not any(may_be_wide(saved(picture(), form)[:25]) for form in ("PNG", "JPEG", "WEBP", "BMP"))


@pytest.mark.parametrize(
    ("largest", "expected"), [([200], 255), ([900, 40], 1023), ([1023], 1023), ([1024], 2047), ([0], 255)]
)
def test_a_dataset_s_full_scale(tmp_path: Path, largest: list[int], expected: int) -> None:
    picture().save(tmp_path / "8 bits.png")
    for value in largest:
        (tmp_path / f"{value}.jpg").write_bytes(png16(np.full((4, 4), value, np.uint16)))
    assert full_scale(sorted(tmp_path.iterdir())) == expected


def test_pictures_of_8_bits_leave_the_full_scale_as_it_was(dataset: Path) -> None:
    assert full_scale(sorted(dataset.rglob("*.png"))) == MAX_VALUE


def test_a_damaged_picture_is_named(tmp_path: Path) -> None:
    file = tmp_path / "broken.png"
    file.write_bytes(png16(RAMP)[:60])
    with pytest.raises(DatasetError, match=r"broken\.png is truncated or damaged"):
        full_scale([file])


def test_copies_are_found_by_what_is_there_and_not_by_their_upper_bits(tmp_path: Path) -> None:
    """The upper bits of 8-bit values are all zero: other pictures would be copies of each other."""
    random = np.random.default_rng(0)
    for name in ("bone", "tissue"):
        (tmp_path / name).mkdir()
        for number in range(3):
            values = random.integers(0, 200, (24, 24), dtype=np.uint16)
            (tmp_path / name / f"{number}.png").write_bytes(png16(values))
    found = check_dataset(tmp_path)
    thumbnails = found.looks.thumbnails(
        [file for files in found.images["classes"].values() for file in files]
    )
    assert len({row.tobytes() for row in thumbnails}) == 6


def test_training_and_serving_see_the_same_pixels(artifact: Path, tmp_path: Path) -> None:
    file = tmp_path / "ramp.png"
    file.write_bytes(png16(np.kron(RAMP, np.ones((8, 8), np.uint16))))
    card = json.loads((artifact / "model.json").read_text())
    model = predictor.load(artifact)
    assert model.max_value == MAX_VALUE, "an artifact of an earlier version"
    how = {**card["preprocessing"], "max_value": 4095}
    wide = replace(model, max_value=4095)
    served = predictor.decode(wide, file.read_bytes(), ANY_IMAGE)
    assert np.array_equal(transform(file, how), served)
    assert not np.array_equal(predictor.decode(model, file.read_bytes(), ANY_IMAGE), served)
    [squares] = read_squares([file], 32, 37, 4095)
    assert np.array_equal(squares.numpy(), preprocess(decode(file, 4095), 32, 37))
    [kept] = Pictures([file], 64, Budget(1), 4095)[torch.tensor([0])]
    assert np.array_equal(kept.permute(1, 2, 0).numpy(), np.asarray(decode(file, 4095)))


def test_a_training_on_12_bits_says_so_in_model_json(job: Path, run: Run, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    for split, count in (("train", 5), ("validation", 3)):
        for name, (low, high) in {"ants": (0, 2000), "bees": (2000, 4096)}.items():
            for number in range(count):
                values = random.integers(low, high, (40, 40), dtype=np.uint16)
                (job / "input" / split / name / f"{number}.png").write_bytes(png16(values))
    completed = run("train", "--image_size", 32, "--epochs", 1, "--batch_size", 4, "--engines", 0)
    assert completed.returncode == 0, completed.stderr
    assert "16-bit pictures: their values end at 4095, which is white" in completed.stdout
    card = json.loads((tmp_path / "model/model.json").read_text())
    assert card["preprocessing"]["max_value"] == 4095
