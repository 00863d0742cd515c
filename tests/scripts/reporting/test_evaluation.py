"""EvaluateModel's results: the numbers, and what is shown if a file is missing."""

from __future__ import annotations

import json

import numpy as np
import pytest

from scripts.reporting import evaluation, page
from scripts.reporting.parts import Evaluation, Missing
from tests.scripts.reporting.account import Account
from tests.scripts.reporting.conftest import report_of


def make(matrix: list[list[int]]) -> Evaluation:
    names = [f"class {number}" for number in range(len(matrix))]
    return Evaluation(names, np.array(matrix), 0.5, (0.4, 0.6), 0.3, [], {}, "", Missing("not asked"))


def test_precision_and_recall():
    rows = {row.name: row for row in evaluation.class_rows(make([[8, 2], [1, 9]]))}
    assert rows["class 0"].precision == pytest.approx(8 / 9)
    assert rows["class 0"].recall == 0.8
    assert rows["class 1"].pictures == 10
    assert rows["class 0"].f1 == pytest.approx(2 * 8 / (10 + 9))


def test_f1_where_nothing_is_right_or_known():
    rows = {row.name: row for row in evaluation.class_rows(make([[0, 5, 0], [5, 0, 0], [0, 0, 0]]))}
    assert (rows["class 0"].f1, rows["class 2"].f1) == (0.0, None)


def test_answers_above_a_threshold():
    found = evaluation.above(np.array([0.3, 0.6, 0.6, 0.95]), np.array([False, True, False, True]))
    at = dict(zip(found.thresholds.round(2), zip(found.shares, found.accuracies, strict=True), strict=True))
    assert (at[0.0], at[0.3], at[0.6]) == ((1, 0.5), (1, 0.5), (0.75, pytest.approx(2 / 3)))
    assert at[0.95] == (0.25, 1)
    assert at[1.0][0] == 0 and np.isnan(at[1.0][1])  # no answer, so no accuracy


def test_the_engines_of_the_artifact(report, html):
    assert [(engine.name, engine.agreement) for engine in report.evaluation.engines] == [
        ("int8", 0.98),
        ("fp32", 1.0),
    ]
    assert "int8 computes with 8-bit integers" in html


def test_a_class_without_test_pictures_has_no_recall_and_comes_last():
    rows = evaluation.class_rows(make([[0, 0, 0], [1, 3, 0], [0, 0, 4]]))
    assert [(row.name, row.recall) for row in rows] == [
        ("class 1", 0.75),
        ("class 2", 1.0),
        ("class 0", None),
    ]
    assert rows[1].precision == 1


def test_the_most_confused_pairs():
    found = evaluation.confusions(make([[8, 2, 0], [0, 9, 5], [0, 0, 7]]), 12)
    assert found == [("class 1", "class 2", 5), ("class 0", "class 1", 2)]


def test_the_surest_mistakes_come_first_with_their_pictures(report):
    found = report.evaluation
    mistakes = found.predictions.mistakes
    assert mistakes
    sure = [mistake.predicted_probability for mistake in mistakes]
    assert sure == sorted(sure, reverse=True)
    html = page.render(report)
    for mistake in mistakes:
        assert mistake.label != mistake.predicted
        assert f'<p class="file">{mistake.file}</p>' in html  # phones and paper have no hovering
        assert mistake.label_probability < mistake.predicted_probability
        assert mistake.picture.uri.startswith("data:image/webp;base64,")
    assert found.accuracy == pytest.approx(found.matrix.trace() / found.matrix.sum())
    assert found.interval[0] < found.accuracy < found.interval[1]


def test_pictures_that_are_gone(account, collect):
    for file in account.path("split/test").rglob("*.png"):
        file.unlink()
    report = collect()
    assert {mistake.picture.uri for mistake in report.evaluation.predictions.mistakes} == {""}
    assert "picture not in S3" in page.render(report)


def test_a_split_that_is_gone(account, collect):
    del account.answers["DescribeProcessingJob"]["split-job"]
    report = collect()
    assert {mistake.picture.uri for mistake in report.evaluation.predictions.mistakes} == {""}


def test_maps_are_drawn_over_the_mistakes_that_have_one(account, collect):
    path = account.path("evaluate/predictions.json")
    records = json.loads(path.read_text())
    plain = collect()
    assert not any(mistake.explained for mistake in plain.evaluation.predictions.mistakes)
    assert "The redder" not in page.render(plain)
    for record in records:
        record |= {"known": False, "score": 2.0, "map": [[0.0, 1.0], [0.0, 0.0]], "map_side": 0.875}
    path.write_text(json.dumps(records))
    drawn = collect()
    before, after = (report.evaluation.predictions.mistakes for report in (plain, drawn))
    assert all(mistake.explained and not mistake.known for mistake in after)
    assert all(one.picture.uri != other.picture.uri for one, other in zip(before, after, strict=True))
    rendered = page.render(drawn)
    assert "The redder, the more it spoke for the wrong one." in rendered
    assert "Unknown: unlike the training's pictures." in " ".join(rendered.replace("&#39;", "'").split())


def test_no_predictions(account, collect):
    account.path("evaluate/predictions.json").unlink()
    report = collect()
    assert "predictions.json is not in S3" in report.evaluation.predictions.reason
    assert report.evaluation.matrix.sum() == 60
    assert report.evaluation.predictions.reason in page.render(report)


@pytest.mark.parametrize(
    "text", ["", "[", "[]", "{}", '[{"file": "a.png"}]', '[{"file": "a", "label": "roses"}]']
)
def test_predictions_that_are_none(account, collect, text):
    account.put("evaluate/predictions.json", text)
    assert "predictions.json is not" in collect().evaluation.predictions.reason


EMPTY = {
    "confusion_matrix": {"roses": {"roses": 0}},
    "accuracy": {"value": 0},
    "accuracy_best_constant_classifier": {"value": 0},
}


LISTED = EMPTY | {"confusion_matrix": ["roses"]}


@pytest.mark.parametrize(
    "text",
    ["", "[1]", "{}", *({"multiclass_classification_metrics": metrics} for metrics in ({}, EMPTY, LISTED))],
)
def test_an_evaluation_that_is_none(account, collect, text):
    account.put("evaluate/evaluation.json", text)
    assert "evaluation.json is not" in collect().evaluation.reason


def test_a_class_may_have_the_name_of_a_member(tmp_path):
    """predictions.json has objects of two kinds; a class called `label` must not confuse them."""
    account = Account(tmp_path, ["file", "label", "predicted"], test_images=30)
    assert report_of(account).evaluation.predictions.calibration.counts.sum() == 30


def test_what_the_numbers_are_worth_and_how_the_champion_does(report, html):
    found = report.evaluation
    assert [mean.name for mean in found.means] == [
        "accuracy",
        "balanced accuracy",
        "macro F1",
        "called known",
    ]
    assert all(mean.low < mean.value < mean.high for mean in found.means)
    assert set(found.recalls) == set(found.classes)
    assert '<th scope="row">macro F1</th>' in html
    assert '<th scope="row">called known</th><td class="n">96' in html
    assert "Not compared: there is none." in html


def test_an_evaluation_of_an_earlier_version_has_less_to_say(account, collect):
    path = account.path("evaluate/evaluation.json")
    content = json.loads(path.read_text())
    path.write_text(
        json.dumps({"multiclass_classification_metrics": content["multiclass_classification_metrics"]})
    )
    found = collect().evaluation
    assert found.interval == pytest.approx(
        (content["worth"]["accuracy"]["low"], content["worth"]["accuracy"]["high"])
    )
    assert (found.means, found.recalls, found.comparison) == ([], {}, "")
    assert "macro F1" not in page.render(collect())
