"""Which buckets and keys the local S3 can keep as folders and files; checked before the disk is read."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

KEY_BYTES = 1024
PART_BYTES = 255
# S3 user guide, "General purpose bucket naming rules".
BUCKET_CHARACTERS = range(3, 64)
_BUCKET = re.compile(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?")


def is_bucket_name(name: str) -> bool:
    """Whether a bucket can have this name, or could when names had up to 255 characters; no other name may
    become a folder.
    """
    return len(name) <= PART_BYTES and _BUCKET.fullmatch(name) is not None and ".." not in name


def unfit(key: str) -> str | None:
    """Why a key cannot be a file, or None."""
    parts = key.removesuffix("/").split("/")
    if len(key.encode()) > KEY_BYTES:
        return f"is longer than {KEY_BYTES} bytes"
    if "" in parts:
        return "has an empty part (a slash at its beginning, or two in a row)"
    if "." in parts or ".." in parts:
        return "has a part '.' or '..'"
    if "\0" in key:
        return "has a NUL character"
    if any(len(part.encode()) > PART_BYTES for part in parts):
        return f"has a part of more than {PART_BYTES} bytes between slashes"
    return None


def symlink_on_the_way(folder: Path, parts: Iterable[str]) -> Path | None:
    """The first symbolic link on a path below `folder`, or None.

    After this check a program may still replace a folder by a link, but such a program has the same user's
    rights and gains nothing.
    """
    for part in parts:
        folder /= part
        if folder.is_symlink():
            return folder
    return None
