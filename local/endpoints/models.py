"""Models: which archive an endpoint serves, and with which environment variables."""

from __future__ import annotations

from dataclasses import dataclass

from local.endpoints.registry import Registry
from local.home import clock
from local.home.home import Home
from local.home.store import Record, Store
from local.home.tags import add_tags, forget_tags, untagged
from local.wire.errors import ServiceError, invalid
from local.wire.lists import listed
from local.wire.operations import Operation, Request, Response

MODELS = "models"


@dataclass(frozen=True)
class ModelContainer:
    """What a model serves: the S3 URI of its model.tar.gz and its server's environment variables.

    The image does not run here; errors name it where the model data needs it.
    """

    image: str
    model_data_url: str
    environment: dict[str, str]


class Models:
    """The operations on models; `registry` has the model packages that models may name."""

    def __init__(self, home: Home, store: Store, registry: Registry) -> None:
        self._home = home
        self._store = store
        self._registry = registry

    def operations(self) -> dict[str, Operation]:
        """The operations that this service answers."""
        return {
            "CreateModel": self._create,
            "DescribeModel": lambda request: self.model(request["ModelName"]),
            "ListModels": lambda request: listed(self._store.list(MODELS), request, "Model", "Models"),
            "DeleteModel": self._delete,
        }

    def _create(self, request: Request) -> Response:
        name = request["ModelName"]
        arn = self._home.arn("model", name)
        for container in _containers(request):
            if container.get("Mode") == "MultiModel":
                raise invalid("Mode MultiModel does not run locally, only SingleModel")
            if "ModelPackageName" in container:
                self._registry.package(container["ModelPackageName"])
        record = {**untagged(request), "ModelArn": arn, "CreationTime": clock.now()}
        try:
            self._store.create(MODELS, name, record)
        except KeyError:
            message = f'Cannot create already existing model "{arn}".'
            raise ServiceError("ValidationException", message) from None
        add_tags(self._store, arn, request.get("Tags", []))
        return record

    def model(self, name: str) -> Record:
        """The record of a model, as DescribeModel answers it.

        Raises:
            ServiceError: there is none of that name.
        """
        try:
            return self._store.get(MODELS, name)
        except KeyError:
            message = f'Could not find model "{self._home.arn("model", name)}".'
            raise ServiceError("ValidationException", message) from None

    def _delete(self, request: Request) -> Response:
        arn = self.model(request["ModelName"])["ModelArn"]
        self._store.delete(MODELS, request["ModelName"])
        forget_tags(self._store, arn)
        return {}

    def container(self, name: str) -> ModelContainer:
        """What the model serves, looked up in the registry where it names a model package.

        Raises:
            ServiceError: no such model or package, or not one container with one gzipped archive.
        """
        container = _only(_containers(self.model(name)), f"model {name}")
        environment: dict[str, str] = container.get("Environment", {})
        if "ModelPackageName" in container:
            package = self._registry.package(container["ModelPackageName"])
            containers = package.get("InferenceSpecification", {}).get("Containers", [])
            container = _only(containers, f"model package {package['ModelPackageArn']}")
            environment = container.get("Environment", {}) | environment
        source = container.get("ModelDataSource", {}).get("S3DataSource", {})
        if source and (source["S3DataType"], source["CompressionType"]) != ("S3Object", "Gzip"):
            raise ServiceError(
                "ValidationException",
                f"The local service serves a model from one model.tar.gz; the ModelDataSource of {name} is "
                f"S3DataType {source['S3DataType']}, CompressionType {source['CompressionType']}.",
            )
        url = container.get("ModelDataUrl") or source.get("S3Uri")
        if url is None:
            raise ServiceError("ValidationException", f"Model {name} has no model data.")
        return ModelContainer(container.get("Image", "without a name"), url, environment)


def _containers(model: Record) -> list[Record]:
    primary = model.get("PrimaryContainer")
    return [primary] if primary else list(model.get("Containers", []))


def _only(containers: list[Record], owner: str) -> Record:
    if len(containers) != 1:
        raise ServiceError(
            "ValidationException",
            f"The local service serves models of one container; {owner} has {len(containers)}.",
        )
    return containers[0]
