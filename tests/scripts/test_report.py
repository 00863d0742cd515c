"""`python scripts/report.py`, and its page in a browser.

The browser is Chromium, Debian's package (`apt-get install chromium`); without it those tests are skipped.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from local.home.home import Home
from scripts.results import write_report
from tests.browser import CHROMIUM, Browser
from tests.scripts.reporting.account import Account
from tests.scripts.reporting.answers import EXECUTION

# Texts below a contrast of 4.5, with it: their colour on the colours behind them, from the page inwards.
FAINT = """(() => {
  const canvas = new OffscreenCanvas(1, 1).getContext("2d", {willReadFrequently: true});
  const luminance = (colours) => {
    colours.forEach((colour) => { canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1); });
    const [r, g, b] = [...canvas.getImageData(0, 0, 1, 1).data].map((value) => value / 255)
      .map((value) => value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const contrast = (element) => {
    const style = getComputedStyle(element), behind = [];
    for (let parent = element; parent; parent = parent.parentElement)
      behind.unshift(getComputedStyle(parent).backgroundColor);
    const ink = element.closest("svg") ? style.fill : style.color;
    const pair = [luminance(behind), luminance([...behind, ink])];
    return (Math.max(...pair) + 0.05) / (Math.min(...pair) + 0.05);
  };
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), found = [];
  while (texts.nextNode()) {
    const element = texts.currentNode.parentElement, text = texts.currentNode.data.trim();
    if (text && contrast(element) < 4.5) found.push([text, contrast(element)]);
  }
  return found;
})()"""
SECTIONS = ["steps", "data", "tuning", "training", "time", "evaluation", "suspects", "card", "endpoint"]


@pytest.fixture(scope="module")
def account(tmp_path_factory) -> Account:
    classes = ["daisies", "große Bienen", "<b>roses"]
    return Account(tmp_path_factory.mktemp("account"), classes, test_images=60)


@pytest.fixture
def served(account) -> Iterator[str]:
    with account.serve() as url:
        yield url


@pytest.mark.parametrize("execution", ["latest", EXECUTION, "abc123def456"])
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
    refused(run("report.py", arn, "--local", served), f"there is no execution {arn}", "executions.py")


def test_a_pipeline_that_was_never_upserted(run, refused, url):
    refused(run("report.py", "latest", "--local", url), "there is no pipeline", "upsert_pipeline.py")


def test_a_pipeline_without_executions(run, refused, account, tmp_path):
    empty = account.copied(tmp_path / "empty")
    empty.answers["DescribePipelineExecution"].clear()
    with empty.serve() as url:
        refused(run("report.py", "latest", "--local", url), "has no execution yet", "start_execution.py")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["newest"], "its ARN, or latest"),
        (["latest", "--output", "no/such/folder.html"], "there is no such folder"),
        (["latest", "--output", "."], "that is a folder"),
    ],
)
def test_wrong_arguments(run, refused, arguments, words):
    refused(run("report.py", *arguments), words)


def test_a_report_that_fails_is_a_line_and_no_file(tmp_path, capsys):
    """run_local.py goes on without it."""
    assert write_report(Home(tmp_path), EXECUTION, ["--local=http://127.0.0.1:9"]) is None
    assert "no report: report.py: " in capsys.readouterr().err
    assert list((tmp_path / "reports").iterdir()) == []
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "reports").touch()
    assert write_report(Home(tmp_path / "other"), EXECUTION, []) is None
    assert f"no report: {tmp_path / 'other' / 'reports'}: Not a directory" in capsys.readouterr().err


@pytest.fixture(scope="module")
def browser(tmp_path_factory) -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("needs Chromium: apt-get install chromium")
    with Browser(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


@pytest.fixture(scope="module")
def page(account, tmp_path_factory) -> Path:
    from scripts.reporting.page import render
    from tests.scripts.reporting.conftest import report_of

    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(render(report_of(account)), encoding="utf-8")
    return path


BROKEN = "[...document.images].filter((image) => !image.complete || !image.naturalWidth).length"
WIDTH = "document.documentElement.scrollWidth"


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [390, 1280])
def test_a_browser_shows_every_part_and_asks_nobody(browser, page, width, dark):
    browser.open(page.as_uri(), width, dark=dark)
    sections = browser.evaluate("[...document.querySelectorAll('main > section')].map(({id}) => id)")
    assert sections == SECTIONS
    assert browser.evaluate(WIDTH) == width  # nothing to scroll to on the right
    assert browser.evaluate(BROKEN) == 0
    assert browser.requests() == [page.as_uri()]
    assert browser.complaints() == []
    ink = browser.evaluate("getComputedStyle(document.body).color")
    assert (ink == "rgb(231, 233, 235)") is dark


def test_the_browser_would_have_noticed(browser, page, tmp_path):
    """That the test above can fail."""
    html = page.read_text(encoding="utf-8")
    bad = tmp_path / "bad.html"
    text = '<img src="http://127.0.0.1:9/x.png"><div style="width:2000px">wide</div><script>x</script>'
    faint = '<p style="background:#fff"><span style="background:#0001;color:#888">faint</span></p>'
    bad.write_text(html.replace("</main>", f"{text}{faint}</main>"), encoding="utf-8")
    browser.open(bad.as_uri(), 390)
    assert browser.evaluate(WIDTH) > 390
    assert browser.evaluate(BROKEN) == 1
    assert [text for text, _ in browser.evaluate(FAINT)] == ["faint"]
    assert any("Content Security Policy" in str(complaint) for complaint in browser.complaints())
    bad.write_text(bad.read_text().replace("Content-Security-Policy", "X-None"), encoding="utf-8")
    browser.open(bad.as_uri(), 390)
    assert "http://127.0.0.1:9/x.png" in browser.requests()


@pytest.mark.parametrize("dark", [False, True])
def test_texts_stand_out_from_what_is_behind_them(browser, page, dark):
    """WCAG 2.2, 1.4.3: 4.5 to 1. Colours on half-transparent ones are painted over each other."""
    browser.open(page.as_uri(), dark=dark)
    assert browser.evaluate(FAINT) == []
