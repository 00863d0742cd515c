"""Create or update the pipeline, the deploying function and the model package group.

Nothing is executed: start executions in Studio or with scripts/start_execution.py. --dry-run changes nothing;
it prints the definition on stdout and what would change in the live one on stderr.
"""

from __future__ import annotations

if not __package__:
    import root  # noqa: F401

import base64
import hashlib
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

import scripts.command as command
from config.settings import Settings
from pipeline.definition import diff, sealed
from scripts import aws_errors, debugger, schedules, tags
from scripts.checks import account, bucket, roles
from scripts.checks.check import Subject, refuse, subject
from steps import code
from steps.wheels import WheelsError

if TYPE_CHECKING:
    import boto3
    from mypy_boto3_lambda.client import LambdaClient
    from mypy_boto3_sagemaker.client import SageMakerClient
    from mypy_boto3_sagemaker.type_defs import DescribePipelineResponseTypeDef

RUNTIME = "python3.12"
# The function waits up to 90 s for an endpoint that is being deleted, and three times up to 30 s for
# resources that it has just created; the rest is a few calls. A Lambda step may take 600 s (developer guide,
# "Lambda step").
TIMEOUT_S = 240
MEMORY_MB = 256


def definition(settings: Settings) -> str:
    """The pipeline's canonical definition; needs no network."""
    with command.status("building the definition"):
        from pipeline.pipeline import build_pipeline, pipeline_session  # 4 s: the SDK

        return sealed(build_pipeline(settings, pipeline_session(settings)).definition())


def upsert(settings: Settings, session: boto3.Session, new: str) -> list[str]:
    """Create or update code, function, group and pipeline; yield what was done, one a line.

    Raises:
        ClientError: AWS refused.
        Failure: a wheel that the bundles include cannot be fetched.
    """
    bundles = code.bundles(package_source=settings.package_source)
    try:
        uploaded = code.upload(session.client("s3"), settings, bundles.values())
    except WheelsError as error:
        command.fail(str(error))
    sagemaker = session.client("sagemaker")
    live = command.find_pipeline(sagemaker, settings)
    before = tags.upserted_before(live["PipelineDefinition"] if live else None)
    return [
        f"code in s3://{settings.bucket}: {len(uploaded)} objects uploaded",
        _upsert_function(session.client("lambda"), settings, bundles["deploy"].archive(), before),
        _upsert_group(sagemaker, settings, before),
        _upsert_pipeline(sagemaker, settings, new, live, before),
    ]


def _check(of: Subject) -> None:
    """Refuse what AWS would accept now and an execution would fail at later; some ten quick requests.

    Raises:
        Failure: the bucket, the account or a role does not suit.
    """
    refuse(of, [bucket.bucket])
    if not of.local:  # which has neither accounts nor roles
        own = partial(account.credentials, keys=command.UPSERTED)
        used = [partial(roles.role, key, simulating=False) for key in roles.UPSERTED]
        refuse(of, [own, bucket.owner, *used])


def _upsert_function(
    client: LambdaClient, settings: Settings, archive: bytes, tags_before: Mapping[str, str]
) -> str:
    name = settings.function_name
    config: Any = {
        "Runtime": RUNTIME,
        "Role": settings.lambda_role,
        "Handler": code.FUNCTION_HANDLER,
        "Timeout": TIMEOUT_S,
        "MemorySize": MEMORY_MB,
        "Description": "Deploys a model package to an endpoint; called by the pipeline's step DeployEndpoint",
    }
    try:
        live = client.get_function_configuration(FunctionName=name)
    except ClientError as error:
        if not aws_errors.is_missing(error):
            raise
        client.create_function(
            FunctionName=name, Code={"ZipFile": archive}, Tags=settings.resource_tags, **config
        )
        client.get_waiter("function_active_v2").wait(FunctionName=name)
        return f"function {name}: created"
    changed = False
    if live["CodeSha256"] != base64.b64encode(hashlib.sha256(archive).digest()).decode():
        client.update_function_code(FunctionName=name, ZipFile=archive)
        client.get_waiter("function_updated_v2").wait(FunctionName=name)
        changed = True
    if any(live.get(key) != value for key, value in config.items()):
        client.update_function_configuration(FunctionName=name, **config)
        client.get_waiter("function_updated_v2").wait(FunctionName=name)
        changed = True
    changed |= tags.update_function(client, live["FunctionArn"], settings.resource_tags, tags_before)
    return f"function {name}: {'updated' if changed else 'unchanged'}"


def _upsert_group(client: SageMakerClient, settings: Settings, tags_before: Mapping[str, str]) -> str:
    name = settings.model_package_group_name
    try:
        live = client.describe_model_package_group(ModelPackageGroupName=name)
    except ClientError as error:
        if not aws_errors.is_missing(error):
            raise
        client.create_model_package_group(
            ModelPackageGroupName=name,
            ModelPackageGroupDescription=f"Image classifiers of the pipeline {settings.pipeline_name}",
            Tags=_tags(settings),
        )
        return f"model package group {name}: created"
    if tags.update_sagemaker(client, live["ModelPackageGroupArn"], settings.resource_tags, tags_before):
        return f"model package group {name}: updated, its tags"
    return f"model package group {name}: unchanged"


def _upsert_pipeline(
    client: SageMakerClient,
    settings: Settings,
    new: str,
    live: DescribePipelineResponseTypeDef | None,
    tags_before: Mapping[str, str],
) -> str:
    name = settings.pipeline_name
    request: Any = {
        "PipelineName": name,
        "PipelineDisplayName": name,
        "PipelineDescription": "Splits, tunes, trains, evaluates, registers and deploys an image classifier",
        "PipelineDefinition": new,
        "RoleArn": settings.execution_role,
    }
    if live is None:
        client.create_pipeline(**request, Tags=_tags(settings))
        return f"pipeline {name}: created"
    updated = []
    changes = diff(live["PipelineDefinition"], new)
    if changes:
        lines = sum(line[0] in "+-" and line[:3] not in ("+++", "---") for line in changes)
        updated.append(f"{lines} lines of its definition")
    if live["RoleArn"] != settings.execution_role:
        updated.append("its role")
    # Before the definition, which tells the next upsert what this one added (tags.py).
    retagged = tags.update_sagemaker(client, live["PipelineArn"], settings.resource_tags, tags_before)
    if updated:
        client.update_pipeline(**request)
    if retagged:
        updated.append("its tags")
    return f"pipeline {name}: " + (f"updated, {', '.join(updated)}" if updated else "unchanged")


def _tags(settings: Settings) -> Any:
    return [{"Key": key, "Value": value} for key, value in settings.resource_tags.items()]


def _dry_run(settings: Settings, session: boto3.Session, new: str) -> None:
    sys.stdout.write(new)
    say = command.console.print
    try:
        live = command.find_pipeline(session.client("sagemaker"), settings)
    except (BotoCoreError, ClientError) as error:  # the definition is useful even without an account
        say(f"not compared with the live pipeline: {aws_errors.explain(error)}", soft_wrap=True)
        return
    if live is None:
        say(f"There is no pipeline {settings.pipeline_name} yet; upserting would create it.")
        return
    changes = diff(live["PipelineDefinition"], new)
    say("\n".join(changes) if changes else "Nothing would change.", soft_wrap=True)
    _say_outdated_schedules(session, live["PipelineArn"], new)


def _say_outdated_schedules(session: boto3.Session, pipeline_arn: str, new: str) -> None:
    for line in schedules.outdated(session.client("scheduler"), pipeline_arn, new):
        command.console.print(line, soft_wrap=True)


def main(argv: Sequence[str] | None = None) -> int:
    parser = command.parser(__doc__ or "", command.UPSERTED)
    parser.add_argument("--dry-run", action="store_true", help="print the definition and the changes only")
    parser.add_argument("--no-debugger", action="store_true", help="the same as --set debugger.enabled=false")
    parser.add_argument("--probe-debugger", action="store_true", help=debugger.PROBE_HELP)
    arguments = parser.parse_args(argv)
    if arguments.probe_debugger and (arguments.dry_run or arguments.no_debugger):
        parser.error("--probe-debugger goes with neither --dry-run nor --no-debugger")
    if arguments.no_debugger:
        arguments.overrides.append("debugger.enabled=false")
    settings = command.settings(arguments)
    session = command.session(arguments, settings)
    if arguments.dry_run:
        _dry_run(settings, session, definition(settings))
        return 0
    command.refuse_placeholders(settings, *command.UPSERTED)
    _check(subject(arguments, settings, session, {}))  # before the slow import of the SDK
    new = definition(settings)
    for line in upsert(settings, session, new):
        command.output.print(line, soft_wrap=True)
    sagemaker = session.client("sagemaker")
    live = command.live_pipeline(sagemaker, settings)
    _say_outdated_schedules(session, live["PipelineArn"], new)
    training = debugger.training_step(new)
    if training is None and arguments.probe_debugger:
        command.fail("--probe-debugger: the settings leave Debugger out; set debugger.enabled to true for it")
    if training is None or (command.is_local() and not arguments.probe_debugger):
        return 0
    answer = debugger.ask(sagemaker, live["PipelineArn"], training, arguments.probe_debugger)
    command.console.print(answer.advice(), soft_wrap=True)
    if arguments.probe_debugger and not answer.allowed:
        return 2 if answer.allowed is None else 1
    return 0


if __name__ == "__main__":
    command.run(main)
