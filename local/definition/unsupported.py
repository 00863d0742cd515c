"""What of a pipeline definition the local service cannot run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from local.definition.definition import Definition, Step
from local.definition.step_types import ACTIONS

_RUN_HERE = (*ACTIONS, "Condition", "Fail", "Lambda")
_SCRIPT_MODE = ("sagemaker_program", "sagemaker_submit_directory")


def unsupported(definition: Definition) -> list[str]:
    """Why the definition cannot run here, one sentence per step and construct; empty if it can."""
    steps = [step for name, step in definition.steps.items() if name in definition.order]
    reasons = [f"step {step.name!r}: {reason}" for step in steps for reason in _reasons(step)]
    if definition.mlflow is not None:
        reasons.append("MlflowConfig: the local service has no MLflow tracking")
    return reasons


def _reasons(step: Step) -> Iterator[str]:
    if step.type not in _RUN_HERE:
        yield f"the local service does not run steps of type {step.type}"
        return
    if (
        step.type in ACTIONS
        and ACTIONS[step.type].name_key in step.arguments
        and step.type != "RegisterModel"
    ):
        yield f"{ACTIONS[step.type].name_key} (a custom job prefix) is not supported"
    arguments = step.arguments
    if step.type == "Processing" and not arguments["AppSpecification"].get("ContainerEntrypoint"):
        image = arguments["AppSpecification"]["ImageUri"]
        yield f"no ContainerEntrypoint: what the image {image} itself starts does not run here"
    if step.type == "Training":
        yield from _algorithm(arguments, arguments.get("HyperParameters"))
    if step.type == "Tuning":
        if "TrainingJobDefinitions" in arguments or "TrainingJobDefinition" not in arguments:
            yield "a tuning job needs one TrainingJobDefinition; TrainingJobDefinitions do not run here"
        else:
            trial = arguments["TrainingJobDefinition"]
            yield from _algorithm(trial, trial.get("StaticHyperParameters"))


def _algorithm(arguments: dict[str, Any], hyperparameters: dict[str, Any] | None) -> Iterator[str]:
    algorithm = arguments["AlgorithmSpecification"]
    script = all(key in (hyperparameters or {}) for key in _SCRIPT_MODE)
    if not script and not algorithm.get("ContainerEntrypoint"):
        image = algorithm.get("TrainingImage") or algorithm.get("AlgorithmName")
        yield (
            f"neither the hyperparameters {' and '.join(_SCRIPT_MODE)} nor a ContainerEntrypoint:"
            f" the built-in algorithm of the image {image} does not run here"
        )
