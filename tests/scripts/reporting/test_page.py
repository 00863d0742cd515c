"""The page is self-contained, safe from odd names, and small."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from scripts.refusals import Way
from scripts.reporting import page, plots
from scripts.reporting.parts import Missing
from scripts.reporting.svg import printable
from tests.scripts.reporting.account import Account
from tests.scripts.reporting.conftest import report_of

HOSTILE = ("<img src=x onerror=alert(1)>", '"><b>bold', "$\\frac{a}{b}$", "{{ 7 * 7 }} & co")


class Outline(HTMLParser):
    """A page's references, elements and ids."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.handlers: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        for name, value in attributes:
            if name in {"src", "href", "xlink:href", "action", "data", "poster", "srcset"}:
                self.links.append(value)
            if name == "id":
                self.ids.append(value)
            if name.startswith("on"):
                self.handlers.append(name)


def test_it_refers_to_nothing_outside_itself(html):
    outline = Outline(html)
    assert [link for link in outline.links if not link.startswith(("#", "data:"))] == []
    assert re.findall(r"url\((?!#)", html) == []
    assert "@import" not in html
    assert "http://" not in html
    assert "https://" not in html


def test_ids_are_unique_and_every_reference_has_one(html):
    outline = Outline(html)
    assert len(outline.ids) == len(set(outline.ids))
    wanted = {link[1:] for link in outline.links if link.startswith("#")} | set(
        re.findall(r"url\(#(.*?)\)", html)
    )
    assert wanted <= set(outline.ids)


def test_every_part_has_its_heading_and_every_picture_its_text(html):
    for part in ("steps", "data", "tuning", "training", "time", "evaluation", "endpoint"):
        assert f'<section id="{part}">' in html
    assert html.count("<h1>") == 1
    assert not re.findall(r"<img(?![^>]* alt=)", html)
    assert not re.findall(r"<svg(?![^>]* aria-label=)", html)
    assert html.count("<table") == html.count("<caption")


def test_plots_take_their_colours_from_the_page(html):
    plots = "".join(re.findall(r"<svg.*?</svg>", html, re.DOTALL))
    assert "var(--series-1)" in plots
    assert re.findall(r"(?:fill|stroke): ?#[0-9a-f]{6}", plots) == []


def test_a_refusal_names_the_next_commands(report):
    sentence = "Test accuracy 0.5 is below AccuracyThreshold 0.9; --parameter AccuracyThreshold=0.5 would do"
    refused = replace(report, run=replace(report.run, passed=False, refusal=sentence))
    html = page.render(refused, [Way("train longer", "python scripts/run_local.py --data 'a <b>'")])
    assert "Test accuracy 0.5 is below AccuracyThreshold 0.9.</h1>" in html
    assert "<dt>Train longer</dt>" in html
    assert "<code>python scripts/run_local.py --data &#39;a &lt;b&gt;&#39;</code>" in html


def test_hostile_names_stay_text(tmp_path):
    html = page.render(report_of(Account(tmp_path, HOSTILE, test_images=40)))
    outline = Outline(html)
    assert {"script", "b"} & set(outline.tags) == set()
    assert outline.handlers == []
    assert "x" not in outline.links
    assert "$\\frac{a}{b}$" in html  # not typeset
    assert "&lt;img src=x onerror=alert(1)&gt;" in html


def test_names_that_no_file_can_have(collect):
    """Control characters and half surrogate pairs come from JSON, not from file systems."""
    report = collect()
    names = ["a\x00\x1b[0m", "b\ud800", "c\u202e"]
    evaluation = replace(report.evaluation, classes=names * 7, matrix=np.eye(21, dtype=np.int64))
    html = page.render(replace(report, evaluation=evaluation))
    assert "a\N{REPLACEMENT CHARACTER}" in html


def test_many_classes_become_a_heat_map_of_bounded_size(report):
    count = 1000
    matrix = np.diag(np.full(count, 9)) + np.eye(count, k=1, dtype=np.int64)
    names = [f"a class with a rather long name {number}" for number in range(count)]
    data = replace(
        report.data,
        classes=names,
        counts={split: dict.fromkeys(names, 9) for split in page.SPLITS},
        samples={},
        rejected=[(f"{name}/notes.txt", "is not an image") for name in names],
    )
    evaluation = replace(report.evaluation, classes=names, matrix=matrix)
    html = page.render(replace(report, data=data, evaluation=evaluation))
    assert len(html) < 1_000_000
    assert "Confusion matrix of 1000 classes as a heat map" in html
    assert "700 more classes are not shown." in html


def test_a_part_without_a_source_says_why(report):
    parts = ("package", "data", "tuning", "training", "evaluation", "endpoint", "verification")
    html = page.render(replace(report, **{part: Missing(f"No {part} today.") for part in parts}))
    for part in parts:
        assert f">No {part} today.</" in html


def test_a_training_of_which_nothing_is_left(report):
    fields = ("steps", "epochs", "losses", "rules", "system")
    training = replace(report.training, **{name: Missing(f"No {name} today.") for name in fields})
    html = page.render(replace(report, training=training))
    for name in fields:
        assert f">No {name} today.</p>" in html


def test_where_it_ran(report):
    assert "<span>on this machine</span>" in page.render(report)
    assert "on this machine, which stands for ml.m5.2xlarge" in page.render(report)
    away = page.render(replace(report, run=replace(report.run, here=False)))
    assert "on this machine" not in away and f"{report.training.job} on ml.m5.2xlarge" in away


def test_too_few_test_pictures_come_before_the_verdict(report):
    matrix = np.diag([9, 9, 9])
    few = replace(report, evaluation=replace(report.evaluation, matrix=matrix))
    headline = page.headline(few.run, few.evaluation)
    told = "Too few test pictures to be sure (27), but on them the model is accurate enough."
    assert headline[:3] == ("open", "Accepted", told)
    assert page.headline(report.run, report.evaluation)[:2] == ("good", "Accepted")


def test_an_untested_class_is_named(report):
    matrix = report.evaluation.matrix.copy()
    matrix[1] = 0
    html = page.render(replace(report, evaluation=replace(report.evaluation, matrix=matrix)))
    assert "Without a test picture, so nothing is known of it: roses." in html


def test_pictures_are_there_when_it_is_printed(html):
    """A browser may omit pictures that it may load later."""
    assert "<img" in html
    assert "loading=" not in html


def test_names_that_begin_alike_stay_apart():
    assert printable("Oxford flower with a long name 7", 12) == "Oxford…ame 7"
    assert printable("rose", 4) == "rose"


@pytest.mark.parametrize(
    ("last_s", "unit", "last"), [(120, "seconds", "120"), (375, "minutes", "6"), (30_000, "hours", "8")]
)
def test_time_has_round_numbers_of_its_unit(report, last_s, unit, last):
    """Not 0.833 min, 1.67 min."""
    system = replace(report.training.system, seconds=np.linspace(0, last_s, 60))
    labels = re.findall(r">([^<>]+)</text>", plots.memory(system))
    assert unit in labels
    assert last in labels
    assert not [label for label in labels if "." in label]


def test_labels_of_a_logarithmic_axis_do_not_overlap(report):
    """Over three decades there is room for 1 and 3 of each."""
    (svg,) = [svg for name, svg in page.tuning(report.tuning)["plots"] if name == "learning_rate"]
    labels = re.findall(r">(0\.\d+)</text>", svg)
    assert "0.003" in labels
    assert "0.002" not in labels


def test_a_finding_near_the_end_stays_inside_its_plot(report):
    late = replace(report.training.rules[0], step=199)
    svg = plots.loss(replace(report.training, rules=[late]))
    assert "text-anchor: end" in re.findall(r"<text[^>]*>Overfit</text>", svg)[0]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "–"), (0.04, "0.0_s"), (59.4, "59_s"), (445, "7_min 25_s"), (7500, "2_h 5_min")],
)
def test_durations(seconds, text):
    assert page.duration(seconds) == text.replace("_", page.SPACE)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        ('"32"', "32"),
        ("0.000123456", "0.0001235"),
        ("adam", "adam"),
        (12345, "12,345"),
        ("nan", "nan"),
    ],
)
def test_numbers(value, text):
    assert page.number(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.8996, "89.96"), (0.899999, "89.99"), (0.9, "90"), (0.95454, "95.45"), (1, "100"), (0.29, "29")],
)
def test_an_accuracy_never_looks_higher_than_it_is(value, text):
    assert page.percent_cut(value) == f"{text}{page.SPACE}%"
