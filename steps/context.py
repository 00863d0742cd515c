"""The common input of every step."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from config.parameters import Parameter
from config.settings import Settings
from steps.sdk import (
    CacheConfig,
    ExecutionVariables,
    Join,
    ParameterFloat,
    ParameterInteger,
    ParameterString,
    PipelineSession,
    RetryPolicy,
    SageMakerJobExceptionTypeEnum,
    SageMakerJobStepRetryPolicy,
    StepExceptionTypeEnum,
    StepRetryPolicy,
)

VOLUME_SIZE_GB = 30


@dataclass(frozen=True)
class Context:
    """Settings, session, execution parameters by name, and the S3 address of each code bundle by name."""

    settings: Settings
    session: PipelineSession
    parameters: Mapping[str, Any]
    code: Mapping[str, str]

    @property
    def tags(self) -> list[dict[str, str]]:
        """The tags of a job."""
        return [{"Key": key, "Value": value} for key, value in sorted(self.settings.resource_tags.items())]

    def output(self, *parts: str) -> Join:
        """An S3 URI under the folder of the running execution."""
        return Join(
            on="/",
            values=[
                f"s3://{self.settings.bucket}/{self.settings.name}/executions",
                ExecutionVariables.PIPELINE_EXECUTION_ID,
                *parts,
            ],
        )

    def step_retries(self) -> list[RetryPolicy]:
        """For all steps with retries: faults of the service."""
        retries = self.settings.retries
        if retries.max_attempts == 0:
            return []
        types = [StepExceptionTypeEnum.SERVICE_FAULT, StepExceptionTypeEnum.THROTTLING]
        return [StepRetryPolicy(types, retries.backoff_rate, retries.interval_s, retries.max_attempts)]

    def job_retries(self, internal_errors: bool = True) -> list[RetryPolicy]:
        """For steps that start a job: also unavailable and lost instances."""
        retries = self.settings.retries
        if retries.max_attempts == 0:
            return []
        types = [SageMakerJobExceptionTypeEnum.CAPACITY_ERROR, SageMakerJobExceptionTypeEnum.RESOURCE_LIMIT]
        if internal_errors:
            types.append(SageMakerJobExceptionTypeEnum.INTERNAL_ERROR)
        job = SageMakerJobStepRetryPolicy(
            exception_types=types,
            backoff_rate=retries.backoff_rate,
            interval_seconds=retries.interval_s,
            max_attempts=retries.max_attempts,
        )
        return [*self.step_retries(), job]

    def cache(self) -> CacheConfig | None:
        expires = self.settings.cache_expires
        return CacheConfig(enable_caching=True, expire_after=expires) if expires else None


def sdk_parameter(parameter: Parameter) -> Any:
    """The SDK's object for an execution parameter."""
    if parameter.type == "Integer":
        return ParameterInteger(parameter.name, parameter.default)
    if parameter.type == "Float":
        return ParameterFloat(parameter.name, parameter.default)
    return ParameterString(parameter.name, parameter.default, parameter.choices)
