"""Look, before a cent is spent, whether the pipeline can work: account, bucket, roles, images, quotas ...

Nothing is changed and nothing is started. Each check ends in ok, warning or failure, with what to do. What
AWS does not let these credentials ask is a warning that names the missing permission. Exit code 1: a check
failed.
"""

from __future__ import annotations

if not __package__:
    import root  # noqa: F401

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, fields

from rich.table import Table
from rich.text import Text

import scripts.command as command
from config.parameters import check_assignments, execution_parameters
from config.settings import Settings
from scripts.checks import account, bucket, endpoints, images, pipeline, quotas, roles
from scripts.checks.check import Check, Result, Subject, perform, subject

READS = tuple(item.name for item in fields(Settings))
_STYLES = {"ok": "green", "warning": "yellow", "failure": "red"}

FIRST = "credentials"
CHECKS: Mapping[str, Check] = {
    FIRST: account.credentials,
    "region": account.region,
    "bucket": bucket.bucket,
    "bucket owner": bucket.owner,
    "versioning": bucket.versioning,
    "encryption": bucket.encryption,
    "public access": bucket.public_access,
    "pictures": bucket.pictures,
    **roles.checks(),
    **images.checks(),
    "quotas": quotas.quotas,
    "Debugger": pipeline.debugger_access,
    "pipeline": pipeline.definition,
    "schedules": pipeline.schedule_parameters,
    "endpoints": endpoints.endpoints,
}


def examine(of: Subject, checks: Mapping[str, Check] = CHECKS) -> Iterator[Result]:
    """The results of all checks, one after the other; only the first when it fails: nobody answers then."""
    for name, check in checks.items():
        results = perform(name, check, of)
        yield from results
        if name == FIRST and any(result.check == FIRST and result.state == "failure" for result in results):
            rest = ", ".join(other for other in checks if other != FIRST)
            yield Result("the rest", "warning", f"not looked at without credentials: {rest}")
            return


def main(argv: Sequence[str] | None = None) -> int:
    parser = command.parser(__doc__ or "", READS, "look at a running local service instead of AWS")
    command.add_parameters(parser)
    parser.add_argument("--json", action="store_true", help="print a list of results instead of the table")
    arguments = parser.parse_args(argv)
    settings = command.settings(arguments)
    parameters = execution_parameters(settings, "")
    given = check_assignments(parameters, arguments.parameters)
    session = command.session(arguments, settings)
    values = {**{item.name: str(item.default) for item in parameters}, **given}
    results = []
    with command.status("looking") as line:
        for result in examine(subject(arguments, settings, session, values)):
            results.append(result)
            line.update(Text(f"looked at {result.check}"))
    if arguments.json:
        command.output.out(json.dumps([asdict(result) for result in results], indent=2, ensure_ascii=False))
    else:
        command.output.print(_table(results))
        for remedy, checks in _remedies(results).items():
            command.output.print(f"{', '.join(checks)}: {remedy}", soft_wrap=True)
    failures = sum(result.state == "failure" for result in results)
    warnings = sum(result.state == "warning" for result in results)
    command.console.print(
        f"{len(results) - failures - warnings} ok, {warnings} warnings, {failures} failures"
    )
    return 1 if failures else 0


def _remedies(results: Sequence[Result]) -> dict[str, list[str]]:
    """What to do, each with the checks that it helps."""
    found: dict[str, list[str]] = {}
    for result in results:
        if result.remedy and result.state != "ok":
            found.setdefault(result.remedy, []).append(result.check)
    return found


def _table(results: Sequence[Result]) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("check", no_wrap=True)
    table.add_column("", no_wrap=True)
    table.add_column("found", overflow="fold")
    for result in results:
        table.add_row(result.check, Text(result.state, _STYLES[result.state]), result.found)
    return table


if __name__ == "__main__":
    command.run(main)
