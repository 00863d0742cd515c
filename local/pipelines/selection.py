"""Selective execution: some steps of a pipeline run; their inputs come from an earlier execution."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from local.definition.definition import Definition
from local.home.store import Record

_REUSABLE = ("Succeeded", "Failed", "Stopped", "CompletedWithFailures")


def select(
    definition: Definition, selected: Iterable[str], source: Record | None
) -> tuple[Definition, dict[str, Record]]:
    """The definition with only the selected steps in its order, and the records that they need from `source`.

    Raises:
        ValueError: an unknown step, selected steps that are not connected, a source that is missing, still
            running, or lacks what the selected steps need.
    """
    chosen = set(selected)
    unknown = sorted(chosen - set(definition.steps))
    if unknown:
        raise ValueError(f"SelectedSteps names {unknown[0]!r}, which is not a step of the pipeline.")
    _check_connected(definition, chosen)
    needed = sorted(
        {edge.step for name in chosen for edge in definition.steps[name].upstream if edge.step not in chosen}
    )
    if needed and source is None:
        raise ValueError(
            f"Invalid SourcePipelineExecutionArn: null. The selected steps {sorted(chosen)}"
            f" have dependencies on {needed}."
        )
    if source is not None and source["PipelineExecutionStatus"] not in _REUSABLE:
        raise ValueError(f"SourcePipelineExecutionArn {source['PipelineExecutionArn']} is still running.")
    reused = {} if source is None else {name: _reused(name, source) for name in needed}
    _check_branches(definition, chosen, reused)
    steps = {
        name: replace(step, upstream=tuple(edge for edge in step.upstream if edge.step in chosen))
        for name, step in definition.steps.items()
    }
    order = tuple(name for name in definition.order if name in chosen)
    return replace(definition, steps=steps, order=order), reused


def _check_connected(definition: Definition, chosen: set[str]) -> None:
    """Every step on a path between two selected ones must be selected too."""
    behind: set[str] = set()
    for name in definition.order:
        upstream = {edge.step for edge in definition.steps[name].upstream}
        left_out = sorted(upstream & behind)
        if name in chosen and left_out:
            raise ValueError(
                f"SelectedSteps are not connected: {left_out[0]!r} is between selected steps and {name!r}."
            )
        if name not in chosen and upstream & (chosen | behind):
            behind.add(name)


def _reused(name: str, source: Record) -> Record:
    arn = source["PipelineExecutionArn"]
    step = source["_steps"].get(name, {})
    if step.get("StepStatus") != "Succeeded":
        raise ValueError(f"The selected steps need {name!r}, which did not succeed in {arn}.")
    return {**step, "SelectiveExecutionResult": {"SourcePipelineExecutionArn": arn}}


def _check_branches(definition: Definition, chosen: set[str], reused: Mapping[str, Record]) -> None:
    for name in sorted(chosen):
        for edge in definition.steps[name].upstream:
            if edge.branch is None or edge.step not in reused:
                continue
            outcome = reused[edge.step]["_properties"]["Outcome"]
            if outcome != str(edge.branch):
                raise ValueError(
                    f"{name!r} is in the branch that {edge.step!r} did not take (it was {outcome})."
                )
