"""The operations on endpoints, and their answers: one server process each, updated without downtime."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping

from local.endpoints import serverless, traffic
from local.endpoints.configs import EndpointConfigs
from local.endpoints.deployments import ENDPOINTS, Deployments
from local.endpoints.model_server import ModelServer, Unanswered
from local.home import clock
from local.home.home import ACCOUNT, Home
from local.home.store import Record, Store
from local.home.tags import add_tags
from local.wire.errors import ModelError, ServiceError, invalid
from local.wire.lists import listed
from local.wire.operations import Operation, Request, Response

# How long to wait, after a broken connection, for the exit of the process that broke it.
EXIT_GRACE_S = 0.5

TARGET_VARIANT = "x-amzn-sagemaker-target-variant"
# Headers for features that no endpoint here has. AWS's words for the first two were reported by its clients
# (https://github.com/aws/amazon-sagemaker-examples/issues/1026); those for the others are not published.
ABSENT = {
    "x-amzn-sagemaker-target-model": (
        "Endpoint {name} is not a multi-model endpoint and does not support target model header."
    ),
    "x-amzn-sagemaker-inference-component": (
        "Inference Component Name header is not allowed for endpoints to which you dont plan to deploy"
        " inference components. Please remove the Inference Component Name header and try again."
    ),
    "x-amzn-sagemaker-target-container-hostname": (
        "Endpoint {name} has one container; leave TargetContainerHostname out."
    ),
    "x-amzn-sagemaker-session-id": "Endpoint {name} keeps no sessions; leave SessionId out.",
    "x-amzn-sagemaker-enable-explanations": "Endpoint {name} has no explainer; leave EnableExplanations out.",
}
NAMING = ABSENT.keys() | {TARGET_VARIANT}

# Status, headers and body.
Answer = tuple[int, dict[str, str], bytes]


class Endpoints:
    """The operations on endpoints."""

    def __init__(self, home: Home, store: Store, configs: EndpointConfigs, deployments: Deployments) -> None:
        self._home = home
        self._store = store
        self._configs = configs
        self._deployments = deployments
        self._concurrency = serverless.Concurrency()

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
        now = clock.now()
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
        with self._deployments.claimed(name):
            try:
                self._store.create(ENDPOINTS, name, record)
            except KeyError:
                raise invalid(f'Cannot create already existing endpoint "{arn}".') from None
            add_tags(self._store, arn, request.get("Tags", []))
            self._deployments.create(name)
        return record

    def _describe(self, request: Request) -> Response:
        self._deployments.notice(request["EndpointName"])
        return self._stored(request["EndpointName"], self._store.get)

    def _stored(self, name: str, read: Callable[[str, str], Record]) -> Record:
        try:
            return read(ENDPOINTS, name)
        except KeyError:
            raise invalid(f'Could not find endpoint "{self._home.arn("endpoint", name)}".') from None

    def _list(self, request: Request) -> Response:
        self._deployments.notice_all()
        return listed(self._store.list(ENDPOINTS), request, "Endpoint", "Endpoints")

    def _update(self, request: Request) -> Response:
        config, deployment = self._configured(request)

        def begin(record: Record) -> None:
            if record["EndpointStatus"] == "Failed":
                # "DeleteEndpoint is the only operation that can be performed on a failed endpoint"
                # (API reference, DescribeEndpoint).
                raise invalid(f'Cannot update failed endpoint "{record["EndpointArn"]}"; delete it first.')
            _refuse_in_progress(record)
            if variants := record.get("ProductionVariants"):
                new = self._configs.config(config)["ProductionVariants"][0]
                current = {
                    name.removeprefix("Current"): value for name, value in variants[0].items() if value
                }
                serverless.check_update(record["EndpointName"], current, new)
            record |= {"EndpointStatus": "Updating", "LastModifiedTime": clock.now(), "FailureReason": None}
            record["PendingDeploymentSummary"] = {"EndpointConfigName": config, "StartTime": clock.now()}
            if not request.get("RetainDeploymentConfig"):
                record["LastDeploymentConfig"] = deployment or None

        name = request["EndpointName"]
        self._deployments.notice(name)
        with self._deployments.claimed(name):
            record = self._stored(name, lambda kind, key: self._store.update(kind, key, begin))
            self._deployments.update(name, config, record.get("LastDeploymentConfig") or {})
        return record

    def _configured(self, request: Request) -> tuple[str, Record]:
        """The endpoint configuration and the DeploymentConfig of a request, checked."""
        config = self._configs.config(request["EndpointConfigName"])
        deployment = request.get("DeploymentConfig", {})
        traffic.check(deployment, config["ProductionVariants"][0].get("InitialInstanceCount", 0))
        return config["EndpointConfigName"], deployment

    def _delete(self, request: Request) -> Response:
        def begin(record: Record) -> None:
            _refuse_in_progress(record)
            record |= {"EndpointStatus": "Deleting", "LastModifiedTime": clock.now()}

        name = request["EndpointName"]
        self._deployments.notice(name)
        with self._deployments.claimed(name):
            self._stored(name, lambda kind, key: self._store.update(kind, key, begin))
            self._deployments.delete(name)
        return {}

    def invoke(self, name: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        """The container's answer to one InvokeEndpoint: status, headers, body.

        Args:
            headers: those of the client's request; Content-Type, Accept and SageMaker's own reach the
                container.

        Raises:
            ModelError: the container answered 4xx or 5xx, or not at all.
            ServiceError: no such endpoint, one that is not in service, or one that lacks what
                the headers name.
        """
        serving, _ = self._serving(name)
        if NAMING & headers.keys():
            _check_target(serving, headers)
        with self._within_limits(name, serving, body):
            record, server, (status, answered, data) = self._ask(name, lambda it: it.invoke(body, headers))
        if status >= 400:
            raise ModelError(status, data.decode("utf-8", "replace"), str(server.log))
        variant = record["ProductionVariants"][0]["VariantName"]
        return status, {**answered, "x-amzn-invoked-production-variant": variant}, data

    @contextlib.contextmanager
    def _within_limits(self, name: str, record: Record, body: bytes) -> Iterator[None]:
        """While the endpoint answers, where it is serverless: within what AWS lets it take."""
        config = record["ProductionVariants"][0].get(f"Current{serverless.CONFIG}")
        if not config:
            yield
            return
        serverless.check_body(name, body)
        with self._concurrency.of(name, config["MaxConcurrency"]):
            yield

    def page(self, name: str) -> Answer:
        """What the container answers to GET /: status, headers, body.

        Raises:
            ModelError: it does not answer.
            ServiceError: as `invoke`.
        """
        return self._ask(name, ModelServer.page)[2]

    def _ask(self, name: str, ask: Callable[[ModelServer], Answer]) -> tuple[Record, ModelServer, Answer]:
        """The answer of the endpoint's server, or of the server that an update brings meanwhile."""
        record, server = self._serving(name)
        try:
            return record, server, ask(server)
        except Unanswered as error:
            if self._deployments.server(name) not in (None, server):  # an update came between
                return self._ask(name, ask)
            server.wait(EXIT_GRACE_S)
            self._deployments.notice(name)
            message = str(error) if server.exit_status is None else server.how_it_ended
            raise ModelError(0, message, str(server.log)) from None

    def _serving(self, name: str) -> tuple[Record, ModelServer]:
        self._deployments.notice(name)
        try:
            record = self._store.get(ENDPOINTS, name)
        except KeyError:
            message = f"Endpoint {name} of account {ACCOUNT} not found."
            raise ServiceError("ValidationError", message) from None
        server = self._deployments.server(name)
        if server is None or record["EndpointStatus"] in ("Creating", "Failed", "Deleting"):
            status = record["EndpointStatus"]
            message = f"Endpoint {name} of account {ACCOUNT} is not in service: its status is {status}."
            raise ServiceError("ValidationError", message)
        return record, server


def _refuse_in_progress(record: Record) -> None:
    if record["EndpointStatus"] not in ("InService", "Failed"):
        raise invalid(f'Cannot update in-progress endpoint "{record["EndpointArn"]}".')


def _check_target(record: Record, headers: Mapping[str, str]) -> None:
    """Refuse headers of InvokeEndpoint that name what the endpoint does not have."""
    name = record["EndpointName"]
    variants = [variant["VariantName"] for variant in record["ProductionVariants"]]
    variant = headers.get(TARGET_VARIANT, variants[0])
    if variant not in variants:
        # A ValidationError: API reference, InvokeEndpoint. Its wording is not published.
        message = f"Variant {variant} not found for endpoint {name}, which has {', '.join(variants)}."
        raise ServiceError("ValidationError", message)
    for header, message in ABSENT.items():
        if header in headers:
            raise ServiceError("ValidationError", message.format(name=name))
