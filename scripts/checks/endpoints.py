"""The endpoints of this name, which cost money as long as they exist."""

from __future__ import annotations

from collections.abc import Iterator

import scripts.command as command
from scripts import served
from scripts.checks.check import Result, Subject
from scripts.endpoints import cost
from scripts.prices import Prices


def endpoints(subject: Subject) -> Iterator[Result]:
    """Each endpoint of the deployment, with its price."""
    settings = subject.settings
    default = command.default(settings, "EndpointName")
    found = list(served.of_group(subject.client("sagemaker"), settings.model_package_group_name, default))
    prices = Prices(subject.session, settings.region)
    for item in found:
        costs = "free" if subject.local else cost(item.hosting, prices)
        status = f"{item.endpoint} is {item.status} on {item.hosting}: {costs}"
        delete = subject.python("endpoints.py", "delete", "--endpoint", item.endpoint)
        if item.status == "Failed":
            yield Result("endpoints", "warning", f"{status}; it failed: {item.reason}", delete)
        else:
            yield Result("endpoints", "ok", status, f"{delete} ends that")
    if not found:
        yield Result("endpoints", "ok", "none of this name: nothing costs money by the hour")
