"""The tags of SageMaker's resources, by their ARNs."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable

from local.home.store import Record, Store
from local.wire.errors import invalid
from local.wire.operations import Operation, Request, Response

TAGS = "tags"

# A resource's type in ARNs -> the kind of its records, which have the resources' names.
_KINDS = {
    "endpoint": "endpoints",
    "endpoint-config": "endpoint-configs",
    "hyper-parameter-tuning-job": "HyperParameterTuningJob",
    "model": "models",
    "model-package": "model-packages",
    "model-package-group": "model-package-groups",
    "pipeline": "pipelines",
    "processing-job": "ProcessingJob",
    "training-job": "TrainingJob",
    "transform-job": "TransformJob",
}

Tag = dict[str, str]  # {"Key": ..., "Value": ...}


def operations(store: Store) -> dict[str, Operation]:
    """AddTags, ListTags and DeleteTags."""

    def add(request: Request) -> Response:
        return {"Tags": add_tags(store, _existing(store, request), request["Tags"])}

    def show(request: Request) -> Response:
        return {"Tags": tags_of(store, _existing(store, request))}

    def delete(request: Request) -> Response:
        return {"Tags": remove_tags(store, _existing(store, request), request["TagKeys"])}

    return {"AddTags": add, "ListTags": show, "DeleteTags": delete}


def _existing(store: Store, request: Request) -> str:
    """The ARN that a request names.

    Raises:
        ServiceError: ValidationException if there is no such resource (aws/amazon-sagemaker-feedback#108; its
            words are not published).
    """
    arn: str = request["ResourceArn"]
    resource, _, name = arn.split(":", 5)[-1].partition("/")
    kind, key = ("pipeline-executions", arn) if "/execution/" in name else (_KINDS.get(resource, ""), name)
    try:
        store.get(kind, key)
    except KeyError:
        raise invalid(f"Requested resource not found: {arn}") from None
    return arn


def add_tags(store: Store, arn: str, tags: Iterable[Tag]) -> list[Tag]:
    """Set tags of a resource, replacing those with the same key, and return all its tags."""
    new = {tag["Key"]: tag for tag in tags}
    return _changed(store, arn, lambda old: [*({tag["Key"]: tag for tag in old} | new).values()])


def remove_tags(store: Store, arn: str, keys: Collection[str]) -> list[Tag]:
    """Remove the tags with these keys from a resource, and return the rest."""
    return _changed(store, arn, lambda tags: [tag for tag in tags if tag["Key"] not in keys])


def tags_of(store: Store, arn: str) -> list[Tag]:
    """The tags of a resource; none if it was never tagged."""
    try:
        tags: list[Tag] = store.get(TAGS, arn)["Tags"]
    except KeyError:
        return []
    return tags


def forget_tags(store: Store, arn: str) -> None:
    """Remove all tags of a resource, when it is deleted."""
    _changed(store, arn, lambda _: [])


def untagged(request: Request) -> Record:
    """A Create request without its Tags, as the record keeps it."""
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
