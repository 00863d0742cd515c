"""What an execution cost: for each step the billable seconds of its jobs times the price of their instances.

  cost.py latest
  cost.py 4pgs2cmubnq3 --json

Jobs of earlier attempts count, too, and so does what is still running, up to now. Prices are AWS's list
prices (the account needs pricing:GetProducts) or, without that permission, those of a small table of this
project. Storage, transfer, logs, Lambda, taxes and discounts are not counted.
"""

from __future__ import annotations

if not __package__:
    import root  # noqa: F401

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rich.table import Table

import scripts.command as command
from scripts import bill, execution_names, hosting, usage
from scripts.bill import Line, Sum, money
from scripts.execution import Execution, deployment, steps_of
from scripts.prices import Price, Prices

if TYPE_CHECKING:
    import boto3

SETTINGS = ("name", "region")
NOT_COUNTED = "not counted: storage, transfer, logs, Lambda, taxes, discounts"


@dataclass(frozen=True)
class Cost:
    """What an execution used, with prices, and the endpoint that it deployed, as that is now."""

    arn: str
    status: str
    lines: list[Line]
    notes: list[str]
    endpoint: str  # the name; "" if it deployed none
    hosting: hosting.Hosting | None  # None: it was deleted
    an_hour: Sum
    endpoint_prices: list[Price]

    @property
    def total(self) -> Sum:
        """The sum of all jobs."""
        return bill.total(self.lines)


def of_execution(session: boto3.Session, execution: Mapping[str, Any], prices: Prices) -> Cost:
    """The cost of an execution.

    Args:
        execution: DescribePipelineExecution's answer.

    Raises:
        ClientError: AWS refused.
    """
    sagemaker = session.client("sagemaker")
    arn, status = execution["PipelineExecutionArn"], execution["PipelineExecutionStatus"]
    steps = steps_of(sagemaker, arn)
    used = usage.of_execution(sagemaker, execution, steps)
    answer = deployment(Execution(arn, status, "", tuple(steps)))
    endpoint = answer["endpoint_name"] if answer.get("deployed", "").lower() == "true" else ""
    runs_on = hosting.of_endpoint(sagemaker, endpoint) if endpoint else None
    an_hour, endpoint_prices = hosting.rate(runs_on, prices) if runs_on else (Sum(0.0, "USD"), [])
    lines = bill.lines(used.usages, prices)
    return Cost(arn, status, lines, used.notes, endpoint, runs_on, an_hour, endpoint_prices)


def as_json(cost: Cost, prices: Prices) -> dict[str, Any]:
    """Everything that the table says, and each job alone."""
    total, month = cost.total, hosting.per_month(cost.an_hour)
    return {
        "execution": cost.arn,
        "status": cost.status,
        "currency": total.currency,
        "cost": total.amount,
        "complete": not total.unknown,
        "prices_unknown": list(total.unknown),
        "spot_savings": bill.saved(cost.lines),
        "jobs": [line.as_json() for line in cost.lines],
        "endpoint": cost.hosting
        and {
            "name": cost.endpoint,
            "status": cost.hosting.status,
            "instances": [{"instance_type": name, "instances": n} for name, n in cost.hosting.instances],
            "serverless": cost.hosting.serverless,
            "cost_per_hour": cost.an_hour.amount,
            "cost_per_month": month.amount,
            "prices_unknown": list(month.unknown),
            "prices": [bill.price_as_json(price) for price in cost.endpoint_prices],
        },
        "notes": list(_notes(cost, prices)),
    }


def tell(cost: Cost, prices: Prices) -> None:
    """Print the table, the sum and what is to be known about them."""
    command.output.print(table_of(cost.lines), soft_wrap=True)
    for note in [*_endpoint(cost), *_notes(cost, prices)]:
        command.output.print(note, soft_wrap=True)


def table_of(lines: Sequence[Line]) -> Table:
    """A row for each step, instance type and price, and the sum of all."""
    table = Table(box=None, pad_edge=False)
    for column in ("step", "instances"):
        table.add_column(column, no_wrap=True)
    for column in ("billable", "price/h", "cost"):
        table.add_column(column, justify="right", no_wrap=True)
    for (step, instance_type, _), group in _grouped(lines).items():
        price, seconds = group[0].price, sum(line.usage.billable_h for line in group) * 3600
        machines = {line.usage.instances for line in group}
        count = f"{machines.pop()} x " if len(machines) == 1 and machines != {1} else ""
        table.add_row(
            step,
            f"{count}{instance_type}{f', {len(group)} jobs' if len(group) > 1 else ''}",
            f"{seconds:.0f} s{' so far' if any(line.usage.running for line in group) else ''}",
            f"{price.per_hour:.4g}" if price else "unknown",
            bill.digits(bill.total(group).amount) if price or not seconds else "unknown",
        )
    table.add_row(
        "sum", "", f"{sum(line.usage.billable_h for line in lines) * 3600:.0f} s", "", str(bill.total(lines))
    )
    return table


def _grouped(lines: Sequence[Line]) -> dict[tuple[str, str, float | None], list[Line]]:
    groups: dict[tuple[str, str, float | None], list[Line]] = {}
    for line in lines:
        step = f"{line.usage.step}, earlier attempts" if line.usage.retried else line.usage.step
        key = step, line.usage.instance_type, line.price.per_hour if line.price else None
        groups.setdefault(key, []).append(line)
    return groups


def _endpoint(cost: Cost) -> Iterator[str]:
    if cost.endpoint and cost.hosting is None:
        yield f"endpoint {cost.endpoint} was deleted: it costs nothing now; what it cost is not counted here"
    if cost.hosting:
        if cost.hosting.instances:
            hour, month = _price(cost.an_hour), _price(hosting.per_month(cost.an_hour))
            runs_on = f"{cost.hosting}, {cost.hosting.status}"
            each = f"{hour} an hour, {month} a month"
            yield f"endpoint {cost.endpoint} ({runs_on}) costs {each} until it is deleted"
        if cost.hosting.serverless:
            yield f"endpoint {cost.endpoint} is serverless: it is billed by the request, which is not counted"


def _price(of: Sum) -> str:
    return "an unknown price" if of.unknown and not of.amount else str(of)


def _notes(cost: Cost, prices: Prices) -> Iterator[str]:
    total = cost.total
    if (saved := bill.saved(cost.lines)) > 0:
        share = saved / (saved + total.amount) if not total.unknown else None
        yield f"spot instances saved {money(saved, total.currency)}" + (f" ({share:.0%})" if share else "")
    yield from cost.notes
    for name in sorted({*total.unknown, *cost.an_hour.unknown}):
        yield f"no price is known for {name}: it is not in the sum"
    known = [line.price for line in cost.lines if line.price] + cost.endpoint_prices
    yield from bill.sources(known)
    if prices.note:
        yield prices.note
    if command.is_local():
        yield "this ran on a local service and cost nothing; so much AWS would charge for the same seconds"
    yield NOT_COUNTED


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = command.parser(__doc__ or "", SETTINGS)
    parser.add_argument("execution", metavar="EXECUTION", help=execution_names.NAMES)
    parser.add_argument("--json", action="store_true", help="JSON, each job by itself")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    arguments = _arguments(argv)
    settings = command.settings(arguments)
    execution_names.check(arguments.execution)
    session = command.session(arguments, settings)
    with command.status("reading the jobs"):
        execution = execution_names.find(session.client("sagemaker"), settings, arguments.execution)
        prices = Prices(session, settings.region)
        cost = of_execution(session, execution, prices)
    if arguments.json:
        print(json.dumps(as_json(cost, prices), indent=2))
    else:
        tell(cost, prices)
    return 0


if __name__ == "__main__":
    command.run(main)
