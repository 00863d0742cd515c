"""Endpoint configurations: which model an endpoint serves."""

from __future__ import annotations

from local.endpoints import serverless
from local.endpoints.models import Models
from local.home import clock
from local.home.home import Home
from local.home.store import Record, Store
from local.home.tags import add_tags, forget_tags, untagged
from local.wire.errors import invalid
from local.wire.lists import listed
from local.wire.operations import Operation, Request, Response

CONFIGS = "endpoint-configs"


class EndpointConfigs:
    """The operations on endpoint configurations; those that cannot be served are refused at creation."""

    def __init__(self, home: Home, store: Store, models: Models) -> None:
        self._home = home
        self._store = store
        self._models = models

    def operations(self) -> dict[str, Operation]:
        """The operations that this service answers."""
        return {
            "CreateEndpointConfig": self._create,
            "DescribeEndpointConfig": lambda request: self.config(request["EndpointConfigName"]),
            "ListEndpointConfigs": lambda request: listed(
                self._store.list(CONFIGS), request, "EndpointConfig", "EndpointConfigs"
            ),
            "DeleteEndpointConfig": self._delete,
        }

    def _create(self, request: Request) -> Response:
        name = request["EndpointConfigName"]
        arn = self._home.arn("endpoint-config", name)
        variants = request["ProductionVariants"]
        if len(variants) != 1:
            raise invalid(f"The local service serves one production variant per endpoint; {name} has more.")
        if request.get("DataCaptureConfig", {}).get("EnableCapture"):
            raise invalid(f"The local service captures no data; {name} enables it in its DataCaptureConfig.")
        if "ModelName" not in variants[0]:
            raise invalid(f"The production variant of {name} has no ModelName.")
        model = self._models.model(variants[0]["ModelName"])
        serverless.check_variant(variants[0])
        if serverless.CONFIG in variants[0]:
            serverless.check_features(request, model)
        record = {**untagged(request), "EndpointConfigArn": arn, "CreationTime": clock.now()}
        try:
            self._store.create(CONFIGS, name, record)
        except KeyError:
            raise invalid(f'Cannot create already existing endpoint configuration "{arn}".') from None
        add_tags(self._store, arn, request.get("Tags", []))
        return record

    def config(self, name: str) -> Record:
        """The record of a configuration, as DescribeEndpointConfig answers it.

        Raises:
            ServiceError: there is none of that name.
        """
        try:
            return self._store.get(CONFIGS, name)
        except KeyError:
            arn = self._home.arn("endpoint-config", name)
            raise invalid(f'Could not find endpoint configuration "{arn}".') from None

    def _delete(self, request: Request) -> Response:
        arn = self.config(request["EndpointConfigName"])["EndpointConfigArn"]
        self._store.delete(CONFIGS, request["EndpointConfigName"])
        forget_tags(self._store, arn)
        return {}


def variant_summary(variant: Record) -> Record:
    """A production variant of a configuration as DescribeEndpoint shows it in service."""
    summary = {"VariantName": variant["VariantName"]}
    for member in ("InstanceCount", "ServerlessConfig"):
        value = variant.get(f"Initial{member}", variant.get(member))
        summary |= {f"Current{member}": value, f"Desired{member}": value}
    weight = variant.get("InitialVariantWeight", 1.0)  # its documented default
    return {**summary, "CurrentWeight": weight, "DesiredWeight": weight}
