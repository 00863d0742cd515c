"""Downloads with a progress bar, checked, and never half a file."""

from __future__ import annotations

import hashlib
import urllib.error
import urllib.request
from pathlib import Path

from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

import scripts.command as command
from local.home.files import make_file, make_folder

TIMEOUT_S = 30  # without a byte
_CHUNK = 1 << 16


def download(url: str, target: Path, sha256: str = "", instead: str = "give a folder instead") -> Path:
    """Fetch `url` into the file `target`, unless it is there already.

    Args:
        sha256: the hexadecimal digest, or its beginning; the file appears only if it matches.
        instead: what the user can do without a network.

    Raises:
        Failure: the server cannot be reached, refuses, or sends something else.
    """
    if target.exists():
        return target
    make_folder(target.parent)
    partial = target.with_name(f".{target.name}.partial")
    digest = hashlib.sha256()
    columns = (
        TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn(), TransferSpeedColumn()
    )  # fmt: skip
    try:
        make_file(partial)
        with (
            urllib.request.urlopen(url, timeout=TIMEOUT_S) as answer,
            partial.open("wb") as file,
            Progress(*columns, console=command.console) as progress,
        ):
            length = answer.headers.get("Content-Length")
            task = progress.add_task(f"downloading {target.name}", total=int(length) if length else None)
            while chunk := answer.read(_CHUNK):
                file.write(chunk)
                digest.update(chunk)
                progress.advance(task, len(chunk))
            if length and file.tell() != int(length):
                command.fail(f"{url} broke off after {file.tell()} of {length} bytes; try again")
        if not digest.hexdigest().startswith(sha256):
            command.fail(
                f"{url} is not the file it should be (sha256 {digest.hexdigest()}, expected {sha256}...);"
                " it may have changed, or something in between answered"
            )
        partial.replace(target)
    except (urllib.error.URLError, OSError) as error:
        reason = getattr(error, "reason", error)
        command.fail(f"{url} cannot be downloaded ({reason}); check the network, or {instead}")
    finally:
        partial.unlink(missing_ok=True)
    return target
