"""Split a dataset into train, validation and test: stratified, seeded, each file copied as it is.

What belongs together (groups.py), such as two copies of a picture, goes into one split.
"""

from __future__ import annotations

import argparse
import re
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from entrypoints.contract import SPLIT_SUMMARY, TEST, TRAIN, VALIDATION
from entrypoints.dataset import Dataset, check_dataset, told
from entrypoints.folders import DatasetError, relative
from entrypoints.groups import LEAVE_OUT, NAMED, REFUSE, Group, Grouped, Rules, group, leave_out
from entrypoints.program import Parser, fail, printable, write_json

SPLITS = (TRAIN, VALIDATION, TEST)
# Entries per list in the summary.
LARGEST_GROUPS, FILES_OF_A_GROUP, CONFLICTS = 12, 8, 100
TOLD = 10  # conflicts named in the log

Plan = dict[str, dict[str, list[Path]]]


def plan(found: Grouped, validation_fraction: float, test_fraction: float) -> tuple[Grouped, Plan]:
    """Decide which file goes where: {split: {class name: files}}; every class is in every split.

    Published train, validation and test folders are kept. If only train and validation are published, the
    published validation becomes test, and validation is carved from train. A picture in a group with one of a
    published test split leaves the other splits; with one of validation, it leaves train.

    Args:
        validation_fraction: share (0..1) of the images that validation is taken from
        test_fraction: the same for test

    Returns:
        the findings, without the pictures that left; and the plan.

    Raises:
        DatasetError: a class has too few groups to be in every split.
    """
    dataset = found.dataset
    published = dict.fromkeys(dataset.images, TRAIN)
    if TEST in published:
        published |= {part: part for part in (VALIDATION, TEST) if part in published}
    elif VALIDATION in published:
        published[VALIDATION] = TEST
    of_file = {
        file: (published[part], name)
        for part, classes in dataset.images.items()
        for name, files in classes.items()
        for file in files
    }
    reasons: dict[Path, str] = {}
    fixed: dict[Path, str] = {}
    free: list[Group] = []
    for together in found.groups:
        split = next(s for s in (TEST, VALIDATION, TRAIN) if any(of_file[f][0] == s for f in together.files))
        if split == TRAIN:
            free.append(together)
            continue
        kept = [file for file in together.files if of_file[file][0] == split]
        fixed |= dict.fromkeys(kept, split)
        tie = "is of the same group as" if together.why == (NAMED,) else "is a copy of"
        for file in together.files:
            if file not in fixed:
                reasons[file] = f"{tie} {relative(kept[0], dataset.root)!r}"

    bounds, carved = [0.0], []
    if TEST not in published.values():
        bounds, carved = [0.0, test_fraction], [TEST]
    if VALIDATION not in published.values():
        bounds.append(bounds[-1] + (1 - bounds[-1]) * validation_fraction)
        carved.append(VALIDATION)
    intervals = dict(zip([*carved, TRAIN], zip(bounds, [*bounds[1:], 1.0], strict=True), strict=True))
    chosen = place(free, {file: name for file, (_, name) in of_file.items()}, intervals)
    for together, split in zip(free, chosen, strict=True):
        fixed |= dict.fromkeys(together.files, split)

    result: Plan = {split: {name: [] for name in dataset.classes} for split in SPLITS}
    for file in sorted(fixed, key=lambda file: relative(file, dataset.root)):
        result[fixed[file]][of_file[file][1]].append(file)
    for split, classes in result.items():
        for name, files in classes.items():
            if not files:
                raise DatasetError(_too_few(found, split, name, reasons))
    return replace(found, dataset=leave_out(dataset, reasons)), result


def place(
    groups: Sequence[Group], class_of: Mapping[Path, str], intervals: Mapping[str, tuple[float, float]]
) -> list[str]:
    """A split for each group: the one whose interval holds the group's place, if every class allows it.

    If a split lacks a class, it gets the class's group nearest to its interval that another split can spare,
    preferably from train, not test. So a picture of the test split stays there when the dataset grows, unless
    its class was so small that none had a place below the test fraction: then it may go to validation when
    one with a smaller place is added, and to train when two are. A class of 20 pictures or more has one
    below 0.15 in 96 of 100 cases.

    Args:
        intervals: first and last place, by split; they cover 0 to 1.
    """
    chosen = [
        next(split for split, (low, high) in intervals.items() if low <= together.place < high)
        for together in groups
    ]
    classes = [{class_of[file] for file in together.files} for together in groups]
    members: dict[str, list[int]] = {}
    for number, names in enumerate(classes):
        for name in names:
            members.setdefault(name, []).append(number)
    counts = Counter((chosen[number], name) for number, names in enumerate(classes) for name in names)

    def distance(number: int, split: str) -> tuple[bool, float]:
        low, high = intervals[split]
        at = groups[number].place
        return chosen[number] == TEST, max(low - at, at - high)

    order = [split for split in (TEST, TRAIN, VALIDATION) if split in intervals]
    for name, own in sorted(members.items(), key=lambda item: (len(item[1]), item[0])):
        for split in order:
            if counts[split, name]:
                continue
            spare = [n for n in own if all(counts[chosen[n], other] > 1 for other in classes[n])]
            if not spare:
                continue  # The plan reports it.
            moved = min(spare, key=lambda number: distance(number, split))
            for other in classes[moved]:
                counts[chosen[moved], other] -= 1
                counts[split, other] += 1
            chosen[moved] = split
    return chosen


def _too_few(found: Grouped, split: str, name: str, left: Mapping[Path, str]) -> str:
    """Why a class has no picture for a split, and what to do, in one line."""
    parts = found.dataset.images
    if split in parts and parts[split][name]:
        example = parts[split][name][0]
        return (
            f"class {name!r} has no picture left in {split}: {relative(example, found.dataset.root)!r} "
            f"{left[example]}, and so on; give {split} pictures of its own, or take its folder away"
        )
    files = {file for classes in parts.values() for file in classes[name]} - left.keys()
    sets = sum(not files.isdisjoint(together.files) for together in found.groups)
    return (
        f"class {name!r} has no picture for {split}: its {len(files)} pictures are {sets} groups, each of "
        "which goes into one split (copies, and groups that the settings name); add pictures of other groups"
    )


def copy(dataset: Dataset, files: Iterable[Path], folder: Path) -> Iterator[tuple[Path, str]]:
    """Copy a class's files, byte for byte, with their names below the class folder.

    Names that some file systems cannot tell apart (by case or Unicode form) get a number. Yields each file
    with its name in the folder.
    """
    taken: set[str] = set()
    for file in files:
        name = _free_name(PurePosixPath(dataset.name_in_class(file)), taken)
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, target)
        yield file, str(name)


def summary(found: Grouped, splits: Plan, copied: Mapping[Path, str], seed: int) -> dict[str, object]:
    """What the split did, for readers and later steps.

    Args:
        copied: each picture's new place, as SPLIT/CLASS/NAME
    """
    root = found.dataset.root
    several = [
        (together, files)
        for together in found.groups
        if len(files := [copied[file] for file in together.files if file in copied]) > 1
    ]
    largest = sorted(several, key=lambda item: -len(item[1]))[:LARGEST_GROUPS]
    return {
        "classes": list(found.dataset.classes),
        "counts": {
            split: {n: len(files) for n, files in classes.items()} for split, classes in splits.items()
        },
        "layout": found.dataset.layout,
        "notes": list(found.dataset.notes),
        "rejected": [{"file": r.file, "reason": r.reason} for r in found.dataset.rejected],
        "seed": seed,
        "copies": dict(found.copies),
        "groups": {file: relative(together.files[0], root) for together, files in several for file in files},
        "largest_groups": [
            {"pictures": len(files), "why": list(together.why), "files": files[:FILES_OF_A_GROUP]}
            for together, files in largest
        ],
        "conflicts": [
            {"why": why, "files": [relative(file, root) for file in files[:FILES_OF_A_GROUP]]}
            for why, files in found.conflicts[:CONFLICTS]
        ],
    }


def findings(found: Grouped) -> list[str]:
    """The copies and groups found, as lines of text."""
    lines = [f"{count} pictures have copies ({how})" for how, count in found.copies.items()]
    several = [together for together in found.groups if len(together.files) > 1]
    if several:
        held = sum(len(together.files) for together in several)
        groups = "1 group" if len(several) == 1 else f"{len(several)} groups"
        lines.append(f"{held} pictures are in {groups} that go into one split each")
    for why, files in found.conflicts[:TOLD]:
        one, *others = (relative(file, found.dataset.root) for file in files)
        lines.append(f"under two classes ({why}): {one!r} and {others[-1]!r}")
    if len(found.conflicts) > TOLD:
        lines.append(f"under two classes: {len(found.conflicts) - TOLD} more")
    if found.unnamed:
        example = relative(found.unnamed[0], found.dataset.root)
        lines.append(f"{len(found.unnamed)} pictures are in no named group, such as {example!r}")
    return lines


def _free_name(path: PurePosixPath, taken: set[str]) -> PurePosixPath:
    candidate, number = path, 2
    while str(candidate).casefold() in taken:
        candidate = path.with_stem(f"{path.stem}-{number}")
        number += 1
    taken.add(str(candidate).casefold())
    return candidate


def pattern(text: str) -> str:
    """A regular expression."""
    try:
        re.compile(text)
    except re.error as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not a regular expression ({error})") from None
    return text


def main(arguments: Sequence[str] | None = None) -> None:
    parser = Parser(prog="split", description=__doc__)
    for name in ("input", *SPLITS, "summary"):
        parser.add_argument(f"--{name}", type=Path, required=True, metavar="DIR")
    parser.add_argument("--validation-fraction", type=float, default=0.15)
    parser.add_argument("--test-fraction", type=float, default=0.15)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--label-regex", type=pattern, default="", help="finds the class in a picture's path")
    parser.add_argument("--group-pattern", type=pattern, default="", help="names a picture's group")
    parser.add_argument("--group-level", type=int, default=0, help="the folder below the class that does")
    parser.add_argument("--near-copies", choices=("true", "false"), default="true")
    parser.add_argument("--conflicting-labels", choices=(REFUSE, LEAVE_OUT), default=REFUSE)
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

    rules = Rules(
        seed=args.seed,
        group_pattern=args.group_pattern,
        group_level=args.group_level,
        near_copies=args.near_copies == "true",
        conflicting_labels=args.conflicting_labels,
    )
    try:
        dataset = check_dataset(
            args.input, subfolders_are_groups=bool(args.group_level), label_regex=args.label_regex
        )
        found, splits = plan(group(dataset, rules), args.validation_fraction, args.test_fraction)
    except DatasetError as error:
        fail(str(error))
    copied: dict[Path, str] = {}
    for split, classes in splits.items():
        for name, files in classes.items():
            for file, copy_name in copy(found.dataset, files, targets[split] / name):
                copied[file] = f"{split}/{name}/{copy_name}"
    write_json(args.summary / SPLIT_SUMMARY, summary(found, splits, copied, args.seed), indent=2)
    for split, classes in splits.items():
        print(f"{split}: {sum(map(len, classes.values()))} images of {len(classes)} classes")
    for line in [*told(found.dataset), *findings(found)]:
        print(printable(line))


if __name__ == "__main__":
    main()
