"""Pages of pipelines and of executions, which the store reads one at a time."""

from __future__ import annotations

from local.home.store import Record, Store
from local.wire.lists import created_between, paged
from local.wire.operations import Request, Response


def page_of(
    store: Store,
    kind: str,
    request: Request,
    members: str,
    *,
    name: str,
    prefix: str = "",
    parent: str | None = None,
) -> Response:
    """The page of records that a List request asks for, under `members`; newest first unless it says else.

    Args:
        name: the value of SortBy that sorts by name.
        prefix: how the records' names begin.
        parent: whose records they are; None for all.

    Raises:
        ServiceError: the token is not one that an earlier page ended with.
    """

    def read(start: int, count: int) -> list[Record]:
        return store.summaries(
            kind,
            prefix,
            created=created_between(request),
            by_name=request.get("SortBy") == name,
            ascending=request.get("SortOrder") == "Ascending",
            start=start,
            count=count,
            parent=parent,
        )

    return paged(read, request, members)
