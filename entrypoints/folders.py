"""The content of a dataset's folders, without system files and forbidden links."""

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

# Names without a suffix that are never pictures.
TEXTS = {"readme", "license", "licence", "copying", "notice", "authors", "changelog", "version", "makefile"}

# A new instance knows only Python's own table, not the machine's /etc/mime.types.
TYPES = mimetypes.MimeTypes()
TYPES.add_type("image/jpeg", ".jfif")


class DatasetError(ValueError):
    """A folder that cannot be trained on; the message is one line for its user."""


@dataclass(frozen=True)
class Rejected:
    """A file or folder left out. `file` is relative to the dataset, with forward slashes."""

    file: str
    reason: str


def is_litter(name: str) -> bool:
    """Whether a file or folder of this name is a system's, not a person's; hidden ones, too."""
    return name.startswith(".") or name.lower() in LITTER


def relative(path: os.PathLike[str], root: Path) -> str:
    """The path below root with forward slashes, in composed Unicode; invalid UTF-8 is escaped."""
    return nfc(Path(path).relative_to(root).as_posix()).encode(errors="backslashreplace").decode()


def nfc(name: str) -> str:
    """A name in Unicode's composed form: macOS writes "e" and an accent where Linux has one letter."""
    return unicodedata.normalize("NFC", name)


@dataclass
class Folders:
    """The tree below a resolved `root`; each folder is read once.

    `rejected` and `litter` hold what was skipped; `litter` counts files by their telling name ("hidden files"
    for names that begin with a dot).

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
        """The files in a folder with names of pictures."""
        return [file for file in self.plain(folder) if is_picture(file)]

    def hold_pictures(self, folder: Path) -> bool:
        """Whether a folder or a folder below it holds a picture."""
        return any(map(is_picture, self.files(folder)))

    def files(self, folder: Path) -> Iterator[Path]:
        """The files of a folder and its subfolders, in a fixed order."""
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
            with os.scandir(folder) as entries:  # entries know folders from files without a system call
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
        """Why an entry is left out, or None."""
        try:
            entry.name.encode()
        except UnicodeEncodeError:
            return "has a name that is not valid UTF-8"
        if not entry.is_symlink():
            return None
        path = Path(entry)
        try:
            target = path.resolve()
            around = [folder.resolve() for folder in path.parents if folder.is_relative_to(self.root)]
        except (OSError, RuntimeError):  # RuntimeError: Python 3.11 and 3.12, for links in a circle
            return "is a link to nothing"
        if not self.follow_links and not target.is_relative_to(self.root):
            return "is a link that leaves the dataset's folder"
        if not target.exists():
            return "is a link to nothing"
        if any(folder.is_relative_to(target) for folder in around):
            return "is a link to a folder that it lies in"
        return None


def is_picture(file: Path) -> bool:
    """Whether a file's name is a picture's: it has a picture's suffix, or none."""
    if not file.suffix:
        return file.name.lower() not in TEXTS
    kind, _ = TYPES.guess_type(file.name, strict=False)
    return kind is not None and kind.startswith("image/")


def _by_name(path: Path) -> tuple[str, str]:
    return nfc(path.name), path.name
