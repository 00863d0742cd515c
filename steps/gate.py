"""The gate: a model that is good enough, better than guessing and as good as the serving one goes on; others
fail.

The conditions are nested, so that each failure is one sentence and Studio shows which one it was.
scripts/refusals.py turns the option in a Fail step's message (--parameter or --set) into a command.
"""

from collections.abc import Sequence
from typing import Any

from entrypoints.contract import (
    ACCURACY_LOWER_BOUND,
    COMPARED,
    COMPARISON,
    DIFFERENCE_BOUND,
    DIFFERENCE_BOUND_TEXT,
    FALSE,
    GUESSING,
    MAJORITY_ACCURACY,
    MEASURED,
    METRIC_LOWER_BOUND,
    METRIC_LOWER_BOUND_TEXT,
    METRIC_VALUE,
    METRIC_VALUE_TEXT,
    TRUE,
)
from steps import evaluate
from steps.context import Context
from steps.sdk import (
    ConditionEquals,
    ConditionGreaterThan,
    ConditionGreaterThanOrEqualTo,
    ConditionOr,
    ConditionStep,
    FailStep,
    Join,
    ProcessingStep,
    Step,
)

NAME = "CheckAccuracy"
THRESHOLD = "AccuracyThreshold"
REPLACE = "ReplaceWorse"
NOTHING_DONE = "Nothing was registered or deployed"


def build(context: Context, evaluating: ProcessingStep, passed: Sequence[Step]) -> ConditionStep:
    """The conditions that lead to the steps `passed`, or each to its own Fail step."""
    passed = [check_champion(context, evaluating, passed)]
    if context.settings.gate.better_than_guessing:
        passed = [check_guessing(evaluating, passed)]
    return check_threshold(context, evaluating, passed)


def check_threshold(context: Context, evaluating: ProcessingStep, passed: Sequence[Step]) -> ConditionStep:
    """gate.metric, or with gate.lower_bound its interval's lower bound, >= AccuracyThreshold."""
    threshold, gate = context.parameters[THRESHOLD], context.settings.gate
    names = [METRIC_VALUE, METRIC_LOWER_BOUND] if gate.lower_bound else [METRIC_VALUE]
    text = evaluate.result(evaluating, METRIC_LOWER_BOUND_TEXT if gate.lower_bound else METRIC_VALUE_TEXT)
    bound = [": its lower bound, ", text, ","] if gate.lower_bound else []
    return _condition(
        NAME,
        "Check accuracy",
        f"Continues only if the test {gate.metric} reaches {THRESHOLD}",
        [
            ConditionGreaterThanOrEqualTo(left=evaluate.result(evaluating, name), right=threshold)
            for name in names
        ],
        passed,
        _refusal(
            "AccuracyTooLow",
            "Accuracy too low",
            *(evaluate.result(evaluating, MEASURED), *bound, " is below AccuracyThreshold ", threshold),
            *(f"; --parameter {THRESHOLD}=", text, " would let it pass"),
        ),
    )


def check_guessing(evaluating: ProcessingStep, passed: Sequence[Step]) -> ConditionStep:
    """The accuracy's lower bound > the accuracy of always choosing the most frequent class."""
    return _condition(
        "CheckGuessing",
        "Check guessing",
        "Continues only if the model is certainly better than always choosing the most frequent class",
        [
            ConditionGreaterThan(
                left=evaluate.result(evaluating, ACCURACY_LOWER_BOUND),
                right=evaluate.result(evaluating, MAJORITY_ACCURACY),
            )
        ],
        passed,
        _refusal(
            "NoBetterThanGuessing",
            "No better than guessing",
            evaluate.result(evaluating, GUESSING),
            "; test it on more pictures; --set gate.better_than_guessing=false would let it pass",
        ),
    )


def check_champion(context: Context, evaluating: ProcessingStep, passed: Sequence[Step]) -> ConditionStep:
    """The bound of the difference from the champion >= -gate.margin; or no champion; or ReplaceWorse."""
    margin = -context.settings.gate.margin
    difference = evaluate.result(evaluating, DIFFERENCE_BOUND)
    return _condition(
        "CheckChampion",
        "Check champion",
        "Continues only if the model is not worse than the one that serves",
        [
            ConditionOr(
                conditions=[
                    ConditionGreaterThanOrEqualTo(left=difference, right=margin),
                    ConditionEquals(left=evaluate.result(evaluating, COMPARED), right=FALSE),
                    ConditionEquals(left=context.parameters[REPLACE], right=TRUE),
                ]
            )
        ],
        passed,
        _refusal(
            "WorseThanChampion",
            "Worse than champion",
            *(evaluate.result(evaluating, COMPARISON), "; "),
            evaluate.result(evaluating, DIFFERENCE_BOUND_TEXT),
            f" is below {margin:g}, minus gate.margin; --parameter {REPLACE}={TRUE} would let it pass",
        ),
    )


def _condition(
    name: str,
    display_name: str,
    description: str,
    conditions: Sequence[Any],
    passed: Sequence[Step],
    refusal: FailStep,
) -> ConditionStep:
    return ConditionStep(
        name=name,
        display_name=display_name,
        description=description,
        conditions=list(conditions),
        if_steps=list(passed),
        else_steps=[refusal],
    )


def _refusal(name: str, display_name: str, *sentence: Any) -> FailStep:
    """A Fail step whose message is composed when it runs."""
    return FailStep(
        name=name,
        display_name=display_name,
        description=NOTHING_DONE,
        error_message=Join(on="", values=list(sentence)),
    )
