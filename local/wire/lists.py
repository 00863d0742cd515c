"""List operations: filters, order and pages."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from local.wire.errors import invalid
from local.wire.texts import whole_number

Record = dict[str, Any]


def listed(records: list[Record], request: Record, key: str, members: str) -> Record:
    """One page of a List operation: `records` (newest first), filtered and sorted as `request` says.

    Supports the filters of `matching`, SortBy (Name, CreationTime, Status), SortOrder (default Descending, as
    for jobs), MaxResults and NextToken.

    Args:
        key: the prefix of the records' own members, e.g. "TrainingJob" for TrainingJobName and ...Status.
        members: the answer's list member, e.g. "TrainingJobSummaries".
    """
    by = {"Name": f"{key}Name", "Status": f"{key}Status"}.get(request.get("SortBy", ""), "CreationTime")
    descending = request.get("SortOrder", "Descending") == "Descending"
    found = sorted(matching(records, request, key), key=lambda record: record[by], reverse=descending)
    return page(found, request, members)


def matching(records: list[Record], request: Record, key: str) -> list[Record]:
    """The records that match a List request's filters; `key` as for `listed`.

    Supports NameContains, StatusEquals, CreationTimeAfter/Before and LastModifiedTimeAfter/Before.
    """
    name, status = f"{key}Name", f"{key}Status"
    return [
        record
        for record in records
        if request.get("NameContains", "").lower() in record[name].lower()
        and request.get("StatusEquals", record.get(status)) == record.get(status)
        and request.get("CreationTimeAfter", 0) <= record["CreationTime"]
        and record["CreationTime"] <= request.get("CreationTimeBefore", float("inf"))
        and request.get("LastModifiedTimeAfter", 0) <= record.get("LastModifiedTime", record["CreationTime"])
        and record.get("LastModifiedTime", 0) <= request.get("LastModifiedTimeBefore", float("inf"))
    ]


def page(items: list[Any], request: Record, members: str) -> Record:
    """MaxResults of `items` from NextToken on, as a List operation answers them.

    Raises:
        ServiceError: the token is not from an earlier page.
    """
    return paged(lambda start, count: items[start : start + count], request, members)


def paged(read: Callable[[int, int], list[Any]], request: Record, members: str) -> Record:
    """Like `page`; `read` gets the start and the most records to read."""
    token = request.get("NextToken", "0")
    try:
        start, count = whole_number(token), request.get("MaxResults", 100)
    except ValueError:
        raise invalid(f"NextToken {token!r} is not valid") from None
    found = read(start, count + 1)
    answer: Record = {members: found[:count]}
    if len(found) > count:
        answer["NextToken"] = str(start + count)
    return answer


def created_between(request: Record) -> tuple[float, float]:
    """A List request's CreatedAfter and CreatedBefore, both inclusive."""
    return float(request.get("CreatedAfter", "-inf")), float(request.get("CreatedBefore", "inf"))


def in_order(records: list[Record], request: Record, key: str) -> list[Record]:
    """The records sorted by `key`, by default descending; ties keep their order."""
    return sorted(records, key=lambda record: record[key], reverse=request.get("SortOrder") != "Ascending")
