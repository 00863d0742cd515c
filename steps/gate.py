"""CheckAccuracy: good enough -> the given steps; else the execution fails and says by how much."""

from collections.abc import Sequence

from entrypoints.contract import ACCURACY, TEST_CLASSES, TEST_PICTURES
from steps import evaluate
from steps.context import Context
from steps.sdk import ConditionGreaterThanOrEqualTo, ConditionStep, FailStep, Join, ProcessingStep, Step

NAME = "CheckAccuracy"
FAIL = "AccuracyTooLow"


def build(context: Context, evaluating: ProcessingStep, passed: Sequence[Step]) -> ConditionStep:
    """accuracy >= AccuracyThreshold decides between `passed` and the Fail step."""
    accuracy, pictures, classes = (
        evaluate.result(evaluating, name) for name in (ACCURACY, TEST_PICTURES, TEST_CLASSES)
    )
    threshold = context.parameters["AccuracyThreshold"]
    failed = FailStep(
        name=FAIL,
        display_name="Accuracy too low",
        description="Nothing was registered or deployed",
        error_message=Join(
            on="",
            values=[
                *("Test accuracy ", accuracy, " on ", pictures, " pictures of ", classes, " classes"),
                *(" is below AccuracyThreshold ", threshold),
            ],
        ),
    )
    return ConditionStep(
        name=NAME,
        display_name="Check accuracy",
        description="Goes on only if the test accuracy reaches AccuracyThreshold",
        conditions=[ConditionGreaterThanOrEqualTo(left=accuracy, right=threshold)],
        if_steps=list(passed),
        else_steps=[failed],
    )
