"""Which dataset an object in S3 belongs to, so that datasets are not mixed.

A prefix includes everything below it: if one dataset lies inside another, training on the outer one uses
both. So an upload notes its dataset's prefix in the user metadata of each object. An object without a note
came from another tool or from an earlier version of this project; then its place suggests its owner. If in
doubt, uploads are refused and nothing is deleted.
"""

from __future__ import annotations

import itertools
import mimetypes
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, NoReturn
from urllib.parse import quote, unquote

import scripts.command as command

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

WORKERS = 8  # fewer than botocore's ten connections per client
SAMPLED = 5  # objects of a folder, pictures first


def note(url: str) -> dict[str, str]:
    """The user metadata of an object of the dataset at `url`, s3://bucket/prefix/."""
    # botocore accepts only ASCII (handlers.py, validate_ascii_metadata).
    return {"dataset": quote(url, safe=":/")}


def owner(s3: S3Client, bucket: str, key: str) -> str | None:
    """The URL of the dataset that an object belongs to; None if it has no note.

    A copied object keeps its note, but belongs to that dataset only below the dataset's prefix.
    """
    noted = unquote(s3.head_object(Bucket=bucket, Key=key)["Metadata"].get("dataset", ""))
    return noted if noted and f"s3://{bucket}/{key}".startswith(noted) else None


def owned(s3: S3Client, bucket: str, keys: Sequence[str], url: str) -> list[str]:
    """The keys among these that uploads to `url` created."""
    with ThreadPoolExecutor(WORKERS) as pool:
        return [key for key, found in _owners(pool, s3, bucket, keys) if found == url]


def refuse_nesting(
    s3: S3Client, url: str, folder: str, wanted: Collection[str], there: Collection[str]
) -> None:
    """Refuse to put a dataset above or inside another one.

    Reads one object of each folder below `url`, and a few of each folder beside it and beside its parents, up
    to the bucket's root.

    Args:
        url: s3://bucket/prefix/ of the dataset.
        folder: the name of the dataset's folder.
        wanted: the keys of its objects.
        there: the keys that already exist below `url`.

    Raises:
        Failure: one would lie in the other; the message names the other dataset, or what looks like one.
        ClientError: S3 refused, perhaps to list the folders beside `url`.
    """
    bucket, _, prefix = url.removeprefix("s3://").partition("/")
    root = f"s3://{bucket}/"
    classes = {key[len(prefix) :].partition("/")[0] for key in wanted}
    samples: dict[str, str] = {}
    for key in sorted(there, key=lambda key: key in wanted):  # prefers keys that stay
        samples.setdefault(key.rpartition("/")[0], key)
    parents = [prefix[: at + 1] for at, letter in enumerate(prefix[:-1]) if letter == "/"]
    beside = [
        (parent, name)
        for parent in parents
        for name in _folders(s3, bucket, parent)
        if not prefix.startswith(name)
    ]
    with ThreadPoolExecutor(WORKERS) as pool:
        for key, found in _owners(pool, s3, bucket, list(samples.values())):
            if found is None:
                first, *rest = key[len(prefix) :].split("/")
                # Deeper than a class's pictures usually are, so `first` may itself hold classes.
                if first not in classes and len(rest) > 1:
                    _refuse_above(url, folder, there, f"{root}{key}, which seems to be another dataset's")
            elif found != url and url.startswith(found):
                _refuse_inside(url, found, f"in the dataset {found} (it holds {root}{key})")
            elif found != url:
                _refuse_above(url, folder, there, f"the dataset {found}")
        shown = pool.map(lambda pair: _shows_dataset(s3, bucket, *pair), beside)
        for (parent, _), reason in zip(beside, shown, strict=True):
            if reason:
                _refuse_inside(url, f"{root}{parent}", reason)


def refuse_another(url: str, wanted: Collection[str], there: Collection[str]) -> None:
    """Refuse to mix a dataset with one of other classes at the same prefix.

    A dataset that shares a class with the existing one is a later version of it. Arguments as for
    `refuse_nesting`.

    Raises:
        Failure: they have no class in common.
    """
    old, new = ({key.rpartition("/")[0].rpartition("/")[2] for key in keys} for keys in (there, wanted))
    if old and not old & new:
        command.fail(
            f"{url} holds another dataset (its class {min(old)!r}; this one has {min(new)!r}), and a "
            f"training on it would train on both; upload to a prefix of its own, such as {url[:-1]}-2/"
        )


def _owners(
    pool: ThreadPoolExecutor, s3: S3Client, bucket: str, keys: Sequence[str]
) -> Iterator[tuple[str, str | None]]:
    return zip(keys, pool.map(lambda key: owner(s3, bucket, key), keys), strict=True)


def _shows_dataset(s3: S3Client, bucket: str, parent: str, folder: str) -> str:
    """Evidence in a folder that its parent is a dataset; "" if there is none."""
    url = f"s3://{bucket}/{parent}"
    page = s3.list_objects_v2(Bucket=bucket, Prefix=folder)
    keys = [item["Key"] for item in page.get("Contents", [])]
    for key in sorted(keys, key=lambda key: not _is_picture(key))[:SAMPLED]:
        found = owner(s3, bucket, key)
        if found is not None:
            return f"in the dataset {url} (it holds s3://{bucket}/{key})" if found == url else ""
        # Pictures directly in a folder make it a class of its parent; a folder "train" makes it a split
        # dataset.
        in_class = "/" not in key[len(folder) :] or folder == f"{parent}train/"
        if in_class and _is_picture(key):
            return f"in {url}, which seems to be a dataset (it holds s3://{bucket}/{key})"
    return ""


def _refuse_above(url: str, folder: str, there: Collection[str], what: str) -> NoReturn:
    prefix = url.removeprefix("s3://").partition("/")[2]
    names = itertools.chain([folder], (f"{folder}-{number}" for number in itertools.count(2)))
    free = next(name for name in names if not any(key.startswith(f"{prefix}{name}/") for key in there))
    command.fail(
        f"{url} holds {what}, and a training on it would train on both; "
        f"upload to a prefix of its own, such as {url}{free}/"
    )


def _refuse_inside(url: str, outer: str, where: str) -> NoReturn:
    inner = url[len(outer) : -1].replace("/", "-")
    command.fail(
        f"{url} lies {where}, and a training on that would train on both; "
        f"upload to a prefix of its own, such as {outer[:-1]}-{inner}/"
    )


def _folders(s3: S3Client, bucket: str, prefix: str) -> Iterator[str]:
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix, Delimiter="/")
    return (item["Prefix"] for page in pages for item in page.get("CommonPrefixes", []))


def _is_picture(key: str) -> bool:
    return (mimetypes.guess_type(key)[0] or "").startswith("image/")
