"""Files that processes read and write."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from local.home.files import make_file, make_folder


def write_json(path: Path, value: Any) -> None:
    """Write one configuration file, making its folder."""
    make_folder(path.parent)
    make_file(path)
    path.write_text(json.dumps(value, indent=1), encoding="utf-8")


def last_lines(log: Path, limit: int = 1024) -> str:
    """The end of a log, at most `limit` characters, from the beginning of a line if possible."""
    if not log.exists():
        return ""
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - 4 * limit))
        text = file.read().decode("utf-8", "replace").strip()
    if len(text) <= limit:
        return text
    text = text[-limit:]
    return text.partition("\n")[2] or text
