"""The lifecycle of endpoints: threads start their servers, move endpoints to new ones and end them."""

from __future__ import annotations

import contextlib
import logging
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from local.endpoints import traffic
from local.endpoints.configs import EndpointConfigs, variant_summary
from local.endpoints.model_server import (
    UVICORN,
    LaunchError,
    MachineError,
    ModelServer,
    launch,
    ray_folders,
)
from local.endpoints.models import Models
from local.home import clock
from local.home.home import Home
from local.home.recovery import recover, sweep
from local.home.store import Record, Store
from local.home.tags import forget_tags
from local.processes.environment import base_environment
from local.wire.errors import ServiceError

ENDPOINTS = "endpoints"
FAILURE_REASON_CHARACTERS = 1024  # botocore's service model, FailureReason
# Not the model's fault: its endpoint may come up later.
REASONS_OF_THIS_MACHINE = (MachineError, OSError, MemoryError)

log = logging.getLogger(__name__)


class Deployments:
    """The servers of the endpoints in the store, by the endpoint's name; `stop` ends all of them.

    An endpoint is Failed if its server ends by itself; a new deployment or the next start of the service
    restarts it. `_again` in its record is the status from which `resume` continues; without it, the endpoint
    stays Failed.
    """

    def __init__(
        self,
        home: Home,
        store: Store,
        models: Models,
        configs: EndpointConfigs,
        environment: Callable[[], Mapping[str, str]],
        server: str = UVICORN,
    ) -> None:
        self._home = home
        self._store = store
        self._models = models
        self._configs = configs
        self._environment = environment
        self._server = server
        self._servers: dict[str, ModelServer] = {}
        self._threads: list[threading.Thread] = []
        self._failures: dict[str, Exception] = {}  # what ended the latest work on an endpoint
        self._claims: list[str] = []
        self._left = {name for name, _ in store.names(ENDPOINTS)}  # for `resume`
        self._stopping = threading.Event()
        self._lock = threading.Lock()

    def server(self, name: str) -> ModelServer | None:
        """The server that the endpoint has now."""
        return self._servers.get(name)

    @contextlib.contextmanager
    def claimed(self, name: str) -> Iterator[None]:
        """While a request begins work on an endpoint: its record says so before a thread exists."""
        with self._lock:
            self._claims.append(name)
        try:
            yield
        finally:
            with self._lock:
                self._claims.remove(name)

    def create(self, name: str) -> None:
        """Start the server of an endpoint that is Creating, in the background."""
        self._background(self._start, name)

    def update(self, name: str, config: str, deployment: Record) -> None:
        """Move an endpoint that is Updating to another config, in the background."""
        self._background(self._serve, name, config, None, deployment)

    def delete(self, name: str) -> None:
        """End the server of an endpoint that is Deleting, and forget it, in the background."""
        self._background(self._remove, name)

    def notice(self, name: str) -> None:
        """Record that an endpoint's server, or the work on it, ended by itself; nothing else records it."""
        if self._stopping.is_set():
            return
        with contextlib.suppress(KeyError):  # deleted meanwhile
            record = self._store.get(ENDPOINTS, name)
            corrected = dict(record)
            self._correct(corrected)
            if corrected != record:
                self._store.keep(ENDPOINTS, name, self._correct)

    def notice_all(self) -> None:
        """The same for all endpoints."""
        for record in self._store.list(ENDPOINTS):
            self.notice(record["EndpointName"])

    def _correct(self, record: Record) -> None:
        name = record["EndpointName"]
        if not self._worked_on(name):
            self._end_work(record)
        server = self._servers.get(name)
        # An update in progress may still repair it.
        if record["EndpointStatus"] == "InService" and server is not None and server.exit_status is not None:
            record |= _failed(name, server.how_it_ended, again="SystemUpdating")

    def _worked_on(self, name: str) -> bool:
        with self._lock:
            threads = [thread for thread in self._threads if thread.name == f"endpoint-{name}"]
            return name in self._left or name in self._claims or any(it.is_alive() for it in threads)

    def _end_work(self, record: Record) -> None:
        """Record that work in progress ended without success, and why."""
        name, status = record["EndpointName"], record["EndpointStatus"]
        error = self._failures.get(name)
        if status == "Updating":
            # A failed update leaves the endpoint InService on its old configuration, with a
            # FailureReason (aws-controllers-k8s/sagemaker-controller#7).
            record |= {
                "EndpointStatus": "InService",
                "FailureReason": _reason(name, _told(error)),
                "PendingDeploymentSummary": None,
                "LastModifiedTime": clock.now(),
            }
        elif status == "Deleting":
            record |= _failed(name, f"it is not deleted yet; delete it again: {_told(error)}")
        elif status in ("Creating", "SystemUpdating"):
            # SageMaker replaces an instance that fails; a creation that fails it does not try again.
            nothing_against_it = error is None or isinstance(error, REASONS_OF_THIS_MACHINE)
            again = status == "SystemUpdating" or nothing_against_it
            record |= _failed(name, _told(error), status if again else None)

    def recover(self) -> None:
        """Close the endpoints with damaged records, and remove what their servers left.

        Raises:
            OSError: the disk is full.
        """
        sweep((self._home.root / ENDPOINTS).glob("*/*/ml-*"))
        sweep(ray_folders(self._home))  # also those of transform jobs: no server of this home runs now
        recover(self._store, ENDPOINTS, _whole, lambda _name, _record: None, self._given_up)

    def _given_up(self, name: str, created: float, fault: str) -> Record:
        arn = self._home.arn("endpoint", name)
        return {"EndpointName": name, "EndpointArn": arn, "CreationTime": created, **_failed(name, fault)}

    def resume(self) -> None:
        """Continue with the endpoints of an earlier process of the service, each in the background.

        Endpoints that served, even if their server ended, are SystemUpdating until they serve again. An
        interrupted update is given up. A creation starts again, also if this machine made it fail. A
        deletion is finished.
        """
        for record in self._store.list(ENDPOINTS):
            name, status = record["EndpointName"], record["EndpointStatus"]
            if name not in self._left:  # of a request that came first
                continue
            if status == "Failed":
                status = record.get("_again") or status
            if status == "Deleting":
                self._background(self._remove, name)
            elif status == "Creating":
                self._set(name, EndpointStatus=status, FailureReason=None, _again=None)
                self._background(self._start, name)
            elif status != "Failed":
                note = "The local service stopped during the update." if status == "Updating" else None
                self._set(
                    name,
                    EndpointStatus="SystemUpdating",
                    FailureReason=None,
                    PendingDeploymentSummary=None,
                    _again=None,
                )
                self._background(self._start, name, note)
            self._left.remove(name)

    def stop(self) -> None:
        """End all servers and threads; the records stay, so `resume` can restart what served."""
        with self._lock:
            self._stopping.set()
            threads = list(self._threads)
        for thread in threads:
            thread.join()
        with contextlib.ExitStack() as each:  # also after one that raises
            for name in list(self._servers):
                each.callback(self._servers.pop(name).stop)

    def _background(self, work: Callable[..., None], name: str, *arguments: object) -> None:
        """Work on an endpoint in a thread, after earlier work on it is done (a server may still be ending).

        Nothing starts once the service ends: the record then says what `resume` has to do.
        """
        with self._lock:
            if self._stopping.is_set():
                return
            self._threads = [other for other in self._threads if other.is_alive()]
            earlier = [other for other in self._threads if other.name == f"endpoint-{name}"]

            def wait_and_work() -> None:
                for thread in earlier:
                    thread.join()
                self._failures.pop(name, None)
                try:
                    work(name, *arguments)
                except LaunchError as error:
                    self._give_up(name, error)
                except Exception as error:  # a thread's outermost handler: the record says what ended it
                    log.exception("The work on endpoint %s has ended.", name)
                    self._give_up(name, error)

            thread = threading.Thread(target=wait_and_work, name=f"endpoint-{name}")
            thread.start()
            self._threads.append(thread)

    def _give_up(self, name: str, error: Exception) -> None:
        self._failures[name] = error
        with contextlib.suppress(KeyError):  # deleted meanwhile
            self._store.keep(ENDPOINTS, name, self._end_work)

    def _start(self, name: str, note: str | None = None) -> None:
        self._serve(name, self._store.get(ENDPOINTS, name)["EndpointConfigName"], note)

    def _serve(
        self, name: str, config_name: str, note: str | None = None, deployment: Record | None = None
    ) -> None:
        """Start the server of a configuration, move the endpoint to it, then end the one it had."""
        try:
            (variant,) = self._configs.config(config_name)["ProductionVariants"]
            container = self._models.container(variant["ModelName"])
            archive = self._home.object_path(container.model_data_url)
        except (ServiceError, ValueError) as error:
            raise LaunchError(str(error)) from None
        try:
            server = launch(
                self._home,
                archive,
                self._home.folder(ENDPOINTS, name) / config_name,
                base_environment(self._environment()) | container.environment,
                self._server,
            )
        except LaunchError as error:
            raise LaunchError(f"{container.model_data_url}: {error}") from None
        except OSError as error:  # a full disk, no more processes
            message = f"{container.model_data_url}: {error}; fix that on this machine, then deploy it again"
            raise MachineError(message) from None
        with contextlib.ExitStack() as undo:
            undo.callback(server.stop)
            server.wait_until_healthy(self._stopping)
            traffic.heed_alarms(deployment or {}, self._environment())
            if self._stopping.is_set():
                return
            old = self._servers.get(name)
            undo.callback(self._move, name, old)
            self._move(name, server)
            self._set(
                name,
                EndpointStatus="InService",
                EndpointConfigName=config_name,
                FailureReason=note,
                PendingDeploymentSummary=None,
                ProductionVariants=[variant_summary(variant)],
            )
            undo.pop_all()
        if old is not None:
            old.drain(self._stopping)
            old.stop()

    def _move(self, name: str, server: ModelServer | None) -> None:
        """Send an endpoint's requests to a server from now on."""
        if server is None:
            self._servers.pop(name, None)
        else:
            self._servers[name] = server

    def _remove(self, name: str) -> None:
        server = self._servers.pop(name, None)
        if server is not None:
            server.drain(self._stopping)
            server.stop()
        folder = self._home.folder(ENDPOINTS, name)
        if folder.exists():
            shutil.rmtree(folder)
        forget_tags(self._store, self._home.arn("endpoint", name))
        self._store.delete(ENDPOINTS, name)

    def _set(self, name: str, **members: object) -> None:
        changes = {**members, "LastModifiedTime": clock.now()}
        self._store.keep(ENDPOINTS, name, lambda record: record.update(changes))


def _whole(record: Record) -> tuple[Any, ...]:
    """The members of a record that the operations read."""
    members = ("EndpointName", "EndpointArn", "EndpointConfigName", "EndpointStatus", "CreationTime")
    return tuple(record[member] for member in members)


def _failed(name: str, message: str, again: str | None = None) -> Record:
    """The changes to the record of an endpoint that has no server any more, and so no instances.

    Args:
        again: the status from which the next start of the service continues; None: it stays Failed.
    """
    owner = f"{name}, which the local service tries again when it next starts" if again else name
    return {
        "EndpointStatus": "Failed",
        "FailureReason": _reason(owner, message),
        "ProductionVariants": None,
        "LastModifiedTime": clock.now(),
        "_again": again,
    }


def _reason(endpoint: str, message: str) -> str:
    return f"Endpoint {endpoint}: {message}"[:FAILURE_REASON_CHARACTERS]


def _told(error: Exception | None) -> str:
    """What ended the work on an endpoint; for None, that it had not begun."""
    if error is None:
        return "the work on it did not begin; the output of the local service says why; deploy it again"
    if isinstance(error, LaunchError):
        return str(error)
    return f"the output of the local service says where this happened: {type(error).__name__}: {error}"
