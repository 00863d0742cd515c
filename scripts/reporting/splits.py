"""SplitDataset's results: counts, rejected files, and a few pictures of each class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from entrypoints.contract import SPLIT_SUMMARY, TRAIN
from scripts.reporting.parts import Copies, Dataset, Group, Missing, Picture
from scripts.reporting.pictures import thumbnails
from scripts.reporting.store import Store, Unavailable, parallel, part, spread

SIDE_PX = 112
# Pictures in all and per class; only the first MAX_CLASSES classes are shown.
MAX_PICTURES, MAX_PER_CLASS, MAX_CLASSES = 100, 6, 150
MAX_GROUPS = 8
UNSEARCHED = "An earlier version of the split did not look for copies."
# A class's samples are chosen from this many objects: one page of S3's listing.
PAGE = 1000


def read(store: Store, outputs: Mapping[str, str]) -> Dataset:
    """The dataset, from the outputs of SplitDataset.

    Raises:
        Unavailable: summary.json is missing, or cannot be used.
    """
    uri = f"{outputs['summary'].rstrip('/')}/{SPLIT_SUMMARY}"
    summary = store.read_json(uri)
    try:
        classes = list(summary["classes"])
        counts = {split: dict(counts) for split, counts in summary["counts"].items()}
        rejected = [(entry["file"], entry["reason"]) for entry in summary["rejected"]]
        notes = list(summary.get("notes", []))  # earlier versions of the split had none
        found = copies(store, outputs, summary) if "copies" in summary else Missing(UNSEARCHED)
    except (TypeError, KeyError, AttributeError) as error:
        raise Unavailable(f"{uri} is not what SplitDataset writes ({error!r}).") from error
    return Dataset(classes, counts, notes, rejected, found, samples(store, outputs[TRAIN], classes))


def copies(store: Store, outputs: Mapping[str, str], summary: Mapping[str, Any]) -> Copies:
    """The copies and groups found, with thumbnails of the largest groups."""
    shown = summary["largest_groups"][:MAX_GROUPS]
    files = [group["files"][:MAX_PER_CLASS] for group in shown]
    uris = []
    for file in (file for some in files for file in some):
        split, _, name = file.partition("/")
        uris.append(f"{outputs[split].rstrip('/')}/{name}")
    pictures = iter(thumbnails(store, uris, SIDE_PX, square=False))
    largest = [
        Group(group["pictures"], group["why"], some[0].partition("/")[0], [next(pictures) for _ in some])
        for group, some in zip(shown, files, strict=True)
    ]
    conflicts = [(entry["why"], entry["files"]) for entry in summary["conflicts"]]
    groups = summary["groups"]
    return Copies(dict(summary["copies"]), len(set(groups.values())), len(groups), largest, conflicts)


def samples(store: Store, prefix: str, classes: Sequence[str]) -> dict[str, list[Picture]]:
    """Sample pictures of the training split by class."""
    shown = classes[:MAX_CLASSES]
    each = min(MAX_PER_CLASS, max(1, MAX_PICTURES // max(1, len(shown))))

    def choose(name: str) -> list[str]:
        found = part(lambda: store.list(f"{prefix.rstrip('/')}/{name}", PAGE))
        return [] if isinstance(found, Missing) else spread([uri for uri, _ in found], each)

    chosen = parallel(choose, shown)
    pictures = iter(thumbnails(store, [uri for uris in chosen for uri in uris], SIDE_PX, square=True))
    return {name: [next(pictures) for _ in uris] for name, uris in zip(shown, chosen, strict=True)}
