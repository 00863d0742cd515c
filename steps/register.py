"""RegisterModel: a model package with its metrics."""

from config import images
from entrypoints.contract import ACCEPTED_CONTENT_TYPES, ANSWERED_CONTENT_TYPES, JSON
from steps import evaluate, train
from steps.context import Context
from steps.sdk import MetricsSource, ModelBuilder, ModelMetrics, ModelStep, ProcessingStep, TrainingStep

NAME = "RegisterModel"
# Where the model is known to run; EndpointInstanceType may still be another one.
INFERENCE_INSTANCES = ["ml.m5.large", "ml.m5.xlarge", "ml.m5.2xlarge", "ml.c5.xlarge", "ml.c5.2xlarge"]


def build(context: Context, training: TrainingStep, evaluating: ProcessingStep) -> ModelStep:
    """A version in the model package group, with the serving image and evaluation.json."""
    builder = ModelBuilder(
        s3_model_data_url=train.model_url(training),
        image_uri=images.uri("serving", context.settings),
        role_arn=context.settings.execution_role,
        sagemaker_session=context.session,
    )
    return ModelStep(
        name=NAME,
        display_name="Register model",
        description="Adds the model and its metrics to the model package group",
        step_args=builder.register(
            model_package_group_name=context.settings.model_package_group_name,
            approval_status=context.parameters["ModelApprovalStatus"],
            content_types=list(ACCEPTED_CONTENT_TYPES),
            response_types=list(ANSWERED_CONTENT_TYPES),
            inference_instances=INFERENCE_INSTANCES,
            model_metrics=ModelMetrics(
                model_statistics=MetricsSource(s3_uri=evaluate.report_url(evaluating), content_type=JSON),
            ),
            domain="COMPUTER_VISION",
            task="IMAGE_CLASSIFICATION",
        ),
        retry_policies=context.step_retries(),
    )
