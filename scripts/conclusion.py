"""The end of a run on this machine: the verdict, where to look, what to do next."""

from __future__ import annotations

import shlex
import webbrowser
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from rich.text import Text

import scripts.command as command
from entrypoints.verdict import FEW_PICTURES, percent
from scripts.refusals import LOCAL_URL, Way

REGISTERED = "RegisterModel"  # the step that follows the gate's yes


def tell(summary: dict[str, Any], ways: Sequence[Way]) -> None:
    """Print a run's results, where they are and what to do next.

    Args:
        summary: what `Results.summary` found, with endpoint_prediction and seconds.
        ways: what to do next.
    """
    say = command.output.print
    say()
    if verdict := _verdict(summary):
        say(verdict, soft_wrap=True)
    for line in _details(summary):
        say(line, soft_wrap=True)
    say(Text("\nWhere to look", "bold"))
    artifacts = dict(summary["artifacts"])
    if report := artifacts.pop("report", None):
        artifacts = {"report": Path(report).absolute().as_uri(), **artifacts}
    for name, path in artifacts.items():
        say(f"  {name}: {path}", soft_wrap=True)
    if ways:
        say(Text("\nWhat to do next", "bold"))
    for way in ways:
        say(f"  {way.what}:\n    {way.command}", soft_wrap=True)
    say(f"\n{summary['status']} after {summary['seconds']:.0f} s")


def _verdict(summary: dict[str, Any]) -> Text | None:
    """Whether the model passed, its accuracy and how certain that is; None if there was no gate."""
    if summary["refused"]:
        # The option that would let it pass is among the next steps.
        said, _, _ = summary["refused"].partition("; --")
        return Text.assemble(("Refused", "bold red"), f": {said}")
    if summary["test_accuracy"] is None or not any(step["name"] == REGISTERED for step in summary["steps"]):
        return None
    low, high = summary["test_accuracy_interval"]
    pictures = summary["test_images"]
    few = ", too few to be sure" if pictures < FEW_PICTURES else ""
    return Text.assemble(
        ("Accepted", "bold green"),
        f": test accuracy {percent(summary['test_accuracy'])} of {pictures} pictures{few};"
        f" for pictures like these {percent(low)} to {percent(high)} (95 % interval)",
    )


def _details(summary: dict[str, Any]) -> Iterator[str]:
    if summary["best_hyperparameters"]:
        found = sorted(summary["best_hyperparameters"].items())
        best = ", ".join(f"{name} {_short(value)}" for name, value in found)
        trials = len(summary["trials"])
        yield f"best of {trials} trial{'s' if trials != 1 else ''}: {best}"
    if summary["test_accuracy"] is not None:
        if summary["test_known"] is not None:
            known = percent(summary["test_known"])
            yield f"known: {known} of the test pictures resemble the training pictures"
        yield f"champion: {summary['champion']}"
    if prediction := summary["endpoint_prediction"]:
        sure = percent(prediction["probabilities"][prediction["label"]])
        true = Path(prediction["file"]).parent.name
        name = summary["endpoint_name"]
        yield f"the endpoint {name} classifies a picture of {true} as {prediction['label']} ({sure})"
    if summary["suspect_labels"]:
        listed = shlex.quote(summary["artifacts"]["suspects"])
        yield (
            f"suspect labels: {summary['suspect_labels']} of training and validation, shown in the report;"
            f" the same command with --exclude {listed} leaves their pictures out"
        )


def _short(value: str) -> str:
    """A hyperparameter with four digits, if it is a number."""
    try:
        return f"{float(value):.4g}"
    except ValueError:
        return value


def after_success(home: Path, pages: Sequence[str], own: bool) -> list[Way]:
    """What to do after a run whose model serves.

    Args:
        home: the home folder, as it was typed.
        pages: the pages of its endpoints; empty: nothing serves.
        own: whether the pictures were the user's own.
    """
    ways = []
    if pages:
        serve = f"python -m local --home {shlex.quote(str(home))}"
        ways.append(Way("serve the model, also in a browser, until Ctrl-C", serve))
        ask = f"python scripts/predict.py --local {LOCAL_URL} PICTURE"
        ways.append(Way("classify your own pictures, in another terminal", ask))
    if not own:
        run = "python scripts/run_local.py --data FOLDER --weights imagenet"
        ways.append(Way("train on your own pictures, a folder for each class", run))
    return ways


def open_report(path: str) -> None:
    """Show a report in the browser, or say where it is."""
    url = Path(path).absolute().as_uri()
    if not webbrowser.open(url):
        command.console.print(f"--open: no browser can be started here; open {url}", soft_wrap=True)
