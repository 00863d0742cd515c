"""What a browser gets at the service's own address: its page, and the reports of executions."""

from __future__ import annotations

import functools
import math
import re
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from local.console.overview import SHOWN, Call, overview, report_file
from local.home.home import Home
from local.wire.html import template
from local.wire.http import HttpRequest, HttpResponse

if TYPE_CHECKING:
    from jinja2 import Template

REPORT = re.compile(r"/executions/([A-Za-z0-9-]+)/report")
HTML = {"content-type": "text/html; charset=utf-8", "cache-control": "no-store"}
_GOOD = {"Succeeded", "Approved", "InService"}
_BAD = {"Failed", "Rejected"}


def answer(request: HttpRequest, home: Home, call: Call) -> HttpResponse | None:
    """The answer to a request without a signature; None if it is not for this page.

    At / only a program that asks for HTML gets the page.

    Args:
        call: answers the operations of SageMaker.
    """
    if request.method != "GET":
        return None
    if request.path == "/" and "text/html" in request.headers.get("accept", ""):
        shown = overview(home, call)
        url = f"http://{request.headers['host']}"
        html = _template().render(home=home, url=url, shown=shown, newest=SHOWN)
        return HttpResponse(200, HTML, html.encode(errors="replace"))
    if found := REPORT.fullmatch(request.path):
        file = report_file(home, found[1])
        return HttpResponse(200, HTML, file.read_bytes()) if file.is_file() else None
    return None


@functools.cache
def _template() -> Template:
    filters: dict[str, Callable[..., str]] = {
        "duration": duration,
        "moment": moment,
        "machine": machine,
        "percents": percents,
        "tone": tone,
    }
    return template(Path(__file__).with_name("page.html"), filters)


def duration(seconds: float) -> str:
    """Seconds for people: 45 s, 7 min 25 s, 2 h 5 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    return (
        f"{whole // 60} min {whole % 60} s" if whole < 3600 else f"{whole // 3600} h {whole % 3600 // 60} min"
    )


def moment(seconds: float) -> str:
    """Unix seconds as this machine's date and time."""
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))


def percents(text: str) -> str:
    """A metric of a model package with its shares (0 to 1) as the report cuts them: 0.996 is 99.6 %."""
    return re.sub(r"\b[01](\.\d+)?\b", _percent, text)


def _percent(share: re.Match[str]) -> str:
    return f"{math.floor(float(share[0]) * 10_000 + 1e-6) / 100:g} %"


def machine(seconds: float) -> str:
    """Unix seconds as HTML's <time> has them."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


def tone(status: str) -> str:
    """good, bad or open: the colour of a status."""
    return "good" if status in _GOOD else "bad" if status in _BAD else "open"
