"""Endpoints: a server process each, updated without a gap."""

from __future__ import annotations

import contextlib
import shutil
import threading
import time
from collections.abc import Callable, Mapping

from local import traffic
from local.container import base_environment
from local.control import Operation, Request, Response, ServiceError, invalid, listed
from local.endpoint_configs import EndpointConfigs, variant_summary
from local.home import ACCOUNT, Home
from local.model_server import UVICORN, LaunchError, ModelServer, Unanswered, launch
from local.models import Models
from local.store import Record, Store
from local.tags import add_tags, forget_tags
from local.wire import ModelError

ENDPOINTS = "endpoints"
FAILURE_REASON_CHARACTERS = 1024  # botocore's service model, FailureReason
# How long a broken connection waits for the exit of the process that broke it.
EXIT_GRACE_S = 0.5

# Status, headers and body.
Answer = tuple[int, dict[str, str], bytes]


class Endpoints:
    """The operations on endpoints; threads start and end the servers, `stop` ends all of them.

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

    def operations(self) -> dict[str, Operation]:
        """The operations that this service answers."""
        return {
            "CreateEndpoint": self._create,
            "DescribeEndpoint": self._describe,
            "ListEndpoints": self._list,
            "UpdateEndpoint": self._update,
            "DeleteEndpoint": self._delete,
        }

    def _create(self, request: Request) -> Response:
        name = request["EndpointName"]
        arn = self._home.arn("endpoint", name)
        now = time.time()
        config, deployment = self._configured(request)
        record = {
            "EndpointName": name,
            "EndpointArn": arn,
            "EndpointConfigName": config,
            "LastDeploymentConfig": deployment or None,
            "EndpointStatus": "Creating",
            "CreationTime": now,
            "LastModifiedTime": now,
        }
        try:
            self._store.create(ENDPOINTS, name, record)
        except KeyError:
            raise invalid(f'Cannot create already existing endpoint "{arn}".') from None
        add_tags(self._store, arn, request.get("Tags", []))
        self._background(self._start, name)
        return record

    def _describe(self, request: Request) -> Response:
        self._notice_exit(request["EndpointName"])
        return self._stored(request["EndpointName"], self._store.get)

    def _stored(self, name: str, read: Callable[[str, str], Record]) -> Record:
        try:
            return read(ENDPOINTS, name)
        except KeyError:
            raise invalid(f'Could not find endpoint "{self._home.arn("endpoint", name)}".') from None

    def _list(self, request: Request) -> Response:
        for name in list(self._servers):
            self._notice_exit(name)
        return listed(self._store.list(ENDPOINTS), request, "Endpoint", "Endpoints")

    def _update(self, request: Request) -> Response:
        config, deployment = self._configured(request)

        def begin(record: Record) -> None:
            if record["EndpointStatus"] == "Failed":
                # "DeleteEndpoint is the only operation that can be performed on a failed endpoint"
                # (API reference, DescribeEndpoint).
                raise invalid(f'Cannot update failed endpoint "{record["EndpointArn"]}"; delete it first.')
            _refuse_in_progress(record)
            record |= {"EndpointStatus": "Updating", "LastModifiedTime": time.time(), "FailureReason": None}
            record["PendingDeploymentSummary"] = {"EndpointConfigName": config, "StartTime": time.time()}
            if not request.get("RetainDeploymentConfig"):
                record["LastDeploymentConfig"] = deployment or None

        name = request["EndpointName"]
        self._notice_exit(name)
        record = self._stored(name, lambda kind, key: self._store.update(kind, key, begin))
        latest = record.get("LastDeploymentConfig") or {}
        self._background(self._replace, name, config, latest)
        return record

    def _configured(self, request: Request) -> tuple[str, Record]:
        """The endpoint configuration and the DeploymentConfig of a request, checked."""
        config = self._configs.config(request["EndpointConfigName"])
        deployment = request.get("DeploymentConfig", {})
        traffic.check(deployment, config["ProductionVariants"][0].get("InitialInstanceCount", 1))
        return config["EndpointConfigName"], deployment

    def _delete(self, request: Request) -> Response:
        def begin(record: Record) -> None:
            _refuse_in_progress(record)
            record |= {"EndpointStatus": "Deleting", "LastModifiedTime": time.time()}

        name = request["EndpointName"]
        self._stored(name, lambda kind, key: self._store.update(kind, key, begin))
        self._background(self._remove, name)
        return {}

    def invoke(self, name: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        """The container's answer to one InvokeEndpoint: status, headers, body.

        Args:
            headers: those of the client's request; Content-Type, Accept and SageMaker's own reach the
                container.

        Raises:
            ModelError: the container answered 4xx or 5xx, or not at all.
            ServiceError: no such endpoint, or one that does not serve yet or any more.
        """
        record, server, (status, answered, data) = self._ask(name, lambda it: it.invoke(body, headers))
        if status >= 400:
            raise ModelError(status, data.decode("utf-8", "replace"), str(server.log))
        variant = record["ProductionVariants"][0]["VariantName"]
        return status, {**answered, "x-amzn-invoked-production-variant": variant}, data

    def page(self, name: str) -> Answer:
        """What the container answers to GET /: status, headers, body.

        Raises:
            ModelError: it does not answer.
            ServiceError: as `invoke`.
        """
        return self._ask(name, ModelServer.page)[2]

    def _ask(self, name: str, ask: Callable[[ModelServer], Answer]) -> tuple[Record, ModelServer, Answer]:
        """The answer of the server that the endpoint has, or gets meanwhile by an update."""
        record, server = self._serving(name)
        try:
            return record, server, ask(server)
        except Unanswered as error:
            if self._servers.get(name) not in (None, server):  # an update came between
                return self._ask(name, ask)
            server.wait(EXIT_GRACE_S)
            self._notice_exit(name)
            message = str(error) if server.exit_status is None else server.obituary
            raise ModelError(0, message, str(server.log)) from None

    def _serving(self, name: str) -> tuple[Record, ModelServer]:
        self._notice_exit(name)
        try:
            record = self._store.get(ENDPOINTS, name)
        except KeyError:
            message = f"Endpoint {name} of account {ACCOUNT} not found."
            raise ServiceError("ValidationError", message) from None
        server = self._servers.get(name)
        if server is None or record["EndpointStatus"] in ("Creating", "Failed", "Deleting"):
            status = record["EndpointStatus"]
            message = f"Endpoint {name} of account {ACCOUNT} is not in service: its status is {status}."
            raise ServiceError("ValidationError", message)
        return record, server

    def _notice_exit(self, name: str) -> None:
        """Mark an endpoint as Failed whose server has ended by itself."""
        server = self._servers.get(name)
        if server is None or server.exit_status is None:
            return

        def fail(record: Record) -> None:
            if record["EndpointStatus"] == "InService":  # an update in progress may yet mend it
                record |= _failed(name, server.obituary)

        with contextlib.suppress(KeyError):  # deleted meanwhile
            self._store.update(ENDPOINTS, name, fail)

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

    # What the threads do

    def _background(self, work: Callable[..., None], *arguments: object) -> None:
        """Work in a thread; not once the service ends: the record then says what `resume` has to do."""
        thread = threading.Thread(target=work, args=arguments, name=f"endpoint-{arguments[0]}")
        with self._lock:
            if self._stopping.is_set():
                return
            self._threads = [other for other in self._threads if other.is_alive()]
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
        forget_tags(self._store, self._home.arn("endpoint", name))
        self._store.delete(ENDPOINTS, name)

    def _set(self, name: str, **members: object) -> None:
        changes = {**members, "LastModifiedTime": time.time()}
        self._store.update(ENDPOINTS, name, lambda record: record.update(changes))


def _refuse_in_progress(record: Record) -> None:
    if record["EndpointStatus"] not in ("InService", "Failed"):
        raise invalid(f'Cannot update in-progress endpoint "{record["EndpointArn"]}".')


def _failed(name: str, message: str) -> Record:
    """What changes of an endpoint that nothing serves any more: it has no instances, either."""
    return {"EndpointStatus": "Failed", "FailureReason": _reason(name, message), "ProductionVariants": None}


def _reason(name: str, message: str) -> str:
    return f"Endpoint {name}: {message}"[:FAILURE_REASON_CHARACTERS]
