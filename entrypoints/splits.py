"""The names of ready-made splits."""

from __future__ import annotations

import re

from entrypoints.contract import TEST, TRAIN, VALIDATION

_SPLITS = {
    **dict.fromkeys(("train", "training", "trn"), TRAIN),
    **dict.fromkeys(("val", "valid", "validation", "validate", "dev", "eval"), VALIDATION),
    **dict.fromkeys(("test", "testing", "tst"), TEST),
}


def split_of(name: str) -> tuple[str, str] | None:
    """The split that a name stands for, and the rest of the name: train and "seg" for "seg_train".

    Numbers are ignored: Kaggle's test1 is test.
    """
    words = [word.rstrip("0123456789") or word for word in re.split(r"[\W_]+", name.lower()) if word]
    found = [number for number, word in enumerate(words) if word in _SPLITS]
    if len(found) != 1 or found[0] not in (0, len(words) - 1):
        return None
    return _SPLITS[words.pop(found[0])], " ".join(words)
