"""The only module that imports the SageMaker SDK for the steps and the pipeline.

The SDK is made for notebooks in AWS: importing it and building a definition fail without a region, look for
credentials over the network, read the machine's files and configure logging. This module prevents all of
that.
"""

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import boto3
from jsonschema.validators import validator_for  # type: ignore[import-untyped]


def offline_boto_session(region: str) -> boto3.Session:
    """A boto3 session without look-ups, with a region and credentials that are never sent."""
    return boto3.Session(region_name=region, aws_access_key_id="none", aws_secret_access_key="none")


@contextmanager
def _import_without_traces() -> Iterator[None]:
    """`sagemaker.ai_registry` makes boto3 clients on import, `sagemaker.train` calls logging.basicConfig."""
    root = logging.getLogger()
    handlers, level, session = root.handlers[:], root.level, boto3.DEFAULT_SESSION
    boto3.DEFAULT_SESSION = offline_boto_session("us-east-1")
    try:
        yield
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
        boto3.DEFAULT_SESSION = session


# The SDK would ask IAM whether the role is valid; the service itself checks it at CreatePipeline.
os.environ["SAGEMAKER_VALIDATE_ROLE"] = "false"

# Warnings at every step about what a pipeline does anyway.
warnings.filterwarnings("ignore", message="Running within a PipelineSession")
warnings.filterwarnings("ignore", message="Lambda function won't be updated")

logging.getLogger("sagemaker.core.workflow.utilities").setLevel(logging.ERROR)

with _import_without_traces():
    import sagemaker.mlops.workflow.steps as workflow_steps
    from sagemaker.core.config.config_manager import SageMakerConfig
    from sagemaker.core.config.config_schema import SAGEMAKER_PYTHON_SDK_CONFIG_SCHEMA
    from sagemaker.core.debugger import (
        CollectionConfig,
        DebuggerHookConfig,
        ProfilerConfig,
        ProfilerRule,
        Rule,
        rule_configs,
    )
    from sagemaker.core.lambda_helper import Lambda
    from sagemaker.core.local.local_session import LocalSagemakerClient
    from sagemaker.core.parameter import CategoricalParameter, ContinuousParameter
    from sagemaker.core.processing import Processor
    from sagemaker.core.shapes import (
        BestObjectiveNotImproving,
        Channel,
        CheckpointConfig,
        DataSource,
        ProcessingInput,
        ProcessingOutput,
        ProcessingS3Input,
        ProcessingS3Output,
        S3DataSource,
        TuningJobCompletionCriteria,
    )
    from sagemaker.core.training.configs import Compute, OutputDataConfig, StoppingCondition
    from sagemaker.core.workflow.conditions import (
        ConditionEquals,
        ConditionGreaterThan,
        ConditionGreaterThanOrEqualTo,
        ConditionOr,
    )
    from sagemaker.core.workflow.execution_variables import ExecutionVariables
    from sagemaker.core.workflow.functions import Join, JsonGet
    from sagemaker.core.workflow.parameters import ParameterFloat, ParameterInteger, ParameterString
    from sagemaker.core.workflow.pipeline_context import PipelineSession
    from sagemaker.core.workflow.properties import Properties, PropertyFile
    from sagemaker.mlops.workflow.condition_step import ConditionStep
    from sagemaker.mlops.workflow.fail_step import FailStep
    from sagemaker.mlops.workflow.lambda_step import LambdaOutput, LambdaOutputTypeEnum, LambdaStep
    from sagemaker.mlops.workflow.pipeline import Pipeline
    from sagemaker.mlops.workflow.retry import (
        RetryPolicy,
        SageMakerJobExceptionTypeEnum,
        SageMakerJobStepRetryPolicy,
        StepExceptionTypeEnum,
        StepRetryPolicy,
    )
    from sagemaker.mlops.workflow.steps import (
        CacheConfig,
        ConfigurableRetryStep,
        ProcessingStep,
        Step,
        StepTypeEnum,
        TrainingStep,
        TuningStep,
    )
    from sagemaker.train import ModelTrainer
    from sagemaker.train.tuner import HyperparameterTuner

# Each of some fifty look-ups validates the configuration, and before that its schema against the schema of
# schemas, which takes 0.1 s. The configuration is enough.
SageMakerConfig.validate_sagemaker_config = staticmethod(
    validator_for(SAGEMAKER_PYTHON_SDK_CONFIG_SCHEMA)(SAGEMAKER_PYTHON_SDK_CONFIG_SCHEMA).validate
)

# A processing step creates a client for local mode, with its own session, only to read a method's name.
workflow_steps.LocalSagemakerClient = partial(object.__new__, LocalSagemakerClient)


class OfflineSession(PipelineSession):  # type: ignore[misc]
    """A session to build definitions with: a region, a bucket, and no client that could reach AWS.

    The SDK's session creates its default bucket when asked for its name, reads the machine's configuration
    files and reports each use to Amazon.
    """

    def __init__(self, region: str, bucket: str) -> None:
        super().__init__(boto_session=offline_boto_session(region), default_bucket=bucket)
        self._default_bucket = bucket

    def _initialize(self, boto_session: boto3.Session, **_clients: object) -> None:
        self.boto_session = boto_session
        self._region_name = boto_session.region_name
        self.sagemaker_client = None
        self.local_mode = False
        self.sagemaker_config = {
            "SchemaVersion": "1.0",
            "SageMaker": {"PythonSDK": {"Modules": {"TelemetryOptOut": True}}},
        }


__all__ = [
    "BestObjectiveNotImproving",
    "CacheConfig",
    "CategoricalParameter",
    "Channel",
    "CheckpointConfig",
    "CollectionConfig",
    "Compute",
    "ConditionEquals",
    "ConditionGreaterThan",
    "ConditionGreaterThanOrEqualTo",
    "ConditionOr",
    "ConditionStep",
    "ConfigurableRetryStep",
    "ContinuousParameter",
    "DataSource",
    "DebuggerHookConfig",
    "ExecutionVariables",
    "FailStep",
    "HyperparameterTuner",
    "Join",
    "JsonGet",
    "Lambda",
    "LambdaOutput",
    "LambdaOutputTypeEnum",
    "LambdaStep",
    "ModelTrainer",
    "OfflineSession",
    "OutputDataConfig",
    "ParameterFloat",
    "ParameterInteger",
    "ParameterString",
    "Pipeline",
    "PipelineSession",
    "ProcessingInput",
    "ProcessingOutput",
    "ProcessingS3Input",
    "ProcessingS3Output",
    "ProcessingStep",
    "Processor",
    "ProfilerConfig",
    "ProfilerRule",
    "Properties",
    "PropertyFile",
    "RetryPolicy",
    "Rule",
    "S3DataSource",
    "SageMakerJobExceptionTypeEnum",
    "SageMakerJobStepRetryPolicy",
    "Step",
    "StepExceptionTypeEnum",
    "StepRetryPolicy",
    "StepTypeEnum",
    "StoppingCondition",
    "TrainingStep",
    "TuningJobCompletionCriteria",
    "TuningStep",
    "offline_boto_session",
    "rule_configs",
]
