"""The inputs of the layers that learn: pictures, or the output of the frozen layers below."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from entrypoints import distributed
from entrypoints.batches import Budget, Pictures, augmentation, batched, collect, read_squares, reseed
from entrypoints.contract import MIN_IMAGE_PX, TRAIN, VALIDATION
from entrypoints.dataset import LabelledFiles, read_split
from entrypoints.depth import MAX_VALUE
from entrypoints.folders import DatasetError
from entrypoints.hyperparameters import Hyperparameters

# Frozen layers see smaller pictures than in serving: a random crop magnifies its content, so that objects
# have about their later size (Touvron et al., arXiv:1906.06423); half the pixels cost half the time.
VIEW_SCALE = 5 / 7
FEATURE_BATCH = 64
# Pictures per pass through the frozen layers: a processor's cache holds their activations.
FROZEN_BATCH = {"cpu": 16, "cuda": FEATURE_BATCH}
# Purposes for `reseed`.
VIEWS, EPOCHS = 0, 1


@dataclass(frozen=True)
class Splits:
    """The pictures of a training; a label is an index into `classes`."""

    classes: tuple[str, ...]
    train: LabelledFiles
    validation: LabelledFiles


def read_splits(train: Path, validation: Path, processes: int) -> Splits:
    """Read both splits as the split program wrote them; decode nothing.

    Raises:
        DatasetError: they have different classes, or too few pictures for a class or for the processes.
    """
    classes, train_files = read_split(train)
    validation_classes, validation_files = read_split(validation)
    if odd := sorted(set(classes) ^ set(validation_classes)):
        only = TRAIN if odd[0] in classes else VALIDATION
        raise DatasetError(f"only {only} has the class {odd[0]!r}; give it to both")
    for split, files in ((TRAIN, train_files), (VALIDATION, validation_files)):
        if missing := set(range(len(classes))) - {label for _, label in files}:
            raise DatasetError(f"{split} has no picture of the class {classes[min(missing)]!r}; give it some")
    if len(train_files) < 2 * processes or len(validation_files) < processes:
        raise DatasetError(
            f"{len(train_files)} training and {len(validation_files)} validation images are too few for "
            f"{processes} processes; use fewer GPUs or instances"
        )
    return Splits(classes, train_files, validation_files)


def class_balance(splits: Splits) -> torch.Tensor:
    """A weight per class so that each counts the same, whatever its number of training pictures."""
    counts = torch.bincount(torch.tensor([label for _, label in splits.train]))
    return len(splits.train) / (len(splits.classes) * counts)


class Inputs:
    """One process's pictures as inputs of the layers that learn.

    Kept while memory lasts, recomputed otherwise. In order of priority: the validation pictures' inputs; if
    layers are frozen, those of the training pictures' views; the decoded training pictures.
    """

    def __init__(
        self,
        hp: Hyperparameters,
        train: LabelledFiles,
        validation: LabelledFiles,
        frozen: nn.Sequential,
        device: torch.device,
        autocast: torch.autocast,
        pretrained: bool,
        max_value: int = MAX_VALUE,
    ) -> None:
        """Compute and keep the validation pictures' inputs.

        `max_value` is the full scale of 16-bit values (depth.py).
        `frozen` are the layers below those that learn, on `device`: none, if all learn.

        Raises:
            DatasetError: a file is not a picture.
        """
        self._hp, self._frozen, self._device, self._autocast = hp, frozen, device, autocast
        self._max_value = max_value
        self._validation = [file for file, _ in validation]
        self._count = len(train)
        view_size = max(MIN_IMAGE_PX, round(hp.image_size * VIEW_SCALE)) if len(frozen) else hp.image_size
        self._augment = augmentation(view_size, *hp.crops(pretrained))
        budget = Budget(hp.memory_budget_mb // distributed.count_here())
        keep_validation = budget.take(len(validation) * self._bytes_of(hp.image_size))
        self._kept_validation = list(self._validation_batches()) if keep_validation else None
        views = min(hp.views, hp.epochs) * self._count if len(frozen) else 0
        self._keeps_views = views > 0 and budget.take(views * self._bytes_of(view_size))
        self._kept_views: dict[int, torch.Tensor] = {}
        self._view = 0
        self._pictures = Pictures([file for file, _ in train], hp.resize, budget, max_value)

    def begin(self, epoch: int) -> None:
        """Select an epoch's view (from 1) and seed its randomness, so that it can be repeated alone."""
        self._view = (epoch - 1) % self._hp.views
        if self._keeps_views and self._view not in self._kept_views:
            reseed(self._hp.seed, VIEWS, self._view, distributed.rank())
            parts = torch.split(torch.arange(self._count), FEATURE_BATCH)
            self._kept_views[self._view] = collect(map(self._compute, parts), self._count)
        reseed(self._hp.seed, EPOCHS, epoch, distributed.rank())

    def __getitem__(self, indices: torch.Tensor) -> torch.Tensor:
        """Inputs of training pictures in this epoch."""
        return self._kept_views[self._view][indices] if self._keeps_views else self._compute(indices)

    def validation(self) -> Iterable[torch.Tensor]:
        """Inputs of the validation pictures, in batches."""
        return self._kept_validation or self._validation_batches()

    def _compute(self, indices: torch.Tensor) -> torch.Tensor:
        return self._features(torch.stack([self._augment(picture) for picture in self._pictures[indices]]))

    def _validation_batches(self) -> Iterator[torch.Tensor]:
        for part in batched(self._validation, FEATURE_BATCH):
            squares = read_squares(part, self._hp.image_size, self._hp.resize, self._max_value)
            yield self._features(squares)

    @torch.no_grad()
    def _features(self, pixels: torch.Tensor) -> torch.Tensor:
        parts = torch.split(pixels.to(self._device, non_blocking=True), FROZEN_BATCH[self._device.type])
        with self._autocast:
            return collect(map(self._frozen, parts), len(pixels))

    def _bytes_of(self, size: int) -> int:
        return self._features(torch.zeros(1, 3, size, size, dtype=torch.uint8)).nbytes
