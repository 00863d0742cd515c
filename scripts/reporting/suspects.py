"""TrainModel's findings on labels that may be wrong."""

from __future__ import annotations

import json
from collections.abc import Mapping

from entrypoints.contract import SUSPECTS
from scripts.reporting.parts import Missing, Picture, Suspect, Suspects
from scripts.reporting.pictures import thumbnails
from scripts.reporting.store import Store, Unavailable

SIDE_PX = 160
SHOWN = 24


def read(
    store: Store, archive: str, files: Mapping[str, bytes] | Missing, split: Mapping[str, str] | Missing
) -> Suspects:
    """The suspects from a training's archive; their pictures are from SplitDataset's outputs.

    Raises:
        Unavailable: the training left none; the message says why.
    """
    if isinstance(files, Missing):
        raise Unavailable(files.reason)
    if SUSPECTS not in files:
        raise Unavailable(f"The training left no {SUSPECTS}; an earlier version of it ran.")
    try:
        content = json.loads(files[SUSPECTS])
        if "left_out" in content:
            raise Unavailable(f"No label was judged: {content['left_out'].rstrip('.')}.")
        shown = content["suspects"][:SHOWN]
        pictures = _pictures(store, split, [(entry["split"], entry["file"]) for entry in shown])
        return Suspects(
            archive,
            sum(content["judged"].values()),
            int(content["pictures"]),
            int(content["found"]),
            str(content["method"]),
            [
                Suspect(
                    picture,
                    f"{entry['split']}/{entry['file']}",
                    entry["label"],
                    entry["suggested"],
                    float(entry["self_confidence"]),
                    float(entry["suggested_confidence"]),
                )
                for picture, entry in zip(pictures, shown, strict=True)
            ],
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise Unavailable(f"{SUSPECTS} of the training cannot be read ({error!r}).") from error


def _pictures(
    store: Store, split: Mapping[str, str] | Missing, files: list[tuple[str, str]]
) -> list[Picture]:
    if isinstance(split, Missing):
        return [Picture(file, "") for _, file in files]
    uris = [f"{split[part].rstrip('/')}/{file}" for part, file in files]
    return thumbnails(store, uris, SIDE_PX, square=False)
