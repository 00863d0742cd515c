"""The list of executions: each with its status, duration, measurement on the test pictures and cost."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from rich.table import Table

from entrypoints.verdict import percent
from scripts import bill, usage
from scripts.execution import ENDED, steps_of
from scripts.execution_names import id_of
from scripts.prices import Prices

if TYPE_CHECKING:
    from mypy_boto3_sagemaker.client import SageMakerClient

_MEASURED = re.compile(r"Test (.+?) ([0-9.e-]+) \(")  # entrypoints/verdict.py, `sentence`
_PAGE = 100  # at most in a page (ListPipelineExecutions)


@dataclass(frozen=True)
class Row:
    """An execution in the list."""

    arn: str
    status: str
    began: datetime
    duration_s: float
    refused: bool
    measured: tuple[str, float] | None  # the metric, and its value on the test pictures
    cost: bill.Sum


def newest(sagemaker: SageMakerClient, pipeline: str, limit: int) -> tuple[list[dict[str, Any]], bool]:
    """Summaries of the newest executions, and whether there are more.

    Raises:
        ClientError: there is no such pipeline, or AWS refused.
    """
    found: list[dict[str, Any]] = []
    pages = sagemaker.get_paginator("list_pipeline_executions").paginate(
        PipelineName=pipeline,
        SortBy="CreationTime",
        SortOrder="Descending",
        PaginationConfig={"PageSize": min(limit + 1, _PAGE)},
    )
    for page in pages:
        found += page["PipelineExecutionSummaries"]  # type: ignore[arg-type]
        if len(found) > limit:
            break
    return found[:limit], len(found) > limit


def row(sagemaker: SageMakerClient, summary: Mapping[str, Any], prices: Prices) -> Row:
    """The row of an execution.

    Raises:
        ClientError: AWS refused.
    """
    arn, status = summary["PipelineExecutionArn"], summary["PipelineExecutionStatus"]
    began = summary["StartTime"]
    steps = steps_of(sagemaker, arn)
    attempts = any(step.get("AttemptCount", 0) for step in steps)
    used = usage.of_execution(sagemaker, summary, steps, attempts)
    ends = [step["EndTime"] for step in steps if "EndTime" in step]
    ended = max(ends, default=began) if status in ENDED else datetime.now(UTC)
    return Row(
        arn,
        status,
        began,
        (ended - began).total_seconds(),
        any("Fail" in step.get("Metadata", {}) for step in steps),
        measured(used.messages.get("EvaluateModel", "")),
        bill.total(bill.lines(used.usages, prices)),
    )


def measured(message: str) -> tuple[str, float] | None:
    """The metric and its value (0..1) in what EvaluateModel said last; None if it did not get there."""
    found = _MEASURED.match(message)
    return (found[1], float(found[2])) if found else None


def table_of(rows: Sequence[Row]) -> Table:
    """A line for each execution."""
    table = Table(box=None, pad_edge=False)
    for column in ("execution", "status", "started"):
        table.add_column(column, no_wrap=True)
    for column in ("duration", "test", "cost"):
        table.add_column(column, justify="right", no_wrap=True)
    for item in rows:
        table.add_row(
            id_of(item.arn),
            f"{item.status}{', refused' if item.refused else ''}",
            f"{item.began.astimezone():%Y-%m-%d %H:%M}",
            duration(item.duration_s),
            _measurement(item.measured),
            "unknown" if item.cost.unknown and not item.cost.amount else str(item.cost),
        )
    return table


def _measurement(found: tuple[str, float] | None) -> str:
    if found is None:
        return ""
    metric, value = found
    return percent(value) if metric == "accuracy" else f"{value:.4g} {metric}"


def as_json(item: Row) -> dict[str, Any]:
    """A row's members in JSON."""
    metric, value = item.measured or (None, None)
    return {
        "execution": item.arn,
        "status": item.status,
        "started": item.began.isoformat(),
        "seconds": round(item.duration_s, 1),
        "refused": item.refused,
        "metric": metric,
        "value": value,
        "cost": item.cost.amount,
        "currency": item.cost.currency,
        "complete": not item.cost.unknown,
    }


def duration(of_s: float) -> str:
    """A duration in the two largest units that it has: 42 s, 12 min 3 s, 2 h 5 min."""
    whole = round(of_s)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
