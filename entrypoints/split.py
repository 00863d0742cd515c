"""Split a dataset into train, validation and test: stratified, seeded, each file copied as it is."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath

from entrypoints.contract import SPLIT_SUMMARY, TEST, TRAIN, VALIDATION
from entrypoints.dataset import CLASSES, Dataset, DatasetError, check_dataset, relative
from entrypoints.program import Parser, fail, write_json

SPLITS = (TRAIN, VALIDATION, TEST)

Plan = dict[str, dict[str, list[Path]]]


def plan(dataset: Dataset, validation_fraction: float, test_fraction: float, seed: int) -> Plan:
    """Decide which file goes where: {split: {class name: files}}; every class is in every split.

    Published train, validation and test folders are kept. When only train and validation are published,
    the published validation becomes test, and validation is carved from train.

    Args:
        validation_fraction: share of the images validation is taken from, 0..1
        test_fraction: the same for test
        seed: another seed gives another split; the order of files on disk has no influence
    """
    result: Plan = {split: {} for split in SPLITS}
    for name in dataset.classes:
        published = {part: list(classes[name]) for part, classes in dataset.images.items()}
        pool = _shuffled(dataset.root, published.get(CLASSES) or published[TRAIN], seed)
        test = published.get(TEST) or published.get(VALIDATION)
        if test is None:
            test = _take(pool, test_fraction, leave=2)
        validation = published.get(VALIDATION) if TEST in published else None
        if validation is None:
            validation = _take(pool, validation_fraction, leave=1)
        for split, files in zip(SPLITS, (pool, validation, test), strict=True):
            result[split][name] = sorted(files, key=lambda file: relative(file, dataset.root))
    return result


def copy(dataset: Dataset, files: Iterable[Path], folder: Path) -> None:
    """Copy files of one class, byte for byte, under the names they have below their class folder.

    Names that some file systems cannot tell apart (by case or Unicode form) get a number.
    """
    taken: set[str] = set()
    for file in files:
        target = folder / _free_name(PurePosixPath(dataset.name_in_class(file)), taken)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, target)


def summary(dataset: Dataset, splits: Plan, seed: int) -> dict[str, object]:
    """What the split did, for people and for the later steps."""
    return {
        "classes": list(dataset.classes),
        "counts": {
            split: {n: len(files) for n, files in classes.items()} for split, classes in splits.items()
        },
        "layout": dataset.layout,
        "rejected": [{"file": r.file, "reason": r.reason} for r in dataset.rejected],
        "seed": seed,
    }


def _shuffled(root: Path, files: Sequence[Path], seed: int) -> list[Path]:
    """Order by a digest of seed and name: a picture added later moves no other to another place."""

    def key(file: Path) -> bytes:
        return hashlib.sha256(f"{seed}/{relative(file, root)}".encode()).digest()

    return sorted(files, key=key)


def _take(pool: list[Path], fraction: float, leave: int) -> list[Path]:
    """Remove a share of the pool, at least one file, leaving at least `leave`."""
    count = min(max(1, round(len(pool) * fraction)), len(pool) - leave)
    taken, pool[:] = pool[:count], pool[count:]
    return taken


def _free_name(path: PurePosixPath, taken: set[str]) -> PurePosixPath:
    candidate, number = path, 2
    while str(candidate).casefold() in taken:
        candidate = path.with_stem(f"{path.stem}-{number}")
        number += 1
    taken.add(str(candidate).casefold())
    return candidate


def main(arguments: Sequence[str] | None = None) -> None:
    parser = Parser(prog="split", description=__doc__)
    for name in ("input", *SPLITS, "summary"):
        parser.add_argument(f"--{name}", type=Path, required=True, metavar="DIR")
    parser.add_argument("--validation-fraction", type=float, default=0.15)
    parser.add_argument("--test-fraction", type=float, default=0.15)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(arguments)
    for name in ("validation_fraction", "test_fraction"):
        if not 0 < getattr(args, name) < 1:
            parser.error(
                f"--{name.replace('_', '-')} is {getattr(args, name)}; give a number between 0 and 1"
            )
    if args.validation_fraction + args.test_fraction >= 1:
        parser.error("--validation-fraction and --test-fraction leave nothing to train on")
    targets: Mapping[str, Path] = {split: getattr(args, split) for split in SPLITS}
    for target in targets.values():
        if target.is_dir() and any(target.iterdir()):
            parser.error(f"{target} is not empty; give an empty folder, so that no old file is trained on")

    try:
        dataset = check_dataset(args.input)
    except DatasetError as error:
        fail(str(error))
    splits = plan(dataset, args.validation_fraction, args.test_fraction, args.seed)
    for split, classes in splits.items():
        for name, files in classes.items():
            copy(dataset, files, targets[split] / name)
    report = summary(dataset, splits, args.seed)
    write_json(args.summary / SPLIT_SUMMARY, report, indent=2)
    for split, classes in splits.items():
        print(f"{split}: {sum(map(len, classes.values()))} images of {len(classes)} classes")
    for rejected in dataset.rejected:
        print(f"left out: {rejected.file!r} {rejected.reason}")


if __name__ == "__main__":
    main()
