"""The endpoints of this name, which cost money as long as they exist."""

from __future__ import annotations

from collections.abc import Iterator

import scripts.command as command
from scripts import served
from scripts.checks.check import Result, Subject
from scripts.prices import HOURS_PER_MONTH, Price, Prices
from scripts.served import Served


def endpoints(subject: Subject) -> Iterator[Result]:
    """Each endpoint of the deployment, with its price."""
    settings = subject.settings
    default = command.default(settings, "EndpointName")
    found = list(served.of_group(subject.client("sagemaker"), settings.model_package_group_name, default))
    prices = Prices(subject.session, settings.region)
    for item in found:
        cost = "costs nothing here" if subject.local else told(item, price(prices, item))
        status = f"{item.endpoint} is {item.status} on {item.hosting}: {cost}"
        delete = subject.python("endpoints.py", "delete", "--endpoint", item.endpoint)
        if item.status == "Failed":
            yield Result("endpoints", "warning", f"{status}; it failed: {item.reason}", delete)
        else:
            yield Result("endpoints", "ok", status, f"{delete} ends that")
    if not found:
        yield Result("endpoints", "ok", "none of this name: nothing costs money by the hour")


def price(prices: Prices, item: Served) -> Price | None:
    """The price of one of an endpoint's instances, None where nobody here knows it or it has none.

    Raises:
        ClientError: AWS refused, and not because a permission is missing.
    """
    return prices.of(item.instance_type, "endpoint") if item.instance_type else None


def per_month(item: Served, price: Price | None) -> float | None:
    """What an endpoint costs a month, in the price's currency; 0 for a serverless one that nobody asks, None
    where nobody here knows.
    """
    if item.serverless:
        return 0.0
    return None if price is None else price.per_hour * HOURS_PER_MONTH * item.instance_count


def told(item: Served, price: Price | None) -> str:
    """The same in words."""
    if item.serverless:
        return "it costs by the request"
    monthly = per_month(item, price)
    if price is None or monthly is None:
        return "it costs by the hour; nobody here knows the price (aws.amazon.com/sagemaker/ai/pricing)"
    return (
        f"about {price.per_hour * item.instance_count:.2f} {price.currency} an hour, {monthly:.0f} a month "
        f"in {price.region}, as of {price.date}"
    )
