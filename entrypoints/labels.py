"""Tables of labels that lie beside pictures: CSV, TSV, JSON lines, SageMaker's .lst and augmented manifests.

.lst: "a tab-separated file with three columns": an index, the class, the relative path. Augmented manifest:
JSON lines with "source-ref" and a label's attribute, whose "-metadata" may have the "class-name". Both:
"Image Classification - MXNet" and "Augmented Manifest Files" in SageMaker's Developer Guide.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path, PurePosixPath

from entrypoints.folders import DatasetError, is_litter, is_picture, nfc

SUFFIXES = {".csv", ".tsv", ".lst", ".jsonl", ".ndjson", ".manifest"}
# Names of columns, without case, spaces and underscores.
CLASS_COLUMNS = {
    *("label", "labels", "labelname", "class", "classes", "classname", "classid", "tag", "target"),
    *("category", "categoryname", "breed", "species", "variety", "diagnosis", "dx"),
}
SPLIT_COLUMNS = {"split", "set", "subset", "dataset", "partition"}
DELIMITERS = ",;\t|"


@dataclass(frozen=True)
class Table:
    """The rows of a file, each with a text per column; `classes` is the column that is known to name them."""

    file: Path
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    classes: str = ""


@dataclass(frozen=True)
class Labels:
    """What a table says of the pictures below `base`, and which columns say it.

    `class_column` is "" where no column can be the classes: then there are no labels. `splits[file]` is what
    a column such as "split" says; empty where there is none. `lost` are names of pictures that are not there,
    `unlabelled` pictures whose row has no label.
    """

    table: Table
    base: Path
    file_column: str
    class_column: str
    split_column: str
    labels: dict[Path, str]
    splits: dict[Path, str]
    lost: tuple[str, ...]
    unlabelled: tuple[Path, ...]


class Index:
    """Finds the pictures below a folder by what tables call them."""

    def __init__(self, base: Path, files: Iterable[Path]) -> None:
        self.base = base
        self._found: dict[str, Path | None] = {}  # None: a name that several pictures have
        for file in files:
            path = PurePosixPath(nfc(file.relative_to(base).as_posix()))
            for name in dict.fromkeys((str(path), str(path.with_suffix("")), path.name, path.stem)):
                self._found[name] = None if name in self._found else file
            self._found[str(path)] = file  # a whole path is one picture, whatever else ends like it

    def find(self, names: Sequence[str]) -> list[Path | None]:
        """The picture that each name means, None for a name of none or of several.

        Names are paths below the folder, or URLs and paths from elsewhere, less the folders that all of them
        begin with; or names without folders, wherever the pictures lie. The suffix may be missing.
        """
        split = [
            [part for part in nfc(name.strip()).replace("\\", "/").split("/") if part not in ("", ".")]
            for name in names
        ]
        folders = zip(*(parts[:-1] for parts in split), strict=False)
        shared = sum(1 for _ in takewhile(lambda level: len(set(level)) == 1, folders))
        tries = ([self._found.get("/".join(parts[drop:])) for parts in split] for drop in range(shared + 1))
        return max(tries, key=lambda found: sum(file is not None for file in found))


def read(file: Path) -> Table:
    """Read a table; CSV without a line of column names gets numbers for names.

    Raises:
        DatasetError: it cannot be read, or is not what its suffix says.
    """
    try:
        text = file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise DatasetError(f"{file} is not a text in UTF-8; save it as UTF-8") from None
    except OSError as error:
        raise DatasetError(f"{file} cannot be read ({error.strerror})") from None
    suffix = file.suffix.lower()
    if suffix in (".jsonl", ".ndjson", ".manifest"):
        return _json_lines(file, text)
    first = text.partition("\n")[0]
    delimiter = "\t" if suffix in (".tsv", ".lst") else max(DELIMITERS, key=first.count)
    try:
        rows = [row for row in csv.reader(text.splitlines(), delimiter=delimiter, strict=True) if any(row)]
    except csv.Error as error:
        raise DatasetError(
            f"{file} is not a table with {delimiter!r} between its columns ({error})"
        ) from None
    width = max(map(len, rows), default=0)
    if suffix == ".lst":
        if width > 3:
            raise DatasetError(f"{file} has {width} columns: several labels for a picture; give it one")
        columns = ["index", "label", "path"][:width]
    elif rows and not any(is_picture(Path(cell)) for cell in rows[0]):
        columns = [nfc(cell.strip()) or f"column {number}" for number, cell in enumerate(rows.pop(0), 1)]
    else:
        columns = []
    columns += [f"column {number}" for number in range(len(columns) + 1, width + 1)]
    return Table(file, tuple(columns), tuple(tuple(row + [""] * (len(columns) - len(row))) for row in rows))


def _json_lines(file: Path, text: str) -> Table:
    rows: list[dict[str, str]] = []
    classes = ""
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            content = json.loads(line)
            if not isinstance(content, dict):
                raise TypeError("it is not an object")
        except (ValueError, TypeError) as error:
            raise DatasetError(f"line {number} of {file} is not a JSON object ({error})") from None
        row = {}
        for name, value in content.items():
            about = content.get(f"{name}-metadata")
            if isinstance(about, dict) and isinstance(about.get("class-name"), str):
                row[name] = about["class-name"]
                classes = name
            elif isinstance(value, str | int | float):
                row[name] = str(value)
        rows.append(row)
    columns = tuple(dict.fromkeys(name for row in rows for name in row))
    texts = tuple(tuple(row.get(name, "") for name in columns) for row in rows)
    return Table(file, columns, texts, classes)


def match(table: Table, index: Index, any_column: bool) -> Labels | None:
    """What a table says of the pictures of an index; None if it names none of them.

    The column with the most names of pictures names them. The classes are in the column with a usual name
    (label, class, breed ...), or in a column for each class with one 1 in each row, or, with `any_column`,
    in the only other column.

    Raises:
        DatasetError: two columns may be the classes, a picture has two labels, or a label cannot be a class.
    """
    found = [index.find([row[place] for row in table.rows]) for place in range(len(table.columns))]
    hits = [sum(file is not None for file in column) for column in found]
    if not any(hits):
        return None
    place = hits.index(max(hits))
    others = [number for number in range(len(table.columns)) if number != place]
    class_column, labels_of_rows = _classes(table, others, any_column) or ("", [""] * len(table.rows))
    split = next((number for number in others if _plain(table.columns[number]) in SPLIT_COLUMNS), None)
    labels: dict[Path, str] = {}
    splits: dict[Path, str] = {}
    lost, unlabelled = [], []
    for row, file, label in zip(table.rows, found[place], labels_of_rows, strict=True):
        if file is None:
            lost.append(row[place])
            continue
        if not label:
            unlabelled.append(file)
            continue
        check_class_name(label, f"{table.file} gives {row[place]!r}")
        if labels.setdefault(file, label) != label:
            raise DatasetError(
                f"{table.file} gives {row[place]!r} two labels, {labels[file]!r} and {label!r}; keep one"
            )
        if split is not None:
            splits[file] = row[split].strip()
    return Labels(
        table,
        index.base,
        table.columns[place],
        class_column,
        "" if split is None else table.columns[split],
        labels,
        splits,
        tuple(lost),
        tuple(unlabelled),
    )


def no_classes(table: Table) -> str:
    """Why a table that names pictures is of no use, and what to do."""
    columns = ", ".join(repr(name) for name in table.columns)
    return f"{table.file.name} has the columns {columns}; call the one with the classes 'label'"


def _classes(table: Table, others: Sequence[int], any_column: bool) -> tuple[str, list[str]] | None:
    """The name of the column of classes, and each row's class."""

    def texts(place: int) -> list[str]:
        return [nfc(row[place].strip()) for row in table.rows]

    named = [place for place in others if _plain(table.columns[place]) in CLASS_COLUMNS]
    if table.classes:
        named = [place for place in others if table.columns[place] == table.classes]
    if len(named) > 1:
        # A number and a name for the same classes: the name says more.
        same = {len(set(zip(*map(texts, named), strict=True))), *(len(set(texts(place))) for place in named)}
        words = [place for place in named if not all(text.isdecimal() for text in texts(place))]
        if len(same) > 1 or len(words) > 1:
            one, other = (table.columns[place] for place in named[:2])
            raise DatasetError(
                f"{table.file} has the columns {one!r} and {other!r}; keep the one of the classes"
            )
        named = words or named[:1]
    if named:
        return table.columns[named[0]], texts(named[0])
    flags = [place for place in others if set(texts(place)) <= {"0", "1", "0.0", "1.0"}]
    if len(flags) > 1:
        rows = [[place for place in flags if row[place].strip() in ("1", "1.0")] for row in table.rows]
        if all(len(row) == 1 for row in rows):
            names = [table.columns[place] for place in flags]
            return f"{names[0]}, ..., {names[-1]}", [table.columns[row[0]].strip() for row in rows]
        if any(len(row) > 1 for row in rows):
            raise DatasetError(
                f"{table.file} gives a picture several classes; this pipeline learns one for each"
            )
    if any_column and len(others) == 1:
        return table.columns[others[0]], texts(others[0])
    return None


def _plain(column: str) -> str:
    return column.lower().replace("_", "").replace(" ", "").replace("-", "")


def check_class_name(name: str, where: str) -> None:
    """Refuse what cannot be a folder's name, which the split makes of it.

    Args:
        where: what gives the name; the message goes on with it.

    Raises:
        DatasetError: it cannot.
    """
    if is_litter(name) or any(c in "/\\" or not c.isprintable() for c in name) or len(name.encode()) > 200:
        raise DatasetError(
            f"{where} the class {name!r}, which cannot be a folder's name; take one of at most 200 bytes, "
            "without slashes and without a dot at its beginning"
        )


def is_table(file: Path) -> bool:
    """Whether a file's suffix is that of a table."""
    return file.suffix.lower() in SUFFIXES
