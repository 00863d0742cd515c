"""Dataset folders for the tests of layouts and tables."""

from __future__ import annotations

from pathlib import Path

import pytest

from entrypoints.dataset import Dataset, check_dataset
from entrypoints.folders import DatasetError
from tests.entrypoints.pictures import picture


def put(root: Path, *files: str) -> Path:
    """Pictures, each different; `a/*` is three in a folder."""
    number = 0
    for file in files:
        for name in [file.replace("*", f"{n}.png") for n in range(3)] if "*" in file else [file]:
            number += 1
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            picture(seed=number).save(root / name, "PNG")
    return root


def table(file: Path, *rows: str) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return file


def counts(found: Dataset) -> dict[str, dict[str, int]]:
    return {
        part: {name: len(files) for name, files in classes.items()} for part, classes in found.images.items()
    }


def refusal(root: Path, **options: str) -> str:
    with pytest.raises(DatasetError) as caught:
        check_dataset(root, **options)  # type: ignore[arg-type]
    message = str(caught.value)
    assert "\n" not in message
    return message.replace(str(root.resolve()), "ROOT")


TWO = {"cat": 3, "dog": 3}
LABELS = [f"{number},{'cat' if number % 2 else 'dog'}" for number in range(6)]
SIX = tuple(f"{number}.png" for number in range(6))


def in_folder(folder: str) -> tuple[str, ...]:
    return tuple(f"{folder}/{name}" for name in SIX)
