"""When schedules are due. The dates of cron expressions are from calendars, not computed."""

from datetime import UTC, datetime

import pytest

from local.scheduler.expressions import check_times, first_due, next_due
from local.wire.errors import ServiceError


def unix(text):
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


def schedule(expression, zone="UTC", origin="2026-11-29T18:30:15", **dates):
    given = {key: unix(value) for key, value in dates.items()}
    return {
        "ScheduleExpression": expression,
        "ScheduleExpressionTimezone": zone,
        "_origin": unix(origin),
        **given,
    }


def due(schedule, after, count=3):
    """The next times in UTC after one."""
    found, moment = [], unix(after)
    while len(found) < count and (moment := next_due(schedule, moment)) is not None:
        found.append(f"{datetime.fromtimestamp(moment, UTC):%Y-%m-%dT%H:%M:%S}")
    return found


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ("0 3 ? * MON *", ["2026-11-30T03:00:00", "2026-12-07T03:00:00", "2026-12-14T03:00:00"]),
        ("*/20 18 29 11 ? *", ["2026-11-29T18:40:00", "2027-11-29T18:00:00", "2027-11-29T18:20:00"]),
        ("15 10 ? 1,2,3 FRIL *", ["2027-01-29T10:15:00", "2027-02-26T10:15:00", "2027-03-26T10:15:00"]),
        ("0 0 L * ? *", ["2026-11-30T00:00:00", "2026-12-31T00:00:00", "2027-01-31T00:00:00"]),
        ("0 8 1W * ? *", ["2026-12-01T08:00:00", "2027-01-01T08:00:00", "2027-02-01T08:00:00"]),
        ("0 8 15W 5,8 ? 2027", ["2027-05-14T08:00:00", "2027-08-16T08:00:00"]),
        ("0 0 ? * TUE#1 2027", ["2027-01-05T00:00:00", "2027-02-02T00:00:00", "2027-03-02T00:00:00"]),
        ("0 0 ? JUL-AUG L 2027", ["2027-07-03T00:00:00", "2027-07-10T00:00:00", "2027-07-17T00:00:00"]),
        ("0 0 ? 2 2#5 *", ["2044-02-29T00:00:00", "2072-02-29T00:00:00"]),
        ("0 0 29 2 ? 2096-2199/1", ["2096-02-29T00:00:00", "2104-02-29T00:00:00", "2108-02-29T00:00:00"]),
        ("0 0 1 1 ? 2030/4", ["2030-01-01T00:00:00", "2034-01-01T00:00:00", "2038-01-01T00:00:00"]),
        ("0 12 * * ? 2026", [f"2026-{day}T12:00:00" for day in ("11-30", "12-01", "12-02")]),
    ],
)
def test_cron(fields, expected):
    assert due(schedule(f"cron({fields})"), "2026-11-29T18:30:15", len(expected)) == expected


def test_the_clocks_of_a_time_zone():
    """In Berlin 02:30 does not exist on 28 March 2027 and exists twice on 31 October 2027."""
    nightly = schedule("cron(30 2 * * ? *)", "Europe/Berlin")
    assert due(nightly, "2027-03-26T12:00:00") == [
        "2027-03-27T01:30:00", "2027-03-29T00:30:00", "2027-03-30T00:30:00",
    ]  # fmt: skip
    assert due(nightly, "2027-10-29T12:00:00") == [
        "2027-10-30T00:30:00", "2027-10-31T00:30:00", "2027-11-01T01:30:00",
    ]  # fmt: skip
    # Nothing is due in the repeated hour, not even right after it has begun again.
    assert due(nightly, "2027-10-31T01:00:00", 1) == ["2027-11-01T01:30:00"]
    often = schedule("cron(0/30 * * * ? *)", "Europe/Berlin")
    assert due(often, "2027-10-31T00:10:00") == [
        "2027-10-31T00:30:00", "2027-10-31T02:00:00", "2027-10-31T02:30:00",
    ]  # fmt: skip


def test_rates_keep_their_rhythm_whenever_they_are_asked():
    daily = schedule("rate(1 day)", "Europe/Berlin")  # 24 hours, whether or not clocks change
    assert due(daily, "2027-03-27T00:00:00", 2) == ["2027-03-27T18:30:15", "2027-03-28T18:30:15"]
    assert due(daily, "2026-11-29T18:30:15", 1) == ["2026-11-30T18:30:15"]
    third = schedule("rate(20 minutes)", origin="2026-11-29T18:30:15.7")
    moment = third["_origin"]
    for count in range(1, 2000):
        moment = next_due(third, moment)
        assert moment == third["_origin"] + count * 1200


def test_a_rate_begins_at_once_or_with_its_start_date():
    now = unix("2026-11-29T18:30:15")
    assert first_due(schedule("rate(7 days)"), now) == now
    started = schedule("rate(7 days)", StartDate="2026-11-29T18:26:00")
    assert first_due(started, now) == unix("2026-11-29T18:26:00")
    later = schedule("rate(7 days)", StartDate="2026-12-24T00:00:00")
    assert due(later, "2026-11-29T18:30:15", 2) == ["2026-12-24T00:00:00", "2026-12-31T00:00:00"]


def test_dates_bound_what_recurs_and_not_what_is_once():
    dates = {"StartDate": "2026-12-24T03:00:00", "EndDate": "2026-12-26T03:00:00"}
    nightly = schedule("cron(0 3 * * ? *)", **dates)
    assert due(nightly, "2026-11-29T18:30:15") == ["2026-12-24T03:00:00", "2026-12-25T03:00:00"]
    daily = schedule("rate(1 day)", **dates)
    assert due(daily, "2026-11-29T18:30:15") == ["2026-12-24T03:00:00", "2026-12-25T03:00:00"]
    once = schedule("at(2027-07-01T03:00:00)", "America/New_York", **dates)
    assert due(once, "2026-11-29T18:30:15") == ["2027-07-01T07:00:00"]
    assert due(once, "2027-07-01T07:00:00") == []


@pytest.mark.parametrize(
    ("expression", "zone", "reason"),
    [
        ("rate(1 days)", "UTC", r"write rate\(1 day\)"),
        ("rate(0 days)", "UTC", "write rate"),
        ("rate(2 weeks)", "UTC", "write rate"),
        ("every day", "UTC", "write rate"),
        ("cron(0 3 * * ?)", "UTC", "5 fields"),
        ("cron(0 3 * * MON *)", "UTC", "One must be a question mark"),
        ("cron(60 3 * * ? *)", "UTC", "'60' is not valid for minutes"),
        ("cron(0/0 3 * * ? *)", "UTC", "'0/0' is not valid for minutes"),
        ("cron(0 22-3 * * ? *)", "UTC", "'22-3' is not valid for hours"),
        ("cron(MON 3 * * ? *)", "UTC", "'MON' is not valid for minutes"),
        ("cron(0 3 LW * ? *)", "UTC", "'LW' is not valid for day of month"),
        ("cron(0 3 L-3 * ? *)", "UTC", "'L-3' is not valid for day of month"),
        ("cron(0 3 32W * ? *)", "UTC", "'32W' is not valid for day of month"),
        ("cron(0 3 ? * MON/2 *)", "UTC", "day-of-week"),
        ("cron(0 3 31 2 ? *)", "UTC", "there is no such time"),
        ("cron(0 3 * * ? 2025)", "UTC", "there is no such time"),
        ("at(2026-11-29T18:30:14)", "UTC", "in the past"),
        ("at(2026-11-29)", "UTC", "write rate"),
        ("at(2026-02-30T03:00:00)", "UTC", "day is out of range"),
        ("at(2027-03-28T02:30:00)", "Europe/Berlin", "set forward"),
        ("rate(1 day)", "Europe/Bielefeld", "Europe/Bielefeld"),
        # Long lists are refused at once: aws-croniter's own patterns would take forever.
        (f"cron({'1/1,' * 50}99/1 3 * * ? *)", "UTC", "is not valid for minutes"),
    ],
)
def test_what_is_refused(expression, zone, reason):
    with pytest.raises(ServiceError, match=reason) as caught:
        check_times(schedule(expression, zone), unix("2026-11-29T18:30:15"))
    assert caught.value.code == "ValidationException"
    assert caught.value.message.startswith("Invalid Schedule")


@pytest.mark.parametrize(
    ("dates", "reason"),
    [
        ({"StartDate": "2026-11-29T18:25:14"}, "cannot be earlier than 5 minutes ago"),
        ({"EndDate": "2026-11-29T18:30:15"}, "must be in the future"),
        ({"StartDate": "2026-12-02T00:00:00", "EndDate": "2026-12-01T00:00:00"}, "after the StartDate"),
    ],
)
def test_dates_that_are_refused(dates, reason):
    with pytest.raises(ServiceError, match=reason):
        check_times(schedule("rate(1 day)", **dates), unix("2026-11-29T18:30:15"))
