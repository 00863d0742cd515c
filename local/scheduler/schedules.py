"""EventBridge Scheduler's operations: schedules and their groups, kept on disk."""

from __future__ import annotations

import uuid
from typing import Any
from urllib.parse import parse_qs, unquote

from local.home.home import Home
from local.home.store import Record, Store
from local.home.tags import add_tags, forget_tags, remove_tags, tags_of
from local.scheduler.expressions import check_times, first_due, next_due
from local.scheduler.firing import SCHEDULES, Firing, key_of
from local.scheduler.targets import RETRY_POLICY, check_target
from local.wire import rest_json
from local.wire.errors import ServiceError, invalid
from local.wire.http import HttpRequest, HttpResponse
from local.wire.limits import refusal
from local.wire.lists import page
from local.wire.operations import Operation, Request, Response, service_model
from local.wire.region import check_arns

GROUPS = "schedule-groups"
DEFAULT = "default"
# UpdateSchedule replaces the whole schedule: members that a request leaves out are reset.
GIVEN = (
    *("ScheduleExpression", "FlexibleTimeWindow", "Description", "StartDate", "EndDate", "KmsKeyArn"),
    *("State", "ActionAfterCompletion", "ScheduleExpressionTimezone"),
)
TIMES = ("ScheduleExpression", "ScheduleExpressionTimezone", "StartDate", "EndDate")


class ScheduleService:
    """EventBridge Scheduler's API; `firing` calls the targets of due schedules."""

    def __init__(self, home: Home, store: Store, firing: Firing) -> None:
        self._home = home
        self._store = store
        self._firing = firing
        self._operations: dict[str, Operation] = {
            "CreateSchedule": self._create,
            "GetSchedule": self._found,
            "UpdateSchedule": self._update,
            "DeleteSchedule": self._delete,
            "ListSchedules": self._list,
            "CreateScheduleGroup": self._create_group,
            "GetScheduleGroup": lambda request: self._group(request["Name"]),
            "DeleteScheduleGroup": self._delete_group,
            "ListScheduleGroups": self._list_groups,
            "TagResource": self._tag,
            "UntagResource": self._untag,
            "ListTagsForResource": lambda request: {"Tags": tags_of(self._store, self._tagged(request))},
        }

    def handle(self, request: HttpRequest) -> HttpResponse:
        """Answer one request of Scheduler's rest-json API."""
        path, _, query = request.target.partition("?")
        try:
            # Not decoded: the ARN in the path of tags has a slash.
            operation, parts = rest_json.routed(service_model("scheduler"), request.method, path)
            arguments = rest_json.parsed(
                operation,
                {name: unquote(part) for name, part in parts.items()},
                parse_qs(query, keep_blank_values=True),
                request.headers,
                request.body.read(),
                "ValidationException",
            )
            if (shape := operation.input_shape) is not None:
                if (problem := refusal(arguments, shape)) is not None:
                    raise invalid(problem)
                check_arns(arguments, shape, self._home.region)
            return HttpResponse(*rest_json.rendered(operation, self._operations[operation.name](arguments)))
        except ServiceError as error:
            return HttpResponse(*rest_json.rendered_error(error))

    # Schedules

    def _create(self, request: Request) -> Response:
        group, name, now = request.get("GroupName", DEFAULT), request["Name"], self._firing.clock()
        token = _token(request)
        self._group(group)
        record = {
            "Name": name,
            "GroupName": group,
            "Arn": self._home.arn("schedule", f"{group}/{name}", "scheduler"),
            "CreationDate": now,
            "LastModificationDate": now,
            "_token": token,
            "_events": [],
            **_settings(request),
        }
        known = self._record(group, name)
        if known is None or known["_token"] != token:
            self._set_times(record, now)
            try:
                self._store.create(SCHEDULES, key_of(group, name), record)
            except KeyError:
                raise ServiceError("ConflictException", f"Schedule {name} already exists.", 409) from None
            self._firing.look()
        return {"ScheduleArn": record["Arn"]}

    def _set_times(self, record: Record, now: float) -> None:
        """Set when a record is next due, as for a schedule that is created now."""
        check_times(record, now)
        record["_origin"] = now
        record["_due"] = first_due(record, now) if record["State"] == "ENABLED" else None

    def _update(self, request: Request) -> Response:
        record, now = self._found(request), self._firing.clock()
        settings = _settings(request)

        def change(record: Record) -> None:
            times, state = {key: record.get(key) for key in TIMES}, record["State"]
            for key in GIVEN:
                record.pop(key, None)
            record.update(settings, LastModificationDate=now)
            # Not published: a rate keeps its rhythm, unless the update changes its times.
            if {key: record.get(key) for key in TIMES} != times:
                self._set_times(record, now)
            elif record["State"] != state:  # times while it was disabled are skipped
                record["_due"] = next_due(record, now) if record["State"] == "ENABLED" else None
            if record["State"] == "DISABLED":
                record["_events"] = []

        self._store.update(SCHEDULES, key_of(record["GroupName"], record["Name"]), change)
        self._firing.look()
        return {"ScheduleArn": record["Arn"]}

    def _delete(self, request: Request) -> Response:
        record = self._found(request)
        self._store.delete(SCHEDULES, key_of(record["GroupName"], record["Name"]))
        return {}

    def _list(self, request: Request) -> Response:
        group = request.get("GroupName")
        if group is not None:
            self._group(group)
        found = [
            record
            for record in self._store.list(SCHEDULES, "" if group is None else key_of(group, ""))
            if record["Name"].startswith(request.get("NamePrefix", ""))
            and request.get("State", record["State"]) == record["State"]
        ]
        return page(found, request, "Schedules")

    def _record(self, group: str, name: str) -> Record | None:
        try:
            return self._store.get(SCHEDULES, key_of(group, name))
        except KeyError:
            return None

    def _found(self, request: Request) -> Record:
        name, group = request["Name"], request.get("GroupName", DEFAULT)
        self._group(group)
        record = self._record(group, name)
        if record is None:
            raise ServiceError("ResourceNotFoundException", f"Schedule {name} does not exist.", 404)
        return record

    # Groups

    def _group(self, name: str) -> Record:
        try:
            return self._store.get(GROUPS, name)
        except KeyError:
            if name == DEFAULT:  # it always exists
                return {"Name": name, "Arn": self._group_arn(name), "State": "ACTIVE"}
            message = f"Schedule group {name} does not exist."
            raise ServiceError("ResourceNotFoundException", message, 404) from None

    def _group_arn(self, name: str) -> str:
        return self._home.arn("schedule-group", name, "scheduler")

    def _create_group(self, request: Request) -> Response:
        name, now = request["Name"], self._firing.clock()
        arn, token = self._group_arn(name), _token(request)
        record = {"Name": name, "Arn": arn, "State": "ACTIVE", "_token": token}
        conflict = ServiceError("ConflictException", f"Schedule group {name} already exists.", 409)
        if name == DEFAULT:
            raise conflict
        try:
            self._store.create(GROUPS, name, {**record, "CreationDate": now, "LastModificationDate": now})
        except KeyError:
            if self._group(name)["_token"] != token:
                raise conflict from None
        add_tags(self._store, arn, request.get("Tags", []))
        return {"ScheduleGroupArn": arn}

    def _delete_group(self, request: Request) -> Response:
        """Delete a group with its schedules, at once; AWS does it later."""
        name = request["Name"]
        if name == DEFAULT:
            raise invalid("The default schedule group cannot be deleted.")
        arn = self._group(name)["Arn"]
        for record in self._store.list(SCHEDULES, key_of(name, "")):
            self._store.delete(SCHEDULES, key_of(name, record["Name"]))
        self._store.delete(GROUPS, name)
        forget_tags(self._store, arn)
        return {}

    def _list_groups(self, request: Request) -> Response:
        groups = [self._group(DEFAULT), *self._store.list(GROUPS)]
        found = [group for group in groups if group["Name"].startswith(request.get("NamePrefix", ""))]
        return page(found, request, "ScheduleGroups")

    def _tagged(self, request: Request) -> str:
        arn: str = self._group(request["ResourceArn"].rpartition("/")[2])["Arn"]
        return arn

    def _tag(self, request: Request) -> Response:
        add_tags(self._store, self._tagged(request), request["Tags"])
        return {}

    def _untag(self, request: Request) -> Response:
        remove_tags(self._store, self._tagged(request), request["TagKeys"])
        return {}


def _token(request: Request) -> str:
    """The token that identifies a repeated request; a new one if the client sends none."""
    token: str = request.get("ClientToken", str(uuid.uuid4()))
    return token


def _settings(request: Request) -> Record:
    """A schedule's settings from a Create or Update request, checked, with AWS's defaults.

    Raises:
        ServiceError: ValidationException.
    """
    target, window = request["Target"], request["FlexibleTimeWindow"]
    check_target(target)
    # Whether AWS takes one without the other is not published.
    if (window["Mode"] == "FLEXIBLE") != ("MaximumWindowInMinutes" in window):
        raise invalid(
            "MaximumWindowInMinutes goes with the FlexibleTimeWindow mode FLEXIBLE, and only with it"
        )
    given: dict[str, Any] = {key: request[key] for key in GIVEN if key in request}
    return {
        "ScheduleExpressionTimezone": "UTC",
        "State": "ENABLED",
        "ActionAfterCompletion": "NONE",
        **given,
        "Target": {**target, "RetryPolicy": {**RETRY_POLICY, **target.get("RetryPolicy", {})}},
    }
