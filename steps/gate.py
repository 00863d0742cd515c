"""The gate: good enough, better than guessing, as good as what serves -> the given steps; else a failure.

A condition each, one inside the other, so that each failure is one sentence and Studio shows which it was.
Of the option in what a Fail step says, --parameter or --set, scripts/refusals.py makes a command.
"""

from collections.abc import Sequence

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
    """The conditions that decide between `passed` and a Fail step of each."""
    passed = [check_champion(context, evaluating, passed)]
    if context.settings.gate.better_than_guessing:
        passed = [check_guessing(evaluating, passed)]
    return check_threshold(context, evaluating, passed)


def check_threshold(context: Context, evaluating: ProcessingStep, passed: Sequence[Step]) -> ConditionStep:
    """gate.metric, and with gate.lower_bound its interval's lower bound, >= AccuracyThreshold."""
    threshold, gate = context.parameters[THRESHOLD], context.settings.gate
    conditions = [METRIC_VALUE, METRIC_LOWER_BOUND] if gate.lower_bound else [METRIC_VALUE]
    text = evaluate.result(evaluating, METRIC_LOWER_BOUND_TEXT if gate.lower_bound else METRIC_VALUE_TEXT)
    bound = [": its lower bound, ", text, ","] if gate.lower_bound else []
    failed = FailStep(
        name="AccuracyTooLow",
        display_name="Accuracy too low",
        description=NOTHING_DONE,
        error_message=Join(
            on="",
            values=[
                *(evaluate.result(evaluating, MEASURED), *bound, " is below AccuracyThreshold ", threshold),
                *(f"; --parameter {THRESHOLD}=", text, " would let it pass"),
            ],
        ),
    )
    return ConditionStep(
        name=NAME,
        display_name="Check accuracy",
        description=f"Goes on only if the test {gate.metric} reaches {THRESHOLD}",
        conditions=[
            ConditionGreaterThanOrEqualTo(left=evaluate.result(evaluating, name), right=threshold)
            for name in conditions
        ],
        if_steps=list(passed),
        else_steps=[failed],
    )


def check_guessing(evaluating: ProcessingStep, passed: Sequence[Step]) -> ConditionStep:
    """The accuracy's lower bound > what always answering the most frequent class reaches."""
    failed = FailStep(
        name="NoBetterThanGuessing",
        display_name="No better than guessing",
        description=NOTHING_DONE,
        error_message=Join(
            on="",
            values=[
                evaluate.result(evaluating, GUESSING),
                "; test it on more pictures; --set gate.better_than_guessing=false would let it pass",
            ],
        ),
    )
    return ConditionStep(
        name="CheckGuessing",
        display_name="Check guessing",
        description="Goes on only if the model is surely better than always the most frequent class",
        conditions=[
            ConditionGreaterThan(
                left=evaluate.result(evaluating, ACCURACY_LOWER_BOUND),
                right=evaluate.result(evaluating, MAJORITY_ACCURACY),
            )
        ],
        if_steps=list(passed),
        else_steps=[failed],
    )


def check_champion(context: Context, evaluating: ProcessingStep, passed: Sequence[Step]) -> ConditionStep:
    """The bound of the difference to the champion >= -gate.margin; or there is none; or ReplaceWorse."""
    margin = -context.settings.gate.margin
    failed = FailStep(
        name="WorseThanChampion",
        display_name="Worse than champion",
        description=NOTHING_DONE,
        error_message=Join(
            on="",
            values=[
                *(evaluate.result(evaluating, COMPARISON), "; "),
                evaluate.result(evaluating, DIFFERENCE_BOUND_TEXT),
                f" is below {margin:g}, minus gate.margin; --parameter {REPLACE}={TRUE} would let it pass",
            ],
        ),
    )
    return ConditionStep(
        name="CheckChampion",
        display_name="Check champion",
        description="Goes on only if the model is not worse than the one that serves",
        conditions=[
            ConditionOr(
                conditions=[
                    ConditionGreaterThanOrEqualTo(
                        left=evaluate.result(evaluating, DIFFERENCE_BOUND), right=margin
                    ),
                    ConditionEquals(left=evaluate.result(evaluating, COMPARED), right=FALSE),
                    ConditionEquals(left=context.parameters[REPLACE], right=TRUE),
                ]
            )
        ],
        if_steps=list(passed),
        else_steps=[failed],
    )
