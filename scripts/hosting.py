"""What an endpoint runs on, and what that costs for as long as it exists, used or not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from scripts.aws_errors import is_missing
from scripts.bill import Sum
from scripts.prices import HOURS_PER_MONTH, Price, Prices

if TYPE_CHECKING:
    from mypy_boto3_sagemaker.client import SageMakerClient


@dataclass(frozen=True)
class Hosting:
    """An endpoint's instances: for each variant their type and how many there are."""

    endpoint: str
    status: str
    instances: tuple[tuple[str, int], ...]
    serverless: bool = False  # some variant is: it is billed by the request

    def __str__(self) -> str:
        parts = [f"{count} x {instance_type}" for instance_type, count in self.instances]
        return " and ".join([*parts, *(["serverless"] if self.serverless else [])])


def of_endpoint(sagemaker: SageMakerClient, name: str) -> Hosting | None:
    """What the endpoint runs on now; None if there is none of that name.

    Raises:
        ClientError: AWS refused.
    """
    try:
        answer: Any = sagemaker.describe_endpoint(EndpointName=name)
        config: Any = sagemaker.describe_endpoint_config(EndpointConfigName=answer["EndpointConfigName"])
    except ClientError as error:
        if is_missing(error):
            return None
        raise
    now = {
        item["VariantName"]: item.get("CurrentInstanceCount") for item in answer.get("ProductionVariants", [])
    }
    found, serverless = [], False
    for variant in config["ProductionVariants"]:
        if "InstanceType" in variant:
            count = now.get(variant["VariantName"])
            found.append(
                (variant["InstanceType"], variant["InitialInstanceCount"] if count is None else count)
            )
        serverless = serverless or "ServerlessConfig" in variant
    return Hosting(name, answer["EndpointStatus"], tuple(found), serverless)


def rate(hosting: Hosting, prices: Prices) -> tuple[Sum, list[Price]]:
    """What the endpoint's instances cost an hour, and the prices.

    Raises:
        ClientError: AWS refused to say a price, and not because a permission is missing.
    """
    found = [(prices.of(name, "endpoint"), name, count) for name, count in hosting.instances]
    known = [(price, count) for price, _, count in found if price]
    unknown = tuple(sorted({f"{name} for endpoint" for price, name, count in found if count and not price}))
    currency = known[0][0].currency if known else "USD"
    return Sum(sum(p.per_hour * count for p, count in known), currency, unknown), [p for p, _ in known]


def per_month(an_hour: Sum) -> Sum:
    """The sum of a month, of one of an hour."""
    return Sum(an_hour.amount * HOURS_PER_MONTH, an_hour.currency, an_hour.unknown)
