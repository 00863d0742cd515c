"""RegisterModel: a model package with its metrics and its card."""

from typing import Any

from config import images
from entrypoints.contract import ACCEPTED_CONTENT_TYPES, ANSWERED_CONTENT_TYPES, GATE_METRICS, JSON, METADATA
from steps import card, evaluate, train
from steps.context import Context
from steps.sdk import ConfigurableRetryStep, ProcessingStep, Properties, StepTypeEnum, TrainingStep

NAME = "RegisterModel"


class RegisterStep(ConfigurableRetryStep):  # type: ignore[misc]
    """A CreateModelPackage request as a step.

    The SDK's ModelStep needs a ModelBuilder, which adds environment variables for its own framework
    containers and probes this machine for an instance type.
    """

    def __init__(self, name: str, request: dict[str, Any], **step: Any) -> None:
        super().__init__(name, StepTypeEnum.REGISTER_MODEL, **step)
        self._request = request
        self._properties = Properties(step_name=name, step=self, shape_name="DescribeModelPackageOutput")

    @property
    def arguments(self) -> dict[str, Any]:
        return self._request

    @property
    def properties(self) -> Any:
        return self._properties


def build(
    context: Context, splitting: ProcessingStep, training: TrainingStep, evaluating: ProcessingStep
) -> RegisterStep:
    """A version in the model package group, with the serving image, evaluation.json and the model's card.

    It names no instance types, which are optional (API reference, InferenceSpecification), so
    EndpointInstanceType may be any.
    """
    request = {
        "ModelPackageGroupName": context.settings.model_package_group_name,
        "ModelApprovalStatus": context.parameters["ModelApprovalStatus"],
        "InferenceSpecification": {
            "Containers": [
                {
                    "Image": images.uri("serving", context.settings),
                    "ModelDataUrl": train.model_url(training),
                }
            ],
            "SupportedContentTypes": list(ACCEPTED_CONTENT_TYPES),
            "SupportedResponseMIMETypes": list(ANSWERED_CONTENT_TYPES),
        },
        "ModelMetrics": {
            "ModelQuality": {
                "Statistics": {"ContentType": JSON, "S3Uri": evaluate.report_url(evaluating)},
            }
        },
        # Studio lists it with the version. Steps accept values that JsonGet finds in a property file:
        # "Pipeline Functions" in the SDK's guide (doc/amazon_sagemaker_model_building_pipeline.rst), whose
        # example sets a hyperparameter this way.
        "CustomerMetadataProperties": {
            f"test_{name}": evaluate.result(evaluating, f"{METADATA}.{name}") for name in GATE_METRICS
        },
        # The step supports it since https://github.com/aws/sagemaker-python-sdk/pull/4726. A draft is for
        # people to read and approve.
        "ModelCard": {
            "ModelCardContent": card.content(context, splitting, training, evaluating),
            "ModelCardStatus": "Draft",
        },
        "Domain": "COMPUTER_VISION",
        "Task": "IMAGE_CLASSIFICATION",
    }
    return RegisterStep(
        NAME,
        request,
        display_name="Register model",
        description="Adds the model and its metrics to the model package group",
        retry_policies=context.step_retries(),
    )
