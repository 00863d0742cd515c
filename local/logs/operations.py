"""The reading operations of CloudWatch Logs, which the SDK's wait functions and `aws logs tail` use.

And DeleteLogGroup, since a log outlives the endpoint or the function that wrote it and costs money on AWS.
"""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Iterable

from local.home.home import ACCOUNT, Home
from local.home.store import Record, Store
from local.logs.patterns import filtered
from local.logs.streams import Event, Stream, Streams
from local.processes.log_times import times_of
from local.wire.errors import ServiceError
from local.wire.operations import ControlPlane, Operation, Request, Response
from local.wire.texts import whole_number

# API reference, GetLogEvents and FilterLogEvents: as many events as fit into 1 MB, and at most 10,000.
_MOST_EVENTS = 10_000
_MOST_BYTES = 1 << 20
_MOST_DESCRIBED = 50
_TOKEN = re.compile(r"([fb])/(\d+)")


def control_plane(home: Home, store: Store) -> ControlPlane:
    """Answers requests to CloudWatch Logs; other operations are refused."""
    streams = Streams(home, store)
    operations: dict[str, Operation] = {
        "DescribeLogGroups": functools.partial(_describe_groups, home, streams),
        "DescribeLogStreams": functools.partial(_describe_streams, home, streams),
        "GetLogEvents": functools.partial(_get_events, streams),
        "FilterLogEvents": functools.partial(_filter_events, streams),
        "DeleteLogGroup": functools.partial(_delete_group, streams),
    }
    return ControlPlane(operations, home.region, "logs", "InvalidParameterException")


def _arn(home: Home, group: str) -> str:
    return f"arn:aws:logs:{home.region}:{ACCOUNT}:log-group:{group}"


def _group(request: Request) -> str:
    """The group that a request names, by name or ARN."""
    text: str = request.get("logGroupName") or request.get("logGroupIdentifier") or ""
    return text.rpartition(":log-group:")[2].removesuffix(":*")


def _found(streams: Streams, group: str, prefix: str = "") -> list[Stream]:
    """The streams of a group; refuses a missing one."""
    found = list(streams.of(group, prefix))
    if not found and not (prefix and next(streams.of(group), None)):
        raise ServiceError("ResourceNotFoundException", "The specified log group does not exist.")
    return found


def _place(token: str) -> int:
    try:
        return whole_number(token)
    except ValueError:
        raise _invalid_token() from None


def _invalid_token() -> ServiceError:
    return ServiceError("InvalidParameterException", "The specified nextToken is invalid.")


def _described(records: list[Record], request: Request, members: str) -> Response:
    start, count = _place(request.get("nextToken", "0")), request.get("limit", _MOST_DESCRIBED)
    answer: Response = {members: records[start : start + count]}
    if start + count < len(records):
        answer["nextToken"] = str(start + count)
    return answer


def _describe_groups(home: Home, streams: Streams, request: Request) -> Response:
    prefix, part = request.get("logGroupNamePrefix", ""), request.get("logGroupNamePattern", "")
    records = []
    for group in streams.groups():
        if group.startswith(prefix) and part in group:
            begun = [times[0][0] for stream in streams.of(group) if (times := stream.times())]
            size = sum(stream.log.stat().st_size for stream in streams.of(group))
            arn = _arn(home, group)
            records.append(
                {
                    "logGroupName": group,
                    "creationTime": min(begun, default=0),
                    "metricFilterCount": 0,
                    "arn": f"{arn}:*",
                    "logGroupArn": arn,
                    "storedBytes": size,
                    "logGroupClass": "STANDARD",
                }
            )
    return _described(records, request, "logGroups")


def _delete_group(streams: Streams, request: Request) -> Response:
    """Delete the log files of a group; what goes on writing begins none anew."""
    for stream in _found(streams, _group(request)):
        stream.log.unlink(missing_ok=True)
        times_of(stream.log).unlink(missing_ok=True)
    return {}


def _describe_streams(home: Home, streams: Streams, request: Request) -> Response:
    by, prefix = request.get("orderBy", "LogStreamName"), request.get("logStreamNamePrefix", "")
    if by == "LastEventTime" and prefix:
        told = "Cannot order by LastEventTime with a logStreamNamePrefix."
        raise ServiceError("InvalidParameterException", told)
    group = _group(request)
    records: list[Record] = []
    for stream in _found(streams, group, prefix):
        times = stream.times()
        first, last = (times[0][0], times[-1][0]) if times else (None, None)
        arn = f"{_arn(home, group)}:log-stream:{stream.name}"
        records.append(
            {
                "logStreamName": stream.name,
                "creationTime": first,
                "firstEventTimestamp": first,
                "lastEventTimestamp": last,
                "lastIngestionTime": last,
                "arn": arn,
                "storedBytes": 0,  # as CloudWatch answers since 2019 (API reference, LogStream)
            }
        )
    key = "lastEventTimestamp" if by == "LastEventTime" else "logStreamName"
    records.sort(key=lambda record: record[key] or 0, reverse=request.get("descending", False))
    return _described(records, request, "logStreams")


def _get_events(streams: Streams, request: Request) -> Response:
    """A page of a stream, forwards or backwards; its tokens are offsets in the file.

    At an end of the stream the token equals the given one, as in CloudWatch.
    """
    name = request["logStreamName"]
    stream = next((it for it in _found(streams, _group(request)) if it.name == name), None)
    if stream is None:
        raise ServiceError("ResourceNotFoundException", "The specified log stream does not exist.")
    count = request.get("limit", _MOST_EVENTS)
    token = _TOKEN.fullmatch(request.get("nextToken", ""))
    if "nextToken" in request and token is None:
        raise _invalid_token()
    place = _place(token[2]) if token else 0
    if token[1] == "f" if token else request.get("startFromHead", False):
        events = _page(_between(stream.events(place), request), count)
    else:
        before = _between(stream.events(), request)
        if token:
            before = itertools.takewhile(lambda event: event.offset < place, before)
        events = _page(reversed(list(before)), count)[::-1]
    return {
        "events": [_told(event) for event in events],
        "nextForwardToken": f"f/{events[-1].end if events else place}",
        "nextBackwardToken": f"b/{events[0].offset if events else place}",
    }


def _filter_events(streams: Streams, request: Request) -> Response:
    """The events of several streams, ordered by time; the token is the id of the last one."""
    prefix, names = request.get("logStreamNamePrefix", ""), request.get("logStreamNames")
    matches, after = filtered(request.get("filterPattern", "")), request.get("nextToken", "")
    found: list[Event] = []
    for stream in _found(streams, _group(request), prefix):
        times = stream.times()
        if (names is None or stream.name in names) and times and times[-1][0] >= request.get("startTime", 0):
            found += _between(stream.events(), request)
    later = sorted(
        (event for event in found if event.id > after and matches(event.message)), key=lambda event: event.id
    )
    events = _page(later, request.get("limit", _MOST_EVENTS))
    answer: Response = {
        "events": [{**_told(event), "logStreamName": event.stream, "eventId": event.id} for event in events],
        "searchedLogStreams": [],
    }
    if len(events) < len(later):
        answer["nextToken"] = events[-1].id
    return answer


def _between(events: Iterable[Event], request: Request) -> Iterable[Event]:
    """The events from startTime to endTime; GetLogEvents alone excludes endTime itself."""
    start, end = request.get("startTime", 0), request.get("endTime", float("inf"))
    late = end if "logStreamName" in request else end + 1
    return (event for event in events if start <= event.timestamp < late)


def _page(events: Iterable[Event], count: int) -> list[Event]:
    """The first events that fit into one answer, at least one."""
    page: list[Event] = []
    size = 0
    for event in itertools.islice(events, count):
        size += event.end - event.offset
        if page and size > _MOST_BYTES:
            break
        page.append(event)
    return page


def _told(event: Event) -> Record:
    return {"timestamp": event.timestamp, "ingestionTime": event.timestamp, "message": event.message}
