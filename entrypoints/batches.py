"""Pictures as batches of pixels: decoded once and, if they fit, kept in memory as uint8."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from PIL import Image
from torchvision.transforms import v2

from entrypoints import depth
from entrypoints.depth import MAX_VALUE
from entrypoints.folders import DatasetError
from entrypoints.image import JPEG_RESERVE, ImageError, decode, largest_value, preprocess
from entrypoints.program import in_threads

# Pictures are cropped to at most this aspect ratio before they are kept.
MAX_ASPECT = 2.0
# Bytes per kept picture besides its pixels.
OVERHEAD = 1024

Seen = TypeVar("Seen")


class Budget:
    """Memory for caches to share."""

    def __init__(self, mebibytes: int) -> None:
        self.left = mebibytes << 20

    def take(self, size: int) -> bool:
        """Reserve `size` bytes; return whether they fit."""
        fits = size <= self.left
        if fits:
            self.left -= size
        return fits


def full_scale(files: Sequence[Path]) -> int:
    """The full scale of pictures' 16-bit values (depth.py); MAX_VALUE if there are none.

    Reads the start of every file, and all of each file that may have such values.

    Raises:
        DatasetError: a file is not a picture.
    """
    largest: list[int] = []
    for value in in_threads(_largest_value, files):
        if value is not None:
            largest.append(value)
        if value is not None and depth.full_scale([value]) == MAX_VALUE:
            break
    return depth.full_scale(largest)


class Pictures:
    """Training pictures, shorter side `resize` pixels: kept in memory while the budget lasts.

    `pictures[indices]` is a list of uint8 tensors of shape 3 x H x W, stored as H x W x 3. A picture is
    decoded at its first use, and at every use if there was no memory to keep it. A file that is not a
    picture raises DatasetError with its name.
    """

    def __init__(
        self, files: Sequence[Path], resize: int, budget: Budget, max_value: int = MAX_VALUE
    ) -> None:
        self.files = files
        self.resize = resize
        self.budget = budget
        self.max_value = max_value
        self.kept: dict[int, torch.Tensor] = {}

    def __getitem__(self, indices: torch.Tensor) -> list[torch.Tensor]:
        numbers = indices.tolist()
        missing = [number for number in numbers if number not in self.kept]
        read = dict(zip(missing, _map(self._read, [self.files[number] for number in missing]), strict=True))
        for number, picture in read.items():
            if self.budget.take(picture.nbytes + OVERHEAD):
                self.kept[number] = picture
        return [read[number] if number in read else self.kept[number] for number in numbers]

    def _read(self, file: Path) -> torch.Tensor:
        image = _decode(file, self.resize, self.max_value)
        short, long = min(image.size), max(image.size)
        if long > short * MAX_ASPECT:
            excess = int(long - short * MAX_ASPECT)
            box = (excess // 2, 0) if image.width == long else (0, excess // 2)
            image = image.crop((*box, image.width - box[0], image.height - box[1]))
        scale = self.resize / short
        size = (max(round(image.width * scale), 1), max(round(image.height * scale), 1))
        return torch.from_numpy(np.array(image.resize(size, Image.Resampling.BILINEAR))).permute(2, 0, 1)


def read_squares(
    files: Sequence[Path], image_size: int, resize: int, max_value: int = MAX_VALUE
) -> torch.Tensor:
    """Pictures as serving sees them: uint8 of shape N x 3 x image_size x image_size."""

    def read(file: Path) -> torch.Tensor:
        return torch.from_numpy(preprocess(_decode(file, resize, max_value), image_size, resize))

    return torch.stack(_map(read, files))


def batched(files: Sequence[Path], size: int) -> Iterator[Sequence[Path]]:
    """Slices of at most `size` files."""
    return (files[start : start + size] for start in range(0, len(files), size))


def collect(parts: Iterable[torch.Tensor], count: int) -> torch.Tensor:
    """Join parts into one tensor of `count` rows without torch.cat's second copy; 4-d in channels_last."""
    whole = torch.empty(0)
    filled = 0
    for part in parts:
        if not filled:
            layout = torch.channels_last if part.dim() == 4 else torch.contiguous_format
            shape = (count, *part.shape[1:])
            whole = torch.empty(shape, dtype=part.dtype, device=part.device, memory_format=layout)
        whole[filled : filled + len(part)] = part
        filled += len(part)
    return whole


def reseed(*numbers: int) -> None:
    """Seed torch's generators from numbers that identify what follows, so that it can be repeated alone."""
    torch.manual_seed(int(np.random.SeedSequence(numbers).generate_state(1)[0]))


def augmentation(image_size: int, crop_scale: float, horizontal_flip: bool) -> v2.Transform:
    """A random crop of at least `crop_scale` (0..1) of the picture's area, perhaps mirrored."""
    steps: list[v2.Transform] = [v2.RandomResizedCrop(image_size, scale=(crop_scale, 1.0), antialias=True)]
    if horizontal_flip:
        steps.append(v2.RandomHorizontalFlip())
    return v2.Compose(steps)


def shuffled(count: int, batches: int) -> Iterator[torch.Tensor]:
    """Indices 0..count-1 in random order, in batches of nearly equal size."""
    yield from torch.randperm(count).tensor_split(batches)


def steps_per_epoch(count: int, batch_size: int, processes: int = 1) -> int:
    """The number of batches of at most `batch_size` pictures, with at least two pictures per process.

    Each process splits its own part, so a batch may have one more picture from all but one of them.
    Batch norm cannot train on a single picture of 1 x 1 pixel.
    """
    return max(1, min(-(-count // batch_size), count // (2 * processes)))


def _decode(file: Path, resize: int, max_value: int) -> Image.Image:
    return _read(file, partial(decode, max_value=max_value, least_side=resize * JPEG_RESERVE))


def _read(file: Path, look: Callable[[bytes], Seen]) -> Seen:
    """`look`'s result for a file's bytes."""
    try:
        # Read whole: in a streamed channel (FastFile), each jump within a file costs a request.
        return look(file.read_bytes())
    except ImageError as error:
        raise DatasetError(f"{file} {error}") from None


def _largest_value(file: Path) -> int | None:
    with file.open("rb") as opened:
        head = opened.read(depth.HEAD_BYTES)
    return _read(file, largest_value) if depth.may_be_wide(head) else None


def _map(read: Callable[[Path], torch.Tensor], files: Sequence[Path]) -> list[torch.Tensor]:
    if not files:
        return []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(read, files))
