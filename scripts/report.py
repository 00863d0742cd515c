"""Write a report about a pipeline execution: one self-contained HTML file.

It shows data, tuning, training, evaluation and endpoint of an execution in any state, on AWS or on the
laptop, from what SageMaker and S3 hold. Sections without data explain why.
"""

from __future__ import annotations

if not __package__:
    import root  # noqa: F401

import argparse
import shlex
from collections.abc import Sequence
from pathlib import Path

import scripts.command as command
from entrypoints.contract import TRAIN
from scripts import execution_names, refusals
from scripts.refusals import LOCAL_URL, Refused, ways_of_run, ways_of_start

SETTINGS = ("name", "region")


def main(argv: Sequence[str] | None = None) -> int:
    arguments = _arguments(argv)
    settings = command.settings(arguments)
    execution_names.check(arguments.execution)
    session = command.session(arguments, settings)
    with command.status("reading the execution"):
        # They import matplotlib, which --help does not need.
        from scripts.reporting import page, sources
        from scripts.reporting.parts import Missing

        arn = execution_names.find(session.client("sagemaker"), settings, arguments.execution)[
            "PipelineExecutionArn"
        ]
        found = sources.collect(session, arn)
        options = command.same_settings(arguments, SETTINGS)
        counts = {} if isinstance(found.data, Missing) else found.data.counts.get(TRAIN, {})
        given = refusals.parameters(session, arn, settings) if found.run.refusal else {}
        refused = Refused(found.run.refusal, arn, given, counts)
        if arguments.typed:
            ways = ways_of_run(refused, settings, shlex.split(arguments.typed), arguments.home)
        elif found.run.here:
            ways = ways_of_start(refused, settings, [f"--local={LOCAL_URL}", *options], "python -m local")
        else:
            ways = ways_of_start(refused, settings, options)
        html = page.render(found, ways)
    write(arguments.output or Path(f"report-{arn.rpartition('/')[2]}.html"), html)
    return 0


def write(path: Path, html: str) -> None:
    """Write the page, whole or not at all, and say where it is."""
    partial = path.with_name(f".{path.name}.partial")
    partial.write_bytes(html.encode(errors="replace"))  # a name may hold half a surrogate pair
    partial.replace(path)
    command.output.print(str(path), soft_wrap=True)


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = command.parser(__doc__ or "", SETTINGS)
    parser.add_argument("execution", metavar="EXECUTION", help=execution_names.NAMES)
    parser.add_argument("--output", metavar="FILE", type=Path, help="the file (report-ID.html)")
    # run_local.py passes its own command line, for the suggestions after a refusal.
    parser.add_argument("--typed", help=argparse.SUPPRESS)
    parser.add_argument("--home", help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv)
    if arguments.output and not arguments.output.absolute().parent.is_dir():
        parser.error(f"--output {arguments.output}: there is no such folder")
    if arguments.output and arguments.output.is_dir():
        parser.error(f"--output {arguments.output}: that is a folder; name a file")
    return arguments


if __name__ == "__main__":
    command.run(main)
