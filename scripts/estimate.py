"""What an execution will cost, before it starts: instance hours times price, for each step that has a job.

The hours are the median of earlier executions of the pipeline or, where there are none, follow from measured
rates.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Any

from rich.table import Table

import scripts.command as command
from config.parameters import DATASET, WEIGHTS
from config.settings import Settings
from scripts import bill, hosting, usage
from scripts.bill import Line, Sum
from scripts.execution import ENDED, parameters_of, steps_of
from scripts.hosting import Hosting
from scripts.prices import Price, Prices, Use
from scripts.rates import Rates, every_step
from scripts.usage import Usage

if TYPE_CHECKING:
    import boto3

LOOKED_AT = 10  # earlier executions
THREADS = 8
# What changes how long a job takes, beside its instances; other parameters do not.
_MATTERS = (DATASET, WEIGHTS, "Epochs", "ImageSize")

RATES, OTHERS = "rates", ", other parameters"
_DEPLOYS = "DeployEndpoint"


@dataclass(frozen=True)
class Planned:
    """The jobs of a step: how many at most, and on what."""

    step: str
    use: Use
    instance_type: str
    instances: int
    jobs: int = 1
    spot: bool = False


@dataclass(frozen=True)
class Estimate:
    """A step's jobs with what they will probably use, and how that is known."""

    planned: Planned
    line: Line  # all jobs of the step as one
    basis: str


def of_new(
    session: boto3.Session,
    settings: Settings,
    definition: str,
    given: Mapping[str, str],
    selected: Collection[str] = (),
) -> None:
    """Print what a new execution would cost, and its endpoint a month.

    Args:
        definition: the pipeline's.
        given: parameters that are not left to their defaults.
        selected: the steps that run; all if empty.

    Raises:
        Failure: nobody can tell; the message says what is missing.
        ClientError: AWS refused.
    """
    prices = Prices(session, settings.region)
    with command.status("reading earlier executions"):
        found = estimates(session, settings.pipeline_name, definition, given, selected, prices)
    values = values_of(definition, given)
    names = {step["Name"] for step in every_step(json.loads(definition)["Steps"])}
    endpoint = None
    if _DEPLOYS in names and (not selected or _DEPLOYS in selected):
        instances = (values["EndpointInstanceType"], int(values["EndpointInstanceCount"]))
        endpoint = Hosting(values["EndpointName"], "", (instances,))
    tell(found, endpoint, prices)


@dataclass(frozen=True)
class _Earlier:
    """An earlier execution: its parameters, and what each step that succeeded used."""

    parameters: Mapping[str, str]
    usages: Mapping[str, Sequence[Usage]]


def plan(definition: str, given: Mapping[str, str], selected: Collection[str] = ()) -> list[Planned]:
    """The jobs of an execution that the gate lets pass, in order.

    Args:
        definition: the pipeline's.
        given: parameters that are not left to their defaults.
        selected: the steps that run; all if empty.

    Raises:
        Failure: a step's instances depend on something that only the execution knows.
    """
    content = json.loads(definition)
    values = values_of(definition, given)
    return [
        planned
        for step in every_step(content["Steps"])
        if not selected or step["Name"] in selected
        if (planned := _planned(step, values))
    ]


def values_of(definition: str, given: Mapping[str, str]) -> dict[str, str]:
    """The value of each parameter that has one."""
    parameters = json.loads(definition).get("Parameters", [])
    defaults = {item["Name"]: str(item["DefaultValue"]) for item in parameters if "DefaultValue" in item}
    return {**defaults, **given}


def _planned(step: Mapping[str, Any], values: Mapping[str, str]) -> Planned | None:
    name, arguments = step["Name"], step["Arguments"]

    def value(of: Any) -> str:
        if not isinstance(of, dict):
            return str(of)
        parameter = str(of.get("Get", "")).removeprefix("Parameters.")
        if parameter not in values:
            command.fail(f"--estimate: the instances of {name} are {json.dumps(of)}, which is not known yet")
        return values[parameter]

    if step["Type"] == "Processing":
        cluster = arguments["ProcessingResources"]["ClusterConfig"]
        return Planned(
            name, "processing", value(cluster["InstanceType"]), int(value(cluster["InstanceCount"]))
        )
    if step["Type"] not in {"Training", "Tuning"}:
        return None
    job, jobs = arguments, 1
    if step["Type"] == "Tuning":
        limits = arguments["HyperParameterTuningJobConfig"]["ResourceLimits"]
        job, jobs = arguments["TrainingJobDefinition"], int(value(limits["MaxNumberOfTrainingJobs"]))
    resources, spot = job["ResourceConfig"], bool(job.get("EnableManagedSpotTraining"))
    instance_type, count = value(resources["InstanceType"]), int(value(resources["InstanceCount"]))
    return Planned(name, "training", instance_type, count, jobs, spot)


def estimates(
    session: boto3.Session,
    pipeline: str,
    definition: str,
    given: Mapping[str, str],
    selected: Collection[str],
    prices: Prices,
) -> list[Estimate]:
    """An estimate for each step of a new execution that has a job.

    Raises:
        Failure: nobody ran such a step before, and there are no pictures to estimate from.
        ClientError: AWS refused.
    """
    values = values_of(definition, given)
    earlier = _earlier(session, pipeline)
    measured: list[Estimate] = []
    rates: Rates | None = None
    for planned in plan(definition, given, selected):
        hours, basis = _from(earlier, planned, values)
        if not hours:
            rates = rates or Rates(session, definition, values)
            hours, basis = (
                [rates.hours(planned.step, planned.use, planned.instances, planned.jobs)],
                RATES,
            )
        seconds = median(hours) * 3600 / planned.instances
        used = Usage(
            planned.step, "", planned.use, planned.instance_type, planned.instances, seconds, seconds
        )
        price = prices.of(planned.instance_type, planned.use)
        measured.append(Estimate(planned, Line(used, price), basis))
    return measured


def _earlier(session: boto3.Session, pipeline: str) -> list[_Earlier]:
    """The newest executions that are over."""
    sagemaker = session.client("sagemaker")
    found = sagemaker.list_pipeline_executions(
        PipelineName=pipeline, SortBy="CreationTime", SortOrder="Descending", MaxResults=2 * LOOKED_AT
    )["PipelineExecutionSummaries"]
    over = [summary for summary in found if summary["PipelineExecutionStatus"] in ENDED][:LOOKED_AT]

    def read(summary: Any) -> _Earlier:
        arn = summary["PipelineExecutionArn"]
        steps = steps_of(sagemaker, arn)
        done = {step["StepName"] for step in steps if step["StepStatus"] == "Succeeded"}
        used = usage.of_execution(sagemaker, summary, steps, attempts=False)
        usages: dict[str, list[Usage]] = {}
        for item in used.usages:
            if item.step in done:
                usages.setdefault(item.step, []).append(item)
        return _Earlier(parameters_of(session, arn), usages)

    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(read, over))


def _from(
    earlier: Sequence[_Earlier], planned: Planned, values: Mapping[str, str]
) -> tuple[list[float], str]:
    """Billed instance hours of the step in earlier executions on the same instances, and where they are from.

    Those with the same pictures, weights, epochs and image size count alone, if there are any.
    """
    of_step = [(item, item.usages[planned.step]) for item in earlier if planned.step in item.usages]
    fitting = [
        (item, usages)
        for item, usages in of_step
        if {(used.instance_type, used.instances) for used in usages}
        == {(planned.instance_type, planned.instances)}
    ]
    same = [
        (item, usages)
        for item, usages in fitting
        if all(item.parameters.get(name) == values.get(name) for name in _MATTERS)
    ]
    hours = [_hours(usages, planned.jobs) for _, usages in same or fitting]
    if not hours:
        return [], ""
    count = f"{len(hours)} execution{'s' if len(hours) > 1 else ''}"
    spread = f", {min(hours) * 3600:.0f} to {max(hours) * 3600:.0f} s" if len(hours) > 1 else ""
    return hours, f"{count}{spread}{'' if same else OTHERS}"


def _hours(usages: Sequence[Usage], jobs: int) -> float:
    """As if the step had had as many jobs as it will have."""
    return sum(used.billable_h for used in usages) / len(usages) * jobs


def tell(found: Sequence[Estimate], endpoint: Hosting | None, prices: Prices) -> None:
    """Print the estimate.

    Args:
        endpoint: what the execution deploys; None: nothing.
    """
    say, lines = command.output.print, [item.line for item in found]
    say(_table(found), soft_wrap=True)
    an_hour, endpoint_prices = hosting.rate(endpoint, prices) if endpoint else (Sum(0, "USD"), [])
    if endpoint:
        month = "an unknown price" if an_hour.unknown else str(hosting.per_month(an_hour))
        say(
            f"then the endpoint {endpoint.endpoint} ({endpoint}): {month} a month until it is deleted",
            soft_wrap=True,
        )
    notes = [
        f"no price is known for {name}" for name in sorted({*bill.total(lines).unknown, *an_hour.unknown})
    ]
    if any(item.basis == RATES for item in found):
        notes.append("rates were measured on other machines: half to twice as much is likely")
    if any(item.basis.endswith(OTHERS) for item in found):
        notes.append("other parameters: no earlier execution had the same pictures, weights, epochs and size")
    if any(item.planned.spot and item.basis == RATES for item in found):
        notes.append("spot instances: it will be less")
    known: list[Price] = [line.price for line in lines if line.price] + endpoint_prices
    notes += bill.sources(known)
    if prices.note:
        notes.append(prices.note)
    if command.is_local():
        notes.append("on a local service it costs nothing; so much AWS would charge for the same seconds")
    notes.append(
        "if the gate lets the model pass; not counted: storage, transfer, logs, Lambda, taxes, discounts"
    )
    for note in notes:
        say(note, soft_wrap=True)


def _table(found: Sequence[Estimate]) -> Table:
    table = Table(box=None, pad_edge=False)
    for column in ("step", "instances"):
        table.add_column(column, no_wrap=True)
    for column in ("hours", "cost"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("from")
    for item in found:
        planned, cost = item.planned, item.line.cost
        count = f"{planned.instances} x " if planned.instances > 1 else ""
        jobs = f", {planned.jobs} jobs" if planned.jobs > 1 else ""
        shown = "unknown" if cost is None else bill.digits(cost)
        each = f"{item.line.usage.billable_h:.3f}"
        table.add_row(planned.step, f"{count}{planned.instance_type}{jobs}", each, shown, item.basis)
    lines = [item.line for item in found]
    hours = sum(line.usage.billable_h for line in lines)
    table.add_row("sum", "", f"{hours:.3f}", str(bill.total(lines)), "")
    return table
