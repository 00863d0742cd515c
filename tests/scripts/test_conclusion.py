"""The output at the end of a run."""

import webbrowser
from pathlib import Path

import pytest

from scripts.conclusion import after_success, open_report, tell
from scripts.refusals import Way

SUMMARY = {
    "status": "Succeeded",
    "seconds": 98.4,
    "steps": [{"name": "RegisterModel"}],
    "refused": "",
    "best_hyperparameters": {"learning_rate": "0.0123456789", "batch_size": "32"},
    "trials": [{}, {}],
    "test_accuracy": 267 / 269,
    "test_accuracy_interval": [0.97333, 0.99796],
    "test_images": 269,
    "test_known": 0.95,
    "champion": "Not compared",
    "endpoint_prediction": {"file": "test/ants/1.png", "label": "bees", "probabilities": {"bees": 0.99999}},
    "endpoint_name": "flowers",
    "suspect_labels": None,
    "artifacts": {"home": "/a home", "model": "/a home/model.tar.gz", "report": "/a home/reports/x.html"},
}


def test_the_verdict_comes_first_then_where_to_look_then_what_to_do(capsys):
    tell(SUMMARY, [Way("serve it", "python -m local")])
    assert (
        capsys.readouterr().out
        == """
Accepted: test accuracy 99.25 % of 269 pictures; for pictures like these 97.33 % to 99.79 % (95 % interval)
best of 2 trials: batch_size 32, learning_rate 0.01235
known: 95 % of the test pictures resemble the training pictures
champion: Not compared
the endpoint flowers classifies a picture of ants as bees (99.99 %)

Where to look
  report: file:///a%20home/reports/x.html
  home: /a home
  model: /a home/model.tar.gz

What to do next
  serve it:
    python -m local

Succeeded after 98 s
"""
    )


def test_a_refusal_is_told_without_the_option_that_is_among_the_ways_on(capsys):
    no = "Test accuracy 0.5 (95 % interval 0.2 to 0.8) on 4 pictures (fewer than 30 say little) is below 0.9"
    refused = {"steps": [], "refused": f"{no}; --parameter AccuracyThreshold=0.5 would let it pass"}
    tell(SUMMARY | refused | {"endpoint_prediction": None}, [])
    out = capsys.readouterr().out
    assert f"\nRefused: {no}\n" in out
    assert "What to do next" not in out and "Accepted" not in out


def test_few_pictures_are_said_to_be_few(capsys):
    tell(SUMMARY | {"test_images": 4}, [])
    out = capsys.readouterr().out
    assert "Accepted: test accuracy 99.25 % of 4 pictures, too few to be sure; for pictures like these" in out


@pytest.mark.parametrize("own", [True, False])
def test_what_to_do_after_a_success(own):
    ways = [way.command for way in after_success(Path("my home"), ["http://127.0.0.1:1/x"], own)]
    assert ways[:2] == [
        "python -m local --home 'my home'",
        "python scripts/predict.py --local http://127.0.0.1:4566 PICTURE",
    ]
    assert ("--weights imagenet" in str(ways[2:])) is not own
    assert after_success(Path("home"), [], True) == []


def test_a_report_is_opened_or_its_address_is_reported(monkeypatch, capsys):
    asked = []
    monkeypatch.setattr(webbrowser, "open", lambda url: asked.append(url) or len(asked) == 1)
    open_report("/a home/x.html")
    assert capsys.readouterr().err == ""
    open_report("/a home/x.html")
    assert capsys.readouterr().err == (
        "--open: no browser can be started here; open file:///a%20home/x.html\n"
    )
    assert asked == 2 * ["file:///a%20home/x.html"]
