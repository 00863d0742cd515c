"""How jobs read and write buckets: through copies, which share nothing with the objects.

Objects may share a file with each other: a job's unchanged input, written again, becomes a hard link to the
object that was read, never to a file of the job. Objects are never changed in place (objects.py), so this is
safe.

A job's output is written beside the buckets and renamed into them, so only complete files appear there.
Symbolic links are not followed, as in SageMaker: objects cannot be links, so links are left out; an archive
keeps them as links. Special files are always left out.
"""

from __future__ import annotations

import contextlib
import filecmp
import os
import shutil
import stat
import tarfile
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from local.home.files import make_file, make_folder
from local.home.home import Home
from local.s3.objects import TEMPORARY, Objects

_COPY_BYTES = 1 << 30
_BLOCK_BYTES = 1 << 20


def download(home: Home, uri: str, folder: Path) -> int:
    """Copy the objects under an S3Prefix into a folder; return their number.

    SageMaker takes every key that begins with it ("all objects that match the specified key name prefix", API
    reference, S3DataSource and ProcessingS3Input). A key below the prefix as a folder keeps its path from
    there; any other keeps its path from the prefix's last slash: s3://b/data/raw- gives raw-1/x
    (https://github.com/aws/sagemaker-python-sdk/issues/3612, which says that the SDK's local mode differs).
    So s3://b/data/flowers also gives flowers-v2/x.

    Raises:
        ValueError: not an S3 URI, or not possible as a file; two objects would be one file.
    """
    home.object_path(uri)  # refuses it
    bucket, _, prefix = uri.removeprefix("s3://").partition("/")
    if not (home.s3 / bucket).is_dir():
        return 0
    taken: dict[str, str] = {}
    for key in matching(home, bucket, prefix):
        name = path_below(prefix, key)
        if (other := taken.setdefault(name, key)) != key:
            raise ValueError(f"{uri}: the objects {other!r} and {key!r} would be the same file {name!r}")
        make_folder((folder / name).parent)
        _copy(home.s3 / bucket / key, folder / name)
    return len(taken)


def matching(home: Home, bucket: str, prefix: str) -> Iterator[str]:
    """The keys that begin with a prefix, without folder markers.

    Raises:
        ServiceError: there is no such bucket.
    """
    return (found.key for found in Objects(home.s3).list(bucket, prefix) if not found.key.endswith("/"))


def path_below(prefix: str, key: str) -> str:
    """The path of an object below its S3Prefix, which may be a folder without its slash."""
    below = prefix if prefix.endswith("/") else f"{prefix}/"
    if prefix and key.startswith(below):
        return key.removeprefix(below)
    return key.removeprefix(prefix.removesuffix(prefix.rpartition("/")[2]))


def require_bucket(home: Home, uri: str) -> None:
    """Refuse an S3 URI that cannot be written to.

    Raises:
        ValueError: not an S3 URI, no file can have its key, or there is no such bucket.
    """
    home.object_path(uri)
    bucket = uri.removeprefix("s3://").partition("/")[0]
    if not (home.s3 / bucket).is_dir():
        raise ValueError(f"the bucket of {uri} does not exist; create it with aws s3 mb s3://{bucket}")


def upload(
    home: Home,
    trees: Iterable[tuple[Path, str]],
    archives: Iterable[tuple[Path, str]] = (),
    read: Iterable[str] = (),
) -> None:
    """Put files under S3 URIs, all of them or none.

    Args:
        trees: files, and folders with their content, and their S3 URIs.
        archives: folders that are written as a tar.gz, and their S3 URIs.
        read: S3Prefixes that the job has read; a new object with the name and content of one there shares its
            file, and both get the new time of last change.

    Raises:
        ValueError: as `require_bucket`; an object would stand beside another whose key is the same up to a
            slash; a symbolic link is on the way; a file's name is not UTF-8.
    """
    known = _known(home, read)
    with _staging(home) as stage:
        objects: list[tuple[Path, Path]] = []  # staged, its place
        for source, uri in trees:
            require_bucket(home, uri)
            for path, place in _regular(source, uri, home):
                staged = stage / str(len(objects))
                # Replaced by one that is linked, an object would have changed earlier than before.
                alike = () if place.exists() else known.get((path.name, path.lstat().st_size), ())
                if not any(_linked(there, path, staged) for there in alike):
                    _copy(path, staged)
                objects.append((staged, place))
        for source, uri in archives:
            require_bucket(home, uri)
            staged = stage / str(len(objects))
            _archive(source, staged)
            objects.append((staged, home.object_path(uri)))
        _place(home, objects)


def _known(home: Home, uris: Iterable[str]) -> dict[tuple[str, int], list[Path]]:
    """The files of the objects under S3Prefixes, by name and size."""
    found: dict[tuple[str, int], list[Path]] = {}
    objects = Objects(home.s3)
    for uri in uris:
        bucket, _, prefix = uri.removeprefix("s3://").partition("/")
        for each in objects.list(bucket, prefix) if (home.s3 / bucket).is_dir() else ():
            path = home.s3 / bucket / each.key
            found.setdefault((path.name, each.size), []).append(path)
    return found


def _linked(there: Path, path: Path, staged: Path) -> bool:
    """Make `staged` a link to the object `there`, if it has the content of `path`.

    The link itself is compared, because another object may replace `there` meanwhile.
    """
    try:
        staged.hardlink_to(there)
    except OSError:  # it is gone, has as many links as there may be, or the file system has none
        return False
    if staged.is_file() and filecmp.cmp(path, staged, shallow=False):
        return True
    staged.unlink()
    return False


def upload_changes(home: Home, folder: Path, uri: str, settled_s: float = 0, unfinished: str = "") -> None:
    """Upload the files of a folder that changed since their last upload, while a job may write more.

    Args:
        settled_s: leave out files that changed in the last `settled_s` seconds: they may be incomplete.
        unfinished: leave out names with this suffix; "" for none.

    Raises:
        ValueError: as `upload`; the files before that one are uploaded.
    """
    require_bucket(home, uri)
    with _staging(home) as stage:
        staged = stage / "copy"
        for path, place in _regular(folder, uri, home):
            if unfinished and path.name.endswith(unfinished):
                continue
            # A file may vanish or change at any time; one that did is put there the next time. Of its times,
            # a program cannot set that of its last change (ctime).
            with contextlib.suppress(FileNotFoundError):
                changed = path.lstat().st_ctime_ns
                there = place.stat().st_mtime_ns if place.is_file() else 0
                if there > changed or time.time_ns() - changed < settled_s * 1e9:
                    continue
                _copy(path, staged)
                if path.lstat().st_ctime_ns == changed:
                    _place(home, [(staged, place)])


def write(home: Home, uri: str, text: str) -> None:
    """Write a text to an S3 URI.

    Raises:
        ValueError: as `upload`.
    """
    require_bucket(home, uri)
    with _staging(home) as stage:
        make_file(stage / "text")
        (stage / "text").write_text(text, encoding="utf-8")
        _place(home, [(stage / "text", home.object_path(uri))])


def _regular(source: Path, uri: str, home: Home) -> Iterator[tuple[Path, Path]]:
    """The regular files of a tree, and each one's place in the bucket."""
    if source.is_symlink():
        return
    if source.is_file():
        yield source, home.object_path(uri)
    for name, _, files in os.walk(source):
        below = Path(name).relative_to(source)
        for path in map(Path(name).joinpath, files):
            if stat.S_ISREG(path.lstat().st_mode):
                _require_utf8(path.name)
                yield path, home.object_path("/".join((uri.rstrip("/"), *below.parts, path.name)))


def _require_utf8(name: str) -> None:
    try:
        name.encode()
    except UnicodeEncodeError:
        raise ValueError(f"the file {name!a} has a name that is not UTF-8, which S3 cannot keep") from None


def _require_places(home: Home, places: Sequence[Path]) -> None:
    """Refuse objects that cannot be files beside each other, or beside existing ones."""
    wanted = set(places)
    for place in places:
        above = [folder for folder in place.parents if folder.is_relative_to(home.s3)]
        if place.is_dir() or any(folder in wanted or folder.is_file() for folder in above):
            raise ValueError(
                f"the local S3 keeps objects as files; the key of s3://{place.relative_to(home.s3)} cannot"
                " exist beside another key that is the same up to a slash; choose another S3 URI"
            )


def _place(home: Home, objects: Sequence[tuple[Path, Path]]) -> None:
    """Rename staged files to their places, all of them or none."""
    _require_places(home, [place for _, place in objects])
    for staged, place in objects:
        make_folder(place.parent)
        staged.replace(place)


@contextlib.contextmanager
def _staging(home: Home) -> Iterator[Path]:
    """A folder on the buckets' file system, outside of them; files renamed from it are complete at once."""
    make_folder(home.s3 / TEMPORARY)
    with tempfile.TemporaryDirectory(dir=home.s3 / TEMPORARY) as name:
        yield Path(name)


def _copy(source: Path, target: Path) -> None:
    """Copy a file; as a reflink (shared blocks until one changes) if the file system can."""
    make_file(target)
    with source.open("rb") as old, target.open("wb") as new:
        # On Linux copy_file_range shares blocks if possible. Some systems and file systems lack it.
        with contextlib.suppress(AttributeError, OSError):
            while os.copy_file_range(old.fileno(), new.fileno(), _COPY_BYTES):
                pass
        shutil.copyfileobj(old, new, _BLOCK_BYTES)  # continues where that stopped


def _archive(source: Path, target: Path) -> None:
    """Make `target` the tar.gz of a folder's content."""
    make_file(target)
    # Weights hardly compress: stored, they are 8 % larger than at level 1 and take a twentieth of the time.
    with tarfile.open(target, "w:gz", compresslevel=0) as tar:
        for path in sorted(source.iterdir()):
            tar.add(path, arcname=path.name, filter=_archived)


def _archived(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    """A member of an archive; None for a special file, which cannot be unpacked."""
    return None if member.ischr() or member.isblk() or member.isfifo() else member
