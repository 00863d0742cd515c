"""The tags of any SageMaker resource, by its ARN."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from local.home.store import Record, Store
from local.wire.operations import Operation, Request

TAGS = "tags"

Tag = dict[str, str]  # {"Key": ..., "Value": ...}


def operations(store: Store) -> dict[str, Operation]:
    """AddTags, ListTags and DeleteTags."""
    return {
        "AddTags": lambda request: {"Tags": add_tags(store, request["ResourceArn"], request["Tags"])},
        "ListTags": lambda request: {"Tags": tags_of(store, request["ResourceArn"])},
        "DeleteTags": lambda request: {
            "Tags": _changed(
                store,
                request["ResourceArn"],
                lambda tags: [tag for tag in tags if tag["Key"] not in request["TagKeys"]],
            )
        },
    }


def add_tags(store: Store, arn: str, tags: Iterable[Tag]) -> list[Tag]:
    """Set tags of a resource, over those of the same key, and return all that it has."""
    new = {tag["Key"]: tag for tag in tags}
    return _changed(store, arn, lambda old: [*({tag["Key"]: tag for tag in old} | new).values()])


def tags_of(store: Store, arn: str) -> list[Tag]:
    """The tags of a resource; none if it was never tagged."""
    try:
        tags: list[Tag] = store.get(TAGS, arn)["Tags"]
    except KeyError:
        return []
    return tags


def forget_tags(store: Store, arn: str) -> None:
    """Remove all tags of a resource, as when it is deleted."""
    _changed(store, arn, lambda _: [])


def untagged(request: Request) -> Record:
    """A Create request without its Tags: what the record keeps of it."""
    return {key: value for key, value in request.items() if key != "Tags"}


def _changed(store: Store, arn: str, change: Callable[[list[Tag]], list[Tag]]) -> list[Tag]:
    def apply(record: Record) -> None:
        record["Tags"] = change(record["Tags"])

    try:
        tags: list[Tag] = store.update(TAGS, arn, apply)["Tags"]
    except KeyError:
        tags = change([])
        if tags:
            store.create(TAGS, arn, {"Tags": tags})
    return tags
