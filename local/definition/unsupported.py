"""Which parts of a pipeline definition the local service cannot run."""

from __future__ import annotations

from collections.abc import Iterator

from local.definition.definition import Definition, Step
from local.definition.step_types import STEP_TYPES
from local.wire.members import unsupported as unsupported_members


def unsupported(definition: Definition) -> list[str]:
    """Why the definition cannot run here, a sentence per step and construct; empty if it can."""
    steps = [step for name, step in definition.steps.items() if name in definition.order]
    reasons = [f"step {step.name!r}: {reason}" for step in steps for reason in _reasons(step)]
    if definition.mlflow is not None:
        reasons.append("MlflowConfig: the local service has no MLflow tracking")
    return reasons


def _reasons(step: Step) -> Iterator[str]:
    kind = STEP_TYPES.get(step.type)
    if kind is None:
        yield f"the local service does not run steps of type {step.type}"
        return
    if kind.resource and kind.name_characters and kind.name_key in step.arguments:
        yield f"{kind.name_key} (a custom job prefix) is not supported"
    yield from kind.unsupported(step.arguments)
    yield from unsupported_members(kind.create, step.arguments)
