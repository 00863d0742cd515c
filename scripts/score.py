"""Score many pictures at once, without an endpoint: by batch transform, with a registered model.

Pictures are all in a folder and its subfolders, or under an S3 prefix, where they are read in place. Those of
a folder are checked and sent to the bucket first, each content once. Transform jobs of at most
--pictures-per-job pictures score them, and the results come into one table: scores.csv or scores.parquet in
the output folder, with file, label, probability and known. Pictures without a result are in refused.csv, with
the reason.

The output folder also notes what is done: the same command goes on with the job that runs, or with what is
missing. Where folders are named as classes, the accuracy is told.

  score.py photos/ --output scores
  score.py s3://my-bucket/photos/ --version 3 --format parquet --output scores

Exit codes: 0 every picture has its result, 1 some have none, 2 wrong input or environment.
"""

from __future__ import annotations

if not __package__:
    import root  # noqa: F401

import argparse
import secrets
from collections.abc import Sequence
from pathlib import Path

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

import scripts.command as command
from config.parameters import S3_URI
from config.settings import Settings
from scripts import versions
from scripts.deploying import count, instance_type
from scripts.scoring import pictures
from scripts.scoring.job import Place, Resources
from scripts.scoring.ledger import Ledger
from scripts.scoring.table import FORMATS, REFUSED, write
from scripts.scoring.work import Work, score
from scripts.versions import Version

SETTINGS = ("name", "region", "bucket", "execution_role", "scoring_role")
LISTED = 20  # refused pictures that are named
PER_JOB = 10_000


def main(argv: Sequence[str] | None = None) -> int:
    arguments = _arguments(argv)
    settings = command.settings(arguments)
    source = _source(arguments)
    session = command.session(arguments, settings)
    command.refuse_placeholders(settings, "bucket", "execution_role", "scoring_role")
    group = settings.model_package_group_name
    sagemaker = session.client("sagemaker")
    found = versions.of_group(sagemaker, group)
    with Ledger(arguments.output) as ledger:
        notes = ledger.notes()
        number = arguments.version
        if number is None and "version" in notes:  # a newer one may have been approved meanwhile
            number = int(notes["version"])
        version = versions.to_serve(found, group, number, "")
        _same(arguments.output, notes, {"source": source, "version": str(version.number)})
        if "run" not in notes:
            ledger.note(source=source, version=str(version.number), run=secrets.token_hex(6))
        place = _place(source, settings, ledger.notes()["run"])
        if source.startswith("s3://"):
            pictures.require(session.client("s3"), place.bucket, place.prefix)
        with _progress() as progress:
            work = Work(
                session, settings, version,
                folder=None if source.startswith("s3://") else Path(source),
                place=place,
                resources=Resources(arguments.instance_type, arguments.instance_count, arguments.concurrency),
                per_job=arguments.pictures_per_job,
                ledger=ledger,
                progress=progress,
            )  # fmt: skip
            complete = score(work)
        return _tell(arguments, version, group, ledger) if complete else 1


def _source(arguments: argparse.Namespace) -> str:
    """The pictures' folder as an absolute path, or their S3 URI.

    Raises:
        Failure: there is no such folder, it is no S3 URI, or the output folder lies in it.
    """
    text = arguments.pictures
    if text.startswith("s3://"):
        if not S3_URI.admits(text):
            command.fail(f"{text} is not {S3_URI}")
        return str(text)
    folder = Path(text)
    if not folder.is_dir():
        command.fail(
            f"{command.shown(text)} is not a folder; give a folder with pictures, or s3://bucket/prefix"
        )
    if arguments.output.resolve().is_relative_to(folder.resolve()):
        command.fail(f"{arguments.output} lies in {command.shown(text)}; name another --output")
    return str(folder.resolve())


def _same(output: Path, notes: dict[str, str], now: dict[str, str]) -> None:
    """Refuse to mix the results of two scorings in one folder."""
    for name, value in now.items():
        if name in notes and notes[name] != value:
            command.fail(
                f"{output} has results of {name} {notes[name]}, not of {value}; name another --output, "
                f"or remove {output}"
            )


def _place(source: str, settings: Settings, run: str) -> Place:
    own = f"{settings.name}/scoring"
    results = f"{own}/results/{run}/"
    if source.startswith("s3://"):
        bucket, _, prefix = source.removeprefix("s3://").partition("/")
        closed = f"{prefix.rstrip('/')}/" if prefix else ""  # S3 would take "flowers-2" for "flowers", too
        return Place(bucket, closed, settings.bucket, results)
    return Place(settings.bucket, f"{own}/pictures/", settings.bucket, results)


def _tell(arguments: argparse.Namespace, version: Version, group: str, ledger: Ledger) -> int:
    """Write the tables and say what they hold."""
    path, accuracy = write(arguments.output, arguments.format, ledger)
    counts = ledger.counts()
    command.output.print(
        f"{counts.scored:,} pictures are scored with version {version.number} of {group}: {path}",
        soft_wrap=True,
    )
    if said := accuracy.sentence():
        command.output.print(said, soft_wrap=True)
    for place, (file, reason) in enumerate(ledger.refused()):
        if place == LISTED:
            command.console.print(f"refused: {counts.refused - LISTED:,} more", soft_wrap=True)
            break
        command.console.print(f"refused: {file}: {reason}", soft_wrap=True)
    if counts.refused:
        command.output.print(
            f"{counts.refused:,} have no result; {arguments.output / REFUSED} says why", soft_wrap=True
        )
    return 1 if counts.refused else 0


def _progress() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    shown = command.console.is_terminal
    return Progress(*columns, console=command.console, transient=True, disable=not shown)


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = command.parser(__doc__ or "", SETTINGS)
    parser.add_argument("pictures", metavar="PICTURES", help="a folder, or s3://bucket/prefix")
    parser.add_argument(
        "--output", type=Path, metavar="DIR", default=Path("scores"), help="for results (scores)"
    )
    parser.add_argument("--format", choices=FORMATS, default="csv", help="of the table (csv)")
    parser.add_argument("--version", type=int, metavar="N", help="of the model (the newest Approved one)")
    parser.add_argument(
        "--instance-type", type=instance_type, metavar="TYPE", default="ml.m5.2xlarge",
        help="that the jobs run on (ml.m5.2xlarge)",
    )  # fmt: skip
    parser.add_argument("--instance-count", type=count, metavar="N", default=1, help="of them (1)")
    parser.add_argument(
        "--concurrency",
        type=count,
        metavar="N",
        default=16,
        help="pictures that an instance gets at once (16)",
    )
    parser.add_argument(
        "--pictures-per-job", type=count, metavar="N", default=PER_JOB,
        help=f"a job that is stopped discards its results; then the next job starts ({PER_JOB})",
    )  # fmt: skip
    return parser.parse_args(argv)


if __name__ == "__main__":
    command.run(main)
