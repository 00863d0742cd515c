"""Debugger's built-in rules on a training job's tensors, one function each.

What a rule means and its parameters' names and defaults: "List of Debugger built-in rules" in the SageMaker
developer guide. AWS does not publish the code; where its text is ambiguous, the function says what it chose.
Unless a function says otherwise, steps and patience count saved steps. A finding's step is global, as AWS's.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from local.debugger.tensors import NothingToJudge, Parameters, Series, Tensors, words

ACTIONS = "action_json"  # the rule parameter in which the SDK puts a rule's actions


@dataclass(frozen=True)
class Finding:
    """Why a rule's condition is met, and at which global step; None where no single step is to blame."""

    reason: str
    step: int | None = None


def loss_not_decreasing(tensors: Tensors, parameters: Parameters) -> Finding | None:
    """A loss that has not fallen by diff_percent over num_steps steps (trained steps, not saved ones).

    Unless `mode` says which: the validation loss, or else the training loss, or else the loss that a program
    saved in neither mode.
    """
    every = int(parameters.get("num_steps", 10))
    least = float(parameters.get("diff_percent", 0))
    modes = [parameters["mode"]] if "mode" in parameters else ["EVAL", "TRAIN", "GLOBAL"]
    if {"collection_names", "tensor_regex"} & parameters.keys():
        names = tensors.chosen(parameters)
    else:
        names = tensors.collection("losses")
    for mode in modes:
        found = tensors.losses(mode, names)
        for series in found.values():
            before, then = series[0]
            for step, value in series:
                if step - before < every:
                    continue
                fallen = 100 * (then - value) / abs(then) if then else -math.inf
                if not (fallen >= least and fallen > 0):  # not a number, either
                    reason = f"in mode {mode} it was {then:.4g} at step {before}, {value:.4g} at step {step}"
                    return Finding(reason, tensors.global_step(mode, step))
                before, then = step, value
        if found:
            return None
    raise NothingToJudge("no loss was saved")


def overfit(tensors: Tensors, parameters: Parameters) -> Finding | None:
    """A validation loss that exceeds the training loss by more than ratio_threshold, patience times in a row.

    The training loss is the mean of those saved since the previous validation. AWS's defaults (10 %, once)
    fire at a bad first validation; start_step and patience prevent that.
    """
    train, validation = _both_losses(tensors, parameters)
    start = int(parameters.get("start_step", 0))
    patience = int(parameters.get("patience", 1))
    limit = float(parameters.get("ratio_threshold", 0.1))
    exceeded, since = 0, -1
    for now, value in validation:
        recent = [loss for at, loss in train if since < at <= now]
        since = now
        if now < start or not recent:
            continue
        mean = float(np.mean(recent))
        exceeded = exceeded + 1 if mean and (value - mean) / mean > limit else 0
        if exceeded >= patience:
            reason = f"the validation loss {value:.4g} is over {limit:.0%} above the training loss {mean:.4g}"
            return Finding(reason, now)
    return None


def overtraining(tensors: Tensors, parameters: Parameters) -> Finding | None:
    """The last improvement by delta is patience_train steps ago in the training loss and patience_validation
    steps ago in the validation loss. AWS does not say how the two combine; here both must hold.
    """
    delta = float(parameters.get("delta", 0.1))
    patience = (int(parameters.get("patience_train", 5)), int(parameters.get("patience_validation", 10)))
    events = sorted(
        (step, kind, ago >= patience[kind])
        for kind, series in enumerate(_both_losses(tensors, parameters))
        for step, ago in _since_improvement(series, delta)
    )
    stale = [False, False]
    for step, kind, now in events:
        stale[kind] = now
        if all(stale):
            return Finding(f"neither loss, of training or validation, improves by {delta:g} any more", step)
    return None


def vanishing_gradient(tensors: Tensors, parameters: Parameters) -> Finding | None:
    """A gradient with a mean absolute value below threshold."""
    threshold = float(parameters.get("threshold", 1e-7))
    for step, name in tensors.values(tensors.collection("gradients")):
        if (size := tensors.mean_of_absolutes(name, step)) < threshold:
            return Finding(
                f"the absolute values of {name} have a mean of {size:.3g}, below {threshold:g}", step
            )
    return None


def exploding_tensor(tensors: Tensors, parameters: Parameters) -> Finding | None:
    """A tensor with a value that is not a number or, unless only_nan, infinite."""
    only_nan = parameters.get("only_nan", "False").lower() == "true"
    for step, name in tensors.values(tensors.chosen(parameters)):
        if not only_nan and tensors.has_infinity(name, step):
            return Finding(f"{name} has values that are infinite", step)
        if tensors.has_nan(name, step):
            return Finding(f"{name} has values that are not a number", step)
    return None


def poor_weight_initialization(tensors: Tensors, parameters: Parameters) -> Finding | None:
    """In the first `steps` saved steps: a variance of activation inputs that differs by more than threshold
    between layers, a gradient whose 5th and 95th percentile are closer than distribution_range, or a training
    loss that is not below that of `patience` steps before. Inputs and gradients that were not saved are
    ignored.
    """
    first = int(float(parameters.get("steps", 10)))
    patience = int(parameters.get("patience", 5))
    inputs = tensors.matching(words(parameters.get("activation_inputs_regex", ".*relu_input")))
    gradients = tensors.matching(["gradient/"])
    losses = tensors.losses("TRAIN", tensors.collection("losses"))
    findings = [
        _uneven_variances(tensors, inputs, first, float(parameters.get("threshold", 10))),
        _narrow_gradients(tensors, gradients, first, float(parameters.get("distribution_range", 0.001))),
    ]
    for series in losses.values():
        for (_, before), (step, value) in zip(series[:first], series[patience:first], strict=False):
            if value >= before:
                at = tensors.global_step("TRAIN", step)
                findings.append(Finding(f"the training loss has not fallen for {patience} saved steps", at))
                break
    return min((found for found in findings if found), key=lambda found: found.step or 0, default=None)


def _uneven_variances(tensors: Tensors, names: list[str], first: int, threshold: float) -> Finding | None:
    steps = sorted({step for step, _ in tensors.values(names)})[:first]
    for step in steps:
        variances = [tensors.variance(name, at) for at, name in tensors.values(names) if at == step]
        if max(variances) > threshold * min(variances):
            ratio = max(variances) / min(variances) if min(variances) else math.inf
            return Finding(f"the variance of the activation inputs differs by a factor of {ratio:.3g}", step)
    return None


def _narrow_gradients(tensors: Tensors, names: list[str], first: int, least: float) -> Finding | None:
    steps = sorted({step for step, _ in tensors.values(names)})[:first]
    for step, name in tensors.values(names):
        if step in steps and (spread := tensors.spread(name, step)) < least:
            return Finding(f"90 % of {name} lie within {spread:.3g}, less than {least:g}", step)
    return None


def _both_losses(tensors: Tensors, parameters: Parameters) -> tuple[Series, Series]:
    """The training and the validation loss, by global step; tensor_regex names a loss outside "losses".

    Raises:
        NothingToJudge: one of them was not saved.
    """
    patterns = words(parameters.get("tensor_regex", ""))
    names = tensors.matching(patterns) if patterns else tensors.collection("losses")
    training, validation = (tensors.losses(mode, names) for mode in ("TRAIN", "EVAL"))
    for name in training.keys() & validation.keys():
        return (
            [(tensors.global_step("TRAIN", step), value) for step, value in training[name]],
            [(tensors.global_step("EVAL", step), value) for step, value in validation[name]],
        )
    raise NothingToJudge("no loss was saved both in training and in validation")


def _since_improvement(series: Series, delta: float) -> list[tuple[int, int]]:
    """For every value, how many values ago the loss became better by more than delta."""
    best, ago, found = math.inf, 0, []
    for step, value in series:
        best, ago = (value, 0) if value < best - delta else (best, ago + 1)
        found.append((step, ago))
    return found


RULES: dict[str, Callable[[Tensors, Parameters], Finding | None]] = {
    "LossNotDecreasing": loss_not_decreasing,
    "Overfit": overfit,
    "Overtraining": overtraining,
    "VanishingGradient": vanishing_gradient,
    "ExplodingTensor": exploding_tensor,
    "PoorWeightInitialization": poor_weight_initialization,
}
