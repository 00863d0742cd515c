"""VerifyEndpoint: restore the previous endpoint config unless the endpoint answers as the evaluation did."""

from config import images
from entrypoints.contract import (
    ENDPOINT_CONFIG_NAME,
    ENDPOINT_NAME,
    EXIT_MESSAGE,
    PREVIOUS_ENDPOINT_CONFIG_NAME,
    SAMPLES,
)
from steps import evaluate
from steps.context import Context
from steps.processing import input_folder, processing_step
from steps.sdk import LambdaStep, ProcessingStep

NAME = "VerifyEndpoint"
# Time for SageMaker to roll back an update that took longer than deployment.max_runtime_s.
ROLLBACK_S = 1800


def build(context: Context, evaluating: ProcessingStep, deploying: LambdaStep) -> ProcessingStep:
    """A processing job (Lambda steps end after ten minutes), in the image that certainly has boto3."""
    answer = deploying.properties.Outputs
    return processing_step(
        context,
        "verify",
        image=images.uri("training", context.settings),
        instance_type=context.parameters["VerificationInstanceType"],
        inputs={SAMPLES: evaluate.samples_url(evaluating)},
        outputs={},
        arguments=[
            *("--endpoint", answer[ENDPOINT_NAME]),
            *("--config", answer[ENDPOINT_CONFIG_NAME]),
            *("--previous-config", answer[PREVIOUS_ENDPOINT_CONFIG_NAME]),
            *("--samples", input_folder(SAMPLES)),
            *("--message", EXIT_MESSAGE),
            *("--timeout-s", str(context.settings.deployment.max_runtime_s + ROLLBACK_S)),
            *("--region", context.settings.region),
        ],
        duty="verification",
        cached=False,
        name=NAME,
        display_name="Verify endpoint",
        description="Checks the endpoint on test pictures; on errors restores the previous config",
    )
