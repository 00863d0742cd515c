"""`python scripts/report.py`, and its page in a browser.

The browser is Chromium, Debian's package (`apt-get install chromium`); without it those tests are skipped.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from scripts.results import write_report
from tests.scripts.reporting.account import EXECUTION, Account

CHROMIUM = shutil.which("chromium")
SECTIONS = ["steps", "data", "tuning", "training", "time", "evaluation", "endpoint"]
# Loads the page in a frame of a width and writes down what became of it; the page itself has no script.
FRAME = """<body><iframe id=frame src="{page}" style="width:{width}px;height:800px;border:0"></iframe>
<script>
frame.onload = () => setTimeout(() => {{
  const page = frame.contentDocument, root = page.documentElement;
  document.body.textContent = "FOUND" + JSON.stringify({{
    width: root.scrollWidth,
    requests: frame.contentWindow.performance.getEntriesByType("resource").map((entry) => entry.name)
      .filter((name) => !name.startsWith("data:")),
    sections: [...page.querySelectorAll("main > section")].map((section) => section.id),
    broken: [...page.images].filter((image) => !image.complete || !image.naturalWidth).length,
    ink: frame.contentWindow.getComputedStyle(page.body).color,
  }}) + "END";
}}, 300);
</script>"""


@pytest.fixture(scope="module")
def account(tmp_path_factory) -> Account:
    classes = ["daisies", "große Bienen", "<b>roses"]
    return Account(tmp_path_factory.mktemp("account"), classes, test_images=60)


@pytest.fixture
def served(account) -> Iterator[str]:
    with account.serve() as url:
        yield url


@pytest.mark.parametrize("execution", ["latest", EXECUTION])
def test_it_writes_one_file_and_says_where(run, served, tmp_path, execution):
    settings = ("--local", served, "--set", "name=flower-classifier")
    done = run("report.py", execution, *settings)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "report-abc123def456.html\n"
    html = (tmp_path / "report-abc123def456.html").read_text(encoding="utf-8")
    assert "große Bienen" in html
    assert [path.name for path in tmp_path.iterdir()] == ["report-abc123def456.html"]


def test_output_names_the_file(run, served, tmp_path):
    done = run("report.py", "latest", "--local", served, "--output", tmp_path / "a page.html")
    assert done.stdout == f"{tmp_path / 'a page.html'}\n"
    assert (tmp_path / "a page.html").read_text(encoding="utf-8").startswith("<!doctype html>")


def test_an_execution_that_is_not_there(run, refused, served):
    arn = EXECUTION.replace("abc123def456", "other")
    refused(run("report.py", arn, "--local", served), f"there is no execution {arn}", "or latest")


def test_a_pipeline_without_executions(run, refused, account, tmp_path):
    empty = account.copied(tmp_path / "empty")
    empty.answers["DescribePipelineExecution"].clear()
    with empty.serve() as url:
        refused(run("report.py", "latest", "--local", url), "has no execution yet", "start_execution.py")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["newest"], "give an execution's ARN, or latest"),
        (["latest", "--output", "no/such/folder.html"], "there is no such folder"),
        (["latest", "--output", "."], "that is a folder"),
    ],
)
def test_wrong_arguments(run, refused, arguments, words):
    refused(run("report.py", *arguments), words)


def test_a_report_that_fails_is_a_line_and_no_file(tmp_path, capsys):
    """run_local.py goes on without it."""
    assert write_report(EXECUTION, tmp_path / "reports", ["--local=http://127.0.0.1:9"]) is None
    assert "no report: report.py: " in capsys.readouterr().err
    assert list((tmp_path / "reports").iterdir()) == []


@dataclass(frozen=True)
class Seen:
    """What a browser made of a page; `console` are the lines that it logged of it."""

    width: int
    requests: list[str]
    sections: list[str]
    broken: int
    ink: str
    console: list[str]


@pytest.fixture
def browse(tmp_path) -> Callable[..., Seen]:
    """Open a page in headless Chromium, in a frame of so many pixels."""
    if CHROMIUM is None:
        pytest.skip("needs Chromium: apt-get install chromium")

    def browse(page: Path, width: int, dark: bool = False) -> Seen:
        frame = tmp_path / f"frame-{width}-{dark}.html"
        frame.write_text(FRAME.format(page=page.as_uri(), width=width))
        options = [
            "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync",
            "--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage",
            "--allow-file-access-from-files", "--hide-scrollbars", "--enable-logging=stderr",
            "--virtual-time-budget=5000",
            f"--blink-settings=preferredColorScheme={0 if dark else 1}",
            f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom",
        ]  # fmt: skip
        done = subprocess.run(
            [CHROMIUM, *options, frame.as_uri()], capture_output=True, text=True, timeout=120, check=True
        )
        found = done.stdout.partition("FOUND")[2].partition("END")[0]
        assert found, done.stdout + done.stderr
        console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
        return Seen(**json.loads(found), console=console)

    return browse


@pytest.fixture(scope="module")
def page(account, tmp_path_factory) -> Path:
    from scripts.reporting.page import render
    from tests.scripts.reporting.conftest import report_of

    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(render(report_of(account)), encoding="utf-8")
    return path


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [390, 1280])
def test_a_browser_shows_every_part_and_asks_nobody(browse, page, width, dark):
    seen = browse(page, width, dark)
    assert seen.sections == SECTIONS
    assert seen.width == width  # nothing to scroll to on the right
    assert seen.requests == []
    assert seen.broken == 0
    assert seen.console == []
    assert (seen.ink == "rgb(231, 233, 235)") is dark


def test_the_browser_would_have_noticed(browse, page, tmp_path):
    """That the test above can fail."""
    html = page.read_text(encoding="utf-8")
    bad = tmp_path / "bad.html"
    text = '<img src="http://127.0.0.1:9/x.png"><div style="width:2000px">wide</div><script>x</script></main>'
    bad.write_text(html.replace("</main>", text), encoding="utf-8")
    seen = browse(bad, 390)
    assert seen.width > 390
    assert seen.broken == 1
    assert any("Content Security Policy" in line for line in seen.console)
    bad.write_text(bad.read_text().replace("Content-Security-Policy", "X-None"), encoding="utf-8")
    assert browse(bad, 390).requests == ["http://127.0.0.1:9/x.png"]
