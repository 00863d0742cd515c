"""Predictions as a table for people, as JSON or as CSV, each printed as soon as it arrives."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.table import Column, Table
from rich.text import Text

import scripts.command as command
from entrypoints.program import UNPRINTABLE
from scripts.invoke import Prediction

SHOWN = 3  # classes in the table's row of a picture
# Characters that begin a formula (OWASP ASVS 5.0, 1.2.10); that list's tabs and NUL are escaped earlier.
FORMULA = ("=", "+", "-", "@")
LEAST_NAME = 24  # letters of a file's name shown even on the narrowest terminal
PAGE = 200  # rows of a table; more pictures make more tables


def write_json(rows: Iterator[Prediction]) -> None:
    """A list with a line per picture, closed even if something interrupts it."""
    first = next(rows, None)
    if first is None:
        print("[]")
        return
    try:
        print(f"[\n{_line(first)}", end="", flush=True)  # at once: an interrupt must not come between
        for row in rows:
            print(f",\n{_line(row)}", end="", flush=True)
    finally:
        print("\n]", flush=True)


def _line(row: Prediction) -> str:
    text = json.dumps(row, ensure_ascii=False)
    # In a string of JSON an escaped character is the same character.
    return "  " + UNPRINTABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def write_csv(rows: Iterator[Prediction]) -> None:
    """file, label, probability, known and score where the model has them, probability_CLASS of every class.

    A name that a spreadsheet would take for a formula gets an apostrophe in front, as OWASP recommends, and
    so stays text.

    Raises:
        Failure: the classes changed because another model was deployed meanwhile.
    """
    writer: csv.DictWriter[str] | None = None
    for row in rows:
        scores = {f"probability_{command.shown(name)}": value for name, value in row["probabilities"].items()}
        label = row["label"]
        known: dict[str, str] = {name: str(row[name]).lower() for name in ("known", "score") if name in row}
        probability = row["probabilities"][label]
        first = {"file": cell(row["file"]), "label": cell(command.shown(label)), "probability": probability}
        cells: dict[str, Any] = {**first, **known, **scores}
        if writer is None:
            writer = csv.DictWriter(sys.stdout, list(cells), lineterminator="\n")
            writer.writeheader()
        if list(cells) != writer.fieldnames:
            command.fail(f"the endpoint's classes changed before {row['file']}; ask again")
        writer.writerow(cells)
        sys.stdout.flush()


def cell(text: str) -> str:
    return f"'{text}" if text.startswith(FORMULA) else text


def write_table(rows: Iterator[Prediction]) -> None:
    """Tables for people, of PAGE rows at most."""
    page: list[Prediction] = []
    try:
        for row in rows:
            page.append(row)
            if len(page) == PAGE:
                _print_table(page)
                page = []
    finally:
        if page:
            _print_table(page)


def _print_table(rows: Sequence[Prediction]) -> None:
    longest = max(cell_len(row["file"]) for row in rows)
    picture = Column("picture", min_width=min(longest, LEAST_NAME))
    table = Table(picture, "label", "probability", "then", "known")
    for row in rows:
        ranked = sorted(row["probabilities"].items(), key=lambda item: -item[1])
        others = ", ".join(f"{command.shown(name)} {value:.1%}" for name, value in ranked[1:SHOWN])
        sure = f"{row['probabilities'][row['label']]:.1%}"
        table.add_row(_Name(row["file"]), command.shown(row["label"]), sure, others, _known(row))
    # If the terminal also shows the progress, the code that draws it must know.
    (command.console if both_terminals() else command.output).print(table)


class _Name:
    """A file's name; a narrow column keeps its end, where names in one folder differ."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __rich_measure__(self, _: Console, options: ConsoleOptions) -> Measurement:
        return Measurement(1, cell_len(self._name)).with_maximum(options.max_width)

    def __rich_console__(self, _: Console, options: ConsoleOptions) -> RenderResult:
        name, room = self._name, options.max_width
        if cell_len(name) > room:
            while cell_len(name) > room - 1:
                name = name[1:]
            name = f"…{name}"
        yield Text(name, no_wrap=True)


def _known(row: Prediction) -> str:
    """Whether the picture is like the training pictures; models of earlier versions do not say."""
    if "known" not in row:
        return "–"
    return "yes" if row["known"] else f"no: {row['score']:.2g} x as far as is known"


def both_terminals() -> bool:
    """Whether progress and answers both go to the terminal."""
    return command.console.is_terminal and command.output.is_terminal


WRITERS = {"table": write_table, "json": write_json, "csv": write_csv}
