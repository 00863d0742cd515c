"""Pictures on this machine: which there are, in what order, and work on several of them at a time."""

from __future__ import annotations

import os
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from multiprocessing.pool import AsyncResult, ThreadPool
from pathlib import Path
from typing import TypeVar

import scripts.command as command
from entrypoints.contract import MAX_BODY_BYTES
from entrypoints.folders import is_litter
from entrypoints.image import ACCEPTED, ImageError
from scripts.invoke import REQUESTS, check

STDIN = "-"
AHEAD = 4 * REQUESTS  # how many answers may wait for an earlier one
GIVE = f"give a file that is {ACCEPTED}"

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class Source:
    """A picture to classify; `content` is its file, or the bytes from a pipe."""

    name: str
    content: Path | bytes
    named: bool = True  # by the user, not found in a folder


def in_order(function: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
    """A function's results in the order of the items, computed by REQUESTS threads.

    Items are taken as needed. A caller that stops early, perhaps by Ctrl-C, does not wait for the threads.
    """
    with ThreadPool(REQUESTS) as pool:
        waiting: deque[AsyncResult[R]] = deque()
        for item in items:
            waiting.append(pool.apply_async(function, (item,)))
            if len(waiting) == AHEAD:
                yield waiting.popleft().get()
        while waiting:
            yield waiting.popleft().get()


def named_source(text: str) -> Source | Path:
    """The picture or folder that an argument names.

    Raises:
        Failure: it does not exist, cannot be read or is not a picture.
    """
    path = Path(text)
    try:
        if text == STDIN:
            if sys.stdin.isatty():
                command.fail("- reads a picture from stdin; send one there with a pipe or with < FILE")
            source = Source(text, sys.stdin.buffer.read(MAX_BODY_BYTES + 1))
        elif path.is_dir():
            return path
        elif path.is_file():
            source = Source(text, path)
        else:  # a pipe, unless it is missing
            with path.open("rb") as pipe:
                source = Source(text, pipe.read(MAX_BODY_BYTES + 1))
        check(source.content)
    except ImageError as error:
        command.fail(f"{command.shown(text)} {error}; {GIVE}")
    except OSError as error:
        command.fail(f"{command.shown(text)} cannot be read ({error.strerror}); {GIVE} or a folder")
    return source


def sources(named: Iterable[Source | Path]) -> Iterator[Source]:
    """Pictures in the order of the arguments, files of folders by name; hidden ones are ignored."""

    def unreadable(error: OSError) -> None:
        raise error

    for item in named:
        if isinstance(item, Source):
            yield item
            continue
        for folder, folders, files in os.walk(item, onerror=unreadable):
            folders[:] = sorted(name for name in folders if not is_litter(name))
            for name in sorted(name for name in files if not is_litter(name)):
                path = Path(folder, name)
                yield Source(str(path), path, named=False)
