from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch

from entrypoints.batches import (
    Budget,
    Pictures,
    augmentation,
    batched,
    collect,
    read_squares,
    reseed,
    shuffled,
    steps_per_epoch,
)
from entrypoints.contract import PNG
from entrypoints.dataset import read_split
from entrypoints.model import normalize
from entrypoints.serving import predictor
from tests.entrypoints.networks import RESNET18
from tests.entrypoints.pictures import picture


def test_pictures_are_the_same_from_memory_and_from_disk(dataset: Path) -> None:
    files = [file for file, _ in read_split(dataset)[1]]
    kept, read_again = Pictures(files, 32, Budget(1)), Pictures(files, 32, Budget(0))
    indices = torch.tensor([3, 0])
    first = kept[indices]
    assert [picture.shape for picture in first] == [(3, 32, 38)] * 2
    assert first[0].dtype == torch.uint8
    assert all(map(torch.equal, first, read_again[indices]))
    for file in files:
        file.unlink()
    assert all(map(torch.equal, first, kept[indices]))
    with pytest.raises(FileNotFoundError):
        read_again[indices]


def test_each_file_is_read_once_in_one_go_and_the_folder_listed_once(
    dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For streamed channels (FastFile), where every stat, open and seek is a request."""
    opened: list[Path] = []
    listed: list[Path] = []
    scan = os.scandir

    class Sequential(io.FileIO):
        def seek(self, *_: object) -> int:
            raise io.UnsupportedOperation("seek")

    def open_sequential(file: Path, mode: str = "r", *_: object) -> io.FileIO:
        assert mode == "rb"
        opened.append(Path(file))
        return Sequential(file)

    def scan_once(folder: Path) -> object:
        listed.append(Path(folder))
        return scan(folder)

    def no_stat(path: object, **_: object) -> None:
        raise AssertionError(f"stat of {path}")

    monkeypatch.setattr(os, "scandir", scan_once)
    files = [file for file, _ in read_split(dataset)[1]]
    assert sorted(listed) == [dataset, dataset / "ants", dataset / "bees"]
    monkeypatch.setattr(os, "stat", no_stat)
    monkeypatch.setattr(io, "open", open_sequential)
    monkeypatch.setattr("builtins.open", open_sequential)
    pictures = Pictures(files, 32, Budget(1))
    for epoch in range(2):
        pictures[torch.arange(12)]
        assert sorted(opened) == files, f"epoch {epoch}"
    opened.clear()
    read_squares(files, 28, 32)
    assert sorted(opened) == files


def test_pictures_are_kept_while_the_budget_lasts(dataset: Path) -> None:
    budget = Budget(1)
    assert budget.take((1 << 20) - 3 * 5000)  # room for three of 3 x 32 x 38 bytes and what comes with them
    pictures = Pictures([file for file, _ in read_split(dataset)[1]], 32, budget)
    everything = torch.arange(12)
    first = pictures[everything]
    assert sorted(pictures.kept) == [0, 1, 2]
    assert all(map(torch.equal, first, pictures[everything]))


@pytest.mark.parametrize(("size", "shape"), [((300, 10), (3, 16, 32)), ((10, 300), (3, 32, 16))])
def test_long_pictures_are_cut(tmp_path: Path, size: tuple[int, int], shape: tuple[int, ...]) -> None:
    picture(size=size).save(tmp_path / "long.png")
    assert Pictures([tmp_path / "long.png"], 16, Budget(1))[torch.tensor([0])][0].shape == shape


def test_a_budget_is_shared() -> None:
    budget = Budget(1)
    assert budget.take(600_000)
    assert not budget.take(600_000)
    assert budget.take(400_000)
    assert not Budget(0).take(1)


def test_collect_is_cat_and_batched_cuts() -> None:
    parts = torch.arange(14).view(7, 2).split(3)
    assert torch.equal(collect(parts, 7), torch.cat(parts))
    pixels = torch.arange(120).view(5, 2, 3, 4)
    kept = collect(pixels.split(2), 5)
    assert torch.equal(kept, pixels)
    assert kept.is_contiguous(memory_format=torch.channels_last)
    files = [Path(str(number)) for number in range(7)]
    assert list(map(len, batched(files, 3))) == [3, 3, 1]


def test_reseeding_repeats_what_its_numbers_name() -> None:
    draws = []
    for numbers in ((1, 0, 2, 0), (1, 0, 2, 0), (1, 1, 2, 0), (1, 0, 3, 0), (1, 0, 2, 1)):
        reseed(*numbers)
        draws.append(torch.rand(3).tolist())
    assert draws[0] == draws[1]
    assert len(set(map(tuple, draws))) == 4


def test_squares_are_what_serving_makes_of_the_same_pictures(tmp_path: Path) -> None:
    files = [tmp_path / f"{number}.png" for number in range(3)]
    for number, (file, size) in enumerate(zip(files, ((24, 20), (300, 40), (30, 90)), strict=True)):
        picture(size=size, seed=number).save(file)
    model = predictor.Model(cast(Any, None), "", (), 28, 32, RESNET18.mean, RESNET18.std)
    served = [predictor.decode(model, file.read_bytes(), PNG) for file in files]
    squares = read_squares(files, 28, 32)
    assert (squares.dtype, squares.shape) == (torch.uint8, (3, 3, 28, 28))
    assert np.array_equal(normalize(squares, RESNET18.mean, RESNET18.std).numpy(), np.concatenate(served))


def test_augmentation_gives_squares_and_flips_only_when_asked() -> None:
    torch.manual_seed(0)
    pixels = torch.zeros(3, 40, 40, dtype=torch.uint8)
    pixels[:, :, :20] = 255
    plain, flipped = augmentation(32, 0.9, False), augmentation(32, 0.9, True)
    assert all(plain(pixels)[0, 16, 0] == 255 for _ in range(20))
    assert {int(flipped(pixels)[0, 16, 0]) for _ in range(20)} == {0, 255}
    assert plain(pixels).shape == (3, 32, 32)


@pytest.mark.parametrize("processes", [1, 2, 3])
@pytest.mark.parametrize(("count", "batch_size"), [(6, 1), (7, 2), (33, 32), (100, 32), (8, 64), (64, 32)])
def test_every_picture_once_and_no_batch_of_one(count: int, batch_size: int, processes: int) -> None:
    steps = steps_per_epoch(count, batch_size, processes)
    sizes = []
    for first in range(processes):
        part = len(range(first, count, processes))
        batches = list(shuffled(part, steps))
        assert sorted(torch.cat(batches).tolist()) == list(range(part))
        sizes.append(list(map(len, batches)))
    assert min(map(min, sizes)) >= 2
    assert max(map(sum, zip(*sizes, strict=True))) < max(batch_size, 4 * processes) + processes
