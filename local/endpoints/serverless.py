"""Serverless endpoints: what SageMaker refuses of their configuration, and of requests to them.

The model runs as those of other endpoints do: always warm, in the memory of this machine. Sources: the API
reference's ProductionVariantServerlessConfig, and the developer guide, "Deploy models with Amazon SageMaker
Serverless Inference", with its list of features that are excluded. Which request AWS refuses them in is not
published; here it is the first that can know.
"""

from __future__ import annotations

import contextlib
import threading
from collections import Counter
from collections.abc import Iterator

from local.home.store import Record
from local.wire.errors import ServiceError, invalid

CONFIG = "ServerlessConfig"
STEP_MB = 1024
# "4 MB" (developer guide, "Model Hosting FAQs"; taken as the smaller of its two meanings).
LARGEST_BODY = 4_000_000
# What a variant has without instances. The others are about instances: their size, access, disk, scaling.
MEMBERS = {"VariantName", "ModelName", "InitialVariantWeight", CONFIG}


def check_variant(variant: Record) -> None:
    """Refuse a production variant that has neither instances nor a ServerlessConfig, or parts of both.

    Raises:
        ServiceError: ValidationException that names the member.
    """
    name, config = variant["VariantName"], variant.get(CONFIG)
    if config is None:
        if lacking := [
            member for member in ("InstanceType", "InitialInstanceCount") if member not in variant
        ]:
            raise invalid(f"Production variant {name} has no {lacking[0]}, and no {CONFIG} in its place.")
        return
    if others := sorted(variant.keys() - MEMBERS):
        raise invalid(f"{others[0]} of production variant {name} does not go with {CONFIG}.")
    if config["MemorySizeInMB"] % STEP_MB:
        raise invalid(
            f"MemorySizeInMB of production variant {name} is {config['MemorySizeInMB']}; it must be 1024, "
            "2048, 3072, 4096, 5120 or 6144."
        )
    provisioned = config.get("ProvisionedConcurrency", 0)
    if provisioned > config["MaxConcurrency"]:
        raise invalid(
            f"ProvisionedConcurrency of production variant {name} is {provisioned}; it must be at most "
            f"MaxConcurrency, {config['MaxConcurrency']}."
        )


def check_features(config: Record, model: Record) -> None:
    """Refuse a configuration or a model with features that serverless endpoints do not have.

    Raises:
        ServiceError: ValidationException that names the feature.
    """
    containers = model.get("Containers", [])
    every = [*containers, *([model["PrimaryContainer"]] if model.get("PrimaryContainer") else [])]
    private = any(
        container.get("ImageConfig", {}).get("RepositoryAccessMode") == "Vpc" for container in every
    )
    excluded = {
        "VPC configuration": bool(config.get("VpcConfig") or model.get("VpcConfig")),
        "network isolation": bool(
            config.get("EnableNetworkIsolation") or model.get("EnableNetworkIsolation")
        ),
        "private Docker registries": private,
        "inference pipelines": len(containers) > 1,
    }
    for feature, used in excluded.items():
        if used:
            raise invalid(f"Serverless Inference does not support {feature}: leave that out, or {CONFIG}.")


def check_update(endpoint: str, old: Record, new: Record) -> None:
    """Refuse to make an endpoint on instances serverless; the other way it goes.

    Args:
        old: the endpoint's production variant; `new`: the one of its new configuration.

    Raises:
        ServiceError: ValidationException.
    """
    if CONFIG in new and CONFIG not in old:
        raise invalid(
            f"Cannot convert the instance-based endpoint {endpoint} to a serverless endpoint; create another."
        )


def check_body(endpoint: str, body: bytes) -> None:
    """Refuse a request that is too large.

    Raises:
        ServiceError: 413; AWS's words are not published.
    """
    if len(body) > LARGEST_BODY:
        raise ServiceError(
            "ValidationError",
            f"The body has {len(body)} bytes; serverless endpoint {endpoint} takes at most {LARGEST_BODY}.",
            413,
        )


class Concurrency:
    """Counts the requests in progress: "invocations beyond the maximum are throttled"."""

    def __init__(self) -> None:
        self._running: Counter[str] = Counter()
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def of(self, endpoint: str, most: int) -> Iterator[None]:
        """While a request is in progress.

        Raises:
            ServiceError: ThrottlingException; there are `most` in progress.
        """
        with self._lock:
            if self._running[endpoint] >= most:
                raise ServiceError("ThrottlingException", "Rate exceeded")
            self._running[endpoint] += 1
        try:
            yield
        finally:
            with self._lock:
                self._running[endpoint] -= 1
