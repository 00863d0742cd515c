"""When a schedule is due: by its rate, cron or at expression, in its time zone, within its dates.

What the expressions mean is in the user guide: https://docs.aws.amazon.com/scheduler/latest/UserGuide/
schedule-types.html. Where the guide is silent, this module refuses.
"""

from __future__ import annotations

import functools
import math
import re
import zoneinfo
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain
from typing import Any

from aws_croniter.aws_croniter import AwsCroniter
from aws_croniter.exceptions import AwsCroniterExpressionError

from local.wire.errors import invalid

PERIODS_S = {
    "minute": 60,
    "hour": 3600,
    "day": 86400,
}  # a day always has 24 hours, also when clocks change (user guide)
LAST_YEAR = 2199
START_DATE_MAX_AGE_S = 300
_TICK_S = 0.001
_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_DAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
# Name, lowest, highest, names of the values, what it may be besides a list ("Cron-based schedules").
_FIELDS: tuple[tuple[str, int, int, tuple[str, ...], str], ...] = (
    ("minutes", 0, 59, (), ""),
    ("hours", 0, 23, (), ""),
    ("day of month", 1, 31, (), r"\?|L|([1-9]|[12]\d|3[01])W"),
    ("month", 1, 12, _MONTHS, ""),
    ("day of week", 1, 7, _DAYS, r"\?|L|[1-7]L|[1-7]#[1-5]"),
    ("year", 1970, LAST_YEAR, (), ""),
)
_ITEM = re.compile(r"(?:\*|(\d{1,4})(?:-(\d{1,4}))?)(?:/(\d{1,4}))?")


@dataclass(frozen=True)
class Rate:
    """Every `period_s` seconds, counted from the start date or from when the schedule was made."""

    period_s: int


@dataclass(frozen=True)
class At:
    """Once, at this Unix time."""

    time: float


@dataclass(frozen=True)
class Cron:
    """Whenever the clocks of a time zone match the six fields."""

    fields: AwsCroniter
    zone: zoneinfo.ZoneInfo

    def next(self, after: float) -> float | None:
        """The first time after `after`; None if there is none.

        Times skipped when clocks are set forward are left out; a time that clocks show twice counts once, the
        first time (user guide, "Daylight savings time").
        """
        wall: datetime | None = datetime.fromtimestamp(after, self.zone).replace(tzinfo=UTC)
        while wall is not None and (wall := _next_wall(self.fields, wall)) is not None:
            moment = _moment(wall, self.zone)
            if moment is not None and moment > after:
                return moment
        return None


def parsed(expression: str, timezone: str) -> Rate | At | Cron:
    """The parsed expression.

    Raises:
        ServiceError: ValidationException; not an expression or time zone of EventBridge Scheduler.
    """
    try:
        return _parsed(expression, timezone)
    except ValueError as error:
        # Scheduler's own words (localstack/localstack#9284), and the reason.
        raise invalid(f"Invalid Schedule Expression {expression}: {error}") from None


@functools.lru_cache(maxsize=256)
def _parsed(expression: str, timezone: str) -> Rate | At | Cron:
    zone = _zone(timezone)
    if rate := re.fullmatch(r"rate\(([1-9]\d*) (minute|hour|day)(s?)\)", expression):
        count, unit, plural = int(rate[1]), rate[2], rate[3]
        # As in EventBridge's rules ("rate(1 hours)" is not valid there); the Scheduler's guide does not say.
        if (count == 1) == bool(plural):
            raise ValueError(f"write rate({count} {unit}{'' if count == 1 else 's'})")
        return Rate(count * PERIODS_S[unit])
    if at := re.fullmatch(r"at\((\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)\)", expression):
        moment = _moment(datetime.fromisoformat(at[1]).replace(tzinfo=UTC), zone)
        if moment is None:  # what AWS does with it is not published
            raise ValueError(f"the clocks of {timezone} are set forward over it")
        return At(moment)
    if cron := re.fullmatch(r"cron\(([^()]+)\)", expression):
        return Cron(_fields(cron[1]), zone)
    raise ValueError("write rate(7 days), cron(0 3 ? * MON *) or at(2030-01-31T03:00:00)")


def _zone(name: str) -> zoneinfo.ZoneInfo:
    if name not in zoneinfo.available_timezones():
        raise invalid(f"Invalid ScheduleExpressionTimezone {name}; write for example Europe/Berlin")
    return zoneinfo.ZoneInfo(name)


def _fields(text: str) -> AwsCroniter:
    """The six fields, parsed by aws-croniter, without the extras that AWS does not document.

    Raises:
        ValueError: AWS does not allow them.
    """
    fields = text.upper().split()
    if len(fields) != len(_FIELDS):
        raise ValueError(f"it has {len(fields)} fields, not 6")
    fields = [_numbers(field, *known) for field, known in zip(fields, _FIELDS, strict=True)]
    if fields[4] == "L":
        fields[4] = "7"  # the last day of the week, which aws-croniter 2.1.1 never finds
    fields[5] = ",".join(_without_step(item) for item in fields[5].split(","))
    try:
        return AwsCroniter(" ".join(fields))
    except AwsCroniterExpressionError as error:
        raise ValueError(str(error)) from None


def _numbers(text: str, name: str, low: int, high: int, names: Sequence[str], special: str) -> str:
    """A field with numbers instead of names, each item checked.

    aws-croniter's own patterns take forever to refuse a long list.

    Raises:
        ValueError: AWS does not allow it.
    """
    values = {word: str(number) for number, word in enumerate(names, low)}
    field = re.sub("[A-Z]{3}", lambda word: values.get(word[0], word[0]), text)
    if special and re.fullmatch(special, field):
        return field
    for item in field.split(","):
        match = _ITEM.fullmatch(item)
        ends = [int(end) for end in match.groups()[:2] if end] if match else []
        # A range that goes backwards is not documented.
        fits = ends == sorted(ends) and all(low <= end <= high for end in ends)
        if match is None or not fits or match[3] == "0":
            raise ValueError(f"{text!r} is not valid for {name}")
    return field


def _without_step(years: str) -> str:
    """`2030-2036/2` as a list: aws-croniter 2.1.1 counts a step of years only from 1970."""
    ends, slash, step = years.partition("/")
    if not slash:
        return years
    first, _, last = ends.replace("*", "1970").partition("-")
    return ",".join(str(year) for year in range(int(first), int(last or LAST_YEAR) + 1, int(step)))


def _next_wall(fields: AwsCroniter, wall: datetime) -> datetime | None:
    """The next date and time that match the fields, as if all clocks showed UTC.

    aws-croniter gives up after ten steps, too few for 29 February or a fifth Monday in February: then each
    later year is tried.
    """
    ends: Iterator[datetime] = (
        datetime(year, 12, 31, 23, 59, tzinfo=UTC) for year in range(wall.year, LAST_YEAR)
    )
    for begin in chain([wall], ends):
        found: datetime | None = fields.get_next(begin)[0]
        if found is not None:
            return found
    return None


def _moment(wall: datetime, zone: zoneinfo.ZoneInfo) -> float | None:
    """The Unix time at which clocks first show this; None if they never do."""
    there = wall.replace(tzinfo=zone, fold=0)
    if there.astimezone(UTC).astimezone(zone).replace(tzinfo=None) != wall.replace(tzinfo=None):
        return None
    return there.timestamp()


def next_due(schedule: Mapping[str, Any], after: float) -> float | None:
    """The first Unix time after `after` at which a schedule is due; None if there is none.

    Args:
        schedule: its record, checked. `_origin` is where a rate without a StartDate begins.
    """
    when = parsed(schedule["ScheduleExpression"], schedule["ScheduleExpressionTimezone"])
    if isinstance(when, At):  # StartDate and EndDate do not concern it (API reference, CreateSchedule)
        return when.time if when.time > after else None
    start, end = schedule.get("StartDate"), schedule.get("EndDate")
    if start is not None:
        after = max(after, start - _TICK_S)
    found: float | None
    if isinstance(when, Rate):
        origin = schedule["_origin"] if start is None else start
        count = max(0, math.floor((after - origin) / when.period_s))
        found = origin + count * when.period_s
        while found <= after:
            found += when.period_s
    else:
        found = when.next(after) if after < datetime(LAST_YEAR + 1, 1, 1, tzinfo=UTC).timestamp() else None
    # "Before which the schedule can invoke its target": the date itself is excluded.
    return found if found is not None and (end is None or found < end) else None


def first_due(schedule: Mapping[str, Any], now: float) -> float | None:
    """When a schedule that is created or changed now is first due.

    A rate begins at once, or with its StartDate, even one that has just passed ("Rate-based schedules").
    """
    start = schedule.get("StartDate")
    is_rate = isinstance(parsed(schedule["ScheduleExpression"], schedule["ScheduleExpressionTimezone"]), Rate)
    return next_due(schedule, (min(now, start) if is_rate and start is not None else now) - _TICK_S)


def check_times(schedule: Mapping[str, Any], now: float) -> None:
    """Refuse a schedule that is created or changed now and could never be due.

    Raises:
        ServiceError: ValidationException.
    """
    expression = schedule["ScheduleExpression"]
    when = parsed(expression, schedule["ScheduleExpressionTimezone"])
    start, end = schedule.get("StartDate"), schedule.get("EndDate")
    if isinstance(when, At):
        # DefangLabs/pulumi-defang#425: refused. AWS's words are not published.
        if when.time <= now - _TICK_S:
            raise invalid(f"Invalid Schedule Expression {expression}: it is in the past")
        return
    if start is not None and start < now - START_DATE_MAX_AGE_S:  # getmoto/moto#8172
        raise invalid("The StartDate you specify cannot be earlier than 5 minutes ago.")
    # AWS publishes no rules for EndDate or for 31 February.
    if end is not None and end <= max(now, start or 0):
        raise invalid("The EndDate you specify must be in the future, and after the StartDate.")
    if isinstance(when, Cron) and when.next(now - _TICK_S) is None:
        raise invalid(f"Invalid Schedule Expression {expression}: there is no such time any more")
