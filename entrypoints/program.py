"""Shared by all programs: reading arguments, writing files and reporting errors."""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn, TypeVar

QUEUE = 1000  # items queued for threads at a time
# Control characters except the line feed, the marks of Unicode's bidirectional algorithm (UAX 9, 2), its two
# line breaks, and bytes of file names that are not UTF-8. Joiners of letters (U+200C, U+200D) are allowed:
# names need them.
UNPRINTABLE = re.compile(
    "[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)
EXIT_MESSAGE_BYTES = 1024  # botocore's service model, ExitMessage

Item = TypeVar("Item")
Result = TypeVar("Result")


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line, exit code 2."""

    def error(self, message: str) -> NoReturn:
        fail(f"{self.prog}: {message}")


def fail(message: str, code: int = 2) -> NoReturn:
    """End the program with one line on stderr; code 2 is for wrong input, 1 for other failures."""
    print(f"error: {printable(message)}", file=sys.stderr, flush=True)
    raise SystemExit(code)


def printable(text: str) -> str:
    """A text that is safe in a terminal: escape sequences and bidirectional marks are escaped.

    Names of files and classes may hold both. Line breaks stay.
    """
    return UNPRINTABLE.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def in_threads(work: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result]:
    """The results of `work` on each item, in order; a thread per core."""
    # A waiting item costs over a kilobyte, so they are queued in parts.
    parts = (items[start : start + QUEUE] for start in range(0, len(items), QUEUE))
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for part in parts:
            yield from pool.map(work, part)


def keep_freed_memory() -> None:
    """Let glibc reuse freed memory; do nothing elsewhere.

    By default it returns large blocks, such as a training step's activations, to the kernel, which then
    clears new ones for the next step: a fifth of a step's time. mallopt(3) describes both parameters.
    """
    if not hasattr(library := ctypes.CDLL(None), "mallopt"):
        return
    trim_threshold, mmap_max = -1, -4  # M_TRIM_THRESHOLD, M_MMAP_MAX in malloc.h
    library.mallopt(mmap_max, 0)
    library.mallopt(trim_threshold, 2**31 - 1)


def write_message(path: Path, message: str) -> None:
    """Write a processing job's exit message, cut to SageMaker's limit."""
    # Cut between two characters: SageMaker accepts only UTF-8.
    write_bytes(path, message.encode()[:EXIT_MESSAGE_BYTES].decode(errors="ignore").encode())


@contextmanager
def writing(what: str, folder: Path) -> Iterator[Path]:
    """Create a program's results folder; if it cannot be written, end with one line and code 1."""
    try:
        yield folder
    except OSError as error:
        reason = error.strerror or type(error).__name__
        fail(f"{what} cannot be written to {folder} ({reason}); make room there and start again", code=1)


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
        # mkstemp gives 0600; other users, such as the uploading one, must be able to read.
        Path(name).chmod(0o644)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def write_json(path: Path, value: Any, indent: int | None = None) -> None:
    """Write strict JSON (NaN is refused: ValueError), whole or not at all.

    `indent` is for readers; data that grows with pictures or classes would become several times as large.
    """
    separators = (",", ":") if indent is None else None
    text = json.dumps(value, indent=indent, separators=separators, ensure_ascii=False, allow_nan=False)
    write_bytes(path, text.encode() + b"\n")
