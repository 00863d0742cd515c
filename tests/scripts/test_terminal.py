"""Names of classes and files never control the terminal or the spreadsheet."""

import csv
import io
import json
import re

import pytest
from rich.console import Console
from rich.table import Table
from rich.text import Text

from scripts import command, formats

# Clears the screen, writes backwards, begins a line of its own, looks like a smiley, hides in one byte.
HOSTILE = "\x1b[2J\x1b]0;owned\x07-\u202egnp.\u2066exe\u200f-:smile:-[red]-\x9b31m-\r"
SHOWN = r"\x1b[2J\x1b]0;owned-\u202egnp.\u2066exe\u200f-:smile:-[red]-\x9b31m-"  # rich drops \a and \r


@pytest.fixture
def screen(monkeypatch):
    """What both consoles write to a terminal."""
    written = io.StringIO()
    for console in (command.console, command.output):
        monkeypatch.setattr(console, "_file", written)
        monkeypatch.setattr(console, "_force_terminal", True)
        monkeypatch.setattr(console, "_width", 400)
    return written


def obeyed(told):
    """Control sequences in a text, except rich's own: styles, redrawn lines, the cursor."""
    own = re.sub(r"\x1b\[([0-9;]*m|2K|1A|\?25[lh])|\r(?=\x1b\[2K)", "", told)
    return set("\x1b\x07\x9b\u202e\u2066\u200f\r") & set(own)


@pytest.mark.parametrize("make", [str, Text])
@pytest.mark.parametrize("name", ["console", "output"])
def test_no_console_obeys_a_name(screen, name, make):
    console: Console = getattr(command, name)
    console.print(make(HOSTILE), soft_wrap=True)
    assert screen.getvalue() == f"{SHOWN}\n"
    table = Table(HOSTILE, box=None)
    table.add_row(make(HOSTILE))
    console.print(table)
    with command.status(HOSTILE):  # of the console for errors
        pass
    assert r"\x1b[2J" in screen.getvalue().partition("\n")[2]
    assert not obeyed(screen.getvalue())


def test_names_in_other_scripts_stay(screen):
    name = "große Bienen 蜜蜂 می\u200cخواهم 👩\u200d🌾"
    command.console.print(name)
    assert screen.getvalue() == f"{name}\n"


def test_an_error_obeys_no_name(capsys):
    def main(_argv):
        command.fail(f"{HOSTILE} is not a class")

    with pytest.raises(SystemExit, match="2"):
        command.run(main)
    told = capsys.readouterr().err
    assert r"\x1b[2J" in told and told.endswith("is not a class\n")
    assert told.strip("\n").isprintable()


ROW = {
    "file": command.shown(f"={HOSTILE}.png"), "label": "@SUM(1)", "known": False, "score": 2.0,
    "probabilities": {"@SUM(1)": 0.75, HOSTILE: 0.25, "-1+1": 1e-05, "daisy": 0.0},
}  # fmt: skip


@pytest.mark.parametrize("write", formats.WRITERS.values(), ids=formats.WRITERS)
def test_no_format_obeys_a_name(screen, capsys, write):
    write(iter([ROW]))
    told = screen.getvalue() + capsys.readouterr().out
    assert r"\u202egnp" in told
    assert not obeyed(told)


def test_json_says_the_same(capsys):
    formats.write_json(iter([ROW]))
    told = capsys.readouterr().out
    assert json.loads(told) == [ROW]
    assert told.replace("\n", "").isprintable()


def test_csv_writes_no_formula(capsys):
    for label in ("=1+1", "+1", "-1", "@x", "\t=1", "\r=1", "daisy"):
        formats.write_csv(iter([{**ROW, "label": label, "probabilities": {label: 1e-05}}]))
        header, row = csv.reader(io.StringIO(capsys.readouterr().out))
        assert not [cell for cell in (*header, *row) if cell.startswith(("=", "+", "-", "@", "\t", "\r"))]
        cells = dict(zip(header, row, strict=True))
        assert cells["file"].startswith(r"'=\x1b[2J")
        assert cells["label"] == {"daisy": "daisy", "\t=1": r"\t=1", "\r=1": r"\r=1"}.get(label, f"'{label}")
        assert cells["probability"] == "1e-05"
