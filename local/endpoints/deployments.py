"""What becomes of endpoints: threads start their servers, move them to others and end them."""

from __future__ import annotations

import contextlib
import shutil
import threading
import time
from collections.abc import Callable, Mapping

from local.endpoints import traffic
from local.endpoints.configs import EndpointConfigs, variant_summary
from local.endpoints.model_server import UVICORN, LaunchError, ModelServer, launch
from local.endpoints.models import Models
from local.home.disk import NotRecorded
from local.home.home import Home
from local.home.store import Record, Store
from local.home.tags import forget_tags
from local.processes.environment import base_environment
from local.wire.errors import ServiceError

ENDPOINTS = "endpoints"
FAILURE_REASON_CHARACTERS = 1024  # botocore's service model, FailureReason


class Deployments:
    """The servers of the endpoints in the store, by the endpoint's name; `stop` ends all of them.

    An endpoint whose server ends by itself is Failed; nothing restarts it but a new deployment.
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
        self._stopping = threading.Event()
        self._lock = threading.Lock()

    def server(self, name: str) -> ModelServer | None:
        """The server that the endpoint has now."""
        return self._servers.get(name)

    def create(self, name: str) -> None:
        """Start the server of an endpoint that is Creating, in the background."""
        self._background(self._start, name)

    def update(self, name: str, config: str, deployment: Record) -> None:
        """Move an endpoint that is Updating to another config, in the background."""
        self._background(self._replace, name, config, deployment)

    def delete(self, name: str) -> None:
        """End the server of an endpoint that is Deleting, and forget it, in the background."""
        self._background(self._remove, name)

    def notice_exit(self, name: str) -> None:
        """Mark an endpoint as Failed whose server has ended by itself."""
        server = self._servers.get(name)
        if server is None or server.exit_status is None:
            return

        def fail(record: Record) -> None:
            if record["EndpointStatus"] == "InService":  # an update in progress may yet mend it
                record |= _failed(name, server.obituary)

        with contextlib.suppress(KeyError):  # deleted meanwhile
            self._store.keep(ENDPOINTS, name, fail)

    def notice_exits(self) -> None:
        """The same for all endpoints."""
        for name in list(self._servers):
            self.notice_exit(name)

    def resume(self) -> None:
        """Take up the endpoints of an earlier process of the service, each in the background.

        Those that served are SystemUpdating until they serve again; an update that was cut short is
        given up, a creation starts anew, a deletion is finished.
        """
        for record in self._store.list(ENDPOINTS):
            name, status = record["EndpointName"], record["EndpointStatus"]
            if status == "Deleting":
                self._background(self._remove, name)
            elif status == "Creating":
                self._background(self._start, name)
            elif status != "Failed":
                note = "The local service stopped during the update." if status == "Updating" else None
                self._set(name, EndpointStatus="SystemUpdating", PendingDeploymentSummary=None)
                self._background(self._start, name, note)

    def stop(self) -> None:
        """End all servers and threads; the records stay, so that `resume` takes up what served."""
        with self._lock:
            self._stopping.set()
            threads = list(self._threads)
        for thread in threads:
            thread.join()
        for name in list(self._servers):
            self._servers.pop(name).stop()

    def _background(self, work: Callable[..., None], name: str, *arguments: object) -> None:
        """Work on an endpoint in a thread, once what was begun on it before is done: a server may still end.

        Not once the service ends: the record then says what `resume` has to do.
        """
        with self._lock:
            if self._stopping.is_set():
                return
            self._threads = [other for other in self._threads if other.is_alive()]
            earlier = [other for other in self._threads if other.name == f"endpoint-{name}"]

            def wait_and_work() -> None:
                for thread in earlier:
                    thread.join()
                work(name, *arguments)

            thread = threading.Thread(target=wait_and_work, name=f"endpoint-{name}")
            self._threads.append(thread)
            thread.start()

    def _start(self, name: str, note: str | None = None) -> None:
        config = self._store.get(ENDPOINTS, name)["EndpointConfigName"]
        try:
            self._serve(name, config, note)
        except LaunchError as error:
            self._set(name, **_failed(name, str(error)))

    def _replace(self, name: str, config: str, deployment: Record) -> None:
        try:
            self._serve(name, config, deployment=deployment)
        except LaunchError as error:
            # A failed update leaves the endpoint InService on its old configuration, with a
            # FailureReason (aws-controllers-k8s/sagemaker-controller#7).
            reason = _reason(name, str(error))
            self._set(name, EndpointStatus="InService", FailureReason=reason, PendingDeploymentSummary=None)

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
                archive,
                self._home.folder(ENDPOINTS, name) / config_name,
                base_environment(self._environment()) | container.environment,
                self._server,
            )
        except (LaunchError, OSError) as error:  # OSError: a full disk, no more processes
            raise LaunchError(f"{container.model_data_url}: {error}") from None
        try:
            server.wait_until_healthy(self._stopping)
            traffic.heed_alarms(deployment or {}, self._environment())
        except LaunchError:
            server.stop()
            raise
        if self._stopping.is_set():
            server.stop()
            return
        old = self._servers.get(name)
        self._servers[name] = server
        self._set(
            name,
            EndpointStatus="InService",
            EndpointConfigName=config_name,
            FailureReason=note,
            PendingDeploymentSummary=None,
            ProductionVariants=[variant_summary(variant)],
        )
        if old is not None:
            old.drain(self._stopping)
            old.stop()

    def _remove(self, name: str) -> None:
        server = self._servers.pop(name, None)
        if server is not None:
            server.drain(self._stopping)
            server.stop()
        folder = self._home.folder(ENDPOINTS, name)
        if folder.exists():
            shutil.rmtree(folder)
        try:
            forget_tags(self._store, self._home.arn("endpoint", name))
            self._store.delete(ENDPOINTS, name)
        except NotRecorded as error:  # a full disk: it can be deleted again
            self._set(name, **_failed(name, str(error)))

    def _set(self, name: str, **members: object) -> None:
        changes = {**members, "LastModifiedTime": time.time()}
        self._store.keep(ENDPOINTS, name, lambda record: record.update(changes))


def _failed(name: str, message: str) -> Record:
    """What changes of an endpoint that nothing serves any more: it has no instances, either."""
    return {"EndpointStatus": "Failed", "FailureReason": _reason(name, message), "ProductionVariants": None}


def _reason(name: str, message: str) -> str:
    return f"Endpoint {name}: {message}"[:FAILURE_REASON_CHARACTERS]
