"""What a check is: a question to AWS or to the local service that changes nothing, and what came of it."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from botocore.exceptions import BotoCoreError, ClientError

import scripts.command as command
from config.settings import Settings
from config.values import SettingsError
from scripts import aws_errors

if TYPE_CHECKING:
    import boto3

State = Literal["ok", "warning", "failure"]

# Every operation that a check may call, and the permission that it needs where IAM's name differs from
# "service:Operation". Service Authorization Reference, "Actions defined by ..." of each service.
READS: Mapping[str, str] = {
    "DescribeEndpoint": "sagemaker:DescribeEndpoint",
    "DescribeEndpointConfig": "sagemaker:DescribeEndpointConfig",
    "DescribeImages": "ecr:DescribeImages",
    "DescribeModel": "sagemaker:DescribeModel",
    "DescribePipeline": "sagemaker:DescribePipeline",
    "DescribeProcessingJob": "sagemaker:DescribeProcessingJob",
    "DescribeTrainingJob": "sagemaker:DescribeTrainingJob",
    "GetBucketEncryption": "s3:GetEncryptionConfiguration",
    "GetBucketVersioning": "s3:GetBucketVersioning",
    "GetCallerIdentity": "sts:GetCallerIdentity",
    "GetPublicAccessBlock": "s3:GetBucketPublicAccessBlock",
    "GetRole": "iam:GetRole",
    "GetSchedule": "scheduler:GetSchedule",
    "HeadBucket": "s3:ListBucket",
    "ListAWSDefaultServiceQuotas": "servicequotas:ListAWSDefaultServiceQuotas",
    "ListEndpoints": "sagemaker:ListEndpoints",
    "ListObjectsV2": "s3:ListBucket",
    "ListProcessingJobs": "sagemaker:ListProcessingJobs",
    "ListSchedules": "scheduler:ListSchedules",
    "ListServiceQuotas": "servicequotas:ListServiceQuotas",
    "ListTags": "sagemaker:ListTags",
    "ListTrainingJobs": "sagemaker:ListTrainingJobs",
    "SimulatePrincipalPolicy": "iam:SimulatePrincipalPolicy",
}


@dataclass(frozen=True)
class Result:
    """What a check found, and what to do about it: a command where there is one, else words; may be empty."""

    check: str
    state: State
    found: str
    remedy: str = ""


@dataclass(frozen=True)
class Subject:
    """The deployment that is looked at.

    Args:
        parameters: the execution parameters that a start would have, defaults included.
        options: those that make another command read the same settings, and talk to the same service.
    """

    settings: Settings
    session: boto3.Session
    parameters: Mapping[str, str]
    options: tuple[str, ...] = ()
    _clients: dict[str, Any] = field(default_factory=dict, compare=False)

    def client(self, service: str) -> Any:
        """The session's client of a service; all checks have the same."""
        if service not in self._clients:
            self._clients[service] = self.session.client(service)  # type: ignore[call-overload]
        return self._clients[service]

    @property
    def local(self) -> bool:
        return command.is_local()

    def python(self, script: str, *arguments: str) -> str:
        """A command of this project for the same deployment."""
        return shlex.join(["python", f"scripts/{script}", *self.options, *arguments])

    def aws(self, *words: str) -> str:
        """A command of the AWS CLI for the same region or service."""
        where = [f"--region={self.settings.region}"]
        if self.local:
            where.append(f"--endpoint-url={self.session.client('sts').meta.endpoint_url}")
        return shlex.join(["aws", *words, *where])


def subject(
    arguments: argparse.Namespace, settings: Settings, session: boto3.Session, parameters: Mapping[str, str]
) -> Subject:
    """The deployment that a command was started for; call it after `command.session`."""
    options = [f"--local={arguments.local}"] if arguments.local else []
    options += command.same_settings(arguments, command.UPSERTED)
    return Subject(settings, session, parameters, tuple(options))


# Each result has the name of what it is about; an error of AWS ends the check.
Check = Callable[[Subject], Iterator[Result]]


def perform(name: str, check: Check, subject: Subject) -> list[Result]:
    """The results of one check. What AWS denies is a warning that names the permission; what else goes wrong
    is a failure of this check alone.
    """
    results: list[Result] = []
    try:
        for result in check(subject):
            results.append(result)  # noqa: PERF402 - those before an error count
    except ClientError as error:
        if aws_errors.is_denied(error):
            permission = READS.get(error.operation_name, error.operation_name)
            results.append(
                Result(
                    name,
                    "warning",
                    f"not known: these credentials may not {permission}",
                    f"allow {permission}, or let somebody look who may",
                )
            )
        else:
            results.append(Result(name, "failure", aws_errors.explain(error)))
    except BotoCoreError as error:
        results.append(Result(name, "failure", aws_errors.explain(error)))
    except (SettingsError, command.Failure) as error:
        results.append(Result(name, "failure", aws_errors.one_line(str(error))))
    return results


def refuse(subject: Subject, checks: Iterable[Check]) -> None:
    """End the command with the first failure of these checks; what AWS denies them is no reason.

    Raises:
        Failure: a check fails.
        BotoCoreError, ClientError: AWS cannot be asked, and not because a permission is missing.
    """
    for check in checks:
        try:
            for result in check(subject):
                if result.state == "failure":
                    command.fail(f"{result.found}; {result.remedy}" if result.remedy else result.found)
        except ClientError as error:
            if not aws_errors.is_denied(error):
                raise
