"""Classify pictures with the endpoint.

Pictures are files, all pictures in a folder and its subfolders, or one from stdin (-). Several requests
run in parallel; the answers come in the order of the pictures, as they arrive.

With --tensor each picture is transformed here and sent as a float32 tensor (application/x-npy); the label is
the class with the highest score in the answer, as in the original notebook. Classes and preprocessing then
come from model.json in the model artifact that the endpoint serves, so they always match the model.

With --explain each picture is also written to a folder: the redder a place, the more it speaks for the label.

  predict.py daisy.jpg
  predict.py photos/ --format csv > photos.csv
  predict.py photos/ --explain why/
  curl https://example.com/daisy.jpg | predict.py - --format json

Exit codes: 0 every picture has its answer, 1 the endpoint refused some, 2 wrong input or environment. Files
in folders that are not pictures are listed at the end and do not change the exit code.
"""

from __future__ import annotations

if not __package__:
    import root  # noqa: F401

import argparse
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from botocore.exceptions import ClientError
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

import scripts.command as command
from entrypoints.image import ImageError, decode
from scripts import aws_errors, maps
from scripts.accuracy import Accuracy
from scripts.formats import WRITERS, both_terminals
from scripts.invoke import Prediction, connect, model_card, predict_picture, predict_tensor
from scripts.pictures import GIVE, STDIN, Source, in_order, named_source, sources

SETTINGS = ("name", "region")
LISTED = 20  # how many left-out files are named


@dataclass(frozen=True)
class Answer:
    """A prediction, or the reason why there is none."""

    source: Source
    prediction: Prediction | None = None
    reason: str = ""
    refused: bool = False  # by the endpoint


@dataclass
class Outcome:
    """What is reported at the end."""

    answered: int = 0
    refused: int = 0
    left_out: int = 0
    listed: list[str] = field(default_factory=list)
    accuracy: Accuracy = field(default_factory=Accuracy)


def ask(predict: Callable[[Path | bytes], Prediction], source: Source) -> Answer:
    """The answer to one picture.

    Raises:
        ClientError: the picture is not the reason: there is no endpoint, or no permission.
    """
    try:
        if isinstance(source.content, Path) and not source.content.is_file():
            return Answer(source, reason="is not a regular file")
        return Answer(source, predict(source.content))
    except ImageError as error:
        return Answer(source, reason=str(error))
    except OSError as error:
        return Answer(source, reason=f"cannot be read ({error.strerror})")
    except ClientError as error:
        # 413, Content Too Large: a serverless endpoint takes 4 MB.
        too_large = error.response["ResponseMetadata"].get("HTTPStatusCode") == 413
        if error.response["Error"]["Code"] != "ModelError" and not too_large:
            raise
        return Answer(source, reason=_sentence(error), refused=True)


def predictions(
    answers: Iterable[Answer], outcome: Outcome, explain: Path | None = None
) -> Iterator[Prediction]:
    """Predictions, each with its picture's name first; refused and left-out pictures go into `outcome`.

    Maps go into the folder `explain`, if given.
    """
    for answer in answers:
        name = command.shown(answer.source.name)
        if answer.prediction is not None:
            outcome.answered += 1
            if isinstance(answer.source.content, Path):
                outcome.accuracy.count(
                    answer.source.name, answer.prediction["label"], answer.prediction["probabilities"]
                )
            if explain:
                write_map(answer, explain)
            yield {"file": name, **answer.prediction}
        elif answer.refused or answer.source.named:
            outcome.refused += 1
            command.console.print(f"refused: {name}: {answer.reason}", soft_wrap=True)
        else:
            outcome.left_out += 1
            if len(outcome.listed) < LISTED:
                outcome.listed.append(f"left out: {name} {answer.reason}")


def write_map(answer: Answer, folder: Path) -> None:
    """Write the picture with its map into a folder, as NAME.png, or NAME-2.png if that exists.

    Raises:
        Failure: the model has no map, or a map of a single place; or the file cannot be written.
    """
    assert answer.prediction is not None
    if "map" not in answer.prediction:
        command.fail("the endpoint's model is of an earlier version and has no maps; train it again")
    rows, side = answer.prediction["map"], answer.prediction["map_side"]
    if not maps.tells(rows):
        command.fail(
            "the endpoint's model sees so few pixels that its map has one place; "
            "train it with --parameter ImageSize=64 or more"
        )
    name = "stdin" if answer.source.name == STDIN else Path(command.shown(answer.source.name)).name
    path, number = folder / f"{name}.png", 1
    while path.exists():
        number += 1
        path = folder / f"{name}-{number}.png"
    maps.draw(decode(answer.source.content), rows, side).save(path)


def _progress(output_format: str) -> Progress:
    """A progress bar, unless the answers appear line by line on the terminal."""
    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
    )  # fmt: skip
    lines = both_terminals() and output_format != "table"
    shown = command.console.is_terminal and not lines
    return Progress(
        *columns, console=command.console, transient=True, redirect_stdout=False, disable=not shown
    )


def _lies_in(path: Path, folder: Path) -> bool:
    return path.resolve().is_relative_to(folder.resolve())


def _sentence(error: ClientError) -> str:
    """The container's message: its errors are JSON, {"code": ..., "message": ...}."""
    said = str(error.response.get("OriginalMessage") or error.response["Error"]["Message"])
    try:
        return str(json.loads(said)["message"])
    except (ValueError, KeyError, TypeError):  # another container, or SageMaker itself
        return said


def _tell(outcome: Outcome) -> None:
    for line in outcome.listed:
        command.console.print(line, soft_wrap=True)
    if more := outcome.left_out - len(outcome.listed):
        command.console.print(f"left out: {more:,} more")
    if said := outcome.accuracy.sentence():
        command.console.print(said, soft_wrap=True)


def main(argv: Sequence[str] | None = None) -> int:
    arguments = _arguments(argv)
    settings = command.settings(arguments)
    endpoint = command.endpoint(arguments, settings)
    # Checked before the first request, so that a mistyped name costs nothing.
    named = [named_source(text) for text in arguments.pictures]
    session = command.session(arguments, settings)
    if arguments.explain:
        within = [item for item in named if isinstance(item, Path) and _lies_in(arguments.explain, item)]
        if within:
            command.fail(f"{arguments.explain} lies in {within[0]}, whose pictures are sent; name another")
        try:
            arguments.explain.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            command.fail(f"{arguments.explain} cannot be made ({error.strerror}); name another --explain")
    outcome = Outcome()
    try:
        predict = partial(predict_picture, endpoint=endpoint, runtime=connect(session))
        if arguments.tensor:
            card = model_card(endpoint, session.client("sagemaker"), session.client("s3"))
            predict = partial(predict_tensor, card=card, **predict.keywords)
        elif arguments.explain:
            predict = partial(predict, explain=True)
        with _progress(arguments.format) as progress:
            total = None if progress.disable else sum(1 for _ in sources(named))
            answers = in_order(partial(ask, predict), sources(named))
            tracked = progress.track(answers, total, description="asking")
            WRITERS[arguments.format](predictions(tracked, outcome, arguments.explain))
    except ClientError as error:
        if aws_errors.is_missing(error):
            command.fail(
                f"there is no endpoint {endpoint} in {settings.region}; "
                "run the pipeline, or name another one with --endpoint"
            )
        raise
    finally:
        _tell(outcome)
    if not outcome.answered and not outcome.refused:
        command.fail(f"no pictures found in {', '.join(map(command.shown, arguments.pictures))}; {GIVE}")
    return 1 if outcome.refused else 0


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = command.parser(__doc__ or "", SETTINGS)
    parser.add_argument("pictures", metavar="PICTURE", nargs="+", help="a file, a folder, or - for stdin")
    command.add_endpoint(parser)
    parser.add_argument("--format", choices=WRITERS, default="table", help="of the output (table)")
    parser.add_argument(
        "--tensor", action="store_true", help="send the transformed tensor; the label is the highest score"
    )
    parser.add_argument(
        "--explain", type=Path, metavar="DIR", help="also write each picture here, with its map"
    )
    arguments = parser.parse_args(argv)
    if arguments.explain and arguments.tensor:
        parser.error("--explain draws over pictures; leave out --tensor")
    if arguments.pictures.count(STDIN) > 1:
        parser.error(f"stdin holds one picture; give {STDIN} once")
    return arguments


if __name__ == "__main__":
    command.run(main)
