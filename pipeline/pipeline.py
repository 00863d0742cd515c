"""What runs, in which order.

SplitDataset -> TuneHyperparameters -> TrainModel -> EvaluateModel -> CheckAccuracy
    CheckAccuracy, accuracy >= AccuracyThreshold -> RegisterModel -> DeployEndpoint
    CheckAccuracy, else                          -> AccuracyTooLow (fails)
"""

import os
from collections.abc import Mapping

import boto3

from config.parameters import execution_parameters
from config.settings import Settings
from steps import code, deploy, evaluate, gate, register, split, train, tune
from steps.context import Context, sdk_parameter
from steps.sdk import Pipeline, PipelineSession

# The SDK would otherwise tell Amazon of each run; an explicit configuration also keeps it from reading files.
_SDK_CONFIG = {"SchemaVersion": "1.0", "SageMaker": {"PythonSDK": {"Modules": {"TelemetryOptOut": True}}}}


def build_pipeline(
    settings: Settings, session: PipelineSession, digests: Mapping[str, str] | None = None
) -> Pipeline:
    """The pipeline, without a single request to AWS.

    `digests` are those of the code bundles, by name (default: entrypoints/ as it is now); the bundles
    themselves are put by `steps.code.upload`.
    """
    digests = digests or code.digests(code.bundles())
    urls = {name: code.url(settings, name, digest) for name, digest in digests.items()}
    parameters = [sdk_parameter(item) for item in execution_parameters(settings, urls["random_weights"])]
    context = Context(settings, session, {parameter.name: parameter for parameter in parameters}, urls)

    splitting = split.build(context)
    tuning = tune.build(context, splitting)
    training = train.build(context, splitting, tuning)
    evaluating = evaluate.build(context, splitting, training)
    registering = register.build(context, training, evaluating)
    deploying = deploy.build(context, registering)
    checking = gate.build(context, evaluating, passed=[registering, deploying])

    return Pipeline(
        name=settings.pipeline_name,
        parameters=parameters,
        steps=[splitting, tuning, training, evaluating, checking],
        sagemaker_session=session,
        # Otherwise each execution would leave an experiment and a trial behind.
        pipeline_experiment_config=None,
    )


def pipeline_session(settings: Settings, boto_session: boto3.Session | None = None) -> PipelineSession:
    """A session for `build_pipeline`: explicit region and bucket, no telemetry, no files of the machine."""
    # The SDK would ask IAM whether the role is good; the service checks it at CreatePipeline anyway.
    os.environ["SAGEMAKER_VALIDATE_ROLE"] = "false"
    return _Session(
        boto_session=boto_session or boto3.Session(region_name=settings.region),
        default_bucket=settings.bucket,
        sagemaker_config=_SDK_CONFIG,
    )


class _Session(PipelineSession):  # type: ignore[misc]
    """The SDK's session looks its default bucket up, and creates it; this one only names it."""

    def default_bucket(self) -> str:
        return str(self._default_bucket_name_override)
