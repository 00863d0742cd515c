"""An object's data besides its content: what listings show, and the headers that came with it."""

from __future__ import annotations

import functools
import hashlib
import json
import mimetypes
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from local.home.files import make_folder

CONTENT_TYPE = "content-type"
DEFAULT_CONTENT_TYPE = "binary/octet-stream"
# Without the machine's own tables, so that a home folder works the same on every machine.
_TYPES = mimetypes.MimeTypes()

# Path, size and time of the last change (in ns) of a file.
Identity = tuple[bytes, int, int]


@dataclass  # creating a frozen one takes three times as long, and a listing creates many
class Object:
    """What a listing shows of an object; `modified` in seconds since 1970.

    `find_etag` may read the whole object, so it is called only when the ETag is needed. `identity` is the key
    of the stored ETag; a folder marker has none.
    """

    key: str
    size: int
    modified: float
    find_etag: Callable[[], str]
    identity: Identity | None = None

    @functools.cached_property
    def etag(self) -> str:
        """Its ETag, in quotes."""
        return self.find_etag()


class Metadata:
    """The headers of objects, which a file cannot hold: a JSON file for each object with such headers.

    `temporary` gives an empty file on the same file system, to be renamed.
    """

    def __init__(self, root: Path, temporary: Callable[[], AbstractContextManager[Path]]) -> None:
        self._root = root
        self._temporary = temporary

    def path(self, bucket: str, key: str) -> Path:
        """The file with the headers of a key, if it has any."""
        # A digest: a marker "a/" and an object "a/b" both need a file, and file names have a maximum length.
        return self._root / bucket / hashlib.sha256(key.encode()).hexdigest()

    def headers(self, bucket: str, found: Object) -> dict[str, str]:
        """The headers that came with the object, names in lower case, always with a content type."""
        guessed = {CONTENT_TYPE: _guessed_type(found.key)}
        try:
            kept = json.loads(self.path(bucket, found.key).read_bytes())
        except FileNotFoundError:
            return guessed
        # Something else may have renamed another file over the object since.
        return guessed | kept["headers"] if kept["etag"] in (found.etag, None) else guessed

    def keep(self, bucket: str, found: Object, headers: Mapping[str, str]) -> None:
        """Store the headers of an object, unless its name implies them."""
        if headers.items() <= {CONTENT_TYPE: _guessed_type(found.key)}.items():
            self.forget(bucket, found.key)
        else:
            self._write(self.path(bucket, found.key), found.etag, headers)

    def mark(self, bucket: str, key: str, headers: Mapping[str, str]) -> None:
        """Store the headers of a folder marker; they alone make it an object."""
        self._write(self.path(bucket, key), None, headers)

    def forget(self, bucket: str, key: str) -> None:
        """Remove the headers of a key, if it has any."""
        self.path(bucket, key).unlink(missing_ok=True)

    def _write(self, path: Path, etag: str | None, headers: Mapping[str, str]) -> None:
        with self._temporary() as temporary:
            temporary.write_text(json.dumps({"etag": etag, "headers": dict(headers)}), encoding="utf-8")
            make_folder(path.parent)
            temporary.replace(path)


def _guessed_type(key: str) -> str:
    return _TYPES.guess_type(key)[0] or DEFAULT_CONTENT_TYPE
