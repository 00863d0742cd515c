from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from entrypoints import inputs
from entrypoints.dataset import DatasetError, read_split
from entrypoints.hyperparameters import Hyperparameters
from entrypoints.inputs import Inputs, Splits, class_balance, read_splits
from tests.entrypoints.pictures import write_classes

HP = Hyperparameters(epochs=6, image_size=40, views=2)
EVERYTHING = torch.arange(8)


@pytest.fixture
def splits(tmp_path: Path) -> tuple[Path, Path]:
    """Two classes: four training pictures and three validation pictures of each."""
    return write_classes(tmp_path / "train", 4), write_classes(tmp_path / "validation", 3)


def test_both_splits_have_the_same_classes(splits: tuple[Path, Path]) -> None:
    read = read_splits(*splits, processes=2)
    assert read.classes == ("ants", "bees")
    assert read.train == read_split(splits[0])[1]
    assert [label for _, label in read.validation] == [0, 0, 0, 1, 1, 1]
    write_classes(splits[1], 1, {"wasps": (9, 9, 9)})
    with pytest.raises(DatasetError, match="only validation has the class 'wasps'"):
        read_splits(*splits, processes=1)


@pytest.mark.parametrize("split", ["train", "validation"])
def test_a_split_without_some_class_is_refused(splits: tuple[Path, Path], split: str) -> None:
    for file in (splits[0].with_name(split) / "bees").iterdir():
        file.unlink()
    with pytest.raises(DatasetError, match=f"^{split} has no picture of the class 'bees'; give it some$"):
        read_splits(*splits, processes=1)


@pytest.mark.parametrize("processes", [5, 7])
def test_each_process_needs_pictures(splits: tuple[Path, Path], processes: int) -> None:
    message = f"8 training and 6 validation images are too few for {processes} processes; use fewer GPUs"
    with pytest.raises(DatasetError, match=message):
        read_splits(*splits, processes)


def test_each_class_counts_the_same() -> None:
    files = [(Path("a"), 0), *[(Path("b"), 1)] * 3]
    balance = class_balance(Splits(("ants", "bees"), files, files))
    assert balance.tolist() == pytest.approx([4 / (2 * 1), 4 / (2 * 3)])


class Halved(torch.nn.Module):
    """A frozen layer that remembers the shapes it has seen."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[int, ...]] = []

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        self.seen.append(tuple(pixels.shape))
        return pixels.float().mean((2, 3)) / 2


def made(splits: tuple[Path, Path], hp: Hyperparameters, *frozen: torch.nn.Module) -> Inputs:
    device = torch.device("cpu")
    autocast = torch.autocast("cpu", torch.bfloat16, enabled=False)
    read = read_splits(*splits, processes=1)
    return Inputs(hp, read.train, read.validation, torch.nn.Sequential(*frozen), device, autocast, True)


def test_views_come_round_again_from_memory(splits: tuple[Path, Path]) -> None:
    frozen = Halved()
    kept = made(splits, HP, frozen)
    epochs = []
    for epoch in range(1, 5):
        kept.begin(epoch)
        epochs.append(kept[EVERYTHING])
    assert torch.equal(epochs[0], epochs[2]) and torch.equal(epochs[1], epochs[3])
    assert not torch.equal(epochs[0], epochs[1])
    before = len(frozen.seen)
    kept.begin(5)
    assert torch.equal(kept[EVERYTHING[3:5]], epochs[0][3:5])
    assert list(kept.validation()) and len(frozen.seen) == before
    assert kept[EVERYTHING].shape == (8, 3)


@pytest.mark.parametrize(("served", "seen"), [(224, 160), (98, 70), (40, 32), (32, 32)])
def test_frozen_layers_learn_from_half_the_pixels_that_are_served(
    splits: tuple[Path, Path], served: int, seen: int
) -> None:
    """Never from fewer pixels than the network takes."""
    frozen = Halved()
    made(splits, replace(HP, image_size=served), frozen).begin(1)
    shapes = {shape for shape in frozen.seen if shape[0] > 1}
    assert shapes == {(6, 3, served, served), (8, 3, seen, seen)}


def test_where_all_layers_learn_they_see_pictures_as_large_as_served(splits: tuple[Path, Path]) -> None:
    fresh = made(splits, HP)
    fresh.begin(1)
    assert fresh[EVERYTHING].shape == (8, 3, 40, 40)


@pytest.mark.parametrize("frozen", [(), (Halved(),)])
def test_without_memory_an_epoch_can_still_be_repeated_alone(
    splits: tuple[Path, Path], frozen: tuple[torch.nn.Module, ...]
) -> None:
    fresh = made(splits, replace(HP, memory_budget_mb=0), *frozen)
    epochs = []
    for epoch in (1, 2, 3, 2):
        fresh.begin(epoch)
        epochs.append(fresh[EVERYTHING])
    assert torch.equal(epochs[1], epochs[3])
    assert not torch.equal(epochs[0], epochs[1]) and not torch.equal(epochs[0], epochs[2])


def test_validation_pictures_are_those_that_serving_sees_kept_or_not(
    splits: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inputs, "FEATURE_BATCH", 4)
    for megabytes in (0, 2048):
        batches = list(made(splits, replace(HP, memory_budget_mb=megabytes)).validation())
        assert [len(batch) for batch in batches] == [4, 2]
        files = [file for file, _ in read_split(splits[1])[1]]
        assert torch.equal(torch.cat(batches), inputs.read_squares(files, 40, 46))


def test_memory_goes_to_validation_first_and_then_to_views(splits: tuple[Path, Path]) -> None:
    class Wide(Halved):
        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            return (
                super().forward(pixels).repeat(1, 5000)
            )  # 60 kB a picture: 0.36 MB of validation, 0.96 MB of two views

    def again(inputs: Inputs, frozen: Halved) -> tuple[bool, bool]:
        """Whether the second of two epochs computes validation and training pictures again."""
        inputs.begin(1)
        inputs[EVERYTHING], list(inputs.validation())
        frozen.seen.clear()
        inputs.begin(3)
        list(inputs.validation())
        validation = bool(frozen.seen)
        frozen.seen.clear()
        inputs[EVERYTHING]
        return validation, bool(frozen.seen)

    for megabytes, expected in ((0, (True, True)), (1, (False, True)), (2, (False, False))):
        frozen = Wide()
        assert again(made(splits, replace(HP, memory_budget_mb=megabytes), frozen), frozen) == expected
