"""Pages of pipelines and executions, read from the store one at a time."""

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
    """The page of records that a List request asks for, under `members`; by default newest first.

    Args:
        name: the value of SortBy that sorts by name.
        prefix: of the records' names.
        parent: the owner of the records; None for all.

    Raises:
        ServiceError: the token is not from an earlier page.
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
