"""Start the pipeline regularly: create, change, show or delete its EventBridge Scheduler schedule.

  schedule_retraining.py --rate "7 days" --parameter Epochs=10
  schedule_retraining.py --cron "0 3 ? * MON *" --timezone Europe/Berlin
  schedule_retraining.py --disable

Settings that you do not name stay as they are. Without options, the command shows the schedule.
"""

from __future__ import annotations

if not __package__:
    import root  # noqa: F401

import argparse
import re
import zoneinfo
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.table import Table

import scripts.command as command
from config.parameters import check_assignments, execution_parameters
from config.settings import Settings
from scripts.schedules import pipeline_parameters

if TYPE_CHECKING:
    from mypy_boto3_scheduler.client import EventBridgeSchedulerClient

SETTINGS = ("name", "region", "scheduler_role", "schedule")
# Retraining is not urgent; this window lets the service spread its load.
WINDOW_MINUTES = 15
# The members of GetSchedule's answer that UpdateSchedule takes; it replaces the whole schedule.
KEPT = (
    "ActionAfterCompletion", "Description", "EndDate", "FlexibleTimeWindow", "GroupName", "KmsKeyArn", "Name",
    "ScheduleExpression", "ScheduleExpressionTimezone", "StartDate", "State", "Target",
)  # fmt: skip

_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_DAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
# Name, lowest, highest, names of the values, wildcards besides "*": https://docs.aws.amazon.com/scheduler/
# latest/UserGuide/schedule-types.html#cron-based
_FIELDS: tuple[tuple[str, int, int, tuple[str, ...], str], ...] = (
    ("minutes", 0, 59, (), ""),
    ("hours", 0, 23, (), ""),
    ("day of month", 1, 31, (), r"\?|L|([1-9]|[12]\d|3[01])W"),
    ("month", 1, 12, _MONTHS, ""),
    ("day of week", 1, 7, _DAYS, r"\?|L|[1-7]L|[1-7]#[1-5]"),
    ("year", 1970, 2199, (), ""),
)


def rate_expression(text: str) -> str:
    """`rate(7 days)` from "7 days".

    Raises:
        Failure: it is not a positive number of minutes, hours or days.
    """
    match = re.fullmatch(r"([1-9]\d*) *(minute|hour|day)s?", text.strip())
    if match is None:
        command.fail(f'--rate {text!r} is not a number of minutes, hours or days; write for example "7 days"')
    count, unit = match.groups()
    return f"rate({count} {unit})" if count == "1" else f"rate({count} {unit}s)"


def cron_expression(text: str) -> str:
    """`cron(0 3 ? * MON *)` from "0 3 ? * MON *".

    Raises:
        Failure: a field is missing or outside its range, or not exactly one of the days is "?".
    """
    fields = text.split()
    if len(fields) != len(_FIELDS):
        names = ", ".join(name for name, *_ in _FIELDS)
        command.fail(
            f'--cron {text!r} has {len(fields)} fields, not 6 ({names}); write for example "0 3 ? * MON *"'
        )
    for value, field in zip(fields, _FIELDS, strict=True):
        if not _is_field(value, *field[1:]):
            name, low, high, words, _ = field
            allowed = f"{low} to {high}" + (f" or {words[0]} to {words[-1]}" if words else "")
            command.fail(f"--cron {text!r}: {value!r} is no {name}; use {allowed}, *, a-b, a/b or a,b")
    if (fields[2] == "?") == (fields[4] == "?"):
        command.fail(f"--cron {text!r}: exactly one of day of month and day of week must be ?")
    return f"cron({' '.join(fields)})"


def _is_field(text: str, low: int, high: int, names: Sequence[str], wildcards: str) -> bool:
    if wildcards and re.fullmatch(wildcards, text):
        return True
    values = {name: number for number, name in enumerate(names, start=low)}

    def number(part: str) -> int | None:
        value = values.get(part.upper(), int(part) if part.isascii() and part.isdigit() else None)
        return value if value is not None and low <= value <= high else None

    for item in text.split(","):
        base, slash, step = item.partition("/")
        if slash and not (step.isascii() and step.isdigit() and int(step) > 0):
            return False
        if base == "*":
            continue
        ends = [number(part) for part in base.split("-")]
        if None in ends or len(ends) > 2:
            return False
    return True


def main(argv: Sequence[str] | None = None) -> int:
    arguments = _arguments(argv)
    expression = _expression(arguments)
    settings = command.settings(arguments)
    parameters = check_assignments(execution_parameters(settings, ""), arguments.parameters)
    session = command.session(arguments, settings)
    scheduler = session.client("scheduler")
    live = _get(scheduler, settings.schedule_name)
    if live is None and not expression:
        command.fail(
            f"there is no schedule {settings.schedule_name} in {settings.region}; "
            + ("nothing to delete" if arguments.delete else "create it with --rate or --cron")
        )

    if arguments.delete:
        scheduler.delete_schedule(Name=settings.schedule_name)
        command.output.print(f"Schedule {settings.schedule_name} is deleted.")
        return 0
    schedule: dict[str, Any] = {
        "Name": settings.schedule_name,
        "State": "ENABLED",
        "FlexibleTimeWindow": {"Mode": "FLEXIBLE", "MaximumWindowInMinutes": WINDOW_MINUTES},
        **{key: value for key, value in (live or {}).items() if key in KEPT},
    }
    if expression:
        schedule["ScheduleExpression"] = expression
    if arguments.timezone:
        schedule["ScheduleExpressionTimezone"] = arguments.timezone
    if arguments.state:
        schedule["State"] = arguments.state
    target_set = any(item.startswith(("scheduler_role", "schedule.")) for item in arguments.overrides)
    if expression or parameters or target_set:
        command.refuse_placeholders(settings, "scheduler_role")
        pipeline = command.live_pipeline(session.client("sagemaker"), settings)["PipelineArn"]
        schedule["Target"] = _target(schedule.get("Target", {}), pipeline, settings, parameters)
    if live is None:
        scheduler.create_schedule(**schedule)
    elif expression or arguments.timezone or arguments.state or parameters or target_set:
        scheduler.update_schedule(**schedule)
    _show(schedule)
    if arguments.local:
        command.console.print("`python -m local`, while it runs, starts it at the beginning of the window.")
    return 0


def _expression(arguments: argparse.Namespace) -> str | None:
    if arguments.timezone and arguments.timezone not in zoneinfo.available_timezones():
        command.fail(f"--timezone {arguments.timezone!r} is not known; write for example Europe/Berlin")
    if arguments.rate is not None:
        return rate_expression(arguments.rate)
    return None if arguments.cron is None else cron_expression(arguments.cron)


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = command.parser(__doc__ or "", SETTINGS)
    when = parser.add_mutually_exclusive_group()
    when.add_argument(
        "--rate", metavar="N UNIT", help='how often from now on, e.g. "7 days"; the first time at once'
    )
    when.add_argument("--cron", metavar="FIELDS", help="minutes hours day-of-month month day-of-week year")
    parser.add_argument("--timezone", metavar="ZONE", help="of --cron, e.g. Europe/Berlin (UTC)")
    command.add_parameters(parser)
    state = parser.add_mutually_exclusive_group()
    state.add_argument("--disable", dest="state", action="store_const", const="DISABLED", help="pause it")
    state.add_argument("--enable", dest="state", action="store_const", const="ENABLED", help="resume it")
    state.add_argument("--delete", action="store_true", help="remove it")
    arguments = parser.parse_args(argv)
    if arguments.delete and (arguments.rate or arguments.cron or arguments.timezone or arguments.parameters):
        parser.error("--delete goes with no other option")
    return arguments


def _get(scheduler: EventBridgeSchedulerClient, name: str) -> dict[str, Any] | None:
    try:
        return dict(scheduler.get_schedule(Name=name))
    except scheduler.exceptions.ResourceNotFoundException:
        return None


def _target(
    live: Mapping[str, Any], arn: str, settings: Settings, parameters: Mapping[str, str]
) -> dict[str, Any]:
    """The schedule's target: `live` with the pipeline, what the settings say and these parameters on top.

    The live target's dead-letter queue and retry policy stay if the settings have none.
    """
    merged = {entry["Name"]: entry["Value"] for entry in pipeline_parameters(live)} | dict(parameters)
    values = [{"Name": name, "Value": value} for name, value in merged.items()]
    schedule = settings.schedule
    queue = {"Arn": schedule.dead_letter_queue}
    retries = {
        "MaximumRetryAttempts": schedule.max_retries,
        "MaximumEventAgeInSeconds": schedule.max_event_age_s,
    }
    given = {name: value for name, value in retries.items() if value is not None}
    return {
        **live,
        "Arn": arn,
        "RoleArn": settings.scheduler_role,
        **({"DeadLetterConfig": queue} if schedule.dead_letter_queue else {}),
        **({"RetryPolicy": {**live.get("RetryPolicy", {}), **given}} if given else {}),
        "SageMakerPipelineParameters": {"PipelineParameterList": values},
    }


def _show(schedule: Mapping[str, Any]) -> None:
    target = schedule["Target"]
    window = schedule["FlexibleTimeWindow"].get("MaximumWindowInMinutes", 0)
    table = Table(show_header=False, box=None)
    table.add_row("schedule", schedule["Name"])
    table.add_row("state", schedule["State"])
    table.add_row("when", f"{schedule['ScheduleExpression']}, within {window} minutes")
    table.add_row("timezone", schedule.get("ScheduleExpressionTimezone", "UTC"))
    table.add_row("pipeline", target["Arn"])
    table.add_row("role", target["RoleArn"])
    table.add_row("dead letters", target.get("DeadLetterConfig", {}).get("Arn", "none are kept"))
    for entry in pipeline_parameters(target):
        table.add_row("parameter", f"{entry['Name']}={entry['Value']}")
    command.output.print(table)


if __name__ == "__main__":
    command.run(main)
