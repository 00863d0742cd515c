"""What an hour of an instance costs: from AWS's price list, or from a small table with its dates.

Prices are on-demand list prices, without taxes, discounts and Savings Plans.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from botocore.config import Config
from botocore.exceptions import ClientError, ConnectionError, HTTPClientError

import scripts.command as command
from scripts import aws_errors

if TYPE_CHECKING:
    import boto3

Use = Literal["training", "processing", "endpoint", "transform"]
HOURS_PER_MONTH = 730  # a twelfth of a year
REGION_OF_TABLE = "us-east-1"

# What the price list calls each use in an attribute `usagetype`, a line of a bill: the region's short name
# (us-east-1 has lines without one), the use, the instance type. Seen in published answers of GetProducts and
# bills between 2026-07 and 2026-10: USE1-Train:ml.m5.large, USE1-Processing:ml.m5.large,
# USE1-Host:ml.m5.2xlarge, Host:ml.m5.large, Tsform:ml.g4dn.xlarge.
_USAGE: dict[Use, str] = {
    "training": "Train",
    "processing": "Processing",
    "endpoint": "Host",
    "transform": "Tsform",
}

_SERVICE = "AmazonSageMaker"
_API = "AWS Price List API (GetProducts)"
_READ = "AWS Price List API, read by others and published"
# A bill of 2023-12 that AWS published has one price for training, processing, hosting and batch transform of
# ml.m5.xlarge (aws-samples/sagemaker-ssh-helper, Sample_Costs.md).
_HOSTING = f"{_READ}: the price for hosting, which AWS's bills show for training on m5, too"


@dataclass(frozen=True)
class Price:
    """What one instance costs an hour, and how that is known."""

    per_hour: float
    currency: str
    region: str
    source: str
    date: str  # when the price was published or read, YYYY-MM-DD


def _row(per_hour: float, date: str, source: str = _READ) -> Price:
    return Price(per_hour, "USD", REGION_OF_TABLE, source, date)


# Only what somebody has read from the price list of us-east-1 and published with its date. What is not here
# has no known price.
_TABLE: dict[tuple[str, Use], Price] = {
    ("ml.m5.large", "training"): _row(0.115, "2026-08-11"),  # SKU JMCWJEAPVJNFJ5P4
    ("ml.m5.large", "processing"): _row(0.115, "2026-07-30"),
    ("ml.m5.large", "endpoint"): _row(0.115, "2026-07-30"),
    ("ml.m5.xlarge", "processing"): _row(0.23, "2026-07-30"),
    ("ml.m5.xlarge", "endpoint"): _row(0.23, "2026-09-28"),  # SKU JDZQJFUVUR8SUWHS
    ("ml.m5.2xlarge", "endpoint"): _row(0.461, "2026-09-28"),
    ("ml.m5.2xlarge", "training"): _row(0.461, "2026-09-28", _HOSTING),
    ("ml.g5.xlarge", "endpoint"): _row(1.408, "2026-08-17"),
    ("ml.g5.2xlarge", "endpoint"): _row(1.515, "2026-08-17"),
    ("ml.g5.2xlarge", "training"): _row(1.515, "2026-08-20"),
    ("ml.t3.medium", "processing"): _row(0.05, "2026-07-30"),
}


class Prices:
    """The prices of a region; AWS is asked once for each instance type, where the account may ask.

    Attributes:
        note: why the table stands for AWS's price list, in one line; "" while AWS answers.
    """

    def __init__(self, session: boto3.Session, region: str) -> None:
        self._session = session
        self._region = region
        self._client: Any = None
        self._products: dict[str, list[dict[str, Any]]] = {}
        self.note = ""
        if command.is_local():
            self._give_up("a local service has no price list")

    def of(self, instance_type: str, use: Use) -> Price | None:
        """The price of an instance type for a use; None if nobody here knows it.

        Raises:
            ClientError: AWS refused, and not because a permission is missing.
        """
        if not self.note:
            try:
                return self._listed(instance_type, use)
            except ClientError as error:
                if not aws_errors.is_denied(error):
                    raise
                self._give_up("these credentials may not ask AWS for prices (pricing:GetProducts)")
            except (ConnectionError, HTTPClientError):
                self._give_up("AWS's price list does not answer from here")
        return _TABLE.get((instance_type, use)) if self._region == REGION_OF_TABLE else None

    def _give_up(self, reason: str) -> None:
        if self._region == REGION_OF_TABLE:
            self.note = f"{reason}: prices are those of this project's own table, of {REGION_OF_TABLE}"
        else:
            self.note = f"{reason}, and this project's own table has {REGION_OF_TABLE} only"

    def _listed(self, instance_type: str, use: Use) -> Price | None:
        pattern = re.compile(rf"(?:[A-Z0-9]+-)?{_USAGE[use]}:{re.escape(instance_type)}")
        found = {
            (unit_price, currency): product["publicationDate"][:10]
            for product in self._of_type(instance_type)
            if pattern.fullmatch(product["product"]["attributes"].get("usagetype", ""))
            for currency, unit_price in _hourly(product)
        }
        if len(found) != 1:  # none, or several between which nobody here can choose
            return None
        ((per_hour, currency), date), *_ = found.items()
        return Price(per_hour, currency, self._region, _API, date)

    def _of_type(self, instance_type: str) -> list[dict[str, Any]]:
        """The products of an instance type in the region, for every use."""
        if instance_type not in self._products:
            pages = (
                self._price_list()
                .get_paginator("get_products")
                .paginate(
                    ServiceCode=_SERVICE,
                    Filters=[
                        {"Type": "TERM_MATCH", "Field": "regionCode", "Value": self._region},
                        {"Type": "TERM_MATCH", "Field": "instanceName", "Value": instance_type},
                    ],
                )
            )
            self._products[instance_type] = [json.loads(text) for page in pages for text in page["PriceList"]]
        return self._products[instance_type]

    def _price_list(self) -> Any:
        """A client of the Price List Query API, which few regions have (botocore's endpoints.json)."""
        if self._client is None:
            partition = self._session.get_partition_for_region(self._region)
            regions = self._session.get_available_regions("pricing", partition)
            near = self._region if self._region in regions else REGION_OF_TABLE
            client: Any = self._session.client
            self._client = client(
                "pricing",
                region_name=near if near in regions or not regions else regions[0],
                config=Config(connect_timeout=5, read_timeout=20, retries={"total_max_attempts": 3}),
            )
        return self._client


def _hourly(product: dict[str, Any]) -> Iterator[tuple[str, float]]:
    """Currency and price of a product's on-demand hours; a price of zero is a placeholder or a free tier."""
    for term in product["terms"].get("OnDemand", {}).values():
        for dimension in term["priceDimensions"].values():
            for currency, text in dimension["pricePerUnit"].items():
                if dimension["unit"] in {"Hrs", "Hours"} and float(text) > 0:
                    yield currency, float(text)
