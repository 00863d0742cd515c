"""matplotlib's figures as inline SVG, with colors from the page's CSS for light and dark mode."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING
from xml.etree import ElementTree

import matplotlib
from markupsafe import Markup

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Colors that matplotlib draws with, and what replaces them in the page.
INK, MUTED, LINE = "#010201", "#010202", "#010203"
SERIES = ("#010211", "#010212", "#010213", "#010214")
WARNING = "#010221"
_CSS = {
    INK: "currentColor",
    MUTED: "var(--muted)",
    LINE: "var(--line)",
    WARNING: "var(--warning)",
    **{colour: f"var(--series-{number})" for number, colour in enumerate(SERIES, 1)},
}

_STYLE = {
    "svg.fonttype": "none",
    "text.parse_math": False,  # a class may be called $x$
    "font.size": 9.5,
    "text.color": INK,
    "axes.edgecolor": LINE,
    "axes.labelcolor": MUTED,
    "axes.facecolor": "none",
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.labelsize": 9.5,
    "figure.facecolor": "none",
    "grid.color": LINE,
    "grid.linewidth": 0.8,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "legend.handlelength": 1.2,
    "lines.linewidth": 1.7,
    "lines.solid_capstyle": "round",
    "xtick.color": LINE,
    "ytick.color": LINE,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "ytick.major.size": 0,
    "ytick.minor.size": 0,
    "xtick.major.size": 3,
    "xtick.minor.size": 0,
}


@contextmanager
def style() -> Iterator[None]:
    """matplotlib in the report's style; use it to make a figure and for `inline`."""
    with matplotlib.rc_context(_STYLE):  # type: ignore[arg-type]
        yield


def inline(figure: Figure, name: str, description: str) -> Markup:
    """A figure as an <svg> element for a page.

    Args:
        name: of ASCII letters; distinguishes its ids from those of the page's other figures.
        description: what it shows, for screen readers.
    """
    file = io.StringIO()
    figure.savefig(file, format="svg", metadata={"Date": None})
    root = ElementTree.fromstring(file.getvalue())
    for metadata in root.findall("{*}metadata"):
        root.remove(metadata)
    used = set(re.findall(r"#(\w+)", file.getvalue()))
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
        element.text = element.text if element.tag in {"text", "style"} else None
        element.tail = None
        for key in list(element.attrib):
            value = element.attrib.pop(key)
            key = key.rpartition("}")[2]
            if key == "id":
                if value not in used:
                    continue
                value = f"{name}-{value}"
            element.set(key, _attribute(key, value, name))
    for key in ("width", "height", "version"):
        del root.attrib[key]
    for parent in list(root.iter("defs")):
        for sheet in parent.findall("style"):
            parent.remove(sheet)
    root.set("role", "img")
    root.set("aria-label", description)
    return Markup(ElementTree.tostring(root, encoding="unicode"))


def printable(text: str, limit: int = 22) -> str:
    """A name as a label: XML takes no control characters, and a plot has little room.

    It is shortened in the middle: names that begin alike often differ at the end.
    """
    clean = "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)
    if len(clean) <= limit:
        return clean
    return f"{clean[: limit // 2]}…{clean[limit // 2 + 1 - limit :]}"


def _attribute(key: str, value: str, name: str) -> str:
    if key == "style":
        value = re.sub(r"font-family: [^;]*;? ?", "", value)
        value = re.sub(r"#0102\d\d", lambda found: _CSS[found[0]], value)
    if key in {"href", "clip-path"}:
        value = re.sub(r"#(?=\w)", f"#{name}-", value) if "data:" not in value else value
    if key == "href" and "data:" in value:
        value = value.replace("\n", "")
    if key in {"d", "transform", "x", "y", "points"}:
        value = re.sub(r"(\.\d\d)\d+", r"\1", value).replace(" \n", " ")
    return value
