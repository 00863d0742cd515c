"""What --help lists: the execution parameters and the settings, from the same lists that check them."""

from __future__ import annotations

import textwrap
from collections.abc import Collection, Iterator, Sequence
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, get_type_hints

from config.parameters import execution_parameters
from config.settings import Settings
from config.values import words


def parameters(width: int) -> list[str]:
    """Every execution parameter, in lines of `width` letters: its name, its meaning, the shipped default."""
    shipped = Settings(bucket="BUCKET", execution_role="", lambda_role="", scheduler_role="")
    rows = [(item.name, item.meaning, item.default) for item in execution_parameters(shipped, "")]
    return _lines([(name, f"{said}{_shown(default)}") for name, said, default in rows], width)


def settings(reads: Collection[str], width: int) -> list[str]:
    """The settings among the keys and sections `reads`: each one's key, its values, its default."""
    rows = []
    for key, hint, default in _settings(Settings, ""):
        if key in reads or key.partition(".")[0] in reads:
            rows.append((key, f"{'any text' if hint is None else words(hint)}{_shown(default)}"))
    return _lines(rows, width)


def _lines(rows: Sequence[tuple[str, str]], width: int) -> list[str]:
    indent = 4 + max((len(name) for name, _ in rows), default=0)
    lines = []
    for name, said in rows:
        wrapped = textwrap.wrap(said, max(20, width - indent)) or [""]
        lines.append(f"  {name:{indent - 2}}{wrapped[0]}".rstrip())
        lines += [f"{'':{indent}}{line}" for line in wrapped[1:]]
    return lines


def _settings(kind: Any, prefix: str) -> Iterator[tuple[str, Any, Any]]:
    """Key, annotation (None for a tag's) and default (MISSING for none) of every setting."""
    hints = get_type_hints(kind, include_extras=True)
    for item in fields(kind):
        if is_dataclass(hints[item.name]):
            yield from _settings(hints[item.name], f"{prefix}{item.name}.")
        elif item.name == "tags":
            yield "tags.NAME", None, MISSING
        else:
            yield prefix + item.name, hints[item.name], item.default


def _shown(default: Any) -> str:
    if default is MISSING or default is None or default == "":
        return ""
    if isinstance(default, bool):
        return f" ({str(default).lower()})"
    if isinstance(default, tuple):
        return f" ({', '.join(map(str, default)) or 'none'})"
    return f" ({default})"
