"""The results of a scoring as files: scores.csv or scores.parquet, and refused.csv."""

from __future__ import annotations

import csv
import itertools
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal

from scripts.accuracy import Accuracy
from scripts.formats import cell
from scripts.scoring.ledger import Ledger, Row

Format = Literal["csv", "parquet"]
FORMATS: tuple[Format, ...] = ("csv", "parquet")
COLUMNS = ("file", "label", "probability", "known")
REFUSED = "refused.csv"
GROUP_ROWS = 10_000  # of a row group in Parquet, and so in memory


def write(folder: Path, table: Format, ledger: Ledger) -> tuple[Path, Accuracy]:
    """Write both files, each whole or not at all; the table's path, and the accuracy where folders tell it.

    scores has the columns file (text), label (text), probability (0..1) and known (true, false, or empty
    where the model cannot tell); refused.csv has file and reason, and exists only if a picture was refused.

    Raises:
        OSError: a file cannot be written.
    """
    path, accuracy = folder / f"scores.{table}", Accuracy()
    classes = json.loads(ledger.notes().get("classes", "[]"))

    def counted() -> Iterator[Row]:
        for row in ledger.rows():
            accuracy.count(row.file, row.label, classes)
            yield row

    new = path.with_name(f"{path.name}.new")
    (_write_csv if table == "csv" else _write_parquet)(new, counted())
    new.replace(path)
    _write_refused(folder / REFUSED, ledger.refused())
    return path, accuracy


def _write_csv(path: Path, rows: Iterable[Row]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for row in rows:
            known = "" if row.known is None else str(row.known).lower()
            writer.writerow([cell(row.file), cell(row.label), row.probability, known])


def _write_parquet(path: Path, rows: Iterator[Row]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    types = [pa.string(), pa.string(), pa.float64(), pa.bool_()]
    schema = pa.schema(list(zip(COLUMNS, types, strict=True)))
    with pq.ParquetWriter(path, schema) as writer:
        while batch := list(itertools.islice(rows, GROUP_ROWS)):
            columns = zip(*((row.file, row.label, row.probability, row.known) for row in batch), strict=True)
            arrays = [pa.array(values, kind) for values, kind in zip(columns, types, strict=True)]
            writer.write_table(pa.Table.from_arrays(arrays, schema=schema))


def _write_refused(path: Path, refused: Iterator[tuple[str, str]]) -> None:
    first = next(refused, None)
    if first is None:
        path.unlink(missing_ok=True)
        return
    new = path.with_name(f"{path.name}.new")
    with new.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("file", "reason"))
        for name, reason in itertools.chain([first], refused):
            writer.writerow([cell(name), reason])
    new.replace(path)
