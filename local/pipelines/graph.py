"""Which steps of an execution may start, from the definition and what has ended so far."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from local.definition.definition import Definition, Dependency
from local.home.store import Record

_TRIGGERED_BY = {
    "Completed": ("Succeeded",),
    "Failed": ("Failed",),
    "Stopped": ("Stopped",),
    "Any": ("Succeeded", "Failed", "Stopped"),
}
_FAILURES = ("Failed", "Stopped")


@dataclass(frozen=True)
class Progress:
    """Steps `ready` to start, in the definition's order; failed steps whose failure is `unhandled`."""

    ready: tuple[str, ...]
    unhandled: tuple[str, ...]


def progress(definition: Definition, statuses: Mapping[str, str], outcomes: Mapping[str, bool]) -> Progress:
    """What may start, given the steps' `statuses`; `outcomes` has each Condition's branch.

    After a failure that no step's Trigger waits for, only steps that handle a failure start.
    """
    met: set[str] = set()
    never: set[str] = set()
    recovering: set[str] = set()

    def verdict(edge: Dependency) -> bool | None:
        """Whether an edge is met; None while its step may still end."""
        if edge.step in never:
            return False
        status = statuses.get(edge.step)
        if status not in ("Succeeded", *_FAILURES):
            return None
        branch_taken = edge.branch is None or outcomes.get(edge.step) == edge.branch
        return status in _TRIGGERED_BY[edge.trigger] and branch_taken

    for name in definition.order:
        upstream = definition.steps[name].upstream
        verdicts = [verdict(edge) for edge in upstream]
        if False in verdicts:
            never.add(name)
        elif None not in verdicts:
            met.add(name)
            if any(edge.step in recovering or statuses[edge.step] in _FAILURES for edge in upstream):
                recovering.add(name)

    handled = {
        edge.step
        for name in definition.order
        for edge in definition.steps[name].upstream
        if name not in never and edge.trigger != "Completed"
    }
    failed = (name for name in definition.steps if statuses.get(name) in _FAILURES)
    unhandled = tuple(name for name in failed if name not in handled)
    startable = recovering if unhandled else met
    ready = tuple(name for name in definition.steps if name in startable and name not in statuses)
    return Progress(ready, unhandled)


def succeeded(definition: Definition, steps: Mapping[str, Record]) -> dict[str, Record]:
    """The records of steps that succeeded, and not after one that did not."""
    again = {name for name, step in steps.items() if step["StepStatus"] != "Succeeded"}
    for name in definition.order:
        if any(edge.step in again for edge in definition.steps[name].upstream):
            again.add(name)
    return {name: step for name, step in steps.items() if name not in again}
