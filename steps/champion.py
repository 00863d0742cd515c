"""FindChampion: the deploying function finds the model with which a new one is compared."""

from entrypoints.contract import (
    CHAMPION,
    CHAMPION_URL,
    ENDPOINT_NAME,
    MODEL_PACKAGE_GROUP_NAME,
    NO_CHAMPION_URL,
    REASON,
)
from steps.context import Context
from steps.sdk import Lambda, LambdaOutput, LambdaStep, TrainingStep

NAME = "FindChampion"


def build(context: Context, training: TrainingStep) -> LambdaStep:
    """An invocation of the deploying function, after the training: the serving model may change meanwhile."""
    return LambdaStep(
        name=NAME,
        display_name="Find champion",
        description="Finds what the endpoint serves, or else the newest approved version",
        lambda_func=Lambda(function_arn=context.settings.function_arn, session=context.session),
        inputs={
            ENDPOINT_NAME: context.parameters["EndpointName"],
            MODEL_PACKAGE_GROUP_NAME: context.settings.model_package_group_name,
            NO_CHAMPION_URL: context.code["no_champion"],
        },
        outputs=[LambdaOutput(name) for name in (CHAMPION, CHAMPION_URL, REASON)],
        depends_on=[training.name],
    )
