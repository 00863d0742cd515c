from __future__ import annotations

from pathlib import Path

import pytest
import torch

from entrypoints.batches import Pictures, augmentation, read_squares, shuffled, steps_per_epoch
from entrypoints.dataset import read_split
from tests.entrypoints.pictures import picture


def test_pictures_are_the_same_from_memory_and_from_disk(dataset: Path) -> None:
    files = [file for file, _ in read_split(dataset)[1]]
    kept, read_again = Pictures(files, 32), Pictures(files, 32, cache_bytes=0)
    assert kept.cache is not None
    assert read_again.cache is None
    assert kept[3].shape == (3, 32, 38)
    assert kept[3].dtype == torch.uint8
    assert torch.equal(kept[3], read_again[3])


@pytest.mark.parametrize(("size", "shape"), [((300, 10), (3, 16, 32)), ((10, 300), (3, 32, 16))])
def test_long_pictures_are_cut(tmp_path: Path, size: tuple[int, int], shape: tuple[int, ...]) -> None:
    picture(size=size).save(tmp_path / "long.png")
    assert Pictures([tmp_path / "long.png"], 16)[0].shape == shape


def test_squares(dataset: Path) -> None:
    files = [file for file, _ in read_split(dataset)[1]]
    assert read_squares(files, 28, 32).shape == (12, 3, 28, 28)


def test_augmentation_gives_squares_and_flips_only_when_asked() -> None:
    torch.manual_seed(0)
    pixels = torch.zeros(3, 40, 40, dtype=torch.uint8)
    pixels[:, :, :20] = 255
    plain, flipped = augmentation(32, 0.9, False), augmentation(32, 0.9, True)
    assert all(plain(pixels)[0, 16, 0] == 255 for _ in range(20))
    assert {int(flipped(pixels)[0, 16, 0]) for _ in range(20)} == {0, 255}
    assert plain(pixels).shape == (3, 32, 32)


@pytest.mark.parametrize(("count", "batch_size"), [(2, 1), (3, 2), (33, 32), (100, 32), (5, 64), (64, 32)])
def test_every_picture_once_and_no_batch_of_one(count: int, batch_size: int) -> None:
    batches = list(shuffled(count, batch_size))
    assert sorted(torch.cat(batches).tolist()) == list(range(count))
    assert min(map(len, batches)) >= 2
    assert len(batches) == steps_per_epoch(count, batch_size)
