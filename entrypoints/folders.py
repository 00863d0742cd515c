"""What lies in a dataset's folders, less what systems leave behind and links that must not be followed."""

from __future__ import annotations

import mimetypes
import os
import unicodedata
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

# In lower-case.
LITTER = {
    *("thumbs.db", "ehthumbs.db", "desktop.ini", "$recycle.bin", "system volume information"),  # Windows
    *("__macosx", "lost+found"),  # archives that macOS made; ext4
    *("@eadir", "#recycle", "@recycle", "@__thumb"),  # Synology and QNAP
}

# A fresh instance knows Python's own table only, and not the machine's /etc/mime.types.
TYPES = mimetypes.MimeTypes()
TYPES.add_type("image/jpeg", ".jfif")


class DatasetError(ValueError):
    """A folder that cannot be trained on; the message is one line for the person who gave it."""


@dataclass(frozen=True)
class Rejected:
    """A file or folder that is left out. `file` is relative to the dataset, with forward slashes."""

    file: str
    reason: str


def is_litter(name: str) -> bool:
    """Whether a system, not a person, put a file or folder of this name there: hidden ones, too."""
    return name.startswith(".") or name.lower() in LITTER


def relative(path: os.PathLike[str], root: Path) -> str:
    """The path below root with forward slashes, in composed Unicode; bytes that are no UTF-8 escaped."""
    return nfc(Path(path).relative_to(root).as_posix()).encode(errors="backslashreplace").decode()


def nfc(name: str) -> str:
    """A name in Unicode's composed form: macOS writes "e" and an accent where Linux has one letter."""
    return unicodedata.normalize("NFC", name)


@dataclass
class Folders:
    """The tree below a resolved `root`, each folder read once.

    `rejected` and `litter` tell what was passed by: the latter counts files by the name that gives them
    away ("hidden files" for names that begin with a dot).

    Args:
        follow_links: whether links may leave the root: on the user's own machine, never in a job, where a
            link could show another job's files.
    """

    root: Path
    follow_links: bool = False
    rejected: list[Rejected] = field(default_factory=list)
    litter: Counter[str] = field(default_factory=Counter)
    _read: dict[Path, tuple[list[Path], list[Path]]] = field(default_factory=dict)

    def folders(self, folder: Path) -> list[Path]:
        """The folders in a folder, sorted by name."""
        return self._listed(folder)[0]

    def plain(self, folder: Path) -> list[Path]:
        """The files in a folder, sorted by name."""
        return self._listed(folder)[1]

    def pictures(self, folder: Path) -> list[Path]:
        """The files in a folder that may be pictures: by their suffix, or without one."""
        return [file for file in self.plain(folder) if not file.suffix or is_picture(file)]

    def files(self, folder: Path) -> Iterator[Path]:
        """The files of a folder and of its subfolders, in a fixed order."""
        folders, plain = self._listed(folder)
        inner = set(folders)
        for path in sorted([*folders, *plain], key=_by_name):
            if path in inner:
                yield from self.files(path)
            else:
                yield path

    def _listed(self, folder: Path) -> tuple[list[Path], list[Path]]:
        if folder not in self._read:
            found: tuple[list[Path], list[Path]] = ([], [])
            with os.scandir(folder) as entries:  # entries tell folders from files without a system call
                for entry in entries:
                    if is_litter(entry.name):
                        self._count(entry)
                    elif (reason := self._reason(entry)) is not None:
                        self.rejected.append(Rejected(relative(entry, self.root), reason))
                    else:
                        found[0 if entry.is_dir() else 1].append(Path(entry))
            for paths in found:
                paths.sort(key=_by_name)
            self._read[folder] = found
        return self._read[folder]

    def _count(self, entry: os.DirEntry[str]) -> None:
        name = "hidden files" if entry.name.startswith(".") else entry.name
        if not entry.is_dir(follow_symlinks=False):
            self.litter[name] += 1
            return
        for _, _, files in os.walk(entry):
            self.litter[name] += len(files)

    def _reason(self, entry: os.DirEntry[str]) -> str | None:
        """Why an entry is left out; None if it is not."""
        try:
            entry.name.encode()
        except UnicodeEncodeError:
            return "has a name that is not valid UTF-8"
        if not entry.is_symlink():
            return None
        target = Path(entry).resolve()
        if not self.follow_links and not target.is_relative_to(self.root):
            return "is a link that leaves the dataset's folder"
        if not target.exists():
            return "is a link to nothing"
        if target.is_dir() and Path(entry).parent.resolve().is_relative_to(target):
            return "is a link to a folder that it lies in"
        return None


def is_picture(file: Path) -> bool:
    """Whether a file's suffix is one of pictures."""
    kind, _ = TYPES.guess_type(file.name, strict=False)
    return kind is not None and kind.startswith("image/")


def _by_name(path: Path) -> tuple[str, str]:
    return nfc(path.name), path.name
