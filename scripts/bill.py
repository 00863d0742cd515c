"""Usage times price: the lines of a bill, and their sum."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from scripts.prices import Price, Prices
from scripts.usage import Usage

SMALLEST = 0.001


@dataclass(frozen=True)
class Line:
    """A usage and its price; None where nobody here knows the price."""

    usage: Usage
    price: Price | None

    @property
    def cost(self) -> float | None:
        """What it costs, in the price's currency."""
        return None if self.price is None else self.usage.billable_h * self.price.per_hour

    def as_json(self) -> dict[str, Any]:
        """The line's members in JSON; durations in seconds, for each instance."""
        usage, price = self.usage, self.price
        return {
            "step": usage.step,
            "job": usage.job,
            "use": usage.use,
            "instance_type": usage.instance_type,
            "instances": usage.instances,
            "billable_seconds": round(usage.billable_s, 3),
            "seconds": round(usage.ran_s, 3),
            "running": usage.running,
            "earlier_attempt": usage.retried,
            "price": price_as_json(price),
            "cost": self.cost,
        }


@dataclass(frozen=True)
class Sum:
    """A sum in a currency, and what is missing in it: instance types and uses without a known price."""

    amount: float
    currency: str
    unknown: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{'at least ' if self.unknown else ''}{money(self.amount, self.currency)}"


def lines(usages: Iterable[Usage], prices: Prices) -> list[Line]:
    """A line for each usage.

    Raises:
        ClientError: AWS refused to say a price, and not because a permission is missing.
    """
    return [Line(usage, prices.of(usage.instance_type, usage.use)) for usage in usages]


def total(of: Iterable[Line]) -> Sum:
    """The sum of the lines; a line that lasted no time needs no price."""
    found = list(of)
    unknown = {f"{line.usage.instance_type} for {line.usage.use}" for line in found if _lacks_price(line)}
    return Sum(
        sum(line.cost or 0.0 for line in found),
        next((line.price.currency for line in found if line.price), "USD"),
        tuple(sorted(unknown)),
    )


def saved(of: Iterable[Line]) -> float:
    """What spot instances saved, in the prices' currency, where these are known."""
    return sum(line.usage.saved_h * line.price.per_hour for line in of if line.price)


def money(amount: float, currency: str) -> str:
    """An amount with its currency, for people."""
    return f"{digits(amount)} {currency}"


def digits(amount: float) -> str:
    """An amount for people: three digits behind the point below 1, two above."""
    if 0 < amount < SMALLEST:
        return f"<{SMALLEST}"
    return f"{amount:.{3 if amount < 1 else 2}f}"


def price_as_json(price: Price | None) -> dict[str, Any] | None:
    """A price's members in JSON; None if it is unknown."""
    return None if price is None else {**price.__dict__}


def sources(of: Iterable[Price]) -> list[str]:
    """Where prices are from, one line for each source: region, dates, source."""
    found: dict[tuple[str, str], set[str]] = {}
    for price in of:
        found.setdefault((price.source, price.region), set()).add(price.date)
    return [
        f"prices of {region}, {min(dates)}{f' to {max(dates)}' if len(dates) > 1 else ''}: {source}"
        for (source, region), dates in sorted(found.items())
    ]


def _lacks_price(line: Line) -> bool:
    return line.price is None and line.usage.billable_s > 0
