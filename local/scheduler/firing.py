"""Calls what is due: once, with retries and, if they all fail, a dead letter or a line in the log.

A schedule's record is the to-do list: when it is due next (`_due`), and what was due and is unfinished
(`_events`). It is written before the call, and each event uses one token for all its calls: if the service is
killed, a later one continues, and nothing starts twice. Setting the clock back does not change this.
"""

from __future__ import annotations

import contextlib
import json
import logging
import threading
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from local.home.store import Record, Store
from local.scheduler.expressions import next_due
from local.scheduler.targets import call
from local.wire.errors import ServiceError

SCHEDULES = "schedules"
# EventBridge Scheduler invokes within 60 seconds of the time that is due. Flexible time windows are taken as
# zero: within one AWS invokes whenever it likes, at its begin too.
LOOK_S = 1.0
# Only "exponential backoff" is published; 185 attempts in 24 hours leave 8 minutes for each.
FIRST_PAUSE_S = 60.0
LONGEST_PAUSE_S = 480.0

log = logging.getLogger(__name__)


def key_of(group: str, name: str) -> str:
    """The name of a schedule's record."""
    return f"{group}/{name}"


class Firing:
    """Calls the targets of the schedules in the store, in its own thread from `start` to `stop`.

    Args:
        client: gives a boto3 client of a service, bound to the local endpoint.
        clock: the Unix time.
    """

    def __init__(
        self, store: Store, client: Callable[[str], Any], clock: Callable[[], float] = time.time
    ) -> None:
        self._store = store
        self._client = client
        self.clock = clock
        self._changed = threading.Event()
        self._stopping = False
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Call what is due from now on, and what was due while no service ran."""
        self._thread = threading.Thread(target=self._run, name="schedules", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Finish the current call, and make no more; no effect unless started."""
        self._stopping = True
        self._changed.set()
        if self._thread is not None:
            self._thread.join()

    def look(self) -> None:
        """A schedule was created or changed: check at once."""
        self._changed.set()

    def _run(self) -> None:
        while not self._stopping:
            self._changed.clear()
            pause = LOOK_S
            try:
                self.fire()
            except OSError as error:  # the disk is full: what is due stays so
                log.error("schedules: %s", error)
                pause = FIRST_PAUSE_S
            self._changed.wait(pause)

    def fire(self) -> None:
        """Call everything that is due by the clock."""
        for listed in self._store.list(SCHEDULES):
            name = key_of(listed["GroupName"], listed["Name"])
            with contextlib.suppress(KeyError):  # deleted meanwhile
                record = listed
                if self._is_due(listed):
                    record = self._store.update(SCHEDULES, name, self._take_up)
                for event in record["_events"]:
                    if event["Again"] <= self.clock() and not self._stopping:
                        self._call(name, record, event)

    def _is_due(self, record: Record) -> bool:
        due = record["_due"]
        return record["State"] == "ENABLED" and due is not None and due <= self.clock()

    def _take_up(self, record: Record) -> None:
        """Add what is due to the list of events, and put the next time into `_due`.

        If several times passed while no service ran or the machine slept, only the latest counts. AWS would
        have invoked each on time, but a laptop that wakes up should not train a night's models at once.
        """
        if not self._is_due(record):
            return
        now, latest, earlier = self.clock(), record["_due"], False
        oldest = now - record["Target"]["RetryPolicy"]["MaximumEventAgeInSeconds"]
        following = next_due(record, max(latest, oldest))
        while following is not None and following <= now:
            latest, earlier = following, True
            following = next_due(record, latest)
        record["_due"] = following
        event = {"Id": str(uuid.uuid4()), "Due": latest, "Attempts": 0, "Again": latest, "Earlier": earlier}
        record["_events"].append(event)

    def _call(self, name: str, record: Record, event: Record) -> None:
        attempts, policy = event["Attempts"], record["Target"]["RetryPolicy"]
        # "How long to keep an unprocessed event" (user guide, "Managing a schedule"): if no service ran
        # when an event was due, it is called late, within that age.
        last = event["Due"] + policy["MaximumEventAgeInSeconds"]
        if attempts == 0 and event["Earlier"]:
            log.warning(
                "schedule %s was also due before %s, with no service running: only the latest time counts",
                name,
                _written(event["Due"]),
            )
        if self.clock() > last:
            late = ("EventExpired", "the local service did not run when it was due, nor soon enough after")
            known, retries = event.get("Error", late), max(0, attempts - 1)
            self._give_up(name, record, event, known, retries, "MaximumEventAgeInSeconds")
            return
        try:
            request = call(record, {**event, "Time": _written(event["Due"])})
            self._client("sagemaker").start_pipeline_execution(**request)
        except (ClientError, BotoCoreError, ServiceError) as error:
            told = _told(error)
        else:
            self._finish(name, event)
            return
        again = self.clock() + min(FIRST_PAUSE_S * 2**attempts, LONGEST_PAUSE_S)
        if attempts >= policy["MaximumRetryAttempts"]:
            self._give_up(name, record, event, told, attempts, "MaximumRetryAttempts")
        elif again > last:
            self._give_up(name, record, event, told, attempts, "MaximumEventAgeInSeconds")
        else:
            log.warning("schedule %s did not start its pipeline and tries again: %s: %s", name, *told)
            changes = {"Attempts": attempts + 1, "Again": again, "Error": told}
            self._store.update(SCHEDULES, name, lambda record: _change(record, event, changes))

    def _give_up(
        self, name: str, record: Record, event: Record, error: tuple[str, str], retries: int, exhausted: str
    ) -> None:
        """Send the dead letter; without a queue, or if the queue refuses it, log it."""
        code, message = error
        log.error(
            "schedule %s, due at %s, did not start its pipeline: %s: %s",
            name,
            _written(event["Due"]),
            code,
            message,
        )
        arn = record["Target"].get("DeadLetterConfig", {}).get("Arn")
        if arn is not None:
            # "Retrieve the dead-letter event" in the user guide.
            attributes = {
                "ERROR_CODE": code,
                "ERROR_MESSAGE": message or code,
                "EXECUTION_ID": event["Id"],
                "EXHAUSTED_RETRY_CONDITION": exhausted,
                "IS_PAYLOAD_TRUNCATED": "false",
                "RETRY_ATTEMPTS": str(retries),
                "SCHEDULED_TIME": _written(event["Due"]),
                "SCHEDULE_ARN": record["Arn"],
                "TARGET_ARN": record["Target"]["Arn"],
            }
            queues = self._client("sqs")
            try:
                queues.send_message(
                    QueueUrl=queues.get_queue_url(QueueName=arn.rpartition(":")[2])["QueueUrl"],
                    MessageBody=_payload(record, event),
                    MessageAttributes={
                        key: {"DataType": "String", "StringValue": value} for key, value in attributes.items()
                    },
                )
            except (ClientError, BotoCoreError) as failure:
                log.error("schedule %s: its dead letter did not reach %s: %s", name, arn, failure)
        self._finish(name, event)

    def _finish(self, name: str, event: Record) -> None:
        """Remove an event from the list; delete a schedule that was to be deleted after its last one."""
        record = self._store.update(SCHEDULES, name, lambda record: _change(record, event, None))
        # A recurring one has its last invocation before its EndDate (user guide, "Deleting a schedule").
        over = record["_due"] is None and not record["_events"] and record["State"] == "ENABLED"
        if over and record["ActionAfterCompletion"] == "DELETE":
            self._store.delete(SCHEDULES, name)


def _change(record: Record, event: Record, changes: Record | None) -> None:
    """Apply changes to one of a record's events, wherever it is by now; None removes it."""
    found = [known for known in record["_events"] if known["Id"] == event["Id"]]
    for known in found:
        if changes is None:
            record["_events"].remove(known)
        else:
            known.update(changes)


def _told(error: Exception) -> tuple[str, str]:
    """Code and message of a call's failure."""
    if isinstance(error, ClientError):
        return error.response["Error"]["Code"], error.response["Error"]["Message"]
    if isinstance(error, ServiceError):
        return error.code, error.message
    return type(error).__name__, str(error)


def _payload(record: Record, event: Record) -> str:
    """The payload for the target."""
    try:
        return json.dumps(call(record, {**event, "Time": _written(event["Due"])}))
    except ServiceError:
        return str(record["Target"].get("Input", ""))


def _written(moment: float) -> str:
    """A Unix time as the user guide writes it, e.g. 2026-11-29T03:00:00Z."""
    return f"{datetime.fromtimestamp(moment, UTC):%Y-%m-%dT%H:%M:%SZ}"
